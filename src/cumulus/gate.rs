//! The gate between backups and the cleaner: a lock on a file beside the database.
//!
//! `sexton guard` holds it alone while a backup runs; the cleaner holds it with others of its kind while it holds the
//! database's lock, and never waits for it. The file is empty and stays where it is: to remove it would let two
//! processes hold two files of the same name.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::decision::beside;
use super::faults;
use crate::error::{Error, Result};

/// Whether the file is made if it is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Make {
    /// Yes: a guard that begins at this moment must find it.
    Yes,
    /// No: nothing is to be written.
    No,
}

/// The cleaner's side of the gate.
#[derive(Debug)]
pub(super) struct Gate {
    database: PathBuf,
    make: Make,
    file: Option<File>,
}

/// Held while the database's lock is.
pub(super) struct Entered<'a>(Option<&'a File>);

impl Gate {
    pub(super) fn new(database: &Path, make: Make) -> Gate {
        Gate { database: database.to_owned(), make, file: None }
    }

    /// Enters, without waiting.
    ///
    /// # Errors
    /// [`Error::LocalDbBusy`] while a guard holds it.
    pub(super) fn enter(&mut self) -> Result<Entered<'_>> {
        if self.file.is_none() {
            self.file = open(&path(&self.database), self.make).map_err(|e| self.failed(&e))?;
        }
        // Without a file there is no guard.
        let Some(file) = &self.file else { return Ok(Entered(None)) };
        match flock(file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(Entered(Some(file))),
            Err(Errno::WOULDBLOCK) => Err(Error::LocalDbBusy { path: self.database.clone() }),
            Err(e) => Err(self.failed(&e.into())),
        }
    }

    fn failed(&self, error: &io::Error) -> Error {
        faults::io(error, "use the guard file beside", &self.database)
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
pub struct Guard(File);

impl Guard {
    /// Shuts the gate of a local database: the file, or the folder that holds `localdb.sqlite`. The database itself need
    /// not be there yet.
    ///
    /// # Errors
    /// If the file beside it cannot be made or locked.
    pub fn shut(database: impl AsRef<Path>) -> Result<Guard> {
        let database = super::local_db::file_of(database.as_ref());
        let lock = || {
            let file = OpenOptions::new().read(true).append(true).create(true).open(path(&database))?;
            loop {
                match flock(&file, FlockOperation::LockExclusive) {
                    Err(Errno::INTR) => {}
                    other => return other.map(|()| file).map_err(io::Error::from),
                }
            }
        };
        lock().map(Guard).map_err(|e: io::Error| faults::io(&e, "guard", &database))
    }

    /// The locked file; a process that inherits it keeps the gate shut too.
    pub fn file(&self) -> &File {
        &self.0
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Also for those who have inherited the file and live on.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

fn path(database: &Path) -> PathBuf {
    beside(database, ".sexton-guard")
}

/// Opens the file, if it is there or may be made. A folder in which it can be neither needs no guard of ours: nothing in
/// it can be changed.
fn open(path: &Path, make: Make) -> io::Result<Option<File>> {
    if make == Make::Yes {
        match OpenOptions::new().read(true).append(true).create(true).open(path) {
            Err(e) if matches!(e.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) => {}
            other => return other.map(Some),
        }
    }
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_keeps_the_cleaner_out_and_only_while_it_lasts() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("localdb.sqlite");
        let mut looking = Gate::new(&database, Make::No);
        looking.enter().unwrap();
        assert!(!path(&database).exists(), "who only looks leaves nothing behind");
        let (mut one, mut other) = (Gate::new(&database, Make::Yes), Gate::new(&database, Make::Yes));
        {
            let _one = one.enter().unwrap();
            other.enter().unwrap();
        }
        let guard = Guard::shut(dir.path().join("localdb.sqlite")).unwrap();
        for gate in [&mut one, &mut looking] {
            assert!(matches!(gate.enter(), Err(Error::LocalDbBusy { .. })));
        }
        drop(guard);
        one.enter().unwrap();
        looking.enter().unwrap();
    }
}
