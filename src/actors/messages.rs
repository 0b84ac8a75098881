//! Every message between actors, as a table: who is asked, what for, and what comes back.
//!
//! | to | message | answer |
//! |---|---|---|
//! | Governor | [`SliceRequest`] | in time, a [`TimeSlice`] |
//! | Governor | [`SliceSpent`](crate::slice::SliceSpent) | |
//! | Governor | [`SetBudget`], [`SetSlots`], [`Pause`], [`Resume`] | |
//! | Governor | `Join`, [`Leave`] | |
//! | PrefixLister | [`NextListing`] | [`Listing`], with the slice |
//! | Checkpointer | [`ClaimPrefixes`] | [`Claimed`] |
//! | Checkpointer | [`Batch`] | [`Committed`] |
//! | Checkpointer | [`AtWriter`], [`ReleaseClaims`], [`Deliver`] | |
//! | Checkpointer | [`CarryOut`] | |
//! | Checkpointer | [`Ran`] | |
//! | Checkpointer | [`Tidy`] | [`TidyDone`] |
//! | BucketProcessor, Cleaner | [`Command`](super::Command) | when it has taken effect |
//! | Upkeep | [`Stop`] | |
//!
//! Buckets travel in listings, never one a message.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::error::{Error, Result};
use crate::job::{Candidate, Counts};
use crate::model::Subscribers;
use crate::policy::cycle::{self, CycleIdentity, CycleKey, KnownCycle};
use crate::settings::{BudgetSettings, Order};
use crate::slice::{EngineId, TimeSlice};
use crate::state::{Claim, Consent, CycleStanding, LastRun, PrefixProgress, StateStore, Tidied, TidyStep};
use crate::store::{Names, Store};

/// Asks for a slice, which comes when it is the client's turn and the budget allows it. See [`SlicePort::slice`].
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct SliceRequest {
    /// Who asks; its requests share one account.
    pub client: Arc<str>,
    /// For which engine, if it is for one.
    pub engine: Option<EngineId>,
    /// How large a part of the budget the client gets beside others: twice the weight, twice the part. Usual: 1.
    pub weight: f64,
    /// Where the slice goes. Whoever drops the other end has withdrawn the request.
    pub reply: oneshot::Sender<Result<TimeSlice>>,
}

/// Where slices are asked for, on behalf of an engine or of nobody.
#[derive(Clone)]
pub struct SlicePort {
    pub(crate) governor: Recipient<SliceRequest>,
    pub(crate) engine: Option<EngineId>,
}

impl SlicePort {
    /// Asks the governor and waits for the slice. Dropping the future withdraws the request.
    ///
    /// # Errors
    /// [`Error::Stopped`] if the engine is going down.
    pub async fn slice(&self, client: Arc<str>, weight: f64) -> Result<TimeSlice> {
        let (reply, slice) = oneshot::channel();
        self.governor.send(SliceRequest { client, engine: self.engine, weight, reply }).await?;
        slice.await.unwrap_or(Err(Error::Stopped))
    }
}

/// Brings an engine under the governor.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Join {
    pub engine: EngineId,
    pub workers: u32,
    /// Who is told of its slices.
    pub subscribers: Arc<Subscribers>,
}

/// Ends an engine under the governor: its slices that are out end after the running unit, its requests fail with
/// [`Error::Stopped`].
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Leave(pub EngineId);

/// Changes the budget from now on. Sleepers wake and wait anew; nothing is saved up by it.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct SetBudget(pub BudgetSettings);

/// Lets no further slice begin, for this engine or for anybody; those that are out end after the running unit. Answered when
/// none is out any more, or the pause is over.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Pause(pub Option<EngineId>);

/// Ends the pause of this engine, or that of everybody. What was owed was worked off meanwhile; nothing was saved up.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Resume(pub Option<EngineId>);

/// Ends for good.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Stop;

/// Changes how many slices may be out at once: the number of workers in an engine.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct SetSlots(pub EngineId, pub u32);

/// A prefix that a worker has claimed and wants to have listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListingRequest {
    /// Position in the ring.
    pub position: u32,
    /// Names up to this one are left out.
    pub after: Option<Vec<u8>>,
}

/// Asks for the first of the wanted prefixes, and for as many of the next as make a good batch.
#[derive(Debug, Message)]
#[rtype(result = "Listing<S>")]
pub struct NextListing<S: Store> {
    /// The cycle; listings are not kept beyond it.
    pub cycle: u64,
    /// All prefixes that the worker still has to list, in ring order. What is not answered now is read ahead.
    pub wanted: Vec<ListingRequest>,
    /// The slice under which it is done.
    pub slice: TimeSlice,
    pub store: std::marker::PhantomData<fn() -> S>,
}

/// The first wanted prefixes, in order. None when the slice ended before the first was complete: ask again under the
/// next slice, the listing goes on where it was.
#[derive(Debug)]
pub struct Listing<S: Store> {
    /// The prefixes.
    pub ready: Vec<ListedPrefix<S>>,
    /// The slice, back again.
    pub slice: TimeSlice,
}

/// One listed prefix.
pub struct ListedPrefix<S: Store> {
    /// Position in the ring.
    pub position: u32,
    /// What is in it.
    pub contents: Contents<S>,
    /// Where candidates are carried out: those among the names, which are a part of what is in it.
    pub candidates: Option<CandidatePage>,
}

/// Some of the candidates of a prefix.
#[derive(Debug)]
pub struct CandidatePage {
    /// The candidates, in byte order.
    pub candidates: Vec<Candidate>,
    /// Whether there are no more behind them.
    pub is_last: bool,
}

/// What a prefix holds.
pub enum Contents<S: Store> {
    /// It does not exist: nothing.
    Nothing,
    /// Names, and the open prefix to open them from.
    Names {
        /// The open prefix.
        open: S::Prefix,
        /// Its names, in byte order.
        names: Names,
    },
    /// It is there and cannot be listed.
    Unlistable(io::Error),
    /// It has more names than are listed at once, and all up to this one were visited.
    Later {
        /// That name; greater ones are listed in another pass.
        after: Vec<u8>,
    },
}

impl<S: Store> std::fmt::Debug for ListedPrefix<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ListedPrefix").field("position", &self.position).finish_non_exhaustive()
    }
}

/// What the cycle to be opened is identified by.
#[derive(Debug, Clone)]
pub struct WantedCycle {
    /// [`Store::identity`].
    pub store: String,
    /// [`Job::name`](crate::job::Job::name).
    pub job: String,
    /// [`Job::parameters`](crate::job::Job::parameters).
    pub parameters: Value,
    /// The prefixes of the ring, in order.
    pub ring: Arc<[String]>,
    /// The moment that counts as now, if it was given.
    pub now: Option<f64>,
    /// Names beside the ring.
    pub not_in_ring: u64,
    /// Paths of the first of them.
    pub stray_paths: Vec<String>,
    /// Whether there are names and none is a prefix.
    pub no_prefix: bool,
    /// [`Job::rehearses_first`](crate::job::Job::rehearses_first).
    pub rehearses_first: bool,
}

impl WantedCycle {
    /// As the policy compares it.
    pub fn wanted(&self) -> cycle::WantedIdentity<'_> {
        let WantedCycle { store, job, parameters, ring, now, .. } = self;
        cycle::WantedIdentity { store, job, parameters, ring, now: *now }
    }

    /// Whether it is to be rehearsed, the newest cycle being this.
    pub fn is_to_rehearse(&self, latest: Option<&KnownCycle>) -> bool {
        self.rehearses_first && !cycle::is_confirmed(latest, &self.wanted())
    }

    /// As it is frozen in a cycle that begins at this moment of the wall clock, after the newest one there is. Here it is
    /// decided whether the cycle is a rehearsal: what was not confirmed is rehearsed, whoever begins it.
    pub fn identity(&self, at: f64, latest: Option<&KnownCycle>) -> CycleIdentity {
        CycleIdentity {
            store: self.store.clone(),
            job: self.job.clone(),
            parameters: self.parameters.clone(),
            ring: self.ring.clone(),
            now: self.now.unwrap_or(at),
            fixed_clock: self.now.is_some(),
            not_in_ring: self.not_in_ring,
            stray_paths: self.stray_paths.clone(),
            no_prefix: self.no_prefix,
            rehearsal: self.is_to_rehearse(latest).into(),
        }
    }
}

/// The cycle to work on.
#[derive(Debug)]
pub struct OpenedCycle {
    pub cycle: KnownCycle,
    /// How it came.
    pub origin: Origin,
    /// What was saved of it so far; empty if it is new.
    pub saved: Vec<SavedPrefix>,
}

/// How far a prefix had come.
#[derive(Debug, Clone)]
pub struct SavedPrefix {
    /// Its position in the ring.
    pub prefix: u32,
    /// Whether it is complete.
    pub done: bool,
    /// The last bucket that counts.
    pub cursor: Option<Vec<u8>>,
    /// What was counted up to it.
    pub counts: Counts,
}

/// Where the cycle to work on came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It begins.
    Begun,
    /// It goes on.
    Resumed,
    /// It is finished; only its report is missing.
    Undelivered,
}

/// Claims prefixes to work on. The sender holds the slice and charges it with [`Claimed::cost`].
#[derive(Debug, Clone, Message)]
#[rtype(result = "Claimed")]
pub struct ClaimPrefixes {
    pub cycle: CycleKey,
    /// How many at most.
    pub most: u32,
    /// Which first.
    pub order: Order,
}

/// What was claimed.
#[derive(Debug, MessageResponse)]
pub struct Claimed {
    /// The claims, none when nothing is left.
    pub result: Result<Vec<Claim>>,
    /// What it has cost, by the meter of the checkpointer's thread.
    pub cost: Duration,
}

/// Progress of any number of prefixes, with all that belongs to it: saved whole or not at all, and answered at once. The
/// sender holds the slice and charges it with [`Committed::cost`].
#[derive(Debug, Message)]
#[rtype(result = "Committed")]
pub struct Batch {
    pub cycle: CycleKey,
    /// What to save, one entry per prefix.
    pub progress: Vec<PrefixProgress>,
    /// The wall clock, in seconds since 1970.
    pub at: f64,
}

/// What became of a batch.
#[derive(Debug, MessageResponse)]
pub struct Committed {
    /// What was to be saved, back again.
    pub batch: Batch,
    /// How the cycle stands, or why nothing was saved.
    pub result: Result<CycleStanding>,
    /// What it has cost, by the meter of the checkpointer's thread.
    pub cost: Duration,
}

/// What is to be done with the state.
pub type StateWork = dyn FnOnce(&mut dyn StateStore) + Send;

/// Work with the state for a thread that may take no lock of a database.
#[derive(Message)]
#[rtype(result = "Result<()>")]
pub struct AtWriter(pub Box<StateWork>);

/// Gives claims back.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<()>")]
pub struct ReleaseClaims {
    pub cycle: CycleKey,
    /// Prefix and fence of each.
    pub claims: Vec<(u32, u64)>,
}

/// Notes that the report of a cycle was handed over.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<()>")]
pub struct Deliver(pub CycleKey);

/// Lets a cycle carry out what it has shown.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<()>")]
pub struct CarryOut {
    pub cycle: CycleKey,
    /// By what right.
    pub consent: Consent,
    /// The wall clock, in seconds since 1970.
    pub at: f64,
}

/// Notes how a run of a maintenance has ended.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<()>")]
pub struct Ran {
    pub maintenance: String,
    /// How it ended.
    pub run: LastRun,
}

/// Asks for one small step of what keeps the state in order. The sender holds the slice, unless it only looks, and
/// charges it with [`TidyDone::cost`].
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "TidyDone")]
pub struct Tidy(pub TidyStep);

/// What became of such a step.
#[derive(Debug, MessageResponse)]
pub struct TidyDone {
    /// What it has done, or why nothing.
    pub result: Result<Tidied>,
    /// How long it held up everybody else.
    pub took: Duration,
    /// What it has cost, by the meter of the checkpointer's thread.
    pub cost: Duration,
}

/// What a mailbox that is closed means: the engine is going down.
impl From<MailboxError> for Error {
    fn from(_: MailboxError) -> Self {
        Error::Stopped
    }
}
