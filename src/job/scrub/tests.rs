//! The scrub without any room of the crate: objects whose bytes come from a fake range store, late, short, changed meanwhile or
//! misread. Their checks never notice.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::*;
use crate::job::testing::{Stops, Walked, walk};
use crate::policy::ring::Ring;
use crate::store::{More, Names, Nature, Source, Stamp, Store};

const NOW: f64 = 1.8e9;

/// The SHA-256 of bytes, by code that is not the check's.
fn sha256(bytes: &[u8]) -> String {
    <sha2::Sha256 as sha2::Digest>::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The check of an object that is named by its SHA-256.
struct NamedCheck {
    name: Vec<u8>,
    size: u64,
    at: u64,
    hash: sha2::Sha256,
}

impl NamedCheck {
    fn of(name: &[u8], size: u64) -> NamedCheck {
        NamedCheck { name: name.to_vec(), size, at: 0, hash: sha2::Digest::new() }
    }
}

impl Check for NamedCheck {
    type Facts = ();

    fn next(&mut self) -> Want {
        match usize::try_from(self.size - self.at).unwrap_or(usize::MAX).min(65_536) {
            0 => Want::Nothing,
            len => Want::Bytes { at: self.at, len },
        }
    }

    fn give(&mut self, bytes: &[u8]) {
        self.at += bytes.len() as u64;
        sha2::Digest::update(&mut self.hash, bytes);
    }

    fn finish(self) -> Checked<()> {
        let hash: String = sha2::Digest::finalize(self.hash).iter().map(|byte| format!("{byte:02x}")).collect();
        let flaw = || Flaw::at("content", Span::new(0, self.size), "its SHA-256 is not its name");
        let flaws = (hash.as_bytes() != self.name).then(flaw).into_iter().collect();
        Checked { flaws, is_partial: false, facts: () }
    }
}

/// Objects in memory, each a bucket of its own, and what happens while they are read.
#[derive(Clone, Default)]
struct RangeStore(Arc<Mutex<BTreeMap<Vec<u8>, Served>>>);

/// An object as the fake server has it.
#[derive(Debug, Clone, Default)]
struct Served {
    bytes: Vec<u8>,
    /// So many requests are answered with "not now".
    late: u32,
    /// So many readings, less one, are answered from a cache that has a bit wrong.
    misread: u32,
    /// So many readings find it changed.
    changes: u32,
    /// It is gone when it is opened.
    vanishes: bool,
    /// It has become so long after it was opened.
    cut: Option<usize>,
    /// How often its bytes were asked for.
    requests: u32,
}

impl Store for RangeStore {
    type Prefix = ();
    type Bucket<'a> = &'a [u8];

    fn identity(&self) -> String {
        "memory".to_owned()
    }

    fn ring(&self) -> &Ring {
        static RING: std::sync::LazyLock<Ring> = std::sync::LazyLock::new(|| Ring::new(["all".to_owned()]));
        &RING
    }

    fn open_prefix(&self, _: &str) -> io::Result<Option<()>> {
        Ok(Some(()))
    }

    fn read_names(&self, _: &mut (), names: &mut Names) -> io::Result<More> {
        lock(&self.0).keys().for_each(|name| names.push(name, Nature::Bucket));
        names.end_chunk();
        Ok(More::No)
    }

    fn open_bucket<'a>(&self, _: &'a (), name: &'a [u8]) -> io::Result<&'a [u8]> {
        Ok(name)
    }

    fn path(&self, prefix: &str, bucket: Option<&[u8]>) -> PathBuf {
        Path::new(prefix).join(String::from_utf8_lossy(bucket.unwrap_or_default()).as_ref())
    }

    fn is_there(&self, path: &Path) -> bool {
        let name = path.file_name().unwrap().as_encoded_bytes();
        lock(&self.0).contains_key(name)
    }
}

/// One object, opened at the fake server.
struct Ranges {
    store: RangeStore,
    name: Vec<u8>,
    size: u64,
    caches: CacheUse,
    misreads: bool,
}

impl Ranges {
    fn with<T>(&self, work: impl FnOnce(&mut Served) -> io::Result<T>) -> io::Result<T> {
        lock(&self.store.0).get_mut(&self.name).map_or(Err(io::ErrorKind::NotFound.into()), work)
    }
}

impl Source for Ranges {
    fn size(&self) -> u64 {
        self.size
    }

    fn stamp(&self) -> Stamp {
        Stamp { device: 0, inode: 0, size: self.size, modified_ns: 0, changed_ns: 0 }
    }

    fn has_changed(&self) -> io::Result<bool> {
        self.with(|served| {
            let has_changed = served.changes > 0;
            served.changes = served.changes.saturating_sub(1);
            Ok(has_changed)
        })
    }

    fn use_caches(&mut self, how: CacheUse) {
        self.caches = how;
        if how != CacheUse::Bypass {
            let misreads = self.with(|served| {
                served.misread = served.misread.saturating_sub(1);
                Ok(served.misread)
            });
            self.misreads = misreads.unwrap() > 0;
        }
    }

    fn read_at(&mut self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let misreads = self.misreads;
        self.with(|served| {
            served.requests += 1;
            if served.late > 0 {
                served.late -= 1;
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let len = served.cut.unwrap_or(served.bytes.len());
            let mut bytes = &served.bytes[..len];
            let read = bytes.read_at(buf, at)?;
            if misreads && at == 0 {
                buf[0] ^= 1;
            }
            Ok(read)
        })
    }
}

/// One listing of the object that is the bucket itself.
#[derive(Debug, Default)]
struct Once(bool);

impl Once {
    fn next(&mut self, name: &[u8]) -> Listed<Vec<u8>> {
        if std::mem::replace(&mut self.0, true) { Listed::End } else { Listed::Object(name.to_vec()) }
    }
}

impl Checker for RangeStore {
    type Store = RangeStore;
    type Object = Vec<u8>;
    type Listing = Once;
    type Source = Ranges;
    type Check = NamedCheck;
    type Aftermath = ();

    fn list(&self, bucket: &&[u8], listing: &mut Once) -> io::Result<Listed<Vec<u8>>> {
        Ok(listing.next(bucket))
    }

    fn object_name(_: &Vec<u8>) -> &[u8] {
        b""
    }

    fn path(&self, bucket: &&[u8], _: &[u8]) -> PathBuf {
        Store::path(self, "all", Some(bucket))
    }

    fn open(&self, bucket: &&[u8], _: &Vec<u8>) -> io::Result<Ranges> {
        let (store, name) = (self.clone(), bucket.to_vec());
        let mut opened = Ranges { store, name, size: 0, caches: CacheUse::Keep, misreads: false };
        let vanishes = opened.with(|served| Ok(served.vanishes))?;
        if vanishes {
            lock(&self.0).remove(*bucket);
        }
        opened.size = opened.with(|served| Ok(served.bytes.len() as u64))?;
        Ok(opened)
    }

    fn check(&self, name: &Vec<u8>, size: u64, _: ReadingKind) -> NamedCheck {
        NamedCheck::of(name, size)
    }
}

impl RangeStore {
    /// Adds an object of this content, with its right name, on which `trouble` comes.
    fn add(&self, content: &[u8], trouble: impl FnOnce(&mut Served)) -> Vec<u8> {
        let name = sha256(content).into_bytes();
        let mut served = Served { bytes: content.to_vec(), ..Served::default() };
        trouble(&mut served);
        lock(&self.0).insert(name.clone(), served);
        name
    }

    fn scrub(&self) -> Walked<ScrubTally> {
        walk(self, &Scrub::new(self.clone()), NOW, Stops::Never)
    }
}

#[test]
fn a_check_never_notices_where_bytes_come_from() {
    let store = RangeStore::default();
    let content = |byte: u8| vec![byte; 200_000];
    store.add(b"", |_| ());
    store.add(&content(1), |_| ());
    // Late once: the bucket is visited once more at the end of its prefix.
    let late = store.add(&content(2), |served| served.late = 1);
    // A cache has a bit wrong, the object is well.
    store.add(&content(3), |served| served.misread = 2);
    // Somebody writes while it is read, four times.
    let changing = store.add(&content(4), |served| served.changes = 4);
    let rotten = store.add(&content(5), |served| served.bytes[150_000] ^= 4);
    let walked = store.scrub();
    let ScrubTally { objects, ok, corrupt, unreadable, misread, .. } = walked.tally;
    assert_eq!((objects, ok, corrupt, unreadable, misread), (6, 5, 1, 0, 1), "{:?}", walked.errors);
    assert_eq!(walked.tally.bytes, 5 * 200_000);
    let [found] = &walked.findings[..] else { panic!("{:?}", walked.findings) };
    assert_eq!((found.bucket.as_bytes(), found.bytes), (&rotten[..], Some((0, 200_000))));
    let [misread] = &walked.errors[..] else { panic!("{:?}", walked.errors) };
    assert!(misread.error.contains("suspect memory"), "{misread:?}");
    let requests = |name: &[u8]| lock(&store.0)[name].requests;
    // Four pieces each: once late, five times for one that changes, and once more past the cache for one that is corrupt.
    assert_eq!((requests(&late), requests(&changing), requests(&rotten)), (5, 20, 8));
}

#[test]
fn what_cannot_be_read_to_its_end_is_not_called_corrupt() {
    let store = RangeStore::default();
    store.add(b"always late", |served| served.late = u32::MAX);
    store.add(&[1; 100_000], |served| served.cut = Some(99_999));
    store.add(&[2; 100_000], |served| served.changes = u32::MAX);
    let walked = store.scrub();
    let ScrubTally { objects, ok, corrupt, unreadable, .. } = walked.tally;
    assert_eq!((objects, ok, corrupt, unreadable), (3, 0, 0, 3));
    assert!(walked.findings.is_empty());
    for told in ["not readable now", "has become shorter", "it was changed while it was read, 5 times"] {
        assert_eq!(walked.errors.iter().filter(|e| e.error.contains(told)).count(), 1, "{told}: {:?}", walked.errors);
    }
}

#[test]
fn an_object_that_vanishes_meanwhile_is_counted_as_vanished() {
    let store = RangeStore::default();
    store.add(b"gone", |served| served.vanishes = true);
    store.add(b"there", |_| ());
    let walked = store.scrub();
    assert_eq!((walked.tally.objects, walked.counts.vanished, walked.counts.errors), (1, 1, 0));
}

#[test]
fn a_scrub_that_is_stopped_again_and_again_finds_the_same() {
    let store = RangeStore::default();
    for byte in 0..20 {
        store.add(&[byte; 70_000], |served| served.bytes[0] ^= u8::from(byte % 5 == 0));
    }
    let undisturbed = store.scrub();
    assert_eq!((undisturbed.tally.ok, undisturbed.tally.corrupt), (16, 4));
    for buckets in [1, 3] {
        let stopped = walk(&store, &Scrub::new(store.clone()), NOW, Stops::Every(buckets));
        assert_eq!((stopped.tally, stopped.findings), (undisturbed.tally.clone(), undisturbed.findings.clone()));
    }
}

/// As 0.1.0 has saved it, when the job was one store's own and its objects had that store's word.
#[test]
fn a_tally_of_the_first_version_is_read_back() {
    let saved =
        r#"{"shares":5,"bytes":700,"ok":3,"corrupt":1,"unreadable":1,"signatures_not_checked":2,"quarantined":1}"#;
    let tally: ScrubTally = serde_json::from_str(saved).unwrap();
    let read = ScrubTally {
        objects: 5,
        bytes: 700,
        ok: 3,
        corrupt: 1,
        unreadable: 1,
        partly_checked: 2,
        quarantined: 1,
        ..ScrubTally::default()
    };
    assert_eq!(tally, read);
}
