//! What every walk counts, whatever the job.

use serde::{Deserialize, Serialize};

/// Counts that every walk keeps, whatever the job.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Names in the prefix, whatever they are: what counting counts.
    #[serde(skip_serializing_if = "is_zero")]
    pub buckets: u64,
    /// Objects visited.
    #[serde(skip_serializing_if = "is_zero", alias = "shares")]
    pub objects: u64,
    /// Of the names in the prefix, those that are no bucket.
    #[serde(skip_serializing_if = "is_zero")]
    pub no_bucket: u64,
    /// Names in buckets that are no object.
    #[serde(skip_serializing_if = "is_zero", alias = "no_share")]
    pub no_object: u64,
    /// Buckets and objects that were gone when their turn came.
    #[serde(skip_serializing_if = "is_zero")]
    pub vanished: u64,
    /// Errors noted.
    #[serde(skip_serializing_if = "is_zero")]
    pub errors: u64,
    /// Findings noted.
    #[serde(skip_serializing_if = "is_zero")]
    pub findings: u64,
    /// How many of the errors and findings are only counted, since one bucket or prefix had so many of them.
    #[serde(skip_serializing_if = "is_zero")]
    pub only_counted: u64,
    /// Bytes of names and text in those that are rows.
    #[serde(skip_serializing_if = "is_zero")]
    pub noted_bytes: u64,
    /// Names that are no bucket or no object of which there is a note.
    #[serde(skip_serializing_if = "is_zero")]
    pub strays_named: u64,
    /// Buckets that examining has shown to change: [candidates](super::Candidate).
    #[serde(skip_serializing_if = "is_zero")]
    pub candidates: u64,
    /// Objects that would be deleted in them.
    #[serde(skip_serializing_if = "is_zero")]
    pub would_delete: u64,
    /// Bytes of these, as lengths of files.
    #[serde(skip_serializing_if = "is_zero")]
    pub would_delete_bytes: u64,
    /// Records that would be deleted in objects.
    #[serde(skip_serializing_if = "is_zero", alias = "would_delete_leases")]
    pub would_delete_records: u64,
    /// Objects that the job has deleted.
    #[serde(skip_serializing_if = "is_zero")]
    pub deleted: u64,
    /// Bytes of what it has deleted, as lengths of files.
    #[serde(skip_serializing_if = "is_zero")]
    pub deleted_bytes: u64,
    /// Records that it has deleted in objects.
    #[serde(skip_serializing_if = "is_zero", alias = "deleted_leases")]
    pub deleted_records: u64,
    /// Prefixes that could not be listed: 0 or 1 for one prefix.
    #[serde(skip_serializing_if = "is_zero")]
    pub unlisted: u64,
    /// What was read of the objects, where the job verifies them.
    #[serde(skip_serializing_if = "Verified::is_zero")]
    pub verified: Verified,
}

/// What verifying has come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Verified {
    /// Bytes that were read of the objects, whatever they have come to.
    pub bytes: u64,
    /// Objects without any flaw.
    pub ok: u64,
    /// Objects with flaws.
    pub corrupt: u64,
    /// Objects that could not be read to their end.
    pub unreadable: u64,
    /// Objects that differ from others of their bucket, where nothing tells which are right.
    #[serde(skip_serializing_if = "is_zero")]
    pub in_doubt: u64,
    /// Bytes that copies of corrupt objects take in quarantine.
    #[serde(skip_serializing_if = "is_zero")]
    pub quarantine_bytes: u64,
}

impl Verified {
    fn is_zero(&self) -> bool {
        *self == Verified::default()
    }

    /// Adds another's.
    pub(crate) fn merge(&mut self, later: &Verified) {
        self.bytes = self.bytes.saturating_add(later.bytes);
        self.ok += later.ok;
        self.corrupt += later.corrupt;
        self.unreadable += later.unreadable;
        self.in_doubt += later.in_doubt;
        self.quarantine_bytes = self.quarantine_bytes.saturating_add(later.quarantine_bytes);
    }

    fn since(&self, earlier: &Verified) -> Verified {
        Verified {
            bytes: self.bytes - earlier.bytes,
            ok: self.ok - earlier.ok,
            corrupt: self.corrupt - earlier.corrupt,
            unreadable: self.unreadable - earlier.unreadable,
            in_doubt: self.in_doubt - earlier.in_doubt,
            quarantine_bytes: self.quarantine_bytes - earlier.quarantine_bytes,
        }
    }
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Counts {
    /// Adds another's counts.
    pub fn merge(&mut self, later: &Counts) {
        self.buckets += later.buckets;
        self.objects += later.objects;
        self.no_bucket += later.no_bucket;
        self.no_object += later.no_object;
        self.vanished += later.vanished;
        self.errors += later.errors;
        self.findings += later.findings;
        self.only_counted += later.only_counted;
        self.noted_bytes += later.noted_bytes;
        self.strays_named += later.strays_named;
        self.candidates += later.candidates;
        self.would_delete = self.would_delete.saturating_add(later.would_delete);
        self.would_delete_bytes = self.would_delete_bytes.saturating_add(later.would_delete_bytes);
        self.would_delete_records = self.would_delete_records.saturating_add(later.would_delete_records);
        self.deleted += later.deleted;
        self.deleted_bytes = self.deleted_bytes.saturating_add(later.deleted_bytes);
        self.deleted_records += later.deleted_records;
        self.unlisted += later.unlisted;
        self.verified.merge(&later.verified);
    }
}

impl Counts {
    /// Those in what is saved of one prefix, whichever job's tally stands beside them ([`PrefixTally`]).
    ///
    /// # Errors
    /// Why it is none.
    pub(crate) fn of_saved(saved: &[u8]) -> Result<Counts, String> {
        #[derive(Deserialize)]
        struct SavedCounts {
            counts: Counts,
        }
        serde_json::from_slice(saved).map(|SavedCounts { counts }| counts).map_err(|e| e.to_string())
    }

    /// How many notes there are: rows beside the tally.
    pub(super) fn rows(&self) -> u64 {
        self.errors + self.findings + self.strays_named - self.only_counted
    }

    /// What was counted since `earlier`.
    pub(crate) fn since(&self, earlier: &Counts) -> Counts {
        Counts {
            buckets: self.buckets - earlier.buckets,
            objects: self.objects - earlier.objects,
            no_bucket: self.no_bucket - earlier.no_bucket,
            no_object: self.no_object - earlier.no_object,
            vanished: self.vanished - earlier.vanished,
            errors: self.errors - earlier.errors,
            findings: self.findings - earlier.findings,
            only_counted: self.only_counted - earlier.only_counted,
            noted_bytes: self.noted_bytes - earlier.noted_bytes,
            strays_named: self.strays_named - earlier.strays_named,
            candidates: self.candidates - earlier.candidates,
            would_delete: self.would_delete - earlier.would_delete,
            would_delete_bytes: self.would_delete_bytes - earlier.would_delete_bytes,
            would_delete_records: self.would_delete_records - earlier.would_delete_records,
            deleted: self.deleted - earlier.deleted,
            deleted_bytes: self.deleted_bytes - earlier.deleted_bytes,
            deleted_records: self.deleted_records - earlier.deleted_records,
            unlisted: self.unlisted - earlier.unlisted,
            verified: self.verified.since(&earlier.verified),
        }
    }
}
