//! What is to be noted of a bucket once it is settled. Bounded: of very many findings and errors the first are listed, and all are
//! counted.

use std::path::{Path, PathBuf};

use super::{Finding, Notes, Severity};
use crate::store::ErrorCause;

/// How many findings of one bucket are listed, and how many errors.
const LISTED_MOST: u64 = 1000;

/// How many bytes these have at most, but for the last one.
const LISTED_BYTES_MOST: usize = 256 << 10;

/// Findings and errors of a bucket. They wait until the bucket is settled or planned anew: where that fails all is done again, and
/// they would be noted twice.
#[derive(Debug, Default)]
pub(crate) struct Remarks {
    remarks: Vec<Remark>,
    findings: RemarkCount,
    errors: RemarkCount,
}

#[derive(Debug)]
enum Remark {
    /// About the object of this name.
    Finding(Vec<u8>, Finding),
    /// About what could not be judged.
    Error(PathBuf, ErrorCause, String),
    /// About what was judged nevertheless.
    ErrorOfJudged(PathBuf, ErrorCause, String),
}

/// How many remarks of a kind there are, and how many of them are listed.
#[derive(Debug, Default)]
struct RemarkCount {
    all: u64,
    listed: u64,
    bytes: usize,
}

impl RemarkCount {
    /// Whether one more is listed where no more than this part of the room may be taken.
    fn has_room(&self, part: u64) -> bool {
        self.listed < LISTED_MOST / part && self.bytes < LISTED_BYTES_MOST / part as usize
    }

    fn take(&mut self, bytes: usize) {
        self.listed += 1;
        self.bytes += bytes;
    }

    fn left_out(&self) -> u64 {
        self.all - self.listed
    }
}

impl Remarks {
    /// Adds a finding about an object; it is asked for only while there is room. Notes take half of the room at most, so
    /// that damage behind them is listed.
    pub fn finding(&mut self, object: &[u8], finding: impl FnOnce() -> Finding) {
        self.findings.all += 1;
        if !self.findings.has_room(1) {
            return;
        }
        let finding = finding();
        if finding.severity == Severity::Bad || self.findings.has_room(2) {
            self.findings.take(object.len() + finding.bucket.len() + finding.reason.len());
            self.remarks.push(Remark::Finding(object.to_vec(), finding));
        }
    }

    /// Adds an error about what could not be judged, likewise.
    pub fn error(&mut self, path: impl FnOnce() -> PathBuf, cause: ErrorCause, error: String) {
        self.add_error(path, (cause, error), Remark::Error);
    }

    /// Adds an error about something that was judged nevertheless.
    pub fn error_of_judged(&mut self, path: &Path, cause: ErrorCause, error: String) {
        self.add_error(|| path.to_path_buf(), (cause, error), Remark::ErrorOfJudged);
    }

    /// Adds an error about something at a path.
    pub fn error_at(&mut self, path: &Path, cause: ErrorCause, error: String) {
        self.error(|| path.to_path_buf(), cause, error);
    }

    fn add_error(
        &mut self,
        path: impl FnOnce() -> PathBuf,
        (cause, error): (ErrorCause, String),
        remark: impl FnOnce(PathBuf, ErrorCause, String) -> Remark,
    ) {
        self.errors.all += 1;
        if self.errors.has_room(1) {
            let path = path();
            self.errors.take(path.as_os_str().len() + error.len());
            self.remarks.push(remark(path, cause, error));
        }
    }

    /// Puts it into the notes. The last one of a kind says how many more there are, which are only counted.
    pub fn tell(self, bucket: &[u8], notes: &mut Notes) {
        notes.enter(bucket);
        self.tell_of_entered(notes);
    }

    /// Likewise, of the bucket that was entered last.
    pub fn tell_of_entered(self, notes: &mut Notes) {
        let Remarks { remarks, findings, errors } = self;
        let (mut finding, mut error) = (Rest::of(&findings, "findings"), Rest::of(&errors, "errors"));
        for remark in remarks {
            match remark {
                Remark::Finding(object, mut found) => {
                    finding.append_to_last(&mut found.reason);
                    notes.finding_in(&object, &found);
                }
                Remark::Error(path, cause, mut message) => {
                    error.append_to_last(&mut message);
                    notes.error(&path, cause, &message);
                }
                Remark::ErrorOfJudged(path, cause, mut message) => {
                    error.append_to_last(&mut message);
                    notes.error_of_judged(&path, cause, &message);
                }
            }
        }
        notes.only_counted(findings.left_out(), errors.left_out());
    }
}

/// What the last remark of a kind says of those that are left out.
struct Rest {
    what: &'static str,
    left_out: u64,
    yet_to_come: u64,
}

impl Rest {
    fn of(listed: &RemarkCount, what: &'static str) -> Rest {
        Rest { what, left_out: listed.left_out(), yet_to_come: listed.listed }
    }

    fn append_to_last(&mut self, text: &mut String) {
        self.yet_to_come -= 1;
        if self.yet_to_come == 0 && self.left_out > 0 {
            let Rest { what, left_out, .. } = self;
            text.push_str(&format!("; {left_out} more {what} of this bucket are not listed"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(reason: &str, severity: Severity) -> Finding {
        Finding { severity, ..Finding::bad("bucket", "content", reason).in_object("1") }
    }

    #[test]
    fn of_very_many_remarks_the_first_are_listed_and_all_are_counted() {
        let (mut remarks, mut notes) = (Remarks::default(), Notes::default());
        for _ in 0..3000 {
            remarks.finding(b"1", || finding("odd", Severity::Bad));
        }
        for _ in 0..1001 {
            remarks.error(|| "/object".into(), ErrorCause::Other, "unreadable".to_owned());
        }
        remarks.tell(b"bucket", &mut notes);
        notes.error("/other".as_ref(), ErrorCause::Other, &"unreadable");
        assert_eq!((notes.counts.findings, notes.counts.errors), (3000, 1002));
        let resumed = Notes::resume(notes.counts.clone());
        let rows = notes.take_rows();
        assert!(rows.iter().map(|row| row.number).eq(0..2001), "without gaps");
        assert!(rows[999].body.contains("odd; 2000 more findings of this bucket are not listed"));
        assert!(rows[1999].body.contains("unreadable; 1 more errors of this bucket are not listed"));
        let mut resumed = resumed;
        resumed.error("/other".as_ref(), ErrorCause::Other, &"unreadable");
        assert_eq!(resumed.take_rows()[0].number, 2001);
    }

    #[test]
    fn long_remarks_are_bounded_by_their_bytes() {
        let (mut remarks, mut notes) = (Remarks::default(), Notes::default());
        for _ in 0..1000 {
            remarks.error(|| "/s".repeat(2000).into(), ErrorCause::Other, "unreadable".to_owned());
        }
        remarks.tell(b"bucket", &mut notes);
        assert_eq!(notes.counts.errors, 1000);
        let rows = notes.take_rows();
        let bytes: usize = rows.iter().map(|row| row.body.len()).sum();
        assert!((LISTED_BYTES_MOST..LISTED_BYTES_MOST + 8000).contains(&bytes), "{bytes} bytes");
        assert!(rows[rows.len() - 1].body.contains("more errors of this bucket are not listed"));
    }

    #[test]
    fn damage_is_listed_however_many_notes_there_are() {
        let (mut remarks, mut notes) = (Remarks::default(), Notes::default());
        for _ in 0..5000 {
            remarks.finding(b"1", || finding("kept", Severity::Note));
        }
        remarks.finding(b"2", || finding("damaged", Severity::Bad));
        remarks.tell(b"bucket", &mut notes);
        assert_eq!(notes.counts.findings, 5001);
        assert!(notes.take_rows().iter().any(|row| row.body.contains("damaged")));
    }
}
