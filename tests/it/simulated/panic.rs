//! What a panic costs, with the real actors: a bucket, a prefix, a crawl, or the engine, and then its owner is told.
//!
//! A job or a store that panics is somebody's bug in one place of many. An actor that panics is gone, and with it
//! whatever the others wait for; nobody may wait for it for ever, and nobody may take the silence for success.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use sexton::clock::{Clock, CostMeter, Time};
use sexton::engine::{Cycles, Engine, EngineBuilder, EngineHandle, Governor, Threads};
use sexton::model::TaskState;
use sexton::settings::{Basis, BudgetSettings, Checkpoint, Settings};
use sexton::{Error, Result};

use super::crawl::{SECOND, assert_whole, at_once, budget, builder, end};
use super::paid::Finder;
use super::world::{SimClock, SimJob, SimStore};
use super::world_state::SimState;

const CHECKPOINTS: [Checkpoint; 3] =
    [Checkpoint::EveryBucket, Checkpoint::EverySlice, Checkpoint::Every(Duration::from_secs(20))];

fn job(clock: &SimClock, panics: fn(&str) -> bool) -> SimJob {
    SimJob { panics, ..SimJob::new(clock, |_| Duration::from_millis(30)) }
}

#[actix_rt::test]
async fn a_bucket_on_which_the_job_panics_is_left_out_and_reported_once() {
    tokio::time::pause();
    for checkpoint in CHECKPOINTS {
        for workers in [1, 2] {
            let clock = SimClock::new();
            let (builder, record) = builder(budget(0.5, SECOND), checkpoint, &clock);
            let job = job(&clock, |name| name == "0002/000013");
            let store = SimStore::new(&clock, 6, 50);
            let engine = builder.cycles(Cycles::Times(2)).crawl(at_once("c", workers), store, job).start().unwrap();
            end(&engine).await.unwrap();
            for cycle in record.cycles.lock().unwrap().iter() {
                assert_eq!((cycle.complete, cycle.counts.buckets, &cycle.own["sum"]), (true, 300, &299.into()));
                assert_eq!((cycle.counts.errors, cycle.errors.len()), (1, 1));
                assert_eq!(cycle.errors[0].path, "0002/000013");
                assert!(cycle.errors[0].error.contains("the job does not like 0002/000013"), "{:?}", cycle.errors);
            }
            assert_eq!(record.cycles.lock().unwrap().len(), 2);
        }
    }
}

#[actix_rt::test]
async fn three_panics_stop_their_crawl_and_no_other() {
    tokio::time::pause();
    for workers in [1, 2] {
        let clock = SimClock::new();
        let (builder, record) = builder(budget(0.5, SECOND), Checkpoint::EverySlice, &clock);
        let bad = job(&clock, |name| name.ends_with("/000007"));
        let good = job(&clock, |_| false);
        let engine = builder
            .cycles(Cycles::Times(3))
            .crawl(at_once("bad", workers), SimStore::new(&clock, 5, 10), bad)
            .crawl(at_once("good", workers), SimStore::new(&clock, 5, 200), good)
            .start()
            .unwrap();
        match end(&engine).await {
            Err(Error::JobPanicked { crawl, panics, message, .. }) => {
                assert_eq!((crawl.as_str(), panics), ("bad", 3));
                assert!(message.starts_with("the job does not like "), "{message}");
            }
            other => panic!("{other:?}"),
        }
        let status = engine.status();
        assert_eq!((status.crawls["bad"].state, status.crawls["good"].state), (TaskState::Failed, TaskState::Done));
        assert!(status.crawls["bad"].error.as_ref().unwrap().contains("panicked on 3 buckets"));
        let failed = record.failed.lock().unwrap().clone();
        assert!(matches!(&failed[..], [(name, Error::JobPanicked { .. })] if name == "bad"), "{failed:?}");
        assert_eq!(record.cycles.lock().unwrap().iter().filter(|c| c.key.crawl == "good").count(), 3);
        assert_whole(&engine.last_report("good").unwrap(), 1000);
    }
}

#[actix_rt::test]
async fn a_panic_outside_a_bucket_costs_the_prefix() {
    tokio::time::pause();
    for workers in [1, 2] {
        let clock = SimClock::new();
        let (builder, _record) = builder(budget(0.5, SECOND), Checkpoint::EverySlice, &clock);
        let job = job(&clock, |name| name == "0003");
        let store = SimStore::new(&clock, 6, 50);
        let engine = builder.cycles(Cycles::Once).crawl(at_once("c", workers), store, job).start().unwrap();
        end(&engine).await.unwrap();
        let report = engine.last_report("c").unwrap();
        assert_eq!((report.complete, report.counts.buckets, &report.own["sum"]), (false, 250, &250.into()));
        assert_eq!((report.incomplete_prefixes.as_slice(), report.errors.len()), (&["0003".to_owned()][..], 1));
        assert!(report.errors[0].error.contains("the job does not like 0003"), "{:?}", report.errors);
    }
}

#[actix_rt::test]
async fn a_store_that_panics_costs_the_bucket_or_the_prefix() {
    tokio::time::pause();
    for workers in [1, 2] {
        let clock = SimClock::new();
        let (builder, _record) = builder(budget(0.5, SECOND), Checkpoint::EverySlice, &clock);
        // More prefixes than panics are tolerated of a job: one that cannot be listed is no reason to stop.
        let panics = |name: &str| name == "0001/000049" || (name.len() == 4 && name.ends_with('3'));
        let store = SimStore { panics, ..SimStore::new(&clock, 60, 50) };
        let engine =
            builder.cycles(Cycles::Once).crawl(at_once("c", workers), store, job(&clock, |_| false)).start().unwrap();
        end(&engine).await.unwrap();
        let report = engine.last_report("c").unwrap();
        assert_eq!(report.incomplete_prefixes, ["0003", "0013", "0023", "0033", "0043", "0053"]);
        assert_eq!((report.counts.buckets, &report.own["sum"]), (54 * 50, &(54 * 50 - 1).into()));
        assert_eq!((report.counts.errors, report.errors.len()), (7, 7));
        assert!(report.errors[0].error.contains("the store does not like 0001/000049"), "{:?}", report.errors[0]);
        assert!(report.errors[1].error.contains("the store does not like 0003"), "{:?}", report.errors[1]);
    }
}

/// A clock and a meter that work until they are told to panic.
#[derive(Clone)]
struct Trap {
    clock: SimClock,
    now: Arc<AtomicBool>,
    thread_cost: Arc<AtomicBool>,
    process_cost: Arc<AtomicBool>,
}

impl Trap {
    fn new(clock: &SimClock) -> Self {
        Trap { clock: clock.clone(), now: Arc::default(), thread_cost: Arc::default(), process_cost: Arc::default() }
    }
}

fn spring(trap: &AtomicBool) {
    assert!(!trap.swap(false, Ordering::SeqCst), "the trap was set");
}

impl Clock for Trap {
    fn now(&self) -> Duration {
        spring(&self.now);
        self.clock.now()
    }

    fn unix_secs(&self) -> f64 {
        self.clock.unix_secs()
    }
}

impl CostMeter for Trap {
    fn thread_cost(&self) -> Duration {
        spring(&self.thread_cost);
        self.clock.thread_cost()
    }

    fn process_cost(&self) -> Option<Duration> {
        spring(&self.process_cost);
        Some(self.clock.thread_cost())
    }
}

/// Which call panics, and who dies of it.
#[derive(Debug, Clone, Copy)]
enum Blow {
    /// Settling a slice, in the governor.
    Governor,
    /// Metering a commit, in the checkpointer.
    Meter,
    /// A call of the state, in the checkpointer or in whoever only reads.
    State(&'static str),
    /// Looking at the clock after a listing, in the prefix lister.
    Lister,
    /// The report, in the job.
    Report,
}

impl Blow {
    fn dies(self) -> &'static str {
        match self {
            Blow::Governor => "governor",
            Blow::State("latest" | "notes") => "reader of the state",
            Blow::Meter | Blow::State(_) => "checkpointer",
            Blow::Lister => "prefix lister",
            Blow::Report => "job while reporting",
        }
    }
}

const BLOWS: [Blow; 10] = [
    Blow::Governor,
    Blow::Meter,
    Blow::State("latest"),
    Blow::State("begin"),
    Blow::State("claim"),
    Blow::State("commit"),
    Blow::State("notes"),
    Blow::State("deliver"),
    Blow::Lister,
    Blow::Report,
];

/// An engine that will get this blow in the middle of its first cycle, if there is a middle to it.
fn doomed(blow: Blow, threads: Threads, clock: &SimClock) -> EngineBuilder {
    let trap = Trap::new(clock);
    let budget = BudgetSettings { basis: Basis::Cpu, ..budget(0.5, SECOND) };
    // In basis `wall` only the checkpointer asks for the cost of a thread.
    let budget = if matches!(blow, Blow::Governor) { budget } else { BudgetSettings { basis: Basis::Wall, ..budget } };
    let state = SimState::new(move |call| {
        assert!(!matches!(blow, Blow::State(doomed) if doomed == call), "the state panics in {call}");
        Ok(())
    });
    let (set, at) = (trap.clone(), "0002/000003");
    let mut job = job(clock, |_| false);
    job.hook = Box::new(move |bucket, _| match blow {
        Blow::Governor if bucket == at => set.process_cost.store(true, Ordering::SeqCst),
        Blow::Meter if bucket == at => set.thread_cost.store(true, Ordering::SeqCst),
        _ => {}
    });
    job.report_panics = matches!(blow, Blow::Report);
    let mut store = SimStore::new(clock, 40, 50);
    if matches!(blow, Blow::Lister) {
        store.after_listing = Some(trap.now.clone());
    }
    Engine::builder(Settings { budget, ..Settings::default() })
        .threads(threads)
        .time(Time { clock: Arc::new(trap.clone()), meter: Arc::new(trap) })
        .state(state)
        .cycles(Cycles::Times(3))
        .crawl(at_once("c", 2), store, job)
}

fn assert_told(blow: Blow, engine: &EngineHandle, ended: Result<()>) {
    match ended {
        Err(Error::ActorPanicked { actor, .. }) => assert_eq!(actor, blow.dies(), "{blow:?}"),
        other => panic!("{blow:?}: {other:?}"),
    }
    let crawl = &engine.status().crawls["c"];
    assert!(crawl.state == TaskState::Failed && crawl.error.is_some(), "{blow:?}: {crawl:?}");
}

#[actix_rt::test]
async fn an_actor_that_panics_ends_the_engine_with_an_error() {
    tokio::time::pause();
    for blow in BLOWS {
        let clock = SimClock::new();
        let engine = doomed(blow, Threads::Shared, &clock).start().unwrap();
        let governor = engine.governor().clone();
        let ended = end(&engine).await;
        assert_told(blow, &engine, ended);
        // Afterwards nothing hangs either.
        let again = tokio::time::timeout(SECOND, engine.shutdown(SECOND)).await.expect("shutdown hangs");
        assert!(matches!(again, Err(Error::ActorPanicked { .. })), "{blow:?}: {again:?}");
        let slice = tokio::time::timeout(SECOND, governor.slice("late")).await.expect("the governor hangs");
        assert!(matches!(slice, Err(Error::Stopped)), "{blow:?}: {slice:?}");
    }
}

#[test]
fn an_actor_that_panics_on_a_thread_of_its_own_ends_the_engine_with_an_error() {
    for blow in BLOWS {
        // Here time is real; only the work is simulated, so nothing has to be slept for at full rate.
        let clock = actix_rt::System::new().block_on(async { SimClock::new() });
        let engine = doomed(blow, Threads::Own, &clock).spawn().unwrap();
        engine.set_budget(BudgetSettings { rate: 4.0, ..doomed_budget(blow) }).unwrap();
        let (told, ending) = std::sync::mpsc::channel();
        let waiting = engine.clone();
        std::thread::spawn(move || told.send(waiting.join()));
        let ended = ending.recv_timeout(60 * SECOND).expect("the engine hangs");
        assert_told(blow, &engine, ended);
    }
}

fn doomed_budget(blow: Blow) -> BudgetSettings {
    let basis = if matches!(blow, Blow::Governor) { Basis::Cpu } else { Basis::Wall };
    BudgetSettings { basis, ..budget(0.5, SECOND) }
}

#[actix_rt::test]
async fn a_governor_that_panics_ends_every_engine_under_it() {
    tokio::time::pause();
    let (clock, blow) = (SimClock::new(), Blow::Governor);
    let trap = Trap::new(&clock);
    let time = Time { clock: Arc::new(trap.clone()), meter: Arc::new(trap.clone()) };
    let governor = Governor::start(doomed_budget(blow), time).unwrap();
    let engines = ["a", "b"].map(|name| {
        let (mut job, set) = (job(&clock, |_| false), trap.clone());
        if name == "a" {
            job.hook = Box::new(move |_, _| set.process_cost.store(true, Ordering::SeqCst));
        }
        let builder = Engine::builder(Settings::default()).threads(Threads::Shared).governor(governor.clone());
        builder.crawl(at_once(name, 1), SimStore::new(&clock, 40, 50), job).start().unwrap()
    });
    for engine in engines {
        let ended = end(&engine).await;
        assert!(matches!(ended, Err(Error::ActorPanicked { actor: "governor", .. })), "{ended:?}");
    }
}

#[test]
fn a_store_that_panics_at_once_ends_the_engine_with_an_error() {
    let clock = actix_rt::System::new().block_on(async { SimClock::new() });
    let store = SimStore { nameless: true, ..SimStore::new(&clock, 4, 5) };
    let engine = Engine::builder(Settings::default())
        .time(clock.time())
        .cycles(Cycles::Once)
        .crawl(at_once("c", 1), store, job(&clock, |_| false))
        .spawn()
        .unwrap();
    let (told, ending) = std::sync::mpsc::channel();
    let waiting = engine.clone();
    std::thread::spawn(move || told.send(waiting.join()));
    let ended = ending.recv_timeout(60 * SECOND).expect("the engine hangs");
    assert!(matches!(ended, Err(Error::ActorPanicked { actor: "bucket processor", .. })), "{ended:?}");
}

/// How it happens: the state panics under a commit in mid-slice. What was on its way there is in hand again, and is saved with the
/// next one.
#[actix_rt::test]
async fn what_was_found_is_told_once_where_the_state_panics_under_a_commit() {
    tokio::time::pause();
    let clock = SimClock::new();
    let commits = AtomicUsize::new(0);
    let state = SimState::new(move |call| {
        assert!(call != "commit" || commits.fetch_add(1, Ordering::SeqCst) != 7, "the state panics");
        Ok(())
    });
    for panics in [true, false] {
        let (builder, _) = builder(budget(0.5, SECOND), Checkpoint::EveryBucket, &clock);
        let (store, job) = (SimStore::new(&clock, 3, 5), Finder { clock: clock.clone(), findings: 2 });
        let builder = builder.state(state.clone()).cycles(Cycles::Once);
        let engine = builder.crawl(at_once("c", 1), store, job).start().unwrap();
        let ended = end(&engine).await;
        if panics {
            assert!(matches!(ended, Err(Error::ActorPanicked { actor: "checkpointer", .. })), "{ended:?}");
        } else {
            ended.unwrap();
            let report = engine.last_report("c").unwrap();
            let mut told: Vec<_> = report.findings.iter().map(|f| (f.bucket.clone(), f.object.clone())).collect();
            told.dedup();
            assert_eq!((report.resumed, report.counts.findings, told.len()), (true, 30, 30));
        }
    }
}
