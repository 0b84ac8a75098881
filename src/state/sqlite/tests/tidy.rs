//! Keeping a file in order: pages are given back, the log stays short, and a crash in any step loses nothing.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::script::{Script, once};
use crate::error::Error;
use crate::policy::pace::Pace;
use crate::state::sqlite::schema::{self, MIGRATIONS};
use crate::state::{SqliteStore, StateStore, Tidied, TidyStep, Tidying};

/// The newest cycle, and with it everything that must stay; old cycles are made of other crawls' names.
const KEPT: Script = Script::new("kept", 4);
const STATE: &str = "SEXTON_TEST_TIDY_STATE";
const LOG_BYTES: u64 = 64 << 10;

fn step(kind: Option<Tidying>, most: u64) -> TidyStep {
    TidyStep { kind, most, old_before: Some(10.0), log_bytes: LOG_BYTES }
}

/// Cycles that are finished and delivered, and old all but the last; each fills some hundred pages.
fn with_old_cycles(store: &mut SqliteStore, cycles: u64) {
    for number in 0..cycles {
        let cycle = store.begin("old", &Script::new("old", 600).identity(), 1.0).unwrap();
        assert_eq!(cycle.number, number);
        let key = cycle.key();
        for claim in store.claim(&key, u32::MAX).unwrap() {
            let (prefix, fence, tally) = (claim.prefix, claim.fence, vec![number as u8; 3000]);
            let progress = crate::state::PrefixProgress {
                prefix,
                fence,
                cursor: None,
                tally,
                done: true,
                whole: true,
                notes: vec![],
                intents: vec![],
                candidates: vec![],
                judged: crate::job::Judged::default(),
            };
            store.commit(&key, &[progress], 2.0).unwrap();
        }
        store.deliver(&key).unwrap();
    }
}

/// Does what is due until nothing is, in steps of that size; gives the sum, and how many steps it took, the log's not
/// counted.
fn tidied(store: &mut SqliteStore, most: u64) -> (Tidied, u64) {
    let (mut sum, mut steps) = (Tidied::default(), 0);
    let mut due = store.tidy(&step(None, 0)).unwrap().due;
    while let Some(kind) = due {
        let done = store.tidy(&step(Some(kind), most)).unwrap();
        sum.rows_removed += done.rows_removed;
        sum.cycles_removed += done.cycles_removed;
        sum.pages_freed += done.pages_freed;
        sum.log_bytes_moved += done.log_bytes_moved;
        steps += u64::from(kind != Tidying::Log);
        due = done.due;
    }
    (sum, steps)
}

fn finished(store: &mut SqliteStore) {
    KEPT.go_on(store, usize::MAX, &mut once).unwrap();
}

#[test]
fn old_cycles_give_their_pages_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let mut store = SqliteStore::open(&path).unwrap();
    finished(&mut store);
    with_old_cycles(&mut store, 6);
    store.sync().unwrap();
    let before = std::fs::metadata(&path).unwrap().len();
    let (sum, steps) = tidied(&mut store, 100);
    let freed_at_once = sum.pages_freed.div_ceil(100) + sum.rows_removed.div_ceil(100);
    assert!(steps <= 2 * freed_at_once + 20, "{steps} steps: each does as much as it may");
    assert_eq!((sum.cycles_removed, sum.rows_removed), (5, 5 * 601));
    store.sync().unwrap();
    let after = std::fs::metadata(&path).unwrap().len();
    assert_eq!(before - after, 4096 * sum.pages_freed);
    assert!(after < before / 2, "{before} {after}");
    let looked = store.tidy(&step(None, 0)).unwrap();
    assert!(looked.due.is_none() && looked.pages_free <= 256.max(after / 4096 / 4), "{looked:?}");
    assert_eq!(KEPT.examine(&mut store).unwrap(), KEPT.complete());
    let health: String = store.writer.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(health, "ok");
}

/// For how long a commit may have to wait. The times are printed, not asserted (`cargo test --release -- --nocapture`); that
/// steps fit themselves to the time is asserted by `policy::pace`.
#[test]
fn steps_that_are_fitted_to_some_milliseconds_come_to_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(&folder.path().join("state")).unwrap();
    with_old_cycles(&mut store, 11);
    let (mut pace, mut took) = (Pace::new(Duration::from_millis(10)), Vec::new());
    let mut due = store.tidy(&step(None, 0)).unwrap().due;
    while let Some(kind) = due {
        let (since, most) = (Instant::now(), pace.rows(kind, 32));
        let done = store.tidy(&step(Some(kind), most)).unwrap();
        pace.measured(kind, 32, done.rows_removed.max(done.pages_freed), since.elapsed());
        took.push((since.elapsed(), kind));
        due = done.due;
        assert!(took.len() < 20_000, "it does not come to an end");
    }
    took.sort_by_key(|(took, _)| *took);
    println!("{} steps, median {:?}, longest {:?}", took.len(), took[took.len() / 2], took[took.len() - 1]);
    assert_eq!(store.reader().latest("old").unwrap().unwrap().number, 10);
}

#[test]
fn the_log_is_cut_when_it_is_longer_than_asked_for_and_not_before() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(&folder.path().join("state")).unwrap();
    let cycle = store.begin("c", &KEPT.identity(), 1.0).unwrap().key();
    store.claim(&cycle, 1).unwrap();
    let looked = store.tidy(&step(None, 0)).unwrap();
    assert!(looked.log_bytes > 0 && looked.due.is_none(), "{looked:?}");
    assert_eq!(store.tidy(&step(Some(Tidying::Log), 0)).unwrap().log_bytes, looked.log_bytes);
    let idle = TidyStep { log_bytes: 0, ..step(None, 0) };
    assert_eq!(store.tidy(&idle).unwrap().due, Some(Tidying::Log));
    let done = store.tidy(&TidyStep { kind: Some(Tidying::Log), ..idle }).unwrap();
    assert_eq!((done.log_bytes_moved, done.log_bytes, done.due), (looked.log_bytes, 0, None));
}

/// A file of version 1, as the first Sexton made it, cannot give pages back; all else is as in a new one.
#[test]
fn file_of_the_first_version_is_brought_forward_and_keeps_its_pages() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let conn = Connection::open(&path).unwrap();
    conn.pragma_update(None, "application_id", schema::APPLICATION_ID).unwrap();
    schema::migrate(&conn, &MIGRATIONS[..1]).unwrap();
    drop(conn);
    let mut store = SqliteStore::open(&path).unwrap();
    with_old_cycles(&mut store, 4);
    let (sum, _) = tidied(&mut store, 1000);
    assert_eq!((sum.cycles_removed, sum.pages_freed), (3, 0));
    assert!(store.tidy(&step(None, 0)).unwrap().pages_free > 256);
    assert_eq!(store.reader().last_run("a").unwrap(), None);
}

/// How it happens: a sector of the table of cycles was lost, and with it the newest cycle of a crawl.
#[test]
fn nothing_is_removed_from_a_file_whose_newest_cycle_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(&folder.path().join("state")).unwrap();
    finished(&mut store);
    with_old_cycles(&mut store, 2);
    store.writer.execute("DELETE FROM cycle WHERE crawl = 'kept'", []).unwrap();
    let refused = store.tidy(&step(Some(Tidying::Rows), 1000)).unwrap_err();
    assert!(matches!(refused, Error::StateDamaged { .. }), "{refused}");
    let prefixes: u32 = store.writer.query_row("SELECT count(*) FROM prefix", [], |row| row.get(0)).unwrap();
    assert_eq!(prefixes, 2 * 600 + KEPT.prefixes);
}

/// What the child does. Without its environment there is nothing to do: the test below runs it.
#[test]
fn child() {
    let Some(path) = std::env::var_os(STATE) else { return };
    let scenario = fail::FailScenario::setup();
    tidied(&mut SqliteStore::open(Path::new(&path)).unwrap(), 300);
    scenario.teardown();
}

/// How it happens: the process aborts itself just before or just after the transaction of a step, at the first, second,
/// nth one; the next process goes on.
#[test]
fn aborted_in_any_step_nothing_is_lost_and_the_next_process_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("made");
    let mut store = SqliteStore::open(&made).unwrap();
    finished(&mut store);
    with_old_cycles(&mut store, 3);
    drop(store);
    let mut aborted = 0;
    for (point, times) in [("before_remove", 5), ("after_remove", 5), ("before_vacuum", 2), ("after_vacuum", 2)] {
        for passed in 0..times {
            let state = folder.path().join(format!("{point}{passed}"));
            std::fs::copy(&made, &state).unwrap();
            let status = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "state::sqlite::tests::tidy::child"])
                .env(STATE, &state)
                .env("FAILPOINTS", format!("checkpoint::{point}={passed}*off->return"))
                .output()
                .unwrap()
                .status;
            aborted += u32::from(!status.success());
            let mut store = SqliteStore::open(&state).unwrap();
            assert_eq!(KEPT.examine(&mut store).unwrap(), KEPT.complete(), "{point} {passed}");
            tidied(&mut store, 300);
            assert_eq!(KEPT.examine(&mut store).unwrap(), KEPT.complete(), "{point} {passed}");
            let rows: u32 = store.writer.query_row("SELECT count(*) FROM prefix", [], |row| row.get(0)).unwrap();
            assert_eq!(rows, 600 + KEPT.prefixes, "{point} {passed}");
            assert_eq!(store.reader().latest("old").unwrap().unwrap().number, 2);
        }
    }
    assert!(aborted >= 12, "{aborted}");
}
