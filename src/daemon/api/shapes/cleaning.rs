//! What the API tells of cleanings: how each stands, its last run, its plan.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cumulus::policy::{Era, Number, Odd, Removed};
use crate::cumulus::{CleaningFigures, LockSummary};
use crate::daemon::keep::ByHand;
use crate::lenient::known_or_default;
use crate::maintenance::MaintenanceResult;
use crate::model::MaintenanceStatus;

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Cleaning {
    pub name: String,
    pub database: String,
    /// Whether it only shows what it would do, and changes nothing.
    pub dry_run: bool,
    #[serde(flatten)]
    pub status: MaintenanceStatus,
    /// What an operator has done to it; null if nothing, or if that is over.
    #[serde(default, deserialize_with = "known_or_default")]
    pub by_hand: Option<ByHand>,
    pub last_run: Option<CleaningRunRecord>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "CleaningRun")]
pub struct CleaningRunRecord {
    pub cleaning: String,
    /// When it ended, in seconds since 1970.
    pub finished: f64,
    #[serde(default)]
    pub result: RunResult,
    /// Why it was refused, or the error with which it failed.
    pub refused: Option<String>,
    pub dry_run: bool,
    #[serde(flatten)]
    pub figures: CleaningFigures,
}

/// How a run has ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunResult {
    /// It has done, or for a dry run shown, what it was to do.
    #[default]
    Done,
    /// Nothing was done, so that nothing is destroyed.
    Refused,
    /// It ended with an error; what was done is whole.
    Failed,
    #[serde(other)]
    #[schemars(skip)]
    Other,
}

impl From<&MaintenanceResult> for RunResult {
    fn from(result: &MaintenanceResult) -> RunResult {
        match result {
            MaintenanceResult::Done { .. } => RunResult::Done,
            MaintenanceResult::Refused { .. } => RunResult::Refused,
            MaintenanceResult::Failed { .. } => RunResult::Failed,
        }
    }
}

/// A plan without its segments: [`PlanBody`](crate::daemon::api::plan::PlanBody) writes those behind it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Plan<'a> {
    pub cleaning: &'a str,
    /// When the run that made it ended, in seconds since 1970.
    pub made: f64,
    pub dry_run: bool,
    pub refused: Option<String>,
    pub era: Era,
    pub threshold: Threshold,
    pub removed: Removed,
    pub reclaimable_bytes: Number,
    pub rewrite_bytes: Number,
    pub obsolete_bytes: Number,
    /// When, for people.
    pub space_comes_free: String,
    pub odd: &'a [Odd],
    pub locks: LockSummary,
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
