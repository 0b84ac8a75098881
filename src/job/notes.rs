//! What a walk notes beside the tally: counts that every job has, and findings and errors as rows.

use std::fmt::Display;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Deferred, Judged, ObjectName, PartlyDeleted, Tally};
use crate::shown;
use crate::store::{ErrorCause, STRAYS_NAMED};

/// Bytes of names and text in the errors and findings of a prefix that become rows, but for the last one; the rest is only counted.
/// Names have up to 255 bytes, and anybody who may write to a store can make a million of them.
const NOTED_BYTES_MOST: u64 = 2 << 20;

/// How many of these bytes may be taken by anything but damage: however much of that there is, damage is told.
const NOTED_BYTES_BESIDE_DAMAGE: u64 = NOTED_BYTES_MOST / 4;

/// What the last row says where others are only counted.
const REST_IS_COUNTED: &str = "; of what else is like this in the prefix there is only the number";

/// Counts that every walk keeps, whatever the job.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Names in the prefix, whatever they are: what Tahoe's bucket counter counts.
    #[serde(skip_serializing_if = "is_zero")]
    pub buckets: u64,
    /// Shares visited.
    #[serde(skip_serializing_if = "is_zero")]
    pub shares: u64,
    /// Of the names in the prefix, those that are no bucket.
    #[serde(skip_serializing_if = "is_zero")]
    pub no_bucket: u64,
    /// Names in buckets that are no share.
    #[serde(skip_serializing_if = "is_zero")]
    pub no_share: u64,
    /// Buckets and shares that were gone when their turn came.
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
    /// Names that are no bucket or no share of which there is a note.
    #[serde(skip_serializing_if = "is_zero")]
    pub strays_named: u64,
    /// Buckets that examining has shown to change: [candidates](super::Candidate).
    #[serde(skip_serializing_if = "is_zero")]
    pub candidates: u64,
    /// Shares that would be deleted in them.
    #[serde(skip_serializing_if = "is_zero")]
    pub would_delete: u64,
    /// Bytes of these, as lengths of files.
    #[serde(skip_serializing_if = "is_zero")]
    pub would_delete_bytes: u64,
    /// Leases that would be cancelled.
    #[serde(skip_serializing_if = "is_zero")]
    pub would_delete_leases: u64,
    /// Shares that the job has deleted.
    #[serde(skip_serializing_if = "is_zero")]
    pub deleted: u64,
    /// Bytes of what it has deleted, as lengths of files.
    #[serde(skip_serializing_if = "is_zero")]
    pub deleted_bytes: u64,
    /// Leases that it has cancelled.
    #[serde(skip_serializing_if = "is_zero")]
    pub deleted_leases: u64,
    /// Prefixes that could not be listed: 0 or 1 for one prefix.
    #[serde(skip_serializing_if = "is_zero")]
    pub unlisted: u64,
    /// What was read of the shares, where the job verifies them.
    #[serde(skip_serializing_if = "Verified::is_zero")]
    pub verified: Verified,
}

/// What verifying has come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Verified {
    /// Bytes that were read of the shares, whatever they have come to.
    pub bytes: u64,
    /// Shares without any flaw.
    pub ok: u64,
    /// Shares with flaws.
    pub corrupt: u64,
    /// Shares that could not be read to their end.
    pub unreadable: u64,
    /// Shares that differ from others of their bucket, where nothing tells which are right.
    #[serde(skip_serializing_if = "is_zero")]
    pub in_doubt: u64,
    /// Bytes that copies of corrupt shares take in quarantine.
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
        self.shares += later.shares;
        self.no_bucket += later.no_bucket;
        self.no_share += later.no_share;
        self.vanished += later.vanished;
        self.errors += later.errors;
        self.findings += later.findings;
        self.only_counted += later.only_counted;
        self.noted_bytes += later.noted_bytes;
        self.strays_named += later.strays_named;
        self.candidates += later.candidates;
        self.would_delete = self.would_delete.saturating_add(later.would_delete);
        self.would_delete_bytes = self.would_delete_bytes.saturating_add(later.would_delete_bytes);
        self.would_delete_leases = self.would_delete_leases.saturating_add(later.would_delete_leases);
        self.deleted += later.deleted;
        self.deleted_bytes = self.deleted_bytes.saturating_add(later.deleted_bytes);
        self.deleted_leases += later.deleted_leases;
        self.unlisted += later.unlisted;
        self.verified.merge(&later.verified);
    }

    /// Those in what is saved of one prefix, whichever job's tally stands beside them ([`PrefixTally`]).
    ///
    /// # Errors
    /// Why it is none.
    pub(crate) fn of_saved(saved: &[u8]) -> Result<Counts, String> {
        #[derive(Deserialize)]
        struct Saved {
            counts: Counts,
        }
        serde_json::from_slice(saved).map(|Saved { counts }| counts).map_err(|e| e.to_string())
    }

    /// How many rows there are beside the tally.
    fn rows(&self) -> u64 {
        self.errors + self.findings + self.strays_named - self.only_counted
    }

    /// What was counted since `earlier`.
    pub(crate) fn since(&self, earlier: &Counts) -> Counts {
        Counts {
            buckets: self.buckets - earlier.buckets,
            shares: self.shares - earlier.shares,
            no_bucket: self.no_bucket - earlier.no_bucket,
            no_share: self.no_share - earlier.no_share,
            vanished: self.vanished - earlier.vanished,
            errors: self.errors - earlier.errors,
            findings: self.findings - earlier.findings,
            only_counted: self.only_counted - earlier.only_counted,
            noted_bytes: self.noted_bytes - earlier.noted_bytes,
            strays_named: self.strays_named - earlier.strays_named,
            candidates: self.candidates - earlier.candidates,
            would_delete: self.would_delete - earlier.would_delete,
            would_delete_bytes: self.would_delete_bytes - earlier.would_delete_bytes,
            would_delete_leases: self.would_delete_leases - earlier.would_delete_leases,
            deleted: self.deleted - earlier.deleted,
            deleted_bytes: self.deleted_bytes - earlier.deleted_bytes,
            deleted_leases: self.deleted_leases - earlier.deleted_leases,
            unlisted: self.unlisted - earlier.unlisted,
            verified: self.verified.since(&earlier.verified),
        }
    }
}

/// What is saved of one prefix: the walk's counts and the job's tally, as JSON.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct PrefixTally<T: Tally> {
    /// The walk's counts.
    pub counts: Counts,
    /// The job's tally.
    pub tally: T,
    /// Whether buckets of it were left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
    /// Buckets that are to be visited once more before it is complete.
    #[serde(default, skip_serializing_if = "Deferred::is_empty")]
    pub deferred: Deferred,
    /// The bucket behind the cursor, if a part of it was deleted already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partly_deleted: Option<PartlyDeleted>,
}

/// What a note is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NoteKind {
    /// Something could not be read.
    Error,
    /// Something was read and judged.
    Finding,
    /// A name that is no bucket or no share.
    Stray,
}

/// One row beside the tally. Keyed by crawl, cycle, prefix and number; numbers count up within a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Counts the notes of a prefix from 0, in the order of the walk.
    pub number: u64,
    /// The bucket's name; empty for the prefix itself.
    pub bucket: Vec<u8>,
    /// What it is.
    pub kind: NoteKind,
    /// The note itself, as JSON.
    pub body: String,
}

/// A share that Sexton has something to say about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The bucket's name; what is no text of one line is escaped.
    pub storage_index: String,
    /// The share's number, as its name says; `null` where it is about the bucket.
    pub share: Option<i64>,
    /// The part of the share: `container header`, `leases`.
    pub region: String,
    /// What is wrong, for people.
    pub reason: String,
    /// Whether Tahoe's lease checker lists the share under `corrupt-shares`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tahoe_corrupt: bool,
    /// Whether nothing is wrong with the share, and the finding says only why it, or a lease of it, is kept though expired.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub only_kept: bool,
    /// The bytes of the file at fault, from the first up to but not including the last, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<(u64, u64)>,
}

impl Finding {
    /// The object that it is about, where nothing else names it: the share's number, or nothing for the bucket.
    pub(crate) fn object(&self) -> Vec<u8> {
        self.share.map_or(Vec::new(), |share| share.to_string().into_bytes())
    }
}

/// One line under `errors`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorNote {
    /// Path of what could not be read; what is no text of one line is escaped.
    pub path: String,
    /// What is wrong, for people.
    pub error: String,
    /// Why, for programs.
    #[serde(default)]
    pub cause: ErrorCause,
}

/// A name that is no bucket or no share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StrayNote {
    /// Its path; what is no text of one line is escaped.
    pub path: String,
}

/// Collects notes and counts of one prefix between two commits.
#[derive(Debug, Default)]
pub struct Notes {
    /// The counts so far, those of earlier commits included.
    pub counts: Counts,
    rows: Vec<Note>,
    bucket: Vec<u8>,
    judged: Judged,
    /// Bytes of the rows, and of the names of what was judged.
    waiting_bytes: usize,
}

impl Notes {
    /// Goes on from the counts of the last commit.
    pub fn resume(counts: Counts) -> Self {
        Notes { counts, ..Notes::default() }
    }

    /// Notes that follow are about this bucket; an empty name stands for the prefix.
    pub fn enter(&mut self, bucket: &[u8]) {
        self.bucket.clear();
        self.bucket.extend_from_slice(bucket);
    }

    /// Adds a finding. Unless it is about what is only kept, the share that it names is damaged, or else the bucket.
    pub fn finding(&mut self, finding: &Finding) {
        self.finding_in(&finding.object(), finding);
    }

    /// Adds a finding about the object of this name in the bucket; an empty name stands for the bucket itself.
    pub fn finding_in(&mut self, object: &[u8], finding: &Finding) {
        self.counts.findings += 1;
        let mut most = NOTED_BYTES_BESIDE_DAMAGE;
        if !finding.only_kept {
            most = NOTED_BYTES_MOST;
            let name = self.object_name(object);
            self.judged.damaged.insert(name);
        }
        let Finding { storage_index, region, reason, .. } = finding;
        match self.take_room(storage_index.len() + region.len() + reason.len(), most) {
            Room::Enough => self.row(NoteKind::Finding, finding),
            Room::ForTheLast => {
                let reason = format!("{reason}{REST_IS_COUNTED}");
                self.row(NoteKind::Finding, &Finding { reason, ..finding.clone() });
            }
            Room::None => self.counts.only_counted += 1,
        }
    }

    /// Adds an error: what is at the path could not be judged. If it was damaged before, it counts as damaged still.
    pub fn error(&mut self, path: &Path, cause: ErrorCause, error: &dyn Display) {
        let bucket = self.bucket.clone();
        // Below the bucket lie its objects. Whatever else the path leads to, the whole bucket is in question.
        let is_object = path.parent().and_then(Path::file_name).is_some_and(|name| name.as_bytes() == bucket);
        let object = path.file_name().filter(|_| is_object && !bucket.is_empty());
        let name = self.object_name(object.map_or(&[], OsStrExt::as_bytes));
        self.judged.unclear.insert(name);
        self.error_of_judged(path, cause, error);
    }

    /// Adds an error about something that was judged nevertheless.
    pub fn error_of_judged(&mut self, path: &Path, cause: ErrorCause, error: &dyn Display) {
        self.counts.errors += 1;
        if self.counts.noted_bytes >= NOTED_BYTES_BESIDE_DAMAGE {
            self.counts.only_counted += 1;
            return;
        }
        let (path, mut error) = (shown::path(path), error.to_string());
        if self.take_room(path.len() + error.len(), NOTED_BYTES_BESIDE_DAMAGE) == Room::ForTheLast {
            error.push_str(REST_IS_COUNTED);
        }
        self.row(NoteKind::Error, &ErrorNote { path, error, cause });
    }

    /// Takes room for a row where so many bytes of them are the most.
    fn take_room(&mut self, bytes: usize, most: u64) -> Room {
        let noted_bytes = &mut self.counts.noted_bytes;
        if *noted_bytes >= most {
            return Room::None;
        }
        *noted_bytes += bytes as u64;
        if *noted_bytes >= most { Room::ForTheLast } else { Room::Enough }
    }

    fn object_name(&mut self, object: &[u8]) -> ObjectName {
        self.waiting_bytes += size_of::<ObjectName>() + self.bucket.len() + object.len();
        ObjectName { bucket: self.bucket.clone(), object: object.to_vec() }
    }

    /// Names something that is no bucket or no share, unless enough of the prefix are named.
    pub fn stray(&mut self, path: &Path) {
        if self.counts.strays_named < STRAYS_NAMED as u64 {
            self.counts.strays_named += 1;
            self.row(NoteKind::Stray, &StrayNote { path: shown::path(path) });
        }
    }

    /// Takes back all that was noted of the bucket entered last, at whose beginning the counts were these: it was left for later.
    pub(super) fn defer(&mut self, before: Counts) {
        let added = before.rows();
        self.rows.retain(|row| row.number < added);
        self.counts = before;
        self.judged.damaged.retain(|name| name.bucket != self.bucket);
        self.judged.unclear.retain(|name| name.bucket != self.bucket);
        self.judged.deferred.insert(self.bucket.clone());
    }

    /// The bucket entered last had been left for later, and was visited now.
    pub(super) fn revisited(&mut self) {
        self.judged.deferred.remove(&self.bucket);
        self.judged.revisited.insert(self.bucket.clone());
    }

    /// Takes out what was judged since the last call.
    pub(crate) fn take_judged(&mut self) -> Judged {
        std::mem::take(&mut self.judged)
    }

    /// Counts findings and errors of the bucket entered last that no rows tell of. With errors among them it cannot be told what of
    /// the bucket was judged.
    pub fn only_counted(&mut self, findings: u64, errors: u64) {
        if errors > 0 {
            let name = self.object_name(&[]);
            self.judged.unclear.insert(name);
        }
        self.counts.findings += findings;
        self.counts.errors += errors;
        self.counts.only_counted += findings + errors;
    }

    /// Takes out the rows collected since the last call.
    pub fn take_rows(&mut self) -> Vec<Note> {
        self.waiting_bytes = 0;
        std::mem::take(&mut self.rows)
    }

    /// How many bytes wait to be taken: rows, and names of what was judged.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Puts back what was taken and could not be saved.
    pub(crate) fn give_back(&mut self, mut rows: Vec<Note>, judged: Judged) {
        self.waiting_bytes += rows.iter().map(bytes_of).sum::<usize>();
        rows.append(&mut self.rows);
        self.rows = rows;
        self.judged.take_up(judged);
    }

    fn row(&mut self, kind: NoteKind, body: &impl Serialize) {
        let number = self.counts.rows() - 1;
        // Plain structs of strings and numbers always serialize.
        let body = serde_json::to_string(body).unwrap_or_default();
        let row = Note { number, bucket: self.bucket.clone(), kind, body };
        self.waiting_bytes += bytes_of(&row);
        self.rows.push(row);
    }
}

fn bytes_of(row: &Note) -> usize {
    size_of::<Note>() + row.bucket.len() + row.body.len()
}

/// Whether there is room for a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    Enough,
    ForTheLast,
    None,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(only_kept: bool) -> Finding {
        let (storage_index, region, reason) = ("x".repeat(26), "leases".to_owned(), "odd".to_owned());
        Finding { storage_index, share: Some(1), region, reason, tahoe_corrupt: false, only_kept, bytes: None }
    }

    #[test]
    fn rows_of_a_prefix_are_bounded_by_their_bytes_and_all_is_counted() {
        let mut notes = Notes::default();
        for name in 0..20_000 {
            notes.enter(format!("{name:0255}").as_bytes());
            notes.error(format!("/shares/aa/{name:0255}").as_ref(), ErrorCause::NotDirectory, &"not a directory");
            notes.finding(&finding(true));
        }
        assert_eq!((notes.counts.errors, notes.counts.findings), (20_000, 20_000));
        // Bounded across commits.
        let (rows, mut resumed) = (notes.take_rows(), Notes::resume(notes.counts.clone()));
        let bytes: usize = rows.iter().map(|row| row.body.len()).sum();
        assert!(bytes < NOTED_BYTES_MOST as usize, "{bytes} bytes");
        assert!(rows.iter().any(|row| row.body.contains(REST_IS_COUNTED)));
        resumed.error("/other".as_ref(), ErrorCause::Other, &"unreadable");
        assert_eq!((resumed.counts.errors, resumed.take_rows()), (20_001, Vec::new()));
        // But damage is told.
        resumed.finding(&finding(false));
        assert_eq!(resumed.take_rows().iter().map(|row| row.number).collect::<Vec<_>>(), [rows.len() as u64]);
        // What was judged waits as well, whether or not there are rows.
        assert!(notes.waiting_bytes() == 0);
        (0..9).for_each(|_| notes.error("/other".as_ref(), ErrorCause::Other, &"unreadable"));
        assert!(notes.waiting_bytes() > 9 * 255);
    }
}
