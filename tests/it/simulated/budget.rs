//! The budget's promise, held by the real governor in simulated time, with clients as a host would write them.

use std::time::Duration;

use actix::prelude::*;
use sexton::engine::{Engine, EngineHandle, GovernorHandle, Threads};
use sexton::settings::{Basis, BudgetSettings, Settings};

use super::world::{Asked, Record, SimClock};

const SECOND: Duration = Duration::from_secs(1);

fn budget(rate: f64, slice: Duration) -> BudgetSettings {
    BudgetSettings { rate, slice, ..BudgetSettings::default() }
}

fn engine(budget: &BudgetSettings, clock: &SimClock) -> (EngineHandle, Record) {
    let record = Record::default();
    let engine = Engine::builder(Settings { budget: budget.clone(), ..Settings::default() })
        .threads(Threads::Shared)
        .time(clock.time())
        .on_event(record.clone().start().recipient())
        .start()
        .unwrap();
    (engine, record)
}

/// Works whenever it may, in units of a length of their own, until it is cut off.
fn busy_client(governor: &GovernorHandle, clock: &SimClock, name: String, weight: f64, unit: Duration) {
    let (governor, clock) = (governor.clone(), clock.clone());
    actix_rt::spawn(async move {
        while let Ok(slice) = governor.weighted_slice(&name, weight).await {
            loop {
                clock.work(unit);
                if slice.is_over() {
                    break;
                }
            }
        }
    });
}

/// As a busy client, but its work overlaps with that of others: it sleeps instead of moving the clock.
fn sleeping_client(governor: &GovernorHandle, name: String, weight: f64, unit: Duration) {
    let governor = governor.clone();
    actix_rt::spawn(async move {
        while let Ok(slice) = governor.weighted_slice(&name, weight).await {
            while !slice.is_over() {
                tokio::time::sleep(unit).await;
            }
        }
    });
}

#[actix_rt::test]
async fn units_up_to_a_slice_keep_to_the_share_asked_for() {
    tokio::time::pause();
    for (rate, clients) in [(0.01, 1), (0.10, 1), (0.10, 3), (0.5, 64), (0.9, 2)] {
        for unit in [Duration::from_micros(100), Duration::from_millis(7), Duration::from_millis(400), SECOND] {
            let clock = SimClock::new();
            let (engine, record) = engine(&budget(rate, SECOND), &clock);
            for c in 0..clients {
                busy_client(engine.governor(), &clock, format!("c{c}"), 1.0, unit);
            }
            tokio::time::sleep(Duration::from_secs_f64(90.0 / rate)).await;
            engine.shutdown(SECOND).await.unwrap();
            let asked = Asked { rate, slice_secs: 1.0 };
            record.assert_never_ahead(&asked, Duration::ZERO);
            record.assert_keeps_to_share(&asked, Duration::ZERO);
        }
    }
}

#[actix_rt::test]
async fn several_cores_keep_to_the_share_asked_for() {
    tokio::time::pause();
    for (rate, clients) in [(1.5, 2), (1.9, 2), (3.7, 4), (3.7, 64)] {
        let clock = SimClock::new();
        let (engine, record) = engine(&budget(rate, SECOND), &clock);
        for c in 0..clients {
            sleeping_client(engine.governor(), format!("c{c}"), 1.0, Duration::from_millis(50));
        }
        tokio::time::sleep(Duration::from_secs_f64(200.0 / rate)).await;
        engine.shutdown(5 * SECOND).await.unwrap();
        let asked = Asked { rate, slice_secs: 1.0 };
        record.assert_never_ahead(&asked, Duration::ZERO);
        record.assert_keeps_to_share(&asked, Duration::ZERO);
    }
}

#[actix_rt::test]
async fn units_longer_than_a_slice_are_repaid_in_full() {
    tokio::time::pause();
    let clock = SimClock::new();
    let (engine, record) = engine(&budget(0.10, SECOND), &clock);
    busy_client(engine.governor(), &clock, "slow".into(), 1.0, 120 * SECOND);
    busy_client(engine.governor(), &clock, "quick".into(), 1.0, Duration::from_millis(1));
    tokio::time::sleep(Duration::from_secs(100_000)).await;
    engine.shutdown(SECOND).await.unwrap();
    record.assert_never_ahead(&Asked { rate: 0.10, slice_secs: 1.0 }, Duration::ZERO);
    let (spent, elapsed): (f64, f64) = (record.taken().iter().map(|s| s.out.as_secs_f64()).sum(), clock_secs(&clock));
    // The last unit may not be repaid yet.
    assert!((spent - 0.10 * elapsed).abs() <= 120.0, "{spent} s spent in {elapsed} s");
    let longest = record.taken().iter().map(|s| s.out).max().unwrap();
    assert_eq!(longest, 120 * SECOND);
}

#[actix_rt::test]
async fn the_seeds_clamp_can_be_set_and_then_the_debt_is_forgiven() {
    tokio::time::pause();
    let clock = SimClock::new();
    let clamped = BudgetSettings { max_sleep: Some(299 * SECOND), ..budget(0.10, SECOND) };
    let (engine, record) = engine(&clamped, &clock);
    busy_client(engine.governor(), &clock, "slow".into(), 1.0, 120 * SECOND);
    tokio::time::sleep(Duration::from_secs(20_000)).await;
    engine.shutdown(SECOND).await.unwrap();
    let starts: Vec<Duration> = record.taken().iter().map(|s| s.since).collect();
    assert!(starts.len() > 40);
    for pair in starts.windows(2) {
        // Timers of the simulation ring on whole milliseconds.
        let period = (pair[1] - pair[0]).as_secs_f64();
        assert!((period - 419.0).abs() <= 0.002, "{period}");
    }
}

#[actix_rt::test]
async fn clients_get_parts_in_proportion_to_their_weights() {
    tokio::time::pause();
    for weights in [vec![1.0, 3.0], vec![0.1, 1.0, 1.0, 5.0], (1..=64).map(f64::from).collect()] {
        let clock = SimClock::new();
        let (engine, record) = engine(&budget(0.5, Duration::from_millis(100)), &clock);
        for (i, weight) in weights.iter().enumerate() {
            busy_client(engine.governor(), &clock, format!("c{i:02}"), *weight, Duration::from_millis(10));
        }
        tokio::time::sleep(Duration::from_secs(2000)).await;
        engine.shutdown(SECOND).await.unwrap();
        let sum: f64 = weights.iter().sum();
        for ((name, part), weight) in record.parts().iter().zip(&weights) {
            // 2,000 s at 50 % are 10,000 slices; each client is at most one turn of the lightest off its share.
            let lightest = weights.iter().copied().fold(f64::MAX, f64::min);
            let tolerance = (1.0 + weight / lightest) / 10_000.0;
            assert!((part - weight / sum).abs() <= tolerance, "{name}: {part} instead of {}", weight / sum);
        }
    }
}

#[actix_rt::test]
async fn changes_of_percentage_and_slice_hold_from_their_moment_without_a_burst() {
    tokio::time::pause();
    let clock = SimClock::new();
    let (engine, record) = engine(&budget(0.01, SECOND), &clock);
    for c in 0..3 {
        busy_client(engine.governor(), &clock, format!("c{c}"), 1.0, Duration::from_millis(5));
    }
    for (rate, slice) in
        [(0.5, SECOND), (0.02, Duration::from_millis(100)), (0.9, Duration::from_millis(300)), (0.1, 2 * SECOND)]
    {
        tokio::time::sleep(Duration::from_secs(500)).await;
        let changed_at = sexton::clock::Clock::now(&clock);
        let before = record.taken().len();
        engine.set_budget(budget(rate, slice)).unwrap();
        tokio::time::sleep(Duration::from_secs_f64(80.0 * slice.as_secs_f64() / rate)).await;
        let asked = Asked { rate, slice_secs: slice.as_secs_f64() };
        record.assert_never_ahead(&asked, changed_at);
        // The slice that ran when the change came, and its debt, belong to the terms before.
        let settled = record.taken()[before..].get(1).unwrap().since;
        record.assert_keeps_to_share(&asked, settled);
    }
    engine.shutdown(SECOND).await.unwrap();
}

#[actix_rt::test]
async fn a_higher_percentage_wakes_the_sleepers_at_once() {
    tokio::time::pause();
    let clock = SimClock::new();
    let (engine, record) = engine(&budget(0.001, SECOND), &clock);
    busy_client(engine.governor(), &clock, "c".into(), 1.0, SECOND);
    tokio::time::sleep(10 * SECOND).await;
    assert_eq!(record.taken().len(), 1);
    engine.set_budget(budget(0.9, SECOND)).unwrap();
    tokio::time::sleep(3 * SECOND).await;
    assert!(record.taken().len() >= 2, "it still sleeps by the old rate");
    engine.shutdown(SECOND).await.unwrap();
}

#[actix_rt::test]
async fn pauses_and_idle_gaps_buy_no_burst() {
    tokio::time::pause();
    let clock = SimClock::new();
    let (engine, record) = engine(&budget(0.10, SECOND), &clock);
    busy_client(engine.governor(), &clock, "c".into(), 1.0, Duration::from_millis(10));
    for gap in [3600, 7, 86_400] {
        tokio::time::sleep(Duration::from_secs(500)).await;
        engine.pause().await;
        tokio::time::sleep(SECOND).await;
        let paused = record.taken().len();
        tokio::time::sleep(Duration::from_secs(gap)).await;
        assert_eq!(record.taken().len(), paused, "a slice was granted during the pause");
        assert!(engine.status().budget.paused);
        let resumed_at = sexton::clock::Clock::now(&clock);
        engine.resume().await;
        tokio::time::sleep(Duration::from_secs(700)).await;
        let asked = Asked { rate: 0.10, slice_secs: 1.0 };
        record.assert_never_ahead(&asked, resumed_at);
        record.assert_keeps_to_share(&asked, resumed_at);
    }
    engine.shutdown(SECOND).await.unwrap();
}

#[actix_rt::test]
async fn a_client_that_comes_back_after_an_idle_gap_gets_no_burst() {
    tokio::time::pause();
    let clock = SimClock::new();
    let (engine, record) = engine(&budget(0.10, SECOND), &clock);
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(3000)).await;
        let back_at = sexton::clock::Clock::now(&clock);
        for _ in 0..45 {
            let slice = engine.governor().slice("sometimes").await.unwrap();
            while !slice.is_over() {
                clock.work(Duration::from_millis(20));
            }
        }
        tokio::time::sleep(SECOND).await;
        let asked = Asked { rate: 0.10, slice_secs: 1.0 };
        record.assert_never_ahead(&asked, back_at);
        record.assert_keeps_to_share(&asked, back_at);
    }
    engine.shutdown(SECOND).await.unwrap();
}

#[actix_rt::test]
async fn a_holder_that_panics_settles_its_slice() {
    tokio::time::pause();
    let clock = SimClock::new();
    let (engine, record) = engine(&budget(0.5, SECOND), &clock);
    let slice = engine.governor().slice("clumsy").await.unwrap();
    clock.work(Duration::from_millis(300));
    let holder = actix_rt::spawn(async move {
        let _held = &slice;
        panic!("while holding a slice");
    });
    assert!(holder.await.is_err());
    let next = engine.governor().slice("next").await.unwrap();
    assert!((clock_secs(&clock) - 0.6).abs() <= 0.002, "its cost is repaid: 0.3 s at 50 %");
    drop(next);
    engine.shutdown(SECOND).await.unwrap();
    assert_eq!(record.taken().len(), 2);
}

#[actix_rt::test]
async fn a_holder_that_never_settles_is_shown_and_charged_on() {
    tokio::time::pause();
    let clock = SimClock::new();
    let (engine, record) = engine(&budget(1.5, SECOND), &clock);
    std::mem::forget(engine.governor().slice("stuck").await.unwrap());
    for c in 0..4 {
        sleeping_client(engine.governor(), format!("c{c}"), 1.0, Duration::from_millis(50));
    }
    tokio::time::sleep(Duration::from_secs(300)).await;
    let status = engine.status().budget;
    let stuck = status.client("stuck").unwrap();
    assert_eq!((stuck.out, stuck.slices), (1, 0));
    assert!((stuck.overrun_secs - 299.0).abs() < 0.1, "{}", stuck.overrun_secs);
    // The stuck one burns a whole core of the 1.5; the others share what is left.
    let others: f64 = record.taken().iter().map(|s| s.out.as_secs_f64()).sum();
    assert!((others - 150.0).abs() < 2.0, "{others}");
    assert!((status.measured_total_percentage - 150.0).abs() < 1.0, "{}", status.measured_total_percentage);
    engine.shutdown(5 * SECOND).await.unwrap();
}

#[actix_rt::test]
async fn basis_cpu_charges_what_was_metered_and_nothing_else() {
    tokio::time::pause();
    let clock = SimClock::new();
    let by_cpu = BudgetSettings { basis: Basis::Cpu, ..budget(0.10, SECOND) };
    let (engine, record) = engine(&by_cpu, &clock);
    let governor = engine.governor().clone();
    let work = clock.clone();
    actix_rt::spawn(async move {
        // 50 ms of work, then 450 ms of waiting for the disk, in each slice.
        while let Ok(slice) = governor.slice("reader").await {
            slice.charge(sexton::slice::Stage::Fold, || work.work(Duration::from_millis(50)));
            tokio::time::sleep(Duration::from_millis(450)).await;
        }
    });
    tokio::time::sleep(Duration::from_secs(100)).await;
    let status = engine.status().budget;
    assert!((status.measured_total_percentage - 10.0).abs() <= 0.6, "{}", status.measured_total_percentage);
    assert!(record.taken().iter().all(|s| s.cost == Duration::from_millis(50)));
    engine.shutdown(SECOND).await.unwrap();
}

#[actix_rt::test]
async fn a_stop_ends_the_wait_for_a_slice() {
    tokio::time::pause();
    let clock = SimClock::new();
    let (engine, _record) = engine(&budget(0.000_01, SECOND), &clock);
    let slice = engine.governor().slice("c").await.unwrap();
    clock.work(SECOND);
    drop(slice);
    let governor = engine.governor().clone();
    let waiting = actix_rt::spawn(async move { governor.slice("c").await.map(drop) });
    tokio::task::yield_now().await;
    engine.shutdown(SECOND).await.unwrap();
    assert!(matches!(waiting.await.unwrap(), Err(sexton::Error::Stopped)));
}

fn clock_secs(clock: &SimClock) -> f64 {
    sexton::clock::Clock::now(clock).as_secs_f64()
}
