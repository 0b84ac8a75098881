//! Confirmations in the file: none is invented, and none is lost, without being noticed.

use rusqlite::Connection;

use super::super::SqliteStore;
use super::script::Script;
use crate::checkpoint::{CycleIdentity, StateStore};
use crate::error::Error;
use crate::job::Rehearsal;

const SCRIPT: Script = Script::new("c", 0);

/// A rehearsal that is over, confirmed or not.
fn rehearsed(path: &std::path::Path, confirmed: Option<f64>) {
    let mut store = SqliteStore::open(path).unwrap();
    let identity = CycleIdentity { rehearsal: Rehearsal::Yes, ring: Vec::new(), ..SCRIPT.identity() };
    let cycle = store.begin("c", &identity, 1.0).unwrap().key();
    store.finish(&cycle, 2.0).unwrap();
    confirmed.into_iter().for_each(|at| store.confirm(&cycle, at).unwrap());
}

#[test]
fn a_confirmation_that_nobody_gave_is_noticed_and_so_is_one_that_was_taken_away() {
    for (confirmed, damage) in [
        (None, "UPDATE cycle SET confirmed = 3.0"),
        (Some(3.0), "UPDATE cycle SET confirmed = NULL"),
        (Some(3.0), "UPDATE cycle SET confirmed = 4.0"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        rehearsed(&path, confirmed);
        let found = SqliteStore::open(&path).unwrap().latest("c").unwrap().unwrap();
        assert_eq!(found.confirmed, confirmed);
        Connection::open(&path).unwrap().execute_batch(damage).unwrap();
        let found = SqliteStore::open(&path).unwrap().latest("c");
        assert!(matches!(found, Err(Error::StateDamaged { .. })), "{damage}: {found:?}");
    }
}
