//! The Checkpointer: the only writer of the state.
//!
//! Owns the [`Writer`], and answers every message at once, on a thread of its own (the engine gives it
//! an arbiter). It asks for no slice and waits for nobody: whoever sends it work holds the slice, and charges it with what
//! the answer says it has cost. For commits after every bucket it lends the writer to the threads that fold.

use actix::prelude::*;

use super::guard::Guard;
use super::messages::{
    AtWriter, Batch, CarryOut, ClaimPrefixes, Committed, DamagedBy, Deliver, FinishedCycles, LastRunOf, LatestCycle,
    OpenCycle, Opened, Origin, Ran, ReadCycle, ReadPrefixes, ReleaseClaims, SavedPrefix, Stop, Tidy, TidyDone,
};
use crate::clock::Time;
use crate::error::{Error, Result};
use crate::job::{Counts, NoteKind};
use crate::policy::cycle::{Cycle, Decision, decide};
use crate::settings::Order;
use crate::state::{Claim, CycleRows, LastRun, PrefixRow, StateStore, Writer, each_prefix};
use crate::store::STRAYS_NAMED;

/// The actor that keeps the state.
pub struct Checkpointer {
    writer: Writer,
    time: Time,
    _guard: Guard,
}

impl Checkpointer {
    pub(crate) fn new(writer: Writer, time: Time, guard: Guard) -> Self {
        Checkpointer { writer, time, _guard: guard }
    }
}

impl Actor for Checkpointer {
    type Context = Context<Self>;
}

impl Handler<OpenCycle> for Checkpointer {
    type Result = Result<Opened>;

    fn handle(&mut self, msg: OpenCycle, _: &mut Self::Context) -> Self::Result {
        self.writer.with(|state| open(state, &msg))
    }
}

impl Handler<LatestCycle> for Checkpointer {
    type Result = Result<Option<Cycle>>;

    fn handle(&mut self, LatestCycle(crawl): LatestCycle, _: &mut Self::Context) -> Self::Result {
        self.writer.with(|state| state.latest(&crawl))
    }
}

impl Handler<FinishedCycles> for Checkpointer {
    type Result = Result<Vec<Cycle>>;

    fn handle(&mut self, FinishedCycles(crawl): FinishedCycles, _: &mut Self::Context) -> Self::Result {
        self.writer.with(|state| state.finished(&crawl))
    }
}

impl Handler<ClaimPrefixes> for Checkpointer {
    type Result = Result<Vec<Claim>>;

    fn handle(&mut self, msg: ClaimPrefixes, _: &mut Self::Context) -> Self::Result {
        self.writer.with(|state| match msg.order {
            Order::Ring => state.claim(&msg.cycle, msg.most),
            Order::OldestFirst => state.claim_oldest(&msg.cycle, msg.most),
        })
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

impl Handler<ReadCycle> for Checkpointer {
    type Result = Result<CycleRows>;

    fn handle(&mut self, msg: ReadCycle, _: &mut Self::Context) -> Self::Result {
        self.writer.with(|state| read(state, &msg))
    }
}

impl Handler<ReadPrefixes> for Checkpointer {
    type Result = Result<Vec<PrefixRow>>;

    fn handle(&mut self, msg: ReadPrefixes, _: &mut Self::Context) -> Self::Result {
        self.writer.with(|state| state.prefixes(&msg.cycle, msg.from))
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

impl Handler<DamagedBy> for Checkpointer {
    type Result = Result<u64>;

    fn handle(&mut self, msg: DamagedBy, _: &mut Self::Context) -> Self::Result {
        self.writer.with(|state| state.damaged(&msg.store, &msg.job))
    }
}

impl Handler<LastRunOf> for Checkpointer {
    type Result = Result<Option<LastRun>>;

    fn handle(&mut self, LastRunOf(maintenance): LastRunOf, _: &mut Self::Context) -> Self::Result {
        self.writer.with(|state| state.last_run(&maintenance))
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

/// Finds the cycle to work on, or begins one.
fn open(state: &mut dyn StateStore, msg: &OpenCycle) -> Result<Opened> {
    let latest = state.latest(&msg.crawl)?;
    let identity = msg.wanted.identity(msg.at, latest.as_ref());
    let (cycle, origin) = match (decide(latest.as_ref(), &msg.wanted.wanted(), msg.fresh), latest) {
        (Decision::Resume, Some(cycle)) => {
            // One crawl of a name runs at a time: whoever held them has ended, and could perhaps not give them back.
            state.release_all(&cycle.key())?;
            finish_if_empty(state, &cycle, msg.at)?;
            (cycle, Origin::Resumed)
        }
        (Decision::Deliver, Some(cycle)) => (cycle, Origin::Undelivered),
        (Decision::Refuse(differences), Some(cycle)) => {
            return Err(Error::CycleDiffers { crawl: msg.crawl.clone(), cycle: cycle.number, differences });
        }
        (_, _) => {
            let cycle = state.begin(&msg.crawl, &identity, msg.at)?;
            finish_if_empty(state, &cycle, msg.at)?;
            return Ok(Opened { cycle, origin: Origin::Begun, saved: Vec::new() });
        }
    };
    let mut saved = Vec::new();
    each_prefix(state, &cycle.key(), |PrefixRow { prefix, done, cursor, tally }| {
        let counts = tally.map_or_else(|| Ok(Counts::default()), |tally| Counts::of_saved(&tally));
        let counts = counts.map_err(|cause| Error::Tally { crawl: msg.crawl.clone(), cause })?;
        saved.push(SavedPrefix { prefix, done, cursor, counts });
        Ok(())
    })?;
    Ok(Opened { cycle, origin, saved })
}

/// Where there is no prefix, no commit ends the cycle.
fn finish_if_empty(state: &mut dyn StateStore, cycle: &Cycle, at: f64) -> Result<()> {
    if cycle.identity.ring.is_empty() { state.finish(&cycle.key(), at) } else { Ok(()) }
}

/// Reads what was saved of a cycle beside the tallies: the newest, or one that is finished and kept.
fn read(state: &mut dyn StateStore, msg: &ReadCycle) -> Result<CycleRows> {
    let wanted = |c: &Cycle| c.number == msg.cycle.number;
    let cycle = match state.latest(&msg.cycle.crawl)?.filter(wanted) {
        Some(latest) => latest,
        None => state.finished(&msg.cycle.crawl)?.into_iter().find(wanted).ok_or(Error::Stopped)?,
    };
    Ok(CycleRows {
        cycle,
        findings: state.notes(&msg.cycle, NoteKind::Finding, u64::MAX)?,
        errors: state.notes(&msg.cycle, NoteKind::Error, msg.errors_limit)?,
        strays: state.notes(&msg.cycle, NoteKind::Stray, STRAYS_NAMED as u64)?,
    })
}
