//! What the engine shows of itself: snapshots for people and programs, and events as they happen.
//!
//! The actors write what they do onto one board; [`Status`] is a copy of it at one moment. Reading asks no actor, so
//! it works from any thread, and also while an actor is busy.

mod board;
mod budget;
mod crawl;
mod events;
mod findings;
mod maintenance;
mod rehearsal;
mod report;
mod ring;
mod target;
mod task;
mod totals;
mod upkeep;
mod verdict;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::job::Finding;
use crate::lenient::known_or_default;
use crate::maintenance::MaintenanceReport;
use crate::settings::Basis;
use crate::slice::Spent;

pub(crate) use board::Board;
pub(crate) use budget::{BudgetBoard, OTHERS};
pub use crawl::{CrawlStatus, WorkerState};
pub(crate) use events::Subscribers;
pub use events::{EventReceiver, EventSubscriber, event_channel};
pub use findings::{FINDINGS_KEPT, FindingRow, FindingsPage};
pub use maintenance::{MaintenanceEnd, MaintenanceStatus};
pub use rehearsal::{RehearsalStatus, WouldDelete};
pub use report::{CycleReport, CycleResult, CycleSummary, ReportWords};
pub(crate) use report::{CycleTotal, ListedNotes};
pub(crate) use ring::RingMarks;
pub use ring::RingPicture;
pub use target::TargetStatus;
pub use task::{Range, TaskState};
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
    PrefixFinished { crawl: String, prefix: String },
    /// A finding was saved.
    Finding {
        crawl: String,
        /// What was found.
        finding: Finding,
    },
    /// An error was saved.
    Error {
        crawl: String,
        /// Path of what could not be read.
        path: String,
        /// The cause.
        error: String,
    },
    /// A cycle waits to be confirmed between its two phases: see [`CrawlStatus::rehearsal`] and
    /// [`Command::Confirm`](crate::engine::Command::Confirm).
    Rehearsed { crawl: String, cycle: u64 },
    /// A run of a maintenance begins.
    MaintenanceStarted { maintenance: String },
    /// A run of a maintenance has failed. One that is scheduled is tried again at its next time.
    MaintenanceFailed {
        maintenance: String,
        /// Why.
        error: Error,
    },
    /// A maintenance is finished, or refused.
    MaintenanceFinished {
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
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct BudgetStatus {
    /// What may be used now, in percent of one core.
    pub requested_percentage: f64,
    /// What was used since the start, in percent of one core.
    pub measured_total_percentage: f64,
    /// What counts: time inside slices, or CPU time.
    #[serde(deserialize_with = "known_or_default")]
    pub basis: Basis,
    /// The usual length of a slice.
    pub slice_secs: f64,
    /// Whether nothing is granted.
    #[serde(default)]
    pub paused: bool,
    /// What is left of the budget; negative is debt.
    pub balance_secs: f64,
    /// The debt: 0 or more.
    pub debt_secs: f64,
    /// For how long nothing can begin.
    pub current_sleep_secs: f64,
    /// Requests that wait.
    pub waiting: usize,
    /// Slices settled since the start.
    pub slices: u64,
    /// The longest of them, or of those that are out.
    pub longest_slice_secs: f64,
    /// By how much the longest slice has exceeded its length.
    pub longest_overrun_secs: f64,
    /// Everyone who ever had a slice, by name.
    pub clients: Vec<ClientStatus>,
}

impl BudgetStatus {
    /// The client of this name.
    pub fn client(&self, name: &str) -> Option<&ClientStatus> {
        self.clients.iter().find(|client| client.name == name)
    }
}

/// A client of the budget at one moment.
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema), schemars(rename = "Client"))]
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ClientStatus {
    /// A crawl, a maintenance, or a part of one such as `leases/read-ahead`; `overhead` is what the process used besides,
    /// `others` whoever has gone, or has not been seen for long.
    pub name: String,
    /// What it used over the last minute where that is sampled, as the daemon does, else since the start; in percent of one core.
    pub percentage: f64,
    /// What it used since the start, in percent of one core.
    pub total_percentage: f64,
    /// What it was charged since the start.
    pub cost_secs: f64,
    /// Slices settled.
    pub slices: u64,
    /// The longest, settled or out.
    pub longest_slice_secs: f64,
    /// Slices that it holds now.
    pub out: u32,
    /// By how much the oldest of those has overrun its deadline.
    pub overrun_secs: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let costs: Vec<(&str, f64)> = clients.iter().map(|client| (client.name.as_str(), client.cost_secs)).collect();
        assert_eq!(costs, [("ab", 1.0), ("b", 1.0), (OTHERS, 3.0)]);
    }
}
