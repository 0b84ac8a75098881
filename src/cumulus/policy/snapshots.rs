//! Which snapshots the database keeps.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::options::{ClockTrust, Era, Mode, Options};
use super::plan::CleaningRefusal;

/// A newest snapshot from further ahead than this means that the clock has jumped back.
const MOST_DAYS_AHEAD: f64 = 1.0;
/// A newest snapshot from longer ago than this means that the clock has jumped ahead, or that nobody makes backups.
const MOST_DAYS_AGO: f64 = 400.0;

/// One row of `snapshots`.
#[derive(Debug, Clone, PartialEq)]
pub struct SnapshotFigures {
    /// Its `snapshotid`.
    pub id: i64,
    /// The series it belongs to; `None` is a series of its own.
    pub scheme: Option<String>,
    /// When it was made, as a Julian day; `None` if unknown.
    pub timestamp: Option<f64>,
    /// For how long it was to be kept (era B).
    pub intent: Option<f64>,
}

/// Which snapshots stay and which go.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Retention {
    /// Those that stay, by ascending id.
    pub kept: Vec<i64>,
    /// Those that go, by ascending id.
    pub dropped: Vec<i64>,
    /// The greatest id before anything is dropped.
    pub greatest: Option<i64>,
}

/// Decides which snapshots stay.
///
/// Era A keeps the greatest id of all, era C that of each scheme; era B goes through each scheme by time and keeps the
/// newest, and older ones that were meant to last longer. The careful mode keeps the greatest id of each scheme in
/// any case. `holds_data` tells whether there is anything that depends on the snapshots.
///
/// # Errors
/// The careful mode refuses a database with data but without snapshots, and a clock that does not go with the snapshots.
pub fn retain(
    era: Era,
    snapshots: &[SnapshotFigures],
    holds_data: bool,
    options: &Options,
) -> Result<Retention, CleaningRefusal> {
    if options.mode == Mode::Careful {
        if snapshots.is_empty() && holds_data {
            return Err(CleaningRefusal::NoSnapshots);
        }
        if options.clock == ClockTrust::Wall {
            judge_clock(snapshots, options.now)?;
        }
    }
    let greatest = snapshots.iter().map(|s| s.id).max();
    let mut kept: BTreeSet<i64> = match (era, options.mode) {
        (Era::A, Mode::Compat) => greatest.into_iter().collect(),
        (Era::B, _) => by_intent(snapshots, options),
        _ => BTreeSet::new(),
    };
    if options.mode == Mode::Careful || era == Era::C {
        kept.extend(newest_of_each_scheme(snapshots));
    }
    let mut dropped: Vec<i64> = snapshots.iter().map(|s| s.id).filter(|id| !kept.contains(id)).collect();
    dropped.sort_unstable();
    Ok(Retention { kept: kept.into_iter().collect(), dropped, greatest })
}

fn judge_clock(snapshots: &[SnapshotFigures], now: f64) -> Result<(), CleaningRefusal> {
    let newest = snapshots.iter().filter_map(|s| s.timestamp).filter(|t| t.is_finite()).fold(None, |a, b| match a {
        Some(a) if a >= b => Some(a),
        _ => Some(b),
    });
    let Some(newest) = newest else { return Ok(()) };
    match now - newest {
        days if days < -MOST_DAYS_AHEAD => Err(CleaningRefusal::ClockBehind { days: -days }),
        days if days > MOST_DAYS_AGO => Err(CleaningRefusal::ClockAhead { days }),
        _ => Ok(()),
    }
}

fn newest_of_each_scheme(snapshots: &[SnapshotFigures]) -> impl Iterator<Item = i64> {
    let mut newest: BTreeMap<&Option<String>, i64> = BTreeMap::new();
    for s in snapshots {
        newest.entry(&s.scheme).and_modify(|id| *id = s.id.max(*id)).or_insert(s.id);
    }
    newest.into_values().collect::<Vec<_>>().into_iter()
}

/// Era B. The oldest programs of the era allowed NULL for a scheme, of which the old cleaner dropped nothing.
fn by_intent(snapshots: &[SnapshotFigures], options: &Options) -> BTreeSet<i64> {
    let intent = options.policy_for(Era::B).intent();
    let mut kept = BTreeSet::new();
    let mut schemes: BTreeMap<&Option<String>, Vec<&SnapshotFigures>> = BTreeMap::new();
    for s in snapshots {
        schemes.entry(&s.scheme).or_default().push(s);
    }
    for (scheme, mut members) in schemes {
        if scheme.is_none() && options.mode == Mode::Compat {
            kept.extend(members.iter().map(|s| s.id));
            continue;
        }
        let age = |s: &SnapshotFigures| s.timestamp.map(|t| options.now - t);
        // An unknown age sorts before all others. Equal ones by id.
        members.sort_by(|a, b| age(a).partial_cmp(&age(b)).unwrap_or(Ordering::Equal).then(a.id.cmp(&b.id)));
        let mut most = intent;
        for (place, s) in members.into_iter().enumerate() {
            // An unknown intent is below every number.
            let its = s.intent.unwrap_or(f64::NEG_INFINITY);
            let goes = s.intent.is_none() || its < most || its == intent;
            if place == 0 || !goes {
                kept.insert(s.id);
            }
            most = most.max(its);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(id: i64, scheme: Option<&str>, timestamp: f64, intent: f64) -> SnapshotFigures {
        SnapshotFigures { id, scheme: scheme.map(str::to_owned), timestamp: Some(timestamp), intent: Some(intent) }
    }

    fn options(mode: Mode) -> Options {
        Options { mode, ..Options::at(100.0) }
    }

    #[test]
    fn careful_keeps_the_newest_of_every_scheme_and_null_is_one() {
        let all = [snapshot(1, None, 1.0, 1.0), snapshot(2, Some(""), 2.0, 1.0), snapshot(3, Some("x"), 3.0, 1.0)];
        let older = [snapshot(0, Some("x"), 0.0, 1.0)];
        let all: Vec<_> = all.into_iter().chain(older).collect();
        let kept = |era, mode| retain(era, &all, true, &options(mode)).unwrap().kept;
        assert_eq!(kept(Era::A, Mode::Careful), [1, 2, 3]);
        assert_eq!(kept(Era::A, Mode::Compat), [3]);
        assert_eq!(kept(Era::C, Mode::Compat), [1, 2, 3]);
    }

    #[test]
    fn nothing_is_destroyed_for_want_of_snapshots() {
        assert_eq!(retain(Era::A, &[], true, &options(Mode::Careful)), Err(CleaningRefusal::NoSnapshots));
        assert_eq!(retain(Era::A, &[], false, &options(Mode::Careful)), Ok(Retention::default()));
        assert_eq!(retain(Era::A, &[], true, &options(Mode::Compat)), Ok(Retention::default()));
    }

    #[test]
    fn only_the_wall_clock_is_judged() {
        let all = [snapshot(1, None, 90.0, 1.0)];
        let at = |now, clock| retain(Era::A, &all, true, &Options { clock, ..Options::at(now) });
        assert_eq!(at(88.0, ClockTrust::Wall), Err(CleaningRefusal::ClockBehind { days: 2.0 }));
        assert_eq!(at(1090.0, ClockTrust::Wall), Err(CleaningRefusal::ClockAhead { days: 1000.0 }));
        for (now, clock) in [(89.5, ClockTrust::Wall), (88.0, ClockTrust::Given), (1090.0, ClockTrust::Accepted)] {
            assert!(at(now, clock).is_ok(), "{now}");
        }
    }

    #[test]
    fn careful_keeps_the_greatest_id_of_era_b_whose_number_would_be_given_again() {
        // The clock was wrong when snapshot 2 was made.
        let all = [snapshot(1, Some("x"), 9.0, 1.0), snapshot(2, Some("x"), 3.0, 1.0)];
        let kept = |mode| retain(Era::B, &all, true, &options(mode)).unwrap().kept;
        assert_eq!(kept(Mode::Compat), [1]);
        assert_eq!(kept(Mode::Careful), [1, 2]);
    }
}
