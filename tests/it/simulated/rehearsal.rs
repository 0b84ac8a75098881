//! Cycles that wait between their two phases until they are confirmed, with the real actors in simulated time: the wait, restarts
//! in each phase, other parameters, a state that cannot be written.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sexton::Error;
use sexton::engine::{Command, Cycles, EngineHandle};
use sexton::model::{CrawlStatus, TaskState, WouldDelete};
use sexton::settings::{Checkpoint, CrawlSettings};

use super::crawl::{SECOND, at_once, budget, builder, end};
use super::world::{EPOCH, Record, SimClock, SimJob, SimStore};
use super::world_state::{SimState, no_room};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// A crawl that changes the store once that was rehearsed and confirmed.
struct World {
    clock: SimClock,
    state: SimState,
    /// Buckets visited to change them.
    changed: Arc<AtomicU64>,
    /// Buckets visited at all.
    visited: Arc<Mutex<u64>>,
    /// How large a part may be changed without a confirmation.
    most: f64,
}

impl World {
    fn new(state: SimState) -> World {
        tokio::time::pause();
        World { clock: SimClock::new(), state, changed: Arc::default(), visited: Arc::default(), most: 1.0 }
    }

    /// Starts an engine on what is there: 12 hours between cycles, 80 buckets in each, of a second each at half a core.
    fn start(&self, rule: &'static str) -> (EngineHandle, Record) {
        let (builder, record) = builder(budget(0.5, SECOND), Checkpoint::EverySlice, &self.clock);
        let settings = CrawlSettings { minimum_cycle_time: 12 * HOUR, ..at_once("c", 1) };
        let engine =
            builder.state(self.state.clone()).crawl(settings, SimStore::new(&self.clock, 8, 10), self.job(rule));
        (engine.start().unwrap(), record)
    }

    fn job(&self, rule: &'static str) -> SimJob {
        let visited = self.visited.clone();
        SimJob {
            rule: Some(rule),
            most: self.most,
            changed: self.changed.clone(),
            hook: Box::new(move |_, _| *visited.lock().unwrap() += 1),
            ..SimJob::new(&self.clock, |_| Duration::from_secs(1))
        }
    }

    fn changed(&self) -> u64 {
        self.changed.load(Ordering::SeqCst)
    }
}

fn status(engine: &EngineHandle) -> CrawlStatus {
    engine.status().crawls["c"].clone()
}

/// Asserts that the crawl waits for the confirmation of a cycle, and shows what would go.
#[track_caller]
fn waits(engine: &EngineHandle, cycle: u64) {
    let (status, wait) = (status(engine), engine.status().budget.waiting);
    let shown = status.rehearsal.expect("a rehearsal");
    let would_delete = WouldDelete { leases: 0, shares: 80, bytes: 8000, buckets: 80 };
    assert_eq!((status.state, shown.cycle, shown.confirmed), (TaskState::Rehearsed, cycle, false));
    assert_eq!((shown.would_delete, wait), (would_delete, 0));
}

#[track_caller]
fn refused(result: sexton::Result<()>, why: &str) {
    let Err(Error::Config(text)) = &result else { panic!("{result:?}") };
    assert!(text.contains(why), "{text}");
}

#[actix_rt::test]
async fn nothing_is_done_before_it_was_confirmed_however_long_that_takes() {
    let world = World::new(SimState::sound());
    let (engine, record) = world.start("a");
    tokio::time::sleep(SECOND).await;
    refused(engine.command("c", Command::Confirm { cycle: 0, objects: None }).await, "c has nothing that waits");
    tokio::time::sleep(HOUR).await;
    waits(&engine, 0);
    let slices = record.taken().len();
    tokio::time::sleep(30 * DAY).await;
    waits(&engine, 0);
    assert_eq!((record.taken().len(), record.cycles.lock().unwrap().len()), (slices, 0), "the wait costs nothing");
    refused(engine.command("c", Command::Confirm { cycle: 1, objects: None }).await, "is cycle 0, not 1");
    refused(engine.command("d", Command::Confirm { cycle: 0, objects: None }).await, "no crawl or maintenance \"d\"");
    waits(&engine, 0);
    engine.command("c", Command::Confirm { cycle: 0, objects: None }).await.unwrap();
    let confirmed = status(&engine).rehearsal.and_then(|shown| shown.confirmed_at);
    assert!((confirmed.unwrap() - EPOCH - 30.0 * 86_400.0 - 3601.0).abs() < 100.0, "{confirmed:?}");
    refused(engine.command("c", Command::Confirm { cycle: 0, objects: None }).await, "c has nothing that waits");
    tokio::time::sleep(HOUR).await;
    let after = status(&engine);
    assert_eq!((world.changed(), after.state, after.cycle), (80, TaskState::Sleeping, Some(0)));
    assert_eq!(*world.visited.lock().unwrap(), 160, "each once to examine it, and once to change it");
    tokio::time::sleep(DAY).await;
    assert_eq!(status(&engine).rehearsal, None);
    assert_eq!(world.changed(), 240, "what was confirmed once is done in each cycle");
    engine.shutdown(HOUR).await.unwrap();
}

#[actix_rt::test]
async fn a_confirmation_carries_out_the_same_cycle_at_once_and_the_next_waits_its_time() {
    let world = World::new(SimState::sound());
    let (engine, record) = world.start("a");
    tokio::time::sleep(HOUR).await;
    engine.command("c", Command::Confirm { cycle: 0, objects: Some(80) }).await.unwrap();
    tokio::time::sleep(20 * SECOND).await;
    let working = status(&engine);
    let shown = working.rehearsal.expect("until the next cycle begins");
    assert_eq!((working.state, working.cycle, shown.confirmed), (TaskState::Walking, Some(0), true));
    assert!((1..80).contains(&world.changed()), "{}", world.changed());
    tokio::time::sleep(HOUR).await;
    assert_eq!((world.changed(), record.cycles.lock().unwrap().len()), (80, 1));
    tokio::time::sleep(10 * HOUR).await;
    assert_eq!(world.changed(), 80, "the next one has its time");
    engine.command("c", Command::Start).await.unwrap();
    tokio::time::sleep(HOUR).await;
    assert_eq!((world.changed(), record.cycles.lock().unwrap().len()), (160, 2), "and asks nobody");
    engine.shutdown(HOUR).await.unwrap();
}

/// How it happens: far more has expired than the limit allows. The daemon asks, and whoever answers has to know how much it is.
#[actix_rt::test]
async fn beyond_the_limit_it_waits_whether_or_not_it_rehearses() {
    let mut world = World::new(SimState::sound());
    world.most = 0.5;
    let (engine, _) = world.start("a");
    tokio::time::sleep(HOUR).await;
    waits(&engine, 0);
    assert!(status(&engine).rehearsal.unwrap().over_limit);
    refused(engine.command("c", Command::Confirm { cycle: 0, objects: None }).await, "how many objects that is, 80");
    refused(
        engine.command("c", Command::Confirm { cycle: 0, objects: Some(79) }).await,
        "would delete 80 objects, not 79",
    );
    engine.command("c", Command::Confirm { cycle: 0, objects: Some(80) }).await.unwrap();
    tokio::time::sleep(HOUR).await;
    assert_eq!(world.changed(), 80);
    // The next cycle is no rehearsal, and waits all the same.
    tokio::time::sleep(DAY).await;
    waits(&engine, 1);
    assert_eq!((world.changed(), *world.visited.lock().unwrap()), (80, 240));
    engine.shutdown(HOUR).await.unwrap();
    // A larger limit lets it go, and nothing is examined again.
    world.most = 1.0;
    let (engine, _) = world.start("a");
    tokio::time::sleep(HOUR).await;
    assert_eq!((world.changed(), *world.visited.lock().unwrap()), (160, 320));
    engine.shutdown(HOUR).await.unwrap();
}

#[actix_rt::test]
async fn an_order_to_start_rehearses_anew_and_what_it_shows_is_confirmed_on_its_own() {
    let world = World::new(SimState::sound());
    let (engine, record) = world.start("a");
    tokio::time::sleep(HOUR).await;
    engine.command("c", Command::Start).await.unwrap();
    tokio::time::sleep(HOUR).await;
    waits(&engine, 1);
    refused(engine.command("c", Command::Confirm { cycle: 0, objects: None }).await, "is cycle 1, not 0");
    assert_eq!((record.cycles.lock().unwrap().len(), world.changed()), (0, 0));
    engine.command("c", Command::Confirm { cycle: 1, objects: None }).await.unwrap();
    tokio::time::sleep(DAY).await;
    assert_eq!(world.changed(), 160);
    engine.shutdown(HOUR).await.unwrap();
}

#[actix_rt::test]
async fn a_restart_finds_each_phase_as_it_was() {
    let world = World::new(SimState::sound());
    // In the middle of the rehearsal: it goes on as one.
    let (engine, _) = world.start("a");
    tokio::time::sleep(20 * SECOND).await;
    engine.shutdown(HOUR).await.unwrap();
    let (engine, record) = world.start("a");
    tokio::time::sleep(HOUR).await;
    assert_eq!(*record.resumed.lock().unwrap(), [true]);
    waits(&engine, 0);
    engine.shutdown(HOUR).await.unwrap();
    assert_eq!(status(&engine).rehearsal, None, "nobody waits any more");
    // While it waits: it waits again, and knows what for.
    let (engine, record) = world.start("a");
    tokio::time::sleep(2 * DAY).await;
    waits(&engine, 0);
    assert_eq!((record.cycles.lock().unwrap().len(), world.changed()), (0, 0));
    engine.command("c", Command::Confirm { cycle: 0, objects: None }).await.unwrap();
    // Ended at once: the answer has come, so it is saved.
    engine.shutdown(HOUR).await.unwrap();
    let (engine, _) = world.start("a");
    tokio::time::sleep(20 * SECOND).await;
    assert!((1..80).contains(&world.changed()), "{}", world.changed());
    // In the middle of the cycle that deletes.
    engine.shutdown(HOUR).await.unwrap();
    let (engine, record) = world.start("a");
    tokio::time::sleep(HOUR).await;
    assert_eq!((*record.resumed.lock().unwrap()).clone(), [true]);
    assert!((80..=81).contains(&world.changed()), "{}", world.changed());
    assert_eq!(status(&engine).state, TaskState::Sleeping);
    engine.shutdown(HOUR).await.unwrap();
}

#[actix_rt::test]
async fn with_other_parameters_it_is_rehearsed_anew() {
    let world = World::new(SimState::sound());
    let (engine, _) = world.start("a");
    tokio::time::sleep(HOUR).await;
    engine.command("c", Command::Confirm { cycle: 0, objects: None }).await.unwrap();
    tokio::time::sleep(HOUR).await;
    assert_eq!(world.changed(), 80);
    engine.shutdown(HOUR).await.unwrap();
    // What was confirmed for one rule says nothing of another.
    let (engine, record) = world.start("b");
    tokio::time::sleep(SECOND).await;
    refused(engine.command("c", Command::Confirm { cycle: 0, objects: None }).await, "nothing that waits");
    tokio::time::sleep(2 * DAY).await;
    waits(&engine, 1);
    assert_eq!((record.cycles.lock().unwrap().len(), world.changed()), (0, 80));
    engine.shutdown(HOUR).await.unwrap();
    // Nor does the old confirmation hold when the old rule is back; what waits for another one stands in nobody's way.
    let (engine, _) = world.start("a");
    tokio::time::sleep(2 * DAY).await;
    waits(&engine, 2);
    assert_eq!(world.changed(), 80);
    engine.shutdown(HOUR).await.unwrap();
}

/// How it happens: the disk is full when the operator confirms.
#[actix_rt::test]
async fn a_confirmation_that_cannot_be_saved_is_none() {
    let full = Arc::new(AtomicBool::new(true));
    let is_full = full.clone();
    let state =
        SimState::new(
            move |call| {
                if call == "carry_out" && is_full.load(Ordering::SeqCst) { Err(no_room()) } else { Ok(()) }
            },
        );
    let world = World::new(state);
    let (engine, _) = world.start("a");
    tokio::time::sleep(HOUR).await;
    assert!(matches!(
        engine.command("c", Command::Confirm { cycle: 0, objects: None }).await,
        Err(Error::StateFull { .. })
    ));
    tokio::time::sleep(2 * DAY).await;
    waits(&engine, 0);
    full.store(false, Ordering::SeqCst);
    engine.command("c", Command::Confirm { cycle: 0, objects: None }).await.unwrap();
    tokio::time::sleep(HOUR).await;
    assert_eq!(world.changed(), 80);
    engine.shutdown(HOUR).await.unwrap();
}

/// An embedder who wants one cycle waits for the confirmation of a rehearsal; an order to start examines anew.
#[actix_rt::test]
async fn a_single_cycle_waits_like_any_other() {
    let world = World::new(SimState::sound());
    let once = || {
        let (builder, _) = builder(budget(0.5, SECOND), Checkpoint::EverySlice, &world.clock);
        let store = SimStore::new(&world.clock, 8, 10);
        let builder = builder.state(world.state.clone()).cycles(Cycles::Once);
        builder.crawl(at_once("c", 1), store, world.job("a")).start().unwrap()
    };
    for cycle in 0..2 {
        let engine = once();
        tokio::time::sleep(DAY).await;
        waits(&engine, cycle);
        engine.command("c", Command::Start).await.unwrap();
        tokio::time::sleep(HOUR).await;
        waits(&engine, cycle + 1);
        engine.shutdown(HOUR).await.unwrap();
    }
    let engine = once();
    tokio::time::sleep(HOUR).await;
    waits(&engine, 2);
    engine.command("c", Command::Confirm { cycle: 2, objects: None }).await.unwrap();
    end(&engine).await.unwrap();
    assert_eq!((engine.last_report("c").unwrap().key.number, world.changed()), (2, 80));
    engine.shutdown(HOUR).await.unwrap();
}

/// A prefix may have a million candidates; they are read in pages.
#[actix_rt::test]
async fn candidates_beyond_a_page_are_carried_out_once_each() {
    let mut world = World::new(SimState::sound());
    for (workers, checkpoint) in [(1, Checkpoint::EverySlice), (2, Checkpoint::Every(HOUR))] {
        (world.state, world.changed) = (SimState::sound(), Arc::default());
        let (builder, _) = builder(budget(0.5, SECOND), checkpoint, &world.clock);
        let job = SimJob { unit: Box::new(|_| Duration::from_micros(100)), ..world.job("a") };
        let visited = job.visited.clone();
        let store = SimStore::new(&world.clock, 2, 9000);
        let builder = builder.state(world.state.clone()).cycles(Cycles::Once);
        let engine = builder.crawl(at_once("c", workers), store, job).start().unwrap();
        tokio::time::sleep(HOUR).await;
        assert_eq!(status(&engine).rehearsal.unwrap().would_delete.shares, 18_000);
        engine.command("c", Command::Confirm { cycle: 0, objects: None }).await.unwrap();
        // In the middle of a page.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        engine.shutdown(HOUR).await.unwrap();
        let (builder, _) = super::crawl::builder(budget(0.5, SECOND), checkpoint, &world.clock);
        let job = SimJob { unit: Box::new(|_| Duration::from_micros(100)), visited: visited.clone(), ..world.job("a") };
        let builder = builder.state(world.state.clone()).cycles(Cycles::Once);
        let store = SimStore::new(&world.clock, 2, 9000);
        let engine = builder.crawl(at_once("c", workers), store, job).start().unwrap();
        end(&engine).await.unwrap();
        let report = engine.last_report("c").unwrap();
        assert_eq!((report.counts.objects, report.counts.buckets, world.changed()), (18_000, 18_000, 18_000));
        let mut visits = visited.lock().unwrap().clone();
        visits.sort();
        let pairs = visits.chunks(2).all(|pair| pair.len() == 2 && pair[0] == pair[1]);
        assert!(visits.len() == 36_000 && pairs, "each once in each phase: {}", visits.len());
        engine.shutdown(HOUR).await.unwrap();
    }
}

/// Nobody could stop a job in time that deletes as it goes.
#[actix_rt::test]
async fn a_job_that_deletes_in_one_pass_must_be_allowed_everything() {
    let world = World::new(SimState::sound());
    for (most, is_let) in [(0.99, false), (1.0, true)] {
        let (builder, _) = builder(budget(0.5, SECOND), Checkpoint::EverySlice, &world.clock);
        let job = SimJob { most, one_pass: true, ..world.job("a") };
        let builder = builder.state(SimState::sound()).cycles(Cycles::Once);
        let engine = builder.crawl(at_once("c", 1), SimStore::new(&world.clock, 8, 10), job).start().unwrap();
        let ended = end(&engine).await;
        if is_let {
            ended.unwrap();
            assert_eq!(engine.last_report("c").unwrap().counts.buckets, 80);
        } else {
            let Err(Error::Config(why)) = &ended else { panic!("{ended:?}") };
            assert!(why.contains("has to allow 100 %"), "{why}");
            assert_eq!(*world.visited.lock().unwrap(), 0);
        }
        let _ = engine.shutdown(HOUR).await;
    }
}
