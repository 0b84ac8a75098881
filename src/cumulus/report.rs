//! What a run tells: what it is doing, how a step went, and in the end what it has found and done.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

use super::applier::Step;
use super::decision;
use super::faults;
use super::locks::LockTimes;
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
    /// Changing rows.
    Changing(Step),
    /// Moving the write-ahead log into the database, without a lock.
    Tidying,
    /// Nothing any more.
    Done,
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Doing::Opening => "opening",
            Doing::Reading => "reading",
            Doing::Copying => "copying",
            Doing::Changing(Step::Snapshots | Step::NewestSnapshot) => "dropping snapshots",
            Doing::Changing(Step::UsageRows) => "dropping usage rows",
            Doing::Changing(Step::Segments) => "dropping segments",
            Doing::Changing(Step::Blocks | Step::NamelessBlocks) => "dropping blocks",
            Doing::Changing(Step::Signatures) => "dropping signatures",
            Doing::Changing(Step::ReadUsage) => "reading what is in use",
            Doing::Changing(Step::Expire) => "expiring blocks",
            Doing::Changing(Step::Done) | Doing::Done => "done",
            Doing::Tidying => "writing the log back",
        })
    }
}

/// How a call of [`CleaningRun::next_step`](super::CleaningRun::next_step) went.
#[derive(Debug, Clone)]
pub enum Outcome {
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
pub struct Progress {
    /// What it was doing.
    pub doing: Doing,
    /// Rows gone through so far, those that are read included.
    pub rows_done: u64,
    /// Rows to go through in all, as far as can be told.
    pub rows_planned: u64,
    /// How long the database's lock was held; zero if it was not.
    pub lock: Duration,
    /// How it went.
    pub outcome: Outcome,
}

/// What a cleaning has found and done.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CleaningReport {
    /// The plan; of a run that was resumed, as it was made.
    #[serde(flatten)]
    pub plan: Map<String, Value>,
    /// The times for which the lock was held, by this process.
    pub steps: LockTimes,
    /// How long this process worked on it, pauses included.
    pub elapsed_secs: f64,
    /// Whether an earlier run had begun it.
    #[serde(skip)]
    pub resumed: bool,
    /// How often the plan was made again because a backup had run.
    #[serde(skip)]
    pub planned_again: u32,
}

impl CleaningReport {
    /// Why nothing was done, if so.
    pub fn refused(&self) -> Option<&str> {
        self.plan.get("refused").and_then(Value::as_str)
    }

    /// How many odd things were found and left alone or repaired.
    pub fn odd(&self) -> usize {
        self.plan.get("odd").and_then(Value::as_array).map_or(0, Vec::len)
    }
}

/// Where the plan is kept as it is shown, for the report of a run that is resumed.
pub(super) fn shown_path(database: &Path) -> PathBuf {
    decision::beside(database, ".sexton-shown")
}

/// Reads it; a report without is better than none.
pub(super) fn read_shown(database: &Path) -> Map<String, Value> {
    let read = fs::read(shown_path(database)).ok();
    read.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

/// Takes the shown plan away.
pub(super) fn forget_shown(database: &Path) -> Result<()> {
    match fs::remove_file(shown_path(database)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(faults::io(&e, "remove the plan beside", database)),
        _ => Ok(()),
    }
}
