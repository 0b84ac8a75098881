//! Opening a local database such that nothing is changed by looking, and closing it likewise.
//!
//! The old backup programs lose a snapshot if somebody reads while they commit with a rollback journal. So nothing here
//! reads under a shared lock alone: the header is read without a lock, a backup that runs is seen without one, and
//! the first transaction takes the write lock where there is a rollback journal.
//!
//! What the schema of a stranger could do is switched off before it is read: triggers, views, foreign keys, functions with
//! side effects, cells without end.

use std::cell::Cell;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Read;
use std::ops::Deref;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, ErrorCode, MAIN_DB, OpenFlags};

use super::decision::beside;
use super::error::LocalDbError;
use super::faults::{self, Trouble};
use super::place;
use super::schema::Schema;
use crate::error::{Error, Result};
use crate::own_files::{OwnDatabase, OwnFile};
use crate::sqlite_file;

/// How every connection is opened: never making a file, never through a link, never taking a path for a URI.
pub(super) const FLAGS: OpenFlags =
    OpenFlags::SQLITE_OPEN_READ_WRITE.union(OpenFlags::SQLITE_OPEN_NO_MUTEX).union(OpenFlags::SQLITE_OPEN_NOFOLLOW);
/// The largest text or blob that is read.
pub(super) const CELL_MAX_BYTES: i32 = 1 << 20;
/// The largest row that is written: of as many such cells as a table that is used may have columns.
const ROW_MAX_BYTES: i32 = CELL_MAX_BYTES * (Schema::COLUMNS_MAX as i32 + 1);
/// The longest statement in a schema. Those of the old programs have less than 1 KiB.
const STATEMENT_MAX_BYTES: i32 = 4 << 10;
/// Steps of SQLite's machine until the schema is read, some ten for each of its objects: SQLite keeps the statement of each, taken
/// apart, which is much larger than its text.
const READING_STEPS_MAX: i32 = 2500;
/// Steps until it is looked at.
const LOOKING_STEPS_MAX: i32 = 50_000;
/// Most memory for pages, with what SQLite keeps beside each.
const CACHE_BYTES: i64 = 32 << 20;
/// That, on a machine of 64 bits: 272 bytes in the same piece of memory, and 16 of the allocator.
const BESIDE_A_PAGE_BYTES: i64 = 288;
/// As a header says that there is a write-ahead log.
const WITH_LOG: u8 = 2;

/// What a database is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To look: what a crash has left half written stays as it is.
    Look,
    Clean,
}

/// A connection that leaves database and log as they were found, unless something was changed through it.
#[derive(Debug)]
pub(super) struct Handle {
    conn: Connection,
    path: PathBuf,
    /// Whether a write-ahead log was there before.
    had_log: bool,
    changed: Cell<bool>,
}

impl Handle {
    /// To be called when a change is committed: SQLite may tidy up as it closes.
    pub(super) fn note_change(&self) {
        self.changed.set(true);
    }

    pub(super) fn has_changed(&self) -> bool {
        self.changed.get()
    }
}

impl Deref for Handle {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.conn
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // An empty log that only this connection has made goes again, as SQLite does it by itself.
        let empty = || fs::metadata(beside(&self.path, "-wal")).is_ok_and(|log| log.len() == 0);
        let tidies = self.changed.get() || (!self.had_log && empty());
        // What fails here leaves the log where it is.
        let _ = self.conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, !tidies);
    }
}

pub(super) struct OpenDatabase {
    pub(super) conn: Handle,
    pub(super) schema: Schema,
    /// How a reading transaction begins: with a write-ahead log nobody minds; otherwise under the write lock.
    pub(super) reading: &'static str,
}

/// Opens a database by its resolved name.
pub(super) fn open(path: &Path, purpose: Purpose) -> Result<OpenDatabase> {
    place::refuse_unfit(path)?;
    let had_log = place::has_beside(path, "-wal");
    let disbelieved = |e: std::io::Error| faults::io(&e, "open", path);
    let database = OwnFile::at(path).and_then(|file| OwnDatabase::look(&file)).map_err(disbelieved)?;
    let conn = Connection::open_with_flags(path, FLAGS).map_err(|e| faults::sqlite(&e, "open", path, None))?;
    let conn = Handle { conn, path: path.to_owned(), had_log, changed: Cell::new(false) };
    let named = |e: rusqlite::Error| faults::sqlite(&e, "open", path, Some(&conn));
    restrict(&conn).map_err(named)?;
    let header = sqlite_file::header(&conn);
    if header.is_none_or(|bytes| !bytes.starts_with(b"SQLite format 3\0")) {
        return Err(foreign(path, "it is not an SQLite database".to_owned()));
    }
    let logged = header.is_some_and(|bytes| bytes[19] == WITH_LOG);
    let read_only = conn.is_readonly(MAIN_DB).unwrap_or(false);
    if read_only && !logged {
        // It could be read, but not locked: a backup that commits meanwhile would lose its snapshot without a word.
        return Err(faults::read_only("lock", path));
    }
    refuse_reserved(&conn, path)?;
    if has_hot_journal(path) {
        if purpose == Purpose::Look || read_only {
            return Err(half_written(path));
        }
        refuse_foreign_before_recovery(path)?;
    }
    let begin = if logged { "BEGIN" } else { "BEGIN IMMEDIATE" };
    let schema = transact(&conn, path, "open", begin, End::Look, |conn| Ok(examine(conn)?));
    let schema = schema.map_err(|error| if logged { about_log(error, path) } else { error })?;
    let schema = schema.map_err(|cause| foreign(path, cause))?;
    // SQLite goes by name: it must have opened what was looked at.
    database.as_ref().map_or(Ok(()), OwnDatabase::check_again).map_err(disbelieved)?;
    settle(&conn).map_err(named)?;
    // The header may be older than the first transaction.
    let mode: String = conn.query_row("PRAGMA journal_mode", [], |row| row.get(0)).map_err(named)?;
    let reading = if mode == "wal" { "BEGIN" } else { "BEGIN IMMEDIATE" };
    Ok(OpenDatabase { conn, schema, reading })
}

fn foreign(path: &Path, cause: String) -> Error {
    Error::from(LocalDbError::Foreign { path: path.to_owned(), cause })
}

/// Refuses a database that a backup works on, without a lock that could be in its way.
pub(super) fn refuse_reserved(conn: &Connection, path: &Path) -> Result<()> {
    match sqlite_file::is_reserved(conn) {
        Ok(false) => Ok(()),
        Ok(true) => Err(Error::from(LocalDbError::Busy { path: path.to_owned() })),
        Err(e) => Err(faults::locking(&e, path)),
    }
}

/// What is set without reading the file.
fn restrict(conn: &Connection) -> rusqlite::Result<()> {
    // Whoever waits here would not see that a backup runs, and could not say so.
    conn.busy_timeout(Duration::ZERO)?;
    conn.set_prepared_statement_cache_capacity(64);
    for (config, on) in [
        (DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
    ] {
        conn.set_db_config(config, on)?;
    }
    conn.set_limit(Limit::SQLITE_LIMIT_LENGTH, CELL_MAX_BYTES)?;
    conn.set_limit(Limit::SQLITE_LIMIT_SQL_LENGTH, STATEMENT_MAX_BYTES)?;
    conn.set_limit(Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 100)?;
    conn.execute_batch("PRAGMA temp_store = MEMORY; PRAGMA cell_size_check = ON; PRAGMA wal_autocheckpoint = 0;")
}

/// What SQLite sets only once it knows the schema.
fn settle(conn: &Connection) -> rusqlite::Result<()> {
    // In pages: given in bytes, SQLite does not count all that it keeps beside each, which for pages of 1 KiB is a quarter.
    let page_bytes: i64 = conn.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    conn.pragma_update(None, "cache_size", CACHE_BYTES / (page_bytes + BESIDE_A_PAGE_BYTES))?;
    let mode: String = conn.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
    // In a log, a loss of power may take the last steps back, never tear one: they are done again.
    conn.pragma_update(None, "synchronous", if mode == "wal" { "NORMAL" } else { "FULL" })
}

/// Reads the schema, within a bound, and looks at it.
fn examine(conn: &Connection) -> rusqlite::Result<std::result::Result<Schema, String>> {
    let within = |steps: i32| conn.progress_handler(steps, Some(|| true));
    within(READING_STEPS_MAX)?;
    let read = conn.prepare("SELECT 1 FROM sqlite_master").map(drop);
    within(LOOKING_STEPS_MAX)?;
    let found = read.and_then(|()| Schema::detect(conn));
    conn.progress_handler(0, None::<fn() -> bool>)?;
    match found {
        Err(e) if e.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => {
            Ok(Err("its schema is larger than that of any local database".to_owned()))
        }
        // SQLite calls such a schema malformed, and names the object.
        Err(e) if e.to_string().ends_with("string or blob too big") => {
            Ok(Err(format!("its schema has a statement that is longer than any of a local database ({e})")))
        }
        found => found,
    }
}

/// Whether a program has died in the middle of a change, so that the next one that opens the database undoes it. To be
/// asked only when nobody writes.
fn has_hot_journal(path: &Path) -> bool {
    let journal = beside(path, "-journal");
    let Ok(found) = fs::symlink_metadata(&journal) else { return false };
    let first = || {
        let mut byte = [0];
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        File::options().read(true).custom_flags(flags).open(&journal)?.read_exact(&mut byte).map(|()| byte[0])
    };
    // An empty one, or one of zeros, is what other journal modes leave behind.
    !found.is_file() || (found.len() > 0 && first().map_or(true, |byte| byte != 0))
}

fn half_written(path: &Path) -> Error {
    let cause =
        "a program has died while it changed the database, and the journal beside it (-journal) is still to be \
        rolled back, which would change the file; run the backup program once, or clean without --dry-run"
            .to_owned();
    Error::from(LocalDbError::Failed { doing: "look at", path: path.to_owned(), cause })
}

/// Looks at a database that is still to be rolled back, past its journal: what is foreign anyway is left as it is.
fn refuse_foreign_before_recovery(path: &Path) -> Result<()> {
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => uri.push(char::from(*byte)),
            // Writing to a string cannot fail.
            _ => drop(write!(uri, "%{byte:02X}")),
        }
    }
    uri.push_str("?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let look = || {
        let conn = Connection::open_with_flags(uri, flags)?;
        restrict(&conn)?;
        examine(&conn)
    };
    match look() {
        Ok(Err(cause)) => Err(foreign(path, cause)),
        // What cannot be read now may be whole once it is rolled back.
        _ => Ok(()),
    }
}

/// Says what is missing where the files of a write-ahead log cannot be made.
fn about_log(error: Error, path: &Path) -> Error {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let refused = rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).err();
    let (Some(LocalDbError::Failed { doing, path, .. }), Some(refused)) = (error.downcast_ref(), refused) else {
        return error;
    };
    let system = std::io::Error::from(refused);
    let cause = format!(
        "it has a write-ahead log, for which SQLite makes files beside it (-wal, -shm), and here it may not ({system}); {}, \
         or copy the database, and the file -wal if there is one, to another disk and work on the copy",
        faults::WRITABLE
    );
    Error::from(LocalDbError::Failed { doing, path: path.clone(), cause })
}

/// How a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// What it did is taken back: in a database of an old program, even to take the write lock changes the header.
    Look,
    /// What it did lasts.
    Change,
}

/// How large what is read or written may be from now on.
pub(super) fn bound_rows(conn: &Connection, end: End) -> rusqlite::Result<()> {
    let most = if end == End::Change { ROW_MAX_BYTES } else { CELL_MAX_BYTES };
    conn.set_limit(Limit::SQLITE_LIMIT_LENGTH, most).map(drop)
}

/// Runs a piece of work in a transaction of its own.
pub(super) fn transact<T>(
    conn: &Handle,
    path: &Path,
    doing: &'static str,
    begin: &str,
    end: End,
    work: impl FnOnce(&Connection) -> std::result::Result<T, Trouble>,
) -> Result<T> {
    if begin != "BEGIN" {
        refuse_reserved(conn, path)?;
    }
    let whole = || {
        conn.prepare_cached(begin)?.execute([])?;
        let value = work(conn)?;
        conn.prepare_cached(if end == End::Change { "COMMIT" } else { "ROLLBACK" })?.execute([])?;
        Ok(value)
    };
    let done = whole().map_err(|trouble| named(trouble, doing, path, conn));
    if done.is_err() && !conn.is_autocommit() {
        // The first error counts. SQLite rolls back by itself after some errors, not after others.
        let _ = conn.execute_batch("ROLLBACK");
    }
    if done.is_ok() && end == End::Change {
        conn.note_change();
    }
    done
}

/// Makes an error of what went wrong on a connection.
pub(super) fn named(trouble: Trouble, doing: &'static str, path: &Path, conn: &Connection) -> Error {
    match trouble {
        Trouble::Sqlite(error) => faults::sqlite(&error, doing, path, Some(conn)),
        Trouble::Named(error) => error,
    }
}
