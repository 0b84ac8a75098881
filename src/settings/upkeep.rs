//! How the engine keeps its own state in order, as plain values.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::{duration, named, within};
use crate::error::Result;

/// Limits of [`UpkeepSettings::history`].
pub const HISTORY: RangeInclusive<Duration> = Duration::from_secs(3600)..=Duration::from_secs(100 * 31_557_600);

/// How the engine keeps its own state in order. That is done beside the crawls, with little weight, in steps of some
/// milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpkeepSettings {
    /// How long finished cycles are kept, from their end on. The newest of each crawl is kept in any case, and so is one
    /// whose report nobody has got; of each crawl there are [`FINISHED_CYCLES_KEPT`](crate::state::FINISHED_CYCLES_KEPT) beside the newest at most. `None`:
    /// only that number counts. Default 365 days.
    pub history: Option<Duration>,
}

impl Default for UpkeepSettings {
    fn default() -> Self {
        UpkeepSettings { history: Some(Duration::from_secs(365 * 86_400)) }
    }
}

impl UpkeepSettings {
    /// Checks all values against their limits.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) names the setting that is out of range, and its limits.
    pub fn validate(&self) -> Result<()> {
        self.history.as_ref().map_or(Ok(()), |history| named("history", within(&HISTORY, history, duration)))
    }
}
