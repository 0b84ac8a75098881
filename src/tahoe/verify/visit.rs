//! One bucket being verified: its shares one after the other, each read again before it is called corrupt.
//!
//! A share is read as it comes. If that shows flaws, it is opened once more and read past the page cache: what counts is
//! what is on the disk, and what other code says of it. So is a share that is odd only beside the others, before that is held
//! against it. A share that was changed while it was read is read anew, since a node writes in place and takes no lock. What follows
//! from it is [`aftermath`](super::aftermath)'s.
//!
//! A bucket may have a hundred thousand shares. They are read in batches, and of a batch that was dealt with nothing is kept but
//! [sums](super::sums).

use std::io;

use super::aftermath::Aftermath;
use super::compare::{self, Member, Tie};
use super::sums::BucketSums;
use super::{Desk, PageCache, VerifySettings, VerifyTally};
use crate::job::Fold;
use crate::tahoe::check::{Checked, ShareCheck, Step};
use crate::tahoe::region::Flaw;
use crate::tahoe::store::{DirectShare, Residency, ShareEntry, ShareFile, ShareListing, Stamp, TahoeBucket};

/// How often a share that changes under the reader is read anew. A node's own change takes milliseconds.
const READINGS_MOST: u32 = 5;

/// Shares of a batch at most. Those of the first one are compared with each other, and a file has 256 at most.
const BATCH_MOST: usize = 1024;

/// Whether a bucket has more to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    Something,
    Nothing,
}

/// A bucket being verified. Goes along from slice to slice; is never saved.
#[derive(Debug, Default)]
pub struct BucketVisit {
    listing: ShareListing,
    /// Whether all shares that are listed were taken up.
    is_at_end: bool,
    /// What the batches before have come to; `None` in the first one.
    sums: Option<BucketSums>,
    /// The shares of the batch in hand that were looked at to their end, by name.
    judged: Vec<Judged>,
    current: Option<Reading>,
    /// Shares that the comparison finds wanting, by name, with what it says: to be read again.
    doubted: Vec<(Vec<u8>, Flaw)>,
    /// Whether there is a share that cannot be read just now.
    would_wait: bool,
    /// What follows from the batch, once all of it was read.
    aftermath: Option<Aftermath>,
}

/// A share that was looked at to its end.
#[derive(Debug)]
pub(super) struct Judged {
    pub share: ShareEntry,
    pub size: u64,
    /// How many bytes of it were read.
    pub read: u64,
    pub verdict: Verdict,
}

/// What was found of a share.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It was read.
    Read(Read),
    /// It could not be read, or has vanished.
    Unreadable(io::Error),
}

/// A share that was read.
#[derive(Debug)]
pub(super) struct Read {
    pub checked: Checked,
    /// When it was what.
    pub stamp: Stamp,
    /// The flaw that it had only in the page cache.
    pub misread: Option<Flaw>,
    /// Whether it or another share of its bucket is wrong, and nothing tells which.
    pub in_doubt: bool,
    /// How often it was begun, and whether the last time was past the page cache.
    begun: u32,
    is_direct: bool,
}

/// A share being read.
#[derive(Debug)]
struct Reading {
    share: ShareEntry,
    /// How often it was begun.
    begun: u32,
    check: ShareCheck,
    pass: Pass,
}

#[derive(Debug)]
enum Pass {
    /// As it comes.
    Usual { file: ShareFile, residency: Option<Residency> },
    /// Past the page cache, because of what the first reading has shown.
    Direct { file: DirectShare, because: Box<Doubt> },
}

/// Why a share is read again.
#[derive(Debug)]
struct Doubt {
    flaw: Flaw,
    /// What it was at first.
    checked: Checked,
}

impl BucketVisit {
    /// Whether a share could not be read just now, and nothing has followed from that yet.
    pub fn would_wait(&self) -> bool {
        self.would_wait && self.aftermath.is_none()
    }

    /// Reads the next part of the batch: a chunk of names, or a buffer full of a share at most.
    ///
    /// # Errors
    /// If the bucket cannot be listed.
    pub(super) fn read(
        &mut self,
        settings: &VerifySettings,
        bucket: &TahoeBucket<'_>,
        buffer: &mut [u8],
    ) -> io::Result<Left> {
        if self.aftermath.is_some() {
            return Ok(Left::Nothing);
        }
        if let Some(reading) = self.current.take() {
            self.go_on(settings, bucket, reading, buffer);
        } else if self.listing.wants_reading() {
            self.listing.read(bucket)?;
        } else if self.is_at_end || self.judged.len() >= BATCH_MOST {
            return Ok(self.doubt(bucket));
        } else if let Some(share) = self.listing.next(bucket)? {
            self.begin(settings, bucket, share, 1);
        } else {
            self.is_at_end = !self.listing.wants_reading();
        }
        Ok(Left::Something)
    }

    /// Makes it go on in another slice.
    ///
    /// # Errors
    /// If there are too many open files.
    pub fn set_aside(&mut self, bucket: &TahoeBucket<'_>) -> io::Result<()> {
        self.listing.keep(bucket)
    }

    fn begin(&mut self, settings: &VerifySettings, bucket: &TahoeBucket<'_>, share: ShareEntry, begun: u32) {
        match bucket.open_share(&share) {
            Ok(file) => {
                let residency = (settings.page_cache == PageCache::Spare).then(|| file.residency());
                let check = ShareCheck::new(file.size(), share.number().value());
                self.current = Some(Reading { share, begun, check, pass: Pass::Usual { file, residency } });
            }
            Err(e) => self.judge(Judged { share, size: 0, read: 0, verdict: Verdict::Unreadable(e) }),
        }
    }

    fn begin_again(&mut self, bucket: &TahoeBucket<'_>, share: ShareEntry, begun: u32, because: Doubt) {
        match bucket.open_share(&share) {
            Ok(file) => {
                let check = ShareCheck::new(file.size(), share.number().value()).over_again();
                let pass = Pass::Direct { file: file.past_the_cache(), because: Box::new(because) };
                self.current = Some(Reading { share, begun, check, pass });
            }
            Err(e) => self.judge(Judged { share, size: 0, read: 0, verdict: Verdict::Unreadable(e) }),
        }
    }

    /// Keeps what was found, by name: a share that was read again stands where it stood.
    fn judge(&mut self, judged: Judged) {
        self.would_wait |= matches!(&judged.verdict, Verdict::Unreadable(e) if e.kind() == io::ErrorKind::WouldBlock);
        let place = self.judged.partition_point(|other| other.share.name() < judged.share.name());
        self.judged.insert(place, judged);
    }

    /// Takes up again one of the shares that only the comparison finds wanting, until each of them was read past the
    /// page cache once. Where it names none but finds that they differ, any of them may have been misread.
    fn doubt(&mut self, bucket: &TahoeBucket<'_>) -> Left {
        if self.doubted.is_empty() {
            self.doubted = self.doubtful();
        }
        let Some((name, flaw)) = self.doubted.pop() else { return Left::Nothing };
        if let Ok(place) = self.judged.binary_search_by(|judged| judged.share.name().cmp(&name))
            && self.judged[place].read().is_some()
        {
            let Judged { share, verdict, .. } = self.judged.remove(place);
            if let Verdict::Read(Read { checked, begun, .. }) = verdict {
                self.begin_again(bucket, share, begun, Doubt { flaw, checked });
            }
        }
        Left::Something
    }

    fn doubtful(&self) -> Vec<(Vec<u8>, Flaw)> {
        let members: Vec<Member<'_>> = self.judged.iter().filter_map(Judged::member).collect();
        let odd = compare::across(&members);
        let mut doubtful = odd.of_shares;
        for Tie { flaw, names } in odd.ties {
            doubtful.extend(names.into_iter().map(|name| (name, flaw.clone())));
        }
        let was_read_again = |name: &[u8]| {
            let judged =
                self.judged.binary_search_by(|judged| judged.share.name().cmp(name)).map(|at| &self.judged[at]);
            judged.is_ok_and(|judged| matches!(&judged.verdict, Verdict::Read(read) if read.is_direct))
        };
        doubtful.retain(|(name, _)| !was_read_again(name));
        doubtful.sort_by(|(one, _), (other, _)| one.cmp(other));
        doubtful.dedup_by(|(one, _), (other, _)| one == other);
        doubtful
    }

    fn go_on(&mut self, settings: &VerifySettings, bucket: &TahoeBucket<'_>, mut reading: Reading, buffer: &mut [u8]) {
        let stepped = match &mut reading.pass {
            Pass::Usual { file, residency } => {
                let stepped = reading.check.step(file, buffer);
                if let (Some(residency), Ok(Step::More)) = (residency, &stepped) {
                    file.drop_from_cache(residency, reading.check.read_up_to());
                }
                stepped
            }
            Pass::Direct { file, .. } => reading.check.step(file, buffer),
        };
        match stepped {
            Ok(Step::More) => self.current = Some(reading),
            Ok(Step::Done) => self.end(settings, bucket, reading, None),
            Err(e) => self.end(settings, bucket, reading, Some(e)),
        }
    }

    /// A share was read to its end, or as far as it can be.
    fn end(
        &mut self,
        settings: &VerifySettings,
        bucket: &TahoeBucket<'_>,
        reading: Reading,
        failed: Option<io::Error>,
    ) {
        let Reading { share, begun, check, pass } = reading;
        let (file, because) = match pass {
            Pass::Usual { file, residency } => {
                if let Some(mut residency) = residency {
                    file.drop_from_cache(&mut residency, file.size());
                }
                (file, None)
            }
            Pass::Direct { file, because } => (file.into_share(), Some(because)),
        };
        let (size, read, stamp) = (file.size(), check.bytes_read(), file.stamp());
        let judged = |verdict| Judged { share: share.clone(), size, read, verdict };
        match file.has_changed() {
            Ok(false) => {}
            Ok(true) if begun < READINGS_MOST => return self.begin(settings, bucket, share, begun + 1),
            Ok(true) => {
                let error = io::Error::other(format!("it was changed while it was read, {begun} times"));
                return self.judge(judged(Verdict::Unreadable(error)));
            }
            Err(e) => return self.judge(judged(Verdict::Unreadable(e))),
        }
        if let Some(e) = failed {
            return self.judge(judged(Verdict::Unreadable(e)));
        }
        let mut checked = check.finish();
        if self.sums.is_some() {
            checked.common = None;
        }
        if let Some(flaw) = checked.flaws.first().cloned().filter(|_| because.is_none()) {
            return self.begin_again(bucket, share, begun, Doubt { flaw, checked });
        }
        let is_direct = because.is_some();
        let misread =
            because.filter(|doubt| checked.flaws.is_empty() && checked != doubt.checked).map(|doubt| doubt.flaw);
        self.judge(judged(Verdict::Read(Read { checked, stamp, misread, in_doubt: false, begun, is_direct })));
    }

    /// When the batch was read: does the next part of what is to be done about corrupt shares, a buffer full at most. The batch
    /// after it is read next.
    pub(super) fn act(
        &mut self,
        desk: Desk<'_>,
        bucket: &TahoeBucket<'_>,
        fold: &Fold<'_, VerifyTally>,
        buffer: &mut [u8],
    ) -> Left {
        match &mut self.aftermath {
            None if self.is_at_end && self.judged.is_empty() && self.sums.is_some() => return Left::Nothing,
            None => {
                let judged = std::mem::take(&mut self.judged);
                self.aftermath = Some(Aftermath::of(judged, desk, bucket, self.sums.is_none()));
            }
            Some(aftermath) => {
                if aftermath.step(desk, bucket, buffer) == Left::Nothing
                    && let Some(aftermath) = self.aftermath.take()
                {
                    aftermath.settle(bucket, fold, self.sums.get_or_insert_default());
                    self.would_wait = false;
                }
            }
        }
        Left::Something
    }

    /// When all was done: puts it down.
    pub fn put_down(self, bucket: &TahoeBucket<'_>, fold: &mut Fold<'_, VerifyTally>) {
        fold.notes.counts.no_share += self.listing.no_share();
        self.listing.strays().for_each(|name| fold.notes.stray(&bucket.path_of(name)));
        self.sums.unwrap_or_default().put_down(bucket, fold);
    }
}

impl Judged {
    /// What was read of it, if it could be read.
    pub(super) fn read(&self) -> Option<&Read> {
        match &self.verdict {
            Verdict::Read(read) => Some(read),
            Verdict::Unreadable(_) => None,
        }
    }

    /// It beside the others.
    pub fn member(&self) -> Option<Member<'_>> {
        let Read { checked, .. } = self.read()?;
        let (common, share_type) = (checked.common.as_ref()?, checked.share_type?);
        Some(Member { name: self.share.name(), common, share_type, has_flaws: !checked.flaws.is_empty() })
    }
}
