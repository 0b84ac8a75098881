//! Buckets that take much longer than a slice, in simulated time: they are worked off in parts, and only whole ones count.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sexton::engine::Cycles;
use sexton::job::{CycleView, Fold, Job, PrefixWalk, Stopped, Unreadable, Visited};
use sexton::settings::{Checkpoint, CrawlSettings};

use super::crawl::{SECOND, assert_whole, at_once, budget, builder, end};
use super::world::{Asked, SimClock, SimStore, Sum};
use super::world_state::SimState;

/// Steps of a bucket, and how long each takes.
const STEPS: u64 = 300;
const STEP: Duration = Duration::from_millis(100);

/// A job whose buckets take 30 s in steps of 100 ms.
struct Steps {
    clock: SimClock,
    /// All steps that were ever taken.
    taken: Arc<AtomicU64>,
}

impl Job<SimStore> for Steps {
    type Tally = Sum;
    type Part = (String, u64);

    fn name(&self) -> &str {
        "steps"
    }

    fn process_bucket(&self, _: &mut String, _: &mut Fold<'_, Sum>) -> Result<(), Unreadable> {
        panic!("it is visited in parts");
    }

    fn process_prefix(&self, walk: &mut PrefixWalk<'_, SimStore, Self>) -> Result<(), Stopped> {
        walk.each_bucket_in_parts(|bucket, part, fold| {
            let (of, mut step) = part.unwrap_or_else(|| (bucket.clone(), 0));
            assert_eq!(of, *bucket, "the part of another bucket");
            while step < STEPS {
                self.clock.work(STEP);
                self.taken.fetch_add(1, Ordering::SeqCst);
                step += 1;
                if fold.slice.is_over() && step < STEPS {
                    return Ok(Visited::Part((of, step)));
                }
            }
            fold.tally.0 += 1;
            Ok(Visited::Whole)
        })
    }

    fn report(&self, cycle: &CycleView<'_, Sum>) -> serde_json::Map<String, serde_json::Value> {
        [("sum".to_owned(), cycle.tally.0.into())].into_iter().collect()
    }
}

fn steps(clock: &SimClock) -> (Steps, Arc<AtomicU64>) {
    let taken = Arc::default();
    (Steps { clock: clock.clone(), taken: Arc::clone(&taken) }, taken)
}

#[actix_rt::test]
async fn a_bucket_longer_than_a_slice_ends_it_in_time_and_is_counted_once() {
    for checkpoint in [Checkpoint::EverySlice, Checkpoint::EveryBucket, Checkpoint::Every(7 * SECOND)] {
        tokio::time::pause();
        let clock = SimClock::new();
        let (builder, record) = builder(budget(0.10, SECOND), checkpoint, &clock);
        let (job, taken) = steps(&clock);
        let settings: CrawlSettings = at_once("c", 2);
        let engine = builder.cycles(Cycles::Once).crawl(settings, SimStore::new(&clock, 3, 2), job).start().unwrap();
        end(&engine).await.unwrap();
        assert_whole(&engine.last_report("c").unwrap(), 6);
        assert_eq!(taken.load(Ordering::SeqCst), 6 * STEPS, "nothing was done twice");
        record.assert_never_ahead(&Asked { rate: 0.10, slice_secs: 1.0 }, Duration::ZERO);
        let longest = record.taken().iter().map(|s| s.out).max().unwrap();
        assert!(longest <= SECOND + STEP, "{longest:?}");
        tokio::time::resume();
    }
}

#[actix_rt::test]
async fn a_bucket_that_was_stopped_in_the_middle_begins_anew_in_the_next_run() {
    tokio::time::pause();
    let clock = SimClock::new();
    let state = SimState::sound();
    let (builder, _) = builder(budget(0.10, SECOND), Checkpoint::EverySlice, &clock);
    let (job, taken) = steps(&clock);
    let store = SimStore::new(&clock, 1, 2);
    let engine = builder.state(state.clone()).cycles(Cycles::Once).crawl(at_once("c", 1), store, job).start().unwrap();
    // A slice every 10 s: it is in the middle of the second bucket.
    tokio::time::sleep(Duration::from_secs(380)).await;
    engine.shutdown(Duration::from_secs(1000)).await.unwrap();
    let before = taken.load(Ordering::SeqCst);
    assert!((STEPS + 100..2 * STEPS - 100).contains(&before), "{before}");

    let (builder, _) = super::crawl::builder(budget(0.10, SECOND), Checkpoint::EverySlice, &clock);
    let (job, taken) = steps(&clock);
    let store = SimStore::new(&clock, 1, 2);
    let engine = builder.state(state).cycles(Cycles::Once).crawl(at_once("c", 1), store, job).start().unwrap();
    end(&engine).await.unwrap();
    let report = engine.last_report("c").unwrap();
    assert!(report.resumed);
    assert_whole(&report, 2);
    assert_eq!(taken.load(Ordering::SeqCst), STEPS, "the first bucket was saved, the second begins anew");
}
