//! The handle of a running engine: can be cloned, and used from any thread.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::{mpsc, watch};

use super::Shutdown;
use crate::actors::{CleaningOrders, Governor};
use crate::cumulus::CleaningReport;
use crate::error::{Error, Result};
use crate::messages::{Deliver, Pause, Resume, SetBudget, SetMinimumCycleTime, SliceRequest, Stop};
use crate::report::CycleReport;
use crate::settings::{self, BudgetSettings, PACE};
use crate::slice::TimeSlice;
use crate::status::{Board, Event, Status};

/// A running engine. Dropping the handle does not end it.
#[derive(Clone)]
pub struct EngineHandle {
    pub(super) governor: GovernorHandle,
    pub(super) pace: BTreeMap<String, Recipient<SetMinimumCycleTime>>,
    pub(super) orders: BTreeMap<String, CleaningOrders>,
    pub(super) board: Arc<Board>,
    pub(super) deliver: Recipient<Deliver>,
    pub(super) shutdown: mpsc::UnboundedSender<Shutdown>,
    pub(super) outcome: watch::Receiver<Option<Result<()>>>,
    pub(super) closed: watch::Receiver<bool>,
}

impl EngineHandle {
    /// The engine at this moment. Asks no actor, so it answers at once, always.
    pub fn status(&self) -> Status {
        self.board.status()
    }

    /// The report of the last cycle that a crawl has finished in this run.
    pub fn last_report(&self, crawl: &str) -> Option<Arc<CycleReport>> {
        self.board.report(crawl)
    }

    /// The report of the last cleaning of this name that was finished, or refused, in this run.
    pub fn last_cleaning(&self, name: &str) -> Option<Arc<CleaningReport>> {
        self.board.cleaning_report(name)
    }

    /// Notes that the report has reached whoever wanted it; see [`Cycles::Once`](super::Cycles::Once).
    ///
    /// # Errors
    /// If that cannot be saved; the same call may then give the same report again.
    pub async fn deliver(&self, report: &CycleReport) -> Result<()> {
        self.deliver.send(Deliver(report.key.clone())).await?
    }

    /// Changes the budget from now on.
    ///
    /// # Errors
    /// [`Error::Config`] if a value is out of range; nothing is changed then.
    pub fn set_budget(&self, budget: BudgetSettings) -> Result<()> {
        budget.validate()?;
        self.governor.set_budget.do_send(SetBudget(budget));
        Ok(())
    }

    /// Changes the time from the end of a crawl's cycle to the start of its next one, from now on.
    ///
    /// # Errors
    /// [`Error::Config`] if there is no such crawl, or the time is out of range; nothing is changed then.
    pub fn set_minimum_cycle_time(&self, crawl: &str, time: Duration) -> Result<()> {
        settings::within(&PACE, &time, settings::duration).map_err(Error::Config)?;
        let pace = self.pace.get(crawl).ok_or_else(|| Error::Config(format!("there is no crawl {crawl:?}")))?;
        pace.do_send(SetMinimumCycleTime(time));
        Ok(())
    }

    /// Pauses all work: each running slice ends after its bucket, and its progress is saved.
    pub fn pause(&self) {
        self.governor.pause.do_send(Pause);
    }

    /// Goes on after a pause. The pause has saved nothing up.
    pub fn resume(&self) {
        self.governor.resume.do_send(Resume);
    }

    /// Pauses one cleaning between two steps, so that its database is whole and unlocked; or keeps its next run from
    /// beginning. The others go on.
    ///
    /// # Errors
    /// [`Error::Config`] if there is no such cleaning.
    pub fn pause_cleaning(&self, name: &str) -> Result<()> {
        self.orders_of(name).map(|orders| orders.pause.do_send(Pause))
    }

    /// Goes on with a cleaning that was paused, where it was.
    ///
    /// # Errors
    /// [`Error::Config`] if there is no such cleaning.
    pub fn resume_cleaning(&self, name: &str) -> Result<()> {
        self.orders_of(name).map(|orders| orders.resume.do_send(Resume))
    }

    /// Ends one cleaning between two steps, for as long as this engine lives; the others go on. A run that it was in the
    /// middle of goes on in the next engine, or with the same `sexton clean`, unless a backup has run meanwhile.
    ///
    /// # Errors
    /// [`Error::Config`] if there is no such cleaning.
    pub fn stop_cleaning(&self, name: &str) -> Result<()> {
        self.orders_of(name).map(|orders| orders.stop.do_send(Stop))
    }

    fn orders_of(&self, name: &str) -> Result<&CleaningOrders> {
        self.orders.get(name).ok_or_else(|| Error::Config(format!("there is no cleaning {name:?}")))
    }

    /// The governor, for the host's own background work.
    pub fn governor(&self) -> &GovernorHandle {
        &self.governor
    }

    /// Sends every event from now on here too.
    pub fn subscribe(&self, subscriber: Recipient<Event>) {
        self.board.subscribe(subscriber);
    }

    /// Ends the engine after the running buckets, with all progress saved and the state closed. Works with any executor.
    ///
    /// # Errors
    /// [`Error::Deadline`] if that took longer than `deadline` (what was committed is kept), or the error with which a
    /// crawl or an actor had ended.
    pub async fn shutdown(&self, deadline: Duration) -> Result<()> {
        // An engine that has closed needs no request.
        let _ = self.shutdown.send(Shutdown { deadline });
        self.closed().await;
        self.finished().await
    }

    /// Waits until all crawls have ended: after their cycles ([`Cycles`](super::Cycles)), by shutdown, or by an error.
    ///
    /// # Errors
    /// The first error with which a crawl or an actor ended.
    pub async fn finished(&self) -> Result<()> {
        let mut outcome = self.outcome.clone();
        match outcome.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or(Ok(())),
            Err(_) => Err(Error::ActorPanicked { actor: "engine", message: "its thread has gone".to_owned() }),
        }
    }

    /// [`finished`](Self::finished) for programs that are not async: blocks the calling thread. Never call it on the
    /// engine's own thread.
    ///
    /// # Errors
    /// As [`finished`](Self::finished).
    pub fn join(&self) -> Result<()> {
        futures_executor::block_on(self.finished())
    }

    /// Waits until the engine has closed its state and ended.
    pub(super) fn closed(&self) -> impl Future<Output = ()> + use<> {
        let mut closed = self.closed.clone();
        async move {
            // An engine whose thread has gone is closed too.
            let _ = closed.wait_for(|closed| *closed).await;
        }
    }
}

/// Sells slices to whoever asks.
#[derive(Clone)]
pub struct GovernorHandle {
    slices: Recipient<SliceRequest>,
    set_budget: Recipient<SetBudget>,
    pause: Recipient<Pause>,
    resume: Recipient<Resume>,
}

impl GovernorHandle {
    pub(super) fn new(governor: &Addr<Governor>) -> Self {
        GovernorHandle {
            slices: governor.clone().recipient(),
            set_budget: governor.clone().recipient(),
            pause: governor.clone().recipient(),
            resume: governor.clone().recipient(),
        }
    }

    /// Waits for a slice of the budget, with the usual weight of 1. Work until [`TimeSlice::is_over`], then drop it; all
    /// slices of one `client` share one account.
    ///
    /// # Errors
    /// [`Error::Stopped`] if the engine is going down.
    pub async fn slice(&self, client: &str) -> Result<TimeSlice> {
        self.weighted_slice(client, 1.0).await
    }

    /// As [`slice`](Self::slice), with another weight: twice the weight, twice the part of the budget.
    ///
    /// # Errors
    /// [`Error::Stopped`] if the engine is going down.
    pub async fn weighted_slice(&self, client: &str, weight: f64) -> Result<TimeSlice> {
        SliceRequest::send(&self.slices, client.into(), weight).await
    }
}

impl std::fmt::Debug for EngineHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EngineHandle")
    }
}

impl std::fmt::Debug for GovernorHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GovernorHandle")
    }
}
