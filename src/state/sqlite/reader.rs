//! Reads a state in pages, each one transaction on a connection of a pool that can only read. See [`StateReader`].
//!
//! A page is some milliseconds: what it has at most is said where it is read ([`PREFIXES_READ`](crate::state::PREFIXES_READ),
//! [`NOTES_READ`], and below). Pages give way to whoever cuts the log, see [`gate`](super::gate).

use std::collections::BTreeMap;
use std::path::PathBuf;

use r2d2::{Pool, PooledConnection};
use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::Connection;

use super::conn::transact;
use super::damage::{self, Subject};
use super::faults::Out;
use super::gate::LogGate;
use super::rows::{CycleRow, PrefixRecord};
use super::whole::{self, WholeCycle};
use super::{intents, runs, visits};
use crate::error::{Error, Result};
use crate::job::DamagedObject;
use crate::policy::cycle::{CycleKey, KnownCycle};
use crate::state::{LastRun, NOTES_READ, NotePage, NotePlace, PrefixRow, StateReader, check};

/// Reads a state file beside its [`SqliteStore`](super::SqliteStore).
pub(super) struct SqliteReader {
    path: PathBuf,
    pool: Pool<SqliteConnectionManager>,
    pub gate: LogGate,
}

impl SqliteReader {
    pub fn new(path: PathBuf, pool: Pool<SqliteConnectionManager>) -> SqliteReader {
        SqliteReader { path, pool, gate: LogGate::default() }
    }

    /// Reads a page, within one transaction, so that all of it is of one moment.
    pub fn page<T>(&self, body: impl FnOnce(&Connection) -> Out<T>) -> Result<T> {
        let _inside = self.gate.enter()?;
        let conn = RolledBack(self.pool.get().map_err(|e| Error::State {
            doing: "read",
            path: self.path.clone(),
            cause: format!("there is no connection to be had: {e}"),
        })?);
        transact(&conn.0, &self.path, "read", "BEGIN", body)
    }

    /// Closes all connections: a pool does so on whichever thread lets go of it last, and the next owner of the file must not
    /// meet them.
    pub fn close(&self) {
        self.gate.close();
        let idle = std::iter::from_fn(|| self.pool.try_get()).take(self.pool.state().connections as usize);
        // Each is held until all are closed, or the pool would give out the same again.
        let mut idle: Vec<_> = idle.collect();
        for conn in &mut idle {
            if let Ok(nothing) = Connection::open_in_memory() {
                drop(std::mem::replace(&mut **conn, nothing));
            }
        }
    }

    /// The prefixes of a cycle that are read at once, whether they are the last, and the cycle.
    fn prefix_page(&self, cycle: &CycleKey, from: u32) -> Result<(CycleRow, Vec<PrefixRecord>, bool)> {
        self.page(|conn| {
            let row = whole::find(conn, cycle)?.ok_or_else(|| check::no_cycle(cycle))?;
            let (page, is_last) = whole::prefixes(conn, &row, from)?;
            Ok((row, page, is_last))
        })
    }

    /// Visits all prefixes of a cycle, in ring order. Gives its row, if that was the same from the first page to the last.
    fn each_prefix(&self, cycle: &CycleKey, mut visit: impl FnMut(PrefixRecord)) -> Result<Option<CycleRow>> {
        let (mut from, mut first) = (0, None);
        loop {
            let (row, page, is_last) = self.prefix_page(cycle, from)?;
            from = page.last().map_or(from, |last| last.position.saturating_add(1));
            page.into_iter().for_each(&mut visit);
            let first = first.get_or_insert_with(|| row.clone());
            if is_last {
                return Ok((*first == row).then_some(row));
            }
        }
    }
}

/// A connection that goes back to its pool without a transaction, also where a page panics: an old one would keep the log from
/// being cut.
struct RolledBack(PooledConnection<SqliteConnectionManager>);

impl Drop for RolledBack {
    fn drop(&mut self) {
        if !self.0.is_autocommit() {
            // What cannot be rolled back is told by whoever reads next.
            let _ = self.0.execute_batch("ROLLBACK");
        }
    }
}

impl StateReader for SqliteReader {
    fn newest(&self, crawl: &str) -> Result<Option<KnownCycle>> {
        self.page(|conn| {
            let newest = whole::kept(conn, crawl)?.and_then(|mut kept| kept.cycles.pop());
            newest.map(|row| Ok(WholeCycle::by_its_row(conn, row, &mut None)?.into_cycle())).transpose()
        })
    }

    fn latest(&self, crawl: &str) -> Result<Option<KnownCycle>> {
        let whole = loop {
            let Some(newest) = self.newest(crawl)? else { return Ok(None) };
            let (mut done, mut candidates) = (Vec::new(), 0u64);
            let row = self.each_prefix(&newest.key(), |prefix| {
                done.extend(prefix.done.then_some(prefix.position));
                candidates = candidates.saturating_add(prefix.candidates);
            })?;
            // One that came to its end meanwhile is read once more.
            if let Some(row) = row {
                let checked = whole::check_end(&row, done.len(), newest.identity.ring.len(), candidates);
                checked.map_err(|fault| fault.into_error(&self.path, "read", None))?;
                break WholeCycle { row, identity: newest.identity, done };
            }
        };
        let cycle = whole.into_cycle();
        let (mut from, key) = (Some(NotePlace::default()), cycle.key());
        while let Some(place) = from.filter(|_| !cycle.delivered) {
            from = self.notes(&key, place, NOTES_READ)?.next;
        }
        Ok(Some(cycle))
    }

    fn finished(&self, crawl: &str) -> Result<Vec<KnownCycle>> {
        self.page(|conn| {
            let cycles = whole::kept(conn, crawl)?.map(|kept| kept.cycles).unwrap_or_default();
            let (finished, mut ring) = (cycles.into_iter().filter(|row| row.finished.is_some()), None);
            finished.map(|row| Ok(WholeCycle::by_its_row(conn, row, &mut ring)?.into_cycle())).collect()
        })
    }

    fn visits(&self, store: &str, job: &str) -> Result<BTreeMap<String, f64>> {
        let subject = visits::subject(store, job);
        let (mut visits, mut after) = (BTreeMap::new(), None);
        loop {
            after = self.page(|conn| visits::page(conn, subject, after, &mut visits))?;
            if after.is_none() {
                return Ok(visits);
            }
        }
    }

    fn damaged(&self, store: &str, job: &str) -> Result<u64> {
        self.page(|conn| damage::objects(conn, Subject { store, job }))
    }

    fn damage(&self, store: &str, job: &str, limit: u64) -> Result<Vec<DamagedObject>> {
        let mut reading = damage::DamageReading::new(Subject { store, job }, limit);
        while self.page(|conn| reading.page(conn))? {}
        reading.end().map_err(|fault| fault.into_error(&self.path, "read", None))
    }

    fn half_done(&self, cycle: &CycleKey) -> Result<u64> {
        let (mut half_done, mut from) = (0, 0);
        loop {
            let (page_half_done, next) = self.page(|conn| {
                let row = whole::find(conn, cycle)?.ok_or_else(|| check::no_cycle(cycle))?;
                let (page, is_last) = whole::prefixes(conn, &row, from)?;
                let next = page.last().filter(|_| !is_last).map(|last| last.position + 1);
                Ok((intents::half_done(conn, row.seal(), &page)?, next))
            })?;
            half_done += page_half_done;
            let Some(next) = next else { return Ok(half_done) };
            from = next;
        }
    }

    fn prefixes(&self, cycle: &CycleKey, from: u32) -> Result<Vec<PrefixRow>> {
        let (_, page, _) = self.prefix_page(cycle, from)?;
        let row =
            |PrefixRecord { position, done, cursor, tally, .. }| PrefixRow { prefix: position, done, cursor, tally };
        Ok(page.into_iter().map(row).collect())
    }

    fn notes(&self, cycle: &CycleKey, from: NotePlace, most: usize) -> Result<NotePage> {
        self.page(|conn| {
            let row = whole::find(conn, cycle)?.ok_or_else(|| check::no_cycle(cycle))?;
            whole::notes(conn, row.seal(), from, most)
        })
    }

    fn last_run(&self, maintenance: &str) -> Result<Option<LastRun>> {
        self.page(|conn| runs::read(conn, maintenance))
    }
}
