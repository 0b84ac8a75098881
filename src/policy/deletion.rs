//! When not to delete: the safety catch, and clocks that cannot be believed.

use super::cycle::Moment;

/// Shares that have to be examined before a part of them means anything.
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
    /// Whether `deleted` of `examined` shares, both counted from the beginning of the cycle, are no more than the part.
    /// Before 1,000 shares were examined everything is allowed: a part of a few means nothing.
    pub fn allows(self, deleted: u64, examined: u64) -> bool {
        // Counts of shares are far below 2^53.
        examined < EXAMINED_LEAST || deleted as f64 <= self.most * examined as f64
    }
}

/// Says why a clock cannot be believed, if so.
///
/// `started` and `now` are moments of one process; `cycle_now` is the moment by which the cycle judges, `newest_unix`
/// that of the youngest file met, in seconds since 1970.
pub fn clock_fault(started: Moment, now: Moment, cycle_now: f64, newest_unix: f64) -> Option<String> {
    let by_wall = now.unix_secs - started.unix_secs;
    let by_monotonic = now.monotonic.saturating_sub(started.monotonic).as_secs_f64();
    let drift = by_wall - by_monotonic;
    if drift.abs() > DRIFT_MOST_SECS {
        return Some(format!("it has jumped by {drift:.0} s since the crawl was started"));
    }
    if newest_unix > now.unix_secs + AHEAD_MOST_SECS {
        let ahead = newest_unix - now.unix_secs;
        return Some(format!("a share was written {ahead:.0} s after it"));
    }
    if cycle_now > now.unix_secs + AHEAD_MOST_SECS {
        let ahead = cycle_now - now.unix_secs;
        return Some(format!("the cycle judges by a moment {ahead:.0} s after it"));
    }
    None
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_catch_holds_from_a_thousand_shares_on() {
        let tenth = SafetyCatch { most: 0.10 };
        assert!(tenth.allows(999, 999));
        assert!(tenth.allows(100, 1000));
        assert!(!tenth.allows(101, 1000));
        assert!(tenth.allows(101, 1010));
        assert!(SafetyCatch { most: 1.0 }.allows(5000, 5000));
        assert!(!SafetyCatch { most: 0.0 }.allows(1, 1_000_000));
    }

    #[test]
    fn a_clock_is_believed_if_nothing_speaks_against_it() {
        let at = |secs: u64, unix_secs| Moment { monotonic: Duration::from_secs(secs), unix_secs };
        let fault = |now, cycle_now, newest| clock_fault(at(10, 1000.0), now, cycle_now, newest);
        assert_eq!(fault(at(110, 1100.0), 900.0, 1099.0), None);
        assert_eq!(fault(at(110, 1350.0), 900.0, 1400.0), None);
        assert!(fault(at(110, 1500.0), 900.0, 0.0).unwrap().contains("jumped by 400 s"));
        assert!(fault(at(500, 1000.0), 900.0, 0.0).unwrap().contains("jumped by -490 s"));
        assert!(fault(at(110, 1100.0), 900.0, 1161.0).unwrap().contains("a share was written 61 s after it"));
        assert!(fault(at(110, 1100.0), 1200.0, 0.0).unwrap().contains("judges by a moment 100 s after it"));
    }
}
