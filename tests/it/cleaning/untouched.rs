//! What `clean` refuses, or only shows, changes no byte of the database and its log and leaves no file.
//!
//! How it would happen: taking the write lock of an empty file writes its first page, and of a database that an old SQLite
//! has written its header; closing the last connection moves the log into the database; opening rolls back a journal.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use sexton::cumulus::policy::{ClockTrust, Mode};
use sexton::cumulus::settings::{CleaningMode, CleaningSettings, LongLocks};
use sexton::cumulus::{CleaningReport, CleaningRun, StepResult};

use super::cli::{beside, clean, golden};
use crate::cumulus::data::{Golden, State, all};
use crate::support::harness::{Ended, run, sexton};

/// How a database and its journal are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Journal {
    Rollback,
    /// As SQLite wrote it before 3.7.0: the header does not say how many pages there are.
    OldHeader,
    /// With a write-ahead log that nobody has open.
    Log,
    /// The same after a program died: the log is there and holds the last change.
    FullLog,
}

pub const JOURNALS: [Journal; 4] = [Journal::Rollback, Journal::OldHeader, Journal::Log, Journal::FullLog];
pub const MANNERS: [CleaningMode; 3] = [CleaningMode::DryRun, CleaningMode::InSlices, CleaningMode::AtOnce];

/// Where an old SQLite leaves the header at zero.
const OLD_HEADER: [std::ops::Range<usize>; 2] = [28..32, 92..100];

impl Journal {
    pub fn prepare(self, path: &Path) {
        match self {
            Journal::Rollback => {}
            Journal::OldHeader => {
                let mut bytes = fs::read(path).unwrap();
                OLD_HEADER.into_iter().for_each(|range| bytes[range].fill(0));
                fs::write(path, bytes).unwrap();
            }
            Journal::Log | Journal::FullLog => {
                let conn = Connection::open(path).unwrap();
                conn.execute_batch("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; PRAGMA user_version = 7")
                    .unwrap();
                conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, self == Journal::FullLog).unwrap();
                drop(conn);
                assert_eq!(path.with_file_name("localdb.sqlite-wal").exists(), self == Journal::FullLog);
            }
        }
    }
}

/// All files of a folder with their bytes, but for the index of a log, which holds nothing that lasts.
pub fn files(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let names = beside(path).into_iter().filter(|name| !name.ends_with("-shm"));
    let read = |name: String| {
        let bytes = fs::symlink_metadata(path.with_file_name(&name)).unwrap();
        let bytes = if bytes.is_file() { fs::read(path.with_file_name(&name)).unwrap() } else { Vec::new() };
        (name, bytes)
    };
    names.map(read).collect()
}

#[track_caller]
pub fn assert_untouched(path: &Path, before: &BTreeMap<String, Vec<u8>>, what: &str) {
    let after = files(path);
    assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>(), "{what}: files");
    for (name, bytes) in before {
        let at = after[name].iter().zip(bytes).position(|(a, b)| a != b);
        assert!(after[name] == *bytes, "{what}: {name} differs, first at {at:?}");
    }
}

/// The mode for which it is known what a run makes of a database, and the state that this is.
fn known(golden: &Golden) -> (Mode, State) {
    if golden.has_recommended() { (Mode::Careful, State::Recommended) } else { (Mode::Compat, State::After) }
}

/// What [`cleaned`] makes of a database.
pub fn done(golden: &Golden) -> State {
    known(golden).1
}

/// Cleans in this process.
pub fn cleaned(path: &Path, golden: &Golden, manner: CleaningMode) -> sexton::Result<CleaningReport> {
    let settings = CleaningSettings {
        options: golden.options(known(golden).0),
        manner,
        long_locks: LongLocks::Allow,
        ..CleaningSettings::new("clean", path)
    };
    let mut run = CleaningRun::new(settings, 0.0);
    loop {
        match run.next_step()?.outcome {
            StepResult::Finished => return Ok(run.into_report()),
            StepResult::More | StepResult::Stale => {}
            StepResult::Later(error) => panic!("waits: {error}"),
        }
    }
}

#[test]
fn a_dry_run_and_every_refusal_of_a_policy_leave_all_as_it_was() {
    let (mut refusals, mut shown) = (0, 0);
    for golden in all() {
        for journal in JOURNALS {
            for mode in [Mode::Careful, Mode::Compat] {
                let refuses = if mode == Mode::Compat { golden.raised() } else { golden.refused() };
                for manner in MANNERS {
                    if !refuses && (manner != CleaningMode::DryRun || mode == Mode::Compat) {
                        continue;
                    }
                    let (_dir, path) = golden.copy(false);
                    journal.prepare(&path);
                    let before = files(&path);
                    let options = golden.options(mode);
                    let settings = CleaningSettings { options, manner, ..CleaningSettings::new("clean", &path) };
                    let mut run = CleaningRun::new(settings, 0.0);
                    while !matches!(run.next_step().unwrap().outcome, StepResult::Finished) {}
                    let report = run.into_report();
                    let known = mode == Mode::Compat || golden.has_recommended();
                    assert!(!known || report.refused().is_some() == refuses, "{}", golden.name);
                    assert_untouched(&path, &before, &format!("{} {journal:?} {mode:?} {manner:?}", golden.name));
                    *(if refuses { &mut refusals } else { &mut shown }) += 1;
                }
            }
        }
    }
    assert!(refusals > 100 && shown > 200, "{refusals} refusals, {shown} dry runs");
}

#[test]
fn a_database_that_an_old_sqlite_wrote_or_left_a_log_of_is_cleaned_like_any_other() {
    for name in ["real_a_weekly", "real_b_weekly", "real_c_two_schemes"] {
        for journal in JOURNALS {
            for manner in [CleaningMode::InSlices, CleaningMode::AtOnce] {
                let golden = golden(name);
                let (_dir, path) = golden.copy(false);
                journal.prepare(&path);
                cleaned(&path, golden, manner).unwrap().handed_over().unwrap();
                golden.check(&path, done(golden), &format!("{journal:?} {manner:?}"));
                assert!(!path.with_file_name("localdb.sqlite-wal").exists(), "{journal:?}: the log was tidied up");
            }
        }
    }
}

/// What a refusal is about, how it is made, and what is said.
type Refusal = (&'static str, fn(&Path), &'static str);

fn sql(path: &Path, sql: &str) {
    Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

/// Those that come before the schema is looked at: nothing that is there is a database with a journal mode.
const NO_DATABASES: [Refusal; 6] = [
    ("an empty file", |path| fs::write(path, "").unwrap(), "it is empty"),
    ("one byte", |path| fs::write(path, "S").unwrap(), "not an SQLite database"),
    ("text", |path| fs::write(path, "to do: buy milk\n".repeat(1000)).unwrap(), "not an SQLite database"),
    ("zeros", |path| fs::write(path, [0; 8192]).unwrap(), "not an SQLite database"),
    (
        "a folder",
        |path| fs::remove_file(path).and_then(|()| fs::create_dir(path)).unwrap(),
        "cannot open local database",
    ),
    ("nothing", |path| fs::remove_file(path).unwrap(), "No such file"),
];

const FOREIGN: [Refusal; 7] = [
    ("no tables", |path| sql(path, "DROP TABLE snapshot_contents"), "no table of what snapshots use"),
    ("two eras", |path| sql(path, "CREATE TABLE segments_used (x)"), "an upgrade was interrupted"),
    ("a version", |path| sql(path, "CREATE TABLE schema_version (x)"), "it has a schema_version"),
    ("no blocks", |path| sql(path, "DROP TABLE block_index"), "no table block_index"),
    ("no column", |path| sql(path, "ALTER TABLE block_index RENAME expired TO x"), "no column expired"),
    (
        "two names",
        |path| fs::hard_link(path, path.with_file_name("other.sqlite")).unwrap(),
        "the file has 2 names (hard links)",
    ),
    (
        "a torn schema",
        |path| {
            let mut bytes = fs::read(path).unwrap();
            bytes[100..140].fill(0xff);
            fs::write(path, bytes).unwrap();
        },
        "is damaged",
    ),
];

fn refused(path: &Path, args: &str) -> Ended {
    let ended = run(&mut clean(path, golden("real_a_weekly"), Mode::Careful, args));
    let code = match &ended.stderr {
        said if said.contains("is not a local database to work with") => 2,
        said if said.contains("is damaged") => 1,
        _ => 3,
    };
    assert_eq!(ended.code(), code, "{}", ended.stderr);
    assert_eq!(ended.stderr.trim_end().lines().count(), 1, "{}", ended.stderr);
    ended
}

#[test]
fn what_is_no_database_is_refused_and_left_as_it_is() {
    for (what, make, words) in NO_DATABASES {
        for args in ["", "--dry-run", "--at-once"] {
            let (_dir, path) = golden("real_a_weekly").copy(false);
            make(&path);
            let before = files(&path);
            refused(&path, args).said(words);
            assert_untouched(&path, &before, &format!("{what} {args}"));
        }
    }
}

#[test]
fn a_foreign_database_is_refused_and_left_as_it_is_in_every_journal_mode() {
    for (what, make, words) in FOREIGN {
        for journal in JOURNALS {
            for args in ["", "--dry-run", "--at-once"] {
                let (_dir, path) = golden("real_a_weekly").copy(false);
                if what == "a torn schema" {
                    journal.prepare(&path);
                    if journal == Journal::FullLog {
                        // Its first page stands in the log, whole.
                        continue;
                    }
                    make(&path);
                } else {
                    make(&path);
                    journal.prepare(&path);
                }
                let before = files(&path);
                refused(&path, args).said(words);
                assert_untouched(&path, &before, &format!("{what} {journal:?} {args}"));
            }
        }
    }
}

#[test]
fn a_clock_that_is_not_believed_and_a_copy_that_is_there_are_refusals_too() {
    for journal in JOURNALS {
        let (_dir, path) = golden("real_a_weekly").copy(false);
        journal.prepare(&path);
        fs::write(path.with_file_name("copy"), "mine").unwrap();
        let before = files(&path);
        for dry in [false, true] {
            let mut command = sexton(["clean".as_ref(), path.as_os_str()]);
            run(command.args(dry.then_some("--dry-run"))).expect(3).said("--accept-clock");
            assert_untouched(&path, &before, &format!("{journal:?}, dry: {dry}"));
        }
        let copy = format!("--backup {}", path.with_file_name("copy").display());
        refused(&path, &copy).said("is there already");
        assert_untouched(&path, &before, &format!("{journal:?}, a copy is there"));
        // In a program of one's own, a plan may be made of no options at all.
        let mut settings = CleaningSettings::new("clean", &path);
        settings.options = golden("real_a_weekly").options(Mode::Careful);
        settings.options.clock = ClockTrust::Wall;
        let mut run = CleaningRun::new(settings, 0.0);
        while !matches!(run.next_step().unwrap().outcome, StepResult::Finished) {}
        assert!(run.into_report().refused().is_some());
        assert_untouched(&path, &before, &format!("{journal:?}, in this process"));
    }
}

/// Leaves a database as a program that died in the middle of a change: a journal beside it says what was there before.
fn die_in_mid_change(path: &Path) -> PathBuf {
    let journal = path.with_file_name("localdb.sqlite-journal");
    let conn = Connection::open(path).unwrap();
    // Without room for its pages, SQLite writes them before it commits.
    conn.execute_batch("PRAGMA cache_size = 1; BEGIN; UPDATE block_index SET expired = 5, object = object || 'x'")
        .unwrap();
    let left = (fs::read(path).unwrap(), fs::read(&journal).unwrap());
    conn.execute_batch("ROLLBACK").unwrap();
    drop(conn);
    fs::write(path, left.0).unwrap();
    fs::write(&journal, left.1).unwrap();
    journal
}

#[test]
fn a_half_written_database_is_shown_to_nobody_and_rolled_back_only_by_a_run_that_cleans() {
    let golden = golden("real_a_weekly");
    let (_dir, path) = golden.copy(false);
    let journal = die_in_mid_change(&path);
    let before = files(&path);
    refused(&path, "--dry-run").said("still to be rolled back").said("without --dry-run");
    assert_untouched(&path, &before, "dry run");
    run(&mut clean(&path, golden, Mode::Careful, "")).expect(0);
    golden.check(&path, State::Recommended, "after it was rolled back");
    assert!(!journal.exists());

    // What is foreign anyway is not even rolled back.
    let (_dir, path) = golden.copy(false);
    sql(&path, "CREATE TABLE segments_used (x)");
    die_in_mid_change(&path);
    let before = files(&path);
    for args in ["", "--at-once", "--dry-run"] {
        let words = if args == "--dry-run" { "still to be rolled back" } else { "an upgrade was interrupted" };
        refused(&path, args).said(words);
        assert_untouched(&path, &before, args);
    }

    // What other journal modes leave behind is no such journal.
    for left in ["", "\0\0\0\0\0\0\0\0"] {
        let (_dir, path) = golden.copy(false);
        fs::write(path.with_file_name("localdb.sqlite-journal"), left).unwrap();
        let before = files(&path);
        run(&mut clean(&path, golden, Mode::Careful, "--dry-run")).expect(0);
        assert_untouched(&path, &before, "an empty journal");
    }
}
