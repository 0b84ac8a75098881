//! The visit to one bucket: each share in turn, in byte order of their names, share by share and, in long lease tables, piece by
//! piece, so that it can end with its slice. Nothing is changed here: what is to be deleted becomes an intent.
//!
//! A bucket may have a hundred thousand shares, so nothing of a share is kept but sums, and the shares to which something is to
//! be done. Of those a visit that carries out hands out some thousand at once, and goes on when they are done.
//!
//! Where Tahoe's lease checker would stop for good, the history keeps what the bucket had counted so far and takes up
//! nothing more from it; the walk itself goes on with the next share.

use std::collections::BTreeMap;
use std::io;

use super::judge::{BUCKET, LEASES, LeaseFlaw};
use super::look::{LEASES_MOST, LeaseReading, Looked, Sight};
use super::plan::{BucketPlan, SharePlan, ShareSeen};
use super::settings::ExpiryMode;
use super::sums::{BucketEnd, LeaseSums};
use super::tally::LeaseTally;
use super::{Conduct, Leases, Word};
use crate::error::Error;
use crate::job::{Counts, DeletionCount, Fold, Remarks, Unreadable, VisitPhase, Visited};
use crate::policy::deletion::secs_ahead;
use crate::store::{ErrorCause, ObjectFile};
use crate::tahoe::store::{ShareListing, TahoeBucket};
use crate::tahoe::table::PIECE_LEN;
use crate::tahoe::{STOPS_TAHOE, names};

/// Why a share is kept in a directory whose name is no storage index, or one of another prefix.
const NO_BUCKET: &str = "its leases have expired, but the directory is no bucket of this prefix: it is kept";

/// Why a share is kept that a link leads to. Carrying out would refuse it; what is only told has to say the same.
const LINKED: &str = "its expired leases are kept: a link leads to it, and links are never followed to change anything";

/// How many shares are handed out at once at most, in a bucket that was examined before.
const SHARES_AT_ONCE: usize = 1024;

/// How many shares may go at once where a bucket is examined and deleted in one pass. Tahoe numbers 256.
const SHARES_OF_ONE_PASS: usize = 4096;

/// How many shares one intent changes at most. A file has 256 at most.
const SHARES_OF_INTENT: usize = 256;

/// Shares that are looked at in a slice at least before it ends in the middle of their bucket; an ordinary one has fewer.
const SHARES_LEAST: u32 = 32;

/// What visits to buckets use again and again, so that an ordinary bucket needs no memory of its own.
pub(super) struct Desk {
    page: [u8; PIECE_LEN],
    /// The visit to the last bucket, of which nothing is left but the memory that it took.
    visit: Option<Box<LeaseVisit>>,
}

/// How far the visit to a bucket has come. Goes along from slice to slice; is never saved.
#[derive(Debug)]
pub struct LeaseVisit {
    listing: ShareListing,
    current: Option<Current>,
    sums: LeaseSums,
    counts: Counts,
    told: Remarks,
    /// The shares to which something is to be done, as far as an intent is to say it.
    shares: Vec<SharePlan>,
    /// Whether others of them were handed out before.
    is_continued: bool,
}

/// The share whose leases are being read.
#[derive(Debug)]
struct Current {
    name: Vec<u8>,
    file: ObjectFile,
    reading: LeaseReading,
}

/// What a step has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum VisitLeft {
    Something,
    /// Enough to be carried out before the visit goes on.
    Enough,
    Nothing,
}

/// Visits a bucket, or goes on with that, as far as the slice lasts.
///
/// # Errors
/// [`Unreadable`] if the bucket cannot be listed, or the size of its directory is needed and cannot be told, or what is planned
/// cannot be written down.
pub(super) fn bucket(
    job: &Leases,
    bucket: &TahoeBucket<'_>,
    part: Option<Box<LeaseVisit>>,
    desk: &mut Desk,
    fold: &mut Fold<'_, LeaseTally>,
) -> Result<Visited<Box<LeaseVisit>>, Unreadable> {
    let unreadable = |error| Unreadable { path: bucket.path(), error };
    let mut visit = part.or_else(|| desk.visit.take()).unwrap_or_default();
    let mut steps = 0;
    loop {
        let left = visit.step(job, bucket, fold, &mut desk.page).map_err(unreadable);
        steps += 1;
        match left {
            Ok(_) if fold.is_deferred() => return Ok(Visited::Whole),
            Err(e) if fold.defer_for(&e.error) => return Ok(Visited::Whole),
            Ok(VisitLeft::Something) if fold.refused.is_some() => return Ok(Visited::Whole),
            // An ordinary bucket is finished: what is left in the middle begins anew after a crash.
            Ok(VisitLeft::Something) if steps < SHARES_LEAST && visit.current.is_none() => {}
            Ok(VisitLeft::Something) if !fold.slice.is_over() => {}
            Ok(VisitLeft::Something) => {
                visit.set_aside(bucket).map_err(unreadable)?;
                return Ok(Visited::Part(visit));
            }
            Ok(VisitLeft::Enough) => {
                visit.hand_out_some(bucket, fold).map_err(unreadable)?;
                visit.set_aside(bucket).map_err(unreadable)?;
                return Ok(Visited::Chunk(visit));
            }
            Ok(VisitLeft::Nothing) => {
                visit.finish(job, bucket, fold)?;
                visit.clear();
                desk.visit = Some(visit);
                return Ok(Visited::Whole);
            }
            Err(e) => {
                visit.put_down_notes(bucket, fold);
                return Err(e);
            }
        }
    }
}

impl Default for LeaseVisit {
    fn default() -> LeaseVisit {
        LeaseVisit {
            listing: ShareListing::new(),
            current: None,
            sums: LeaseSums::new(),
            counts: Counts::default(),
            told: Remarks::default(),
            shares: Vec::new(),
            is_continued: false,
        }
    }
}

impl Desk {
    pub fn new() -> Desk {
        Desk { page: [0; PIECE_LEN], visit: None }
    }
}

impl LeaseVisit {
    /// Forgets everything but the memory of the names.
    fn clear(&mut self) {
        let LeaseVisit { listing, current, sums, counts, told, shares, is_continued } = self;
        listing.clear();
        shares.clear();
        (*current, *sums, *is_continued) = (None, LeaseSums::new(), false);
        (*counts, *told) = (Counts::default(), Remarks::default());
    }

    /// Does the next part of the work: a chunk of names, or a share, or a part of its leases.
    pub(super) fn step(
        &mut self,
        job: &Leases,
        bucket: &TahoeBucket<'_>,
        fold: &mut Fold<'_, LeaseTally>,
        page: &mut [u8; PIECE_LEN],
    ) -> io::Result<VisitLeft> {
        if self.listing.wants_reading() {
            return self.listing.read(bucket).map(|()| VisitLeft::Something);
        }
        let carries_out = matches!(fold.phase, VisitPhase::CarryOut { .. });
        if carries_out && self.current.is_none() && self.shares.len() >= SHARES_AT_ONCE {
            return Ok(VisitLeft::Enough);
        }
        if fold.phase == VisitPhase::OnePass && self.shares.len() >= SHARES_OF_ONE_PASS {
            let why = format!("more than {SHARES_OF_ONE_PASS} shares of it would go at once: they do without --compat");
            return Err(io::Error::other(why));
        }
        let (settings, now, latest) = (&job.settings, fold.now, fold.latest);
        let leases_left = LEASES_MOST.saturating_sub(self.sums.leases_rewritten);
        // Where Tahoe would have stopped, nothing more is counted.
        let mut uncounted = BTreeMap::new();
        let ages = if self.sums.has_stopped() { &mut uncounted } else { self.sums.ages() };
        let mut sight = Sight { settings, now, latest, leases_left, ages, page };
        let slice = fold.slice;
        let current = match &mut self.current {
            Some(current) => current,
            none => {
                let Some(share) = self.listing.next(bucket)? else {
                    return Ok(if self.listing.wants_reading() { VisitLeft::Something } else { VisitLeft::Nothing });
                };
                let begun = bucket.open_share(&share).and_then(|file| Ok((sight.begin(&file)?, file)));
                match begun {
                    Ok((reading, file)) => none.insert(Current { name: share.into_name(), file, reading }),
                    Err(e) => {
                        self.unreadable(bucket, share.name(), &e, fold);
                        return Ok(VisitLeft::Something);
                    }
                }
            }
        };
        let Some(looked) = sight.go_on(&mut current.reading, &current.file, || !slice.is_over()) else {
            return Ok(VisitLeft::Something);
        };
        let (name, touched_unix) = (std::mem::take(&mut current.name), current.file.stamp().touched_unix());
        let followed_no_link = current.file.followed_no_link();
        self.current = None;
        if !looked.would_wait || !fold.defer() {
            self.meet(job, bucket, &name, touched_unix, fold);
            self.looked(job, bucket, (name, followed_no_link), looked, fold.phase);
        }
        Ok(VisitLeft::Something)
    }

    /// Makes it go on in another slice.
    fn set_aside(&mut self, bucket: &TahoeBucket<'_>) -> io::Result<()> {
        if let Some(current) = &mut self.current {
            current.reading.set_aside();
        }
        self.listing.keep(bucket)
    }

    /// Remembers the youngest share. Beside a running node it is refused to go on by a clock that is behind one, whether or
    /// not anything would be deleted; the clock is looked at only where a share is later than when the prefix was begun.
    fn meet(
        &self,
        job: &Leases,
        bucket: &TahoeBucket<'_>,
        name: &[u8],
        touched_unix: f64,
        fold: &mut Fold<'_, LeaseTally>,
    ) {
        let path = || bucket.path_of(name);
        job.youngest.meet(touched_unix, path);
        if job.settings.word == Some(Word::Online)
            && secs_ahead(touched_unix, fold.latest).is_some()
            && let Err(why) = job.check_date(touched_unix, &fold.clocks(), path)
        {
            fold.refuse(why);
        }
    }

    fn looked(
        &mut self,
        job: &Leases,
        bucket: &TahoeBucket<'_>,
        (name, followed_no_link): (Vec<u8>, bool),
        looked: Looked,
        phase: VisitPhase,
    ) {
        let Looked { seen, act, spared, mut flaws, stops, kept, .. } = looked;
        let mut plan = SharePlan { act, spared, ..SharePlan::of(name, seen) };
        self.counts.objects += 1;
        if self.sums.has_stopped() {
            // Tahoe does not come to it; and where so much is wrong, people should look first.
            plan.act = None;
        }
        if plan.act.is_some()
            && let Some(why) = refused(job, bucket, (plan.name.as_bytes(), followed_no_link))
        {
            plan.act = None;
            flaws.push(LeaseFlaw::kept(BUCKET, why.to_owned()));
        }
        flaws.extend(kept.map(|why| LeaseFlaw::kept(LEASES, why)));
        if let Some((cause, reason)) = stops {
            self.error(bucket, plan.name.as_bytes(), cause, &reason);
        }
        for flaw in flaws {
            let flaw = LeaseFlaw { tahoe_corrupt: flaw.tahoe_corrupt && !self.sums.has_stopped(), ..flaw };
            let name = plan.name.as_bytes();
            self.told.finding(name, || flaw.of_share(bucket.name(), name));
        }
        self.sums.add(&plan);
        if plan.act.is_some() && phase != VisitPhase::Examine {
            self.shares.push(plan);
        }
    }

    fn error(&mut self, bucket: &TahoeBucket<'_>, share: &[u8], cause: ErrorCause, what: &str) {
        // Tahoe's crawler stops but once: at the first such thing in a bucket.
        let what = if self.sums.has_stopped() { what.to_owned() } else { format!("{what}; {STOPS_TAHOE}") };
        self.told.error(|| bucket.path_of(share), cause, what);
    }

    /// Notes a share that could not be opened or read at all. One that is gone leaves no trace in the history: it is as
    /// if it had not been listed.
    fn unreadable(&mut self, bucket: &TahoeBucket<'_>, name: &[u8], e: &io::Error, fold: &mut Fold<'_, LeaseTally>) {
        if fold.defer_for(e) {
            return;
        }
        if !fold.is_there(&bucket.path_of(name)) {
            self.counts.vanished += 1;
            self.sums.vanished += 1;
            return;
        }
        match e.kind() {
            io::ErrorKind::IsADirectory => {
                self.error(bucket, name, ErrorCause::Directory, "it has a share's name, but is a directory");
            }
            io::ErrorKind::NotFound => self.error(bucket, name, ErrorCause::DanglingLink, "it is a link to nothing"),
            io::ErrorKind::WouldBlock => {
                self.error(bucket, name, ErrorCause::of(e), &format!("not readable now: cannot read share: {e}"));
            }
            _ => self.error(bucket, name, ErrorCause::of(e), &format!("cannot read share: {e}")),
        }
        self.counts.objects += 1;
        let plan = SharePlan::of(name.to_vec(), ShareSeen::Stops(None));
        self.sums.add(&plan);
    }

    /// Whether the bucket's directory is to go with its last share. A directory that is no bucket is not touched.
    fn prunes(&self, job: &Leases, bucket: &TahoeBucket<'_>) -> bool {
        job.settings.prune
            && self.sums.all_go()
            && self.listing.no_share() == 0
            && is_bucket(bucket)
            && !bucket.is_behind_link()
    }

    /// Hands out what is to be done to the shares so far.
    fn hand_out_some(&mut self, bucket: &TahoeBucket<'_>, fold: &mut Fold<'_, LeaseTally>) -> io::Result<()> {
        let end = Some(BucketEnd { stopped: true, ..self.sums.end() });
        let plan = BucketPlan { shares: std::mem::take(&mut self.shares), end, ..BucketPlan::default() };
        let handed_out = self.intend(plan, fold);
        self.is_continued = true;
        handed_out.map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", bucket.storage_index())))
    }

    /// Hands a plan out, in several intents if it has many shares: a slice may end between them.
    fn intend(&mut self, mut plan: BucketPlan, fold: &mut Fold<'_, LeaseTally>) -> io::Result<()> {
        while plan.shares.len() > SHARES_OF_INTENT {
            let rest = plan.shares.split_off(SHARES_OF_INTENT);
            let shares = std::mem::replace(&mut plan.shares, rest);
            // The bucket counts with its last share.
            let end = Some(BucketEnd { stopped: true, ..self.sums.end() });
            self.intend_one(BucketPlan { shares, end, ..BucketPlan::default() }, fold)?;
            self.is_continued = true;
        }
        self.intend_one(plan, fold)
    }

    fn intend_one(&self, plan: BucketPlan, fold: &mut Fold<'_, LeaseTally>) -> io::Result<()> {
        let bounded = matches!(fold.phase, VisitPhase::CarryOut { .. });
        let plan = BucketPlan { examined: true, bounded, is_continued: self.is_continued, ..plan }.sealed();
        fold.intend(plan.deletion(), &plan).map_err(io::Error::other)
    }

    /// Counts and notes go where they are saved, unless they went there when the bucket was examined.
    fn put_down_notes(&mut self, bucket: &TahoeBucket<'_>, fold: &mut Fold<'_, LeaseTally>) {
        let (told, mut counts) = (std::mem::take(&mut self.told), std::mem::take(&mut self.counts));
        if fold.phase.examines() {
            counts.no_object = self.listing.no_share();
            fold.notes.counts.merge(&counts);
            self.listing.strays().for_each(|name| fold.notes.stray(&bucket.path_of(name)));
            told.tell(bucket.name(), fold.notes);
        }
    }

    /// What was examined is counted at once, and what is recovered when it is settled.
    fn finish(
        &mut self,
        job: &Leases,
        bucket: &TahoeBucket<'_>,
        fold: &mut Fold<'_, LeaseTally>,
    ) -> Result<(), Unreadable> {
        let unreadable = |error| Unreadable { path: bucket.path(), error };
        self.put_down_notes(bucket, fold);
        let prune = self.prunes(job, bucket);
        // Asked for only where it counts, which is in a bucket that could be freed.
        let disk_bytes = if self.sums.is_held_firmly() { Ok(0) } else { bucket.disk_bytes() };
        let disk_bytes = disk_bytes.map_err(unreadable)?;
        let is_pending = self.sums.is_pending || prune;
        if let Err(why) = check_clock(job, is_pending, fold) {
            fold.refuse(why);
            return Ok(());
        }
        if fold.phase.examines() {
            fold.tally.take_in(self.sums.examined(disk_bytes));
        }
        let mut frees = self.sums.frees;
        frees.buckets = u64::from(prune);
        match job.settings.manner() {
            ExpiryMode::Deletes if is_pending && fold.phase == VisitPhase::Examine => {
                let count = DeletionCount { objects: frees.shares, records: frees.leases, bytes: frees.bytes };
                fold.intend(count, &()).map_err(io::Error::other).map_err(unreadable)?;
            }
            ExpiryMode::Deletes => {
                let end = self.sums.end();
                fold.tally.actual.merge(&self.sums.recovered);
                if is_pending {
                    let shares = std::mem::take(&mut self.shares);
                    let plan = BucketPlan { disk_bytes, shares, prune, end: Some(end), ..BucketPlan::default() };
                    self.intend(plan, fold).map_err(unreadable)?;
                } else if end.counts() && end.recovered {
                    fold.tally.add_recovered_bucket(disk_bytes, end.kind);
                }
            }
            ExpiryMode::Tells => {
                fold.tally.would_delete.merge(&frees);
                fold.tally.would_delete_in = fold.tally.would_delete_in.saturating_add(u64::from(frees.shares > 0));
            }
            ExpiryMode::Looks => {}
        }
        let end = self.sums.end();
        if job.settings.manner() != ExpiryMode::Deletes && self.sums.shares == 0 && end.counts() {
            // To Tahoe an empty bucket is recovered whether or not anything is deleted.
            fold.tally.add_recovered_bucket(disk_bytes, end.kind);
        }
        Ok(())
    }
}

/// Why nothing of a share is deleted where it stands.
fn refused(job: &Leases, bucket: &TahoeBucket<'_>, (name, followed_no_link): (&[u8], bool)) -> Option<&'static str> {
    if job.settings.conduct == Conduct::Careful && !is_bucket(bucket) {
        // Somebody has put it there, a copy perhaps, and no client can renew anything in it.
        return Some(NO_BUCKET);
    }
    ((!followed_no_link && bucket.is_link_named(name)) || bucket.is_behind_link()).then_some(LINKED)
}

/// Whether its name is a storage index, in the prefix where it belongs.
fn is_bucket(bucket: &TahoeBucket<'_>) -> bool {
    let name = bucket.name();
    names::is_storage_index(name) && name.starts_with(bucket.prefix())
}

/// Refuses, before anything of the bucket is deleted or told as such, a clock that is behind a share: with the word a dry
/// run refuses what the run does. Beside a running node every share was asked for that already, see [`LeaseVisit::meet`].
fn check_clock(job: &Leases, is_pending: bool, fold: &Fold<'_, LeaseTally>) -> Result<(), Error> {
    if job.settings.word != Some(Word::Offline) || !is_pending {
        return Ok(());
    }
    let Some((touched_unix, share)) = job.youngest.get() else { return Ok(()) };
    let clocks = fold.clocks();
    if clocks.fixed { Ok(()) } else { job.check_date(touched_unix, &clocks, || share) }
}
