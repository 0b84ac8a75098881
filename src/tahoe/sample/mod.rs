//! A sample store: thousands of shares in Tahoe's containers, made from a seed.
//!
//! For `sexton demo`, benches and tests. The containers are real in every field that a crawler reads; the share data in
//! them is random. The same options give the same bytes. Shares are written in byte order of their buckets, so they lie
//! better on a disk than those of a store that has grown. Only writes below the folder it is given, and only into one
//! that is empty or was made here with the same options.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use fastrand::Rng;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

const DAY_SECS: u32 = 86_400;
/// How long Tahoe grants a lease for.
const LEASE_SECS: u32 = 31 * DAY_SECS;
/// The oldest lease: one day short of twice its time, so about half of all are past theirs.
const OLDEST_SECS: u32 = 62 * DAY_SECS;

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const MUTABLE_MAGIC: [&[u8; 32]; 2] =
    [b"Tahoe mutable container v1\n\x75\x09\x44\x03\x8e", b"Tahoe mutable container v2\n\xc3\x55\x21\x99\x25"];
/// Where the data of a mutable share begins: behind the header and four lease slots.
const MUTABLE_DATA_AT: u64 = 468;
const LEASE_SLOT: usize = 92;
const LEASE_SLOTS: u32 = 4;

/// Names the options in the folder, and tells whether all was written.
const MARKER: &str = "sample.json";
/// More buckets than this are no sample; their names alone would fill 260 MB.
const BUCKETS_MOST: u32 = 10_000_000;
/// Buckets between two calls of the progress callback.
const PROGRESS_STEP: u32 = 256;

/// What a sample store is made of.
///
/// ```
/// let dir = tempfile::tempdir().unwrap();
/// let sample = sexton::tahoe::sample::SampleStore { buckets: 10, ..Default::default() };
/// let made = sample.write(dir.path(), |_| ())?;
/// assert_eq!(made.buckets, 10);
/// assert!(dir.path().join("shares").is_dir());
/// # Ok::<(), sexton::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleStore {
    /// How many buckets, at most 10,000,000. Default 20,000.
    pub buckets: u32,
    /// What everything random is made from. Default 1.
    pub seed: u64,
    /// The moment before which all leases were granted, in seconds since 1970; at least 62 days, and before 2106.
    /// Default 1,700,000,000 (in November 2023).
    pub now: u32,
}

impl Default for SampleStore {
    fn default() -> Self {
        SampleStore { buckets: 20_000, seed: 1, now: 1_700_000_000 }
    }
}

/// What a sample store holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreSummary {
    pub buckets: u64,
    /// Prefixes with at least one bucket.
    pub prefixes: u64,
    /// Shares, of both types.
    pub shares: u64,
    /// Shares of mutable files.
    pub mutable_shares: u64,
    /// Bytes of all share files.
    pub bytes: u64,
    pub leases: u64,
    /// Leases that have run out by `now`.
    pub leases_past: u64,
}

/// The marker file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Marker {
    sample: SampleStore,
    /// What was written; `None` until all was.
    complete: Option<StoreSummary>,
}

impl SampleStore {
    /// Writes the store below `dir`, which is made where it is missing, or reuses what an earlier call with the same
    /// options has written there; one that was interrupted is written anew. `progress` is told now and then how many
    /// buckets are there.
    ///
    /// # Errors
    /// [`Error::Config`] if an option is out of range, or `dir` already holds another store. [`Error::Store`] if something
    /// cannot be written.
    pub fn write(&self, dir: &Path, mut progress: impl FnMut(u64)) -> Result<StoreSummary> {
        self.validate()?;
        if let Some(made) = self.made_before(dir)? {
            progress(made.buckets);
            return Ok(made);
        }
        let shares = dir.join("shares");
        fs::create_dir_all(&shares).map_err(|e| cannot("make folder", &shares, &e))?;
        // Before the first share: an interrupted sample is known as one.
        self.mark(dir, None)?;
        let made = StoreWriter::new(self, shares).run(&mut progress)?;
        self.mark(dir, Some(made.clone()))?;
        Ok(made)
    }

    fn validate(&self) -> Result<()> {
        let wrong = |what: &str, is: u32, least: u32, most: u32| {
            let of = "for a sample store";
            Err(Error::Config(format!("{what} must be between {least} and {most} {of}, not {is}")))
        };
        // So no lease is granted before 1970 or expires beyond the 32 bits of its field.
        let latest = u32::MAX - LEASE_SECS;
        if self.buckets > BUCKETS_MOST {
            return wrong("buckets", self.buckets, 0, BUCKETS_MOST);
        }
        if !(OLDEST_SECS..=latest).contains(&self.now) {
            return wrong("now", self.now, OLDEST_SECS, latest);
        }
        Ok(())
    }

    /// What a call with the same options has left here complete; `None` if all is still to be written.
    fn made_before(&self, dir: &Path) -> Result<Option<StoreSummary>> {
        let refuse =
            |why: &str| Err(Error::Config(format!("{} {why}; name another folder, or remove it first", dir.display())));
        let path = dir.join(MARKER);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return match fs::symlink_metadata(dir.join("shares")) {
                    Ok(_) => refuse("already holds a store that is no sample"),
                    Err(_) => Ok(None),
                };
            }
            Err(e) => return Err(cannot("read", &path, &e)),
        };
        match serde_json::from_str::<Marker>(&text) {
            Ok(marker) if marker.sample == *self => Ok(marker.complete),
            Ok(marker) => refuse(&format!(
                "already holds a sample store of {} buckets with seed {} at {}",
                marker.sample.buckets, marker.sample.seed, marker.sample.now
            )),
            Err(_) => refuse("already holds something else: its sample.json cannot be read"),
        }
    }

    fn mark(&self, dir: &Path, complete: Option<StoreSummary>) -> Result<()> {
        let path = dir.join(MARKER);
        let marker = Marker { sample: self.clone(), complete };
        let text = serde_json::to_string_pretty(&marker).map_err(|e| Error::Store {
            doing: "write",
            path: path.clone(),
            cause: e.to_string(),
        })?;
        // Renamed into place: there is no moment at which a half-written marker could be read.
        let part = dir.join("sample.json.part");
        fs::write(&part, text).and_then(|()| fs::rename(&part, &path)).map_err(|e| cannot("write", &path, &e))
    }
}

fn cannot(doing: &'static str, path: &Path, error: &io::Error) -> Error {
    Error::Store { doing, path: path.to_owned(), cause: error.to_string() }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SampleType {
    Mutable,
    Immutable,
}

/// Makes the buckets one after the other, all from one run of random numbers.
struct StoreWriter<'a> {
    sample: &'a SampleStore,
    shares: PathBuf,
    random: Rng,
    made: StoreSummary,
    /// Prefixes that are there.
    prefixes: HashSet<[u8; 2]>,
    /// The share in hand.
    share: Vec<u8>,
}

impl<'a> StoreWriter<'a> {
    fn new(sample: &'a SampleStore, shares: PathBuf) -> Self {
        let random = Rng::with_seed(sample.seed);
        StoreWriter {
            sample,
            shares,
            random,
            made: StoreSummary::default(),
            prefixes: HashSet::new(),
            share: Vec::new(),
        }
    }

    fn run(mut self, progress: &mut dyn FnMut(u64)) -> Result<StoreSummary> {
        // In byte order, which a file system writes half again as fast as names all over the ring.
        let mut names: Vec<[u8; 26]> = (0..self.sample.buckets).map(|_| self.storage_index()).collect();
        names.sort_unstable();
        for (n, name) in (1..).zip(names) {
            self.bucket(name)?;
            if n % PROGRESS_STEP == 0 || n == self.sample.buckets {
                progress(u64::from(n));
            }
        }
        Ok(self.made)
    }

    fn bucket(&mut self, name: [u8; 26]) -> Result<()> {
        let prefix = [name[0], name[1]];
        let [prefix_name, bucket] = [&prefix[..], &name].map(String::from_utf8_lossy);
        let mut path = self.shares.join(prefix_name.as_ref());
        if self.prefixes.insert(prefix) {
            make_dir(&path)?;
            self.made.prefixes += 1;
        }
        path.push(bucket.as_ref());
        make_dir(&path)?;
        self.made.buckets += 1;

        let kind = if self.random.u32(..100) < 20 { SampleType::Mutable } else { SampleType::Immutable };
        let shares = match self.random.u32(..100) {
            0..80 => 1,
            80..95 => 2,
            _ => 3,
        };
        // Numbers are a run of the ten that an ordinary file has, from a random one on.
        let first = self.random.u32(..10);
        for n in 0..shares {
            self.make_share(kind);
            path.push(((first + n) % 10).to_string());
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .open(&path)
                .map_err(|e| cannot("write", &path, &e))?;
            file.write_all(&self.share).map_err(|e| cannot("write", &path, &e))?;
            path.pop();
            self.made.shares += 1;
            self.made.mutable_shares += u64::from(kind == SampleType::Mutable);
            self.made.bytes += self.share.len() as u64;
        }
        Ok(())
    }

    /// 128 random bits as base32, the first 5 bits first: 25 characters, and one of the last 3 bits and two zeros.
    fn storage_index(&mut self) -> [u8; 26] {
        let bits = self.random.u128(..);
        std::array::from_fn(|i| {
            let five = match 123_usize.checked_sub(5 * i) {
                Some(shift) => bits >> shift,
                None => bits << 2,
            };
            ALPHABET[(five & 31) as usize]
        })
    }

    /// Makes the share in hand. Layouts of the containers as Tahoe-LAFS 1.20.0 writes them, in both versions.
    fn make_share(&mut self, kind: SampleType) {
        let version = self.random.usize(1..=2);
        let data_len = self.random.u32(100..=1000);
        let leases = self.random.u32(1..=3);
        self.made.leases += u64::from(leases);
        self.share.clear();
        match kind {
            SampleType::Immutable => {
                let header = [version as u32, data_len, leases];
                self.share.extend(header.iter().flat_map(|field| field.to_be_bytes()));
                self.put_random(data_len as usize);
                for _ in 0..leases {
                    self.share.extend(0_u32.to_be_bytes());
                    self.put_random(64);
                    let expires = self.expiration();
                    self.share.extend(expires.to_be_bytes());
                }
            }
            SampleType::Mutable => {
                self.share.extend(MUTABLE_MAGIC[version - 1]);
                self.put_random(20 + 32);
                self.share.extend(u64::from(data_len).to_be_bytes());
                self.share.extend((MUTABLE_DATA_AT + u64::from(data_len)).to_be_bytes());
                for _ in 0..leases {
                    self.share.extend(1_u32.to_be_bytes());
                    let expires = self.expiration();
                    self.share.extend(expires.to_be_bytes());
                    self.put_random(64 + 20);
                }
                let empty = (LEASE_SLOTS - leases) as usize * LEASE_SLOT;
                self.share.resize(self.share.len() + empty, 0);
                self.put_random(data_len as usize);
                // No lease beyond the four slots.
                self.share.extend(0_u32.to_be_bytes());
            }
        }
    }

    /// When a lease expires that was granted at most 62 days before now.
    fn expiration(&mut self) -> u32 {
        let granted = self.sample.now - self.random.u32(..OLDEST_SECS);
        let expires = granted + LEASE_SECS;
        self.made.leases_past += u64::from(expires <= self.sample.now);
        expires
    }

    fn put_random(&mut self, len: usize) {
        let start = self.share.len();
        self.share.resize(start + len, 0);
        self.random.fill(&mut self.share[start..]);
    }
}

/// Makes a folder; one that an interrupted call has left is as good.
fn make_dir(path: &Path) -> Result<()> {
    match fs::create_dir(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(cannot("make folder", path, &e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
