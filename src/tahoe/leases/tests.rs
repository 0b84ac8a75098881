//! The lease job over whole stores, compared with what Tahoe-LAFS 1.20.0's own crawlers said of them.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::*;
use crate::job::testing::{Stops, Walked, standing_still, walk};
use crate::job::{Count, Notes, PrefixTally, Tally, VisitPhase};
use crate::slice::TimeSlice;
use crate::store::Store;
use crate::tahoe::store::DiskUsage;
use crate::tahoe::words::is_tahoe_corrupt;

/// A store from `tests/data`, unpacked.
struct Fixture {
    _dir: tempfile::TempDir,
    store: TahoeStore,
    expected: BTreeMap<String, Value>,
}

impl Fixture {
    fn unpack(name: &str) -> Fixture {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
        let dir = tempfile::tempdir().unwrap();
        let packed = std::fs::File::open(data.join(format!("{name}.tar.gz"))).unwrap();
        tar::Archive::new(flate2::read::GzDecoder::new(packed)).unpack(dir.path()).unwrap();
        let below = dir.path().join(name);
        let root = if below.is_dir() { below } else { dir.path().to_path_buf() };
        let store = TahoeStore::open(root).unwrap().with_disk_usage(DiskUsage::Rounded4096);
        let expected = std::fs::read(data.join(format!("{name}.expected.json"))).unwrap();
        Fixture { _dir: dir, store, expected: serde_json::from_slice(&expected).unwrap() }
    }

    fn now(&self) -> f64 {
        self.expected["disabled"]["mode"]["now"].as_f64().unwrap()
    }

    fn walk(&self, job: &Leases, stops: Stops) -> Walked<LeaseTally> {
        walk(&self.store, job, self.now(), stops)
    }

    /// Compares every mode, and gives what the walk without expiry has found.
    fn check(&self) -> Walked<LeaseTally> {
        assert_eq!(self.expected.len(), 8);
        for (name, expected) in &self.expected {
            let job = job(&expected["mode"]);
            for stops in [Stops::Never, Stops::Every(1), Stops::Every(3)] {
                let walked = self.walk(&job, stops);
                let history = walked.report(&job)["history"].clone();
                assert_eq!(history, expected["history"], "{name}, {stops:?}");
                assert_eq!(walked.counts.buckets, expected["bucket-count"].as_u64().unwrap(), "{name}");
                assert_eq!(walked.counts.findings, walked.findings.len() as u64);
                assert_eq!(walked.counts.errors, walked.errors.len() as u64);
                assert_eq!((walked.counts.vanished, walked.unlisted.len()), (0, 0), "{name}");
            }
        }
        self.walk(&Leases::default(), Stops::Never)
    }
}

fn job(mode: &Value) -> Leases {
    // Tahoe's mode `age` without a duration comes to the same as no expiry, so long as nothing is deleted.
    let expiry = match mode["expire"].as_str().unwrap() {
        "age" => Expiry::None,
        other => other.parse().unwrap(),
    };
    let sharetypes = mode["sharetypes"].as_str().unwrap().parse().unwrap();
    Leases::new(LeaseSettings { expiry, sharetypes, ..LeaseSettings::default() })
}

/// Tahoe's own figures count directories, empty buckets, and shares without any lease or with dates that cannot be, which are
/// never deleted.
#[test]
fn what_has_expired_is_what_would_be_deleted_and_no_more_than_was_examined() {
    for name in ["fixture-plain", "fixture-odd"] {
        let fixture = Fixture::unpack(name);
        let told = LeaseSettings {
            word: Some(Word::Offline),
            dry_run: true,
            ..job(&fixture.expected["age-override-10d-dry"]["mode"]).settings
        };
        let told = Leases::new(told);
        let walked = fixture.walk(&told, Stops::Never);
        let (report, expired) = (walked.report(&told), walked.tally.expired().by_rule);
        let space = &report["history"]["space-recovered"];
        assert!(expired.disk_bytes <= space["examined-diskbytes"].as_u64().unwrap(), "{name}: {expired:?}");
        let of_tahoe = space["configured-shares"].as_u64().unwrap();
        assert_eq!(expired.shares < of_tahoe, name == "fixture-odd", "{name}: {expired:?}, {of_tahoe}");
        // The odd store has two more that are kept, in directories that are no buckets.
        let kept = expired.shares - walked.tally.would_delete.shares;
        assert_eq!(kept, if name == "fixture-odd" { 2 } else { 0 }, "{name}");
        // All of the rest would be.
        let buckets = (expired.buckets, walked.tally.would_delete_in);
        assert!(buckets.0 <= buckets.1 + kept, "{name}: {buckets:?}");
    }
}

#[test]
fn plain_store_has_tahoes_history_and_no_finding() {
    let walked = Fixture::unpack("fixture-plain").check();
    assert_eq!((walked.findings.len(), walked.errors.len()), (0, 0), "{:?}", walked.findings);
    assert_eq!((walked.counts.no_bucket, walked.counts.no_object), (0, 0));
}

#[test]
fn real_grid_has_tahoes_history_and_no_finding() {
    let walked = Fixture::unpack("real-grid-small").check();
    assert_eq!((walked.findings.len(), walked.errors.len()), (0, 0), "{:?}", walked.findings);
    assert_eq!((walked.counts.no_bucket, walked.counts.no_object), (0, 0));
    assert!(walked.counts.objects >= 28);
}

#[test]
fn odd_store_has_tahoes_history_and_its_oddities_are_findings() {
    let fixture = Fixture::unpack("fixture-odd");
    let walked = fixture.check();
    assert!(walked.errors.is_empty(), "{:?}", walked.errors);
    let manifest = fixture.store.identity() + "/manifest.json";
    let manifest: Value = serde_json::from_slice(&std::fs::read(manifest).unwrap()).unwrap();
    let mut expected: Vec<(String, &str)> = Vec::new();
    for oddity in manifest["oddities"].as_array().unwrap() {
        let (kind, place) = (oddity[0].as_str().unwrap(), oddity[1].as_str().unwrap());
        let found: &[&str] = match kind {
            "zero_length" | "short_header" | "unknown_version" | "version_zero" | "mutable_unknown_version" => {
                &["container header"]
            }
            "unknown_beside_good" | "garbage" | "mutable_short" => &["container header"],
            "truncated_leases" => &["container header", "leases"],
            "mutable_cut_at_leases" | "mutable_extra_short" | "lease_zero_time" | "lease_far_future" => &["leases"],
            _ => &[],
        };
        let bucket = place.rsplit('/').next().unwrap();
        expected.extend(found.iter().map(|region| (bucket.to_owned(), *region)));
    }
    let mut found: Vec<_> = walked.findings.iter().map(|f| (f.bucket.clone(), f.part.as_str())).collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    // tmp, README, 1.tmp, .2 twice, and tmp twice; the bucket with five characters twice.
    assert_eq!((walked.counts.no_object, walked.counts.no_bucket), (10, 2));
}

#[test]
fn each_bucket_that_stops_tahoe_is_one_error_and_the_walk_goes_on() {
    let fixture = Fixture::unpack("fixture-fatal");
    let walked = fixture.check();
    let shares = fixture.store.path("", None);
    let mut stopped: BTreeMap<String, u32> = BTreeMap::new();
    for error in walked.errors.iter().filter(|e| e.error.ends_with("Tahoe's crawler would stop here for good")) {
        let path = Path::new(&error.path).strip_prefix(&shares).unwrap();
        let bucket = path.iter().nth(1).unwrap().to_string_lossy().into_owned();
        *stopped.entry(bucket).or_default() += 1;
    }
    let fatal = fixture.expected["disabled"]["fatal"].as_array().unwrap();
    let fatal: BTreeMap<String, u32> = fatal.iter().map(|f| (f[1].as_str().unwrap().to_owned(), 1)).collect();
    assert_eq!(fatal.len(), 34);
    assert_eq!(stopped, fatal);
    // The rest are what stands behind such a thing in the same bucket: five lease counts, five links.
    assert_eq!(walked.errors.len() - fatal.len(), 10);
    let late = walked.findings.iter().filter(|f| f.reason.contains("version 7") && !is_tahoe_corrupt(f)).count();
    assert_eq!(late, 10, "corrupt shares that Tahoe would not have come to");
}

#[test]
fn count_gives_tahoes_bucket_counts() {
    for name in ["fixture-plain", "fixture-odd", "fixture-fatal", "real-grid-small"] {
        let fixture = Fixture::unpack(name);
        let expected = &fixture.expected["disabled"];
        let walked = walk(&fixture.store, &Count, fixture.now(), Stops::Never);
        assert_eq!(walked.report::<TahoeStore>(&Count)["prefixes"], expected["prefix-counts"], "{name}");
        assert_eq!(walked.counts.buckets, expected["bucket-count"].as_u64().unwrap(), "{name}");
        let leases = fixture.walk(&Leases::default(), Stops::Never);
        assert_eq!(walked.counts.no_bucket, leases.counts.no_bucket, "{name}");
    }
}

#[test]
fn prefixes_merge_to_the_same_whichever_are_merged_first() {
    let walked = Fixture::unpack("fixture-odd").walk(&Leases::default(), Stops::Never);
    for split in [0, 1, 500, 1023] {
        let sum = |saved: &[Vec<u8>]| {
            let mut sum = LeaseTally::default();
            for one in saved {
                sum.merge(serde_json::from_slice::<PrefixTally<LeaseTally>>(one).unwrap().tally);
            }
            sum
        };
        let (mut left, right) = (sum(&walked.saved[..split]), sum(&walked.saved[split..]));
        left.merge(right);
        assert_eq!(left, walked.tally);
    }
}

#[test]
fn a_tally_of_an_ordinary_prefix_is_small() {
    // All buckets in one tally: more kinds of ages and leases than a prefix has.
    for name in ["fixture-plain", "fixture-odd"] {
        let tally = Fixture::unpack(name).walk(&Leases::default(), Stops::Never).tally;
        let len = serde_json::to_string(&tally).unwrap().len();
        assert!(len < 4096, "{name}: {len} bytes");
    }
}

/// Lists a bucket with three shares, removes some, and only then visits it.
fn visit_after_removal(removed: &[&str]) -> (LeaseTally, Notes) {
    let dir = tempfile::tempdir().unwrap();
    let name = b"ababababababababababababaa";
    let path = dir.path().join("shares/ab/ababababababababababababaa");
    std::fs::create_dir_all(&path).unwrap();
    let share: Vec<u8> = [1u32, 0, 0].iter().flat_map(|field| field.to_be_bytes()).collect();
    for number in ["0", "1", "2"] {
        std::fs::write(path.join(number), &share).unwrap();
    }
    let remove = || removed.iter().for_each(|number| std::fs::remove_file(path.join(number)).unwrap());
    let (tally, notes, _) = visit(&Leases::default(), dir.path(), name, remove);
    (tally, notes)
}

/// Objects deleted, and the body, of each intent that a visit hands out.
type Intents = Vec<(u64, String)>;

/// Lists a bucket, does something to it, and only then visits its shares.
fn visit(job: &Leases, root: &Path, name: &[u8], between: impl FnOnce()) -> (LeaseTally, Notes, Intents) {
    let store = TahoeStore::open(root).unwrap();
    let open = store.open_prefix("ab").unwrap().unwrap();
    let bucket = store.open_bucket(&open, name).unwrap();
    let (mut tally, mut notes) = (LeaseTally::default(), Notes::default());
    let slice = TimeSlice::unlimited();
    let is_there = |path: &Path| store.is_there(path);
    let mut fold = Fold {
        tally: &mut tally,
        notes: &mut notes,
        phase: VisitPhase::OnePass,
        slice: &slice,
        began: 1.7e9,
        now: 1.7e9,
        latest: 1.7e9 + 2.0 * 86_400.0,
        clocks: &|| standing_still(1.7e9),
        is_there: &is_there,
        refused: None,
        handed_out: Default::default(),
    };
    let (mut visit, mut page) = (LeaseVisit::default(), [0; 4096]);
    visit.step(job, &bucket, &mut fold, &mut page).unwrap();
    between();
    examine::bucket(job, &bucket, Some(Box::new(visit)), &mut examine::Desk::new(), &mut fold).unwrap();
    let intents = std::mem::take(&mut fold.handed_out.bodies);
    (tally, notes, intents)
}

/// How it happens: a client renews a lease on the second day of a cycle.
#[test]
fn a_lease_renewed_while_a_long_cycle_lasts_has_a_date_that_can_be() {
    let dir = tempfile::tempdir().unwrap();
    let name = b"ababababababababababababaa";
    let path = dir.path().join("shares/ab/ababababababababababababaa");
    std::fs::create_dir_all(&path).unwrap();
    let share = |ahead_days: u32| {
        let mut share: Vec<u8> = [1u32, 0, 1].iter().flat_map(|field| field.to_be_bytes()).collect();
        share.extend([0; 68]);
        share.extend((1_700_000_000 + ahead_days * 86_400).to_be_bytes());
        share
    };
    // Two days have passed since the cycle began.
    std::fs::write(path.join("0"), share(33)).unwrap();
    std::fs::write(path.join("1"), share(35)).unwrap();
    let (_, mut notes, _) = visit(&Leases::default(), dir.path(), name, || ());
    let findings: Vec<String> = notes.take_rows().into_iter().map(|note| note.body).collect();
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(
        findings[0].contains(r#""object":"1""#) && findings[0].contains("after now (2023-11-16T22:13:20Z)"),
        "{findings:?}"
    );
}

/// A file of holes can have as many leases as it likes; what is kept and saved of them must not grow with that.
#[test]
fn an_intent_for_a_share_with_many_leases_is_short() {
    let dir = tempfile::tempdir().unwrap();
    let name = b"ababababababababababababaa";
    let path = dir.path().join("shares/ab/ababababababababababababaa");
    std::fs::create_dir_all(&path).unwrap();
    let mut share: Vec<u8> = [1u32, 0, 20_000].iter().flat_map(|field| field.to_be_bytes()).collect();
    for lease in 0..20_000u32 {
        share.extend([0; 68]);
        share.extend((1_600_000_000 + lease % 3 * 86_400).to_be_bytes());
    }
    std::fs::write(path.join("0"), &share).unwrap();
    let expiry = "age:864000".parse().unwrap();
    let job = Leases::new(LeaseSettings { expiry, word: Some(Word::Offline), ..LeaseSettings::default() });
    let (tally, _, intents) = visit(&job, dir.path(), name, || ());
    let [(1, body)] = &intents[..] else { panic!("{intents:?}") };
    assert!(body.len() < 1000, "{} bytes", body.len());
    assert_eq!(tally.ages.values().copied().collect::<Vec<_>>(), [6666, 6667, 6667]);
}

/// How it happens: a count of 2^32 - 1 in a file of holes, which takes no room on the disk.
#[test]
fn billions_of_leases_are_not_read_but_by_who_follows_tahoe() {
    let dir = tempfile::tempdir().unwrap();
    let name = b"ababababababababababababaa";
    let path = dir.path().join("shares/ab/ababababababababababababaa");
    std::fs::create_dir_all(&path).unwrap();
    let sparse = |number: &str, leases: u32| {
        let header: Vec<u8> = [1, 0, leases].iter().flat_map(|field| field.to_be_bytes()).collect();
        std::fs::write(path.join(number), header).unwrap();
        let file = std::fs::File::options().write(true).open(path.join(number)).unwrap();
        file.set_len(12 + 72 * u64::from(leases)).unwrap();
    };
    sparse("0", u32::MAX);
    let cutoff = LeaseSettings { expiry: Expiry::Cutoff { unix: 1 }, word: Some(Word::Offline), ..Default::default() };
    let (tally, mut notes, intents) = visit(&Leases::new(cutoff.clone()), dir.path(), name, || ());
    let findings: Vec<String> = notes.take_rows().into_iter().map(|note| note.body).collect();
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].contains("it counts 4294967295 leases") && !findings[0].contains("extra"), "{findings:?}");
    assert!(intents.is_empty());
    assert_eq!((notes.counts.objects, tally.unknown_buckets, tally.ages.len()), (1, 1, 0));
    // Plausible, or followed whatever there is.
    for (leases, conduct) in [(1_000_000, Conduct::Careful), (1_000_001, Conduct::Compat)] {
        sparse("0", leases);
        let (tally, ..) = visit(
            &Leases::new(LeaseSettings { conduct, expiry: Expiry::None, word: None, ..cutoff.clone() }),
            dir.path(),
            name,
            || (),
        );
        assert_eq!(tally.ages.values().sum::<u64>(), u64::from(leases));
    }
}

/// A slice of which nothing is left is the shortest there can be: each visit then does one step.
#[test]
fn a_visit_ends_with_its_slice_between_shares_and_within_long_lease_tables() {
    let dir = tempfile::tempdir().unwrap();
    let name = b"ababababababababababababaa";
    let path = dir.path().join("shares/ab/ababababababababababababaa");
    std::fs::create_dir_all(&path).unwrap();
    for number in 0..100u32 {
        let leases = if number == 7 { 5000 } else { 3 };
        let mut share: Vec<u8> = [1u32, 0, leases].iter().flat_map(|field| field.to_be_bytes()).collect();
        for lease in 0..leases {
            share.extend([0; 68]);
            share.extend((1_690_000_000 + (lease + number) % 40 * 86_400).to_be_bytes());
        }
        std::fs::write(path.join(number.to_string()), &share).unwrap();
    }
    let expiry = "age:864000".parse().unwrap();
    let job = Leases::new(LeaseSettings { expiry, dry_run: true, ..LeaseSettings::default() });
    let whole = visit(&job, dir.path(), name, || ());
    let store = TahoeStore::open(dir.path()).unwrap();
    let open = store.open_prefix("ab").unwrap().unwrap();
    let (mut tally, mut notes, slice) = (LeaseTally::default(), Notes::default(), TimeSlice::ended());
    let is_there = |path: &Path| store.is_there(path);
    let (mut parts, mut part) = (0, None);
    loop {
        // As the walk does it: the bucket is opened anew for each part.
        let bucket = store.open_bucket(&open, name).unwrap();
        let mut fold = Fold {
            tally: &mut tally,
            notes: &mut notes,
            phase: VisitPhase::OnePass,
            slice: &slice,
            began: 1.7e9,
            now: 1.7e9,
            latest: 1.7e9 + 2.0 * 86_400.0,
            clocks: &|| standing_still(1.7e9),
            is_there: &is_there,
            refused: None,
            handed_out: Default::default(),
        };
        match examine::bucket(&job, &bucket, part.take(), &mut examine::Desk::new(), &mut fold).unwrap() {
            Visited::Whole => break,
            Visited::Part(visit) | Visited::Chunk(visit) => (part, parts) = (Some(visit), parts + 1),
        }
        assert_eq!((&tally, notes.waiting_bytes()), (&LeaseTally::default(), 0), "only a whole bucket counts");
    }
    // 5,000 leases in pieces of 56, and a hundred shares, 32 at a time.
    assert!((91..95).contains(&parts), "{parts}");
    assert_eq!(
        (tally, notes.counts.clone(), notes.take_rows()),
        (whole.0, whole.1.counts.clone(), { whole.1 }.take_rows())
    );
}

#[test]
fn a_share_that_vanishes_leaves_no_trace_in_the_history() {
    let (tally, notes) = visit_after_removal(&["1"]);
    assert_eq!((notes.counts.objects, notes.counts.vanished, notes.waiting_bytes()), (2, 1, 0));
    assert_eq!((tally.examined.shares.all, tally.examined.buckets.all), (2, 1));
    let (tally, notes) = visit_after_removal(&["0", "1", "2"]);
    assert_eq!((notes.counts.objects, notes.counts.vanished, notes.waiting_bytes()), (0, 3, 0));
    assert_eq!(tally, LeaseTally::default(), "no bucket that would count as recovered");
}
