//! Reads a cycle as a whole, and notices what no single row can show: rows that are missing, doubled, or of different ages.
//!
//! The rules it holds a cycle to: the crawl's row names the newest cycle and its row is there; each position of the ring
//! has exactly one prefix; a prefix has exactly the notes that it was committed with, which its count and its chain
//! of checksums say; and a cycle with prefixes is finished exactly when all of them are done and none has candidates.

use rusqlite::Connection;

use super::faults::{Fault, Out};
use super::notes::{self, Go};
use super::rings;
use super::rows::{CrawlRow, CycleRow, Prefix, Seal};
use crate::policy::cycle::{Cycle, CycleIdentity, CycleKey};
use crate::state::{NotePage, NotePlace};

/// The cycles of one crawl: all that are kept, the newest last.
pub(super) struct Kept {
    pub crawl: CrawlRow,
    pub cycles: Vec<CycleRow>,
}

/// A cycle whose rows are all there.
pub(super) struct Whole {
    pub row: CycleRow,
    pub identity: CycleIdentity,
    pub done: Vec<u32>,
}

/// The cycles of a crawl, or `None` if it never had one.
pub(super) fn kept(conn: &Connection, name: &str) -> Out<Option<Kept>> {
    let mut crawls = CrawlRow::all(conn)?.into_iter().filter(|c| c.name == name);
    let mut cycles: Vec<CycleRow> = CycleRow::all(conn)?.into_iter().filter(|c| c.crawl == name).collect();
    cycles.sort_by_key(|c| c.number);
    match (crawls.next(), crawls.next(), cycles.last()) {
        (None, _, None) => Ok(None),
        (Some(crawl), None, Some(newest)) if newest.number == crawl.latest => {
            if cycles.windows(2).any(|pair| pair[0].number == pair[1].number) {
                return Err(Fault::Damaged(format!("a cycle of {name:?} is there twice")));
            }
            Ok(Some(Kept { crawl, cycles }))
        }
        _ => Err(Fault::Damaged(format!("the newest cycle of {name:?} is not the one it should be"))),
    }
}

/// The row of a cycle, or `None` if it is not kept.
pub(super) fn find(conn: &Connection, key: &CycleKey) -> Out<Option<CycleRow>> {
    let cycles = kept(conn, &key.crawl)?.map(|kept| kept.cycles).unwrap_or_default();
    Ok(cycles.into_iter().find(|c| c.number == key.number))
}

/// Reads all prefixes of a cycle, in order, and checks that each is there.
pub(super) fn read(conn: &Connection, row: CycleRow, mut visit: impl FnMut(Prefix)) -> Out<Whole> {
    let identity = identity(conn, &row)?;
    let (mut next, mut done, mut candidates) = (0u32, Vec::new(), 0u64);
    Prefix::each(conn, row.seal(), |prefix| {
        if prefix.position != next {
            return Err(Fault::Damaged(format!("prefix {} stands where {next} is due", prefix.position)));
        }
        next = next.saturating_add(1);
        if prefix.done {
            done.push(prefix.position);
        }
        candidates = candidates.saturating_add(prefix.candidates);
        visit(prefix);
        Ok(())
    })?;
    let due = identity.ring.len();
    check_number(&row, next as usize, due)?;
    let all = done.len() == due;
    // Between its two phases everything is examined, and what is to be carried out is there.
    let examined = all && candidates > 0 && row.carrying_out.is_none();
    if due > 0 && row.finished.is_some() != (all && candidates == 0) && !(examined && row.finished.is_none()) {
        let state = if row.finished.is_some() { "finished" } else { "in progress" };
        let done = done.len();
        let with = format!("{done} of {due} prefixes and {candidates} candidates");
        return Err(Fault::Damaged(format!("cycle {} is {state} with {with}", row.number)));
    }
    Ok(Whole { row, identity, done })
}

/// Fails unless a cycle has so many prefixes.
pub(super) fn check_length(conn: &Connection, row: &CycleRow, found: usize) -> Out<()> {
    check_number(row, found, identity(conn, row)?.ring.len())
}

fn check_number(row: &CycleRow, found: usize, due: usize) -> Out<()> {
    let damaged = || Fault::Damaged(format!("cycle {} has {found} prefixes of {due}", row.number));
    if found == due { Ok(()) } else { Err(damaged()) }
}

fn identity(conn: &Connection, row: &CycleRow) -> Out<CycleIdentity> {
    let mut identity: CycleIdentity = serde_json::from_str(&row.identity)
        .map_err(|e| Fault::Damaged(format!("the identity of cycle {} cannot be read: {e}", row.number)))?;
    if let Some(ring) = row.ring {
        identity.ring = rings::read(conn, ring)?;
    }
    Ok(identity)
}

/// Reads notes of a cycle in order, and checks that they are the ones that their prefixes were committed with.
pub(super) fn notes(conn: &Connection, seal: Seal, from: NotePlace, most: usize) -> Out<NotePage> {
    let mut page = Vec::new();
    let (mut next, mut chain) = (from.number, from.chain);
    let mut current = Prefix::next_with_notes(conn, seal, from.prefix)?;
    notes::each(conn, seal, from, |position, note, sum| {
        let number = note.number;
        let of = current.as_ref().filter(|of| of.position == position && number == next);
        let of = of.ok_or_else(|| Fault::Damaged(format!("note {number} of prefix {position} is out of place")))?;
        (next, chain) = (next + 1, notes::chained(chain, sum));
        if next == of.notes {
            if chain != of.chain {
                return Err(Fault::Damaged(format!("the notes of prefix {position} are not of one age")));
            }
            current = Prefix::next_with_notes(conn, seal, position.saturating_add(1))?;
            (next, chain) = (0, 0);
        }
        page.push((position, note));
        Ok(if page.len() >= most { Go::Stop } else { Go::On })
    })?;
    match current {
        Some(of) if page.len() < most => Err(Fault::Damaged(format!("prefix {} has lost notes", of.position))),
        current => {
            let next = current.map(|of| NotePlace { prefix: of.position, number: next, chain });
            Ok(NotePage { notes: page, next })
        }
    }
}

impl Whole {
    /// A cycle that has just begun.
    pub(super) fn new(row: CycleRow, identity: CycleIdentity) -> Whole {
        Whole { row, identity, done: Vec::new() }
    }

    /// A cycle that is finished, by its own row: its prefixes are not read.
    pub(super) fn finished(conn: &Connection, row: CycleRow) -> Out<Whole> {
        let identity = identity(conn, &row)?;
        let done = (0u32..).zip(identity.ring.iter()).map(|(position, _)| position).collect();
        Ok(Whole { row, identity, done })
    }

    /// The cycle as the outside knows it.
    pub(super) fn into_cycle(self) -> Cycle {
        Cycle {
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

    pub(super) fn seal(&self) -> Seal {
        self.row.seal()
    }
}
