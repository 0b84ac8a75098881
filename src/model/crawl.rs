//! What is shown of a crawl: its cycle in progress, what keeps it from working, when the next cycle begins.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Range, RehearsalStatus, TargetStatus, TaskState, Totals};
use crate::error::Error;
use crate::policy::remaining::RemainingTime;

/// What one worker of a crawl is doing.
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    /// Nothing to do.
    Idle,
    /// Waits for a slice.
    Waiting,
    /// Has a prefix listed.
    Listing,
    /// Folds buckets.
    Folding,
    /// Saves progress.
    Committing,
    /// Has settled its slice.
    Settled,
    /// What only a newer version knows.
    #[serde(other)]
    #[cfg_attr(feature = "daemon", schemars(skip))]
    Other,
}

/// A crawl at one moment.
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct CrawlStatus {
    /// `count`, `leases`, `verify`, or a job of the host's own.
    pub job: String,
    /// What it is doing.
    pub state: TaskState,
    /// The cycle in progress, or the last one; counted from 0.
    pub cycle: Option<u64>,
    /// When that began, in seconds since 1970.
    pub cycle_started: Option<f64>,
    /// How many prefixes were complete when this run took the cycle over; null if it began it.
    pub resumed_with: Option<u32>,
    /// Whether this crawl ever finished a cycle.
    #[serde(default)]
    pub first_cycle_finished: bool,
    /// Prefixes complete in this cycle.
    pub prefixes_done: u32,
    /// Prefixes in the ring.
    pub prefixes_total: u32,
    /// The last prefix up to which all are complete.
    pub last_complete_prefix: Option<String>,
    /// The last saved bucket of the first prefix that is not complete; with several workers others are further on.
    pub last_complete_bucket: Option<String>,
    /// Buckets saved in this cycle.
    pub buckets: u64,
    /// Shares saved in this cycle.
    pub shares: u64,
    /// Errors saved in this cycle.
    pub errors: u64,
    /// Findings saved in this cycle.
    pub findings: u64,
    /// What had vanished in this cycle when its turn came.
    pub vanished: u64,
    /// Objects damaged now by the judgement of this job: each from the moment at which it is found so until a later visit
    /// finds it well or gone, whatever cycle or process begins meanwhile.
    pub damaged: u64,
    /// The rest of the cycle, from the prefixes done and by the budget in force; null while too little is known.
    pub remaining_secs: Option<Range>,
    /// When the next cycle may begin, in seconds since 1970.
    pub next_cycle_at: Option<f64>,
    /// What its workers are doing.
    pub workers: Vec<WorkerState>,
    /// What keeps it from working.
    pub waiting_for: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
    /// Null where none is set.
    pub target: Option<TargetStatus>,
    /// What the cycle in progress has shown, if it waits to be confirmed, or was confirmed, until the next cycle begins.
    pub rehearsal: Option<RehearsalStatus>,
    /// Whether nothing is deleted before somebody has confirmed it: in the cycle in progress, or in the next one.
    pub rehearsing: bool,

    /// What was saved since the engine's start, over all cycles.
    #[serde(skip)]
    pub since_start: Totals,
    /// Why it failed, for programs.
    #[serde(skip)]
    pub failure: Option<Error>,
    /// The state, whether or not it is paused or waits.
    #[serde(skip)]
    pub(crate) phase: TaskState,
    /// Whether it was told to pause.
    #[serde(skip)]
    pub(crate) held: bool,
    /// Whether the run that left the cycle behind had examined all of it, and what it has shown was left to be carried out.
    #[serde(skip)]
    pub(crate) examined_before: bool,
    /// When the next cycle may begin, by the engine's clock.
    #[serde(skip)]
    pub(crate) next_cycle_due: Option<Duration>,
    /// The store's identity; empty until the crawl has asked the state for its damage.
    #[serde(skip)]
    pub(crate) store: String,
    /// What the remaining time is estimated from.
    #[serde(skip)]
    pub(crate) remaining: RemainingTime,
    /// The target, and what lies between two cycles.
    #[serde(skip)]
    pub(crate) aim: Option<(Duration, Duration)>,
}

impl CrawlStatus {
    pub(crate) fn new(job: &str, workers: u32, prefixes_total: u32) -> Self {
        CrawlStatus {
            job: job.to_owned(),
            workers: vec![WorkerState::Idle; workers as usize],
            prefixes_total,
            ..CrawlStatus::default()
        }
    }

    /// Stands where another has left off, until it opens a cycle itself.
    pub(crate) fn stands_as(&mut self, known: &CrawlStatus) {
        let CrawlStatus { cycle, cycle_started, prefixes_done, prefixes_total, .. } = *known;
        let CrawlStatus { buckets, shares, errors, findings, vanished, .. } = *known;
        (self.cycle, self.cycle_started) = (cycle, cycle_started);
        (self.prefixes_done, self.prefixes_total) = (prefixes_done, prefixes_total);
        (self.buckets, self.shares, self.errors) = (buckets, shares, errors);
        (self.findings, self.vanished) = (findings, vanished);
        self.last_complete_prefix.clone_from(&known.last_complete_prefix);
        self.last_complete_bucket.clone_from(&known.last_complete_bucket);
    }

    /// Says what it is doing, all considered.
    pub(super) fn set_state(&mut self) {
        self.state = match self.phase {
            ended if ended.has_ended() => ended,
            _ if self.held => TaskState::Paused,
            _ if self.waiting_for.is_some() => TaskState::Waiting,
            phase => phase,
        };
    }

    /// Estimates what is left of the cycle when so much has been allowed; `takes` says how long it takes until so much more is.
    /// Gives how long a whole cycle takes at this pace, if that can be told.
    pub(super) fn estimate(
        &mut self,
        allowed: Duration,
        takes: impl Fn((Duration, Duration)) -> Range,
    ) -> Option<Range> {
        let (total, left) = (self.prefixes_total, self.prefixes_total.saturating_sub(self.prefixes_done));
        // Of one that does not walk, the time that passes says nothing about what is left.
        let walks = self.phase == TaskState::Walking && !self.held && self.waiting_for.is_none();
        let range = if walks || left == 0 { self.remaining.range(left, allowed) } else { self.remaining.whole(left) };
        self.remaining_secs = range.map(&takes);
        if left == 0 { self.remaining.measured(total) } else { self.remaining.whole(total) }.map(takes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How it happens: a crawl is stopped or fails in the middle of a cycle, and nobody starts it again.
    #[test]
    fn what_is_left_does_not_grow_while_nothing_is_done() {
        let mut crawl = CrawlStatus::new("count", 1, 1024);
        for second in 1..=20 {
            crawl.remaining.saved(10, Duration::from_secs(second));
        }
        crawl.prefixes_done = 200;
        let mut left = |phase: TaskState, waits: bool, at: u64| {
            (crawl.phase, crawl.waiting_for) = (phase, waits.then(|| "no room".to_owned()));
            crawl.estimate(Duration::from_secs(at), |(least, most)| Range {
                least: least.as_secs_f64(),
                most: most.as_secs_f64(),
            });
            crawl.remaining_secs
        };
        let whole = Some(Range { least: 82.4, most: 82.4 });
        for (phase, waits) in [(TaskState::Done, false), (TaskState::Failed, false), (TaskState::Walking, true)] {
            assert_eq!((left(phase, waits, 20), left(phase, waits, 90_000)), (whole, whole), "{phase:?}");
        }
        assert!(left(TaskState::Walking, false, 90_000).unwrap().most > 1000.0);
    }

    #[test]
    fn a_pause_is_shown_before_what_keeps_it_waiting_and_an_end_before_both() {
        let shown = |phase: TaskState, held: bool, waits: bool| {
            let waiting_for = waits.then(|| "no room".to_owned());
            let mut crawl = CrawlStatus { phase, held, waiting_for, ..CrawlStatus::default() };
            crawl.set_state();
            crawl.state
        };
        assert_eq!(shown(TaskState::Walking, false, false), TaskState::Walking);
        assert_eq!(shown(TaskState::Walking, false, true), TaskState::Waiting);
        assert_eq!(shown(TaskState::Walking, true, true), TaskState::Paused);
        assert_eq!(shown(TaskState::Failed, true, true), TaskState::Failed);
    }
}
