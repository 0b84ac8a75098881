//! One bucket being verified: its shares one after the other, each read again before it is called corrupt.
//!
//! A share is read as it comes. If that shows flaws, it is opened once more and read past the page cache: what counts is
//! what is on the disk, and what other code says of it. So is a share that is odd only beside the others, before that is held
//! against it. A share that was changed while it was read is read anew, since a node writes in place and takes no lock.

use std::io;

use super::compare::{self, Member, Tie};
use super::{Advisories, PageCache, Quarantine, VerifySettings, VerifyTally, advisory, quarantine};
use crate::job::{Finding, Fold, Unreadable};
use crate::shown;
use crate::store::{DirectShare, Residency, ShareEntry, ShareFile, Stamp, TahoeBucket};
use crate::tahoe::check::{Checked, ShareCheck, Step};
use crate::tahoe::region::{Flaw, Region};

/// How often a share that changes under the reader is read anew. A node's own change takes milliseconds.
const READINGS_MOST: u32 = 5;

/// Shares of a bucket that are compared with each other, at most. A file has 256 at most.
const COMPARED_MOST: usize = 1024;

/// What is said of a corrupt share that no quarantine takes.
pub(super) const LEFT_IN_PLACE: &str = "; a link leads to it, so it is left in place";

/// What is said of shares that differ where corrupt ones are put in quarantine.
pub(super) const LEFT_IN_DOUBT: &str = ", so none of them is copied or moved for that";

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
    /// Does the next part of the work: a buffer full of a share at most.
    pub fn work(&mut self, settings: &VerifySettings, bucket: &TahoeBucket<'_>, buffer: &mut [u8]) -> Left {
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

    /// Compares the shares with each other, and puts everything down: figures, findings, errors; and does what is to be
    /// done about corrupt shares.
    pub fn put_down(mut self, settings: &VerifySettings, bucket: &TahoeBucket<'_>, fold: &mut Fold<'_, VerifyTally>) {
        fold.notes.counts.no_share += bucket.no_share();
        bucket.strays().for_each(|path| fold.notes.stray(&path));
        let members: Vec<Member<'_>> = self.judged.iter().filter_map(Judged::member).collect();
        let odd = compare::across(&members);
        for (name, flaw) in odd.of_shares {
            if let Some(read) = self.read_mut(&name) {
                read.checked.flaws.push(flaw);
            }
        }
        quarantine::take_up(settings, bucket, fold);
        for Tie { mut flaw, names } in odd.ties {
            if settings.quarantine != Quarantine::None {
                flaw.reason.push_str(LEFT_IN_DOUBT);
            }
            finding(bucket, None, &flaw, fold);
            for name in names {
                if let Some(read) = self.read_mut(&name) {
                    read.in_doubt = true;
                }
            }
        }
        for judged in self.judged {
            put_down_share(settings, bucket, judged, fold);
        }
    }
}

impl BucketVisit {
    fn read_mut(&mut self, name: &[u8]) -> Option<&mut Read> {
        let place = self.judged.binary_search_by(|judged| judged.name[..].cmp(name)).ok()?;
        match &mut self.judged[place].verdict {
            Verdict::Read(read) => Some(read),
            Verdict::Unreadable(_) => None,
        }
    }
}

fn entry_of<'b>(bucket: &'b TahoeBucket<'_>, name: &[u8]) -> Option<&'b ShareEntry> {
    let place = bucket.shares().binary_search_by(|entry| bucket.share_name(entry).cmp(name)).ok()?;
    bucket.shares().get(place)
}

impl Judged {
    fn member(&self) -> Option<Member<'_>> {
        let Verdict::Read(Read { checked, .. }) = &self.verdict else { return None };
        let (common, share_type) = (checked.common.as_ref()?, checked.share_type?);
        Some(Member { name: &self.name, common, share_type, has_flaws: !checked.flaws.is_empty() })
    }
}

fn put_down_share(
    settings: &VerifySettings,
    bucket: &TahoeBucket<'_>,
    judged: Judged,
    fold: &mut Fold<'_, VerifyTally>,
) {
    let Judged { name, number, size, read, verdict } = judged;
    let path = bucket.path_of(&name);
    let Read { mut checked, stamp, misread, in_doubt, .. } = match verdict {
        Verdict::Unreadable(error) => {
            let vanished = fold.notes.counts.vanished;
            let error = io::Error::new(error.kind(), format!("cannot read share: {error}"));
            fold.unreadable(&Unreadable { path, error });
            if fold.notes.counts.vanished == vanished {
                count(read, fold);
                fold.tally.unreadable += 1;
                fold.notes.counts.verified.unreadable += 1;
            }
            return;
        }
        Verdict::Read(read) => read,
    };
    count(read, fold);
    if let Some(Flaw { region, reason, .. }) = misread.filter(|_| checked.flaws.is_empty()) {
        fold.tally.misread += 1;
        let what = format!(
            "read from the page cache it had a flaw ({region}: {reason}), read past it none: suspect memory, cable or \
             controller, or the processor where it is so of many shares"
        );
        fold.notes.error_of_judged(&path, &what);
    }
    if checked.flaws.is_empty() && in_doubt {
        fold.tally.in_doubt += 1;
        fold.notes.counts.verified.in_doubt += 1;
        return;
    }
    if checked.flaws.is_empty() {
        fold.tally.ok += 1;
        fold.notes.counts.verified.ok += 1;
        fold.tally.signatures_not_checked += u64::from(checked.signature_not_checked);
        return;
    }
    fold.tally.corrupt += 1;
    fold.notes.counts.verified.corrupt += 1;
    let stays = quarantine::leaves(settings, bucket, &name);
    if stays {
        checked.flaws.iter_mut().for_each(|flaw| flaw.reason.push_str(LEFT_IN_PLACE));
    }
    let findings: Vec<Finding> =
        checked.flaws.iter().map(|flaw| finding(bucket, Some((number, &name)), flaw, fold)).collect();
    // First: once the share is gone from its bucket, nobody comes back to write it.
    let mut advised = true;
    if settings.advisories == Advisories::Write
        && let Err(e) = advisory::write(bucket, number, checked.share_type, &findings, fold.now)
    {
        advised = false;
        let folder = shown::path(&advisory::place(bucket));
        fold.notes.error(&path, &format_args!("cannot write a corruption advisory: folder {folder}: {e}"));
    }
    if !stays && (advised || settings.quarantine != Quarantine::Move) {
        let corrupt = quarantine::Corrupt { name: &name, size, read, stamp, findings: &findings };
        quarantine::put_away(settings, bucket, &corrupt, fold);
    }
}

/// Counts a share, whatever it has come to, and the bytes that were read of it.
pub(super) fn count(read: u64, fold: &mut Fold<'_, VerifyTally>) {
    fold.notes.counts.shares += 1;
    fold.notes.counts.verified.bytes = fold.notes.counts.verified.bytes.saturating_add(read);
    fold.tally.shares += 1;
    fold.tally.bytes = fold.tally.bytes.saturating_add(read);
}

/// Notes a flaw of a share, or of the bucket.
fn finding(
    bucket: &TahoeBucket<'_>,
    share: Option<(Option<i64>, &[u8])>,
    flaw: &Flaw,
    fold: &mut Fold<'_, VerifyTally>,
) -> Finding {
    let number = share.and_then(|(number, _)| number);
    let reason = match share {
        Some((None, name)) => format!("share {}: {}", shown::name(name), flaw.reason),
        _ => flaw.reason.clone(),
    };
    let bytes = flaw.bytes.filter(|_| flaw.region != Region::Bucket).map(|span| (span.start, span.end));
    let (storage_index, region) = (bucket.storage_index(), flaw.region.as_str().to_owned());
    let finding =
        Finding { storage_index, share: number, region, reason, tahoe_corrupt: false, only_kept: false, bytes };
    fold.notes.finding_in(share.map_or(b"", |(_, name)| name), &finding);
    finding
}
