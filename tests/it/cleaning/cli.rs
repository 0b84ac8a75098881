//! `sexton clean` as a user meets it: rows, JSON, refusals, copies, exit codes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use sexton::cumulus::policy::Mode;
use sexton::cumulus::{LocalDb, plan};

use crate::cumulus::data::{Golden, State, all, dump};
use crate::support::harness::{Ended, run, sexton};

/// `sexton clean`, without leaving the lock alone between steps; `args` are split at spaces.
pub fn clean(path: &Path, golden: &Golden, mode: Mode, args: &str) -> Command {
    let mut command = sexton(["clean".as_ref(), path.as_os_str()]);
    command.args(golden.args(mode)).args(args.split_whitespace());
    if !args.contains("--lock-duty") {
        command.arg("--lock-duty=100%");
    }
    command
}

pub fn golden(name: &str) -> &'static Golden {
    all().iter().find(|g| g.name == name).unwrap()
}

/// What lies beside a database.
pub fn beside(path: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(path.parent().unwrap()).unwrap();
    entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
}

fn words(args: &str) -> Ended {
    run(&mut sexton(args.split_whitespace()))
}

#[test]
fn every_golden_database_gets_the_rows_of_its_mode_or_a_refusal() {
    let mut refusals = 0;
    for (i, golden) in all().iter().enumerate() {
        for mode in [Mode::Compat, Mode::Careful] {
            let refuses = if mode == Mode::Compat { golden.raised() } else { golden.refused() };
            let state = match (mode, refuses) {
                (_, true) => State::Before,
                (Mode::Compat, false) => State::After,
                (Mode::Careful, false) if !golden.has_recommended() => continue,
                (Mode::Careful, false) => State::Recommended,
            };
            let (_dir, path) = golden.copy(i % 2 == 0);
            let ended = run(&mut clean(&path, golden, mode, "--json --slice 20ms"));
            let report = ended.report();
            assert_eq!(report["refused"].is_string(), refuses, "{} {mode:?}: {}", golden.name, ended.stderr);
            let left = report["odd"].as_array().unwrap().iter().any(|odd| odd["left_alone"] == true);
            assert_eq!(ended.code(), if refuses { 3 } else { i32::from(left) }, "{} {mode:?}", golden.name);
            golden.check(&path, state, &format!("by the program, {mode:?}"));
            assert!(!beside(&path).iter().any(|n| n.contains("sexton-plan") || n.contains("sexton-shown")));
            refusals += usize::from(refuses);
        }
    }
    assert!(refusals > 5, "{refusals} refusals");
}

/// As the README lists them.
const KEYS: [&str; 17] = [
    "balance",
    "elapsed_secs",
    "era",
    "mode",
    "now",
    "obsolete",
    "obsolete_after_backup",
    "obsolete_bytes",
    "odd",
    "policy",
    "reclaimable_bytes",
    "refused",
    "removed",
    "rewrite_bytes",
    "segments",
    "space_comes_free",
    "steps",
];

#[test]
fn json_has_the_keys_and_the_very_numbers_of_the_plan() {
    for name in ["real_a_weekly", "real_b_cleaned", "real_c_two_schemes"] {
        let golden = golden(name);
        let (_dir, path) = golden.copy(false);
        let mut options = golden.options(Mode::Careful);
        options.limits.max_segment_blocks = Some(25_000);
        let planned = plan(&mut LocalDb::open(&path).unwrap(), &options).unwrap().into_plan();
        let planned = serde_json::to_value(planned).unwrap();
        let report = run(&mut clean(&path, golden, Mode::Careful, "--json")).report();
        for key in ["era", "policy", "now", "removed", "segments", "balance", "reclaimable_bytes", "rewrite_bytes"] {
            assert_eq!(report[key], planned[key], "{name}: {key}");
        }
        assert_eq!((&report["refused"], &report["odd"]), (&planned["refused"], &planned["odd"]), "{name}");
        let keys = |value: &Value| {
            let mut keys: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
            keys.sort();
            keys
        };
        assert_eq!(keys(&report["removed"]), ["blocks", "segments", "signatures", "snapshots", "usage_rows"]);
        assert_eq!(keys(&report["steps"]), ["count", "longest_ms", "p50_ms", "p99_ms"]);
        let balance =
            ["cutoffs", "distribution", "min_size", "segment_size", "target_buckets", "target_size", "total_bytes"];
        assert_eq!(keys(&report["balance"]), balance);
        assert_eq!(keys(&report), KEYS);
        let segment =
            ["age_days", "benefit", "id", "marked", "mtime", "name", "size_bytes", "used_bytes", "utilization"];
        assert_eq!(keys(&report["segments"][0]), segment);
        let [count, p50, p99, longest] = ["count", "p50_ms", "p99_ms", "longest_ms"].map(|k| &report["steps"][k]);
        assert!(count.as_u64().unwrap() > 3, "{count}");
        assert!(p50.as_f64() <= p99.as_f64() && p99.as_f64() <= longest.as_f64(), "{}", report["steps"]);
        assert!(report["elapsed_secs"].as_f64().unwrap() > 0.0);
    }
}

#[test]
fn a_dry_run_writes_nothing() {
    for wal in [false, true] {
        let golden = golden("real_a_weekly");
        let (_dir, path) = golden.copy(wal);
        let before = (fs::read(&path).unwrap(), beside(&path));
        let shown = run(&mut clean(&path, golden, Mode::Careful, "--dry-run")).expect(0).stdout;
        assert!(shown.contains("would mark") && shown.contains("worst first"), "{shown}");
        let json = run(&mut clean(&path, golden, Mode::Careful, "--dry-run --json --only gc")).expect(0).report();
        assert!(json["removed"]["usage_rows"].as_u64().unwrap() > 0 && json["segments"] == Value::Array(Vec::new()));
        assert!((fs::read(&path).unwrap(), beside(&path)) == before, "wal={wal}");
    }
}

#[test]
fn what_must_not_be_cleaned_is_refused_with_exit_code_3_and_what_is_no_database_with_2() {
    let golden = golden("real_a_weekly");
    let (dir, path) = golden.copy(false);
    let before = fs::read(&path).unwrap();
    // The newest snapshot is of 2007; the clock of the machine is not.
    let clock = words(&format!("clean {} --lock-duty 100%", path.display())).expect(3);
    clock.said("--accept-clock");
    words(&format!("clean {}", dir.path().join("nothing").display())).expect(3).said("cannot open local database");
    fs::write(dir.path().join("text"), "text".repeat(1000)).unwrap();
    words(&format!("clean {}", dir.path().join("text").display())).expect(2).said("not an SQLite database");
    assert!(fs::read(&path).unwrap() == before);
    let dir = dir.path().display();
    words(&format!("clean {dir} --accept-clock --dry-run --lock-duty 100%")).expect(0);
    for (args, advice) in [
        ("--threshold 3 --policy utilization", "--threshold goes with --policy benefit"),
        ("--min-utilization 0.4 --policy benefit", "goes with --policy utilization"),
        ("--mark 3", "--mark goes with --only mark"),
        ("--lock-duty 101%", "out of range"),
        ("--now never", "give a number"),
        ("--slice 0s", "out of range"),
    ] {
        words(&format!("clean {dir} {args}")).expect(2).said(advice);
    }
}

#[test]
fn only_a_part_is_done_if_that_is_asked_for() {
    let golden = golden("real_a_weekly");
    let (_dir, path) = golden.copy(true);
    let part = |args: &str| run(&mut clean(&path, golden, Mode::Compat, args)).expect(0);
    part("--only gc");
    golden.check(&path, State::GarbageCollected, "--only gc");
    let marked: Vec<String> =
        golden.expected["steps"]["marked"].as_array().unwrap().iter().map(|id| format!("--mark {id}")).collect();
    assert!(!marked.is_empty());
    part(&format!("--only mark {}", marked.join(" ")));
    golden.check(&path, State::Marked, "--only mark");
    part("--only balance --at-once");
    golden.check(&path, State::After, "--only balance");
}

fn backup_file(path: &Path) -> PathBuf {
    path.with_file_name("before.sqlite")
}

#[test]
fn a_copy_is_made_before_the_first_change_and_never_over_a_file() {
    for (wal, how) in [(false, ""), (true, ""), (false, "--at-once")] {
        let golden = golden("real_b_weekly");
        let (_dir, path) = golden.copy(wal);
        let before = dump(&path, "B");
        let copy = backup_file(&path);
        let args = format!("{how} --backup {}", copy.display());
        run(&mut clean(&path, golden, Mode::Compat, &args)).expect(0);
        golden.check(&path, State::After, "with a copy");
        assert!(dump(&copy, "B") == before, "wal={wal} {how}");
        assert!(!beside(&path).iter().any(|name| name.contains("part")));

        let (after, old) = (dump(&path, "B"), fs::read(&copy).unwrap());
        run(&mut clean(&path, golden, Mode::Compat, &args)).expect(3).said("is there already");
        assert!(dump(&path, "B") == after && fs::read(&copy).unwrap() == old);
    }
}
