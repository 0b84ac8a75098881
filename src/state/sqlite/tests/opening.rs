//! What stands at the path already: nothing, another's file, one of another version, one that is held or may not be
//! written. Whatever is not ours is left as it was.

use std::fs;
use std::path::Path;

use rusqlite::Connection;

use super::script::{Script, once};
use crate::error::{Error, Result, StateLack};
use crate::own_files::OwnFile;
use crate::state::sqlite::schema::{self, MIGRATIONS};
use crate::state::sqlite::{beside, faults};
use crate::state::{PrefixProgress, SqliteStore, StateStore};

const SCRIPT: Script = Script::new("opened", 2);

/// Everything in a folder, by name.
fn contents(folder: &Path) -> Vec<(std::ffi::OsString, Vec<u8>)> {
    let mut all: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name(), fs::read(entry.path()).unwrap()))
        .collect();
    all.sort();
    all
}

/// Opens what `make` made, which must fail and leave the folder as it was. Gives the error.
fn refused(make: impl FnOnce(&Path)) -> Error {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    make(&path);
    let before = contents(folder.path());
    let error = open_error(&path);
    assert_eq!(contents(folder.path()), before, "{error}");
    error
}

fn open_error(path: &Path) -> Error {
    SqliteStore::open(path).unwrap_err()
}

#[test]
fn foreign_files_are_left_alone() {
    let text = refused(|path| fs::write(path, "to do: buy milk").unwrap());
    assert!(matches!(&text, Error::StateForeign { .. }), "{text}");
    let other = refused(|path| {
        let conn = Connection::open(path).unwrap();
        conn.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (a); INSERT INTO t VALUES (1)").unwrap();
        // As its owner, killed, would leave it: with a log that SQLite would take in.
        let (database, log) = (fs::read(path).unwrap(), fs::read(beside(path, "-wal")).unwrap());
        drop(conn);
        fs::write(path, database).unwrap();
        fs::write(beside(path, "-wal"), log).unwrap();
    });
    assert!(matches!(other, Error::StateForeign { .. }), "{other}");
}

#[test]
fn files_that_are_no_whole_state_are_no_new_one() {
    for (bytes, cause) in [
        (&b""[..], "it is empty"),
        (&[0; 4096], "it begins with zeros"),
        (b"SQLite for", "it ends after 10 bytes"),
        (b"SQLite format 3\0\x10\0", "it ends after 18 bytes"),
    ] {
        let error = refused(|path| fs::write(path, bytes).unwrap());
        assert!(matches!(error, Error::StateDamaged { .. }), "{error}");
        assert!(error.to_string().contains(cause) && error.to_string().contains("backup"), "{error}");
    }
}

#[test]
fn newer_version_is_refused() {
    let newer = MIGRATIONS.len() as i64 + 1;
    let error = refused(|path| {
        schema::create(&OwnFile::at(path).unwrap()).unwrap();
        Connection::open(path).unwrap().pragma_update(None, "user_version", newer).unwrap();
    });
    let Error::StateNewer { found, known, .. } = error else { panic!("{error}") };
    assert_eq!((found, known), (newer, newer - 1));
}

#[test]
fn older_version_is_brought_forward_step_by_step() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    schema::create(&OwnFile::at(&path).unwrap()).unwrap();
    let conn = Connection::open(&path).unwrap();
    let version = || conn.pragma_query_value(None, "user_version", |row| row.get::<_, isize>(0)).unwrap();
    assert_eq!(version() as usize, MIGRATIONS.len());
    let add: schema::Migration = |conn| Ok(conn.execute_batch("ALTER TABLE crawl ADD COLUMN weight INTEGER")?);
    let use_it: schema::Migration = |conn| Ok(conn.execute_batch("UPDATE crawl SET weight = 1")?);
    let fail: schema::Migration = |conn| {
        conn.execute_batch("DROP TABLE note")?;
        Err(faults::CallFault::Busy)
    };
    let steps = [MIGRATIONS, &[add, use_it, fail]].concat();
    assert!(schema::migrate(&conn, &steps).is_err());
    assert_eq!(version() as usize, MIGRATIONS.len() + 2, "the steps before the failed one stay");
    conn.execute_batch("SELECT weight FROM crawl; SELECT * FROM note").unwrap();
    schema::migrate(&conn, &steps[..steps.len() - 1]).unwrap();
    drop(conn);
    assert!(matches!(open_error(&path), Error::StateNewer { .. }));
}

#[test]
fn a_state_of_an_older_version_goes_on_and_remembers_visits_from_then_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let mut store = SqliteStore::open(&path).unwrap();
    let begun = store.begin(SCRIPT.crawl, &SCRIPT.identity(), 1.0).unwrap();
    drop(store);
    let conn = Connection::open(&path).unwrap();
    // What the versions behind it have added is taken away again.
    super::script::with_rings_as_before(&conn);
    conn.execute_batch(
        "ALTER TABLE prefix DROP COLUMN intents; ALTER TABLE prefix DROP COLUMN intent_chain; DROP TABLE intent;
         ALTER TABLE cycle DROP COLUMN confirmed; DROP TABLE visit; DROP TABLE damage; DROP TABLE damage_total;
         ALTER TABLE cycle DROP COLUMN carrying_out; ALTER TABLE prefix DROP COLUMN candidates;
         ALTER TABLE prefix DROP COLUMN candidate_sum; DROP TABLE candidate; PRAGMA user_version = 2;",
    )
    .unwrap();
    drop(conn);
    let mut store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.reader().latest(SCRIPT.crawl).unwrap().unwrap(), begun);
    let claim = store.claim_oldest(&begun.key(), 1).unwrap().remove(0);
    let (fence, tally, notes, intents) = (claim.fence, vec![], vec![], vec![]);
    let progress = PrefixProgress {
        prefix: 0,
        fence,
        cursor: None,
        tally,
        done: true,
        whole: true,
        notes,
        intents,
        candidates: vec![],
        judged: crate::job::Judged::default(),
    };
    store.commit(&begun.key(), &[progress], 2.0).unwrap();
    let visits = store.reader().visits(&begun.identity.store, &begun.identity.job).unwrap();
    assert_eq!(visits.into_iter().collect::<Vec<_>>(), [(begun.identity.ring[0].clone(), 2.0)]);
}

#[test]
fn state_of_a_killed_maker_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    for suffix in ["-new", "-new-wal", "-new-journal", "-new-shm"] {
        fs::write(beside(&path, suffix), "half-made").unwrap();
    }
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.reader().latest("c").unwrap(), None);
    drop(store);
    let names: Vec<_> = contents(folder.path()).into_iter().map(|(name, _)| name).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().contains("-new")), "{names:?}");
}

/// How it happens: as the error for a damaged file says, somebody moves it away, but not the log beside it.
#[test]
fn log_without_its_database_is_not_taken_for_the_new_ones() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let mut store = SqliteStore::open(&path).unwrap();
    let reader = Connection::open(&path).unwrap();
    // A reader of the older state keeps the beginning of the cycle in the log.
    reader.execute_batch("BEGIN; SELECT * FROM crawl").unwrap();
    store.begin(SCRIPT.crawl, &SCRIPT.identity(), 1.0).unwrap();
    let log = fs::read(&store.wal).unwrap();
    drop(reader);
    drop(store);
    fs::remove_file(&path).unwrap();
    fs::write(beside(&path, "-wal"), log).unwrap();
    assert_eq!(SqliteStore::open(&path).unwrap().reader().latest(SCRIPT.crawl).unwrap(), None);
}

#[test]
fn second_opening_is_refused_and_told_who_holds_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let mut store = SqliteStore::open(&path).unwrap();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    for path in [&path, &link] {
        let error = open_error(path);
        assert!(matches!(error, Error::StateHeld { .. }), "{error}");
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    }
    SCRIPT.go_on(&mut store, usize::MAX, &mut once).unwrap();
    drop(store);
    assert_eq!(SCRIPT.examine(&mut SqliteStore::open(&link).unwrap()).unwrap(), SCRIPT.complete());
}

#[test]
fn lock_of_another_program_is_waited_for_by_the_caller() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let mut store = SqliteStore::open(&path).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let asked = |store: &mut SqliteStore| -> Result<()> { SCRIPT.go_on(store, usize::MAX, &mut once) };
    let error = asked(&mut store).unwrap_err();
    assert!(matches!(error, Error::StateHeld { .. }), "{error}");
    assert_eq!(store.reader().latest(SCRIPT.crawl).unwrap(), None, "reading needs no lock");
    other.execute_batch("COMMIT").unwrap();
    asked(&mut store).unwrap();
    let prefixes = "SELECT count(*) FROM prefix";
    let prefixes = store.reader.page(|conn| Ok(conn.query_row(prefixes, [], |row| row.get::<_, u32>(0))?)).unwrap();
    assert_eq!(prefixes, SCRIPT.prefixes);
}

#[test]
fn state_that_may_not_be_written_is_refused_with_advice() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let allow = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    allow(folder.path(), 0o755);
    let path = folder.path().join("state");
    drop(SqliteStore::open(&path).unwrap());
    let lock = beside(&path, "-lock");
    let lacks_rights = |error: &Error| matches!(error, Error::StateUnusable { lacks: StateLack::Rights, .. });
    let errors = [(0o444, 0o666), (0o000, 0o666), (0o666, 0o000)].map(|(state_mode, lock_mode)| {
        allow(&path, state_mode);
        allow(&lock, lock_mode);
        as_nobody(|| open_error(&path))
    });
    assert!(errors[0].to_string().contains("it is read-only"), "{}", errors[0]);
    for error in &errors {
        assert!(lacks_rights(error) && error.to_string().contains("writable"), "{error}");
    }
    fs::remove_file(&path).unwrap();
    allow(&lock, 0o666);
    let error = as_nobody(|| open_error(&path));
    assert!(lacks_rights(&error) && error.to_string().contains("cannot create"), "{error}");
}

/// Runs on a thread without root's rights, to which nothing is forbidden.
fn as_nobody<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let dropping_rights = || {
        if rustix::process::geteuid().is_root() {
            rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(65534)).unwrap();
        }
        work()
    };
    std::thread::scope(|scope| scope.spawn(dropping_rights).join().unwrap())
}

#[test]
fn folders_and_dangling_links_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert!(open_error(folder.path()).to_string().contains("it is a folder"));
    let link = folder.path().join("link");
    std::os::unix::fs::symlink("nowhere", &link).unwrap();
    assert!(open_error(&link).to_string().contains("follow the link"));
    assert!(link.is_symlink());
}
