//! What is to be noted of a bucket once it is settled. Bounded: of very many findings and errors the first are told one by one,
//! and all are counted.

use std::path::{Path, PathBuf};

use super::{Finding, Notes};
use crate::store::ErrorCause;

/// How many findings of one bucket are told one by one, and how many errors.
const TOLD_MOST: u64 = 1000;

/// How many bytes these have at most, but for the last one.
const TOLD_BYTES_MOST: usize = 256 << 10;

/// What is to be told of a bucket. It waits until the bucket is settled or planned anew: where that fails all is done again,
/// and would be told again.
#[derive(Debug, Default)]
pub(crate) struct Remarks {
    remarks: Vec<Remark>,
    findings: Listed,
    errors: Listed,
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

/// How many remarks of a kind there are, and how many of them are told one by one.
#[derive(Debug, Default)]
struct Listed {
    all: u64,
    told: u64,
    bytes: usize,
}

impl Listed {
    /// Whether one more is told where no more than this part of the room may be taken.
    fn has_room(&self, part: u64) -> bool {
        self.told < TOLD_MOST / part && self.bytes < TOLD_BYTES_MOST / part as usize
    }

    fn take(&mut self, bytes: usize) {
        self.told += 1;
        self.bytes += bytes;
    }

    fn left_out(&self) -> u64 {
        self.all - self.told
    }
}

impl Remarks {
    /// Adds a finding about an object; it is asked for only while there is room. What is only kept takes half of the room at
    /// most, so that damage behind it is told.
    pub fn finding(&mut self, share: &[u8], finding: impl FnOnce() -> Finding) {
        self.findings.all += 1;
        if !self.findings.has_room(1) {
            return;
        }
        let finding = finding();
        if !finding.only_kept || self.findings.has_room(2) {
            self.findings.take(share.len() + finding.storage_index.len() + finding.reason.len());
            self.remarks.push(Remark::Finding(share.to_vec(), finding));
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
                Remark::Finding(share, mut told) => {
                    finding.append_to_last(&mut told.reason);
                    notes.finding_in(&share, &told);
                }
                Remark::Error(path, cause, mut told) => {
                    error.append_to_last(&mut told);
                    notes.error(&path, cause, &told);
                }
                Remark::ErrorOfJudged(path, cause, mut told) => {
                    error.append_to_last(&mut told);
                    notes.error_of_judged(&path, cause, &told);
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
    fn of(listed: &Listed, what: &'static str) -> Rest {
        Rest { what, left_out: listed.left_out(), yet_to_come: listed.told }
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

    fn finding(reason: &str, only_kept: bool) -> Finding {
        let (storage_index, region, reason) = ("bucket".to_owned(), "leases".to_owned(), reason.to_owned());
        Finding { storage_index, share: Some(1), region, reason, tahoe_corrupt: false, only_kept, bytes: None }
    }

    #[test]
    fn of_very_many_remarks_the_first_are_told_and_all_are_counted() {
        let (mut told, mut notes) = (Remarks::default(), Notes::default());
        for _ in 0..3000 {
            told.finding(b"1", || finding("odd", false));
        }
        for _ in 0..1001 {
            told.error(|| "/share".into(), ErrorCause::Other, "unreadable".to_owned());
        }
        told.tell(b"bucket", &mut notes);
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
        let (mut told, mut notes) = (Remarks::default(), Notes::default());
        for _ in 0..1000 {
            told.error(|| "/s".repeat(2000).into(), ErrorCause::Other, "unreadable".to_owned());
        }
        told.tell(b"bucket", &mut notes);
        assert_eq!(notes.counts.errors, 1000);
        let rows = notes.take_rows();
        let bytes: usize = rows.iter().map(|row| row.body.len()).sum();
        assert!((TOLD_BYTES_MOST..TOLD_BYTES_MOST + 8000).contains(&bytes), "{bytes} bytes");
        assert!(rows[rows.len() - 1].body.contains("more errors of this bucket are not listed"));
    }

    #[test]
    fn damage_is_told_however_much_is_only_kept() {
        let (mut told, mut notes) = (Remarks::default(), Notes::default());
        for _ in 0..5000 {
            told.finding(b"1", || finding("kept", true));
        }
        told.finding(b"2", || finding("damaged", false));
        told.tell(b"bucket", &mut notes);
        assert_eq!(notes.counts.findings, 5001);
        assert!(notes.take_rows().iter().any(|row| row.body.contains("damaged")));
    }
}
