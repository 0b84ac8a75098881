//! Reads a cycle as a whole, and notices what no single row can show: rows that are missing, doubled, or of different ages.
//!
//! The rules it holds a cycle to: the crawl's row names the newest cycle and its row is there; each position of the ring
//! has exactly one prefix; a prefix has exactly the notes that it was committed with, which its count and its chain
//! of checksums say; and a cycle with prefixes is finished exactly when all of them are done and none has candidates.

use std::sync::Arc;

use rusqlite::Connection;

use super::faults::{CallFault, Out};
use super::notes::{self, Go};
use super::rings;
use super::rows::{CrawlRow, CycleRow, PrefixRecord, Seal};
use crate::policy::cycle::{CycleIdentity, CycleKey, KnownCycle};
use crate::state::{NotePage, NotePlace, PREFIXES_READ};

/// The cycles of one crawl: all that are kept, the newest last.
pub(super) struct KeptCycles {
    pub crawl: CrawlRow,
    pub cycles: Vec<CycleRow>,
}

/// A cycle, and which of its prefixes are complete.
pub(super) struct WholeCycle {
    pub row: CycleRow,
    pub identity: CycleIdentity,
    pub done: Vec<u32>,
}

/// The cycles of a crawl, or `None` if it never had one.
pub(super) fn kept(conn: &Connection, name: &str) -> Out<Option<KeptCycles>> {
    let mut crawls = CrawlRow::all(conn)?.into_iter().filter(|c| c.name == name);
    let mut cycles: Vec<CycleRow> = CycleRow::all(conn)?.into_iter().filter(|c| c.crawl == name).collect();
    cycles.sort_by_key(|c| c.number);
    match (crawls.next(), crawls.next(), cycles.last()) {
        (None, _, None) => Ok(None),
        (Some(crawl), None, Some(newest)) if newest.number == crawl.latest => {
            if cycles.windows(2).any(|pair| pair[0].number == pair[1].number) {
                return Err(CallFault::Damaged(format!("a cycle of {name:?} is there twice")));
            }
            Ok(Some(KeptCycles { crawl, cycles }))
        }
        _ => Err(CallFault::Damaged(format!("the newest cycle of {name:?} is not the one it should be"))),
    }
}

/// The row of a cycle, or `None` if it is not kept.
pub(super) fn find(conn: &Connection, key: &CycleKey) -> Out<Option<CycleRow>> {
    let cycles = kept(conn, &key.crawl)?.map(|kept| kept.cycles).unwrap_or_default();
    Ok(cycles.into_iter().find(|c| c.number == key.number))
}

/// Prefixes of a cycle from a position on, so many as are read at once, and whether they are the last. Checks that each is there.
pub(super) fn prefixes(conn: &Connection, row: &CycleRow, from: u32) -> Out<(Vec<PrefixRecord>, bool)> {
    let (mut page, is_last) = PrefixRecord::page(conn, row.seal(), from)?;
    // Pages of the file that are of different ages: each row is whole, and they do not go together.
    if row.finished.is_some() && page.iter().any(|prefix| !prefix.done || prefix.candidates > 0) {
        return Err(CallFault::Damaged(format!("cycle {} is finished, and not all its prefixes are", row.number)));
    }
    if !is_last {
        return Ok((page, false));
    }
    let (found, due) = (from as usize + page.len(), identity(conn, row, &mut None)?.ring.len());
    if row.beginning {
        // Those that are not there yet are untouched.
        let missing = (found as u32..due as u32).take(PREFIXES_READ - page.len());
        page.extend(missing.map(|position| PrefixRecord { position, ..PrefixRecord::default() }));
        let is_last = from as usize + page.len() >= due;
        return Ok((page, is_last));
    }
    check_number(row, found, due)?;
    Ok((page, true))
}

/// Fails unless a cycle has so many prefixes. (A page that is asked for behind the last one has none.)
fn check_number(row: &CycleRow, found: usize, due: usize) -> Out<()> {
    let damaged = || CallFault::Damaged(format!("cycle {} has {found} prefixes of {due}", row.number));
    if found == due { Ok(()) } else { Err(damaged()) }
}

/// Checks that the end of a cycle fits its prefixes: so many are complete, of so many, and have so many candidates.
pub(super) fn check_end(row: &CycleRow, done: usize, due: usize, candidates: u64) -> Out<()> {
    let all = done == due;
    // Between its two phases everything is examined, and what is to be carried out is there.
    let examined = all && candidates > 0 && row.carrying_out.is_none();
    if due == 0 || row.finished.is_some() == (all && candidates == 0) || (examined && row.finished.is_none()) {
        return Ok(());
    }
    let state = if row.finished.is_some() { "finished" } else { "in progress" };
    let with = format!("{done} of {due} prefixes and {candidates} candidates");
    Err(CallFault::Damaged(format!("cycle {} is {state} with {with}", row.number)))
}

/// A ring that was read last, by its id: cycles of one store mostly have the same.
pub(super) type KnownRing = Option<(i64, Arc<[String]>)>;

/// What identifies a cycle, with its ring.
pub(super) fn identity(conn: &Connection, row: &CycleRow, known: &mut KnownRing) -> Out<CycleIdentity> {
    let mut identity: CycleIdentity = serde_json::from_str(&row.identity)
        .map_err(|e| CallFault::Damaged(format!("the identity of cycle {} cannot be read: {e}", row.number)))?;
    if let Some(id) = row.ring {
        let ring = match known.take().filter(|(known, _)| *known == id) {
            Some((_, ring)) => ring,
            None => rings::read(conn, id)?,
        };
        *known = Some((id, ring.clone()));
        identity.ring = ring;
    }
    Ok(identity)
}

/// Reads notes of a cycle in order, and checks that they are the ones that their prefixes were committed with.
pub(super) fn notes(conn: &Connection, seal: Seal, from: NotePlace, most: usize) -> Out<NotePage> {
    let mut page = Vec::new();
    let (mut next, mut chain) = (from.number, from.chain);
    let mut current = PrefixRecord::next_with_notes(conn, seal, from.prefix)?;
    notes::each(conn, seal, from, |position, note, sum| {
        let number = note.number;
        let of = current.as_ref().filter(|of| of.position == position && number == next);
        let of = of.ok_or_else(|| CallFault::Damaged(format!("note {number} of prefix {position} is out of place")))?;
        (next, chain) = (next + 1, notes::chained(chain, sum));
        if next == of.notes {
            if chain != of.chain {
                return Err(CallFault::Damaged(format!("the notes of prefix {position} are not of one age")));
            }
            current = PrefixRecord::next_with_notes(conn, seal, position.saturating_add(1))?;
            (next, chain) = (0, 0);
        }
        page.push((position, note));
        Ok(if page.len() >= most { Go::Stop } else { Go::On })
    })?;
    match current {
        Some(of) if page.len() < most => Err(CallFault::Damaged(format!("prefix {} has lost notes", of.position))),
        current => {
            let next = current.map(|of| NotePlace { prefix: of.position, number: next, chain });
            Ok(NotePage { notes: page, next })
        }
    }
}

impl WholeCycle {
    /// A cycle as its own row tells it: its prefixes are not read. All are complete if it is finished, and none is known to be
    /// otherwise.
    pub(super) fn by_its_row(conn: &Connection, row: CycleRow, known: &mut KnownRing) -> Out<WholeCycle> {
        let identity = identity(conn, &row, known)?;
        let all = if row.finished.is_some() { identity.ring.len() } else { 0 };
        Ok(WholeCycle { done: (0u32..).take(all).collect(), row, identity })
    }

    /// A cycle with all its prefixes, and which of them have candidates.
    pub(super) fn read(conn: &Connection, row: CycleRow) -> Out<(WholeCycle, Vec<u32>)> {
        let identity = identity(conn, &row, &mut None)?;
        let (mut done, mut with_candidates, mut candidates, mut from) = (Vec::new(), Vec::new(), 0u64, 0);
        loop {
            let (page, is_last) = prefixes(conn, &row, from)?;
            for prefix in &page {
                done.extend(prefix.done.then_some(prefix.position));
                with_candidates.extend((prefix.candidates > 0).then_some(prefix.position));
                candidates = candidates.saturating_add(prefix.candidates);
            }
            from = from.saturating_add(page.len() as u32);
            if is_last {
                break;
            }
        }
        check_end(&row, done.len(), identity.ring.len(), candidates)?;
        Ok((WholeCycle { row, identity, done }, with_candidates))
    }

    /// The cycle as the outside knows it.
    pub(super) fn into_cycle(self) -> KnownCycle {
        KnownCycle {
            crawl: self.row.crawl,
            number: self.row.number,
            identity: self.identity,
            started: self.row.started,
            finished: self.row.finished,
            delivered: self.row.delivered,
            confirmed: self.row.confirmed,
            carrying_out: self.row.carrying_out,
            done: self.done,
        }
    }
}
