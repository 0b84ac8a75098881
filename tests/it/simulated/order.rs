//! In which order prefixes are visited, and what the status says of a target, in simulated time.

use std::time::Duration;

use sexton::engine::Cycles;
use sexton::model::{Range, TaskState};
use sexton::settings::{Checkpoint, CrawlSettings, Order};

use super::crawl::{SECOND, assert_whole, at_once, budget, builder, end};
use super::world::{SimClock, SimJob, SimStore};
use super::world_state::SimState;

const DAY: Duration = Duration::from_secs(86_400);

/// The prefixes in the order in which a crawl came to them.
fn order(visited: &[String]) -> Vec<String> {
    let mut prefixes: Vec<String> = visited.iter().map(|bucket| bucket[..4].to_owned()).collect();
    prefixes.dedup();
    prefixes
}

#[actix_rt::test]
async fn a_cycle_given_up_makes_the_next_begin_where_it_did_not_come() {
    tokio::time::pause();
    let clock = SimClock::new();
    let state = SimState::sound();
    let settings = || CrawlSettings { order: Order::OldestFirst, ..at_once("c", 1) };
    let (first, _) = builder(budget(0.10, SECOND), Checkpoint::EverySlice, &clock);
    let job = SimJob::new(&clock, |_| Duration::from_millis(100));
    let store = SimStore::new(&clock, 6, 10);
    let engine = first.state(state.clone()).cycles(Cycles::Once).crawl(settings(), store, job).start().unwrap();
    // A prefix takes one second, so ten with what is slept: two are complete, the third is not.
    tokio::time::sleep(Duration::from_secs(21)).await;
    engine.shutdown(Duration::from_secs(1000)).await.unwrap();

    let (second, _) = builder(budget(0.10, SECOND), Checkpoint::EverySlice, &clock);
    let job = SimJob::new(&clock, |_| Duration::from_millis(100));
    let (visited, store) = (job.visited.clone(), SimStore::new(&clock, 6, 10));
    let fresh = sexton::engine::Fresh::Yes;
    let engine = second.state(state).fresh(fresh).cycles(Cycles::Once).crawl(settings(), store, job).start().unwrap();
    end(&engine).await.unwrap();
    assert_whole(&engine.last_report("c").unwrap(), 60);
    let found = order(&visited.lock().unwrap());
    let done = 6 - found.iter().position(|prefix| prefix == "0000").unwrap();
    assert!((2..=4).contains(&done), "{found:?}");
    let expected: Vec<String> = (done..6).chain(0..done).map(|i| format!("{i:04}")).collect();
    assert_eq!(found, expected, "first what was never visited, then what was visited longest ago");
}

#[actix_rt::test]
async fn the_status_says_whether_the_rate_is_enough_for_the_target() {
    // 100 prefixes of 100 s each are 10,000 s of work: 1.16 days at 10 %, 11.6 days at 1 %; a week lies in between.
    for (rate, target_days, expected) in [(0.10, 30, true), (0.01, 30, true), (0.01, 15, false)] {
        tokio::time::pause();
        let clock = SimClock::new();
        let (builder, _) = builder(budget(rate, SECOND), Checkpoint::EverySlice, &clock);
        let settings =
            CrawlSettings { target: Some(target_days * DAY), minimum_cycle_time: 7 * DAY, ..at_once("c", 1) };
        let job = SimJob::new(&clock, |_| SECOND);
        let engine =
            builder.cycles(Cycles::Times(2)).crawl(settings, SimStore::new(&clock, 100, 100), job).start().unwrap();
        tokio::time::sleep(SECOND).await;
        let early = engine.status().crawls["c"].target.clone().unwrap();
        let within = f64::from(target_days) * 86_400.0;
        assert_eq!((early.within_secs, early.expected_secs, early.met), (within, None, None));
        tokio::time::sleep(Duration::from_secs_f64(0.3 * 10_000.0 / rate)).await;
        let status = engine.status().crawls["c"].clone();
        let target = status.target.unwrap();
        assert_eq!((status.state, target.met), (TaskState::Walking, Some(expected)), "{target:?}");
        let Range { least, most } = target.expected_secs.unwrap();
        let truth = 10_000.0 / rate + 7.0 * 86_400.0;
        assert!(least <= truth * 1.02 && truth * 0.98 <= most, "{least} to {most}, {truth} in truth");
        engine.shutdown(Duration::from_secs(1000)).await.unwrap();
        tokio::time::resume();
    }
}
