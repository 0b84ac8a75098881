//! What earlier processes have left in the state: how far each crawl has come and its last finished cycle, and the last run
//! of each cleaning.
//!
//! Read once, at the start, before the engine has the state. The engine reads the same and more when a crawl begins, under
//! its budget; but what is stopped, paused or waits for its store does not begin, and has a past all the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use crate::config::{Config, CrawlConfig};
use crate::error::{Error, Result};
use crate::job::{Counts, Job, NoteKind};
use crate::kinds::WithJob;
use crate::model::{CrawlStatus, CycleReport, CycleTotal, ListedNotes, MaintenanceEnd};
use crate::policy::cycle::{Cycle, Rehearsal};
use crate::policy::ring::Lap;
use crate::shown;
use crate::state::{StateReader, each_note, each_prefix};
use crate::tahoe::TahoeStore;

/// Findings of a cycle that are listed.
const FINDINGS_LISTED: usize = 10_000;

/// What was there at the start, by name.
#[derive(Debug, Default)]
pub struct Past {
    crawls: BTreeMap<String, PastCrawl>,
    runs: BTreeMap<String, MaintenanceEnd>,
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
    /// Reads it. What cannot be read is said and left out: the crawl itself will say what is wrong.
    pub fn read(state: &dyn StateReader, config: &Config) -> Past {
        let mut past = Past::default();
        for crawl in &config.crawls {
            let name = &crawl.settings.name;
            match past_crawl(state, crawl) {
                Ok(found) => past.crawls.extend(found.map(|crawl| (name.clone(), crawl))),
                Err(error) => warn!(crawl = name, %error, "what it has done so far cannot be shown"),
            }
        }
        for cleaning in &config.cleanings {
            match state.last_run(&cleaning.task.name) {
                Ok(last) => past.runs.extend(last.and_then(|last| {
                    // A result that a newer Sexton has written is not shown.
                    let result = serde_json::from_value(last.result).ok()?;
                    Some((cleaning.task.name.clone(), MaintenanceEnd { ended: last.ended, result }))
                })),
                Err(error) => warn!(cleaning = cleaning.task.name, %error, "its last run cannot be shown"),
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
    }
}

fn past_crawl(state: &dyn StateReader, crawl: &CrawlConfig) -> Result<Option<PastCrawl>> {
    let name = &crawl.settings.name;
    // The name may have been another job's.
    let same_job = |cycle: &Cycle| cycle.identity.job == crawl.job.name();
    let Some(newest) = state.latest(name)?.filter(same_job) else { return Ok(None) };
    let mut stands = stands(state, crawl, &newest)?;
    stands.damaged = state.damaged(&newest.identity.store, &newest.identity.job)?;
    stands.store.clone_from(&newest.identity.store);
    let report = match state.finished(name)?.pop().filter(same_job) {
        Some(cycle) => Some(Arc::new(report(state, crawl, &cycle)?)),
        None => None,
    };
    Ok(Some(PastCrawl { report, stands }))
}

/// How a cycle stands, by its checkpoint.
fn stands(state: &dyn StateReader, crawl: &CrawlConfig, cycle: &Cycle) -> Result<CrawlStatus> {
    let ring = &cycle.identity.ring;
    let mut lap = Lap::new(u32::try_from(ring.len()).unwrap_or(u32::MAX));
    let (mut counts, mut cursors) = (Counts::default(), BTreeMap::new());
    each_prefix(state, &cycle.key(), |row| {
        if let Some(tally) = &row.tally {
            let crawl = || crawl.settings.name.clone();
            counts.merge(&Counts::of_saved(tally).map_err(|cause| Error::Tally { crawl: crawl(), cause })?);
        }
        if row.done {
            lap.complete(row.prefix);
        } else if let Some(cursor) = row.cursor {
            cursors.insert(row.prefix, cursor);
        }
        Ok(())
    })?;
    let last = lap.last_contiguous();
    let next = cursors.get(&last.map_or(0, |last| last + 1));
    Ok(CrawlStatus {
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
    })
}

fn report(state: &dyn StateReader, crawl: &CrawlConfig, cycle: &Cycle) -> Result<CycleReport> {
    let (key, mut notes) = (cycle.key(), ListedNotes::default());
    each_note(state, &key, |_, note| {
        let is_too_many = note.kind == NoteKind::Finding && notes.findings() >= FINDINGS_LISTED;
        if is_too_many { Ok(()) } else { notes.add(&key, &note) }
    })?;
    crawl.job.with(Reported { state, cycle, notes })
}

/// Makes the report of a cycle.
struct Reported<'a> {
    state: &'a dyn StateReader,
    cycle: &'a Cycle,
    notes: ListedNotes,
}

impl WithJob for Reported<'_> {
    type Out = Result<CycleReport>;

    fn with<J: Job<TahoeStore>>(self, job: J) -> Result<CycleReport> {
        let Reported { state, cycle, notes } = self;
        let took = cycle.finished.unwrap_or(cycle.started) - cycle.started;
        let elapsed = Duration::try_from_secs_f64(took).unwrap_or_default();
        let mut total = CycleTotal::default();
        each_prefix(state, &cycle.key(), |row| total.add(cycle, row))?;
        Ok(CycleReport::new(&job, cycle, total, notes, false, elapsed))
    }
}
