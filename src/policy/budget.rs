//! The budget: what may be spent, what was spent, and when the next slice may begin.
//!
//! `balance += rate x elapsed`, less what slices cost. A slice may begin while the balance is not negative, and what is
//! already out will have been paid for by the time it ends. So at every grant
//!
//! ```text
//! cost so far <= rate x time + one slice
//! ```
//!
//! and, while there is demand and no unit of work is longer than a slice, the balance stands near zero at every grant:
//! over any twenty slices the share spent is the share asked for. A longer unit leaves a debt, which is waited for in
//! full unless `max_sleep` forgives it. Next to nothing is saved up (for basis `cpu` one slice), so an idle gap buys no
//! burst.
//!
//! All quantities are seconds; times are seconds since any fixed moment; a rate is in cores (10 % is 0.10).

use std::time::Duration;

/// How late a timer may ring. What is lost to that is kept for the next slice.
const TIMER_TICK_SECS: f64 = 0.002;

/// Rounding errors of sums of seconds stay far below this.
const EPSILON_SECS: f64 = 1e-9;

/// The terms that a budget works by. They may change at any time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Terms {
    /// Cores that may be used on average: 0.10 is 10 % of one.
    pub rate: f64,
    /// The usual length of a slice.
    pub slice_secs: f64,
    /// The longest sleep, whatever is owed; the rest of the debt is forgiven. `None`: it never is.
    pub max_sleep_secs: Option<f64>,
    /// How many slices may be out at once.
    pub slots: u32,
}

/// What a slice of some client usually costs and how long it is usually out; both in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usual {
    pub cost_secs: f64,
    /// Time from grant to settlement.
    pub out_secs: f64,
}

/// How what is out is charged while it is out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accrual {
    /// Time itself is the cost (basis `wall`).
    Elapsed,
    /// The cost is known at the end; until then the usual one is assumed (basis `cpu`).
    Estimated,
}

/// When the next slice may begin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SliceVerdict {
    Now,
    /// Not before this long from now, unless a slice is settled first.
    In(f64),
    /// When a slice is settled.
    AfterSettlement,
}

#[derive(Debug, Clone, Copy)]
struct SliceOut {
    id: u64,
    since: f64,
    usual: Usual,
}

/// The account of one governor.
#[derive(Debug, Clone)]
pub struct BudgetAccount {
    terms: Terms,
    accrual: Accrual,
    /// Income less settled cost.
    balance: f64,
    /// The moment up to which `balance` has its income.
    at: f64,
    out: Vec<SliceOut>,
}

impl BudgetAccount {
    /// Opens an account with nothing in it.
    pub fn new(terms: Terms, accrual: Accrual, now: f64) -> Self {
        BudgetAccount { terms, accrual, balance: 0.0, at: now, out: Vec::new() }
    }

    /// The terms in force.
    pub fn terms(&self) -> Terms {
        self.terms
    }

    /// Changes the terms: what was earned until now was earned at the old rate.
    pub fn set_terms(&mut self, terms: Terms, now: f64) {
        self.earn(now);
        self.terms = terms;
        self.forgive(now);
        self.limit_savings(now);
    }

    /// Changes how cost is counted; what is out is settled by the new rule.
    pub fn set_accrual(&mut self, accrual: Accrual, now: f64) {
        self.earn(now);
        self.accrual = accrual;
    }

    /// How many slices are out.
    pub fn out(&self) -> usize {
        self.out.len()
    }

    /// What is left at this moment, with what is out charged so far; negative is debt.
    pub fn balance(&self, now: f64) -> f64 {
        self.balance + self.terms.rate * (now - self.at).max(0.0) - self.running(now)
    }

    /// Tells when the next slice may begin.
    pub fn verdict(&mut self, now: f64) -> SliceVerdict {
        self.earn(now);
        if self.out.len() >= self.terms.slots as usize {
            return SliceVerdict::AfterSettlement;
        }
        let balance = self.balance(now);
        if balance < -EPSILON_SECS {
            let slope = self.terms.rate - self.burning();
            return if slope > EPSILON_SECS {
                SliceVerdict::In(-balance / slope)
            } else {
                SliceVerdict::AfterSettlement
            };
        }
        self.cover(balance, now)
    }

    /// Whether what is out will have been paid for when it ends; if not, looks again when the first of it should end.
    fn cover(&self, balance: f64, now: f64) -> SliceVerdict {
        let (mut owed, mut first_end, mut last_end) = (0.0_f64, f64::INFINITY, 0.0_f64);
        for out in &self.out {
            let elapsed = now - out.since;
            owed += (out.usual.cost_secs - self.charged(out, now)).max(0.0);
            let left = (out.usual.out_secs - elapsed).max(0.0);
            last_end = last_end.max(left);
            if left > 0.0 {
                first_end = first_end.min(left);
            }
        }
        if balance - owed + self.terms.rate * last_end >= -EPSILON_SECS {
            SliceVerdict::Now
        } else if first_end.is_finite() {
            SliceVerdict::In(first_end)
        } else {
            SliceVerdict::AfterSettlement
        }
    }

    /// Gives a slice out. Call it when the [`verdict`](Self::verdict) is [`SliceVerdict::Now`].
    pub fn grant(&mut self, id: u64, usual: Usual, now: f64) {
        self.earn(now);
        self.out.push(SliceOut { id, since: now, usual });
    }

    /// Takes a slice back at its real cost. A slice that is not out changes nothing.
    pub fn settle(&mut self, id: u64, cost_secs: f64, now: f64) {
        self.earn(now);
        let Some(i) = self.out.iter().position(|o| o.id == id) else { return };
        self.out.swap_remove(i);
        self.balance -= cost_secs.max(0.0);
        self.forgive(now);
        self.limit_savings(now);
    }

    /// Charges a cost that no slice stood for.
    pub fn charge(&mut self, cost_secs: f64, now: f64) {
        self.earn(now);
        self.balance -= cost_secs.max(0.0);
    }

    /// How long nothing can begin from now on if nothing changes: the seed's sleep time.
    pub fn sleep_secs(&self, now: f64) -> f64 {
        (-self.balance(now)).max(0.0) / self.terms.rate
    }

    fn earn(&mut self, now: f64) {
        let elapsed = now - self.at;
        if elapsed > 0.0 {
            self.balance += self.terms.rate * elapsed;
            self.at = now;
            self.limit_savings(now);
        }
    }

    /// Where time is the cost, savings only make up for late timers and settlements: half a percentage point over twenty
    /// slices at most. Where the cost is known at the end only, cheap slices make up for dear ones, up to one slice.
    fn limit_savings(&mut self, now: f64) {
        let Terms { rate, slice_secs, .. } = self.terms;
        let late = (0.05 * slice_secs).min(0.1 * slice_secs / rate).max(rate * TIMER_TICK_SECS).min(slice_secs);
        let most = match self.accrual {
            Accrual::Elapsed => late,
            Accrual::Estimated => slice_secs,
        };
        self.balance = self.balance.min(most + self.running(now));
    }

    fn forgive(&mut self, now: f64) {
        let Some(max_sleep) = self.terms.max_sleep_secs else { return };
        self.balance = self.balance.max(self.running(now) - self.terms.rate * max_sleep);
    }

    fn charged(&self, out: &SliceOut, now: f64) -> f64 {
        let elapsed = (now - out.since).max(0.0);
        match self.accrual {
            Accrual::Elapsed => elapsed,
            Accrual::Estimated => elapsed * share(out.usual),
        }
    }

    fn running(&self, now: f64) -> f64 {
        self.out.iter().map(|o| self.charged(o, now)).sum()
    }

    /// Cores in use by what is out, as far as known.
    fn burning(&self) -> f64 {
        match self.accrual {
            Accrual::Elapsed => self.out.len() as f64,
            Accrual::Estimated => self.out.iter().map(|o| share(o.usual)).sum(),
        }
    }
}

fn share(usual: Usual) -> f64 {
    if usual.out_secs > 0.0 { usual.cost_secs / usual.out_secs } else { 1.0 }
}

/// Keeps what a client's slices usually cost: an average in which the last slices count most.
#[derive(Debug, Clone, Copy)]
pub struct Habit {
    usual: Option<Usual>,
}

impl Habit {
    /// Nothing is known yet.
    pub const UNKNOWN: Habit = Habit { usual: None };

    /// What to expect of the next slice; a full slice of full cost until something is known.
    pub fn usual(&self, slice_secs: f64) -> Usual {
        self.usual.unwrap_or(Usual { cost_secs: slice_secs, out_secs: slice_secs })
    }

    /// Learns from a settled slice.
    pub fn learn(&mut self, cost_secs: f64, out_secs: f64) {
        const NEW: f64 = 0.25;
        let mix = |old: f64, new: f64| old + NEW * (new - old);
        self.usual = Some(match self.usual {
            None => Usual { cost_secs, out_secs },
            Some(u) => Usual { cost_secs: mix(u.cost_secs, cost_secs), out_secs: mix(u.out_secs, out_secs) },
        });
    }
}

/// Seconds of a duration.
pub fn secs(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn terms(rate: f64, slots: u32) -> Terms {
        Terms { rate, slice_secs: 1.0, max_sleep_secs: None, slots }
    }

    fn full_slice() -> Usual {
        Usual { cost_secs: 1.0, out_secs: 1.0 }
    }

    /// Runs one client at a time, back to back, and gives (start, cost) of each slice.
    fn run(budget: &mut BudgetAccount, costs: &[f64]) -> Vec<(f64, f64)> {
        let (mut now, mut out) = (0.0, Vec::new());
        for (id, cost) in costs.iter().enumerate() {
            match budget.verdict(now) {
                SliceVerdict::Now => {}
                SliceVerdict::In(wait) => now += wait,
                SliceVerdict::AfterSettlement => panic!("nothing is out"),
            }
            assert_eq!(budget.verdict(now), SliceVerdict::Now);
            budget.grant(id as u64, full_slice(), now);
            out.push((now, *cost));
            now += cost;
            budget.settle(id as u64, *cost, now);
        }
        out
    }

    #[test]
    fn ten_per_cent_sleeps_nine_times_as_long_as_it_works() {
        let starts: Vec<f64> =
            run(&mut BudgetAccount::new(terms(0.1, 1), Accrual::Elapsed, 0.0), &[1.0; 4]).iter().map(|s| s.0).collect();
        for (start, expected) in starts.iter().zip([0.0, 10.0, 20.0, 30.0]) {
            assert!((start - expected).abs() < 1e-6, "{starts:?}");
        }
    }

    #[test]
    fn a_unit_of_two_minutes_is_repaid_in_full() {
        let slices = run(&mut BudgetAccount::new(terms(0.1, 1), Accrual::Elapsed, 0.0), &[120.0, 1.0]);
        assert!((slices[1].0 - 1200.0).abs() < 1e-6);
    }

    #[test]
    fn max_sleep_forgives_as_the_seed_did() {
        let terms = Terms { max_sleep_secs: Some(299.0), ..terms(0.1, 1) };
        let slices = run(&mut BudgetAccount::new(terms, Accrual::Elapsed, 0.0), &[120.0, 1.0]);
        assert!((slices[1].0 - 419.0).abs() < 1e-6);
    }

    #[test]
    fn with_less_than_one_core_slices_do_not_overlap() {
        let mut budget = BudgetAccount::new(terms(0.5, 64), Accrual::Elapsed, 0.0);
        budget.grant(1, full_slice(), 0.0);
        assert_eq!(budget.verdict(0.0), SliceVerdict::In(1.0));
    }

    #[test]
    fn nearly_two_cores_run_two_slices_at_once() {
        let mut budget = BudgetAccount::new(terms(1.9, 2), Accrual::Elapsed, 0.0);
        budget.grant(1, full_slice(), 0.0);
        assert_eq!(budget.verdict(0.0), SliceVerdict::Now);
    }

    #[test]
    fn cheap_slices_of_basis_cpu_overlap_until_the_rate_is_used() {
        let mut budget = BudgetAccount::new(terms(0.1, 64), Accrual::Estimated, 0.0);
        let cheap = Usual { cost_secs: 0.03, out_secs: 1.0 };
        let mut out = 0;
        while budget.verdict(0.0) == SliceVerdict::Now {
            budget.grant(out, cheap, 0.0);
            out += 1;
        }
        assert_eq!(out, 4);
    }

    #[test]
    fn an_idle_hour_buys_no_burst() {
        let mut budget = BudgetAccount::new(terms(0.1, 1), Accrual::Elapsed, 0.0);
        run(&mut budget, &[1.0]);
        assert!(budget.verdict(3600.0) == SliceVerdict::Now);
        budget.grant(7, full_slice(), 3600.0);
        budget.settle(7, 1.0, 3601.0);
        assert!(matches!(budget.verdict(3601.0), SliceVerdict::In(wait) if wait > 8.4));
    }

    #[test]
    fn slices_of_very_different_cpu_cost_use_what_was_asked_for() {
        let mut budget = BudgetAccount::new(terms(0.5, 1), Accrual::Estimated, 0.0);
        let (mut now, mut spent) = (0.0, 0.0);
        for id in 0..1000 {
            // Each slice is out for a second; one in two waits for the disk, so 52.5 % could be used.
            let cost = if id * 7 % 13 < 7 { 1.0 } else { 0.05 };
            while let SliceVerdict::In(wait) = budget.verdict(now) {
                now += wait;
            }
            budget.grant(id, full_slice(), now);
            now += 1.0;
            spent += cost;
            budget.settle(id, cost, now);
        }
        assert!((spent / now - 0.5).abs() < 0.01, "{}", spent / now);
    }

    proptest! {
        /// The promise, for one client: costs up to a slice, any rate up to one core.
        #[test]
        fn twenty_slices_keep_to_the_share_asked_for(rate in 0.01f64..1.0, costs in prop::collection::vec(1e-4f64..1.0, 60)) {
            let slices = run(&mut BudgetAccount::new(terms(rate, 1), Accrual::Elapsed, 0.0), &costs);
            let mut total = 0.0;
            for (i, (start, cost)) in slices.iter().enumerate() {
                prop_assert!(total <= rate * start + 1.0 + 1e-6);
                total += cost;
                if let Some((twentieth, _)) = slices.get(i + 20) {
                    let spent: f64 = slices[i..i + 20].iter().map(|s| s.1).sum();
                    let share = spent / (twentieth - start);
                    prop_assert!((share - rate).abs() < 0.01, "{share} instead of {rate}");
                }
            }
        }

        /// Whatever is granted, settled, changed and forgotten: no grant while in debt.
        #[test]
        fn no_grant_in_debt(steps in prop::collection::vec((0u8..5, 0.0f64..3.0), 1..200)) {
            let mut budget = BudgetAccount::new(terms(0.3, 3), Accrual::Elapsed, 0.0);
            let (mut now, mut next, mut out) = (0.0, 0u64, Vec::<(u64, f64)>::new());
            for (step, x) in steps {
                match step {
                    0 | 1 => if budget.verdict(now) == SliceVerdict::Now {
                        prop_assert!(budget.balance(now) >= -1e-6);
                        budget.grant(next, full_slice(), now);
                        out.push((next, now));
                        next += 1;
                    },
                    2 => now += x,
                    3 => if let Some((id, since)) = out.pop() { budget.settle(id, now - since, now) },
                    _ => budget.set_terms(Terms { rate: 0.05 + x, ..budget.terms() }, now),
                }
                prop_assert!(out.len() <= 3);
            }
        }
    }
}
