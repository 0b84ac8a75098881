//! Backups beside `sexton clean`, which works in another process: guarded they never fail, unguarded none is lost
//! quietly.
//!
//! How the failures happen: the old backup programs take the write lock as they start, hold it to their end, and wait for
//! nobody. If somebody else holds it, they fail at once; if somebody reads while they commit with a rollback journal, they
//! lose the snapshot.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::Connection;
use sexton::policy::cleaning::Mode;

use super::clean_cli::{clean, golden};
use super::harness::{run, sexton};

const DATABASE: &str = "SEXTON_TEST_BACKUP_OF";
const NAME: &str = "SEXTON_TEST_BACKUP_NAME";

/// Does what an old backup does: all in one transaction, without waiting for a lock. Each has a scheme of its own, so
/// that no cleaning drops its snapshot.
fn backup(path: &Path, name: &str) -> rusqlite::Result<()> {
    let conn = Connection::open(path)?;
    conn.busy_timeout(std::time::Duration::ZERO)?;
    conn.execute_batch("BEGIN")?;
    conn.execute("INSERT INTO snapshots (name, scheme, timestamp) VALUES (?1, ?1, 2454407.5)", [name])?;
    conn.execute_batch(
        "INSERT INTO snapshot_contents SELECT max(blockid), (SELECT max(snapshotid) FROM snapshots) FROM block_index;
         UPDATE block_index SET timestamp = timestamp WHERE blockid % 7 = 0;
         COMMIT",
    )
}

/// The command that is run under guard: this very test, in a process of its own.
#[test]
fn behaves_like_an_old_backup() {
    let (Some(path), Ok(name)) = (std::env::var_os(DATABASE), std::env::var(NAME)) else { return };
    backup(Path::new(&path), &name).unwrap();
}

/// Cleans again and again in another process until `work` is done.
fn while_cleaning(path: &Path, args: &str, work: impl FnOnce()) {
    let golden = golden("real_a_weekly");
    let enough = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !enough.load(Ordering::Relaxed) {
                let ended = run(&mut clean(path, golden, Mode::Careful, args));
                assert!(ended.code() <= 1, "{}", ended.stderr);
            }
        });
        work();
        enough.store(true, Ordering::Relaxed);
    });
}

fn snapshots(path: &Path) -> Vec<String> {
    let conn = Connection::open(path).unwrap();
    let mut names = conn.prepare("SELECT name FROM snapshots WHERE name LIKE 'backup-%' ORDER BY snapshotid").unwrap();
    names.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

#[test]
fn under_guard_100_of_100_backups_succeed() {
    for wal in [false, true] {
        let (_dir, path) = golden("real_a_weekly").copy(wal);
        let names: Vec<String> = (0..50).map(|i| format!("backup-{i}")).collect();
        while_cleaning(&path, "--slice 20ms --lock-duty 100%", || {
            for name in &names {
                let mut guarded = sexton(["guard".as_ref(), path.as_os_str(), "--".as_ref()]);
                guarded.arg(std::env::current_exe().unwrap());
                guarded.args(["--exact", "clean_backups::behaves_like_an_old_backup"]);
                run(guarded.env(DATABASE, &path).env(NAME, name)).expect(0);
            }
        });
        assert_eq!(snapshots(&path), names, "wal={wal}");
    }
}

#[test]
fn unguarded_backups_fail_seldom_and_loudly_and_none_is_lost() {
    for wal in [false, true] {
        let (_dir, path) = golden("real_a_weekly").copy(wal);
        let mut succeeded = Vec::new();
        while_cleaning(&path, "--slice 20ms --lock-duty 5%", || {
            for i in 0..60 {
                let name = format!("backup-{i}");
                if backup(&path, &name).is_ok() {
                    succeeded.push(name);
                }
                // Backups come at moments that have nothing to do with those of the cleaner.
                std::thread::sleep(std::time::Duration::from_millis(7 + i * 13 % 11));
            }
        });
        assert_eq!(snapshots(&path), succeeded, "wal={wal}");
        // One in twenty on the average; twelve of sixty come about less than once in a hundred thousand.
        assert!(succeeded.len() > 48, "wal={wal}: only {} of 60 backups succeeded", succeeded.len());
    }
}

#[test]
fn guard_passes_on_exit_codes_and_signals() {
    let dir = tempfile::tempdir().unwrap();
    let guard = |command: &[&str]| {
        let mut guarded = sexton(["guard".as_ref(), dir.path().as_os_str(), "--".as_ref()]);
        guarded.args(command);
        guarded
    };
    run(&mut guard(&["sh", "-c", "exit 37"])).expect(37);
    run(&mut guard(&["sh", "-c", "kill -9 $$"])).expect(128 + 9);
    run(&mut guard(&["no-such-program-anywhere"])).expect(2).said("cannot run no-such-program-anywhere");
    let mut running = super::harness::Running::start(&mut guard(&[
        "sh",
        "-c",
        "trap 'echo passed on >&2; exit 5' TERM; echo ready >&2; while :; do sleep 0.01; done",
    ]));
    running.says("ready").unwrap();
    running.signal(rustix::process::Signal::TERM);
    running.end().expect(5).said("passed on");
}
