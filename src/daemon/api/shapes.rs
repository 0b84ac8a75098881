//! The shapes of the API's answers, as `openapi.json` describes them. What a field means stands there.
#![allow(missing_docs)]

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::daemon::keep::ByHand;
use crate::daemon::series::Sample;
use crate::policy::cleaning::{Number, SegmentEntry};
use crate::status::{FindingRow, WorkerState};

#[derive(Debug, Serialize)]
pub struct ErrorBody {
    pub error: String,
}

#[derive(Debug, Serialize)]
pub struct Status {
    pub version: &'static str,
    pub boot: String,
    pub pid: u32,
    pub now: f64,
    pub started: f64,
    pub uptime_secs: f64,
    pub config: ConfigStatus,
    pub access: AccessStatus,
    pub paused: bool,
    pub stopping: bool,
    pub budget: Budget,
    pub priority: Priority,
    pub crawls: Vec<Crawl>,
    pub cleanings: Vec<Cleaning>,
    pub problems: Vec<Problem>,
    pub last_finding: u64,
}

#[derive(Debug, Serialize)]
pub struct ConfigStatus {
    pub path: Option<String>,
    pub state: String,
    pub loaded: f64,
    pub refused: Option<String>,
}

#[derive(Debug, Serialize)]
pub struct AccessStatus {
    pub may_change: bool,
    pub reading_needs_token: bool,
}

#[derive(Debug, Serialize)]
pub struct Problem {
    pub about: &'static str,
    pub name: Option<String>,
    pub severity: Severity,
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Failed,
    Waiting,
    Warning,
}

#[derive(Debug, Serialize)]
pub struct Budget {
    pub requested_percentage: f64,
    pub source: &'static str,
    pub file_percentage: f64,
    pub window: Option<WindowShape>,
    pub windows: Vec<WindowShape>,
    pub next_change: Option<Moment>,
    pub changed: Option<Moment>,
    pub measured_percentage: f64,
    pub measured_hour_percentage: f64,
    pub measured_total_percentage: f64,
    pub basis: &'static str,
    pub slice_secs: f64,
    pub balance_secs: f64,
    pub debt_secs: f64,
    pub current_sleep_secs: f64,
    pub waiting: usize,
    pub slices: u64,
    pub longest_slice_secs: f64,
    pub longest_overrun_secs: f64,
    pub clients: Vec<Client>,
}

#[derive(Debug, Clone, Serialize)]
pub struct WindowShape {
    pub from: String,
    pub to: String,
    pub cpu_percentage: f64,
}

/// A moment with a budget.
#[derive(Debug, Serialize)]
pub struct Moment {
    pub at: f64,
    pub cpu_percentage: f64,
}

/// What `PUT /api/budget` takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BudgetSetting {
    pub cpu_percentage: PercentSetting,
}

/// `25` or `"25%"`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum PercentSetting {
    Number(f64),
    Text(String),
}

#[derive(Debug, Serialize)]
pub struct Client {
    pub name: String,
    pub percentage: f64,
    pub total_percentage: f64,
    pub cost_secs: f64,
    pub slices: u64,
    pub longest_slice_secs: f64,
    pub out: u32,
    pub overrun_secs: f64,
}

#[derive(Debug, Serialize)]
pub struct BudgetReport {
    pub budget: Budget,
    pub series: SeriesShape,
}

#[derive(Debug, Serialize)]
pub struct SeriesShape {
    pub step_secs: f64,
    pub most: usize,
    pub samples: Vec<Sample>,
}

#[derive(Debug, Serialize)]
pub struct Priority {
    pub asked: &'static str,
    pub in_force: &'static str,
    pub text: String,
    pub cpu_class: String,
    pub io_class: String,
    pub autogroup: Option<bool>,
    pub cgroup: Option<String>,
    pub cgroup_idle: Option<bool>,
}

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
    /// Whether a rehearsal waits to be confirmed, also while the crawl is paused.
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
    pub finished: f64,
    pub buckets: u64,
    pub shares: u64,
    pub leases: u64,
    pub bytes: u64,
    pub max_delete: Option<String>,
    pub confirmed: bool,
}

/// What `confirm` takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirmation {
    pub cycle: u64,
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CleaningState {
    Working,
    Pausing,
    Waiting,
    Sleeping,
    Paused,
    Done,
    Stopped,
    Failed,
}

#[derive(Debug, Serialize)]
pub struct Cleaning {
    pub name: String,
    pub database: String,
    /// Whether it only shows what it would do.
    pub dry_run: bool,
    pub state: CleaningState,
    pub doing: String,
    pub rows_done: u64,
    pub rows_planned: u64,
    pub locks: usize,
    pub longest_lock_secs: f64,
    pub resumed: bool,
    pub planned_again: u32,
    pub waiting_for: Option<String>,
    pub error: Option<String>,
    pub by_hand: Option<ByHand>,
    pub next_run_at: Option<f64>,
    pub last_run: Option<CleaningRun>,
}

#[derive(Debug, Clone, Serialize)]
pub struct CleaningRun {
    pub cleaning: String,
    pub finished: f64,
    pub elapsed_secs: f64,
    pub refused: Option<String>,
    pub dry_run: bool,
    pub marked_segments: u64,
    pub reclaimable_bytes: Value,
    pub rewrite_bytes: Value,
    pub obsolete_bytes: Value,
    pub locks: usize,
    pub longest_lock_secs: f64,
}

/// A plan without its segments: [`PlanBody`](super::plan::PlanBody) writes those behind it.
#[derive(Debug, Serialize)]
pub struct Plan {
    pub cleaning: String,
    pub made: f64,
    pub dry_run: bool,
    pub refused: Option<String>,
    pub era: Value,
    pub threshold: Threshold,
    pub removed: Value,
    pub reclaimable_bytes: Value,
    pub rewrite_bytes: Value,
    pub obsolete_bytes: Value,
    pub space_comes_free: Value,
    pub odd: Value,
    pub locks: Value,
}

/// One of the segments of a plan.
#[derive(Debug, Serialize)]
pub struct PlannedSegment {
    id: i64,
    name: Arc<str>,
    used_bytes: Number,
    size_bytes: Number,
    age_days: Option<f64>,
    benefit: Option<f64>,
    utilization: Option<f64>,
    marked: bool,
}

impl From<SegmentEntry> for PlannedSegment {
    fn from(entry: SegmentEntry) -> Self {
        PlannedSegment {
            id: entry.id,
            name: entry.name,
            used_bytes: entry.used_bytes,
            size_bytes: entry.size_bytes,
            age_days: entry.age_days,
            benefit: entry.benefit,
            utilization: entry.utilization,
            marked: entry.marked,
        }
    }
}

#[derive(Debug, Serialize)]
pub struct Threshold {
    pub kind: &'static str,
    pub value: f64,
    pub age_boost_days: f64,
}

#[derive(Debug, Serialize)]
pub struct Paused {
    pub paused: bool,
}

#[derive(Debug, Serialize)]
pub struct Link {
    pub url: String,
    pub expires: f64,
}

#[derive(Debug, Serialize)]
pub struct Reloaded {
    pub changes: Vec<String>,
}

/// Event `prefixes`.
#[derive(Debug, Serialize)]
pub struct PrefixesEvent {
    pub crawl: String,
    pub cycle: u64,
    pub at: f64,
    pub marks: Vec<(u32, u64, u64)>,
    pub current: Vec<u32>,
}

/// Event `cycle`.
#[derive(Debug, Serialize)]
pub struct CycleEvent {
    pub what: &'static str,
    pub crawl: String,
    pub cycle: u64,
    pub summary: Option<Cycle>,
}

/// Event `cleaning`.
#[derive(Debug, Serialize)]
pub struct CleaningEvent {
    pub what: &'static str,
    pub cleaning: String,
    pub run: CleaningRun,
}
