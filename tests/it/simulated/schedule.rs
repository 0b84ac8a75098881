//! When cleanings run, with the real actors in simulated time: a month with restarts, clocks that jump, databases that are
//! not there or must not be cleaned.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rusqlite::Connection;
use sexton::Error;
use sexton::clock::Clock;
use sexton::cumulus::sample::SampleDb;
use sexton::cumulus::settings::{CleaningSettings, OlderCopy};
use sexton::engine::EngineHandle;
use sexton::maintenance::MaintenanceResult;
use sexton::model::{MaintenanceStatus, TaskState};
use sexton::settings::Checkpoint;

use super::crawl::{SECOND, budget, builder};
use super::world::{EPOCH, Record, SimClock};
use super::world_state::{SimState, no_room};
use crate::cumulus::data::dump;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
const SLOW_START_SECS: f64 = 600.0;

/// A database that was backed up a day before the simulations begin.
fn sample(dir: &Path) -> PathBuf {
    let path = dir.join("localdb.sqlite");
    SampleDb { segments: 20, end: 2_440_586.5 + EPOCH / 86_400.0, ..SampleDb::default() }.write(&path).unwrap();
    path
}

/// Weekly, as by default.
fn start(database: &Path, state: &SimState, clock: &SimClock) -> (EngineHandle, Record) {
    let (builder, record) = builder(budget(0.5, SECOND), Checkpoint::EverySlice, clock);
    let weekly = CleaningSettings::new("weekly", database);
    (builder.state(state.clone()).maintenance(weekly.task.clone(), weekly).start().unwrap(), record)
}

fn status(engine: &EngineHandle) -> MaintenanceStatus {
    engine.status().maintenance["weekly"].clone()
}

/// Asserts that runs began at these days after the engine's start, within a minute: pauses for the lock count by the
/// machine's clock.
#[track_caller]
fn began(record: &Record, days: &[f64]) {
    let starts: Vec<f64> = record.maintenance_starts.lock().unwrap().iter().map(|secs| secs / 86_400.0).collect();
    let close = starts.len() == days.len() && starts.iter().zip(days).all(|(is, asked)| (is - asked).abs() < 0.001);
    assert!(close, "began after {starts:?} days, not {days:?}");
}

const SLOW_START_DAYS: f64 = SLOW_START_SECS / 86_400.0;

#[actix_rt::test]
async fn a_month_with_a_restart_has_a_run_each_week() {
    tokio::time::pause();
    let (dir, state, clock) = (tempfile::tempdir().unwrap(), SimState::sound(), SimClock::new());
    let database = sample(dir.path());
    let (engine, record) = start(&database, &state, &clock);
    tokio::time::sleep(SECOND).await;
    let waiting = status(&engine);
    let left = waiting.next_run_at.unwrap() - Clock::unix_secs(&clock);
    assert!(waiting.state == TaskState::SlowStart && (left - 599.0).abs() < 0.01, "{left}");
    assert_eq!(waiting.last, None);
    tokio::time::sleep(10 * DAY).await;
    began(&record, &[SLOW_START_DAYS, SLOW_START_DAYS + 7.0]);
    let waiting = status(&engine);
    assert_eq!((waiting.state, waiting.runs), (TaskState::Sleeping, 2));
    assert!(((waiting.next_run_at.unwrap() - Clock::unix_secs(&clock)) / 86_400.0 - 4.0).abs() < 0.02);
    engine.shutdown(HOUR).await.unwrap();

    // Three days and more after the last run, one of them without an engine: three days and some minutes are left.
    tokio::time::sleep(DAY).await;
    let (engine, record) = start(&database, &state, &clock);
    tokio::time::sleep(SECOND).await;
    let waiting = status(&engine);
    assert!(((waiting.next_run_at.unwrap() - Clock::unix_secs(&clock)) / 86_400.0 - 3.0).abs() < 0.02, "{waiting:?}");
    let last = waiting.last.expect("what an earlier process did is shown");
    assert!(matches!(last.result, MaintenanceResult::Done { .. }), "{last:?}");
    assert!((last.ended - EPOCH - 86_400.0 * (7.0 + SLOW_START_DAYS)).abs() < 60.0, "{}", last.ended - EPOCH);
    tokio::time::sleep(19 * DAY).await;
    began(&record, &[3.0, 10.0, 17.0].map(|day| day + SLOW_START_DAYS));
    engine.shutdown(HOUR).await.unwrap();
    // Off for longer than a week: the next run begins after the slow start.
    tokio::time::sleep(20 * DAY).await;
    let (engine, record) = start(&database, &state, &clock);
    tokio::time::sleep(DAY).await;
    began(&record, &[SLOW_START_DAYS]);
    engine.shutdown(HOUR).await.unwrap();
}

#[actix_rt::test]
async fn a_database_that_is_not_there_fails_each_week_and_ends_nothing() {
    tokio::time::pause();
    let (dir, state, clock) = (tempfile::tempdir().unwrap(), SimState::sound(), SimClock::new());
    let missing = dir.path().join("not-mounted/localdb.sqlite");
    let (engine, record) = start(&missing, &state, &clock);
    tokio::time::sleep(15 * DAY).await;
    began(&record, &[0.0, 7.0, 14.0].map(|day| day + SLOW_START_DAYS));
    let (failed, was) = (record.failed.lock().unwrap().len(), status(&engine));
    assert_eq!((failed, was.runs, was.state), (3, 3, TaskState::Sleeping));
    let MaintenanceResult::Failed { error } = was.last.unwrap().result else { panic!("it is not there") };
    assert!(error.contains("not-mounted"), "{error}");
    // Mounted at last.
    std::fs::create_dir(missing.parent().unwrap()).unwrap();
    sample(missing.parent().unwrap());
    tokio::time::sleep(7 * DAY).await;
    assert!(matches!(status(&engine).last.unwrap().result, MaintenanceResult::Done { .. }), "{:?}", status(&engine));
    engine.shutdown(HOUR).await.expect("nothing has failed but runs");
}

#[actix_rt::test]
async fn a_refusal_is_shown_with_its_reason_and_a_clock_set_right_ends_it() {
    tokio::time::pause();
    let (dir, state, clock) = (tempfile::tempdir().unwrap(), SimState::sound(), SimClock::new());
    let database = sample(dir.path());
    // The machine has forgotten its date.
    clock.set(-3000 * 86_400);
    let (engine, record) = start(&database, &state, &clock);
    tokio::time::sleep(DAY).await;
    let MaintenanceResult::Refused { why } = status(&engine).last.unwrap().result else { panic!("a date long ago") };
    assert!(why.contains("clock") || why.contains("snapshot"), "{why}");
    // Set right meanwhile: the week counts by the clock that nobody sets.
    clock.set(3000 * 86_400);
    tokio::time::sleep(5 * DAY).await;
    began(&record, &[SLOW_START_DAYS]);
    tokio::time::sleep(2 * DAY).await;
    began(&record, &[SLOW_START_DAYS, SLOW_START_DAYS + 7.0]);
    assert!(matches!(status(&engine).last.unwrap().result, MaintenanceResult::Done { .. }), "{:?}", status(&engine));
    engine.shutdown(HOUR).await.unwrap();
    Connection::open(&database).unwrap().execute_batch("DELETE FROM snapshots").unwrap();
    let (engine, _) = start(&database, &state, &clock);
    tokio::time::sleep(8 * DAY).await;
    let MaintenanceResult::Refused { why } = status(&engine).last.unwrap().result else { panic!("no snapshots") };
    assert!(why.contains("snapshot"), "{why}");
    engine.shutdown(HOUR).await.unwrap();
}

#[actix_rt::test]
async fn each_run_makes_its_copy_and_the_one_before_is_set_aside() {
    tokio::time::pause();
    let (dir, state, clock) = (tempfile::tempdir().unwrap(), SimState::sound(), SimClock::new());
    let (database, copy) = (sample(dir.path()), dir.path().join("copy.sqlite"));
    let first = dump(&database, "A");
    let (builder, _) = builder(budget(0.5, SECOND), Checkpoint::EverySlice, &clock);
    let backup = Some(copy.clone());
    let kept =
        CleaningSettings { backup, older_copy: OlderCopy::SetAside, ..CleaningSettings::new("weekly", &database) };
    let engine = builder.state(state).maintenance(kept.task.clone(), kept).start().unwrap();
    tokio::time::sleep(DAY).await;
    assert!(dump(&copy, "A") == first && dump(&database, "A") != first);
    tokio::time::sleep(7 * DAY).await;
    let old = dir.path().join("copy.sqlite.old");
    assert!(dump(&old, "A") == first && dump(&copy, "A") != first);
    tokio::time::sleep(7 * DAY).await;
    assert!(dump(&old, "A") != first, "there are never more than two");
    let was = status(&engine);
    assert!(was.runs == 3 && matches!(was.last.unwrap().result, MaintenanceResult::Done { .. }));
    engine.shutdown(HOUR).await.unwrap();
}

#[actix_rt::test]
async fn an_older_copy_is_replaced_only_if_a_cleaning_has_made_it() {
    tokio::time::pause();
    let (dir, state, clock) = (tempfile::tempdir().unwrap(), SimState::sound(), SimClock::new());
    let (database, copy) = (sample(dir.path()), dir.path().join("copy.sqlite"));
    let old = dir.path().join("copy.sqlite.old");
    std::fs::write(&copy, "of somebody").unwrap();
    let (builder, _) = builder(budget(0.5, SECOND), Checkpoint::EverySlice, &clock);
    let backup = Some(copy.clone());
    let kept =
        CleaningSettings { backup, older_copy: OlderCopy::SetAside, ..CleaningSettings::new("weekly", &database) };
    let engine = builder.state(state).maintenance(kept.task.clone(), kept).start().unwrap();
    tokio::time::sleep(DAY).await;
    assert!(matches!(status(&engine).last.unwrap().result, MaintenanceResult::Done { .. }));
    assert_eq!(std::fs::read(&old).unwrap(), b"of somebody", "a file in the way is set aside, not lost");
    let (first, before) = (std::fs::read(&copy).unwrap(), dump(&database, "A"));
    tokio::time::sleep(7 * DAY).await;
    let MaintenanceResult::Failed { error } = status(&engine).last.unwrap().result else { panic!("replaced") };
    assert!(error.contains("copy.sqlite.old is there and is not a copy that Sexton has made"), "{error}");
    assert_eq!(std::fs::read(&old).unwrap(), b"of somebody");
    assert!(std::fs::read(&copy).unwrap() == first && dump(&database, "A") == before);
    std::fs::remove_file(&old).unwrap();
    tokio::time::sleep(14 * DAY).await;
    assert!(matches!(status(&engine).last.unwrap().result, MaintenanceResult::Done { .. }));
    assert!(std::fs::read(&old).unwrap() != b"of somebody");
    engine.shutdown(HOUR).await.unwrap();
}

#[actix_rt::test]
async fn a_clock_that_jumps_over_a_restart_delays_a_run_by_a_week_at_most() {
    tokio::time::pause();
    let after_slow_start = [SLOW_START_DAYS, SLOW_START_DAYS + 7.0];
    for (jump_days, expected) in [(-400, &[7.0][..]), (400, &after_slow_start)] {
        let (dir, state, clock) = (tempfile::tempdir().unwrap(), SimState::sound(), SimClock::new());
        let database = sample(dir.path());
        let (engine, _) = start(&database, &state, &clock);
        tokio::time::sleep(DAY).await;
        engine.shutdown(HOUR).await.unwrap();
        clock.set(jump_days * 86_400);
        let (engine, record) = start(&database, &state, &clock);
        tokio::time::sleep(Duration::from_secs(86_400 * 15 / 2)).await;
        began(&record, expected);
        engine.shutdown(HOUR).await.unwrap();
    }
}

/// How it happens: the disk with the state is full when the end of a run is to be noted, or is read at the start.
#[actix_rt::test]
async fn a_state_without_room_is_waited_for_and_a_broken_one_only_costs_a_run() {
    tokio::time::pause();
    let (dir, clock) = (tempfile::tempdir().unwrap(), SimClock::new());
    let database = sample(dir.path());
    let full = Arc::new(AtomicU32::new(5));
    let left = full.clone();
    let state = SimState::new(move |call| {
        let none_left = |n: u32| n.checked_sub(1);
        if call == "ran" && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, none_left).is_ok() {
            Err(no_room())
        } else {
            Ok(())
        }
    });
    let (engine, _) = start(&database, &state, &clock);
    tokio::time::sleep(Duration::from_secs(610)).await;
    let waits = status(&engine);
    assert!(waits.waiting_for.as_ref().is_some_and(|why| why.contains("no room")), "{waits:?}");
    tokio::time::sleep(DAY).await;
    assert_eq!((status(&engine).waiting_for, status(&engine).state), (None, TaskState::Sleeping));
    engine.shutdown(HOUR).await.unwrap();
    let broken = SimState::new(|call| match call {
        "last_run" | "ran" => Err(Error::StateDamaged { path: "/state.sqlite".into(), cause: "broken".to_owned() }),
        _ => Ok(()),
    });
    let (engine, record) = start(&database, &broken, &clock);
    tokio::time::sleep(8 * DAY).await;
    began(&record, &[SLOW_START_DAYS, SLOW_START_DAYS + 7.0]);
    engine.shutdown(HOUR).await.unwrap();
}
