//! Cycles: when the next one starts, and whether an unfinished one is resumed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What makes the result of a cycle what it is. Frozen when the cycle begins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CycleIdentity {
    /// [`Store::identity`](crate::store::Store::identity).
    pub store: String,
    /// [`Job::name`](crate::job::Job::name).
    pub job: String,
    /// [`Job::parameters`](crate::job::Job::parameters).
    pub parameters: Value,
    /// The prefixes of the ring, in order. A state may keep them elsewhere and leave them out here.
    #[serde(default = "no_prefixes", skip_serializing_if = "is_left_out")]
    pub ring: Arc<[String]>,
    /// The moment that counts as now, in seconds since 1970.
    pub now: f64,
    /// Whether `now` was given rather than read from the clock.
    pub fixed_clock: bool,
    /// Names beside the ring when the cycle began.
    pub not_in_ring: u64,
    /// Paths of the first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stray_paths: Vec<String>,
    /// Whether there were names then and none was a prefix.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_prefix: bool,
    /// Whether the cycle waits for a confirmation between its two phases, whatever it would delete. (A finished one of 0.1.0 only
    /// told.)
    #[serde(default, skip_serializing_if = "is_no_rehearsal")]
    pub rehearsal: Rehearsal,
}

fn no_prefixes() -> Arc<[String]> {
    Arc::new([])
}

fn is_left_out(ring: &Arc<[String]>) -> bool {
    ring.is_empty()
}

fn is_no_rehearsal(rehearsal: &Rehearsal) -> bool {
    *rehearsal == Rehearsal::No
}

/// A cycle as the state knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownCycle {
    /// The crawl it belongs to.
    pub crawl: String,
    /// Counts the crawl's cycles from 0.
    pub number: u64,
    /// What was frozen.
    pub identity: CycleIdentity,
    /// When it began, in seconds since 1970.
    pub started: f64,
    /// When its last prefix was completed, in seconds since 1970; `None` while it is in progress.
    pub finished: Option<f64>,
    /// Whether its report has reached whoever asked for it.
    pub delivered: bool,
    /// When somebody confirmed what it has shown, in seconds since 1970, if somebody did.
    pub confirmed: Option<f64>,
    /// When it began to carry out what it has shown, in seconds since 1970; `None` while it examines, and for ever where there
    /// was nothing to carry out.
    pub carrying_out: Option<f64>,
    /// Positions of the prefixes that are complete.
    pub done: Vec<u32>,
}

/// Names a cycle.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CycleKey {
    pub crawl: String,
    /// The cycle's number.
    pub number: u64,
}

impl KnownCycle {
    /// The cycle's name.
    pub fn key(&self) -> CycleKey {
        CycleKey { crawl: self.crawl.clone(), number: self.number }
    }

    /// Whether it stands between its two phases: every prefix is examined, and there is something to carry out.
    pub fn is_examined(&self) -> bool {
        let whole = !self.done.is_empty() && self.done.len() == self.identity.ring.len();
        whole && self.finished.is_none() && self.carrying_out.is_none()
    }
}

/// Whether a cycle waits between its two phases until somebody has confirmed what it would delete.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "bool", into = "bool")]
pub enum Rehearsal {
    /// Only if it would delete more than it may.
    #[default]
    No,
    /// In any case.
    Yes,
}

impl From<bool> for Rehearsal {
    fn from(yes: bool) -> Rehearsal {
        if yes { Rehearsal::Yes } else { Rehearsal::No }
    }
}

impl From<Rehearsal> for bool {
    fn from(rehearsal: Rehearsal) -> bool {
        rehearsal == Rehearsal::Yes
    }
}

/// The end of the last cycle, by the clock that is known to be right.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LastEnd {
    /// There was none, or the cycle is to be resumed: nothing to wait for.
    Never,
    /// It ended in this run, at this moment of the monotonic clock.
    Here(Duration),
    /// It ended in an earlier run, at this moment of the wall clock, in seconds since 1970.
    Earlier(f64),
}

/// A moment, by both clocks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moment {
    /// By the monotonic clock.
    pub monotonic: Duration,
    /// By the wall clock, in seconds since 1970.
    pub unix_secs: f64,
}

/// Says how long to wait from `now` before a cycle may start.
///
/// The minimum cycle time counts from the end of a cycle; `slow_start` counts from the engine's start (a moment of the
/// monotonic clock). The later of the two holds. After a restart only the wall clock knows how long ago the last cycle
/// ended; where it was set in the meantime, the wait is at most the minimum cycle time.
pub fn next_start(
    engine_start: Duration,
    slow_start: Duration,
    last: LastEnd,
    minimum_cycle_time: Duration,
    now: Moment,
) -> Duration {
    let running = now.monotonic.saturating_sub(engine_start);
    let since_last = match last {
        LastEnd::Never => return slow_start.saturating_sub(running),
        LastEnd::Here(end) => now.monotonic.saturating_sub(end),
        // Before the end: the clock was set back; how long ago it was nobody knows, so all of the minimum is waited.
        LastEnd::Earlier(end) => Duration::try_from_secs_f64(now.unix_secs - end).unwrap_or(Duration::ZERO),
    };
    slow_start.saturating_sub(running).max(minimum_cycle_time.saturating_sub(since_last))
}

/// What a cycle that is wanted now would be identified by.
#[derive(Debug, Clone, Copy)]
pub struct WantedIdentity<'a> {
    /// [`Store::identity`](crate::store::Store::identity).
    pub store: &'a str,
    /// [`Job::name`](crate::job::Job::name).
    pub job: &'a str,
    /// [`Job::parameters`](crate::job::Job::parameters).
    pub parameters: &'a Value,
    /// The prefixes of the ring, in order.
    pub ring: &'a [String],
    /// The moment that counts as now, in seconds since 1970, if it was given; else the clock's, whatever it is.
    pub now: Option<f64>,
}

/// Whether an unfinished cycle may be resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fresh {
    /// It is resumed.
    No,
    /// A new cycle begins in any case.
    Yes,
}

/// What to do at the start of a crawl.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartDecision {
    /// Begin a new cycle.
    Begin,
    /// Go on with the unfinished one.
    Resume,
    /// Hand over the finished one, whose report nobody has got yet.
    Deliver,
    /// Nothing: the unfinished one was begun with other parameters. With each difference.
    Refuse(Vec<Difference>),
}

/// One thing in which a frozen cycle and what is wanted differ, shown as `what: was X, is Y`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What differs: `store`, `ring`, or the name of a parameter.
    pub what: String,
    /// What it was; `None` if it was not set.
    pub was: Option<String>,
    /// What it is; `None` if it is not set.
    pub is: Option<String>,
}

impl Difference {
    fn new(what: impl Into<String>, was: impl ToString, is: impl ToString) -> Difference {
        Difference { what: what.into(), was: Some(was.to_string()), is: Some(is.to_string()) }
    }

    /// All of these in one line.
    pub fn list(differences: &[Difference]) -> String {
        differences.iter().map(Difference::to_string).collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".to_owned());
        write!(f, "{}: was {}, is {}", self.what, show(&self.was), show(&self.is))
    }
}

/// Decides what to do with the newest cycle of a crawl.
pub fn decide(latest: Option<&KnownCycle>, wanted: &WantedIdentity<'_>, fresh: Fresh) -> StartDecision {
    let Some(cycle) = latest else { return StartDecision::Begin };
    if fresh == Fresh::Yes || (cycle.finished.is_some() && cycle.delivered) {
        return StartDecision::Begin;
    }
    let differences = differences(&cycle.identity, wanted);
    match (cycle.finished, differences.is_empty()) {
        (None, true) => StartDecision::Resume,
        // It has changed nothing yet, and what it has shown is wanted no more.
        (None, false) if cycle.is_examined() => StartDecision::Begin,
        (None, false) => StartDecision::Refuse(differences),
        (Some(_), true) => StartDecision::Deliver,
        (Some(_), false) => StartDecision::Begin,
    }
}

/// Whether somebody has confirmed what is wanted, by the newest cycle: only one with the same store, job and parameters counts.
/// What was not confirmed is rehearsed.
pub fn is_confirmed(latest: Option<&KnownCycle>, wanted: &WantedIdentity<'_>) -> bool {
    latest.is_some_and(|cycle| {
        let was = &cycle.identity;
        let same = was.store == wanted.store && was.job == wanted.job && was.parameters == *wanted.parameters;
        same && (was.rehearsal == Rehearsal::No || cycle.confirmed.is_some())
    })
}

/// Names each difference between a frozen cycle and what is wanted.
pub fn differences(was: &CycleIdentity, is: &WantedIdentity<'_>) -> Vec<Difference> {
    let mut found = Vec::new();
    if was.store != is.store {
        found.push(Difference::new("store", &was.store, is.store));
    }
    if was.job != is.job {
        found.push(Difference::new("job", &was.job, is.job));
    } else {
        // Another job has other parameters; to name them too would only hide the cause.
        differing_parameters(&was.parameters, is.parameters, &mut found);
    }
    if let Some(now) = is.now.filter(|now| *now != was.now) {
        let clock = if was.fixed_clock { "" } else { " by the clock" };
        found.push(Difference::new("now", format_args!("{}{clock}", was.now), now));
    }
    if *was.ring != *is.ring {
        found.push(differing_ring(&was.ring, is.ring));
    }
    found
}

fn differing_parameters(was: &Value, is: &Value, found: &mut Vec<Difference>) {
    let (Value::Object(before), Value::Object(after)) = (was, is) else {
        if was != is {
            found.push(Difference::new("parameters", was, is));
        }
        return;
    };
    let mut keys: Vec<&String> = before.keys().chain(after.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    for key in keys {
        let (was, is) = (before.get(key), after.get(key));
        if was != is {
            let (was, is) = (was.map(Value::to_string), is.map(Value::to_string));
            found.push(Difference { what: key.clone(), was, is });
        }
    }
}

fn differing_ring(was: &[String], is: &[String]) -> Difference {
    let at = was.iter().zip(is).take_while(|(a, b)| a == b).count();
    let show = |ring: &[String]| {
        let prefix = ring.get(at).map_or("nothing", String::as_str);
        format!("{} prefixes with {prefix} at position {at}", ring.len())
    };
    Difference::new("ring", show(was), show(is))
}

#[cfg(test)]
mod tests;
