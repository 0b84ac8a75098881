//! What the engine shows of itself: snapshots for people and programs, and events as they happen.
//!
//! The actors write what they do onto one board; [`Status`] is a copy of it at one moment. Reading asks no actor, so
//! it works from any thread, and also while an actor is busy.

mod board;
mod budget;
mod events;
mod findings;
mod maintenance;
mod rehearsal;
mod report;
mod ring;
mod totals;
mod upkeep;
mod verdict;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use serde::Serialize;

use crate::error::Error;
use crate::job::Finding;
use crate::maintenance::MaintenanceReport;
use crate::policy::remaining::RemainingTime;
use crate::policy::target::{Outlook, between_visits, outlook};
use crate::slice::Spent;

pub(crate) use board::Board;
pub(crate) use budget::{BudgetBoard, OTHERS};
pub(crate) use events::Subscribers;
pub use events::{EventReceiver, EventSubscriber, event_channel};
pub use findings::{FINDINGS_KEPT, FindingRow, FindingsPage};
pub use maintenance::{MaintenanceEnd, MaintenancePhase, MaintenanceStatus};
pub use rehearsal::{RehearsalStatus, WouldDelete};
pub use report::{CycleReport, ReportWords};
pub(crate) use report::{CycleTotal, ListedNotes};
pub(crate) use ring::RingMarks;
pub use ring::{Mark, RingPicture};
pub use totals::Totals;
pub use upkeep::UpkeepStatus;
pub use verdict::Verdict;

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
    /// A slice has taken more than [ten times](crate::actors::OVERRUN_TOLD) what was asked: a unit of work that is far too long,
    /// or a disk that hangs. Told once for each slice, also while it goes on.
    SliceOverran {
        /// Who has it.
        client: Arc<str>,
        /// How long it was to be.
        asked: Duration,
        /// How long it is out by now.
        out: Duration,
    },
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
    /// A cycle waits to be confirmed between its two phases: see [`CrawlStatus::rehearsal`] and
    /// [`Command::Confirm`](crate::engine::Command::Confirm).
    Rehearsed {
        /// The crawl.
        crawl: String,
        /// The cycle.
        cycle: u64,
    },
    /// A run of a maintenance begins.
    MaintenanceStarted {
        /// The maintenance.
        maintenance: String,
    },
    /// A run of a maintenance has failed. One that is scheduled is tried again at its next time.
    MaintenanceFailed {
        /// The maintenance.
        maintenance: String,
        /// Why.
        error: Error,
    },
    /// A maintenance is finished, or refused.
    MaintenanceFinished {
        /// The maintenance.
        maintenance: String,
        /// What it has found and done.
        report: Arc<MaintenanceReport>,
    },
    /// A crawl waits until it can save its state, or a maintenance until others have let go; it goes on by itself.
    Waiting {
        /// The crawl or maintenance.
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
    /// What is maintained, by name.
    pub maintenance: BTreeMap<String, MaintenanceStatus>,
    /// What was done to keep the engine's own state in order.
    pub upkeep: UpkeepStatus,
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
    /// Everyone who ever had a slice; those who have gone are counted as `others`.
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
    /// Waits, between the two phases of its cycle, until somebody has confirmed what that would delete.
    Rehearsed,
    /// Has done what it was asked for, or was stopped.
    Ended,
    /// Ended with an error.
    Failed,
}

/// What one worker of a crawl is doing.
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
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
    /// Whether it was told to pause.
    pub held: bool,
    /// What its workers are doing.
    pub workers: Vec<WorkerState>,
    /// The cycle in progress, or the last one.
    pub cycle: Option<u64>,
    /// When that began, in seconds since 1970.
    pub cycle_started: Option<f64>,
    /// How many prefixes were complete when this run took the cycle over from an earlier one; `None` if it began it.
    pub prefixes_done_before: Option<u32>,
    /// Whether that earlier run had examined all of it, and what it has shown was left to be carried out.
    #[serde(skip)]
    pub(crate) examined_before: bool,
    /// Whether this crawl ever finished a cycle.
    pub first_cycle_finished: bool,
    /// How long it sleeps until the next cycle may begin.
    pub next_cycle_in_secs: Option<f64>,
    /// The same moment by the engine's clock.
    #[serde(skip)]
    pub(crate) next_cycle_at: Option<Duration>,
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
    /// Objects of the store that are damaged now by the judgement of this job, in whichever cycle and by whichever crawl it was
    /// found: from the moment that it is saved until a later visit finds them well or gone.
    pub damaged: u64,
    /// The store's identity; empty until the crawl has asked the state for its damage.
    #[serde(skip)]
    pub(crate) store: String,
    /// What was saved since the engine's start, over all cycles.
    pub since_start: Totals,
    /// Remaining time as a range, from the prefixes done and by the budget in force; `None` until enough are done.
    pub remaining_secs: Option<(f64, f64)>,
    /// What it is estimated from.
    #[serde(skip)]
    pub(crate) remaining: RemainingTime,
    /// Whether the target will be kept; `None` where none was set.
    pub target: Option<TargetStatus>,
    /// The target, and what lies between two cycles.
    #[serde(skip)]
    pub(crate) aim: Option<(Duration, Duration)>,
    /// What the cycle in progress has shown, if it waits to be confirmed, or was confirmed, until the next cycle begins.
    pub rehearsal: Option<RehearsalStatus>,
    /// Whether nothing is deleted before somebody has confirmed a rehearsal: the cycle in progress or the last one is such,
    /// or the next one will be. Never for jobs that do not rehearse.
    pub rehearsing: bool,
    /// Why progress cannot be saved just now.
    pub waiting_for: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
    /// The same, for programs.
    #[serde(skip)]
    pub failure: Option<Error>,
}

/// How a crawl stands to its target.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TargetStatus {
    /// Within which time every prefix is to be visited again.
    pub target_secs: f64,
    /// In which time it is, as a range, at the pace of the last cycle of this run and by the budget in force; `None` until
    /// that can be told.
    pub between_visits_secs: Option<(f64, f64)>,
    /// What that means.
    pub outlook: Option<Outlook>,
}

impl CrawlStatus {
    pub(crate) fn new(job: &str, workers: u32, prefixes_total: u32) -> Self {
        CrawlStatus {
            job: job.to_owned(),
            phase: Phase::SlowStart,
            held: false,
            workers: vec![WorkerState::Idle; workers as usize],
            cycle: None,
            cycle_started: None,
            prefixes_done_before: None,
            examined_before: false,
            first_cycle_finished: false,
            next_cycle_in_secs: None,
            next_cycle_at: None,
            prefixes_done: 0,
            prefixes_total,
            last_complete_prefix: None,
            last_complete_bucket: None,
            buckets: 0,
            shares: 0,
            errors: 0,
            findings: 0,
            vanished: 0,
            damaged: 0,
            store: String::new(),
            since_start: Totals::default(),
            remaining_secs: None,
            remaining: RemainingTime::default(),
            target: None,
            aim: None,
            rehearsal: None,
            rehearsing: false,
            waiting_for: None,
            error: None,
            failure: None,
        }
    }

    /// Stands where another has left off, until it opens a cycle itself.
    pub(crate) fn stands_as(&mut self, known: &CrawlStatus) {
        let CrawlStatus { cycle, cycle_started, prefixes_done, prefixes_total, .. } = *known;
        let CrawlStatus { buckets, shares, errors, findings, vanished, .. } = *known;
        (self.cycle, self.cycle_started) = (cycle, cycle_started);
        (self.prefixes_done, self.prefixes_total) = (prefixes_done, prefixes_total);
        (self.buckets, self.shares, self.errors) = (buckets, shares, errors);
        (self.findings, self.vanished) = (findings, vanished);
        self.last_complete_prefix.clone_from(&known.last_complete_prefix);
        self.last_complete_bucket.clone_from(&known.last_complete_bucket);
    }

    /// Tells remaining time and target as they stand when so much has been allowed; `takes` says how long it takes until
    /// so much more is.
    fn estimate(&mut self, allowed: Duration, takes: impl Fn((Duration, Duration)) -> (f64, f64)) {
        let left = self.prefixes_total.saturating_sub(self.prefixes_done);
        // Of one that does not walk, the time that passes says nothing about what is left.
        let walks = self.phase == Phase::Walking && !self.held && self.waiting_for.is_none();
        let range = if walks || left == 0 { self.remaining.range(left, allowed) } else { self.remaining.whole(left) };
        self.remaining_secs = range.map(&takes);
        self.target = self.aim.map(|(target, between_cycles)| {
            let total = self.prefixes_total;
            let cycle =
                if left == 0 { self.remaining.measured(total) } else { self.remaining.whole(total) }.map(&takes);
            let visits = cycle.map(|cycle| between_visits(cycle, between_cycles.as_secs_f64()));
            TargetStatus {
                target_secs: target.as_secs_f64(),
                between_visits_secs: visits,
                outlook: visits.map(|visits| outlook(target.as_secs_f64(), visits)),
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::budget::OTHERS;
    use super::*;

    /// How it happens: a crawl is stopped or fails in the middle of a cycle, and nobody starts it again.
    #[test]
    fn what_is_left_does_not_grow_while_nothing_is_done() {
        let mut crawl = CrawlStatus::new("count", 1, 1024);
        for second in 1..=20 {
            crawl.remaining.saved(10, Duration::from_secs(second));
        }
        crawl.prefixes_done = 200;
        let mut left = |phase: Phase, waits: bool, at: u64| {
            (crawl.phase, crawl.waiting_for) = (phase, waits.then(|| "no room".to_owned()));
            crawl.estimate(Duration::from_secs(at), |(least, most)| (least.as_secs_f64(), most.as_secs_f64()));
            crawl.remaining_secs
        };
        let whole = Some((82.4, 82.4));
        for (phase, waits) in [(Phase::Ended, false), (Phase::Failed, false), (Phase::Walking, true)] {
            assert_eq!((left(phase, waits, 20), left(phase, waits, 90_000)), (whole, whole), "{phase:?}");
        }
        assert!(left(Phase::Walking, false, 90_000).unwrap().1 > 1000.0);
    }

    #[test]
    fn a_client_that_has_gone_is_counted_among_the_others() {
        let board = Board::unused();
        let budget = board.budget.clone();
        let slice = |id: u64, client: &str, ends: bool| {
            let client: Arc<str> = client.into();
            let (since, second) = (Duration::ZERO, Duration::from_secs(1));
            budget.figures().granted(id, &client, since, second);
            let figures =
                SliceFigures { client, since, out: second, cost: second, spent: Spent::default(), sleep: since };
            let budget = budget.clone();
            let settle = move || budget.figures().settled(id, &figures);
            if ends {
                settle()
            }
            settle
        };
        for (id, client) in (0..).zip(["a", "a/read-ahead", "ab", "b"]) {
            let _ = slice(id, client, true);
        }
        let late = slice(9, "a/history", false);
        board.remove("a");
        late();
        let clients = board.status().budget.clients;
        let costs: Vec<(&str, f64)> = clients.iter().map(|(name, client)| (name.as_str(), client.cost_secs)).collect();
        assert_eq!(costs, [("ab", 1.0), ("b", 1.0), (OTHERS, 3.0)]);
    }
}
