//! The cycles of a crawl: their numbers, which are kept, and in which order they are listed.

use super::{Backend, begun, complete, identity, note, notes, progress, with_notes};
use crate::error::Error;
use crate::job::NoteKind;
use crate::policy::cycle::CycleKey;
use crate::state::{FINISHED_CYCLES_KEPT, StateStore};

pub(super) fn cycle_given_up_keeps_its_number_and_nothing_else<B: Backend>() {
    let mut backend = B::fresh();
    let given_up = begun(backend.store(), 2);
    let claim = backend.store().claim(&given_up, 1).unwrap().remove(0);
    let first = with_notes(progress(&claim, "x", false), vec![note(0, NoteKind::Error)]);
    backend.store().commit(&given_up, std::slice::from_ref(&first), 2.0).unwrap();
    let next = begun(backend.store(), 1);
    assert_eq!(next.number, 1);
    assert!(backend.store().reader().prefixes(&given_up, 0).is_err());
    assert!(notes(backend.store(), &given_up, NoteKind::Error, 9).is_err());
    assert!(matches!(backend.store().commit(&given_up, &[first], 2.0), Err(Error::StaleClaim { prefix: 0, .. })));
    assert_eq!(notes(backend.store(), &next, NoteKind::Error, 9).unwrap(), []);
    assert_eq!(backend.store().claim(&next, 9).unwrap()[0].tally, None);
    backend.reopen();
    assert_eq!(begun(backend.store(), 1).number, 2);
}

pub(super) fn some_finished_cycles_are_kept<B: Backend>() {
    let mut backend = B::fresh();
    let store = backend.store();
    let last = FINISHED_CYCLES_KEPT + 2;
    for number in 0..=last {
        let cycle = begun(store, 1);
        assert_eq!(cycle.number, number);
        complete(store, &cycle);
    }
    let kept: Vec<u64> = (0..=last)
        .filter(|number| store.reader().prefixes(&CycleKey { crawl: "c".to_owned(), number: *number }, 0).is_ok())
        .collect();
    assert_eq!(kept, (last - FINISHED_CYCLES_KEPT..=last).collect::<Vec<_>>());
}

pub(super) fn cycle_of_another_program_keeps_its_number<B: Backend>() {
    let mut backend = B::fresh();
    let cycle = backend.store().begin_numbered("c", &identity(2), 57, 1.5).unwrap();
    assert_eq!((cycle.number, cycle.started), (57, 1.5));
    let claim = backend.store().claim(&cycle.key(), 1).unwrap().remove(0);
    backend.store().commit(&cycle.key(), &[progress(&claim, "x", true)], 2.0).unwrap();
    let again = backend.store().begin_numbered("c", &identity(1), 57, 2.5).unwrap();
    assert_eq!((again.number, again.done.len()), (57, 0), "the same number, nothing of the one that was given up");
    assert_eq!(backend.store().claim(&again.key(), 9).unwrap()[0].tally, None);
    backend.reopen();
    assert_eq!(backend.store().reader().latest("c").unwrap(), Some(again));
    assert_eq!(begun(backend.store(), 1).number, 58);
}

pub(super) fn number_that_was_passed_is_refused_and_nothing_changes<B: Backend>() {
    let mut backend = B::fresh();
    let store = backend.store();
    let cycle = store.begin_numbered("c", &identity(1), 7, 1.0).unwrap();
    let refused = |store: &mut dyn StateStore, number: u64| {
        let error = store.begin_numbered("c", &identity(1), number, 2.0).unwrap_err();
        assert!(matches!(error, Error::Config(_)), "{error}");
    };
    refused(store, 6);
    refused(store, u64::MAX);
    assert_eq!(store.reader().latest("c").unwrap(), Some(cycle.clone()));
    complete(store, &cycle.key());
    refused(store, 7);
    assert!(store.reader().latest("c").unwrap().unwrap().finished.is_some());
    assert_eq!(store.begin_numbered("c", &identity(1), 9, 2.0).unwrap().number, 9);
    assert_eq!(store.begin_numbered("d", &identity(1), 0, 2.0).unwrap().number, 0, "another crawl counts for itself");
}

pub(super) fn finished_cycles_are_listed_oldest_first<B: Backend>() {
    let mut backend = B::fresh();
    let store = backend.store();
    assert_eq!(store.reader().finished("c").unwrap(), []);
    for number in [3, 5, 6] {
        let cycle = store.begin_numbered("c", &identity(2), number, 1.0).unwrap().key();
        complete(store, &cycle);
        store.deliver(&cycle).unwrap();
    }
    begun(store, 1);
    backend.reopen();
    let finished = backend.store().reader().finished("c").unwrap();
    assert_eq!(finished.iter().map(|c| c.number).collect::<Vec<_>>(), [3, 5, 6]);
    assert!(finished.iter().all(|c| c.finished == Some(2.5) && c.delivered && c.done == [0, 1]), "{finished:?}");
}
