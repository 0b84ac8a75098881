//! One bucket being verified: its shares one after the other, each read again before it is called corrupt.
//!
//! A share is read as it comes. If that shows flaws, it is opened once more and read past the page cache: what counts is
//! what is on the disk, and what other code says of it. So is a share that is odd only beside the others, before that is held
//! against it. A share that was changed while it was read is read anew, since a node writes in place and takes no lock. What follows
//! from it is [`aftermath`](super::aftermath)'s.

use std::io;

use super::aftermath::Aftermath;
use super::compare::{self, Member, Tie};
use super::{Desk, PageCache, VerifySettings, VerifyTally};
use crate::job::Fold;
use crate::store::{DirectShare, Residency, ShareEntry, ShareFile, Stamp, TahoeBucket};
use crate::tahoe::check::{Checked, ShareCheck, Step};
use crate::tahoe::region::Flaw;

/// How often a share that changes under the reader is read anew. A node's own change takes milliseconds.
const READINGS_MOST: u32 = 5;

/// Shares of a bucket that are compared with each other, at most. A file has 256 at most.
const COMPARED_MOST: usize = 1024;

/// Whether a bucket has more to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    Something,
    Nothing,
}

/// A bucket being verified. Goes along from slice to slice; is never saved.
#[derive(Debug, Default)]
pub(super) struct BucketVisit {
    judged: Vec<Judged>,
    current: Option<Reading>,
    /// The name of the last share that was judged or is being read.
    last: Option<Vec<u8>>,
    /// Shares that the comparison finds wanting, by name, with what it says: to be read again.
    doubted: Vec<(Vec<u8>, Flaw)>,
    /// What follows from it, once all of it was read.
    aftermath: Option<Aftermath>,
}

/// A share that was looked at to its end.
#[derive(Debug)]
pub(super) struct Judged {
    pub name: Vec<u8>,
    pub number: Option<i64>,
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
    name: Vec<u8>,
    number: Option<i64>,
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
    /// Reads the next part of the bucket: a buffer full of a share at most.
    pub fn read(&mut self, settings: &VerifySettings, bucket: &TahoeBucket<'_>, buffer: &mut [u8]) -> Left {
        if self.aftermath.is_some() {
            return Left::Nothing;
        }
        if let Some(reading) = self.current.take() {
            self.go_on(settings, bucket, reading, buffer);
            return Left::Something;
        }
        // By name: the bucket may have been opened anew meanwhile, with other shares in it.
        let done = |entry: &ShareEntry| self.last.as_deref().is_some_and(|last| bucket.share_name(entry) <= last);
        let next = bucket.shares().partition_point(done);
        let Some(entry) = bucket.shares().get(next) else { return self.doubt(bucket) };
        self.last = Some(bucket.share_name(entry).to_vec());
        self.begin(settings, bucket, entry, 1);
        Left::Something
    }

    fn begin(&mut self, settings: &VerifySettings, bucket: &TahoeBucket<'_>, entry: &ShareEntry, begun: u32) {
        let (name, number) = (bucket.share_name(entry).to_vec(), entry.number().value());
        match bucket.open_share(entry) {
            Ok(file) => {
                let residency = (settings.page_cache == PageCache::Spare).then(|| file.residency());
                let check = ShareCheck::new(file.size(), number);
                self.current = Some(Reading { name, number, begun, check, pass: Pass::Usual { file, residency } });
            }
            Err(e) => self.judge(Judged { name, number, size: 0, read: 0, verdict: Verdict::Unreadable(e) }),
        }
    }

    fn begin_again(&mut self, bucket: &TahoeBucket<'_>, entry: &ShareEntry, begun: u32, because: Doubt) {
        let (name, number) = (bucket.share_name(entry).to_vec(), entry.number().value());
        match bucket.open_share(entry) {
            Ok(file) => {
                let check = ShareCheck::new(file.size(), number).over_again();
                let pass = Pass::Direct { file: file.past_the_cache(), because: Box::new(because) };
                self.current = Some(Reading { name, number, begun, check, pass });
            }
            Err(e) => self.judge(Judged { name, number, size: 0, read: 0, verdict: Verdict::Unreadable(e) }),
        }
    }

    /// Keeps what was found, by name: a share that was read again stands where it stood.
    fn judge(&mut self, judged: Judged) {
        let place = self.judged.partition_point(|other| other.name < judged.name);
        self.judged.insert(place, judged);
    }

    /// Takes up again one of the shares that only the comparison finds wanting, until each of them was read past the
    /// page cache once. Where it names none but finds that they differ, any of them may have been misread.
    fn doubt(&mut self, bucket: &TahoeBucket<'_>) -> Left {
        if self.doubted.is_empty() {
            self.doubted = self.doubtful();
        }
        let Some((name, flaw)) = self.doubted.pop() else { return Left::Nothing };
        let Ok(place) = self.judged.binary_search_by(|judged| judged.name.cmp(&name)) else { return Left::Something };
        match (&mut self.judged[place].verdict, entry_of(bucket, &name)) {
            (Verdict::Unreadable(_), _) => {}
            (Verdict::Read(_), Some(entry)) => {
                if let Verdict::Read(Read { checked, begun, .. }) = self.judged.remove(place).verdict {
                    self.begin_again(bucket, entry, begun, Doubt { flaw, checked });
                }
            }
            (verdict, None) => *verdict = Verdict::Unreadable(io::ErrorKind::NotFound.into()),
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
            let judged = self.judged.binary_search_by(|judged| judged.name[..].cmp(name)).map(|at| &self.judged[at]);
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
        let Reading { name, number, begun, check, pass } = reading;
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
        let judged = |verdict| Judged { name: name.clone(), number, size, read, verdict };
        let entry = entry_of(bucket, &name);
        match file.has_changed() {
            Ok(false) => {}
            Ok(true) if begun < READINGS_MOST && entry.is_some() => {
                return entry.map_or((), |entry| self.begin(settings, bucket, entry, begun + 1));
            }
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
        // One that was compared before goes on being so.
        if self.judged.len() >= COMPARED_MOST && because.as_ref().is_none_or(|doubt| doubt.checked.common.is_none()) {
            checked.common = None;
        }
        let again = because.is_none().then(|| checked.flaws.first().cloned()).flatten().zip(entry);
        if let Some((flaw, entry)) = again {
            return self.begin_again(bucket, entry, begun, Doubt { flaw, checked });
        }
        let is_direct = because.is_some();
        let misread =
            because.filter(|doubt| checked.flaws.is_empty() && checked != doubt.checked).map(|doubt| doubt.flaw);
        self.judge(judged(Verdict::Read(Read { checked, stamp, misread, in_doubt: false, begun, is_direct })));
    }
}

impl BucketVisit {
    /// When all was read: does the next part of what is to be done about corrupt shares, a buffer full at most.
    pub fn act(&mut self, desk: Desk<'_>, bucket: &TahoeBucket<'_>, buffer: &mut [u8]) -> Left {
        match &mut self.aftermath {
            Some(aftermath) => aftermath.step(desk, bucket, buffer),
            None => {
                let judged = std::mem::take(&mut self.judged);
                self.aftermath = Some(Aftermath::of(judged, desk, bucket));
                Left::Something
            }
        }
    }

    /// When all was done: puts it down.
    pub fn put_down(self, bucket: &TahoeBucket<'_>, fold: &mut Fold<'_, VerifyTally>) {
        if let Some(aftermath) = self.aftermath {
            aftermath.put_down(bucket, fold);
        }
    }
}

fn entry_of<'b>(bucket: &'b TahoeBucket<'_>, name: &[u8]) -> Option<&'b ShareEntry> {
    let place = bucket.shares().binary_search_by(|entry| bucket.share_name(entry).cmp(name)).ok()?;
    bucket.shares().get(place)
}

impl Judged {
    /// What was read of it, if it could be read.
    pub fn read(&self) -> Option<&Read> {
        match &self.verdict {
            Verdict::Read(read) => Some(read),
            Verdict::Unreadable(_) => None,
        }
    }

    /// It beside the others.
    pub fn member(&self) -> Option<Member<'_>> {
        let Read { checked, .. } = self.read()?;
        let (common, share_type) = (checked.common.as_ref()?, checked.share_type?);
        Some(Member { name: &self.name, common, share_type, has_flaws: !checked.flaws.is_empty() })
    }
}
