//! What can go wrong with a local database, sorted by what a person can do about it.

use std::io;
use std::path::Path;

use rusqlite::ErrorCode;

use crate::error::Error;

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

const WRITABLE: &str = "make the file and its folder writable for this user";

/// Makes an error of what SQLite reports.
pub(super) fn sqlite(error: &rusqlite::Error, doing: &'static str, path: &Path) -> Error {
    let path = path.to_owned();
    let cause = error.to_string();
    let Some(code) = error.sqlite_error_code() else {
        // The rest is about values of another type than the column's.
        return Error::LocalDb { doing, path, cause };
    };
    match code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed => {
            Error::LocalDbBusy { path }
        }
        ErrorCode::DiskFull => Error::LocalDbFull { path, cause },
        ErrorCode::DatabaseCorrupt => Error::LocalDbDamaged { path, cause },
        ErrorCode::NotADatabase => Error::LocalDbForeign { path, cause: "it is not an SQLite database".to_owned() },
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied => {
            Error::LocalDb { doing, path, cause: format!("{cause}; {WRITABLE}") }
        }
        _ => Error::LocalDb { doing, path, cause },
    }
}

/// Makes an error of a failure with the file itself or one beside it.
pub(super) fn io(error: &io::Error, doing: &'static str, path: &Path) -> Error {
    let (path, cause) = (path.to_owned(), error.to_string());
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::LocalDbFull { path, cause },
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Error::LocalDb { doing, path, cause: format!("{cause}; {WRITABLE}") }
        }
        _ => Error::LocalDb { doing, path, cause },
    }
}
