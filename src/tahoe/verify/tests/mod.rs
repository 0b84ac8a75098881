//! The job over real shares, good and damaged: findings, figures, and what is done with the files.

mod doubt;
mod hostile;
mod many;
mod taken;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::Digest;

use super::aftermath::LEFT_IN_PLACE;
use super::*;
use crate::job::Fold;
use crate::job::scrub::{Left, ScrubTally, ScrubVisit};
use crate::job::testing::{Stops, Walked, walk};
use crate::store::Store;
use crate::tahoe::TahoeStore;
use crate::tahoe::words::{ShareFinding, share_number};

const NOW: f64 = 1.8e9;

/// The findings as a note has them.
fn in_tahoes_words(walked: &Walked<ScrubTally>) -> Value {
    walked.findings.iter().map(|finding| json!(ShareFinding::from(finding))).collect()
}

/// The small grid, unpacked.
struct Grid {
    folder: tempfile::TempDir,
}

impl Grid {
    fn new() -> Grid {
        let folder = tempfile::tempdir().unwrap();
        let packed = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/real-grid-small.tar.gz");
        let packed = flate2::read::GzDecoder::new(fs::File::open(packed).unwrap());
        tar::Archive::new(packed).unpack(folder.path()).unwrap();
        Grid { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The shares of the bucket which begins like this.
    fn bucket(&self, begins: &str) -> PathBuf {
        let prefix = self.path("shares").join(&begins[..2]);
        let mut buckets = fs::read_dir(prefix).unwrap().map(|entry| entry.unwrap().path());
        buckets.find(|path| path.file_name().unwrap().to_str().unwrap().starts_with(begins)).unwrap()
    }

    fn flip(&self, share: &Path, byte: usize) {
        let mut bytes = fs::read(share).unwrap();
        bytes[byte] ^= 4;
        fs::write(share, bytes).unwrap();
    }

    fn verify(&self, settings: VerifySettings) -> (Walked<ScrubTally>, Verify) {
        let job = job(settings);
        let store = TahoeStore::open(self.folder.path()).unwrap();
        (walk(&store, &job, NOW, Stops::Never), job)
    }
}

fn settings(quarantine: Quarantine, advisories: Advisories) -> VerifySettings {
    // The tester's disk may be nearly full.
    VerifySettings { quarantine, advisories, free_percent: 0, ..VerifySettings::default() }
}

#[test]
fn a_good_store_is_all_ok() {
    let grid = Grid::new();
    let (walked, job) = grid.verify(VerifySettings::default());
    let ScrubTally { objects: shares, ok, corrupt, unreadable, .. } = walked.tally;
    assert_eq!((shares, ok, corrupt, unreadable), (112, 112, 0, 0));
    assert!(walked.findings.is_empty() && walked.errors.is_empty(), "{:?}", walked.findings);
    let report = walked.report(&job);
    assert_eq!(report["verified"]["shares"], 112);
    assert!(!report.contains_key("partial"));
    assert_eq!(walked.counts.objects, 112);
}

/// CHK of 4096 bytes, and an SDMF file, by the beginning of their storage index.
const IMMUTABLE: &str = "aaobc5xutcalwfferpi7udizni";
const MUTABLE: &str = "m43tiyng3b3b75nf75sn43fube";

#[test]
fn a_damaged_share_is_found_named_copied_and_reported_to_tahoe() {
    let grid = Grid::new();
    let share = grid.bucket(IMMUTABLE).join("2");
    let good = fs::read(&share).unwrap();
    grid.flip(&share, 12 + 0x24 + 7);
    let (walked, _) = grid.verify(settings(Quarantine::Copy, Advisories::Write));
    assert_eq!((walked.tally.ok, walked.tally.corrupt, walked.tally.quarantined), (111, 1, 1));
    let [finding] = &walked.findings[..] else { panic!("{:?}", walked.findings) };
    assert_eq!(
        (&finding.bucket[..], finding.object.as_deref(), &finding.part[..]),
        (IMMUTABLE, Some("2"), "data blocks")
    );
    // The one block of the share.
    let (start, end) = finding.bytes.unwrap();
    assert_eq!((start, end), (48, 48 + 2048));
    let copy = grid.path("quarantine/aa").join(IMMUTABLE).join("2");
    assert_eq!(fs::read(&copy).unwrap(), fs::read(&share).unwrap());
    assert_ne!(fs::read(&copy).unwrap(), good);
    let advisory = grid.path("corruption-advisories").join(format!("2027-01-15T080000--{IMMUTABLE}-2"));
    let text = fs::read_to_string(advisory).unwrap();
    let head = format!("report: Share Corruption\ntype: immutable\nstorage_index: {IMMUTABLE}\nshare_number: 2\n\n");
    assert!(text.starts_with(&head) && text.ends_with("\n\n") && text.contains("data blocks: block 0"), "{text}");
    // The next cycle finds the same bytes there, and leaves them.
    let (walked, _) = grid.verify(settings(Quarantine::Copy, Advisories::None));
    assert_eq!(walked.tally.corrupt, 1);
    assert!(!copy.with_file_name("2.1").exists());
    // Another damage is another file: nothing is overwritten.
    grid.flip(&share, 200);
    grid.verify(settings(Quarantine::Copy, Advisories::None));
    assert_eq!(fs::read(copy.with_file_name("2.1")).unwrap(), fs::read(&share).unwrap());
}

#[test]
fn a_share_that_was_moved_away_before_a_crash_is_still_found() {
    let grid = Grid::new();
    let share = grid.bucket(MUTABLE).join("0");
    grid.flip(&share, 468 + 1);
    let bytes = fs::read(&share).unwrap();
    let (first, _) = grid.verify(settings(Quarantine::Move, Advisories::None));
    assert!(!share.exists());
    assert_eq!(fs::read(grid.path("quarantine/m4").join(MUTABLE).join("0")).unwrap(), bytes);
    assert_eq!(first.findings[0].part, "signature");
    // How it happens: the crash came before the bucket was saved, and the same cycle visits it again.
    let (again, _) = grid.verify(settings(Quarantine::Move, Advisories::None));
    assert_eq!((again.tally, again.findings, again.counts), (first.tally, first.findings, first.counts));
    // A later cycle is not concerned.
    let store = TahoeStore::open(grid.folder.path()).unwrap();
    let later = walk(&store, &job(settings(Quarantine::Move, Advisories::None)), NOW + 1.0, Stops::Never);
    assert_eq!((later.tally.objects, later.tally.corrupt), (111, 0));
}

/// The note beside a share in quarantine.
fn note_of(share: &Path) -> Value {
    serde_json::from_slice(&fs::read(share.with_file_name(format!("{}.json", name_of(share)))).unwrap()).unwrap()
}

fn name_of(share: &Path) -> &str {
    share.file_name().unwrap().to_str().unwrap()
}

#[test]
fn a_share_that_was_copied_before_is_moved_when_it_is_to_be_moved() {
    let grid = Grid::new();
    let share = grid.bucket(IMMUTABLE).join("2");
    grid.flip(&share, 100);
    let bytes = fs::read(&share).unwrap();
    grid.verify(settings(Quarantine::Copy, Advisories::None));
    let away = grid.path("quarantine/aa").join(IMMUTABLE).join("2");
    assert_eq!((share.exists(), &note_of(&away)["how"]), (true, &json!("copy")));
    let (moved, _) = grid.verify(settings(Quarantine::Move, Advisories::None));
    assert_eq!((moved.tally.corrupt, moved.tally.quarantined), (1, 1));
    assert!(!share.exists());
    assert_eq!((fs::read(&away).unwrap(), &note_of(&away)["how"]), (bytes, &json!("move")));
    assert_eq!(note_of(&away)["findings"], in_tahoes_words(&moved));
    assert_eq!(fs::read_dir(away.parent().unwrap()).unwrap().count(), 2);
    // After a crash the same cycle knows it by the note.
    let (again, _) = grid.verify(settings(Quarantine::Move, Advisories::None));
    assert_eq!((again.tally, again.findings), (moved.tally, moved.findings));
}

/// How it happens: the folder is on another file system, the share was copied there, and the crash came before it was
/// unlinked. The name was taken by another share, so that the copy has a number behind it.
#[test]
fn a_move_that_a_crash_left_half_done_is_finished_and_counted_once() {
    let grid = Grid::new();
    let share = grid.bucket(IMMUTABLE).join("2");
    grid.flip(&share, 100);
    let away = grid.path("quarantine/aa").join(IMMUTABLE);
    fs::create_dir_all(&away).unwrap();
    fs::write(away.join("2"), "another").unwrap();
    fs::copy(&share, away.join("2.1")).unwrap();
    let finding = json!({"storage_index": IMMUTABLE, "share": 2, "region": "data blocks", "reason": "it was so",
        "tahoe_corrupt": false, "bytes": [48, 2096]});
    // Of one block, which is not all zeros.
    let bytes = fs::read(&share).unwrap();
    let size = bytes.len() as u64;
    assert!(size <= 4096);
    let hash = sha2::Sha256::digest([&0u64.to_be_bytes()[..], &bytes, &size.to_be_bytes()].concat());
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let note = json!({"now": NOW, "how": "move", "size": size, "hash": hash, "findings": [finding]});
    fs::write(away.join("2.1.json"), note.to_string()).unwrap();
    let (walked, _) = grid.verify(settings(Quarantine::Move, Advisories::None));
    assert!(!share.exists());
    assert_eq!((walked.tally.objects, walked.tally.corrupt, walked.tally.quarantined), (112, 1, 1));
    assert!(walked.errors.is_empty() && !away.join("2.2").exists());
}

#[test]
fn a_quarantine_folder_that_is_the_bucket_itself_takes_nothing_away() {
    let grid = Grid::new();
    let share = grid.bucket(IMMUTABLE).join("2");
    grid.flip(&share, 100);
    let quarantine_dir = Some(grid.path("shares"));
    let (walked, _) = grid.verify(VerifySettings { quarantine_dir, ..settings(Quarantine::Move, Advisories::None) });
    assert!(share.exists());
    assert_eq!((walked.tally.corrupt, walked.tally.quarantined, walked.errors.len()), (1, 0, 1));
}

/// How it happens: a share is on another disk; the node follows the link and serves what lies there.
#[test]
fn a_corrupt_share_behind_a_link_is_found_and_left_in_place() {
    for quarantine in [Quarantine::Copy, Quarantine::Move] {
        let grid = Grid::new();
        let (share, bucket) = (grid.bucket(IMMUTABLE).join("2"), grid.bucket(MUTABLE));
        grid.flip(&share, 100);
        grid.flip(&bucket.join("0"), 468 + 1);
        for path in [&share, &bucket] {
            let elsewhere = grid.path(path.file_name().unwrap().to_str().unwrap());
            fs::rename(path, &elsewhere).unwrap();
            std::os::unix::fs::symlink(elsewhere, path).unwrap();
        }
        let (walked, _) = grid.verify(settings(quarantine, Advisories::None));
        assert_eq!((walked.tally.objects, walked.tally.corrupt, walked.tally.quarantined), (112, 2, 0));
        assert!(walked.errors.is_empty() && !grid.path("quarantine").exists(), "{:?}", walked.errors);
        assert!(walked.findings.iter().all(|finding| finding.reason.ends_with(LEFT_IN_PLACE)), "{:?}", walked.findings);
        assert!(share.is_symlink() && bucket.is_symlink() && bucket.join("0").exists());
        let (looked, _) = grid.verify(VerifySettings::default());
        assert!(looked.findings.iter().all(|finding| !finding.reason.contains("link")), "{:?}", looked.findings);
    }
}

#[test]
fn a_quarantine_that_cannot_be_is_named_and_leaves_nothing_behind() {
    let grid = Grid::new();
    let share = grid.bucket(IMMUTABLE).join("2");
    grid.flip(&share, 100);
    fs::write(grid.path("quarantine"), "no folder").unwrap();
    for quarantine in [Quarantine::Copy, Quarantine::Move] {
        let (walked, _) = grid.verify(settings(quarantine, Advisories::None));
        let [error] = &walked.errors[..] else { panic!("{:?}", walked.errors) };
        let folder = grid.path("quarantine").canonicalize().unwrap().join("aa").join(IMMUTABLE);
        assert!(error.error.contains(&format!("folder {}: ", folder.display())), "{}", error.error);
    }
    assert!(share.exists());
}

/// How it happens: a node is started while a cycle of days is under way; its `storage` is a link to a larger disk.
#[test]
fn nothing_is_moved_from_under_a_running_node() {
    let (grid, node) = (Grid::new(), tempfile::tempdir().unwrap());
    let share = grid.bucket(IMMUTABLE).join("2");
    grid.flip(&share, 100);
    let storage = node.path().join("storage");
    std::os::unix::fs::symlink(grid.folder.path(), &storage).unwrap();
    fs::write(node.path().join("running.process"), format!("{} 1700000000.5", std::process::id())).unwrap();
    let store = TahoeStore::open(&storage).unwrap();
    let mut moving = settings(Quarantine::Move, Advisories::None);
    let walked = walk(&store, &job(moving.clone()), NOW, Stops::Never);
    assert!(share.exists());
    assert_eq!((walked.tally.corrupt, walked.tally.quarantined), (1, 0));
    assert!(walked.errors[0].error.contains("the node of this store runs"), "{:?}", walked.errors);
    // What is seen cannot be vouched for.
    moving.node_stopped = true;
    walk(&store, &job(moving.clone()), NOW, Stops::Never);
    assert!(share.exists());
    fs::write(node.path().join("running.process"), "no number").unwrap();
    walk(&store, &job(moving), NOW, Stops::Never);
    assert!(!share.exists());
}

#[test]
fn a_share_is_not_moved_before_its_advisory_stands() {
    let grid = Grid::new();
    let share = grid.bucket(IMMUTABLE).join("2");
    grid.flip(&share, 100);
    fs::write(grid.path("corruption-advisories"), "no folder").unwrap();
    let (walked, _) = grid.verify(settings(Quarantine::Move, Advisories::Write));
    assert!(share.exists());
    assert_eq!((walked.tally.corrupt, walked.tally.quarantined, walked.errors.len()), (1, 0, 1));
    let folder = grid.path("corruption-advisories").canonicalize().unwrap();
    let named = format!("cannot write a corruption advisory: folder {}: ", folder.display());
    assert!(walked.errors[0].error.starts_with(&named), "{:?}", walked.errors);
    // A copy takes nothing away.
    let (walked, _) = grid.verify(settings(Quarantine::Copy, Advisories::Write));
    assert_eq!((walked.tally.corrupt, walked.tally.quarantined, walked.errors.len()), (1, 1, 1));
    fs::remove_file(grid.path("corruption-advisories")).unwrap();
    let (walked, _) = grid.verify(settings(Quarantine::Move, Advisories::Write));
    assert!(!share.exists() && walked.errors.is_empty());
    assert_eq!(fs::read_dir(grid.path("corruption-advisories")).unwrap().count(), 1);
}

#[test]
fn what_no_share_shows_by_itself_shows_beside_the_others() {
    let grid = Grid::new();
    // The UEB's crypttext_hash, and the encrypted private key at the end of an SDMF share.
    let share = grid.bucket(IMMUTABLE).join("1");
    let bytes = fs::read(&share).unwrap();
    let key = b"crypttext_hash:32:";
    let at = bytes.windows(key.len()).position(|w| w == key).unwrap() + key.len();
    grid.flip(&share, at + 3);
    let mutable = grid.bucket(MUTABLE).join("3");
    let len = u64::from_be_bytes(fs::read(&mutable).unwrap()[84..92].try_into().unwrap()) as usize;
    grid.flip(&mutable, 468 + len - 10);
    let (walked, _) = grid.verify(VerifySettings::default());
    assert_eq!((walked.tally.ok, walked.tally.corrupt), (110, 2));
    let found: Vec<_> = walked.findings.iter().map(|f| (f.object.as_deref().unwrap(), &f.part[..])).collect();
    assert_eq!(found, [("1", "UEB crypttext_hash"), ("3", "encrypted private key")]);
    assert_eq!(walked.findings[0].bytes, Some((at as u64 + 3, at as u64 + 4)));
    assert!(walked.findings[0].reason.starts_with("3 other shares"), "{}", walked.findings[0].reason);
}

#[test]
fn a_share_in_the_wrong_bucket_is_found_by_its_company() {
    let grid = Grid::new();
    let other = grid.bucket("csj7tvgtunbdzk7ehmdyy4kxle").join("1");
    fs::copy(other, grid.bucket(IMMUTABLE).join("1")).unwrap();
    let (walked, _) = grid.verify(VerifySettings::default());
    let found: Vec<_> =
        walked.findings.iter().map(|f| (&f.bucket[..], f.object.as_deref().unwrap(), &f.part[..])).collect();
    assert_eq!(found, [(IMMUTABLE, "1", "bucket")]);
}

#[test]
fn what_cannot_be_read_is_an_error_and_what_has_gone_is_none() {
    let grid = Grid::new();
    let bucket = grid.bucket(IMMUTABLE);
    fs::remove_file(bucket.join("0")).unwrap();
    fs::create_dir(bucket.join("0")).unwrap();
    fs::write(bucket.join("notes.txt"), "x").unwrap();
    let (walked, _) = grid.verify(VerifySettings::default());
    assert_eq!((walked.tally.ok, walked.tally.unreadable, walked.tally.corrupt), (111, 1, 0));
    assert_eq!((walked.errors.len(), walked.counts.no_object), (1, 1));
    assert!(walked.errors[0].path.ends_with("/0"), "{:?}", walked.errors);
}

#[test]
fn a_share_with_a_short_key_is_ok_and_told_as_not_fully_checked() {
    let grid = Grid::new();
    let bucket = grid.path("shares/aa/aaaaaaaaaaaaaaaaaaaaaaaaaa");
    fs::create_dir(&bucket).unwrap();
    let share = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/sdmf-1024-bits.share");
    fs::copy(share, bucket.join("0")).unwrap();
    let (walked, job) = grid.verify(settings(Quarantine::Move, Advisories::None));
    assert!(bucket.join("0").exists() && walked.findings.is_empty(), "{:?}", walked.findings);
    let verified = &walked.report(&job)["verified"];
    assert_eq!((&verified["ok"], &verified["signatures_not_checked"]), (&json!(113), &json!(1)));
}

#[test]
fn a_part_is_verified_and_named() {
    let grid = Grid::new();
    let selection = Selection { buckets: [IMMUTABLE.to_owned()].into(), ..Selection::default() };
    let (walked, job) = grid.verify(VerifySettings { selection, ..VerifySettings::default() });
    assert_eq!((walked.tally.objects, walked.counts.buckets), (4, 1));
    assert_eq!(walked.report(&job)["partial"], json!({ "storage_indexes": [IMMUTABLE] }));
    let sample = Selection { sample: Some("30%".parse().unwrap()), ..Selection::default() };
    let (walked, job) = grid.verify(VerifySettings { selection: sample, ..VerifySettings::default() });
    assert!((4..60).contains(&walked.tally.objects) && walked.tally.objects.is_multiple_of(4), "{:?}", walked.tally);
    assert_eq!(walked.report(&job)["partial"], json!({ "sample": "30%" }));
}

/// The first bucket of a share store with this name, opened, and the visit to it driven by hand.
fn visit_by_hand(grid: &Grid, begins: &str, between: impl Fn(usize)) -> (ScrubTally, Vec<String>) {
    visit_with(&VerifySettings::default(), grid, begins, between, || ())
}

/// As [`visit_by_hand`]; `after` is done when all was read, and nothing put down.
fn visit_with(
    settings: &VerifySettings,
    grid: &Grid,
    begins: &str,
    between: impl Fn(usize),
    after: impl FnOnce(),
) -> (ScrubTally, Vec<String>) {
    let store = TahoeStore::open(grid.folder.path()).unwrap();
    let prefix = store.open_prefix(&begins[..2]).unwrap().unwrap();
    let bucket = store.open_bucket(&prefix, begins.as_bytes()).unwrap();
    let (mut visit, mut buffer, mut steps) = (ScrubVisit::default(), vec![0; 4096], 0);
    let job = job(settings.clone());
    while job.read(&mut visit, &bucket, &mut buffer).unwrap() == Left::Something {
        between(steps);
        steps += 1;
    }
    after();
    let (mut tally, mut notes) = (ScrubTally::default(), crate::job::Notes::default());
    with_fold(&mut tally, &mut notes, |fold| {
        while job.work(&mut visit, &bucket, fold, &mut buffer).unwrap() == Left::Something {}
        visit.put_down(job.checker(), &bucket, fold);
    });
    (tally, notes.take_rows().into_iter().map(|note| note.body).collect())
}

/// Does something with what a job has in hand.
fn with_fold(tally: &mut ScrubTally, notes: &mut crate::job::Notes, work: impl FnOnce(&mut Fold<'_, ScrubTally>)) {
    let slice = crate::slice::TimeSlice::unlimited();
    let is_there = |path: &Path| path.exists();
    work(&mut Fold {
        tally,
        notes,
        phase: crate::job::VisitPhase::Examine,
        slice: &slice,
        began: NOW,
        now: NOW,
        latest: NOW,
        clocks: &|| crate::job::testing::standing_still(NOW),
        is_there: &is_there,
        refused: None,
        handed_out: Default::default(),
    });
}

/// How it happens: a client repairs the share after it was read, and before it is moved away.
#[test]
fn a_share_that_is_not_moved_after_all_leaves_nothing_behind() {
    let grid = Grid::new();
    let share = grid.bucket(IMMUTABLE).join("2");
    let good = fs::read(&share).unwrap();
    grid.flip(&share, 100);
    let moving = settings(Quarantine::Move, Advisories::None);
    let (tally, told) = visit_with(&moving, &grid, IMMUTABLE, |_| (), || fs::write(&share, &good).unwrap());
    assert_eq!((tally.corrupt, tally.quarantined), (1, 0));
    assert!(told.iter().any(|told| told.contains("it has changed since it was read")), "{told:?}");
    assert_eq!(fs::read(&share).unwrap(), good);
    assert!(!grid.path("quarantine").exists(), "nor a folder");
}

#[test]
fn a_share_that_is_changed_while_it_is_read_is_read_anew() {
    let grid = Grid::new();
    let share = grid.bucket(MUTABLE).join("0");
    let good = fs::read(&share).unwrap();
    grid.flip(&share, 468 + 1);
    // How it happens: the node writes when the header was read already, and the rest not yet.
    let (tally, notes) = visit_by_hand(&grid, MUTABLE, |step| {
        if step == 0 {
            fs::write(&share, &good).unwrap();
            let later = std::time::SystemTime::now() + std::time::Duration::from_secs(1);
            fs::File::options().write(true).open(&share).unwrap().set_modified(later).unwrap();
        }
    });
    assert_eq!((tally.ok, tally.corrupt, tally.unreadable), (4, 0, 0), "{notes:?}");
    // One that changes all the time cannot be judged, and is not called corrupt.
    let (tally, notes) = visit_by_hand(&grid, MUTABLE, |step| {
        grid.flip(&share, 468 + 20);
        let later = std::time::SystemTime::now() + std::time::Duration::from_secs(step as u64);
        fs::File::options().write(true).open(&share).unwrap().set_modified(later).unwrap();
    });
    assert_eq!((tally.corrupt, tally.unreadable), (0, 1), "{notes:?}");
    assert!(notes[0].contains("it was changed while it was read, 5 times"), "{notes:?}");
}

#[test]
fn shares_that_vanish_meanwhile_are_none() {
    let grid = Grid::new();
    let bucket = grid.bucket(MUTABLE);
    let (tally, notes) = visit_by_hand(&grid, MUTABLE, |step| {
        if step == 0 {
            fs::remove_file(bucket.join("2")).unwrap();
        }
    });
    assert_eq!((tally.objects, tally.ok, tally.unreadable), (3, 3, 0));
    assert!(notes.is_empty(), "{notes:?}");
}

/// How it happens: the page cache has another bit than the disk. Here the right one comes back when all shares were read.
#[test]
fn what_only_the_comparison_shows_is_read_again_before_it_counts() {
    let grid = Grid::new();
    let share = grid.bucket(IMMUTABLE).join("1");
    let good = fs::read(&share).unwrap();
    let key = b"crypttext_hash:32:";
    let at = good.windows(key.len()).position(|w| w == key).unwrap() + key.len();
    let steps = std::cell::Cell::new(0);
    visit_by_hand(&grid, IMMUTABLE, |step| steps.set(step));
    let all_read = steps.get();
    grid.flip(&share, at);
    let mend = |step| {
        if step == all_read {
            fs::write(&share, &good).unwrap();
        }
    };
    let (tally, notes) = visit_by_hand(&grid, IMMUTABLE, mend);
    assert_eq!((tally.ok, tally.corrupt, tally.misread), (4, 0, 1), "{notes:?}");
    // Where two differ, and nothing tells which is right, both are read again.
    fs::remove_file(grid.bucket(IMMUTABLE).join("2")).unwrap();
    fs::remove_file(grid.bucket(IMMUTABLE).join("3")).unwrap();
    grid.flip(&share, at);
    let mend = |step| {
        if step == all_read / 2 {
            fs::write(&share, &good).unwrap();
        }
    };
    let (tally, notes) = visit_by_hand(&grid, IMMUTABLE, mend);
    assert_eq!((tally.ok, tally.misread, notes.len()), (2, 1, 1), "{notes:?}");
    assert!(notes[0].contains("/1\",") && notes[0].contains("read past it none"), "{notes:?}");
    // What stands on the disk stays a flaw, told once.
    grid.flip(&share, at);
    let (tally, notes) = visit_by_hand(&grid, IMMUTABLE, |_| {});
    assert_eq!((tally.ok, tally.in_doubt, tally.misread, notes.len()), (0, 2, 0, 1), "{notes:?}");
}
