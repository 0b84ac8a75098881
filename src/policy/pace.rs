//! How much to do under one lock, and how long to leave it alone afterwards.
//!
//! What a row costs differs by a factor of a hundred between kinds of work, machines and moments; so the next step's size
//! follows from how long the last one of its kind has taken.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// The part of a slice that a step should take: the rest is for steps that turn out dearer than the one before.
const AIM: f64 = 0.4;
/// How fast the size of a step grows at most.
const MOST_GROWTH: u64 = 2;
/// Steps larger than this gain nothing.
const MOST_ROWS: u64 = 10_000_000;

/// Times that differ by less than this factor are the same.
const SAME: f64 = 1.25;

/// The sizes of steps, by kind of work.
#[derive(Debug, Clone)]
pub struct Pace<K> {
    slice: Duration,
    kinds: HashMap<K, Kind>,
}

#[derive(Debug, Clone, Copy)]
struct Kind {
    /// For the next step.
    rows: u64,
    /// Of the last step: how many it was given, and how long it took.
    last: (u64, Duration),
}

impl<K: Copy + Eq + Hash> Pace<K> {
    /// Begins anew: locks are to be shorter than `slice`.
    pub fn new(slice: Duration) -> Self {
        Pace { slice, kinds: HashMap::new() }
    }

    /// How many rows the next step of this kind should have, `first` if there was none yet; at least 1.
    pub fn rows(&self, kind: K, first: u64) -> u64 {
        self.kinds.get(&kind).map_or(first, |k| k.rows).clamp(1, MOST_ROWS)
    }

    /// Takes note of a step of so many rows that has taken so long.
    ///
    /// The next one is to take two fifths of a slice. It is at most twice as large; after a step that was longer
    /// than a slice, at most half as large, unless that has been seen not to help.
    pub fn measured(&mut self, kind: K, first: u64, rows: u64, took: Duration) {
        let now = self.rows(kind, first);
        let aim = AIM * self.slice.as_secs_f64();
        // A float too large for the integer becomes its greatest value, and is cut.
        let fitting = (rows.max(1) as f64 * aim / took.as_secs_f64().max(1e-6)) as u64;
        let most = now.saturating_mul(MOST_GROWTH);
        let next = if took.as_secs_f64() > aim && self.is_no_matter_of_rows(kind, now, took) {
            most
        } else if took > self.slice {
            fitting.min(now / 2)
        } else if rows < now / 2 && fitting > now {
            // The short end of something tells nothing about larger steps.
            now
        } else {
            fitting.min(most)
        };
        self.kinds.insert(kind, Kind { rows: next.clamp(1, MOST_ROWS), last: (now, took) });
    }

    /// Whether a step took as long as the last one, which had far more or far fewer rows: then what takes the time is
    /// saving them, on a disk that is slow at that, and smaller steps would only be more of them.
    fn is_no_matter_of_rows(&self, kind: K, rows: u64, took: Duration) -> bool {
        let Some(Kind { last: (rows_before, before), .. }) = self.kinds.get(&kind) else { return false };
        let other_size = rows / 2 >= *rows_before || rows_before / 2 >= rows;
        let (took, before) = (took.as_secs_f64(), before.as_secs_f64());
        other_size && took < SAME * before && before < SAME * took
    }
}

/// How long the lock has to be left alone after it was held for `lock`, so that it is held for at most the part `duty` of
/// the time; nothing for 1 (or more).
pub fn pause_after(lock: Duration, duty: f64) -> Duration {
    let pause = lock.as_secs_f64() / duty.max(f64::MIN_POSITIVE) - lock.as_secs_f64();
    if duty >= 1.0 { Duration::ZERO } else { Duration::try_from_secs_f64(pause).unwrap_or(Duration::MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLICE: Duration = Duration::from_millis(50);

    /// Steps of a kind whose rows cost so much; gives how long each takes.
    fn steps(pace: &mut Pace<u8>, kind: u8, secs_per_row: f64, count: usize) -> Vec<f64> {
        let step = |_| {
            let rows = pace.rows(kind, 250);
            let took = rows as f64 * secs_per_row;
            pace.measured(kind, 250, rows, Duration::from_secs_f64(took));
            took
        };
        (0..count).map(step).collect()
    }

    #[test]
    fn steps_grow_by_two_until_they_take_two_fifths_of_a_slice() {
        let mut pace = Pace::new(SLICE);
        let took = steps(&mut pace, 0, 1e-6, 12);
        assert!(took.windows(2).all(|w| w[1] <= 2.0 * w[0] + 1e-9));
        assert!((0.019..=0.020_001).contains(&took[11]), "{took:?}");
        assert_eq!(pace.rows(1, 5000), 5000, "another kind has a size of its own");
    }

    #[test]
    fn a_step_that_takes_too_long_is_followed_by_a_short_one() {
        let mut pace = Pace::new(SLICE);
        steps(&mut pace, 0, 1e-6, 12);
        // Rows become twenty times as dear: one step overruns, the next is where it should be.
        let took = steps(&mut pace, 0, 2e-5, 3);
        assert!(took[0] > 0.05 && took[1] < 0.021 && took[2] < 0.021, "{took:?}");
    }

    #[test]
    fn where_each_step_costs_more_than_a_slice_steps_do_not_become_single_rows() {
        let mut pace = Pace::new(Duration::from_millis(1));
        let (mut left, mut count, mut longest) = (100_000u64, 0, 0.0f64);
        while left > 0 {
            let rows = pace.rows(0, 5);
            let took = 0.014 + rows as f64 * 1e-6;
            pace.measured(0, 5, rows, Duration::from_secs_f64(took));
            left = left.saturating_sub(rows);
            (count, longest) = (count + 1, longest.max(took));
        }
        assert!(count < 100 && longest < 0.04, "{count} steps, the longest {longest} s");
    }

    #[test]
    fn the_short_end_of_a_table_changes_nothing() {
        let mut pace = Pace::new(SLICE);
        steps(&mut pace, 0, 1e-6, 12);
        let before = pace.rows(0, 250);
        pace.measured(0, 250, 3, Duration::from_micros(3));
        assert_eq!(pace.rows(0, 250), before);
        pace.measured(0, 250, 0, Duration::ZERO);
        assert_eq!(pace.rows(0, 250), before);
    }

    #[test]
    fn there_is_always_one_row_and_never_too_many() {
        let mut pace = Pace::new(SLICE);
        for _ in 0..20 {
            let rows = pace.rows(0, 250);
            pace.measured(0, 250, rows, Duration::from_secs(4 * rows));
        }
        assert_eq!(pace.rows(0, 250), 1);
        for _ in 0..60 {
            let rows = pace.rows(0, 250);
            pace.measured(0, 250, rows, Duration::ZERO);
        }
        assert_eq!(pace.rows(0, 250), MOST_ROWS);
    }

    #[test]
    fn the_lock_is_held_for_its_part_of_the_time() {
        assert_eq!(pause_after(Duration::from_millis(10), 0.05), Duration::from_millis(190));
        assert_eq!(pause_after(Duration::from_millis(10), 1.0), Duration::ZERO);
        assert_eq!(pause_after(Duration::ZERO, 0.05), Duration::ZERO);
        assert_eq!(pause_after(Duration::from_secs(1), 0.0), Duration::MAX);
    }
}
