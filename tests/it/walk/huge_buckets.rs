//! What a stranger can put into one bucket or one prefix: the memory of the process does not grow with it, and all is counted.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::harness::{crawl, sexton};

/// Seconds since 1970 by which all leases here are judged.
const NOW: u32 = 1_790_000_000;
const DAY: u32 = 86_400;
/// The memory that a process may take beyond what it takes for an empty store, in KiB. That in itself depends on how it was built.
const ROOM: u64 = 20 * 1024;

/// A store with one bucket.
struct Huge {
    folder: tempfile::TempDir,
}

impl Huge {
    fn new() -> Huge {
        let huge = Huge { folder: tempfile::tempdir().unwrap() };
        fs::create_dir_all(huge.bucket()).unwrap();
        huge
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    fn bucket(&self) -> PathBuf {
        self.store().join("shares/aa").join("a".repeat(26))
    }

    /// An immutable share with leases that expire at these moments, under so many names: each is read all the same.
    fn shares(&self, names: u32, leases: impl ExactSizeIterator<Item = u32>) {
        let mut share: Vec<u8> = [2, 100, leases.len() as u32].iter().flat_map(|n: &u32| n.to_be_bytes()).collect();
        share.resize(112, b'x');
        for (number, expires) in leases.enumerate() {
            share.extend(1u32.to_be_bytes());
            share.extend((number as u64).to_be_bytes().repeat(8));
            share.extend(expires.to_be_bytes());
        }
        let first = self.bucket().join("0");
        fs::write(&first, share).unwrap();
        (1..names).for_each(|n| fs::hard_link(&first, self.bucket().join(n.to_string())).unwrap());
    }

    /// So many shares with one lease each that has expired. Files of their own: to unlink one name of a file changes the others.
    fn expired(&self, shares: u32) {
        self.shares(1, [NOW - 40 * DAY].into_iter());
        let first = self.bucket().join("0");
        for n in 1..shares {
            fs::copy(&first, self.bucket().join(n.to_string())).unwrap();
        }
    }

    /// Crawls it; gives the report, and how much memory that took beyond an empty store, in KiB.
    fn crawl(&self, args: &str) -> (Value, u64) {
        let state = |name: &str| self.folder.path().join(name);
        let empty = self.folder.path().join("empty");
        fs::create_dir_all(empty.join("shares")).unwrap();
        let (_, least) = peak(&mut crawl(&empty, &state("empty-state"), args));
        let (report, most) = peak(&mut crawl(&self.store(), &state("state"), args));
        if !cfg!(debug_assertions) {
            assert!(most < 40_000, "{most} KiB");
        }
        (report, most.saturating_sub(least))
    }
}

/// Runs a crawl to its end, and gives its report and the most memory that it had, in KiB.
fn peak(command: &mut Command) -> (Value, u64) {
    let (_, text, most) = run(command.arg("--json"));
    (serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}")), most)
}

/// Runs a command to its end, and gives its exit code, what it says, and the most memory that it had, in KiB.
fn run(command: &mut Command) -> (Option<i32>, String, u64) {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).unwrap();
        text
    });
    let status = Path::new("/proc").join(child.id().to_string()).join("status");
    let mut most = 0;
    let ended = loop {
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        most =
            line.and_then(|line| line.split_whitespace().next()?.parse().ok()).map_or(most, |now: u64| most.max(now));
        std::thread::sleep(Duration::from_millis(2));
    };
    (ended.code(), reading.join().unwrap(), most)
}

#[test]
fn memory_does_not_grow_with_the_leases_of_a_bucket() {
    let huge = Huge::new();
    huge.shares(48, (0..15_000u32).map(|day| day * DAY + 5));
    let (report, kib) = huge.crawl(&format!("--job leases --now {NOW}"));
    assert!(kib < ROOM, "{kib} KiB");
    let history = &report["history"];
    let ages = history["lease-age-histogram"].as_array().unwrap();
    assert_eq!((ages.len(), ages.iter().all(|age| age[2] == 48)), (15_000, true));
    assert_eq!(history["leases-per-share-histogram"], json!({ "15000": 48 }));
    // Each of them has leases with dates that cannot be.
    assert_eq!((&report["shares"], report["findings"].as_array().unwrap().len()), (&48.into(), 48));
}

#[test]
fn memory_does_not_grow_with_the_shares_of_a_bucket() {
    let huge = Huge::new();
    huge.shares(30_000, [NOW - 40 * DAY].into_iter());
    let rule = format!("--job leases --now {NOW} --expire age:2678400");
    let (report, kib) = huge.crawl(&format!("{rule} --dry-run"));
    assert!(kib < ROOM, "{kib} KiB");
    assert_eq!((&report["shares"], &report["would_delete"]["shares"]), (&30_000.into(), &30_000.into()));
    assert_eq!(report["history"]["space-recovered"]["configured-buckets"], 1);
}

#[test]
fn memory_does_not_grow_with_the_shares_that_go() {
    let huge = Huge::new();
    huge.expired(20_000);
    // Made anew by its clients, and kept.
    let mut valid = fs::read(huge.bucket().join("1")).unwrap();
    let date = valid.len() - 4;
    valid[date..].copy_from_slice(&NOW.to_be_bytes());
    fs::write(huge.bucket().join("17"), valid).unwrap();
    let args =
        format!("--job leases --now {NOW} --expire age:2678400 --offline --max-delete 100% --prune-empty-buckets");
    let (report, kib) = huge.crawl(&args);
    assert!(kib < ROOM, "{kib} KiB");
    let left: Vec<_> = fs::read_dir(huge.bucket()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["17"]);
    let deleted = &report["deleted"];
    assert_eq!(
        (&report["shares"], &deleted["shares"], &deleted["buckets"]),
        (&20_000.into(), &19_999.into(), &0.into())
    );
    let space = &report["history"]["space-recovered"];
    assert_eq!((&space["actual-shares"], &space["actual-buckets"]), (&19_999.into(), &0.into()));

    // The last one goes, and the bucket with it.
    fs::remove_file(huge.bucket().join("17")).unwrap();
    huge.expired(2_500);
    let (report, _) = huge.crawl(&args);
    let deleted = &report["deleted"];
    assert_eq!((&deleted["shares"], &deleted["buckets"], huge.bucket().exists()), (&2_500.into(), &1.into(), false));
    assert_eq!(report["history"]["space-recovered"]["actual-buckets"], 1);
}

#[test]
fn in_one_pass_a_bucket_of_very_many_shares_that_would_go_is_left_alone() {
    let huge = Huge::new();
    huge.expired(5_000);
    let once = format!("--job leases --now {NOW} --expire age:2678400 --offline --max-delete 100% --compat");
    let (report, kib) = huge.crawl(&once);
    assert!(kib < ROOM, "{kib} KiB");
    let error = report["errors"][0].to_string();
    assert!(error.contains("they do without --compat"), "{error}");
    assert_eq!((&report["deleted"]["shares"], fs::read_dir(huge.bucket()).unwrap().count()), (&0.into(), 5_000));
    // As many as Tahoe can make go.
    (256..5_000).for_each(|n| fs::remove_file(huge.bucket().join(n.to_string())).unwrap());
    let (report, _) = huge.crawl(&once);
    assert_eq!(report["deleted"]["shares"], 256);
}

#[test]
fn memory_does_not_grow_with_a_lease_table_that_is_rewritten() {
    let huge = Huge::new();
    huge.shares(1, (0..60_000u32).map(|n| if n.is_multiple_of(2) { NOW - 40 * DAY } else { NOW }));
    let (report, kib) =
        huge.crawl(&format!("--job leases --now {NOW} --expire age:2678400 --offline --max-delete 100%"));
    assert!(kib < ROOM, "{kib} KiB");
    assert_eq!((&report["deleted"]["leases"], &report["deleted"]["bytes"]), (&30_000.into(), &2_160_000.into()));
    assert_eq!(fs::metadata(huge.bucket().join("0")).unwrap().len(), 112 + 72 * 30_000);
}

#[test]
fn memory_does_not_grow_with_the_names_of_a_prefix() {
    let huge = Huge::new();
    fs::remove_dir(huge.bucket()).unwrap();
    let prefix = huge.store().join("shares/aa");
    let first = prefix.join(format!("{:0255}", 0));
    fs::write(&first, "").unwrap();
    (1..50_000).for_each(|n| fs::hard_link(&first, prefix.join(format!("{n:0255}"))).unwrap());
    let (report, kib) = huge.crawl("--job count");
    assert!(kib < ROOM, "{kib} KiB");
    assert_eq!((&report["buckets"], &report["strays"]["no_bucket"]), (&50_000.into(), &50_000.into()));
}

#[test]
fn of_very_many_findings_in_a_bucket_the_first_are_told_and_all_are_counted() {
    let huge = Huge::new();
    fs::write(huge.bucket().join("0"), "no share").unwrap();
    (1..3000).for_each(|n| fs::hard_link(huge.bucket().join("0"), huge.bucket().join(n.to_string())).unwrap());
    let (report, kib) = huge.crawl("--job leases");
    assert!(kib < ROOM, "{kib} KiB");
    let findings = report["findings"].as_array().unwrap();
    assert_eq!((findings.len(), &report["shares"]), (1000, &3000.into()));
    let last = findings[999]["reason"].as_str().unwrap();
    assert!(last.ends_with("; 2000 more findings of this bucket are not listed"), "{last}");
}

#[test]
fn memory_does_not_grow_with_the_shares_that_are_verified() {
    let huge = Huge::new();
    huge.shares(20_000, [NOW].into_iter());
    let (report, kib) = huge.crawl("--job verify --slice 20ms");
    assert!(kib < ROOM, "{kib} KiB");
    let verified = &report["verified"];
    assert_eq!((&verified["shares"], &verified["corrupt"]), (&20_000.into(), &20_000.into()));
    let told = report["findings"].as_array().unwrap().len();
    assert!((1..=1000).contains(&told), "{told} findings are told");
}

/// Names of 255 bytes in a prefix, none of them a bucket: each is an error to the lease checker.
#[test]
fn memory_does_not_grow_with_names_that_are_no_buckets() {
    let huge = Huge::new();
    let prefix = huge.store().join("shares/aa");
    (0..12_000).for_each(|n| drop(fs::File::create(prefix.join(format!("{n:0255}"))).unwrap()));
    let (report, kib) = huge.crawl(&format!("--job leases --now {NOW} --slice 20ms"));
    assert!(kib < ROOM, "{kib} KiB");
    assert_eq!((&report["errors_total"], &report["strays"]["no_bucket"]), (&12_000.into(), &12_000.into()));
    assert_eq!((&report["buckets"], report["stray_paths"].as_array().unwrap().len()), (&12_001.into(), 1000));
    let errors = report["errors"].as_array().unwrap();
    assert!(errors.len() < 2000, "{} errors are told", errors.len());
    assert!(errors.last().unwrap()["error"].as_str().unwrap().contains("there is only the number"));
}

/// Leases of random dates, as many as there are days in 32 bits of seconds, in very many prefixes.
#[test]
fn memory_does_not_grow_with_the_tallies_of_all_prefixes() {
    let huge = Huge::new();
    huge.shares(1, (0..9_000u32).map(|day| day * DAY + 5));
    let first = huge.bucket().join("0");
    let letters = "abcdefghijklmnopqrstuvwxyz234567";
    let prefixes = letters.chars().flat_map(|a| letters.chars().map(move |b| format!("{a}{b}"))).skip(1).take(255);
    for prefix in prefixes {
        let bucket = huge.store().join("shares").join(&prefix).join(format!("{prefix}{}", "a".repeat(24)));
        fs::create_dir_all(&bucket).unwrap();
        fs::hard_link(&first, bucket.join("0")).unwrap();
    }
    let (report, kib) = huge.crawl(&format!("--job leases --now {NOW}"));
    assert!(kib < ROOM, "{kib} KiB");
    let ages = report["history"]["lease-age-histogram"].as_array().unwrap();
    assert_eq!((ages.len(), ages.iter().all(|age| age[2] == 256)), (9_000, true));
}

/// A state file of Tahoe's with as many values, and about as many bytes, as are read.
#[test]
fn memory_does_not_grow_with_what_a_state_file_says() {
    let huge = Huge::new();
    let import = |corrupt_shares: u32, state: &str| {
        let file = huge.store().join("lease_checker.state.json");
        fs::write(&file, lease_checker_state(corrupt_shares).to_string()).unwrap();
        let (store, state) = (huge.store(), huge.folder.path().join(state));
        let args =
            ["tahoe-state".as_ref(), "import".as_ref(), store.as_os_str(), "--state".as_ref(), state.as_os_str()];
        let (code, text, most) = run(&mut sexton(args));
        assert_eq!(code, Some(0), "{text}");
        most
    };
    let (least, most) = (import(1, "least"), import(19_500, "most"));
    assert!(most - least < ROOM, "{most} KiB, {least} for one");
    assert!(cfg!(debug_assertions) || most < 40_000, "{most} KiB");
}

/// A cycle in progress that has met so many corrupt shares, with long names.
fn lease_checker_state(corrupt_shares: u32) -> Value {
    let corrupt: Vec<_> = (0..corrupt_shares).map(|n| json!(["x".repeat(80), n])).collect();
    let groups = ["actual", "original", "configured", "examined"].into_iter();
    let units = groups.flat_map(|group| ["buckets", "shares", "sharebytes", "diskbytes"].map(|unit| (group, unit)));
    let space = units.flat_map(|(group, unit)| ["", "-mutable", "-immutable"].map(|of| format!("{group}-{unit}{of}")));
    json!({
        "version": 1,
        "last-cycle-finished": null,
        "current-cycle": 0,
        "current-cycle-start-time": 1.7e9,
        "last-complete-prefix": "aa",
        "last-complete-bucket": null,
        "cycle-to-date": {
            "expiration-enabled": false,
            "configured-expiration-mode": ["age", null, null, ["mutable", "immutable"]],
            "lease-age-histogram": [],
            "leases-per-share-histogram": {},
            "corrupt-shares": corrupt,
            "space-recovered": space.map(|key| (key, 1.into())).collect::<serde_json::Map<_, Value>>(),
        },
        "history": {},
    })
}
