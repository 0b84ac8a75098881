//! Carrying out what a visit has planned for one bucket.
//!
//! What is as the visit saw it, or already gone, or somewhere between the beginning and the end of its own rewriting, is
//! finished; that is also what a crash leaves behind. What was changed by anybody else is looked at anew, and whatever
//! follows from that has to be saved before it is done, like any other intent. What was changed in the middle of its own
//! rewriting is left alone.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::judge::{LEASES, LeaseFlaw};
use super::look::{LEASES_MOST, Looked, Sight, would_wait};
use super::plan::{Act, BucketPlan, ShareChange, SharePlan};
use super::tally::LeaseTally;
use super::windows::WindowedRewrite;
use super::{Leases, Word};
use crate::error::{Error, Result};
use crate::job::{Carried, Deed, Intent, Remarks};
use crate::priority::unhindered;
use crate::store::{ErrorCause, ObjectFile, Stamp, Store};
use crate::tahoe::cancel::Rewrite;
use crate::tahoe::store::{FoundShare, OpenedBucket, RewriteError, Rewritten};
use crate::tahoe::table::PIECE_LEN;
use crate::tahoe::{STOPS_TAHOE, TahoeStore};

/// How often a bucket comes again, for what was changed in it or cannot be done just now, before that is left alone for this
/// cycle.
const ROUNDS_MOST: u8 = 3;

/// Why a share is left alone for good.
const TORN: &str = "somebody else has changed the share while its lease table was half rewritten, and not all leases that \
                    stay can be told any more: it is left as it stands, and the next cycle goes by what can be read of it \
                    then; put back a copy of it, or remove it for its clients to repair";

/// What became of an act.
enum ActFate {
    Done,
    /// A part of it is, and what comes next has to be saved before it is done.
    Onward,
    /// The share was changed meanwhile.
    Changed,
    /// The share was changed while its lease table was half written: what is left of it is nobody's whole table.
    Torn,
    /// It cannot be done; the share is as it was.
    Kept(io::Error),
    /// Nobody can tell what stands there now.
    Unread(io::Error),
    /// It may be half done, and cannot be finished now.
    Between(io::Error),
}

/// Carries out the intent for one bucket.
pub(super) fn bucket(
    job: &Leases,
    store: &TahoeStore,
    intent: &Intent,
    deed: &mut Deed<'_, LeaseTally>,
) -> Result<Carried> {
    let mut plan: BucketPlan = serde_json::from_str(&intent.body)
        .map_err(|e| Error::Tally { crawl: format!("an intent of prefix {}", deed.prefix), cause: e.to_string() })?;
    let path = store.path(deed.prefix, Some(&intent.bucket));
    job.check_clocks(&deed.clocks, youngest(&plan, &path))?;
    // What was moved aside is this store's no longer, and a bucket that is not there would count as deleted.
    store.still_there().map_err(|e| Error::of_store(store.path("", None), &e))?;
    let (mut told, planned) = (Remarks::default(), plan.deletion());
    let may_come_again = plan.round < ROUNDS_MOST;
    match store.open_for_change(deed.prefix, &intent.bucket) {
        Ok(Some(opened)) => {
            let mut work = BucketWork {
                job,
                bucket: &intent.bucket,
                opened: &opened,
                now: deed.now,
                latest: deed.clocks.latest(),
                leases_left: LEASES_MOST.saturating_sub(plan.leases_rewritten()),
                page: [0; PIECE_LEN],
            };
            let mut is_onward = false;
            for share in plan.shares.iter_mut().filter(|share| share.is_pending()) {
                let path = path.join(OsStr::from_bytes(share.name.as_bytes()));
                let fate = work.carry_out(share);
                match fate {
                    ActFate::Done => {
                        job.failures.succeeded();
                        share.done = true;
                    }
                    ActFate::Onward => {
                        job.failures.succeeded();
                        // One window is as much as an intent holds.
                        is_onward = true;
                        break;
                    }
                    ActFate::Changed if may_come_again => work.look_anew(share, &mut told, &path),
                    ActFate::Changed => keep(share, &mut told, &path, ErrorCause::Other, &"it changes all the time"),
                    ActFate::Unread(e) | ActFate::Kept(e) | ActFate::Between(e) if may_come_again && would_wait(&e) => {
                    }
                    ActFate::Torn => give_up(share, &mut told, &intent.bucket),
                    ActFate::Unread(e) => keep(share, &mut told, &path, ErrorCause::of(&e), &e),
                    ActFate::Kept(e) => {
                        job.failures.failed(&path, &e)?;
                        keep(share, &mut told, &path, ErrorCause::of(&e), &e);
                    }
                    ActFate::Between(e) => {
                        return Err(Error::Store { doing: "finish the lease table of", path, cause: e.to_string() });
                    }
                }
            }
            // What was judged with the whole ring is not exceeded; in one pass nothing was.
            if plan.bounded && !plan.deletion().is_within(&planned) {
                for share in plan.shares.iter_mut().filter(|share| share.is_pending() && !share.is_begun()) {
                    let path = path.join(OsStr::from_bytes(share.name.as_bytes()));
                    keep(
                        share,
                        &mut told,
                        &path,
                        ErrorCause::Other,
                        &"the bucket was changed, and more would be deleted than was shown",
                    );
                }
            }
            if plan.shares.iter().any(SharePlan::is_pending) {
                plan.round += u8::from(!is_onward);
                told.tell(&intent.bucket, deed.notes);
                return again(plan, intent);
            }
            if plan.is_continued && plan.counts_bucket() {
                // Others were handed out before. What has become of them, the bucket itself tells.
                plan.only_if_left(opened.count_shares().ok());
            }
            deed.tally.deleted.buckets += u64::from(plan.prune && prune(opened, &mut told, &path));
        }
        // The whole bucket is gone, and with it all that was to go.
        Ok(None) => {
            plan.shares.iter_mut().for_each(|share| share.done = share.act.is_some());
            deed.tally.deleted.buckets += u64::from(plan.prune);
        }
        Err(e) if may_come_again && would_wait(&e) => {
            plan.round += 1;
            return again(plan, intent);
        }
        Err(e) => {
            if let Some(share) = plan.shares.iter().find(|share| may_be_between(store, deed.prefix, intent, share)) {
                let path = path.join(OsStr::from_bytes(share.name.as_bytes()));
                return Err(Error::Store { doing: "finish the lease table of", path, cause: e.to_string() });
            }
            if e.kind() == io::ErrorKind::ReadOnlyFilesystem {
                job.failures.failed(&path, &e)?;
            }
            told.error_at(&path, ErrorCause::of(&e), format!("nothing in it is deleted: {e}"));
            plan.shares.iter_mut().filter(|share| share.is_pending()).for_each(|share| share.act = None);
        }
    }
    told.tell(&intent.bucket, deed.notes);
    let freed = plan.freed();
    let counts = &mut deed.notes.counts;
    counts.deleted += freed.shares;
    counts.deleted_bytes = counts.deleted_bytes.saturating_add(freed.bytes);
    counts.deleted_records += freed.leases;
    deed.tally.deleted.merge(&freed);
    if !plan.examined {
        plan.count_examined(deed.tally);
    }
    plan.count_recovered(deed.tally);
    Ok(Carried::Settled)
}

/// Has what is left of a plan saved for good, and carried out after the others.
fn again(plan: BucketPlan, intent: &Intent) -> Result<Carried> {
    let plan = plan.sealed();
    let body = serde_json::to_string(&plan)
        .map_err(|e| Error::Tally { crawl: "an intent".to_owned(), cause: e.to_string() })?;
    Ok(Carried::Again(Intent { bucket: intent.bucket.clone(), deletes: plan.deletes(), body, begun: true }))
}

/// When the youngest share that something is to be done to was touched, and its path below that of the bucket.
fn youngest(plan: &BucketPlan, bucket: &Path) -> Option<(f64, PathBuf)> {
    // What was begun was touched by us.
    let others = plan.shares.iter().filter(|share| !share.is_begun());
    let touched = |share: &SharePlan| share.act.as_ref().map(|act| act.stamp.touched_unix());
    let planned = others.filter_map(|share| Some((touched(share)?, share)));
    let (touched, share) = planned.max_by(|(one, _), (other, _)| one.total_cmp(other))?;
    Some((touched, bucket.join(&share.name)))
}

/// Whether the share's lease table may be half written, as far as can be seen without opening its bucket for changes.
fn may_be_between(store: &TahoeStore, prefix: &str, intent: &Intent, share: &SharePlan) -> bool {
    let pending = share.act.as_ref().filter(|_| share.is_pending());
    pending.is_some_and(|act| match &act.change {
        ShareChange::Unlink => false,
        ShareChange::Rewrite(rewrite) => {
            !store.reads_as_before(prefix, (&intent.bucket, share.name.as_bytes()), &act.stamp, rewrite)
        }
        ShareChange::Windows(rewrite) => {
            let names = (&intent.bucket[..], share.name.as_bytes());
            let is_half = |step| !store.reads_as_before(prefix, names, &act.stamp, step);
            rewrite.is_begun() || rewrite.step().is_some_and(is_half)
        }
    })
}

fn keep(share: &mut SharePlan, told: &mut Remarks, path: &Path, cause: ErrorCause, why: &dyn std::fmt::Display) {
    share.act = None;
    told.error_at(path, cause, format!("its expired leases are kept: {why}"));
}

/// What is not known again is never written to, and what was planned for it is not come back to: no later run would know
/// it any better. The next cycle goes by what can be read then, which need not be all its leases.
fn give_up(share: &mut SharePlan, told: &mut Remarks, bucket: &[u8]) {
    share.act = None;
    let name = share.name.as_bytes();
    told.finding(name, || LeaseFlaw::of_leases(TORN.to_owned()).of_share(bucket, name));
}

/// Removes the bucket if it is empty. Tells whether it is gone.
fn prune(opened: OpenedBucket<'_>, told: &mut Remarks, path: &Path) -> bool {
    opened.remove_if_empty().unwrap_or_else(|e| {
        told.error_at(path, ErrorCause::of(&e), format!("the empty bucket cannot be removed: {e}"));
        false
    })
}

/// The work on one bucket.
struct BucketWork<'a> {
    job: &'a Leases,
    bucket: &'a [u8],
    opened: &'a OpenedBucket<'a>,
    now: f64,
    latest: f64,
    /// How many leases more the tables may have that are rewritten.
    leases_left: u64,
    page: [u8; PIECE_LEN],
}

impl BucketWork<'_> {
    fn carry_out(&mut self, share: &mut SharePlan) -> ActFate {
        let Some(act) = &mut share.act else { return ActFate::Done };
        let name = share.name.as_bytes();
        match &mut act.change {
            ShareChange::Unlink => self.unlink(name, act),
            ShareChange::Rewrite(rewrite) => self.rewrite(name, &act.stamp, rewrite),
            ShareChange::Windows(rewrite) => self.rewrite_on(name, &mut act.stamp, rewrite),
        }
    }

    fn rewrite(&self, name: &[u8], stamp: &Stamp, rewrite: &Rewrite) -> ActFate {
        match self.opened.rewrite(name, stamp, rewrite) {
            Ok(Rewritten::Done) => ActFate::Done,
            Ok(Rewritten::Changed) => ActFate::Changed,
            Ok(Rewritten::Torn) => ActFate::Torn,
            Err(RewriteError::AsBefore(e)) => ActFate::Kept(e),
            Err(RewriteError::Between(e)) => ActFate::Between(e),
        }
    }

    /// Does the step of a long table that was saved, and plans the next. A table that was begun is never kept as it stands: all leases
    /// that stay are in it, but some twice.
    fn rewrite_on(&self, name: &[u8], stamp: &mut Stamp, rewrite: &mut WindowedRewrite) -> ActFate {
        let fate = self.do_step(name, stamp, rewrite);
        match fate.unwrap_or_else(ActFate::Unread) {
            ActFate::Changed if rewrite.is_begun() => ActFate::Torn,
            ActFate::Kept(e) | ActFate::Unread(e) if rewrite.is_begun() => ActFate::Between(e),
            fate => fate,
        }
    }

    fn do_step(&self, name: &[u8], stamp: &mut Stamp, rewrite: &mut WindowedRewrite) -> io::Result<ActFate> {
        let Some(file) = self.opened.open(name)? else { return Ok(ActFate::Done) };
        if file.stamp() != *stamp && !rewrite.is_known(&file, file.size())? {
            return Ok(if rewrite.is_touched(&file)? { ActFate::Torn } else { ActFate::Changed });
        }
        if let Some(step) = rewrite.step() {
            match self.rewrite(name, stamp, step) {
                ActFate::Done => rewrite.advance(),
                fate => return Ok(fate),
            }
        }
        let Some(file) = self.opened.open(name)? else { return Ok(ActFate::Done) };
        *stamp = file.stamp();
        Ok(if rewrite.plan_next(&file)? { ActFate::Onward } else { ActFate::Done })
    }

    fn unlink(&mut self, name: &[u8], act: &Act) -> ActFate {
        match self.opened.find(name) {
            Ok(FoundShare::Nothing) => return ActFate::Done,
            Ok(FoundShare::File(stamp)) if stamp != act.stamp => return ActFate::Changed,
            Ok(FoundShare::File(_)) => {}
            Err(e) => return ActFate::Unread(e),
        }
        if self.job.settings.word != Some(Word::Online) {
            return self.remove(name);
        }
        // A node that is running may be at it this very moment: header and leases are read again, right before. Out of the
        // idle class, since a thread that is starved between the two would make that moment long.
        unhindered(|| if self.still_goes(name, act) { self.remove(name) } else { ActFate::Changed })
    }

    fn remove(&self, name: &[u8]) -> ActFate {
        match self.opened.unlink(name) {
            Ok(()) => ActFate::Done,
            Err(e) if e.kind() == io::ErrorKind::NotFound => ActFate::Done,
            Err(e) => ActFate::Kept(e),
        }
    }

    /// Whether the share, read once more, is still the same file and still to be unlinked.
    fn still_goes(&mut self, name: &[u8], act: &Act) -> bool {
        let Ok(Some(file)) = self.opened.open(name) else { return false };
        let looked = self.look(&file);
        let goes = looked.is_ok_and(|l| l.act.is_some_and(|act| matches!(act.change, ShareChange::Unlink)));
        // Looked at last: whatever was written while the leases were read shows in it.
        goes && self.opened.find(name).is_ok_and(|found| found == FoundShare::File(act.stamp))
    }

    fn look(&mut self, file: &ObjectFile) -> io::Result<Looked> {
        let BucketWork { now, latest, leases_left, .. } = *self;
        let (settings, page) = (&self.job.settings, &mut self.page);
        // They were counted when the bucket was examined.
        let ages = &mut BTreeMap::new();
        let looked = Sight { settings, now, latest, leases_left, ages, page }.look(file)?;
        if looked.would_wait { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(looked) }
    }

    /// A share that was changed counts as what it is now, and is told of; one that is gone, as what it was.
    fn look_anew(&mut self, share: &mut SharePlan, told: &mut Remarks, path: &Path) {
        let name = share.name.clone().into_bytes();
        self.leases_left = self.leases_left.saturating_add(share.leases_rewritten());
        let looked = match self.opened.open(&name) {
            Ok(Some(file)) => self.look(&file),
            Ok(None) => {
                share.done = true;
                return;
            }
            Err(e) => Err(e),
        };
        match looked {
            Ok(Looked { seen, act, spared, flaws, stops, kept, .. }) => {
                *share = SharePlan { act, spared, ..SharePlan::of(name.clone(), seen) };
                self.leases_left = self.leases_left.saturating_sub(share.leases_rewritten());
                for flaw in flaws.into_iter().chain(kept.map(|why| LeaseFlaw::kept(LEASES, why))) {
                    told.finding(&name, || flaw.of_share(self.bucket, &name));
                }
                if let Some((cause, reason)) = stops {
                    told.error_at(path, cause, format!("{reason}; {STOPS_TAHOE}"));
                }
            }
            // It comes again as it is, and is looked at anew then.
            Err(e) if would_wait(&e) => {}
            Err(e) => {
                keep(share, told, path, ErrorCause::of(&e), &format_args!("it was changed, and cannot be read: {e}"))
            }
        }
    }
}
