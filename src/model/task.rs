//! What is shown of every task, whether it is a crawl or a maintenance.

use serde::{Deserialize, Serialize};

/// What a task is doing.
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// It waits for its slow start.
    #[default]
    SlowStart,
    /// The crawl works on a cycle.
    Walking,
    /// The maintenance works on a run, or waits for a slice.
    Working,
    /// The maintenance leaves its lock alone, so that others get their turn.
    Pausing,
    /// It waits for the next cycle or run.
    Sleeping,
    /// It was paused, and has settled its slices.
    Paused,
    /// Something keeps it from working, see `waiting_for`. It goes on by itself.
    Waiting,
    /// The cycle has examined everything and waits to be confirmed before it deletes.
    Rehearsed,
    /// It has done what it was asked for, or was stopped.
    Done,
    /// An operator has stopped it, until it is started.
    Stopped,
    /// It has ended with an error, until it is started.
    Failed,
    /// A state that only a newer version knows.
    #[serde(other)]
    #[cfg_attr(feature = "daemon", schemars(skip))]
    Other,
}

impl TaskState {
    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            TaskState::SlowStart => "slow_start",
            TaskState::Walking => "walking",
            TaskState::Working => "working",
            TaskState::Pausing => "pausing",
            TaskState::Sleeping => "sleeping",
            TaskState::Paused => "paused",
            TaskState::Waiting => "waiting",
            TaskState::Rehearsed => "rehearsed",
            TaskState::Done => "done",
            TaskState::Stopped => "stopped",
            TaskState::Failed => "failed",
            TaskState::Other => "other",
        }
    }

    pub fn has_ended(self) -> bool {
        matches!(self, TaskState::Done | TaskState::Stopped | TaskState::Failed)
    }
}

/// Two bounds, in seconds.
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Range {
    /// At least.
    pub least: f64,
    /// At most.
    pub most: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_reads_back_and_one_of_a_newer_version_is_no_error() {
        for state in [TaskState::SlowStart, TaskState::Walking, TaskState::Rehearsed, TaskState::Done] {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
            assert_eq!(serde_json::from_value::<TaskState>(state.as_str().into()).unwrap(), state);
        }
        assert_eq!(serde_json::from_str::<TaskState>("\"dancing\"").unwrap(), TaskState::Other);
    }
}
