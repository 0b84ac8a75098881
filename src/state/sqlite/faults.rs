//! What can go wrong with a state file, sorted by what a person can do about it.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, ffi};

use crate::errno::{has_no_locks, is_no_room};
use crate::error::{Error, Result, StateLack};
use crate::own_files;
use crate::sqlite_file::{behind, lock_fault};

/// A result of the calls that know no path yet.
pub(super) type Out<T> = std::result::Result<T, CallFault>;

/// Something that went wrong in the middle of a call.
#[derive(Debug)]
pub(super) enum CallFault {
    /// SQLite says so.
    Sqlite(rusqlite::Error),
    /// Another connection is in the way.
    Busy,
    /// What was read is not what was written.
    Damaged(String),
    /// The caller asked for something that is not to be had.
    Refused(Error),
}

impl From<rusqlite::Error> for CallFault {
    fn from(error: rusqlite::Error) -> Self {
        CallFault::Sqlite(error)
    }
}

impl From<Error> for CallFault {
    fn from(error: Error) -> Self {
        CallFault::Refused(error)
    }
}

impl CallFault {
    /// Makes an error of it. `conn` is the connection on which it happened, right after it happened.
    pub(super) fn into_error(self, path: &Path, doing: &'static str, conn: Option<&Connection>) -> Error {
        match self {
            CallFault::Refused(error) => error,
            CallFault::Busy => Error::StateHeld { path: path.to_owned(), holder: "another program".to_owned() },
            CallFault::Damaged(cause) => Error::StateDamaged { path: path.to_owned(), cause },
            CallFault::Sqlite(error) => {
                let fault = sqlite(&error, path, doing, conn.and_then(behind));
                // To SQLite a file system without locks is a busy one.
                let no_locks = conn.filter(|_| matches!(fault, Error::StateHeld { .. })).and_then(lock_fault);
                no_locks.map_or(fault, |system| io(path, "lock", &system))
            }
        }
    }
}

/// An error of the file system around the state file.
pub(super) fn io(path: &Path, doing: &'static str, error: &io::Error) -> Error {
    if is_no_room(error) {
        return Error::StateFull { path: path.to_owned(), cause: error.to_string() };
    }
    if has_no_locks(error) {
        let cause = format!("the file system that it lies on gives no locks ({error})");
        return Error::StateUnusable { doing, path: path.to_owned(), cause, lacks: StateLack::Locks };
    }
    state(doing, path.to_owned(), own_files::cause(error, path), Some(error))
}

fn sqlite(error: &rusqlite::Error, path: &Path, doing: &'static str, system: Option<io::Error>) -> Error {
    let path = path.to_owned();
    let Some(code) = error.sqlite_error() else {
        // Everything else that rusqlite reports is about values that are not of the type that was written.
        return Error::StateDamaged { path, cause: error.to_string() };
    };
    let cause = error.to_string();
    match code.code {
        ErrorCode::DiskFull => Error::StateFull { path, cause },
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed => {
            Error::StateHeld { path, holder: "another program".to_owned() }
        }
        ErrorCode::DatabaseCorrupt
        | ErrorCode::NotADatabase
        | ErrorCode::ConstraintViolation
        | ErrorCode::TypeMismatch
        | ErrorCode::SchemaChanged
        | ErrorCode::Unknown => Error::StateDamaged { path, cause },
        ErrorCode::SystemIoFailure | ErrorCode::CannotOpen if system.as_ref().is_some_and(is_no_room) => {
            let cause = system.map_or(cause, |s| s.to_string());
            Error::StateFull { path, cause }
        }
        ErrorCode::SystemIoFailure if code.extended_code == ffi::SQLITE_IOERR_CORRUPTFS => {
            Error::StateDamaged { path, cause }
        }
        ErrorCode::SystemIoFailure if code.extended_code == ffi::SQLITE_IOERR_SHORT_READ => {
            Error::StateDamaged { path, cause: "it ends in the middle of a page".to_owned() }
        }
        ErrorCode::ReadOnly => Error::StateUnusable { doing, path, cause, lacks: StateLack::Rights },
        ErrorCode::PermissionDenied | ErrorCode::CannotOpen | ErrorCode::SystemIoFailure => {
            state(doing, path, cause, system.as_ref())
        }
        _ => Error::State { doing, path, cause },
    }
}

/// An error that has no variant of its own but for what the system says.
fn state(doing: &'static str, path: PathBuf, cause: String, system: Option<&io::Error>) -> Error {
    let Some(system) = system else { return Error::State { doing, path, cause } };
    let text = system.to_string();
    let cause = if text.ends_with(&cause) { cause } else { format!("{cause} ({text})") };
    match system.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Error::StateUnusable { doing, path, cause, lacks: StateLack::Rights }
        }
        _ => Error::State { doing, path, cause },
    }
}

/// Adds path and operation to the faults of a piece of work on a connection.
pub(super) fn located<T>(
    path: &Path,
    doing: &'static str,
    conn: &Connection,
    work: impl FnOnce(&Connection) -> Out<T>,
) -> Result<T> {
    work(conn).map_err(|fault| fault.into_error(path, doing, Some(conn)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Retry;

    fn mapped(extended_code: i32, errno: Option<i32>) -> Error {
        let error = rusqlite::Error::SqliteFailure(ffi::Error::new(extended_code), None);
        sqlite(&error, Path::new("s"), "write", errno.map(io::Error::from_raw_os_error))
    }

    #[test]
    fn room_is_told_from_a_broken_disk() {
        let (efbig, eio, edquot, enospc) = (27, 5, 122, 28);
        for (code, errno) in [
            (ffi::SQLITE_FULL, None),
            (ffi::SQLITE_IOERR_WRITE, Some(efbig)),
            (ffi::SQLITE_IOERR_WRITE, Some(edquot)),
            (ffi::SQLITE_IOERR_SHMSIZE, Some(enospc)),
            (ffi::SQLITE_CANTOPEN, Some(enospc)),
        ] {
            let error = mapped(code, errno);
            assert!(matches!(error, Error::StateFull { .. }), "{error}");
            assert_eq!(error.retry(), Retry::Helps);
        }
        let error = mapped(ffi::SQLITE_IOERR_WRITE, Some(eio));
        assert!(matches!(error, Error::State { .. }), "{error}");
        assert!(error.to_string().contains("Input/output error"), "{error}");
    }

    #[test]
    fn locks_damage_and_rights_are_told_apart() {
        assert!(matches!(mapped(ffi::SQLITE_BUSY_RECOVERY, None), Error::StateHeld { .. }));
        assert!(matches!(mapped(ffi::SQLITE_CORRUPT_VTAB, None), Error::StateDamaged { .. }));
        assert!(matches!(mapped(ffi::SQLITE_NOTADB, None), Error::StateDamaged { .. }));
        assert!(matches!(mapped(ffi::SQLITE_IOERR_SHORT_READ, Some(0)), Error::StateDamaged { .. }));
        let error = mapped(ffi::SQLITE_READONLY_DBMOVED, None);
        assert!(matches!(error, Error::StateUnusable { lacks: StateLack::Rights, .. }), "{error}");
        let error = mapped(ffi::SQLITE_CANTOPEN, Some(13));
        assert!(matches!(error, Error::StateUnusable { lacks: StateLack::Rights, .. }), "{error}");
        assert!(error.to_string().contains("ermission denied"), "{error}");
    }
}
