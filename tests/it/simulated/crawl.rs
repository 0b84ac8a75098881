//! Whole crawls with the real actors in simulated time: pace, budget, sharing.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix::prelude::*;
use sexton::clock::Clock;
use sexton::engine::{Command, Cycles, Engine, EngineBuilder, EngineHandle, Threads};
use sexton::model::{CycleReport, TaskState};
use sexton::settings::{BudgetSettings, Checkpoint, CrawlSettings, Settings};

use super::world::{Asked, EPOCH, Record, SimClock, SimJob, SimStore};

pub const SECOND: Duration = Duration::from_secs(1);

pub fn budget(rate: f64, slice: Duration) -> BudgetSettings {
    BudgetSettings { rate, slice, ..BudgetSettings::default() }
}

/// An engine in simulated time, to which crawls are still to be added.
pub fn builder(budget: BudgetSettings, checkpoint: Checkpoint, clock: &SimClock) -> (EngineBuilder, Record) {
    let record = Record::default();
    let builder = Engine::builder(Settings { budget, checkpoint, ..Settings::default() })
        .threads(Threads::Shared)
        .time(clock.time())
        .on_event(record.clone().start().recipient());
    (builder, record)
}

/// Settings of a crawl that begins at once.
pub fn at_once(name: &str, workers: u32) -> CrawlSettings {
    CrawlSettings {
        workers,
        slow_start: Duration::ZERO,
        minimum_cycle_time: Duration::ZERO,
        ..CrawlSettings::new(name)
    }
}

/// Waits for the engine's end. Where nothing is left to wait for but the time limit, virtual time is there at once: a
/// hang shows as a failure.
pub async fn end(engine: &EngineHandle) -> sexton::Result<()> {
    let limit = Duration::from_secs(1_000_000_000);
    tokio::time::timeout(limit, engine.finished()).await.expect("the engine hangs")
}

/// Asserts that a cycle is whole: each bucket once.
pub fn assert_whole(report: &CycleReport, buckets: u64) {
    assert_eq!(
        (report.complete, report.counts.buckets, &report.own["sum"]),
        (true, buckets, &buckets.into()),
        "{report:?}"
    );
}

#[actix_rt::test]
async fn cycles_are_a_minimum_time_apart_from_end_to_start_after_a_slow_start() {
    tokio::time::pause();
    let clock = SimClock::new();
    let (builder, record) = builder(budget(0.10, SECOND), Checkpoint::EverySlice, &clock);
    let settings = CrawlSettings {
        slow_start: Duration::from_secs(360),
        minimum_cycle_time: Duration::from_secs(12 * 3600),
        ..CrawlSettings::new("c")
    };
    let job = SimJob::new(&clock, |_| Duration::from_millis(200));
    let visited = job.visited.clone();
    let engine = builder.cycles(Cycles::Times(10)).crawl(settings, SimStore::new(&clock, 8, 50), job).start().unwrap();
    tokio::time::sleep(SECOND).await;
    let status = engine.status().crawls["c"].clone();
    // A second of it has passed; timers ring on whole milliseconds.
    let left = status.next_cycle_at.unwrap() - Clock::unix_secs(&clock);
    assert!(status.state == TaskState::SlowStart && (left - 359.0).abs() < 0.002, "{:?} {left}", status.state);
    tokio::time::sleep(Duration::from_secs(360 + 1000)).await;
    let status = engine.status().crawls["c"].clone();
    assert_eq!((status.state, status.first_cycle_finished), (TaskState::Sleeping, true));
    end(&engine).await.unwrap();
    let cycles = record.cycles.lock().unwrap().clone();
    assert_eq!(cycles.len(), 10);
    assert!((cycles[0].started - EPOCH - 360.0).abs() < 0.01, "{}", cycles[0].started - EPOCH);
    for (cycle, next) in cycles.iter().zip(&cycles[1..]) {
        let asleep = next.started - cycle.finished;
        assert!((asleep - 12.0 * 3600.0).abs() < 0.01, "{asleep}");
    }
    for cycle in &cycles {
        assert_whole(cycle, 400);
        // 400 buckets are 80 s of work, 80 slices, of which the last is not waited for.
        let took = cycle.finished - cycle.started;
        assert!((took - 791.0).abs() < 1.5, "{took}");
    }
    assert_eq!(visited.lock().unwrap().len(), 4000);
    assert_eq!(engine.status().crawls["c"].state, TaskState::Done);
}

#[actix_rt::test]
async fn a_changed_minimum_cycle_time_holds_for_the_sleep_in_progress() {
    tokio::time::pause();
    let clock = SimClock::new();
    let (builder, record) = builder(budget(0.10, SECOND), Checkpoint::EverySlice, &clock);
    let settings = CrawlSettings { minimum_cycle_time: Duration::from_secs(12 * 3600), ..at_once("c", 1) };
    let job = SimJob::new(&clock, |_| Duration::from_millis(200));
    let engine = builder.cycles(Cycles::Times(4)).crawl(settings, SimStore::new(&clock, 2, 10), job).start().unwrap();
    for minimum in [3600, 7200, 600] {
        tokio::time::sleep(Duration::from_secs(400)).await;
        assert_eq!(engine.status().crawls["c"].state, TaskState::Sleeping);
        engine.command("c", Command::SetMinimumCycleTime(Duration::from_secs(minimum))).await.unwrap();
        tokio::time::sleep(Duration::from_secs(minimum - 400)).await;
    }
    end(&engine).await.unwrap();
    let cycles = record.cycles.lock().unwrap().clone();
    for (pair, minimum) in cycles.windows(2).zip([3600.0, 7200.0, 600.0]) {
        let asleep = pair[1].started - pair[0].finished;
        assert!((asleep - minimum).abs() < 0.01, "{asleep} instead of {minimum}");
    }
    assert!(engine.command("nobody", Command::SetMinimumCycleTime(SECOND)).await.is_err());
}

#[actix_rt::test]
async fn a_command_is_answered_when_it_has_taken_effect() {
    tokio::time::pause();
    let clock = SimClock::new();
    let (builder, record) = builder(budget(0.5, SECOND), Checkpoint::EverySlice, &clock);
    let (hour, day) = (3600 * SECOND, 86_400 * SECOND);
    let settings = CrawlSettings { minimum_cycle_time: day, ..at_once("c", 2) };
    let job = SimJob::new(&clock, |_| Duration::from_millis(300));
    let engine = builder.crawl(settings, SimStore::new(&clock, 16, 100), job).start().unwrap();
    tokio::time::sleep(hour).await;
    let shown = || engine.status().crawls["c"].clone();
    assert_eq!((shown().state, shown().cycle), (TaskState::Sleeping, Some(0)));
    engine.command("c", Command::Start).await.unwrap();
    assert_eq!((shown().state, shown().cycle), (TaskState::Walking, Some(1)));
    for pause in 0..10 {
        tokio::time::sleep((3 + pause % 3) * SECOND / 2).await;
        engine.command("c", Command::Pause).await.unwrap();
        let was = engine.status();
        assert_eq!((was.budget.client("c").unwrap().out, was.crawls["c"].state), (0, TaskState::Paused));
        let (buckets, taken) = (was.crawls["c"].buckets, record.taken().len());
        tokio::time::sleep(hour).await;
        assert_eq!((shown().buckets, record.taken().len()), (buckets, taken));
        engine.command("c", Command::Resume).await.unwrap();
        tokio::time::sleep(SECOND).await;
        engine.pause().await;
        assert!(engine.status().budget.clients.iter().all(|client| client.out == 0) && engine.status().budget.paused);
        engine.resume().await;
        assert!(!engine.status().budget.paused);
    }
    assert_eq!(shown().state, TaskState::Walking, "the pauses were in the middle of it");
    engine.command("c", Command::Stop).await.unwrap();
    assert!(!engine.is_running("c") && shown().state == TaskState::Done);
    engine.shutdown(hour).await.unwrap();
}

#[actix_rt::test]
async fn a_changed_weight_holds_from_the_next_slice_on() {
    tokio::time::pause();
    let clock = SimClock::new();
    let (mut builder, record) = builder(budget(0.5, SECOND), Checkpoint::EverySlice, &clock);
    for name in ["a", "b"] {
        let job = SimJob::new(&clock, |_| Duration::from_millis(100));
        builder = builder.crawl(at_once(name, 1), SimStore::new(&clock, 4, 100_000), job);
    }
    let (engine, began) = (builder.start().unwrap(), clock.now());
    let hour = Duration::from_secs(3600);
    tokio::time::sleep(hour).await;
    let changed = clock.now();
    engine.command("a", Command::SetWeight(3.0)).await.unwrap();
    assert!(
        engine.command("a", Command::SetWeight(0.0)).await.is_err()
            && engine.command("nobody", Command::SetWeight(1.0)).await.is_err()
    );
    tokio::time::sleep(hour).await;
    engine.shutdown(hour).await.unwrap();
    let slices = record.taken();
    let part = |from, to| {
        let cost = |client: Option<&str>| -> f64 {
            let of = slices.iter().filter(|s| s.since >= from && s.since < to);
            of.filter(|s| client.is_none_or(|name| *s.client == *name)).map(|s| s.cost.as_secs_f64()).sum()
        };
        cost(Some("a")) / cost(None)
    };
    let (before, after) = (part(began, changed), part(changed, changed + hour));
    assert!((before - 0.5).abs() < 0.02 && (after - 0.75).abs() < 0.02, "{before}, then {after}");
}

#[actix_rt::test]
async fn crawls_keep_to_the_share_whatever_the_units_and_workers() {
    tokio::time::pause();
    for (rate, workers) in [(0.01, 1), (0.10, 2), (0.5, 4), (0.9, 3)] {
        for unit_ms in [0.1, 7.0, 90.0, 400.0, 1000.0] {
            let clock = SimClock::new();
            let unit = Duration::from_secs_f64(unit_ms / 1000.0);
            // Short units get short slices, or there would be millions of them.
            let slice = if unit_ms < 1.0 { Duration::from_millis(100) } else { SECOND };
            let buckets = (90.0 * slice.as_secs_f64() / unit.as_secs_f64()) as u32;
            let (builder, record) = builder(budget(rate, slice), Checkpoint::EverySlice, &clock);
            let mut store = SimStore::new(&clock, 50, buckets / 50 + 1);
            store.listing = Duration::from_millis(2);
            let job = SimJob::new(&clock, move |_| unit);
            let engine = builder.cycles(Cycles::Once).crawl(at_once("c", workers), store, job).start().unwrap();
            end(&engine).await.unwrap();
            assert_whole(&engine.last_report("c").unwrap(), 50 * u64::from(buckets / 50 + 1));
            let asked = Asked { rate, slice_secs: slice.as_secs_f64() };
            record.assert_never_ahead(&asked, Duration::ZERO);
            record.assert_keeps_to_share(&asked, Duration::ZERO);
        }
    }
}

#[actix_rt::test]
async fn buckets_longer_than_a_slice_are_repaid_in_full() {
    tokio::time::pause();
    let clock = SimClock::new();
    let (builder, record) = builder(budget(0.10, SECOND), Checkpoint::EverySlice, &clock);
    let long = |bucket: &str| if bucket.ends_with('7') { 120 * SECOND } else { Duration::from_millis(300) };
    let engine = builder
        .cycles(Cycles::Once)
        .crawl(at_once("c", 2), SimStore::new(&clock, 16, 20), SimJob::new(&clock, long))
        .start()
        .unwrap();
    end(&engine).await.unwrap();
    assert_whole(&engine.last_report("c").unwrap(), 320);
    record.assert_never_ahead(&Asked { rate: 0.10, slice_secs: 1.0 }, Duration::ZERO);
    let slices = record.taken();
    let (last, spent): (_, f64) = (slices.last().unwrap().since, slices.iter().map(|s| s.out.as_secs_f64()).sum());
    let before_last: f64 = spent - slices.last().unwrap().out.as_secs_f64();
    // 32 long units of 120 s: all but the last slice were repaid when that one began.
    assert!((before_last - 0.10 * last.as_secs_f64()).abs() < 1.0, "{before_last} s in {last:?}");
    assert!(spent >= 32.0 * 120.0);
    assert!(slices.iter().all(|s| s.out <= 121 * SECOND));
}

#[actix_rt::test]
async fn changes_of_percentage_and_slice_hold_in_mid_cycle() {
    tokio::time::pause();
    let clock = SimClock::new();
    let (builder, record) = builder(budget(0.05, SECOND), Checkpoint::EverySlice, &clock);
    let job = SimJob::new(&clock, |_| Duration::from_millis(50));
    let engine =
        builder.cycles(Cycles::Once).crawl(at_once("c", 2), SimStore::new(&clock, 100, 600), job).start().unwrap();
    for (rate, slice) in [(0.5, SECOND), (0.02, Duration::from_millis(100)), (0.9, 2 * SECOND)] {
        tokio::time::sleep(Duration::from_secs(200)).await;
        let changed_at = clock.now();
        let before = record.taken().len();
        engine.set_budget(budget(rate, slice)).unwrap();
        tokio::time::sleep(Duration::from_secs_f64(80.0 * slice.as_secs_f64() / rate)).await;
        let asked = Asked { rate, slice_secs: slice.as_secs_f64() };
        record.assert_never_ahead(&asked, changed_at);
        let settled = record.taken()[before..].get(1).unwrap().since;
        record.assert_keeps_to_share(&asked, settled);
    }
    assert_eq!(engine.status().crawls["c"].state, TaskState::Walking);
    end(&engine).await.unwrap();
    assert_whole(&engine.last_report("c").unwrap(), 60_000);
}

#[actix_rt::test]
async fn a_pause_in_mid_cycle_holds_everything_and_loses_nothing() {
    tokio::time::pause();
    let clock = SimClock::new();
    let (builder, record) = builder(budget(0.10, SECOND), Checkpoint::EverySlice, &clock);
    let job = SimJob::new(&clock, |_| Duration::from_millis(100));
    let visited = job.visited.clone();
    let engine =
        builder.cycles(Cycles::Once).crawl(at_once("c", 3), SimStore::new(&clock, 40, 100), job).start().unwrap();
    for gap in [3600, 5, 86_400] {
        tokio::time::sleep(Duration::from_secs(123)).await;
        engine.pause().await;
        tokio::time::sleep(SECOND).await;
        let (slices, buckets) = (record.taken().len(), engine.status().crawls["c"].buckets);
        assert_eq!(buckets, visited.lock().unwrap().len() as u64, "what was visited before the pause is saved");
        tokio::time::sleep(Duration::from_secs(gap)).await;
        assert_eq!((record.taken().len(), visited.lock().unwrap().len() as u64), (slices, buckets));
        let resumed_at = clock.now();
        engine.resume().await;
        tokio::time::sleep(Duration::from_secs(250)).await;
        record.assert_never_ahead(&Asked { rate: 0.10, slice_secs: 1.0 }, resumed_at);
    }
    end(&engine).await.unwrap();
    assert_whole(&engine.last_report("c").unwrap(), 4000);
    assert_eq!(visited.lock().unwrap().len(), 4000);
}

#[actix_rt::test]
async fn crawls_and_the_hosts_own_work_share_the_budget_by_weight() {
    tokio::time::pause();
    let clock = SimClock::new();
    let (rate, slice) = (0.5, Duration::from_millis(100));
    let (builder, record) = builder(budget(rate, slice), Checkpoint::EverySlice, &clock);
    let crawl = |name: &str, weight: f64| CrawlSettings { weight, ..at_once(name, 1) };
    let job = |ms| SimJob::new(&clock, move |_| Duration::from_millis(ms));
    let engine = builder
        .crawl(crawl("light", 1.0), SimStore::new(&clock, 1000, 1000), job(10))
        .crawl(crawl("heavy", 3.0), SimStore::new(&clock, 1000, 1000), job(30))
        .start()
        .unwrap();
    let (governor, work) = (engine.governor().clone(), clock.clone());
    actix_rt::spawn(async move {
        while let Ok(slice) = governor.weighted_slice("host", 2.0).await {
            while !slice.is_over() {
                work.work(Duration::from_millis(1));
            }
        }
    });
    tokio::time::sleep(Duration::from_secs(1000)).await;
    let sum: f64 = engine.status().budget.clients.iter().map(|c| c.total_percentage).sum();
    let measured = engine.status().budget.measured_total_percentage;
    engine.shutdown(SECOND).await.unwrap();
    record.assert_never_ahead(&Asked { rate, slice_secs: slice.as_secs_f64() }, Duration::ZERO);
    assert!((sum - measured).abs() < 1e-6 && (measured - 50.0).abs() < 0.1, "{sum} {measured}");
    let parts = record.parts();
    // The read-ahead has nothing to do in a store that lists in no time, and takes next to nothing.
    for (client, part) in [("light", 1.0 / 6.0), ("heavy", 0.5), ("host", 1.0 / 3.0)] {
        assert!((parts[client] - part).abs() < 0.01, "{client}: {parts:?}");
    }
}

#[actix_rt::test]
async fn reading_ahead_is_paid_for_and_keeps_few_prefixes_open() {
    tokio::time::pause();
    for workers in [1, 4] {
        let clock = SimClock::new();
        let (builder, record) = builder(budget(0.10, SECOND), Checkpoint::EverySlice, &clock);
        let mut store = SimStore::new(&clock, 1000, 30);
        store.listing = Duration::from_millis(300);
        let (open, most_open) = (store.open.clone(), store.most_open.clone());
        let job = SimJob::new(&clock, |_| Duration::from_millis(20));
        let engine = builder.cycles(Cycles::Once).crawl(at_once("c", workers), store, job).start().unwrap();
        end(&engine).await.unwrap();
        assert_whole(&engine.last_report("c").unwrap(), 30_000);
        let asked = Asked { rate: 0.10, slice_secs: 1.0 };
        record.assert_never_ahead(&asked, Duration::ZERO);
        record.assert_keeps_to_share(&asked, Duration::ZERO);
        let listed: f64 = record.taken().iter().map(|s| s.spent.list.as_secs_f64()).sum();
        assert!((listed - 300.0).abs() < 0.3, "each prefix was listed once: {listed} s");
        assert!(record.parts()["c/read-ahead"] > 0.02, "{:?}", record.parts());
        // A batch in hand for each worker, and the read-ahead's.
        let most = most_open.load(Ordering::SeqCst);
        assert!(most <= 16 * workers as usize + 8, "{most} prefixes were open at once");
        engine.shutdown(SECOND).await.unwrap();
        let left = open.load(Ordering::SeqCst);
        assert!(left <= 8, "{left} prefixes were left open");
    }
}

#[actix_rt::test]
async fn a_store_without_prefixes_has_cycles_too() {
    tokio::time::pause();
    let clock = SimClock::new();
    let (builder, record) = builder(budget(0.10, SECOND), Checkpoint::EverySlice, &clock);
    let job = SimJob::new(&clock, |_| SECOND);
    let settings = CrawlSettings { minimum_cycle_time: 60 * SECOND, ..at_once("c", 2) };
    let engine = builder.cycles(Cycles::Times(3)).crawl(settings, SimStore::new(&clock, 0, 0), job).start().unwrap();
    end(&engine).await.unwrap();
    let cycles: Vec<Arc<CycleReport>> = record.cycles.lock().unwrap().clone();
    assert_eq!(cycles.len(), 3);
    cycles.iter().for_each(|c| assert_whole(c, 0));
}
