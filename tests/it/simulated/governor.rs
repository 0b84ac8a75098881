//! A governor of its own, with several engines and other work under it, and who is told of what.

use std::time::Duration;

use actix::prelude::*;
use sexton::Error;
use sexton::engine::{Cycles, Engine, EngineHandle, Governor, GovernorHandle, Threads};
use sexton::model::{Event, EventReceiver, event_channel};
use sexton::settings::{BudgetSettings, Settings};

use super::crawl::{SECOND, at_once, budget, end};
use super::world::{Asked, Record, SimClock, SimJob, SimStore};

/// An engine with one crawl that never ends, in slices that always last to their end.
fn engine(governor: &GovernorHandle, clock: &SimClock, crawl: &str) -> (EngineHandle, Record) {
    let record = Record::default();
    let job = SimJob::new(clock, |_| Duration::from_millis(10));
    let engine = Engine::builder(Settings::default())
        .threads(Threads::Shared)
        .governor(governor.clone())
        .on_event(record.clone().start().recipient())
        .crawl(at_once(crawl, 2), SimStore::new(clock, 100, 100_000), job)
        .start()
        .unwrap();
    (engine, record)
}

/// Waits until this engine has had so many more slices, and gives how many there are.
async fn more_slices(record: &Record, more: usize) -> usize {
    let before = record.taken().len();
    while record.taken().len() < before + more {
        tokio::time::sleep(SECOND).await;
    }
    record.taken().len()
}

/// How it happened: two engines that were to use 30 % used 57 %.
#[actix_rt::test]
async fn two_engines_under_one_governor_keep_the_one_budget() {
    tokio::time::pause();
    let clock = SimClock::new();
    let governor = Governor::start(budget(0.3, SECOND), clock.time()).unwrap();
    let ((a, of_a), (b, of_b)) = (engine(&governor, &clock, "a"), engine(&governor, &clock, "b"));
    tokio::time::sleep(Duration::from_secs(1000)).await;
    let both = Record::default();
    both.slices.lock().unwrap().extend(of_a.taken().into_iter().chain(of_b.taken()));
    let asked = Asked { rate: 0.3, slice_secs: 1.0 };
    both.assert_never_ahead(&asked, Duration::ZERO);
    both.assert_keeps_to_share(&asked, Duration::ZERO);
    let parts = both.parts();
    assert!(["a", "b"].iter().all(|crawl| (0.4..0.6).contains(&parts[*crawl])), "{parts:?}");
    // Both show the one budget.
    for status in [a.status().budget, b.status().budget] {
        assert!((status.measured_total_percentage - 30.0).abs() < 1.0, "{}", status.measured_total_percentage);
        assert!(status.client("a").is_some() && status.client("b").is_some(), "{:?}", status.clients);
    }
    a.shutdown(SECOND).await.unwrap();
    b.shutdown(SECOND).await.unwrap();
}

#[actix_rt::test]
async fn an_engine_that_stops_or_pauses_leaves_the_others_alone() {
    tokio::time::pause();
    let clock = SimClock::new();
    let governor = Governor::start(budget(0.5, SECOND), clock.time()).unwrap();
    let ((a, of_a), (b, of_b)) = (engine(&governor, &clock, "a"), engine(&governor, &clock, "b"));
    more_slices(&of_b, 5).await;

    a.pause().await;
    more_slices(&of_b, 5).await;
    let paused = of_a.taken().len();
    more_slices(&of_b, 20).await;
    assert_eq!(of_a.taken().len(), paused);
    assert_eq!((a.status().budget.paused, b.status().budget.paused), (true, false));
    a.resume().await;
    more_slices(&of_a, 5).await;

    a.shutdown(SECOND).await.unwrap();
    let stopped_at = sexton::clock::Clock::now(&clock);
    assert!(matches!(a.governor().slice("host").await, Err(Error::Stopped)));
    governor.slice("host").await.expect("the governor goes on").settle();
    let count = of_a.taken().len();
    more_slices(&of_b, 50).await;
    assert_eq!(of_a.taken().len(), count);
    of_b.assert_keeps_to_share(&Asked { rate: 0.5, slice_secs: 1.0 }, stopped_at + 5 * SECOND);

    // A pause of the governor is one of all that is left.
    governor.pause().await;
    tokio::time::sleep(10 * SECOND).await;
    let count = of_b.taken().len();
    tokio::time::sleep(100 * SECOND).await;
    assert!(of_b.taken().len() == count && b.status().budget.paused);
    governor.resume().await;
    more_slices(&of_b, 1).await;
    b.shutdown(SECOND).await.unwrap();
}

#[test]
fn engines_on_threads_of_their_own_share_a_governor_that_has_one_too() {
    let clock = actix_rt::System::new().block_on(async { SimClock::new() });
    let governor = Governor::spawn(budget(4.0, SECOND), clock.time()).unwrap();
    let engines = ["a", "b"].map(|name| {
        let (store, job) = (SimStore::new(&clock, 4, 5), SimJob::new(&clock, |_| Duration::from_millis(1)));
        let builder = Engine::builder(Settings::default()).governor(governor.clone()).cycles(Cycles::Once);
        builder.crawl(at_once(name, 1), store, job).spawn().unwrap()
    });
    for (engine, name) in engines.iter().zip(["a", "b"]) {
        engine.join().unwrap();
        assert_eq!(engine.last_report(name).unwrap().counts.buckets, 20);
    }
}

#[actix_rt::test]
async fn changing_one_value_of_the_budget_leaves_the_others() {
    tokio::time::pause();
    let clock = SimClock::new();
    let governor = Governor::start(budget(0.5, 3 * SECOND), clock.time()).unwrap();
    let (engine, _record) = engine(&governor, &clock, "a");
    governor.change_budget(|budget| budget.rate = 0.2).unwrap();
    // Nobody has read the first change yet.
    engine.governor().change_budget(|budget| budget.max_sleep = Some(60 * SECOND)).unwrap();
    let wanted = BudgetSettings { max_sleep: Some(60 * SECOND), ..budget(0.2, 3 * SECOND) };
    assert_eq!((engine.budget(), governor.budget()), (wanted.clone(), wanted.clone()));
    assert!(governor.change_budget(|budget| budget.rate = -1.0).is_err());
    engine.set_budget(BudgetSettings { slice: SECOND, ..engine.budget() }).unwrap();
    assert_eq!(governor.budget(), BudgetSettings { slice: SECOND, ..wanted });
    tokio::time::sleep(SECOND).await;
    let status = engine.status().budget;
    assert_eq!((status.requested_percentage, status.slice_secs), (20.0, 1.0));
    engine.shutdown(10 * SECOND).await.unwrap();
}

fn overruns(events: &mut EventReceiver) -> Vec<(String, Duration, Duration)> {
    let mut overruns = Vec::new();
    while let Some(event) = events.try_recv() {
        if let Event::SliceOverran { client, asked, out } = event {
            overruns.push((client.to_string(), asked, out));
        }
    }
    overruns
}

#[actix_rt::test]
async fn a_slice_that_overruns_ten_times_is_told_of_once() {
    tokio::time::pause();
    let clock = SimClock::new();
    let (subscriber, mut events) = event_channel(1000);
    let builder = Engine::builder(Settings { budget: budget(4.0, SECOND), ..Settings::default() });
    let engine = builder.threads(Threads::Shared).time(clock.time()).on_event(subscriber).start().unwrap();
    // One hangs, one comes back late, one only a little.
    let stuck = engine.governor().slice("stuck").await.unwrap();
    let late = engine.governor().slice("late").await.unwrap();
    let good = engine.governor().slice("good").await.unwrap();
    tokio::time::sleep(9 * SECOND).await;
    drop(good);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(overruns(&mut events), []);
    clock.work(3 * SECOND);
    drop(late);
    tokio::time::sleep(30 * SECOND).await;
    let told = overruns(&mut events);
    let clients: Vec<_> = told.iter().map(|(client, asked, _)| (client.as_str(), *asked)).collect();
    assert_eq!(clients, [("late", SECOND), ("stuck", SECOND)]);
    assert!(told.iter().all(|(_, _, out)| (10 * SECOND..=20 * SECOND).contains(out)), "{told:?}");
    drop(stuck);
    tokio::time::sleep(SECOND).await;
    assert_eq!(overruns(&mut events), []);
    engine.shutdown(SECOND).await.unwrap();
}

#[actix_rt::test]
async fn a_channel_of_events_that_is_full_holds_nobody_up_and_tells_what_was_missed() {
    tokio::time::pause();
    let clock = SimClock::new();
    let (narrow, mut few) = event_channel(3);
    let (wide, mut all) = event_channel(1 << 16);
    let job = SimJob::new(&clock, |_| Duration::from_millis(100));
    let engine = Engine::builder(Settings { budget: budget(0.5, SECOND), ..Settings::default() })
        .threads(Threads::Shared)
        .time(clock.time())
        .cycles(Cycles::Once)
        .on_event(narrow)
        .on_event(wide)
        .crawl(at_once("c", 1), SimStore::new(&clock, 20, 10), job)
        .start()
        .unwrap();
    end(&engine).await.unwrap();
    let (mut seen, mut finished) = (0, 0);
    while let Some(event) = all.recv().await {
        seen += 1;
        finished += u64::from(matches!(event, Event::CycleFinished(_)));
    }
    assert!(finished == 1 && seen > 40 && all.missed() == 0, "{seen}");
    let mut first = 0;
    while few.recv().await.is_some() {
        first += 1;
    }
    assert_eq!((first, few.missed()), (3, seen - 3));
    engine.shutdown(SECOND).await.unwrap();
}
