//! What a step of one kind of work costs: something fixed, however little it does, and something for each of its rows.
//!
//! The two are learnt apart from steps of different sizes: the price of a row is the weighted median of the slopes between
//! any two of the last steps (Theil-Sen; a pair weighs as much as its sizes differ), the fixed cost the median of what the
//! rows leave over. Medians, since now and then a step takes ten times as long for reasons of its own. A step that took
//! unexpectedly long, or short, counts only if the next one does so too; then everything before is out of date.

/// Steps that are remembered: among them some of another size, see below.
const KEPT: usize = 32;
/// A step is unexpected if it takes this many times as long as expected, or as short.
const UNEXPECTED: f64 = 1.5;
/// Differences below this are no surprise: so long takes the scheduler.
const JITTER_SECS: f64 = 100e-6;
/// Sizes that differ by less than this factor tell nothing about the price of a row.
const OTHER_SIZE: f64 = 1.25;
/// Among so many steps one should be of another size, or nobody could tell which of the two costs has changed.
const VARIED_WITHIN: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepCost {
    /// However few rows it has.
    pub fixed_secs: f64,
    /// For each row besides.
    pub row_secs: f64,
}

impl StepCost {
    /// How long a step of so many rows takes.
    pub fn secs(&self, rows: u64) -> f64 {
        self.fixed_secs + self.row_secs * rows as f64
    }
}

/// A step that was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
struct MeasuredStep {
    rows: u64,
    secs: f64,
}

impl MeasuredStep {
    fn is_of_other_size(&self, rows: u64) -> bool {
        let (less, more) = (self.rows.min(rows), self.rows.max(rows));
        more as f64 >= OTHER_SIZE * less as f64
    }
}

/// How a step was unexpected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Surprise {
    Long,
    Short,
}

/// Learns what steps of one kind cost.
#[derive(Debug, Clone, Default)]
pub struct StepCosts {
    /// The last ones, oldest first.
    steps: Vec<MeasuredStep>,
    /// The last step, if it was unexpected.
    doubted: Option<(Surprise, MeasuredStep)>,
    cost: Option<StepCost>,
}

impl StepCosts {
    /// Takes note of a step. One without rows tells nothing.
    pub fn measured(&mut self, rows: u64, secs: f64) {
        if rows == 0 || !secs.is_finite() {
            return;
        }
        let step = MeasuredStep { rows, secs: secs.max(0.0) };
        let doubted = self.surprise(&step).map(|surprise| (surprise, step));
        if doubted.is_some() && self.doubted.take().is_some() {
            // The step before, which is the last that was kept, is as new as this one; all others are out of date.
            self.steps.drain(..self.steps.len().saturating_sub(1));
        } else {
            self.doubted = doubted;
        }
        if self.steps.len() == KEPT {
            self.steps.remove(0);
        }
        self.steps.push(step);
        self.cost = self.learnt();
    }

    /// What is known so far; `None` before the first step. As long as all steps were of one size, all of it counts as the
    /// price of their rows.
    pub fn cost(&self) -> Option<StepCost> {
        self.cost
    }

    fn learnt(&self) -> Option<StepCost> {
        let least = self.steps.iter().map(|s| s.secs).reduce(f64::min)?;
        let mut slopes = Vec::new();
        for (i, a) in self.steps.iter().enumerate() {
            for b in self.steps[..i].iter().filter(|b| b.is_of_other_size(a.rows)) {
                let rows = a.rows as f64 - b.rows as f64;
                slopes.push(((a.secs - b.secs) / rows, rows.abs()));
            }
        }
        let slope = weighted_median(slopes).map(|slope| slope.max(0.0));
        let fixed = |slope: f64| self.steps.iter().map(|s| (s.secs - slope * s.rows as f64, 1.0)).collect();
        let fixed_secs = slope.and_then(|slope| weighted_median(fixed(slope))).unwrap_or(0.0).clamp(0.0, least);
        // Again, as what is fixed may have been cut.
        let rows = self.steps.iter().map(|s| ((s.secs - fixed_secs) / s.rows as f64, s.rows as f64)).collect();
        Some(StepCost { fixed_secs, row_secs: weighted_median(rows)?.max(0.0) })
    }

    /// How long the last step took, and how many rows it had, if that was unexpectedly long: nobody knows yet what for.
    pub fn doubtfully_long(&self) -> Option<(u64, f64)> {
        let (surprise, step) = self.doubted?;
        (surprise == Surprise::Long).then_some((step.rows, step.secs))
    }

    /// Whether the next step should not have so many rows, since all of the last ones had as many.
    pub fn wants_other_size(&self, rows: u64) -> bool {
        !self.steps.is_empty() && !self.steps.iter().rev().take(VARIED_WITHIN - 1).any(|s| s.is_of_other_size(rows))
    }

    /// What is unexpected about a step, once the price of a row is known.
    fn surprise(&self, step: &MeasuredStep) -> Option<Surprise> {
        let first = self.steps.first()?;
        if !self.steps.iter().any(|s| s.is_of_other_size(first.rows)) {
            return None;
        }
        let expected = self.cost?.secs(step.rows);
        match () {
            () if step.secs > UNEXPECTED * expected + JITTER_SECS => Some(Surprise::Long),
            () if step.secs < expected / UNEXPECTED - JITTER_SECS => Some(Surprise::Short),
            () => None,
        }
    }
}

/// The least value that is not below half of the weight.
fn weighted_median(mut values: Vec<(f64, f64)>) -> Option<f64> {
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    let half = values.iter().map(|(_, weight)| weight).sum::<f64>() / 2.0;
    let mut sum = 0.0;
    let reached = values.iter().find(|(_, weight)| {
        sum += weight;
        sum >= half
    });
    reached.or(values.last()).map(|(value, _)| *value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRUE: StepCost = StepCost { fixed_secs: 0.02, row_secs: 1e-6 };

    fn after(steps: impl IntoIterator<Item = (u64, f64)>) -> StepCosts {
        let mut costs = StepCosts::default();
        steps.into_iter().for_each(|(rows, secs)| costs.measured(rows, secs));
        costs
    }

    fn assert_about(found: Option<StepCost>, expected: StepCost, part: f64) {
        let found = found.unwrap();
        let near = |a: f64, b: f64| (a - b).abs() <= part * b;
        let is_about = near(found.fixed_secs, expected.fixed_secs) && near(found.row_secs, expected.row_secs);
        assert!(is_about, "{found:?}, not {expected:?}");
    }

    #[test]
    fn nothing_is_known_before_the_first_step_and_one_size_tells_only_a_price() {
        assert_eq!(StepCosts::default().cost(), None);
        assert_eq!(after([(0, 1.0), (5, f64::NAN)]).cost(), None, "these tell nothing");
        assert_about(after([(10, 2.0), (11, 2.2)]).cost(), StepCost { fixed_secs: 0.0, row_secs: 0.2 }, 1e-9);
    }

    #[test]
    fn two_sizes_tell_both() {
        assert_about(after([10, 5000].map(|rows| (rows, TRUE.secs(rows)))).cost(), TRUE, 1e-6);
    }

    #[test]
    fn one_step_in_five_may_be_anything() {
        let steps = (0..40).map(|i| {
            let rows = if i % 2 == 0 { 10_000 } else { 20_000 };
            (rows, TRUE.secs(rows) * if i % 5 == 3 { 20.0 } else { 1.0 })
        });
        assert_about(after(steps).cost(), TRUE, 1e-6);
    }

    #[test]
    fn what_became_dearer_is_believed_at_the_second_step() {
        let mut costs = after([1000, 10_000, 20_000, 20_000].map(|rows| (rows, TRUE.secs(rows))));
        let dearer = StepCost { fixed_secs: 0.1, row_secs: 3e-6 };
        costs.measured(20_000, dearer.secs(20_000));
        assert_about(costs.cost(), TRUE, 1e-6);
        assert_eq!(costs.doubtfully_long(), Some((20_000, dearer.secs(20_000))));
        costs.measured(5000, dearer.secs(5000));
        assert_about(costs.cost(), dearer, 1e-6);
        assert_eq!(costs.doubtfully_long(), None);
    }

    #[test]
    fn where_all_steps_are_alike_another_size_is_asked_for() {
        let mut costs = after([10_000, 20_000].map(|rows| (rows, TRUE.secs(rows))));
        assert!(!costs.wants_other_size(20_000) && !costs.wants_other_size(5000));
        for _ in 0..6 {
            assert!(!costs.wants_other_size(20_000));
            costs.measured(20_000, TRUE.secs(20_000));
        }
        assert!(costs.wants_other_size(20_000) && costs.wants_other_size(16_001) && !costs.wants_other_size(16_000));
        assert_about(costs.cost(), TRUE, 1e-6);
    }

    proptest! {
        #[test]
        fn never_negative_never_more_than_was_measured(steps in prop::collection::vec((0..50_000u64, 0.0..10.0f64), 1..60)) {
            let costs = after(steps.iter().copied());
            prop_assert!(costs.steps.len() <= KEPT);
            if let Some(cost) = costs.cost() {
                let most = steps.iter().map(|(_, secs)| *secs).fold(0.0, f64::max);
                prop_assert!(cost.fixed_secs >= 0.0 && cost.row_secs >= 0.0 && cost.row_secs.is_finite());
                prop_assert!(cost.fixed_secs <= most, "{cost:?}");
            }
        }

        /// Within a fifth, where steps jitter by a tenth and their sizes differ by ten.
        #[test]
        fn noise_does_not_matter(
            fixed_secs in 1e-4..0.1f64,
            rows in 10..10_000u64,
            noise in prop::collection::vec(0.95..1.05f64, 32),
        ) {
            // At ten times the size the rows take as long as what is fixed.
            let truth = StepCost { fixed_secs, row_secs: fixed_secs / (10 * rows) as f64 };
            let steps = noise.iter().enumerate().map(|(i, noise)| {
                let rows = if i % 2 == 0 { rows } else { 10 * rows };
                (rows, noise * truth.secs(rows))
            });
            assert_about(after(steps).cost(), truth, 0.2);
        }
    }
}
