//! What the scrub has to know of Tahoe's shares.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::aftermath::Aftermath;
use super::room::CopyRoom;
use super::{Advisories, Quarantine, VerifySettings, compare};
use crate::job::scrub::{
    Checker, CycleMoment, Flaw, FollowUp, JudgedObject, Listed, ReadingKind, ScrubSums, ScrubTally,
};
use crate::job::{Counts, CycleView, Finding, Notes};
use crate::shown;
use crate::store::FileSource;
use crate::tahoe::TahoeStore;
use crate::tahoe::check::ShareCheck;
use crate::tahoe::region::Region;
use crate::tahoe::store::{ShareEntry, ShareListing, TahoeBucket};

/// A share that was looked at to its end.
pub(super) type JudgedShare = JudgedObject<ShareChecker>;

/// Says how the shares of a [`TahoeStore`] are checked.
#[derive(Debug)]
pub struct ShareChecker {
    pub(super) settings: VerifySettings,
    /// What the copies of this cycle may take.
    pub(super) room: Arc<CopyRoom>,
}

impl ShareChecker {
    pub(super) fn new(settings: VerifySettings) -> ShareChecker {
        let room = Arc::new(CopyRoom::new(settings.quarantine_max_bytes));
        ShareChecker { settings, room }
    }
}

impl Checker for ShareChecker {
    type Store = TahoeStore;
    type Object = ShareEntry;
    type Listing = ShareListing;
    type Source = FileSource;
    type Check = ShareCheck;
    type Aftermath = Aftermath;

    fn object_word(&self) -> &str {
        "share"
    }

    fn parameters(&self) -> Value {
        let VerifySettings { quarantine, quarantine_dir, advisories, .. } = &self.settings;
        let mut parameters = json!({
            "quarantine": quarantine.as_str(),
            "advisories": *advisories == Advisories::Write,
        });
        // What a cycle has moved away it looks for where it has put it.
        if let (true, Some(folder)) = (*quarantine != Quarantine::None, quarantine_dir) {
            let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.clone());
            parameters["quarantine_dir"] = shown::path(&folder).into();
        }
        parameters
    }

    /// As Tahoe does.
    fn visits_strays(&self) -> bool {
        true
    }

    /// What the cycle's copies have taken so far counts for the rest of it.
    fn take_up_cycle(&self, saved: &Counts) {
        self.room.restart(saved.verified.quarantine_bytes);
    }

    fn list(&self, bucket: &TahoeBucket<'_>, listing: &mut ShareListing) -> io::Result<Listed<ShareEntry>> {
        if listing.wants_reading() {
            listing.read(bucket)?;
            return Ok(Listed::NotYet);
        }
        Ok(match listing.next(bucket)? {
            Some(share) => Listed::Object(share),
            None if listing.wants_reading() => Listed::NotYet,
            None => Listed::End,
        })
    }

    fn set_aside(&self, bucket: &TahoeBucket<'_>, listing: &mut ShareListing) -> io::Result<()> {
        listing.keep(bucket)
    }

    fn note_strays(&self, bucket: &TahoeBucket<'_>, listing: &ShareListing, notes: &mut Notes) {
        notes.counts.no_object += listing.no_share();
        listing.strays().for_each(|name| notes.stray(&bucket.path_of(name)));
    }

    fn object_name(share: &ShareEntry) -> &[u8] {
        share.name()
    }

    fn path(&self, bucket: &TahoeBucket<'_>, share: &[u8]) -> PathBuf {
        if share.is_empty() { bucket.path() } else { bucket.path_of(share) }
    }

    fn open(&self, bucket: &TahoeBucket<'_>, share: &ShareEntry) -> io::Result<FileSource> {
        bucket.open_share(share).map(FileSource::from)
    }

    fn check(&self, share: &ShareEntry, size: u64, reading: ReadingKind) -> ShareCheck {
        let check = ShareCheck::new(size, share.number().value());
        if reading == ReadingKind::Again { check.over_again() } else { check }
    }

    /// A flaw of a share, or of the bucket, as a finding.
    fn finding(&self, bucket: &TahoeBucket<'_>, share: Option<&ShareEntry>, flaw: &Flaw) -> Finding {
        let number = share.and_then(|share| share.number().value());
        let reason = match share {
            Some(share) if number.is_none() => format!("share {}: {}", shown::name(share.name()), flaw.reason),
            _ => flaw.reason.clone(),
        };
        let bytes = flaw.bytes.filter(|_| flaw.region != Region::Bucket).map(|span| (span.start, span.end));
        let object = number.map(|number| number.to_string());
        Finding { object, bytes, ..Finding::bad(bucket.storage_index(), flaw.region, reason) }
    }

    fn compare(&self, batch: &[JudgedShare]) -> Vec<(Vec<u8>, Flaw)> {
        let odd = compare::across_batch(batch);
        let tied = odd.ties.into_iter().flat_map(|tie| tie.names.into_iter().map(move |name| (name, tie.flaw.clone())));
        odd.of_shares.into_iter().chain(tied).collect()
    }

    fn begin_aftermath(
        &self,
        bucket: &TahoeBucket<'_>,
        batch: &mut [JudgedShare],
        is_first: bool,
        moment: CycleMoment,
    ) -> Aftermath {
        Aftermath::of(self, bucket, batch, is_first, moment)
    }

    fn go_on(
        &self,
        aftermath: &mut Aftermath,
        bucket: &TahoeBucket<'_>,
        batch: &mut [JudgedShare],
        moment: CycleMoment,
        buffer: &mut [u8],
    ) -> FollowUp {
        aftermath.step(self, bucket, batch, moment, buffer)
    }

    fn settle(&self, aftermath: Aftermath, bucket: &TahoeBucket<'_>, sums: &mut ScrubSums) {
        aftermath.settle(self, bucket, sums);
    }

    fn buckets_key(&self) -> &str {
        "storage_indexes"
    }

    /// `verified`: shares, bytes that were read of them, and how many were ok, corrupt, unreadable or, if any were, in doubt.
    fn report(&self, cycle: &CycleView<'_, ScrubTally>) -> Map<String, Value> {
        let ScrubTally { objects, bytes, ok, corrupt, unreadable, .. } = *cycle.tally;
        let ScrubTally { in_doubt, misread, partly_checked, quarantined, .. } = *cycle.tally;
        let mut verified = json!({
            "shares": objects, "bytes": bytes, "ok": ok, "corrupt": corrupt, "unreadable": unreadable,
        });
        for (key, count) in [
            ("in_doubt", in_doubt),
            ("misread", misread),
            ("signatures_not_checked", partly_checked),
            ("quarantined", quarantined),
        ] {
            if count > 0 {
                verified[key] = count.into();
            }
        }
        Map::from_iter([("verified".to_owned(), verified)])
    }
}
