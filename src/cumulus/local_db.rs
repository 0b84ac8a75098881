//! One open local database, with the operations of the old programs.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, MAIN_DB, OptionalExtension};

use super::applier::{Applier, ROWS_AT_ONCE};
use super::decision::beside;
use super::error::LocalDbError;
use super::faults::{self, Trouble};
use super::opening::{self, End, Handle, OpenDatabase, Purpose, named};
use super::place;
use super::policy::{
    Balance, CleaningPlan, ClockTrust, Era, Mode, Options, Policy, Removed, RunPart, SegmentEntry, SegmentList,
};
use super::schema::Schema;
use super::survey::plan;
use crate::error::Result;
use crate::own_files::{FileAccess, OwnFile};

/// How a transaction begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begin {
    /// It reads. With a rollback journal that takes the write lock too, see [`cumulus`](crate::cumulus).
    Reading,
    /// It writes.
    Writing,
}

/// A segment, by number or by its line in the list.
#[derive(Debug, Clone, Copy)]
pub enum Segment<'a> {
    /// By its `segmentid`.
    Id(i64),
    /// By its entry in the cleaning list.
    Entry(&'a SegmentEntry),
}

impl From<i64> for Segment<'_> {
    fn from(id: i64) -> Self {
        Segment::Id(id)
    }
}

impl<'a> From<&'a SegmentEntry> for Segment<'a> {
    fn from(entry: &'a SegmentEntry) -> Self {
        Segment::Entry(entry)
    }
}

/// A local database of LBS or Cumulus.
///
/// The operations work in one transaction, which the first that changes something begins and [`commit`](Self::commit)
/// ends; dropping the database rolls back. For work in steps see [`Survey`](super::Survey) and [`Applier`].
///
/// ```no_run
/// # fn main() -> sexton::Result<()> {
/// let mut db = sexton::cumulus::LocalDb::open("/var/lib/cumulus")?;
/// db.garbage_collect()?;
/// for segment in db.cleaning_list(0.0)? {
///     if segment.benefit.is_some_and(|benefit| benefit > 7.0) {
///         db.mark_segment_expired(&segment)?;
///     }
/// }
/// db.balance()?;
/// db.commit()
/// # }
/// ```
#[derive(Debug)]
pub struct LocalDb {
    conn: Handle,
    path: PathBuf,
    schema: Schema,
    /// How a reading transaction begins. Asked once: the question reads, too, and a database that gets a write-ahead log
    /// later is only read more carefully than it need be.
    reading: &'static str,
    mode: Mode,
    now: Option<f64>,
}

impl LocalDb {
    /// Opens a local database: the file, or the folder that holds `localdb.sqlite`; links are resolved. Nothing is changed,
    /// but for what a program that died has left half written: that is rolled back.
    ///
    /// # Errors
    /// If it cannot be read, is in use, or is not a local database of a known era.
    pub fn open(path: impl AsRef<Path>) -> Result<LocalDb> {
        LocalDb::open_for(&place::resolve_own(path.as_ref())?, Purpose::Clean)
    }

    /// As [`open`](Self::open), by a name that is resolved.
    pub(super) fn open_for(path: &Path, purpose: Purpose) -> Result<LocalDb> {
        let OpenDatabase { conn, schema, reading } = opening::open(path, purpose)?;
        Ok(LocalDb { conn, path: path.to_owned(), schema, reading, mode: Mode::Careful, now: None })
    }

    /// The era of the database.
    pub fn era(&self) -> Era {
        self.schema.era
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether [`garbage_collect`](Self::garbage_collect), [`cleaning_list`](Self::cleaning_list) and
    /// [`balance`](Self::balance) are careful (the default) or do exactly what the old programs did.
    pub fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
    }

    /// What counts as now for those, as a Julian day (UTC); by default the clock of the machine.
    pub fn set_now(&mut self, now: f64) {
        self.now = Some(now);
    }

    /// What counts as now, as a Julian day (UTC).
    ///
    /// # Errors
    /// If SQLite cannot tell the time.
    pub fn now(&self) -> Result<f64> {
        if let Some(now) = self.now {
            return Ok(now);
        }
        let read = self.conn.query_row("SELECT julianday('now')", [], |row| row.get(0));
        read.map_err(|e| faults::sqlite(&e, "tell the time with", &self.path, Some(&self.conn)))
    }

    /// Drops old snapshots, and what is needed by none that is kept.
    ///
    /// # Errors
    /// [`LocalDbError::Refused`] where the careful mode refuses.
    pub fn garbage_collect(&mut self) -> Result<Removed> {
        Ok(self.run(RunPart::GarbageCollection, None)?.removed)
    }

    /// All segments with their benefit, the best to clean first. `age_boost_days` are added to every age, to clean
    /// more before a backup that is to be kept for long.
    ///
    /// # Errors
    /// [`LocalDbError::Refused`] where the old cleaner would have failed (compat mode).
    pub fn cleaning_list(&mut self, age_boost_days: f64) -> Result<SegmentList> {
        let policy = Policy::Benefit { threshold_days: f64::MAX, age_boost_days, intent: 1.0 };
        let options = self.options(RunPart::Marking(Vec::new()), Some(policy))?;
        let planned = plan(self, &options)?;
        planned.refuse_refused(&self.path)?;
        Ok(planned.into_plan().segments)
    }

    /// Marks all blocks of a segment as expired: the next backup writes those it needs again.
    ///
    /// # Errors
    /// If the database cannot be changed.
    pub fn mark_segment_expired<'a>(&mut self, segment: impl Into<Segment<'a>>) -> Result<()> {
        let id = match segment.into() {
            Segment::Id(id) => id,
            Segment::Entry(entry) => entry.id,
        };
        self.begin_pending()?;
        let failed = |e: rusqlite::Error| faults::sqlite(&e, "mark a segment in", &self.path, Some(&self.conn));
        opening::bound_rows(&self.conn, End::Change).map_err(failed)?;
        let expire_time = (self.era() == Era::B && self.schema.has("segments", "expire_time")).then_some(
            "UPDATE segments SET expire_time = (SELECT max(snapshotid) FROM snapshots) WHERE segmentid = ?1",
        );
        let blocks = match self.era() {
            Era::A => "UPDATE block_index SET expired = 1 WHERE segmentid = ?1",
            Era::B | Era::C => "UPDATE block_index SET expired = 0 WHERE segmentid = ?1",
        };
        for sql in expire_time.into_iter().chain([blocks]) {
            self.conn.execute(sql, [id]).map_err(failed)?;
        }
        Ok(())
    }

    /// Groups everything that is expired by age (eras A and B), and tells how.
    ///
    /// # Errors
    /// [`LocalDbError::Refused`] where the old cleaner would have failed (compat mode).
    pub fn balance(&mut self) -> Result<Balance> {
        Ok(self.run(RunPart::Balancing, None)?.balance)
    }

    /// Makes the changes last.
    ///
    /// # Errors
    /// If the database is in use or the disk is full: the changes are still pending, and this may be called again.
    pub fn commit(&mut self) -> Result<()> {
        let pending = !self.conn.is_autocommit();
        self.end_pending("COMMIT", "commit the changes to")?;
        if pending {
            self.conn.note_change();
        }
        Ok(())
    }

    /// Takes the changes back.
    ///
    /// # Errors
    /// If SQLite cannot.
    pub fn rollback(&mut self) -> Result<()> {
        self.end_pending("ROLLBACK", "roll back the changes to")
    }

    /// Moves what is in the write-ahead log into the database, as far as nobody reads it. Takes no write lock: to be
    /// called between steps, since this connection never does it by itself. Nothing to do with a rollback journal.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn checkpoint(&self) -> Result<()> {
        let moved = self.conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).optional();
        match moved.map_err(|e| faults::sqlite(&e, "checkpoint", &self.path, Some(&self.conn))) {
            Err(e) if matches!(e.downcast_ref(), Some(LocalDbError::Busy { .. })) => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// Makes an error of a database that may only be read.
    pub(super) fn refuse_read_only(&self) -> Result<()> {
        let read_only = self.conn.is_readonly(MAIN_DB).unwrap_or(false);
        if read_only { Err(faults::read_only("change", &self.path)) } else { Ok(()) }
    }

    /// Has the write-ahead log on the disk, if there is one: committed steps may wait in memory until then.
    pub(super) fn sync_log(&self) -> Result<()> {
        // SQLite has no locks on the log, which closing it would give up.
        let log = OwnFile::at(&beside(&self.path, "-wal")).and_then(|log| log.open(FileAccess::Read));
        let synced = log.and_then(|log| log.map_or(Ok(()), |log| log.sync_all()));
        synced.map_err(|e| faults::io(&e, "save the log of", &self.path))
    }

    /// Whether reading takes the write lock too: with a rollback journal.
    pub(super) fn reading_locks(&self) -> bool {
        self.reading != "BEGIN"
    }

    /// Whether anything was changed by way of this one.
    pub(super) fn has_changed(&self) -> bool {
        self.conn.has_changed()
    }

    fn options(&self, part: RunPart, policy: Option<Policy>) -> Result<Options> {
        let clock = if self.now.is_some() { ClockTrust::Given } else { ClockTrust::Wall };
        Ok(Options { mode: self.mode, clock, part, policy, ..Options::at(self.now()?) })
    }

    fn run(&mut self, part: RunPart, policy: Option<Policy>) -> Result<CleaningPlan> {
        let options = self.options(part, policy)?;
        self.begin_pending()?;
        let (plan, mut applier) = Applier::of(plan(self, &options)?, self)?;
        while applier.next_step(self, ROWS_AT_ONCE)?.more {}
        Ok(plan)
    }

    fn begin_pending(&mut self) -> Result<()> {
        if !self.conn.is_autocommit() {
            return Ok(());
        }
        opening::refuse_reserved(&self.conn, &self.path)?;
        self.conn
            .execute_batch("BEGIN IMMEDIATE")
            .map_err(|e| faults::sqlite(&e, "change", &self.path, Some(&self.conn)))
    }

    fn end_pending(&mut self, sql: &str, doing: &'static str) -> Result<()> {
        if self.conn.is_autocommit() {
            return Ok(());
        }
        self.conn.execute_batch(sql).map_err(|e| faults::sqlite(&e, doing, &self.path, Some(&self.conn)))
    }

    pub(super) fn schema(&self) -> &Schema {
        &self.schema
    }

    pub(super) fn conn(&self) -> &Connection {
        &self.conn
    }

    /// Runs a piece of work in one transaction, or in the one that is pending.
    pub(super) fn transact<T>(
        &self,
        begin: Begin,
        doing: &'static str,
        work: impl FnOnce(&Connection) -> std::result::Result<T, Trouble>,
    ) -> Result<T> {
        let end = if begin == Begin::Writing { End::Change } else { End::Look };
        let failed = |e: rusqlite::Error| faults::sqlite(&e, doing, &self.path, Some(&self.conn));
        opening::bound_rows(&self.conn, end).map_err(failed)?;
        if !self.conn.is_autocommit() {
            return work(&self.conn).map_err(|trouble| named(trouble, doing, &self.path, &self.conn));
        }
        let begin = match begin {
            Begin::Reading => self.reading,
            Begin::Writing => "BEGIN IMMEDIATE",
        };
        opening::transact(&self.conn, &self.path, doing, begin, end, work)
    }

    /// A number that differs once another connection has changed the database.
    pub(super) fn data_version(conn: &Connection) -> rusqlite::Result<i64> {
        conn.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_works_on_a_database_can_go_to_another_thread() {
        fn is_send<T: Send>() {}
        is_send::<LocalDb>();
        is_send::<super::super::Survey>();
        is_send::<Applier>();
    }
}
