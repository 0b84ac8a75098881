//! What the API tells of crawls: how each stands, its cycles, its ring, its findings.
#![allow(missing_docs)]

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::CleaningRun;
use crate::daemon::keep::ByHand;
use crate::model::{FindingRow, WorkerState};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CrawlState {
    SlowStart,
    Walking,
    Sleeping,
    Paused,
    Waiting,
    Rehearsed,
    Stopped,
    Failed,
}

#[derive(Debug, Serialize)]
pub struct Crawl {
    pub name: String,
    pub job: String,
    pub store: String,
    pub state: CrawlState,
    pub cycle: Option<u64>,
    pub cycle_started: Option<f64>,
    pub resumed_with: Option<u32>,
    pub prefixes_done: u32,
    pub prefixes_total: u32,
    pub last_complete_prefix: Option<String>,
    pub last_complete_bucket: Option<String>,
    pub buckets: u64,
    pub shares: u64,
    pub errors: u64,
    pub findings: u64,
    pub vanished: u64,
    pub damaged: u64,
    pub buckets_per_sec: Option<f64>,
    pub remaining_secs: Option<Range>,
    pub next_cycle_at: Option<f64>,
    pub workers: Vec<WorkerState>,
    pub waiting_for: Option<String>,
    pub error: Option<String>,
    pub by_hand: Option<ByHand>,
    pub target: Option<Target>,
    pub rehearsal: Option<Rehearsal>,
    pub rehearsing: bool,
    pub last_cycle: Option<Cycle>,
}

impl Crawl {
    /// What could not be read: in the last finished cycle, or in the running one where it is more.
    pub fn unread(&self) -> u64 {
        self.last_cycle.as_ref().map_or(0, |cycle| cycle.errors).max(self.errors)
    }

    /// Whether its cycle waits to be confirmed, also while the crawl is paused.
    pub fn waits_to_be_confirmed(&self) -> bool {
        self.state == CrawlState::Rehearsed || self.rehearsal.as_ref().is_some_and(|rehearsal| !rehearsal.confirmed)
    }
}

#[derive(Debug, Serialize)]
pub struct Range {
    pub least: f64,
    pub most: f64,
}

/// How a crawl stands to its target.
#[derive(Debug, Serialize)]
pub struct Target {
    pub text: String,
    pub within_secs: f64,
    pub oldest_secs: Option<f64>,
    pub expected_secs: Option<Range>,
    pub met: Option<bool>,
}

/// What an expiry would delete.
#[derive(Debug, Serialize)]
pub struct Rehearsal {
    pub cycle: u64,
    pub examined: u64,
    pub over_limit: bool,
    pub buckets: u64,
    pub shares: u64,
    pub leases: u64,
    pub bytes: u64,
    pub max_delete: Option<String>,
    pub confirmed: bool,
}

/// What `confirm` takes.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirmation {
    pub cycle: u64,
    pub shares: Option<u64>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Cycle {
    pub crawl: String,
    pub job: String,
    pub cycle: u64,
    pub started: f64,
    pub finished: Option<f64>,
    pub elapsed_secs: f64,
    pub result: &'static str,
    pub buckets: u64,
    pub shares: Option<u64>,
    pub errors: u64,
    pub findings: u64,
    pub vanished: u64,
    pub incomplete_prefixes: usize,
    /// For the problems.
    #[serde(skip)]
    pub no_prefix: bool,
    pub space: Option<Space>,
    pub spared: Option<Spared>,
}

/// Shares with expired leases that are kept beside a running node, each for the first reason that holds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Spared {
    pub partly_expired: u64,
    pub expired_within_a_day: u64,
    pub touched_within_the_hour: u64,
}

#[derive(Debug, Clone, Serialize)]
pub struct Space {
    pub examined_bytes: u64,
    pub expired_bytes: u64,
    pub expired_shares: u64,
    pub deleted_bytes: u64,
    pub deleted_shares: u64,
    pub would_delete_bytes: Option<u64>,
    pub would_delete_shares: Option<u64>,
    /// For the metrics.
    #[serde(skip)]
    pub leases: u64,
}

#[derive(Debug, Serialize)]
pub struct CrawlDetail {
    pub crawl: Crawl,
    pub settings: CrawlSettings,
    pub ring: RingPicture,
    pub cycles: Vec<Cycle>,
    pub lease_ages: Option<Vec<LeaseAge>>,
    pub report: Option<Value>,
}

#[derive(Debug, Serialize)]
pub struct CrawlSettings {
    pub workers: u32,
    pub weight: f64,
    pub minimum_cycle_secs: f64,
    pub slow_start_secs: f64,
    pub jitter_secs: f64,
    pub read_ahead: u32,
    pub parameters: Value,
}

#[derive(Debug, Default, Serialize)]
pub struct RingPicture {
    pub prefixes: Vec<String>,
    pub visited: Vec<Option<f64>>,
    pub errors: Vec<u64>,
    pub findings: Vec<u64>,
    pub current: Vec<u32>,
}

#[derive(Debug, Serialize)]
pub struct LeaseAge {
    pub from_days: f64,
    pub to_days: f64,
    pub leases: u64,
}

#[derive(Debug, Serialize)]
pub struct Findings {
    pub boot: String,
    pub first: u64,
    pub last: u64,
    pub more: bool,
    pub findings: Vec<FindingRow>,
}

#[derive(Debug, Serialize)]
pub struct History {
    pub cycles: Vec<Cycle>,
    pub cleanings: Vec<CleaningRun>,
}
