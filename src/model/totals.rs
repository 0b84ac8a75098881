//! What a crawl has done since the engine's start, over all its cycles: sums that only grow, for metrics.

use serde::Serialize;

use crate::job::{Counts, Verified};

/// What was saved of a crawl since the engine's start, whichever cycles it belongs to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Cycles that were finished.
    pub cycles: u64,
    /// Buckets visited.
    pub buckets: u64,
    /// Objects visited.
    pub objects: u64,
    /// What was gone when its turn came.
    pub vanished: u64,
    /// Objects deleted.
    pub deleted: u64,
    /// Bytes of what was deleted, as lengths of files.
    pub deleted_bytes: u64,
    /// Records deleted in objects.
    pub deleted_records: u64,
    /// What verifying has come to.
    pub verified: Verified,
}

impl Totals {
    /// Adds what was saved just now.
    pub(crate) fn add(&mut self, added: &Counts) {
        self.buckets += added.buckets;
        self.objects += added.objects;
        self.vanished += added.vanished;
        self.deleted += added.deleted;
        self.deleted_bytes = self.deleted_bytes.saturating_add(added.deleted_bytes);
        self.deleted_records += added.deleted_records;
        self.verified.merge(&added.verified);
    }

    /// What has come to it since `earlier`; all of it where that was of a crawl which was begun anew meanwhile.
    pub(crate) fn since(&self, earlier: &Totals) -> Totals {
        let added = |now: u64, was: u64| now.checked_sub(was).unwrap_or(now);
        let (now, was) = (&self.verified, &earlier.verified);
        Totals {
            cycles: added(self.cycles, earlier.cycles),
            buckets: added(self.buckets, earlier.buckets),
            objects: added(self.objects, earlier.objects),
            vanished: added(self.vanished, earlier.vanished),
            deleted: added(self.deleted, earlier.deleted),
            deleted_bytes: added(self.deleted_bytes, earlier.deleted_bytes),
            deleted_records: added(self.deleted_records, earlier.deleted_records),
            verified: Verified {
                bytes: added(now.bytes, was.bytes),
                ok: added(now.ok, was.ok),
                corrupt: added(now.corrupt, was.corrupt),
                unreadable: added(now.unreadable, was.unreadable),
                in_doubt: added(now.in_doubt, was.in_doubt),
                quarantine_bytes: added(now.quarantine_bytes, was.quarantine_bytes),
            },
        }
    }
}
