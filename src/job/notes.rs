//! What a walk notes beside the tally: findings and errors as rows, and counts.

use std::fmt::Display;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Counts, Deferred, Finding, Judged, ObjectName, PartlyDeleted, Severity, Tally};
use crate::shown;
use crate::store::{ErrorCause, STRAYS_NAMED};

/// Bytes of names and text in the errors and findings of a prefix that become rows, but for the last one; the rest is only counted.
/// Names have up to 255 bytes, and anybody who may write to a store can make a million of them.
const NOTED_BYTES_MOST: u64 = 2 << 20;

/// How many of these bytes may be taken by anything but damage: however much of that there is, damage is listed.
const NOTED_BYTES_BESIDE_DAMAGE: u64 = NOTED_BYTES_MOST / 4;

/// What the last row says where others are only counted.
const REST_IS_COUNTED: &str = "; of what else is like this in the prefix there is only the number";

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
    /// A name that is no bucket or no object.
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

/// A name that is no bucket or no object.
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

    /// Adds a finding. If it is [bad](Severity::Bad), the object that it names is damaged, or the bucket where it names none.
    pub fn finding(&mut self, finding: &Finding) {
        self.finding_in(finding.object.as_deref().unwrap_or_default().as_bytes(), finding);
    }

    /// Adds a finding about the object of this name, which need not be text; an empty name stands for the bucket itself.
    pub fn finding_in(&mut self, object: &[u8], finding: &Finding) {
        self.counts.findings += 1;
        let mut most = NOTED_BYTES_BESIDE_DAMAGE;
        if finding.severity == Severity::Bad {
            most = NOTED_BYTES_MOST;
            let name = self.object_name(object);
            self.judged.damaged.insert(name);
        }
        let Finding { bucket, part, reason, .. } = finding;
        match self.take_room(bucket.len() + part.len() + reason.len(), most) {
            NoteRoom::Enough => self.row(NoteKind::Finding, finding),
            NoteRoom::ForTheLast => {
                let reason = format!("{reason}{REST_IS_COUNTED}");
                self.row(NoteKind::Finding, &Finding { reason, ..finding.clone() });
            }
            NoteRoom::None => self.counts.only_counted += 1,
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
        if self.take_room(path.len() + error.len(), NOTED_BYTES_BESIDE_DAMAGE) == NoteRoom::ForTheLast {
            error.push_str(REST_IS_COUNTED);
        }
        self.row(NoteKind::Error, &ErrorNote { path, error, cause });
    }

    /// Takes room for a row where so many bytes of them are the most.
    fn take_room(&mut self, bytes: usize, most: u64) -> NoteRoom {
        let noted_bytes = &mut self.counts.noted_bytes;
        if *noted_bytes >= most {
            return NoteRoom::None;
        }
        *noted_bytes += bytes as u64;
        if *noted_bytes >= most { NoteRoom::ForTheLast } else { NoteRoom::Enough }
    }

    fn object_name(&mut self, object: &[u8]) -> ObjectName {
        self.waiting_bytes += size_of::<ObjectName>() + self.bucket.len() + object.len();
        ObjectName { bucket: self.bucket.clone(), object: object.to_vec() }
    }

    /// Names something that is no bucket or no object, unless enough of the prefix are named.
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

    /// Counts findings and errors of the bucket entered last that have no rows. With errors among them nobody knows what of the bucket
    /// was judged.
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
enum NoteRoom {
    Enough,
    ForTheLast,
    None,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(severity: Severity) -> Finding {
        Finding { severity, ..Finding::bad("x".repeat(26), "content", "odd").in_object("1") }
    }

    #[test]
    fn rows_of_a_prefix_are_bounded_by_their_bytes_and_all_is_counted() {
        let mut notes = Notes::default();
        for name in 0..20_000 {
            notes.enter(format!("{name:0255}").as_bytes());
            notes.error(format!("/store/aa/{name:0255}").as_ref(), ErrorCause::NotDirectory, &"not a directory");
            notes.finding(&finding(Severity::Note));
        }
        assert_eq!((notes.counts.errors, notes.counts.findings), (20_000, 20_000));
        // Bounded across commits.
        let (rows, mut resumed) = (notes.take_rows(), Notes::resume(notes.counts.clone()));
        let bytes: usize = rows.iter().map(|row| row.body.len()).sum();
        assert!(bytes < NOTED_BYTES_MOST as usize, "{bytes} bytes");
        assert!(rows.iter().any(|row| row.body.contains(REST_IS_COUNTED)));
        resumed.error("/other".as_ref(), ErrorCause::Other, &"unreadable");
        assert_eq!((resumed.counts.errors, resumed.take_rows()), (20_001, Vec::new()));
        // But damage is listed.
        resumed.finding(&finding(Severity::Bad));
        assert_eq!(resumed.take_rows().iter().map(|row| row.number).collect::<Vec<_>>(), [rows.len() as u64]);
        // What was judged waits as well, whether or not there are rows.
        assert!(notes.waiting_bytes() == 0);
        (0..9).for_each(|_| notes.error("/other".as_ref(), ErrorCause::Other, &"unreadable"));
        assert!(notes.waiting_bytes() > 9 * 255);
    }
}
