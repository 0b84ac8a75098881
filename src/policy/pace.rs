//! How much to do under one lock, and how long to leave it alone afterwards.
//!
//! What a row costs differs by a factor of a hundred between kinds of work, machines and moments, and so does what a step
//! costs without any row: saving it, on most disks. So the next step's size follows from what those before it have
//! shown about both (see [`step_cost`](crate::policy::step_cost)).

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use super::step_cost::{StepCost, StepCosts};

/// The part of a slice that a step should take: the rest is for steps that turn out dearer than the one before.
const AIM: f64 = 0.4;
/// A step takes at least this many times its fixed cost, so that its rows are half of it: a little more than twice, for the
/// smaller steps in between.
const FIXED_TIMES: f64 = 2.06;
/// A step that is smaller only to tell the fixed cost from the price of a row has this part of the rows, as a divisor.
const SMALLER: u64 = 4;
/// How fast the size of a step grows at most.
const MOST_GROWTH: u64 = 2;
/// How fast while rows are a small part of the step: where they cost less than a quarter of what is fixed, four times as
/// many cost less than that.
const MOST_GROWTH_WHILE_CHEAP: u64 = 4;
/// Steps larger than this gain nothing.
const MOST_ROWS: u64 = 10_000_000;

/// The sizes of steps, by kind of work.
#[derive(Debug, Clone)]
pub struct Pace<K> {
    slice: Duration,
    kinds: HashMap<K, KindPace>,
}

#[derive(Debug, Clone, Default)]
struct KindPace {
    /// For the next step; none before the first.
    rows: Option<u64>,
    costs: StepCosts,
}

impl<K: Copy + Eq + Hash> Pace<K> {
    /// Begins anew: locks are to be shorter than `slice`.
    pub fn new(slice: Duration) -> Self {
        Pace { slice, kinds: HashMap::new() }
    }

    /// How many rows the next step of this kind should have, `first` if there was none yet; at least 1.
    pub fn rows(&self, kind: K, first: u64) -> u64 {
        self.kinds.get(&kind).and_then(|k| k.rows).unwrap_or(first).clamp(1, MOST_ROWS)
    }

    /// What a step of this kind costs, as far as is known.
    pub fn cost(&self, kind: K) -> Option<StepCost> {
        self.kinds.get(&kind)?.costs.cost()
    }

    /// Takes note of a step of so many rows that has taken so long.
    ///
    /// The next one is to take two fifths of a slice, or twice its fixed cost where that is more: then its rows are half
    /// of it, and smaller steps would only be more of them. Its size grows by a factor of two at most (four while rows
    /// cost next to nothing), and is at most half after a step that was unexpectedly long. One in eight is smaller, to
    /// tell the two costs apart.
    pub fn measured(&mut self, kind: K, first: u64, rows: u64, took: Duration) {
        let (asked, slice_secs) = (self.rows(kind, first), self.slice.as_secs_f64());
        let kind = self.kinds.entry(kind).or_default();
        kind.costs.measured(rows, took.as_secs_f64());
        kind.rows = Some(next_rows(&kind.costs, asked, slice_secs));
    }
}

/// The size of the next step after one that was to have so many rows.
fn next_rows(costs: &StepCosts, asked: u64, slice_secs: f64) -> u64 {
    let Some(cost) = costs.cost() else { return asked };
    let secs = (AIM * slice_secs).max(FIXED_TIMES * cost.fixed_secs);
    let is_cheap = cost.row_secs * (asked as f64) < cost.fixed_secs / MOST_GROWTH_WHILE_CHEAP as f64;
    let growth = if is_cheap { MOST_GROWTH_WHILE_CHEAP } else { MOST_GROWTH };
    // A float too large for the integer becomes its greatest value, no number becomes 0; both are cut.
    let fitting = if cost.row_secs > 0.0 { ((secs - cost.fixed_secs) / cost.row_secs) as u64 } else { u64::MAX };
    let mut rows = fitting.min(asked.saturating_mul(growth));
    if let Some((long, took_secs)) = costs.doubtfully_long() {
        rows = rows.min(long / 2).min((long as f64 * secs / took_secs) as u64);
    }
    if costs.wants_other_size(rows.clamp(1, MOST_ROWS)) {
        rows = if rows > 1 { rows / SMALLER } else { 2 };
    }
    rows.clamp(1, MOST_ROWS)
}

/// How long the lock has to be left alone after it was held for `lock`, so that it is held for at most the part `duty` of
/// the time; nothing for 1 (or more).
pub fn pause_after(lock: Duration, duty: f64) -> Duration {
    let pause = lock.as_secs_f64() / duty.max(f64::MIN_POSITIVE) - lock.as_secs_f64();
    if duty >= 1.0 { Duration::ZERO } else { Duration::try_from_secs_f64(pause).unwrap_or(Duration::MAX) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    /// A machine on which a step costs so much, but for a factor on the whole that is drawn for each.
    struct Machine {
        cost: StepCost,
        rng: fastrand::Rng,
        noise: f64,
    }

    impl Machine {
        /// Does one step; gives its rows and how long it has taken.
        fn step(&mut self, pace: &mut Pace<u8>, first: u64) -> (u64, f64) {
            let rows = pace.rows(0, first);
            let took = self.cost.secs(rows) * (1.0 + self.noise * (2.0 * self.rng.f64() - 1.0));
            pace.measured(0, first, rows, Duration::from_secs_f64(took));
            (rows, took)
        }

        /// Does so many steps; gives the part of the time that their rows took, and by how much the longest exceeded the
        /// greater of the slice and twice what is fixed (or what one row takes).
        fn steps(&mut self, pace: &mut Pace<u8>, first: u64, count: usize) -> (f64, f64) {
            let most = pace.slice.as_secs_f64().max(2.0 * self.cost.fixed_secs).max(self.cost.secs(1));
            let done: Vec<(u64, f64)> = (0..count).map(|_| self.step(pace, first)).collect();
            let all: f64 = done.iter().map(|(_, took)| took).sum();
            let of_rows: f64 = done.iter().map(|(rows, _)| self.cost.row_secs * *rows as f64).sum();
            (of_rows / all, done.iter().map(|(_, took)| took / most).fold(0.0, f64::max))
        }
    }

    fn machines() -> impl Strategy<Value = (Duration, StepCost, u64)> {
        // Spread over the orders of magnitude.
        let part = |least: f64, most: f64| (least.ln()..most.ln()).prop_map(f64::exp);
        let cost = (part(1e-5, 0.1), part(1e-7, 1e-4));
        (part(0.001, 1.0), cost, 1..5000u64).prop_map(|(slice, (fixed_secs, row_secs), first)| {
            (Duration::from_secs_f64(slice), StepCost { fixed_secs, row_secs }, first)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// However dear a row, and what is fixed, and however long a slice.
        #[test]
        fn rows_are_half_of_the_time_and_no_lock_is_longer_than_slice_and_twice_what_is_fixed(
            (slice, cost, first) in machines(),
            seed in any::<u64>(),
        ) {
            let mut pace = Pace::new(slice);
            let mut machine = Machine { cost, rng: fastrand::Rng::with_seed(seed), noise: 0.05 };
            // As many steps as it takes to grow from one row to as many as there are.
            machine.steps(&mut pace, first, 30);
            let (part, excess) = machine.steps(&mut pace, first, 200);
            prop_assert!(part > 0.44, "{part}");
            prop_assert!(excess < 1.25, "{excess}");
        }

        /// A disk that becomes slow or fast, rows that become dear or cheap.
        #[test]
        fn what_changes_is_learnt_anew(
            (slice, cost, first) in machines(),
            (_, other, _) in machines(),
            seed in any::<u64>(),
        ) {
            let mut pace = Pace::new(slice);
            let mut machine = Machine { cost, rng: fastrand::Rng::with_seed(seed), noise: 0.05 };
            machine.steps(&mut pace, first, 60);
            machine.cost = other;
            machine.steps(&mut pace, first, 60);
            let (part, excess) = machine.steps(&mut pace, first, 200);
            prop_assert!(part > 0.44, "{part}");
            prop_assert!(excess < 1.25, "{excess}");
        }
    }

    #[test]
    fn a_step_that_hangs_once_does_not_slow_down_the_others() {
        for fixed_secs in [1e-5, 0.02] {
            let cost = StepCost { fixed_secs, row_secs: 1e-6 };
            let mut machine = Machine { cost, rng: fastrand::Rng::with_seed(1), noise: 0.05 };
            let mut pace = Pace::new(SLICE);
            machine.steps(&mut pace, 250, 30);
            let before = pace.rows(0, 250);
            for _ in 0..20 {
                let rows = pace.rows(0, 250);
                pace.measured(0, 250, rows, Duration::from_secs(1));
                machine.steps(&mut pace, 250, 6);
                let after = pace.rows(0, 250);
                assert!(after > before / 2 && after < 2 * before, "{before} rows became {after}");
            }
        }
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
