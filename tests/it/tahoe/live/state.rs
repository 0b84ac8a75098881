//! Cycles that change hands: begun by Tahoe and carried on here, begun here and carried on by Tahoe, on stores with fresh
//! random seeds. `tahoe_slices.py` runs Tahoe's own crawlers from the state files that it finds, as its node would.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{NOW, fresh_store, python, without_disk};
use crate::support::harness::{Ended, run, sexton};

const SHAPE: [&str; 10] =
    ["--buckets", "200", "--shares", "1-3", "--leases", "0-4", "--oddities", "benign", "--odd-repeat", "2"];
const RULE: [&str; 3] = ["--expire", "age:864000", "--dry-run"];

struct Scene {
    folder: tempfile::TempDir,
    store: String,
    /// The history entry and bucket count of an undisturbed cycle of Tahoe's.
    expected: Value,
}

impl Scene {
    fn new() -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let store = fresh_store(folder.path(), &SHAPE);
        let oracle = ["oracle.py", "--store", &store, "--no-files", "--now", NOW];
        let expected = serde_json::from_slice(&python(&[&oracle[..], &RULE].concat())).unwrap();
        Scene { folder, store, expected }
    }

    /// Tahoe's crawlers, from the files in the store's folder.
    fn tahoe(&self, args: &[&str]) -> Value {
        let common = ["tahoe_slices.py", "--store", &self.store, "--files", &self.store, "--now", NOW];
        serde_json::from_slice(&python(&[&common[..], &RULE, args].concat())).unwrap()
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state.sqlite")
    }

    fn tahoe_state(&self, command: &str, args: &[&str]) -> Ended {
        let mut program = sexton(["tahoe-state", command, &self.store, "--state"]);
        program.arg(self.state());
        // The node has saved its state just now, when it stopped.
        program.args((command == "export").then_some("--node-stopped"));
        run(program.args(args)).expect(0)
    }

    fn crawl(&self, job: &str) -> std::process::Command {
        let mut program = sexton(["crawl", &self.store, "--job", job, "--json", "--now", NOW, "--state"]);
        program.arg(self.state());
        if job == "leases" {
            program.args(RULE);
        }
        program
    }

    fn history(&self, found: &Value, but: &[&str], what: &str) {
        let without = |history: &Value| {
            let mut history = without_disk(history);
            but.iter().for_each(|key| drop(history.as_object_mut().unwrap().remove(*key)));
            // Of each time Tahoe makes what its clock gives; a whole number here.
            history["cycle-start-finish-times"] = json!(history["cycle-start-finish-times"][1].as_f64());
            history
        };
        assert_eq!(without(found), without(&self.expected["history"]), "{what}");
    }
}

fn ages(histogram: &Value) -> u64 {
    histogram.as_array().unwrap().iter().map(|row| row[2].as_u64().unwrap()).sum()
}

#[test]
fn cycle_that_tahoe_began_is_carried_on_here() {
    let scene = Scene::new();
    scene.tahoe(&["--finish"]);
    for buckets in ["1", "80", "77"] {
        // Each round is a restart in mid-cycle, which Tahoe survives with what was exported.
        let left = scene.tahoe(&["--buckets", buckets, "--prefixes", buckets]);
        assert_eq!(left["died"], json!({"counter": null, "leases": null}), "{buckets}");
        scene.tahoe_state("import", &["--now", NOW, "--fresh"]);
        let export = scene.tahoe_state("export", &["--job", "leases"]);
        assert!(export.stdout.contains("cycle 1"), "{}", export.stdout);
    }
    let report = run(&mut scene.crawl("leases")).report();
    assert_eq!((&report["cycle"], &report["resumed"]), (&json!(1), &json!(true)));
    scene.history(&report["history"], &[], "after three changes of hands");
    assert_eq!(run(&mut scene.crawl("count")).expect(0).report()["buckets"], scene.expected["bucket-count"]);
}

#[test]
fn tahoe_does_not_survive_its_own_restart_in_mid_cycle_and_sexton_does() {
    let scene = Scene::new();
    let died = scene.tahoe(&["--job", "leases", "--buckets", "100", "--restart-after", "70"])["died"]["leases"].clone();
    assert!(matches!(died.as_str(), Some("ValueError" | "TypeError")), "{died}");
    scene.tahoe_state("import", &["--now", NOW]);
    scene.history(&run(&mut scene.crawl("leases")).report()["history"], &[], "from where Tahoe died");
}

#[test]
fn cycle_that_sexton_began_is_carried_on_by_tahoe() {
    let scene = Scene::new();
    // Aborted after so many buckets: in mid-cycle, and mostly in mid-prefix.
    let abort = "checkpoint::after_commit=90*off->return";
    let aborted = run(scene.crawl("leases").args(["--checkpoint", "every_bucket"]).env("FAILPOINTS", abort));
    assert_eq!(aborted.signal(), Some(6), "{}", aborted.stderr);
    scene.tahoe_state("export", &[]).said("will have only the ages that it sees itself");
    let exported: Value = read(&scene.store, "lease_checker.state.json");
    let ours = ages(&exported["cycle-to-date"]["sexton-lease-age-histogram"]);
    assert!(ours > 0);

    // Half-way, Tahoe's own file has all that is needed to come back.
    let half = scene.tahoe(&["--job", "leases", "--buckets", "40"]);
    assert_eq!(half["died"], json!({"leases": null}));
    scene.tahoe_state("import", &["--now", NOW, "--fresh", "--job", "leases"]);
    let report = run(&mut scene.crawl("leases")).report();
    scene.history(&report["history"], &[], "here, there and back");

    std::fs::write(Path::new(&scene.store).join("lease_checker.state.json"), exported.to_string()).unwrap();
    let end = scene.tahoe(&["--job", "leases", "--finish"]);
    assert_eq!(end["died"], json!({"leases": null}), "Tahoe's loader survives what was exported");
    assert_eq!(end["leases"]["last-cycle-finished"], 0);
    let history = &end["history"]["0"];
    scene.history(history, &["lease-age-histogram"], "carried on by Tahoe");
    let theirs = ages(&history["lease-age-histogram"]);
    assert_eq!(ours + theirs, ages(&scene.expected["history"]["lease-age-histogram"]), "what is lost is what was said");
}

#[test]
fn tahoe_goes_on_after_cycles_that_sexton_has_finished() {
    let scene = Scene::new();
    let first = run(&mut scene.crawl("leases")).report();
    run(&mut scene.crawl("count")).expect(0);
    scene.tahoe_state("export", &[]);
    let loaded = scene.tahoe(&[]);
    assert_eq!(loaded["counter"]["last-complete-bucket-count"], scene.expected["bucket-count"]);
    let end = scene.tahoe(&["--finish"]);
    assert_eq!(end["died"], json!({"counter": null, "leases": null}));
    for state in ["counter", "leases"] {
        assert_eq!(end[state]["last-cycle-finished"], 1, "{state}");
    }
    assert_eq!(end["counter"]["last-complete-bucket-count"], scene.expected["bucket-count"]);
    scene.history(&end["history"]["0"], &[], "Sexton's entry");
    scene.history(&first["history"], &[], "Sexton's report");
    scene.history(&end["history"]["1"], &[], "Tahoe's entry");

    // A count in progress here is begun again there, and comes to its end.
    let abort = "checkpoint::after_commit=return";
    let count = run(scene.crawl("count").args(["--slice", "1ms"]).env("FAILPOINTS", abort));
    assert_eq!(count.signal(), Some(6), "{}", count.stderr);
    std::fs::remove_file(Path::new(&scene.store).join("bucket_counter.state.json")).unwrap();
    scene.tahoe_state("export", &["--job", "count"]).said("begins that cycle again");
    let end = scene.tahoe(&["--job", "counter", "--finish"]);
    assert_eq!(end["counter"]["last-cycle-finished"], 1);
    assert_eq!(end["counter"]["last-complete-bucket-count"], scene.expected["bucket-count"]);
}

fn read(store: &str, name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(Path::new(store).join(name)).unwrap()).unwrap()
}
