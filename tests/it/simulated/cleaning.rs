//! A cleaning beside crawls, with the real actors and a real database in simulated time: the budget and the shares, and
//! pause, resume and stop in mid-way.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sexton::Error;
use sexton::cumulus::policy::{Mode, Options};
use sexton::cumulus::sample::SampleDb;
use sexton::cumulus::settings::{CleaningMode, CleaningSettings};
use sexton::engine::{Command, Cycles, EngineHandle};
use sexton::maintenance::MaintenanceResult;
use sexton::model::{MaintenanceStatus, TaskState};
use sexton::settings::{Checkpoint, CrawlSettings, MaintenanceSettings};

use super::crawl::{SECOND, at_once, budget, builder, end};
use super::world::{Asked, Record, SimClock, SimJob, SimStore};
use super::world_state::SimState;
use crate::cumulus::data::dump;
use crate::cumulus::model::Health;

const MILLISECOND: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

fn sample(dir: &Path, segments: u32) -> PathBuf {
    let path = dir.join("localdb.sqlite");
    SampleDb { segments, ..SampleDb::default() }.write(&path).unwrap();
    path
}

/// A cleaning that begins at once, and never leaves the lock alone: simulated time knows no other programs.
fn cleaning(database: &Path) -> CleaningSettings {
    CleaningSettings {
        options: Options::at(SampleDb::default().end + 1.0),
        task: MaintenanceSettings { slow_start: Duration::ZERO, ..MaintenanceSettings::new("cleaner") },
        lock_duty: 1.0,
        ..CleaningSettings::new("cleaner", database)
    }
}

fn status(engine: &EngineHandle) -> MaintenanceStatus {
    engine.status().maintenance["cleaner"].clone()
}

#[actix_rt::test]
async fn beside_two_crawls_the_budget_holds_at_each_grant_and_shares_follow_the_weights() {
    tokio::time::pause();
    let dir = tempfile::tempdir().unwrap();
    let database = sample(dir.path(), 100);
    for (weights, rate) in [([1.0, 2.0, 1.0], 0.5), ([1.0, 1.0, 3.0], 0.1)] {
        // Each look at the clock takes a tenth of a second, so a step of the cleaning three of them, and a bucket one.
        let clock = SimClock::ticking(100 * MILLISECOND);
        let (mut builder, record) = builder(budget(rate, SECOND), Checkpoint::EverySlice, &clock);
        for (name, weight) in [("a", weights[0]), ("b", weights[1])] {
            let crawl = CrawlSettings { weight, ..at_once(name, 1) };
            builder = builder.crawl(crawl, SimStore::new(&clock, 4, 100_000), SimJob::new(&clock, |_| Duration::ZERO));
        }
        // Again and again, so that there is always something to do; the next run finds what this one has found.
        let again = CleaningSettings {
            task: MaintenanceSettings { weight: weights[2], every: Duration::ZERO, ..cleaning(&database).task },
            manner: CleaningMode::DryRun,
            ..cleaning(&database)
        };
        let engine = builder.maintenance(again.task.clone(), again).start().unwrap();
        tokio::time::sleep(Duration::from_secs_f64(200.0 / rate)).await;
        assert!(status(&engine).runs > 2, "{:?}", status(&engine));
        engine.shutdown(HOUR).await.unwrap();

        record.assert_never_ahead(&Asked { rate, slice_secs: 1.0 }, Duration::ZERO);
        let parts = record.parts();
        let sum: f64 = weights.iter().sum();
        for (client, weight) in ["a", "b", "cleaner"].into_iter().zip(weights) {
            // What is read ahead counts beside.
            let (part, asked) = (parts[client], weight / sum);
            assert!((part - asked).abs() < 0.04, "{client} has {part} of the budget, not {asked}: {parts:?}");
        }
    }
}

/// Slices in which a cleaning does one step.
fn one_by_one(cycles: Cycles, database: &Path, state: &SimState) -> (EngineHandle, Record) {
    let clock = SimClock::ticking(MILLISECOND);
    let (builder, record) = builder(budget(0.5, MILLISECOND), Checkpoint::EverySlice, &clock);
    let small = CleaningSettings { slice: MILLISECOND, ..cleaning(database) };
    (builder.state(state.clone()).cycles(cycles).maintenance(small.task.clone(), small).start().unwrap(), record)
}

/// What an undisturbed run makes of a database.
async fn undisturbed(segments: u32) -> (String, Health) {
    let dir = tempfile::tempdir().unwrap();
    let database = sample(dir.path(), segments);
    let (engine, _) = one_by_one(Cycles::Once, &database, &SimState::sound());
    end(&engine).await.unwrap();
    (dump(&database, "A"), Health::read(&database, "A"))
}

#[actix_rt::test]
async fn paused_in_mid_way_the_database_is_whole_and_nothing_happens_until_it_is_resumed() {
    tokio::time::pause();
    let (expected, end_health) = undisturbed(60).await;
    let dir = tempfile::tempdir().unwrap();
    let database = sample(dir.path(), 60);
    let before = Health::read(&database, "A");
    let (engine, record) = one_by_one(Cycles::Times(1), &database, &SimState::sound());
    let (mut pauses, mut in_changes) = (0, 0);
    loop {
        // The odd milliseconds let some steps pass, and wait for slices at the moment of the pause.
        tokio::time::sleep((7 + pauses % 5) * MILLISECOND).await;
        let told = engine.command("cleaner", Command::Pause).await;
        tokio::time::sleep(10 * MILLISECOND).await;
        if status(&engine).state == TaskState::Done {
            break;
        }
        told.unwrap();
        pauses += 1;
        assert_eq!(status(&engine).state, TaskState::Paused);
        Health::read(&database, "A").check(&before, &end_health, Mode::Careful);
        let (rows, slices) = (dump(&database, "A"), record.taken().len());
        in_changes += u32::from(rows != expected && status(&engine).progress.rows_done > 0);
        tokio::time::sleep(HOUR).await;
        assert!(dump(&database, "A") == rows && record.taken().len() == slices, "it works while it is paused");
        engine.command("cleaner", Command::Resume).await.unwrap();
        assert!(pauses < 10_000);
    }
    assert!(pauses > 5 && in_changes > 3, "{pauses} pauses, {in_changes} of them in mid-way");
    end(&engine).await.unwrap();
    assert!(dump(&database, "A") == expected);
    assert!(
        matches!(status(&engine).last.unwrap().result, MaintenanceResult::Done { figures } if figures["marked_segments"].as_u64() > Some(0))
    );
}

#[actix_rt::test]
async fn stopped_in_mid_way_the_others_go_on_and_the_next_engine_finishes_it() {
    tokio::time::pause();
    let (expected, end_health) = undisturbed(60).await;
    let (mut stopped, mut wait) = (0, 1);
    // How far it is by then is the affair of real threads: it is tried a little later each time, until it was in the middle of the
    // changes some times.
    while stopped < 3 {
        assert!(wait < 5000, "{stopped} times in the middle of the changes");
        let dir = tempfile::tempdir().unwrap();
        let database = sample(dir.path(), 60);
        let before = Health::read(&database, "A");
        let state = SimState::sound();
        let (engine, _) = one_by_one(Cycles::Forever, &database, &state);
        tokio::time::sleep(wait * MILLISECOND).await;
        engine.command("cleaner", Command::Stop).await.unwrap();
        let was = status(&engine);
        assert_eq!((was.state, was.error), (TaskState::Done, None));
        engine.command("cleaner", Command::Resume).await.unwrap_err();
        tokio::time::sleep(HOUR).await;
        assert_eq!(status(&engine).state, TaskState::Done, "a stop is the last order");
        Health::read(&database, "A").check(&before, &end_health, Mode::Careful);
        engine.governor().slice("host").await.expect("the engine serves others").settle();
        engine.shutdown(HOUR).await.unwrap();

        let (engine, _) = one_by_one(Cycles::Times(1), &database, &state);
        end(&engine).await.unwrap();
        assert!(dump(&database, "A") == expected, "stopped after {wait} ms");
        stopped += u32::from(was.runs == 0 && status(&engine).progress.resumed);
        wait += 13;
    }
}

#[actix_rt::test]
async fn orders_to_a_cleaning_that_is_not_there_are_refused() {
    tokio::time::pause();
    let clock = SimClock::new();
    let (builder, _) = builder(budget(0.5, SECOND), Checkpoint::EverySlice, &clock);
    let engine = builder.start().unwrap();
    for command in [Command::Start, Command::Pause, Command::Resume, Command::Stop] {
        let refused = engine.command("x", command).await;
        let Err(Error::Config(why)) = refused else { panic!("{refused:?}") };
        assert_eq!(why, "there is no crawl or maintenance \"x\" that is running");
    }
}
