//! Keeps a state file in order, in small steps: old cycles go, free pages are given back, the log is emptied early.
//!
//! # Why nothing that is needed can be lost
//! An old cycle goes by its row in `cycle`, in one transaction; from then on nobody knows it. Its prefixes and notes are
//! then rows of no cycle, and so are the candidates of a cycle that was given up; that is how a later step, also of another process, finds
//! them: between the ids of the cycles that are there. Ids only grow, and the newest cycle of each crawl always stays, so no new cycle ever gets the id of one
//! whose rows are still going. A file whose newest cycle is not there is damaged, and left alone.
//!
//! # Why the log is emptied and never only copied
//! `wal_checkpoint(PASSIVE)` leaves a full log behind that is older than the database: damaged, it would mix both ages (see
//! [`super`], 1). So the log is always cut, and to keep that short it is done when the log is short: where upkeep
//! gets its slices, no commit ever has to do it.

use rusqlite::Connection;

use super::faults::{CallFault, Out};
use super::rows::{CrawlRow, CycleRow, Seal};
use super::{REMOVE, SqliteStore, VACUUM, rings, whole};
use crate::error::Result;
use crate::policy::cycle::CycleKey;
use crate::state::{Tidied, TidyStep, Tidying, check};

/// Free pages that are kept in any case, as the next cycle needs them: 1 MiB.
const PAGES_SPARE: u64 = 256;
/// The part of the file, as a divisor, that may be free pages besides.
const PAGES_SPARE_PART: u64 = 4;
/// `PRAGMA auto_vacuum` of a file whose pages can be given back in steps.
const INCREMENTAL: i64 = 2;

impl SqliteStore {
    /// One step, and what is due then.
    pub(super) fn tidy_step(&mut self, step: &TidyStep) -> Result<Tidied> {
        let mut tidied = Tidied::default();
        let mut is_read_from = false;
        match step.kind {
            Some(Tidying::Log) if self.log_bytes() > step.log_bytes => {
                let before = self.log_bytes();
                is_read_from = !self.empty_unless_read_from()?;
                tidied.log_bytes_moved = before.saturating_sub(self.log_bytes());
            }
            Some(Tidying::Rows) if step.most > 0 => {
                let (old_before, most) = (step.old_before, step.most);
                let removed = self.write(&REMOVE, |conn| remove(conn, old_before, most))?;
                tidied.rows_removed = removed.rows;
                tidied.cycles_removed = removed.cycles.len() as u64;
                self.laps.retain(|cycle, _| !removed.cycles.contains(cycle));
            }
            Some(Tidying::Pages) => {
                let most = step.most;
                tidied.pages_freed = self.write(&VACUUM, |conn| vacuum(conn, most))?;
            }
            _ => {}
        }
        tidied.log_bytes = self.log_bytes();
        let (rows, pages) =
            self.read(|conn| Ok((Old::find(conn, step.old_before)?.is_any(conn)?, FilePages::read(conn)?)))?;
        tidied.pages_free = pages.free;
        tidied.due = match () {
            // Where somebody reads, the next commit does it, or the next look.
            () if tidied.log_bytes > step.log_bytes && !is_read_from => Some(Tidying::Log),
            () if rows => Some(Tidying::Rows),
            () if pages.to_give_back() > 0 => Some(Tidying::Pages),
            () => None,
        };
        Ok(tidied)
    }

    fn log_bytes(&self) -> u64 {
        std::fs::metadata(&self.wal).map_or(0, |m| m.len())
    }
}

/// What is to go.
struct Old {
    /// Cycles that are old.
    cycles: Vec<CycleRow>,
    /// Ids, in order, of the cycles that are there: what is between them is of no cycle.
    there: Vec<i64>,
}

impl Old {
    fn find(conn: &Connection, before: Option<f64>) -> Out<Old> {
        let mut cycles = Vec::new();
        for crawl in CrawlRow::all(conn)? {
            // Also checks that the newest cycle is there.
            let Some(kept) = whole::kept(conn, &crawl.name)? else { continue };
            let ended =
                |c: &CycleRow| Some(check::FinishedCycle { number: c.number, at: c.finished?, delivered: c.delivered });
            let finished: Vec<_> = kept.cycles.iter().filter_map(ended).collect();
            let old = check::old(&finished, before);
            cycles.extend(kept.cycles.into_iter().filter(|c| old.contains(&c.number)));
        }
        let there = CycleRow::all(conn)?.iter().map(|c| c.id).collect();
        Ok(Old { cycles, there })
    }

    /// The ranges of ids between the cycles that are there. None is above the newest.
    fn gaps(&self) -> impl Iterator<Item = (i64, i64)> {
        let below = std::iter::once(&0).chain(&self.there);
        below.zip(&self.there).map(|(low, high)| (low + 1, high - 1)).filter(|(first, last)| first <= last)
    }

    fn is_any(&self, conn: &Connection) -> Out<bool> {
        if !self.cycles.is_empty() {
            return Ok(true);
        }
        for gap in self.gaps() {
            if rows_in(conn, gap)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The first and the last id that prefixes of these cycles can have.
fn prefix_ids((first, last): (i64, i64)) -> (i64, i64) {
    let seal = |cycle| Seal { cycle, nonce: 0 };
    (seal(first).ids().0, seal(last).ids().1)
}

fn rows_in(conn: &Connection, gap: (i64, i64)) -> Out<bool> {
    let exists = |sql: &str, (first, last): (i64, i64)| -> rusqlite::Result<bool> {
        conn.prepare_cached(sql)?.exists([first, last])
    };
    Ok(exists("SELECT 1 FROM note WHERE cycle BETWEEN ?1 AND ?2 LIMIT 1", gap)?
        || exists("SELECT 1 FROM candidate WHERE cycle BETWEEN ?1 AND ?2 LIMIT 1", gap)?
        || exists("SELECT 1 FROM prefix WHERE id BETWEEN ?1 AND ?2 LIMIT 1", prefix_ids(gap))?)
}

/// What a step has removed.
#[derive(Default)]
struct Gone {
    rows: u64,
    cycles: Vec<CycleKey>,
}

/// Removes up to so many rows: first those of no cycle, then old cycles' own rows, which makes theirs such. Intents are
/// not among them: a cycle that is finished has none, and one that is given up goes whole.
fn remove(conn: &Connection, before: Option<f64>, most: u64) -> Out<Gone> {
    let mut gone = Gone::default();
    let old = Old::find(conn, before)?;
    for gap in old.gaps() {
        gone.rows += remove_rows(conn, gap, most - gone.rows)?;
    }
    let removes_cycles = gone.rows < most && !old.cycles.is_empty();
    for cycle in old.cycles.iter().take(usize::try_from(most - gone.rows).unwrap_or(usize::MAX)) {
        cycle.delete(conn)?;
        gone.rows += 1;
        gone.cycles.push(CycleKey { crawl: cycle.crawl.clone(), number: cycle.number });
    }
    if removes_cycles {
        rings::remove_unused(conn)?;
    }
    Ok(gone)
}

fn remove_rows(conn: &Connection, gap: (i64, i64), most: u64) -> Out<u64> {
    const NOTES: &str = "DELETE FROM note WHERE (cycle, prefix, number) IN
        (SELECT cycle, prefix, number FROM note WHERE cycle BETWEEN ?1 AND ?2 LIMIT ?3)";
    const PREFIXES: &str = "DELETE FROM prefix WHERE id IN (SELECT id FROM prefix WHERE id BETWEEN ?1 AND ?2 LIMIT ?3)";
    let delete = |sql: &str, (first, last): (i64, i64), most: u64| -> Out<u64> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        Ok(conn.prepare_cached(sql)?.execute([first, last, most])? as u64)
    };
    let notes = delete(NOTES, gap, most)?;
    let rows = notes + delete(CANDIDATES, gap, most.saturating_sub(notes))?;
    Ok(rows + delete(PREFIXES, prefix_ids(gap), most.saturating_sub(rows))?)
}

/// Pages of candidates of no cycle.
const CANDIDATES: &str = "DELETE FROM candidate WHERE (cycle, prefix, number) IN
    (SELECT cycle, prefix, number FROM candidate WHERE cycle BETWEEN ?1 AND ?2 LIMIT ?3)";

/// Removes up to so many rows of no cycle: of cycles that were given up, or had become too many. Says how many.
pub(super) fn remove_rows_of_no_cycle(conn: &Connection, most: u64) -> Out<u64> {
    let there = CycleRow::all(conn)?.iter().map(|c| c.id).collect();
    let mut gone = 0;
    for gap in (Old { cycles: Vec::new(), there }).gaps() {
        gone += remove_rows(conn, gap, most - gone)?;
    }
    Ok(gone)
}

struct FilePages {
    all: u64,
    free: u64,
    /// Whether they can be given back in steps.
    incremental: bool,
}

impl FilePages {
    fn read(conn: &Connection) -> Out<FilePages> {
        let number = |pragma: &str| -> Out<u64> {
            let value: i64 = conn.pragma_query_value(None, pragma, |row| row.get(0))?;
            u64::try_from(value).map_err(|_| CallFault::Damaged(format!("its {pragma} is {value}")))
        };
        let incremental = conn.pragma_query_value(None, "auto_vacuum", |row| row.get::<_, i64>(0))? == INCREMENTAL;
        Ok(FilePages { all: number("page_count")?, free: number("freelist_count")?, incremental })
    }

    /// How many are free beyond what the next cycle will want to use.
    fn to_give_back(&self) -> u64 {
        let spare = PAGES_SPARE.max(self.all / PAGES_SPARE_PART);
        if self.incremental { self.free.saturating_sub(spare) } else { 0 }
    }
}

/// Gives back up to so many free pages; says how many.
fn vacuum(conn: &Connection, most: u64) -> Out<u64> {
    let before = FilePages::read(conn)?;
    let pages = before.to_give_back().min(most);
    if pages > 0 {
        // Each row of the answer is a page, given back when the next is asked for.
        let mut statement = conn.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {}
    }
    Ok(before.all.saturating_sub(FilePages::read(conn)?.all))
}
