//! What is remembered of visits: whole ones, across cycles, crawls and processes; and claims in that order.

use super::{Backend, begun, identity, progress};
use crate::policy::cycle::{CycleIdentity, CycleKey};
use crate::state::{Claim, PrefixProgress, StateStore};

fn complete(store: &mut dyn StateStore, cycle: &CycleKey, claim: &Claim, whole: bool, at: f64) {
    store.commit(cycle, &[PrefixProgress { whole, ..progress(claim, "x", true) }], at).unwrap();
}

fn visits(store: &mut dyn StateStore) -> Vec<(String, f64)> {
    let CycleIdentity { store: of, job, .. } = identity(1);
    store.reader().visits(&of, &job).unwrap().into_iter().collect()
}

pub(super) fn visits_are_remembered_where_they_were_whole<B: Backend>() {
    let mut backend = B::fresh();
    let cycle = begun(backend.store(), 3);
    assert_eq!(visits(backend.store()), []);
    let claims = backend.store().claim(&cycle, 3).unwrap();
    backend.store().commit(&cycle, &[progress(&claims[0], "x", false)], 5.0).unwrap();
    assert_eq!(visits(backend.store()), [], "it is not complete");
    complete(backend.store(), &cycle, &claims[0], true, 6.0);
    complete(backend.store(), &cycle, &claims[1], false, 7.0);
    // Under another name, as a crawl over a part of the ring has it: the same store and job.
    let part = CycleIdentity { ring: ["p02".to_owned()].into(), ..identity(1) };
    let other = backend.store().begin("d", &part, 1.0).unwrap().key();
    let claim = backend.store().claim(&other, 1).unwrap().remove(0);
    complete(backend.store(), &other, &claim, true, 8.0);
    let expected = [("p00".to_owned(), 6.0), ("p02".to_owned(), 8.0)];
    assert_eq!(visits(backend.store()), expected);
    // A cycle that is given up takes nothing of it along; another job has visits of its own.
    begun(backend.store(), 3);
    backend.reopen();
    assert_eq!(visits(backend.store()), expected);
    assert!(backend.store().reader().visits(&identity(1).store, "count").unwrap().is_empty());
    assert!(backend.store().reader().visits("/elsewhere", &identity(1).job).unwrap().is_empty());
}

pub(super) fn oldest_first_claims_what_was_visited_longest_ago<B: Backend>() {
    let mut backend = B::fresh();
    let cycle = begun(backend.store(), 5);
    let claims = backend.store().claim(&cycle, 5).unwrap();
    for (position, at) in [(3, 10.0), (0, 20.0), (1, 20.0), (4, 30.0)] {
        complete(backend.store(), &cycle, &claims[position], true, at);
    }
    complete(backend.store(), &cycle, &claims[2], false, 5.0);
    let next = begun(backend.store(), 5);
    let positions = |claims: Vec<Claim>| claims.iter().map(|c| c.prefix).collect::<Vec<_>>();
    assert_eq!(positions(backend.store().claim_oldest(&next, 2).unwrap()), [2, 3]);
    let claims = backend.store().claim_oldest(&next, 1).unwrap();
    assert_eq!(claims[0].prefix, 0);
    backend.store().release(&next, &[(0, claims[0].fence)]).unwrap();
    // Both orders know of each other's claims.
    assert_eq!(positions(backend.store().claim(&next, 1).unwrap()), [0]);
    assert_eq!(positions(backend.store().claim_oldest(&next, 9).unwrap()), [1, 4]);
    assert_eq!(positions(backend.store().claim(&next, 9).unwrap()), [0; 0]);
    backend.reopen();
    assert_eq!(positions(backend.store().claim_oldest(&next, 9).unwrap()), [2, 3, 0, 1, 4]);
    let unknown = CycleKey { crawl: "nobody".to_owned(), number: 0 };
    assert!(backend.store().claim_oldest(&unknown, 1).is_err());
}
