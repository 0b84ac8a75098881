//! What earlier processes have left in the state: the last cycle of each crawl, and the last run of each cleaning.
//!
//! Read once, at the start, before the engine has the state. The engine reads the same and more when a crawl begins, under
//! its budget; but what is stopped, paused or waits for its store does not begin, and has a past all the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use crate::checkpoint::{Cycle, StateStore};
use crate::config::{Config, CrawlConfig};
use crate::error::Result;
use crate::job::{Count, Leases, NoteKind, Verify};
use crate::messages::CycleRows;
use crate::report::CycleReport;
use crate::settings::JobSettings;
use crate::status::CleaningEnd;
use crate::store::TahoeStore;

/// Findings and errors of a cycle that are listed, each.
const NOTES_LISTED: u64 = 10_000;

/// What was there at the start, by name.
#[derive(Debug, Default)]
pub struct Past {
    cycles: BTreeMap<String, PastCycle>,
    runs: BTreeMap<String, CleaningEnd>,
}

/// The last finished cycle of a crawl.
#[derive(Debug, Clone)]
pub struct PastCycle {
    /// Its report.
    pub report: Arc<CycleReport>,
    /// Prefixes in its ring.
    pub prefixes: u32,
    /// Whether none was begun after it.
    pub is_newest: bool,
}

impl Past {
    /// Reads it. What cannot be read is said and left out: the crawl itself will say what is wrong.
    pub fn read(state: &mut impl StateStore, config: &Config) -> Past {
        let mut past = Past::default();
        for crawl in &config.crawls {
            let name = &crawl.settings.name;
            match last_cycle(state, crawl) {
                Ok(found) => past.cycles.extend(found.map(|cycle| (name.clone(), cycle))),
                Err(error) => warn!(crawl = name, %error, "its last cycle cannot be shown"),
            }
        }
        for cleaning in &config.cleanings {
            match state.last_run(&cleaning.name) {
                Ok(last) => past.runs.extend(last.and_then(|last| {
                    // A result that a newer Sexton has written is not shown.
                    let result = serde_json::from_value(last.result).ok()?;
                    Some((cleaning.name.clone(), CleaningEnd { ended: last.ended, result }))
                })),
                Err(error) => warn!(cleaning = cleaning.name, %error, "its last run cannot be shown"),
            }
        }
        past
    }

    /// The last cycle of a crawl that was finished before the start.
    pub fn cycle(&self, crawl: &str) -> Option<&PastCycle> {
        self.cycles.get(crawl)
    }

    /// How the last run of a cleaning ended before the start.
    pub fn run(&self, cleaning: &str) -> Option<&CleaningEnd> {
        self.runs.get(cleaning)
    }
}

fn last_cycle(state: &mut impl StateStore, crawl: &CrawlConfig) -> Result<Option<PastCycle>> {
    let name = &crawl.settings.name;
    // The name may have been another job's.
    let same_job = |cycle: &Cycle| cycle.identity.job == crawl.job.name();
    let Some(cycle) = state.finished(name)?.pop().filter(same_job) else { return Ok(None) };
    let (key, prefixes) = (cycle.key(), u32::try_from(cycle.identity.ring.len()).unwrap_or(u32::MAX));
    let is_newest = state.latest(name)?.is_none_or(|latest| latest.number <= cycle.number);
    let took = cycle.finished.unwrap_or(cycle.started) - cycle.started;
    let elapsed = Duration::try_from_secs_f64(took).unwrap_or_default();
    let rows = CycleRows {
        prefixes: state.prefixes(&key)?,
        findings: state.notes(&key, NoteKind::Finding, NOTES_LISTED)?,
        errors: state.notes(&key, NoteKind::Error, NOTES_LISTED)?,
        cycle,
    };
    let report = match &crawl.job {
        JobSettings::Count => CycleReport::new::<TahoeStore, _>(&Count, rows, false, elapsed),
        JobSettings::Leases(leases) => {
            CycleReport::new::<TahoeStore, _>(&Leases::new(leases.clone()), rows, false, elapsed)
        }
        JobSettings::Verify { verify, .. } => {
            CycleReport::new::<TahoeStore, _>(&Verify::new(verify.clone()), rows, false, elapsed)
        }
    }?;
    Ok(Some(PastCycle { report: Arc::new(report), prefixes, is_newest }))
}
