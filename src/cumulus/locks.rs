//! How long a run has held the lock, time after time.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The lock times of a run. Four bytes for each; percentiles are exact, to the microsecond.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LockTimes {
    micros: Vec<u32>,
    longest: Duration,
}

impl LockTimes {
    pub(super) fn add(&mut self, lock: Duration) {
        self.micros.push(u32::try_from(lock.as_micros()).unwrap_or(u32::MAX));
        self.longest = self.longest.max(lock);
    }

    /// The last; zero if there was none.
    pub(super) fn last(&self) -> Duration {
        self.micros.last().map_or(Duration::ZERO, |micros| Duration::from_micros((*micros).into()))
    }

    /// How many there were.
    pub fn count(&self) -> usize {
        self.micros.len()
    }

    /// The longest; zero if there was none.
    pub fn longest(&self) -> Duration {
        self.longest
    }

    /// The shortest time that so many percent of all were not above; `None` if there was none.
    pub fn percentile(&self, percent: usize) -> Option<Duration> {
        let mut sorted = self.micros.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent.min(100)).div_ceil(100);
        let micros = *sorted.get(rank.saturating_sub(1))?;
        Some(Duration::from_micros(micros.into()))
    }

    /// All of them in four numbers.
    pub fn summary(&self) -> LockSummary {
        let ms = |time: Duration| 1e3 * time.as_secs_f64();
        LockSummary {
            count: self.count(),
            p50_ms: self.percentile(50).map(ms),
            p99_ms: self.percentile(99).map(ms),
            longest_ms: (self.count() > 0).then_some(ms(self.longest)),
        }
    }
}

/// Lock times in four numbers, milliseconds; none where there were no locks.
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct LockSummary {
    /// How many there were.
    pub count: usize,
    /// The median.
    pub p50_ms: Option<f64>,
    /// Of hundred, 99 were not above it.
    pub p99_ms: Option<f64>,
    /// The longest.
    pub longest_ms: Option<f64>,
}

/// Why the lock was held for longer than a slice.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "cause")]
pub enum LockOverrun {
    /// A step takes so long however few rows it changes, mostly to save them. The rows take as long again.
    FixedCost {
        /// How long, in milliseconds.
        fixed_ms: f64,
    },
    /// The blocks of a segment are changed together.
    LargeSegment {
        /// How many there are.
        blocks: u64,
    },
}

impl fmt::Display for LockOverrun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LockOverrun::FixedCost { fixed_ms } => write!(
                f,
                "the database is locked for longer than a slice, for about {:.0} ms at a time: \
                 on this disk a step takes {fixed_ms:.0} ms however small it is",
                2.0 * fixed_ms
            ),
            LockOverrun::LargeSegment { blocks } => write!(
                f,
                "the database is locked for longer than a slice: the {blocks} blocks of a segment are changed together"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let mut times = LockTimes::default();
        assert_eq!(times.percentile(50), None);
        for ms in (1..=200).rev() {
            times.add(Duration::from_millis(ms));
        }
        let ms = |percent| times.percentile(percent).unwrap().as_millis();
        assert_eq!((ms(50), ms(99), ms(100), ms(0)), (100, 198, 200, 1));
        let json = serde_json::to_value(times.summary()).unwrap();
        assert_eq!(json["count"], 200);
        assert_eq!(json["longest_ms"], 200.0);
    }
}
