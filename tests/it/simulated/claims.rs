//! Claims and visits that outlast what they were made for, with the real actors in simulated time: what a crawl could not
//! give back when it ended is no hindrance to the next one in the same process, and what was left out counts as left out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sexton::actors::Life;
use sexton::engine::{Command, Cycles, Fresh};
use sexton::model::TaskState;
use sexton::policy::cycle::CycleKey;
use sexton::settings::Checkpoint;
use sexton::state::StateStore;
use sexton::{Error, Result};

use super::crawl::{SECOND, assert_whole, at_once, budget, builder, end};
use super::world::{SimClock, SimJob, SimStore};
use super::world_state::{SimState, no_room};

fn job(clock: &SimClock, panics: fn(&str) -> bool) -> SimJob {
    SimJob { panics, ..SimJob::new(clock, |_| Duration::from_millis(30)) }
}

/// A state that refuses some of its calls while a switch is on.
fn refusing(calls: &'static [&'static str], error: fn() -> Error) -> (SimState, Arc<AtomicBool>) {
    let on = Arc::new(AtomicBool::new(true));
    let refuses = on.clone();
    let refuse = move |call: &str| calls.contains(&call) && refuses.load(Ordering::SeqCst);
    (SimState::new(move |call| if refuse(call) { Err(error()) } else { Ok(()) }), on)
}

/// How it happens: the disk is full when a crawl is stopped, so that nothing can be saved nor given back; it has room
/// again when the crawl is started anew.
#[actix_rt::test]
async fn a_crawl_that_was_stopped_on_a_full_disk_gets_all_its_prefixes_when_it_is_started_again() {
    tokio::time::pause();
    for workers in [1, 3] {
        let clock = SimClock::new();
        let (state, full) = refusing(&["commit", "release", "claim"], no_room);
        full.store(false, Ordering::SeqCst);
        let (builder, record) = builder(budget(0.5, SECOND), Checkpoint::EverySlice, &clock);
        let add = || (at_once("c", workers), SimStore::new(&clock, 40, 50), job(&clock, |_| false));
        let (settings, store, looks) = add();
        let engine =
            builder.state(state.clone()).life(Life::UntilShutdown).crawl(settings, store, looks).start().unwrap();
        tokio::time::sleep(5 * SECOND).await;
        full.store(true, Ordering::SeqCst);
        tokio::time::sleep(20 * SECOND).await;
        assert!(engine.status().crawls["c"].waiting_for.is_some());
        engine.command("c", Command::Stop).await.unwrap_err();
        full.store(false, Ordering::SeqCst);
        let (settings, store, looks) = add();
        engine.add_crawl(settings, store, looks, Fresh::No).await.unwrap();
        tokio::time::sleep(600 * SECOND).await;
        let status = engine.status().crawls["c"].clone();
        assert_eq!((status.state, status.error), (TaskState::Walking, None));
        let cycles = record.cycles.lock().unwrap().clone();
        assert!(cycles.len() >= 3, "{}", cycles.len());
        cycles.iter().for_each(|cycle| assert_whole(cycle, 2000));
        engine.shutdown(SECOND).await.unwrap();
    }
}

/// How it happens: the job panics on a bucket, and the commit of what else is in hand is refused for good.
#[actix_rt::test]
async fn a_commit_that_is_refused_after_a_panic_keeps_no_claim() {
    tokio::time::pause();
    let clock = SimClock::new();
    let (state, on) = refusing(&["commit"], || Error::State {
        doing: "save progress in",
        path: "/state.sqlite".into(),
        cause: "a failing disk".into(),
    });
    let run = async |panics: fn(&str) -> bool| -> Result<_> {
        let (builder, record) = builder(budget(0.5, SECOND), Checkpoint::EverySlice, &clock);
        let (store, job) = (SimStore::new(&clock, 40, 5), job(&clock, panics));
        let builder = builder.state(state.clone()).cycles(Cycles::Once);
        let engine = builder.crawl(at_once("c", 1), store, job).start().unwrap();
        end(&engine).await?;
        let cycles = record.cycles.lock().unwrap().clone();
        Ok(cycles)
    };
    assert!(matches!(run(|name| name == "0002/000003").await, Err(Error::State { .. })));
    on.store(false, Ordering::SeqCst);
    let cycle = CycleKey { crawl: "c".to_owned(), number: 0 };
    assert_eq!(state.clone().claim(&cycle, 99).unwrap().len(), 40, "all are free");
    // Now they are held by somebody who has gone.
    let cycles = run(|_| false).await.unwrap();
    assert_eq!(cycles.len(), 1);
    assert_whole(&cycles[0], 200);
}

fn visits(state: &SimState) -> BTreeMap<String, f64> {
    let state = state.clone();
    let identity = state.reader().latest("c").unwrap().unwrap().identity;
    state.reader().visits(&identity.store, &identity.job).unwrap()
}

#[actix_rt::test]
async fn a_prefix_with_a_bucket_left_out_is_not_remembered_as_visited() {
    tokio::time::pause();
    // In one run, and with the rest of the prefix in a later one, whose job panics no more.
    for resumed in [false, true] {
        let (clock, state) = (SimClock::new(), SimState::sound());
        let start = |panics| {
            let (builder, _) = builder(budget(0.5, SECOND), Checkpoint::EverySlice, &clock);
            let (store, job) = (SimStore::new(&clock, 3, 300), job(&clock, panics));
            builder.state(state.clone()).cycles(Cycles::Once).crawl(at_once("c", 1), store, job).start().unwrap()
        };
        let mut engine = start(|name| name == "0000/000003");
        if resumed {
            tokio::time::sleep(3 * SECOND).await;
            engine.shutdown(60 * SECOND).await.unwrap();
            let cursor =
                state.clone().reader().prefixes(&CycleKey { crawl: "c".to_owned(), number: 0 }, 0).unwrap()[0].clone();
            assert!(!cursor.done && cursor.cursor.unwrap() > b"000003".to_vec(), "it has come past the bucket");
            engine = start(|_| false);
        }
        end(&engine).await.unwrap();
        let report = engine.last_report("c").unwrap();
        assert_eq!((report.counts.buckets, &report.own["sum"]), (900, &899.into()));
        assert_eq!(visits(&state).into_keys().collect::<Vec<_>>(), ["0001", "0002"], "resumed: {resumed}");
    }
}
