//! What the shares of a bucket have come to: sums, and the first of what is to be told. Put down only once the bucket is whole.

use std::io;

use super::VerifyTally;
use super::aftermath::Dealt;
use super::note::Note;
use super::visit::{Judged, Read, Verdict};
use crate::job::{Counts, Finding, Fold, Tally, Unreadable};
use crate::tahoe::region::Flaw;
use crate::tahoe::store::TahoeBucket;
use crate::tahoe::told::Told;

/// What the shares that were dealt with have come to.
#[derive(Debug, Default)]
pub(super) struct BucketSums {
    tally: VerifyTally,
    counts: Counts,
    told: Told,
}

impl BucketSums {
    /// Adds a share that this cycle had moved away before a crash.
    pub fn add_moved(&mut self, note: Note) {
        let Note { read, size, findings, .. } = note;
        self.count(read.unwrap_or(size));
        self.count_corrupt(Some(0));
        findings.into_iter().for_each(|finding| self.told.finding(&finding.object(), || finding));
    }

    /// Adds a finding about the bucket itself.
    pub fn add_finding(&mut self, finding: Finding) {
        self.told.finding(b"", || finding);
    }

    /// Adds a share, and what was done about it if it is corrupt.
    pub fn add(
        &mut self,
        bucket: &TahoeBucket<'_>,
        judged: Judged,
        dealt: Option<Dealt>,
        fold: &Fold<'_, VerifyTally>,
    ) {
        let Judged { share, read, verdict, .. } = judged;
        let path = bucket.path_of(share.name());
        let Read { checked, misread, in_doubt, .. } = match verdict {
            Verdict::Unreadable(_) if !fold.is_there(&path) => {
                self.counts.vanished += 1;
                return;
            }
            Verdict::Unreadable(error) => {
                let error = io::Error::new(error.kind(), format!("cannot read share: {error}"));
                let unreadable = Unreadable { path, error };
                self.told.error_at(&unreadable.path, unreadable.told());
                self.count(read);
                self.tally.unreadable += 1;
                self.counts.verified.unreadable += 1;
                return;
            }
            Verdict::Read(read) => read,
        };
        self.count(read);
        if let Some(Flaw { region, reason, .. }) = misread.filter(|_| checked.flaws.is_empty()) {
            self.tally.misread += 1;
            let what = format!(
                "read from the page cache it had a flaw ({region}: {reason}), read past it none: suspect memory, cable or \
                 controller, or the processor where it is so of many shares"
            );
            self.told.error_of_judged(&path, what);
        }
        if checked.flaws.is_empty() && in_doubt {
            self.tally.in_doubt += 1;
            self.counts.verified.in_doubt += 1;
            return;
        }
        if checked.flaws.is_empty() {
            self.tally.ok += 1;
            self.counts.verified.ok += 1;
            self.tally.signatures_not_checked += u64::from(checked.signature_not_checked);
            return;
        }
        let Dealt { findings, errors, quarantined } = dealt.unwrap_or_default();
        self.count_corrupt(quarantined);
        findings.into_iter().for_each(|finding| self.told.finding(share.name(), || finding));
        errors.into_iter().for_each(|error| self.told.error_of_judged(&path, error));
    }

    /// Counts a share, whatever it has come to, and the bytes that were read of it.
    fn count(&mut self, read: u64) {
        self.counts.shares += 1;
        self.counts.verified.bytes = self.counts.verified.bytes.saturating_add(read);
        self.tally.shares += 1;
        self.tally.bytes = self.tally.bytes.saturating_add(read);
    }

    /// Counts it as corrupt, and what was copied of it to quarantine, if it lies there now.
    fn count_corrupt(&mut self, quarantined: Option<u64>) {
        let verified = &mut self.counts.verified;
        self.tally.corrupt += 1;
        verified.corrupt += 1;
        self.tally.quarantined += u64::from(quarantined.is_some());
        verified.quarantine_bytes = verified.quarantine_bytes.saturating_add(quarantined.unwrap_or(0));
    }

    /// Puts everything down.
    pub fn put_down(self, bucket: &TahoeBucket<'_>, fold: &mut Fold<'_, VerifyTally>) {
        fold.tally.merge(self.tally);
        fold.notes.counts.merge(&self.counts);
        self.told.tell(bucket.name(), fold.notes);
    }
}
