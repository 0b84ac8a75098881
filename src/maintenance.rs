//! Maintenance: work beside the crawls that is decided, shown and then done in steps, such as cleaning a database.
//!
//! A [`Maintenance`] begins a run; a [`MaintenanceRun`] does one step at a time, on a blocking thread and under a slice, and
//! makes a [`MaintenanceReport`] in the end. When a run begins, what it may cost, pauses, stops and waiting are the
//! engine's ([`EngineBuilder::maintenance`](crate::engine::EngineBuilder::maintenance)). A process may end between two
//! steps: each leaves things whole, and what a later run needs to go on is kept by the maintenance itself.

use std::any::Any;
use std::borrow::Cow;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::slice::TimeSlice;

/// Something that is maintained again and again.
pub trait Maintenance: Send + Sync + 'static {
    /// What it is, as a word: `cleaning`. Errors about settings begin with it, and its reports carry it.
    fn kind(&self) -> &'static str;

    /// What it works on, as people name it: a path.
    fn subject(&self) -> String;

    /// Checks its own settings, before it is started.
    ///
    /// # Errors
    /// [`Error::Config`] names the setting that is wrong.
    fn validate(&self) -> Result<()> {
        Ok(())
    }

    /// Begins a run at a moment that counts as now, in seconds since 1970. Opens nothing: that is the first step.
    fn begin(&self, unix_secs: f64) -> Box<dyn MaintenanceRun>;
}

/// One run of a maintenance.
pub trait MaintenanceRun: Send + 'static {
    /// Does the next step. It takes no longer than a slice where that can be helped, and holds no lock when it returns. It
    /// never sleeps: what is in use is [`StepOutcome::Later`].
    ///
    /// # Errors
    /// What waiting does not help. The run has failed then; the next one is tried at its time.
    fn step(&mut self, slice: &TimeSlice) -> Result<MaintenanceStep>;

    /// The report, once a step was [`StepOutcome::Finished`].
    fn report(self: Box<Self>) -> MaintenanceReport;
}

/// How a step went.
#[derive(Debug, Clone)]
pub struct MaintenanceStep {
    /// What follows.
    pub outcome: StepOutcome,
    /// How long nothing may be locked from now on, so that others get their turn. Zero: the next step may follow at once.
    pub leave_alone: Duration,
    /// How far the run has come.
    pub progress: MaintenanceProgress,
}

/// What follows a step.
#[derive(Debug, Clone)]
pub enum StepOutcome {
    /// There is more to do.
    More,
    /// Something has to pass first: another program's lock, a full disk. Nothing is lost; the step is asked for again later.
    Later(Error),
    /// All is done, or refused: see the report.
    Finished,
}

/// How far a run has come, as plain figures.
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MaintenanceProgress {
    /// What the last step did, for people.
    pub doing: Cow<'static, str>,
    /// Rows, or whatever it counts, gone through.
    pub rows_done: u64,
    /// Rows to go through in all, as far as can be told.
    pub rows_planned: u64,
    /// How often a lock was held that others want too.
    pub locks: usize,
    /// The longest time for which it was.
    pub longest_lock_secs: f64,
    /// Why that was longer than a slice, once it was.
    pub lock_overrun: Option<String>,
    /// Whether it goes on where an earlier run has ended.
    pub resumed: bool,
    /// How often the plan was made again because somebody else had changed things.
    pub planned_again: u32,
}

/// What a run has found and done.
#[derive(Debug, Clone)]
pub struct MaintenanceReport {
    /// What every maintenance can tell; kept in the state as well.
    pub common: MaintenanceResult,
    /// The [`Maintenance::kind`].
    pub kind: &'static str,
    /// All of it, as the maintenance's own type.
    body: Arc<dyn ReportBody>,
}

impl MaintenanceReport {
    /// A report of this kind.
    pub fn new(kind: &'static str, common: MaintenanceResult, body: impl ReportBody) -> Self {
        MaintenanceReport { common, kind, body: Arc::new(body) }
    }

    /// The body, if it is of this type.
    pub fn body<B: ReportBody>(&self) -> Option<Arc<B>> {
        let body: Arc<dyn Any + Send + Sync> = self.body.clone();
        body.downcast().ok()
    }

    /// Notes that the report has reached whoever wanted it: [`ReportBody::handed_over`].
    ///
    /// # Errors
    /// If that cannot be noted; the next run may then give the same report again.
    pub fn handed_over(&self) -> Result<()> {
        self.body.handed_over()
    }
}

/// What a report says beyond the common part.
pub trait ReportBody: Any + Debug + Send + Sync {
    /// Called once the report has reached whoever wanted it; what was kept for it may go. Default: nothing was.
    ///
    /// # Errors
    /// If what was kept cannot be taken away.
    fn handed_over(&self) -> Result<()> {
        Ok(())
    }
}

/// What came of a run, in short.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "result")]
pub enum MaintenanceResult {
    /// It was done, or, for a dry run, shown.
    Done {
        /// What was done, in figures of the maintenance's own.
        #[serde(flatten)]
        figures: Map<String, Value>,
    },
    /// Nothing was done, so that nothing is destroyed.
    Refused { why: String },
    /// It ended with an error; what was done is whole.
    Failed { error: String },
}

impl MaintenanceResult {
    /// It was done, with these figures: what becomes a JSON object.
    pub fn done(figures: &impl Serialize) -> Self {
        let figures = match serde_json::to_value(figures) {
            Ok(Value::Object(figures)) => figures,
            _ => Map::new(),
        };
        MaintenanceResult::Done { figures }
    }
}
