//! What is known of a crawl or cleaning over changes of its settings: it is the same one all the same.

use std::time::Duration;

use crate::model::{Status, TaskState};

/// What outlives a change of settings.
#[derive(Debug, Clone, Copy)]
pub(super) struct KnownTask {
    /// When it was first named, by the monotonic clock: its slow start counts from there.
    since: Duration,
    /// Whether that is over: by itself, or by command.
    begun: bool,
}

impl KnownTask {
    pub fn new(now: Duration) -> Self {
        KnownTask { since: now, begun: false }
    }

    /// Takes down how it stands, before it is ended to begin with other settings.
    pub fn note(&mut self, name: &str, status: &Status) {
        if let Some(crawl) = status.crawls.get(name) {
            self.begun |= crawl.phase != TaskState::SlowStart;
        }
        if let Some(cleaning) = status.maintenance.get(name) {
            self.begun |= cleaning.phase != TaskState::SlowStart;
        }
    }

    /// How much of a slow start has passed.
    pub fn passed(self, now: Duration) -> Duration {
        if self.begun { Duration::MAX } else { now.saturating_sub(self.since) }
    }
}
