//! What SQLite's own handle of a database file tells without a lock: its first bytes, whether somebody writes, and whether
//! the file system has locks at all.
//!
//! A file of one's own would not do: closing any handle of a file gives up all POSIX locks that the process has on it,
//! those of SQLite among them. Never writes.

use std::ffi::c_void;
use std::io;
use std::ptr::{self, NonNull};

use rusqlite::{Connection, ffi};

use crate::errno::has_no_locks;

/// The bytes of the header of a database.
pub(crate) const HEADER_BYTES: usize = 100;

/// The header of the main database; zeros where the file is shorter. `None` if it cannot be read.
pub(crate) fn header(conn: &Connection) -> Option<[u8; HEADER_BYTES]> {
    let (file, methods) = handle(conn)?;
    let read = methods.xRead?;
    let mut bytes = [0u8; HEADER_BYTES];
    // SAFETY: the handle belongs to the connection, which outlives the call; the buffer has the length that is told.
    let code = unsafe { read(file.as_ptr(), bytes.as_mut_ptr().cast::<c_void>(), HEADER_BYTES as i32, 0) };
    matches!(code, ffi::SQLITE_OK | ffi::SQLITE_IOERR_SHORT_READ).then_some(bytes)
}

/// Whether any connection holds the write lock of a database with a rollback journal. Takes no lock itself, so it cannot be in
/// the way of a commit.
///
/// # Errors
/// If the system cannot tell: where the file system has no locks, [`has_no_locks`] knows the error.
pub(crate) fn is_reserved(conn: &Connection) -> io::Result<bool> {
    let Some((file, check)) = handle(conn).and_then(|(file, methods)| Some((file, methods.xCheckReservedLock?))) else {
        return Ok(false);
    };
    let mut reserved = 0;
    // SAFETY: as above; the result goes into a number that outlives the call.
    let code = unsafe { check(file.as_ptr(), &raw mut reserved) };
    // Before anything else is called, which might set it anew.
    let error = io::Error::last_os_error();
    if code == ffi::SQLITE_OK { Ok(reserved != 0) } else { Err(error) }
}

/// The system's error if locks are not to be had for this database. SQLite itself reports that as busy.
pub(crate) fn lock_fault(conn: &Connection) -> Option<io::Error> {
    is_reserved(conn).err().filter(has_no_locks)
}

/// The system's error behind the last I/O error of a connection.
pub(crate) fn behind(conn: &Connection) -> Option<io::Error> {
    // SAFETY: the handle is that of an open connection, which outlives the call, and the call only reads a field of it.
    let errno = unsafe { ffi::sqlite3_system_errno(conn.handle()) };
    (errno != 0).then(|| io::Error::from_raw_os_error(errno))
}

fn handle(conn: &Connection) -> Option<(NonNull<ffi::sqlite3_file>, &ffi::sqlite3_io_methods)> {
    let mut file: *mut ffi::sqlite3_file = ptr::null_mut();
    // SAFETY: the connection is open; the operation writes one pointer, which stays valid as long as the connection.
    let code = unsafe {
        let into = (&raw mut file).cast::<c_void>();
        ffi::sqlite3_file_control(conn.handle(), c"main".as_ptr(), ffi::SQLITE_FCNTL_FILE_POINTER, into)
    };
    let file = NonNull::new(file).filter(|_| code == ffi::SQLITE_OK)?;
    // SAFETY: an open file has methods, which are static in SQLite; a file that is not open has none.
    let methods = unsafe { file.as_ref().pMethods.as_ref() }?;
    Some((file, methods))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_sees_the_header_and_who_writes_and_takes_no_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let writer = Connection::open(&path).unwrap();
        writer.execute_batch("CREATE TABLE t (x)").unwrap();
        let conn = Connection::open(&path).unwrap();
        assert_eq!(header(&conn).unwrap()[..16], *b"SQLite format 3\0");
        assert!(!is_reserved(&conn).unwrap());
        writer.execute_batch("BEGIN IMMEDIATE").unwrap();
        assert!(is_reserved(&conn).unwrap() && lock_fault(&conn).is_none());
        // With a reader, this would be busy.
        writer.execute_batch("INSERT INTO t VALUES (1); COMMIT").unwrap();
        assert!(!is_reserved(&conn).unwrap());
        assert!(header(&Connection::open_in_memory().unwrap()).is_none_or(|bytes| bytes == [0; HEADER_BYTES]));
    }
}
