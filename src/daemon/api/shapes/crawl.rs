//! What the API tells of crawls: how each stands, its cycles, its ring, its findings.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{CleaningRunRecord, ShownFinding};
use crate::daemon::keep::ByHand;
use crate::lenient::known_or_default;
use crate::model::{CrawlStatus, CycleSummary, RingPicture, TaskState};
use crate::tahoe::leases::Spared;

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Crawl {
    pub name: String,
    /// The folder that is walked.
    pub store: String,
    #[serde(flatten)]
    pub status: CrawlStatus,
    /// Over the last minute, or, where slices are rare, over the last few of them; at first since this walk began or went
    /// on. Null until it is known, and while the crawl does not walk.
    pub buckets_per_sec: Option<f64>,
    /// What an operator has done to it; null if nothing, or if that is over.
    #[serde(default, deserialize_with = "known_or_default")]
    pub by_hand: Option<ByHand>,
    /// The last one that was finished.
    pub last_cycle: Option<Cycle>,
}

impl Crawl {
    /// What could not be read: in the last finished cycle, or in the running one where it is more.
    pub fn unread(&self) -> u64 {
        self.last_cycle.as_ref().map_or(0, |cycle| cycle.summary.errors).max(self.status.errors)
    }

    /// Whether its cycle waits to be confirmed, also while the crawl is paused.
    pub fn waits_to_be_confirmed(&self) -> bool {
        let CrawlStatus { state, rehearsal, .. } = &self.status;
        *state == TaskState::Rehearsed || rehearsal.as_ref().is_some_and(|rehearsal| !rehearsal.confirmed)
    }
}

/// What `confirm` takes.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Confirmation {
    /// The cycle, so that nothing is confirmed that was not seen.
    pub cycle: u64,
    /// How many shares it would delete. Refused if that is not the number; required where that is more than the limit
    /// allows.
    pub shares: Option<u64>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Cycle {
    #[serde(flatten)]
    pub summary: CycleSummary,
    /// For jobs that look at leases.
    pub space: Option<Space>,
    /// Shares with expired leases that were kept beside a running node, and why; null where no expiry beside a node was
    /// asked for, and in mid-cycle.
    pub spared: Option<Spared>,
    /// For the problems.
    #[serde(skip)]
    pub no_prefix: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Space {
    /// On disk.
    pub examined_bytes: u64,
    /// On disk, by the rule in force, whether or not it was deleted.
    pub expired_bytes: u64,
    pub expired_shares: u64,
    /// Of the files: what was really deleted.
    pub deleted_bytes: u64,
    /// Likewise.
    pub deleted_shares: u64,
    /// Of the files: what would have been deleted, had it not been a dry run; null where it was none.
    pub would_delete_bytes: Option<u64>,
    /// Likewise.
    pub would_delete_shares: Option<u64>,
    /// For the metrics.
    #[serde(skip)]
    pub leases: u64,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct CrawlDetail {
    pub crawl: Crawl,
    pub settings: CrawlOptions,
    pub ring: RingPicture,
    /// Those that are kept, newest first, with the one in progress.
    pub cycles: Vec<Cycle>,
    /// Of the last finished cycle; null for jobs that read no leases.
    pub lease_ages: Option<Vec<LeaseAge>>,
    /// The report of the last finished cycle, as `sexton crawl --json` prints it.
    #[schemars(with = "Option<Map<String, Value>>")]
    pub report: Option<Value>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "CrawlSettings")]
pub struct CrawlOptions {
    pub workers: u32,
    pub weight: f64,
    pub minimum_cycle_secs: f64,
    pub slow_start_secs: f64,
    pub jitter_secs: f64,
    pub read_ahead: u32,
    /// What makes the job's result what it is.
    #[schemars(with = "Map<String, Value>")]
    pub parameters: Value,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct LeaseAge {
    pub from_days: f64,
    pub to_days: f64,
    pub leases: u64,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Findings {
    /// As in the status. If it differs from the last answer, ask again without `after`.
    pub boot: String,
    /// From this number on all are kept that no newer one has taken the place of; 0 if there is none.
    pub first: u64,
    /// Number of the newest; 0 if there is none.
    pub last: u64,
    /// Whether there are more beyond the last one in this answer.
    pub more: bool,
    pub findings: Vec<ShownFinding>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct History {
    /// Of all crawls, newest start first.
    pub cycles: Vec<Cycle>,
    pub cleanings: Vec<CleaningRunRecord>,
}
