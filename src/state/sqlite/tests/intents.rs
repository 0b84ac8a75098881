//! Intents in the file: damage shows, and older files are brought forward with all that it holds.

use rusqlite::Connection;

use super::script::Script;
use crate::error::Error;
use crate::job::Intent;
use crate::own_files::OwnFile;
use crate::state::sqlite::{SqliteStore, beside, schema};
use crate::state::{PrefixProgress, StateStore};

const SCRIPT: Script = Script::new("c", 2);

fn committed(path: &std::path::Path) {
    let mut store = SqliteStore::open(path).unwrap();
    let cycle = store.begin("c", &SCRIPT.identity(), 1.0).unwrap().key();
    let claim = store.claim(&cycle, 1).unwrap().remove(0);
    let intent = |body: &str| Intent { bucket: b"b".to_vec(), deletes: 1, body: body.to_owned(), begun: false };
    let progress = PrefixProgress {
        prefix: 0,
        fence: claim.fence,
        cursor: Some(b"b".to_vec()),
        tally: b"{}".to_vec(),
        done: false,
        whole: true,
        notes: Vec::new(),
        intents: vec![intent("one"), intent("two")],
        candidates: Vec::new(),
        judged: crate::job::Judged::default(),
    };
    store.commit(&cycle, &[progress], 2.0).unwrap();
    store.sync().unwrap();
}

#[test]
fn damaged_or_lost_intents_are_noticed() {
    for damage in [
        "UPDATE intent SET body = 'six' WHERE number = 1",
        "UPDATE intent SET deletes = 0 WHERE number = 0",
        "UPDATE intent SET begun = 1 WHERE number = 0",
        "DELETE FROM intent WHERE number = 1",
        "DELETE FROM intent",
        "UPDATE prefix SET intents = 0",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        committed(&path);
        Connection::open(&path).unwrap().execute_batch(damage).unwrap();
        let mut store = SqliteStore::open(&path).unwrap();
        let claimed = store.reader().latest("c").and_then(|cycle| store.claim(&cycle.unwrap().key(), 1));
        assert!(matches!(claimed, Err(Error::StateDamaged { .. })), "{damage}: {claimed:?}");
    }
}

#[test]
fn an_older_file_keeps_its_progress() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let mut store = SqliteStore::open(&path).unwrap();
    let cycle = store.begin("c", &SCRIPT.identity(), 1.0).unwrap().key();
    let claim = store.claim(&cycle, 1).unwrap().remove(0);
    let (prefix, fence, tally) = (0, claim.fence, b"{}".to_vec());
    let (cursor, notes, intents) = (Some(b"b".to_vec()), vec![], vec![]);
    let progress = PrefixProgress {
        prefix,
        fence,
        cursor,
        tally,
        done: false,
        whole: true,
        notes,
        intents,
        candidates: vec![],
        judged: crate::job::Judged::default(),
    };
    store.commit(&cycle, &[progress], 2.0).unwrap();
    drop(store);
    // What the versions from 4 on have added is taken away again: so a file of version 3 looks.
    let conn = Connection::open(&path).unwrap();
    super::script::with_rings_as_before(&conn);
    conn.execute_batch(
        "ALTER TABLE prefix DROP COLUMN intents; ALTER TABLE prefix DROP COLUMN intent_chain; DROP TABLE intent;
         ALTER TABLE cycle DROP COLUMN confirmed; DROP TABLE damage; DROP TABLE damage_total;
         ALTER TABLE cycle DROP COLUMN carrying_out; ALTER TABLE prefix DROP COLUMN candidates;
         ALTER TABLE prefix DROP COLUMN candidate_sum; DROP TABLE candidate;
         PRAGMA user_version = 3;",
    )
    .unwrap();
    drop(conn);
    assert_eq!(schema::inspect(&OwnFile::at(&path).unwrap()).unwrap(), schema::FoundFile::Ours);
    let mut store = SqliteStore::open(&path).unwrap();
    let found = store.reader().latest("c").unwrap().unwrap();
    assert_eq!(found.key(), cycle);
    let claim = store.claim(&cycle, 1).unwrap().remove(0);
    assert_eq!((claim.cursor.as_deref(), claim.intents), (Some(&b"b"[..]), vec![]));
    assert!(!beside(&path, "-new").exists());
}
