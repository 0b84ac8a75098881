//! What the real actors in simulated time leave in a state that is a file.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use sexton::Error;
use sexton::engine::Cycles;
use sexton::model::{CycleReport, TaskState};
use sexton::policy::cycle::KnownCycle;
use sexton::settings::Checkpoint;
use sexton::slice::TimeSlice;
use sexton::state::{SqliteStore, StateStore};

use super::crawl::{SECOND, assert_whole, at_once, budget, builder, end};
use super::stop::{CHECKPOINTS, assert_each_once, crawl, resume, stopped_in_bucket_137};
use super::upkeep::{DAY, OLD_CYCLES, beside, with_history};
use super::world::{SimClock, SimJob, SimStore};

#[actix_rt::test]
async fn after_a_stop_in_mid_slice_the_next_engine_goes_on() {
    tokio::time::pause();
    for checkpoint in CHECKPOINTS {
        let (dir, clock) = (tempfile::tempdir().unwrap(), SimClock::new());
        let path = dir.path().join("state.sqlite");
        let mut visited = stopped_in_bucket_137(SqliteStore::open(&path).unwrap(), checkpoint, &clock).await;
        visited.extend(resume(SqliteStore::open(&path).unwrap(), &clock).await);
        assert_each_once(&visited);
    }
}

#[actix_rt::test]
async fn a_job_that_never_ends_is_left_behind_at_the_deadline() {
    tokio::time::pause();
    let clock = SimClock::new();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.sqlite");
    let (release, held) = std::sync::mpsc::channel::<()>();
    let (entered, stuck) = tokio::sync::mpsc::unbounded_channel();
    let (held, mut stuck) = (Mutex::new(held), stuck);
    let hook = move |bucket: &str, _: &TimeSlice| {
        if bucket == "0002/000020" {
            entered.send(()).unwrap();
            // Ends when the test drops the other side.
            let _ = held.lock().unwrap().recv();
        }
    };
    let (builder, ..) = crawl(at_once("c", 1), Checkpoint::EveryBucket, &clock, hook);
    let engine = builder.state(SqliteStore::open(&path).unwrap()).cycles(Cycles::Once).start().unwrap();
    stuck.recv().await.unwrap();
    let stopping = actix_rt::spawn(async move { (engine.shutdown(90 * SECOND).await, engine) });
    tokio::task::yield_now().await;
    // A blocking thread holds virtual time, so it has to be pushed.
    tokio::time::advance(89 * SECOND).await;
    assert!(!stopping.is_finished());
    tokio::time::advance(2 * SECOND).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(stopping.is_finished(), "the deadline has passed");
    let (ended, engine) = stopping.await.unwrap();
    assert!(matches!(ended, Err(Error::Deadline(deadline)) if deadline == 90 * SECOND), "{ended:?}");
    assert_eq!(engine.status().crawls["c"].state, TaskState::Failed);

    // The state is closed although the job still runs; what was committed is there.
    let state = SqliteStore::open(&path).unwrap();
    drop(release);
    let visited = resume(state, &clock).await;
    assert_eq!(visited.first().map(String::as_str), Some("0002/000020"));
    assert_eq!(visited.len(), 180);
}

/// As in memory, and the file must then be shorter and sound.
#[actix_rt::test]
async fn a_file_is_kept_short_beside_a_crawl() {
    tokio::time::pause();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let open = || SqliteStore::open(&path).unwrap();
    let clock = SimClock::new();
    with_history(open(), &clock).await;
    let (engine, record) = beside(open(), 0.5, &clock);
    end(&engine).await.unwrap();
    let upkeep = engine.status().upkeep;
    assert_eq!((upkeep.cycles_removed, upkeep.rows_removed), (OLD_CYCLES - 1, 31 * (OLD_CYCLES - 1)));
    assert!(upkeep.log_bytes_moved > 0 && upkeep.log_bytes < 1 << 20, "{upkeep:?}");
    assert_whole(&record.cycles.lock().unwrap()[0], 60_000);
    // Idle: what is left of the log is moved, too.
    tokio::time::sleep(DAY / 24).await;
    assert_eq!(engine.status().upkeep.log_bytes, 0);
    engine.shutdown(SECOND).await.unwrap();
    let newest: KnownCycle = open().reader().latest("c").unwrap().expect("the newest is kept");
    assert_eq!((newest.number, newest.done.len()), (OLD_CYCLES - 1, 30));
}

/// More than are added at once: a cycle over them begins in three steps.
const LARGE_RING: u32 = 2500;

/// Runs one cycle over a large ring to its end. Gives its report without times, and whether it was resumed.
async fn cycle_over_a_large_ring(path: &Path) -> (String, bool) {
    let clock = SimClock::new();
    let (store, job) = (SimStore::new(&clock, LARGE_RING, 1), SimJob::new(&clock, |_| Duration::from_millis(1)));
    let (builder, _) = builder(budget(1.0, SECOND), Checkpoint::EverySlice, &clock);
    let builder = builder.state(SqliteStore::open(path).unwrap()).cycles(Cycles::Once);
    let engine = builder.crawl(at_once("c", 1), store, job).start().unwrap();
    end(&engine).await.unwrap();
    let report = (*engine.last_report("c").unwrap()).clone();
    assert_whole(&report, u64::from(LARGE_RING));
    engine.shutdown(SECOND).await.unwrap();
    let lasting = CycleReport { resumed: false, finished: 0.0, elapsed: Duration::ZERO, ..report.clone() };
    (format!("{lasting:?}"), report.resumed)
}

#[cfg(feature = "cli")]
const KILLED_STATE: &str = "SEXTON_TEST_KILLED_STATE";

#[cfg(feature = "cli")]
#[actix_rt::test]
#[ignore = "the child that the next test starts"]
async fn killed_child() {
    let path = std::env::var_os(KILLED_STATE).unwrap();
    tokio::time::pause();
    let scenario = fail::FailScenario::setup();
    cycle_over_a_large_ring(Path::new(&path)).await;
    scenario.teardown();
}

/// How it happens: the process aborts before or after one of the transactions in which the prefixes of a large ring are added.
#[cfg(feature = "cli")]
#[actix_rt::test]
async fn a_kill_between_the_steps_of_a_beginning_changes_nothing_in_the_report() {
    use std::os::unix::process::ExitStatusExt;

    tokio::time::pause();
    let dir = tempfile::tempdir().unwrap();
    let (expected, _) = cycle_over_a_large_ring(&dir.path().join("undisturbed")).await;
    // Each step is two transactions: the second removes rows of cycles that went.
    for (point, prefixes) in [("before", [0, 1024, 1024, 2048, 2048]), ("after", [1024, 1024, 2048, 2048, 2500])] {
        for (passed, prefixes) in prefixes.into_iter().enumerate() {
            let failing = format!("checkpoint::{point}_take_up={passed}*off->return");
            let path = dir.path().join(format!("{point}-{passed}"));
            let mut child = std::process::Command::new(std::env::current_exe().unwrap());
            child.args(["--ignored", "--exact", "simulated::in_a_file::killed_child"]);
            let killed = child.env(KILLED_STATE, &path).env("FAILPOINTS", &failing).output().unwrap();
            assert_eq!(killed.status.signal(), Some(6), "aborted by {failing}");
            // Open until the cycle has ended: closing it before would empty the log.
            let conn = rusqlite::Connection::open(&path).unwrap();
            let found: u32 = conn.query_row("SELECT count(*) FROM prefix", [], |row| row.get(0)).unwrap();
            assert_eq!(found, prefixes, "aborted by {failing}");
            assert_eq!(cycle_over_a_large_ring(&path).await, (expected.clone(), true), "aborted by {failing}");
        }
    }
}
