//! A consistent copy of a database, made in steps, each under a lock of the caller's.
//!
//! SQLite's backup begins anew by itself if another program changes the database between two steps. It works on
//! connections of its own, on a thread of its own, since it borrows them as long as it lasts.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::faults;
use crate::error::{Error, Result};

const DOING: &str = "back up";

/// A copy being made, beside the file that it will be.
#[derive(Debug)]
pub(super) struct Copier {
    part: PathBuf,
    to: PathBuf,
    ask: Sender<i32>,
    answers: Receiver<Result<Copied>>,
}

/// What one step has done.
#[derive(Debug, Clone, Copy)]
pub(super) struct Copied {
    pub(super) more: bool,
}

impl Copier {
    /// Begins a copy to a file that must not be there.
    pub(super) fn start(database: &Path, to: &Path) -> Result<Copier> {
        refuse_existing(database, to)?;
        let mut part = to.as_os_str().to_owned();
        part.push(".sexton-part");
        let part = PathBuf::from(part);
        match fs::remove_file(&part) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(faults::io(&e, "remove old copy", &part)),
            _ => {}
        }
        let (ask, questions) = channel();
        let (tell, answers) = channel();
        let (from, into) = (database.to_owned(), part.clone());
        let copy = move || {
            if let Err(error) = copy(&from, &into, &questions, &tell) {
                // Whoever has gone needs no answer.
                let _ = tell.send(Err(faults::sqlite(&error, DOING, &from, None)));
            }
        };
        let thread = std::thread::Builder::new().name("sexton-copy".to_owned()).spawn(copy);
        thread.map_err(|e| faults::io(&e, DOING, database))?;
        Ok(Copier { part, to: to.to_owned(), ask, answers })
    }

    /// Copies so many pages.
    pub(super) fn step(&self, pages: u64) -> Result<Copied> {
        // A thread that has gone has left its last words.
        let _ = self.ask.send(i32::try_from(pages).unwrap_or(i32::MAX));
        let gone = || Error::LocalDb { doing: DOING, path: self.part.clone(), cause: "the copying ended".to_owned() };
        self.answers.recv().unwrap_or_else(|_| Err(gone()))
    }

    /// Gives a finished copy its name; never that of a file that is there. May be called again after an error.
    pub(super) fn finish(&self) -> Result<()> {
        let name = || {
            File::open(&self.part)?.sync_all()?;
            match renameat_with(CWD, &self.part, CWD, &self.to, RenameFlags::NOREPLACE) {
                Ok(()) => {}
                Err(rustix::io::Errno::EXIST) => return Err(io::Error::from(io::ErrorKind::AlreadyExists)),
                // Not every file system can do that.
                Err(_) => {
                    fs::hard_link(&self.part, &self.to)?;
                    fs::remove_file(&self.part)?;
                }
            }
            let folder = self.to.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            File::open(folder)?.sync_all()
        };
        name().map_err(|e| faults::io(&e, "keep the backup", &self.to))
    }
}

/// Makes an error of a file in the way.
pub(super) fn refuse_existing(database: &Path, to: &Path) -> Result<()> {
    if fs::symlink_metadata(to).is_err() {
        return Ok(());
    }
    let cause = format!("{} is there already; name another file for the copy", to.display());
    Err(Error::LocalDb { doing: DOING, path: database.to_owned(), cause })
}

/// Gives a copy that is there the name with `.old`, in place of the one that had it. The rename is one step, so there is
/// always a whole copy.
pub(super) fn set_aside(to: &Path) -> Result<()> {
    let mut old = to.as_os_str().to_owned();
    old.push(".old");
    match fs::rename(to, PathBuf::from(old)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(faults::io(&e, "set aside the older copy", to)),
        _ => Ok(()),
    }
}

fn copy(from: &Path, into: &Path, questions: &Receiver<i32>, tell: &Sender<Result<Copied>>) -> rusqlite::Result<()> {
    // Without the flag to create it: what is not there is not to be copied.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let source = Connection::open_with_flags(from, flags)?;
    source.busy_timeout(std::time::Duration::ZERO)?;
    let mut target = Connection::open(into)?;
    // Until it has its name, it is nothing; before that it is saved whole.
    target.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")?;
    let backup = Backup::new(&source, &mut target)?;
    while let Ok(pages) = questions.recv() {
        let answer = match backup.step(pages) {
            Ok(StepResult::Busy | StepResult::Locked) => Err(Error::LocalDbBusy { path: from.to_owned() }),
            Ok(result) => Ok(Copied { more: result != StepResult::Done }),
            Err(error) => Err(faults::sqlite(&error, DOING, into, None)),
        };
        let last = matches!(answer, Ok(Copied { more: false }));
        if last {
            drop(backup);
            // Its last pages are in the file once it is closed.
            target.close().map_err(|(_, error)| error)?;
            let _ = tell.send(answer);
            return Ok(());
        }
        if tell.send(answer).is_err() {
            break;
        }
    }
    Ok(())
}
