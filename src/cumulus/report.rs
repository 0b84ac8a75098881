//! What a run tells: what it is doing, how a step went, and in the end what it has found and done.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::decision::CleaningDecision;
use super::locks::{LockOverrun, LockSummary};
use super::policy::CleaningPlan;
use super::shown;
use super::steps::CleaningStep;
use crate::error::{Error, Result};

/// What a run is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Doing {
    /// Opening the database, and looking for a plan that is not finished.
    Opening,
    /// Reading the figures.
    Reading,
    /// Making a copy of the database, before the first change.
    Copying,
    /// Keeping the plan beside the database, or that it is done.
    Keeping,
    /// Changing rows.
    Changing(CleaningStep),
    /// Moving the write-ahead log into the database, without a lock.
    Tidying,
    /// Nothing any more.
    Done,
}

impl Doing {
    /// The same for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Doing::Opening => "opening",
            Doing::Reading => "reading",
            Doing::Copying => "copying",
            Doing::Keeping => "keeping the plan",
            Doing::Changing(CleaningStep::Snapshots | CleaningStep::NewestSnapshot) => "dropping snapshots",
            Doing::Changing(CleaningStep::UsageRows) => "dropping usage rows",
            Doing::Changing(CleaningStep::Segments) => "dropping segments",
            Doing::Changing(CleaningStep::Blocks | CleaningStep::NamelessBlocks) => "dropping blocks",
            Doing::Changing(CleaningStep::Signatures) => "dropping signatures",
            Doing::Changing(CleaningStep::ReadUsage) => "reading what is in use",
            Doing::Changing(CleaningStep::Expire) => "expiring blocks",
            Doing::Changing(CleaningStep::Done) | Doing::Done => "done",
            Doing::Tidying => "writing the log back",
        }
    }
}

/// How a call of [`CleaningRun::next_step`](super::CleaningRun::next_step) went.
#[derive(Debug, Clone)]
pub enum StepResult {
    /// There is more to do.
    More,
    /// Something has to pass first: a backup that runs, a full disk. Nothing is lost; call again later.
    Later(Error),
    /// A backup has run: the plan is made again.
    Stale,
    /// All is done, or refused: see the report.
    Finished,
}

/// How far a run has come.
#[derive(Debug, Clone)]
pub struct RunProgress {
    /// What it was doing.
    pub doing: Doing,
    /// Rows gone through so far, those that are read included.
    pub rows_done: u64,
    /// Rows to go through in all, as far as can be told.
    pub rows_planned: u64,
    /// How long the database's lock was held; zero if it was not.
    pub lock: Duration,
    /// How it went.
    pub outcome: StepResult,
}

/// What a cleaning has found and done.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CleaningReport {
    /// The plan; of a run that was resumed, as it was made.
    #[serde(flatten)]
    pub plan: CleaningPlan,
    /// The times for which the lock was held, by the process that made the last change.
    pub steps: LockSummary,
    /// Why some of them were longer than a slice, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock_overrun: Option<LockOverrun>,
    /// How long that process worked on it, pauses included.
    pub elapsed_secs: f64,
    /// Whether an earlier run had begun it.
    #[serde(skip)]
    pub resumed: bool,
    /// How often the plan was made again because a backup had run.
    #[serde(skip)]
    pub planned_again: u32,
    /// The database beside which the report is kept until it is handed over, if it is.
    #[serde(skip)]
    pub(super) kept_beside: Option<PathBuf>,
}

impl CleaningReport {
    /// Why nothing was done, if so.
    pub fn refused(&self) -> Option<String> {
        self.plan.refused.as_ref().map(ToString::to_string)
    }

    /// How many odd things were found and left alone. What was repaired is not among them.
    pub fn left_alone(&self) -> usize {
        self.plan.odd.iter().filter(|odd| odd.left_alone).count()
    }

    /// Notes that the report has reached whoever wanted it. Until then the same cleaning gives it again and does nothing,
    /// unless a backup has run meanwhile.
    ///
    /// # Errors
    /// If what is kept beside the database cannot be taken away; the same cleaning may then give the same report again.
    pub fn handed_over(&self) -> Result<()> {
        let Some(database) = &self.kept_beside else { return Ok(()) };
        super::run::fail_point("cleaning::before_handed_over");
        // Another cleaning may have begun meanwhile, and kept a plan of its own.
        if CleaningDecision::kept(database)?.is_some_and(|kept| kept.finished.is_some()) {
            CleaningDecision::forget(database)?;
            shown::forget(database)?;
        }
        Ok(())
    }
}
