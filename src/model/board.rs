//! The board: where the actors write what they do, and where a status is read from.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::prelude::*;

use super::findings::FindingLog;
use super::{
    BudgetStatus, ClientStatus, CrawlStatus, CycleReport, Event, FindingRow, FindingsPage, MaintenancePhase,
    MaintenanceStatus, Phase, RingMarks, RingPicture, SliceFigures, Status, UpkeepStatus,
};
use crate::clock::Clock;
use crate::error::Error;
use crate::lock::lock;
use crate::maintenance::MaintenanceReport;
use crate::policy::fair::CLIENTS_REMEMBERED;
use crate::policy::ring::Ring;
use crate::settings::{Basis, BudgetSettings};
use crate::state::FINISHED_CYCLES_KEPT;

/// Clients that are no longer listed one by one.
pub(crate) const OTHERS: &str = "others";

/// Where the actors write what they do.
pub(crate) struct Board {
    clock: Arc<dyn Clock>,
    budget: Mutex<BudgetBoard>,
    crawls: Mutex<BTreeMap<String, CrawlStatus>>,
    maintenance: Mutex<BTreeMap<String, MaintenanceStatus>>,
    maintenance_reports: Mutex<BTreeMap<String, Arc<MaintenanceReport>>>,
    upkeep: Mutex<UpkeepStatus>,
    subscribers: Mutex<Vec<Recipient<Event>>>,
    /// Finished cycles of each crawl, the oldest first; only the newest has its findings and errors.
    reports: Mutex<BTreeMap<String, VecDeque<Arc<CycleReport>>>>,
    rings: Mutex<BTreeMap<String, RingMarks>>,
    findings: Mutex<FindingLog>,
    /// Damaged objects by store and job.
    damaged: Mutex<BTreeMap<(String, String), u64>>,
}

/// The governor's part of the board.
pub(crate) struct BudgetBoard {
    settings: BudgetSettings,
    started: Duration,
    cost: Duration,
    slices: u64,
    longest: Duration,
    clients: BTreeMap<Arc<str>, ClientBoard>,
    out: BTreeMap<u64, OutBoard>,
    balance_secs: f64,
    sleep_secs: f64,
    waiting: usize,
    /// When balance and sleep were what they are here.
    stood_at: Duration,
    paused: bool,
    /// What was allowed until `allowed_at`.
    allowed: Duration,
    allowed_at: Duration,
}

#[derive(Default)]
struct ClientBoard {
    cost: Duration,
    slices: u64,
    longest: Duration,
}

struct OutBoard {
    client: Arc<str>,
    since: Duration,
    deadline: Duration,
}

impl Board {
    pub fn new(settings: &BudgetSettings, clock: Arc<dyn Clock>) -> Self {
        let budget = BudgetBoard {
            settings: settings.clone(),
            started: clock.now(),
            cost: Duration::ZERO,
            slices: 0,
            longest: Duration::ZERO,
            clients: BTreeMap::new(),
            out: BTreeMap::new(),
            balance_secs: 0.0,
            sleep_secs: 0.0,
            waiting: 0,
            stood_at: clock.now(),
            paused: false,
            allowed: Duration::ZERO,
            allowed_at: clock.now(),
        };
        Board {
            clock,
            budget: Mutex::new(budget),
            crawls: Mutex::new(BTreeMap::new()),
            maintenance: Mutex::new(BTreeMap::new()),
            maintenance_reports: Mutex::new(BTreeMap::new()),
            upkeep: Mutex::new(UpkeepStatus::default()),
            subscribers: Mutex::new(Vec::new()),
            reports: Mutex::default(),
            rings: Mutex::default(),
            findings: Mutex::default(),
            damaged: Mutex::default(),
        }
    }

    pub fn budget<R>(&self, write: impl FnOnce(&mut BudgetBoard) -> R) -> R {
        write(&mut lock(&self.budget))
    }

    /// The time that the budget has allowed since the start: what paces are measured by, so that they survive pauses and
    /// changes of the budget.
    pub fn allowed(&self) -> Duration {
        lock(&self.budget).allowed(self.clock.now())
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
        lock(&self.budget).forget(name);
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

    pub fn has_maintenance(&self, name: &str) -> bool {
        lock(&self.maintenance).contains_key(name)
    }

    pub fn maintained(&self, name: &str, report: Arc<MaintenanceReport>) {
        lock(&self.maintenance_reports).insert(name.to_owned(), report);
    }

    pub fn maintenance_report(&self, name: &str) -> Option<Arc<MaintenanceReport>> {
        lock(&self.maintenance_reports).get(name).cloned()
    }

    /// Shows that the engine has failed, and every crawl in it that had not ended.
    pub fn failed(&self, error: &Error) {
        for crawl in lock(&self.crawls).values_mut().filter(|c| !matches!(c.phase, Phase::Ended | Phase::Failed)) {
            crawl.phase = Phase::Failed;
            crawl.error = Some(error.to_string());
        }
        let ended = |c: &MaintenanceStatus| matches!(c.phase, MaintenancePhase::Ended | MaintenancePhase::Failed);
        for failed in lock(&self.maintenance).values_mut().filter(|c| !ended(c)) {
            failed.phase = MaintenancePhase::Failed;
            failed.error = Some(error.to_string());
        }
    }

    pub fn subscribe(&self, subscriber: Recipient<Event>) {
        lock(&self.subscribers).push(subscriber);
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

    /// Sends an event to every subscriber; those whose mailbox is full miss it, those that have gone are dropped.
    pub fn emit(&self, event: impl FnOnce() -> Event) {
        self.emit_some(|| Some(event()));
    }

    /// As [`emit`](Self::emit), for an event that may turn out to be none.
    pub fn emit_some(&self, event: impl FnOnce() -> Option<Event>) {
        let mut subscribers = lock(&self.subscribers);
        if subscribers.is_empty() {
            return;
        }
        let Some(event) = event() else { return };
        subscribers.retain(|s| !matches!(s.try_send(event.clone()), Err(SendError::Closed(_))));
    }

    pub fn status(&self) -> Status {
        let now = self.clock.now();
        let mut crawls = lock(&self.crawls).clone();
        for crawl in crawls.values_mut() {
            crawl.damaged = self.damaged_by(&crawl.store, &crawl.job).unwrap_or(0);
        }
        let budget = {
            let budget = lock(&self.budget);
            for crawl in crawls.values_mut() {
                crawl.next_cycle_in_secs = crawl.next_cycle_at.map(|at| at.saturating_sub(now).as_secs_f64());
                crawl.estimate(budget.allowed(now), |range| budget.takes(range));
            }
            budget.status(now)
        };
        let mut maintenance = lock(&self.maintenance).clone();
        for found in maintenance.values_mut() {
            found.next_run_in_secs = found.next_run_at.map(|at| at.saturating_sub(now).as_secs_f64());
        }
        Status { budget, crawls, maintenance, upkeep: lock(&self.upkeep).clone() }
    }
}

impl BudgetBoard {
    pub fn requested(&mut self, settings: &BudgetSettings, now: Duration) {
        (self.allowed, self.allowed_at) = (self.allowed(now), now);
        self.settings = settings.clone();
    }

    fn allowed(&self, now: Duration) -> Duration {
        let since = if self.paused { Duration::ZERO } else { now.saturating_sub(self.allowed_at) };
        self.allowed.saturating_add(since.mul_f64(self.pace()))
    }

    /// How much is allowed in a second. Above one core it depends on the workers how much of it they can use, so from there
    /// on nothing is promised that was not measured.
    fn pace(&self) -> f64 {
        self.settings.rate.min(1.0)
    }

    /// How long it takes until so much was allowed, at the budget in force.
    fn takes(&self, (least, most): (Duration, Duration)) -> (f64, f64) {
        (least.as_secs_f64() / self.pace(), most.as_secs_f64() / self.pace())
    }

    pub fn granted(&mut self, id: u64, client: &Arc<str>, since: Duration, deadline: Duration) {
        self.clients.entry(client.clone()).or_default();
        self.out.insert(id, OutBoard { client: client.clone(), since, deadline });
    }

    pub fn settled(&mut self, id: u64, figures: &SliceFigures) {
        self.out.remove(&id);
        self.slices += 1;
        self.longest = self.longest.max(figures.out);
        self.cost += figures.cost;
        self.forget_one();
        // It was there when the slice was granted: who is not any more was forgotten meanwhile.
        let known = self.clients.contains_key(&figures.client);
        let name = if known { figures.client.clone() } else { OTHERS.into() };
        let client = self.clients.entry(name).or_default();
        client.cost += figures.cost;
        client.slices += 1;
        client.longest = client.longest.max(figures.out);
    }

    /// Keeps the table of clients bounded: one that has nothing out is counted among the others from then on.
    fn forget_one(&mut self) {
        if self.clients.len() <= CLIENTS_REMEMBERED {
            return;
        }
        let idle = |name: &&Arc<str>| &***name != OTHERS && !self.out.values().any(|out| out.client == **name);
        if let Some(name) = self.clients.keys().find(idle).cloned() {
            self.count_among_others(&name);
        }
    }

    /// Lists a crawl or maintenance no longer that has gone, nor what else it is a client as: its history, its read-ahead.
    fn forget(&mut self, gone: &str) {
        let is_its_own =
            |name: &&Arc<str>| name.strip_prefix(gone).is_some_and(|more| more.is_empty() || more.starts_with('/'));
        let names: Vec<Arc<str>> = self.clients.keys().filter(is_its_own).cloned().collect();
        names.iter().for_each(|name| self.count_among_others(name));
    }

    fn count_among_others(&mut self, name: &Arc<str>) {
        if let Some(gone) = self.clients.remove(name) {
            let others = self.clients.entry(OTHERS.into()).or_default();
            others.cost += gone.cost;
            others.slices += gone.slices;
            others.longest = others.longest.max(gone.longest);
        }
    }

    pub fn charged(&mut self, client: &str, cost: Duration) {
        self.cost += cost;
        self.clients.entry(client.into()).or_default().cost += cost;
    }

    pub fn standing(&mut self, balance_secs: f64, sleep_secs: f64, waiting: usize, paused: bool, now: Duration) {
        (self.balance_secs, self.sleep_secs, self.waiting, self.stood_at) = (balance_secs, sleep_secs, waiting, now);
        (self.allowed, self.allowed_at, self.paused) = (self.allowed(now), now, paused);
    }

    /// For basis `wall`, what is out counts up to this moment.
    fn status(&self, now: Duration) -> BudgetStatus {
        let elapsed = now.saturating_sub(self.started).as_secs_f64();
        let percent = |cost_secs: f64| if elapsed > 0.0 { 100.0 * cost_secs / elapsed } else { 0.0 };
        let (mut cost_secs, mut longest) = (self.cost.as_secs_f64(), self.longest);
        let mut clients: BTreeMap<String, ClientStatus> = BTreeMap::new();
        for (name, c) in &self.clients {
            let longest_slice_secs = c.longest.as_secs_f64();
            let status = ClientStatus {
                cost_secs: c.cost.as_secs_f64(),
                slices: c.slices,
                longest_slice_secs,
                ..ClientStatus::default()
            };
            clients.insert(name.to_string(), status);
        }
        for out in self.out.values() {
            let age = now.saturating_sub(out.since);
            longest = longest.max(age);
            let client = clients.entry(out.client.to_string()).or_default();
            client.out += 1;
            client.longest_slice_secs = client.longest_slice_secs.max(age.as_secs_f64());
            client.overrun_secs = client.overrun_secs.max(now.saturating_sub(out.deadline).as_secs_f64());
            if self.settings.basis == Basis::Wall {
                client.cost_secs += age.as_secs_f64();
                cost_secs += age.as_secs_f64();
            }
        }
        // The debt is worked off while nothing happens.
        let sleep_secs = (self.sleep_secs - now.saturating_sub(self.stood_at).as_secs_f64()).max(0.0);
        for client in clients.values_mut() {
            client.percentage = percent(client.cost_secs);
        }
        BudgetStatus {
            cpu_percentage: 100.0 * self.settings.rate,
            measured_percentage: percent(cost_secs),
            basis: match self.settings.basis {
                Basis::Wall => "wall",
                Basis::Cpu => "cpu",
            },
            cpu_slice_secs: self.settings.slice.as_secs_f64(),
            paused: self.paused,
            balance_secs: self.balance_secs + (self.sleep_secs - sleep_secs) * self.settings.rate,
            current_sleep_secs: sleep_secs,
            waiting: self.waiting,
            slices: self.slices,
            longest_slice_secs: longest.as_secs_f64(),
            clients,
        }
    }
}
