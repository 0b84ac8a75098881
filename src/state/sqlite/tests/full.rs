//! No room: each call that fails for it changes nothing, and succeeds when there is room.

use std::path::Path;
use std::process::Command;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::script::{STEPS, Script, once};
use crate::error::{Error, Retry};
use crate::state::{SqliteStore, StateStore};

const SCRIPT: Script = Script::new("full", 10);
const FOLDER: &str = "SEXTON_TEST_FULL_FOLDER";

/// How it happens: SQLite is told that the database may have no more pages, which it reports as it does a full disk.
#[test]
fn refused_commit_changes_nothing_and_succeeds_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(&folder.path().join("state")).unwrap();
    store.begin(SCRIPT.crawl, &SCRIPT.identity(), 1.0).unwrap();
    let mut refused = 0;
    store.writer.pragma_update(None, "max_page_count", 1).unwrap();
    SCRIPT
        .go_on(&mut store, usize::MAX, &mut |store, call| {
            let Err(error) = call(store) else { return Ok(()) };
            assert!(matches!(error, Error::StateFull { .. }), "{error}");
            assert!(call(store).is_err(), "still no room");
            refused += 1;
            SCRIPT.examine(store).unwrap();
            store.writer.pragma_update(None, "max_page_count", 1 << 30).unwrap();
            call(store)?;
            store.writer.pragma_update(None, "max_page_count", 1).unwrap();
            Ok(())
        })
        .unwrap();
    assert!(refused >= 2, "{refused}");
    assert_eq!(SCRIPT.examine(&mut store).unwrap(), SCRIPT.complete());
}

/// How it happens: the process may not make files longer than so many bytes, and `SIGXFSZ` is ignored, so that writes
/// fail with `EFBIG`; a quota or a full disk fail in the same places. Needs no rights, but a process of its own.
#[test]
fn crawl_goes_on_wherever_room_runs_out() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" --exact state::sqlite::tests::full::child --nocapture"])
        .arg(std::env::current_exe().unwrap())
        .env(FOLDER, folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("room ran out in open begin claim commit"), "{text}");
}

/// What the child does. Without its environment there is nothing to do: the test above runs it.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let mut ran_out = std::collections::BTreeSet::new();
    for limit in (0..32).map(|n| n * 6000) {
        let path = Path::new(&folder).join(format!("state{limit}"));
        ran_out.extend(crawl_under_limit(&path, limit));
    }
    let names = ["open", "begin", "claim", "commit"].into_iter().filter(|name| ran_out.contains(name));
    println!("room ran out in {}", names.collect::<Vec<_>>().join(" "));
}

/// Crawls; whenever room runs out there is enough for one call, and then a little more than before.
fn crawl_under_limit(path: &Path, mut limit: u64) -> Vec<&'static str> {
    let mut ran_out = Vec::new();
    limit_files(Some(limit));
    let mut store = SqliteStore::open(path).or_else(|error| {
        full(&error);
        ran_out.push("open");
        limit_files(None);
        SqliteStore::open(path)
    });
    let store = store.as_mut().unwrap();
    limit_files(Some(limit));
    let asked = SCRIPT.go_on(store, usize::MAX, &mut |store, call| {
        let Err(error) = call(store) else { return Ok(()) };
        full(&error);
        ran_out.push(which(store));
        full(&call(store).unwrap_err());
        limit_files(None);
        call(store)?;
        limit += 1 << 12;
        limit_files(Some(limit));
        Ok(())
    });
    asked.unwrap();
    limit_files(None);
    assert_eq!(SCRIPT.examine(store).unwrap(), SCRIPT.complete());
    assert!(store.reader().latest(SCRIPT.crawl).unwrap().unwrap().delivered);
    ran_out
}

/// Which call failed, as the state tells by what is next in it.
fn which(store: &mut SqliteStore) -> &'static str {
    let Some(cycle) = store.reader().latest(SCRIPT.crawl).unwrap() else { return "begin" };
    match SCRIPT.examine(store).unwrap() {
        _ if cycle.finished.is_some() => "deliver",
        commits if commits.iter().all(|n| [0, STEPS].contains(n)) => "claim",
        _ => "commit",
    }
}

fn full(error: &Error) {
    assert!(matches!(error, Error::StateFull { .. }), "{error}");
    assert_eq!(error.retry(), Retry::Helps);
    assert!(error.to_string().contains("free some space"), "{error}");
}

fn limit_files(bytes: Option<u64>) {
    let maximum = getrlimit(Resource::Fsize).maximum;
    setrlimit(Resource::Fsize, Rlimit { current: bytes, maximum }).unwrap();
}

/// How it happens: the beginning of a cycle is committed, and then there is no room to move it into the database.
#[test]
fn nothing_is_committed_in_a_cycle_that_the_database_does_not_know() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let mut store = SqliteStore::open(&path).unwrap();
    let reader = rusqlite::Connection::open(&path).unwrap();
    // A reader of the older state keeps the log from being emptied, as a full disk does.
    reader.execute_batch("BEGIN; SELECT * FROM crawl").unwrap();
    let cycle = store.begin(SCRIPT.crawl, &SCRIPT.identity(), 1.0).unwrap().key();
    assert!(matches!(store.claim(&cycle, 1), Err(Error::StateHeld { .. })));
    assert!(matches!(store.commit(&cycle, &[], 2.0), Err(Error::StateHeld { .. })));
    reader.execute_batch("COMMIT").unwrap();
    let claim = store.claim(&cycle, 1).unwrap().remove(0);
    assert_eq!(std::fs::metadata(&store.wal).unwrap().len(), 32 + 24 + 4096, "the log has the claim only");
    store.release(&cycle, &[(claim.prefix, claim.fence)]).unwrap();
    SCRIPT.go_on(&mut store, usize::MAX, &mut once).unwrap();
}
