//! One contract for every [`StateStore`]: each test here runs on every backend. With the feature `testing` also on those of others:
//!
//! ```no_run
//! # use sexton::state::StateStore;
//! use sexton::state::contract::{Backend, tests};
//!
//! # struct MyState;
//! # impl Backend for MyState {
//! #     fn fresh() -> Self { MyState }
//! #     fn store(&mut self) -> &mut dyn StateStore { unimplemented!() }
//! #     fn reopen(&mut self) {}
//! # }
//! for (name, test) in tests::<MyState>() {
//!     println!("{name}");
//!     test();
//! }
//! ```

mod candidates;
mod cycles;
mod damage;
mod intents;
#[cfg(all(test, feature = "sqlite"))]
mod on_disk;
mod pages;
mod tidy;
mod visits;
#[cfg(test)]
mod walk;

use serde_json::json;

use super::{Claim, MemoryStore, NotePlace, PrefixProgress, PrefixRow, StateStore};
use crate::error::Error;
use crate::job::{Note, NoteKind};
use crate::policy::cycle::{CycleIdentity, CycleKey, KnownCycle, Rehearsal};

/// A store that can be closed and opened again, as by another process.
pub trait Backend {
    /// One with nothing in it.
    fn fresh() -> Self;
    fn store(&mut self) -> &mut dyn StateStore;
    /// Closes the store and opens it again.
    fn reopen(&mut self);
}

impl Backend for MemoryStore {
    fn fresh() -> Self {
        MemoryStore::default()
    }

    fn store(&mut self) -> &mut dyn StateStore {
        self
    }

    fn reopen(&mut self) {
        MemoryStore::reopen(self);
    }
}

macro_rules! on_every_backend {
    ($($test:ident),* $(,)?) => {
        /// What holds for every state, by name: each panics where it does not.
        pub fn tests<B: Backend>() -> Vec<(&'static str, fn())> {
            vec![$((stringify!($test), $test::<B> as fn())),*]
        }

        #[cfg(test)]
        mod memory {
            $(#[test] fn $test() { super::$test::<super::MemoryStore>() })*
            #[test]
            fn random_walk_agrees_with_the_model() { super::walk::random_walk_agrees_with_the_model::<super::MemoryStore>() }
        }
        #[cfg(all(test, feature = "sqlite"))]
        mod sqlite {
            $(#[test] fn $test() { super::$test::<super::on_disk::OnDisk>() })*
            #[test]
            fn random_walk_agrees_with_the_model() { super::walk::random_walk_agrees_with_the_model::<super::on_disk::OnDisk>() }
        }
    };
}

on_every_backend!(
    crawl_without_cycle_is_unknown,
    cycle_is_found_as_it_was_begun,
    claims_are_given_in_ring_order_and_once,
    claim_goes_on_from_the_last_commit,
    stale_claim_is_refused_and_nothing_changes,
    last_prefix_ends_the_cycle,
    only_a_store_without_prefixes_is_finished_by_hand,
    only_a_finished_cycle_is_delivered,
    claims_of_an_earlier_process_are_void,
    claims_of_those_who_are_gone_are_given_back,
    notes_come_in_the_order_of_the_walk,
    notes_out_of_number_are_refused,
    cycle_given_up_keeps_its_number_and_nothing_else,
    some_finished_cycles_are_kept,
    cycle_of_another_program_keeps_its_number,
    number_that_was_passed_is_refused_and_nothing_changes,
    finished_cycles_are_listed_oldest_first,
    crawls_do_not_meet,
    moments_that_are_no_numbers_are_refused,
    intents_stay_until_a_commit_without_them,
    a_complete_prefix_with_intents_is_refused,
    a_cycle_with_intents_that_may_be_half_done_is_not_given_up,
    a_cycle_whose_intents_are_all_or_nothing_is_given_up_with_them,
    a_cycle_whose_intents_were_not_begun_is_given_up_with_them,
    candidates_keep_a_cycle_from_being_finished_until_they_are_carried_out,
    candidates_are_read_in_pages_and_go_with_the_cursor,
    candidates_that_come_late_stand_where_they_belong,
    only_what_is_examined_and_newest_is_carried_out,
    a_cycle_that_is_given_up_takes_its_candidates_along,
    tallies_of_any_size_are_read_in_pages,
    visits_are_remembered_where_they_were_whole,
    damage_is_known_until_a_visit_finds_it_well_or_gone,
    a_sample_judges_what_it_has_picked_alone,
    a_refused_commit_changes_no_damage,
    much_damage_is_forgotten_at_once,
    what_is_deferred_is_judged_by_its_second_visit,
    oldest_first_claims_what_was_visited_longest_ago,
    old_cycles_go_and_what_is_needed_stays,
    an_old_cycle_goes_in_small_steps_and_nobody_sees_a_part_of_it,
    last_run_of_a_cleaning_is_remembered,
);

use candidates::*;
use cycles::*;
use damage::{
    a_refused_commit_changes_no_damage, a_sample_judges_what_it_has_picked_alone,
    damage_is_known_until_a_visit_finds_it_well_or_gone, much_damage_is_forgotten_at_once,
    what_is_deferred_is_judged_by_its_second_visit,
};
use intents::*;
use pages::tallies_of_any_size_are_read_in_pages;
use tidy::{
    an_old_cycle_goes_in_small_steps_and_nobody_sees_a_part_of_it, last_run_of_a_cleaning_is_remembered,
    old_cycles_go_and_what_is_needed_stays,
};
use visits::{oldest_first_claims_what_was_visited_longest_ago, visits_are_remembered_where_they_were_whole};

pub(super) fn identity(prefixes: usize) -> CycleIdentity {
    CycleIdentity {
        store: "/srv/\u{fffd} a".to_owned(),
        job: "leases".to_owned(),
        parameters: json!({"mode": "age", "override_secs": 0.1, "sharetypes": ["mutable"], "none": null}),
        ring: (0..prefixes).map(|n| format!("p{n:02}")).collect(),
        now: 1_700_000_000.123_456_7,
        fixed_clock: true,
        not_in_ring: 3,
        stray_paths: Vec::new(),
        no_prefix: false,
        rehearsal: Rehearsal::No,
    }
}

fn progress(claim: &Claim, text: &str, done: bool) -> PrefixProgress {
    let (prefix, fence) = (claim.prefix, claim.fence);
    PrefixProgress {
        prefix,
        fence,
        cursor: Some(text.into()),
        tally: text.into(),
        done,
        whole: true,
        notes: Vec::new(),
        intents: Vec::new(),
        candidates: Vec::new(),
        judged: crate::job::Judged::default(),
    }
}

fn note(number: u64, kind: NoteKind) -> Note {
    Note { number, bucket: vec![0xff, b'a', 0], kind, body: format!("{{\"n\":{number}}}") }
}

/// The notes of one kind, at most so many, read some at a time.
pub(super) fn notes(
    store: &mut dyn StateStore,
    cycle: &CycleKey,
    kind: NoteKind,
    limit: u64,
) -> crate::error::Result<Vec<(u32, Note)>> {
    let (mut found, mut from) = (Vec::new(), Some(NotePlace::default()));
    while let Some(place) = from {
        let page = store.reader().notes(cycle, place, 2)?;
        found.extend(page.notes.into_iter().filter(|(_, note)| note.kind == kind));
        from = page.next;
    }
    found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(found)
}

fn with_notes(mut progress: PrefixProgress, notes: Vec<Note>) -> PrefixProgress {
    progress.notes = notes;
    progress
}

fn begun(store: &mut dyn StateStore, prefixes: usize) -> CycleKey {
    store.begin("c", &identity(prefixes), 1.5).unwrap().key()
}

fn taken_up(store: &mut dyn StateStore, cycle: &CycleKey) {
    let mut from = Some(0);
    while let Some(position) = from {
        from = store.take_up(cycle, position).unwrap();
    }
}

fn complete(store: &mut dyn StateStore, cycle: &CycleKey) {
    for claim in store.claim(cycle, u32::MAX).unwrap() {
        store.commit(cycle, &[progress(&claim, "end", true)], 2.5).unwrap();
    }
}

fn crawl_without_cycle_is_unknown<B: Backend>() {
    let mut backend = B::fresh();
    assert_eq!(backend.store().reader().latest("c").unwrap(), None);
    let nothing = CycleKey { crawl: "c".to_owned(), number: 0 };
    assert!(backend.store().claim(&nothing, 1).is_err());
    assert!(backend.store().reader().prefixes(&nothing, 0).is_err());
    assert!(notes(backend.store(), &nothing, NoteKind::Error, 1).is_err());
    assert!(backend.store().deliver(&nothing).is_err());
    assert!(backend.store().finish(&nothing, 1.0).is_err());
    backend.store().release(&nothing, &[(0, 1)]).unwrap();
    backend.store().sync().unwrap();
}

fn cycle_is_found_as_it_was_begun<B: Backend>() {
    let mut backend = B::fresh();
    let cycle = backend.store().begin("c", &identity(3), 1.1).unwrap();
    let expected = KnownCycle {
        crawl: "c".to_owned(),
        number: 0,
        identity: identity(3),
        started: 1.1,
        finished: None,
        delivered: false,
        confirmed: None,
        carrying_out: None,
        done: vec![],
    };
    assert_eq!(cycle, expected);
    assert_eq!(backend.store().reader().latest("c").unwrap(), Some(expected.clone()));
    backend.reopen();
    assert_eq!(backend.store().reader().latest("c").unwrap(), Some(expected));
    let empty = |prefix| PrefixRow { prefix, done: false, cursor: None, tally: None };
    assert_eq!(backend.store().reader().prefixes(&cycle.key(), 0).unwrap(), [0, 1, 2].map(empty));
}

fn claims_are_given_in_ring_order_and_once<B: Backend>() {
    let mut backend = B::fresh();
    let store = backend.store();
    let cycle = begun(store, 5);
    let positions = |claims: Vec<Claim>| claims.iter().map(|c| c.prefix).collect::<Vec<_>>();
    assert_eq!(positions(store.claim(&cycle, 0).unwrap()), [0; 0]);
    let first = store.claim(&cycle, 2).unwrap();
    assert_eq!(positions(store.claim(&cycle, 2).unwrap()), [2, 3]);
    store.release(&cycle, &[(1, first[1].fence), (0, first[0].fence + 1), (9, 1)]).unwrap();
    assert_eq!(positions(store.claim(&cycle, 9).unwrap()), [1, 4], "the wrong fence releases nothing");
    assert_eq!(positions(store.claim(&cycle, 9).unwrap()), [0; 0]);
    store.commit(&cycle, &[progress(&first[0], "x", true)], 2.0).unwrap();
    store.release(&cycle, &[(0, first[0].fence)]).unwrap();
    assert_eq!(positions(store.claim(&cycle, 9).unwrap()), [0; 0], "what is done is not claimed");
}

fn claim_goes_on_from_the_last_commit<B: Backend>() {
    let mut backend = B::fresh();
    let cycle = begun(backend.store(), 1);
    let first = backend.store().claim(&cycle, 1).unwrap().remove(0);
    assert_eq!((first.cursor.clone(), first.tally.clone()), (None, None));
    let without_cursor = PrefixProgress { cursor: None, tally: vec![], ..progress(&first, "", false) };
    backend.store().commit(&cycle, &[without_cursor], 2.0).unwrap();
    backend.store().release(&cycle, &[(0, first.fence)]).unwrap();
    let second = backend.store().claim(&cycle, 1).unwrap().remove(0);
    assert_eq!((second.cursor.clone(), second.tally.clone()), (None, Some(vec![])), "an empty tally is one");
    assert!(second.fence > first.fence);
    let standing = backend.store().commit(&cycle, &[progress(&second, "b\0\u{ff}", false)], 2.0).unwrap();
    assert_eq!(standing.left, 1);
    backend.reopen();
    backend.store().reader().latest("c").unwrap();
    let third = backend.store().claim(&cycle, 1).unwrap().remove(0);
    assert_eq!(third.cursor.as_deref(), Some("b\0\u{ff}".as_bytes()));
    assert_eq!(third.cursor, third.tally);
    assert!(third.fence > second.fence);
}

fn stale_claim_is_refused_and_nothing_changes<B: Backend>() {
    let mut backend = B::fresh();
    let store = backend.store();
    let cycle = begun(store, 2);
    let claims = store.claim(&cycle, 2).unwrap();
    store.release(&cycle, &[(1, claims[1].fence)]).unwrap();
    let newer = store.claim(&cycle, 1).unwrap().remove(0);
    let before = store.reader().prefixes(&cycle, 0).unwrap();

    let good = with_notes(progress(&claims[0], "x", true), vec![note(0, NoteKind::Error)]);
    let mut beyond = good.clone();
    beyond.prefix = 2;
    for stale in [progress(&claims[1], "y", true), good.clone(), beyond] {
        let refused = store.commit(&cycle, &[good.clone(), stale.clone()], 2.0).unwrap_err();
        let Error::StaleClaim { prefix, fence } = refused else { panic!("{refused}") };
        assert_eq!((prefix, fence), (stale.prefix, stale.fence));
        assert_eq!(store.reader().prefixes(&cycle, 0).unwrap(), before);
        assert_eq!(notes(store, &cycle, NoteKind::Error, 9).unwrap(), []);
    }
    store.commit(&cycle, &[good, progress(&newer, "y", false)], 2.0).unwrap();
    assert_eq!(store.reader().latest("c").unwrap().unwrap().done, [0]);
}

fn last_prefix_ends_the_cycle<B: Backend>() {
    let mut backend = B::fresh();
    let cycle = begun(backend.store(), 2);
    let claims = backend.store().claim(&cycle, 2).unwrap();
    assert_eq!(backend.store().commit(&cycle, &[progress(&claims[1], "1", true)], 5.0).unwrap().left, 1);
    assert_eq!(backend.store().reader().latest("c").unwrap().unwrap().finished, None);
    assert_eq!(backend.store().commit(&cycle, &[progress(&claims[0], "0", true)], 6.25).unwrap().left, 0);
    backend.store().finish(&cycle, 7.0).unwrap();
    assert_eq!(backend.store().commit(&cycle, &[], 8.0).unwrap().left, 0);
    backend.reopen();
    let latest = backend.store().reader().latest("c").unwrap().unwrap();
    assert_eq!((latest.finished, latest.done, latest.delivered), (Some(6.25), vec![0, 1], false));
    assert_eq!(backend.store().claim(&cycle, 9).unwrap(), []);
    assert!(matches!(
        backend.store().commit(&cycle, &[progress(&claims[0], "0", true)], 9.0),
        Err(Error::StaleClaim { prefix: 0, .. })
    ));
}

fn only_a_store_without_prefixes_is_finished_by_hand<B: Backend>() {
    let mut backend = B::fresh();
    let store = backend.store();
    let cycle = begun(store, 1);
    let refused = store.finish(&cycle, 2.0).unwrap_err().to_string();
    assert!(refused.contains("1 prefixes are left"), "{refused}");
    let cycle = begun(store, 0);
    assert_eq!(store.claim(&cycle, 1).unwrap(), []);
    assert_eq!(store.commit(&cycle, &[], 1.0).unwrap().left, 0);
    assert_eq!(store.reader().latest("c").unwrap().unwrap().finished, None);
    store.finish(&cycle, 2.0).unwrap();
    store.finish(&cycle, 3.0).unwrap();
    assert_eq!(store.reader().latest("c").unwrap().unwrap().finished, Some(2.0));
}

fn only_a_finished_cycle_is_delivered<B: Backend>() {
    let mut backend = B::fresh();
    let cycle = begun(backend.store(), 1);
    assert!(backend.store().deliver(&cycle).is_err());
    complete(backend.store(), &cycle);
    assert!(!backend.store().reader().latest("c").unwrap().unwrap().delivered);
    backend.store().deliver(&cycle).unwrap();
    backend.store().deliver(&cycle).unwrap();
    backend.reopen();
    assert!(backend.store().reader().latest("c").unwrap().unwrap().delivered);
}

fn claims_of_an_earlier_process_are_void<B: Backend>() {
    let mut backend = B::fresh();
    let cycle = begun(backend.store(), 2);
    let old = backend.store().claim(&cycle, 2).unwrap();
    backend.store().reader().latest("c").unwrap();
    backend.store().commit(&cycle, &[progress(&old[0], "mine", false)], 2.0).unwrap();
    backend.reopen();
    backend.store().reader().latest("c").unwrap();
    let stale = |store: &mut dyn StateStore| {
        let refused = store.commit(&cycle, &[progress(&old[0], "late", false)], 2.0);
        assert!(matches!(refused, Err(Error::StaleClaim { prefix: 0, .. })));
    };
    stale(backend.store());
    let new = backend.store().claim(&cycle, 1).unwrap().remove(0);
    assert!(new.fence > old[0].fence);
    assert_eq!(new.tally.as_deref(), Some(&b"mine"[..]));
    stale(backend.store());
}

fn claims_of_those_who_are_gone_are_given_back<B: Backend>() {
    let mut backend = B::fresh();
    let cycle = begun(backend.store(), 4);
    let old = backend.store().claim(&cycle, 2).unwrap();
    backend.store().claim_oldest(&cycle, 2).unwrap();
    backend.store().commit(&cycle, &[progress(&old[0], "x", false), progress(&old[1], "y", true)], 2.0).unwrap();
    assert_eq!(backend.store().claim(&cycle, 4).unwrap(), []);
    taken_up(backend.store(), &cycle);
    let late = backend.store().commit(&cycle, &[progress(&old[0], "late", false)], 2.0);
    assert!(matches!(late, Err(Error::StaleClaim { prefix: 0, .. })), "{late:?}");
    let new = backend.store().claim_oldest(&cycle, 1).unwrap().remove(0);
    assert_eq!((new.prefix, new.tally.as_deref()), (0, Some(&b"x"[..])));
    let rest = backend.store().claim(&cycle, 4).unwrap();
    assert_eq!(rest.iter().map(|claim| claim.prefix).collect::<Vec<_>>(), [2, 3]);
    taken_up(backend.store(), &cycle);
    taken_up(backend.store(), &cycle);
    assert_eq!(backend.store().claim(&cycle, 4).unwrap().len(), 3);
}

fn notes_come_in_the_order_of_the_walk<B: Backend>() {
    let mut backend = B::fresh();
    let store = backend.store();
    let cycle = begun(store, 3);
    let claims = store.claim(&cycle, 3).unwrap();
    let (error, finding) = (|n| note(n, NoteKind::Error), |n| note(n, NoteKind::Finding));
    let commits = [(2, vec![error(0)]), (0, vec![finding(0), error(1)]), (0, vec![]), (0, vec![error(2), finding(3)])];
    for (prefix, notes) in commits {
        store.commit(&cycle, &[with_notes(progress(&claims[prefix], "x", false), notes)], 2.0).unwrap();
    }
    backend.reopen();
    let store = backend.store();
    let errors = vec![(0, error(1)), (0, error(2)), (2, error(0))];
    assert_eq!(notes(store, &cycle, NoteKind::Error, 10).unwrap(), errors);
    assert_eq!(notes(store, &cycle, NoteKind::Error, 2).unwrap(), errors[..2]);
    assert_eq!(notes(store, &cycle, NoteKind::Error, 0).unwrap(), []);
    assert_eq!(notes(store, &cycle, NoteKind::Finding, 10).unwrap(), [(0, finding(0)), (0, finding(3))]);
}

fn notes_out_of_number_are_refused<B: Backend>() {
    let mut backend = B::fresh();
    let store = backend.store();
    let cycle = begun(store, 1);
    let claim = store.claim(&cycle, 1).unwrap().remove(0);
    let commit = |store: &mut dyn StateStore, numbers: &[u64]| {
        let notes = numbers.iter().map(|n| note(*n, NoteKind::Error)).collect();
        store.commit(&cycle, &[with_notes(progress(&claim, "x", false), notes)], 2.0)
    };
    commit(store, &[0, 1]).unwrap();
    for wrong in [&[1][..], &[3], &[2, 2], &[2, 4]] {
        assert!(commit(store, wrong).is_err(), "{wrong:?}");
    }
    commit(store, &[2, 3]).unwrap();
    assert_eq!(notes(store, &cycle, NoteKind::Error, 9).unwrap().len(), 4);
}

fn crawls_do_not_meet<B: Backend>() {
    let mut backend = B::fresh();
    let store = backend.store();
    let one = begun(store, 2);
    let two = store.begin("d", &identity(1), 1.0).unwrap().key();
    complete(store, &two);
    assert_eq!(store.reader().latest("c").unwrap().unwrap().done, [0; 0]);
    let claim = store.claim(&one, 1).unwrap().remove(0);
    begun(store, 1);
    assert!(store.reader().latest("d").unwrap().unwrap().finished.is_some(), "giving up c leaves d alone");
    assert!(store.commit(&two, &[progress(&claim, "x", false)], 2.0).is_err());
    assert_eq!(store.reader().latest("").unwrap(), None);
}

fn moments_that_are_no_numbers_are_refused<B: Backend>() {
    let mut backend = B::fresh();
    let store = backend.store();
    assert!(store.begin("c", &identity(1), f64::NAN).is_err());
    assert!(store.begin("c", &CycleIdentity { now: f64::INFINITY, ..identity(1) }, 1.0).is_err());
    assert_eq!(store.reader().latest("c").unwrap(), None);
    let cycle = store.begin("c", &CycleIdentity { now: -0.0, ..identity(1) }, -0.0).unwrap().key();
    let claim = store.claim(&cycle, 1).unwrap().remove(0);
    assert!(store.commit(&cycle, &[progress(&claim, "x", true)], f64::NAN).is_err());
    store.commit(&cycle, &[progress(&claim, "x", true)], -0.0).unwrap();
    assert_eq!(store.reader().latest("c").unwrap().unwrap().finished, Some(0.0));
}
