//! Backups that run beside the cleaner or between its steps, and databases that are not as they should be.

use std::fs;
use std::path::Path;

use rusqlite::Connection;
use sexton::cumulus::LocalDbError;
use sexton::cumulus::policy::{CleaningRefusal, ClockTrust, Limits, Mode, Options, RunPart};
use sexton::cumulus::{Applier, CleaningStep, LocalDb, Survey, plan};
use sexton::{Error, Retry};

use super::data::{Golden, State, all, dump};

fn golden(name: &str) -> &'static Golden {
    all().iter().find(|g| g.name == name).unwrap()
}

/// Does what the old backup programs do to a local database: all in one transaction, without waiting for a lock.
fn backup(path: &Path) -> rusqlite::Result<()> {
    let mut conn = Connection::open(path)?;
    conn.busy_timeout(std::time::Duration::ZERO)?;
    let tx = conn.transaction()?;
    tx.execute("INSERT INTO snapshots (name, scheme, timestamp) VALUES ('new', 'home', 2454400.5)", [])?;
    tx.execute(
        "INSERT INTO snapshot_contents SELECT max(blockid), (SELECT max(snapshotid) FROM snapshots) FROM block_index",
        [],
    )?;
    tx.commit()
}

fn begun(db: &mut LocalDb, options: &Options) -> Applier {
    let mut applier = Applier::new(plan(db, options).unwrap(), db).unwrap();
    applier.keep(db).unwrap();
    applier
}

#[test]
fn a_backup_between_two_steps_makes_the_plan_stale() {
    for wal in [false, true] {
        let golden = golden("a_old_snapshots");
        let (_dir, path) = golden.copy(wal);
        let options = golden.options(Mode::Careful);
        let mut db = LocalDb::open(&path).unwrap();
        let mut applier = begun(&mut db, &options);
        applier.next_step(&db, 10).unwrap();
        backup(&path).unwrap();
        let before = dump(&path, "A");
        let error = applier.next_step(&db, 10).unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(LocalDbError::PlanStale { .. })), "{error}");
        assert_eq!(error.retry(), Retry::Helps);
        assert_eq!(dump(&path, "A"), before);
        // A new plan knows the new snapshot.
        let planned = plan(&mut db, &options).unwrap();
        Applier::new(planned, &db).unwrap().apply_at_once(&db).unwrap();
        assert!(dump(&path, "A").contains("t:new"));
    }
}

#[test]
fn a_backup_while_the_survey_reads_makes_it_stale() {
    let golden = golden("a_old_snapshots");
    let (_dir, path) = golden.copy(true);
    let db = LocalDb::open(&path).unwrap();
    let mut survey = Survey::new(&db, golden.options(Mode::Careful));
    survey.next_step(&db, 10).unwrap();
    backup(&path).unwrap();
    let error = survey.next_step(&db, 10).unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(LocalDbError::PlanStale { .. })), "{error}");
}

#[test]
fn a_backup_after_the_process_was_killed_makes_the_kept_plan_worthless() {
    let golden = golden("a_old_snapshots");
    let (_dir, path) = golden.copy(true);
    let options = golden.options(Mode::Careful);
    let mut db = LocalDb::open(&path).unwrap();
    begun(&mut db, &options).next_step(&db, 10).unwrap();
    drop(db);
    let db = LocalDb::open(&path).unwrap();
    assert!(Applier::resume(&db, &options).unwrap().is_some());
    backup(&path).unwrap();
    assert!(Applier::resume(&db, &options).unwrap().is_none());
    assert!(!path.with_file_name("localdb.sqlite.sexton-plan").exists());
}

#[test]
fn a_kept_plan_is_resumed_only_by_the_same_command() {
    let golden = golden("a_several_schemes");
    let (_dir, path) = golden.copy(true);
    let options = Options { clock: ClockTrust::Wall, ..golden.options(Mode::Careful) };
    let mut db = LocalDb::open(&path).unwrap();
    begun(&mut db, &options);
    let later = Options { now: options.now + 0.25, ..options.clone() };
    assert_eq!(Applier::resume(&db, &later).unwrap().unwrap().options().now, options.now);
    let other = Options { limits: Limits { max_segments: Some(1), ..Limits::default() }, ..options.clone() };
    assert!(Applier::resume(&db, &other).unwrap().is_none());
    assert!(Applier::resume(&db, &options).unwrap().is_none(), "another command took the plan away");
}

#[test]
fn a_torn_plan_beside_the_database_is_as_good_as_none() {
    let golden = golden("a_ties");
    let (_dir, path) = golden.copy(true);
    let options = golden.options(Mode::Careful);
    let mut db = LocalDb::open(&path).unwrap();
    begun(&mut db, &options);
    let kept = path.with_file_name("localdb.sqlite.sexton-plan");
    let whole = fs::read(&kept).unwrap();
    fs::write(&kept, &whole[..whole.len() / 2]).unwrap();
    assert!(Applier::resume(&db, &options).unwrap().is_none());
}

/// A backup holds the write lock from its start to its end. With a rollback journal the cleaner must not even read then.
#[test]
fn a_running_backup_is_found_before_anything_is_read_or_changed() {
    for wal in [false, true] {
        let golden = golden("a_ties");
        let (_dir, path) = golden.copy(wal);
        let options = golden.options(Mode::Careful);
        let mut db = LocalDb::open(&path).unwrap();
        let mut survey = Survey::new(&db, options.clone());
        let mut applier = begun(&mut db, &options);
        let running = Connection::open(&path).unwrap();
        running.execute_batch("BEGIN IMMEDIATE; INSERT INTO snapshots (name) VALUES ('running')").unwrap();
        let reading = survey.next_step(&db, 10);
        assert_eq!(reading.is_ok(), wal, "{reading:?}");
        let error = applier.next_step(&db, 10).unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(LocalDbError::Busy { .. })), "{error}");
        assert_eq!(error.retry(), Retry::Helps);
        running.execute_batch("COMMIT").unwrap();
    }
}

/// Another reader keeps a rollback journal from being committed.
#[test]
fn a_step_that_cannot_be_committed_is_done_again() {
    let golden = golden("a_ties");
    let (_dir, path) = golden.copy(false);
    let options = golden.options(Mode::Careful);
    let mut db = LocalDb::open(&path).unwrap();
    let mut applier = begun(&mut db, &options);
    let reader = Connection::open(&path).unwrap();
    reader.execute_batch("BEGIN; SELECT * FROM snapshots").unwrap();
    let upcoming = applier.upcoming();
    for _ in 0..2 {
        assert!(matches!(
            applier.next_step(&db, 10).as_ref().map_err(Error::downcast_ref),
            Err(Some(LocalDbError::Busy { .. }))
        ));
        assert_eq!(applier.upcoming(), upcoming);
    }
    reader.execute_batch("COMMIT").unwrap();
    while applier.next_step(&db, 10).unwrap().more {}
    golden.check(&path, State::Recommended, "after a reader");
}

fn changed(name: &str, sql: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let (dir, path) = golden(name).copy(false);
    Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    (dir, path)
}

#[test]
fn odd_values_leave_their_segment_alone_and_the_others_are_cleaned() {
    for (odd, why) in [
        ("timestamp = 9e999", "infinite"),
        ("timestamp = 'yesterday'", "no date"),
        ("timestamp = x'00'", "binary"),
        ("size = 'many'", "no whole number"),
        ("size = 1.5", "no whole number"),
    ] {
        let sql = format!(
            "UPDATE block_index SET {odd}, expired = 3 WHERE blockid = (SELECT min(blockid) FROM block_index \
             WHERE segmentid = 3 AND blockid IN (SELECT blockid FROM snapshot_contents))"
        );
        let (_dir, path) = changed("a_threshold_zero", &sql);
        let mut db = LocalDb::open(&path).unwrap();
        let planned = plan(&mut db, &golden("a_threshold_zero").options(Mode::Careful)).unwrap();
        let odd_ones: Vec<_> = planned.plan().odd.iter().map(|o| (o.segment, o.what.contains(why))).collect();
        assert_eq!(odd_ones, [(Some(3), true)], "{odd}");
        assert!(planned.plan().marked().count() > 2 && planned.plan().marked().all(|id| id != 3), "{odd}");
        Applier::new(planned, &db).unwrap().apply_at_once(&db).unwrap();
        let conn = Connection::open(&path).unwrap();
        let count = |what: &str| -> i64 {
            let sql = format!("SELECT count(*) FROM block_index WHERE segmentid = 3 AND {what}");
            conn.query_row(&sql, [], |row| row.get(0)).unwrap()
        };
        assert_eq!((count("expired = 3"), count("expired IS NOT NULL")), (1, 1), "{odd}");
    }
}

#[test]
fn dates_as_text_are_dates_to_a_careful_run() {
    let golden = golden("a_text_timestamps");
    let (_dir, path) = golden.copy(false);
    let mut db = LocalDb::open(&path).unwrap();
    let planned = plan(&mut db, &golden.options(Mode::Careful)).unwrap();
    let entry = planned.plan().segments.iter().find(|e| e.id == 1).unwrap();
    // 2007-08-08 12:00 is the Julian day 2454321.
    assert_eq!(entry.age_days, Some(2454400.25 - 2454321.0));
    Applier::new(planned, &db).unwrap().apply_at_once(&db).unwrap();
    let conn = Connection::open(&path).unwrap();
    let kept: i64 = conn
        .query_row("SELECT count(*) FROM block_index WHERE timestamp LIKE '2007-%' AND expired IS NOT NULL", [], |r| {
            r.get(0)
        })
        .unwrap();
    assert_eq!(kept, 8);
}

#[test]
fn a_clock_that_jumped_is_refused_unless_somebody_vouches_for_it() {
    let golden = golden("a_ties");
    let (_dir, path) = golden.copy(false);
    let mut db = LocalDb::open(&path).unwrap();
    let mut refused = |now, clock, mode| {
        let options = Options { now, clock, mode, ..golden.options(Mode::Careful) };
        plan(&mut db, &options).unwrap().into_plan().refused
    };
    let (newest, days) = (2454400.25, 500.0);
    assert!(matches!(
        refused(newest + days, ClockTrust::Wall, Mode::Careful),
        Some(CleaningRefusal::ClockAhead { .. })
    ));
    assert!(matches!(
        refused(newest - days, ClockTrust::Wall, Mode::Careful),
        Some(CleaningRefusal::ClockBehind { .. })
    ));
    for clock in [ClockTrust::Given, ClockTrust::Accepted] {
        assert_eq!(refused(newest + days, clock, Mode::Careful), None);
    }
    assert_eq!(refused(newest + days, ClockTrust::Wall, Mode::Compat), None);
}

#[test]
fn parts_of_a_run_and_named_segments() {
    let golden = golden("a_ties");
    let (_dir, path) = golden.copy(false);
    let mut db = LocalDb::open(&path).unwrap();
    let id = plan(&mut db, &golden.options(Mode::Careful)).unwrap().plan().segments.iter().last().unwrap().id;
    let part = RunPart::Marking(vec![id, 9999]);
    let planned = plan(&mut db, &Options { part, ..golden.options(Mode::Careful) }).unwrap();
    assert_eq!(planned.plan().marked().collect::<Vec<_>>(), [id]);
    assert_eq!(planned.plan().odd[0].segment, Some(9999));
    Applier::new(planned, &db).unwrap().apply_at_once(&db).unwrap();
    let conn = Connection::open(&path).unwrap();
    let values = |sql: &str| -> i64 { conn.query_row(sql, [], |row| row.get(0)).unwrap() };
    assert_eq!(values(&format!("SELECT count(*) FROM block_index WHERE (expired = 1) <> (segmentid = {id})")), 0);
    assert!(values("SELECT count(*) FROM block_index WHERE expired IS NULL") > 0);
}

#[test]
fn expiring_comes_in_whole_segments_and_says_how_large() {
    let golden = golden("a_threshold_zero");
    let (_dir, path) = golden.copy(true);
    let mut db = LocalDb::open(&path).unwrap();
    let mut applier = begun(&mut db, &golden.options(Mode::Careful));
    let mut segments = 0;
    while applier.upcoming().step != CleaningStep::Done {
        let upcoming = applier.upcoming();
        let done = applier.next_step(&db, 1).unwrap();
        if upcoming.step == CleaningStep::Expire {
            assert_eq!((done.step, done.rows), (CleaningStep::Expire, upcoming.least_rows));
            segments += 1;
        }
    }
    assert_eq!(applier.segments_left(), (0, segments));
}

#[test]
fn what_is_no_local_database_is_told_apart() {
    let dir = tempfile::TempDir::new().unwrap();
    let file = dir.path().join("localdb.sqlite");
    let error = LocalDb::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("localdb.sqlite"), "{error}");
    fs::write(&file, b"").unwrap();
    assert!(matches!(
        LocalDb::open(&file).as_ref().map_err(Error::downcast_ref),
        Err(Some(LocalDbError::Foreign { .. }))
    ));
    fs::write(&file, vec![b'x'; 8192]).unwrap();
    assert!(matches!(
        LocalDb::open(&file).as_ref().map_err(Error::downcast_ref),
        Err(Some(LocalDbError::Foreign { .. }))
    ));
    let (_dir, path) = changed("a_ties", "CREATE TABLE segments_used (snapshotid, segmentid, utilization)");
    let error = LocalDb::open(&path).unwrap_err().to_string();
    assert!(error.contains("interrupted"), "{error}");
}

/// Pages in the middle are overwritten, as a broken disk does.
#[test]
fn a_torn_database_is_an_error_and_no_panic() {
    let golden = golden("a_mixed_random_1");
    let (_dir, path) = golden.copy(false);
    let whole = fs::read(&path).unwrap();
    for page in 1..whole.len() / 4096 {
        let mut torn = whole.clone();
        torn[page * 4096..(page + 1) * 4096].fill(0xa5);
        fs::write(&path, &torn).unwrap();
        let Ok(mut db) = LocalDb::open(&path) else { continue };
        let Ok(planned) = plan(&mut db, &golden.options(Mode::Careful)) else { continue };
        if let Ok(applier) = Applier::new(planned, &db)
            && let Err(error) = applier.apply_at_once(&db)
        {
            drop(db);
            assert!(fs::read(&path).unwrap() == torn, "page {page}: changed in spite of {error}");
        }
    }
}
