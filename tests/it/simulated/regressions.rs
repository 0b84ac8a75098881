//! What a review of the engine found, each as what the engine does now, with the real actors in simulated time.
//! Most of it shows only where two things meet, as a pause and progress that is saved by the hour.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sexton::Error;
use sexton::clock::{Clock, CostMeter, Time};
use sexton::engine::{Command, Cycles, Engine, EngineHandle, Threads};
use sexton::job::{CycleView, Fold, Job, Tally, Unreadable};
use sexton::model::Range;
use sexton::settings::{Basis, BudgetSettings, Checkpoint, CrawlSettings, Settings};

use super::crawl::{SECOND, assert_whole, at_once, budget, builder, end};
use super::world::{SimClock, SimJob, SimStore};
use super::world_state::{SimState, no_room};

const MILLISECOND: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

/// A job all of whose buckets take as long.
fn job(clock: &SimClock, unit: Duration) -> SimJob {
    SimJob::new(clock, move |_| unit)
}

/// An engine without crawls, for clients of the governor.
fn host(budget: BudgetSettings, time: Time) -> EngineHandle {
    Engine::builder(Settings { budget, ..Settings::default() }).threads(Threads::Shared).time(time).start().unwrap()
}

#[actix_rt::test]
async fn a_report_that_was_not_handed_over_does_not_delay_the_next_cycle() {
    tokio::time::pause();
    let clock = SimClock::new();
    let broken = Arc::new(AtomicBool::new(true));
    let breaks = broken.clone();
    let state =
        SimState::new(
            move |call| {
                if call == "deliver" && breaks.load(Ordering::SeqCst) { Err(Error::Stopped) } else { Ok(()) }
            },
        );
    let settings = CrawlSettings { minimum_cycle_time: 12 * HOUR, ..at_once("c", 1) };
    let start = || {
        let (builder, record) = builder(budget(0.5, SECOND), Checkpoint::EverySlice, &clock);
        let (store, job) = (SimStore::new(&clock, 4, 4), job(&clock, 30 * MILLISECOND));
        (builder.state(state.clone()).crawl(settings.clone(), store, job).start().unwrap(), record)
    };
    let (engine, _) = start();
    end(&engine).await.unwrap_err();
    broken.store(false, Ordering::SeqCst);
    tokio::time::sleep(5 * HOUR).await;

    let (engine, record) = start();
    tokio::time::sleep(SECOND).await;
    assert_eq!(record.cycles.lock().unwrap().len(), 1, "it is handed over at once");
    assert!(engine.status().crawls["c"].first_cycle_finished);
    tokio::time::sleep(20 * HOUR).await;
    engine.shutdown(SECOND).await.unwrap();
    let cycles = record.cycles.lock().unwrap();
    assert_eq!(cycles.iter().map(|c| c.key.number).collect::<Vec<_>>(), [0, 1, 2]);
    for pair in cycles.windows(2) {
        let asleep = pair[1].started - pair[0].finished;
        assert!((asleep - 12.0 * 3600.0).abs() < 0.01, "{asleep}");
    }
}

#[actix_rt::test]
async fn a_state_that_another_program_holds_at_a_later_cycle_is_waited_for() {
    tokio::time::pause();
    // From the fourth and the second call of its kind on, the second cycle is opened.
    for (held, calls_held) in [("latest", 3..6), ("begin", 1..4)] {
        let clock = SimClock::new();
        let calls = AtomicU32::new(0);
        let state = SimState::new(move |call| {
            if call != held || !calls_held.contains(&calls.fetch_add(1, Ordering::SeqCst)) {
                return Ok(());
            }
            Err(Error::StateHeld { path: "/state.sqlite".into(), holder: "another program".into() })
        });
        let (builder, record) = builder(budget(0.5, SECOND), Checkpoint::EverySlice, &clock);
        let (store, job) = (SimStore::new(&clock, 4, 4), job(&clock, 30 * MILLISECOND));
        let engine = builder.state(state).cycles(Cycles::Times(3)).crawl(at_once("c", 1), store, job).start().unwrap();
        end(&engine).await.unwrap();
        assert_eq!(record.cycles.lock().unwrap().len(), 3, "{held}");
        let waits = record.waits.lock().unwrap();
        assert!(matches!(&waits[..], [(name, Error::StateHeld { .. })] if name == "c"), "{held}: {waits:?}");
    }
}

#[actix_rt::test]
async fn many_complete_prefixes_are_saved_before_their_time() {
    tokio::time::pause();
    let clock = SimClock::new();
    let commits = Arc::new(AtomicU32::new(0));
    let counted = commits.clone();
    let state = SimState::new(move |call| {
        counted.fetch_add(u32::from(call == "commit"), Ordering::SeqCst);
        Ok(())
    });
    // Slices of 100 buckets, each in a prefix of its own.
    let (builder, _) = builder(budget(1.0, 100 * MILLISECOND), Checkpoint::Every(24 * HOUR), &clock);
    let (store, job) = (SimStore::new(&clock, 3000, 1), job(&clock, MILLISECOND));
    let engine = builder.state(state).cycles(Cycles::Once).crawl(at_once("c", 1), store, job).start().unwrap();
    end(&engine).await.unwrap();
    assert_eq!(commits.load(Ordering::SeqCst), 24, "after each 128 of them, and at the end");
}

#[actix_rt::test]
async fn basis_cpu_charges_whoever_meters_nothing_for_its_time() {
    tokio::time::pause();
    let clock = SimClock::new();
    let engine = host(BudgetSettings { basis: Basis::Cpu, ..budget(0.10, SECOND) }, clock.time());
    for _ in 0..50 {
        let slice = engine.governor().slice("host").await.unwrap();
        while !slice.is_over() {
            clock.work(10 * MILLISECOND);
        }
    }
    tokio::time::sleep(MILLISECOND).await;
    // 50 s of work at 10 %; the last slice is not waited for.
    let took = clock.now().as_secs_f64();
    assert!((took - 491.0).abs() < 2.0, "{took}");
    engine.shutdown(SECOND).await.unwrap();
}

#[actix_rt::test]
async fn max_sleep_holds_when_the_percentage_changes() {
    tokio::time::pause();
    let clock = SimClock::new();
    let clamped = BudgetSettings { max_sleep: Some(299 * SECOND), ..budget(0.10, SECOND) };
    let engine = host(clamped.clone(), clock.time());
    let slice = engine.governor().slice("slow").await.unwrap();
    clock.work(120 * SECOND);
    drop(slice);
    tokio::time::sleep(MILLISECOND).await;
    engine.set_budget(BudgetSettings { rate: 0.01, ..clamped }).unwrap();
    let settled = clock.now();
    drop(engine.governor().slice("slow").await.unwrap());
    let slept = (clock.now() - settled).as_secs_f64();
    assert!((slept - 299.0).abs() < 0.1, "{slept}");
    engine.shutdown(SECOND).await.unwrap();
}

/// Half of all time is used by the process, and none of it by whoever has a slice.
struct Overhead(SimClock);

impl CostMeter for Overhead {
    fn thread_cost(&self) -> Duration {
        Duration::ZERO
    }

    fn process_cost(&self) -> Option<Duration> {
        Some(self.0.now() / 2)
    }
}

#[actix_rt::test]
async fn a_change_of_basis_charges_no_overhead_of_the_time_before() {
    tokio::time::pause();
    let clock = SimClock::new();
    let time = Time { clock: Arc::new(clock.clone()), meter: Arc::new(Overhead(clock.clone())) };
    let engine = host(budget(0.9, SECOND), time);
    tokio::time::sleep(HOUR).await;
    engine.set_budget(BudgetSettings { basis: Basis::Cpu, ..budget(0.9, SECOND) }).unwrap();
    drop(engine.governor().slice("c").await.unwrap());
    let before = clock.now();
    drop(engine.governor().slice("c").await.unwrap());
    assert!(clock.now() - before < SECOND, "half an hour of overhead is repaid");
    engine.shutdown(SECOND).await.unwrap();
}

#[actix_rt::test]
async fn where_a_claim_finds_no_room_what_was_done_is_saved_before_the_wait() {
    tokio::time::pause();
    let clock = SimClock::new();
    let claims = AtomicU32::new(0);
    let state = SimState::new(move |call| {
        let refused = call == "claim" && (1..4).contains(&claims.fetch_add(1, Ordering::SeqCst));
        if refused { Err(no_room()) } else { Ok(()) }
    });
    let (builder, _) = builder(budget(0.5, SECOND), Checkpoint::EverySlice, &clock);
    let job = job(&clock, MILLISECOND);
    let visited = job.visited.clone();
    let store = SimStore::new(&clock, 100, 10);
    let engine = builder.state(state).cycles(Cycles::Once).crawl(at_once("c", 1), store, job).start().unwrap();
    for _ in 0..3 {
        tokio::time::sleep(SECOND).await;
        let crawl = engine.status().crawls["c"].clone();
        assert!(crawl.waiting_for.is_some());
        let visits = visited.lock().unwrap().len() as u64;
        assert!(visits == crawl.buckets && visits > 0, "{} of {visits} saved", crawl.buckets);
    }
    end(&engine).await.unwrap();
    assert_whole(&engine.last_report("c").unwrap(), 1000);
}

#[actix_rt::test]
async fn a_job_that_does_not_tell_that_it_was_stopped_loses_no_bucket() {
    tokio::time::pause();
    let clock = SimClock::new();
    let (builder, _) = builder(budget(0.5, SECOND), Checkpoint::EverySlice, &clock);
    let job = SimJob { swallows_stop: true, ..job(&clock, 100 * MILLISECOND) };
    let store = SimStore::new(&clock, 10, 100);
    let engine = builder.cycles(Cycles::Once).crawl(at_once("c", 1), store, job).start().unwrap();
    end(&engine).await.unwrap();
    assert_whole(&engine.last_report("c").unwrap(), 1000);
}

#[actix_rt::test]
async fn what_is_not_saved_during_a_pause_is_saved_at_its_time() {
    tokio::time::pause();
    let clock = SimClock::new();
    let (builder, _) = builder(budget(0.5, SECOND), Checkpoint::Every(HOUR), &clock);
    let job = job(&clock, 100 * MILLISECOND);
    let visited = job.visited.clone();
    let store = SimStore::new(&clock, 1000, 10);
    let engine = builder.cycles(Cycles::Once).crawl(at_once("c", 1), store, job).start().unwrap();
    tokio::time::sleep(600 * SECOND).await;
    engine.pause().await;
    tokio::time::sleep(HOUR).await;
    let visits = visited.lock().unwrap().len();
    assert!(visits > 2000 && engine.status().crawls["c"].buckets == visits as u64, "{visits} visited");
    engine.resume().await;
    end(&engine).await.unwrap();
    assert_whole(&engine.last_report("c").unwrap(), 10_000);
}

#[actix_rt::test]
async fn the_remaining_time_leaves_out_pauses_and_shows_an_unusually_long_prefix() {
    tokio::time::pause();
    let clock = SimClock::new();
    let (builder, _) = builder(budget(0.5, SECOND), Checkpoint::EverySlice, &clock);
    // A bucket of the prefix 0300 takes 20,000 s, one of any other 0.2 s.
    let unit = |bucket: &str| if bucket.starts_with("0300") { 10_000 * SECOND } else { 100 * MILLISECOND };
    let (store, job) = (SimStore::new(&clock, 310, 10), SimJob::new(&clock, unit));
    let engine = builder.cycles(Cycles::Once).crawl(at_once("c", 1), store, job).start().unwrap();
    let remaining = || engine.status().crawls["c"].remaining_secs.unwrap();
    tokio::time::sleep(100 * SECOND).await;
    let before = remaining();
    engine.pause().await;
    tokio::time::sleep(24 * HOUR).await;
    engine.resume().await;
    tokio::time::sleep(20 * SECOND).await;
    let after = remaining();
    assert!(after.most < before.most && after.least > before.least - 60.0, "{before:?}, then {after:?}");

    tokio::time::sleep(60_000 * SECOND).await;
    assert_eq!(engine.status().crawls["c"].prefixes_done, 300);
    let most = remaining().most;
    assert!(most > 1000.0, "{most} s, as if the ten prefixes left were like those before");
    engine.shutdown(100_000 * SECOND).await.unwrap();
}

/// How it happens: the disk with the state is full for a day, and then has room again.
#[actix_rt::test]
async fn the_remaining_time_leaves_out_a_wait_for_room() {
    tokio::time::pause();
    let clock = SimClock::new();
    let (builder, _) = builder(budget(0.5, SECOND), Checkpoint::EverySlice, &clock);
    let full = Arc::new(AtomicBool::new(false));
    let refuses = full.clone();
    let state = SimState::new(
        move |call| {
            if call == "commit" && refuses.load(Ordering::SeqCst) { Err(no_room()) } else { Ok(()) }
        },
    );
    let (store, job) = (SimStore::new(&clock, 1000, 10), job(&clock, 100 * MILLISECOND));
    let engine = builder.state(state).cycles(Cycles::Once).crawl(at_once("c", 1), store, job).start().unwrap();
    let remaining = || engine.status().crawls["c"].remaining_secs.unwrap();
    tokio::time::sleep(200 * SECOND).await;
    let before = remaining();
    full.store(true, Ordering::SeqCst);
    tokio::time::sleep(24 * HOUR).await;
    let waiting = remaining();
    full.store(false, Ordering::SeqCst);
    tokio::time::sleep(60 * SECOND).await;
    // What is worked in these 60 s passes besides, and is as much.
    for Range { least, most } in [waiting, remaining()] {
        assert!(least > before.least - 150.0 && most < before.most + 10.0, "{before:?}, then {least} to {most}");
    }
    engine.shutdown(SECOND).await.unwrap();
}

/// A thousand prefixes of one second at half a core: 2000 s.
#[actix_rt::test]
async fn the_remaining_time_is_what_then_really_passes_at_the_budget_in_force() {
    tokio::time::pause();
    let clock = SimClock::new();
    let (builder, _) = builder(budget(0.5, 3 * SECOND), Checkpoint::EverySlice, &clock);
    let (store, job) = (SimStore::new(&clock, 1000, 10), job(&clock, 100 * MILLISECOND));
    let engine = builder.cycles(Cycles::Once).crawl(at_once("c", 1), store, job).start().unwrap();
    let remaining = || engine.status().crawls["c"].remaining_secs;
    let (at_start, time) = (clock.time().clock.now(), clock.time());
    let now = || time.clock.now() - at_start;
    // Three prefixes in three seconds, and nothing slept off yet: nobody can know.
    tokio::time::sleep(5 * SECOND).await;
    assert_eq!(remaining(), None);

    // Between two commits, which come every six seconds, it is right too; to a slice and its sleep.
    let near = |held: Duration| {
        let secs = 2000.0 - (now() - held).as_secs_f64();
        let Range { least, most } = remaining().unwrap();
        assert!(least - 6.0 <= secs && secs <= most + 6.0 && most - least < 12.0, "{secs} s: {least} to {most}");
    };
    for wait in [60, 1, 1, 2, 3, 50] {
        tokio::time::sleep(wait * SECOND).await;
        near(Duration::ZERO);
    }
    // A crawl that is held for a day goes on as if there had been no day.
    engine.command("c", Command::Pause).await.unwrap();
    let since = now();
    tokio::time::sleep(24 * HOUR).await;
    let held = now() - since;
    near(held);
    engine.command("c", Command::Resume).await.unwrap();
    tokio::time::sleep(100 * SECOND).await;
    near(held);
    // A fifth of the budget takes five times as long, from this moment on.
    let before = remaining().unwrap();
    engine.set_budget(budget(0.1, 3 * SECOND)).unwrap();
    tokio::time::sleep(MILLISECOND).await;
    let after = remaining().unwrap();
    assert!(
        (after.least / before.least - 5.0).abs() < 0.01 && (after.most / before.most - 5.0).abs() < 0.01,
        "{before:?}, {after:?}"
    );
    engine.shutdown(SECOND).await.unwrap();
}

/// How it happens: somebody sees that a cycle has ended and orders the next, while the report still counts as not handed over.
#[actix_rt::test]
async fn a_start_that_is_ordered_when_a_cycle_shows_its_end_is_not_lost() {
    tokio::time::pause();
    let clock = SimClock::new();
    let (builder, _) = builder(budget(1.0, SECOND), Checkpoint::EverySlice, &clock);
    let engine: Arc<OnceLock<EngineHandle>> = Arc::default();
    let (ordering, here) = (engine.clone(), actix_rt::Arbiter::current());
    let state = SimState::new(move |call| {
        if call == "deliver" {
            let engine = ordering.get().expect("it was started before it works");
            if engine.status().crawls["c"].cycle == Some(0) {
                let engine = engine.clone();
                here.spawn(async move { engine.command("c", Command::Start).await.unwrap() });
            }
        }
        Ok(())
    });
    let (store, job) = (SimStore::new(&clock, 10, 10), job(&clock, MILLISECOND));
    let crawl = CrawlSettings { minimum_cycle_time: 12 * HOUR, ..at_once("c", 1) };
    let _ = engine.set(builder.state(state).crawl(crawl, store, job).start().unwrap());
    let engine = engine.get().unwrap();
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(engine.last_report("c").map(|report| report.key.number), Some(1));
    engine.shutdown(SECOND).await.unwrap();
}

#[actix_rt::test]
async fn clients_that_are_gone_are_neither_listed_nor_counted_as_waiting() {
    tokio::time::pause();
    let clock = SimClock::new();
    let engine = host(budget(0.5, SECOND), clock.time());
    for i in 0..20_000 {
        drop(engine.governor().slice(&format!("request-{i}")).await.unwrap());
    }
    tokio::time::sleep(MILLISECOND).await;
    let clients = engine.status().budget.clients;
    assert!((1024..1032).contains(&clients.len()), "{} clients are listed", clients.len());
    assert_eq!(clients.iter().map(|c| c.slices).sum::<u64>(), 20_000, "the others are counted together");
    engine.pause().await;
    for _ in 0..500 {
        tokio::time::timeout(SECOND, engine.governor().slice("host")).await.unwrap_err();
        // The last of those who went is seen to have gone when the next one comes.
        assert!(engine.status().budget.waiting <= 1);
    }
    engine.shutdown(SECOND).await.unwrap();
}

#[test]
fn a_stop_keeps_its_deadline_when_the_state_hangs() {
    let clock = actix_rt::System::new().block_on(async { SimClock::new() });
    let (hanging, hangs) = std::sync::mpsc::channel();
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let state = SimState::new(move |call| {
        if call == "commit" {
            let _ = hanging.send(());
            // Ends when the test drops the other side.
            let _ = held.lock().unwrap().recv();
        }
        Ok(())
    });
    let (store, job) = (SimStore::new(&clock, 10, 100), job(&clock, MILLISECOND));
    let engine = Engine::builder(Settings::default()).state(state).crawl(at_once("c", 1), store, job).spawn().unwrap();
    hangs.recv().unwrap();
    let (told, ending) = std::sync::mpsc::channel();
    std::thread::spawn(move || told.send(futures_executor::block_on(engine.shutdown(50 * MILLISECOND))));
    let ended = ending.recv_timeout(30 * SECOND).expect("the deadline is not kept");
    assert!(matches!(ended, Err(Error::Deadline(_))), "{ended:?}");
    drop(release);
}

/// Cannot be saved once it has seen a bucket of the first prefix.
#[derive(Default, serde::Deserialize)]
struct Unsaveable(bool);

impl serde::Serialize for Unsaveable {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        assert!(!self.0, "it cannot be saved");
        to.serialize_bool(self.0)
    }
}

impl Tally for Unsaveable {
    fn merge(&mut self, _: Self) {}
}

/// As the job in it, but with a tally that makes the worker panic.
struct Doomed(SimJob);

impl Job<SimStore> for Doomed {
    type Tally = Unsaveable;
    type Part = ();

    fn name(&self) -> &str {
        "doomed"
    }

    fn process_bucket(&self, bucket: &mut String, fold: &mut Fold<'_, Unsaveable>) -> Result<(), Unreadable> {
        self.0.visited.lock().unwrap().push(bucket.clone());
        self.0.clock.work(100 * MILLISECOND);
        fold.tally.0 |= bucket.starts_with("0000/");
        Ok(())
    }

    fn report(&self, _: &CycleView<'_, Unsaveable>) -> serde_json::Map<String, serde_json::Value> {
        serde_json::Map::new()
    }
}

#[actix_rt::test]
async fn a_worker_that_panics_stops_the_others() {
    tokio::time::pause();
    let clock = SimClock::new();
    let (builder, _) = builder(budget(0.5, SECOND), Checkpoint::EverySlice, &clock);
    let job = job(&clock, 100 * MILLISECOND);
    let (store, visited) = (SimStore::new(&clock, 100, 100), job.visited.clone());
    let engine = builder.cycles(Cycles::Once).crawl(at_once("c", 2), store, Doomed(job)).start().unwrap();
    let ended = end(&engine).await;
    assert!(matches!(ended, Err(Error::ActorPanicked { actor: "bucket processor", .. })), "{ended:?}");
    let visited = visited.lock().unwrap().len();
    assert!(visited < 1000, "{visited} of 10,000 buckets were visited for nothing");
}
