//! Standing in for Tahoe's crawlers, with state files that Tahoe-LAFS 1.20.0 itself has written.
//!
//! `tests/data/tahoe-state` has them: `plain` and `odd` were left in mid-cycle over the fixtures of those names, `between`
//! after a cycle, `doubled` by a bucket counter that was restarted in mid-cycle. What Tahoe says of an undisturbed cycle
//! stands in the expected files.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_executor::block_on;
use serde_json::{Value, json};
use sexton::engine::{Cycles, Engine};
use sexton::job::{Count, Job};
use sexton::model::CycleReport;
use sexton::policy::cycle::Fresh;
use sexton::settings::{BudgetSettings, CrawlSettings, Settings};
use sexton::state::{MemoryStore, SqliteStore, StateStore};
use sexton::store::Store;
use sexton::tahoe::state::counter::Counter;
use sexton::tahoe::state::leases::{CycleHistory, LeaseChecker};
use sexton::tahoe::store::DiskUsage;
use sexton::tahoe::transfer::{Crawler, Export, Import, ImportTime, NodeFolder};
use sexton::tahoe::{Leases, TahoeStore};

use crate::support::harness::{Fixture, NOW, crawl, run, sexton};

const MOMENT: ImportTime = ImportTime { unix_secs: 1_700_000_000.0, fixed: true };
pub const NAMES: [&str; 3] = ["bucket_counter.state.json", "lease_checker.state.json", "lease_checker.history.json"];

/// A copy of a fixture with Tahoe's state files in it.
pub struct Scene {
    pub fixture: Fixture,
    folder: NodeFolder,
    states: tempfile::TempDir,
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tahoe-state").join(name)
}

impl Scene {
    pub fn new(fixture: &str, files: &str) -> Scene {
        let fixture = Fixture::unpack(fixture);
        for name in NAMES.iter().filter(|name| data(files).join(name).exists()) {
            std::fs::copy(data(files).join(name), fixture.root.join(name)).unwrap();
        }
        Scene { folder: NodeFolder::new(&fixture.root), fixture, states: tempfile::tempdir().unwrap() }
    }

    fn store(&self) -> TahoeStore {
        TahoeStore::open(&self.fixture.root).unwrap().with_disk_usage(DiskUsage::Rounded4096)
    }

    pub fn state(&self, name: &str) -> PathBuf {
        self.states.path().join(name)
    }

    pub fn plan(&self, crawler: Crawler) -> Import {
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

    pub fn program(&self, command: &str, state: &str, args: &str) -> std::process::Command {
        let state = self.state(state);
        let mut program = sexton(["tahoe-state".as_ref(), command.as_ref(), self.fixture.root.as_os_str()]);
        program.arg("--state").arg(state).args(args.split_whitespace());
        // The files of the node were copied just now.
        program.args((command == "export").then_some("--node-stopped"));
        program
    }

    /// All files in the store's folder itself, with what is in them.
    pub fn files(&self) -> Vec<(String, Vec<u8>)> {
        let mut files: Vec<_> = std::fs::read_dir(&self.fixture.root)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file())
            .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(path).unwrap()))
            .collect();
        files.sort();
        files
    }

    pub fn json(&self, name: &str) -> Value {
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
        let latest = state.reader().latest(crawler.crawl()).unwrap().unwrap();
        assert_eq!((latest.number, latest.delivered), (1, true));
        let before = scene.files();
        let export = Export::plan(crawler, &*state.reader(), &scene.folder, &scene.store()).unwrap().unwrap();
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
        let export =
            Export::plan(Crawler::LeaseChecker, &*state.reader(), &scene.folder, &scene.store()).unwrap().unwrap();
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

    let dry = run(&mut scene.program("export", "state", "--job leases --dry-run")).expect(0);
    assert!(dry.stdout.contains("would hand back 3 finished cycles, 0 to 2"), "{}", dry.stdout);
    assert_eq!(scene.files(), before, "a dry run changes nothing");
    let exported = run(&mut scene.program("export", "state", "--job leases")).expect(0);
    assert!(exported.stdout.contains("lease_checker.state.json.bak"), "{}", exported.stdout);
    let history = CycleHistory::parse(&std::fs::read(scene.fixture.root.join(NAMES[2])).unwrap()).unwrap();
    assert_eq!(history.0.into_keys().collect::<Vec<_>>(), [0, 1, 2]);
    for name in &NAMES[1..] {
        let kept = std::fs::read(scene.fixture.root.join(format!("{name}.bak"))).unwrap();
        assert_eq!(Some(&kept), before.iter().find(|(of, _)| of == name).map(|(_, text)| text));
    }
    let again = run(&mut scene.program("export", "state", "--job leases")).expect(0);
    assert!(again.stdout.contains("lease_checker.state.json was the same already"), "{}", again.stdout);
    std::fs::write(scene.fixture.root.join(NAMES[1]), "x").unwrap();
    run(&mut scene.program("export", "state", "--job leases")).expect(0).said("is not as Tahoe 1.20 writes it");
    let kept = |suffix: &str| std::fs::read(scene.fixture.root.join(format!("{}{suffix}", NAMES[1]))).unwrap();
    assert_eq!(kept(".bak.1"), b"x", "a backup is never overwritten");
    assert_eq!(Some(&kept(".bak")), before.iter().find(|(of, _)| of == NAMES[1]).map(|(_, text)| text));
}

/// How it happens: the node was deleting what expires, and its owner goes on with Sexton in the middle of a cycle.
#[test]
fn a_cycle_in_which_tahoe_was_deleting_goes_on_as_tahoe_does_and_not_otherwise() {
    let scene = Scene::new("fixture-plain", "plain");
    let mut theirs = scene.json(NAMES[1]);
    theirs["cycle-to-date"]["expiration-enabled"] = json!(true);
    std::fs::write(scene.fixture.root.join(NAMES[1]), theirs.to_string()).unwrap();
    let imported = run(&mut scene.program("import", "state", &format!("--job leases --now {NOW}"))).expect(0);
    imported.said("only as Tahoe does, in one pass");
    let command = imported.stdout.lines().find_map(|line| line.trim().strip_prefix("carried on by: sexton ")).unwrap();
    let compat = "--offline --compat --max-delete 100%";
    assert!(command.contains(compat), "{command}");
    let with = |how: &str| run(sexton(command.replace(compat, how).split(' ')).arg("--json"));
    // The node's files were copied just now.
    let compat_stopped = &format!("{compat} --node-stopped");
    for how in ["--offline --compat", "--offline --compat --max-delete 99%"] {
        with(how).expect(2).said("--max-delete 100%");
    }
    with("--dry-run").expect(0);
    let report = with(compat_stopped).expect(0).report();
    assert_eq!((&report["resumed"], &report["cycle"]), (&json!(true), &json!(2)));
    assert_eq!(report["history"]["expiration-enabled"], true);
    assert!(report["deleted"]["shares"].as_u64().unwrap() > 0, "{report}");
}

#[test]
fn what_is_not_yet_carried_out_is_not_handed_back_to_tahoe() {
    let scene = Scene::new("fixture-plain", "between");
    NAMES.iter().for_each(|name| std::fs::remove_file(scene.fixture.root.join(name)).unwrap());
    let args = format!("--job leases --expire age:2678400 --offline --node-stopped --now {NOW} --max-delete 0%");
    run(&mut crawl(&scene.fixture.root, &scene.state("state"), &args)).expect(4);
    let export = || run(&mut scene.program("export", "state", "--job leases"));
    export().expect(2).said("has not deleted all that it has shown");
    let args = args.replace("0%", "100%");
    let stopped =
        run(crawl(&scene.fixture.root, &scene.state("state"), &args)
            .env("FAILPOINTS", "store::after_unlink=3*off->return"));
    assert_eq!(stopped.signal(), Some(6), "{}", stopped.stderr);
    export().expect(2).said("nothing was exported: cycle 0 has");
    run(&mut crawl(&scene.fixture.root, &scene.state("state"), &args)).expect(0);
    export().expect(0);
}

#[test]
fn a_cycle_that_goes_by_a_moment_given_has_not_begun_after_it() {
    let scene = Scene::new("fixture-plain", "between");
    NAMES.iter().for_each(|name| std::fs::remove_file(scene.fixture.root.join(name)).unwrap());
    let args = format!("--job leases --now {NOW} --checkpoint every_bucket");
    let mut stopped = crawl(&scene.fixture.root, &scene.state("state"), &args);
    let stopped = run(stopped.env("FAILPOINTS", "checkpoint::before_commit=20*off->return"));
    assert_eq!(stopped.signal(), Some(6), "{}", stopped.stderr);
    let exported = run(&mut scene.program("export", "state", "--job leases")).expect(0).stdout;
    assert!(exported.contains("cycle 0, begun 2023-11-14T22:13:20Z"), "{exported}");
    assert_eq!(scene.json(NAMES[1])["current-cycle-start-time"], 1_700_000_000.0);
}

#[test]
fn counter_in_progress_is_handed_back_as_not_begun() {
    let scene = Scene::new("fixture-plain", "plain");
    let mut state = MemoryStore::default();
    scene.plan(Crawler::Counter).apply(&mut state, Fresh::No).unwrap();
    let export = Export::plan(Crawler::Counter, &*state.reader(), &scene.folder, &scene.store()).unwrap().unwrap();
    assert!(export.remarks()[0].contains("begins that cycle again"), "{:?}", export.remarks());
    export.apply(&scene.folder).unwrap();
    let text = std::fs::read(scene.fixture.root.join(NAMES[0])).unwrap();
    let counter = Counter::parse(&text, scene.store().ring()).unwrap();
    assert_eq!((counter.position.last_finished, counter.position.current), (Some(1), None));
    assert_eq!(counter.last_count, Some(300), "what Tahoe had counted before is kept");
}
