//! What is known of damaged objects: from the finding until a visit finds them well or gone, whatever begins or ends meanwhile.

use super::{Backend, begun, identity, progress};
use crate::job::{Coverage, Judged, ObjectName, Picked};
use crate::policy::cycle::{CycleIdentity, CycleKey};
use crate::state::{Claim, PrefixProgress, StateStore};

fn name(text: &str) -> ObjectName {
    let (bucket, object) = text.split_once('/').unwrap();
    ObjectName { bucket: bucket.into(), object: object.into() }
}

/// What was found on the way to a cursor; names as `bucket/object`, those that are unclear with a question mark before.
fn found(claim: &Claim, cursor: &str, done: bool, coverage: Coverage, names: &[&str]) -> PrefixProgress {
    let mut judged = Judged { coverage, ..Judged::default() };
    for text in names {
        match text.strip_prefix('?') {
            Some(unclear) => judged.unclear.insert(name(unclear)),
            None => judged.damaged.insert(name(text)),
        };
    }
    PrefixProgress { judged, ..progress(claim, cursor, done) }
}

/// Each with the moment since which it is damaged.
fn known(store: &mut dyn StateStore) -> Vec<(String, f64)> {
    let CycleIdentity { store: of, job, .. } = identity(1);
    let damage = store.reader().damage(&of, &job, u64::MAX).unwrap();
    assert_eq!(store.reader().damaged(&of, &job).unwrap(), damage.len() as u64);
    let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let all = damage.iter().map(|object| {
        let ObjectName { bucket, object: part } = &object.name;
        (format!("{} {}/{}", object.prefix, shown(bucket), shown(part)), object.since)
    });
    all.collect()
}

fn commit(store: &mut dyn StateStore, cycle: &CycleKey, progress: PrefixProgress, at: f64) {
    let standing = store.commit(cycle, &[progress], at).unwrap();
    assert_eq!(standing.damaged, known(store).len() as u64);
}

fn names(known: &[(String, f64)]) -> Vec<&str> {
    known.iter().map(|(name, _)| name.as_str()).collect()
}

pub(super) fn damage_is_known_until_a_visit_finds_it_well_or_gone<B: Backend>() {
    let mut backend = B::fresh();
    let cycle = begun(backend.store(), 2);
    let claims = backend.store().claim(&cycle, 2).unwrap();
    let all = Coverage::All;
    commit(backend.store(), &cycle, found(&claims[0], "b", false, all.clone(), &["a/0", "a/1", "b/"]), 5.0);
    commit(backend.store(), &cycle, found(&claims[1], "c", true, all.clone(), &["c/7"]), 6.0);
    let first = vec!["p00 a/0", "p00 a/1", "p00 b/", "p01 c/7"];
    assert_eq!(names(&known(backend.store())), first);

    // Neither another process nor another cycle changes it.
    backend.reopen();
    assert_eq!(names(&known(backend.store())), first);
    let next = begun(backend.store(), 2);
    assert_eq!(names(&known(backend.store())), first);

    // The new cycle takes its place bucket by bucket: "a/0" is damaged still, "a/1" could not be read, and "b" was not visited.
    let claims = backend.store().claim(&next, 2).unwrap();
    commit(backend.store(), &next, found(&claims[0], "a", false, all.clone(), &["a/0", "?a/1", "aa/3"]), 7.0);
    let so_far = known(backend.store());
    assert_eq!(names(&so_far), ["p00 a/0", "p00 a/1", "p00 aa/3", "p00 b/", "p01 c/7"]);
    assert_eq!((so_far[0].1, so_far[2].1), (5.0, 7.0), "what is damaged still is so since then");
    // What was found behind the cursor stays; the rest of the prefix is well or gone.
    commit(backend.store(), &next, found(&claims[0], "z", true, all.clone(), &[]), 8.0);
    assert_eq!(names(&known(backend.store())), ["p00 a/0", "p00 a/1", "p01 c/7"]);
    // A prefix that could not be listed says nothing.
    commit(backend.store(), &next, found(&claims[1], "z", true, Coverage::Nothing, &[]), 9.0);
    assert_eq!(names(&known(backend.store())), ["p00 a/0", "p00 a/1", "p01 c/7"]);
    backend.reopen();
    assert_eq!(names(&known(backend.store())), ["p00 a/0", "p00 a/1", "p01 c/7"]);

    let last = begun(backend.store(), 2);
    let claims = backend.store().claim(&last, 2).unwrap();
    for claim in &claims {
        commit(backend.store(), &last, found(claim, "z", true, all.clone(), &[]), 9.0);
    }
    assert!(known(backend.store()).is_empty());
    assert_eq!(backend.store().reader().damaged(&identity(1).store, "another").unwrap(), 0);
}

pub(super) fn a_sample_judges_what_it_has_picked_alone<B: Backend>() {
    let mut backend = B::fresh();
    let cycle = begun(backend.store(), 1);
    let claim = backend.store().claim(&cycle, 1).unwrap().remove(0);
    commit(backend.store(), &cycle, found(&claim, "z", true, Coverage::All, &["a/0", "b/0", "c/0", "?d/0"]), 5.0);
    // Under another name, as a crawl over a part has it: the same store and job.
    let sample = backend.store().begin("d", &identity(1), 1.0).unwrap().key();
    let claim = backend.store().claim(&sample, 1).unwrap().remove(0);
    let picked = Coverage::Only(Picked::new(|bucket| bucket != b"b"));
    // Whether a bucket was picked counts, also where it is gone.
    commit(backend.store(), &sample, found(&claim, "z", true, picked, &["c/0", "?a/"]), 6.0);
    assert_eq!(names(&known(backend.store())), ["p00 a/0", "p00 b/0", "p00 c/0"]);
    let sample = backend.store().begin("d", &identity(1), 1.0).unwrap().key();
    let claim = backend.store().claim(&sample, 1).unwrap().remove(0);
    let picked = Coverage::Only(Picked::new(|bucket| bucket == b"a" || bucket == b"b"));
    commit(backend.store(), &sample, found(&claim, "z", true, picked, &[]), 7.0);
    assert_eq!(names(&known(backend.store())), ["p00 c/0"]);
}

pub(super) fn a_refused_commit_changes_no_damage<B: Backend>() {
    let mut backend = B::fresh();
    let cycle = begun(backend.store(), 2);
    let claims = backend.store().claim(&cycle, 2).unwrap();
    commit(backend.store(), &cycle, found(&claims[0], "b", false, Coverage::All, &["a/0"]), 5.0);
    let good = found(&claims[0], "z", true, Coverage::All, &["c/0"]);
    let mut stale = found(&claims[1], "z", true, Coverage::All, &["d/0"]);
    stale.fence += 1;
    backend.store().commit(&cycle, &[good, stale], 6.0).unwrap_err();
    assert_eq!(names(&known(backend.store())), ["p00 a/0"]);
}

/// A bucket that is passed over keeps what is known of it until it is visited again, whatever the cursor.
pub(super) fn what_is_deferred_is_judged_by_its_second_visit<B: Backend>() {
    let mut backend = B::fresh();
    let cycle = begun(backend.store(), 1);
    let claim = backend.store().claim(&cycle, 1).unwrap().remove(0);
    let bad = ["a/0", "b/", "b/0", "c/0", "d/0"];
    commit(backend.store(), &cycle, found(&claim, "z", true, Coverage::All, &bad), 5.0);
    let later = |progress: PrefixProgress, deferred: &[&str], revisited: &[&str]| {
        let set = |names: &[&str]| names.iter().map(|name| name.as_bytes().to_vec()).collect();
        let judged = Judged { deferred: set(deferred), revisited: set(revisited), ..progress.judged };
        PrefixProgress { judged, ..progress }
    };
    let next = begun(backend.store(), 1);
    let claim = backend.store().claim(&next, 1).unwrap().remove(0);
    let passed = later(found(&claim, "e", false, Coverage::All, &[]), &["b", "d"], &[]);
    commit(backend.store(), &next, passed, 6.0);
    assert_eq!(names(&known(backend.store())), ["p00 b/", "p00 b/0", "p00 d/0"]);
    let again = later(found(&claim, "e", false, Coverage::All, &["b/0", "b/1"]), &[], &["b"]);
    commit(backend.store(), &next, again, 7.0);
    assert_eq!(names(&known(backend.store())), ["p00 b/0", "p00 b/1", "p00 d/0"]);
    let again = later(found(&claim, "e", true, Coverage::All, &["?d/"]), &[], &["d"]);
    commit(backend.store(), &next, again, 8.0);
    assert_eq!(names(&known(backend.store())), ["p00 b/0", "p00 b/1", "p00 d/0"]);
}

/// More than is read at once, with names that follow one another directly.
pub(super) fn much_damage_is_forgotten_at_once<B: Backend>() {
    let mut backend = B::fresh();
    let cycle = begun(backend.store(), 1);
    let claim = backend.store().claim(&cycle, 1).unwrap().remove(0);
    let texts: Vec<String> = (0..700).map(|i| format!("b{:03}/{}", i / 5, "\0".repeat(i % 5))).collect();
    let all: Vec<&str> = texts.iter().map(String::as_str).collect();
    commit(backend.store(), &cycle, found(&claim, "z", true, Coverage::All, &all), 5.0);
    assert_eq!(known(backend.store()).len(), 700);
    let next = begun(backend.store(), 1);
    let claim = backend.store().claim(&next, 1).unwrap().remove(0);
    commit(backend.store(), &next, found(&claim, "b069", false, Coverage::All, &all[..1]), 6.0);
    assert_eq!(known(backend.store()).len(), 351);
    commit(backend.store(), &next, found(&claim, "z", true, Coverage::All, &[]), 7.0);
    assert_eq!(known(backend.store()).len(), 1);
}
