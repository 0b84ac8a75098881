//! The gate between backups and the cleaner: a lock on a file beside the database.
//!
//! `sexton guard` holds it alone while a backup runs; the cleaner holds it with others of its kind while it holds the
//! database's lock, and never waits for it. A folder in which nobody may make the file needs none: nothing in it can be
//! changed. The file is empty and stays where it is: to remove it would let two
//! processes hold two files of the same name.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::decision::beside;
use super::faults;
use crate::error::{Error, Result};
pub(super) use crate::own_files::Make;
use crate::own_files::open_to_lock;

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
            self.file = open_to_lock(&path(&self.database), &self.database, self.make).map_err(|e| self.failed(&e))?;
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
            let opened = open_to_lock(&path(&database), &database, Make::Yes)?;
            let file = opened.ok_or(io::ErrorKind::NotFound)?;
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
        let (mut one, mut other) = (Gate::new(&database, Make::IfAllowed), Gate::new(&database, Make::IfAllowed));
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
