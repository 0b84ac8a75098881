//! What a job gets to see of a store, and a store that several crawls share.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sexton::engine::{Command, Cycles};
use sexton::job::Count;
use sexton::settings::Checkpoint;

use super::crawl::{SECOND, at_once, budget, builder, end};
use super::world::{SimClock, SimJob, SimStore};

/// How it happened: `upload.tmp` and `index.db` beside the buckets were handed to a job that deletes, and deleted.
#[actix_rt::test]
async fn a_name_that_is_no_bucket_is_shown_only_to_a_job_that_asks_for_it() {
    tokio::time::pause();
    for visits_strays in [false, true] {
        let seen = if visits_strays { 40 } else { 36 };
        let clock = SimClock::new();
        let (builder, record) = builder(budget(0.5, SECOND), Checkpoint::EverySlice, &clock);
        let store = SimStore { is_stray: |name| name.ends_with('7'), ..SimStore::new(&clock, 4, 10) };
        let job = SimJob::new(&clock, |_| Duration::from_millis(100));
        let job = SimJob { rule: Some("everything"), visits_strays, ..job };
        let (visited, changed) = (job.visited.clone(), job.changed.clone());
        let engine = builder.cycles(Cycles::Once).crawl(at_once("c", 1), store, job).start().unwrap();
        tokio::time::sleep(Duration::from_secs(600)).await;
        let shown = engine.status().crawls["c"].rehearsal.as_ref().expect("a rehearsal").would_delete;
        assert_eq!((visited.lock().unwrap().len(), shown.buckets), (seen, seen as u64));
        engine.command("c", Command::Confirm { cycle: 0, objects: None }).await.unwrap();
        end(&engine).await.unwrap();
        assert_eq!((changed.load(Ordering::SeqCst), visited.lock().unwrap().len()), (seen as u64, 2 * seen));
        assert_eq!(visited.lock().unwrap().iter().any(|name| name.ends_with('7')), visits_strays);
        let report = record.cycles.lock().unwrap()[0].clone();
        assert_eq!((report.counts.buckets, report.counts.no_bucket, report.stray_paths.len()), (40, 4, 4));
    }
}

#[actix_rt::test]
async fn several_crawls_may_share_one_store() {
    tokio::time::pause();
    let clock = SimClock::new();
    let (mut builder, _record) = builder(budget(0.5, SECOND), Checkpoint::EverySlice, &clock);
    let store = Arc::new(SimStore::new(&clock, 4, 10));
    for name in ["a", "b"] {
        builder = builder.crawl(at_once(name, 1), store.clone(), Count);
    }
    let engine = builder.cycles(Cycles::Once).start().unwrap();
    end(&engine).await.unwrap();
    for name in ["a", "b"] {
        assert_eq!(engine.last_report(name).unwrap().counts.buckets, 40);
    }
}
