//! A day in simulated time: two crawls and a cleaning under windows of the day, and a wall clock that jumps by a day.

use std::time::Duration;

use sexton::clock::Clock;
use sexton::cumulus::sample::SampleDb;
use sexton::engine::Life;
use sexton::policy::cleaning::Options;
use sexton::policy::windows::{Window, Windows};
use sexton::settings::{Checkpoint, CleaningSettings, CrawlSettings, Manner};

use super::sim::{SimClock, SimJob, SimStore};
use super::simulated_crawl::{SECOND, at_once, budget, builder};

const USUAL: f64 = 0.2;
const HOUR: Duration = Duration::from_secs(3600);

fn windows() -> Windows {
    let window = |span: &str, rate| Window { span: span.parse().unwrap(), rate };
    Windows::new(vec![window("22:00-06:00", 0.5), window("12:00-13:00", 0.05)]).unwrap()
}

fn minute(clock: &SimClock) -> u16 {
    (clock.unix_secs() / 60.0).rem_euclid(1440.0) as u16
}

#[actix_rt::test]
async fn the_budget_holds_in_each_window_of_a_day() {
    tokio::time::pause();
    let dir = tempfile::tempdir().unwrap();
    let database = dir.path().join("localdb.sqlite");
    SampleDb { segments: 100, ..SampleDb::default() }.write(&database).unwrap();
    // Each look at the clock takes a second, so a bucket one, and a step of the cleaning three.
    let (clock, slice) = (SimClock::ticking(SECOND), 10 * SECOND);
    let (mut builder, record) = builder(budget(USUAL, slice), Checkpoint::EverySlice, &clock);
    for name in ["a", "b"] {
        let job = SimJob::new(&clock, |_| Duration::ZERO);
        builder = builder.crawl(at_once(name, 1), SimStore::new(&clock, 4, 100_000), job);
    }
    let cleaning = CleaningSettings {
        options: Options::at(SampleDb::default().end + 1.0),
        slow_start: Duration::ZERO,
        every: Duration::ZERO,
        lock_duty: 1.0,
        manner: Manner::DryRun,
        ..CleaningSettings::new("cleaner", &database)
    };
    let engine = builder.clean(cleaning).life(Life::UntilShutdown).start().unwrap();
    let (began, windows) = (clock.now(), windows());
    let mut changes: Vec<(Duration, f64)> = Vec::new();
    while clock.now() < began + 24 * HOUR {
        let rate = windows.rate(None, USUAL, minute(&clock));
        if changes.last().is_none_or(|(_, was)| *was != rate) {
            engine.set_budget(budget(rate, slice)).unwrap();
            changes.push((clock.now(), rate));
        }
        tokio::time::sleep(30 * SECOND).await;
    }
    engine.shutdown(HOUR).await.unwrap();
    changes.push((clock.now(), 0.0));

    let slices = record.taken();
    let (mut held, mut rates) = (0, Vec::new());
    for pair in changes.windows(2) {
        let [(from, rate), (to, _)] = pair else { unreachable!() };
        let length = (*to - *from).as_secs_f64();
        let inside = slices.iter().filter(|s| (*from..*to).contains(&s.since));
        let cost: f64 = inside.map(|s| s.cost.as_secs_f64()).sum();
        // One slice at either end may belong to the neighbour.
        let slack = 2.0 * (slice.as_secs_f64() + 3.0) / length;
        assert!((cost / length - rate).abs() <= 0.01 + slack, "from {from:?}: {} instead of {rate}", cost / length);
        if length > 1800.0 {
            held += 1;
            rates.push(*rate);
        }
    }
    // It begins at 22:13: the night, the morning, noon, the afternoon, the next evening.
    assert_eq!((held, &rates[..4]), (rates.len(), &[0.5, 0.2, 0.05, 0.2][..]), "{changes:?}");
    let parts = record.parts();
    assert!(["a", "b", "cleaner"].iter().all(|client| parts[*client] > 0.2), "{parts:?}");
}

#[actix_rt::test]
async fn a_wall_clock_that_jumps_by_a_day_moves_neither_the_window_nor_the_next_cycle() {
    tokio::time::pause();
    for jump_days in [-1, 1] {
        let clock = SimClock::new();
        let (builder, record) = builder(budget(0.5, SECOND), Checkpoint::EverySlice, &clock);
        let crawl = CrawlSettings { minimum_cycle_time: 2 * HOUR, ..at_once("a", 1) };
        let job = SimJob::new(&clock, |_| Duration::from_millis(100));
        let engine = builder.crawl(crawl, SimStore::new(&clock, 2, 5), job).life(Life::UntilShutdown).start().unwrap();
        tokio::time::sleep(HOUR).await;
        let (before, open) = (minute(&clock), windows().open_at(minute(&clock)));
        clock.set(jump_days * 86_400);
        assert_eq!((minute(&clock), windows().open_at(minute(&clock))), (before, open));
        tokio::time::sleep(Duration::from_secs(1800)).await;
        assert_eq!(record.cycles.lock().unwrap().len(), 1, "{jump_days}");
        let waits = engine.status().crawls["a"].next_cycle_in_secs.unwrap();
        assert!((1700.0..=1810.0).contains(&waits), "{jump_days}: {waits}");
        tokio::time::sleep(Duration::from_secs(1900)).await;
        assert_eq!(record.cycles.lock().unwrap().len(), 2, "{jump_days}");
        engine.shutdown(HOUR).await.unwrap();
    }
}
