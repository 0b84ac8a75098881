//! Standing in for Tahoe's crawlers, with state files that Tahoe-LAFS 1.20.0 itself has written.
//!
//! `tests/data/tahoe-state` has them: `plain` and `odd` were left in mid-cycle over the fixtures of those names, `between`
//! after a cycle, `doubled` by a bucket counter that was restarted in mid-cycle. What Tahoe says of an undisturbed cycle
//! stands in the expected files.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_executor::block_on;
use serde_json::{Value, json};
use sexton::checkpoint::{MemoryStore, SqliteStore, StateStore};
use sexton::engine::{Cycles, Engine};
use sexton::job::{Count, Job, Leases};
use sexton::policy::cycle::Fresh;
use sexton::report::CycleReport;
use sexton::settings::{BudgetSettings, CrawlSettings, Settings};
use sexton::stand_in::{Crawler, Export, Folder, Import, Moment};
use sexton::store::{DiskUsage, Store, TahoeStore};
use sexton::tahoe::state::counter::Counter;
use sexton::tahoe::state::leases::{History, LeaseChecker};

use super::harness::{Fixture, NOW, run, sexton};

const MOMENT: Moment = Moment { unix_secs: 1_700_000_000.0, fixed: true };
const NAMES: [&str; 3] = ["bucket_counter.state.json", "lease_checker.state.json", "lease_checker.history.json"];

/// A copy of a fixture with Tahoe's state files in it.
struct Scene {
    fixture: Fixture,
    folder: Folder,
    states: tempfile::TempDir,
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tahoe-state").join(name)
}

impl Scene {
    fn new(fixture: &str, files: &str) -> Scene {
        let fixture = Fixture::unpack(fixture);
        for name in NAMES.iter().filter(|name| data(files).join(name).exists()) {
            std::fs::copy(data(files).join(name), fixture.root.join(name)).unwrap();
        }
        Scene { folder: Folder::new(&fixture.root), fixture, states: tempfile::tempdir().unwrap() }
    }

    fn store(&self) -> TahoeStore {
        TahoeStore::open(&self.fixture.root).unwrap().with_disk_usage(DiskUsage::Rounded4096)
    }

    fn state(&self, name: &str) -> PathBuf {
        self.states.path().join(name)
    }

    fn plan(&self, crawler: Crawler) -> Import {
        Import::plan(crawler, &self.folder, &self.store(), MOMENT).unwrap().unwrap()
    }

    /// Imports, and carries the cycle on with the settings that were found.
    fn carry_on(&self, crawler: Crawler, workers: u32) -> CycleReport {
        let path = self.state(&format!("{crawler}-{workers}"));
        let plan = self.plan(crawler);
        let mut state = SqliteStore::open(&path).unwrap();
        plan.apply(&mut state, Fresh::No).unwrap();
        match plan.settings() {
            Some(settings) => walk(self.store(), Leases::new(settings.clone()), state, crawler, workers),
            None => walk(self.store(), Count, state, crawler, workers),
        }
    }

    fn program(&self, command: &str, state: &str, args: &str) -> std::process::Command {
        let state = self.state(state);
        let mut program = sexton(["tahoe-state".as_ref(), command.as_ref(), self.fixture.root.as_os_str()]);
        program.arg("--state").arg(state).args(args.split_whitespace());
        program
    }

    /// All files in the store's folder itself, with what is in them.
    fn files(&self) -> Vec<(String, Vec<u8>)> {
        let mut files: Vec<_> = std::fs::read_dir(&self.fixture.root)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file())
            .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(path).unwrap()))
            .collect();
        files.sort();
        files
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.fixture.root.join(name)).unwrap()).unwrap()
    }
}

fn walk(
    store: TahoeStore,
    job: impl Job<TahoeStore>,
    state: impl StateStore,
    crawler: Crawler,
    workers: u32,
) -> CycleReport {
    let budget = BudgetSettings { rate: 4.0, slice: Duration::from_millis(1), ..BudgetSettings::default() };
    let engine = Engine::builder(Settings { budget, ..Settings::default() })
        .cycles(Cycles::Once)
        .now(MOMENT.unix_secs)
        .state(state)
        .crawl(CrawlSettings { workers, ..CrawlSettings::new(crawler.crawl()) }, store, job)
        .spawn()
        .unwrap();
    engine.join().unwrap();
    let report = engine.last_report(crawler.crawl()).unwrap();
    block_on(engine.shutdown(Duration::from_secs(60))).unwrap();
    CycleReport::clone(&report)
}

#[test]
fn cycle_that_tahoe_began_ends_with_the_history_of_an_undisturbed_one() {
    for (fixture, files, mode, cycle) in
        [("fixture-plain", "plain", "age-override-10d-dry", 2), ("fixture-odd", "odd", "cutoff-20d-ago-dry", 0)]
    {
        let scene = Scene::new(fixture, files);
        for workers in [1, 2] {
            let report = scene.carry_on(Crawler::LeaseChecker, workers);
            let expected = &scene.fixture.expected[mode];
            assert_eq!(report.own["history"], expected["history"], "{fixture}, {workers} worker(s)");
            assert_eq!((report.key.number, report.resumed), (cycle, true), "{fixture}");
            assert_eq!(report.counts.buckets, expected["bucket-count"].as_u64().unwrap(), "{fixture}");
        }
    }
}

#[test]
fn count_that_tahoe_began_ends_with_the_right_count_even_if_tahoe_would_never_have_had_one() {
    for (files, cycle, known) in [("plain", 2, 500), ("doubled", 0, 500)] {
        let scene = Scene::new("fixture-plain", files);
        assert_eq!(scene.plan(Crawler::Counter).extent().unwrap().prefixes_done, known, "{files}");
        let report = scene.carry_on(Crawler::Counter, 1);
        let expected = &scene.fixture.expected["disabled"];
        assert_eq!(report.own["prefixes"], expected["prefix-counts"], "{files}");
        assert_eq!((report.key.number, report.counts.buckets), (cycle, 300), "{files}");
    }
}

#[test]
fn prefixes_whose_count_a_restart_has_lost_are_counted_again() {
    let scene = Scene::new("fixture-plain", "doubled");
    // As after a second restart: of a key that is there twice, Tahoe's own reading keeps the last.
    let path = scene.fixture.root.join(NAMES[0]);
    std::fs::write(&path, scene.json(NAMES[0]).to_string()).unwrap();
    let plan = scene.plan(Crawler::Counter);
    assert_eq!(plan.extent().unwrap().prefixes_done, 200);
    assert!(plan.remarks()[0].contains("300 prefixes"), "{:?}", plan.remarks());
    assert_eq!(scene.carry_on(Crawler::Counter, 2).counts.buckets, 300);
}

#[test]
fn finished_cycles_come_back_as_tahoe_wrote_them() {
    let scene = Scene::new("fixture-plain", "between");
    let mut state = MemoryStore::default();
    for crawler in [Crawler::Counter, Crawler::LeaseChecker] {
        let plan = scene.plan(crawler);
        assert!(plan.extent().is_none());
        plan.apply(&mut state, Fresh::No).unwrap();
        plan.apply(&mut state, Fresh::No).unwrap();
        let latest = state.latest(crawler.crawl()).unwrap().unwrap();
        assert_eq!((latest.number, latest.delivered), (1, true));
        let before = scene.files();
        let export = Export::plan(crawler, &mut state, &scene.folder, &scene.store()).unwrap().unwrap();
        assert_eq!(scene.files(), before, "a plan changes nothing");
        let there = |name| (name, scene.json(name));
        let theirs = NAMES.map(there);
        export.apply(&scene.folder).unwrap();
        for (name, theirs) in theirs {
            let ours = scene.json(name);
            for (key, theirs) in theirs.as_object().unwrap() {
                // Names of buckets that nobody reads; and when the last cycle began, a whole number where the clock stood still.
                if key != "storage-index-samples" {
                    assert_eq!(as_floats(&ours[key]), as_floats(theirs), "{name} {key}");
                }
            }
        }
    }
    assert_eq!(scene.carry_on(Crawler::Counter, 1).key.number, 2);
}

/// Python tells 1 from 1.0 no more than JSON does.
fn as_floats(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(values) => values.iter().map(as_floats).collect(),
        Value::Object(values) => Value::Object(values.iter().map(|(k, v)| (k.clone(), as_floats(v))).collect()),
        other => other.clone(),
    }
}

#[test]
fn half_a_cycle_goes_out_and_comes_back_without_loss() {
    for (fixture, files) in [("fixture-plain", "plain"), ("fixture-odd", "odd")] {
        let scene = Scene::new(fixture, files);
        let mut state = MemoryStore::default();
        let plan = scene.plan(Crawler::LeaseChecker);
        plan.apply(&mut state, Fresh::No).unwrap();
        let export = Export::plan(Crawler::LeaseChecker, &mut state, &scene.folder, &scene.store()).unwrap().unwrap();
        assert_eq!(export.extent(), plan.extent());
        let checker = |scene: &Scene| {
            let text = std::fs::read(scene.fixture.root.join(NAMES[1])).unwrap();
            LeaseChecker::parse(&text, scene.store().ring()).unwrap()
        };
        let theirs = checker(&scene);
        export.apply(&scene.folder).unwrap();
        assert_eq!(checker(&scene), theirs);
        let so_far = &scene.json(NAMES[1])["cycle-to-date"];
        assert_eq!(so_far["lease-age-histogram"], json!({}), "which Tahoe's loader survives");
        assert_eq!(scene.plan(Crawler::LeaseChecker), plan, "what is imported again is the same");
    }
}

#[test]
fn program_imports_crawls_and_exports() {
    let scene = Scene::new("fixture-plain", "plain");
    let before = scene.files();
    let dry = run(&mut scene.program("import", "state", "--dry-run")).expect(0);
    assert!(
        dry.stdout.contains("420 of 1024 prefixes complete, and the next up to h6dlyb2z6enbpk64vr2c57msqu"),
        "{}",
        dry.stdout
    );
    assert!(!scene.state("state").exists(), "a dry run makes no state");
    let imported = run(&mut scene.program("import", "state", &format!("--now {NOW}"))).expect(0);
    assert_eq!(scene.files(), before, "an import changes none of Tahoe's files");
    let command = imported
        .stdout
        .lines()
        .filter_map(|line| line.trim().strip_prefix("carried on by: sexton "))
        .next_back()
        .unwrap();
    let report = run(sexton(command.split(' ')).arg("--json")).expect(0).report();
    assert_eq!((&report["resumed"], &report["cycle"]), (&json!(true), &json!(2)));
    let mut expected = scene.fixture.expected["age-override-10d-dry"]["history"].clone();
    let mut found = report["history"].clone();
    for history in [&mut found, &mut expected] {
        history["space-recovered"].as_object_mut().unwrap().retain(|key, _| !key.contains("diskbytes"));
    }
    assert_eq!(found, expected);

    let exported = run(&mut scene.program("export", "state", "--job leases")).expect(0);
    assert!(exported.stdout.contains("lease_checker.state.json.bak"), "{}", exported.stdout);
    let history = History::parse(&std::fs::read(scene.fixture.root.join(NAMES[2])).unwrap()).unwrap();
    assert_eq!(history.0.into_keys().collect::<Vec<_>>(), [0, 1, 2]);
    for name in &NAMES[1..] {
        let kept = std::fs::read(scene.fixture.root.join(format!("{name}.bak"))).unwrap();
        assert_eq!(Some(&kept), before.iter().find(|(of, _)| of == name).map(|(_, text)| text));
    }
    run(&mut scene.program("export", "state", "--job leases")).expect(0);
    assert!(scene.fixture.root.join("lease_checker.state.json.bak.1").exists(), "a backup is never overwritten");
}

#[test]
fn what_sexton_has_in_progress_is_not_overwritten_unasked() {
    let scene = Scene::new("fixture-plain", "plain");
    run(&mut scene.program("import", "state", "")).expect(0);
    run(&mut scene.program("import", "state", "")).expect(2).said("give it up with --fresh");
    run(&mut scene.program("import", "state", "--fresh")).expect(0);
    // Sexton has come further than Tahoe.
    run(sexton([
        "crawl".as_ref(),
        scene.fixture.root.as_os_str(),
        "--job".as_ref(),
        "count".as_ref(),
        "--state".as_ref(),
    ])
    .arg(scene.state("state")))
    .expect(0);
    run(&mut scene.program("import", "state", "--job count --fresh")).expect(2).said("this state has finished cycle 2");
}

#[test]
fn export_does_not_set_tahoe_back() {
    let scene = Scene::new("fixture-plain", "plain");
    let before = scene.files();
    run(&mut scene.program("export", "none", "")).expect(2).said("nothing to export");
    assert!(!scene.state("none").exists());
    let crawl =
        ["crawl".as_ref(), scene.fixture.root.as_os_str(), "--job".as_ref(), "leases".as_ref(), "--state".as_ref()];
    run(sexton(crawl).arg(scene.state("own"))).expect(0);
    run(&mut scene.program("export", "own", "--job leases"))
        .expect(2)
        .said("has come to cycle 2, this state to cycle 0");
    assert_eq!(scene.files(), before);
}

#[test]
fn export_beside_a_running_node_is_refused() {
    let outer = tempfile::tempdir().unwrap();
    let scene = Scene::new("fixture-plain", "between");
    let storage = outer.path().join("storage");
    std::fs::rename(&scene.fixture.root, &storage).unwrap();
    let program = |command: &str, more: &[&str]| {
        let mut program = sexton(["tahoe-state".as_ref(), command.as_ref(), storage.as_os_str(), "--state".as_ref()]);
        run(program.arg(scene.state("state")).args(more))
    };
    program("import", &[]).expect(0);
    std::fs::write(outer.path().join("running.process"), format!("{} 1700000000.5\n", std::process::id())).unwrap();
    program("export", &[]).expect(2).said("stop it first");
    assert!(!storage.join("lease_checker.state.json.bak").exists());
    program("export", &["--node-stopped"]).expect(0);
    assert!(storage.join("lease_checker.state.json.bak").exists());
    std::fs::write(outer.path().join("running.process"), "999999999 1700000000.5\n").unwrap();
    program("export", &[]).expect(0);
}

/// A file that is wrong, and what is said of it.
fn spoilt(scene: &Scene, name: &str, text: &[u8], says: &str) {
    let path = scene.fixture.root.join(name);
    let sound = std::fs::read(&path).unwrap();
    std::fs::write(&path, text).unwrap();
    let before = scene.files();
    let ended = run(&mut scene.program("import", "spoilt", "")).expect(2);
    ended.said(says).said(name);
    assert!(!scene.state("spoilt").exists(), "{says}");
    assert_eq!(scene.files(), before);
    std::fs::write(&path, sound).unwrap();
}

#[test]
fn bad_files_are_told_and_change_nothing() {
    let scene = Scene::new("fixture-plain", "plain");
    for name in NAMES {
        let sound = std::fs::read(scene.fixture.root.join(name)).unwrap();
        spoilt(&scene, name, b"", "EOF");
        spoilt(&scene, name, &sound[..sound.len() / 2], "EOF");
        spoilt(&scene, name, b"\x80\x02}q\x00.", "expected value");
        spoilt(&scene, name, b"[]", "invalid");
    }
    let change = |name: &str, change: &dyn Fn(&mut Value), says: &str| {
        let mut value = scene.json(name);
        change(&mut value);
        spoilt(&scene, name, value.to_string().as_bytes(), says);
    };
    for name in &NAMES[..2] {
        spoilt(&scene, name, b"{}", "missing field");
        change(name, &|v| v["version"] = json!(2), "version 2");
        change(name, &|v| v["last-complete-prefix"] = json!("00"), "none of the prefixes");
        change(name, &|v| v["last-complete-prefix"] = json!("zz"), "its last prefix is complete");
        change(name, &|v| v["current-cycle"] = json!(9), "cycle 9 is in progress");
        change(name, &|v| v["current-cycle-start-time"] = Value::Null, "since when");
        change(name, &|v| drop(v.as_object_mut().unwrap().remove("last-complete-bucket")), "last-complete-bucket");
        change(name, &|v| v["last-cycle-finished"] = json!(u64::MAX), "impossible number");
    }
    change(NAMES[0], &|v| v["bucket-counts"]["2"]["!!"] = json!(1), "is no prefix");
    change(NAMES[0], &|v| v["bucket-counts"]["2"]["22"] = json!(-1), "invalid value");
    change(NAMES[0], &|v| v["bucket-counts"]["x"] = json!({}), "no number of a cycle");
    change(NAMES[2], &|v| v["x"] = v["0"].clone(), "no number of a cycle");
    change(NAMES[2], &|v| v["0"]["cycle-start-finish-times"] = json!([1]), "cycle-start-finish-times");
    let so_far = |of: &dyn Fn(&mut Value), says: &str| {
        change(NAMES[1], &|v| of(&mut v["cycle-to-date"]), says);
        change(NAMES[2], &|v| of(&mut v["1"]), says);
    };
    so_far(&|v| v["lease-age-histogram"] = json!([[0, 1, 2]]), "no day");
    so_far(&|v| v["lease-age-histogram"] = json!({"0,x": 2}), "no day");
    so_far(&|v| v["configured-expiration-mode"] = json!(["age", null, 5, []]), "none of Tahoe's");
    so_far(&|v| v["configured-expiration-mode"] = json!(["age", null, null, ["immobile"]]), "types of shares");
    so_far(&|v| v["corrupt-shares"] = json!([["x", "y"]]), "corrupt-shares");
    so_far(&|v| drop(v["space-recovered"].as_object_mut().unwrap().remove("actual-shares")), "actual-shares");
    so_far(&|v| v["space-recovered"]["more"] = json!(1), "does not write");
    so_far(&|v| *v = Value::Null, "");
    run(&mut scene.program("import", "sound", "")).expect(0);
}

#[test]
fn pickles_are_refused_with_the_name_of_tahoes_own_command() {
    let scene = Scene::new("fixture-plain", "plain");
    run(&mut scene.program("import", "state", "")).expect(0);
    for name in NAMES {
        let old = scene.fixture.root.join(name.strip_suffix(".json").unwrap());
        std::fs::write(&old, b"\x80\x02}q\x00.").unwrap();
        let before = scene.files();
        run(&mut scene.program("import", "other", "")).expect(2).said("tahoe admin migrate-crawler");
        run(&mut scene.program("export", "state", "")).expect(2).said("tahoe admin migrate-crawler");
        assert_eq!(scene.files(), before);
        assert!(!scene.state("other").exists());
        std::fs::remove_file(old).unwrap();
    }
}

/// How the failure happens: the process aborts itself when the new file is on the disk, just before or after it takes the
/// place of the old one.
#[test]
fn aborted_export_leaves_each_file_old_or_new() {
    for (point, passed) in [("before_rename", 0), ("after_rename", 0), ("before_rename", 1), ("after_rename", 1)] {
        let scene = Scene::new("fixture-plain", "plain");
        run(&mut scene.program("import", "state", "--job leases")).expect(0);
        let old: Vec<Value> = NAMES[1..].iter().map(|name| scene.json(name)).collect();
        let fail = format!("stand_in::{point}={passed}*off->return");
        let aborted = run(scene.program("export", "state", "--job leases").env("FAILPOINTS", &fail));
        assert_eq!(aborted.signal(), Some(6), "{fail}");
        let found: Vec<Value> = NAMES[1..].iter().map(|name| scene.json(name)).collect();
        // The history goes first.
        let renamed = passed + usize::from(point == "after_rename");
        assert_eq!(found[1] == old[1], renamed < 1, "{fail}");
        assert_eq!(found[0] == old[0], renamed < 2, "{fail}");
        run(&mut scene.program("export", "state", "--job leases")).expect(0);
        let left: Vec<String> =
            scene.files().into_iter().map(|(name, _)| name).filter(|n| n.starts_with('.')).collect();
        assert_eq!(left, [""; 0]);
    }
}

#[test]
fn counter_in_progress_is_handed_back_as_not_begun() {
    let scene = Scene::new("fixture-plain", "plain");
    let mut state = MemoryStore::default();
    scene.plan(Crawler::Counter).apply(&mut state, Fresh::No).unwrap();
    let export = Export::plan(Crawler::Counter, &mut state, &scene.folder, &scene.store()).unwrap().unwrap();
    assert!(export.remarks()[0].contains("begins that cycle again"), "{:?}", export.remarks());
    export.apply(&scene.folder).unwrap();
    let text = std::fs::read(scene.fixture.root.join(NAMES[0])).unwrap();
    let counter = Counter::parse(&text, scene.store().ring()).unwrap();
    assert_eq!((counter.position.last_finished, counter.position.current), (Some(1), None));
    assert_eq!(counter.last_count, Some(300), "what Tahoe had counted before is kept");
}
