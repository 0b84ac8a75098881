//! Intents: kept with the prefix that they were committed with, until a commit without them.

use super::{Backend, begun, identity, progress};
use crate::job::Intent;
use crate::state::{Claim, PrefixProgress};

fn intent(n: u64) -> Intent {
    Intent { bucket: vec![b'a', 0xff, 0, n as u8], deletes: n, body: format!("{{\"n\":{n}}}"), begun: true }
}

fn with_intents(claim: &Claim, text: &str, done: bool, intents: &[Intent]) -> PrefixProgress {
    PrefixProgress { intents: intents.to_vec(), ..progress(claim, text, done) }
}

pub(super) fn intents_stay_until_a_commit_without_them<B: Backend>() {
    let mut backend = B::fresh();
    let cycle = begun(backend.store(), 3);
    let claims = backend.store().claim(&cycle, 2).unwrap();
    assert!(claims.iter().all(|claim| claim.intents.is_empty()));
    let both = [with_intents(&claims[0], "x", false, &[intent(1), intent(2)]), progress(&claims[1], "y", false)];
    backend.store().commit(&cycle, &both, 2.0).unwrap();
    backend.store().sync().unwrap();
    assert_eq!(backend.store().reader().half_done(&cycle).unwrap(), 2);
    backend.reopen();
    backend.store().reader().latest("c").unwrap();
    let again = backend.store().claim(&cycle, 2).unwrap();
    assert_eq!(again[0].intents, [intent(1), intent(2)]);
    assert_eq!(again[1].intents, []);
    // Others stand in their place, in their order; a release keeps them.
    backend.store().commit(&cycle, &[with_intents(&again[0], "x", false, &[intent(3), intent(2)])], 2.0).unwrap();
    backend.store().release(&cycle, &[(0, again[0].fence)]).unwrap();
    let third = backend.store().claim(&cycle, 1).unwrap().remove(0);
    assert_eq!(third.intents, [intent(3), intent(2)]);
    backend.store().commit(&cycle, &[progress(&third, "z", false)], 2.0).unwrap();
    backend.store().release(&cycle, &[(0, third.fence)]).unwrap();
    assert_eq!(backend.store().claim(&cycle, 1).unwrap().remove(0).intents, []);
    assert_eq!(backend.store().reader().half_done(&cycle).unwrap(), 0);
}

pub(super) fn a_complete_prefix_with_intents_is_refused<B: Backend>() {
    let mut backend = B::fresh();
    let cycle = begun(backend.store(), 1);
    let claim = backend.store().claim(&cycle, 1).unwrap().remove(0);
    let refused = backend.store().commit(&cycle, &[with_intents(&claim, "x", true, &[intent(1)])], 2.0);
    assert!(refused.unwrap_err().to_string().contains("complete with 1 intents left"));
    backend.store().commit(&cycle, &[with_intents(&claim, "x", false, &[intent(1)])], 2.0).unwrap();
    assert_eq!(backend.store().reader().latest("c").unwrap().unwrap().finished, None);
    backend.store().commit(&cycle, &[progress(&claim, "x", true)], 3.0).unwrap();
    assert_eq!(backend.store().reader().latest("c").unwrap().unwrap().finished, Some(3.0));
}

pub(super) fn a_cycle_with_intents_that_may_be_half_done_is_not_given_up<B: Backend>() {
    let mut backend = B::fresh();
    let cycle = begun(backend.store(), 2);
    let claim = backend.store().claim(&cycle, 1).unwrap().remove(0);
    backend.store().commit(&cycle, &[with_intents(&claim, "x", false, &[intent(1), intent(5)])], 2.0).unwrap();
    backend.reopen();
    for number in [None, Some(cycle.number), Some(cycle.number + 7)] {
        let refused = match number {
            None => backend.store().begin("c", &identity(1), 3.0),
            Some(number) => backend.store().begin_numbered("c", &identity(1), number, 3.0),
        };
        assert!(refused.unwrap_err().to_string().contains("may be half done (buckets: 2)"));
    }
    let latest = backend.store().reader().latest("c").unwrap().unwrap();
    assert_eq!((latest.number, latest.identity.ring.len()), (0, 2), "nothing has changed");
    let claim = backend.store().claim(&cycle, 1).unwrap().remove(0);
    assert_eq!(claim.intents, [intent(1), intent(5)]);
    backend.store().commit(&cycle, &[progress(&claim, "x", false)], 4.0).unwrap();
    let next = begun(backend.store(), 1);
    assert_eq!((next.number, backend.store().claim(&next, 1).unwrap().remove(0).intents), (1, Vec::new()));
}

pub(super) fn a_cycle_whose_intents_were_not_begun_is_given_up_with_them<B: Backend>() {
    let mut backend = B::fresh();
    let cycle = begun(backend.store(), 1);
    let claim = backend.store().claim(&cycle, 1).unwrap().remove(0);
    let intents = [Intent { begun: false, ..intent(1) }, intent(2), Intent { begun: false, ..intent(3) }];
    backend.store().commit(&cycle, &[with_intents(&claim, "x", false, &intents)], 2.0).unwrap();
    assert_eq!(backend.store().reader().half_done(&cycle).unwrap(), 1);
    backend.reopen();
    let claim = backend.store().claim(&cycle, 1).unwrap().remove(0);
    assert_eq!(claim.intents, intents);
    backend.store().commit(&cycle, &[with_intents(&claim, "x", false, &intents[..1])], 2.0).unwrap();
    assert_eq!(begun(backend.store(), 1).number, 1);
}

pub(super) fn a_cycle_whose_intents_are_all_or_nothing_is_given_up_with_them<B: Backend>() {
    let mut backend = B::fresh();
    let cycle = begun(backend.store(), 1);
    let whole = |n| Intent { body: format!("{{\"n\":{n},\"all_or_nothing\":true}}"), ..intent(n) };
    let claim = backend.store().claim(&cycle, 1).unwrap().remove(0);
    // One that may be half done holds all.
    backend.store().commit(&cycle, &[with_intents(&claim, "x", false, &[whole(1), intent(2), whole(3)])], 2.0).unwrap();
    assert_eq!(backend.store().reader().half_done(&cycle).unwrap(), 1);
    assert!(backend.store().begin("c", &identity(1), 3.0).unwrap_err().to_string().contains("(buckets: 1)"));
    backend.store().commit(&cycle, &[with_intents(&claim, "x", false, &[whole(1), whole(3)])], 2.0).unwrap();
    backend.reopen();
    assert_eq!(backend.store().reader().half_done(&cycle).unwrap(), 0);
    let next = begun(backend.store(), 1);
    assert_eq!((next.number, backend.store().claim(&next, 1).unwrap().remove(0).intents), (1, Vec::new()));
    let left = backend.store().commit(&cycle, &[progress(&claim, "x", false)], 4.0);
    assert!(left.is_err(), "the cycle has gone, with its claims");
}
