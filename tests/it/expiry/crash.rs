//! Crashes of expiry: whenever the process dies, the same command finishes what was begun, and the accounts of the cycle are
//! those of an undisturbed run.
//!
//! How the failure happens: the process aborts itself just before or just after a write, truncation, unlinking, sync, or
//! removal of a directory in the store, or in the middle of a write; or before or after a commit or a sync of its state; when
//! it comes to that point for the first, second, nth time. The machine goes on, so whatever was written before is there.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::Path;

use serde_json::Value;

use super::fixtures::{Files, files};
use crate::support::harness::{NOW, assert_same, crawl, lasting, run, sexton};

const ABORTED: Option<i32> = Some(6);
const AT: u32 = 1_700_000_000;
const DAY: u32 = 86_400;

fn immutable(version: u32, data: usize, leases: &[(u8, u32)]) -> Vec<u8> {
    immutable_at(AT, version, data, leases)
}

/// An immutable container; leases as (secret, age in days at the moment `at`).
pub fn immutable_at(at: u32, version: u32, data: usize, leases: &[(u8, u32)]) -> Vec<u8> {
    let header = [version, data as u32, leases.len() as u32];
    let mut file: Vec<u8> = header.iter().flat_map(|field| field.to_be_bytes()).collect();
    file.resize(12 + data, 7);
    for (secret, days) in leases {
        file.extend_from_slice(&[0; 4]);
        file.extend_from_slice(&[*secret; 64]);
        file.extend_from_slice(&(at + 31 * DAY - days * DAY).to_be_bytes());
    }
    file
}

/// A mutable container of version 2, likewise.
fn mutable(data: usize, leases: &[(u8, u32)]) -> Vec<u8> {
    let mut file = b"Tahoe mutable container v2\n\xc3\x55\x21\x99\x25".to_vec();
    file.resize(84, 5);
    file.extend_from_slice(&(data as u64).to_be_bytes());
    file.extend_from_slice(&(468 + data as u64).to_be_bytes());
    let slot = |(secret, days): (u8, u32)| {
        let mut slot = [1u32.to_be_bytes(), (AT + 31 * DAY - days * DAY).to_be_bytes()].concat();
        slot.resize(72, secret);
        slot.resize(92, 9);
        slot
    };
    for i in 0..4 {
        file.extend(leases.get(i).map_or(vec![0; 92], |lease| slot(*lease)));
    }
    file.resize(468 + data, 8);
    let extra = leases.get(4..).unwrap_or(&[]);
    file.extend_from_slice(&(extra.len() as u32).to_be_bytes());
    extra.iter().for_each(|lease| file.extend(slot(*lease)));
    file
}

fn put(root: &Path, bucket: &str, shares: &[(&str, Vec<u8>)]) {
    let dir = root.join("shares").join(&bucket[..2]).join(bucket);
    std::fs::create_dir_all(&dir).unwrap();
    shares.iter().for_each(|(name, bytes)| std::fs::write(dir.join(name), bytes).unwrap());
}

/// A bucket with tables that are too long to be rewritten at once: each takes two windows.
fn make_long_tables(root: &Path) {
    // Not two leases alike: they are compared as sets.
    let leases = |n: u32| (n as u8, if n.is_multiple_of(3) { 40 } else { 3 });
    let all: Vec<(u8, u32)> = (0..2500).map(leases).collect();
    let (mut one, mut other) = (immutable(2, 500, &all), mutable(200, &all));
    for (n, lease) in all.iter().enumerate() {
        let number = (n as u32).to_be_bytes();
        one[512 + 72 * n + 4..][..4].copy_from_slice(&number);
        let slot = if n < 4 { 100 + 92 * n } else { 672 + 92 * (n - 4) };
        other[slot + 8..][..4].copy_from_slice(&number);
        assert_eq!(other[slot + 12], lease.0);
    }
    let shares = [("0", one), ("1", immutable(1, 90, &[(1, 40)])), ("2", other)];
    put(root, &format!("aa{}a", "b".repeat(23)), &shares);
}

/// Buckets in two prefixes: all expired, partly expired, valid, empty.
fn make_store(root: &Path) {
    let put = |bucket: &str, shares: &[(&str, Vec<u8>)]| put(root, bucket, shares);
    let name = |start: &str, letter: &str| format!("{start}{}a", letter.repeat(23));
    for prefix in ["aa", "zz"] {
        put(&name(prefix, "b"), &[("0", immutable(2, 500, &[(1, 40)])), ("1", immutable(1, 90, &[(1, 40), (2, 50)]))]);
        let long: Vec<(u8, u32)> = (0..70).map(|i| (i as u8, if i % 3 == 0 { 40 } else { 3 })).collect();
        put(&name(prefix, "c"), &[("0", immutable(2, 500, &long)), ("3", mutable(200, &[(1, 40), (2, 3)]))]);
        put(&name(prefix, "d"), &[("0", mutable(100, &long[..9])), ("1", mutable(100, &[(1, 40); 2]))]);
        put(&name(prefix, "e"), &[("5", immutable(2, 10, &[(1, 3)]))]);
        put(&name(prefix, "f"), &[]);
    }
}

const ARGS: &str = "--job leases --json --expire age:2678400 --offline --max-delete 100% --prune-empty-buckets";

/// However busy the machine, no slice ends but where so many prefixes are in hand that they are saved; then the number of commits and syncs is known.
const ONE_SLICE: &str = "--slice 1h";

fn args(more: &str) -> String {
    let slice = if more.contains("--slice") { "" } else { ONE_SLICE };
    format!("{ARGS} --now {NOW} {slice} {more}")
}

/// Makes a store.
type Make = fn(&Path);

/// The report that lasts and the files that are left, after a run that nothing disturbs.
fn undisturbed(make: Make, args: &str) -> (Value, Files) {
    let folder = tempfile::tempdir().unwrap();
    make(&folder.path().join("store"));
    let ended = run(&mut crawl(&folder.path().join("store"), &folder.path().join("state"), args)).expect(0);
    (without_paths(lasting(ended.report()).1), files(&folder.path().join("store")))
}

fn without_paths(report: Value) -> Value {
    assert_eq!(report["errors"], serde_json::json!([]));
    report
}

/// The leases of a share as Tahoe finds them: of an immutable container the last records of the file, as many as its count says; of a
/// mutable one the slots in use.
fn leases(bytes: &[u8]) -> BTreeSet<Vec<u8>> {
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    if bytes.starts_with(b"Tahoe") {
        let extra = number(96);
        let slots = bytes[100..468].chunks(92).chain(bytes[extra + 4..].chunks(92).take(number(extra)));
        return slots.filter(|slot| slot[..4] != [0; 4]).map(<[u8]>::to_vec).collect();
    }
    bytes[bytes.len() - 72 * number(8)..].chunks(72).map(<[u8]>::to_vec).collect()
}

/// The leases of each share.
fn tables(root: &Path) -> BTreeMap<String, BTreeSet<Vec<u8>>> {
    let read = |name: String| (leases(&std::fs::read(root.join("shares").join(&name)).unwrap()), name);
    files(root).into_keys().map(read).map(|(leases, name)| (name, leases)).collect()
}

fn is_valid(lease: &[u8]) -> bool {
    let fresh = (AT + 31 * DAY - 3 * DAY).to_be_bytes();
    let at = if lease.len() == 92 { 4..8 } else { 68..72 };
    lease[at] == fresh
}

/// Checks that each table of a store that was left in the middle reads as before or as after, and has all its valid leases. The
/// slots of a mutable container change one by one, and a long table changes in windows; a write that ended in its middle has
/// changed some records and not others, and may have left one that is neither.
fn check_tables(
    between: &BTreeMap<String, BTreeSet<Vec<u8>>>,
    before: &BTreeMap<String, BTreeSet<Vec<u8>>>,
    why: &str,
) {
    for (name, before) in before {
        let after: BTreeSet<Vec<u8>> = before.iter().filter(|lease| is_valid(lease)).cloned().collect();
        let Some(is) = between.get(name) else {
            assert!(after.is_empty(), "{why}: {name} has valid leases and is gone");
            continue;
        };
        let (slots, torn) = (before.iter().any(|lease| lease.len() == 92), usize::from(why.contains("torn")));
        let partly = after.is_subset(is) && is.difference(before).count() <= torn;
        let long = before.len() > 2048;
        let as_it_should = is == before || *is == after || partly && (slots || long || torn > 0);
        assert!(as_it_should, "{why}: {name} has {} leases", is.len());
    }
}

/// Aborts at a point that was passed so many times before, then runs the same command again. Tells whether it came to
/// the point.
fn abort_at(make: Make, point: &str, passed: usize, args: &str, expected: &(Value, Files)) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let (store, state) = (folder.path().join("store"), folder.path().join("state"));
    make(&store);
    let before = tables(&store);
    let failing = format!("{point}={passed}*off->return");
    let aborted = run(crawl(&store, &state, args).env("FAILPOINTS", &failing));
    if aborted.signal() != ABORTED {
        aborted.expect(0);
        return false;
    }
    check_tables(&tables(&store), &before, &failing);
    let report = without_paths(lasting(run(&mut crawl(&store, &state, args)).expect(0).report()).1);
    assert_same(&report, &expected.0, &format!("aborted by {failing}"));
    assert_eq!(files(&store), expected.1, "aborted by {failing}");
    true
}

fn at_every(make: Make, point: &str, args: &str) -> usize {
    let expected = undisturbed(make, args);
    (0..).take_while(|passed| abort_at(make, point, *passed, args, &expected)).count()
}

#[test]
fn undisturbed_expiry_does_what_it_says() {
    let (report, files) = undisturbed(make_store, &args(""));
    let deleted = serde_json::json!({"leases": 66, "shares": 6, "bytes": 6260, "buckets": 4});
    assert_eq!(report["deleted"], deleted);
    assert_eq!(files.len(), 8);
}

macro_rules! aborts {
    ($($name:ident: $point:literal, $args:literal, $times:literal;)*) => {$(
        #[test]
        fn $name() {
            assert_eq!(at_every(make_store, $point, &args($args)), $times, "times it comes to {}", $point);
        }
    )*};
}

aborts! {
    aborted_before_every_write: "store::before_write", "", 12;
    aborted_after_every_write: "store::after_write", "", 12;
    aborted_within_every_write: "store::torn_write", "", 12;
    aborted_before_every_truncation: "store::before_truncate", "", 2;
    aborted_after_every_truncation: "store::after_truncate", "", 2;
    aborted_before_every_unlinking: "store::before_unlink", "", 6;
    aborted_after_every_unlinking: "store::after_unlink", "", 6;
    aborted_before_every_file_sync: "store::before_sync", "", 10;
    aborted_after_every_file_sync: "store::after_sync", "", 10;
    aborted_before_every_removal: "store::before_remove_dir", "", 4;
    aborted_after_every_removal: "store::after_remove_dir", "", 4;
    aborted_before_every_commit: "checkpoint::before_commit", "--checkpoint every_bucket", 27;
    aborted_after_every_commit: "checkpoint::after_commit", "--checkpoint every_bucket", 27;
    aborted_before_the_sync: "checkpoint::before_sync", "", 1;
    aborted_after_the_sync: "checkpoint::after_sync", "", 1;
    aborted_before_it_carries_out: "checkpoint::before_carry_out", "", 1;
    aborted_after_it_began_to_carry_out: "checkpoint::after_carry_out", "", 1;
    aborted_before_every_claim: "checkpoint::before_claim", "", 20;
    aborted_after_every_claim: "checkpoint::after_claim", "", 20;
    aborted_after_it_began_to_carry_out_with_two_workers: "checkpoint::after_carry_out", "--workers 2 --slice 1ms", 1;
    aborted_after_every_unlinking_with_two_workers: "store::after_unlink", "--workers 2 --slice 1ms", 6;
}

/// How it happens: as above, while a table of 2,500 leases is rewritten in windows.
#[test]
fn aborted_in_long_tables_at_every_change() {
    let slots = (0..2500u32).filter(|n| n.is_multiple_of(3)).count();
    let (_, files) = undisturbed(make_long_tables, &args(""));
    let left: Vec<(&str, usize)> = files.iter().map(|(name, bytes)| (&name[name.len() - 2..], bytes.len())).collect();
    assert_eq!(left, [("/0", 512 + 72 * (2500 - slots)), ("/2", 672 + 92 * 2496)]);
    for (point, times) in [
        ("store::before_sync", 6),
        ("store::after_sync", 6),
        ("store::before_truncate", 1),
        ("store::after_truncate", 1),
        ("store::before_unlink", 1),
        ("checkpoint::before_sync", 6),
        ("checkpoint::after_sync", 6),
    ] {
        assert_eq!(at_every(make_long_tables, point, &args("")), times, "times it comes to {point}");
    }
    let expected = undisturbed(make_long_tables, &args(""));
    for point in ["store::after_write", "store::torn_write"] {
        // Two windows and the count of the first table, and some slots of the other.
        for passed in [0, 1, 2, 3, 500, 2 + slots] {
            assert!(abort_at(make_long_tables, point, passed, &args(""), &expected), "{point} {passed}");
        }
    }
}

#[test]
fn what_may_be_half_done_is_not_handed_back_to_tahoe() {
    let folder = tempfile::tempdir().unwrap();
    let (store, state) = (folder.path().join("store"), folder.path().join("state"));
    make_store(&store);
    let export = || {
        let mut command = sexton(["tahoe-state", "export", "--job", "leases", "--state"].map(OsStr::new));
        command.arg(&state).arg(&store);
        run(&mut command)
    };
    let aborted = run(crawl(&store, &state, &args("")).env("FAILPOINTS", "store::before_truncate=return"));
    assert_eq!(aborted.signal(), ABORTED);
    export().expect(2).said("may be half done");
    assert!(!store.join("lease_checker.state.json").exists());
    run(&mut crawl(&store, &state, &args(""))).expect(0);
    export().expect(0);
    assert!(store.join("lease_checker.state.json").exists());
}
