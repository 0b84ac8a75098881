//! The lock file beside a state file: one process at a time.
//!
//! `flock` ends with the process, however it ends, so a lock left behind by a dead one does not exist. The file itself
//! stays: to remove it would race with the next process that opens it. Its text says who holds it, for the error.

use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::OnceLock;
use std::time::SystemTime;

use super::faults;
use crate::error::{Error, Result};
use crate::own_files::{FileAccess, OwnFile};

/// Bytes of a holder's text that are shown.
const HOLDER_MAX_BYTES: u64 = 300;

/// The right to work with one state file; given back when dropped.
#[derive(Debug)]
pub(super) struct StateLock {
    file: File,
}

impl StateLock {
    /// Takes the lock of a state file, making the lock file if it is not there.
    ///
    /// # Errors
    /// [`Error::StateHeld`] with the text of whoever holds it.
    pub(super) fn take(state: &OwnFile) -> Result<StateLock> {
        let path = state.path();
        let opened = lock_file(state).open_or_create();
        Self::lock(&path, opened.map_err(|e| faults::io(&path, "make a lock file beside", &e))?)
    }

    /// Takes the lock only if its file is there; `None` tells that nobody can hold it.
    pub(super) fn take_existing(state: &OwnFile) -> Result<Option<StateLock>> {
        let path = state.path();
        let opened =
            lock_file(state).open(FileAccess::Write).map_err(|e| faults::io(&path, "open the lock file beside", &e));
        opened?.map(|file| Self::lock(&path, file)).transpose()
    }

    fn lock(state: &Path, mut file: File) -> Result<StateLock> {
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::StateHeld { path: state.to_owned(), holder: holder(&mut file) });
            }
            Err(TryLockError::Error(e)) => return Err(faults::io(state, "lock", &e)),
        }
        // Only the text of an error is at stake, which a full disk may cost.
        let _ = file.set_len(0).and_then(|()| file.write_all(own_name().as_bytes()));
        Ok(StateLock { file })
    }
}

impl Drop for StateLock {
    fn drop(&mut self) {
        // Not left to the closing: a child process that another thread is just starting has the file open, too, until
        // it runs its own program, and the lock would stay that long.
        let _ = self.file.unlock();
    }
}

fn lock_file(state: &OwnFile) -> OwnFile {
    state.beside("-lock")
}

fn own_name() -> String {
    let command: Vec<String> = std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect();
    format!("process {}, since {} ({})", std::process::id(), since(), command.join(" "))
}

/// When this process first asked for a lock, which is when it began, as far as others are concerned.
fn since() -> humantime::Rfc3339Timestamp {
    static BEGAN: OnceLock<SystemTime> = OnceLock::new();
    humantime::format_rfc3339_seconds(*BEGAN.get_or_init(SystemTime::now))
}

fn holder(file: &mut File) -> String {
    let mut text = Vec::new();
    // A file that cannot be read names nobody, which is no reason for another error than that it is held.
    let _ = file.take(HOLDER_MAX_BYTES).read_to_end(&mut text);
    let text: String = String::from_utf8_lossy(&text).chars().filter(|c| !c.is_control()).collect();
    if text.is_empty() { "another process".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_holder_is_refused_and_told_who_the_first_is() {
        let folder = tempfile::tempdir().unwrap();
        let state = OwnFile::at(&folder.path().join("state")).unwrap();
        let lock = StateLock::take(&state).unwrap();
        let refused = StateLock::take(&state).unwrap_err().to_string();
        assert!(refused.contains(&format!("held by process {}, since 20", std::process::id())), "{refused}");
        drop(lock);
        StateLock::take(&state).unwrap();
    }

    #[test]
    fn text_of_a_dead_holder_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let state = OwnFile::at(&folder.path().join("state")).unwrap();
        std::fs::write(lock_file(&state).path(), "process 1 (x)".repeat(1000)).unwrap();
        let _lock = StateLock::take(&state).unwrap();
        assert_eq!(std::fs::read_to_string(lock_file(&state).path()).unwrap(), own_name());
    }
}
