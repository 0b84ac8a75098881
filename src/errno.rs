//! What the system has said behind an error of SQLite or of the standard library.
//!
//! SQLite itself tells a full disk (`SQLITE_FULL`), but not a quota, a limit of file size or missing rights from a broken
//! disk. Knows no file of Sexton's and decides nothing.

use std::io;

/// Whether it is about room: on the disk, in the user's quota, or under the process's limit of file size.
pub(crate) fn is_no_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

/// Whether it means that a file system has no locks: a network file system without its lock daemon, or one that knows none.
pub(crate) fn has_no_locks(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOLCK | libc::ENOSYS | libc::EOPNOTSUPP))
}
