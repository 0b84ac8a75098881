//! What earlier processes have left in the state: how far each crawl has come and its last finished cycle, and the last run
//! of each cleaning.
//!
//! Read once, at the start: the cycles' own rows at once, and all else in pages that the engine pays for. The engine reads the same and more when a crawl begins; but what is
//! stopped, paused or waits for its store does not begin, and has a past all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing::warn;

use crate::config::{Config, CrawlConfig};
use crate::engine::EngineHandle;
use crate::error::{Error, Result};
use crate::job::{Counts, Job, Note, NoteKind};
use crate::kinds::WithJob;
use crate::lock::lock;
use crate::model::{CrawlStatus, CycleReport, CycleTotal, ListedNotes, MaintenanceEnd};
use crate::policy::cycle::{Cycle, CycleKey, Rehearsal};
use crate::policy::ring::Lap;
use crate::shown;
use crate::state::{NOTES_READ, NotePlace, PrefixRow, StateReader};
use crate::tahoe::TahoeStore;

/// Findings of a cycle that are listed.
const FINDINGS_LISTED: usize = 10_000;

/// What was there at the start, by name.
#[derive(Debug, Default)]
pub struct Past {
    crawls: BTreeMap<String, PastCrawl>,
    runs: BTreeMap<String, MaintenanceEnd>,
    /// Names that others have by now.
    forgotten: BTreeSet<String>,
}

/// What was there of a crawl.
#[derive(Debug)]
struct PastCrawl {
    /// The report of its last finished cycle.
    report: Option<Arc<CycleReport>>,
    /// How its newest cycle stands, as it was saved, with the damage that was known then.
    stands: CrawlStatus,
}

impl Past {
    /// What the newest cycles tell by their own rows, and how much is damaged: two short pages for each crawl, so that nobody waits for
    /// a budget to know it.
    pub fn by_rows(state: &dyn StateReader, config: &Config) -> Past {
        let mut past = Past::default();
        for crawl in &config.crawls {
            let name = &crawl.settings.name;
            // What cannot be read is said by whoever reads the rest.
            if let Ok(Some(newest)) = state.newest(name)
                && newest.identity.job == crawl.job.name()
            {
                let mut stands = begun(crawl, &newest);
                stands.store.clone_from(&newest.identity.store);
                stands.damaged = state.damaged(&stands.store, &newest.identity.job).unwrap_or(0);
                past.crawls.insert(name.clone(), PastCrawl { report: None, stands });
            }
        }
        past
    }

    /// The report of the last cycle of a crawl that was finished before the start.
    pub fn report(&self, crawl: &str) -> Option<Arc<CycleReport>> {
        self.crawls.get(crawl)?.report.clone()
    }

    /// How a crawl stood at the start, as it was saved.
    pub fn stands(&self, crawl: &str) -> Option<&CrawlStatus> {
        self.crawls.get(crawl).map(|crawl| &crawl.stands)
    }

    /// How the last run of a cleaning ended before the start.
    pub fn run(&self, cleaning: &str) -> Option<&MaintenanceEnd> {
        self.runs.get(cleaning)
    }

    /// Forgets a crawl or a cleaning: what has its name from now on is another one.
    pub fn forget(&mut self, name: &str) {
        self.crawls.remove(name);
        self.runs.remove(name);
        self.forgotten.insert(name.to_owned());
    }
}

/// Reads the past of all crawls and cleanings into `past`, one after the other. What cannot be read is said and left out: the crawl
/// itself will say what is wrong.
pub async fn read(engine: &EngineHandle, config: &Config, past: &Mutex<Past>) {
    for crawl in &config.crawls {
        let name = &crawl.settings.name;
        match past_crawl(&Pages::of(engine, name), crawl).await {
            Ok(Some(found)) => {
                let mut past = lock(past);
                if !past.forgotten.contains(name) {
                    past.crawls.insert(name.clone(), found);
                }
            }
            Ok(None) => {}
            // The daemon ends.
            Err(Error::Stopped) => return,
            Err(error) => warn!(crawl = name, %error, "what it has done so far cannot be shown"),
        }
    }
    for cleaning in &config.cleanings {
        let name = cleaning.task.name.clone();
        let of = name.clone();
        match Pages::of(engine, &name).read(move |state| state.last_run(&of)).await {
            Ok(Some(last)) => {
                let mut past = lock(past);
                // A result that a newer Sexton has written is not shown.
                if let Ok(result) = serde_json::from_value(last.result)
                    && !past.forgotten.contains(&name)
                {
                    past.runs.insert(name, MaintenanceEnd { ended: last.ended, result });
                }
            }
            Ok(None) => {}
            Err(Error::Stopped) => return,
            Err(error) => warn!(cleaning = name, %error, "its last run cannot be shown"),
        }
    }
}

/// Reads the state, each page under a slice of its own.
struct Pages<'e> {
    engine: &'e EngineHandle,
    client: String,
}

impl<'e> Pages<'e> {
    fn of(engine: &'e EngineHandle, name: &str) -> Pages<'e> {
        Pages { engine, client: format!("{name}/history") }
    }

    async fn read<R: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn StateReader) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        self.engine.read_state(&self.client, read).await
    }

    /// Folds all prefixes of a cycle, some with each page.
    async fn prefixes<A: Send + 'static>(
        &self,
        cycle: &CycleKey,
        mut into: A,
        fold: impl FnOnce(A, Vec<PrefixRow>) -> Result<A> + Clone + Send + 'static,
    ) -> Result<A> {
        let mut from = Some(0);
        while let Some(place) = from {
            let (cycle, fold) = (cycle.clone(), fold.clone());
            let page = move |state: &dyn StateReader| {
                let rows = state.prefixes(&cycle, place)?;
                Ok((rows.last().map(|last| last.prefix.saturating_add(1)), fold(into, rows)?))
            };
            (from, into) = self.read(page).await?;
        }
        Ok(into)
    }

    /// Folds all notes of a cycle, some with each page.
    async fn notes<A: Send + 'static>(
        &self,
        cycle: &CycleKey,
        mut into: A,
        fold: impl FnOnce(A, Vec<(u32, Note)>) -> Result<A> + Clone + Send + 'static,
    ) -> Result<A> {
        let mut from = Some(NotePlace::default());
        while let Some(place) = from {
            let (cycle, fold) = (cycle.clone(), fold.clone());
            let page = move |state: &dyn StateReader| {
                let page = state.notes(&cycle, place, NOTES_READ)?;
                Ok((page.next, fold(into, page.notes)?))
            };
            (from, into) = self.read(page).await?;
        }
        Ok(into)
    }
}

async fn past_crawl(pages: &Pages<'_>, crawl: &CrawlConfig) -> Result<Option<PastCrawl>> {
    // The name may have been another job's.
    let same_job = |cycle: &Cycle| cycle.identity.job == crawl.job.name();
    let name = crawl.settings.name.clone();
    let Some(newest) = pages.read(move |state| state.newest(&name)).await?.filter(same_job) else { return Ok(None) };
    let mut stands = stands(pages, crawl, &newest).await?;
    let (store, job) = (newest.identity.store.clone(), newest.identity.job.clone());
    stands.store.clone_from(&store);
    stands.damaged = pages.read(move |state| state.damaged(&store, &job)).await?;
    let name = crawl.settings.name.clone();
    let report = match pages.read(move |state| state.finished(&name)).await?.pop().filter(same_job) {
        Some(cycle) => Some(Arc::new(report(pages, crawl, cycle).await?)),
        None => None,
    };
    Ok(Some(PastCrawl { report, stands }))
}

/// How a cycle stands, by its own row.
fn begun(crawl: &CrawlConfig, cycle: &Cycle) -> CrawlStatus {
    let prefixes = u32::try_from(cycle.identity.ring.len()).unwrap_or(u32::MAX);
    CrawlStatus {
        cycle: Some(cycle.number),
        cycle_started: Some(cycle.started),
        rehearsing: cycle.identity.rehearsal == Rehearsal::Yes && cycle.confirmed.is_none(),
        ..CrawlStatus::new(crawl.job.name(), crawl.settings.workers, prefixes)
    }
}

/// How a cycle stands, by its checkpoint.
async fn stands(pages: &Pages<'_>, crawl: &CrawlConfig, cycle: &Cycle) -> Result<CrawlStatus> {
    let (ring, name) = (&cycle.identity.ring, crawl.settings.name.clone());
    let lap = Lap::new(u32::try_from(ring.len()).unwrap_or(u32::MAX));
    let (key, nothing) = (cycle.key(), (lap, Counts::default(), BTreeMap::new()));
    let folded = pages.prefixes(&key, nothing, move |(mut lap, mut counts, mut cursors), rows| {
        for row in rows {
            if let Some(tally) = &row.tally {
                let crawl = || name.clone();
                counts.merge(&Counts::of_saved(tally).map_err(|cause| Error::Tally { crawl: crawl(), cause })?);
            }
            if row.done {
                lap.complete(row.prefix);
            } else if let Some(cursor) = row.cursor {
                cursors.insert(row.prefix, cursor);
            }
        }
        Ok((lap, counts, cursors))
    });
    let (lap, counts, cursors) = folded.await?;
    let last = lap.last_contiguous();
    let next = cursors.get(&last.map_or(0, |last| last + 1));
    Ok(CrawlStatus {
        prefixes_done: lap.completed(),
        last_complete_prefix: last.and_then(|last| ring.get(last as usize).cloned()),
        last_complete_bucket: next.map(|name| shown::name(name)),
        buckets: counts.buckets,
        shares: counts.objects,
        errors: counts.errors,
        findings: counts.findings,
        vanished: counts.vanished,
        ..begun(crawl, cycle)
    })
}

async fn report(pages: &Pages<'_>, crawl: &CrawlConfig, cycle: Cycle) -> Result<CycleReport> {
    let key = cycle.key();
    let of = key.clone();
    let notes = pages.notes(&key, ListedNotes::default(), move |mut listed, notes| {
        for (_, note) in notes {
            let is_too_many = note.kind == NoteKind::Finding && listed.findings() >= FINDINGS_LISTED;
            if !is_too_many {
                listed.add(&of, &note)?;
            }
        }
        Ok(listed)
    });
    let notes = notes.await?;
    crawl.job.with(Reported { pages, cycle, notes }).await
}

/// Makes the report of a cycle.
struct Reported<'a, 'p> {
    pages: &'a Pages<'p>,
    cycle: Cycle,
    notes: ListedNotes,
}

impl<'a> WithJob for Reported<'a, '_> {
    type Out = Pin<Box<dyn Future<Output = Result<CycleReport>> + 'a>>;

    fn with<J: Job<TahoeStore>>(self, job: J) -> Self::Out {
        Box::pin(reported(self.pages, job, self.cycle, self.notes))
    }
}

async fn reported<J: Job<TahoeStore>>(
    pages: &Pages<'_>,
    job: J,
    cycle: Cycle,
    notes: ListedNotes,
) -> Result<CycleReport> {
    let took = cycle.finished.unwrap_or(cycle.started) - cycle.started;
    let elapsed = Duration::try_from_secs_f64(took).unwrap_or_default();
    let cycle = Arc::new(cycle);
    let (of, key) = (cycle.clone(), cycle.key());
    let total = pages.prefixes(&key, CycleTotal::<J::Tally>::default(), move |mut total, rows| {
        rows.into_iter().try_for_each(|row| total.add(&of, row))?;
        Ok(total)
    });
    let total = total.await?;
    pages.read(move |_| Ok(CycleReport::new(&job, &cycle, total, notes, false, elapsed))).await
}
