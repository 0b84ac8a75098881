//! The Checkpointer: the only writer of the state.
//!
//! Owns the [`StateWriter`], and answers every message at once, on a thread of its own (the engine gives it
//! an arbiter). It asks for no slice and waits for nobody: whoever sends it work holds the slice, and charges it with what
//! the answer says it has cost. For commits after every bucket it lends the writer to the threads that fold.

use actix::prelude::*;

use super::guard::ActorGuard;
use super::messages::{
    AtWriter, Batch, CarryOut, ClaimPrefixes, Claimed, Committed, Deliver, Ran, ReleaseClaims, Stop, Tidy, TidyDone,
};
use crate::clock::Time;
use crate::error::Result;
use crate::settings::Order;
use crate::state::StateWriter;

/// The actor that keeps the state.
pub struct Checkpointer {
    writer: StateWriter,
    time: Time,
    _guard: ActorGuard,
}

impl Checkpointer {
    pub(crate) fn new(writer: StateWriter, time: Time, guard: ActorGuard) -> Self {
        Checkpointer { writer, time, _guard: guard }
    }
}

impl Actor for Checkpointer {
    type Context = Context<Self>;
}

impl Handler<ClaimPrefixes> for Checkpointer {
    type Result = Claimed;

    fn handle(&mut self, msg: ClaimPrefixes, _: &mut Self::Context) -> Self::Result {
        let before = self.time.meter.thread_cost();
        let result = self.writer.with(|state| match msg.order {
            Order::Ring => state.claim(&msg.cycle, msg.most),
            Order::OldestFirst => state.claim_oldest(&msg.cycle, msg.most),
        });
        Claimed { result, cost: self.time.meter.thread_cost().saturating_sub(before) }
    }
}

impl Handler<Batch> for Checkpointer {
    type Result = Committed;

    fn handle(&mut self, batch: Batch, _: &mut Self::Context) -> Self::Result {
        let before = self.time.meter.thread_cost();
        let result = self.writer.with(|state| state.commit(&batch.cycle, &batch.progress, batch.at));
        let cost = self.time.meter.thread_cost().saturating_sub(before);
        Committed { batch, result, cost }
    }
}

impl Handler<AtWriter> for Checkpointer {
    type Result = Result<()>;

    fn handle(&mut self, AtWriter(work): AtWriter, _: &mut Self::Context) -> Self::Result {
        self.writer.with(|state| {
            work(state);
            Ok(())
        })
    }
}

impl Handler<ReleaseClaims> for Checkpointer {
    type Result = Result<()>;

    fn handle(&mut self, msg: ReleaseClaims, _: &mut Self::Context) -> Self::Result {
        self.writer.with(|state| state.release(&msg.cycle, &msg.claims))
    }
}

impl Handler<Deliver> for Checkpointer {
    type Result = Result<()>;

    fn handle(&mut self, Deliver(cycle): Deliver, _: &mut Self::Context) -> Self::Result {
        self.writer.with(|state| state.deliver(&cycle))
    }
}

impl Handler<CarryOut> for Checkpointer {
    type Result = Result<()>;

    fn handle(&mut self, msg: CarryOut, _: &mut Self::Context) -> Self::Result {
        self.writer.with(|state| state.carry_out(&msg.cycle, msg.consent, msg.at))
    }
}

impl Handler<Ran> for Checkpointer {
    type Result = Result<()>;

    fn handle(&mut self, msg: Ran, _: &mut Self::Context) -> Self::Result {
        self.writer.with(|state| state.ran(&msg.maintenance, &msg.run))
    }
}

impl Handler<Tidy> for Checkpointer {
    type Result = TidyDone;

    fn handle(&mut self, Tidy(step): Tidy, _: &mut Self::Context) -> Self::Result {
        let (since, before) = (self.time.clock.now(), self.time.meter.thread_cost());
        let result = self.writer.with(|state| state.tidy(&step));
        let cost = self.time.meter.thread_cost().saturating_sub(before);
        TidyDone { result, took: self.time.clock.now().saturating_sub(since), cost }
    }
}

impl Handler<Stop> for Checkpointer {
    type Result = ();

    /// Closes the state: when this is answered, another process may open it.
    fn handle(&mut self, _: Stop, _: &mut Self::Context) {
        self.writer.close();
    }
}
