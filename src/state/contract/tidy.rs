//! What keeps a state in order: old cycles go, in steps of any size, and nothing else changes.

use serde_json::json;

use super::{Backend, begun, complete, identity, note, notes, progress, with_notes};
use crate::job::NoteKind;
use crate::policy::cycle::CycleKey;
use crate::state::{LastRun, StateStore, Tidied, TidyStep, Tidying};

/// Cycles that ended before the moment 10 are old.
const OLD: f64 = 10.0;

fn step(most: u64) -> TidyStep {
    TidyStep { kind: Some(Tidying::Rows), most, old_before: Some(OLD), log_bytes: u64::MAX }
}

/// Ends a cycle of two prefixes with two notes at this moment: six rows with its own, of which it gives the key.
fn ended(store: &mut dyn StateStore, crawl: &str, at: f64, delivered: bool) -> CycleKey {
    let cycle = store.begin(crawl, &identity(2), 1.0).unwrap().key();
    for claim in store.claim(&cycle, 2).unwrap() {
        let notes = if claim.prefix == 0 { (0..2).map(|n| note(n, NoteKind::Error)).collect() } else { Vec::new() };
        store.commit(&cycle, &[with_notes(progress(&claim, "end", true), notes)], at).unwrap();
    }
    if delivered {
        store.deliver(&cycle).unwrap();
    }
    cycle
}

/// Rows of a cycle made by `ended`.
const ROWS: u64 = 5;

fn is_there(store: &mut dyn StateStore, cycle: &CycleKey) -> bool {
    store.reader().prefixes(cycle, 0).is_ok()
}

pub(super) fn old_cycles_go_and_what_is_needed_stays<B: Backend>() {
    let mut backend = B::fresh();
    let store = backend.store();
    let old = [ended(store, "c", 2.0, true), ended(store, "c", 3.0, true)];
    let undelivered = ended(store, "c", 4.0, false);
    let young = ended(store, "c", 10.0, true);
    let newest_of_another = ended(store, "d", 2.0, true);
    let before_the_running_one = ended(store, "e", 2.0, true);
    let running = store.begin("e", &identity(2), 1.0).unwrap().key();

    let never = TidyStep { old_before: None, ..step(u64::MAX) };
    assert_eq!(store.tidy(&never).unwrap().due, None);
    let look = TidyStep { kind: None, ..step(u64::MAX) };
    let looked = store.tidy(&look).unwrap();
    assert_eq!((looked.due, looked.rows_removed, looked.cycles_removed), (Some(Tidying::Rows), 0, 0));
    assert!(is_there(store, &old[0]));
    let mut sum = Tidied::default();
    while store.tidy(&look).unwrap().due.is_some() {
        let done = store.tidy(&step(u64::MAX)).unwrap();
        sum.cycles_removed += done.cycles_removed;
        sum.rows_removed += done.rows_removed;
    }
    assert_eq!((sum.cycles_removed, sum.rows_removed), (2, 2 * ROWS));

    backend.reopen();
    let store = backend.store();
    assert!(old.iter().all(|cycle| !is_there(store, cycle)));
    for cycle in [&undelivered, &young, &newest_of_another, &before_the_running_one, &running] {
        assert!(is_there(store, cycle), "{cycle:?}");
    }
    assert_eq!(notes(store, &undelivered, NoteKind::Error, 9).unwrap().len(), 2);
    assert_eq!(store.reader().latest("c").unwrap().unwrap().number, young.number);
    complete(store, &running);
    assert_eq!(store.tidy(&step(u64::MAX)).unwrap().cycles_removed, 1, "there is a newer finished one now");
    assert_eq!(begun(store, 1).number, young.number + 1);
}

pub(super) fn an_old_cycle_goes_in_small_steps_and_nobody_sees_a_part_of_it<B: Backend>() {
    let mut backend = B::fresh();
    let old = [ended(backend.store(), "c", 2.0, true), ended(backend.store(), "c", 3.0, true)];
    let newest = ended(backend.store(), "c", 20.0, true);
    let (mut rows, mut cycles, mut calls) = (0, 0, 0);
    loop {
        let done = backend.store().tidy(&step(1)).unwrap();
        (rows, cycles, calls) = (rows + done.rows_removed, cycles + done.cycles_removed, calls + 1);
        let seen = old.iter().filter(|cycle| is_there(backend.store(), cycle)).count() as u64;
        assert_eq!(seen, 2 - cycles);
        assert_eq!(backend.store().reader().prefixes(&newest, 0).unwrap().len(), 2);
        assert_eq!(notes(backend.store(), &newest, NoteKind::Error, 9).unwrap().len(), 2);
        // A process that dies between two steps leaves the rest to the next.
        backend.reopen();
        // Whatever begins meanwhile is not taken for a part of what goes.
        if calls == 3 {
            begun(backend.store(), 3);
        }
        assert!(calls < 50, "{rows} rows");
        if done.due.is_none() {
            break;
        }
    }
    assert_eq!((rows, cycles), (2 * ROWS, 2));
    let running = backend.store().reader().latest("c").unwrap().unwrap();
    if calls > 3 {
        assert_eq!(backend.store().reader().prefixes(&running.key(), 0).unwrap().len(), 3);
    }
}

pub(super) fn last_run_of_a_cleaning_is_remembered<B: Backend>() {
    let mut backend = B::fresh();
    assert_eq!(backend.store().reader().last_run("a").unwrap(), None);
    let run = |ended: f64, what: &str| LastRun { ended, result: json!({"failed": what, "x": 0.1}) };
    backend.store().ran("a", &run(1.5, "\u{fffd} \"")).unwrap();
    backend.store().ran("b", &run(-0.0, "b")).unwrap();
    assert!(backend.store().ran("b", &run(f64::NAN, "b")).is_err());
    backend.reopen();
    assert_eq!(backend.store().reader().last_run("a").unwrap(), Some(run(1.5, "\u{fffd} \"")));
    backend.store().ran("a", &run(2.5, "later")).unwrap();
    backend.reopen();
    assert_eq!(backend.store().reader().last_run("a").unwrap(), Some(run(2.5, "later")));
    assert_eq!(backend.store().reader().last_run("b").unwrap(), Some(run(0.0, "b")));
    assert_eq!(backend.store().reader().latest("a").unwrap(), None, "a cleaning is no crawl");
}
