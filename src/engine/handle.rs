//! The handle of a running engine: can be cloned, and used from any thread.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::{mpsc, oneshot, watch};

use super::conductor::{Launch, not_running};
use super::{LaunchPlan, Request, RunningTasks, launch_maintenance};
use crate::actors::messages::Deliver;
use crate::actors::{Command, CrawlPlan, GovernorHandle};
use crate::error::{Error, Result};
use crate::job::Job;
use crate::maintenance::{Maintenance, MaintenanceReport};
use crate::model::{Board, CycleReport, EventSubscriber, FindingsPage, RingPicture, Status};
use crate::policy::cycle::Fresh;
use crate::settings::{BudgetSettings, CrawlSettings, MaintenanceSettings};
use crate::slice::Stage;
use crate::state::StateReader;
use crate::store::Store;

/// A running engine. Dropping the handle does not end it.
#[derive(Clone)]
pub struct EngineHandle {
    pub(super) governor: GovernorHandle,
    pub(super) works: RunningTasks,
    pub(super) board: Arc<Board>,
    pub(super) deliver: Recipient<Deliver>,
    pub(super) reader: Arc<dyn StateReader>,
    pub(super) requests: mpsc::UnboundedSender<Request>,
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

    /// The report of the last run of a maintenance that was finished, or refused, in this engine.
    /// With [`Cycles::Once`](super::Cycles::Once) it is kept until
    /// [`MaintenanceReport::handed_over`] is called; until then the same maintenance may give it again.
    pub fn last_maintenance(&self, name: &str) -> Option<Arc<MaintenanceReport>> {
        self.board.maintenance_report(name)
    }

    /// How many objects of a store are damaged by the judgement of a job, where a crawl of this run has asked for it.
    pub(crate) fn damaged(&self, store: &str, job: &str) -> Option<u64> {
        self.board.damaged_by(store, job)
    }

    /// Reads a page of the state on a blocking thread, under a slice of this client.
    ///
    /// # Errors
    /// [`Error::Stopped`] if the engine is going down, and whatever `read` gives.
    pub(crate) async fn read_state<R: Send + 'static>(
        &self,
        client: &str,
        read: impl FnOnce(&dyn StateReader) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        let (slice, reader) = (self.governor.slice(client).await?, self.reader.clone());
        let read = tokio::task::spawn_blocking(move || slice.charge(Stage::Fold, || read(&*reader))).await;
        read.unwrap_or_else(|panic| Err(Error::ActorPanicked { actor: "history", message: panic.to_string() }))
    }

    /// Notes that the report has reached whoever wanted it; see [`Cycles::Once`](super::Cycles::Once).
    ///
    /// # Errors
    /// If that cannot be saved; the same call may then give the same report again.
    pub async fn deliver(&self, report: &CycleReport) -> Result<()> {
        self.deliver.send(Deliver(report.key.clone())).await?
    }

    /// The budget that was set last.
    pub fn budget(&self) -> BudgetSettings {
        self.governor.budget()
    }

    /// Changes the budget from now on. To change one value, see [`change_budget`](GovernorHandle::change_budget).
    ///
    /// # Errors
    /// [`Error::Config`] if a value is out of range; nothing is changed then.
    pub fn set_budget(&self, budget: BudgetSettings) -> Result<()> {
        self.governor.set_budget(budget)
    }

    /// Gives a command to one crawl or maintenance, and waits until it has taken effect; see [`Command`]. Dropping the future
    /// takes nothing back. Works with any executor.
    ///
    /// # Errors
    /// [`Error::Config`] if none of this name is running, or it refuses the command or a value of it; nothing is changed then.
    /// Of a stop the error with which the task has ended.
    pub async fn command(&self, name: &str, command: Command) -> Result<()> {
        command.validate()?;
        if command == Command::Stop {
            // It has ended once its name is free.
            return self.ask(|reply| Request::Stop { name: name.to_owned(), reply }).await;
        }
        let task = self.works.commands(name).ok_or_else(|| not_running(name))?;
        task.send(command).await?
    }

    /// Waits for a sign of life from the engine's own thread; one that has ended needs to give none.
    pub async fn answers(&self) {
        // However it answers, it does.
        let _ = self.ask(|reply| Request::Answer { reply }).await;
    }

    /// Pauses all work of this engine; see [`GovernorHandle::pause`].
    pub async fn pause(&self) {
        self.governor.pause().await;
    }

    /// Goes on after a pause. The pause has saved nothing up.
    pub async fn resume(&self) {
        self.governor.resume().await;
    }

    /// Adds a crawl to a running engine. One of the same name that has ended makes room for it; the status keeps its ring.
    /// With [`Fresh::Yes`] an unfinished cycle is given up.
    ///
    /// # Errors
    /// [`Error::Config`] if a setting is out of range or one of this name is running; [`Error::Stopped`] if the engine
    /// is going down.
    pub async fn add_crawl<S: Store, J: Job<S>>(
        &self,
        settings: CrawlSettings,
        store: S,
        job: J,
        fresh: Fresh,
    ) -> Result<()> {
        settings.validate()?;
        let name = settings.name.clone();
        let plan = Box::new(LaunchPlan { settings, store, job });
        self.launch(name, Box::new(move |wiring| plan.launch(&wiring.with_fresh(fresh)))).await
    }

    /// Adds a maintenance to a running engine, as [`add_crawl`](Self::add_crawl) does a crawl.
    ///
    /// # Errors
    /// As [`add_crawl`](Self::add_crawl).
    pub async fn add_maintenance(&self, settings: MaintenanceSettings, maintenance: impl Maintenance) -> Result<()> {
        settings.validate(maintenance.kind())?;
        maintenance.validate()?;
        let name = settings.name.clone();
        self.launch(name, Box::new(move |wiring| launch_maintenance(settings, Arc::new(maintenance), wiring))).await
    }

    async fn launch(&self, name: String, launch: Launch) -> Result<()> {
        self.ask(|reply| Request::Launch { name, launch, reply }).await
    }

    /// Whether a crawl or a maintenance of this name is running: added, and not ended since.
    pub fn is_running(&self, name: &str) -> bool {
        self.works.is_running(name)
    }

    /// Forgets a crawl or a maintenance that has ended: it is no longer shown. What it has saved stays.
    pub fn forget(&self, name: &str) {
        if !self.works.is_running(name) {
            self.board.remove(name);
        }
    }

    async fn ask(&self, request: impl FnOnce(oneshot::Sender<Result<()>>) -> Request) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).map_err(|_| Error::Stopped)?;
        answer.await.unwrap_or(Err(Error::Stopped))
    }

    /// Reports of the finished cycles of a crawl that are known, the oldest first, 11 at most. Only the newest lists its
    /// findings and errors; all count them.
    pub fn history(&self, crawl: &str) -> Vec<Arc<CycleReport>> {
        self.board.history(crawl)
    }

    /// The ring of a crawl at this moment.
    pub fn ring(&self, crawl: &str) -> Option<RingPicture> {
        self.board.ring_picture(crawl)
    }

    /// Tells what an earlier run knew of when prefixes were visited: pairs of position and seconds since 1970. What is
    /// younger stays.
    pub fn remember_visits(&self, crawl: &str, visits: impl IntoIterator<Item = (u32, f64)>) {
        self.board.ring(crawl, |marks| visits.into_iter().for_each(|(position, at)| marks.remember(position, at)));
    }

    /// Findings and errors with a number above `after`, of one crawl or of all, at most `limit`, oldest first. The newest
    /// [`FINDINGS_KEPT`](crate::model::FINDINGS_KEPT) are there.
    pub fn findings(&self, after: u64, crawl: Option<&str>, limit: usize) -> FindingsPage {
        self.board.findings(after, crawl, limit)
    }

    /// Number of the newest finding or error; 0 before the first.
    pub fn last_finding(&self) -> u64 {
        self.board.last_finding()
    }

    /// The governor, for the host's own background work.
    pub fn governor(&self) -> &GovernorHandle {
        &self.governor
    }

    /// Sends every event from now on here too: to an actor, or through a [channel](crate::model::event_channel).
    pub fn subscribe(&self, subscriber: impl Into<EventSubscriber>) {
        self.board.subscribers().add(subscriber.into());
    }

    /// Ends the engine after the running buckets, with all progress saved and the state closed. Works with any executor.
    ///
    /// # Errors
    /// [`Error::Deadline`] if that took longer than `deadline` (what was committed is kept), or the error with which a
    /// crawl or an actor had ended.
    pub async fn shutdown(&self, deadline: Duration) -> Result<()> {
        // An engine that has closed needs no request.
        let _ = self.requests.send(Request::Shutdown { deadline });
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

impl std::fmt::Debug for EngineHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EngineHandle")
    }
}
