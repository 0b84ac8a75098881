//! What the objects of a bucket have come to: sums, and the first of its findings and errors. Put down only once the bucket is whole.

use super::checker::{BucketOf, Checker};
use super::reading::{JudgedObject, ObjectVerdict, ReadObject};
use super::{Flaw, ScrubTally};
use crate::job::{Finding, Fold, Remarks, Tally, Unreadable, Verified};
use crate::store::{ErrorCause, explained};

/// What the objects that were dealt with have come to.
#[derive(Debug, Default)]
pub struct ScrubSums {
    tally: ScrubTally,
    /// Objects that were gone when their turn came.
    vanished: u64,
    /// Bytes that copies in quarantine take.
    quarantine_bytes: u64,
    remarks: Remarks,
}

impl ScrubSums {
    /// Adds a corrupt object that this cycle had put away before a crash, with what was found of it then.
    pub fn add_put_away(&mut self, bytes_read: u64, findings: impl Iterator<Item = Finding>) {
        self.count(bytes_read);
        self.count_corrupt(Some(0));
        for finding in findings {
            let object = finding.object.clone().unwrap_or_default();
            self.remarks.finding(object.as_bytes(), || finding);
        }
    }

    /// Adds a finding about the bucket itself.
    pub fn add_finding(&mut self, finding: Finding) {
        self.remarks.finding(b"", || finding);
    }

    /// Adds an object, and what was done about it if it is corrupt.
    pub(super) fn add<R: Checker>(
        &mut self,
        checker: &R,
        bucket: &BucketOf<'_, R>,
        judged: JudgedObject<R>,
        fold: &Fold<'_, ScrubTally>,
    ) {
        let path = checker.path(bucket, judged.name());
        let JudgedObject { object, bytes_read, verdict, dealt, .. } = judged;
        let ReadObject { checked, misread, in_doubt, .. } = match verdict {
            ObjectVerdict::Unreadable(_) if !fold.is_there(&path) => {
                self.vanished += 1;
                return;
            }
            ObjectVerdict::Unreadable(error) => {
                let cause = ErrorCause::of(&error);
                let error = explained(error.kind(), cause, format!("cannot read {}: {error}", checker.object_word()));
                let unreadable = Unreadable { path, error };
                self.remarks.error_at(&unreadable.path, cause, unreadable.message());
                self.count(bytes_read);
                self.tally.unreadable += 1;
                return;
            }
            ObjectVerdict::Read(read) => read,
        };
        self.count(bytes_read);
        if let Some(Flaw { region, reason, .. }) = misread.filter(|_| checked.flaws.is_empty()) {
            self.tally.misread += 1;
            let what = format!(
                "read from the page cache it had a flaw ({region}: {reason}), read past it none: suspect memory, cable or \
                 controller, or the processor where it is so of many {}s",
                checker.object_word()
            );
            self.remarks.error_of_judged(&path, ErrorCause::Other, what);
        }
        if checked.flaws.is_empty() && in_doubt {
            self.tally.in_doubt += 1;
            return;
        }
        if checked.flaws.is_empty() {
            self.tally.ok += 1;
            self.tally.partly_checked += u64::from(checked.is_partial);
            return;
        }
        self.count_corrupt(dealt.quarantined);
        for flaw in &checked.flaws {
            let finding = || checker.finding(bucket, Some(&object), flaw);
            self.remarks.finding(R::object_name(&object), finding);
        }
        for (cause, error) in dealt.errors {
            self.remarks.error_of_judged(&path, cause, error);
        }
    }

    /// Counts an object, whatever it has come to, and the bytes that were read of it.
    fn count(&mut self, bytes_read: u64) {
        self.tally.objects += 1;
        self.tally.bytes = self.tally.bytes.saturating_add(bytes_read);
    }

    /// Counts it as corrupt, and what was copied of it to quarantine, if it lies there now.
    fn count_corrupt(&mut self, quarantined: Option<u64>) {
        self.tally.corrupt += 1;
        self.tally.quarantined += u64::from(quarantined.is_some());
        self.quarantine_bytes = self.quarantine_bytes.saturating_add(quarantined.unwrap_or(0));
    }

    /// Puts everything down.
    pub(super) fn put_down(self, fold: &mut Fold<'_, ScrubTally>) {
        let ScrubTally { objects, bytes, ok, corrupt, unreadable, in_doubt, .. } = self.tally;
        let quarantine_bytes = self.quarantine_bytes;
        // The walk's counts are shown while the cycle lasts; the tally is read when it has ended.
        let counts = &mut fold.notes.counts;
        counts.objects += objects;
        counts.vanished += self.vanished;
        counts.verified.merge(&Verified { bytes, ok, corrupt, unreadable, in_doubt, quarantine_bytes });
        fold.tally.merge(self.tally);
        self.remarks.tell_of_entered(fold.notes);
    }
}
