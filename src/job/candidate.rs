//! Candidates: what examining a ring has shown that a job would delete, bucket by bucket, before anything is deleted.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use serde::{Deserialize, Serialize};

use super::{BucketName, Counts, Finding};
use crate::sizes::plural;

/// How much is deleted, or would be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletionCount {
    /// Objects deleted. The safety catch counts these.
    pub objects: u64,
    /// Records deleted in objects, whether or not these are deleted.
    #[serde(alias = "leases")]
    pub records: u64,
    /// Bytes freed, as lengths of files.
    pub bytes: u64,
}

impl DeletionCount {
    /// So many objects, and nothing else to be bounded.
    pub fn of_objects(objects: u64) -> DeletionCount {
        DeletionCount { objects, ..DeletionCount::default() }
    }

    /// What these counts say was deleted.
    pub(crate) fn deleted(counts: &Counts) -> DeletionCount {
        DeletionCount { objects: counts.deleted, records: counts.deleted_records, bytes: counts.deleted_bytes }
    }

    /// Adds another.
    pub fn merge(&mut self, other: &DeletionCount) {
        self.objects = self.objects.saturating_add(other.objects);
        self.records = self.records.saturating_add(other.records);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    /// Whether nothing is deleted.
    pub(crate) fn is_nothing(&self) -> bool {
        *self == DeletionCount::default()
    }

    /// Takes another off, as far as there is that much.
    pub fn take_off(&mut self, other: &DeletionCount) {
        self.objects = self.objects.saturating_sub(other.objects);
        self.records = self.records.saturating_sub(other.records);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }

    /// Whether no figure is greater than that of `most`.
    pub fn is_within(&self, most: &DeletionCount) -> bool {
        self.objects <= most.objects && self.records <= most.records && self.bytes <= most.bytes
    }
}

/// A bucket that would change. Saved with the progress that led to it, and removed when it is carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The bucket's name.
    pub bucket: Vec<u8>,
    /// What would be deleted there. Carrying out deletes no more.
    pub shown: DeletionCount,
}

/// What the whole cycle does with the intents that visits hand out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CyclePhase {
    /// Every bucket is visited and nothing is changed. Intents become candidates.
    Examine,
    /// The candidates are visited again, and what they show is carried out.
    CarryOut,
    /// Intents are carried out as they come, only where everything may be deleted.
    OnePass,
}

/// The same, for the visit to one bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VisitPhase {
    /// The bucket is examined: all its figures go to tally and notes, but those of what is deleted.
    Examine,
    /// The bucket was examined and is visited again. Only figures of what is deleted go to the tally, and nothing that was
    /// noted before is noted again.
    CarryOut {
        /// What examining has shown. If more is handed out, nothing of the bucket is deleted.
        shown: DeletionCount,
    },
    /// Both at once.
    OnePass,
}

impl VisitPhase {
    /// Whether figures of what is examined belong to this visit.
    pub fn examines(self) -> bool {
        !matches!(self, VisitPhase::CarryOut { .. })
    }
}

/// What examining has shown of a bucket; nothing if it is no candidate.
pub(super) fn shown_of(candidates: &[Candidate], name: &[u8]) -> DeletionCount {
    let found = candidates.binary_search_by(|candidate| candidate.bucket.as_slice().cmp(name));
    found.ok().and_then(|at| candidates.get(at)).map(|candidate| candidate.shown).unwrap_or_default()
}

/// A bucket that is deleted in chunks, and what was deleted of it so far. Saved with the progress that says so: a visit that begins
/// anew after a crash deletes only what was shown beyond that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartlyDeleted {
    /// The bucket's name.
    pub bucket: BucketName,
    /// What was deleted.
    pub deleted: DeletionCount,
    /// Whether more was to go than was shown, so that nothing more of it goes in this cycle.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_refused: bool,
}

impl PartlyDeleted {
    pub(super) fn nothing_of(bucket: &[u8]) -> PartlyDeleted {
        PartlyDeleted { bucket: BucketName::of(bucket), deleted: DeletionCount::default(), is_refused: false }
    }

    /// What is left of what was shown.
    pub(super) fn left_of(&self, mut shown: DeletionCount) -> DeletionCount {
        if self.is_refused {
            return DeletionCount::default();
        }
        shown.take_off(&self.deleted);
        shown
    }

    /// Whether this is the bucket.
    pub(super) fn is(&self, bucket: &[u8]) -> bool {
        self.bucket.as_bytes() == bucket
    }
}

/// That a bucket is left alone, because it has come to more than anybody was shown.
pub(super) fn more_than_shown(bucket: &[u8], was: &DeletionCount, is: &DeletionCount) -> Finding {
    let text = |count: &DeletionCount| {
        let DeletionCount { objects, records, bytes } = count;
        format!("{}, {}, {bytes} bytes", plural(*objects, "object"), plural(*records, "record"))
    };
    let reason = format!(
        "it has changed since it was examined, and more would be deleted than was shown ({}, now {}): nothing in it is \
         deleted in this cycle",
        text(was),
        text(is)
    );
    Finding::note(OsStr::from_bytes(bucket), "bucket", reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_figure_bounds_on_its_own() {
        let shown = DeletionCount { objects: 2, records: 3, bytes: 100 };
        assert!(shown.is_within(&shown) && DeletionCount::default().is_within(&shown));
        for more in [
            DeletionCount { objects: 3, ..shown },
            DeletionCount { records: 4, ..shown },
            DeletionCount { bytes: 101, ..shown },
        ] {
            assert!(!more.is_within(&shown), "{more:?}");
        }
    }
}
