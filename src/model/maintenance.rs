//! What is shown of a maintenance: the run in progress, how the last one ended, when the next one begins.

use std::time::Duration;

use serde::Serialize;

use crate::maintenance::{MaintenanceProgress, MaintenanceResult};

/// What a maintenance is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MaintenancePhase {
    /// Waits for its slow start.
    SlowStart,
    /// Waits for a slice, or works in one.
    Working,
    /// Leaves the lock alone, so that others get their turn.
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

/// A maintenance at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MaintenanceStatus {
    /// What it works on, as it was named.
    pub subject: String,
    /// What it is about.
    pub phase: MaintenancePhase,
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
    pub last: Option<MaintenanceEnd>,
    /// How far the run in progress, or the last one, has come.
    #[serde(flatten)]
    pub progress: MaintenanceProgress,
    /// What it waits for.
    pub waiting_for: Option<String>,
    /// The error with which it has ended.
    pub error: Option<String>,
}

impl MaintenanceStatus {
    pub(crate) fn new(subject: String) -> Self {
        MaintenanceStatus {
            subject,
            phase: MaintenancePhase::SlowStart,
            paused: false,
            runs: 0,
            next_run_in_secs: None,
            next_run_at: None,
            last: None,
            progress: MaintenanceProgress { doing: "opening", ..MaintenanceProgress::default() },
            waiting_for: None,
            error: None,
        }
    }

    /// As at the beginning of a run: what was told of the run before goes, but for how it ended.
    pub(crate) fn begin_run(&mut self) {
        let MaintenanceStatus { subject, paused, runs, last, .. } = self.clone();
        *self = MaintenanceStatus { paused, runs, last, ..MaintenanceStatus::new(subject) };
    }
}

/// How a run of a maintenance has ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MaintenanceEnd {
    /// When, in seconds since 1970.
    pub ended: f64,
    /// What came of it.
    #[serde(flatten)]
    pub result: MaintenanceResult,
}
