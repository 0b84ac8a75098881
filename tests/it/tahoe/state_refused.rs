//! Standing in for Tahoe's crawlers, where something is in the way: cycles that would be lost, files that are damaged or of
//! another kind, a node that runs, a crash. What is refused changes nothing.

use std::fs::File;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::state::{NAMES, Scene};
use crate::support::harness::{run, sexton};

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
        .said("has come into cycle 2, this state to the end of cycle 0");
    assert_eq!(scene.files(), before);

    // Tahoe has gone on to the end of the cycle that was taken from it.
    run(&mut scene.program("import", "taken", "--job leases")).expect(0);
    let mut finished = scene.json(NAMES[1]);
    for (key, value) in
        [("current-cycle", Value::Null), ("last-complete-prefix", Value::Null), ("last-cycle-finished", json!(2))]
    {
        finished[key] = value;
    }
    std::fs::write(scene.fixture.root.join(NAMES[1]), finished.to_string()).unwrap();
    let before = scene.files();
    let refused = run(&mut scene.program("export", "taken", "--job leases")).expect(2);
    refused.said("has come to the end of cycle 2, this state into cycle 2");
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
    for more in [&[][..], &["--dry-run"]] {
        program("export", more).expect(2).said("stop it, or,").said("remove that file");
    }
    // What is seen cannot be vouched for.
    program("export", &["--node-stopped"]).expect(2).said("the node of this store runs");
    std::fs::write(outer.path().join("running.process"), "999999999 1700000000.5\n").unwrap();
    // Where the node saved something lately, it may run where its process is not seen.
    program("export", &[]).expect(2).said("process 999999999").said("in a container or on another machine");
    std::fs::remove_file(outer.path().join("running.process")).unwrap();
    // Or its pid file is somewhere else.
    let asks = "a node saves its state also when it stops, so this asks for two hours after each stop";
    program("export", &[]).expect(2).said("with a pid file somewhere else").said(asks);
    assert!(!storage.join("lease_checker.state.json.bak").exists());
    program("export", &["--node-stopped"]).expect(0);
    assert!(storage.join("lease_checker.state.json.bak").exists());
    // What this wrote is no sign of a node; what the node has saved since is one.
    let long_ago = SystemTime::now() - Duration::from_secs(3 * 3600);
    let set_back = |name: &str| {
        File::options().write(true).open(storage.join(name)).unwrap().set_modified(long_ago).unwrap();
    };
    set_back("bucket_counter.state.json");
    program("export", &[]).expect(0);
    std::fs::copy(storage.join("lease_checker.state.json.bak"), storage.join("lease_checker.state.json")).unwrap();
    program("export", &[]).expect(2).said("with a pid file somewhere else");
    set_back("lease_checker.state.json");
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

/// How the failure happens: the process aborts itself when the cycle in progress was begun in the state, and nothing of what
/// Tahoe did in it is there yet.
#[test]
fn aborted_import_repeats_work_and_counts_nothing_twice() {
    let scene = Scene::new("fixture-plain", "plain");
    // Two finished cycles come before.
    let abort = "checkpoint::after_begin=2*off->return";
    let aborted = run(scene.program("import", "state", "--job leases").env("FAILPOINTS", abort));
    assert_eq!(aborted.signal(), Some(6), "{}", aborted.stderr);
    run(&mut scene.program("import", "state", "--job leases")).expect(2).said("with 0 of 1024 prefixes complete");
    let crawl = |state: &str| {
        let mut crawl = sexton(["crawl".as_ref(), scene.fixture.root.as_os_str(), "--state".as_ref()]);
        crawl.arg(scene.state(state)).args("--job leases --expire age:864000 --dry-run --json".split(' '));
        let report = run(&mut crawl).expect(0).report();
        assert_eq!((&report["cycle"], &report["resumed"]), (&json!(2), &json!(true)));
        let history = &report["history"];
        assert_eq!(history["space-recovered"]["examined-buckets"], 300);
        history["leases-per-share-histogram"].clone()
    };
    std::fs::copy(scene.state("state"), scene.state("copy")).unwrap();
    let from_the_start = crawl("copy");
    run(&mut scene.program("import", "state", "--job leases --fresh")).expect(0);
    assert_eq!(crawl("state"), from_the_start);
    assert_eq!(from_the_start, scene.fixture.expected["disabled"]["history"]["leases-per-share-histogram"]);
}
