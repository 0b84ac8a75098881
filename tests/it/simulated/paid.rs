//! Everything that takes time is paid: a cycle is opened, read back and reported under slices, in steps, and what is committed at
//! once is bounded, however much was found.

use std::sync::Mutex;
use std::time::Duration;

use sexton::engine::Cycles;
use sexton::job::{CycleView, Finding, Fold, Job, Unreadable};
use sexton::settings::Checkpoint;

use super::crawl::{at_once, budget, builder, end};
use super::world::{SimClock, SimStore, Sum};
use super::world_state::SimState;

const SLICE: Duration = Duration::from_millis(20);
const MILLISECOND: Duration = Duration::from_millis(1);

/// Finds so much in each bucket.
pub struct Finder {
    pub clock: SimClock,
    pub findings: u32,
}

impl Job<SimStore> for Finder {
    type Tally = Sum;
    type Part = ();

    fn name(&self) -> &str {
        "finder"
    }

    fn process_bucket(&self, bucket: &mut String, fold: &mut Fold<'_, Sum>) -> Result<(), Unreadable> {
        self.clock.work(MILLISECOND / 100);
        for object in 0..self.findings {
            let finding = Finding::bad(&*bucket, "data", "its hash is another").in_object(object.to_string());
            fold.notes.finding(&finding);
        }
        Ok(())
    }

    fn report(&self, cycle: &CycleView<'_, Sum>) -> serde_json::Map<String, serde_json::Value> {
        [("found".to_owned(), cycle.findings.len().into())].into_iter().collect()
    }
}

/// Each of these calls takes its time on the thread that makes it, as with a file.
#[actix_rt::test]
async fn a_cycle_is_opened_read_back_and_reported_under_slices() {
    tokio::time::pause();
    let clock = SimClock::new();
    let (builder, record) = builder(budget(0.1, SLICE), Checkpoint::EverySlice, &clock);
    let calls = std::sync::Arc::new(Mutex::new(Vec::new()));
    let (of, at) = (calls.clone(), clock.clone());
    let state = SimState::new(move |call| {
        if ["latest", "begin", "prefixes", "notes"].contains(&call) {
            of.lock().unwrap().push(call);
            at.work(5 * MILLISECOND);
        }
        Ok(())
    });
    let (store, job) = (SimStore::new(&clock, 40, 50), Finder { clock: clock.clone(), findings: 10 });
    let engine = builder.state(state).cycles(Cycles::Once).crawl(at_once("c", 1), store, job).start().unwrap();
    end(&engine).await.unwrap();
    let report = engine.last_report("c").unwrap();
    assert_eq!((report.findings.len(), report.own["found"].as_u64()), (20_000, Some(20_000)));
    let calls = calls.lock().unwrap().clone();
    assert!(calls.iter().filter(|call| **call == "notes").count() >= 20, "{calls:?}");
    let slices = record.slices.lock().unwrap();
    let paid: Duration = slices.iter().map(|slice| slice.cost).sum();
    let read = 5 * MILLISECOND * calls.len() as u32;
    assert!(paid >= read + 2000 * MILLISECOND / 100, "{paid:?} paid, {read:?} read");
    let longest = slices.iter().map(|slice| slice.cost).max().unwrap();
    assert!(longest <= 2 * SLICE, "{longest:?}");
}

/// How it happens: buckets are quickly read and each has much to tell, so a slice comes to more than can be saved in another.
#[actix_rt::test]
async fn what_is_committed_at_once_is_bounded_however_much_is_found() {
    tokio::time::pause();
    for findings in [10, 1000] {
        let clock = SimClock::new();
        let (builder, _) = builder(budget(0.5, Duration::from_secs(1)), Checkpoint::EverySlice, &clock);
        let state = SimState::sound();
        let most = state.most_notes.clone();
        let (store, job) = (SimStore::new(&clock, 4, 10_000 / findings), Finder { clock: clock.clone(), findings });
        let engine = builder.state(state).cycles(Cycles::Once).crawl(at_once("c", 1), store, job).start().unwrap();
        end(&engine).await.unwrap();
        let most = most.load(std::sync::atomic::Ordering::SeqCst);
        assert!(most <= 3000, "{most} notes in one commit where a bucket has {findings}");
    }
}
