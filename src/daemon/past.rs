//! What earlier processes have left in the state: how far each crawl has come and its last finished cycle, and the last run
//! of each cleaning.
//!
//! Read once, at the start: the cycles' own rows at once, and all else in pages that the engine pays for. The engine reads the same
//! and more when a crawl begins; but what is stopped, paused or waits for its store does not begin, and has a past all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing::warn;

use crate::config::{Config, CrawlConfig};
use crate::engine::EngineHandle;
use crate::error::{Error, Result, Retry};
use crate::job::{Counts, Job, Note, NoteKind};
use crate::kinds::WithJob;
use crate::lock::lock;
use crate::model::{CrawlStatus, CycleReport, CycleTotal, ListedNotes, MaintenanceEnd};
use crate::policy::backoff::Backoff;
use crate::policy::cycle::{CycleKey, KnownCycle, Rehearsal};
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
    /// Whether all of it was read.
    pub is_whole: bool,
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
    /// How the newest cycles stand, and how much is damaged: three short pages for each crawl, so that nobody waits for a budget to
    /// know it. Of one with more prefixes than a page holds it says at first only that it is begun.
    pub fn first_pages(state: &dyn StateReader, config: &Config) -> Past {
        let mut past = Past::default();
        for crawl in &config.crawls {
            let name = &crawl.settings.name;
            // What cannot be read is said by whoever reads the rest.
            if let Ok(Some(stands)) = first_pages(state, crawl) {
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
        match patiently(async || past_crawl(&PastPages::of(engine, name), crawl).await).await {
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
        let last_run = async || {
            let of = name.clone();
            PastPages::of(engine, &name).read(move |state| state.last_run(&of)).await
        };
        match patiently(last_run).await {
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
    lock(past).is_whole = true;
}

/// Reads again and again while it fails for a cause that passes.
async fn patiently<T>(read: impl AsyncFn() -> Result<T>) -> Result<T> {
    let mut backoff = Backoff::default();
    loop {
        match read().await {
            Err(error) if error.retry() == Retry::Helps => tokio::time::sleep(backoff.failed()).await,
            other => return other,
        }
    }
}

/// Reads the state, each page under a slice of its own.
struct PastPages<'e> {
    engine: &'e EngineHandle,
    client: String,
}

impl<'e> PastPages<'e> {
    fn of(engine: &'e EngineHandle, name: &str) -> PastPages<'e> {
        PastPages { engine, client: format!("{name}/history") }
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

fn first_pages(state: &dyn StateReader, crawl: &CrawlConfig) -> Result<Option<CrawlStatus>> {
    let newest = state.newest(&crawl.settings.name)?;
    // The name may have been another job's.
    let Some(newest) = newest.filter(|newest| newest.identity.job == crawl.job.name()) else { return Ok(None) };
    let rows = state.prefixes(&newest.key(), 0)?;
    let is_all = rows.len() == newest.identity.ring.len();
    let mut stands = PastStanding::nothing_of(&newest);
    if is_all {
        stands = stands.add(&crawl.settings.name, rows)?;
    }
    let mut stands = stands.status(crawl, &newest);
    stands.damaged = state.damaged(&newest.identity.store, &newest.identity.job)?;
    stands.store = newest.identity.store;
    Ok(Some(stands))
}

async fn past_crawl(pages: &PastPages<'_>, crawl: &CrawlConfig) -> Result<Option<PastCrawl>> {
    // The name may have been another job's.
    let same_job = |cycle: &KnownCycle| cycle.identity.job == crawl.job.name();
    let name = crawl.settings.name.clone();
    let Some(newest) = pages.read(move |state| state.newest(&name)).await?.filter(same_job) else { return Ok(None) };
    let name = crawl.settings.name.clone();
    let (key, nothing) = (newest.key(), PastStanding::nothing_of(&newest));
    let standing = pages.prefixes(&key, nothing, move |standing, rows| standing.add(&name, rows));
    let mut stands = standing.await?.status(crawl, &newest);
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

/// How far a cycle has come, by the rows of its prefixes.
struct PastStanding {
    lap: Lap,
    counts: Counts,
    cursors: BTreeMap<u32, Vec<u8>>,
}

impl PastStanding {
    fn nothing_of(cycle: &KnownCycle) -> PastStanding {
        let prefixes = u32::try_from(cycle.identity.ring.len()).unwrap_or(u32::MAX);
        PastStanding { lap: Lap::new(prefixes), counts: Counts::default(), cursors: BTreeMap::new() }
    }

    fn add(mut self, crawl: &str, rows: Vec<PrefixRow>) -> Result<PastStanding> {
        for row in rows {
            if let Some(tally) = &row.tally {
                let unreadable = |cause| Error::Tally { crawl: crawl.to_owned(), cause };
                self.counts.merge(&Counts::of_saved(tally).map_err(unreadable)?);
            }
            if row.done {
                self.lap.complete(row.prefix);
            } else if let Some(cursor) = row.cursor {
                self.cursors.insert(row.prefix, cursor);
            }
        }
        Ok(self)
    }

    fn status(self, crawl: &CrawlConfig, cycle: &KnownCycle) -> CrawlStatus {
        let PastStanding { lap, counts, cursors } = self;
        let ring = &cycle.identity.ring;
        let last = lap.last_contiguous();
        let next = cursors.get(&last.map_or(0, |last| last + 1));
        CrawlStatus {
            cycle: Some(cycle.number),
            cycle_started: Some(cycle.started),
            prefixes_done: lap.completed(),
            last_complete_prefix: last.and_then(|last| ring.get(last as usize).cloned()),
            last_complete_bucket: next.map(|name| shown::name(name)),
            buckets: counts.buckets,
            shares: counts.objects,
            errors: counts.errors,
            findings: counts.findings,
            vanished: counts.vanished,
            rehearsing: cycle.identity.rehearsal == Rehearsal::Yes && cycle.confirmed.is_none(),
            ..CrawlStatus::new(crawl.job.name(), crawl.settings.workers, lap.len())
        }
    }
}

async fn report(pages: &PastPages<'_>, crawl: &CrawlConfig, cycle: KnownCycle) -> Result<CycleReport> {
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
    pages: &'a PastPages<'p>,
    cycle: KnownCycle,
    notes: ListedNotes,
}

impl<'a> WithJob for Reported<'a, '_> {
    type Out = Pin<Box<dyn Future<Output = Result<CycleReport>> + 'a>>;

    fn with<J: Job<TahoeStore>>(self, job: J) -> Self::Out {
        Box::pin(reported(self.pages, job, self.cycle, self.notes))
    }
}

async fn reported<J: Job<TahoeStore>>(
    pages: &PastPages<'_>,
    job: J,
    cycle: KnownCycle,
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
