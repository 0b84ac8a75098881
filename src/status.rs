//! What the engine shows of itself: snapshots for people and programs, and events as they happen.
//!
//! The actors write what they do onto one board; [`Status`] is a copy of it at one moment. Reading asks no actor, so
//! it works from any thread, and also while an actor is busy.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix::prelude::*;
use serde::Serialize;

use crate::clock::Clock;
use crate::error::Error;
use crate::job::Finding;
use crate::report::CycleReport;
use crate::settings::{Basis, BudgetSettings};
use crate::slice::Spent;

/// Something that happened, sent to every subscriber.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub enum Event {
    /// A crawl works on a cycle from here on.
    CycleStarted {
        /// The crawl.
        crawl: String,
        /// The cycle's number.
        cycle: u64,
        /// Whether it goes on where an earlier run ended.
        resumed: bool,
    },
    /// A cycle is finished.
    CycleFinished(Arc<CycleReport>),
    /// A slice was settled.
    SliceEnded(SliceFigures),
    /// A prefix was completed, and that is saved.
    PrefixFinished {
        /// The crawl.
        crawl: String,
        /// The prefix.
        prefix: String,
    },
    /// A finding was saved.
    Finding {
        /// The crawl.
        crawl: String,
        /// What was found.
        finding: Finding,
    },
    /// An error was saved.
    Error {
        /// The crawl.
        crawl: String,
        /// Path of what could not be read.
        path: String,
        /// The cause.
        error: String,
    },
    /// A crawl waits until it can save its state; it goes on by itself.
    Waiting {
        /// The crawl.
        crawl: String,
        /// Why.
        error: Error,
    },
    /// A crawl has ended with an error; the others go on.
    CrawlFailed {
        /// The crawl.
        crawl: String,
        /// Why.
        error: Error,
    },
}

/// One settled slice.
#[derive(Debug, Clone)]
pub struct SliceFigures {
    /// Who had it.
    pub client: Arc<str>,
    /// When it was granted, by the engine's clock.
    pub since: Duration,
    /// Time from grant to settlement.
    pub out: Duration,
    /// What was charged.
    pub cost: Duration,
    /// Its parts, as far as they were metered.
    pub spent: Spent,
    /// The sleep that follows if nothing changes.
    pub sleep: Duration,
}

/// The engine at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// The budget and its clients.
    pub budget: BudgetStatus,
    /// The crawls, by name.
    pub crawls: BTreeMap<String, CrawlStatus>,
}

/// The budget at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct BudgetStatus {
    /// What may be used, in percent of one core.
    pub cpu_percentage: f64,
    /// What was used since the engine started, likewise.
    pub measured_percentage: f64,
    /// What counts: `wall` or `cpu`.
    pub basis: &'static str,
    /// The usual length of a slice.
    pub cpu_slice_secs: f64,
    /// Whether the engine is paused.
    pub paused: bool,
    /// What is left; negative is debt.
    pub balance_secs: f64,
    /// How long nothing can begin: the seed's current sleep time.
    pub current_sleep_secs: f64,
    /// Requests that wait.
    pub waiting: usize,
    /// Slices settled so far.
    pub slices: u64,
    /// The longest of them, or of those that are out.
    pub longest_slice_secs: f64,
    /// Everyone who ever had a slice.
    pub clients: BTreeMap<String, ClientStatus>,
}

/// A client of the budget at one moment.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ClientStatus {
    /// What was charged.
    pub cost_secs: f64,
    /// The same in percent of one core since the engine started.
    pub percentage: f64,
    /// Slices settled.
    pub slices: u64,
    /// The longest, settled or out.
    pub longest_slice_secs: f64,
    /// Slices out now.
    pub out: u32,
    /// By how much the oldest slice that is out has overrun its deadline.
    pub overrun_secs: f64,
}

/// What a crawl is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Waits for its slow start.
    SlowStart,
    /// Works on a cycle.
    Walking,
    /// Waits for the next cycle.
    SleepingBetweenCycles,
    /// Has done what it was asked for, or was stopped.
    Ended,
    /// Ended with an error.
    Failed,
}

/// What one worker of a crawl is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    /// Nothing to do.
    Idle,
    /// Waits for a slice.
    Waiting,
    /// Has a prefix listed.
    Listing,
    /// Folds buckets.
    Folding,
    /// Saves progress.
    Committing,
    /// Has settled its slice.
    Settled,
}

/// A crawl at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct CrawlStatus {
    /// The job.
    pub job: String,
    /// What it is doing.
    pub phase: Phase,
    /// What its workers are doing.
    pub workers: Vec<WorkerState>,
    /// The cycle in progress, or the last one.
    pub cycle: Option<u64>,
    /// How many prefixes were complete when this run took the cycle over from an earlier one; `None` if it began it.
    pub prefixes_done_before: Option<u32>,
    /// Whether this crawl ever finished a cycle.
    pub first_cycle_finished: bool,
    /// How long it sleeps until the next cycle may begin.
    pub next_cycle_in_secs: Option<f64>,
    /// Prefixes complete in this cycle.
    pub prefixes_done: u32,
    /// Prefixes in the ring.
    pub prefixes_total: u32,
    /// The last prefix up to which all are complete.
    pub last_complete_prefix: Option<String>,
    /// The last saved bucket of the first prefix that is not complete; with several workers others are further on.
    pub last_complete_bucket: Option<String>,
    /// Buckets saved in this cycle.
    pub buckets: u64,
    /// Shares saved in this cycle.
    pub shares: u64,
    /// Errors saved in this cycle.
    pub errors: u64,
    /// Findings saved in this cycle.
    pub findings: u64,
    /// What had vanished, likewise.
    pub vanished: u64,
    /// Remaining time as a range, from the prefixes done; `None` until enough are done.
    pub remaining_secs: Option<(f64, f64)>,
    /// Why progress cannot be saved just now.
    pub waiting_for: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
}

impl CrawlStatus {
    pub(crate) fn new(job: &str, workers: u32, prefixes_total: u32) -> Self {
        CrawlStatus {
            job: job.to_owned(),
            phase: Phase::SlowStart,
            workers: vec![WorkerState::Idle; workers as usize],
            cycle: None,
            prefixes_done_before: None,
            first_cycle_finished: false,
            next_cycle_in_secs: None,
            prefixes_done: 0,
            prefixes_total,
            last_complete_prefix: None,
            last_complete_bucket: None,
            buckets: 0,
            shares: 0,
            errors: 0,
            findings: 0,
            vanished: 0,
            remaining_secs: None,
            waiting_for: None,
            error: None,
        }
    }
}

/// Where the actors write what they do.
pub(crate) struct Board {
    clock: Arc<dyn Clock>,
    budget: Mutex<BudgetBoard>,
    crawls: Mutex<BTreeMap<String, CrawlStatus>>,
    subscribers: Mutex<Vec<Recipient<Event>>>,
    reports: Mutex<BTreeMap<String, Arc<CycleReport>>>,
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
    paused: bool,
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

/// A panic elsewhere must not make the status unreadable: figures are plain values, each write leaves them whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
            paused: false,
        };
        Board {
            clock,
            budget: Mutex::new(budget),
            crawls: Mutex::new(BTreeMap::new()),
            subscribers: Mutex::new(Vec::new()),
            reports: Mutex::new(BTreeMap::new()),
        }
    }

    pub fn budget<R>(&self, write: impl FnOnce(&mut BudgetBoard) -> R) -> R {
        write(&mut lock(&self.budget))
    }

    pub fn add_crawl(&self, name: &str, status: CrawlStatus) {
        lock(&self.crawls).insert(name.to_owned(), status);
    }

    pub fn crawl(&self, name: &str, write: impl FnOnce(&mut CrawlStatus)) {
        if let Some(crawl) = lock(&self.crawls).get_mut(name) {
            write(crawl);
        }
    }

    /// Shows that the engine has failed, and every crawl in it that had not ended.
    pub fn failed(&self, error: &Error) {
        for crawl in lock(&self.crawls).values_mut().filter(|c| !matches!(c.phase, Phase::Ended | Phase::Failed)) {
            crawl.phase = Phase::Failed;
            crawl.error = Some(error.to_string());
        }
    }

    pub fn subscribe(&self, subscriber: Recipient<Event>) {
        lock(&self.subscribers).push(subscriber);
    }

    pub fn reported(&self, crawl: &str, report: Arc<CycleReport>) {
        lock(&self.reports).insert(crawl.to_owned(), report);
    }

    pub fn report(&self, crawl: &str) -> Option<Arc<CycleReport>> {
        lock(&self.reports).get(crawl).cloned()
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
        Status { budget: lock(&self.budget).status(self.clock.now()), crawls: lock(&self.crawls).clone() }
    }
}

impl BudgetBoard {
    pub fn requested(&mut self, settings: &BudgetSettings) {
        self.settings = settings.clone();
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
        let client = self.clients.entry(figures.client.clone()).or_default();
        client.cost += figures.cost;
        client.slices += 1;
        client.longest = client.longest.max(figures.out);
    }

    pub fn charged(&mut self, client: &str, cost: Duration) {
        self.cost += cost;
        self.clients.entry(client.into()).or_default().cost += cost;
    }

    pub fn standing(&mut self, balance_secs: f64, sleep_secs: f64, waiting: usize, paused: bool) {
        (self.balance_secs, self.sleep_secs, self.waiting, self.paused) = (balance_secs, sleep_secs, waiting, paused);
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
            balance_secs: self.balance_secs,
            current_sleep_secs: self.sleep_secs,
            waiting: self.waiting,
            slices: self.slices,
            longest_slice_secs: longest.as_secs_f64(),
            clients,
        }
    }
}
