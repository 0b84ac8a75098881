//! A cleaning as a maintenance, so that an engine runs it again and again.

use serde::{Deserialize, Serialize};

use super::policy::Number;
use super::report::{CleaningReport, StepResult};
use super::run::CleaningRun;
use super::settings::CleaningSettings;
use crate::error::Result;
use crate::maintenance::{
    Maintenance, MaintenanceProgress, MaintenanceReport, MaintenanceResult, MaintenanceRun, MaintenanceStep,
    ReportBody, StepOutcome,
};
use crate::policy::pace::pause_after;
use crate::slice::TimeSlice;

/// What a cleaning is called, as a maintenance.
pub(super) const KIND: &str = "cleaning";
/// The Julian day of 1970-01-01 00:00 UTC.
const JULIAN_1970: f64 = 2_440_587.5;

impl Maintenance for CleaningSettings {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn subject(&self) -> String {
        self.database.display().to_string()
    }

    fn validate(&self) -> Result<()> {
        CleaningSettings::validate(self)
    }

    fn begin(&self, unix_secs: f64) -> Box<dyn MaintenanceRun> {
        Box::new(CleaningRun::new(self.clone(), JULIAN_1970 + unix_secs / 86_400.0))
    }
}

impl MaintenanceRun for CleaningRun {
    fn step(&mut self, _: &TimeSlice) -> Result<MaintenanceStep> {
        let done = self.next_step()?;
        let progress = MaintenanceProgress {
            doing: done.doing.as_str().into(),
            rows_done: done.rows_done,
            rows_planned: done.rows_planned,
            locks: self.locks().count(),
            longest_lock_secs: self.locks().longest().as_secs_f64(),
            lock_overrun: self.lock_overrun().map(|overrun| overrun.to_string()),
            resumed: self.is_resumed(),
            planned_again: self.planned_again(),
        };
        let outcome = match done.outcome {
            StepResult::More | StepResult::Stale => StepOutcome::More,
            StepResult::Later(cause) => StepOutcome::Later(cause),
            StepResult::Finished => StepOutcome::Finished,
        };
        Ok(MaintenanceStep { outcome, leave_alone: pause_after(done.lock, self.lock_duty()), progress })
    }

    fn report(self: Box<Self>) -> MaintenanceReport {
        let report = self.into_report();
        let common = match report.refused() {
            Some(why) => MaintenanceResult::Refused { why },
            None => MaintenanceResult::done(&CleaningFigures::of(&report)),
        };
        MaintenanceReport::new(KIND, common, report)
    }
}

impl ReportBody for CleaningReport {
    fn handed_over(&self) -> Result<()> {
        CleaningReport::handed_over(self)
    }
}

/// What a cleaning has done, in figures: kept in the state, so that a later process knows them too.
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct CleaningFigures {
    /// How long the process that ended it worked on it, pauses included; 0 where that is not known.
    #[serde(default)]
    pub elapsed_secs: f64,
    /// Segments that were marked.
    // Sexton 0.1.0 has saved it under another name.
    #[serde(alias = "segments_marked")]
    pub marked_segments: u64,
    /// Bytes that come free.
    pub reclaimable_bytes: u64,
    /// Bytes that the next backups have to write again.
    pub rewrite_bytes: u64,
    /// Bytes of the segments that no kept snapshot uses.
    #[serde(default)]
    pub obsolete_bytes: u64,
    /// How often the database was locked.
    #[serde(default)]
    pub locks: usize,
    /// The longest time for which it was.
    #[serde(default)]
    pub longest_lock_secs: f64,
    /// Odd things that were found and left alone or repaired.
    #[serde(default)]
    pub odd: u64,
}

impl CleaningFigures {
    fn of(report: &CleaningReport) -> Self {
        let CleaningReport { plan, steps, elapsed_secs, .. } = report;
        let bytes = |number: Number| u64::try_from(number.bytes()).unwrap_or(u64::MAX);
        CleaningFigures {
            elapsed_secs: *elapsed_secs,
            marked_segments: plan.marked().count() as u64,
            reclaimable_bytes: bytes(plan.reclaimable_bytes),
            rewrite_bytes: bytes(plan.rewrite_bytes),
            obsolete_bytes: bytes(plan.obsolete_bytes),
            locks: steps.count,
            longest_lock_secs: steps.longest_ms.map_or(0.0, |ms| ms / 1e3),
            odd: plan.odd.len() as u64,
        }
    }

    /// Reads what was saved; `None` if a newer Sexton has written it, or it was not done.
    pub fn of_result(result: &MaintenanceResult) -> Option<Self> {
        let MaintenanceResult::Done { figures } = result else { return None };
        serde_json::from_value(figures.clone().into()).ok()
    }
}
