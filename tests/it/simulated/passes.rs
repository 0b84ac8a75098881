//! Prefixes with more names than are listed at once: they are listed in passes, and every name is visited once, in order.

use std::time::Duration;

use sexton::engine::{Cycles, EngineHandle};
use sexton::job::Count;
use sexton::settings::Checkpoint;

use super::crawl::{SECOND, assert_whole, at_once, budget, builder, end};
use super::world::{SimClock, SimJob, SimStore};
use super::world_state::SimState;

/// Names of which a listing holds some 15,000.
const BUCKETS: u32 = 50_000;
const NAME_LEN: usize = 255;

fn store(clock: &SimClock, prefixes: u32) -> SimStore {
    SimStore { name_len: NAME_LEN, ..SimStore::new(clock, prefixes, BUCKETS) }
}

fn job(clock: &SimClock) -> SimJob {
    SimJob::new(clock, |_| Duration::from_millis(1))
}

fn start(clock: &SimClock, state: &SimState, job: SimJob, prefixes: u32, workers: u32) -> EngineHandle {
    let (builder, _) = builder(budget(0.10, SECOND), Checkpoint::EverySlice, clock);
    let builder = builder.state(state.clone()).cycles(Cycles::Once);
    builder.crawl(at_once("c", workers), store(clock, prefixes), job).start().unwrap()
}

/// Whether all names were visited, each once and the least first.
fn assert_all(visited: &[String], prefix: &str) {
    let names: Vec<_> = visited.iter().filter(|name| name.starts_with(prefix)).collect();
    assert_eq!(names.len(), BUCKETS as usize, "{prefix}");
    assert!(names.is_sorted(), "{prefix}");
    assert!(names.iter().enumerate().all(|(i, name)| name[5..] == format!("{i:0NAME_LEN$}")), "{prefix}");
}

#[actix_rt::test]
async fn names_beyond_what_is_listed_at_once_are_visited_once_and_in_order() {
    for workers in [1, 2] {
        tokio::time::pause();
        let clock = SimClock::new();
        let job = job(&clock);
        let visited = job.visited.clone();
        let engine = start(&clock, &SimState::sound(), job, 2, workers);
        end(&engine).await.unwrap();
        assert_whole(&engine.last_report("c").unwrap(), u64::from(2 * BUCKETS));
        let visited = visited.lock().unwrap();
        ["0000", "0001"].iter().for_each(|prefix| assert_all(&visited, prefix));
        tokio::time::resume();
    }
}

#[actix_rt::test]
async fn a_run_that_was_stopped_between_passes_goes_on_behind_the_last_name() {
    tokio::time::pause();
    let (clock, state) = (SimClock::new(), SimState::sound());
    let first = job(&clock);
    let mut all = first.visited.clone();
    let engine = start(&clock, &state, first, 1, 1);
    tokio::time::sleep(Duration::from_secs(250)).await;
    engine.shutdown(Duration::from_secs(1000)).await.unwrap();
    let before = all.lock().unwrap().clone();
    assert!((20_000..40_000).contains(&before.len()), "{}", before.len());

    let second = job(&clock);
    all = second.visited.clone();
    let engine = start(&clock, &state, second, 1, 1);
    end(&engine).await.unwrap();
    assert_whole(&engine.last_report("c").unwrap(), u64::from(BUCKETS));
    assert_all(&[before, all.lock().unwrap().clone()].concat(), "0000");
}

#[actix_rt::test]
async fn names_are_counted_whether_there_was_room_for_them_or_not() {
    tokio::time::pause();
    let clock = SimClock::new();
    let (builder, _) = builder(budget(1.0, SECOND), Checkpoint::EverySlice, &clock);
    let engine = builder.cycles(Cycles::Once).crawl(at_once("c", 1), store(&clock, 2), Count).start().unwrap();
    end(&engine).await.unwrap();
    assert_eq!(engine.last_report("c").unwrap().counts.buckets, u64::from(2 * BUCKETS));
}
