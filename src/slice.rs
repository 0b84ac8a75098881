//! The time slice: the right to work, bought from the governor, carried along with the work.
//!
//! A slice is moved, never cloned. Whoever holds it looks at [`TimeSlice::is_over`] after each unit of work. When it is
//! settled or dropped (also by a panic or a cancelled task) the governor is told what it has really cost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use actix::prelude::*;

use crate::clock::Time;
use crate::settings::Basis;

/// An engine among those that share a governor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EngineId(u64);

impl EngineId {
    /// One that no other engine of this process has.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        EngineId(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// What part of the work a cost belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Listing prefixes.
    List,
    /// Folding buckets, or whatever a client's own work is.
    Fold,
    /// Saving the state.
    Commit,
}

/// What a slice has cost, by stage, as far as the stages were metered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// Listing prefixes.
    pub list: Duration,
    /// Folding buckets, with what was saved in mid-slice.
    pub fold: Duration,
    /// Saving the state at the end of the slice.
    pub commit: Duration,
}

impl Spent {
    /// The sum of the stages.
    pub fn total(&self) -> Duration {
        self.list + self.fold + self.commit
    }
}

/// Tells the governor that a slice has ended. Sent by [`TimeSlice`] itself, once.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct SliceSpent {
    /// The slice.
    pub id: u64,
    /// What was metered, by stage.
    pub spent: Spent,
}

/// What the governor and the holder of a slice share.
#[derive(Debug, Default)]
pub(crate) struct Tenure {
    revoked: AtomicBool,
    spent_nanos: [AtomicU64; 3],
}

impl Tenure {
    /// Ends the slice early: the holder stops after the running unit.
    pub fn revoke(&self) {
        self.revoked.store(true, Ordering::Relaxed);
    }
}

/// The right to work until a deadline. Dropping it settles it.
pub struct TimeSlice {
    id: u64,
    client: Arc<str>,
    deadline: Duration,
    basis: Basis,
    time: Time,
    tenure: Arc<Tenure>,
    settle: Option<Recipient<SliceSpent>>,
}

impl TimeSlice {
    pub(crate) fn new(
        id: u64,
        client: Arc<str>,
        deadline: Duration,
        basis: Basis,
        time: Time,
        tenure: Arc<Tenure>,
        settle: Recipient<SliceSpent>,
    ) -> Self {
        TimeSlice { id, client, deadline, basis, time, tenure, settle: Some(settle) }
    }

    /// A slice that never ends and that nobody is charged for: for running a job without an engine.
    pub fn unlimited() -> Self {
        let (client, time) = (Arc::from("nobody"), Time::system(false));
        let (deadline, basis) = (Duration::MAX, Basis::Wall);
        TimeSlice { id: 0, client, deadline, basis, time, tenure: Arc::default(), settle: None }
    }

    /// A slice that is over from the beginning.
    #[cfg(test)]
    pub(crate) fn ended() -> Self {
        let mut slice = TimeSlice::unlimited();
        slice.deadline = Duration::ZERO;
        slice
    }

    /// Whether the holder should stop after the running unit: the deadline has passed, or the slice was revoked
    /// (pause, stop). Costs some 25 ns.
    pub fn is_over(&self) -> bool {
        self.tenure.revoked.load(Ordering::Relaxed) || self.time.clock.now() >= self.deadline
    }

    /// Tells whether it is over, for those that the slice itself is not handed to.
    pub(crate) fn watch(&self) -> impl Fn() -> bool + use<> {
        let (tenure, clock, deadline) = (self.tenure.clone(), self.time.clock.clone(), self.deadline);
        move || tenure.revoked.load(Ordering::Relaxed) || clock.now() >= deadline
    }

    /// Its number: slices of one engine are counted from 0.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Whether it was ended early, by a pause or a stop.
    pub fn is_revoked(&self) -> bool {
        self.tenure.revoked.load(Ordering::Relaxed)
    }

    /// The client it was granted to.
    pub fn client(&self) -> &str {
        &self.client
    }

    /// Runs one stage of the work on this thread and charges the slice with what it cost: time for basis `wall`, the
    /// thread's CPU time for basis `cpu`.
    pub fn charge<R>(&self, stage: Stage, work: impl FnOnce() -> R) -> R {
        let before = self.reading();
        let result = work();
        self.add(stage, self.reading().saturating_sub(before));
        result
    }

    fn reading(&self) -> Duration {
        match self.basis {
            Basis::Wall => self.time.clock.now(),
            Basis::Cpu => self.time.meter.thread_cost(),
        }
    }

    /// Charges the slice with a cost that was metered elsewhere.
    pub fn add(&self, stage: Stage, cost: Duration) {
        let nanos = u64::try_from(cost.as_nanos()).unwrap_or(u64::MAX);
        self.tenure.spent_nanos[stage as usize].fetch_add(nanos, Ordering::Relaxed);
    }

    /// The clock that the slice is measured by.
    pub fn now(&self) -> Duration {
        self.time.clock.now()
    }

    /// Gives the rest of the slice back. The same as dropping it, but says so.
    pub fn settle(self) {}
}

impl Drop for TimeSlice {
    fn drop(&mut self) {
        let spent =
            |stage: Stage| Duration::from_nanos(self.tenure.spent_nanos[stage as usize].load(Ordering::Relaxed));
        let spent = Spent { list: spent(Stage::List), fold: spent(Stage::Fold), commit: spent(Stage::Commit) };
        if let Some(governor) = &self.settle {
            // A governor that has gone needs no account.
            governor.do_send(SliceSpent { id: self.id, spent });
        }
    }
}

impl std::fmt::Debug for TimeSlice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TimeSlice").field("id", &self.id).field("client", &self.client).finish_non_exhaustive()
    }
}
