//! The Checkpointer: the only writer of the state.
//!
//! Owns a [`StateStore`] and answers every message at once, on a thread of its own that the engine gives it, since
//! a commit takes some 20 microseconds and a hop between threads six. It asks for no slice and waits for nobody: whoever
//! sends it work holds the slice, and charges it with what the answer says it has cost.

use std::sync::Arc;

use actix::prelude::*;

use super::guard::Guard;
use crate::checkpoint::{Claim, Cycle, StateStore};
use crate::clock::CostMeter;
use crate::error::{Error, Result};
use crate::job::NoteKind;
use crate::messages::{
    ClaimPrefixes, Commit, Committed, CycleRows, Deliver, LatestCycle, OpenCycle, Opened, Origin, ReadCycle,
    ReleaseClaims, Stop,
};
use crate::policy::cycle::{Decision, decide};

/// The actor that keeps the state.
pub struct Checkpointer {
    /// `None` once it was closed.
    state: Option<Box<dyn StateStore>>,
    meter: Arc<dyn CostMeter>,
    _guard: Guard,
}

impl Checkpointer {
    pub(crate) fn new(state: Box<dyn StateStore>, meter: Arc<dyn CostMeter>, guard: Guard) -> Self {
        Checkpointer { state: Some(state), meter, _guard: guard }
    }

    fn state(&mut self) -> Result<&mut dyn StateStore> {
        self.state.as_deref_mut().ok_or(Error::Stopped)
    }

    fn open(&mut self, msg: &OpenCycle) -> Result<Opened> {
        let latest = self.state()?.latest(&msg.crawl)?;
        match (decide(latest.as_ref(), &msg.wanted.wanted(), msg.fresh), latest) {
            (Decision::Resume, Some(cycle)) => {
                self.finish_if_empty(&cycle, msg.at)?;
                self.opened(cycle, Origin::Resumed)
            }
            (Decision::Deliver, Some(cycle)) => self.opened(cycle, Origin::Undelivered),
            (Decision::Refuse(differences), Some(cycle)) => {
                Err(Error::CycleDiffers { crawl: msg.crawl.clone(), cycle: cycle.number, differences })
            }
            (_, _) => {
                let cycle = self.state()?.begin(&msg.crawl, &msg.wanted.identity(msg.at), msg.at)?;
                self.finish_if_empty(&cycle, msg.at)?;
                Ok(Opened { cycle, origin: Origin::Begun, rows: Vec::new() })
            }
        }
    }

    /// Where there is no prefix, no commit ends the cycle.
    fn finish_if_empty(&mut self, cycle: &Cycle, at: f64) -> Result<()> {
        if cycle.identity.ring.is_empty() { self.state()?.finish(&cycle.key(), at) } else { Ok(()) }
    }

    fn opened(&mut self, cycle: Cycle, origin: Origin) -> Result<Opened> {
        let rows = self.state()?.prefixes(&cycle.key())?;
        Ok(Opened { cycle, origin, rows })
    }

    fn read(&mut self, msg: &ReadCycle) -> Result<CycleRows> {
        let latest = self.state()?.latest(&msg.cycle.crawl)?;
        let cycle = latest.filter(|c| c.number == msg.cycle.number).ok_or(Error::Stopped)?;
        Ok(CycleRows {
            cycle,
            prefixes: self.state()?.prefixes(&msg.cycle)?,
            findings: self.state()?.notes(&msg.cycle, NoteKind::Finding, u64::MAX)?,
            errors: self.state()?.notes(&msg.cycle, NoteKind::Error, msg.errors_limit)?,
        })
    }
}

impl Actor for Checkpointer {
    type Context = Context<Self>;
}

impl Handler<OpenCycle> for Checkpointer {
    type Result = Result<Opened>;

    fn handle(&mut self, msg: OpenCycle, _: &mut Self::Context) -> Self::Result {
        self.open(&msg)
    }
}

impl Handler<LatestCycle> for Checkpointer {
    type Result = Result<Option<Cycle>>;

    fn handle(&mut self, LatestCycle(crawl): LatestCycle, _: &mut Self::Context) -> Self::Result {
        self.state()?.latest(&crawl)
    }
}

impl Handler<ClaimPrefixes> for Checkpointer {
    type Result = Result<Vec<Claim>>;

    fn handle(&mut self, msg: ClaimPrefixes, _: &mut Self::Context) -> Self::Result {
        self.state()?.claim(&msg.cycle, msg.most)
    }
}

impl Handler<Commit> for Checkpointer {
    type Result = Committed;

    fn handle(&mut self, msg: Commit, _: &mut Self::Context) -> Self::Result {
        let before = self.meter.thread_cost();
        let result = self.state().and_then(|state| state.commit(&msg.cycle, &msg.progress, msg.at));
        let cost = self.meter.thread_cost().saturating_sub(before);
        Committed { result, progress: msg.progress, cost }
    }
}

impl Handler<ReleaseClaims> for Checkpointer {
    type Result = Result<()>;

    fn handle(&mut self, msg: ReleaseClaims, _: &mut Self::Context) -> Self::Result {
        self.state()?.release(&msg.cycle, &msg.claims)
    }
}

impl Handler<ReadCycle> for Checkpointer {
    type Result = Result<CycleRows>;

    fn handle(&mut self, msg: ReadCycle, _: &mut Self::Context) -> Self::Result {
        self.read(&msg)
    }
}

impl Handler<Deliver> for Checkpointer {
    type Result = Result<()>;

    fn handle(&mut self, Deliver(cycle): Deliver, _: &mut Self::Context) -> Self::Result {
        self.state()?.deliver(&cycle)
    }
}

impl Handler<Stop> for Checkpointer {
    type Result = ();

    /// Closes the state: when this is answered, another process may open it.
    fn handle(&mut self, _: Stop, _: &mut Self::Context) {
        self.state = None;
    }
}
