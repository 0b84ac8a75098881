//! Expiry over the stores that Tahoe-LAFS's own lease checker has expired: with `--compat --offline` the same history and
//! the same bytes are left; without, they differ exactly where the text of a test says so.
//!
//! `*.deleting.json` has, beside the history, every file that Tahoe's lease checker changed: its SHA-256 afterwards, or null
//! if it is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use futures_executor::block_on;
use serde_json::Value;
use sexton::engine::{Cycles, Engine};
use sexton::model::CycleReport;
use sexton::settings::{BudgetSettings, CrawlSettings, Settings};
use sexton::tahoe::leases::{Conduct, LeaseSettings, Word};
use sexton::tahoe::store::DiskUsage;
use sexton::tahoe::{Leases, TahoeStore};

use crate::support::harness::Fixture;
use crate::support::sha256;

/// Links to real shares in `fixture-fatal`. Tahoe follows them and Sexton never does, so they are taken away first; what
/// becomes of links is tested in `expiry_safety`.
const LINKS: [&str; 2] = ["3f/3fzoz25wcy4xe3ldcxussxlbqi/1", "qu/qubij44coifq6uxga64yyff66a"];

const NAMES: [&str; 4] = ["fixture-plain", "fixture-odd", "fixture-fatal", "real-grid-small"];

/// Files by their paths below `shares/`.
pub type Files = BTreeMap<String, Vec<u8>>;

/// The SHA-256 of files that were changed; `None` where one is gone.
type Changed = BTreeMap<String, Option<String>>;

/// What Tahoe's lease checker did, by mode.
fn deleting(name: &str) -> serde_json::Map<String, Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/{name}.deleting.json"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Every file below `shares/`, as the oracle takes them: links to files count as files.
pub fn files(root: &Path) -> Files {
    fn walk(dir: &Path, top: &Path, found: &mut Files) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                walk(&path, top, found);
            } else if path.is_file() {
                let name = path.strip_prefix(top).unwrap().to_str().unwrap().to_owned();
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    let (top, mut found) = (root.join("shares"), Files::new());
    walk(&top, &top, &mut found);
    found
}

/// Every file that is another afterwards, or gone.
fn changed(before: &Files, after: &Files) -> Changed {
    assert!(after.keys().all(|name| before.contains_key(name)), "nothing is made");
    let differing = before.iter().filter(|(name, was)| after.get(*name) != Some(*was));
    differing.map(|(name, _)| (name.clone(), after.get(name).map(|bytes| sha256::hex(bytes)))).collect()
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
fn expire(
    fixture: &Fixture,
    settings: LeaseSettings,
    now: f64,
    workers: u32,
    slice: Duration,
) -> (CycleReport, Changed) {
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

fn expected_changes(expected: &Value) -> Changed {
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
            let differing: Vec<_> =
                expected.keys().chain(changed.keys()).filter(|f| expected.get(*f) != changed.get(*f)).collect();
            assert!(differing.is_empty(), "{what}: {differing:?}");
        }
    }
}

/// One fixture's differences.
struct Differs {
    fixture: &'static str,
    /// Files that Tahoe changes and careful expiry keeps: their lease tables do not fit, or have dates that cannot be,
    /// or the directory is no bucket.
    kept: &'static [&'static str],
    /// Files that only careful expiry changes: they stand behind a share on which Tahoe stops, because two of its
    /// expired leases have one cancel secret.
    changed: &'static [&'static str],
}

const DIFFERENCES: [Differs; 4] = [
    Differs { fixture: "fixture-plain", kept: &[], changed: &[] },
    Differs { fixture: "real-grid-small", kept: &[], changed: &[] },
    Differs {
        fixture: "fixture-odd",
        kept: &[
            // One lease of two is dated 2106.
            "7v/7vuz7h6xlgwebeooqpgjlfznbq/0",
            "f5/f5l3kry4ogj2srqd2ypqkwktvm/0",
            // Dated 1970.
            "lh/lh3ai4e66usifw4r66uhlo4fvy/0",
            // In directories that are no buckets.
            "re/rehn3/0",
            "sp/sp7rg/0",
            // Dated 1970 too.
            "wj/wj5j5loewjgfdodi43f5fkppwa/0",
        ],
        changed: &[],
    },
    Differs {
        fixture: "fixture-fatal",
        kept: &[
            "44/44uc2iimf23dmzmdr7cznidgey/0",
            "4q/4qroex7glggv2nt5wygotgpave/4",
            "be/begnkqstbhth3in43p77zzra6u/0",
            "i6/i6b2kxwhy47evrmlegu7wqtrma/2",
            "i6/i6b2kxwhy47evrmlegu7wqtrma/3",
            "i6/i6b2kxwhy47evrmlegu7wqtrma/4",
            "qw/qwgr7fbeiixapmmj4rvgjxfrwy/0",
            // In directories that are no buckets: a name in capitals, one whose last character cannot end a storage index.
            "qy/qy-/0",
            "qy/qyXXXXXXXXXXXXXXXXXXXXXXXX/0",
            "qy/qyaaaaaaaaaaaaaaaaaaaaaaab/0",
            "ri/rijtlzmxooxr43pah5yh2gfgtu/0",
            "st/stgdn/0",
            "up/up5yyayei3q27jela5chsbfoge/0",
            "vx/vxl7c/0",
        ],
        changed: &[
            "4q/4qroex7glggv2nt5wygotgpave/6",
            "4q/4qroex7glggv2nt5wygotgpave/7",
            "4q/4qroex7glggv2nt5wygotgpave/8",
        ],
    },
];

#[test]
fn careful_expiry_differs_from_tahoe_exactly_here() {
    for differs in DIFFERENCES {
        let (mut kept, mut more) = (BTreeSet::new(), BTreeSet::new());
        for (mode_name, expected) in deleting(differs.fixture).iter().filter(|(_, e)| e["mode"]["expire"] != "age") {
            let what = format!("{} {mode_name}", differs.fixture);
            let (mode, now) = (&expected["mode"], expected["mode"]["now"].as_f64().unwrap());
            let fixture = unpack(differs.fixture);
            let (report, changed) = expire(&fixture, settings(mode, Conduct::Careful), now, 1, Duration::from_secs(1));
            let tahoes = expected_changes(expected);
            let mut unlinked_by_tahoe_only = 0;
            for (file, theirs) in tahoes.iter().filter(|(file, theirs)| changed.get(*file) != Some(*theirs)) {
                assert!(!changed.contains_key(file), "{what}: {file} is neither as Tahoe leaves it nor kept");
                let flawed = |f: &sexton::job::Finding| file.contains(&f.bucket);
                assert!(report.findings.iter().any(flawed), "{what}: {file} is kept and nothing is said of it");
                unlinked_by_tahoe_only += u64::from(theirs.is_none());
                kept.insert(file.clone());
            }
            more.extend(changed.keys().filter(|file| !tahoes.contains_key(*file)).cloned());
            if differs.fixture != "fixture-fatal" {
                check_history(&report.own["history"], &expected["history"], unlinked_by_tahoe_only, &what);
            }
            let gone = changed.values().filter(|file| file.is_none()).count() as u64;
            assert_eq!(report.own["deleted"]["shares"], gone, "{what}");
        }
        assert_eq!(kept.iter().map(String::as_str).collect::<Vec<_>>(), differs.kept, "{}", differs.fixture);
        assert_eq!(more.iter().map(String::as_str).collect::<Vec<_>>(), differs.changed, "{}", differs.fixture);
    }
}

/// All of the history is Tahoe's, but for the shares that were kept.
fn check_history(ours: &Value, theirs: &Value, kept: u64, what: &str) {
    let (mut left, mut right) = (ours.clone(), theirs.clone());
    for history in [&mut left, &mut right] {
        let space = history["space-recovered"].as_object_mut().unwrap();
        space.retain(|key, _| !key.starts_with("actual-"));
    }
    assert_eq!(left, right, "{what}");
    for key in ["actual-shares", "actual-shares-immutable", "actual-buckets", "actual-buckets-immutable"] {
        let of = |history: &Value| history["space-recovered"][key].as_u64().unwrap();
        assert_eq!(of(ours) + kept, of(theirs), "{what} {key}: each stands alone in its bucket");
    }
}
