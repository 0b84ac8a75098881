//! What the API tells of cleanings: how each stands, its last run, its plan.
#![allow(missing_docs)]

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::cumulus::policy::{Number, SegmentEntry};
use crate::daemon::keep::ByHand;

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
    /// Why it was longer than a slice, once it was.
    pub lock_overrun: Option<String>,
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

/// A plan without its segments: [`PlanBody`](crate::daemon::api::plan::PlanBody) writes those behind it.
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
