//! When and with what weight a maintenance runs, whatever it does.

use std::time::Duration;

use super::{PACE, WEIGHT, check_name, duration, named, within};
use crate::error::{Error, Result};

/// What holds for one maintenance, whatever it does.
#[derive(Debug, Clone, PartialEq)]
pub struct MaintenanceSettings {
    /// Tells it apart in one engine, also from the crawls: letters `a-z`, digits, `-` and `_`, at most 64 of them.
    pub name: String,
    /// From the end of a run to the start of the next, over restarts too, whatever came of it. Default 7 days.
    pub every: Duration,
    /// Time from the engine's start to the first slice. Default 10 minutes.
    pub slow_start: Duration,
    /// Its part of the budget while others want it too, in relation to their weights. Default 1.0.
    pub weight: f64,
}

impl MaintenanceSettings {
    /// The defaults.
    pub fn new(name: impl Into<String>) -> Self {
        MaintenanceSettings {
            name: name.into(),
            every: Duration::from_secs(7 * 86_400),
            slow_start: Duration::from_secs(600),
            weight: 1.0,
        }
    }

    /// Checks the name, and all values against their limits.
    ///
    /// # Errors
    /// [`Error::Config`] names the maintenance as one of this kind, the first setting that is wrong, and its limits.
    pub fn validate(&self, kind: &str) -> Result<()> {
        check_name(&self.name).map_err(Error::Config)?;
        let of = |what: &str| format!("{kind} {}: {what}", self.name);
        named(&of("every"), within(&PACE, &self.every, duration))?;
        named(&of("slow_start"), within(&PACE, &self.slow_start, duration))?;
        named(&of("weight"), within(&WEIGHT, &self.weight, f64::to_string))
    }
}
