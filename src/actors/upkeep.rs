//! The Upkeep: keeps the engine's own state in order, a small step at a time.
//!
//! Looks now and then what is due: old cycles to be removed, free pages to be given back, a write-ahead log to be emptied
//! before a commit has to do it. Then it is a client of the governor like any other, with little weight. It never touches
//! the state: each step is a message to the checkpointer, its only writer, which between two steps answers whoever
//! else has sent one. How large a step is follows from how long the last one took, so that none holds up a commit for
//! longer than some milliseconds.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::watch;
use tracing::{debug, warn};

use super::guard::ActorGuard;
use super::messages::{SlicePort, Stop, Tidy};
use crate::clock::Time;
use crate::error::{Error, Result};
use crate::model::Board;
use crate::policy::pace::Pace;
use crate::settings::UpkeepSettings;
use crate::slice::{Stage, TimeSlice};
use crate::state::{Tidied, TidyStep, Tidying};

/// The name of this client of the budget.
const CLIENT: &str = "upkeep";
/// Its weight beside crawls, which have 1 by default.
const WEIGHT: f64 = 0.1;
/// Time between two looks at what is due.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Steps are to take two fifths of this.
const STEP: Duration = Duration::from_millis(10);
/// A log that grows is emptied when it is longer: a commit does it at sixteen times that. One that does not grow any more
/// is emptied whatever its length.
const LOG_BYTES: u64 = 256 << 10;
/// Rows, or pages, of the first step.
const FIRST: u64 = 32;

/// Everything that goes with the upkeep.
pub(crate) struct Keeper {
    settings: UpkeepSettings,
    slices: SlicePort,
    tidy: Recipient<Tidy>,
    time: Time,
    board: Arc<Board>,
    stop: watch::Sender<bool>,
}

impl Keeper {
    pub fn new(
        settings: UpkeepSettings,
        slices: SlicePort,
        tidy: Recipient<Tidy>,
        time: Time,
        board: Arc<Board>,
    ) -> Self {
        Keeper { settings, slices, tidy, time, board, stop: watch::channel(false).0 }
    }

    /// Looks, and does what is due, until it is stopped.
    async fn run(&self) -> Result<()> {
        let (mut pace, mut log_before) = (Pace::new(STEP), 0);
        loop {
            self.unless_stopped(tokio::time::sleep(LOOK_EVERY)).await?;
            let looked = self.look(log_before).await.and_then(|(step, tidied)| Ok((step, tidied?)));
            let done = match looked {
                Ok((step, tidied)) => {
                    log_before = tidied.log_bytes;
                    self.work(&mut pace, step, tidied.due).await
                }
                Err(error) => Err(error),
            };
            match done {
                Err(Error::Stopped) => return Err(Error::Stopped),
                Err(error) => self.failed(&error),
                Ok(()) => self.board.upkeep(|u| u.error = None),
            }
        }
    }

    /// Looks what is due; gives the step that says so. Takes less than a millisecond, once a minute, and no slice.
    async fn look(&self, log_before: u64) -> Result<(TidyStep, Result<Tidied>)> {
        let old_before = self.settings.history.map(|h| self.time.clock.unix_secs() - h.as_secs_f64());
        let growing = TidyStep { kind: None, most: 0, old_before, log_bytes: LOG_BYTES };
        let mut done = self.tidy.send(Tidy(growing)).await?;
        self.board.upkeep(|u| {
            if let Ok(tidied) = &done.result {
                (u.log_bytes, u.pages_free, u.due) = (tidied.log_bytes, tidied.pages_free, tidied.due);
            }
        });
        let is_idle = |tidied: &Tidied| tidied.log_bytes > 0 && tidied.log_bytes == log_before;
        if !done.result.as_ref().is_ok_and(is_idle) {
            return Ok((growing, done.result));
        }
        if let Ok(tidied) = &mut done.result {
            tidied.due = Some(Tidying::Log);
        }
        Ok((TidyStep { log_bytes: 0, ..growing }, done.result))
    }

    /// Does what is due, in as many slices as it takes.
    async fn work(&self, pace: &mut Pace<Tidying>, mut step: TidyStep, mut due: Option<Tidying>) -> Result<()> {
        while due.is_some() {
            let slice = self.slices.slice(CLIENT.into(), WEIGHT);
            let slice = self.unless_stopped(slice).await??;
            due = self.in_slice(pace, &mut step, due, slice).await?;
        }
        Ok(())
    }

    /// Does steps until the slice is over or nothing is due; gives what is due then.
    async fn in_slice(
        &self,
        pace: &mut Pace<Tidying>,
        step: &mut TidyStep,
        mut due: Option<Tidying>,
        slice: TimeSlice,
    ) -> Result<Option<Tidying>> {
        while let Some(kind) = due {
            let most = pace.rows(kind, FIRST);
            let done = self.tidy.send(Tidy(TidyStep { kind: due, most, ..*step })).await?;
            slice.add(Stage::Commit, done.cost);
            let tidied = done.result?;
            pace.measured(kind, FIRST, tidied.rows_removed.max(tidied.pages_freed), done.took);
            due = tidied.due;
            // What other steps write is no longer the log of an idle state.
            step.log_bytes = LOG_BYTES;
            self.show(&tidied, done.took);
            if slice.is_over() {
                break;
            }
        }
        slice.settle();
        Ok(due)
    }

    fn show(&self, tidied: &Tidied, took: Duration) {
        debug!(?tidied, ?took, "state tidied");
        self.board.upkeep(|u| {
            u.cycles_removed += tidied.cycles_removed;
            u.rows_removed += tidied.rows_removed;
            u.pages_freed += tidied.pages_freed;
            u.log_bytes_moved += tidied.log_bytes_moved;
            (u.log_bytes, u.pages_free, u.due) = (tidied.log_bytes, tidied.pages_free, tidied.due);
            u.steps += 1;
            u.longest_step_secs = u.longest_step_secs.max(took.as_secs_f64());
        });
    }

    /// A state that cannot be tidied now can be tidied later; whether it can be written at all is the crawls' to say.
    fn failed(&self, error: &Error) {
        let told = self.board.upkeep(|u| u.error.replace(error.to_string()));
        if told.as_ref() != Some(&error.to_string()) {
            warn!(error = %error, "cannot tidy the state now");
        }
    }

    async fn unless_stopped<T>(&self, wait: impl Future<Output = T>) -> Result<T> {
        let mut stop = self.stop.subscribe();
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => Err(Error::Stopped),
            done = wait => Ok(done),
        }
    }
}

/// The actor that keeps the state in order.
pub struct Upkeep {
    keeper: Arc<Keeper>,
    _guard: ActorGuard,
}

impl Upkeep {
    pub(crate) fn new(keeper: Keeper, guard: ActorGuard) -> Self {
        Upkeep { keeper: Arc::new(keeper), _guard: guard }
    }
}

impl Actor for Upkeep {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let keeper = self.keeper.clone();
        // It ends only by a stop, or when those whom it asks have gone, which they tell themselves.
        let run = async move { drop(keeper.run().await) };
        ctx.spawn(run.into_actor(self).map(|(), _, ctx| ctx.stop()));
    }
}

impl Handler<Stop> for Upkeep {
    type Result = ();

    fn handle(&mut self, _: Stop, _: &mut Self::Context) {
        self.keeper.stop.send_replace(true);
    }
}
