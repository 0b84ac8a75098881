//! What the API tells of cleanings: how each stands, its last run, its plan.
#![allow(missing_docs)]

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use crate::cumulus::LockSummary;
use crate::cumulus::policy::{Era, Number, Removed, SegmentEntry};
use crate::daemon::keep::ByHand;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
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

#[derive(Debug, Serialize, JsonSchema)]
pub struct Cleaning {
    pub name: String,
    pub database: String,
    /// Whether it only shows what it would do, and changes nothing.
    pub dry_run: bool,
    /// `pausing`: leaves the database alone, so that backups can begin. `waiting`: see `waiting_for`. `sleeping`: until
    /// `next_run_at`.
    pub state: CleaningState,
    /// The kind of the last step, for people.
    pub doing: String,
    pub rows_done: u64,
    pub rows_planned: u64,
    pub locks: usize,
    pub longest_lock_secs: f64,
    /// Why it was longer than a slice, once it was.
    pub lock_overrun: Option<String>,
    pub resumed: bool,
    pub planned_again: u32,
    pub waiting_for: Option<String>,
    pub error: Option<String>,
    /// What an operator has done to it; null if nothing, or if that is over.
    pub by_hand: Option<ByHand>,
    /// When the next run begins, in seconds since 1970.
    pub next_run_at: Option<f64>,
    pub last_run: Option<CleaningRun>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct CleaningRun {
    pub cleaning: String,
    /// When, in seconds since 1970.
    pub finished: f64,
    pub elapsed_secs: f64,
    /// Why nothing was done.
    pub refused: Option<String>,
    pub dry_run: bool,
    pub marked_segments: u64,
    #[schemars(with = "f64")]
    pub reclaimable_bytes: Number,
    #[schemars(with = "f64")]
    pub rewrite_bytes: Number,
    #[schemars(with = "f64")]
    pub obsolete_bytes: Number,
    pub locks: usize,
    pub longest_lock_secs: f64,
}

/// A plan without its segments: [`PlanBody`](crate::daemon::api::plan::PlanBody) writes those behind it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Plan {
    pub cleaning: String,
    /// When the run that made it ended, in seconds since 1970.
    pub made: f64,
    pub dry_run: bool,
    pub refused: Option<String>,
    pub era: Era,
    pub threshold: Threshold,
    pub removed: Removed,
    #[schemars(with = "f64")]
    pub reclaimable_bytes: Number,
    #[schemars(with = "f64")]
    pub rewrite_bytes: Number,
    #[schemars(with = "f64")]
    pub obsolete_bytes: Number,
    /// When, for people.
    pub space_comes_free: String,
    pub odd: Vec<OddRow>,
    pub locks: LockSummary,
}

/// What was odd in a database.
#[derive(Debug, Serialize, JsonSchema)]
pub struct OddRow {
    pub segment: Option<i64>,
    pub name: Option<Arc<str>>,
    pub what: String,
}

/// One of the segments of a plan.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Segment")]
pub struct PlannedSegment {
    id: i64,
    name: Arc<str>,
    #[schemars(with = "f64")]
    used_bytes: Number,
    #[schemars(with = "f64")]
    size_bytes: Number,
    age_days: Option<f64>,
    benefit: Option<f64>,
    /// From 0 to 1.
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

#[derive(Debug, Serialize, JsonSchema)]
pub struct Threshold {
    /// `benefit`: segments with `(1 - u) * (age + age_boost_days) / (u + 0.1)` above `value` days are marked.
    /// `utilization`: those below `value`.
    #[schemars(extend("enum" = ["benefit", "utilization"]))]
    pub kind: &'static str,
    pub value: f64,
    pub age_boost_days: f64,
}
