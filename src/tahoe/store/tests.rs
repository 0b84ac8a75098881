//! The store against directories made for the purpose; nothing here needs to be unreadable, so it runs as root too.

use std::fs;
use std::os::unix::fs::symlink;

use rustix::fs::{CWD, Mode};

use super::*;
use crate::job::Count;
use crate::job::testing::{Stops, walk};
use crate::tahoe::Leases;

const SI: &str = "ababababababababababababaa";
const NOW: f64 = 1_700_000_000.0;

/// An immutable share with one lease that is valid at [`NOW`].
fn good_share() -> Vec<u8> {
    let mut share: Vec<u8> = [2u32, 3, 1].iter().flat_map(|field| field.to_be_bytes()).collect();
    share.extend_from_slice(b"abc");
    share.extend_from_slice(&[0; 68]);
    share.extend_from_slice(&1_700_086_400u32.to_be_bytes());
    share
}

fn make(buckets: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("shares")).unwrap();
    for bucket in buckets {
        let bucket = dir.path().join("shares").join(bucket);
        fs::create_dir_all(&bucket).unwrap();
        fs::write(bucket.join("0"), good_share()).unwrap();
    }
    dir
}

fn list(store: &TahoeStore, prefix: &str) -> (Vec<(String, Nature)>, u32) {
    let mut open = store.open_prefix(prefix).unwrap().unwrap();
    let (mut names, mut calls) = (Names::default(), 1);
    while store.read_names(&mut open, &mut names).unwrap() == More::Maybe {
        calls += 1;
    }
    let mut out = Vec::new();
    while let Some((name, nature)) = names.peek() {
        out.push((String::from_utf8_lossy(name).into_owned(), nature));
        names.advance();
    }
    (out, calls)
}

#[test]
fn a_wrong_root_is_refused_with_what_to_give() {
    let dir = make(&[]);
    let root = dir.path().canonicalize().unwrap();
    let refused = |path: &Path| TahoeStore::open(path).unwrap_err().to_string();
    assert_eq!(TahoeStore::open(root.join("shares/..")).unwrap().identity(), root.display().to_string());
    assert!(refused(&root.join("shares")).ends_with(&format!("give the folder that holds it: {}", root.display())));
    let linked = tempfile::tempdir().unwrap();
    fs::create_dir(linked.path().join("elsewhere")).unwrap();
    symlink("elsewhere", linked.path().join("shares")).unwrap();
    assert!(refused(&linked.path().join("shares")).ends_with(&linked.path().display().to_string()));
    assert!(refused(&root.join("nothing")).contains("No such file"));
    let node = tempfile::tempdir().unwrap();
    assert!(refused(node.path()).contains("is no Tahoe share store"));
    fs::create_dir_all(node.path().join("storage/shares")).unwrap();
    assert!(refused(node.path()).ends_with("/storage"));
    fs::write(node.path().join("shares"), "").unwrap();
    assert!(matches!(TahoeStore::open(node.path()), Err(Error::Store { .. })));
    assert!(refused(&node.path().join("shares")).contains("give"));
}

#[test]
fn names_that_are_no_buckets_are_strays_and_are_listed_all_the_same() {
    let dir = make(&["ab/ababababababababababababaa", "ab/acababababababababababaaaa", "ab/abc", "ab/.hidden"]);
    let ab = dir.path().join("shares/ab");
    fs::write(ab.join("abababababababababababaaaa"), "").unwrap();
    symlink(SI, ab.join("abababababababababababaaae")).unwrap();
    symlink("nothing", ab.join("abababababababababababaaai")).unwrap();
    let store = TahoeStore::open(dir.path()).unwrap();
    use Nature::{Bucket, Stray};
    let expected = [
        (".hidden", Stray),
        ("abababababababababababaaaa", Stray),
        ("abababababababababababaaae", Bucket),
        ("abababababababababababaaai", Stray),
        (SI, Bucket),
        ("abc", Stray),
        ("acababababababababababaaaa", Stray),
    ];
    assert_eq!(list(&store, "ab").0, expected.map(|(name, nature)| (name.to_owned(), nature)));
    // A file and a link to nothing cannot be opened; the linked bucket is walked twice; the rest holds a share each.
    let walked = walk(&store, &Leases::default(), NOW, Stops::Never);
    assert_eq!((walked.counts.buckets, walked.counts.no_bucket, walked.counts.objects), (7, 5, 5));
    let errors: Vec<_> = walked.errors.iter().map(|e| e.error.as_str()).collect();
    assert_eq!(
        errors,
        [
            "it stands where a bucket belongs, but is no directory; Tahoe's crawler would stop here for good",
            "it is a link to nothing; Tahoe's crawler would stop here for good",
        ]
    );
}

#[test]
fn a_large_prefix_is_listed_in_chunks() {
    let dir = make(&[]);
    let prefix = dir.path().join("shares/ab");
    fs::create_dir(&prefix).unwrap();
    for i in 0..6000 {
        fs::write(prefix.join(format!("ab{i:024}")), "").unwrap();
    }
    let store = TahoeStore::open(dir.path()).unwrap();
    let (names, calls) = list(&store, "ab");
    assert_eq!(names.len(), 6000);
    assert!(names.is_sorted_by(|a, b| a.0 < b.0));
    assert!(calls >= 3, "{calls} calls");
}

#[test]
fn names_beside_the_ring_are_counted() {
    let dir = make(&["ab/ababababababababababababaa", "incoming/ab", "lost+found/x", "zz9/x", "AB/x", "0a/x"]);
    fs::write(dir.path().join("shares/README"), "").unwrap();
    let strays = TahoeStore::open(dir.path()).unwrap().strays().unwrap();
    // Every node has `incoming`: it is no stray.
    let names: Vec<&[u8]> = strays.names.iter().map(|name| &name[..]).collect();
    assert_eq!((strays.count, strays.no_prefix), (5, false));
    assert_eq!(names, [&b"0a"[..], b"AB", b"README", b"lost+found", b"zz9"]);
}

#[test]
fn a_folder_with_names_of_which_none_is_a_prefix_is_seen() {
    let beside = |paths: &[&str]| TahoeStore::open(make(paths).path()).unwrap().strays().unwrap();
    let none = |paths: &[&str]| beside(paths).no_prefix;
    assert!(none(&["AB/x", "incoming/x"]) && none(&["0a/x"]));
    assert!(!none(&[]) && !none(&["incoming/x"]) && !none(&["AB/x", "zz/x"]));
    let many: Vec<String> = (0..1500).rev().map(|i| format!("name{i:04}/x")).collect();
    let strays = beside(&many.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!((strays.count, strays.names.len(), strays.no_prefix), (1500, 1000, true));
    assert_eq!(strays.names.last().unwrap(), b"name0999");
}

#[test]
fn a_missing_prefix_is_empty_but_a_missing_store_is_an_error() {
    let dir = make(&["ab/ababababababababababababaa"]);
    let shares = dir.path().join("shares");
    symlink("nothing", shares.join("cd")).unwrap();
    fs::write(shares.join("ef"), "").unwrap();
    let store = TahoeStore::open(dir.path()).unwrap();
    assert!(store.open_prefix("22").unwrap().is_none());
    let walked = walk(&store, &Count, NOW, Stops::Never);
    assert_eq!(walked.unlisted.iter().map(|(prefix, _)| prefix.as_str()).collect::<Vec<_>>(), ["cd", "ef"]);
    assert_eq!(walked.prefixes, [("ab".to_owned(), 1)]);
    fs::rename(&shares, dir.path().join("elsewhere")).unwrap();
    let gone = |prefix| store.open_prefix(prefix).unwrap_err().to_string();
    assert!(gone("22").starts_with("the folder shares is gone") && gone("ab").starts_with("the folder shares is gone"));
    assert!(store.strays().is_err());
    fs::create_dir(&shares).unwrap();
    assert!(gone("22").contains("was replaced by another"));
}

/// All shares of a bucket.
fn shares_of(bucket: &TahoeBucket<'_>) -> Vec<ShareEntry> {
    let mut listing = ShareListing::new();
    while listing.wants_reading() {
        listing.read(bucket).unwrap();
    }
    std::iter::from_fn(|| listing.next(bucket).unwrap()).collect()
}

#[test]
fn what_is_gone_when_its_turn_comes_has_vanished() {
    let dir = make(&["ab/ababababababababababababaa"]);
    let ab = dir.path().join("shares/ab");
    let store = TahoeStore::open(dir.path()).unwrap();
    let open = store.open_prefix("ab").unwrap().unwrap();
    let path = store.path("ab", Some(SI.as_bytes()));
    let bucket = store.open_bucket(&open, SI.as_bytes()).unwrap();
    let entry = shares_of(&bucket).remove(0);
    assert_eq!(bucket.path_of(entry.name()), path.join("0"));
    fs::remove_dir_all(ab.join(SI)).unwrap();
    assert_eq!(bucket.open_share(&entry).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert!(!store.is_there(&bucket.path_of(entry.name())));
    assert_eq!(store.open_bucket(&open, SI.as_bytes()).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert!(!store.is_there(&path));
}

#[test]
fn a_pipe_in_the_place_of_a_share_does_not_stop_the_walk() {
    let dir = make(&["ab/ababababababababababababaa"]);
    let pipe = dir.path().join("shares/ab").join(SI).join("1");
    let mode = Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, mode, 0).unwrap();
    let store = TahoeStore::open(dir.path()).unwrap();
    let walked = walk(&store, &Leases::default(), NOW, Stops::Never);
    assert_eq!(walked.counts.objects, 2);
    let expected = "cannot read share: it is no regular file; Tahoe's crawler would stop here for good";
    assert_eq!(walked.errors.iter().map(|e| e.error.as_str()).collect::<Vec<_>>(), [expected]);
}

/// What one call gives is taken for all only where it is: the names of buckets of every size, with names of every
/// length, are those that the standard library lists.
#[test]
fn every_share_of_a_bucket_is_listed_however_many_there_are() {
    let dir = make(&[&format!("ab/{SI}")]);
    let bucket = dir.path().join("shares/ab").join(SI);
    let store = TahoeStore::open(dir.path()).unwrap();
    let mut made = 1usize;
    for until in [1, 2, 3, 20, 70, 150, 151, 300, 1000, 3000] {
        for number in made..until {
            let zeros = "0".repeat(number * 7 % 200);
            fs::write(bucket.join(format!("{zeros}{number}")), b"").unwrap();
        }
        made = made.max(until);
        // Holes in the directory, which it does not give back.
        for number in (1..made).step_by(5) {
            let _ = fs::remove_file(bucket.join(format!("{}{number}", "0".repeat(number * 7 % 200))));
        }
        let open = store.open_prefix("ab").unwrap().unwrap();
        let listed = shares_of(&store.open_bucket(&open, SI.as_bytes()).unwrap());
        let mut expected: Vec<_> = fs::read_dir(&bucket).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        expected.sort();
        let names: Vec<_> = listed.iter().map(|share| OsStr::from_bytes(share.name())).collect();
        assert_eq!(names, expected);
    }
}

#[test]
fn disk_usage_is_blocks_unless_a_rule_is_given() {
    let dir = make(&["ab/ababababababababababababaa"]);
    let file = dir.path().join("shares/ab").join(SI).join("0");
    fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(10 << 20).unwrap();
    let usage = |store: TahoeStore| {
        let open = store.open_prefix("ab").unwrap().unwrap();
        let bucket = store.open_bucket(&open, SI.as_bytes()).unwrap();
        let share = bucket.open_share(&shares_of(&bucket)[0]).unwrap();
        (bucket.disk_bytes().unwrap(), share.disk_bytes(), share.size())
    };
    let rounded = usage(TahoeStore::open(dir.path()).unwrap().with_disk_usage(DiskUsage::Rounded4096));
    assert_eq!(rounded, (4096, 10 << 20, 10 << 20));
    let blocks = usage(TahoeStore::open(dir.path()).unwrap());
    use std::os::unix::fs::MetadataExt;
    assert_eq!(blocks.1, fs::metadata(&file).unwrap().blocks() * 512);
    assert!(blocks.1 < 1 << 20, "the file is nearly all hole");
}

#[test]
fn a_walk_leaves_access_times_as_they_were() {
    let dir = make(&[&format!("ab/{SI}")]);
    let shares = dir.path().join("shares");
    let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    let paths = [shares.join("ab"), shares.join("ab").join(SI), shares.join("ab").join(SI).join("0")];
    for path in &paths {
        fs::File::open(path).unwrap().set_times(fs::FileTimes::new().set_accessed(long_ago)).unwrap();
    }
    let walked = walk(&TahoeStore::open(dir.path()).unwrap(), &Leases::new(Default::default()), NOW, Stops::Never);
    assert_eq!(walked.counts.objects, 1);
    for path in &paths {
        assert_eq!(fs::metadata(path).unwrap().accessed().unwrap(), long_ago, "{}", path.display());
    }
}
