//! The board: where the actors write what they do, and where a status is read from.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::events::Subscribers;
use super::findings::FindingLog;
use super::{
    BudgetBoard, CrawlStatus, CycleReport, Event, FindingRow, FindingsPage, MaintenanceStatus, RingMarks, RingPicture,
    Status, TargetStatus, TaskState, UpkeepStatus,
};
use crate::clock::Clock;
use crate::error::Error;
use crate::lock::lock;
use crate::maintenance::MaintenanceReport;
use crate::policy::ring::Ring;
use crate::slice::EngineId;
use crate::state::FINISHED_CYCLES_KEPT;

/// Where the actors write what they do.
pub(crate) struct Board {
    clock: Arc<dyn Clock>,
    engine: EngineId,
    pub(super) budget: Arc<BudgetBoard>,
    crawls: Mutex<BTreeMap<String, CrawlStatus>>,
    maintenance: Mutex<BTreeMap<String, MaintenanceStatus>>,
    maintenance_reports: Mutex<BTreeMap<String, Arc<MaintenanceReport>>>,
    upkeep: Mutex<UpkeepStatus>,
    subscribers: Arc<Subscribers>,
    /// Finished cycles of each crawl, the oldest first; only the newest has its findings and errors.
    reports: Mutex<BTreeMap<String, VecDeque<Arc<CycleReport>>>>,
    rings: Mutex<BTreeMap<String, RingMarks>>,
    findings: Mutex<FindingLog>,
    /// Damaged objects by store and job.
    damaged: Mutex<BTreeMap<(String, String), u64>>,
}

impl Board {
    /// The board of this engine under this governor.
    pub fn new(engine: EngineId, budget: Arc<BudgetBoard>, clock: Arc<dyn Clock>) -> Self {
        Board {
            clock,
            engine,
            budget,
            crawls: Mutex::new(BTreeMap::new()),
            maintenance: Mutex::new(BTreeMap::new()),
            maintenance_reports: Mutex::new(BTreeMap::new()),
            upkeep: Mutex::new(UpkeepStatus::default()),
            subscribers: Arc::default(),
            reports: Mutex::default(),
            rings: Mutex::default(),
            findings: Mutex::default(),
            damaged: Mutex::default(),
        }
    }

    /// A board with a budget of its own that nobody uses.
    #[cfg(test)]
    pub fn unused() -> Self {
        let clock = crate::clock::Time::system(false).clock;
        let budget = Arc::new(BudgetBoard::new(&crate::settings::BudgetSettings::default(), clock.clone()));
        Board::new(EngineId::new(), budget, clock)
    }

    /// The time that the budget has allowed since the governor's start: what paces are measured by, so that they survive pauses
    /// and changes of the budget.
    pub fn allowed(&self) -> Duration {
        self.budget.figures().allowed()
    }

    pub fn add_crawl(&self, name: &str, mut status: CrawlStatus, ring: &Ring) {
        let mut crawls = lock(&self.crawls);
        // One that is started again keeps what it knew.
        if let Some(known) = crawls.get(name) {
            status.since_start = known.since_start;
            if known.prefixes_total == status.prefixes_total {
                status.stands_as(known);
            }
        }
        crawls.insert(name.to_owned(), status);
        drop(crawls);
        let mut rings = lock(&self.rings);
        if rings.get(name).is_none_or(|marks| marks.ring() != ring) {
            rings.insert(name.to_owned(), RingMarks::new(ring.clone()));
        }
    }

    /// Forgets a crawl or a maintenance. What it has cost is counted among the others from then on.
    pub fn remove(&self, name: &str) {
        self.budget.figures().forget(name);
        lock(&self.crawls).remove(name);
        lock(&self.rings).remove(name);
        lock(&self.reports).remove(name);
        lock(&self.maintenance).remove(name);
        lock(&self.maintenance_reports).remove(name);
    }

    pub fn ring(&self, crawl: &str, write: impl FnOnce(&mut RingMarks)) {
        if let Some(marks) = lock(&self.rings).get_mut(crawl) {
            write(marks);
        }
    }

    pub fn ring_picture(&self, crawl: &str) -> Option<RingPicture> {
        lock(&self.rings).get(crawl).map(RingMarks::picture)
    }

    /// So many objects of a store are damaged by the judgement of a job.
    pub fn damaged(&self, store: &str, job: &str, objects: u64) {
        let mut damaged = lock(&self.damaged);
        match damaged.iter_mut().find(|((of, by), _)| of == store && by == job) {
            Some((_, known)) => *known = objects,
            None => drop(damaged.insert((store.to_owned(), job.to_owned()), objects)),
        }
    }

    /// How many they are, where that is known.
    pub fn damaged_by(&self, store: &str, job: &str) -> Option<u64> {
        lock(&self.damaged).get(&(store.to_owned(), job.to_owned())).copied()
    }

    pub fn found(&self, row: FindingRow) {
        lock(&self.findings).push(row);
    }

    pub fn last_finding(&self) -> u64 {
        lock(&self.findings).last()
    }

    /// The newest cycle of a crawl of which the log has findings or errors.
    pub fn last_cycle_found(&self, crawl: &str) -> Option<u64> {
        lock(&self.findings).last_cycle(crawl)
    }

    pub fn findings(&self, after: u64, crawl: Option<&str>, limit: usize) -> FindingsPage {
        lock(&self.findings).after(after, crawl, limit)
    }

    pub fn crawl(&self, name: &str, write: impl FnOnce(&mut CrawlStatus)) {
        if let Some(crawl) = lock(&self.crawls).get_mut(name) {
            write(crawl);
        }
    }

    pub fn add_maintenance(&self, name: &str, mut status: MaintenanceStatus) {
        let mut all = lock(&self.maintenance);
        if let Some(known) = all.get(name) {
            (status.runs, status.last) = (known.runs, known.last.clone());
        }
        all.insert(name.to_owned(), status);
    }

    pub fn maintenance(&self, name: &str, write: impl FnOnce(&mut MaintenanceStatus)) {
        if let Some(status) = lock(&self.maintenance).get_mut(name) {
            write(status);
        }
    }

    pub fn upkeep<R>(&self, write: impl FnOnce(&mut UpkeepStatus) -> R) -> R {
        write(&mut lock(&self.upkeep))
    }

    pub fn maintained(&self, name: &str, report: Arc<MaintenanceReport>) {
        lock(&self.maintenance_reports).insert(name.to_owned(), report);
    }

    pub fn maintenance_report(&self, name: &str) -> Option<Arc<MaintenanceReport>> {
        lock(&self.maintenance_reports).get(name).cloned()
    }

    /// Shows that the engine has failed, and every crawl in it that had not ended.
    pub fn failed(&self, error: &Error) {
        for crawl in lock(&self.crawls).values_mut().filter(|crawl| !crawl.phase.has_ended()) {
            crawl.phase = TaskState::Failed;
            crawl.error = Some(error.to_string());
        }
        for maintenance in lock(&self.maintenance).values_mut().filter(|maintenance| !maintenance.phase.has_ended()) {
            maintenance.phase = TaskState::Failed;
            maintenance.error = Some(error.to_string());
        }
    }

    /// Who listens to the events of this engine.
    pub fn subscribers(&self) -> &Arc<Subscribers> {
        &self.subscribers
    }

    pub fn reported(&self, crawl: &str, report: Arc<CycleReport>) {
        let mut reports = lock(&self.reports);
        let reports = reports.entry(crawl.to_owned()).or_default();
        reports.retain(|known| known.key.number < report.key.number);
        if let Some(last) = reports.back_mut() {
            // What was found long ago stands in the state; here it would only take up room.
            let last = Arc::make_mut(last);
            (last.findings, last.errors) = (Vec::new(), Vec::new());
        }
        while reports.len() as u64 > FINISHED_CYCLES_KEPT {
            reports.pop_front();
        }
        reports.push_back(report);
    }

    pub fn report(&self, crawl: &str) -> Option<Arc<CycleReport>> {
        lock(&self.reports).get(crawl).and_then(|reports| reports.back().cloned())
    }

    pub fn history(&self, crawl: &str) -> Vec<Arc<CycleReport>> {
        lock(&self.reports).get(crawl).map(|reports| reports.iter().cloned().collect()).unwrap_or_default()
    }

    /// Sends an event to every subscriber.
    pub fn emit(&self, event: impl FnOnce() -> Event) {
        self.subscribers.emit(|| Some(event()));
    }

    /// As [`emit`](Self::emit), for an event that may turn out to be none.
    pub fn emit_some(&self, event: impl FnOnce() -> Option<Event>) {
        self.subscribers.emit(event);
    }

    pub fn status(&self) -> Status {
        let (now, unix_secs) = (self.clock.now(), self.clock.unix_secs());
        let at = |due: Duration| unix_secs + due.saturating_sub(now).as_secs_f64();
        let mut crawls = lock(&self.crawls).clone();
        for crawl in crawls.values_mut() {
            crawl.damaged = self.damaged_by(&crawl.store, &crawl.job).unwrap_or(0);
        }
        let budget = {
            let budget = self.budget.figures();
            for (name, crawl) in &mut crawls {
                crawl.set_state();
                crawl.next_cycle_at = crawl.next_cycle_due.map(at);
                let cycle = crawl.estimate(budget.allowed(), |range| budget.takes(range));
                crawl.target = crawl.aim.map(|(within, between_cycles)| {
                    let oldest = lock(&self.rings).get(name).and_then(RingMarks::oldest_visit);
                    let oldest_secs = oldest.map(|at| (unix_secs - at).max(0.0));
                    TargetStatus::new(within, between_cycles, cycle, oldest_secs)
                });
            }
            budget.status(self.engine)
        };
        let mut maintenance = lock(&self.maintenance).clone();
        for found in maintenance.values_mut() {
            found.set_state();
            found.next_run_at = found.next_run_due.map(at);
        }
        Status { budget, crawls, maintenance, upkeep: lock(&self.upkeep).clone() }
    }
}
