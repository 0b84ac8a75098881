//! How the actors of one crawl, one maintenance and the state are started, and what each is wired with.

use std::sync::Arc;

use actix::prelude::*;
use actix_rt::System;
use tokio::sync::oneshot;

use super::Threads;
use crate::actors::messages::{Stop, Tidy};
use crate::actors::{
    BucketProcessor, Checkpointer, Cleaner, CrawlPlan, CrawlTask, Fuse, Keeper, Launched, PrefixLister, Runner, Upkeep,
    Wiring,
};
use crate::clock::Time;
use crate::error::{Error, Result};
use crate::job::Job;
use crate::maintenance::Maintenance;
use crate::model::{CrawlStatus, MaintenanceStatus};
use crate::settings::{CrawlSettings, MaintenanceSettings, UpkeepSettings};
use crate::state::StateWriter;
use crate::store::Store;
use crate::threads;

pub(super) fn start_checkpointer(
    writer: StateWriter,
    time: &Time,
    fuse: &Fuse,
    threads: Threads,
) -> Result<(Addr<Checkpointer>, Option<StateThread>)> {
    let checkpointer = Checkpointer::new(writer, time.clone(), fuse.guard("checkpointer"));
    if threads == Threads::Shared {
        return Ok((checkpointer.start(), None));
    }
    let (started, address) = std::sync::mpsc::channel();
    let (end, ended) = oneshot::channel();
    // In a system of its own: the host's may be stopped before the engine is (actix-web does that at a signal), and the
    // arbiters in it with it, but the last commit is still to come.
    threads::start("sexton-state", move || {
        System::new().block_on(async move {
            // If the receiver is gone, the engine has not started and the state is closed again.
            let _ = started.send(checkpointer.start());
            // An engine that has gone has dropped the sender, which says the same.
            let _ = ended.await;
        });
    })?;
    let died = |_| Error::ActorPanicked { actor: "checkpointer", message: "it did not start".to_owned() };
    Ok((address.recv().map_err(died)?, Some(StateThread { _end: end })))
}

/// The thread on which the state is kept; ends when this is dropped.
pub(super) struct StateThread {
    _end: oneshot::Sender<()>,
}

/// A crawl that is to be launched.
pub(crate) struct LaunchPlan<S, J> {
    pub settings: CrawlSettings,
    pub store: S,
    pub job: J,
}

impl<S: Store, J: Job<S>> CrawlPlan for LaunchPlan<S, J> {
    fn name(&self) -> &str {
        &self.settings.name
    }

    fn workers(&self) -> u32 {
        self.settings.workers
    }

    fn validate(&self) -> Result<()> {
        self.settings.validate()
    }

    fn launch(self: Box<Self>, wiring: &Wiring) -> Launched {
        let LaunchPlan { settings, store, job } = *self;
        let status = CrawlStatus::new(job.name(), settings.workers, store.ring().len());
        wiring.board.add_crawl(&settings.name, status, store.ring());
        let workers = settings.workers;
        let (store, name) = (Arc::new(store), settings.name.clone());
        let slices = wiring.ports.slices.clone();
        let guard = wiring.fuse.guard("prefix lister");
        let lister =
            PrefixLister::new(store.clone(), &settings.name, settings.read_ahead, slices, wiring.working, guard)
                .start();
        let crawl = Arc::new(CrawlTask::new(settings, store, Arc::new(job), wiring));
        let (ended_set, ended) = oneshot::channel();
        let guard = wiring.fuse.guard("bucket processor");
        let processor = BucketProcessor::new(crawl, lister.recipient(), ended_set, guard).start();
        Launched { name, commands: processor.recipient(), workers, ended }
    }
}

pub(crate) fn launch_maintenance(
    settings: MaintenanceSettings,
    maintenance: Arc<dyn Maintenance>,
    wiring: &Wiring,
) -> Launched {
    let name = settings.name.clone();
    wiring.board.add_maintenance(&name, MaintenanceStatus::new(maintenance.subject()));
    let (ended_set, ended) = oneshot::channel();
    let cleaner =
        Cleaner::new(Runner::new(settings, maintenance, wiring), ended_set, wiring.fuse.guard("cleaner")).start();
    Launched { name, commands: cleaner.recipient(), workers: 1, ended }
}

pub(super) fn start_upkeep(settings: UpkeepSettings, tidy: Recipient<Tidy>, wiring: &Wiring) -> Recipient<Stop> {
    let slices = wiring.ports.slices.clone();
    let keeper = Keeper::new(settings, slices, tidy, wiring.time.clone(), wiring.board.clone());
    Upkeep::new(keeper, wiring.fuse.guard("upkeep")).start().recipient()
}
