//! Cycles: when the next one starts, whether an unfinished one is resumed, and how long the running one still takes.

use std::time::Duration;

use serde_json::Value;

use crate::checkpoint::{Cycle, CycleIdentity};
use crate::job::Rehearsal;

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
pub struct Wanted<'a> {
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
pub enum Decision {
    /// Begin a new cycle.
    Begin,
    /// Go on with the unfinished one.
    Resume,
    /// Hand over the finished one, whose report nobody has got yet.
    Deliver,
    /// Nothing: the unfinished one was begun with other parameters. Each difference as `what: was X, is Y`.
    Refuse(Vec<String>),
}

/// Decides what becomes of the newest cycle of a crawl.
pub fn decide(latest: Option<&Cycle>, wanted: &Wanted<'_>, fresh: Fresh) -> Decision {
    let Some(cycle) = latest else { return Decision::Begin };
    if fresh == Fresh::Yes || (cycle.finished.is_some() && cycle.delivered) {
        return Decision::Begin;
    }
    let differences = differences(&cycle.identity, wanted);
    match (cycle.finished, differences.is_empty()) {
        (None, true) => Decision::Resume,
        (None, false) => Decision::Refuse(differences),
        (Some(_), true) => Decision::Deliver,
        (Some(_), false) => Decision::Begin,
    }
}

/// How a crawl that rehearses first stands to what is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rehearsed {
    /// It is still to be rehearsed.
    NotYet,
    /// It was, and waits to be confirmed.
    Unconfirmed,
    /// It may be done: what was rehearsed was confirmed, or something of it is done already.
    Confirmed,
}

/// Says so by the newest cycle: only one with the same store, job and parameters counts. With others it is rehearsed anew.
pub fn rehearsed(latest: Option<&Cycle>, wanted: &Wanted<'_>) -> Rehearsed {
    let Some(cycle) = latest else { return Rehearsed::NotYet };
    let was = &cycle.identity;
    let same = was.store == wanted.store && was.job == wanted.job && was.parameters == *wanted.parameters;
    match (was.rehearsal, cycle.finished, cycle.confirmed) {
        _ if !same => Rehearsed::NotYet,
        (Rehearsal::No, ..) | (Rehearsal::Yes, Some(_), Some(_)) => Rehearsed::Confirmed,
        (Rehearsal::Yes, Some(_), None) => Rehearsed::Unconfirmed,
        (Rehearsal::Yes, None, _) => Rehearsed::NotYet,
    }
}

/// Names each difference between a frozen cycle and what is wanted, as `what: was X, is Y`.
pub fn differences(was: &CycleIdentity, is: &Wanted<'_>) -> Vec<String> {
    let mut found = Vec::new();
    if was.store != is.store {
        found.push(format!("store: was {}, is {}", was.store, is.store));
    }
    if was.job != is.job {
        found.push(format!("job: was {}, is {}", was.job, is.job));
    } else {
        // Another job has other parameters; to name them too would only hide the cause.
        differing_parameters(&was.parameters, is.parameters, &mut found);
    }
    if let Some(now) = is.now.filter(|now| *now != was.now) {
        let clock = if was.fixed_clock { "" } else { " by the clock" };
        found.push(format!("now: was {}{clock}, is {now}", was.now));
    }
    if was.ring != is.ring {
        found.push(differing_ring(&was.ring, is.ring));
    }
    found
}

fn differing_parameters(was: &Value, is: &Value, found: &mut Vec<String>) {
    let (Value::Object(before), Value::Object(after)) = (was, is) else {
        if was != is {
            found.push(format!("parameters: was {was}, is {is}"));
        }
        return;
    };
    let show = |value: Option<&Value>| value.map_or_else(|| "not set".to_owned(), Value::to_string);
    let mut keys: Vec<&String> = before.keys().chain(after.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    for key in keys {
        let (was, is) = (before.get(key), after.get(key));
        if was != is {
            found.push(format!("{key}: was {}, is {}", show(was), show(is)));
        }
    }
}

fn differing_ring(was: &[String], is: &[String]) -> String {
    let at = was.iter().zip(is).take_while(|(a, b)| a == b).count();
    let show = |ring: &[String]| {
        let prefix = ring.get(at).map_or("nothing", String::as_str);
        format!("{} prefixes with {prefix} at position {at}", ring.len())
    };
    format!("ring: was {}, is {}", show(was), show(is))
}

/// Fewer prefixes than this say nothing about the rest.
const LEAST_PREFIXES: u32 = 8;

/// How many standard errors the range reaches to either side: about 95 % where prefixes do not depend on each other.
const REACH: f64 = 2.0;

/// Estimates the time that a cycle still takes, as a range.
///
/// Prefixes are names of random beginning, so they are much alike; the time from the end of one to the end of the next
/// (with several workers: of any two that follow each other) has a mean and a spread. The range is the sum over the
/// prefixes left, with twice its standard error: the spread of the sum itself, and that of the mean it is made from.
#[derive(Debug, Clone)]
pub struct RemainingTime {
    last: Duration,
    steps: Steps,
}

impl RemainingTime {
    /// Begins at the start of this run; what earlier runs did is not counted, as it may have been at another pace.
    pub fn new(start: Duration) -> Self {
        RemainingTime { last: start, steps: Steps::default() }
    }

    /// Takes note that a prefix was completed, at this moment of the same clock. Leave pauses out of the clock.
    pub fn prefix_done(&mut self, at: Duration) {
        self.steps.add(at.saturating_sub(self.last));
        self.last = self.last.max(at);
    }

    /// The least and the most time that `left` more prefixes will probably take; `None` until 8 were completed in this
    /// run. The least is at most the most. A prefix that takes unusually long counts as soon as it shows.
    pub fn range(&self, left: u32, now: Duration) -> Option<(Duration, Duration)> {
        if self.steps.count < LEAST_PREFIXES {
            return None;
        }
        let mut steps = self.steps.clone();
        let open = now.saturating_sub(self.last);
        if left > 0 && open.as_secs_f64() > steps.mean {
            steps.add(open);
        }
        let (count, left) = (f64::from(steps.count), f64::from(left));
        let expected = left * steps.mean;
        let error = REACH * (steps.variance() * left * (1.0 + left / count)).sqrt();
        Some((to_duration(expected - error), to_duration(expected + error)))
    }
}

/// Mean and variance of the steps so far (Welford's method), in seconds.
#[derive(Debug, Clone, Default)]
struct Steps {
    count: u32,
    mean: f64,
    squares: f64,
}

impl Steps {
    fn add(&mut self, step: Duration) {
        let secs = step.as_secs_f64();
        self.count = self.count.saturating_add(1);
        let off = secs - self.mean;
        self.mean += off / f64::from(self.count);
        self.squares += off * (secs - self.mean);
    }

    fn variance(&self) -> f64 {
        // Rounding may leave a trace below zero.
        (self.squares / f64::from(self.count.saturating_sub(1).max(1))).max(0.0)
    }
}

fn to_duration(secs: f64) -> Duration {
    if secs <= 0.0 { Duration::ZERO } else { Duration::try_from_secs_f64(secs).unwrap_or(Duration::MAX) }
}

#[cfg(test)]
mod tests;
