//! The commands to one task (a crawl or a maintenance), what is wanted of it by them, and whether it has complied.
//!
//! Owns that alone. Whoever works looks at it between two slices, and says when it waits.

use std::time::Duration;

use actix::prelude::*;
use tokio::sync::{oneshot, watch};

use crate::error::{Error, Result};
use crate::settings::{self, PACE, WEIGHT};

/// What is asked of one task (a crawl or a maintenance) while the others go on. It is answered when it has taken effect.
#[derive(Debug, Clone, Copy, PartialEq, Message)]
#[rtype(result = "Result<()>")]
#[non_exhaustive]
pub enum Command {
    /// Begins the next cycle or run now, whatever the task waits for, and ends a pause. What waits to be confirmed is given up
    /// and examined anew. In effect when the task is at work, or shows what else it waits for.
    Start,
    /// Asks for no further slice. In effect when no worker has a slice and what was done is saved.
    Pause,
    /// Ends a pause.
    Resume,
    /// Ends the task after its running slice, with its progress saved. In effect when it has ended; the answer is the error
    /// with which it did, if any. A run of a maintenance that was in progress goes on in the next engine if it can.
    Stop,
    /// Confirms what a cycle has shown ([`CrawlStatus::rehearsal`](crate::model::CrawlStatus)), so that it is carried out. In
    /// effect when that is saved. Refused unless the crawl waits for just that.
    Confirm {
        cycle: u64,
        /// How many objects it would delete. Must be right where it is given, and must be given where that is more than the
        /// safety catch allows.
        objects: Option<u64>,
    },
    /// Changes the task's part of the budget while others want it too, from its next slice on.
    SetWeight(f64),
    /// Changes the time from the end of a crawl's cycle to the start of its next one; a crawl that sleeps between cycles
    /// sleeps anew. A maintenance refuses it.
    SetMinimumCycleTime(Duration),
}

impl Command {
    /// The word for it on a command line and in a URL.
    pub fn word(self) -> &'static str {
        match self {
            Command::Start => "start",
            Command::Pause => "pause",
            Command::Resume => "resume",
            Command::Stop => "stop",
            Command::Confirm { .. } => "confirm",
            Command::SetWeight(_) => "weight",
            Command::SetMinimumCycleTime(_) => "minimum_cycle_time",
        }
    }

    /// Refuses values that are out of range.
    pub(crate) fn validate(&self) -> Result<()> {
        match self {
            Command::SetWeight(weight) => settings::within(&WEIGHT, weight, f64::to_string),
            Command::SetMinimumCycleTime(time) => settings::within(&PACE, time, settings::duration),
            _ => return Ok(()),
        }
        .map_err(Error::Config)
    }
}

/// What is wanted of one task; it may change at any time.
#[derive(Default)]
pub(crate) struct Control(watch::Sender<Orders>);

#[derive(Debug, Default)]
struct Orders {
    stopped: bool,
    paused: bool,
    /// Whether a command to start waits to be followed.
    start: bool,
    /// Whether the task waits for its time, or to be confirmed: a command to start ends that.
    resting: bool,
    /// How many of its workers have not complied with a pause yet.
    at_work: usize,
}

impl Control {
    /// Takes in a start, a pause, a resume or a stop, and waits until it has taken effect. Whoever drops the future no longer
    /// waits; the command holds all the same. Of a stop only the task's end tells that it has taken effect.
    pub async fn take(&self, command: Command) {
        self.0.send_modify(|wanted| match command {
            Command::Start => (wanted.paused, wanted.start) = (false, true),
            Command::Pause => wanted.paused = true,
            Command::Resume => wanted.paused = false,
            Command::Stop => wanted.stopped = true,
            Command::Confirm { .. } | Command::SetWeight(_) | Command::SetMinimumCycleTime(_) => {}
        });
        match command {
            Command::Start => self.until(|wanted| !wanted.resting || wanted.paused || wanted.stopped).await,
            Command::Pause => self.until(|wanted| wanted.at_work == 0 || !wanted.paused).await,
            _ => {}
        }
    }

    pub fn is_stopped(&self) -> bool {
        self.0.borrow().stopped
    }

    pub fn is_paused(&self) -> bool {
        self.0.borrow().paused
    }

    /// Waits until the end is asked for.
    pub async fn stopped(&self) {
        self.until(|wanted| wanted.stopped).await;
    }

    /// Waits until a pause begins.
    pub async fn paused(&self) {
        self.until(|wanted| wanted.paused).await;
    }

    /// Waits until there is no pause. A stop ends it with [`Error::Stopped`].
    pub async fn released(&self) -> Result<()> {
        self.until(|wanted| wanted.stopped || !wanted.paused).await;
        if self.is_stopped() { Err(Error::Stopped) } else { Ok(()) }
    }

    /// Waits for a command to start, and leaves it to be [taken](Self::started).
    pub async fn start_wanted(&self) {
        self.until(|wanted| wanted.start).await;
    }

    /// What is running need not be started.
    pub fn started(&self) {
        self.0.send_modify(|wanted| wanted.start = false);
    }

    /// The task waits for its time, or to be confirmed, from now on.
    pub fn rests(&self) {
        self.0.send_modify(|wanted| wanted.resting = true);
    }

    /// The task is at work, or waits for what no command to start brings about; its status says so.
    pub fn is_up(&self) {
        self.0.send_if_modified(|wanted| std::mem::take(&mut wanted.resting));
    }

    /// One worker works for as long as it holds this.
    pub fn at_work(&self) -> AtWork<'_> {
        self.0.send_modify(|wanted| wanted.at_work += 1);
        AtWork(self)
    }

    async fn until(&self, holds: impl FnMut(&Orders) -> bool) {
        // The sender lives as long as `self`.
        let _ = self.0.subscribe().wait_for(holds).await;
    }
}

/// A worker that a pause waits for.
pub(crate) struct AtWork<'a>(&'a Control);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.0.send_modify(|wanted| wanted.at_work -= 1);
    }
}

/// Does all the work of a task's actor, says how it ended to whoever waits for that, and stops the actor.
pub(super) fn work_to_end<A: Actor<Context = Context<A>>>(
    ctx: &mut Context<A>,
    ended: Option<oneshot::Sender<Result<()>>>,
    work: impl Future<Output = Result<()>> + 'static,
) {
    ctx.spawn(fut::wrap_future::<_, A>(work).map(|result, _, ctx| {
        // An engine that has gone needs no answer.
        let _ = ended.map(|ended| ended.send(result));
        ctx.stop();
    }));
}
