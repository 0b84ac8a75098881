//! Carrying out what a job means to change, with the real actors in simulated time: within the slice, until a stop or a
//! refusal, and each change counted once whatever comes between.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sexton::clock::Clock;
use sexton::engine::{Command, Cycles, EngineHandle, Fresh};
use sexton::job::{Carried, CycleView, Deed, DeletionCount, Fold, Intent, Job, Unreadable};
use sexton::policy::deletion::Clocks;
use sexton::settings::Checkpoint;
use sexton::{Error, Result, Retry};

use super::crawl::{SECOND, assert_whole, at_once, budget, builder, end};
use super::world::{Record, SimClock, SimStore, Sum};
use super::world_state::SimState;

const SLICE: Duration = Duration::from_millis(20);
/// What it takes to look at a bucket, and to change it.
const LOOK: Duration = Duration::from_micros(10);
const CHANGE: Duration = Duration::from_millis(5);
const PREFIXES: u32 = 4;
const BUCKETS: u32 = 500;
const ALL: u64 = (PREFIXES * BUCKETS) as u64;

/// What has become of the store.
#[derive(Clone, Default)]
struct Changes {
    /// How often each bucket was changed.
    made: Arc<Mutex<BTreeMap<String, u32>>>,
    /// How often it was asked whether anything may be changed.
    asked: Arc<AtomicU32>,
}

impl Changes {
    fn count(&self) -> u64 {
        self.made.lock().unwrap().values().map(|times| u64::from(*times)).sum()
    }

    fn assert_each_once(&self) {
        let made = self.made.lock().unwrap();
        assert!(made.len() as u64 == ALL && made.values().all(|times| *times == 1), "{}", made.len());
    }
}

/// A job that changes every bucket.
struct Changer {
    clock: SimClock,
    changes: Changes,
    /// When changing is forbidden, if ever.
    until: Duration,
}

impl Job<SimStore> for Changer {
    type Tally = Sum;
    type Part = ();

    fn name(&self) -> &str {
        "changer"
    }

    fn process_bucket(&self, bucket: &mut String, fold: &mut Fold<'_, Sum>) -> std::result::Result<(), Unreadable> {
        self.clock.work(LOOK);
        fold.intend(DeletionCount::of_objects(1), &serde_json::json!({ "bucket": bucket })).unwrap();
        Ok(())
    }

    fn carry_out(&self, _: &SimStore, intent: &Intent, deed: &mut Deed<'_, Sum>) -> Result<Carried> {
        self.clock.work(CHANGE);
        *self.changes.made.lock().unwrap().entry(intent.body.clone()).or_default() += 1;
        deed.tally.0 += 1;
        Ok(Carried::Settled)
    }

    fn may_change(&self, _: &SimStore, _: &Clocks) -> Result<()> {
        self.changes.asked.fetch_add(1, Ordering::SeqCst);
        if self.clock.now() < self.until { Ok(()) } else { Err(Error::other(Retry::Useless, "process 7 works there")) }
    }

    fn report(&self, cycle: &CycleView<'_, Sum>) -> serde_json::Map<String, serde_json::Value> {
        serde_json::Map::from_iter([("sum".to_owned(), cycle.tally.0.into())])
    }
}

/// A state, and how often it was committed to and synced.
fn counting() -> (SimState, Arc<AtomicU32>, Arc<AtomicU32>) {
    let (commits, syncs) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (commit, sync) = (commits.clone(), syncs.clone());
    let state = SimState::new(move |call| {
        commit.fetch_add(u32::from(call == "commit"), Ordering::SeqCst);
        sync.fetch_add(u32::from(call == "sync"), Ordering::SeqCst);
        Ok(())
    });
    (state, commits, syncs)
}

/// Runs the cycle at half a core, and may change the store until a moment.
fn start(
    clock: &SimClock,
    state: &SimState,
    changes: &Changes,
    (checkpoint, workers, until): (Checkpoint, u32, Duration),
) -> (EngineHandle, Record) {
    let (builder, record) = builder(budget(0.5, SLICE), checkpoint, clock);
    let job = Changer { clock: clock.clone(), changes: changes.clone(), until };
    let store = SimStore::new(clock, PREFIXES, BUCKETS);
    let builder = builder.state(state.clone()).cycles(Cycles::Once);
    (builder.crawl(at_once("c", workers), store, job).start().unwrap(), record)
}

fn assert_slices_are_kept(record: &Record) {
    let slices = record.taken();
    let longest = slices.iter().map(|slice| slice.cost).max().unwrap();
    assert!(longest <= SLICE + CHANGE + 2 * LOOK, "the longest of {} took {longest:?}", slices.len());
}

#[actix_rt::test]
async fn changes_are_made_within_slices_and_with_few_commits() {
    tokio::time::pause();
    let hourly = Checkpoint::Every(Duration::from_secs(3600));
    // The ring is folded in two slices; in the 20 s that it takes to change it a commit now and then.
    for (checkpoint, commits_most, syncs_most) in
        [(Checkpoint::EverySlice, 30, 3), (hourly, 10, 3), (Checkpoint::EveryBucket, 5000, 2000)]
    {
        for workers in [1, 2] {
            let (clock, changes) = (SimClock::new(), Changes::default());
            let (state, commits, syncs) = counting();
            let (engine, record) = start(&clock, &state, &changes, (checkpoint, workers, Duration::MAX));
            end(&engine).await.unwrap();
            assert_whole(&engine.last_report("c").unwrap(), ALL);
            changes.assert_each_once();
            assert_slices_are_kept(&record);
            let (commits, syncs) = (commits.load(Ordering::SeqCst), syncs.load(Ordering::SeqCst));
            assert!(commits <= commits_most && (1..=syncs_most).contains(&syncs), "{checkpoint:?}: {commits}, {syncs}");
            let (took, asked) = (clock.now().as_secs_f64(), changes.asked.load(Ordering::SeqCst));
            assert!((19.0..22.0).contains(&took), "{took}");
            assert!(asked >= 15, "asked about once a second: {asked}");
        }
    }
}

/// How it happens: Ctrl-C in the midst of many changes; the same command is given again, and again.
#[actix_rt::test]
async fn a_stop_ends_the_changing_and_the_rest_follows() {
    tokio::time::pause();
    for checkpoint in [Checkpoint::EverySlice, Checkpoint::EveryBucket, Checkpoint::Every(Duration::from_secs(3600))] {
        let (clock, changes) = (SimClock::new(), Changes::default());
        let (state, ..) = counting();
        for _ in 0..3 {
            let (engine, record) = start(&clock, &state, &changes, (checkpoint, 1, Duration::MAX));
            tokio::time::sleep(3 * SECOND).await;
            let (since, made) = (clock.now(), changes.count());
            engine.shutdown(60 * SECOND).await.unwrap();
            let took = clock.now() - since;
            assert!(took <= SLICE + 2 * CHANGE, "{checkpoint:?}: it ended after {took:?}");
            assert!(changes.count() > 0 && changes.count() <= made + 5, "{made}, {}", changes.count());
            assert_slices_are_kept(&record);
        }
        let (engine, _) = start(&clock, &state, &changes, (checkpoint, 1, Duration::MAX));
        end(&engine).await.unwrap();
        assert_whole(&engine.last_report("c").unwrap(), ALL);
        changes.assert_each_once();
    }
}

#[actix_rt::test]
async fn a_pause_holds_the_changing() {
    tokio::time::pause();
    let (clock, changes) = (SimClock::new(), Changes::default());
    let (state, ..) = counting();
    let (engine, record) = start(&clock, &state, &changes, (Checkpoint::EverySlice, 1, Duration::MAX));
    tokio::time::sleep(3 * SECOND).await;
    engine.command("c", Command::Pause).await.unwrap();
    let made = changes.count();
    assert!((100..1500).contains(&made), "{made}");
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(changes.count(), made);
    engine.command("c", Command::Resume).await.unwrap();
    end(&engine).await.unwrap();
    assert_whole(&engine.last_report("c").unwrap(), ALL);
    changes.assert_each_once();
    assert_slices_are_kept(&record);
}

/// How it happens: the node is started in the midst of many changes, and stopped again before the next run.
#[actix_rt::test]
async fn changing_ends_a_second_after_it_is_forbidden() {
    tokio::time::pause();
    let (clock, changes) = (SimClock::new(), Changes::default());
    let (state, ..) = counting();
    let (engine, _) = start(&clock, &state, &changes, (Checkpoint::EverySlice, 1, 3 * SECOND));
    assert!(matches!(end(&engine).await, Err(Error::Other { .. })));
    let ended = clock.now().as_secs_f64();
    assert!((3.0..4.2).contains(&ended), "{ended}");
    let (engine, _) = start(&clock, &state, &changes, (Checkpoint::EverySlice, 1, Duration::MAX));
    end(&engine).await.unwrap();
    // Some may have been made twice, as after a crash: a job takes what is done for done. None counts twice.
    assert_whole(&engine.last_report("c").unwrap(), ALL);
    assert_eq!(changes.made.lock().unwrap().len() as u64, ALL);
}

/// How it happens: somebody sees that the rule is wrong, stops it in the midst of many changes, and wants a cycle by another one.
#[actix_rt::test]
async fn a_cycle_that_was_stopped_in_good_order_is_given_up_though_changes_are_left() {
    tokio::time::pause();
    for workers in [1, 2] {
        let (clock, changes) = (SimClock::new(), Changes::default());
        let (state, ..) = counting();
        for _ in 0..2 {
            let (engine, _) = start(&clock, &state, &changes, (Checkpoint::EverySlice, workers, Duration::MAX));
            tokio::time::sleep(3 * SECOND).await;
            engine.shutdown(60 * SECOND).await.unwrap();
        }
        assert!((1..ALL).contains(&changes.count()));
        let (builder, _) = builder(budget(0.5, SLICE), Checkpoint::EverySlice, &clock);
        let job = Changer { clock: clock.clone(), changes: Changes::default(), until: Duration::MAX };
        let builder = builder.state(state.clone()).cycles(Cycles::Once).fresh(Fresh::Yes);
        let crawl = builder.crawl(at_once("c", workers), SimStore::new(&clock, PREFIXES, BUCKETS), job);
        let engine = crawl.start().unwrap();
        end(&engine).await.unwrap();
        let report = engine.last_report("c").unwrap();
        assert_eq!((report.key.number, report.resumed), (1, false));
        assert_whole(&report, ALL);
    }
}
