//! Beside the original program: stores with fresh random seeds, looked at by Tahoe-LAFS 1.20.0 and by Sexton.
//!
//! Needs Python with tahoe-lafs installed, named by SEXTON_TAHOE_PYTHON (.ci/run sees to that). `make_store.py` writes the
//! store with every oddity it knows, `oracle.py` runs Tahoe's own crawlers over it.

mod state;

use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use serde_json::Value;

const NOW: &str = "1700000000";

fn python(args: &[&str]) -> Vec<u8> {
    let python = std::env::var("SEXTON_TAHOE_PYTHON").expect("SEXTON_TAHOE_PYTHON names a Python with tahoe-lafs");
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let output = Command::new(python).arg(data.join(args[0])).args(&args[1..]).output().expect("python starts");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn sexton(args: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_sexton")).args(args).output().expect("sexton starts");
    let code = output.status.code();
    assert!(matches!(code, Some(0 | 1)), "{args:?}: {code:?} {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

/// A store of which nobody has seen the like; the seed is printed, so that a failure can be looked into.
fn fresh_store(dir: &Path, args: &[&str]) -> String {
    let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos();
    println!("seed {nanos}, {args:?}");
    let (store, seed) = (dir.join("store").to_str().unwrap().to_owned(), nanos.to_string());
    python(&[&["make_store.py", "--out", &store, "--seed", &seed], args].concat());
    store
}

/// `native` figures: the store's real disk usage, the order of names being the same for single-typed buckets.
fn compare(args: &[&str], expiry: &[(&str, &str)]) {
    let dir = tempfile::tempdir().unwrap();
    let store = fresh_store(dir.path(), args);
    for (expire, sharetypes) in expiry {
        let oracle = ["oracle.py", "--store", &store, "--no-files", "--dry-run", "--now", NOW, "--expire", expire];
        let expected: Value =
            serde_json::from_slice(&python(&[&oracle[..], &["--sharetypes", sharetypes]].concat())).unwrap();
        let state = dir.path().join("state.sqlite").to_str().unwrap().to_owned();
        let common = ["crawl", &store, "--json", "--fresh", "--now", NOW, "--workers", "2", "--state"];
        let leases = ["--job", "leases", "--dry-run", "--expire", expire, "--sharetypes", sharetypes];
        let found = sexton(&[&common[..], &[&state], &leases[..]].concat());
        assert_eq!(without_disk(&found["history"]), without_disk(&expected["history"]), "{expire} {sharetypes}");
        let fatal = expected["fatal"].as_array().unwrap().len() as u64;
        assert_eq!(found["errors_total"], fatal, "{:?}", found["errors"]);
        let state = dir.path().join("count.sqlite").to_str().unwrap().to_owned();
        let count = sexton(&[&common[..], &[&state], &["--job", "count"]].concat());
        assert_eq!(count["prefixes"], expected["prefix-counts"]);
        assert_eq!(count["buckets"], expected["bucket-count"]);
    }
}

/// The oracle rounds disk usage by a rule of its own; the library's tests compare that through a seam.
fn without_disk(history: &Value) -> Value {
    let mut history = history.clone();
    history["space-recovered"].as_object_mut().unwrap().retain(|key, _| !key.contains("diskbytes"));
    // Python writes whole seconds of the fixed clock as integers, and so does Sexton.
    history
}

#[test]
fn ordinary_stores_have_the_history_that_tahoe_writes() {
    let shape = ["--buckets", "500", "--shares", "1-3", "--leases", "0-6", "--mutable-fraction", "0.4"];
    let week = (1_700_000_000 - 7 * 86_400).to_string();
    let cutoff = format!("cutoff:{week}");
    compare(&shape, &[("none", "mutable,immutable"), ("age:864000", "mutable,immutable"), (&cutoff, "immutable")]);
}

#[test]
fn odd_stores_have_the_history_that_tahoe_writes() {
    let shape = ["--buckets", "100", "--leases", "0-6", "--oddities", "benign", "--odd-repeat", "3"];
    compare(&shape, &[("none", "mutable,immutable"), ("age:2678400", "mutable")]);
}

#[test]
fn what_stops_tahoe_is_one_error_each_and_all_is_walked() {
    let shape = ["--buckets", "100", "--oddities", "all", "--odd-repeat", "3"];
    compare(&shape, &[("age:864000", "mutable,immutable")]);
}

#[test]
fn fresh_damage_to_real_shares_is_found_where_the_prototype_finds_it() {
    let fixture = crate::support::harness::Fixture::unpack("real-grid-small");
    let shares = fixture.root.join("shares");
    let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos().to_string();
    println!("seed {nanos}");
    let flips = python(&["make_flips.py", shares.to_str().unwrap(), "--seed", &nanos, "--flips", "20"]);
    let flips: Vec<Value> = serde_json::from_slice(&flips).unwrap();
    let figures = crate::verify::flips::compare(&shares, &flips);
    assert!(figures.values().map(|(_, all)| all).sum::<u32>() > 10_000, "{figures:?}");
}

/// Every file below `shares/` with its SHA-256, as the oracle lists them.
fn files(store: &str) -> Value {
    let script = "import json, sys, oracle; print(json.dumps(oracle.remaining(sys.argv[1])))";
    let python = std::env::var("SEXTON_TAHOE_PYTHON").expect("SEXTON_TAHOE_PYTHON names a Python with tahoe-lafs");
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let shares = format!("{store}/shares");
    let output =
        Command::new(python).current_dir(data).args(["-B", "-c", script, &shares]).output().expect("python starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

/// Expires a copy of the store by `--compat --offline`, and compares all that is left of it with what Tahoe leaves.
fn compare_deleting(args: &[&str], expiry: &[(&str, &str)]) {
    let dir = tempfile::tempdir().unwrap();
    let store = fresh_store(dir.path(), args);
    for (expire, sharetypes) in expiry {
        let oracle = ["oracle.py", "--store", &store, "--now", NOW, "--expire", expire, "--sharetypes", sharetypes];
        let expected: Value = serde_json::from_slice(&python(&oracle)).unwrap();
        let copy = dir.path().join("copy").to_str().unwrap().to_owned();
        let copied = Command::new("cp").args(["-a", &store, &copy]).status().expect("cp starts");
        assert!(copied.success());
        let state = dir.path().join("state.sqlite").to_str().unwrap().to_owned();
        let common = ["crawl", &copy, "--json", "--fresh", "--now", NOW, "--workers", "2", "--state", &state];
        let leases = ["--job", "leases", "--expire", expire, "--sharetypes", sharetypes];
        let found = sexton(&[&common[..], &leases[..], &["--compat", "--offline", "--max-delete", "100%"]].concat());
        assert_eq!(without_disk(&found["history"]), without_disk(&expected["history"]), "{expire} {sharetypes}");
        assert_eq!(files(&copy), expected["remaining"], "{expire} {sharetypes}");
        std::fs::remove_dir_all(&copy).unwrap();
        std::fs::remove_file(&state).unwrap();
    }
}

#[test]
fn expired_stores_are_left_as_tahoe_leaves_them() {
    let shape = ["--buckets", "300", "--shares", "1-3", "--leases", "0-6", "--mutable-fraction", "0.4"];
    let cutoff = format!("cutoff:{}", 1_700_000_000 - 7 * 86_400);
    compare_deleting(&shape, &[("age:864000", "mutable,immutable"), ("age", "mutable"), (&cutoff, "immutable")]);
}

#[test]
fn odd_expired_stores_are_left_as_tahoe_leaves_them() {
    let shape = ["--buckets", "60", "--leases", "0-6", "--oddities", "all", "--odd-repeat", "3"];
    compare_deleting(&shape, &[("age:864000", "mutable,immutable"), ("age", "mutable,immutable")]);
}
