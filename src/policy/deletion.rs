//! When not to delete: the safety catch, and clocks that cannot be believed.

use std::collections::BTreeMap;

use super::cycle::Moment;

/// A part of fewer shares means little: before so many were examined in a cycle the catch stops nothing, unless the part is 0.
const EXAMINED_LEAST: u64 = 1000;

/// How far wall clock and monotonic clock may drift apart, in seconds, before the wall clock counts as having jumped.
const DRIFT_MOST_SECS: f64 = 300.0;

/// How far a file may be dated after now, in seconds: clocks of file servers differ a little.
const AHEAD_MOST_SECS: f64 = 60.0;

/// The largest part of the shares examined in a cycle that may be deleted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SafetyCatch {
    /// The part, from 0 to 1.
    pub most: f64,
}

impl SafetyCatch {
    /// Whether `deletes` of `examined` shares, both counted from the beginning of the cycle, may go: no more than the part,
    /// once 1,000 shares were examined; before, any number. A part of 0 means none, from the first share on.
    pub fn allows(self, deletes: u64, examined: u64) -> bool {
        let means_little = examined < EXAMINED_LEAST && self.most > 0.0;
        // Counts of shares are far below 2^53.
        means_little || deletes as f64 <= self.most * examined as f64
    }
}

/// Shares examined, and shares deleted or to be deleted, since the beginning of a cycle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Toll {
    /// Shares examined.
    pub examined: u64,
    /// Shares deleted, and those that are about to be.
    pub deletes: u64,
}

/// What a cycle would have come to, had the catch not held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Excess {
    /// Shares examined, and shares that would be gone: those deleted already, and those that were about to be.
    pub toll: Toll,
    /// How many of them are deleted already, or allowed to be.
    pub deleted: u64,
}

/// The toll of a cycle, prefix by prefix, whoever works on it: every worker asks here before it deletes.
///
/// An entry is the whole toll of its prefix so far and takes the place of the one before, so a prefix that is given back and
/// taken in hand once more counts once. What is deleted was entered before, so from the moment that the catch holds nothing
/// beyond the part is deleted any more, however many workers there are and however they slice their work.
#[derive(Debug, Default)]
pub struct Ledger {
    prefixes: BTreeMap<u32, Toll>,
    sum: Toll,
}

impl Ledger {
    /// Enters the toll of a prefix.
    pub fn enter(&mut self, prefix: u32, toll: Toll) {
        let before = self.prefixes.insert(prefix, toll).unwrap_or_default();
        let replaced = |sum: u64, old, new| sum.saturating_sub(old).saturating_add(new);
        self.sum.examined = replaced(self.sum.examined, before.examined, toll.examined);
        self.sum.deletes = replaced(self.sum.deletes, before.deletes, toll.deletes);
    }

    /// Enters what was examined of a prefix; what it deletes stays as it was.
    pub fn examined(&mut self, prefix: u32, examined: u64) {
        let deletes = self.prefixes.get(&prefix).map_or(0, |toll| toll.deletes);
        self.enter(prefix, Toll { examined, deletes });
    }

    /// Enters the tolls of prefixes if the catch allows what the cycle then deletes. Otherwise only what was examined.
    pub fn reserve(&mut self, catch: SafetyCatch, tolls: &[(u32, Toll)]) -> Result<(), Excess> {
        let before: Vec<Toll> =
            tolls.iter().map(|(prefix, _)| self.prefixes.get(prefix).copied().unwrap_or_default()).collect();
        tolls.iter().for_each(|(prefix, toll)| self.enter(*prefix, *toll));
        let toll = self.sum;
        if catch.allows(toll.deletes, toll.examined) {
            return Ok(());
        }
        for ((prefix, toll), before) in tolls.iter().zip(before) {
            self.enter(*prefix, Toll { deletes: before.deletes, ..*toll });
        }
        Err(Excess { toll, deleted: self.sum.deletes })
    }
}

/// What the clocks say while something is about to be deleted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clocks {
    /// What time it was when the crawl was started.
    pub started: Moment,
    /// What time it really is.
    pub moment: Moment,
    /// The moment by which the cycle judges, in seconds since 1970.
    pub cycle_now: f64,
    /// Whether that moment was given rather than read from the clock.
    pub fixed: bool,
}

impl Clocks {
    /// The latest moment that counts as now, in seconds since 1970: what the clock shows, though the cycle judges by the
    /// moment at which it began. A moment that was given is all there is.
    pub fn latest(&self) -> f64 {
        if self.fixed { self.cycle_now } else { self.moment.unix_secs.max(self.cycle_now) }
    }
}

/// How many seconds after `now_unix` a share was touched, if that speaks against the clock: files are not written in the
/// future, but clocks of file servers differ a little. Both moments are in seconds since 1970.
pub fn secs_ahead(touched_unix: f64, now_unix: f64) -> Option<f64> {
    Some(touched_unix - now_unix).filter(|ahead| *ahead > AHEAD_MOST_SECS)
}

/// Says why a clock cannot be believed, if so.
///
/// `started` and `now` are moments of one process; `cycle_now` is the moment by which the cycle judges, in seconds since
/// 1970.
pub fn clock_fault(started: Moment, now: Moment, cycle_now: f64) -> Option<String> {
    let by_wall = now.unix_secs - started.unix_secs;
    let by_monotonic = now.monotonic.saturating_sub(started.monotonic).as_secs_f64();
    let drift = by_wall - by_monotonic;
    if drift.abs() > DRIFT_MOST_SECS {
        return Some(format!("it has jumped by {drift:.0} s since the crawl was started"));
    }
    if cycle_now > now.unix_secs + AHEAD_MOST_SECS {
        let ahead = cycle_now - now.unix_secs;
        return Some(format!("the cycle judges by a moment {ahead:.0} s after it"));
    }
    None
}

/// How long a running node saves nothing of its crawlers at most, in seconds. The bucket counter rests for an hour.
const NODE_SAVES_WITHIN_SECS: f64 = 2.0 * 86_400.0;

/// How far after now a node may have saved something, in seconds.
const NODE_AHEAD_MOST_SECS: f64 = 3600.0;

/// Says why a clock and a node that is said to be running do not go together, if so, as what is to be said of the file that
/// the node saved last. `saved_unix` is when the node last saved the state of its own crawlers, if it ever did, in seconds
/// since 1970, and so is `now_unix`.
pub fn node_fault(saved_unix: Option<f64>, now_unix: f64) -> Option<String> {
    let ago = now_unix - saved_unix?;
    if ago > NODE_SAVES_WITHIN_SECS {
        let days = ago / 86_400.0;
        return Some(format!("is {days:.1} days old by this clock: either the clock is ahead, or no node runs here"));
    }
    if ago < -NODE_AHEAD_MOST_SECS {
        let hours = -ago / 3600.0;
        return Some(format!(
            "was written {hours:.1} hours from now by this clock: either it is behind, or it was ahead then"
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const TENTH: SafetyCatch = SafetyCatch { most: 0.10 };

    #[test]
    fn the_catch_holds_once_a_thousand_shares_were_examined() {
        assert!(TENTH.allows(1, 1) && TENTH.allows(999, 999));
        assert!(TENTH.allows(100, 1000) && !TENTH.allows(101, 1000));
        assert!(TENTH.allows(101, 1010) && !TENTH.allows(102, 1010));
        assert!(!SafetyCatch { most: 0.0 }.allows(1, 999) && SafetyCatch { most: 0.0 }.allows(0, 999));
        assert!(SafetyCatch { most: 1.0 }.allows(5000, 5000));
        assert!(!SafetyCatch { most: 0.0 }.allows(1, 1_000_000));
    }

    #[test]
    fn however_the_work_is_divided_nothing_beyond_the_part_is_reserved_once_the_catch_holds() {
        for workers in [1, 2, 8, 100] {
            for slice in [1, 7, 90] {
                let (mut ledger, mut reserved) = (Ledger::default(), 0);
                let mut tolls = vec![Toll::default(); workers];
                // Every share has expired; each worker asks after each of its slices.
                for at in (0..10 * workers).map(|n| n % workers) {
                    tolls[at].examined += slice;
                    let wanted = Toll { deletes: tolls[at].deletes + slice, ..tolls[at] };
                    let examined: u64 = tolls.iter().map(|toll| toll.examined).sum();
                    if ledger.reserve(TENTH, &[(at as u32, wanted)]).is_ok() {
                        (tolls[at], reserved) = (wanted, reserved + slice);
                        let most = if examined < 1000 { examined } else { examined / 10 };
                        assert!(reserved <= most, "{reserved} of {examined}, {workers} workers");
                    }
                    assert_eq!(ledger.sum, Toll { examined, deletes: reserved });
                }
            }
        }
    }

    #[test]
    fn a_prefix_that_is_taken_in_hand_again_counts_once() {
        let mut ledger = Ledger::default();
        for _ in 0..3 {
            ledger.reserve(TENTH, &[(7, Toll { examined: 900, deletes: 60 })]).unwrap();
        }
        let more = [(7, Toll { examined: 1000, deletes: 70 }), (8, Toll { examined: 9, deletes: 31 })];
        let toll = Toll { examined: 1009, deletes: 101 };
        assert_eq!(ledger.reserve(TENTH, &more), Err(Excess { toll, deleted: 60 }));
        assert_eq!(ledger.sum, Toll { examined: 1009, deletes: 60 });
        ledger.examined(7, 1400);
        ledger.reserve(TENTH, &[(8, Toll { examined: 10, deletes: 31 })]).unwrap();
    }

    #[test]
    fn a_node_that_runs_has_saved_within_two_days_and_not_in_the_future() {
        let fault = |saved| node_fault(saved, 1_000_000.0);
        for saved in [None, Some(1_000_000.0), Some(1_003_600.0), Some(1_000_000.0 - 172_800.0)] {
            assert_eq!(fault(saved), None, "{saved:?}");
        }
        assert!(fault(Some(1_000_000.0 - 172_801.0)).unwrap().contains("2.0 days old by this clock"));
        assert!(fault(Some(1_003_601.0)).unwrap().contains("1.0 hours from now by this clock"));
    }

    #[test]
    fn a_clock_is_believed_if_nothing_speaks_against_it() {
        let at = |secs: u64, unix_secs| Moment { monotonic: Duration::from_secs(secs), unix_secs };
        let fault = |now, cycle_now| clock_fault(at(10, 1000.0), now, cycle_now);
        assert_eq!(fault(at(110, 1100.0), 900.0), None);
        assert_eq!(fault(at(110, 1350.0), 1400.0), None);
        assert!(fault(at(110, 1500.0), 900.0).unwrap().contains("jumped by 400 s"));
        assert!(fault(at(500, 1000.0), 900.0).unwrap().contains("jumped by -490 s"));
        assert!(fault(at(110, 1100.0), 1200.0).unwrap().contains("judges by a moment 100 s after it"));
        assert_eq!((secs_ahead(1160.0, 1100.0), secs_ahead(1161.0, 1100.0)), (None, Some(61.0)));
    }
}
