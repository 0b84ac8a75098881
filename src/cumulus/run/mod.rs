//! One cleaning, from opening the database to the last change, in steps that somebody else gives the time for.
//!
//! Owns the connection, the plan and the sizes of the steps. Each call of [`CleaningRun::next_step`] takes the lock once at
//! most and holds it for about the time it is told. It never sleeps and never waits for a lock: what is in use is told,
//! and the same call made again later.

mod changing;
mod planning;
mod timing;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::applier::Applier;
use super::copier::Copier;
use super::decision::{CleaningDecision, Finished};
use super::gate::{CleanerGate, Make};
use super::local_db::LocalDb;
use super::locks::{LockOverrun, LockTimes};
use super::policy::{CleaningPlan, Options};
use super::report::{CleaningReport, Doing, RunProgress, StepResult};
use super::settings::{CleaningMode, CleaningSettings};
use super::shown;
use super::survey::Survey;
use crate::cumulus::LocalDbError;
use crate::error::Result;
use crate::policy::pace::Pace;
use timing::WorkKind;

enum RunStage {
    Opening,
    Reading(Box<Survey>),
    Copying(Copier, Box<Applier>),
    /// Before the first change: the plan is kept, and then a finished copy gets its name.
    Keeping(Option<Copier>, Box<Applier>),
    Changing(Box<Applier>),
    /// After the last change: that all is done is kept, until somebody has had the report.
    Closing(Box<Applier>),
    Done,
}

/// One cleaning of one database.
pub struct CleaningRun {
    settings: CleaningSettings,
    options: Options,
    /// The file itself, once it was looked for: whatever stands beside it stands beside that name.
    database: PathBuf,
    gate: CleanerGate,
    db: Option<LocalDb>,
    stage: RunStage,
    pace: Pace<WorkKind>,
    locks: LockTimes,
    /// Why the lock was held for longer than a slice, once it was and that is known.
    lock_overrun: Option<LockOverrun>,
    /// Tells how long something takes.
    now: Arc<dyn Fn() -> Duration + Send + Sync>,
    begun: Duration,
    rows_done: u64,
    rows_planned: u64,
    usage_rows: u64,
    /// The plan, as it is shown; none before it is made.
    shown: Option<CleaningPlan>,
    /// Set when all is done.
    finished: Option<Finished>,
    resumed: bool,
    planned_again: u32,
    backed_up: bool,
    /// What of the write-ahead log is not yet in the database, as the time it took to write.
    untidied: Duration,
    /// How long it took last time to move it there.
    tidying: Duration,
}

impl CleaningRun {
    /// Begins a cleaning at a moment that counts as now: a Julian day (UTC), for settings that do not give one. Nothing
    /// is opened yet.
    pub fn new(settings: CleaningSettings, now: f64) -> CleaningRun {
        let started = Instant::now();
        CleaningRun::timed_by(settings, now, move || started.elapsed())
    }

    /// As [`new`](Self::new), with a monotonic clock of the caller's to tell how long steps take: for simulations.
    pub fn timed_by(
        settings: CleaningSettings,
        now: f64,
        clock: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> CleaningRun {
        let database = settings.database.clone();
        CleaningRun {
            options: settings.options_at(now),
            gate: CleanerGate::new(&database, Make::No),
            db: None,
            stage: RunStage::Opening,
            pace: Pace::new(settings.slice),
            locks: LockTimes::default(),
            lock_overrun: None,
            begun: clock(),
            now: Arc::new(clock),
            rows_done: 0,
            rows_planned: 0,
            usage_rows: 0,
            shown: None,
            finished: None,
            resumed: false,
            planned_again: 0,
            backed_up: false,
            untidied: Duration::ZERO,
            tidying: Duration::ZERO,
            database,
            settings,
        }
    }

    /// What comes next.
    pub fn doing(&self) -> Doing {
        match &self.stage {
            RunStage::Opening => Doing::Opening,
            RunStage::Reading(_) => Doing::Reading,
            RunStage::Copying(..) => Doing::Copying,
            RunStage::Keeping(..) => Doing::Keeping,
            _ if self.is_to_be_tidied() => Doing::Tidying,
            RunStage::Closing(_) => Doing::Keeping,
            RunStage::Changing(applier) => Doing::Changing(applier.upcoming().step),
            RunStage::Done => Doing::Done,
        }
    }

    /// The lock times so far.
    pub fn locks(&self) -> &LockTimes {
        &self.locks
    }

    /// Why the lock was held for longer than a slice, once it was.
    pub fn lock_overrun(&self) -> Option<LockOverrun> {
        self.lock_overrun
    }

    /// For which part of the time the lock may be held.
    pub(super) fn lock_duty(&self) -> f64 {
        self.settings.lock_duty
    }

    /// Whether it goes on where an earlier run has ended.
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// How often the plan was made again.
    pub fn planned_again(&self) -> u32 {
        self.planned_again
    }

    /// Does the next step.
    ///
    /// # Errors
    /// What waiting does not help: a damaged database, one that is none, a backup's file that is there already.
    pub fn next_step(&mut self) -> Result<RunProgress> {
        let (doing, locks_before) = (self.doing(), self.locks.count());
        // What fails and does not say where to go on begins anew, with the plan that is kept.
        let stage = std::mem::replace(&mut self.stage, RunStage::Opening);
        let done = match stage {
            _ if doing == Doing::Tidying => self.tidy(stage),
            RunStage::Opening => self.open(),
            RunStage::Reading(survey) => self.read(survey),
            RunStage::Copying(copier, applier) => self.copy(copier, applier),
            RunStage::Keeping(copier, applier) => self.keep(copier, applier),
            RunStage::Changing(applier) => self.change(applier),
            RunStage::Closing(applier) => self.close(applier),
            RunStage::Done => {
                self.stage = RunStage::Done;
                Ok(())
            }
        };
        let outcome = match done {
            Ok(()) if matches!(self.stage, RunStage::Done) && self.doing() == Doing::Done => {
                self.rows_planned = self.rows_done;
                StepResult::Finished
            }
            Ok(()) => StepResult::More,
            Err(error) if matches!(error.downcast_ref(), Some(LocalDbError::PlanStale { .. })) => {
                self.plan_again()?;
                StepResult::Stale
            }
            Err(error) if error.retry() == crate::Retry::Helps => StepResult::Later(error),
            Err(error) => {
                self.leave_nothing_new();
                return Err(error);
            }
        };
        let lock = if self.locks.count() > locks_before { self.locks.last() } else { Duration::ZERO };
        let (rows_done, rows_planned) = (self.rows_done, self.rows_planned.max(self.rows_done));
        Ok(RunProgress { doing, rows_done, rows_planned, lock, outcome })
    }

    /// The report of a run that is finished. One that has changed something gives the same report again, until
    /// [`CleaningReport::handed_over`] is called.
    pub fn into_report(self) -> CleaningReport {
        let kept = self.finished.is_some();
        let elapsed = self.elapsed();
        let finished = self.finished.unwrap_or_else(|| Finished::new(&self.locks, self.lock_overrun, elapsed));
        let era = self.db.as_ref().map_or(super::policy::Era::A, LocalDb::era);
        CleaningReport {
            plan: self.shown.unwrap_or_else(|| shown::lost(era, &self.options)),
            steps: finished.steps,
            lock_overrun: finished.lock_overrun,
            elapsed_secs: finished.elapsed_secs,
            resumed: self.resumed,
            planned_again: self.planned_again,
            kept_beside: kept.then_some(self.database),
        }
    }

    /// Where nothing was changed, takes the guard file away that was made for it.
    fn leave_nothing_new(&mut self) {
        if !self.db.as_ref().is_some_and(LocalDb::has_changed) {
            self.gate.take_away();
        }
    }

    fn is_to_be_tidied(&self) -> bool {
        // Half of the time at most: on a disk that is slow at saving, this takes long however little there is to move.
        let due = self.untidied > self.settings.slice.max(self.tidying);
        due && self.db.as_ref().is_some_and(|db| !db.reading_locks())
    }

    fn tidy(&mut self, stage: RunStage) -> Result<()> {
        self.stage = stage;
        self.untidied = Duration::ZERO;
        let since = (self.now)();
        let done = self.db.as_ref().map_or(Ok(()), LocalDb::checkpoint);
        self.tidying = (self.now)().saturating_sub(since);
        done
    }

    fn plan_again(&mut self) -> Result<()> {
        self.planned_again += 1;
        self.resumed = false;
        self.stage = RunStage::Opening;
        self.shown = None;
        if self.settings.manner == CleaningMode::DryRun { Ok(()) } else { CleaningDecision::forget(&self.database) }
    }

    /// The open database.
    fn db(&self) -> &LocalDb {
        self.db.as_ref().expect("every stage but the first has an open database, and the first opens it before use")
    }
}

/// Where tests end the process.
pub(super) fn fail_point(name: &str) {
    // Without fail points the macro is nothing, and does not look at the name.
    let _ = name;
    crate::fail_point!(name, |_| std::process::abort());
}
