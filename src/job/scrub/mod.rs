//! The scrub of any store: reads every byte of every object and has it checked.
//!
//! A room says what a bucket's objects are and how each is checked ([`Checker`], [`Check`]). The job does everything else: it reads
//! in bounded pieces, so that a slice can end inside an object of any size; drops from the page cache what it brought there; reads
//! an object once more past every cache before it is called corrupt, and anew if it changed meanwhile; counts what vanished; leaves
//! out what is not [selected](Selection). What a bucket has come to is put down only when all of it is known.

mod check;
mod checker;
mod flaw;
mod reading;
mod selection;
mod sums;
#[cfg(test)]
mod tests;
mod visit;

use std::io;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use check::{Check, Checked, PIECE_LEN_MOST, Want, check_whole};
pub use checker::{BucketOf, Checker, CycleMoment, FollowUp, Listed, ReadingKind};
pub use flaw::{Flaw, Span};
pub use reading::{Dealt, FactsOf, JudgedObject, ObjectVerdict, ReadObject};
pub use selection::{Sample, Selection};
pub use sums::ScrubSums;

use super::{Counts, CycleView, Fold, Job, PrefixWalk, Stopped, Tally, Unreadable, Visited};
use crate::lock::lock;
use crate::store::CacheUse;
pub(crate) use check::Left;
pub(crate) use visit::ScrubVisit;

/// What is done with the pages that a scrub brings into the page cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PageCache {
    /// They are dropped, unless they were there before. The default.
    #[default]
    Spare,
    /// They stay.
    Keep,
}

/// Scrubs a store as a [`Checker`] says.
pub struct Scrub<R: Checker> {
    checker: R,
    selection: Selection,
    caches: CacheUse,
    /// Buffers that no worker has in hand just now.
    buffers: Mutex<Vec<Vec<u8>>>,
}

impl<R: Checker> Scrub<R> {
    /// Makes the job: all buckets, and the page cache is spared.
    pub fn new(checker: R) -> Scrub<R> {
        Scrub { checker, selection: Selection::default(), caches: CacheUse::Spare, buffers: Mutex::default() }
    }

    /// What it knows of the store.
    pub fn checker(&self) -> &R {
        &self.checker
    }

    /// Which buckets are scrubbed. Default: all.
    pub fn selection(self, selection: Selection) -> Scrub<R> {
        Scrub { selection, ..self }
    }

    /// What is done with the page cache. Default: it is spared.
    pub fn page_cache(self, page_cache: PageCache) -> Scrub<R> {
        let caches = match page_cache {
            PageCache::Spare => CacheUse::Spare,
            PageCache::Keep => CacheUse::Keep,
        };
        Scrub { caches, ..self }
    }

    /// Visits a bucket, or goes on with that, until `is_over`.
    fn visit(
        &self,
        bucket: &BucketOf<'_, R>,
        part: Option<Box<ScrubVisit<R>>>,
        fold: &mut Fold<'_, ScrubTally>,
        buffer: &mut [u8],
        is_over: impl Fn() -> bool,
    ) -> Result<Visited<Box<ScrubVisit<R>>>, Unreadable> {
        let unreadable = |error| Unreadable { path: self.checker.path(bucket, b""), error };
        let mut visit = part.unwrap_or_default();
        loop {
            match self.work(&mut visit, bucket, fold, buffer) {
                Ok(Left::Something) if visit.would_wait() && fold.defer() => return Ok(Visited::Whole),
                Ok(Left::Something) if is_over() => {
                    visit.set_aside(&self.checker, bucket).map_err(unreadable)?;
                    return Ok(Visited::Part(visit));
                }
                Ok(Left::Something) => {}
                Err(e) if fold.defer_for(&e) => return Ok(Visited::Whole),
                ended => {
                    visit.put_down(&self.checker, bucket, fold);
                    return ended.map(|_| Visited::Whole).map_err(unreadable);
                }
            }
        }
    }

    /// Does the next part of the work on a bucket: a piece of an object, or about as much of anything else.
    pub(crate) fn work(
        &self,
        visit: &mut ScrubVisit<R>,
        bucket: &BucketOf<'_, R>,
        fold: &Fold<'_, ScrubTally>,
        buffer: &mut [u8],
    ) -> io::Result<Left> {
        match self.read(visit, bucket, buffer)? {
            Left::Something => Ok(Left::Something),
            // Only now may anything be done about objects.
            Left::Nothing => Ok(visit.act(&self.checker, bucket, fold, buffer)),
        }
    }

    /// Reads the next part of the batch of objects in hand.
    pub(crate) fn read(
        &self,
        visit: &mut ScrubVisit<R>,
        bucket: &BucketOf<'_, R>,
        buffer: &mut [u8],
    ) -> io::Result<Left> {
        visit.read((&self.checker, self.caches), bucket, buffer)
    }

    fn with_buffer<T>(&self, work: impl FnOnce(&mut [u8]) -> T) -> T {
        let spare = lock(&self.buffers).pop();
        let mut buffer = spare.unwrap_or_else(|| vec![0; PIECE_LEN_MOST]);
        let result = work(&mut buffer);
        lock(&self.buffers).push(buffer);
        result
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScrubTally {
    /// Objects that were there.
    #[serde(alias = "shares")]
    pub objects: u64,
    /// Bytes that were read of them: of each no more than its size, and of one that is rejected at its header that alone.
    pub bytes: u64,
    /// Objects without any flaw.
    pub ok: u64,
    /// Objects with flaws, also such as show only beside the other objects of their bucket.
    pub corrupt: u64,
    /// Objects that could not be read to their end, or that changed whenever they were read.
    pub unreadable: u64,
    /// Objects without a flaw of their own that differ from others of their bucket, where nothing tells which are right. With
    /// those that are ok, corrupt or unreadable they are all.
    #[serde(skip_serializing_if = "is_zero")]
    pub in_doubt: u64,
    /// Of those that are ok or in doubt, the ones that had flaws until they were read past the page cache.
    #[serde(skip_serializing_if = "is_zero")]
    pub misread: u64,
    /// Of those that are ok, the ones of which a part could not be checked.
    #[serde(skip_serializing_if = "is_zero", alias = "signatures_not_checked")]
    pub partly_checked: u64,
    /// Corrupt objects that were copied or moved.
    #[serde(skip_serializing_if = "is_zero")]
    pub quarantined: u64,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Tally for ScrubTally {
    fn merge(&mut self, later: ScrubTally) {
        self.objects += later.objects;
        self.bytes = self.bytes.saturating_add(later.bytes);
        self.ok += later.ok;
        self.corrupt += later.corrupt;
        self.unreadable += later.unreadable;
        self.in_doubt += later.in_doubt;
        self.misread += later.misread;
        self.partly_checked += later.partly_checked;
        self.quarantined += later.quarantined;
    }
}

impl<R: Checker> Job<R::Store> for Scrub<R> {
    type Tally = ScrubTally;
    type Part = Box<ScrubVisit<R>>;

    fn name(&self) -> &str {
        self.checker.name()
    }

    fn visits_strays(&self) -> bool {
        self.checker.visits_strays()
    }

    fn parameters(&self) -> Value {
        let mut parameters = self.checker.parameters();
        if let Some(partial) = self.selection.to_json(self.checker.buckets_key()) {
            parameters["partial"] = partial;
        }
        parameters
    }

    fn take_up_cycle(&self, saved: &Counts) {
        self.checker.take_up_cycle(saved);
    }

    /// Scrubs a whole bucket, however long it takes.
    fn process_bucket(&self, bucket: &mut BucketOf<'_, R>, fold: &mut Fold<'_, ScrubTally>) -> Result<(), Unreadable> {
        self.with_buffer(|buffer| self.visit(bucket, None, fold, buffer, || false)).map(|_| ())
    }

    fn process_prefix(&self, walk: &mut PrefixWalk<'_, R::Store, Self>) -> Result<(), Stopped> {
        self.selection.narrow(walk);
        self.with_buffer(|buffer| {
            walk.each_bucket_in_parts(|bucket, part, fold| {
                let slice = fold.slice;
                self.visit(bucket, part, fold, buffer, || slice.is_over())
            })
        })
    }

    /// What the room says, and as `partial` what was looked at, where that was not everything.
    fn report(&self, cycle: &CycleView<'_, ScrubTally>) -> Map<String, Value> {
        let mut report = self.checker.report(cycle);
        let partial = self.selection.to_json(self.checker.buckets_key());
        report.extend(partial.map(|partial| ("partial".to_owned(), partial)));
        report
    }
}
