//! What is shown of a maintenance: the run in progress, how the last one ended, when the next one begins.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::TaskState;
use crate::lenient::known_or_default;
use crate::maintenance::{MaintenanceProgress, MaintenanceResult};

/// A maintenance at one moment.
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MaintenanceStatus {
    /// What it works on, as it was named.
    #[serde(default)]
    pub subject: String,
    /// What it is doing.
    pub state: TaskState,
    /// Runs that have ended since the engine started, whatever came of them.
    #[serde(default)]
    pub runs: u64,
    /// When the next run may begin, in seconds since 1970.
    pub next_run_at: Option<f64>,
    /// How the last run ended, also of an earlier process.
    #[serde(default, deserialize_with = "known_or_default")]
    #[cfg_attr(feature = "daemon", schemars(with = "Option<serde_json::Map<String, serde_json::Value>>"))]
    pub last: Option<MaintenanceEnd>,
    /// How far the run in progress, or the last one, has come.
    #[serde(flatten)]
    pub progress: MaintenanceProgress,
    pub waiting_for: Option<String>,
    /// The error with which it has ended.
    pub error: Option<String>,

    /// The state, whether or not it was asked to pause.
    #[serde(skip)]
    pub(crate) phase: TaskState,
    /// Whether it was asked to pause; it does so between two steps.
    #[serde(skip)]
    pub(crate) paused: bool,
    /// When the next run may begin, by the engine's clock.
    #[serde(skip)]
    pub(crate) next_run_due: Option<Duration>,
}

impl MaintenanceStatus {
    pub(crate) fn new(subject: String) -> Self {
        let progress = MaintenanceProgress { doing: "opening".into(), ..MaintenanceProgress::default() };
        MaintenanceStatus { subject, progress, ..MaintenanceStatus::default() }
    }

    /// As at the beginning of a run: what was told of the run before goes, but for how it ended.
    pub(crate) fn begin_run(&mut self) {
        let MaintenanceStatus { subject, paused, runs, last, .. } = self.clone();
        *self = MaintenanceStatus { paused, runs, last, ..MaintenanceStatus::new(subject) };
    }

    /// Says what it is doing, all considered.
    pub(super) fn set_state(&mut self) {
        self.state = if self.paused && !self.phase.has_ended() { TaskState::Paused } else { self.phase };
    }
}

/// How a run of a maintenance has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MaintenanceEnd {
    /// When, in seconds since 1970.
    pub ended: f64,
    /// What came of it.
    #[serde(flatten)]
    pub result: MaintenanceResult,
}
