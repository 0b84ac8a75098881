//! Rows that are missing, doubled or of another age, each of them sound in itself: what no checksum of a row shows.

use rusqlite::Connection;

use super::script::{Script, once};
use crate::error::Error;
use crate::state::sqlite::notes::{self, Go};
use crate::state::sqlite::rows::{CycleRow, PrefixRecord};
use crate::state::{NotePlace, SqliteStore, StateStore};

const SCRIPT: Script = Script::new("missing", 4);

/// Changes the state of a crawl in the middle, or of a finished one, behind the store's back; gives the error of the
/// next reading.
fn error_after(commits: usize, change: impl FnOnce(&Connection)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(&folder.path().join("state")).unwrap();
    SCRIPT.go_on(&mut store, commits, &mut once).unwrap();
    SCRIPT.examine(&mut store).unwrap();
    change(&store.writer);
    let error = store.reader().latest(SCRIPT.crawl).unwrap_err();
    assert!(matches!(error, Error::StateDamaged { .. }), "{error}");
    error.to_string()
}

const ALL: usize = 8;
const HALF: usize = 6;

#[test]
fn missing_rows_are_noticed() {
    for (sql, cause) in [
        ("DELETE FROM crawl", "not the one it should be"),
        ("DELETE FROM cycle", "not the one it should be"),
        ("DELETE FROM prefix WHERE id = (SELECT max(id) FROM prefix)", "has 3 prefixes of 4"),
        ("DELETE FROM prefix WHERE id = (SELECT min(id) FROM prefix)", "stands where 0 is due"),
        ("DELETE FROM prefix", "has 0 prefixes of 4"),
        ("DELETE FROM note WHERE prefix = 0 AND number = 0", "note 1 of prefix 0 is out of place"),
        ("DELETE FROM note WHERE prefix = 0 AND number = 3", "note 0 of prefix 1 is out of place"),
        ("DELETE FROM note WHERE prefix = (SELECT max(prefix) FROM note)", "has lost notes"),
        ("DELETE FROM note", "has lost notes"),
    ] {
        let error = error_after(HALF, |conn| conn.execute_batch(sql).unwrap());
        assert!(error.contains(cause), "{sql}: {error}");
    }
}

/// There may be ten of them, each with a large ring.
#[test]
fn finished_cycles_are_listed_without_reading_them_and_what_is_missing_shows_when_one_is_read() {
    for (sql, cause) in [
        ("DELETE FROM prefix WHERE id = (SELECT max(id) FROM prefix)", "has 3 prefixes of 4"),
        ("DELETE FROM prefix WHERE id = (SELECT min(id) FROM prefix)", "stands where 0 is due"),
        ("DELETE FROM prefix", "has 0 prefixes of 4"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(&folder.path().join("state")).unwrap();
        SCRIPT.go_on(&mut store, ALL + 1, &mut once).unwrap();
        store.writer.execute_batch(sql).unwrap();
        let finished = store.reader().finished(SCRIPT.crawl).unwrap();
        assert_eq!((finished.len(), finished[0].done.len()), (1, 4));
        let error = store.reader().prefixes(&finished[0].key(), 0).unwrap_err().to_string();
        assert!(error.contains(cause), "{sql}: {error}");
    }
}

#[test]
fn changed_and_doubled_rows_are_noticed() {
    for (sql, cause) in [
        ("UPDATE crawl SET latest = 1", "fails its checksum"),
        ("UPDATE cycle SET started = 3.0", "fails its checksum"),
        ("UPDATE cycle SET id = id + 1", "fails its checksum"),
        ("UPDATE prefix SET tally = NULL WHERE id % 4 = 1", "fails its checksum"),
        ("UPDATE prefix SET id = id + (1 << 20) WHERE id = (SELECT max(id) FROM prefix)", "fails its checksum"),
        ("UPDATE note SET body = 'other' WHERE number = 1", "fails its checksum"),
        ("UPDATE note SET kind = 7 WHERE number = 1", "of kind 7"),
        ("INSERT INTO crawl SELECT id + 1, name, latest, sum FROM crawl", "fails its checksum"),
        (
            "PRAGMA writable_schema = ON; DELETE FROM sqlite_schema WHERE name = 'note'; PRAGMA schema_version = 1000;
             PRAGMA writable_schema = RESET",
            "no such table",
        ),
    ] {
        let error = error_after(HALF, |conn| conn.execute_batch(sql).unwrap());
        assert!(error.contains(cause), "{sql}: {error}");
    }
}

/// How it happens: a page of notes is older than the page of their prefix. Each note is one that once was committed.
#[test]
fn notes_of_another_age_are_noticed() {
    let error = error_after(HALF, |conn| {
        let seal = CycleRow::all(conn).unwrap()[0].seal();
        let mut first = None;
        notes::each(conn, seal, NotePlace::default(), |_, note, _| {
            first = Some(note);
            Ok(Go::Stop)
        })
        .unwrap();
        conn.execute_batch("DELETE FROM note WHERE prefix = 0 AND number = 0").unwrap();
        let mut other = first.unwrap();
        other.body.push(' ');
        notes::insert(conn, seal, 0, &other).unwrap();
    });
    assert!(error.contains("the notes of prefix 0 are not of one age"), "{error}");
}

/// How it happens: the page of the cycle and a page of its prefixes are of different ages.
#[test]
fn end_of_a_cycle_that_does_not_fit_its_prefixes_is_noticed() {
    let unfinished = error_after(ALL + 1, |conn| {
        let mut cycle = CycleRow::all(conn).unwrap().remove(0);
        cycle.finished = None;
        cycle.save(conn).unwrap();
    });
    assert!(unfinished.contains("in progress with 4 of 4 prefixes"), "{unfinished}");
    let finished = error_after(ALL + 1, |conn| {
        let seal = CycleRow::all(conn).unwrap()[0].seal();
        let mut prefix = PrefixRecord::at(conn, seal, 2).unwrap().unwrap();
        prefix.done = false;
        prefix.save(conn, seal).unwrap();
    });
    assert!(finished.contains("cycle 0 is finished, and not all its prefixes are"), "{finished}");
}
