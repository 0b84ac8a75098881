//! What is shown of a cleaning: the run in progress, how the last one ended, when the next one begins.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cumulus::policy::Number;
use crate::cumulus::{CleaningReport, Doing};
use crate::error::Error;

/// What a cleaning is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CleaningPhase {
    /// Waits for its slow start.
    SlowStart,
    /// Waits for a slice, or works in one.
    Working,
    /// Leaves the database alone, so that backups can begin.
    Pausing,
    /// Waits for what keeps it from working: see `waiting_for`.
    Waiting,
    /// Was paused, between two steps.
    Paused,
    /// Waits for its next run.
    SleepingBetweenRuns,
    /// Has done what it was asked for, refused to, or was stopped.
    Ended,
    /// Ended with an error.
    Failed,
}

/// A cleaning at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CleaningStatus {
    /// The database, as it was named.
    pub database: PathBuf,
    /// What it is about.
    pub phase: CleaningPhase,
    /// Whether it was asked to pause; it does so between two steps.
    pub paused: bool,
    /// Runs that have ended since the engine started, whatever came of them.
    pub runs: u64,
    /// How long it sleeps until its next run may begin.
    pub next_run_in_secs: Option<f64>,
    /// The same moment by the engine's clock.
    #[serde(skip)]
    pub(crate) next_run_at: Option<Duration>,
    /// How the last run ended, also of an earlier process.
    pub last: Option<CleaningEnd>,
    /// The kind of the last step.
    pub doing: Doing,
    /// Rows gone through, those read included.
    pub rows_done: u64,
    /// Rows to go through in all, as far as can be told.
    pub rows_planned: u64,
    /// How often the database's lock was held.
    pub locks: usize,
    /// The longest time for which it was.
    pub longest_lock_secs: f64,
    /// Why it was longer than a slice, once it was: see [`LockOverrun`](crate::cumulus::LockOverrun).
    pub lock_overrun: Option<String>,
    /// Whether it goes on where an earlier run has ended.
    pub resumed: bool,
    /// How often the plan was made again because a backup had run.
    pub planned_again: u32,
    /// What it waits for.
    pub waiting_for: Option<String>,
    /// The error with which it has ended.
    pub error: Option<String>,
}

impl CleaningStatus {
    pub(crate) fn new(database: PathBuf) -> Self {
        CleaningStatus {
            database,
            phase: CleaningPhase::SlowStart,
            paused: false,
            runs: 0,
            next_run_in_secs: None,
            next_run_at: None,
            last: None,
            doing: Doing::Opening,
            rows_done: 0,
            rows_planned: 0,
            locks: 0,
            longest_lock_secs: 0.0,
            lock_overrun: None,
            resumed: false,
            planned_again: 0,
            waiting_for: None,
            error: None,
        }
    }

    /// As at the beginning of a run: what was told of the run before goes, but for how it ended.
    pub(crate) fn begin_run(&mut self) {
        let CleaningStatus { database, paused, runs, last, .. } = self.clone();
        *self = CleaningStatus { paused, runs, last, ..CleaningStatus::new(database) };
    }
}

/// How a run of a cleaning has ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CleaningEnd {
    /// When, in seconds since 1970.
    pub ended: f64,
    /// What came of it.
    #[serde(flatten)]
    pub result: CleaningResult,
}

/// What came of a run of a cleaning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "result")]
pub enum CleaningResult {
    /// It was done, or, for a dry run, shown.
    Done {
        /// Segments that were marked.
        segments_marked: u64,
        /// Bytes that come free.
        reclaimable_bytes: u64,
        /// Bytes that the next backups have to write again.
        rewrite_bytes: u64,
        /// Odd things that were found and left alone or repaired.
        odd: u64,
    },
    /// Nothing was done, so that nothing is destroyed.
    Refused {
        /// Why.
        why: String,
    },
    /// It ended with an error; what was done is whole.
    Failed {
        /// The error.
        error: String,
    },
}

impl CleaningResult {
    /// What a report says in short.
    pub fn of_report(report: &CleaningReport) -> Self {
        if let Some(why) = report.refused() {
            return CleaningResult::Refused { why };
        }
        let bytes = |number: Number| u64::try_from(number.bytes()).unwrap_or(u64::MAX);
        CleaningResult::Done {
            segments_marked: report.plan.marked().count() as u64,
            reclaimable_bytes: bytes(report.plan.reclaimable_bytes),
            rewrite_bytes: bytes(report.plan.rewrite_bytes),
            odd: report.plan.odd.len() as u64,
        }
    }

    /// What an error says.
    pub fn of_error(error: &Error) -> Self {
        CleaningResult::Failed { error: error.to_string() }
    }
}
