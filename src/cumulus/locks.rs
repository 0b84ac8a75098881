//! How long a run has held the lock, time after time.

use std::time::Duration;

use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};

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
}

/// `{count, p50_ms, p99_ms, longest_ms}`, times `null` where there were no locks.
impl Serialize for LockTimes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let ms = |time: Duration| 1e3 * time.as_secs_f64();
        let mut object = serializer.serialize_struct("LockTimes", 4)?;
        object.serialize_field("count", &self.count())?;
        object.serialize_field("p50_ms", &self.percentile(50).map(ms))?;
        object.serialize_field("p99_ms", &self.percentile(99).map(ms))?;
        object.serialize_field("longest_ms", &(self.count() > 0).then_some(ms(self.longest)))?;
        object.end()
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
        let json = serde_json::to_value(&times).unwrap();
        assert_eq!(json["count"], 200);
        assert_eq!(json["longest_ms"], 200.0);
    }
}
