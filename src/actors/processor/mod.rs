//! The BucketProcessor: runs one crawl, cycle after cycle, with one or several workers.
//!
//! Owns the job, the tallies in hand and the cursors. The way of a bucket, from disk to checkpoint:
//! [`worker`] gets a slice and a listing, [`hand`] folds the buckets on a blocking thread, [`settle`] carries out what is to
//! be changed, [`worker`] commits and settles. A cycle that would delete something is examined first and [judged](judging) as a
//! whole, and then walks over its [candidates](self::candidates) once more.
//! This file holds what happens round a cycle: waiting for its start, opening it, reporting it.

mod candidates;
mod confirm;
mod crawl;
mod hand;
mod judging;
mod opening;
mod past;
mod save;
mod settle;
mod steps;
mod work;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::oneshot;
use tracing::info;

use super::Life;
use super::control::{Command, work_to_end};
use super::guard::ActorGuard;
use super::messages::{Batch, CarryOut, ClaimPrefixes, NextListing, OpenedCycle, Origin, ReleaseClaims, SlicePort};
use crate::error::{Error, Result};
use crate::job::Job;
use crate::model::{Event, TaskState, WorkerState};
use crate::policy::cycle::{CycleKey, LastEnd, Moment, next_start};
use crate::state::StateReader;
use crate::store::Store;

pub(crate) use crawl::CrawlTask;
use opening::{open, report};
pub(crate) use save::WriterPort;
use steps::Steps;
use work::CycleWork;
use worker::Worker;

/// Where a crawl sends its messages.
#[derive(Clone)]
pub(crate) struct Ports {
    pub slices: SlicePort,
    pub reader: Arc<dyn StateReader>,
    pub claim: Recipient<ClaimPrefixes>,
    pub commit: Recipient<Batch>,
    /// For commits in mid-slice, on the folding thread.
    pub writer: WriterPort,
    pub release: Recipient<ReleaseClaims>,
    pub carry_out: Recipient<CarryOut>,
}

/// How many cycles an engine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cycles {
    /// One, at once, without slow start; its report counts as handed over when
    /// [`EngineHandle::deliver`](crate::engine::EngineHandle::deliver) says so. Until then the same call gives the same
    /// report again.
    Once,
    /// So many, each when its time has come.
    Times(u64),
    /// Until it is stopped.
    Forever,
}

/// The actor that runs one crawl.
pub struct BucketProcessor<S: Store, J: Job<S>> {
    crawl: Arc<CrawlTask<S, J>>,
    lister: Recipient<NextListing<S>>,
    ended: Option<oneshot::Sender<Result<()>>>,
    _guard: ActorGuard,
}

impl<S: Store, J: Job<S>> BucketProcessor<S, J> {
    pub(crate) fn new(
        crawl: Arc<CrawlTask<S, J>>,
        lister: Recipient<NextListing<S>>,
        ended: oneshot::Sender<Result<()>>,
        guard: ActorGuard,
    ) -> Self {
        BucketProcessor { crawl, lister, ended: Some(ended), _guard: guard }
    }
}

impl<S: Store, J: Job<S>> Actor for BucketProcessor<S, J> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let (crawl, lister) = (self.crawl.clone(), self.lister.clone());
        let run = async move {
            let result = run(&crawl, &lister).await;
            crawl.ended(&result);
            crawl.control.is_up();
            result
        };
        work_to_end(ctx, self.ended.take(), run);
    }
}

impl<S: Store, J: Job<S>> Handler<Command> for BucketProcessor<S, J> {
    type Result = ResponseFuture<Result<()>>;

    fn handle(&mut self, command: Command, _: &mut Self::Context) -> Self::Result {
        let crawl = self.crawl.clone();
        match command {
            Command::SetMinimumCycleTime(time) => drop(crawl.minimum_cycle_time.send_replace(time)),
            Command::SetWeight(weight) => drop(crawl.weight.send_replace(weight)),
            Command::Confirm { cycle, objects } => {
                return Box::pin(async move { confirm::take(&crawl, cycle, objects).await });
            }
            Command::Pause => crawl.show(|c| c.held = true),
            Command::Start | Command::Resume => crawl.show(|c| c.held = false),
            Command::Stop => {}
        }
        Box::pin(async move {
            crawl.control.take(command).await;
            Ok(())
        })
    }
}

/// Runs cycles until there are enough, or the engine stops, which is no error if it was asked for.
async fn run<S: Store, J: Job<S>>(crawl: &Arc<CrawlTask<S, J>>, lister: &Recipient<NextListing<S>>) -> Result<()> {
    match cycles(crawl, lister).await {
        Err(Error::Stopped) if crawl.control.is_stopped() => Ok(()),
        ended => ended,
    }
}

async fn cycles<S: Store, J: Job<S>>(crawl: &Arc<CrawlTask<S, J>>, lister: &Recipient<NextListing<S>>) -> Result<()> {
    let started = crawl.time.clock.now();
    tell_damage(crawl).await?;
    let (mut cycles, mut last, mut at_once) = (0, last_end(crawl).await?, false);
    if crawl.life == Life::UntilShutdown {
        // Before the walk adds to it, so that nothing is told twice.
        past::tell(crawl).await?;
    }
    loop {
        if crawl.cycles != Cycles::Once && !std::mem::take(&mut at_once) {
            let jitter = crawl.settings.jitter.mul_f64(fastrand::f64());
            let wait = |minimum_cycle_time| {
                let now = Moment { monotonic: crawl.time.clock.now(), unix_secs: crawl.time.clock.unix_secs() };
                let pace = |time: Duration| time.saturating_add(jitter);
                next_start(started, pace(crawl.settings.slow_start), last, pace(minimum_cycle_time), now)
            };
            let phase = if last == LastEnd::Never { TaskState::SlowStart } else { TaskState::Sleeping };
            crawl.sleep_until_cycle(phase, wait).await?;
        }
        crawl.control.released().await?;
        last = match cycle(crawl, lister).await? {
            Some(end) => end,
            None => {
                // By a command to start, which is followed now.
                crawl.control.started();
                at_once = true;
                continue;
            }
        };
        cycles += 1;
        if crawl.cycles == Cycles::Once || crawl.cycles == Cycles::Times(cycles) {
            return Ok(());
        }
    }
}

/// Shows how many objects are damaged by what the state knows, before anything is walked.
async fn tell_damage<S: Store, J: Job<S>>(crawl: &Arc<CrawlTask<S, J>>) -> Result<()> {
    let (store, job) = (crawl.store.identity(), crawl.job.name().to_owned());
    let of = store.clone();
    let known = Steps::new(crawl, "cycle").read(move |state| state.damaged(&of, &job)).await?;
    crawl.show(|c| c.store = store);
    crawl.shows_damage(known);
    Ok(())
}

/// When the last cycle of an earlier run ended; one that is unfinished need not wait.
async fn last_end<S: Store, J: Job<S>>(crawl: &Arc<CrawlTask<S, J>>) -> Result<LastEnd> {
    if crawl.cycles == Cycles::Once {
        return Ok(LastEnd::Never);
    }
    let name = crawl.settings.name.clone();
    let latest = Steps::new(crawl, "cycle").read(move |state| state.newest(&name)).await?;
    let finished = latest.as_ref().and_then(|cycle| cycle.finished);
    crawl.show(|c| c.first_cycle_finished = finished.is_some() || latest.as_ref().is_some_and(|c| c.number > 0));
    let rehearsing = crawl.is_to_rehearse(latest.as_ref());
    crawl.show(|c| c.rehearsing = rehearsing);
    // What is only to be handed over need not wait.
    let waits = latest.is_some_and(|cycle| cycle.delivered);
    Ok(finished.filter(|_| waits).map_or(LastEnd::Never, LastEnd::Earlier))
}

/// Opens a cycle, works on it to its end, and reports it. `None` if it was given up between its phases, to be begun anew.
async fn cycle<S: Store, J: Job<S>>(
    crawl: &Arc<CrawlTask<S, J>>,
    lister: &Recipient<NextListing<S>>,
) -> Result<Option<LastEnd>> {
    let mut opened = open(crawl).await?;
    let (origin, key) = (opened.origin, opened.cycle.key());
    let begun = crawl.time.clock.now();
    info!(crawl = key.crawl, cycle = key.number, ?origin, "cycle opened");
    let rehearsing = crawl.is_to_rehearse(Some(&opened.cycle));
    crawl.show(|c| {
        c.cycle = Some(key.number);
        c.cycle_started = Some(opened.cycle.started);
        c.rehearsal = None;
        c.rehearsing = rehearsing;
        c.examined_before = opened.cycle.is_examined();
        c.resumed_with = (origin != Origin::Begun).then_some(opened.cycle.done.len() as u32);
    });
    if origin != Origin::Undelivered {
        let resumed = origin == Origin::Resumed;
        let (name, number) = (crawl.settings.name.clone(), key.number);
        crawl.board.emit(|| Event::CycleStarted { crawl: name, cycle: number, resumed });
        loop {
            let work = walk(crawl, lister, &opened).await?;
            match judging::next(crawl, &opened.cycle, &work).await? {
                judging::Next::Report => break,
                judging::Next::CarryOut => opened = open(crawl).await?,
                judging::Next::Anew => {
                    crawl.begin_anew();
                    return Ok(None);
                }
            }
        }
    }
    let end = crawl.time.clock.now();
    let ended = match (origin, opened.cycle.finished) {
        (Origin::Undelivered, Some(finished)) => LastEnd::Earlier(finished),
        _ => LastEnd::Here(end),
    };
    let elapsed = end.saturating_sub(begun);
    let report = Arc::new(report(crawl, (key.clone(), origin), elapsed).await?);
    // Before anybody can see that it has ended: whoever asks for a start from then on means the next one.
    crawl.control.started();
    crawl.control.is_up();
    crawl.board.reported(&crawl.settings.name, report.clone());
    crawl.show(|c| {
        c.first_cycle_finished = true;
        c.since_start.cycles += u64::from(origin != Origin::Undelivered);
    });
    crawl.board.emit(|| Event::CycleFinished(report.clone()));
    if crawl.cycles != Cycles::Once {
        Steps::new(crawl, "cycle").change(move |state| state.deliver(&key)).await?;
    }
    Ok(Some(ended))
}

/// Lets the workers loose on the prefixes that are left, and waits for all of them.
async fn walk<S: Store, J: Job<S>>(
    crawl: &Arc<CrawlTask<S, J>>,
    lister: &Recipient<NextListing<S>>,
    opened: &OpenedCycle,
) -> Result<Arc<CycleWork>> {
    judging::check_job(crawl)?;
    let work = Arc::new(CycleWork::new(crawl, opened));
    crawl.show(|c| c.phase = TaskState::Walking);
    crawl.control.is_up();
    if work.left() == 0 {
        return Ok(work);
    }
    let spawn = |i: u32| {
        let (work, worker) = (work.clone(), Worker::new(crawl.clone(), work.clone(), lister.clone(), i));
        actix_rt::spawn(async move {
            let ended = actix_rt::spawn(worker.run()).await;
            if ended.is_err() {
                // It panicked before it could say so itself: the others must not go on for nothing.
                work.fail();
            }
            ended
        })
    };
    let workers: Vec<_> = (0..crawl.settings.workers).map(spawn).collect();
    let mut result = Ok(());
    for worker in workers {
        let ended = worker.await.and_then(|ended| ended).unwrap_or_else(|panic| {
            Err(Error::ActorPanicked { actor: "bucket processor", message: panic.to_string() })
        });
        // What went wrong first is told; a stop that followed from it is not.
        if matches!(result, Ok(()) | Err(Error::Stopped)) && ended.is_err() {
            result = ended;
        }
    }
    crawl.show(|c| c.workers.fill(WorkerState::Idle));
    (0..crawl.settings.workers).for_each(|i| crawl.board.ring(&crawl.settings.name, |marks| marks.worker(i, None)));
    match (result, work.left()) {
        (Ok(()), left @ 1..) => {
            let CycleKey { crawl, number } = &work.key;
            Err(Error::Unexpected(format!("cycle {number} of {crawl} was left with prefixes to visit ({left})")))
        }
        (result, _) => result.map(|()| work),
    }
}

/// A crawl that is ready to be wired, whatever its store and job.
pub(crate) trait CrawlPlan: Send {
    fn name(&self) -> &str;
    fn workers(&self) -> u32;
    /// Checks its settings.
    fn validate(&self) -> Result<()>;
    /// Starts its actors on the current arbiter.
    fn launch(self: Box<Self>, wiring: &super::Wiring) -> Launched;
}

/// A running crawl or maintenance, as the engine knows it.
pub(crate) struct Launched {
    pub name: String,
    pub commands: Recipient<Command>,
    /// How many slices it may hold at once.
    pub workers: u32,
    pub ended: oneshot::Receiver<Result<()>>,
}
