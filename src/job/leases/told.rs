//! What is to be told of a bucket once it is settled. Bounded: of very many findings the first are told one by one.

use std::path::{Path, PathBuf};

use crate::job::{Finding, Notes};

/// How many findings of one bucket are told one by one, and how many errors. A file has 256 shares at most.
const TOLD_MOST: u64 = 1000;

/// What is to be told of a bucket. It waits until the bucket is settled or planned anew: where that fails all is done again,
/// and would be told again.
#[derive(Debug, Default)]
pub(super) struct Told {
    remarks: Vec<Remark>,
    findings: u64,
    errors: u64,
}

#[derive(Debug)]
enum Remark {
    /// About the share of this name.
    Finding(Vec<u8>, Finding),
    Error(PathBuf, String),
}

impl Told {
    /// Adds a finding about a share; it is asked for only while there is room.
    pub fn finding(&mut self, share: &[u8], finding: impl FnOnce() -> Finding) {
        self.findings += 1;
        if self.findings <= TOLD_MOST {
            self.remarks.push(Remark::Finding(share.to_vec(), finding()));
        }
    }

    /// Adds an error, likewise.
    pub fn error(&mut self, path: impl FnOnce() -> PathBuf, error: String) {
        self.errors += 1;
        if self.errors <= TOLD_MOST {
            self.remarks.push(Remark::Error(path(), error));
        }
    }

    /// Puts it into the notes. The last one of a kind says how many more there are, which are only counted.
    pub fn tell(self, bucket: &[u8], notes: &mut Notes) {
        notes.enter(bucket);
        let (findings, errors) = (self.findings, self.errors);
        let (mut finding, mut error) = (0, 0);
        for remark in self.remarks {
            match remark {
                Remark::Finding(share, mut told) => {
                    finding += 1;
                    if finding == TOLD_MOST && findings > TOLD_MOST {
                        let more = findings - TOLD_MOST;
                        told.reason.push_str(&format!("; {more} more findings of this bucket are not listed"));
                    }
                    notes.finding_in(&share, &told);
                }
                Remark::Error(path, mut told) => {
                    error += 1;
                    if error == TOLD_MOST && errors > TOLD_MOST {
                        told.push_str(&format!("; {} more errors of this bucket are not listed", errors - TOLD_MOST));
                    }
                    notes.error(&path, &told);
                }
            }
        }
        notes.only_counted(findings.saturating_sub(TOLD_MOST), errors.saturating_sub(TOLD_MOST));
    }

    /// Adds an error about something at a path.
    pub fn error_at(&mut self, path: &Path, error: String) {
        self.error(|| path.to_path_buf(), error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::leases::judge::Flaw;

    #[test]
    fn of_very_many_remarks_the_first_are_told_and_all_are_counted() {
        let (mut told, mut notes) = (Told::default(), Notes::default());
        for _ in 0..3000 {
            told.finding(b"1", || Flaw::of_leases("odd".to_owned()).of_share(b"bucket", b"1"));
        }
        for _ in 0..1001 {
            told.error(|| "/share".into(), "unreadable".to_owned());
        }
        told.tell(b"bucket", &mut notes);
        notes.error("/other".as_ref(), &"unreadable");
        assert_eq!((notes.counts.findings, notes.counts.errors), (3000, 1002));
        let resumed = Notes::resume(notes.counts.clone());
        let rows = notes.take_rows();
        assert!(rows.iter().map(|row| row.number).eq(0..2001), "without gaps");
        assert!(rows[999].body.contains("odd; 2000 more findings of this bucket are not listed"));
        assert!(rows[1999].body.contains("unreadable; 1 more errors of this bucket are not listed"));
        let mut resumed = resumed;
        resumed.error("/other".as_ref(), &"unreadable");
        assert_eq!(resumed.take_rows()[0].number, 2001);
    }
}
