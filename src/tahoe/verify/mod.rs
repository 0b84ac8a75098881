//! The job `verify`: reads every byte of every share and checks all that can be checked without a capability.
//!
//! A bucket's shares are checked one by one with a bounded buffer, in steps, so that a slice can end inside a share of any
//! size; then the shares are compared with each other. What a bucket has come to is put down only when all of it is known.
//! Nothing in the store is changed, unless corrupt shares are to be moved to a quarantine folder.

mod advisory;
mod aftermath;
mod compare;
mod folder;
mod note;
mod quarantine;
mod room;
mod selection;
mod stretch;
mod sums;
mod visit;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

pub use quarantine::Quarantine;
pub use selection::{Sample, Selection};

use super::TahoeStore;
use super::store::TahoeBucket;
use crate::job::{Counts, CycleView, Fold, Job, PrefixWalk, Stopped, Tally, Unreadable, Visited};
use crate::lock::lock;
use crate::shown;
use room::Room;
use visit::{BucketVisit, Left};

/// Bytes that are read at once: three blocks as Tahoe makes them by default, a third of 1 MiB each, and a little more. Blocks that are
/// in the buffer together are hashed by turns.
pub const BUFFER_LEN: usize = 1280 << 10;

/// Bytes that the copies of corrupt shares may take in one cycle, unless told otherwise: 1 GiB.
pub const QUARANTINE_MAX_BYTES: u64 = 1 << 30;

/// How much of a disk copies of corrupt shares leave free, in percent, unless told otherwise.
pub const FREE_PERCENT: u8 = 5;

/// What becomes of the pages that a check brings into the page cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PageCache {
    /// They are dropped, unless they were there before. The default.
    #[default]
    Spare,
    /// They stay.
    Keep,
}

/// Whether Tahoe's corruption advisories are written for corrupt shares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Advisories {
    /// None. The default.
    #[default]
    None,
    /// One for each corrupt share and cycle, in `corruption-advisories` beside `shares/`, where clients' reports go.
    Write,
}

/// What is verified, and what becomes of what is found.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifySettings {
    /// Which buckets. Default: all.
    pub selection: Selection,
    /// What becomes of corrupt shares. Default: nothing.
    pub quarantine: Quarantine,
    /// Where they go. Default `None`: the folder `quarantine` beside `shares/`.
    pub quarantine_dir: Option<PathBuf>,
    /// How many bytes copies may take in one cycle, in blocks allotted. Default: [`QUARANTINE_MAX_BYTES`].
    pub quarantine_max_bytes: u64,
    /// How much of the disk copies leave free, in percent. Default: [`FREE_PERCENT`].
    pub free_percent: u8,
    /// Whether advisories are written. Default: none.
    pub advisories: Advisories,
    /// What becomes of the page cache. Default: it is spared.
    pub page_cache: PageCache,
    /// Whether the node is vouched for to be stopped, as far as that cannot be seen from here; for [`Quarantine::Move`]. Default: no.
    pub node_stopped: bool,
}

impl Default for VerifySettings {
    fn default() -> VerifySettings {
        VerifySettings {
            selection: Selection::default(),
            quarantine: Quarantine::None,
            quarantine_dir: None,
            quarantine_max_bytes: QUARANTINE_MAX_BYTES,
            free_percent: FREE_PERCENT,
            advisories: Advisories::None,
            page_cache: PageCache::Spare,
            node_stopped: false,
        }
    }
}

/// Verifies every share of a [`TahoeStore`].
#[derive(Debug)]
pub struct Verify {
    settings: VerifySettings,
    /// What the copies of this cycle may take.
    room: Arc<Room>,
    /// Buffers that no worker has in hand just now.
    buffers: Mutex<Vec<Vec<u8>>>,
}

/// The moments that a cycle goes by, in seconds since 1970.
#[derive(Debug, Clone, Copy)]
struct Moment {
    /// When it began by the clock.
    began: f64,
    /// What counts as now in it.
    now: f64,
}

/// What the work on a bucket goes by.
#[derive(Debug, Clone, Copy)]
struct Desk<'a> {
    settings: &'a VerifySettings,
    room: &'a Arc<Room>,
    moment: Moment,
}

impl Default for Verify {
    fn default() -> Verify {
        Verify::new(VerifySettings::default())
    }
}

impl Verify {
    /// Makes the job with these settings.
    pub fn new(settings: VerifySettings) -> Verify {
        let room = Arc::new(Room::new(settings.quarantine_max_bytes));
        Verify { settings, room, buffers: Mutex::default() }
    }

    fn desk<T>(&self, fold: &Fold<'_, T>) -> Desk<'_> {
        let moment = Moment { began: fold.began, now: fold.now };
        Desk { settings: &self.settings, room: &self.room, moment }
    }

    /// Visits a bucket, or goes on with that, until `is_over`.
    fn visit(
        &self,
        bucket: &TahoeBucket<'_>,
        part: Option<Box<BucketVisit>>,
        fold: &mut Fold<'_, VerifyTally>,
        buffer: &mut [u8],
        is_over: impl Fn() -> bool,
    ) -> Result<Visited<Box<BucketVisit>>, Unreadable> {
        let unreadable = |error| Unreadable { path: bucket.path(), error };
        let mut visit = part.map_or_else(BucketVisit::default, |part| *part);
        loop {
            match self.work(&mut visit, bucket, fold, buffer) {
                Ok(Left::Something) if visit.would_wait() && fold.defer() => return Ok(Visited::Whole),
                Ok(Left::Something) if is_over() => {
                    visit.set_aside(bucket).map_err(unreadable)?;
                    return Ok(Visited::Part(Box::new(visit)));
                }
                Ok(Left::Something) => {}
                Err(e) if fold.defer_for(&e) => return Ok(Visited::Whole),
                ended => {
                    visit.put_down(bucket, fold);
                    return ended.map(|_| Visited::Whole).map_err(unreadable);
                }
            }
        }
    }

    /// Does the next part of the work on a bucket.
    fn work(
        &self,
        visit: &mut BucketVisit,
        bucket: &TahoeBucket<'_>,
        fold: &Fold<'_, VerifyTally>,
        buffer: &mut [u8],
    ) -> io::Result<Left> {
        match visit.read(&self.settings, bucket, buffer)? {
            Left::Something => Ok(Left::Something),
            // Only now may anything be done about shares.
            Left::Nothing => Ok(visit.act(self.desk(fold), bucket, fold, buffer)),
        }
    }

    fn with_buffer<R>(&self, work: impl FnOnce(&mut [u8]) -> R) -> R {
        let spare = lock(&self.buffers).pop();
        let mut buffer = spare.unwrap_or_else(|| vec![0; BUFFER_LEN]);
        let result = work(&mut buffer);
        lock(&self.buffers).push(buffer);
        result
    }
}

/// The tally of [`Verify`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VerifyTally {
    /// Shares that were there.
    pub shares: u64,
    /// Bytes that were read of them: of each no more than its size, and of one that is rejected at its header that alone.
    pub bytes: u64,
    /// Shares without any flaw.
    pub ok: u64,
    /// Shares with flaws, also such as show only beside the other shares of their bucket.
    pub corrupt: u64,
    /// Shares that could not be read to their end, or that changed whenever they were read.
    pub unreadable: u64,
    /// Shares without a flaw of their own that differ from others of their bucket, where nothing tells which are right. With
    /// those that are ok, corrupt or unreadable they are all.
    #[serde(skip_serializing_if = "is_zero")]
    pub in_doubt: u64,
    /// Of those that are ok or in doubt, the ones that had flaws until they were read past the page cache.
    #[serde(skip_serializing_if = "is_zero")]
    pub misread: u64,
    /// Of those that are ok, the mutable ones whose signature could not be checked: their key is not of 2,048 to 8,192
    /// bits.
    #[serde(skip_serializing_if = "is_zero")]
    pub signatures_not_checked: u64,
    /// Corrupt shares that were copied or moved.
    #[serde(skip_serializing_if = "is_zero")]
    pub quarantined: u64,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Tally for VerifyTally {
    fn merge(&mut self, later: VerifyTally) {
        self.shares += later.shares;
        self.bytes = self.bytes.saturating_add(later.bytes);
        self.ok += later.ok;
        self.corrupt += later.corrupt;
        self.unreadable += later.unreadable;
        self.in_doubt += later.in_doubt;
        self.misread += later.misread;
        self.signatures_not_checked += later.signatures_not_checked;
        self.quarantined += later.quarantined;
    }
}

impl Job<TahoeStore> for Verify {
    type Tally = VerifyTally;
    type Part = Box<BucketVisit>;

    fn name(&self) -> &str {
        "verify"
    }

    /// As Tahoe does.
    fn visits_strays(&self) -> bool {
        true
    }

    fn parameters(&self) -> Value {
        self.settings.parameters()
    }

    /// What the cycle's copies have taken so far counts for the rest of it.
    fn take_up_cycle(&self, saved: &Counts) {
        self.room.restart(saved.verified.quarantine_bytes);
    }

    /// Verifies a whole bucket, however long it takes.
    fn process_bucket(&self, bucket: &mut TahoeBucket<'_>, fold: &mut Fold<'_, VerifyTally>) -> Result<(), Unreadable> {
        self.with_buffer(|buffer| self.visit(bucket, None, fold, buffer, || false)).map(|_| ())
    }

    fn process_prefix(&self, walk: &mut PrefixWalk<'_, TahoeStore, Self>) -> Result<(), Stopped> {
        self.settings.selection.narrow(walk);
        self.with_buffer(|buffer| {
            walk.each_bucket_in_parts(|bucket, part, fold| {
                let slice = fold.slice;
                self.visit(bucket, part, fold, buffer, || slice.is_over())
            })
        })
    }

    /// `verified`: shares, bytes that were read of them, and how many were ok, corrupt, unreadable or, if any were, in doubt. `partial`: what was looked at, where
    /// that was not everything.
    fn report(&self, cycle: &CycleView<'_, VerifyTally>) -> Map<String, Value> {
        let VerifyTally { shares, bytes, ok, corrupt, unreadable, .. } = *cycle.tally;
        let VerifyTally { in_doubt, misread, signatures_not_checked, quarantined, .. } = *cycle.tally;
        let mut verified = json!({
            "shares": shares, "bytes": bytes, "ok": ok, "corrupt": corrupt, "unreadable": unreadable,
        });
        for (key, count) in [
            ("in_doubt", in_doubt),
            ("misread", misread),
            ("signatures_not_checked", signatures_not_checked),
            ("quarantined", quarantined),
        ] {
            if count > 0 {
                verified[key] = count.into();
            }
        }
        let partial = self.settings.selection.to_json().map(|partial| ("partial".to_owned(), partial));
        Map::from_iter([("verified".to_owned(), verified)].into_iter().chain(partial))
    }
}

impl VerifySettings {
    /// What makes the result what it is: [`Job::parameters`].
    pub fn parameters(&self) -> Value {
        let mut parameters = json!({
            "quarantine": self.quarantine.as_str(),
            "advisories": self.advisories == Advisories::Write,
        });
        // What a cycle has moved away it looks for where it has put it.
        if let (true, Some(folder)) = (self.quarantine != Quarantine::None, &self.quarantine_dir) {
            let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.clone());
            parameters["quarantine_dir"] = shown::path(&folder).into();
        }
        if let Some(partial) = self.selection.to_json() {
            parameters["partial"] = partial;
        }
        parameters
    }
}

#[cfg(test)]
mod tests;
