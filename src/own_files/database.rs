//! A database that SQLite opens by its name: looked at before, and again after.
//!
//! SQLite opens `-wal`, `-shm` and `-journal` beside a database by name and believes what is in them, so they are looked at
//! like the database itself. Nothing here opens any of these files: closing one gives up SQLite's locks on it.

use std::io;

use rustix::fs::Stat;

use super::refusal::FileRefusal;
use super::{OwnFile, same};

/// Files that SQLite keeps beside a database.
pub(crate) const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// A database that is there and may be opened.
#[derive(Debug, Clone)]
pub(crate) struct OwnDatabase {
    file: OwnFile,
    stat: Stat,
}

impl OwnDatabase {
    /// Looks at a database and its companions; `None` if there is no database.
    ///
    /// # Errors
    /// If one of them is not a file to be believed.
    pub(crate) fn look(file: &OwnFile) -> io::Result<Option<OwnDatabase>> {
        check_companions(file)?;
        Ok(file.look()?.map(|stat| OwnDatabase { file: file.clone(), stat }))
    }

    /// Looks once more, after SQLite has opened the database by its path: it must have opened this one.
    ///
    /// # Errors
    /// If another file or folder has that name meanwhile, or a companion is not to be believed.
    pub(crate) fn check_again(&self) -> io::Result<()> {
        self.file.folder().refuse_moved()?;
        match self.file.look()? {
            Some(stat) if same(&stat, &self.stat) => check_companions(&self.file),
            _ => Err(FileRefusal::Exchanged.of(&self.file.path())),
        }
    }
}

fn check_companions(file: &OwnFile) -> io::Result<()> {
    COMPANIONS.iter().try_for_each(|suffix| file.beside(suffix).look().map(drop))
}
