//! Choices that hold for the whole engine.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How often progress is saved: how much work a crash may repeat.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Checkpoint {
    /// After each bucket.
    EveryBucket,
    /// At the end of each slice.
    #[default]
    EverySlice,
    /// At the end of the first slice after so long, or in between while the next slice is waited for.
    Every(Duration),
}

/// What the system does with threads at work while others want the processor or the disk. Never while they hold a lock of
/// a database: whoever waits for it would wait for everybody else.
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema), schemars(rename = "PriorityAsked"))]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "priority", rename_all = "snake_case")]
pub enum Priority {
    /// They run when nobody else wants to (`SCHED_IDLE`, idle I/O).
    Idle,
    /// They give way (nice 19, lowest best-effort I/O).
    Low,
    /// As the process does.
    #[default]
    Normal,
}

impl Priority {
    /// As the configuration and the API write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Priority::Idle => "idle",
            Priority::Low => "low",
            Priority::Normal => "normal",
        }
    }
}
