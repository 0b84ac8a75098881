//! A consistent copy of a database, made in steps, each under a lock of the caller's.
//!
//! SQLite's backup begins anew by itself if another program changes the database between two steps. It works on
//! connections of its own, on a thread of its own, since it borrows them as long as it lasts.

//!
//! Until it is whole, the copy stands beside the file that it will be, under a name with `.sexton-part` at its end. Nothing
//! that stands there already is believed: the part is made anew, and SQLite must have opened that one before it writes.

use std::fs::{File, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::config::DbConfig;

use super::copies::CopyList;
use super::error::LocalDbError;
use super::faults;
use super::opening::FLAGS;
use super::settings::OlderCopy;
use crate::error::{Error, Result};
use crate::own_files::{self, COMPANIONS, FileAccess, MissingFolder, OwnFile};
use crate::threads;

const DOING: &str = "back up";
/// What a database begins with.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// A copy being made, beside the file that it will be.
#[derive(Debug)]
pub(super) struct Copier {
    database: OwnFile,
    part: OwnFile,
    /// The part, open and locked, so that no other process takes it for one that was left behind.
    file: Arc<File>,
    to: OwnFile,
    older_copy: OlderCopy,
    ask: Sender<i32>,
    answers: Receiver<Result<Copied>>,
    is_named: bool,
}

/// What one step has done.
#[derive(Debug, Clone, Copy)]
pub(super) struct Copied {
    pub(super) more: bool,
}

impl Copier {
    /// Begins a copy to a file that must not be there, or is set aside.
    pub(super) fn start(database: &Path, to: &Path, older_copy: OlderCopy) -> Result<Copier> {
        let failed = |doing| move |e: io::Error| faults::io(&e, doing, to);
        let original = OwnFile::named(database, MissingFolder::Refuse).map_err(|e| faults::io(&e, DOING, database))?;
        let target = OwnFile::in_folder_for_copies(to).map_err(failed("make the copy"))?;
        if older_copy == OlderCopy::SetAside {
            set_aside(&target).map_err(failed("set aside the older copy"))?;
        }
        refuse_existing(database, to)?;
        let part = target.beside(".sexton-part");
        let file = Arc::new(make_part(&part).map_err(failed("make the copy"))?);
        let (ask, questions) = channel();
        let (tell, answers) = channel();
        let copying = CopyJob { from: original.path(), part: part.clone(), file: file.clone() };
        let copy = move || {
            if let Err(error) = copying.run(&questions, &tell) {
                // Whoever has gone needs no answer.
                let _ = tell.send(Err(error));
            }
        };
        let copier = Copier { database: original, part, file, to: target, older_copy, ask, answers, is_named: false };
        threads::start("sexton-copy", copy)?;
        Ok(copier)
    }

    /// Copies so many pages.
    pub(super) fn step(&self, pages: u64) -> Result<Copied> {
        // A thread that has gone has left its last words.
        let _ = self.ask.send(i32::try_from(pages).unwrap_or(i32::MAX));
        let gone = || {
            Error::from(LocalDbError::Failed {
                doing: DOING,
                path: self.part.path(),
                cause: "the copying ended".to_owned(),
            })
        };
        self.answers.recv().unwrap_or_else(|_| Err(gone()))
    }

    /// Gives a finished copy its name; never that of a file that is there. It gets the owner and the mode of the database.
    /// May be called again after an error.
    pub(super) fn finish(&mut self) -> Result<()> {
        let mut name = || {
            if !self.is_named {
                self.file.sync_all()?;
                let original = self.database.look()?.ok_or(io::ErrorKind::NotFound)?;
                own_files::give_like(&self.file, &original)?;
                if self.older_copy == OlderCopy::SetAside {
                    CopyList::add(&self.to, &self.file)?;
                }
                self.part.rename_new(&self.to, &self.file)?;
                self.is_named = true;
            }
            self.to.folder().sync()
        };
        let named = name();
        named.map_err(|e| faults::io(&e, "keep the backup", &self.to.path()))
    }
}

impl Drop for Copier {
    fn drop(&mut self) {
        // A copy that is not finished is of no use to anybody. What cannot be removed is, by the next copy.
        if !self.is_named && self.part.refuse_exchanged(&self.file).is_ok() {
            let _ = self.part.remove();
        }
    }
}

/// Makes the file in which the copy is made. One that was left behind by a process that died is removed first.
fn make_part(part: &OwnFile) -> io::Result<File> {
    for suffix in COMPANIONS {
        // SQLite would believe or remove it, and a copy has none of its own.
        let companion = part.beside(suffix);
        if std::fs::symlink_metadata(companion.path()).is_ok() {
            return Err(io::Error::other(format!("{} is in the way: remove it", companion.path().display())));
        }
    }
    if let Some(left) = part.open(FileAccess::Read)? {
        refuse_unless_left_behind(part, left)?;
        part.remove()?;
    }
    let file = part.create_new()?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(in_use(part)),
        // Where nothing can be locked, only two cleanings with one copy get in each other's way.
        _ => Ok(file),
    }
}

/// Makes an error of a file that is not the beginning of a copy, or of one that is being made.
fn refuse_unless_left_behind(part: &OwnFile, file: File) -> io::Result<()> {
    if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
        return Err(in_use(part));
    }
    let mut begin = Vec::new();
    file.take(MAGIC.len() as u64).read_to_end(&mut begin)?;
    // SQLite may have written later pages before the first one.
    if begin.is_empty() || begin == MAGIC || begin.iter().all(|byte| *byte == 0) {
        return Ok(());
    }
    let path = part.path();
    Err(io::Error::other(format!("{} is there and is not a copy that Sexton began: move it away", path.display())))
}

fn in_use(part: &OwnFile) -> io::Error {
    io::Error::other(format!("another process is making {}", part.path().display()))
}

/// Makes an error of a folder in which no copy is made, and of a file in the way that is not set aside.
pub(super) fn refuse_target(database: &Path, to: &Path, older_copy: OlderCopy) -> Result<()> {
    OwnFile::in_folder_for_copies(to).map_err(|e| faults::io(&e, "make the copy", to))?;
    if older_copy == OlderCopy::Refuse { refuse_existing(database, to) } else { Ok(()) }
}

/// Makes an error of a file in the way.
fn refuse_existing(database: &Path, to: &Path) -> Result<()> {
    if std::fs::symlink_metadata(to).is_err() {
        return Ok(());
    }
    let cause = format!("{} is there already; name another file for the copy", to.display());
    Err(Error::from(LocalDbError::Failed { doing: DOING, path: database.to_owned(), cause }))
}

/// Gives a copy that is there the name with `.old`, in place of an older copy of Sexton's that has it. The rename is one
/// step, so there is always a whole copy.
fn set_aside(to: &OwnFile) -> io::Result<()> {
    let Some(file) = to.open(FileAccess::Read)? else { return Ok(()) };
    let older = to.beside(".old");
    let Some(older_file) = older.open(FileAccess::Read)? else { return to.rename_new(&older, &file) };
    if !CopyList::read(to)?.knows(&older_file)? {
        let path = older.path();
        let why = "is there and is not a copy that Sexton has made: move it away";
        return Err(io::Error::other(format!("{} {why}", path.display())));
    }
    to.rename_to(&older, &file)
}

/// What the thread works on.
struct CopyJob {
    from: PathBuf,
    part: OwnFile,
    file: Arc<File>,
}

impl CopyJob {
    fn run(&self, questions: &Receiver<i32>, tell: &Sender<Result<Copied>>) -> Result<()> {
        let failed = |error: rusqlite::Error| faults::sqlite(&error, DOING, &self.from, None);
        // Without the flag to create them: what is not there is not to be copied, and the part is.
        let source = Connection::open_with_flags(&self.from, FLAGS).map_err(failed)?;
        source.busy_timeout(std::time::Duration::ZERO).map_err(failed)?;
        // It may outlive the run by a moment, and would then move the log into the database as it closes.
        source.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(failed)?;
        let into = self.part.path();
        let mut target = Connection::open_with_flags(&into, FLAGS).map_err(failed)?;
        // SQLite goes by name: nothing is written before it is known that it has opened the part.
        self.part.refuse_exchanged(&self.file).map_err(|e| faults::io(&e, DOING, &into))?;
        // Until it has its name, it is nothing; before that it is saved whole.
        target.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;").map_err(failed)?;
        let backup = Backup::new(&source, &mut target).map_err(failed)?;
        while let Ok(pages) = questions.recv() {
            let answer = match backup.step(pages) {
                Ok(StepResult::Busy | StepResult::Locked) => {
                    Err(Error::from(LocalDbError::Busy { path: self.from.clone() }))
                }
                Ok(result) => Ok(Copied { more: result != StepResult::Done }),
                Err(error) => Err(faults::sqlite(&error, DOING, &into, None)),
            };
            let last = matches!(answer, Ok(Copied { more: false }));
            if last {
                drop(backup);
                // Its last pages are in the file once it is closed.
                target.close().map_err(|(_, error)| failed(error))?;
                let _ = tell.send(answer);
                return Ok(());
            }
            if tell.send(answer).is_err() {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cumulus::sample::SampleDb;

    #[test]
    fn a_copy_that_is_given_up_leaves_nothing_and_a_finished_one_is_finished_once() {
        let dir = tempfile::tempdir().unwrap();
        let (database, to) = (dir.path().join("localdb.sqlite"), dir.path().join("copy"));
        SampleDb { segments: 20, ..SampleDb::default() }.write(&database).unwrap();
        let part = dir.path().join("copy.sexton-part");
        let copier = Copier::start(&database, &to, OlderCopy::Refuse).unwrap();
        assert!(copier.step(1).unwrap().more && part.exists());
        drop(copier);
        assert!(!part.exists() && !to.exists());
        let mut copier = Copier::start(&database, &to, OlderCopy::Refuse).unwrap();
        while copier.step(100).unwrap().more {}
        // In the way meanwhile: it stays, and once it has gone the copy gets its name.
        std::fs::write(&to, "of somebody").unwrap();
        copier.finish().unwrap_err();
        assert_eq!(std::fs::read(&to).unwrap(), b"of somebody");
        std::fs::remove_file(&to).unwrap();
        copier.finish().unwrap();
        copier.finish().unwrap();
        drop(copier);
        assert!(to.exists() && !part.exists());
    }
}
