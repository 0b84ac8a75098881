//! What earlier runs have left in the state, told at the start: reports of finished cycles, and what was found in them.
//!
//! Read under slices of its own, so a long history costs no more than the budget allows.

use std::sync::Arc;

use tracing::warn;

use super::ERRORS_LISTED;
use super::crawl::{Crawl, gone};
use crate::actors::messages::{FinishedCycles, LatestCycle, ReadCycle};
use crate::error::{Error, Result};
use crate::job::{Job, Note};
use crate::model::{CycleReport, FindingRow};
use crate::policy::cycle::{Cycle, CycleKey};
use crate::slice::Stage;
use crate::store::Store;

/// Tells of earlier cycles. What cannot be read is said once and left out: the walk itself will say what is wrong.
///
/// # Errors
/// [`Error::Stopped`] if the crawl is stopped meanwhile.
pub(super) async fn tell<S: Store, J: Job<S>>(crawl: &Arc<Crawl<S, J>>) -> Result<()> {
    or_stopped(crawl, told(crawl)).await
}

/// Tells, until the crawl is stopped. What cannot be read is said, and is no error.
async fn or_stopped<S: Store, J: Job<S>>(crawl: &Crawl<S, J>, told: impl Future<Output = Result<()>>) -> Result<()> {
    let told = tokio::select! {
        biased;
        () = crawl.control.stopped() => Err(Error::Stopped),
        told = told => told,
    };
    match told {
        Err(Error::Stopped) => Err(Error::Stopped),
        Err(error) => {
            warn!(crawl = crawl.settings.name, %error, "the history of earlier cycles cannot be shown");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

async fn told<S: Store, J: Job<S>>(crawl: &Arc<Crawl<S, J>>) -> Result<()> {
    let name = &crawl.settings.name;
    let finished = crawl.ports.finished.send(FinishedCycles(name.clone())).await.map_err(gone)??;
    let unfinished = crawl.ports.latest.send(LatestCycle(name.clone())).await.map_err(gone)??;
    let unfinished = unfinished.filter(|cycle| cycle.finished.is_none());
    let newest = finished.last().map(Cycle::key);
    // The log outlives a crawl that begins again: what it has of a cycle came from here or from the walk itself.
    let logged = crawl.board.last_cycle_found(name);
    for cycle in finished {
        // What this run knows, it knows better.
        let known = crawl.board.report(name).is_some_and(|report| report.key.number >= cycle.number);
        if !known {
            let is_news = Some(cycle.key()) == newest && logged < Some(cycle.number);
            let told = if is_news { Told::WithFindings } else { Told::Figures };
            past_cycle(crawl, cycle, told).await?;
        }
    }
    match unfinished.filter(|cycle| logged < Some(cycle.number)) {
        Some(cycle) => past_cycle(crawl, cycle, Told::FindingsOnly).await,
        None => Ok(()),
    }
}

/// What of a cycle is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Figures,
    WithFindings,
    FindingsOnly,
}

async fn past_cycle<S: Store, J: Job<S>>(crawl: &Arc<Crawl<S, J>>, cycle: Cycle, told: Told) -> Result<()> {
    let client = format!("{}/history", crawl.settings.name);
    let slice = crawl.ports.slices.slice(client.into(), crawl.settings.weight).await?;
    let Cycle { started, finished, ref identity, .. } = cycle;
    let (key, ring) = (cycle.key(), identity.ring.clone());
    let read = ReadCycle { cycle: key.clone(), errors_limit: ERRORS_LISTED };
    let rows = crawl.ports.read.send(read).await.map_err(gone)??;
    if told != Told::Figures {
        let mut notes: Vec<&(u32, Note)> = rows.findings.iter().chain(&rows.errors).collect();
        notes.sort_by_key(|(position, note)| (*position, note.number));
        log(crawl, &key, started, &ring, &notes);
    }
    if told == Told::FindingsOnly {
        return Ok(());
    }
    if let Some(finished) = finished {
        crawl.board.ring(&crawl.settings.name, |marks| {
            let steps = ring.len().max(1) as f64;
            // In between, as far as the walk was even: nobody has written down when each prefix was visited.
            (1..).zip(0..marks.ring().len()).for_each(|(step, position)| {
                marks.remember(position, started + (finished - started) * f64::from(step) / steps);
            });
        });
    }
    let slice = Arc::new(slice);
    let total = super::total(crawl, &rows.cycle, Some(slice.clone())).await?;
    let worker = crawl.clone();
    let elapsed = std::time::Duration::try_from_secs_f64(finished.unwrap_or(started) - started).unwrap_or_default();
    let making =
        move || slice.charge(Stage::Fold, || CycleReport::new::<S, J>(&*worker.job, total, rows, false, elapsed));
    let Ok(report) = tokio::task::spawn_blocking(making).await else { return Ok(()) };
    let report = Arc::new(report?);
    if crawl.board.report(&crawl.settings.name).is_none_or(|known| known.key.number < key.number) {
        crawl.board.reported(&crawl.settings.name, report);
    }
    Ok(())
}

fn log<S: Store, J: Job<S>>(crawl: &Crawl<S, J>, key: &CycleKey, at: f64, ring: &[String], notes: &[&(u32, Note)]) {
    for (position, note) in notes {
        let prefix = ring.get(*position as usize).map_or("", String::as_str);
        let row = FindingRow::of(note, &crawl.settings.name, key.number, at, prefix);
        row.into_iter().for_each(|row| crawl.board.found(FindingRow { is_earlier: true, ..row }));
    }
}
