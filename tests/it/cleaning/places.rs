//! Where a database lies: reached by links, bound or linked under several names, on file systems without locks, on media
//! that may only be read.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::Connection;
use sexton::cumulus::LocalDbError;
use sexton::cumulus::policy::Mode;
use sexton::cumulus::settings::{CleaningSettings, LongLocks};
use sexton::cumulus::{CleaningRun, Guard, LocalDb, StepResult};

use super::cli::{beside, clean, golden};
use crate::cumulus::data::State;
use crate::support::harness::{Running, Sample, run, sexton};

fn settings(path: &Path) -> CleaningSettings {
    CleaningSettings {
        options: golden("real_a_weekly").options(Mode::Careful),
        slice: Duration::from_millis(5),
        long_locks: LongLocks::Allow,
        ..CleaningSettings::new("clean", path)
    }
}

#[test]
fn a_guard_keeps_the_cleaner_off_whatever_name_each_of_them_uses() {
    for wal in [false, true] {
        let (dir, path) = golden("real_a_weekly").copy(wal);
        let elsewhere = tempfile::tempdir().unwrap();
        let link = elsewhere.path().join("localdb.sqlite");
        symlink(&path, &link).unwrap();
        symlink(dir.path(), elsewhere.path().join("folder")).unwrap();
        let names = [path.clone(), link, elsewhere.path().join("folder"), elsewhere.path().to_owned()];
        for guarded in &names {
            let guard = Guard::shut(guarded).unwrap();
            assert_eq!(guard.fault(), None);
            for name in &names {
                let mut run = CleaningRun::new(settings(name), 0.0);
                let outcome = run.next_step().unwrap().outcome;
                assert!(matches!(outcome, StepResult::Later(_)), "{} by {}", guarded.display(), name.display());
                let mut command = clean(name, golden("real_a_weekly"), Mode::Careful, "--dry-run");
                let mut waiting = Running::start(&mut command);
                waiting.must_say("is in use");
                waiting.kill();
            }
            drop(guard);
        }
        // A run that is interrupted by one name goes on by another: what it keeps stands beside the file itself.
        let mut begun = CleaningRun::new(settings(&names[1]), 0.0);
        while !beside(&path).contains("localdb.sqlite.sexton-plan") {
            begun.next_step().unwrap();
        }
        assert!(matches!(begun.next_step().unwrap().outcome, StepResult::More));
        drop(begun);
        let mut resumed = CleaningRun::new(settings(&names[2]), 0.0);
        while !matches!(resumed.next_step().unwrap().outcome, StepResult::Finished) {}
        assert!(resumed.is_resumed());
        resumed.into_report().handed_over().unwrap();
        golden("real_a_weekly").check(&path, State::Recommended, &format!("wal={wal}"));
        assert_eq!(beside(&elsewhere.path().join("x")).len(), 2, "nothing stands beside the links");
        assert!(!beside(&path).iter().any(|name| name.ends_with("-plan") || name.ends_with("-wal")));
    }
}

#[test]
fn guard_says_that_a_file_of_two_names_is_not_kept_and_runs_the_backup() {
    let (_dir, path) = golden("real_a_weekly").copy(false);
    fs::hard_link(&path, path.with_file_name("other.sqlite")).unwrap();
    let mut guarded = sexton(["guard".as_ref(), path.as_os_str(), "--".as_ref()]);
    run(guarded.args(["sh", "-c", "exit 7"])).expect(7).said("2 names (hard links)");
}

/// A file that is bound by itself, as container engines do it with single files.
#[cfg(feature = "external")]
#[test]
fn a_database_that_is_a_mount_point_of_its_own_is_refused_and_guard_says_so() {
    let (_dir, path) = golden("real_a_weekly").copy(false);
    let other = tempfile::tempdir().unwrap();
    let bound = other.path().join("localdb.sqlite");
    fs::write(&bound, "").unwrap();
    let mounted = Command::new("mount").arg("--bind").args([&path, &bound]).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        println!("skipped: nothing can be mounted here");
        return;
    }
    let cleaned = run(&mut clean(&bound, golden("real_a_weekly"), Mode::Careful, ""));
    let mut guarded = sexton(["guard".as_ref(), bound.as_os_str(), "--".as_ref()]);
    let guarded = run(guarded.args(["sh", "-c", "exit 7"]));
    let names = beside(&bound);
    Command::new("umount").arg(&bound).status().unwrap();
    cleaned.expect(3).said("mount point of its own");
    guarded.expect(7).said("mount point of its own");
    assert!(!names.contains("localdb.sqlite-journal"));
    golden("real_a_weekly").check(&path, State::Before, "by the name that it comes from");
    run(&mut clean(&path, golden("real_a_weekly"), Mode::Careful, "")).expect(0);
}

/// A file system on which every lock says ENOLCK, played by a library that is loaded before the system's own.
struct NoLocks {
    dir: tempfile::TempDir,
}

impl NoLocks {
    fn new() -> NoLocks {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("nfs")).unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/no_locks.c");
        let mut cc = Command::new("cc");
        let made =
            cc.args(["-shared", "-fPIC", "-O1", "-o"]).arg(dir.path().join("no_locks.so")).arg(source).arg("-ldl");
        assert!(made.status().unwrap().success());
        NoLocks { dir }
    }

    fn run(&self, command: &mut Command) -> crate::support::harness::Ended {
        command.env("LD_PRELOAD", self.dir.path().join("no_locks.so"));
        run(command.env("NO_LOCKS_BELOW", self.dir.path().join("nfs")))
    }
}

#[test]
fn where_there_are_no_locks_clean_and_crawl_say_so_and_what_to_do() {
    let no_locks = NoLocks::new();
    for wal in [false, true] {
        let (_dir, path) = golden("real_a_weekly").copy(wal);
        let there = no_locks.dir.path().join("nfs/localdb.sqlite");
        fs::copy(&path, &there).unwrap();
        for args in ["", "--dry-run", "--at-once"] {
            let before = super::untouched::files(&there);
            let ended = no_locks.run(&mut clean(&there, golden("real_a_weekly"), Mode::Careful, args)).expect(3);
            ended
                .said("gives no locks (No locks available")
                .said("rpc.statd")
                .said("copy the database to a local disk");
            super::untouched::assert_untouched(&there, &before, args);
        }
    }
    let sample = Sample::new(3);
    let mut crawl = sexton(["crawl".as_ref(), sample.store().as_os_str()]);
    crawl.args(["--job", "count", "--state"]).arg(no_locks.dir.path().join("nfs/state.sqlite"));
    let ended = no_locks.run(&mut crawl).expect(3);
    ended.said("gives no locks (No locks available").said("--state").said("a local disk");
}

/// As on a disc, or a snapshot: the files of a log cannot be made.
#[cfg(feature = "external")]
#[test]
fn a_database_with_a_log_on_media_that_may_only_be_read_is_told_with_what_to_do() {
    use crate::state::full_disk::{mount, unmount};
    let folder = tempfile::tempdir().unwrap();
    for wal in [false, true] {
        if mount(folder.path(), "4m").is_err() {
            println!("skipped: nothing can be mounted here");
            return;
        }
        let (_dir, from) = golden("real_a_weekly").copy(wal);
        let path = folder.path().join("localdb.sqlite");
        fs::copy(from, &path).unwrap();
        let remounted = Command::new("mount").args(["-o", "remount,ro"]).arg(folder.path()).status().unwrap();
        let ended: Vec<_> =
            ["", "--dry-run"].map(|args| run(&mut clean(&path, golden("real_a_weekly"), Mode::Careful, args))).into();
        unmount(folder.path());
        assert!(remounted.success());
        for ended in ended {
            let ended = ended.expect(3);
            assert!(!ended.stderr.contains("No such file"), "{}", ended.stderr);
            if wal {
                ended.said("write-ahead log").said("Read-only file system").said("work on the copy");
            } else {
                ended.said("may only be read").said("work on a copy");
            }
        }
    }
}

/// A backup's commit fails, and its snapshot is lost without a word, if somebody has a shared lock at that moment; even who
/// asks for the write lock has one until it is refused. So a cleaner that finds a backup at work must take no lock at all.
#[test]
fn whoever_opens_a_database_while_a_backup_runs_is_never_in_the_way_of_its_commit() {
    let (_dir, path) = golden("real_a_weekly").copy(false);
    let backup = Connection::open(&path).unwrap();
    backup.busy_timeout(Duration::ZERO).unwrap();
    let open = LocalDb::open(&path).unwrap();
    drop(open);
    for i in 0..300 {
        backup.execute_batch("BEGIN IMMEDIATE; UPDATE snapshots SET timestamp = timestamp").unwrap();
        let committed = AtomicBool::new(false);
        let result = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !committed.load(Ordering::Relaxed) {
                    if let Err(error) = LocalDb::open(&path) {
                        assert!(matches!(error.downcast_ref(), Some(LocalDbError::Busy { .. })), "{error}");
                    }
                }
            });
            std::thread::sleep(Duration::from_millis(1));
            let result = backup.execute_batch("COMMIT");
            committed.store(true, Ordering::Relaxed);
            result
        });
        assert!(result.is_ok(), "commit {i}: {result:?}");
    }
}
