//! Changes that fail, one after the other, for one reason: a file system that was remounted read-only, a disk that refuses.
//!
//! To try all others as well would take ten times as long and give an error for each share, so the crawl stops. What cannot be
//! read never stops it.

use std::io;
use std::path::Path;
use std::sync::Mutex;

use crate::error::{Error, Result};
use crate::lock::lock;

/// So many in a row, and nothing more is tried.
const MOST: u32 = 10;

/// How many changes have failed since one succeeded, in one run.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<Option<(String, u32)>>);

impl Failures {
    /// Notes that something was changed.
    pub fn succeeded(&self) {
        *lock(&self.0) = None;
    }

    /// Notes that a change failed.
    ///
    /// # Errors
    /// [`Error::Unchangeable`] if all others will fail too: at once where the file system is read-only, else after the tenth
    /// in a row for the same reason.
    pub fn failed(&self, path: &Path, error: &io::Error) -> Result<()> {
        let reason = error.to_string();
        let mut row = lock(&self.0);
        let count = match row.take() {
            Some((before, count)) if before == reason => count + 1,
            _ => 1,
        };
        *row = Some((reason.clone(), count));
        let cause = match () {
            () if error.kind() == io::ErrorKind::ReadOnlyFilesystem => reason,
            () if count >= MOST => format!("{reason}; so have the {} changes before it", count - 1),
            () => return Ok(()),
        };
        // The next run begins anew.
        *row = None;
        Err(Error::Unchangeable { path: path.to_path_buf(), cause })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(failures: &Failures, kind: io::ErrorKind) -> Result<()> {
        failures.failed(Path::new("/s/aa"), &kind.into())
    }

    #[test]
    fn the_tenth_in_a_row_for_one_reason_stops() {
        let failures = Failures::default();
        for round in 0..3 {
            (0..9).for_each(|_| failed(&failures, io::ErrorKind::PermissionDenied).unwrap());
            match round {
                0 => failures.succeeded(),
                1 => failed(&failures, io::ErrorKind::ResourceBusy).unwrap(),
                _ => assert!(failed(&failures, io::ErrorKind::PermissionDenied).is_err()),
            }
        }
    }

    #[test]
    fn a_read_only_file_system_stops_at_once() {
        let error = failed(&Failures::default(), io::ErrorKind::ReadOnlyFilesystem).unwrap_err();
        assert!(error.to_string().starts_with("cannot change /s/aa: "), "{error}");
    }
}
