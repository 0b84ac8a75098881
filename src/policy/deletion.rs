//! When not to delete: the safety catch, and clocks that cannot be believed.

use super::cycle::Moment;

/// How far wall clock and monotonic clock may drift apart, in seconds, before the wall clock counts as having jumped.
const DRIFT_MOST_SECS: f64 = 300.0;

/// How far a file may be dated after now, in seconds: clocks of file servers differ a little.
const AHEAD_MOST_SECS: f64 = 60.0;

/// The largest part of the objects examined in a cycle that it may delete without somebody's confirmation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SafetyCatch {
    /// The part, from 0 to 1.
    pub most: f64,
}

impl SafetyCatch {
    /// Whether `deletes` of `examined` objects may go, both counted over the whole ring. Never with a limit that is not a number.
    pub fn allows(self, deletes: u64, examined: u64) -> bool {
        // Counts of objects are far below 2^53.
        deletes as f64 <= self.most * examined as f64
    }
}

/// What a cycle has come to when every prefix was examined.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Examined {
    /// Objects examined.
    pub examined: u64,
    /// Objects that it would delete.
    pub would_delete: u64,
    /// Objects that it has deleted before, if it was begun by 0.1.0.
    pub deleted: u64,
}

/// What is done with it then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeletionVerdict {
    /// It is carried out.
    CarryOut,
    /// It is a rehearsal: it waits for a confirmation.
    Confirm,
    /// It would delete more than it may: it waits for a confirmation that names the number.
    OverLimit,
}

/// Judges a cycle before anything of it is deleted. `rehearses`: whether it waits in any case.
pub fn judge(catch: Option<SafetyCatch>, cycle: &Examined, rehearses: bool) -> DeletionVerdict {
    let deletes = cycle.would_delete.saturating_add(cycle.deleted);
    match catch {
        Some(catch) if !catch.allows(deletes, cycle.examined) => DeletionVerdict::OverLimit,
        _ if rehearses => DeletionVerdict::Confirm,
        _ => DeletionVerdict::CarryOut,
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

/// How many seconds after `now_unix` an object was touched, if that speaks against the clock: files are not written in the
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const TENTH: SafetyCatch = SafetyCatch { most: 0.10 };

    #[test]
    fn the_limit_means_what_it_says_for_any_number_of_objects() {
        assert!(TENTH.allows(0, 0) && !TENTH.allows(1, 1) && !TENTH.allows(1, 9) && TENTH.allows(1, 10));
        assert!(TENTH.allows(30, 300) && !TENTH.allows(31, 300));
        assert!(TENTH.allows(100, 1000) && !TENTH.allows(101, 1000));
        assert!(!SafetyCatch { most: 0.0 }.allows(1, 1_000_000) && SafetyCatch { most: 0.0 }.allows(0, 0));
        assert!(SafetyCatch { most: 1.0 }.allows(5000, 5000));
        assert!(!SafetyCatch { most: f64::NAN }.allows(0, 5000));
    }

    #[test]
    fn a_cycle_is_judged_by_all_that_it_would_delete_and_has_deleted() {
        let cycle = |would_delete, deleted| Examined { examined: 1000, would_delete, deleted };
        for (would_delete, deleted, rehearses, verdict) in [
            (100, 0, false, DeletionVerdict::CarryOut),
            (100, 0, true, DeletionVerdict::Confirm),
            (101, 0, false, DeletionVerdict::OverLimit),
            // The number has to be named, whether or not it would have waited anyway.
            (101, 0, true, DeletionVerdict::OverLimit),
            (60, 40, false, DeletionVerdict::CarryOut),
            (60, 41, false, DeletionVerdict::OverLimit),
            (u64::MAX, 1, false, DeletionVerdict::OverLimit),
        ] {
            assert_eq!(judge(Some(TENTH), &cycle(would_delete, deleted), rehearses), verdict);
        }
        assert_eq!(judge(None, &cycle(1000, 0), false), DeletionVerdict::CarryOut);
        assert_eq!(judge(None, &cycle(1000, 0), true), DeletionVerdict::Confirm);
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
