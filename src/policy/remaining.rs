//! How long a cycle still takes, as a range that is neither wider nor narrower than what is known.

use std::time::Duration;

/// Fewer prefixes than this say nothing about the rest.
const LEAST_PREFIXES: f64 = 8.0;

/// Fewer commits than this do not show how much they differ.
const LEAST_BATCHES: f64 = 3.0;

/// Estimates the time that a cycle still takes, as a range.
///
/// Prefixes are names of random beginning, so they are much alike. They are saved in batches, mostly one for each slice, and
/// what was slept off for a batch lies before the next one: so time is taken from commit to commit, and the first only
/// begins it. A batch of n prefixes tells their mean; its distance from the mean of all, weighted by n, tells the spread of
/// one prefix. The range is the sum over the prefixes left, with its error at 95 %: the spread of the sum itself, that of
/// the mean it is made from, and that few batches say little (Student's t).
#[derive(Debug, Clone, Default)]
pub struct RemainingTime {
    /// When the last batch was saved; `None` before the first, and after an interruption.
    last: Option<Duration>,
    steps: PrefixTimes,
    /// Until when `worked` counts.
    counted: Duration,
    /// All time since the start, and all prefixes that were completed in it.
    worked: (Duration, u32),
}

impl RemainingTime {
    /// Begins at the start of this run; what earlier runs did is not counted, as it may have been at another pace.
    pub fn new(start: Duration) -> Self {
        RemainingTime { counted: start, ..RemainingTime::default() }
    }

    /// Takes note that `prefixes` more are complete, at this moment of a clock that stands still while nothing may be done.
    pub fn saved(&mut self, prefixes: u32, at: Duration) {
        let (worked, completed) = self.worked;
        let more = at.saturating_sub(self.counted);
        (self.worked, self.counted) = ((worked.saturating_add(more), completed.saturating_add(prefixes)), at);
        match self.last {
            // A long prefix takes several commits.
            Some(_) if prefixes == 0 => {}
            Some(last) => {
                self.steps.add(at.saturating_sub(last), f64::from(prefixes));
                self.last = Some(at.max(last));
            }
            None => self.last = Some(at),
        }
    }

    /// Leaves out the time since the last commit: the crawl was held until this moment.
    pub fn interrupted(&mut self, at: Duration) {
        (self.last, self.counted) = (None, at);
    }

    /// The least and the most time that `left` more prefixes will probably take from `now` on; `None` until 8 were
    /// completed in this run, in at least 3 batches. A prefix that takes unusually long counts as soon as it shows.
    pub fn range(&self, left: u32, now: Duration) -> Option<(Duration, Duration)> {
        if left == 0 {
            return self.is_known().then_some((Duration::ZERO, Duration::ZERO));
        }
        let open = self.last.map_or(Duration::ZERO, |last| now.saturating_sub(last));
        let mut steps = self.steps;
        if open.as_secs_f64() > steps.usual() {
            steps.add(open, steps.batch());
        }
        let (least, most) = self.sum(&steps, f64::from(left))?;
        let waited = open.as_secs_f64().min(self.steps.usual());
        Some((to_duration(least - waited), to_duration(most - waited)))
    }

    /// The time that `prefixes` would have taken at the pace of this run: for a cycle that is complete, and so needs no
    /// range. `None` if none was completed in this run.
    pub fn measured(&self, prefixes: u32) -> Option<(Duration, Duration)> {
        let (worked, completed) = self.worked;
        let secs = worked.as_secs_f64() * f64::from(prefixes) / f64::from(completed);
        (completed > 0).then(|| (to_duration(secs), to_duration(secs)))
    }

    /// The least and the most time that `prefixes` take, wherever the crawl stands; `None` as for [`range`](Self::range).
    pub fn whole(&self, prefixes: u32) -> Option<(Duration, Duration)> {
        self.sum(&self.steps, f64::from(prefixes)).map(|(least, most)| (to_duration(least), to_duration(most)))
    }

    fn is_known(&self) -> bool {
        self.steps.prefixes >= LEAST_PREFIXES && self.steps.batches >= LEAST_BATCHES
    }

    fn sum(&self, steps: &PrefixTimes, left: f64) -> Option<(f64, f64)> {
        if !self.is_known() {
            return None;
        }
        let expected = left * steps.mean;
        let error = steps.reach() * (steps.variance() * left * (1.0 + left / steps.prefixes)).sqrt();
        Some((expected - error, expected + error))
    }
}

/// Mean and variance of the time of one prefix, in seconds, from batches (Welford's method, weighted by their prefixes).
#[derive(Debug, Clone, Copy, Default)]
struct PrefixTimes {
    batches: f64,
    prefixes: f64,
    mean: f64,
    squares: f64,
}

impl PrefixTimes {
    fn add(&mut self, took: Duration, prefixes: f64) {
        let each = took.as_secs_f64() / prefixes;
        self.batches += 1.0;
        self.prefixes += prefixes;
        let off = each - self.mean;
        self.mean += off * prefixes / self.prefixes;
        self.squares += prefixes * off * (each - self.mean);
    }

    fn variance(&self) -> f64 {
        // Rounding may leave a trace below zero.
        (self.squares / (self.batches - 1.0).max(1.0)).max(0.0)
    }

    /// How many prefixes a batch has, on average.
    fn batch(&self) -> f64 {
        (self.prefixes / self.batches.max(1.0)).max(1.0)
    }

    /// How long a batch takes, on average.
    fn usual(&self) -> f64 {
        self.mean * self.batch()
    }

    /// How many standard errors the range reaches to either side: the quantile 0.975 of Student's t with a degree of
    /// freedom less than there are batches, by a fit that is within 3 % from two degrees on.
    fn reach(&self) -> f64 {
        let freedom = (self.batches - 1.0).max(1.0);
        1.96 + 2.4 / freedom + 4.6 / (freedom * freedom)
    }
}

fn to_duration(secs: f64) -> Duration {
    if secs <= 0.0 { Duration::ZERO } else { Duration::try_from_secs_f64(secs).unwrap_or(Duration::MAX) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    /// Fed with batches of so many prefixes, after a first one that only begins.
    fn fed(batches: impl IntoIterator<Item = (u32, Duration)>) -> (RemainingTime, Duration) {
        let (mut remaining, mut at) = (RemainingTime::new(secs(49)), secs(50));
        remaining.saved(96, at);
        for (prefixes, took) in batches {
            at += took;
            remaining.saved(prefixes, at);
        }
        (remaining, at)
    }

    #[test]
    fn no_range_is_given_before_eight_prefixes_and_three_batches() {
        let (mut remaining, at) = fed([(1, secs(2)); 7]);
        assert_eq!(remaining.range(1000, at), None);
        remaining.saved(1, at + secs(2));
        assert_eq!(remaining.range(1000, at + secs(2)), Some((secs(2000), secs(2000))));
        assert_eq!(fed([(96, secs(10)); 2]).0.range(1, at), None);
        let (remaining, at) = fed([(96, secs(10)); 3]);
        assert_eq!(remaining.range(960, at), Some((secs(100), secs(100))));
        assert_eq!(remaining.whole(1920), Some((secs(200), secs(200))));
    }

    /// A tenth of a core: a slice of one second completes 96 prefixes, and nine seconds are slept off. Whoever counts
    /// the first slice alone, promises ten times too much.
    #[test]
    fn what_is_slept_off_counts_and_a_range_runs_down_between_commits() {
        let (remaining, at) = fed([(96, secs(10)); 3]);
        assert_eq!(remaining.range(96, at + secs(4)), Some((secs(6), secs(6))));
        let late = remaining.range(96, at + secs(30)).unwrap();
        assert!(late.1 > secs(5), "{late:?}");
        assert_eq!(remaining.range(0, at + secs(4)), Some((Duration::ZERO, Duration::ZERO)));
    }

    #[test]
    fn commits_without_a_complete_prefix_belong_to_the_next() {
        let long = [(0, secs(4)), (1, secs(6))].repeat(8);
        let (remaining, at) = fed(long);
        assert_eq!(remaining.range(10, at), Some((secs(100), secs(100))));
    }

    #[test]
    fn an_interruption_is_left_out() {
        let (mut remaining, at) = fed([(96, secs(10)); 3]);
        remaining.interrupted(at + secs(86_399));
        assert_eq!(remaining.range(96, at + secs(86_400)), Some((secs(10), secs(10))));
        remaining.saved(5, at + secs(86_400));
        remaining.saved(96, at + secs(86_410));
        assert_eq!(remaining.range(96, at + secs(86_410)), Some((secs(10), secs(10))));
        // Of 485 prefixes: one second for the first 96, thirty for the next 288, and eleven since.
        assert_eq!(remaining.measured(485), Some((secs(42), secs(42))));
        assert_eq!(RemainingTime::new(at).measured(485), None);
    }

    #[test]
    fn empty_prefixes_take_no_time() {
        let (remaining, at) = fed([(1, Duration::ZERO); 20]);
        assert_eq!(remaining.range(1004, at), Some((Duration::ZERO, Duration::ZERO)));
    }

    #[test]
    fn a_prefix_that_takes_long_widens_the_range_while_it_lasts() {
        let (remaining, at) = fed([(1, secs(2)); 100]);
        let (_, before) = remaining.range(100, at + secs(2)).unwrap();
        let (low, after) = remaining.range(100, at + secs(600)).unwrap();
        assert!(low < before && before < after, "{low:?} {before:?} {after:?}");
    }

    /// Quantiles of Student's t as every table has them.
    #[test]
    fn few_batches_reach_far() {
        for (freedom, quantile) in [(2.0, 4.303), (3.0, 3.182), (5.0, 2.571), (10.0, 2.228), (30.0, 2.042), (1e9, 1.96)]
        {
            let reach = PrefixTimes { batches: freedom + 1.0, ..PrefixTimes::default() }.reach();
            assert!((reach / quantile - 1.0).abs() < 0.03, "{freedom}: {reach}");
        }
    }

    proptest! {
        #[test]
        fn ranges_are_finite_and_in_order(
            batches in prop::collection::vec((1u32..u32::MAX, 0u64..u64::MAX / 64), 8..40),
            left in any::<u32>(), open in any::<u64>(),
        ) {
            let (remaining, at) = fed(batches.into_iter().map(|(n, nanos)| (n, Duration::from_nanos(nanos))));
            let (low, high) = remaining.range(left, at.saturating_add(secs(open))).unwrap();
            prop_assert!(low <= high);
        }
    }

    /// Prefixes of exponentially distributed length, 256 of 1024 done, one by one or in batches as slices make them: the
    /// time that the others then really take lies within the range in about 95 % of 500 crawls, and the range is narrow
    /// enough to be of use.
    #[test]
    fn ranges_hold_what_comes() {
        for batch in [1, 8, 32] {
            let mut random = fastrand::Rng::with_seed(1);
            let mut held = 0;
            for _ in 0..500 {
                let steps: Vec<Duration> =
                    (0..1024).map(|_| Duration::from_secs_f64(-(1.0 - random.f64()).ln())).collect();
                let batches = steps[..256].chunks(batch).map(|steps| (batch as u32, steps.iter().sum()));
                let (remaining, at) = fed(batches);
                let rest: Duration = steps[256..].iter().sum();
                let (low, high) = remaining.range(768, at).unwrap();
                held += u32::from((low..=high).contains(&rest));
                assert!(high - low < rest, "{low:?} to {high:?}, then {rest:?}");
            }
            assert!((460..=492).contains(&held), "{held} of 500 in batches of {batch}");
        }
    }
}
