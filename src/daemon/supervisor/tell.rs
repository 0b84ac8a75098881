//! What readers of events are told, by comparing what they were told last with what there is.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::web::Bytes;

use super::Supervisor;
use crate::daemon::api::cleanings;
use crate::daemon::api::picture::{self, Picture};
use crate::daemon::api::shapes::{ByeEvent, CleaningEvent, CycleEvent, PrefixesEvent, ShownFinding};
use crate::daemon::hub::event;
use crate::daemon::series::BudgetSample;
use crate::model::{FINDINGS_KEPT, Status, TaskState};
use crate::settings::BudgetSettings;

/// Findings told at one look at most; a reader asks for the rest, as it sees the number of the last one.
const FINDINGS_AT_ONCE: usize = 50;
/// A quiet connection shows that it is alive so often.
const ALIVE_EVERY: Duration = Duration::from_secs(15);

/// What was told last.
#[derive(Default)]
pub(super) struct LastTold {
    /// The budget that the engine was given.
    pub budget: Option<BudgetSettings>,
    finding: u64,
    /// The last finding that the metrics have counted: they are not as slow as a reader.
    counted: u64,
    crawls: BTreeMap<String, ToldOfCrawl>,
    /// Runs that have ended, of each cleaning.
    cleanings: BTreeMap<String, u64>,
    alive: Duration,
}

#[derive(Debug, Clone, Copy, Default)]
struct ToldOfCrawl {
    walking: Option<u64>,
    /// Cycles that were finished.
    finished: u64,
    revision: u64,
}

impl Supervisor {
    /// Tells what is new since the last look. Where nobody reads, only what the metrics count is looked at.
    pub(super) fn tell_news(&mut self, status: &Status, now: Duration) {
        self.tell_findings();
        self.tell_cycles(status);
        self.tell_cleanings(status);
        if self.shared.hub.readers() == 0 {
            return;
        }
        let picture = Picture::take(&self.shared);
        self.shared.hub.send_to_each(|may_change| event("status", &picture.status(may_change)));
        if now >= self.told.alive {
            self.told.alive = now + ALIVE_EVERY;
            self.shared.hub.send(&Bytes::from_static(b": still here\n\n"));
        }
    }

    fn tell_findings(&mut self) {
        for row in &self.shared.engine.findings(self.told.counted, None, FINDINGS_KEPT).rows {
            self.told.counted = row.number;
            // What an earlier run has found was counted by it.
            if !row.is_earlier {
                self.metrics.found(row);
            }
        }
        for row in &self.shared.engine.findings(self.told.finding, None, FINDINGS_AT_ONCE).rows {
            self.told.finding = row.number;
            self.shared.hub.send(&event("finding", &ShownFinding::from(row.clone())));
        }
    }

    fn tell_cycles(&mut self, status: &Status) {
        for (name, crawl) in &status.crawls {
            let told = self.told.crawls.entry(name.clone()).or_default();
            // What an earlier process had finished is no news; of several since the last look the newest is told.
            let finished = crawl.since_start.cycles;
            if std::mem::replace(&mut told.finished, finished) != finished
                && let Some(report) = self.shared.engine.last_report(name)
            {
                let (crawl, cycle, summary) = (name.clone(), report.key.number, Some(picture::cycle(&report)));
                self.shared.hub.send(&event("cycle", &CycleEvent { what: "finished", crawl, cycle, summary }));
            }
            let walking = crawl.cycle.filter(|_| crawl.phase == TaskState::Walking);
            if walking.is_some() && walking != told.walking {
                let what = if crawl.resumed_with.is_some() { "resumed" } else { "started" };
                let (crawl, cycle) = (name.clone(), walking.unwrap_or(0));
                self.shared.hub.send(&event("cycle", &CycleEvent { what, crawl, cycle, summary: None }));
            }
            if walking.is_some() {
                told.walking = walking;
            }
            let Some(ring) = self.shared.engine.ring(name).filter(|ring| ring.revision != told.revision) else {
                continue;
            };
            let known = std::mem::replace(&mut told.revision, ring.revision);
            let new = (0u32..).zip(&ring.revisions).filter(|(_, revision)| **revision > known);
            let met = |(i, _): (u32, &u64)| (i, ring.errors[i as usize], ring.findings[i as usize]);
            let marks: Vec<(u32, u64, u64)> = new.map(met).collect();
            let (crawl, cycle) = (name.clone(), crawl.cycle.unwrap_or(0));
            let at = self.shared.time.clock.unix_secs();
            self.shared.hub.send(&event("prefixes", &PrefixesEvent { crawl, cycle, at, marks, current: ring.current }));
        }
        self.told.crawls.retain(|name, _| status.crawls.contains_key(name));
    }

    fn tell_cleanings(&mut self, status: &Status) {
        let picture = Picture::take(&self.shared);
        for view in &picture.view.cleanings {
            let name = &view.settings.task.name;
            let runs = status.maintenance.get(name).map_or(0, |found| found.runs);
            let told = self.told.cleanings.entry(name.clone()).or_default();
            if std::mem::replace(told, runs) == runs || runs == 0 {
                continue;
            }
            let Some(run) = cleanings::last_run(&picture, view) else { continue };
            let told = CleaningEvent { what: "finished", cleaning: name.clone(), run };
            self.shared.hub.send(&event("cleaning", &told));
        }
        self.told.cleanings.retain(|name, _| status.maintenance.contains_key(name));
    }

    pub(super) fn tell_sample(&self, sample: &BudgetSample) {
        self.shared.hub.send(&event("sample", sample));
    }

    pub(super) fn tell_bye(&self, why: &str) {
        self.shared.hub.send(&event("bye", &ByeEvent { why }));
    }
}
