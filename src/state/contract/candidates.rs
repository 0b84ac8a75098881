//! Candidates: kept with the prefix that they were found in until they are carried out, and what stands between the two phases
//! of a cycle.

use super::{Backend, begun, complete, identity, progress};
use crate::error::Error;
use crate::job::{Candidate, DeletionCount};
use crate::policy::cycle::{CycleIdentity, CycleKey, Rehearsal};
use crate::state::{Claim, Consent, PrefixProgress, StateStore};

fn candidate(n: u64) -> Candidate {
    let bucket = [format!("{n:06}").as_bytes(), &[0xff, 0]].concat();
    Candidate { bucket, shown: DeletionCount { objects: n, records: n << 40, bytes: u64::MAX - n } }
}

fn all(range: std::ops::Range<u64>) -> Vec<Candidate> {
    range.map(candidate).collect()
}

fn with_candidates(claim: &Claim, done: bool, candidates: Vec<Candidate>) -> PrefixProgress {
    PrefixProgress { candidates, ..progress(claim, "end", done) }
}

/// Up to this candidate.
fn up_to(claim: &Claim, n: u64, done: bool) -> PrefixProgress {
    PrefixProgress { cursor: Some(candidate(n).bucket), ..progress(claim, "x", done) }
}

fn read(store: &mut dyn StateStore, cycle: &CycleKey, prefix: u32, after: Option<u64>, most: usize) -> Vec<Candidate> {
    let after = after.map(|n| candidate(n).bucket);
    store.candidates(cycle, prefix, after.as_deref(), most).unwrap()
}

/// A cycle of three prefixes: the first and the third have candidates.
fn examined(store: &mut dyn StateStore, candidates: u64) -> CycleKey {
    let cycle = begun(store, 3);
    for claim in store.claim(&cycle, 3).unwrap() {
        let found = if claim.prefix == 1 { Vec::new() } else { all(0..candidates) };
        store.commit(&cycle, &[with_candidates(&claim, true, found)], 2.0).unwrap();
    }
    cycle
}

pub(super) fn candidates_keep_a_cycle_from_being_finished_until_they_are_carried_out<B: Backend>() {
    let mut backend = B::fresh();
    let cycle = examined(backend.store(), 3);
    backend.reopen();
    let store = backend.store();
    let latest = store.reader().latest("c").unwrap().unwrap();
    assert!(latest.is_examined() && latest.finished.is_none() && latest.carrying_out.is_none());
    assert_eq!(latest.done, [0, 1, 2]);
    assert!(store.claim(&cycle, 3).unwrap().is_empty() && store.deliver(&cycle).is_err());
    store.carry_out(&cycle, Consent::WithinLimit, 3.0).unwrap();
    // Once more changes nothing.
    store.carry_out(&cycle, Consent::Confirmed, 4.0).unwrap();
    backend.reopen();
    let store = backend.store();
    let latest = store.reader().latest("c").unwrap().unwrap();
    assert_eq!((latest.carrying_out, latest.confirmed, &latest.done[..]), (Some(3.0), None, &[1][..]));
    assert!(!latest.is_examined());
    let claims = store.claim(&cycle, 3).unwrap();
    let from_the_start: Vec<_> = claims.iter().map(|c| (c.prefix, c.cursor.clone(), c.tally.clone())).collect();
    assert_eq!(from_the_start, [(0, None, Some(b"end".to_vec())), (2, None, Some(b"end".to_vec()))]);
    store.commit(&cycle, &[up_to(&claims[0], 2, true)], 5.0).unwrap();
    assert_eq!(read(store, &cycle, 0, None, 9), []);
    assert_eq!(read(store, &cycle, 2, None, 9), all(0..3));
    assert_eq!(store.reader().latest("c").unwrap().unwrap().finished, None);
    // A prefix that has gone is complete without a cursor.
    store.commit(&cycle, &[PrefixProgress { cursor: None, ..progress(&claims[1], "x", true) }], 6.0).unwrap();
    let latest = store.reader().latest("c").unwrap().unwrap();
    assert_eq!((latest.finished, latest.carrying_out), (Some(6.0), Some(3.0)));
    store.deliver(&cycle).unwrap();
}

/// Those of buckets that were visited again at the end of their prefix come late.
pub(super) fn candidates_that_come_late_stand_where_they_belong<B: Backend>() {
    const ALL: u64 = 2000;
    let mut backend = B::fresh();
    let store = backend.store();
    let cycle = begun(store, 1);
    let claim = store.claim(&cycle, 1).unwrap().remove(0);
    let is_late = |n: &u64| n.is_multiple_of(7) || *n == ALL - 1;
    let late: Vec<Candidate> = (0..ALL).filter(is_late).map(candidate).collect();
    let in_time: Vec<Candidate> = (0..ALL).filter(|n| !is_late(n)).map(candidate).collect();
    store.commit(&cycle, &[with_candidates(&claim, false, in_time)], 2.0).unwrap();
    let (some, others) = late.split_at(100);
    for one in some.iter().rev() {
        store.commit(&cycle, &[with_candidates(&claim, false, vec![one.clone()])], 2.0).unwrap();
    }
    let mixed = others.iter().rev().cloned().collect();
    store.commit(&cycle, &[with_candidates(&claim, true, mixed)], 2.0).unwrap();
    backend.reopen();
    let store = backend.store();
    assert_eq!(read(store, &cycle, 0, None, usize::MAX), all(0..ALL));
    store.carry_out(&cycle, Consent::Confirmed, 3.0).unwrap();
    let claim = store.claim(&cycle, 1).unwrap().remove(0);
    for n in [0, 699, 700, 701, 1998] {
        store.commit(&cycle, &[up_to(&claim, n, false)], 4.0).unwrap();
        assert_eq!(read(store, &cycle, 0, Some(n), usize::MAX), all(n + 1..ALL));
    }
    store.commit(&cycle, &[up_to(&claim, 1999, true)], 5.0).unwrap();
    assert_eq!(store.reader().latest("c").unwrap().unwrap().finished, Some(5.0));
}

pub(super) fn candidates_are_read_in_pages_and_go_with_the_cursor<B: Backend>() {
    const ALL: u64 = 2000;
    let mut backend = B::fresh();
    let store = backend.store();
    let cycle = begun(store, 1);
    let claim = store.claim(&cycle, 1).unwrap().remove(0);
    // In commits of every size: one by one, and many at once.
    let mut next = 0;
    for size in [1, 1, 1, 700, 1, 900, 1].into_iter().chain(std::iter::repeat_n(1, 395)) {
        store.commit(&cycle, &[with_candidates(&claim, false, all(next..next + size))], 2.0).unwrap();
        next += size;
    }
    assert_eq!(next, ALL);
    store.commit(&cycle, &[progress(&claim, "end", true)], 2.0).unwrap();
    store.carry_out(&cycle, Consent::Confirmed, 3.0).unwrap();
    backend.reopen();
    let store = backend.store();
    assert_eq!(store.reader().latest("c").unwrap().unwrap().confirmed, Some(3.0));
    assert_eq!(read(store, &cycle, 0, None, usize::MAX), all(0..ALL));
    assert_eq!(read(store, &cycle, 0, None, 3), all(0..3));
    assert_eq!(read(store, &cycle, 0, Some(1198), 5), all(1199..1204));
    assert_eq!(read(store, &cycle, 0, Some(ALL - 1), 5), []);
    assert_eq!(read(store, &cycle, 7, None, 5), []);
    for n in [0, 1, 500, 501, 1999] {
        let store = backend.store();
        let claim = store.claim(&cycle, 1).unwrap().remove(0);
        store.commit(&cycle, &[up_to(&claim, n, false)], 4.0).unwrap();
        backend.reopen();
        let store = backend.store();
        assert_eq!(store.reader().latest("c").unwrap().unwrap().finished, None);
        assert_eq!(read(store, &cycle, 0, Some(n), usize::MAX), all(n + 1..ALL));
    }
    let store = backend.store();
    let claim = store.claim(&cycle, 1).unwrap().remove(0);
    assert_eq!(claim.cursor, Some(candidate(1999).bucket));
    store.commit(&cycle, &[up_to(&claim, 1999, true)], 5.0).unwrap();
    assert_eq!(store.reader().latest("c").unwrap().unwrap().finished, Some(5.0));
}

pub(super) fn only_what_is_examined_and_newest_is_carried_out<B: Backend>() {
    let mut backend = B::fresh();
    let store = backend.store();
    let refused = |store: &mut dyn StateStore, cycle: &CycleKey, why: &str| {
        let refused = store.carry_out(cycle, Consent::Confirmed, 5.0);
        let Err(Error::Config(text)) = &refused else { panic!("{refused:?}") };
        assert!(text.contains(why), "{text}");
    };
    refused(store, &CycleKey { crawl: "d".to_owned(), number: 0 }, "no cycle 0");
    let plain = begun(store, 1);
    refused(store, &plain, "not examined yet");
    complete(store, &plain);
    refused(store, &plain, "it is finished");
    let half = begun(store, 2);
    let claim = store.claim(&half, 1).unwrap().remove(0);
    store.commit(&half, &[with_candidates(&claim, true, all(0..2))], 2.0).unwrap();
    refused(store, &half, "not examined yet");
    let cycle = examined(store, 1);
    refused(store, &plain, "the newest cycle is 2");
    assert!(store.carry_out(&cycle, Consent::WithinLimit, f64::NAN).is_err());
    assert_eq!(store.reader().latest("c").unwrap().unwrap().carrying_out, None);
    store.carry_out(&cycle, Consent::WithinLimit, 5.0).unwrap();
    let claim = store.claim(&cycle, 1).unwrap().remove(0);
    let judged_by_nobody = store.commit(&cycle, &[with_candidates(&claim, true, all(7..8))], 6.0);
    assert!(judged_by_nobody.unwrap_err().to_string().contains("1 new candidates while they are carried out"));
}

pub(super) fn a_cycle_that_is_given_up_takes_its_candidates_along<B: Backend>() {
    let mut backend = B::fresh();
    let store = backend.store();
    examined(store, 500);
    let next = store.begin("c", &CycleIdentity { rehearsal: Rehearsal::Yes, ..identity(3) }, 3.0).unwrap();
    assert_eq!((next.number, next.confirmed, next.carrying_out), (1, None, None));
    assert_eq!(read(store, &next.key(), 0, None, 9), []);
    complete(store, &next.key());
    assert_eq!(store.reader().latest("c").unwrap().unwrap().finished, Some(2.5), "none is left over");
}
