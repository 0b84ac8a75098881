//! The gate between backups and the cleaner: a lock on a file beside the database.
//!
//! `sexton guard` holds it alone while a backup runs; the cleaner holds it with others of its kind while it holds the
//! database's lock, and never waits for it. A folder in which nobody may make the file needs none: nothing in it can be
//! changed. The file is empty and stays where it is, unless a run that is to leave nothing behind has made it. So whoever
//! has locked the file looks whether it still has its name.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::decision::beside;
use super::error::LocalDbError;
use super::{faults, place};
use crate::errno::has_no_locks;
use crate::error::{Error, Result};
pub(super) use crate::own_files::Make;
use crate::own_files::{OwnFile, open_to_lock};

const SUFFIX: &str = ".sexton-guard";
/// How often a file is opened again that somebody has taken away meanwhile. After that its numbers are not believed: some
/// file systems give another one each time.
const ATTEMPTS: u32 = 5;

/// The cleaner's side of the gate.
#[derive(Debug)]
pub(super) struct CleanerGate {
    database: PathBuf,
    make: Make,
    file: Option<File>,
    /// Whether the file was not there before.
    made: bool,
}

/// Held while the database's lock is.
pub(super) struct Entered<'a>(Option<&'a File>);

impl CleanerGate {
    pub(super) fn new(database: &Path, make: Make) -> CleanerGate {
        CleanerGate { database: database.to_owned(), make, file: None, made: false }
    }

    /// Leads to this database from now on.
    pub(super) fn lead_to(&mut self, database: &Path, make: Make) {
        if self.database != database || self.make != make {
            self.take_away();
            *self = CleanerGate::new(database, make);
        }
    }

    /// Enters, without waiting.
    ///
    /// # Errors
    /// [`LocalDbError::Busy`] while a guard holds it.
    pub(super) fn enter(&mut self) -> Result<Entered<'_>> {
        let path = path(&self.database);
        for attempt in 1.. {
            if self.file.is_none() {
                self.made |= !place::has_beside(&self.database, SUFFIX);
                self.file = open_to_lock(&path, &self.database, self.make).map_err(|e| self.failed(&e))?;
            }
            // Without a file there is no guard.
            if self.file.is_none() {
                return Ok(Entered(None));
            }
            let Some(file) = self.file.take() else { continue };
            match flock(&file, FlockOperation::NonBlockingLockShared) {
                Ok(()) if attempt >= ATTEMPTS || is_named(&file, &path) => {
                    return Ok(Entered(Some(self.file.insert(file))));
                }
                // Closed, and opened anew.
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => {
                    self.file = Some(file);
                    break;
                }
                Err(Errno::INTR) => self.file = Some(file),
                Err(e) => return Err(self.failed(&e.into())),
            }
        }
        Err(Error::from(LocalDbError::Busy { path: self.database.clone() }))
    }

    /// Takes away a file that was not there before, unless somebody holds it: for a run that leaves nothing behind.
    pub(super) fn take_away(&mut self) {
        let Some(file) = self.file.take().filter(|_| self.made) else { return };
        let path = path(&self.database);
        // Whoever has opened it and not locked it yet sees that it has gone, and makes it anew.
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() && is_named(&file, &path) {
            // What fails leaves an empty file behind.
            let _ = OwnFile::at(&path).and_then(|file| file.remove());
            self.made = false;
        }
    }

    fn failed(&self, error: &io::Error) -> Error {
        failed(error, "use the guard file beside", &self.database)
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        if let Some(file) = self.0 {
            // What fails here is undone when the file is closed.
            let _ = flock(file, FlockOperation::Unlock);
        }
    }
}

/// Keeps the cleaner off a database until it is dropped; waits for a step that runs.
#[derive(Debug)]
pub struct Guard {
    file: File,
    fault: Option<String>,
}

impl Guard {
    /// Shuts the gate of a local database: the file, or the folder that holds `localdb.sqlite`; links are resolved. The
    /// database itself need not be there yet.
    ///
    /// # Errors
    /// If the file beside it cannot be made or locked, unless it is because there are no locks: the cleaner works on no
    /// database without them.
    pub fn shut(database: impl AsRef<Path>) -> Result<Guard> {
        let database = place::resolve(database.as_ref())?;
        let path = path(&database);
        let mut fault = place::name_fault(&database);
        for attempt in 1.. {
            let opened = open_to_lock(&path, &database, Make::Yes).map_err(|e| failed(&e, "guard", &database))?;
            let Some(file) = opened else { break };
            match lock(&file) {
                Ok(()) if attempt < ATTEMPTS && !is_named(&file, &path) => continue,
                Ok(()) => {}
                Err(e) if has_no_locks(&e) => fault = Some(format!("its file system gives no locks ({e})")),
                Err(e) => return Err(failed(&e, "guard", &database)),
            }
            return Ok(Guard { file, fault });
        }
        let rights = io::Error::from(io::ErrorKind::PermissionDenied);
        Err(failed(&rights, "make the guard file beside", &database))
    }

    /// The locked file; a process that inherits it keeps the gate shut too.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Why this gate keeps nobody off who comes by another way, if that is so. `clean` refuses such a database.
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Also for those who have inherited the file and live on.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

fn path(database: &Path) -> PathBuf {
    beside(database, SUFFIX)
}

fn failed(error: &io::Error, doing: &'static str, database: &Path) -> Error {
    if has_no_locks(error) { faults::locking(error, database) } else { faults::io(error, doing, database) }
}

/// Waits until nobody else has the file locked.
fn lock(file: &File) -> io::Result<()> {
    loop {
        match flock(file, FlockOperation::LockExclusive) {
            Err(Errno::INTR) => {}
            other => return other.map_err(io::Error::from),
        }
    }
}

/// Whether the file still has its name: a run that leaves nothing behind takes away the one that it has made.
fn is_named(file: &File, path: &Path) -> bool {
    let number = |found: &Metadata| (found.dev(), found.ino());
    matches!((file.metadata(), fs::symlink_metadata(path)), (Ok(held), Ok(named)) if number(&held) == number(&named))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_keeps_the_cleaner_out_and_only_while_it_lasts() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("localdb.sqlite");
        let mut looking = CleanerGate::new(&database, Make::No);
        looking.enter().unwrap();
        assert!(!path(&database).exists(), "who only looks leaves nothing behind");
        let (mut one, mut other) =
            (CleanerGate::new(&database, Make::IfAllowed), CleanerGate::new(&database, Make::IfAllowed));
        {
            let _one = one.enter().unwrap();
            other.enter().unwrap();
        }
        let guard = Guard::shut(dir.path().join("localdb.sqlite")).unwrap();
        for gate in [&mut one, &mut looking] {
            assert!(matches!(gate.enter().as_ref().map_err(Error::downcast_ref), Err(Some(LocalDbError::Busy { .. }))));
        }
        drop(guard);
        one.enter().unwrap();
        looking.enter().unwrap();
    }

    #[test]
    fn a_file_that_was_taken_away_holds_nobody_and_whoever_has_opened_it_notices() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("localdb.sqlite");
        let (mut one, mut other) =
            (CleanerGate::new(&database, Make::IfAllowed), CleanerGate::new(&database, Make::IfAllowed));
        one.enter().unwrap();
        other.enter().unwrap();
        other.take_away();
        assert!(path(&database).exists(), "it was there before");
        other.enter().unwrap();
        one.take_away();
        assert!(!path(&database).exists());
        let guard = Guard::shut(&database).unwrap();
        assert!(
            matches!(other.enter().as_ref().map_err(Error::downcast_ref), Err(Some(LocalDbError::Busy { .. }))),
            "not by the file that it had opened"
        );
        one.take_away();
        assert!(path(&database).exists(), "it is another one");
        drop(guard);
        other.enter().unwrap();
    }

    #[test]
    fn a_file_system_without_locks_is_told_from_a_backup_that_runs() {
        for errno in [libc::ENOLCK, libc::ENOSYS, libc::EOPNOTSUPP] {
            let error = failed(&io::Error::from_raw_os_error(errno), "guard", Path::new("/srv/db"));
            assert!(error.to_string().contains("gives no locks"), "{error}");
            assert_eq!(error.retry(), crate::Retry::Useless);
        }
        let other = failed(&io::Error::from_raw_os_error(libc::EIO), "guard", Path::new("/srv/db")).to_string();
        assert!(other.starts_with("cannot guard local database /srv/db"), "{other}");
    }

    #[test]
    fn a_guard_and_a_cleaner_meet_at_one_gate_whatever_name_they_use() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().canonicalize().unwrap().join("localdb.sqlite");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("localdb.sqlite", &link).unwrap();
        // Also while the database is not there yet.
        let _guard = Guard::shut(&link).unwrap();
        let mut gate = CleanerGate::new(&place::resolve(dir.path()).unwrap(), Make::IfAllowed);
        assert!(matches!(gate.enter().as_ref().map_err(Error::downcast_ref), Err(Some(LocalDbError::Busy { .. }))));
        assert!(path(&database).exists() && !path(&link).exists());
    }
}
