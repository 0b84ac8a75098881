//! A maintenance of a host's own beside crawls, with the real actors in simulated time: budget, pauses, panics, waiting, and
//! what is done with its report.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use sexton::Error;
use sexton::clock::Clock;
use sexton::engine::{Command, EngineBuilder, EngineHandle};
use sexton::maintenance::{
    Maintenance, MaintenanceProgress, MaintenanceReport, MaintenanceResult, MaintenanceRun, MaintenanceStep,
    ReportBody, StepOutcome,
};
use sexton::model::{MaintenanceStatus, TaskState};
use sexton::settings::{Checkpoint, CrawlSettings, MaintenanceSettings};
use sexton::slice::TimeSlice;

use super::crawl::{SECOND, at_once, budget, builder, end};
use super::world::{Asked, Record, SimClock, SimJob, SimStore};
use super::world_state::SimState;

const HOUR: Duration = Duration::from_secs(3600);
const MILLISECOND: Duration = Duration::from_millis(1);

/// What happens in a step, beside what takes its time.
type Hook = dyn Fn(u64) -> StepOutcome + Send + Sync;

/// Rewrites a log, some pages a step.
#[derive(Clone)]
struct Compaction {
    clock: SimClock,
    steps: u64,
    /// How long a step takes.
    unit: Duration,
    leave_alone: Duration,
    hook: Arc<Hook>,
    /// When each step was done, by the simulated clock.
    done: Arc<Mutex<Vec<Duration>>>,
    handed_over: Arc<AtomicU32>,
}

impl Compaction {
    fn new(clock: &SimClock, steps: u64, unit: Duration) -> Self {
        let (done, handed_over) = (Arc::default(), Arc::default());
        let hook = Arc::new(|_| StepOutcome::More);
        Compaction { clock: clock.clone(), steps, unit, leave_alone: Duration::ZERO, hook, done, handed_over }
    }

    fn steps_done(&self) -> usize {
        self.done.lock().unwrap().len()
    }
}

impl Maintenance for Compaction {
    fn kind(&self) -> &'static str {
        "compaction"
    }

    fn subject(&self) -> String {
        "log".to_owned()
    }

    fn validate(&self) -> sexton::Result<()> {
        if self.steps > 0 { Ok(()) } else { Err(Error::Config("compaction: no steps".to_owned())) }
    }

    fn begin(&self, _: f64) -> Box<dyn MaintenanceRun> {
        Box::new(Run { of: self.clone(), step: 0 })
    }
}

struct Run {
    of: Compaction,
    step: u64,
}

/// The report's body.
#[derive(Debug)]
struct Compacted {
    steps: u64,
    handed_over: Arc<AtomicU32>,
}

impl ReportBody for Compacted {
    fn handed_over(&self) -> sexton::Result<()> {
        self.handed_over.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

impl MaintenanceRun for Run {
    fn step(&mut self, _: &TimeSlice) -> sexton::Result<MaintenanceStep> {
        self.of.clock.work(self.of.unit);
        let mut outcome = (self.of.hook)(self.step);
        if matches!(outcome, StepOutcome::More) {
            self.step += 1;
            self.of.done.lock().unwrap().push(self.of.clock.now());
            if self.step == self.of.steps {
                outcome = StepOutcome::Finished;
            }
        }
        let progress = MaintenanceProgress {
            doing: "rewriting pages".into(),
            rows_done: self.step,
            rows_planned: self.of.steps,
            ..MaintenanceProgress::default()
        };
        Ok(MaintenanceStep { outcome, leave_alone: self.of.leave_alone, progress })
    }

    fn report(self: Box<Self>) -> MaintenanceReport {
        let body = Compacted { steps: self.step, handed_over: self.of.handed_over.clone() };
        MaintenanceReport::new("compaction", MaintenanceResult::done(&json!({ "pages": 8 * self.step })), body)
    }
}

fn settings() -> MaintenanceSettings {
    MaintenanceSettings { slow_start: Duration::ZERO, ..MaintenanceSettings::new("compact") }
}

fn sold(rate: f64, clock: &SimClock) -> (EngineBuilder, Record) {
    builder(budget(rate, SECOND), Checkpoint::EverySlice, clock)
}

fn status(engine: &EngineHandle) -> MaintenanceStatus {
    engine.status().maintenance["compact"].clone()
}

#[actix_rt::test]
async fn beside_a_crawl_the_budget_holds_and_parts_follow_the_weights() {
    tokio::time::pause();
    for (weight, part) in [(1.0, 0.5), (3.0, 0.75)] {
        let clock = SimClock::new();
        let (builder, record) = sold(0.2, &clock);
        let crawled = SimJob::new(&clock, |_| 100 * MILLISECOND);
        let compaction = Compaction::new(&clock, 1_000_000, 70 * MILLISECOND);
        let engine = builder
            .crawl(at_once("c", 1), SimStore::new(&clock, 4, 100_000), crawled)
            .maintenance(MaintenanceSettings { weight, ..settings() }, compaction)
            .start()
            .unwrap();
        tokio::time::sleep(HOUR).await;
        engine.shutdown(HOUR).await.unwrap();
        record.assert_never_ahead(&Asked { rate: 0.2, slice_secs: 1.1 }, Duration::ZERO);
        let parts = record.parts();
        assert!((parts["compact"] - part).abs() < 0.04, "{parts:?}");
    }
}

#[actix_rt::test]
async fn a_pause_comes_between_two_steps_and_the_run_goes_on_where_it_was() {
    tokio::time::pause();
    let clock = SimClock::new();
    let (builder, _) = sold(0.5, &clock);
    let compaction = Compaction::new(&clock, 100, 300 * MILLISECOND);
    let engine = builder.maintenance(settings(), compaction.clone()).start().unwrap();
    for pause in 1..=4 {
        tokio::time::sleep(7 * SECOND).await;
        engine.command("compact", Command::Pause).await.unwrap();
        tokio::time::sleep(SECOND).await;
        let (was, done) = (status(&engine), compaction.steps_done());
        assert_eq!((was.state, was.runs), (TaskState::Paused, 0));
        assert_eq!(was.progress.rows_done, done as u64, "all that was done is shown");
        assert!(done >= 5 * pause && done < 100, "{done}");
        tokio::time::sleep(HOUR).await;
        assert_eq!(compaction.steps_done(), done, "it works while it is paused");
        engine.command("compact", Command::Resume).await.unwrap();
    }
    tokio::time::sleep(HOUR).await;
    let was = status(&engine);
    assert_eq!((compaction.steps_done(), was.runs, &*was.progress.doing), (100, 1, "rewriting pages"));
    engine.shutdown(HOUR).await.unwrap();
}

#[actix_rt::test]
async fn between_two_steps_it_leaves_alone_what_others_want_for_as_long_as_it_says() {
    tokio::time::pause();
    let clock = SimClock::new();
    let (builder, _) = sold(0.5, &clock);
    let compaction = Compaction { leave_alone: 10 * SECOND, ..Compaction::new(&clock, 20, 50 * MILLISECOND) };
    let engine = builder.maintenance(settings(), compaction.clone()).start().unwrap();
    tokio::time::sleep(15 * SECOND).await;
    assert_eq!(status(&engine).state, TaskState::Pausing);
    tokio::time::sleep(HOUR).await;
    let done = compaction.done.lock().unwrap().clone();
    assert!(done.len() == 20 && done.windows(2).all(|pair| pair[1] - pair[0] >= 10 * SECOND), "{done:?}");
    engine.shutdown(HOUR).await.unwrap();
}

/// How it happens: the host's own code has a bug, or meets a page that it did not expect.
#[actix_rt::test]
async fn a_panic_ends_that_run_only_and_the_next_one_comes_at_its_time() {
    tokio::time::pause();
    let clock = SimClock::new();
    let (builder, record) = sold(0.5, &clock);
    let mut compaction = Compaction::new(&clock, 10, 50 * MILLISECOND);
    let attempts = Arc::new(AtomicU32::new(0));
    compaction.hook = Arc::new(move |step| {
        assert!(step != 6 || attempts.fetch_add(1, Ordering::SeqCst) > 0, "page 48 is upside down");
        StepOutcome::More
    });
    let daily = MaintenanceSettings { every: 24 * HOUR, ..settings() };
    let crawled = SimJob::new(&clock, |_| 10 * MILLISECOND);
    let hourly = CrawlSettings { minimum_cycle_time: HOUR, ..at_once("c", 1) };
    let builder = builder.crawl(hourly, SimStore::new(&clock, 4, 10), crawled);
    let engine = builder.maintenance(daily, compaction.clone()).start().unwrap();
    tokio::time::sleep(12 * HOUR).await;
    let was = status(&engine);
    let MaintenanceResult::Failed { error } = was.last.unwrap().result else { panic!("it has panicked") };
    assert_eq!(error, "maintenance compact stopped: a step of it panicked: page 48 is upside down");
    assert_eq!((was.state, was.runs), (TaskState::Sleeping, 1));
    assert_eq!((record.failed.lock().unwrap().len(), engine.last_maintenance("compact").is_none()), (1, true));
    tokio::time::sleep(24 * HOUR).await;
    let was = status(&engine);
    assert!(was.runs == 2 && matches!(was.last.unwrap().result, MaintenanceResult::Done { .. }));
    assert_eq!(compaction.steps_done(), 6 + 10);
    assert!(record.cycles.lock().unwrap().len() > 10, "the crawl goes on");
    engine.shutdown(HOUR).await.unwrap();
}

#[actix_rt::test]
async fn what_is_in_use_is_asked_for_again_after_growing_waits() {
    tokio::time::pause();
    let clock = SimClock::new();
    let (builder, record) = sold(0.5, &clock);
    let mut compaction = Compaction::new(&clock, 10, 50 * MILLISECOND);
    let (attempts, full) = (Arc::new(AtomicU32::new(0)), Error::StateFull { path: "log".into(), cause: "full".into() });
    let asked = attempts.clone();
    compaction.hook = Arc::new(move |step| match step {
        6 if asked.fetch_add(1, Ordering::SeqCst) < 5 => StepOutcome::Later(full.clone()),
        _ => StepOutcome::More,
    });
    let engine = builder.maintenance(settings(), compaction.clone()).start().unwrap();
    tokio::time::sleep(20 * SECOND).await;
    let was = status(&engine);
    assert_eq!((was.state, was.progress.rows_done), (TaskState::Waiting, 6));
    assert!(was.waiting_for.unwrap().contains("no room"));
    tokio::time::sleep(HOUR).await;
    assert_eq!((compaction.steps_done(), attempts.load(Ordering::SeqCst)), (10, 6));
    let done = compaction.done.lock().unwrap().clone();
    let waited = (done[6] - done[5]).as_secs_f64();
    assert!((31.0..33.0).contains(&waited), "1, 2, 4, 8 and 16 s, not {waited}");
    assert_eq!(record.waits.lock().unwrap().len(), 1, "told once");
    assert_eq!((status(&engine).waiting_for, status(&engine).runs), (None, 1));
    engine.shutdown(HOUR).await.unwrap();
}

#[actix_rt::test]
async fn the_report_is_kept_in_short_and_handed_over_and_the_next_engine_knows_of_it() {
    tokio::time::pause();
    let (clock, state) = (SimClock::new(), SimState::sound());
    let compaction = Compaction::new(&clock, 10, 50 * MILLISECOND);
    let start =
        || sold(0.5, &clock).0.state(state.clone()).maintenance(settings(), compaction.clone()).start().unwrap();
    let engine = start();
    tokio::time::sleep(HOUR).await;
    let report = engine.last_maintenance("compact").unwrap();
    assert_eq!((report.kind, report.common.clone()), ("compaction", MaintenanceResult::done(&json!({ "pages": 80 }))));
    assert_eq!(report.body::<Compacted>().unwrap().steps, 10);
    assert_eq!(compaction.handed_over.load(Ordering::SeqCst), 1);
    engine.shutdown(HOUR).await.unwrap();

    let engine = start();
    tokio::time::sleep(HOUR).await;
    let was = status(&engine);
    assert_eq!((was.subject.as_str(), was.runs, compaction.steps_done()), ("log", 0, 10), "the week is not over");
    assert_eq!(was.last.unwrap().result, report.common);
    engine.shutdown(HOUR).await.unwrap();
}

#[actix_rt::test]
async fn a_single_run_that_fails_is_the_engines_error_and_wrong_settings_start_nothing() {
    tokio::time::pause();
    let clock = SimClock::new();
    let mut compaction = Compaction::new(&clock, 10, 50 * MILLISECOND);
    for (settings, steps, said) in [
        (settings(), 0, "compaction: no steps"),
        (MaintenanceSettings { weight: 0.0, ..settings() }, 1, "compaction compact: weight"),
    ] {
        compaction.steps = steps;
        let refused = sold(0.5, &clock).0.maintenance(settings, compaction.clone()).start();
        let Err(Error::Config(why)) = refused else { panic!("{refused:?}") };
        assert!(why.contains(said), "{why}");
    }
    compaction.hook = Arc::new(|_| panic!("upside down"));
    let once = sold(0.5, &clock).0.cycles(sexton::engine::Cycles::Once);
    let engine = once.maintenance(settings(), compaction).start().unwrap();
    let ended = end(&engine).await;
    assert!(
        matches!(&ended, Err(Error::MaintenancePanicked { maintenance, .. }) if maintenance == "compact"),
        "{ended:?}"
    );
}
