//! A [`StateStore`](super::StateStore) in one SQLite file, for one process at a time.
//!
//! # What may happen to the file, and what is read then
//! Commits go to a write-ahead log (WAL), whose frames are chained by checksums: cut or damaged anywhere, it ends there
//! for SQLite, which silently shows an earlier state. That is harmless as long as it is an earlier state *of the same
//! cycle*: the walk repeats what was lost. It is not harmless if the cycle itself, or its end, becomes unknown. So:
//!
//! 1. **The log is emptied into the database** (`wal_checkpoint(TRUNCATE)`, which syncs both) when a state is
//!    opened, after each beginning, each end and each delivery of a cycle, before it carries anything out, and in between whenever the log has
//!    grown by some MB. Nothing is claimed or committed in a cycle before its beginning has got there. Thus the
//!    database without its log always knows the newest cycle, and what the log alone knows is progress in it. SQLite's
//!    own automatic emptying is off: it leaves a full log behind whose frames are older than the pages of the database,
//!    and such a log, when damaged, would mix both ages.
//! 2. **Pages of different ages** still can come together if the process dies in the middle of an emptying *and* the log
//!    is damaged, or if an old file is restored beside a younger log. A prefix depends on no other prefix, so it
//!    is enough that each prefix, with its notes, is as it once was committed: its row has a checksum, and in it the
//!    count and the chained checksum of its notes. What does not fit together (a finished cycle with an
//!    incomplete prefix, a missing or doubled row, notes of another age) is an error. Rows are sealed with a random
//!    number of their cycle, so those of another cycle never pass for its own. See `rows` and `whole`.
//! 3. **A damaged database** shows by its first bytes (`schema`), by `PRAGMA quick_check` at opening, by the rows'
//!    checksums, or by missing rows. [`latest`](super::StateReader::latest) reads all of a cycle that is still to be
//!    reported; the engine does the same in steps. A crawl is looked up by reading all crawls, never by its key alone: a damaged key would look like a new
//!    crawl.
//! 4. **No room**: a failed transaction is rolled back, and the same call may be made again. If the beginning of a cycle
//!    could be committed but not emptied into the database, claims and commits fail until that is made good.
//!
//! A kill loses nothing that was committed. A loss of power may lose commits since the last emptying
//! (`synchronous=NORMAL`), the youngest first, which is case 1; [`sync`](super::StateStore::sync) empties.
//!
//! Claims carry the number of the session that made them, so those of earlier processes are void from the opening on, and those on
//! a cycle that is taken up anew from then on, without anything being written.
//!
//! # Who reads and who writes
//! One connection writes. Whoever only wants to know reads a page at a time on another one that cannot write (`reader`), so
//! that folding and committing never wait for a reader, and no reader keeps the log from being cut (`gate`).

mod calls;
mod candidates;
mod conn;
mod damage;
mod damage_before;
mod faults;
mod gate;
mod intents;
mod lock;
mod notes;
mod reader;
mod rings;
mod rows;
mod runs;
mod schema;
mod steps;
mod tidy;
mod visits;
mod whole;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use r2d2::Pool;
use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::Connection;
use rusqlite::config::DbConfig;

use conn::{check_writable, connect, empty_wal, examine, only_reads, reading_flags, settings};
use faults::located;
use lock::StateLock;
use reader::SqliteReader;
use rows::{CycleRow, Seal};

use crate::error::{Error, Result};
use crate::own_files::{MissingFolder, OwnDatabase, OwnFile};
use crate::policy::cycle::{CycleIdentity, CycleKey};
use crate::threads;

/// How long opening waits for another program's lock, and how long everything later does; there the caller retries.
const BUSY_AT_OPEN: Duration = Duration::from_secs(3);
const BUSY_LATER: Duration = Duration::from_millis(100);

/// By how much the write-ahead log grows before it is emptied: about 1,000 pages, SQLite's own default.
const WAL_GROWTH_MAX_BYTES: u64 = 4 << 20;

/// What the pool starts for itself, and panics if it cannot.
const POOL_THREADS: usize = 3;
/// Pages that are read at the same time, at most.
const READERS_MAX: u32 = 3;
/// How long whatever begins or ends a cycle waits for pages that are being read. A commit in between waits for none.
const READERS_WAITED_FOR: Duration = Duration::from_millis(100);

/// Progress of crawls in a SQLite file. Held by one process at a time.
pub struct SqliteStore {
    path: PathBuf,
    wal: PathBuf,
    /// Marks the claims of this opening. Never 0.
    session: i64,
    /// Marks those on cycles that were taken up since.
    sessions: HashMap<CycleKey, i64>,
    /// What is worth remembering of cycles in work; forgotten after any error, and read again.
    laps: HashMap<CycleKey, CycleInProgress>,
    /// Damaged objects by store and job, as far as they were asked for; forgotten as laps are.
    damaged: HashMap<(Arc<str>, Arc<str>), u64>,
    /// Whether the database must know more than it does before anything is claimed or committed.
    emptying_owed: bool,
    /// The length of the log at which it is emptied, in bytes.
    empty_wal_at: u64,
    reader: Arc<SqliteReader>,
    // Fields are dropped in this order: the connections go before the lock does.
    writer: Connection,
    _lock: StateLock,
}

/// A cycle in work, so that a commit need not count prefixes.
#[derive(Debug, Clone)]
struct CycleInProgress {
    seal: Seal,
    /// Marks the claims that are in force.
    session: i64,
    /// What its visits are remembered by, and the names of its prefixes.
    subject: i64,
    /// The store and the job.
    of: (Arc<str>, Arc<str>),
    ring: Arc<[String]>,
    prefixes: u32,
    /// How many of them are not complete, and how many candidates all have: of those before `next`.
    left: u32,
    candidates: u64,
    /// Where it is to be taken up further; behind the last prefix when it has been as a whole.
    next: u32,
    beginning: bool,
    carrying_out: bool,
    /// No prefix before this one is free.
    first_free: u32,
    /// The prefixes by their last visits, once that was asked for, and how many of them from the first on are not free.
    oldest: Option<(Arc<[u32]>, usize)>,
}

impl CycleInProgress {
    /// That of a cycle of which nothing is taken up.
    fn new(row: &CycleRow, identity: &CycleIdentity, session: i64) -> CycleInProgress {
        let CycleIdentity { store, job, ring, .. } = identity;
        CycleInProgress {
            seal: row.seal(),
            session,
            subject: visits::subject(store, job),
            of: (store.as_str().into(), job.as_str().into()),
            ring: ring.clone(),
            prefixes: u32::try_from(ring.len()).unwrap_or(u32::MAX),
            left: 0,
            candidates: 0,
            next: 0,
            beginning: row.beginning,
            carrying_out: row.carrying_out.is_some(),
            first_free: 0,
            oldest: None,
        }
    }

    fn is_whole(&self) -> bool {
        self.next == self.prefixes && !self.beginning
    }
}

/// One kind of writing call: its name in errors, and its fail points.
struct WritingCall {
    doing: &'static str,
    before: &'static str,
    after: &'static str,
}

macro_rules! call {
    ($name:literal, $doing:literal) => {
        WritingCall {
            doing: $doing,
            before: concat!("checkpoint::before_", $name),
            after: concat!("checkpoint::after_", $name),
        }
    };
}

const BEGIN: WritingCall = call!("begin", "begin a cycle in");
const TAKE_UP: WritingCall = call!("take_up", "take up a cycle of");
const CLAIM: WritingCall = call!("claim", "claim a prefix in");
const COMMIT: WritingCall = call!("commit", "save progress in");
const RELEASE: WritingCall = call!("release", "release a prefix in");
const FINISH: WritingCall = call!("finish", "finish a cycle in");
const DELIVER: WritingCall = call!("deliver", "note the delivery of a report in");
const CARRY_OUT: WritingCall = call!("carry_out", "begin to carry out what was shown in");
const SYNC: WritingCall = call!("sync", "sync");
const RAN: WritingCall = call!("ran", "note the end of a cleaning in");
const REMOVE: WritingCall = call!("remove", "remove old cycles from");
const VACUUM: WritingCall = call!("vacuum", "give back free pages of");

impl SqliteStore {
    /// Opens a state file, or makes it, and the folders above it, if it is not there.
    ///
    /// Beside it stands `<name>-lock`, and while it is open SQLite's `-wal` and `-shm`.
    ///
    /// # Errors
    /// [`Error::StateHeld`] if another process has it open, [`Error::StateForeign`], [`Error::StateNewer`] or
    /// [`Error::StateDamaged`] if it is something else than a sound state file of a version known here (it
    /// is not touched then), [`Error::StateFull`] or [`Error::State`] if it cannot be made, read or written.
    pub fn open(path: &Path) -> Result<SqliteStore> {
        let file = place(path)?;
        let path = file.path();
        // A foreign file gets no lock file beside it. Yet no state that is held is looked into, even for its first
        // bytes: closing a file gives up all POSIX locks of the process on it, SQLite's among them.
        let lock = match StateLock::take_existing(&file)? {
            Some(lock) => lock,
            None => {
                schema::inspect(&file)?;
                StateLock::take(&file)?
            }
        };
        if schema::inspect(&file)? == schema::FoundFile::Nothing {
            schema::create(&file)?;
        }
        // Not opened any more from here on by anybody but SQLite: closing it gives up SQLite's locks.
        let database = OwnDatabase::look(&file).map_err(|e| faults::io(&path, "open", &e))?;
        let database = database.ok_or_else(|| faults::io(&path, "open", &std::io::ErrorKind::NotFound.into()))?;
        let writer = connect(&path)?;
        located(&path, "open", &writer, |conn| {
            check_writable(conn, &path)?;
            // A file that turns out to be damaged is left as it was found, with its log.
            conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            settings(conn, BUSY_AT_OPEN)?;
            examine(conn, &path)?;
            empty_wal(conn)?;
            Ok(())
        })?;
        database.check_again().map_err(|e| faults::io(&path, "open", &e))?;
        located(&path, "open", &writer, |conn| {
            conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
            Ok(conn.busy_timeout(BUSY_LATER)?)
        })?;
        let reader = Arc::new(SqliteReader::new(path.clone(), readers(&path, database)?));
        // So that a later want of files or threads keeps nobody from reading.
        reader.page(|conn| Ok(conn.execute_batch("SELECT count(*) FROM crawl")?))?;
        Ok(SqliteStore {
            wal: beside(&path, "-wal"),
            path,
            session: random(),
            sessions: HashMap::new(),
            laps: HashMap::new(),
            damaged: HashMap::new(),
            emptying_owed: false,
            empty_wal_at: WAL_GROWTH_MAX_BYTES,
            reader,
            writer,
            _lock: lock,
        })
    }

    /// The state file, with links resolved.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Empties the log, or remembers that it is owed.
    fn empty_or_owe(&mut self) {
        self.emptying_owed = self.empty().is_err();
    }

    /// Empties the log, and waits a while for readers of an older state.
    fn empty(&mut self) -> Result<()> {
        self.reader.gate.shut(READERS_WAITED_FOR);
        let emptied = self.empty_beside_readers();
        self.reader.gate.open();
        emptied
    }

    fn empty_beside_readers(&mut self) -> Result<()> {
        let length = std::fs::metadata(&self.wal).map_or(0, |m| m.len());
        // Whatever comes of it: the next attempt is after as much growth again, not after each commit.
        self.empty_wal_at = length.saturating_add(WAL_GROWTH_MAX_BYTES);
        located(&self.path, "empty the write-ahead log of", &self.writer, empty_wal)?;
        self.empty_wal_at = WAL_GROWTH_MAX_BYTES;
        Ok(())
    }

    fn pay_what_is_owed(&mut self) -> Result<()> {
        if self.emptying_owed {
            self.empty()?;
            self.emptying_owed = false;
        }
        Ok(())
    }

    /// Empties the log if it is long, or was to be emptied when somebody was reading. Waits for no reader: whoever is reading is soon
    /// done, and nobody else is let in until a later commit has emptied it.
    fn empty_if_long(&mut self) {
        let is_long = || std::fs::metadata(&self.wal).is_ok_and(|m| m.len() >= self.empty_wal_at);
        if self.reader.gate.is_shut() || is_long() {
            // Nothing is lost if it fails (a full disk, a reader from outside): the log just goes on growing.
            let _ = self.empty_unless_read_from();
        }
    }

    /// Empties the log unless somebody is reading; tells whether nobody was.
    fn empty_unless_read_from(&mut self) -> Result<bool> {
        if !self.reader.gate.shut(Duration::ZERO) {
            return Ok(false);
        }
        let emptied = self.empty_beside_readers();
        self.reader.gate.open();
        emptied?;
        self.emptying_owed = false;
        Ok(true)
    }
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        // Before the writer, which leaves no log behind if it is the last.
        self.reader.close();
    }
}

/// Connections that read a state file. None is closed before the state is.
fn readers(path: &Path, database: OwnDatabase) -> Result<Pool<SqliteConnectionManager>> {
    let settled = move |conn: &mut Connection| {
        // SQLite goes by name each time.
        database.check_again().map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))?;
        settings(conn, BUSY_LATER)?;
        only_reads(conn)
    };
    let manager = SqliteConnectionManager::file(path).with_flags(reading_flags()).with_init(settled);
    threads::wait_for(POOL_THREADS)?;
    Ok(Pool::builder()
        .max_size(READERS_MAX)
        .min_idle(Some(0))
        .max_lifetime(None)
        .idle_timeout(None)
        .test_on_check_out(false)
        .connection_timeout(BUSY_AT_OPEN)
        .error_handler(Box::new(r2d2::NopErrorHandler))
        .build_unchecked(manager))
}

/// The file that a path leads to, so that a state has one lock whatever links lead to it. Makes the folder.
fn place(path: &Path) -> Result<OwnFile> {
    if path.is_dir() {
        let cause = "it is a folder".to_owned();
        return Err(Error::State { doing: "open", path: path.to_owned(), cause });
    }
    OwnFile::named(path, MissingFolder::Make).map_err(|e| {
        let doing = if path.is_symlink() { "follow the link to" } else { "open" };
        faults::io(path, doing, &e)
    })
}

/// The path of a file that stands beside another one.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// A random number other than 0, from the keys that the standard library draws for its hash maps.
fn random() -> i64 {
    RandomState::new().hash_one(0u64).cast_signed() | 1
}

/// Where a test can kill the process: with the fail point's action `return`. Does nothing in release builds.
fn crash_point(name: &str) {
    let _ = name;
    crate::fail_point!(name, |_| std::process::abort());
}
