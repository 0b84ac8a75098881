//! The wait between a rehearsal and the cycle that does what it has shown: until somebody has confirmed it, or wants it
//! rehearsed anew. It holds no slice and costs nothing.
//!
//! It decides nothing: whether a cycle may change the store is decided where the cycle begins, by what is saved
//! ([`WantedCycle::identity`](crate::messages::WantedCycle::identity)). Without this wait the same would be rehearsed again
//! and again.

use std::sync::Arc;

use tracing::info;

use super::crawl::{Crawl, gone};
use super::past;
use crate::checkpoint::{Cycle, CycleKey};
use crate::error::{Error, Result};
use crate::job::{Job, Rehearsal};
use crate::messages::{ConfirmCycle, LatestCycle};
use crate::policy::cycle::Rehearsed;
use crate::status::{Event, Phase, RehearsalStatus, WouldDelete};
use crate::store::{Store, Strays};

/// Waits while the newest cycle is a rehearsal of what is wanted that nobody has confirmed. An order to start ends it too,
/// and is left to be taken: the next cycle is then a rehearsal again.
///
/// # Errors
/// [`Error::Stopped`] if the crawl is stopped meanwhile; whatever keeps the state from being read.
pub(super) async fn wait<S: Store, J: Job<S>>(crawl: &Arc<Crawl<S, J>>) -> Result<()> {
    let Some(cycle) = rehearsal(crawl).await? else { return Ok(()) };
    let (name, number) = (&crawl.settings.name, cycle.number);
    let known = RehearsalStatus {
        cycle: number,
        finished: cycle.finished.unwrap_or(cycle.started),
        confirmed: cycle.confirmed,
        would_delete: None,
    };
    crawl.show(|c| c.rehearsal = Some(known));
    if cycle.confirmed.is_none() {
        crawl.show(|c| c.phase = Phase::Rehearsed);
    }
    let report = past::report_of(crawl, &cycle).await?;
    let would_delete = report.and_then(|report| WouldDelete::of(&report));
    crawl.show(|c| c.rehearsal.iter_mut().for_each(|shown| shown.would_delete = would_delete));
    if cycle.confirmed.is_some() {
        return Ok(());
    }
    info!(crawl = name, cycle = number, ?would_delete, "the rehearsal waits to be confirmed");
    let mut awaited = crawl.awaited.subscribe();
    crawl.awaited.send_replace(Some(number));
    crawl.board.emit(|| Event::Rehearsed { crawl: name.clone(), cycle: number });
    let waited = tokio::select! {
        biased;
        () = crawl.reins.stopped() => Err(Error::Stopped),
        // The sender lives as long as the crawl.
        _ = awaited.wait_for(Option::is_none) => Ok(()),
        () = crawl.reins.asked_to_start() => Ok(()),
    };
    crawl.awaited.send_replace(None);
    waited
}

/// The newest cycle, if it is a finished rehearsal of what is wanted. One that was not handed over is handed over first.
async fn rehearsal<S: Store, J: Job<S>>(crawl: &Arc<Crawl<S, J>>) -> Result<Option<Cycle>> {
    if !crawl.job.rehearses_first() {
        return Ok(None);
    }
    let latest = crawl.persist(&crawl.ports.latest, LatestCycle(crawl.settings.name.clone())).await?;
    Ok(latest.filter(|cycle| {
        let over = cycle.delivered && cycle.identity.rehearsal == Rehearsal::Yes;
        over && crawl.wanted(&Strays::default()).rehearsed(Some(cycle)) != Rehearsed::NotYet
    }))
}

/// Takes a confirmation in: saved first, so that it is not lost when the wait is over.
///
/// # Errors
/// [`Error::Config`] if the crawl does not wait for the confirmation of this cycle; whatever keeps it from being saved.
pub(super) async fn take<S: Store, J: Job<S>>(crawl: &Arc<Crawl<S, J>>, number: u64) -> Result<()> {
    let (name, awaited) = (crawl.settings.name.clone(), *crawl.awaited.borrow());
    match awaited {
        Some(awaited) if awaited == number => {}
        Some(awaited) => {
            let text =
                format!("what waits to be confirmed for {name} is the rehearsal of cycle {awaited}, not of {number}");
            return Err(Error::Config(text));
        }
        None => return Err(Error::Config(format!("{name} has no rehearsal that waits to be confirmed"))),
    }
    let at = crawl.time.clock.unix_secs();
    let cycle = CycleKey { crawl: name, number };
    crawl.ports.confirm.send(ConfirmCycle { cycle, at }).await.map_err(gone)??;
    info!(crawl = crawl.settings.name, cycle = number, "the rehearsal is confirmed");
    // Shown at once, so that whoever has confirmed it sees it with the answer.
    crawl.show(|c| {
        if let Some(shown) = c.rehearsal.as_mut().filter(|shown| shown.cycle == number) {
            shown.confirmed = Some(at);
            c.rehearsing = false;
            c.phase = Phase::SleepingBetweenCycles;
        }
    });
    crawl.awaited.send_replace(None);
    Ok(())
}
