//! Backups beside `sexton clean`, which works in another process: guarded they never fail, unguarded none is lost
//! quietly.
//!
//! How the failures happen: the old backup programs take the write lock as they start, hold it to their end, and wait for
//! nobody. If somebody else holds it, they fail at once; if somebody reads while they commit with a rollback journal, they
//! lose the snapshot.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use std::time::Duration;

use rusqlite::Connection;
use sexton::cumulus::policy::Mode;
use sexton::cumulus::settings::{CleaningSettings, LongLocks};
use sexton::cumulus::{CleaningRun, CleaningStep, Doing, StepResult};

use super::cli::{clean, golden};
use crate::cumulus::data::{dump, large};
use crate::support::harness::{Running, run, sexton};

const DATABASE: &str = "SEXTON_TEST_BACKUP_OF";
const NAME: &str = "SEXTON_TEST_BACKUP_NAME";

/// Does what an old backup does: all in one transaction that holds the lock from its start to its end, without waiting for
/// a lock. Each has a scheme of its own, so that no cleaning drops its snapshot.
fn backup(path: &Path, name: &str) -> rusqlite::Result<()> {
    let conn = Connection::open(path)?;
    conn.busy_timeout(Duration::ZERO)?;
    conn.execute_batch("BEGIN")?;
    conn.execute("INSERT INTO snapshots (name, scheme, timestamp) VALUES (?1, ?1, 2454407.5)", [name])?;
    // So long that the cleaner wants the lock meanwhile.
    std::thread::sleep(Duration::from_millis(5));
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
        let names: Vec<String> = (0..100).map(|i| format!("backup-{i}")).collect();
        while_cleaning(&path, "--slice 20ms --lock-duty 100%", || {
            for name in &names {
                let mut guarded = sexton(["guard".as_ref(), path.as_os_str(), "--".as_ref()]);
                guarded.arg(std::env::current_exe().unwrap());
                guarded.args(["--exact", "cleaning::backups::behaves_like_an_old_backup"]);
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
            for i in 0..100 {
                let name = format!("backup-{i}");
                if backup(&path, &name).is_ok() {
                    succeeded.push(name);
                }
                // Backups come at moments that have nothing to do with those of the cleaner.
                std::thread::sleep(Duration::from_millis(7 + i * 13 % 11));
            }
        });
        assert_eq!(snapshots(&path), succeeded, "wal={wal}");
        // A start finds the lock taken with a probability of 0.05: 20 or more of 100 once in ten million times.
        assert!(succeeded.len() > 80, "wal={wal}: only {} of 100 backups succeeded", succeeded.len());
    }
}

/// The part of the time for which the lock is held, as those see it who come at random moments.
#[test]
fn the_lock_is_held_for_no_larger_part_of_the_time_than_its_duty() {
    const PROBES: usize = 500;
    let golden = large().iter().find(|golden| golden.name == "large_a_100k").unwrap();
    let mut random = fastrand::Rng::new();
    for wal in [false, true] {
        let (_dir, path) = golden.copy(wal);
        let cleaner = Running::start(&mut clean(&path, golden, Mode::Careful, "--slice 10ms --lock-duty 10%"));
        let begun = |name: &str| path.with_file_name(name).exists();
        while !begun("localdb.sqlite.sexton-guard") || (wal && !begun("localdb.sqlite.sexton-plan")) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let conn = Connection::open(&path).unwrap();
        conn.busy_timeout(Duration::ZERO).unwrap();
        let taken = |_: &usize| {
            std::thread::sleep(Duration::from_micros(random.u64(1000..15_000)));
            // Changes nothing, so that the cleaner need not plan again.
            conn.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_err()
        };
        let taken = (0..PROBES).filter(taken).count();
        cleaner.signal(rustix::process::Signal::INT);
        cleaner.end().expect(130);
        println!("wal={wal}: {taken} of {PROBES} found the lock taken");
        // With a probability of 0.1 for each, 90 or more of 500 come about once in ten million times, and fewer than 10
        // only if nobody cleans.
        assert!((10..90).contains(&taken), "wal={wal}: {taken} of {PROBES} found the lock taken");
    }
}

fn settings(path: &Path) -> CleaningSettings {
    CleaningSettings {
        options: golden("real_a_weekly").options(Mode::Careful),
        slice: Duration::from_millis(1),
        long_locks: LongLocks::Allow,
        ..CleaningSettings::new("clean", path)
    }
}

fn run_again(path: &Path) {
    run(&mut clean(path, golden("real_a_weekly"), Mode::Careful, "--allow-long-lock")).expect(0);
}

/// One cleaning in this process, up to its first change; then a backup runs.
fn begun_before_a_backup(path: &Path) -> CleaningRun {
    let mut run = CleaningRun::new(settings(path), 0.0);
    while !matches!(run.doing(), Doing::Changing(CleaningStep::UsageRows)) {
        assert!(matches!(run.next_step().unwrap().outcome, StepResult::More));
    }
    assert!(matches!(run.next_step().unwrap().outcome, StepResult::More));
    backup(path, "backup-between").unwrap();
    run
}

#[test]
fn a_backup_between_two_steps_has_the_plan_made_again() {
    for (wal, restarts) in [(false, false), (true, false), (false, true), (true, true)] {
        let (_dir, path) = golden("real_a_weekly").copy(wal);
        let mut run = begun_before_a_backup(&path);
        if restarts {
            run = CleaningRun::new(settings(&path), 0.0);
        }
        let mut stale = 0;
        loop {
            match run.next_step().unwrap().outcome {
                StepResult::Finished => break,
                StepResult::Stale => stale += 1,
                StepResult::More | StepResult::Later(_) => {}
            }
        }
        // After a restart the greatest snapshotid tells.
        assert_eq!(
            (stale, run.planned_again(), run.is_resumed()),
            if restarts { (0, 0, false) } else { (1, 1, false) }
        );
        run.into_report().handed_over().unwrap();
        assert_eq!(snapshots(&path), ["backup-between"], "wal={wal}");
        let used: i64 = Connection::open(&path)
            .unwrap()
            .query_row(
                "SELECT count(*) FROM snapshot_contents JOIN snapshots USING (snapshotid) WHERE name LIKE 'backup-%'",
                [],
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(used, 1, "what it uses is known");
        // All was done by the new plan: there is nothing left for another run.
        let done = dump(&path, "A");
        run_again(&path);
        assert!(dump(&path, "A") == done, "wal={wal} restarts={restarts}");
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
    let mut running = Running::start(&mut guard(&[
        "sh",
        "-c",
        "trap 'echo passed on >&2; exit 5' TERM; echo ready >&2; while :; do sleep 0.01; done",
    ]));
    running.says("ready").unwrap();
    running.signal(rustix::process::Signal::TERM);
    running.end().expect(5).said("passed on");
}
