//! The state kept in order beside crawls, with the real actors in simulated time.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sexton::engine::{Cycles, EngineHandle};
use sexton::settings::{Checkpoint, UpkeepSettings};
use sexton::state::StateStore;

use super::crawl::{SECOND, assert_whole, at_once, budget, builder, end};
use super::world::{Asked, Record, SimClock, SimJob, SimStore};
use super::world_state::{SimState, no_room};

const MILLISECOND: Duration = Duration::from_millis(1);
pub const DAY: Duration = Duration::from_secs(86_400);
/// Of the crawl that is old.
pub const OLD_CYCLES: u64 = 8;

fn job(clock: &SimClock) -> SimJob {
    SimJob::new(clock, |_| 20 * MILLISECOND)
}

/// Crawls until there is something old, a year and a month ago.
pub async fn with_history(state: impl StateStore, clock: &SimClock) {
    let (builder, _) = builder(budget(1.0, SECOND), Checkpoint::EverySlice, clock);
    let (store, job) = (SimStore::new(clock, 30, 2), job(clock));
    let engine = builder.state(state).cycles(Cycles::Times(OLD_CYCLES)).crawl(at_once("c", 1), store, job).start();
    let engine = engine.unwrap();
    end(&engine).await.unwrap();
    engine.shutdown(SECOND).await.unwrap();
    tokio::time::sleep(400 * DAY).await;
}

/// A crawl of 1,200 s of work beside the upkeep.
pub fn beside(state: impl StateStore, rate: f64, clock: &SimClock) -> (EngineHandle, Record) {
    let (builder, record) = builder(budget(rate, SECOND), Checkpoint::EverySlice, clock);
    let store = SimStore::new(clock, 300, 200);
    (builder.state(state).cycles(Cycles::Times(1)).crawl(at_once("d", 1), store, job(clock)).start().unwrap(), record)
}

#[actix_rt::test]
async fn old_cycles_go_beside_a_crawl_and_the_budget_holds() {
    tokio::time::pause();
    for rate in [0.1, 0.5, 0.9] {
        let clock = SimClock::new();
        let calls: Arc<Mutex<Vec<&str>>> = Arc::default();
        let (record, slow) = (calls.clone(), clock.clone());
        let state = SimState::new(move |call| {
            record.lock().unwrap().push(call);
            // What a step takes of a large state on a slow disk.
            slow.work(if call == "tidy" { 8 * MILLISECOND } else { Duration::ZERO });
            Ok(())
        });
        with_history(state.clone(), &clock).await;
        calls.lock().unwrap().clear();
        let (engine, record) = beside(state, rate, &clock);
        end(&engine).await.unwrap();
        let status = engine.status();
        assert_eq!(status.upkeep.cycles_removed, OLD_CYCLES - 1, "{:?}", status.upkeep);
        assert_eq!((status.upkeep.due, &status.upkeep.error), (None, &None));
        assert!(status.upkeep.rows_removed >= 31 * (OLD_CYCLES - 1), "{:?}", status.upkeep);
        assert!((status.upkeep.longest_step_secs - 0.008).abs() < 1e-6, "{:?}", status.upkeep);
        assert!(status.budget.client("upkeep").unwrap().slices > 0);
        record.assert_never_ahead(&Asked { rate, slice_secs: 1.0 }, Duration::ZERO);
        assert_whole(&record.cycles.lock().unwrap()[0], 60_000);
        let calls = calls.lock().unwrap().clone();
        let commits = |calls: &[&str]| calls.iter().filter(|call| **call == "commit").count();
        let first = calls.iter().position(|call| *call == "tidy").unwrap();
        assert!(commits(&calls[..first]) > 1 && commits(&calls[first..]) > 100, "commits before and after");
        engine.shutdown(SECOND).await.unwrap();
    }
}

#[actix_rt::test]
async fn without_an_age_and_with_one_cycle_only_nothing_is_removed() {
    tokio::time::pause();
    for (history, cycles) in [(None, Cycles::Times(1)), (UpkeepSettings::default().history, Cycles::Once)] {
        let (clock, tidied) = (SimClock::new(), Arc::new(AtomicU32::new(0)));
        let counted = tidied.clone();
        let state = SimState::new(move |call| {
            counted.fetch_add(u32::from(call == "tidy"), Ordering::SeqCst);
            Ok(())
        });
        with_history(state.clone(), &clock).await;
        let (builder, _) = builder(budget(0.5, SECOND), Checkpoint::EverySlice, &clock);
        let (store, job) = (SimStore::new(&clock, 30, 200), job(&clock));
        let builder = builder.state(state).cycles(cycles).upkeep(UpkeepSettings { history });
        let engine = builder.crawl(at_once("d", 1), store, job).start().unwrap();
        end(&engine).await.unwrap();
        assert_eq!(tidied.load(Ordering::SeqCst), 0, "{cycles:?}");
        assert!(engine.status().budget.client("upkeep").is_none());
        engine.shutdown(SECOND).await.unwrap();
    }
}

/// How it happens: the disk is full for a while.
#[actix_rt::test]
async fn a_step_that_fails_is_told_and_made_again_later() {
    tokio::time::pause();
    let (clock, full) = (SimClock::new(), Arc::new(AtomicBool::new(true)));
    let is_full = full.clone();
    let state = SimState::new(
        move |call| {
            if call == "tidy" && is_full.load(Ordering::SeqCst) { Err(no_room()) } else { Ok(()) }
        },
    );
    with_history(state.clone(), &clock).await;
    let (engine, _) = beside(state, 0.1, &clock);
    tokio::time::sleep(Duration::from_secs(600)).await;
    let upkeep = engine.status().upkeep;
    assert!(upkeep.error.is_some_and(|why| why.contains("no room")) && upkeep.cycles_removed == 0);
    full.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(600)).await;
    let upkeep = engine.status().upkeep;
    assert_eq!((upkeep.error, upkeep.cycles_removed), (None, OLD_CYCLES - 1));
    end(&engine).await.unwrap();
    engine.shutdown(SECOND).await.unwrap();
}
