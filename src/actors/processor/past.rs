//! What earlier runs have left in the state, told at the start: reports of finished cycles, and what was found in them.
//!
//! Read under slices of its own, so a long history costs no more than the budget allows.

use std::sync::Arc;

use tracing::warn;

use super::crawl::CrawlTask;
use super::opening::{each_page_of_notes, report_of};
use super::steps::Steps;
use crate::error::{Error, Result};
use crate::job::{Job, Note, NoteKind};
use crate::model::FindingRow;
use crate::policy::cycle::{CycleKey, KnownCycle};
use crate::store::Store;

/// Tells of earlier cycles. What cannot be read is said once and left out: the walk itself will say what is wrong.
///
/// # Errors
/// [`Error::Stopped`] if the crawl is stopped meanwhile.
pub(super) async fn tell<S: Store, J: Job<S>>(crawl: &Arc<CrawlTask<S, J>>) -> Result<()> {
    or_stopped(crawl, told(crawl)).await
}

/// Tells, until the crawl is stopped. What cannot be read is said, and is no error.
async fn or_stopped<S: Store, J: Job<S>>(
    crawl: &CrawlTask<S, J>,
    told: impl Future<Output = Result<()>>,
) -> Result<()> {
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

async fn told<S: Store, J: Job<S>>(crawl: &Arc<CrawlTask<S, J>>) -> Result<()> {
    let name = &crawl.settings.name;
    let mut steps = Steps::new(crawl, "history");
    let of = name.clone();
    let finished = steps.read(move |state| state.finished(&of)).await?;
    let of = name.clone();
    let unfinished = steps.read(move |state| state.newest(&of)).await?;
    let unfinished = unfinished.filter(|cycle| cycle.finished.is_none());
    let newest = finished.last().map(KnownCycle::key);
    // The log outlives a crawl that begins again: what it has of a cycle came from here or from the walk itself.
    let logged = crawl.board.last_cycle_found(name);
    for cycle in finished {
        // What this run knows, it knows better.
        let known = crawl.board.report(name).is_some_and(|report| report.key.number >= cycle.number);
        if !known {
            let is_news = Some(cycle.key()) == newest && logged < Some(cycle.number);
            let told = if is_news { ToldPart::WithFindings } else { ToldPart::Figures };
            past_cycle(&mut steps, crawl, cycle, told).await?;
        }
    }
    match unfinished.filter(|cycle| logged < Some(cycle.number)) {
        Some(cycle) => past_cycle(&mut steps, crawl, cycle, ToldPart::FindingsOnly).await,
        None => Ok(()),
    }
}

/// What of a cycle is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ToldPart {
    Figures,
    WithFindings,
    FindingsOnly,
}

async fn past_cycle<S: Store, J: Job<S>>(
    steps: &mut Steps<'_, S, J>,
    crawl: &Arc<CrawlTask<S, J>>,
    cycle: KnownCycle,
    told: ToldPart,
) -> Result<()> {
    let KnownCycle { started, finished, ref identity, .. } = cycle;
    let (key, ring, worker) = (cycle.key(), identity.ring.clone(), crawl.clone());
    let of = key.clone();
    let see = move |notes: &[(u32, Note)]| {
        if told != ToldPart::Figures {
            log(&worker, &of, started, &ring, notes);
        }
    };
    if told == ToldPart::FindingsOnly {
        let seen = move |(), notes: Vec<(u32, Note)>| {
            see(&notes);
            Ok(())
        };
        return each_page_of_notes(steps, &key, (), seen).await;
    }
    if let Some(finished) = finished {
        crawl.board.ring(&crawl.settings.name, |marks| {
            let steps = identity.ring.len().max(1) as f64;
            // In between, as far as the walk was even: nobody has written down when each prefix was visited.
            (1..).zip(0..marks.ring().len()).for_each(|(step, position)| {
                marks.remember(position, started + (finished - started) * f64::from(step) / steps);
            });
        });
    }
    let elapsed = std::time::Duration::try_from_secs_f64(finished.unwrap_or(started) - started).unwrap_or_default();
    let report = match report_of(steps, crawl, cycle, false, elapsed, see).await {
        // What a job says of its own past must not end it.
        Err(Error::ActorPanicked { .. }) => return Ok(()),
        report => Arc::new(report?),
    };
    if crawl.board.report(&crawl.settings.name).is_none_or(|known| known.key.number < key.number) {
        crawl.board.reported(&crawl.settings.name, report);
    }
    Ok(())
}

fn log<S: Store, J: Job<S>>(crawl: &CrawlTask<S, J>, key: &CycleKey, at: f64, ring: &[String], notes: &[(u32, Note)]) {
    for (position, note) in notes.iter().filter(|(_, note)| note.kind != NoteKind::Stray) {
        let prefix = ring.get(*position as usize).map_or("", String::as_str);
        let row = FindingRow::of(note, &crawl.settings.name, key.number, at, prefix);
        row.into_iter().for_each(|row| crawl.board.found(FindingRow { is_earlier: true, ..row }));
    }
}
