//! The shapes of the API's answers, as `openapi.json` describes them. What a field means stands there.
#![allow(missing_docs)]

mod cleaning;
mod crawl;

use serde::{Deserialize, Serialize};

pub use cleaning::*;
pub use crawl::*;

use crate::daemon::series::Sample;
use crate::model::Verdict;

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
    pub verdict: Verdict,
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
    pub severity: Verdict,
    pub text: String,
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
