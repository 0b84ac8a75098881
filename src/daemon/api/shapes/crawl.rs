//! What the API tells of crawls: how each stands, its cycles, its ring, its findings.
#![allow(missing_docs)]

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{CleaningRun, Finding};
use crate::daemon::keep::ByHand;
use crate::model::WorkerState;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
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

#[derive(Debug, Serialize, JsonSchema)]
pub struct Crawl {
    pub name: String,
    /// `count`, `leases`, `verify`, ...
    pub job: String,
    /// The folder that is walked.
    pub store: String,
    /// `waiting`: something keeps it from working, see `waiting_for`; it goes on by itself. `rehearsed`: the cycle has
    /// examined everything and waits to be confirmed before it deletes. `stopped`, `failed`: until it is started.
    pub state: CrawlState,
    /// The cycle in progress, or the last one; counted from 0.
    pub cycle: Option<u64>,
    /// When that began, in seconds since 1970.
    pub cycle_started: Option<f64>,
    /// How many prefixes were complete when this run took the cycle over; null if it began it.
    pub resumed_with: Option<u32>,
    pub prefixes_done: u32,
    pub prefixes_total: u32,
    pub last_complete_prefix: Option<String>,
    pub last_complete_bucket: Option<String>,
    /// In this cycle, like the next four.
    pub buckets: u64,
    pub shares: u64,
    pub errors: u64,
    pub findings: u64,
    pub vanished: u64,
    /// Objects damaged now by the judgement of this job: each from the moment at which it is found so until a later visit
    /// finds it well or gone, whatever cycle or process begins meanwhile.
    pub damaged: u64,
    /// Over the last minute, or, where slices are rare, over the last few of them; at first since this walk began or went
    /// on. Null until it is known, and while the crawl does not walk.
    pub buckets_per_sec: Option<f64>,
    /// The rest of the cycle; null while too little is known.
    pub remaining_secs: Option<Range>,
    /// When the next cycle may begin, in seconds since 1970.
    pub next_cycle_at: Option<f64>,
    pub workers: Vec<WorkerState>,
    pub waiting_for: Option<String>,
    pub error: Option<String>,
    /// What an operator has done to it; null if nothing, or if that is over.
    pub by_hand: Option<ByHand>,
    /// Null where none is set.
    pub target: Option<Target>,
    pub rehearsal: Option<Rehearsal>,
    /// Whether nothing is deleted before somebody has confirmed it: in the cycle in progress, or in the next one.
    pub rehearsing: bool,
    /// The last one that was finished.
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

#[derive(Debug, Serialize, JsonSchema)]
pub struct Range {
    pub least: f64,
    pub most: f64,
}

/// Whether every prefix is visited again within the time that was set.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Target {
    /// All of it in one sentence.
    pub text: String,
    /// The time that was set.
    pub within_secs: f64,
    /// Age of the oldest visit of a prefix; null while one is not known.
    pub oldest_secs: Option<f64>,
    /// From one visit to the next at the pace of the running cycle, or of the last complete one; null while neither is
    /// known.
    pub expected_secs: Option<Range>,
    /// Whether it will be met at that pace; null while that is not known, or too close to be told.
    pub met: Option<bool>,
}

/// What the cycle in progress would delete, which stands between examining and deleting until that is confirmed.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Rehearsal {
    /// The cycle; to be named when it is confirmed.
    pub cycle: u64,
    /// Shares examined in the cycle.
    pub examined: u64,
    /// Whether it would delete more than `max_delete` allows, so that a confirmation has to name `shares`.
    pub over_limit: bool,
    /// Buckets in which something would be deleted.
    pub buckets: u64,
    /// Shares that would be unlinked.
    pub shares: u64,
    /// Leases that would be cancelled, theirs and others.
    pub leases: u64,
    pub bytes: u64,
    /// The largest part of the shares examined that a cycle may delete.
    pub max_delete: Option<String>,
    /// Whether it was confirmed; it is shown until the next cycle begins.
    pub confirmed: bool,
}

/// What `confirm` takes.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Confirmation {
    /// The cycle, so that nothing is confirmed that was not seen.
    pub cycle: u64,
    /// How many shares it would delete. Refused if that is not the number; required where that is more than the limit
    /// allows.
    pub shares: Option<u64>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Cycle {
    pub crawl: String,
    pub job: String,
    pub cycle: u64,
    /// When it began, in seconds since 1970.
    pub started: f64,
    /// When it ended; null while it is in progress, in seconds since 1970.
    pub finished: Option<f64>,
    /// From start to end, or until now.
    pub elapsed_secs: f64,
    /// `incomplete`: prefixes could not be listed, so all numbers are at least.
    #[schemars(extend("enum" = ["complete", "incomplete", "in_progress", "given_up"]))]
    pub result: &'static str,
    pub buckets: u64,
    /// null where the job opens no bucket.
    pub shares: Option<u64>,
    pub errors: u64,
    pub findings: u64,
    pub vanished: u64,
    /// Prefixes that could not be listed.
    pub incomplete_prefixes: usize,
    /// For the problems.
    #[serde(skip)]
    pub no_prefix: bool,
    /// For jobs that look at leases.
    pub space: Option<Space>,
    /// Shares with expired leases that were kept beside a running node, and why; null where no expiry beside a node was
    /// asked for, and in mid-cycle.
    pub spared: Option<Spared>,
}

/// Shares with expired leases that are kept beside a running node, each for the first reason that holds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
pub struct Spared {
    /// Only some of their leases have expired.
    pub partly_expired: u64,
    /// All have expired, one of them less than a day ago.
    pub expired_within_a_day: u64,
    /// All expired a day ago or more, but they were touched within the hour.
    pub touched_within_the_hour: u64,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
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

#[derive(Debug, Serialize, JsonSchema)]
pub struct CrawlDetail {
    pub crawl: Crawl,
    pub settings: CrawlSettings,
    pub ring: RingPicture,
    /// Those that are kept, newest first, with the one in progress.
    pub cycles: Vec<Cycle>,
    /// Of the last finished cycle; null for jobs that read no leases.
    pub lease_ages: Option<Vec<LeaseAge>>,
    /// The report of the last finished cycle, as `sexton crawl --json` prints it.
    #[schemars(with = "Option<Map<String, Value>>")]
    pub report: Option<Value>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct CrawlSettings {
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

#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct RingPicture {
    /// The names, in ring order; a position counts from 0 in it.
    pub prefixes: Vec<String>,
    /// When each was last completed, in seconds since 1970; null if that is unknown.
    pub visited: Vec<Option<f64>>,
    /// Errors in each at that visit.
    pub errors: Vec<u64>,
    /// Findings in each at that visit.
    pub findings: Vec<u64>,
    /// Positions at which workers are now, and those begun but not complete.
    pub current: Vec<u32>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct LeaseAge {
    pub from_days: f64,
    pub to_days: f64,
    pub leases: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct Findings {
    /// As in the status. If it differs from the last answer, ask again without `after`.
    pub boot: String,
    /// From this number on all are kept that no newer one has taken the place of; 0 if there is none.
    pub first: u64,
    /// Number of the newest; 0 if there is none.
    pub last: u64,
    /// Whether there are more beyond the last one in this answer.
    pub more: bool,
    pub findings: Vec<Finding>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct History {
    /// Of all crawls, newest start first.
    pub cycles: Vec<Cycle>,
    pub cleanings: Vec<CleaningRun>,
}
