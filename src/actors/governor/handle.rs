//! What a governor is held by: of its own, or of one engine under it.

use std::sync::Arc;

use actix::prelude::*;
use actix_rt::System;
use tokio::sync::oneshot;

use super::Governor;
use crate::actors::Fuse;
use crate::actors::messages::{Join, Leave, Pause, Resume, SetBudget, SetSlots, SlicePort};
use crate::clock::Time;
use crate::error::{Error, Result};
use crate::model::{BudgetBoard, Subscribers};
use crate::settings::BudgetSettings;
use crate::slice::{EngineId, TimeSlice};
use crate::threads;

impl Governor {
    /// Starts a governor on a thread of its own, for several [engines](crate::engine::EngineBuilder::governor) and for work
    /// without any. It ends with its last handle.
    ///
    /// # Errors
    /// [`Error::Config`] if a setting is out of range, or the thread cannot be started.
    pub fn spawn(settings: BudgetSettings, time: Time) -> Result<GovernorHandle> {
        settings.validate()?;
        let (started, handle) = std::sync::mpsc::channel();
        let (alive, ended) = oneshot::channel::<()>();
        threads::start("sexton-governor", move || {
            let system = match threads::system() {
                Ok(system) => system,
                Err(error) => return drop(started.send(Err(error))),
            };
            system.block_on(async move {
                // If the receiver is gone, nobody wants the governor.
                let _ = started.send(Ok(Governor::launch(settings, time)));
                // The last handle drops the sender, which says it.
                let _ = ended.await;
            });
        })?;
        let died = |_| Error::ActorPanicked { actor: "governor", message: "it did not start".to_owned() };
        let handle = handle.recv().map_err(died)??;
        Ok(GovernorHandle { _alive: Some(Arc::new(alive)), ..handle })
    }

    /// Starts a governor on the current arbiter of a running actix `System`.
    ///
    /// # Errors
    /// [`Error::Config`] if a setting is out of range, or no `System` is running.
    pub fn start(settings: BudgetSettings, time: Time) -> Result<GovernorHandle> {
        settings.validate()?;
        if System::try_current().is_none() {
            let advice = "no actix system is running on this thread: call it inside one, or use spawn()";
            return Err(Error::Config(advice.to_owned()));
        }
        Ok(Governor::launch(settings, time))
    }

    /// Starts it on the current arbiter, with settings that are valid.
    pub(crate) fn launch(settings: BudgetSettings, time: Time) -> GovernorHandle {
        let board = Arc::new(BudgetBoard::new(&settings, time.clock.clone()));
        let fuse = Fuse::new();
        let actor = Governor::new(settings, time.clone(), board.clone(), fuse.guard("governor"));
        let governor = Actor::start(actor);
        let slices = SlicePort { governor: governor.clone().recipient(), engine: None };
        GovernorHandle { governor, slices, board, time, fuse, _alive: None }
    }
}

/// Sells slices to whoever asks, and changes the budget.
///
/// That of an [engine](crate::engine::EngineHandle::governor) ends with the engine, and pauses only that.
#[derive(Clone)]
pub struct GovernorHandle {
    governor: Addr<Governor>,
    slices: SlicePort,
    board: Arc<BudgetBoard>,
    time: Time,
    fuse: Fuse,
    /// The thread of a governor that has one ends when the last of these is dropped.
    _alive: Option<Arc<oneshot::Sender<()>>>,
}

impl GovernorHandle {
    /// Waits for a slice of the budget, with the usual weight of 1. Work until [`TimeSlice::is_over`], then drop it; all
    /// slices of one `client` share one account, also across engines.
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
        self.slices.slice(client.into(), weight).await
    }

    /// The budget that was set last.
    pub fn budget(&self) -> BudgetSettings {
        self.board.figures().settings().clone()
    }

    /// Changes the budget from now on. To change one value, see [`change_budget`](Self::change_budget).
    ///
    /// # Errors
    /// [`Error::Config`] if a value is out of range; nothing is changed then.
    pub fn set_budget(&self, budget: BudgetSettings) -> Result<()> {
        self.change_budget(|wanted| *wanted = budget)
    }

    /// Changes some values of the budget from now on, and leaves the others as they were set last, by whomever:
    /// `governor.change_budget(|budget| budget.rate = 0.3)`.
    /// `change` must not call this governor or an engine under it.
    ///
    /// # Errors
    /// [`Error::Config`] if a value is out of range; nothing is changed then.
    pub fn change_budget(&self, change: impl FnOnce(&mut BudgetSettings)) -> Result<()> {
        let mut figures = self.board.figures();
        let mut changed = figures.settings().clone();
        change(&mut changed);
        changed.validate()?;
        // Sent while nobody else can change it, so that the change that is told of last is in force last.
        figures.requested(&changed);
        self.governor.do_send(SetBudget(changed));
        Ok(())
    }

    /// Pauses all work under this governor, or that of the engine whose handle it is: each running slice ends after its
    /// bucket, and its progress is saved. Waits until no slice is out any more, so never call it while holding one. Dropping
    /// the future takes nothing back. Works with any executor.
    pub async fn pause(&self) {
        // A governor that has gone grants nothing.
        let _ = self.governor.send(Pause(self.slices.engine)).await;
    }

    /// Ends a [pause](Self::pause). The pause has saved nothing up.
    pub async fn resume(&self) {
        let _ = self.governor.send(Resume(self.slices.engine)).await;
    }

    /// Takes in an engine: its handle, and what keeps it in.
    pub(crate) fn join(&self, engine: EngineId, workers: u32, subscribers: Arc<Subscribers>) -> (Self, Membership) {
        self.governor.do_send(Join { engine, workers, subscribers });
        let slices = SlicePort { engine: Some(engine), ..self.slices.clone() };
        (GovernorHandle { slices, ..self.clone() }, Membership { governor: self.clone(), engine })
    }

    pub(crate) fn slices(&self) -> &SlicePort {
        &self.slices
    }

    pub(crate) fn board(&self) -> &Arc<BudgetBoard> {
        &self.board
    }

    /// The clock and the meter that slices are measured by.
    pub(crate) fn time(&self) -> &Time {
        &self.time
    }

    pub(crate) fn fuse(&self) -> &Fuse {
        &self.fuse
    }
}

impl std::fmt::Debug for GovernorHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GovernorHandle")
    }
}

/// Keeps an engine under its governor. The engine leaves when this is dropped, whatever has ended it.
pub(crate) struct Membership {
    governor: GovernorHandle,
    engine: EngineId,
}

impl Membership {
    /// Has so many workers from now on.
    pub fn set_workers(&self, workers: u32) {
        self.governor.governor.do_send(SetSlots(self.engine, workers));
    }

    /// Ends it: the slices of this engine that are out end after the running unit, and its requests fail with
    /// [`Error::Stopped`].
    pub fn leave(&self) {
        self.governor.governor.do_send(Leave(self.engine));
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.leave();
    }
}
