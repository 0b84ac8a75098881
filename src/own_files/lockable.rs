//! A file that is only locked: the guard between backups and the cleaner.
//!
//! It is never read or written, so it does not matter whose it is. Two users must be able to lock the same file, so it has
//! the rights of the database beside which it stands.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::refusal::FileRefusal;
use super::{OwnFile, SAFELY, give_like, set_mode};
use crate::calls::{fstat, openat, statat};

/// Whether the file is made if it is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Make {
    Yes,
    /// If that is allowed: where nobody may make it, nobody holds it.
    IfAllowed,
    /// No: nothing is to be written.
    No,
}

/// Opens the file to be locked; `None` if it is not there and is not made. Where it cannot be opened
/// for writing, it is opened for reading. A new one has owner and mode of the database, if that is there, else mode 0644.
///
/// # Errors
/// If it is a link or not a regular file, and what the system says.
pub(crate) fn open_to_lock(path: &Path, database: &Path, make: Make) -> io::Result<Option<File>> {
    let file = match OwnFile::anywhere(path) {
        Err(e) if make != Make::Yes && e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    for _ in 0..16 {
        if let Some(found) = open(&file)? {
            return Ok(Some(found));
        }
        if make == Make::No {
            return Ok(None);
        }
        match file.create_new() {
            Ok(made) => {
                share(&made, statat(CWD, database, AtFlags::empty()).ok().as_ref())?;
                return Ok(Some(made));
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) if make == Make::IfAllowed && is_forbidden(&e) => return Ok(None),
            Err(e) => return Err(e),
        }
    }
    Err(io::Error::other("it is made and removed again and again"))
}

fn is_forbidden(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

fn open(file: &OwnFile) -> io::Result<Option<File>> {
    match statat(file.folder().as_fd(), file.name(), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => check(file, &stat)?,
        Err(Errno::NOENT) => return Ok(None),
        Err(e) => return Err(e.into()),
    }
    let open = |flags| openat(file.folder().as_fd(), file.name(), flags | SAFELY, Mode::empty());
    let opened = match open(OFlags::RDWR) {
        Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) => open(OFlags::RDONLY),
        other => other,
    };
    match opened {
        Ok(fd) => check(file, &fstat(&fd)?).map(|()| Some(fd.into())),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

fn check(file: &OwnFile, stat: &Stat) -> io::Result<()> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(()),
        FileType::Symlink => Err(FileRefusal::Link.of(&file.path())),
        _ => Err(FileRefusal::NotRegular.of(&file.path())),
    }
}

/// Lets everybody lock it who may work on the database.
fn share(made: &File, database: Option<&Stat>) -> io::Result<()> {
    if let Some(database) = database {
        give_like(made, database)?;
        let given = fstat(made)?;
        if (given.st_uid, given.st_gid) == (database.st_uid, database.st_gid) {
            return Ok(());
        }
    }
    set_mode(made, Mode::from_raw_mode(0o644))
}
