//! `sexton clean` where the disk is full, nothing may be written, or the database is not what it should be.
//!
//! Each time: the exit code, what is said, and that nothing is changed or lost.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use sexton::cumulus::policy::Mode;

use super::cli::{beside, clean, golden};
use crate::cumulus::data::State;
use crate::state::full_disk::{Way, fill, limit, limited, mount, unmount, ways};
use crate::support::harness::{Ended, Running, run, sexton};

const ARGS: &str = "--json --slice 5ms --allow-long-lock";

/// A folder in which there is no room.
struct Full {
    way: Way,
    path: PathBuf,
    dir: tempfile::TempDir,
}

impl Full {
    fn new(way: Way, name: &str, wal: bool) -> Full {
        let (from, database) = golden(name).copy(wal);
        let dir = tempfile::tempdir().unwrap();
        if way == Way::SmallFileSystem {
            mount(dir.path(), "4m").unwrap();
        }
        let path = dir.path().join("localdb.sqlite");
        fs::copy(database, &path).unwrap();
        drop(from);
        if way == Way::SmallFileSystem {
            fill(dir.path());
        }
        Full { way, path, dir }
    }

    fn start(&self, name: &str) -> Running {
        let command = clean(&self.path, golden(name), Mode::Careful, ARGS);
        match self.way {
            Way::SmallFileSystem => Running::start(&mut { command }),
            Way::LimitedFiles => Running::start(&mut limited(&command, 4096)),
        }
    }

    /// Looks at a copy: without room a write-ahead log cannot even be read.
    fn check(&self, name: &str, state: State, how: &str) {
        let dir = tempfile::tempdir().unwrap();
        for file in beside(&self.path).iter().filter(|file| !file.contains("filler") && !file.ends_with("-shm")) {
            fs::copy(self.path.with_file_name(file), dir.path().join(file)).unwrap();
        }
        golden(name).check(&dir.path().join("localdb.sqlite"), state, how);
    }

    fn make_room(&self, running: &Running) {
        match self.way {
            Way::SmallFileSystem => fs::remove_file(self.dir.path().join("filler")).unwrap(),
            Way::LimitedFiles => limit(running, None),
        }
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        if self.way == Way::SmallFileSystem {
            unmount(self.dir.path());
        }
    }
}

#[test]
fn on_a_full_disk_it_waits_and_goes_on_and_a_kill_loses_nothing() {
    for way in ways() {
        for (name, wal) in [("real_a_weekly", false), ("real_a_weekly", true), ("real_c_two_schemes", true)] {
            let full = Full::new(way, name, wal);
            let mut waiting = full.start(name);
            let line = waiting.must_say("no room to change local database");
            assert!(line.contains("free some space there"), "{line}");
            waiting.kill();
            full.check(name, State::Before, &format!("{way:?} killed while it waits, wal={wal}"));
            let mut waiting = full.start(name);
            waiting.must_say("no room to change local database");
            full.make_room(&waiting);
            let ended = waiting.end().expect(0);
            assert!(!ended.report()["segments"].as_array().unwrap().is_empty());
            full.check(name, State::Recommended, &format!("{way:?} wal={wal}"));
        }
    }
}

const NOBODY: u32 = 65534;

/// Root may write everywhere, so root runs it as somebody else, from where that user can reach it.
fn as_user_without_rights(command: &std::process::Command, folder: &Path) -> Ended {
    if !rustix::process::geteuid().is_root() {
        return run(std::process::Command::new(command.get_program()).args(command.get_args()));
    }
    let program = folder.join("sexton");
    if !program.exists() {
        fs::copy(command.get_program(), &program).unwrap();
    }
    run(std::process::Command::new(program).args(command.get_args()).uid(NOBODY).gid(NOBODY))
}

#[test]
fn what_may_not_be_written_is_told_and_left_as_it_is() {
    for (wal, file_mode, folder_mode) in
        [(false, 0o444, 0o755), (false, 0o666, 0o555), (true, 0o444, 0o755), (true, 0o666, 0o555)]
    {
        let (dir, path) = golden("real_a_weekly").copy(wal);
        let rights = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let outside = tempfile::tempdir().unwrap();
        rights(outside.path(), 0o755);
        rights(&path, file_mode);
        rights(dir.path(), folder_mode);
        // A folder of that user's own: one in which everybody may write is refused for that.
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let before = (fs::read(&path).unwrap(), beside(&path));
        let what = format!("wal={wal} {file_mode:o} {folder_mode:o}");
        for how in ["", "--at-once"] {
            let command = clean(&path, golden("real_a_weekly"), Mode::Careful, how);
            let ended = as_user_without_rights(&command, outside.path());
            assert_eq!(ended.code(), 3, "{what}: {}", ended.stderr);
            ended.said("make the file and its folder writable for this user");
        }
        // The guard's file stays where it is, and whoever only reads a write-ahead log cannot take its files away.
        let new =
            |name: &String| !before.1.contains(name) && !["-guard", "-wal", "-shm"].iter().any(|s| name.ends_with(s));
        let left: Vec<String> = beside(&path).into_iter().filter(new).collect();
        assert!(fs::read(&path).unwrap() == before.0 && left.is_empty(), "{what}: {left:?}");
        rights(dir.path(), 0o755);
    }
}

/// A page is zeroed, or the end is missing. What is noticed is told; the file stays as it was, or the plan is kept where
/// changes had begun.
#[test]
fn a_torn_database_is_told_and_nothing_is_made_worse() {
    const PAGE: usize = 4096;
    let name = "a_mixed_random_1";
    let (_dir, path) = golden(name).copy(false);
    let whole = fs::read(&path).unwrap();
    let pages = whole.len() / PAGE;
    let cut = |page: usize| whole[..page * PAGE + 100].to_vec();
    let zeroed = |page: usize| {
        let mut torn = whole.clone();
        torn[page * PAGE..(page + 1) * PAGE].fill(0);
        torn
    };
    let (mut told, mut tried) = (0, 0);
    for torn in (0..pages).flat_map(|page| [cut(page), zeroed(page)]) {
        let (_dir, path) = golden(name).copy(false);
        fs::write(&path, &torn).unwrap();
        let ended = run(&mut clean(&path, golden(name), Mode::Careful, ARGS));
        tried += 1;
        let refusals = [(1, "is damaged"), (2, "is not a local database"), (3, "will not clean")];
        match refusals.iter().find(|(_, words)| ended.stderr.contains(words)) {
            Some((code, _)) => {
                assert_eq!(ended.code(), *code, "{}", ended.stderr);
                let kept = beside(&path).contains("localdb.sqlite.sexton-plan");
                assert!(kept || fs::read(&path).unwrap() == torn, "{}", ended.stderr);
                told += 1;
            }
            None => assert!(matches!(ended.code(), 0 | 1), "{}: {}", ended.code(), ended.stderr),
        }
    }
    assert!(told > tried / 2, "{told} of {tried} were noticed");
}

/// SQLite makes NULL of NaN; infinities and text it keeps.
#[test]
fn odd_values_are_left_alone_reported_and_told_by_the_exit_code() {
    let name = "a_threshold_zero";
    let odd_segment = 3;
    for (odd, left) in [
        ("timestamp = 9e999", true),
        ("timestamp = -9e999", true),
        ("timestamp = 9e999 - 9e999", false),
        ("timestamp = 'yesterday'", true),
        ("timestamp = '2007-08-08 12:00:00'", false),
        ("size = 'many'", true),
        ("size = 9e999", true),
        ("size = NULL", false),
    ] {
        let sql = format!("UPDATE block_index SET {odd} WHERE segmentid = {odd_segment}");
        for mode in [Mode::Careful, Mode::Compat] {
            let (_dir, path) = golden(name).copy(false);
            Connection::open(&path).unwrap().execute(&sql, []).unwrap();
            let before = fs::read(&path).unwrap();
            let ended = run(&mut clean(&path, golden(name), mode, ARGS));
            let report = ended.report();
            let alone: Vec<_> = report["odd"].as_array().unwrap().iter().filter(|o| o["left_alone"] == true).collect();
            match (mode, ended.code()) {
                (Mode::Compat, 3) => assert!(report["refused"].is_string() && fs::read(&path).unwrap() == before),
                (Mode::Compat, code) => assert_eq!((code, alone.len()), (0, 0), "{odd}"),
                (Mode::Careful, code) => {
                    assert_eq!(code, i32::from(left), "{odd}: {}", ended.stderr);
                    assert!(alone.iter().all(|o| o["segment"] == odd_segment), "{odd}: {alone:?}");
                    let marked = report["segments"].as_array().unwrap().iter().filter(|s| s["marked"] == true);
                    assert!(marked.count() > 2, "{odd}: the others are cleaned");
                }
            }
        }
    }
}

#[test]
fn what_was_odd_and_is_repaired_is_listed_and_no_failure() {
    let golden = golden("a_orphan_blocks");
    let (_dir, path) = golden.copy(false);
    let report = run(&mut clean(&path, golden, Mode::Careful, ARGS)).expect(0).report();
    let odd = report["odd"].as_array().unwrap();
    assert!(!odd.is_empty() && odd.iter().all(|odd| odd["left_alone"] == false), "{odd:?}");
}

const MILLION: u32 = 1_000_000;

/// Segment 1 has a million blocks, segment 2 ten; half of each is in use, and both are old.
fn million(path: &Path) {
    let conn = Connection::open(path).unwrap();
    conn.execute_batch(&format!(
        "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -200000;
         CREATE TABLE snapshots (snapshotid INTEGER PRIMARY KEY, name TEXT NOT NULL, scheme TEXT, timestamp REAL);
         CREATE TABLE segments (segmentid INTEGER PRIMARY KEY, segment TEXT UNIQUE NOT NULL, path TEXT, checksum TEXT);
         CREATE TABLE block_index (blockid INTEGER PRIMARY KEY, segmentid INTEGER NOT NULL, object TEXT NOT NULL,
             checksum TEXT, size INTEGER, timestamp REAL, expired INTEGER);
         CREATE TABLE snapshot_contents (blockid INTEGER, snapshotid INTEGER);
         BEGIN;
         INSERT INTO snapshots VALUES (1, 's', 'home', 2454400.5);
         INSERT INTO segments VALUES (1, 'huge', NULL, NULL), (2, 'small', NULL, NULL);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {MILLION} + 10)
         INSERT INTO block_index SELECT i, 1 + (i > {MILLION}), i, NULL, 100, 2454000.0, NULL FROM n;
         INSERT INTO snapshot_contents SELECT blockid, 1 FROM block_index WHERE blockid % 2;
         CREATE UNIQUE INDEX block_name_index ON block_index(segmentid, object);
         COMMIT; PRAGMA journal_mode = WAL;"
    ))
    .unwrap();
}

#[test]
fn a_segment_of_a_million_blocks_is_left_alone_unless_a_long_lock_is_allowed() {
    let dir = crate::cumulus::data::folder();
    let path = dir.path().join("localdb.sqlite");
    million(&path);
    let expired = |segment: u32| -> u32 {
        let sql = "SELECT count(*) FROM block_index WHERE segmentid = ?1 AND expired IS NOT NULL";
        Connection::open(&path).unwrap().query_row(sql, [segment], |row| row.get(0)).unwrap()
    };
    let clean = |args: &str| {
        let mut command = sexton(["clean".as_ref(), path.as_os_str()]);
        run(command.args("--json --now 2454401 --lock-duty 100%".split_whitespace()).args(args.split_whitespace()))
    };
    let report = clean("").expect(1).report();
    assert_eq!(report["odd"][0]["segment"], 1);
    assert_eq!(report["odd"][0]["left_alone"], true);
    let what = report["odd"][0]["what"].as_str().unwrap();
    assert!(what.contains("too many blocks for one step"), "{what}");
    assert_eq!((expired(1), expired(2)), (0, 10));
    clean("--allow-long-lock").expect(0);
    assert_eq!((expired(1), expired(2)), (MILLION, 10));
}
