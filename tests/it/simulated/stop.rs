//! Stops at every moment of a crawl, and a state that has no room, with the real actors in simulated time.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use sexton::clock::Clock;
use sexton::engine::{Cycles, EngineBuilder, EngineHandle};
use sexton::model::TaskState;
use sexton::settings::{Checkpoint, CrawlSettings};
use sexton::slice::TimeSlice;
use sexton::state::StateStore;
use sexton::{Error, Result};

use super::crawl::{SECOND, assert_whole, at_once, budget, builder, end};
use super::world::{Asked, Record, SimClock, SimJob, SimStore};
use super::world_state::{SimState, no_room};

/// One crawl of 6 prefixes x 50 buckets of 30 ms each, at half a core.
pub fn crawl(
    settings: CrawlSettings,
    checkpoint: Checkpoint,
    clock: &SimClock,
    hook: impl Fn(&str, &TimeSlice) + Send + Sync + 'static,
) -> (EngineBuilder, Record, Arc<Mutex<Vec<String>>>) {
    let (builder, record) = builder(budget(0.5, SECOND), checkpoint, clock);
    let job = SimJob { hook: Box::new(hook), ..SimJob::new(clock, |_| Duration::from_millis(30)) };
    let visited = job.visited.clone();
    (builder.crawl(settings, SimStore::new(clock, 6, 50), job), record, visited)
}

/// Runs the cycle that another engine has left behind to its end, and gives the buckets that were visited for it.
pub async fn resume(state: impl StateStore, clock: &SimClock) -> Vec<String> {
    let (builder, record, visited) = crawl(at_once("c", 1), Checkpoint::EverySlice, clock, |_, _| ());
    let engine = builder.state(state).cycles(Cycles::Once).start().unwrap();
    end(&engine).await.unwrap();
    let report = engine.last_report("c").unwrap();
    assert_whole(&report, 300);
    assert!(report.resumed && *record.resumed.lock().unwrap() == [true]);
    engine.shutdown(SECOND).await.unwrap();
    let visited = visited.lock().unwrap();
    visited.clone()
}

#[actix_rt::test]
async fn a_stop_during_slow_start_ends_it_at_once() {
    tokio::time::pause();
    let clock = SimClock::new();
    let state = SimState::new(|call| if call == "begin" { panic!("no cycle begins") } else { Ok(()) });
    let settings = CrawlSettings { slow_start: 300 * SECOND, ..at_once("c", 2) };
    let (builder, _, visited) = crawl(settings, Checkpoint::EverySlice, &clock, |_, _| ());
    let engine = builder.state(state).start().unwrap();
    tokio::time::sleep(100 * SECOND).await;
    assert_eq!(engine.status().crawls["c"].state, TaskState::SlowStart);
    engine.shutdown(SECOND).await.unwrap();
    assert!(clock.now() <= 101 * SECOND);
    assert_eq!(engine.status().crawls["c"].state, TaskState::Done);
    assert!(visited.lock().unwrap().is_empty());
}

#[actix_rt::test]
async fn a_stop_between_cycles_ends_the_sleep_at_once() {
    tokio::time::pause();
    let clock = SimClock::new();
    let state = SimState::sound();
    let settings = CrawlSettings { minimum_cycle_time: 3600 * SECOND, ..at_once("c", 2) };
    let (builder, record, _) = crawl(settings.clone(), Checkpoint::EverySlice, &clock, |_, _| ());
    let engine = builder.state(state.clone()).start().unwrap();
    tokio::time::sleep(600 * SECOND).await;
    let status = engine.status().crawls["c"].clone();
    assert_eq!((status.state, status.first_cycle_finished), (TaskState::Sleeping, true));
    let finished = record.cycles.lock().unwrap()[0].finished;
    let (next, expected) = (status.next_cycle_at.unwrap(), finished + 3600.0);
    assert!((next - expected).abs() < 0.01, "{next} instead of {expected}");
    engine.shutdown(SECOND).await.unwrap();
    assert_eq!(record.cycles.lock().unwrap().len(), 1);
    let ended = record.cycles.lock().unwrap()[0].finished;

    // The next engine knows from the state how long ago the cycle ended.
    let (builder, record, _) = crawl(settings, Checkpoint::EverySlice, &clock, |_, _| ());
    let engine = builder.state(state).cycles(Cycles::Times(1)).start().unwrap();
    end(&engine).await.unwrap();
    let next = record.cycles.lock().unwrap()[0].clone();
    assert_eq!((next.key.number, next.resumed), (1, false));
    assert!((next.started - ended - 3600.0).abs() < 0.01, "{}", next.started - ended);
}

/// Asks the engine to stop from inside a bucket, and stays in it until the slice is revoked.
pub async fn stopped_in_bucket_137(state: impl StateStore, checkpoint: Checkpoint, clock: &SimClock) -> Vec<String> {
    let running: Arc<OnceLock<EngineHandle>> = Arc::default();
    let (stopping, count) = (running.clone(), AtomicU32::new(0));
    let hook = move |_: &str, slice: &TimeSlice| {
        if count.fetch_add(1, Ordering::SeqCst) == 136 {
            let engine = stopping.get().unwrap().clone();
            std::thread::spawn(move || futures_executor::block_on(engine.shutdown(SECOND)));
            let asked = Instant::now();
            while !slice.is_over() {
                assert!(asked.elapsed() < 60 * SECOND, "the slice is not revoked");
                std::thread::yield_now();
            }
        }
    };
    let (builder, _, visited) = crawl(at_once("c", 1), checkpoint, clock, hook);
    let engine = builder.state(state).cycles(Cycles::Once).start().unwrap();
    running.set(engine.clone()).unwrap();
    end(&engine).await.unwrap();
    engine.shutdown(SECOND).await.unwrap();
    assert_eq!(visited.lock().unwrap().len(), 137, "it ends after the running bucket");
    assert_eq!(engine.status().crawls["c"].buckets, 137, "and all of it is saved");
    let visited = visited.lock().unwrap();
    visited.clone()
}

pub const CHECKPOINTS: [Checkpoint; 3] =
    [Checkpoint::EveryBucket, Checkpoint::EverySlice, Checkpoint::Every(Duration::from_secs(3600))];

#[actix_rt::test]
async fn a_stop_in_mid_slice_ends_after_the_running_bucket_and_the_next_engine_goes_on() {
    tokio::time::pause();
    for checkpoint in CHECKPOINTS {
        let clock = SimClock::new();
        let state = SimState::sound();
        let mut visited = stopped_in_bucket_137(state.clone(), checkpoint, &clock).await;
        visited.extend(resume(state, &clock).await);
        assert_each_once(&visited);
    }
}

pub fn assert_each_once(visited: &[String]) {
    let mut expected: Vec<String> = (0..6).flat_map(|p| (0..50).map(move |b| format!("{p:04}/{b:06}"))).collect();
    expected.sort();
    assert_eq!(visited, expected, "in the ring's order, none twice");
}

/// A state that refuses this call some times, the first of them when it was made so often already.
fn full_for(call: &'static str, skip: u32, times: u32) -> SimState {
    let calls = AtomicU32::new(0);
    SimState::new(move |name| {
        let refused = name == call && (skip..skip + times).contains(&calls.fetch_add(1, Ordering::SeqCst));
        if refused { Err(no_room()) } else { Ok(()) }
    })
}

#[actix_rt::test]
async fn where_there_is_no_room_everything_waits_says_so_and_goes_on() {
    tokio::time::pause();
    let calls = ["latest", "begin", "claim", "commit", "release", "notes", "deliver"];
    for call in calls {
        for checkpoint in [Checkpoint::EveryBucket, Checkpoint::EverySlice] {
            let clock = SimClock::new();
            // So that a worker has claims to release, it has to meet a panic.
            let (builder, record) = builder(budget(0.5, SECOND), checkpoint, &clock);
            let job =
                SimJob { panics: |name| name == "0002/000013", ..SimJob::new(&clock, |_| Duration::from_millis(30)) };
            let visited = job.visited.clone();
            let skip = if ["claim", "commit"].contains(&call) { 2 } else { 0 };
            let engine = builder
                .state(full_for(call, skip, 5))
                .cycles(Cycles::Times(1))
                .crawl(at_once("c", 1), SimStore::new(&clock, 6, 50), job)
                .start()
                .unwrap();
            let mut told = None;
            // Waits of 1, 2, 4, 8 and 16 s.
            let ended = tokio::time::timeout(100 * SECOND, async {
                while told.is_none() {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    told = engine.status().crawls["c"].waiting_for.clone();
                }
                end(&engine).await
            });
            let ended = ended.await;
            ended.unwrap_or_else(|_| panic!("{call}: told {told:?}")).unwrap();
            assert_eq!(told.unwrap(), no_room().to_string(), "{call}");
            let report = engine.last_report("c").unwrap();
            assert_eq!((report.complete, report.counts.buckets, &report.own["sum"]), (true, 300, &299.into()));
            assert_eq!(report.counts.errors, 1);
            // The bucket on which the job panics, and what was not saved before it, are visited again.
            let visits = visited.lock().unwrap().len();
            assert!((300..=300 + 33).contains(&visits), "{call}: {visits}");
            let waits = record.waits.lock().unwrap().clone();
            assert!(matches!(&waits[..], [(name, Error::StateFull { .. })] if name == "c"), "{call}: {waits:?}");
            assert_eq!(engine.status().crawls["c"].waiting_for, None, "{call}");
            engine.shutdown(SECOND).await.unwrap();
        }
    }
}

#[actix_rt::test]
async fn while_a_crawl_waits_for_room_others_have_the_budget() {
    tokio::time::pause();
    for call in ["claim", "commit"] {
        let clock = SimClock::new();
        let (builder, record, _) = crawl(at_once("c", 2), Checkpoint::EverySlice, &clock, |_, _| ());
        let engine = builder.state(full_for(call, 3, 12)).cycles(Cycles::Once).start().unwrap();
        let (governor, work) = (engine.governor().clone(), clock.clone());
        let hosts = Arc::new(AtomicU64::new(0));
        let counting = hosts.clone();
        actix_rt::spawn(async move {
            while let Ok(slice) = governor.slice("host").await {
                while !slice.is_over() {
                    work.work(Duration::from_millis(10));
                }
                counting.fetch_add(1, Ordering::SeqCst);
            }
        });
        while engine.status().crawls["c"].waiting_for.is_none() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let before = hosts.load(Ordering::SeqCst);
        tokio::time::sleep(20 * SECOND).await;
        assert!(engine.status().crawls["c"].waiting_for.is_some(), "{call}");
        let slices = hosts.load(Ordering::SeqCst) - before;
        assert!(slices >= 15, "{call}: the host got {slices} slices in about 40 s at half a core");
        end(&engine).await.unwrap();
        assert_whole(&engine.last_report("c").unwrap(), 300);
        engine.shutdown(SECOND).await.unwrap();
        record.assert_never_ahead(&Asked { rate: 0.5, slice_secs: 1.0 }, Duration::ZERO);
        assert!(record.taken().iter().all(|s| s.out <= 2 * SECOND), "{call}: somebody waited with a slice in hand");
    }
}

#[actix_rt::test]
async fn a_stop_while_there_is_no_room_says_that_progress_could_not_be_saved() {
    tokio::time::pause();
    // The stop comes while a worker waits for room, and while one that has saved nothing yet waits for a slice.
    for checkpoint in [Checkpoint::EverySlice, Checkpoint::Every(Duration::from_secs(3600))] {
        let clock = SimClock::new();
        let (builder, _, visited) = crawl(at_once("c", 2), checkpoint, &clock, |_, _| ());
        let skip = if checkpoint == Checkpoint::EverySlice { 2 } else { 0 };
        let engine = builder.state(full_for("commit", skip, u32::MAX - 2)).start().unwrap();
        tokio::time::sleep(3 * SECOND).await;
        let ended: Result<()> = engine.shutdown(60 * SECOND).await;
        assert!(matches!(ended, Err(Error::StateFull { .. })), "{checkpoint:?}: {ended:?}");
        let crawl = engine.status().crawls["c"].clone();
        assert_eq!(crawl.state, TaskState::Failed);
        let visited = visited.lock().unwrap().len() as u64;
        assert!(crawl.buckets < visited && visited < 300, "{checkpoint:?}: {} of {visited} saved", crawl.buckets);
    }
}
