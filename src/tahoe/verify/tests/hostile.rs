//! Who owns the store has prepared it for the one who verifies it: with links where Sexton writes, or with shares that are long and
//! take nothing.

use std::os::unix::fs::{FileExt, MetadataExt, symlink};

use super::*;
use crate::job::{Counts, Job};

/// A share whose header says that it is no share of ours, as long as it is said to be, with some bytes at these places.
fn sparse(share: &Path, len: u64, blocks: &[u64]) {
    let file = fs::File::create(share).unwrap();
    file.write_all_at(b"\0\0\0\x09no share", 0).unwrap();
    blocks.iter().for_each(|at| file.write_all_at(&[7; 4096], at * 4096).unwrap());
    file.set_len(len).unwrap();
}

fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).map(|all| all.map(|e| e.unwrap().file_name().into_string().unwrap()));
    let mut names: Vec<String> = names.map(Iterator::collect).unwrap_or_default();
    names.sort();
    names
}

#[test]
fn nothing_is_written_through_links_in_a_store() {
    for quarantine in [Quarantine::Copy, Quarantine::Move] {
        for place in ["quarantine", "quarantine/aa", &format!("quarantine/aa/{IMMUTABLE}")] {
            let (grid, outside) = (Grid::new(), tempfile::tempdir().unwrap());
            let share = grid.bucket(IMMUTABLE).join("2");
            grid.flip(&share, 100);
            let link = grid.path(place);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            symlink(outside.path(), &link).unwrap();
            symlink(outside.path(), grid.path("corruption-advisories")).unwrap();
            let (walked, _) = grid.verify(settings(quarantine, Advisories::Write));
            assert_eq!(names(outside.path()), [""; 0], "{place}");
            assert!(share.exists() && link.is_symlink());
            assert_eq!((walked.tally.corrupt, walked.tally.quarantined), (1, 0));
            let errors: Vec<_> = walked.errors.iter().map(|e| &e.error[..]).collect();
            assert!(errors[0].starts_with("cannot write a corruption advisory") && errors[0].contains("it is a link"));
            // A share is not moved before its advisory stands.
            let copies = quarantine == Quarantine::Copy;
            assert_eq!(errors.len(), 1 + usize::from(copies), "{errors:?}");
            assert!(!copies || errors[1].contains("name where it leads to with --quarantine-dir"), "{errors:?}");
            let (walked, _) = grid.verify(settings(quarantine, Advisories::None));
            assert!(walked.errors[0].error.contains("it is a link"), "{:?}", walked.errors);
            assert_eq!((names(outside.path()), share.exists()), (vec![], true), "{place}");
        }
    }
}

#[test]
fn a_quarantine_that_the_operator_has_named_may_be_reached_through_his_links() {
    let (grid, outside) = (Grid::new(), tempfile::tempdir().unwrap());
    let share = grid.bucket(IMMUTABLE).join("2");
    grid.flip(&share, 100);
    symlink(outside.path(), grid.path("mine")).unwrap();
    let quarantine_dir = Some(grid.path("mine/new/folder"));
    let (walked, _) = grid.verify(VerifySettings { quarantine_dir, ..settings(Quarantine::Copy, Advisories::None) });
    assert_eq!((walked.tally.quarantined, walked.errors.len()), (1, 0), "{:?}", walked.errors);
    let copy = outside.path().join("new/folder/aa").join(IMMUTABLE).join("2");
    assert_eq!(fs::read(copy).unwrap(), fs::read(share).unwrap());
}

/// A share of 4 GiB that takes some blocks: copied byte for byte it would fill the disk, in one slice.
#[test]
fn holes_stay_holes_and_a_copy_is_made_in_steps() {
    let grid = Grid::new();
    let share = grid.bucket(IMMUTABLE).join("2");
    sparse(&share, 4 << 30, &[1, 2, 77, 5000, 1_000_000]);
    let began = std::time::Instant::now();
    let (walked, _) = grid.verify(settings(Quarantine::Copy, Advisories::None));
    assert_eq!((walked.tally.quarantined, walked.errors.len()), (1, 0), "{:?}", walked.errors);
    let copy = grid.path("quarantine/aa").join(IMMUTABLE).join("2");
    let copied = fs::metadata(&copy).unwrap();
    assert_eq!((copied.len(), copied.mode()), (4 << 30, fs::metadata(&share).unwrap().mode()));
    assert!(copied.blocks() * 512 < 1 << 20, "{} blocks", copied.blocks());
    let (copy, share) = (fs::File::open(&copy).unwrap(), fs::File::open(&share).unwrap());
    for at in [0, 4096, 8192, 77 * 4096, 5000 * 4096, 1_000_000 * 4096, (4 << 30) - 4096] {
        let [mut one, mut other] = [[0; 4096], [1; 4096]];
        copy.read_exact_at(&mut one, at).unwrap();
        share.read_exact_at(&mut other, at).unwrap();
        assert_eq!(one, other, "at {at}");
    }
    assert!(began.elapsed() < std::time::Duration::from_secs(20), "{:?}: the holes were read", began.elapsed());
}

/// How it would show: between two looks at the clock more is copied than a buffer holds.
#[test]
fn no_step_of_a_copy_is_longer_than_a_buffer() {
    let grid = Grid::new();
    let share = grid.bucket(IMMUTABLE).join("2");
    sparse(&share, 1 << 20, &(1..100).collect::<Vec<_>>());
    let store = TahoeStore::open(grid.folder.path()).unwrap();
    let prefix = store.open_prefix(&IMMUTABLE[..2]).unwrap().unwrap();
    let (settings, mut buffer) = (settings(Quarantine::Copy, Advisories::None), vec![0; 8192]);
    let (job, mut visit) = (job(settings.clone()), ScrubVisit::default());
    let draft = grid.path("quarantine/aa").join(IMMUTABLE).join("2.part");
    let (mut steps, mut copied) = (0, 0);
    loop {
        // As after each slice.
        let bucket = store.open_bucket(&prefix, IMMUTABLE.as_bytes()).unwrap();
        let mut left = Left::Nothing;
        with_fold(&mut ScrubTally::default(), &mut crate::job::Notes::default(), |fold| {
            left = job.work(&mut visit, &bucket, fold, &mut buffer).unwrap();
        });
        visit.set_aside(job.checker(), &bucket).unwrap();
        if left == Left::Nothing {
            break;
        }
        let now = fs::metadata(&draft).map_or(copied, |draft| draft.len());
        assert!(now.saturating_sub(copied) <= 8192, "{copied} {now}");
        (copied, steps) = (now, steps + 1);
    }
    assert!(steps > 100, "{steps} steps");
    assert_eq!(fs::read(draft.with_file_name("2")).unwrap(), fs::read(share).unwrap());
}

/// The three shares that are left of a bucket, corrupt and of so many blocks each.
fn three(grid: &Grid, blocks: u64) -> Vec<PathBuf> {
    let shares = ["0", "1", "2"].map(|name| grid.bucket(IMMUTABLE).join(name));
    fs::remove_file(grid.bucket(IMMUTABLE).join("3")).unwrap();
    for (n, share) in shares.iter().enumerate() {
        let n = n as u64;
        sparse(share, (blocks + n) * 4096, &(1..blocks).collect::<Vec<_>>());
        fs::File::open(share).unwrap().sync_all().unwrap();
    }
    shares.into()
}

#[test]
fn what_a_cycle_may_not_copy_is_found_all_the_same_and_says_so() {
    let grid = Grid::new();
    three(&grid, 64);
    let quarantine_dir = Some(grid.path("away"));
    let copying = VerifySettings { quarantine_dir, ..settings(Quarantine::Copy, Advisories::None) };
    let limited = |blocks: u64| VerifySettings { quarantine_max_bytes: blocks * 4096, ..copying.clone() };
    let (walked, job) = grid.verify(limited(130));
    assert_eq!((walked.tally.corrupt, walked.tally.quarantined, walked.errors.len()), (3, 2, 0), "{:?}", walked.errors);
    assert_eq!(walked.counts.verified.quarantine_bytes, 2 * 64 * 4096);
    let left_out = |walked: &Walked<ScrubTally>| -> Vec<_> {
        let said = "; not copied to quarantine: it takes 262.1 kB, and ";
        let left_out = walked.findings.iter().filter(|finding| finding.reason.contains(said));
        left_out.map(|finding| share_number(finding.object.as_deref()).unwrap()).collect()
    };
    assert_eq!(left_out(&walked), [2], "{:?}", walked.findings);
    let away = grid.path("away/aa").join(IMMUTABLE);
    assert_eq!(names(&away), ["0", "0.json", "1", "1.json"]);
    // The same cycle comes to the bucket again, as after a crash: its copies are known, and count.
    let store = TahoeStore::open(grid.folder.path()).unwrap();
    job.take_up_cycle(&Counts::default());
    let again = walk(&store, &job, NOW, Stops::Never);
    assert_eq!((again.tally.quarantined, left_out(&again)), (2, vec![2]));
    assert_eq!(again.counts.verified.quarantine_bytes, 2 * 64 * 4096);
    // What it had copied before it was resumed counts as well.
    job.take_up_cycle(&again.counts);
    fs::remove_dir_all(grid.path("away")).unwrap();
    let resumed = walk(&store, &job, NOW + 1.0, Stops::Never);
    assert_eq!((resumed.tally.quarantined, left_out(&resumed)), (0, vec![0, 1, 2]));
    assert!(!grid.path("away").exists(), "nor a folder is made for nothing");
    // A later one begins anew, and takes nothing for what is there.
    let (walked, _) = grid.verify(limited(64));
    assert_eq!((walked.tally.quarantined, names(&away)), (1, vec!["0".into(), "0.json".into()]));
    let later = walk(&store, &super::super::job(limited(64)), NOW + 2.0, Stops::Never);
    assert_eq!((later.tally.quarantined, left_out(&later)), (2, vec![2]));
    // To rename takes no room.
    let moving = VerifySettings { quarantine: Quarantine::Move, ..limited(0) };
    let (walked, _) = grid.verify(moving);
    assert_eq!((walked.tally.quarantined, walked.counts.verified.quarantine_bytes), (3, 0));
}

/// How it happens: the node's operator wants more of the disk free than there is.
#[test]
fn what_the_node_reserves_stays_free_on_its_own_disk() {
    for (reserved, cause) in [("1EiB", "have to stay free"), ("lots", "reserved_space in ")] {
        let node = tempfile::tempdir().unwrap();
        let grid = Grid::new();
        let share = grid.bucket(IMMUTABLE).join("2");
        grid.flip(&share, 100);
        symlink(grid.folder.path(), node.path().join("storage")).unwrap();
        fs::write(node.path().join("tahoe.cfg"), format!("[storage]\nreserved_space = {reserved}\n")).unwrap();
        let store = TahoeStore::open(node.path().join("storage")).unwrap();
        let walk = |quarantine| walk(&store, &job(settings(quarantine, Advisories::None)), NOW, Stops::Never);
        let walked = walk(Quarantine::Copy);
        assert_eq!((walked.tally.corrupt, walked.tally.quarantined), (1, 0), "{reserved}");
        let told = format!("{:?} {:?}", walked.findings, walked.errors);
        assert!(told.contains(cause), "{told}");
        assert!(!grid.path("quarantine").exists());
        assert_eq!(walk(Quarantine::Move).tally.quarantined, 1, "to rename takes no room");
    }
}
