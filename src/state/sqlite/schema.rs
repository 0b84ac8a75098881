//! The state file as a file: its marks, its making, its tables and their versions.
//!
//! A state file is made under another name, completely, and then renamed into place: an empty or half-made one is
//! never ours. Whatever stands at the path already is looked at before SQLite gets to see it, and only a file with our
//! marks is ever opened for writing.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rusqlite::Connection;

use super::conn::connect;
use super::faults::{self, Out};
use super::{crash_point, damage_before};
use crate::error::{Error, Result};
use crate::own_files::{COMPANIONS, FileAccess, OwnDatabase, OwnFile};

/// `Sext`, in the header's field for that purpose.
pub(super) const APPLICATION_ID: u32 = 0x5365_7874;

/// Brings a database from one version to the next.
pub(super) type Migration = fn(&Connection) -> Out<()>;

/// The step at position n leads from version n to n + 1. Steps are never changed once released, only added.
pub(super) const MIGRATIONS: &[Migration] = &[
    first_version,
    second_version,
    third_version,
    fourth_version,
    fifth_version,
    damage_version,
    candidate_version,
    ring_version,
    begun_version,
    beginning_version,
];

const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Size of the header of a database file (SQLite's file format, section 1.3), and where the fields are in it.
const HEADER_LEN: usize = 100;
const USER_VERSION_AT: usize = 60;
const APPLICATION_ID_AT: usize = 68;

/// Every table of version 1. No secondary indexes: a row stands in one place only, so none can disagree with another.
/// `prefix.id` is the cycle's id times 2^32 plus the position, which keeps a cycle's rows together without a key column.
/// `cursor` and `tally` stand last so that the small columns are read without them.
const VERSION_1: &str = "
CREATE TABLE crawl (id INTEGER PRIMARY KEY, name TEXT NOT NULL, latest INTEGER NOT NULL, sum INTEGER NOT NULL) STRICT;
CREATE TABLE cycle (id INTEGER PRIMARY KEY, crawl TEXT NOT NULL, number INTEGER NOT NULL, nonce INTEGER NOT NULL,
    identity TEXT NOT NULL, started REAL NOT NULL, finished REAL, delivered INTEGER NOT NULL, sum INTEGER NOT NULL
) STRICT;
CREATE TABLE prefix (id INTEGER PRIMARY KEY, done INTEGER NOT NULL, claimant INTEGER NOT NULL, fence INTEGER NOT NULL,
    notes INTEGER NOT NULL, chain INTEGER NOT NULL, sum INTEGER NOT NULL, cursor BLOB, tally BLOB
) STRICT;
CREATE TABLE note (cycle INTEGER NOT NULL, prefix INTEGER NOT NULL, number INTEGER NOT NULL, kind INTEGER NOT NULL,
    sum INTEGER NOT NULL, bucket BLOB NOT NULL, body TEXT NOT NULL, PRIMARY KEY (cycle, prefix, number)
) STRICT, WITHOUT ROWID;
";

fn first_version(conn: &Connection) -> Out<()> {
    Ok(conn.execute_batch(VERSION_1)?)
}

/// What version 2 adds: how the last run of each cleaning ended.
const VERSION_2: &str = "
CREATE TABLE cleaning (name TEXT PRIMARY KEY NOT NULL, ended REAL NOT NULL, result TEXT NOT NULL, sum INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

fn second_version(conn: &Connection) -> Out<()> {
    Ok(conn.execute_batch(VERSION_2)?)
}

/// What version 3 adds: when a prefix was last completed as a whole. `id` is the hash of store, job and prefix, which are
/// hashed into `sum` as well.
const VERSION_3: &str = "
CREATE TABLE visit (id INTEGER PRIMARY KEY, subject INTEGER NOT NULL, prefix TEXT NOT NULL, at REAL NOT NULL,
    sum INTEGER NOT NULL) STRICT;
";

fn third_version(conn: &Connection) -> Out<()> {
    Ok(conn.execute_batch(VERSION_3)?)
}

/// What version 4 adds: intents, keyed as notes are. A prefix without any has the checksum that it had before.
const VERSION_4: &str = "
ALTER TABLE prefix ADD COLUMN intents INTEGER NOT NULL DEFAULT 0;
ALTER TABLE prefix ADD COLUMN intent_chain INTEGER NOT NULL DEFAULT 0;
CREATE TABLE intent (cycle INTEGER NOT NULL, prefix INTEGER NOT NULL, number INTEGER NOT NULL, deletes INTEGER NOT NULL,
    sum INTEGER NOT NULL, bucket BLOB NOT NULL, body TEXT NOT NULL, PRIMARY KEY (cycle, prefix, number)
) STRICT, WITHOUT ROWID;
";

fn fourth_version(conn: &Connection) -> Out<()> {
    Ok(conn.execute_batch(VERSION_4)?)
}

/// What version 5 adds: when a rehearsal was confirmed. A cycle without has the checksum that it had before.
const VERSION_5: &str = "ALTER TABLE cycle ADD COLUMN confirmed REAL;";

fn fifth_version(conn: &Connection) -> Out<()> {
    Ok(conn.execute_batch(VERSION_5)?)
}

/// What this version adds: the objects that are damaged, by a hash of store and job, and how many they are; both also in the
/// cycles that are there already.
const VERSION_DAMAGE: &str = "
CREATE TABLE damage (subject INTEGER NOT NULL, prefix TEXT NOT NULL, bucket BLOB NOT NULL, object BLOB NOT NULL,
    since REAL NOT NULL, sum INTEGER NOT NULL, PRIMARY KEY (subject, prefix, bucket, object)
) STRICT, WITHOUT ROWID;
CREATE TABLE damage_total (subject INTEGER PRIMARY KEY, store TEXT NOT NULL, job TEXT NOT NULL, objects INTEGER NOT NULL,
    mix INTEGER NOT NULL, sum INTEGER NOT NULL) STRICT;
";

fn damage_version(conn: &Connection) -> Out<()> {
    conn.execute_batch(VERSION_DAMAGE)?;
    damage_before::enter(conn)
}

/// What this version adds: candidates, in pages, and when a cycle began to carry them out. A prefix and a cycle without have the
/// checksums that they had before.
const VERSION_CANDIDATES: &str = "
ALTER TABLE cycle ADD COLUMN carrying_out REAL;
ALTER TABLE prefix ADD COLUMN candidates INTEGER NOT NULL DEFAULT 0;
ALTER TABLE prefix ADD COLUMN candidate_sum INTEGER NOT NULL DEFAULT 0;
CREATE TABLE candidate (cycle INTEGER NOT NULL, prefix INTEGER NOT NULL, number INTEGER NOT NULL,
    candidates INTEGER NOT NULL, sum INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (cycle, prefix, number)
) STRICT, WITHOUT ROWID;
";

fn candidate_version(conn: &Connection) -> Out<()> {
    Ok(conn.execute_batch(VERSION_CANDIDATES)?)
}

/// What this version adds: rings, in pages, which the cycles of a store share. A cycle from before has its own among what
/// identifies it, and the checksum that it had.
const VERSION_RING: &str = "
ALTER TABLE cycle ADD COLUMN ring INTEGER;
CREATE TABLE ring (id INTEGER NOT NULL, page INTEGER NOT NULL, names TEXT NOT NULL, PRIMARY KEY (id, page)
) STRICT, WITHOUT ROWID;
";

fn ring_version(conn: &Connection) -> Out<()> {
    Ok(conn.execute_batch(VERSION_RING)?)
}

/// What this version adds: whether something of an intent may have been done, which was not known before.
const VERSION_BEGUN: &str = "ALTER TABLE intent ADD COLUMN begun INTEGER NOT NULL DEFAULT 1;";

fn begun_version(conn: &Connection) -> Out<()> {
    Ok(conn.execute_batch(VERSION_BEGUN)?)
}

/// What this version adds: whether prefixes of a cycle are yet to be added. A cycle that has them all has the checksum that it had.
const VERSION_BEGINNING: &str = "ALTER TABLE cycle ADD COLUMN beginning INTEGER NOT NULL DEFAULT 0;";

fn beginning_version(conn: &Connection) -> Out<()> {
    Ok(conn.execute_batch(VERSION_BEGINNING)?)
}

/// What stands at the path of a state file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FoundFile {
    Nothing,
    /// A file with our marks.
    Ours,
}

/// Looks at what stands at the path, by its first bytes and without SQLite, which might recover or lock it.
///
/// # Errors
/// [`Error::StateForeign`], [`Error::StateNewer`] or [`Error::StateDamaged`] for a file that must not be touched.
pub(super) fn inspect(file: &OwnFile) -> Result<FoundFile> {
    let (state, mut header) = (&file.path(), Vec::with_capacity(HEADER_LEN));
    let mut read = || match file.open(FileAccess::Read)? {
        Some(opened) => opened.take(HEADER_LEN as u64).read_to_end(&mut header).map(Some),
        None => Ok(None),
    };
    if read().map_err(|e| faults::io(state, "read", &e))?.is_none() {
        return Ok(FoundFile::Nothing);
    }
    let path = || state.to_owned();
    let damaged = |cause: String| Err(Error::StateDamaged { path: path(), cause });
    if header.is_empty() {
        return damaged("it is empty".to_owned());
    }
    if header.iter().all(|b| *b == 0) {
        return damaged("it begins with zeros".to_owned());
    }
    if !header.starts_with(MAGIC) && !MAGIC.starts_with(&header) {
        return Err(Error::StateForeign { path: path(), cause: "it is no SQLite database".to_owned() });
    }
    let Some(header) = header.first_chunk::<HEADER_LEN>() else {
        return damaged(format!("it ends after {} bytes", header.len()));
    };
    let field = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let found = field(APPLICATION_ID_AT);
    if found != APPLICATION_ID {
        return Err(foreign(state, found));
    }
    check_version(state, i64::from(field(USER_VERSION_AT).cast_signed()))?;
    Ok(FoundFile::Ours)
}

/// Checks application id and version once more through SQLite, which also sees what is in the write-ahead log.
pub(super) fn check_marks(conn: &Connection, state: &Path) -> Out<()> {
    let found: u32 = conn.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if found != APPLICATION_ID {
        return Err(foreign(state, found).into());
    }
    Ok(check_version(state, conn.pragma_query_value(None, "user_version", |row| row.get(0))?)?)
}

fn foreign(state: &Path, application_id: u32) -> Error {
    Error::StateForeign { path: state.to_owned(), cause: format!("its application id is {application_id:#010x}") }
}

fn check_version(state: &Path, found: i64) -> Result<()> {
    let known = MIGRATIONS.len() as i64;
    match found {
        1.. if found <= known => Ok(()),
        1.. => Err(Error::StateNewer { path: state.to_owned(), found, known }),
        _ => Err(Error::StateDamaged { path: state.to_owned(), cause: format!("its schema version is {found}") }),
    }
}

/// Makes a state file at a path where there is none. The caller holds the lock, so whatever has the temporary name was
/// left by a process that died.
pub(super) fn create(state: &OwnFile) -> Result<()> {
    let (path, draft) = (state.path(), state.beside("-new"));
    // A write-ahead log without its database (somebody moved the state file away, and only that) would be replayed
    // into the new one.
    remove_companions(&path, state)?;
    remove(&path, &draft)?;
    remove_companions(&path, &draft)?;
    let made = write_draft(&path, &draft).and_then(|file| {
        crash_point("checkpoint::before_create");
        let put_in_place = || {
            file.sync_all()?;
            draft.rename_to(state, &file)?;
            state.folder().sync()
        };
        put_in_place().map_err(|e| faults::io(&path, "create", &e))
    });
    if made.is_err() {
        // The first error counts; what is left now is removed by the next attempt.
        let _ = remove(&path, &draft).and_then(|()| remove_companions(&path, &draft));
    }
    crash_point("checkpoint::after_create");
    made
}

fn write_draft(state: &Path, draft: &OwnFile) -> Result<File> {
    let failed = |e: std::io::Error| faults::io(state, "create", &e);
    // Not left to SQLite, which would not say why it cannot.
    let file = draft.create_new().map_err(failed)?;
    let database = OwnDatabase::look(draft).map_err(failed)?;
    let conn = connect(&draft.path())?;
    database.map_or(Ok(()), |database| database.check_again()).map_err(failed)?;
    faults::located(state, "create", &conn, |conn| {
        // Nobody sees the file before it is whole, and the caller syncs it then: until the rename a crash leaves no state.
        conn.pragma_update_and_check(None, "journal_mode", "MEMORY", |_| Ok(()))?;
        conn.pragma_update(None, "synchronous", "OFF")?;
        // Before the first table, or never: a file without it would have to be written anew as a whole. Free pages of
        // such a file are used again, but never given back.
        conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        conn.pragma_update(None, "application_id", APPLICATION_ID)?;
        migrate(conn, MIGRATIONS)?;
        // Last: until then nothing but the file itself is needed.
        conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        Ok(())
    })?;
    conn.close().map_err(|(_, e)| faults::CallFault::from(e).into_error(state, "create", None))?;
    Ok(file)
}

fn remove_companions(state: &Path, database: &OwnFile) -> Result<()> {
    COMPANIONS.iter().try_for_each(|companion| remove(state, &database.beside(companion)))
}

fn remove(state: &Path, file: &OwnFile) -> Result<()> {
    file.remove().map_err(|e| faults::io(state, "remove what is left of an older", &e))
}

/// Brings a database to the newest version, each step and its number in one transaction.
pub(super) fn migrate(conn: &Connection, migrations: &[Migration]) -> Out<()> {
    let version: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let from = usize::try_from(version).unwrap_or(usize::MAX);
    for (position, step) in migrations.iter().enumerate().skip(from) {
        conn.execute_batch("BEGIN IMMEDIATE")?;
        let done = step(conn).and_then(|()| {
            conn.pragma_update(None, "user_version", position as i64 + 1)?;
            Ok(conn.execute_batch("COMMIT")?)
        });
        if done.is_err() && !conn.is_autocommit() {
            conn.execute_batch("ROLLBACK")?;
        }
        done?;
    }
    Ok(())
}
