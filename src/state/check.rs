//! What every [`StateStore`](super::StateStore) refuses, in the same words, and which cycles all of them take for old.
//! Pure; no store is touched here.

use std::collections::BTreeMap;

use super::PrefixProgress;
use crate::error::{Error, Result};
use crate::policy::cycle::{CycleIdentity, CycleKey, KnownCycle};

/// Refuses a moment that is not a number: it could be written, but not read back.
pub(super) fn moment(at: f64) -> Result<()> {
    if at.is_finite() { Ok(()) } else { Err(Error::Config(format!("{at} is no moment in seconds since 1970"))) }
}

/// Refuses a cycle that could be written, but not read back. Gives the number of its prefixes.
pub(super) fn identity(identity: &CycleIdentity, at: f64) -> Result<u32> {
    moment(at)?;
    moment(identity.now)?;
    u32::try_from(identity.ring.len())
        .map_err(|_| Error::Config(format!("a ring of {} prefixes is too long", identity.ring.len())))
}

/// The highest number that a cycle may have: far beyond what counting gets to, and with room for the next one.
const NUMBER_MAX: u64 = 1 << 62;

/// Refuses a number that does not go on from the `newest` cycle: its number, and whether it is finished.
pub(super) fn number(crawl: &str, number: u64, newest: Option<(u64, bool)>) -> Result<()> {
    let refused = match newest {
        _ if number > NUMBER_MAX => format!("no cycle has the number {number}"),
        Some((newest, _)) if number < newest => format!("crawl {crawl} has come to cycle {newest} already"),
        Some((newest, true)) if number == newest => format!("crawl {crawl} has finished its cycle {newest} already"),
        _ => return Ok(()),
    };
    Err(Error::Config(format!("cannot begin cycle {number}: {refused}")))
}

/// Refuses to give up a cycle that may have left a change to the store half done: only its intents can finish it. Of those
/// that may there are so many in `half_done`.
pub(crate) fn may_be_given_up(crawl: &str, number: u64, half_done: u64) -> Result<()> {
    if half_done == 0 {
        return Ok(());
    }
    Err(Error::HalfDone { crawl: crawl.to_owned(), cycle: number, buckets: half_done })
}

/// Refuses notes whose numbers do not go on from the `saved` ones. Gives how many there are with them.
pub(super) fn note_numbers(progress: &PrefixProgress, saved: u64) -> Result<u64> {
    let mut next = saved;
    for note in &progress.notes {
        if note.number != next {
            let (prefix, number) = (progress.prefix, note.number);
            return Err(Error::Config(format!("note {number} of prefix {prefix} stands where {next} is due")));
        }
        next = next.saturating_add(1);
    }
    Ok(next)
}

/// Of the free prefixes the ones to be visited first: never visited, then longest ago; the order of the ring decides
/// between equals.
pub(super) fn oldest_first(ring: &[String], mut free: Vec<u32>, visits: &BTreeMap<String, f64>, most: u32) -> Vec<u32> {
    let visited = |prefix: &u32| ring.get(*prefix as usize).and_then(|name| visits.get(name)).copied();
    // Stable, and `free` is in ring order.
    free.sort_by(|a, b| visited(a).unwrap_or(f64::NEG_INFINITY).total_cmp(&visited(b).unwrap_or(f64::NEG_INFINITY)));
    free.truncate(most as usize);
    free
}

/// Refuses a prefix that is complete and still has intents: nobody would carry them out.
pub(super) fn intents(progress: &PrefixProgress) -> Result<()> {
    if progress.done && !progress.intents.is_empty() {
        let (prefix, left) = (progress.prefix, progress.intents.len());
        return Err(Error::Config(format!("prefix {prefix} is said to be complete with {left} intents left")));
    }
    Ok(())
}

/// Where a commit names a cycle that is not kept (it was given up meanwhile): its claims are void.
pub(super) fn commit_to_nothing(cycle: &CycleKey, progress: &[PrefixProgress]) -> Error {
    match progress.first() {
        Some(first) => Error::StaleClaim { prefix: first.prefix, fence: first.fence },
        None => no_cycle(cycle),
    }
}

/// No such cycle is kept.
pub(super) fn no_cycle(cycle: &CycleKey) -> Error {
    Error::Config(format!("crawl {} has no cycle {} in its state", cycle.crawl, cycle.number))
}

/// The cycle is not complete.
pub(super) fn prefixes_left(cycle: &CycleKey, left: u32) -> Error {
    Error::Config(format!("cycle {} of {} cannot end: {left} prefixes are left", cycle.number, cycle.crawl))
}

/// The cycle has no report yet.
pub(super) fn unfinished(cycle: &CycleKey) -> Error {
    Error::Config(format!("cycle {} of {} has no report yet: it is not finished", cycle.number, cycle.crawl))
}

/// Refuses to carry out what is not examined, or not the newest cycle. Tells whether there is anything left to change: a cycle
/// that carries out already does not begin again.
pub(super) fn may_carry_out(cycle: &KnownCycle, newest: u64) -> Result<bool> {
    let refused = match cycle.finished {
        _ if cycle.number != newest => format!("the newest cycle is {newest}"),
        Some(_) => "it is finished".to_owned(),
        None if cycle.carrying_out.is_some() => return Ok(false),
        None if !cycle.is_examined() => "it is not examined yet".to_owned(),
        None => return Ok(true),
    };
    let KnownCycle { crawl, number, .. } = cycle;
    Err(Error::Config(format!("what cycle {number} of {crawl} has shown cannot be carried out: {refused}")))
}

/// Refuses new candidates where those there are, are carried out: nobody has judged them.
pub(super) fn candidates(progress: &PrefixProgress, carrying_out: bool) -> Result<()> {
    if carrying_out && !progress.candidates.is_empty() {
        let (prefix, new) = (progress.prefix, progress.candidates.len());
        return Err(Error::Config(format!("prefix {prefix} has {new} new candidates while they are carried out")));
    }
    Ok(())
}

#[derive(Debug, Clone, Copy)]
pub(super) struct FinishedCycle {
    pub number: u64,
    /// When it ended, in seconds since 1970.
    pub at: f64,
    pub delivered: bool,
}

/// The numbers of the cycles that are old, among all finished ones of a crawl, in order.
pub(super) fn old(finished: &[FinishedCycle], before: Option<f64>) -> Vec<u64> {
    let Some(before) = before else { return Vec::new() };
    let newest = finished.iter().map(|cycle| cycle.number).max();
    let old = finished.iter().filter(|c| c.delivered && c.at < before && Some(c.number) != newest);
    old.map(|cycle| cycle.number).collect()
}
