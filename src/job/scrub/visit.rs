//! One bucket being scrubbed: its objects one after the other, compared with each other, and what follows from that.
//!
//! A bucket may have a hundred thousand objects. They are read in batches, and of a batch that was dealt with nothing is kept but
//! [sums](super::sums).

use std::io;

use super::check::Left;
use super::checker::{BucketOf, Checker, CycleMoment, FollowUp, Listed};
use super::reading::{Beginning, Doubt, JudgedObject, ObjectReading, ObjectVerdict, Stepped};
use super::sums::ScrubSums;
use super::{Flaw, ScrubTally};
use crate::job::Fold;
use crate::store::CacheUse;

/// Objects of a batch at most. Those of the first one are compared with each other.
const BATCH_MOST: usize = 1024;

/// A bucket being scrubbed. Goes along from slice to slice; is never saved.
pub struct ScrubVisit<R: Checker> {
    listing: R::Listing,
    /// Whether all objects that are listed were taken up.
    is_at_end: bool,
    /// What the batches before have come to; `None` in the first one.
    sums: Option<ScrubSums>,
    /// The objects of the batch in hand that were looked at to their end, by name.
    batch: Vec<JudgedObject<R>>,
    current: Option<Box<ObjectReading<R>>>,
    /// Objects that the comparison finds wanting, by name, with what it says: to be read again.
    doubted: Vec<(Vec<u8>, Flaw)>,
    /// Whether there is an object that cannot be read just now.
    would_wait: bool,
    /// What follows from the batch, once all of it was read.
    aftermath: Option<R::Aftermath>,
}

impl<R: Checker> Default for ScrubVisit<R> {
    fn default() -> Self {
        ScrubVisit {
            listing: R::Listing::default(),
            is_at_end: false,
            sums: None,
            batch: Vec::new(),
            current: None,
            doubted: Vec::new(),
            would_wait: false,
            aftermath: None,
        }
    }
}

impl<R: Checker> ScrubVisit<R> {
    /// Whether an object could not be read just now, and nothing has followed from that yet.
    pub(super) fn would_wait(&self) -> bool {
        self.would_wait && self.aftermath.is_none()
    }

    /// Reads the next part of the batch: a chunk of names, or a piece of an object.
    ///
    /// # Errors
    /// If the bucket cannot be listed.
    pub(super) fn read(
        &mut self,
        (checker, caches): (&R, CacheUse),
        bucket: &BucketOf<'_, R>,
        buffer: &mut [u8],
    ) -> io::Result<Left> {
        if self.aftermath.is_some() {
            return Ok(Left::Nothing);
        }
        if let Some(reading) = self.current.take() {
            let stepped = reading.step(checker, bucket, caches, buffer);
            self.take(stepped);
        } else if self.is_at_end || self.batch.len() >= BATCH_MOST {
            return Ok(self.doubt((checker, caches), bucket));
        } else {
            match checker.list(bucket, &mut self.listing)? {
                Listed::Object(object) => {
                    let beginning = Beginning { object, begun: 1, because: None };
                    self.take(ObjectReading::begin(checker, bucket, caches, beginning));
                }
                Listed::NotYet => {}
                Listed::End => self.is_at_end = true,
            }
        }
        Ok(Left::Something)
    }

    /// Makes it go on in another slice.
    ///
    /// # Errors
    /// If there are too many open files.
    pub(crate) fn set_aside(&mut self, checker: &R, bucket: &BucketOf<'_, R>) -> io::Result<()> {
        checker.set_aside(bucket, &mut self.listing)
    }

    /// Keeps what was found, by name: an object that was read again stands where it stood.
    fn take(&mut self, stepped: Stepped<R>) {
        let judged = match stepped {
            Stepped::More(reading) => {
                self.current = Some(reading);
                return;
            }
            Stepped::Judged(judged) => judged,
        };
        self.would_wait |=
            matches!(&judged.verdict, ObjectVerdict::Unreadable(e) if e.kind() == io::ErrorKind::WouldBlock);
        let place = self.batch.partition_point(|other| other.name() < judged.name());
        self.batch.insert(place, judged);
    }

    /// Takes up again one of the objects that only the comparison finds wanting, until each of them was read past every cache
    /// once. Where it names none but finds that they differ, any of them may have been misread.
    fn doubt(&mut self, (checker, caches): (&R, CacheUse), bucket: &BucketOf<'_, R>) -> Left {
        if self.doubted.is_empty() && self.sums.is_none() {
            self.doubted = checker.compare(&self.batch);
            let batch = &self.batch;
            self.doubted.retain(|(name, _)| {
                let found = batch.binary_search_by(|judged| judged.name().cmp(name));
                found.is_ok_and(|at| batch[at].read().is_some_and(|read| !read.is_direct))
            });
            self.doubted.sort_by(|(one, _), (other, _)| one.cmp(other));
            self.doubted.dedup_by(|(one, _), (other, _)| one == other);
        }
        let Some((name, flaw)) = self.doubted.pop() else { return Left::Nothing };
        if let Ok(place) = self.batch.binary_search_by(|judged| judged.name().cmp(&name)) {
            let JudgedObject { object, verdict, .. } = self.batch.remove(place);
            if let ObjectVerdict::Read(read) = verdict {
                let because = Some(Box::new(Doubt { flaw, checked: read.checked }));
                let beginning = Beginning { object, begun: read.begun, because };
                self.take(ObjectReading::begin(checker, bucket, caches, beginning));
            }
        }
        Left::Something
    }

    /// When the batch was read: does the next part of what follows from it, a buffer full at most. The batch after it is read
    /// next.
    pub(super) fn act(
        &mut self,
        checker: &R,
        bucket: &BucketOf<'_, R>,
        fold: &Fold<'_, ScrubTally>,
        buffer: &mut [u8],
    ) -> Left {
        let moment = CycleMoment { began: fold.began, now: fold.now };
        let Some(mut aftermath) = self.aftermath.take() else {
            if self.is_at_end && self.batch.is_empty() && self.sums.is_some() {
                return Left::Nothing;
            }
            self.aftermath = Some(checker.begin_aftermath(bucket, &mut self.batch, self.sums.is_none(), moment));
            return Left::Something;
        };
        if checker.go_on(&mut aftermath, bucket, &mut self.batch, moment, buffer) == FollowUp::GoesOn {
            self.aftermath = Some(aftermath);
            return Left::Something;
        }
        let sums = self.sums.get_or_insert_default();
        checker.settle(aftermath, bucket, sums);
        self.batch.drain(..).for_each(|judged| sums.add(checker, bucket, judged, fold));
        self.would_wait = false;
        Left::Something
    }

    /// When all was done: puts it down.
    pub(crate) fn put_down(self, checker: &R, bucket: &BucketOf<'_, R>, fold: &mut Fold<'_, ScrubTally>) {
        checker.note_strays(bucket, &self.listing, fold.notes);
        self.sums.unwrap_or_default().put_down(fold);
    }
}
