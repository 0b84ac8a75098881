//! The visit to one bucket: each share in turn, in byte order of their names. Nothing is changed here: what is to be
//! deleted becomes an intent.
//!
//! Where Tahoe's lease checker would stop for good, the history keeps what the bucket had counted so far and takes up
//! nothing more from it; the walk itself goes on with the next share.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::io;

use super::judge::{BUCKET, Flaw, LEASES};
use super::look::{LEASES_MOST, Looked, Sight};
use super::plan::{BucketPlan, Seen, SharePlan};
use super::settings::Manner;
use super::tally::LeaseTally;
use super::{Conduct, Leases, Word};
use crate::error::Error;
use crate::job::{Fold, Unreadable, VisitPhase};
use crate::policy::deletion::secs_ahead;
use crate::store::{ShareEntry, TahoeBucket};
use crate::tahoe::STOPS_TAHOE;
use crate::tahoe::names;
use crate::tahoe::table::PIECE_LEN;

/// Why a share is kept in a directory whose name is no storage index, or one of another prefix.
const NO_BUCKET: &str = "its leases have expired, but the directory is no bucket of this prefix: it is kept";

/// Why a share is kept that a link leads to. Carrying out would refuse it; what is only told has to say the same.
const LINKED: &str = "its expired leases are kept: a link leads to it, and links are never followed to change anything";

struct Visit<'v, 'f> {
    job: &'v Leases,
    bucket: &'v TahoeBucket<'v>,
    fold: &'v mut Fold<'f, LeaseTally>,
    plan: BucketPlan,
    /// How many leases the tables have that it rewrites.
    leases_rewritten: u64,
    /// Whether Tahoe's lease checker would have stopped in this bucket.
    stopped: bool,
    /// Whether the bucket was reached through a link, once that was asked.
    behind_link: OnceCell<bool>,
}

/// Visits a bucket.
///
/// # Errors
/// [`Unreadable`] if the size of its directory is needed and cannot be told, or what is planned cannot be written down.
pub(super) fn bucket(
    job: &Leases,
    bucket: &TahoeBucket<'_>,
    fold: &mut Fold<'_, LeaseTally>,
) -> Result<(), Unreadable> {
    if fold.phase.examines() {
        fold.notes.counts.no_share += bucket.no_share();
        bucket.strays().for_each(|path| fold.notes.stray(&path));
    }
    let (plan, behind_link) = (BucketPlan::default(), OnceCell::new());
    let mut visit = Visit { job, bucket, fold, plan, leases_rewritten: 0, stopped: false, behind_link };
    let mut page = [0; PIECE_LEN];
    for entry in bucket.shares() {
        visit.share(entry, &mut page);
    }
    visit.finish()
}

impl Visit<'_, '_> {
    fn share(&mut self, entry: &ShareEntry, page: &mut [u8; PIECE_LEN]) {
        let leases_left = LEASES_MOST.saturating_sub(self.leases_rewritten);
        let (settings, now, latest) = (&self.job.settings, self.fold.now, self.fold.latest);
        let mut sight = Sight { settings, now, latest, leases_left, page };
        let name = self.bucket.share_name(entry);
        let looked = self.bucket.open_share(entry).and_then(|file| {
            let looked = sight.look(name, &file)?;
            Ok((looked, file.stamp().touched_unix()))
        });
        match looked {
            Ok((looked, touched_unix)) => {
                self.meet(entry, touched_unix);
                self.looked(entry, looked);
            }
            Err(e) => self.unreadable(entry, &e),
        }
    }

    /// Remembers the youngest share. Beside a running node it is refused to go on by a clock that is behind one, whether or
    /// not anything would be deleted; the clock is looked at only where a share is later than when the prefix was begun.
    fn meet(&mut self, entry: &ShareEntry, touched_unix: f64) {
        let path = || self.bucket.share_path(entry);
        self.job.youngest.meet(touched_unix, path);
        if self.job.settings.word == Some(Word::Online)
            && secs_ahead(touched_unix, self.fold.latest).is_some()
            && let Err(why) = self.job.check_date(touched_unix, &self.fold.clocks(), path)
        {
            self.fold.refuse(why);
        }
    }

    fn looked(&mut self, entry: &ShareEntry, looked: Looked) {
        let Looked { mut plan, mut flaws, stops, kept } = looked;
        self.count_share();
        if self.stopped {
            // Tahoe does not come to it; and where so much is wrong, people should look first.
            plan.act = None;
        }
        if plan.act.is_some()
            && let Some(why) = self.refused(entry)
        {
            plan.act = None;
            flaws.push(Flaw::kept(BUCKET, why.to_owned()));
        }
        flaws.extend(kept.map(|why| Flaw::kept(LEASES, why)));
        if let Some(reason) = stops {
            self.error(entry, &reason);
        }
        for flaw in flaws {
            self.finding(entry, flaw);
        }
        self.stopped |= matches!(plan.seen, Seen::Stops(_));
        self.leases_rewritten = self.leases_rewritten.saturating_add(plan.leases_rewritten());
        self.plan.shares.push(plan);
    }

    /// Counts a share as examined, once.
    fn count_share(&mut self) {
        self.fold.notes.counts.shares += u64::from(self.fold.phase.examines());
    }

    /// Notes a finding, unless that was done when the bucket was examined.
    fn finding(&mut self, entry: &ShareEntry, flaw: Flaw) {
        let flaw = Flaw { tahoe_corrupt: flaw.tahoe_corrupt && !self.stopped, ..flaw };
        if self.fold.phase.examines() {
            let share = self.bucket.share_name(entry);
            self.fold.notes.finding_in(share, &flaw.of_share(self.bucket.name(), share));
        }
    }

    /// Likewise an error.
    fn error(&mut self, entry: &ShareEntry, what: &str) {
        if self.fold.phase.examines() {
            self.fold.notes.error(&self.bucket.share_path(entry), &self.with_consequence(what));
        }
    }

    /// Notes a share that could not be opened or read at all. One that is gone leaves no trace in the history: it is as
    /// if it had not been listed.
    fn unreadable(&mut self, entry: &ShareEntry, e: &io::Error) {
        let path = self.bucket.share_path(entry);
        if !(self.fold.is_there)(&path) {
            self.fold.notes.counts.vanished += u64::from(self.fold.phase.examines());
            self.plan.vanished += 1;
            return;
        }
        match e.kind() {
            io::ErrorKind::IsADirectory => self.error(entry, "it has a share's name, but is a directory"),
            io::ErrorKind::NotFound => self.error(entry, "it is a link to nothing"),
            _ => self.error(entry, &format!("cannot read share: {e}")),
        }
        self.count_share();
        self.stopped = true;
        let name = String::from_utf8_lossy(self.bucket.share_name(entry)).into_owned();
        self.plan.shares.push(SharePlan {
            name,
            ages: BTreeMap::new(),
            seen: Seen::Stops(None),
            act: None,
            spared: None,
            done: false,
        });
    }

    /// Tahoe's crawler stops but once: at the first such thing in a bucket.
    fn with_consequence(&self, what: &str) -> String {
        if self.stopped { what.to_owned() } else { format!("{what}; {STOPS_TAHOE}") }
    }

    /// Why nothing of a share is deleted where it stands.
    fn refused(&self, entry: &ShareEntry) -> Option<&'static str> {
        if self.job.settings.conduct == Conduct::Careful && !self.is_bucket() {
            // Somebody has put it there, a copy perhaps, and no client can renew anything in it.
            return Some(NO_BUCKET);
        }
        (self.is_behind_link() || self.bucket.is_link(entry)).then_some(LINKED)
    }

    fn is_behind_link(&self) -> bool {
        *self.behind_link.get_or_init(|| self.bucket.is_behind_link())
    }

    /// Whether its name is a storage index, in the prefix where it belongs.
    fn is_bucket(&self) -> bool {
        let name = self.bucket.name();
        names::is_storage_index(name) && name.starts_with(self.bucket.prefix())
    }

    /// Whether the bucket's directory is to go with its last share. A directory that is no bucket is not touched.
    fn prunes(&self) -> bool {
        let all_go = self.plan.shares.len() as u64 == self.plan.deletes();
        self.job.settings.prune
            && all_go
            && self.plan.vanished == 0
            && self.bucket.no_share() == 0
            && self.is_bucket()
            && !self.is_behind_link()
    }

    /// Refuses, before anything of the bucket is deleted or told as such, a clock that is behind a share: with the word a dry
    /// run refuses what the run does. Beside a running node every share was asked for that already, see
    /// [`meet`](Self::meet).
    fn check_clock(&self) -> Result<(), Error> {
        if self.job.settings.word != Some(Word::Offline) || !self.plan.is_pending() {
            return Ok(());
        }
        let Some((touched_unix, share)) = self.job.youngest.get() else { return Ok(()) };
        let clocks = self.fold.clocks();
        if clocks.fixed { Ok(()) } else { self.job.check_date(touched_unix, &clocks, || share) }
    }

    /// What was examined is counted at once, and what is recovered when it is settled.
    fn finish(mut self) -> Result<(), Unreadable> {
        self.plan.prune = self.prunes();
        // Asked for only where it counts, which is in a bucket that could be freed.
        if !self.plan.is_held_firmly() {
            let disk_bytes = self.bucket.disk_bytes();
            self.plan.disk_bytes = disk_bytes.map_err(|error| Unreadable { path: self.bucket.path(), error })?;
        }
        if let Err(why) = self.check_clock() {
            self.fold.refuse(why);
            return Ok(());
        }
        let manner = self.job.settings.manner();
        let deletes = manner == Manner::Deletes && self.plan.is_pending();
        // In one pass all of it waits for what becomes of the bucket.
        self.plan.examined = !(deletes && self.fold.phase == VisitPhase::OnePass);
        if self.plan.examined && self.fold.phase.examines() {
            self.plan.count_examined(self.fold.tally);
        }
        match manner {
            Manner::Deletes if deletes => return self.intend(),
            Manner::Deletes => self.plan.count_recovered(self.fold.tally),
            Manner::Tells => {
                let tally = &mut *self.fold.tally;
                tally.would_delete.merge(&self.plan.frees());
                tally.would_delete_in = tally.would_delete_in.saturating_add(u64::from(self.plan.deletes() > 0));
            }
            Manner::Looks => {}
        }
        if manner != Manner::Deletes && self.plan.shares.is_empty() {
            // To Tahoe an empty bucket is recovered whether or not anything is deleted.
            self.plan.count_recovered(self.fold.tally);
        }
        Ok(())
    }

    fn intend(self) -> Result<(), Unreadable> {
        let handed_out = self.fold.intend(self.plan.deletion(), &self.plan.sealed());
        handed_out.map_err(|e| Unreadable { path: self.bucket.path(), error: io::Error::other(e) })
    }
}
