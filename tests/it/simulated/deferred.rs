//! Buckets that cannot be read just now, in simulated time: each is visited once more at the end of its prefix, and counts once,
//! in both phases of a cycle that deletes, and whenever the process dies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sexton::Error;
use sexton::engine::Command;
use sexton::job::{
    Carried, Counts, CycleView, Deed, DeletionCount, Fold, Intent, Job, PrefixWalk, Stopped, Tally, Unreadable, Visited,
};
use sexton::model::TaskState;
use sexton::policy::deletion::SafetyCatch;
use sexton::settings::{Checkpoint, CrawlSettings};

use super::crawl::{SECOND, at_once, budget, builder};
use super::world::{SimClock, SimStore};
use super::world_state::SimState;

const HOUR: Duration = Duration::from_secs(3600);
const PREFIXES: u32 = 3;
const BUCKETS: u32 = 5;
const OBJECTS: u64 = 3;

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Figures {
    seen: u64,
    erased: u64,
}

impl Tally for Figures {
    fn merge(&mut self, later: Figures) {
        self.seen += later.seen;
        self.erased += later.erased;
    }
}

/// Deletes all objects of each bucket, after it was confirmed: one at a time, before it visits the bucket on.
struct Eraser {
    /// What is left of each bucket.
    objects: Arc<Mutex<BTreeMap<String, BTreeSet<u64>>>>,
}

fn count(objects: u64) -> DeletionCount {
    DeletionCount { objects, records: 0, bytes: 100 * objects }
}

impl Job<SimStore> for Eraser {
    type Tally = Figures;
    type Part = ();

    fn name(&self) -> &str {
        "eraser"
    }

    fn process_bucket(&self, _: &mut String, _: &mut Fold<'_, Figures>) -> Result<(), Unreadable> {
        panic!("it is visited in parts");
    }

    fn process_prefix(&self, walk: &mut PrefixWalk<'_, SimStore, Self>) -> Result<(), Stopped> {
        walk.each_bucket_in_parts(|bucket, _, fold| {
            let left = self.objects.lock().unwrap().entry(bucket.clone()).or_insert((0..OBJECTS).collect()).clone();
            if fold.phase.examines() {
                fold.intend(count(left.len() as u64), &()).unwrap();
                fold.tally.seen += 1;
                fold.notes.counts.objects += OBJECTS;
                return Ok(Visited::Whole);
            }
            if let Some(object) = left.first() {
                fold.intend(count(1), &(&*bucket, object)).unwrap();
            }
            Ok(if left.len() > 1 { Visited::Chunk(()) } else { Visited::Whole })
        })
    }

    fn carry_out(&self, _: &SimStore, intent: &Intent, deed: &mut Deed<'_, Figures>) -> sexton::Result<Carried> {
        let (bucket, object): (String, u64) = serde_json::from_str(&intent.body).unwrap();
        self.objects.lock().unwrap().get_mut(&bucket).unwrap().remove(&object);
        deed.tally.erased += 1;
        Ok(Carried::Settled)
    }

    fn rehearses_first(&self) -> bool {
        true
    }

    fn safety_catch(&self) -> Option<SafetyCatch> {
        Some(SafetyCatch { most: 1.0 })
    }

    fn report(&self, cycle: &CycleView<'_, Figures>) -> serde_json::Map<String, serde_json::Value> {
        [("figures".to_owned(), serde_json::to_value(cycle.tally).unwrap())].into_iter().collect()
    }
}

/// When the chosen buckets cannot be opened, in each phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Busy {
    Never,
    /// The first time.
    Once,
    /// The second time, which is after a part of it was carried out.
    InTheMiddle,
    Always,
}

/// What a whole cycle came to, its errors, and whether it was killed on the way.
type Outcome = (Counts, serde_json::Value, Vec<String>, bool);

/// Runs a cycle whose process dies at a commit, counted from 0; another one goes on.
async fn cycle(busy: Busy, killed_at: u64) -> Outcome {
    tokio::time::pause();
    let clock = SimClock::new();
    let (dead, commits) = (Arc::new(AtomicBool::new(false)), AtomicU64::new(0));
    let was_killed = Arc::new(AtomicBool::new(false));
    let state = SimState::new({
        let (dead, was_killed) = (dead.clone(), was_killed.clone());
        move |call| {
            if call == "commit" && commits.fetch_add(1, Ordering::SeqCst) == killed_at {
                dead.store(true, Ordering::SeqCst);
                was_killed.store(true, Ordering::SeqCst);
            }
            if dead.load(Ordering::SeqCst) { Err(Error::Unexpected("killed".to_owned())) } else { Ok(()) }
        }
    });
    let opened: Arc<Mutex<BTreeMap<String, u32>>> = Arc::default();
    let objects = Arc::default();
    loop {
        let store = SimStore {
            busy: Box::new({
                let opened = opened.clone();
                move |bucket| {
                    let times = &mut *opened.lock().unwrap();
                    let times = times.entry(bucket.to_owned()).or_default();
                    *times += 1;
                    let is_busy = match busy {
                        Busy::Never => false,
                        Busy::Once => *times == 1,
                        Busy::InTheMiddle => *times == 2,
                        Busy::Always => true,
                    };
                    is_busy && bucket.ends_with(['0', '3', '4'])
                }
            }),
            ..SimStore::new(&clock, PREFIXES, BUCKETS)
        };
        let (builder, record) = builder(budget(0.5, SECOND), Checkpoint::EveryBucket, &clock);
        let settings = CrawlSettings { minimum_cycle_time: 1000 * HOUR, ..at_once("c", 1) };
        let eraser = Eraser { objects: Arc::clone(&objects) };
        let engine = builder.state(state.clone()).crawl(settings, store, eraser).start().unwrap();
        while record.failed.lock().unwrap().is_empty() {
            tokio::time::sleep(HOUR).await;
            match engine.status().crawls["c"].state {
                TaskState::Rehearsed => {
                    opened.lock().unwrap().clear();
                    engine.command("c", Command::Confirm { cycle: 0, objects: None }).await.unwrap();
                }
                TaskState::Sleeping => {
                    let report = engine.last_report("c").unwrap();
                    engine.shutdown(HOUR).await.unwrap();
                    let errors = report.errors.iter().map(|e| e.error.clone()).collect();
                    let killed = was_killed.load(Ordering::SeqCst);
                    tokio::time::resume();
                    return (report.counts.clone(), report.own["figures"].clone(), errors, killed);
                }
                _ => {}
            }
        }
        let _ = engine.shutdown(HOUR).await;
        dead.store(false, Ordering::SeqCst);
    }
}

#[actix_rt::test]
async fn what_is_busy_once_counts_once_in_both_phases_whenever_the_process_dies() {
    let (counts, figures, errors, _) = cycle(Busy::Never, u64::MAX).await;
    let all = u64::from(PREFIXES * BUCKETS);
    assert_eq!((counts.buckets, counts.candidates, counts.would_delete, errors.len()), (all, all, OBJECTS * all, 0));
    assert_eq!(figures, serde_json::json!({ "seen": all, "erased": OBJECTS * all }));
    for busy in [Busy::Once, Busy::InTheMiddle] {
        let mut kills = 0;
        for killed_at in 0.. {
            let (found, found_figures, errors, killed) = cycle(busy, killed_at).await;
            assert_eq!((&found, &found_figures), (&counts, &figures), "{busy:?}, killed at commit {killed_at}");
            assert_eq!(errors, Vec::<String>::new(), "{busy:?}, killed at commit {killed_at}");
            if !killed {
                break;
            }
            kills += 1;
        }
        assert!(kills > 2 * all, "{kills} commits: one for each bucket, in each phase");
    }
}

#[actix_rt::test]
async fn what_is_busy_still_at_the_end_of_its_prefix_is_an_error_like_any_other() {
    let (counts, figures, errors, _) = cycle(Busy::Always, u64::MAX).await;
    let (all, busy) = (u64::from(PREFIXES * BUCKETS), u64::from(PREFIXES) * 3);
    assert_eq!((counts.buckets, counts.errors, counts.vanished), (all, busy, 0));
    assert_eq!(figures, serde_json::json!({ "seen": all - busy, "erased": OBJECTS * (all - busy) }));
    assert!(errors.iter().all(|error| error.starts_with("not readable now: ")), "{errors:?}");
}
