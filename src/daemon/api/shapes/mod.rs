//! The shapes of the API's answers. What stands beside a field is its description in the API's own document (`openapi.rs`).

mod cleaning;
mod crawl;
mod finding;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use cleaning::*;
pub use crawl::*;
pub use finding::*;

use crate::daemon::series::BudgetSample;
use crate::lenient::known_or_default;
use crate::model::{BudgetStatus, Verdict};
use crate::priority::InForce;

/// What every call answers that fails.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Error")]
pub struct ErrorBody {
    /// What is wrong and how to mend it, one line for people.
    pub error: String,
}

/// Everything that is worth a look, small enough to be sent each second.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Status")]
pub struct DaemonStatus {
    /// The program's version.
    pub version: String,
    /// Names this run of the daemon; numbers of findings count from its start.
    pub boot: String,
    pub pid: u32,
    /// The daemon's wall clock, in seconds since 1970.
    pub now: f64,
    /// When the daemon began, in seconds since 1970.
    pub started: f64,
    /// By the monotonic clock.
    pub uptime_secs: f64,
    pub config: ConfigStatus,
    pub access: AccessStatus,
    /// Whether everything is paused.
    pub paused: bool,
    /// Whether the daemon is going down.
    pub stopping: bool,
    pub budget: Budget,
    pub priority: InForce,
    pub crawls: Vec<Crawl>,
    pub cleanings: Vec<Cleaning>,
    /// The worst of the problems, or `well`.
    pub verdict: Verdict,
    /// What an operator should look at, worst first; empty when all is well.
    pub problems: Vec<Problem>,
    /// Number of the newest finding or error; 0 before the first.
    pub last_finding: u64,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ConfigStatus {
    /// The configuration file; null for a daemon without one.
    pub path: Option<String>,
    /// The state file.
    pub state: String,
    /// When the settings in force were read, in seconds since 1970.
    pub loaded: f64,
    /// Why the file was refused when it was last read again; the old settings are in force then.
    pub refused: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Access")]
pub struct AccessStatus {
    /// Whether this request came with a valid token or session, so that changes would be allowed.
    pub may_change: bool,
    /// Whether reading needs one, too: the daemon listens beyond loopback.
    pub reading_needs_token: bool,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// What it concerns.
    pub about: ProblemSubject,
    /// The crawl or cleaning.
    pub name: Option<String>,
    /// `damage`: objects are damaged. `errors`: something could not be read. `failed`: something cannot go on by itself.
    /// `waiting`: something waits. `warning`: worth a look.
    pub severity: Verdict,
    /// One line for people, with advice where there is any.
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProblemSubject {
    Daemon,
    Config,
    Crawl,
    Cleaning,
    State,
    #[serde(other)]
    #[schemars(skip)]
    Other,
}

impl ProblemSubject {
    pub fn as_str(self) -> &'static str {
        match self {
            ProblemSubject::Daemon => "daemon",
            ProblemSubject::Config => "config",
            ProblemSubject::Crawl => "crawl",
            ProblemSubject::Cleaning => "cleaning",
            ProblemSubject::State => "state",
            ProblemSubject::Other => "other",
        }
    }
}

/// The budget that all crawls and cleanings share.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Budget {
    #[serde(flatten)]
    pub status: BudgetStatus,
    /// Where the budget in force comes from.
    #[serde(deserialize_with = "known_or_default")]
    pub source: BudgetSource,
    /// The file's usual value, in percent of one core
    pub file_percentage: f64,
    /// The window of the day that is open now, whether or not it is in force.
    pub window: Option<WindowShape>,
    pub windows: Vec<WindowShape>,
    /// When a window begins or ends next; null without windows, or while a change holds.
    pub next_change: Option<BudgetChange>,
    /// The change that holds; kept over restarts.
    pub changed: Option<BudgetChange>,
    /// What was used over the last minute, in percent of one core
    pub measured_percentage: f64,
    /// What was used over the last hour, or since the start if that is shorter, in percent of one core
    pub measured_hour_percentage: f64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BudgetSource {
    /// The file's usual value.
    #[default]
    File,
    /// One of the file's windows of the day.
    Window,
    /// A change by API or command line, which holds until it is taken back.
    Changed,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Window")]
pub struct WindowShape {
    /// Local time of day, `HH:MM`.
    pub from: String,
    /// Local time of day, `HH:MM`; before `from` it is on the next day.
    pub to: String,
    /// The budget in it, in percent of one core
    pub cpu_percentage: f64,
}

/// A moment with a budget.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct BudgetChange {
    /// When it was changed, in seconds since 1970.
    pub at: f64,
    /// To what, in percent of one core
    pub cpu_percentage: f64,
}

/// What `PUT /api/budget` takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BudgetSetting {
    /// Percent of one core: 25, or "25%".
    pub cpu_percentage: PercentSetting,
}

/// `25` or `"25%"`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum PercentSetting {
    Number(f64),
    Text(String),
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct BudgetReport {
    pub budget: Budget,
    pub series: SeriesShape,
}

/// The budget over the last hour.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Series")]
pub struct SeriesShape {
    /// Time between two samples.
    pub step_secs: f64,
    /// How many samples are kept.
    pub most: usize,
    /// Oldest first.
    pub samples: Vec<BudgetSample>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Paused {
    pub paused: bool,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Link {
    /// Opens the page with the right to change things; works once.
    pub url: String,
    /// When it ends unused, in seconds since 1970.
    pub expires: f64,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct Reloaded {
    /// One line for each thing that has changed; empty if nothing has.
    pub changes: Vec<String>,
}

/// Event `prefixes`, at most once a second for each crawl.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PrefixesEvent {
    pub crawl: String,
    pub cycle: u64,
    /// When these were saved, at the latest, in seconds since 1970.
    pub at: f64,
    /// Prefixes completed since the last event: position, errors, findings.
    pub marks: Vec<(u32, u64, u64)>,
    pub current: Vec<u32>,
}

/// Event `cycle`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CycleEvent {
    #[schemars(extend("enum" = ["started", "resumed", "finished"]))]
    pub what: &'static str,
    pub crawl: String,
    pub cycle: u64,
    /// Of a finished cycle.
    pub summary: Option<Cycle>,
}

/// Event `cleaning`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CleaningEvent {
    #[schemars(extend("enum" = ["finished"]))]
    pub what: &'static str,
    pub cleaning: String,
    pub run: CleaningRunRecord,
}

/// Event `bye`: the daemon goes down; the connection is closed after it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ByeEvent<'a> {
    pub why: &'a str,
}
