//! What can go wrong with a local database, sorted by what a person can do about it.

use std::fs;
use std::io;
use std::path::Path;

use rusqlite::{Connection, ErrorCode, ffi};

use super::error::LocalDbError;
use crate::errno::{has_no_locks, is_no_room};
use crate::error::Error;
use crate::own_files;
use crate::sqlite_file::{behind, lock_fault};

/// Something that went wrong in the middle of a transaction.
#[derive(Debug)]
pub(super) enum Trouble {
    /// SQLite says so.
    Sqlite(rusqlite::Error),
    /// It has a name already.
    Named(Error),
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        Trouble::Sqlite(error)
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Trouble::Named(error)
    }
}

/// What is said of a text or blob beyond the bound.
pub(super) const TOO_LARGE: &str = "larger than 1 MiB, which none of a local database is";
pub(super) const WRITABLE: &str = "make the file and its folder writable for this user";

/// Makes an error of what SQLite reports. `conn` is the connection on which it happened, right after it happened.
pub(super) fn sqlite(error: &rusqlite::Error, doing: &'static str, path: &Path, conn: Option<&Connection>) -> Error {
    let fault = behind_sqlite(error, doing, path, conn.and_then(behind));
    // To SQLite a file system without locks is a busy one.
    let no_locks = conn.filter(|_| matches!(fault, LocalDbError::Busy { .. })).and_then(lock_fault);
    no_locks.map_or_else(|| fault.into(), |system| locking(&system, path))
}

fn behind_sqlite(error: &rusqlite::Error, doing: &'static str, path: &Path, system: Option<io::Error>) -> LocalDbError {
    let path = path.to_owned();
    let cause = match error {
        // Without the statement, which says nothing to whoever did not write it.
        rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
        error => error.to_string(),
    };
    let Some(code) = error.sqlite_error() else {
        // The rest is about values of another type than the column's.
        return LocalDbError::Failed { doing, path, cause };
    };
    match code.code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed => {
            LocalDbError::Busy { path }
        }
        ErrorCode::DiskFull => LocalDbError::Full { path, cause },
        ErrorCode::SystemIoFailure | ErrorCode::CannotOpen if system.as_ref().is_some_and(is_no_room) => {
            let cause = system.map_or(cause, |s| s.to_string());
            LocalDbError::Full { path, cause }
        }
        ErrorCode::DatabaseCorrupt => LocalDbError::Damaged { path, cause },
        ErrorCode::SystemIoFailure if code.extended_code == ffi::SQLITE_IOERR_CORRUPTFS => {
            LocalDbError::Damaged { path, cause }
        }
        ErrorCode::SystemIoFailure if code.extended_code == ffi::SQLITE_IOERR_SHORT_READ => {
            LocalDbError::Damaged { path, cause: "it ends in the middle of a page".to_owned() }
        }
        ErrorCode::TooBig => LocalDbError::Foreign { path, cause: format!("a cell of it is {TOO_LARGE}") },
        ErrorCode::NotADatabase => LocalDbError::Foreign { path, cause: "it is not an SQLite database".to_owned() },
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied => {
            LocalDbError::Failed { doing, path, cause: format!("{cause}; {WRITABLE}") }
        }
        ErrorCode::CannotOpen | ErrorCode::SystemIoFailure => {
            LocalDbError::Failed { doing, cause: with_advice(cause, system.or_else(|| unopened(&path))), path }
        }
        _ => LocalDbError::Failed { doing, path, cause },
    }
}

/// Why a file cannot even be looked at, where SQLite only says that it cannot be opened.
fn unopened(path: &Path) -> Option<io::Error> {
    fs::metadata(path).err()
}

fn with_advice(cause: String, system: Option<io::Error>) -> String {
    match system {
        None => cause,
        Some(system) if is_about_rights(&system) => format!("{cause} ({system}); {WRITABLE}"),
        Some(system) => format!("{cause} ({system})"),
    }
}

fn is_about_rights(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

/// Makes an error of a database that may only be read.
pub(super) fn read_only(doing: &'static str, path: &Path) -> Error {
    let cause = format!("it may only be read; {WRITABLE}, or work on a copy");
    Error::from(LocalDbError::Failed { doing, path: path.to_owned(), cause })
}

/// Makes an error of a failure to lock the database or the guard file beside it.
pub(super) fn locking(error: &io::Error, path: &Path) -> Error {
    if !has_no_locks(error) {
        return io(error, "lock", path);
    }
    let cause = format!(
        "the file system that it lies on gives no locks ({error}), so nobody can tell whether a backup runs; have its lock \
         service run (for NFS, rpc.statd on both sides), or copy the database to a local disk while no backup runs, clean it \
         there and copy it back"
    );
    Error::from(LocalDbError::Failed { doing: "lock", path: path.to_owned(), cause })
}

/// Makes an error of a failure with the file itself or one beside it.
pub(super) fn io(error: &io::Error, doing: &'static str, path: &Path) -> Error {
    let (path, cause) = (path.to_owned(), own_files::cause(error, path));
    Error::from(match error {
        error if is_no_room(error) => LocalDbError::Full { path, cause },
        error if is_about_rights(error) => LocalDbError::Failed { doing, path, cause: format!("{cause}; {WRITABLE}") },
        _ => LocalDbError::Failed { doing, path, cause },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Retry;

    fn mapped(extended_code: i32, errno: Option<i32>) -> LocalDbError {
        let error = rusqlite::Error::SqliteFailure(ffi::Error::new(extended_code), None);
        behind_sqlite(&error, "clean", Path::new("/nowhere/localdb.sqlite"), errno.map(io::Error::from_raw_os_error))
    }

    #[test]
    fn room_rights_damage_and_locks_are_told_apart() {
        let (efbig, eacces, edquot, enospc) = (27, 13, 122, 28);
        for (code, errno) in [
            (ffi::SQLITE_FULL, None),
            (ffi::SQLITE_IOERR_WRITE, Some(efbig)),
            (ffi::SQLITE_IOERR_WRITE, Some(edquot)),
            (ffi::SQLITE_IOERR_SHMSIZE, Some(enospc)),
            (ffi::SQLITE_CANTOPEN, Some(enospc)),
        ] {
            let error = mapped(code, errno);
            assert!(matches!(error, LocalDbError::Full { .. }), "{error}");
            assert_eq!(Error::from(error).retry(), Retry::Helps);
        }
        for (code, errno) in [(ffi::SQLITE_READONLY_DBMOVED, None), (ffi::SQLITE_CANTOPEN, Some(eacces))] {
            assert!(mapped(code, errno).to_string().ends_with(WRITABLE));
        }
        assert!(mapped(ffi::SQLITE_CANTOPEN, None).to_string().contains("No such file"));
        assert!(matches!(mapped(ffi::SQLITE_IOERR_SHORT_READ, None), LocalDbError::Damaged { .. }));
        assert!(matches!(mapped(ffi::SQLITE_CORRUPT_INDEX, None), LocalDbError::Damaged { .. }));
        assert!(matches!(mapped(ffi::SQLITE_BUSY_SNAPSHOT, None), LocalDbError::Busy { .. }));
        assert!(matches!(mapped(ffi::SQLITE_NOTADB, None), LocalDbError::Foreign { .. }));
    }
}
