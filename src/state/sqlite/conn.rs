//! Connections to a state file: how they are set up, what is looked at when the file is opened, and transactions.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, MAIN_DB, OpenFlags};

use super::faults::{self, CallFault, Out};
use super::schema::{self, MIGRATIONS};
use crate::error::{Error, Result, StateLack};

/// How every connection is opened: never making a file, never through a link, never taking a path for a URI.
pub(super) fn flags() -> OpenFlags {
    OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW
}

/// Likewise one that only reads.
pub(super) fn reading_flags() -> OpenFlags {
    OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW
}

/// Has a connection refuse to write.
pub(super) fn only_reads(conn: &Connection) -> rusqlite::Result<()> {
    conn.pragma_update(None, "query_only", true)
}

/// Opens the file; nothing is read yet.
pub(super) fn connect(path: &Path) -> Result<Connection> {
    Connection::open_with_flags(path, flags()).map_err(|e| CallFault::from(e).into_error(path, "open", None))
}

/// Refuses a file that SQLite could open for reading only. Asked first: the log cannot be read then either.
pub(super) fn check_writable(conn: &Connection, path: &Path) -> Out<()> {
    match conn.is_readonly(MAIN_DB)? {
        true => Err(CallFault::Refused(Error::StateUnusable {
            doing: "open",
            path: path.to_owned(),
            cause: "it is read-only".to_owned(),
            lacks: StateLack::Rights,
        })),
        false => Ok(()),
    }
}

fn unusable(path: &Path, cause: String) -> CallFault {
    CallFault::Refused(Error::State { doing: "open", path: path.to_owned(), cause })
}

/// Sets up a connection.
pub(super) fn settings(conn: &Connection, busy: Duration) -> rusqlite::Result<()> {
    conn.busy_timeout(busy)?;
    conn.set_prepared_statement_cache_capacity(64);
    conn.execute_batch(
        "PRAGMA synchronous = NORMAL;
         PRAGMA wal_autocheckpoint = 0;
         PRAGMA cell_size_check = ON;
         PRAGMA trusted_schema = OFF;
         PRAGMA temp_store = MEMORY;",
    )
}

/// Looks whether the file is one to work with, and brings it to the newest version.
pub(super) fn examine(conn: &Connection, path: &Path) -> Out<()> {
    let health: String = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if health != "ok" {
        return Err(CallFault::Damaged(health.replace('\n', ", ")));
    }
    schema::check_marks(conn, path)?;
    let mode: String = conn.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Err(unusable(path, format!("its file system allows no write-ahead log (journal mode is {mode})")));
    }
    schema::migrate(conn, MIGRATIONS)
}

/// Moves everything in the write-ahead log into the database, syncs both, and cuts the log.
///
/// # Errors
/// [`CallFault::Busy`] if a reader of an older state keeps some of it out. That readers of the newest state keep the log from
/// being cut is no error.
pub(super) fn empty_wal(conn: &Connection) -> Out<()> {
    let counts = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    let (busy, frames, moved): (bool, i64, i64) = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], counts)?;
    if busy && (frames < 0 || moved < frames) { Err(CallFault::Busy) } else { Ok(()) }
}

/// Runs a transaction that begins with this statement, and rolls it back if anything fails.
pub(super) fn transact<T>(
    conn: &Connection,
    path: &Path,
    doing: &'static str,
    begin: &str,
    body: impl FnOnce(&Connection) -> Out<T>,
) -> Result<T> {
    let whole = |conn: &Connection| {
        conn.prepare_cached(begin)?.execute([])?;
        let value = body(conn)?;
        conn.prepare_cached("COMMIT")?.execute([])?;
        Ok(value)
    };
    let done = faults::located(path, doing, conn, whole);
    // SQLite rolls back by itself after some errors, not after others.
    if done.is_err() && !conn.is_autocommit() {
        // The first error counts. A rollback that fails leaves the transaction open, and the next call says so.
        let _ = conn.execute_batch("ROLLBACK");
    }
    done
}
