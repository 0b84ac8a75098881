//! Settings as the engine takes them: plain values with defaults and limits.
//!
//! Built by hand in a host program, from the command line, or from a file by [`config`](crate::config). Nothing here
//! knows how people spell them; [`Settings::validate`] and [`CrawlSettings::validate`] hold the limits for all three.

mod engine;
mod maintenance;
mod upkeep;

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
pub use engine::{Checkpoint, Priority};
pub use maintenance::MaintenanceSettings;
pub use upkeep::{HISTORY, UpkeepSettings};

/// Limits of [`BudgetSettings::rate`], in cores. Below the least, a slice of 1 s would be followed by 11 days of sleep.
pub const RATE_CORES: RangeInclusive<f64> = 0.000_001..=1024.0;
/// Limits of [`BudgetSettings::slice`].
pub const SLICE: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(3600);
/// Limits of [`BudgetSettings::max_sleep`] and [`Checkpoint::Every`].
pub const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(86_400);
/// Limits of [`CrawlSettings::minimum_cycle_time`] and [`CrawlSettings::slow_start`], and of the like in [`MaintenanceSettings`].
pub const PACE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(2 * 31_557_600);
/// Limits of [`CrawlSettings::target`].
pub const TARGET: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(100 * 31_557_600);
/// Limits of [`CrawlSettings::workers`].
pub const WORKERS: RangeInclusive<u32> = 1..=256;
/// Limits of [`CrawlSettings::weight`].
pub const WEIGHT: RangeInclusive<f64> = 0.001..=1000.0;
/// Limits of [`CrawlSettings::read_ahead`].
pub const READ_AHEAD: RangeInclusive<u32> = 0..=1024;
/// The longest name of a crawl, in characters.
pub const NAME_MOST: usize = 64;

/// What holds for the whole engine.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    /// The budget that all crawls share.
    pub budget: BudgetSettings,
    /// How often progress is saved.
    pub checkpoint: Checkpoint,
    /// What the system does with threads at work. Default [`Priority::Normal`]: a host's threads are its own.
    pub priority: Priority,
}

impl Settings {
    /// Checks all values against their limits.
    ///
    /// # Errors
    /// [`Error::Config`] names the first setting that is out of range, and its limits.
    pub fn validate(&self) -> Result<()> {
        self.budget.validate()?;
        match self.checkpoint {
            Checkpoint::Every(interval) => named("checkpoint", within(&INTERVAL, &interval, duration)),
            Checkpoint::EveryBucket | Checkpoint::EverySlice => Ok(()),
        }
    }
}

/// How much of the machine the engine may use.
#[derive(Debug, Clone, PartialEq)]
pub struct BudgetSettings {
    /// Share of the machine, in cores: 0.10 is 10 % of one core, 2.0 two whole ones. Default 0.10.
    pub rate: f64,
    /// How long work goes on before it sleeps. Default 1 s.
    pub slice: Duration,
    /// What is counted against the budget. Default [`Basis::Wall`].
    pub basis: Basis,
    /// The longest sleep after a slice. Default `None`: as long as the budget asks for. With it, a slice that takes
    /// very long is not repaid in full, so the share used may exceed `rate`.
    pub max_sleep: Option<Duration>,
}

impl Default for BudgetSettings {
    fn default() -> Self {
        BudgetSettings { rate: 0.10, slice: Duration::from_secs(1), basis: Basis::Wall, max_sleep: None }
    }
}

impl BudgetSettings {
    /// Checks all values against their limits.
    ///
    /// # Errors
    /// [`Error::Config`] names the first setting that is out of range, and its limits.
    pub fn validate(&self) -> Result<()> {
        named("budget rate", within(&RATE_CORES, &self.rate, |rate| format!("{rate} cores")))?;
        named("budget slice", within(&SLICE, &self.slice, duration))?;
        match &self.max_sleep {
            Some(longest) => named("budget max_sleep", within(&INTERVAL, longest, duration)),
            None => Ok(()),
        }
    }
}

/// What is counted against the budget.
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema), schemars(rename = "Basis"))]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "basis", rename_all = "snake_case")]
pub enum Basis {
    /// The time inside slices, waiting for the disk included; so the disk is spared too.
    #[default]
    Wall,
    /// The CPU time that the threads have used.
    Cpu,
}

/// What holds for one crawl, whatever its job.
#[derive(Debug, Clone, PartialEq)]
pub struct CrawlSettings {
    /// Tells the crawls of one engine apart: letters `a-z`, digits, `-` and `_`, at most 64 of them.
    pub name: String,
    /// How many prefixes are worked on at once, all under the one budget. Default 1.
    pub workers: u32,
    /// Its part of the budget while others want it too, in relation to their weights. Default 1.0.
    pub weight: f64,
    /// Time from the end of a cycle to the start of the next. Each kind of job has a default of its own.
    pub minimum_cycle_time: Duration,
    /// Up to so much is added to both times below and above, anew each time and by chance, so that what has begun
    /// together does not go on together. Default: nothing.
    pub jitter: Duration,
    /// Time from the engine's start to the first slice. Each kind of job has a default of its own.
    pub slow_start: Duration,
    /// How many prefixes are listed ahead of the one being worked on; 0 switches it off. Default 8.
    pub read_ahead: u32,
    /// In which order prefixes are visited. Default [`Order::Ring`]; for `verify` [`Order::OldestFirst`].
    pub order: Order,
    /// Within which time every prefix is to be visited again: the status says whether it will be. Default `None`.
    pub target: Option<Duration>,
}

/// In which order the prefixes of a store are visited. The result of a cycle is the same in any.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename = "order", rename_all = "snake_case")]
pub enum Order {
    /// In byte order.
    #[default]
    Ring,
    /// First those whose last visit as a whole is longest ago, or that never had one.
    OldestFirst,
}

impl CrawlSettings {
    /// The defaults for a job of a host's own: 5 minutes between cycles and before the first.
    pub fn new(name: impl Into<String>) -> Self {
        let pace = Duration::from_secs(300);
        CrawlSettings {
            name: name.into(),
            workers: 1,
            weight: 1.0,
            minimum_cycle_time: pace,
            jitter: Duration::ZERO,
            slow_start: pace,
            read_ahead: 8,
            order: Order::default(),
            target: None,
        }
    }

    /// The defaults for one of Sexton's own jobs.
    /// Checks the name, and all values against their limits.
    ///
    /// # Errors
    /// [`Error::Config`] names the crawl, the first setting that is wrong, and its limits.
    pub fn validate(&self) -> Result<()> {
        check_name(&self.name).map_err(Error::Config)?;
        let of = |what: &str| format!("crawl {}: {what}", self.name);
        named(&of("workers"), within(&WORKERS, &self.workers, u32::to_string))?;
        named(&of("weight"), within(&WEIGHT, &self.weight, f64::to_string))?;
        named(&of("minimum_cycle_time"), within(&PACE, &self.minimum_cycle_time, duration))?;
        named(&of("jitter"), within(&PACE, &self.jitter, duration))?;
        named(&of("slow_start"), within(&PACE, &self.slow_start, duration))?;
        named(&of("read_ahead"), within(&READ_AHEAD, &self.read_ahead, u32::to_string))?;
        match &self.target {
            Some(target) => named(&of("target"), within(&TARGET, target, duration)),
            None => Ok(()),
        }
    }
}

/// Checks that no two tasks have the same name.
///
/// # Errors
/// [`Error::Config`] with the first name that comes twice.
pub fn check_unique<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<()> {
    let mut seen = HashSet::new();
    match names.into_iter().find(|name| !seen.insert(*name)) {
        Some(name) => Err(Error::Config(format!("two tasks have the name {name}; give one of them another name"))),
        None => Ok(()),
    }
}

/// Checks the name of a crawl; the error says what is wrong with it.
pub(crate) fn check_name(name: &str) -> std::result::Result<(), String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    match name.chars().all(allowed) {
        true if (1..=NAME_MOST).contains(&name.len()) => Ok(()),
        _ => Err(format!("the name of a task must be 1 to {NAME_MOST} of a-z, 0-9, - and _, not {name:?}")),
    }
}

/// Checks a value against its limits; the error shows all three. What is not a number is outside.
pub(crate) fn within<T: PartialOrd>(
    range: &RangeInclusive<T>,
    value: &T,
    show: impl Fn(&T) -> String,
) -> std::result::Result<(), String> {
    if range.contains(value) {
        return Ok(());
    }
    Err(format!("{} is out of range: must be between {} and {}", show(value), show(range.start()), show(range.end())))
}

/// Shows a duration as people write it.
pub(crate) fn duration(d: &Duration) -> String {
    humantime::format_duration(*d).to_string()
}

pub(crate) fn named(what: &str, checked: std::result::Result<(), String>) -> Result<()> {
    checked.map_err(|why| Error::Config(format!("{what}: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt;

    fn why<T: fmt::Debug>(result: Result<T>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn defaults_are_valid() {
        Settings::default().validate().unwrap();
        CrawlSettings::new("mine").validate().unwrap();
    }

    #[test]
    fn values_out_of_range_are_named_with_their_limits() {
        let budget = |change: fn(&mut BudgetSettings)| {
            let mut budget = BudgetSettings::default();
            change(&mut budget);
            why(Settings { budget, ..Settings::default() }.validate())
        };
        assert_eq!(
            budget(|b| b.rate = f64::NAN),
            "budget rate: NaN cores is out of range: must be between 0.000001 cores and 1024 cores"
        );
        assert!(budget(|b| b.rate = 0.0).starts_with("budget rate: 0 cores is out of range"));
        assert_eq!(
            budget(|b| b.slice = Duration::ZERO),
            "budget slice: 0s is out of range: must be between 1ms and 1h"
        );
        assert!(budget(|b| b.max_sleep = Some(Duration::ZERO)).starts_with("budget max_sleep: 0s is out of range"));

        let checkpoint = Checkpoint::Every(Duration::from_secs(90_000));
        let checkpoint = why(Settings { checkpoint, ..Settings::default() }.validate());
        assert_eq!(checkpoint, "checkpoint: 1day 1h is out of range: must be between 1ms and 1day");

        let crawl = CrawlSettings { workers: 257, ..CrawlSettings::new("x") };
        assert_eq!(why(crawl.validate()), "crawl x: workers: 257 is out of range: must be between 1 and 256");
        for name in ["", "A", "a b", "ä", &"a".repeat(65)] {
            assert!(why(CrawlSettings::new(name).validate()).contains("the name of a task must be 1 to 64"), "{name}");
        }
    }

    #[test]
    fn a_name_given_twice_is_refused() {
        check_unique(["a", "b"]).unwrap();
        assert_eq!(why(check_unique(["a", "b", "a"])), "two tasks have the name a; give one of them another name");
    }
}
