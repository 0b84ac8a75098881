//! Stores that Tahoe-LAFS's own crawlers have walked, walked by the engine and by the program.
//!
//! The oracle is what Tahoe-LAFS 1.20.0 said of them (`tests/data/README.md`). The library is compared with all of it, disk
//! usage by the oracle's rule; the program counts the blocks of whatever file system it is on, so disk bytes are left out.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_executor::block_on;
use serde_json::Value;
use sexton::engine::{Cycles, Engine};
use sexton::job::{Count, Job};
use sexton::model::CycleReport;
use sexton::settings::{BudgetSettings, CrawlSettings, Settings};
use sexton::tahoe::leases::{Expiry, LeaseSettings};
use sexton::tahoe::store::DiskUsage;
use sexton::tahoe::{Leases, TahoeStore};

use crate::support::harness::{Fixture, crawl, run};

/// How the words begin that say what Tahoe's crawler would have done.
const STOPS_TAHOE: &str = "Tahoe's crawler would stop";

/// Runs one cycle of a job in an engine of its own.
fn walk(fixture: &Fixture, job: impl Job<TahoeStore>, now: f64, workers: u32, slice: Duration) -> CycleReport {
    let store = TahoeStore::open(&fixture.root).unwrap().with_disk_usage(DiskUsage::Rounded4096);
    let budget = BudgetSettings { rate: 4.0, slice, ..BudgetSettings::default() };
    let engine = Engine::builder(Settings { budget, ..Settings::default() })
        .cycles(Cycles::Once)
        .now(now)
        .crawl(CrawlSettings { workers, ..CrawlSettings::new("walk") }, store, job)
        .spawn()
        .unwrap();
    engine.join().unwrap();
    let report = engine.last_report("walk").unwrap();
    block_on(engine.shutdown(Duration::from_secs(60))).unwrap();
    CycleReport::clone(&report)
}

/// Tahoe's mode `age` without a duration is Sexton's `none`: neither ever lets a lease of our time expire.
fn expire(mode: &Value) -> &str {
    match mode["expire"].as_str().unwrap() {
        "age" => "none",
        other => other,
    }
}

fn leases(mode: &Value) -> Leases {
    let expiry: Expiry = expire(mode).parse().unwrap();
    let sharetypes = mode["sharetypes"].as_str().unwrap().parse().unwrap();
    Leases::new(LeaseSettings { expiry, sharetypes, ..LeaseSettings::default() })
}

fn without_disk_bytes(history: &Value) -> Value {
    let mut history = history.clone();
    let space = history["space-recovered"].as_object_mut().unwrap();
    let before = space.len();
    space.retain(|key, _| !key.contains("-diskbytes"));
    assert_eq!(before - space.len(), 12);
    history
}

/// Every bucket for which there are errors that stop Tahoe, with their number.
fn stopping(errors: impl Iterator<Item = (String, String)>) -> BTreeMap<String, u32> {
    let mut buckets = BTreeMap::new();
    for (path, _) in errors.filter(|(_, error)| error.contains(STOPS_TAHOE)) {
        let bucket = path.split("/shares/").nth(1).unwrap().split('/').nth(1).unwrap().to_owned();
        *buckets.entry(bucket).or_default() += 1;
    }
    buckets
}

fn fatal(expected: &Value) -> BTreeMap<String, u32> {
    expected["fatal"].as_array().unwrap().iter().map(|f| (f[1].as_str().unwrap().to_owned(), 1)).collect()
}

fn engine_says_what_tahoe_says(name: &str) {
    let fixture = Fixture::unpack(name);
    assert_eq!(fixture.expected.len(), 8, "modes");
    let ways = [(1, Duration::from_secs(1)), (2, Duration::from_millis(1))];
    for (mode_name, expected) in &fixture.expected {
        let (mode, now) = (&expected["mode"], expected["mode"]["now"].as_f64().unwrap());
        for (workers, slice) in ways {
            let report = walk(&fixture, leases(mode), now, workers, slice);
            let what = format!("{name} {mode_name}, {workers} worker(s)");
            assert_eq!(report.own["history"], expected["history"], "{what}");
            assert_eq!(report.counts.buckets, expected["bucket-count"].as_u64().unwrap(), "{what}");
            let errors = report.errors.into_iter().map(|e| (e.path, e.error));
            assert_eq!(stopping(errors), fatal(expected), "{what}");
            assert!(report.complete && report.counts.vanished == 0, "{what}");
        }
    }
    for (workers, slice) in ways {
        let expected = &fixture.expected["disabled"];
        let report = walk(&fixture, Count, 0.0, workers, slice);
        assert_eq!(report.own["prefixes"], expected["prefix-counts"], "{name}");
        assert_eq!(report.counts.buckets, expected["bucket-count"].as_u64().unwrap(), "{name}");
    }
}

fn program_says_what_tahoe_says(name: &str) {
    let fixture = Fixture::unpack(name);
    let folder = tempfile::tempdir().unwrap();
    let state = |mode: &str| folder.path().join(mode);
    for (i, (mode_name, expected)) in fixture.expected.iter().enumerate() {
        let mode = &expected["mode"];
        let dry_run = if mode["dry-run"] == true { "--dry-run" } else { "" };
        let args = format!(
            "--job leases --json --expire {} --sharetypes {} --now {} --workers {} {dry_run}",
            expire(mode),
            mode["sharetypes"].as_str().unwrap(),
            mode["now"],
            1 + i % 2
        );
        let ended = run(&mut crawl(&fixture.root, &state(mode_name), &args));
        let report = ended.report();
        let what = format!("{name} {mode_name}");
        assert_eq!(without_disk_bytes(&report["history"]), without_disk_bytes(&expected["history"]), "{what}");
        assert_eq!(report["buckets"], expected["bucket-count"], "{what}");
        let errors = report["errors"].as_array().unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        assert_eq!(stopping(errors.iter().map(|e| (text(&e["path"]), text(&e["error"])))), fatal(expected), "{what}");
        assert_eq!(report["errors_total"], errors.len(), "{what}");
        let all_well = errors.is_empty() && report["findings"] == serde_json::json!([]);
        ended.expect(if all_well { 0 } else { 1 });
    }
    let count = run(&mut crawl(&fixture.root, &state("count"), "--job count --json")).expect(0).report();
    let expected = &fixture.expected["disabled"];
    assert_eq!(count["prefixes"], expected["prefix-counts"], "{name}");
    assert_eq!(count["buckets"], expected["bucket-count"], "{name}");
}

macro_rules! fixtures {
    ($($module:ident: $name:literal)*) => {$(
        mod $module {
            #[test]
            fn engine_says_what_tahoe_says() {
                super::engine_says_what_tahoe_says($name);
            }

            #[test]
            fn program_says_what_tahoe_says() {
                super::program_says_what_tahoe_says($name);
            }
        }
    )*};
}

fixtures! {
    plain: "fixture-plain"
    odd: "fixture-odd"
    fatal: "fixture-fatal"
    real_grid: "real-grid-small"
}
