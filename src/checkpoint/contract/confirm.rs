//! Confirmations: kept with the rehearsal that they were given for, and given for nothing else.

use super::{Backend, begun, complete, identity};
use crate::checkpoint::{CycleIdentity, CycleKey, StateStore};
use crate::error::Error;
use crate::job::Rehearsal;

fn rehearsal(store: &mut dyn StateStore) -> CycleKey {
    store.begin("c", &CycleIdentity { rehearsal: Rehearsal::Yes, ..identity(2) }, 1.0).unwrap().key()
}

fn confirmed(store: &mut dyn StateStore) -> Option<f64> {
    store.latest("c").unwrap().unwrap().confirmed
}

pub(super) fn a_confirmation_is_kept_with_its_rehearsal<B: Backend>() {
    let mut backend = B::fresh();
    let cycle = rehearsal(backend.store());
    complete(backend.store(), &cycle);
    backend.store().deliver(&cycle).unwrap();
    backend.reopen();
    assert_eq!(confirmed(backend.store()), None);
    backend.store().confirm(&cycle, 5.5).unwrap();
    backend.store().confirm(&cycle, 6.5).unwrap();
    backend.reopen();
    assert_eq!(confirmed(backend.store()), Some(5.5), "the first time counts");
    // What comes after it has to be confirmed on its own account.
    rehearsal(backend.store());
    assert_eq!(confirmed(backend.store()), None);
    assert_eq!(backend.store().finished("c").unwrap()[0].confirmed, Some(5.5));
}

pub(super) fn only_the_newest_finished_rehearsal_is_confirmed<B: Backend>() {
    let mut backend = B::fresh();
    let store = backend.store();
    let refused = |store: &mut dyn StateStore, cycle: &CycleKey, why: &str| {
        let refused = store.confirm(cycle, 5.0);
        let Err(Error::Config(text)) = &refused else { panic!("{refused:?}") };
        assert!(text.contains(why), "{text}");
    };
    let nobody = CycleKey { crawl: "d".to_owned(), number: 0 };
    refused(store, &nobody, "no cycle 0");
    let plain = begun(store, 1);
    complete(store, &plain);
    refused(store, &plain, "it is no rehearsal");
    let first = rehearsal(store);
    refused(store, &first, "it is not finished");
    complete(store, &first);
    let second = rehearsal(store);
    refused(store, &first, "the newest cycle is 2");
    complete(store, &second);
    refused(store, &first, "the newest cycle is 2");
    assert!(store.confirm(&second, f64::NAN).is_err());
    assert_eq!(confirmed(store), None);
    store.confirm(&second, 5.0).unwrap();
    assert_eq!(confirmed(store), Some(5.0));
}
