//! What the calls do with the rows, within the transaction that a call has begun.

use std::sync::Arc;

use rusqlite::Connection;

use super::faults::{CallFault, Out};
use super::rows::{CrawlRow, CycleRow, PrefixRecord, Seal};
use super::whole::{self, WholeCycle};
use super::{candidates, intents, notes, random, rings};
use crate::error::Error;
use crate::policy::cycle::{CycleIdentity, CycleKey};
use crate::state::{Claim, Consent, FINISHED_CYCLES_KEPT, PrefixProgress, check};

/// Ids of cycles end here, as an id and a position share 64 bits.
const CYCLE_ID_MAX: i64 = i32::MAX as i64;

/// Prefixes that are added at once, and rows of no cycle that are removed at once: some milliseconds.
pub(super) const ROWS_AT_ONCE: u32 = 1024;

/// Begins a cycle, with the next number where none is given; one that is given up for it goes. Of a ring that is longer than
/// [`ROWS_AT_ONCE`] the prefixes are [added later](go_on_beginning).
pub(super) fn begin(
    conn: &Connection,
    crawl: &str,
    identity: &CycleIdentity,
    number: Option<u64>,
    prefixes: u32,
    at: f64,
) -> Out<CycleRow> {
    let ring = &identity.ring;
    let identity = CycleIdentity { ring: Arc::new([]), ..identity.clone() };
    let identity = serde_json::to_string(&identity)
        .map_err(|e| Error::Config(format!("the parameters of {crawl} cannot be saved: {e}")))?;
    let kept = whole::kept(conn, crawl)?;
    let crawls = CrawlRow::all(conn)?;
    let number = number.unwrap_or_else(|| kept.as_ref().map_or(0, |kept| kept.crawl.latest + 1));
    let newest = kept.as_ref().and_then(|kept| kept.cycles.last());
    check::number(crawl, number, newest.map(|cycle| (cycle.number, cycle.finished.is_some())))?;
    let crawl_id = match &kept {
        Some(kept) => kept.crawl.id,
        None => crawls.iter().map(|c| c.id).max().unwrap_or(0).saturating_add(1),
    };
    let id = CycleRow::all(conn)?.iter().map(|c| c.id).max().unwrap_or(0).saturating_add(1);
    if id > CYCLE_ID_MAX {
        return Err(CallFault::Damaged(format!("it has had {id} cycles")));
    }
    let (finished, given_up): (Vec<_>, Vec<_>) =
        kept.map(|kept| kept.cycles).unwrap_or_default().into_iter().partition(|c| c.finished.is_some());
    let too_old = finished.len().saturating_sub(FINISHED_CYCLES_KEPT as usize);
    for cycle in &given_up {
        check::may_be_given_up(crawl, cycle.number, half_done(conn, cycle)?)?;
    }
    given_up.iter().chain(&finished[..too_old]).try_for_each(|cycle| cycle.delete(conn))?;

    CrawlRow { id: crawl_id, name: crawl.to_owned(), latest: number }.save(conn)?;
    let row = CycleRow {
        id,
        crawl: crawl.to_owned(),
        number,
        nonce: random(),
        identity,
        ring: Some(rings::save(conn, ring)?),
        started: at,
        finished: None,
        delivered: false,
        confirmed: None,
        carrying_out: None,
        beginning: prefixes > ROWS_AT_ONCE,
    };
    row.insert(conn)?;
    rings::remove_unused(conn)?;
    if !row.beginning {
        PrefixRecord::insert_missing(conn, row.seal(), 0..prefixes)?;
    }
    Ok(row)
}

/// Adds some prefixes of a cycle that is beginning, from a position on; with the last of `all` it has begun. Gives where the next
/// are to be added.
pub(super) fn go_on_beginning(conn: &Connection, cycle: &CycleKey, from: u32, all: u32) -> Out<u32> {
    let row = whole::find(conn, cycle)?.ok_or_else(|| check::no_cycle(cycle))?;
    let next = from.saturating_add(ROWS_AT_ONCE).min(all);
    PrefixRecord::insert_missing(conn, row.seal(), from..next)?;
    if next == all {
        CycleRow { beginning: false, ..row }.save(conn)?;
    }
    Ok(next)
}

/// How many intents of a cycle may be half done.
fn half_done(conn: &Connection, row: &CycleRow) -> Out<u64> {
    let (mut half_done, mut from) = (0, 0);
    loop {
        let (page, is_last) = whole::prefixes(conn, row, from)?;
        half_done += intents::half_done(conn, row.seal(), &page)?;
        from = from.saturating_add(page.len() as u32);
        if is_last {
            return Ok(half_done);
        }
    }
}

pub(super) fn claim(conn: &Connection, seal: Seal, mut prefix: PrefixRecord, session: i64) -> Out<Claim> {
    prefix.fence += 1;
    prefix.claimant = session;
    prefix.save(conn, seal)?;
    let intents = intents::of(conn, seal, &prefix)?;
    Ok(Claim { prefix: prefix.position, fence: prefix.fence, cursor: prefix.cursor, tally: prefix.tally, intents })
}

/// The prefix at a position, if it is claimed by this session with this fence.
pub(super) fn in_force(
    conn: &Connection,
    seal: Seal,
    session: i64,
    position: u32,
    fence: u64,
) -> Out<Option<PrefixRecord>> {
    let prefix = PrefixRecord::at(conn, seal, position)?;
    Ok(prefix.filter(|p| !p.done && p.claimant == session && p.fence == fence))
}

/// Adds progress to a prefix; gives the cursor that was saved before, and how many candidates the prefix had and has.
pub(super) fn advance(
    conn: &Connection,
    seal: Seal,
    (session, carrying_out): (i64, bool),
    progress: &PrefixProgress,
) -> Out<(Option<Vec<u8>>, [u64; 2])> {
    let Some(mut prefix) = in_force(conn, seal, session, progress.prefix, progress.fence)? else {
        return Err(Error::StaleClaim { prefix: progress.prefix, fence: progress.fence }.into());
    };
    prefix.notes = check::note_numbers(progress, prefix.notes)?;
    check::intents(progress)?;
    check::candidates(progress, carrying_out)?;
    intents::replace(conn, seal, &mut prefix, &progress.intents)?;
    for note in &progress.notes {
        let sum = notes::insert(conn, seal, progress.prefix, note)?;
        prefix.chain = notes::chained(prefix.chain, sum);
    }
    let before = std::mem::replace(&mut prefix.cursor, progress.cursor.clone());
    prefix.tally = Some(progress.tally.clone());
    prefix.done = progress.done;
    prefix.claimant = if progress.done { 0 } else { session };
    let had = prefix.candidates;
    if carrying_out {
        candidates::remove(conn, seal, &mut prefix)?;
    } else {
        candidates::add(conn, seal, &mut prefix, &progress.candidates)?;
    }
    prefix.save(conn, seal)?;
    Ok((before, [had, prefix.candidates]))
}

/// Lets a cycle carry out what it has shown.
pub(super) fn carry_out(conn: &Connection, cycle: &CycleKey, consent: Consent, at: f64) -> Out<()> {
    let newest = whole::kept(conn, &cycle.crawl)?.map_or(cycle.number, |kept| kept.crawl.latest);
    let row = whole::find(conn, cycle)?.ok_or_else(|| check::no_cycle(cycle))?;
    let (whole, with_candidates) = WholeCycle::read(conn, row.clone())?;
    if !check::may_carry_out(&whole.into_cycle(), newest)? {
        return Ok(());
    }
    for position in with_candidates {
        let Some(mut prefix) = PrefixRecord::at(conn, row.seal(), position)? else { continue };
        (prefix.done, prefix.cursor) = (false, None);
        prefix.save(conn, row.seal())?;
    }
    let confirmed = (consent == Consent::Confirmed).then_some(at);
    CycleRow { carrying_out: Some(at), confirmed, ..row }.save(conn)
}

/// Ends a cycle whose prefixes are complete and have no candidates, unless it has ended.
pub(super) fn end(conn: &Connection, cycle: &CycleKey, at: f64) -> Out<()> {
    let mut row = whole::find(conn, cycle)?.ok_or_else(|| check::no_cycle(cycle))?;
    if row.finished.is_some() {
        return Ok(());
    }
    row.finished = Some(at);
    row.save(conn)
}

/// The prefixes in the file are not those that were counted. Only another program's writing can make it so.
pub(super) fn too_many_done(cycle: &CycleKey) -> CallFault {
    CallFault::Damaged(format!("the prefixes of cycle {} changed under its owner", cycle.number))
}
