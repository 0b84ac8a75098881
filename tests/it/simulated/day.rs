//! A day in simulated time: two crawls and a cleaning under windows of the day, in a night in which the clocks are put
//! forward, and a wall clock that jumps by a day. What says which budget holds is what the daemon asks too.

use std::time::Duration;

use sexton::actors::Life;
use sexton::clock::Clock;
use sexton::cumulus::policy::Options;
use sexton::cumulus::sample::SampleDb;
use sexton::cumulus::settings::{CleaningMode, CleaningSettings};
use sexton::policy::day::{Day, Holding};
use sexton::policy::windows::{Window, Windows};
use sexton::settings::{Checkpoint, CrawlSettings, MaintenanceSettings};

use super::crawl::{SECOND, at_once, budget, builder};
use super::world::{EPOCH, SimClock, SimJob, SimStore};

const USUAL: f64 = 0.2;
const HOUR: Duration = Duration::from_secs(3600);

fn windows() -> Windows {
    let window = |span: &str, rate| Window { span: span.parse().unwrap(), rate };
    Windows::new(vec![window("22:00-06:00", 0.5), window("12:00-13:00", 0.05)]).unwrap()
}

/// UTC, but that four hours after the start, at 02:13, it is an hour later at once.
fn local(minute: i64) -> u16 {
    let forward = if minute < EPOCH as i64 / 60 + 240 { 0 } else { 60 };
    (minute + forward).rem_euclid(1440) as u16
}

fn holding(clock: &SimClock, windows: &Windows) -> Holding {
    Day { usual: USUAL, changed: None, windows }.at(clock.unix_secs(), local)
}

/// When the wall clock is set, in hours since the start, and by how many days: forward and back again, and the other way
/// round.
const JUMPS: [(u64, i64); 4] = [(8, 1), (10, -1), (16, -1), (18, 1)];

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
        task: MaintenanceSettings {
            slow_start: Duration::ZERO,
            every: Duration::ZERO,
            ..MaintenanceSettings::new("cleaner")
        },
        lock_duty: 1.0,
        manner: CleaningMode::DryRun,
        ..CleaningSettings::new("cleaner", &database)
    };
    let engine = builder.maintenance(cleaning.task.clone(), cleaning).life(Life::UntilShutdown).start().unwrap();
    let (began, windows) = (clock.now(), windows());
    let (mut changes, mut announced): (Vec<(Duration, f64)>, _) = (Vec::new(), Vec::new());
    let mut jumps = JUMPS.iter().peekable();
    while clock.now() < began + 24 * HOUR {
        if let Some((_, days)) = jumps.next_if(|(hours, _)| clock.now() >= began + *hours as u32 * HOUR) {
            clock.set(days * 86_400);
        }
        let Holding { rate, next, .. } = holding(&clock, &windows);
        if changes.last().is_none_or(|(_, was)| *was != rate) {
            engine.set_budget(budget(rate, slice)).unwrap();
            changes.push((clock.now(), rate));
            announced.push(next.unwrap());
        }
        tokio::time::sleep(30 * SECOND).await;
    }
    // The night, an hour short; the morning, noon, the afternoon, the evening. It begins at 22:13:20.
    let hours = [(0.0, 0.5), (6.0 + 46.667 / 60.0, USUAL), (12.0 + 46.667 / 60.0, 0.05), (13.0 + 46.667 / 60.0, USUAL)];
    let expected = hours.into_iter().chain([(22.0 + 46.667 / 60.0, 0.5)]);
    assert_eq!(changes.len(), 5, "{changes:?}");
    for ((at, rate), (hour, expected)) in changes.iter().zip(expected) {
        let late = (*at - began).as_secs_f64() - 3600.0 * hour;
        assert!(*rate == expected && (-1.0..120.0).contains(&late), "{changes:?}");
    }
    // Each was said beforehand: the clock is right again before the next one.
    for ((at, rate), (said_at, said)) in changes[1..].iter().zip(&announced) {
        let late = EPOCH + at.as_secs_f64() - said_at;
        assert!(rate == said && (-1.0..120.0).contains(&late), "{changes:?} {announced:?}");
    }
    engine.shutdown(HOUR).await.unwrap();
    changes.push((clock.now(), 0.0));

    let slices = record.taken();
    let mut held = 0;
    for pair in changes.windows(2) {
        let [(from, rate), (to, _)] = pair else { unreachable!() };
        let length = (*to - *from).as_secs_f64();
        let inside = slices.iter().filter(|s| (*from..*to).contains(&s.since));
        let cost: f64 = inside.map(|s| s.cost.as_secs_f64()).sum();
        // One slice at either end may belong to the neighbour.
        let slack = 2.0 * (slice.as_secs_f64() + 3.0) / length;
        assert!((cost / length - rate).abs() <= 0.01 + slack, "from {from:?}: {} instead of {rate}", cost / length);
        held += usize::from(length > 1800.0);
    }
    assert_eq!(held, 5, "{changes:?}");
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
        let before = holding(&clock, &windows());
        clock.set(jump_days * 86_400);
        let after = holding(&clock, &windows());
        assert_eq!((after.rate, after.open), (before.rate, before.open));
        tokio::time::sleep(Duration::from_secs(1800)).await;
        assert_eq!(record.cycles.lock().unwrap().len(), 1, "{jump_days}");
        let waits = engine.status().crawls["a"].next_cycle_at.unwrap() - Clock::unix_secs(&clock);
        assert!((1700.0..=1810.0).contains(&waits), "{jump_days}: {waits}");
        tokio::time::sleep(Duration::from_secs(1900)).await;
        assert_eq!(record.cycles.lock().unwrap().len(), 2, "{jump_days}");
        engine.shutdown(HOUR).await.unwrap();
    }
}
