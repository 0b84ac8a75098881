//! What the workers of one crawl share, and how they reach the state.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::watch;
use tracing::warn;

use super::super::control::Control;
use super::confirm::Awaited;
use super::{Cycles, Ports};
use crate::actors::messages::WantedCycle;
use crate::actors::{Life, Wiring};
use crate::clock::Time;
use crate::error::{Error, Result, Retry};
use crate::job::Job;
use crate::model::{Board, CrawlStatus, Event, TaskState};
use crate::policy::backoff::Backoff;
use crate::policy::cycle::{Fresh, KnownCycle, Moment};
use crate::priority::Working;
use crate::settings::{Checkpoint, CrawlSettings};
use crate::shown;
use crate::store::{Store, Strays};

/// One crawl: what is walked, what is done, and everything that goes with it.
pub(crate) struct CrawlTask<S: Store, J: Job<S>> {
    pub settings: CrawlSettings,
    pub client: Arc<str>,
    pub store: Arc<S>,
    pub job: Arc<J>,
    pub checkpoint: Checkpoint,
    pub cycles: Cycles,
    pub life: Life,
    pub fixed_clock: Option<f64>,
    pub ports: Ports,
    pub time: Time,
    pub working: Working,
    pub board: Arc<Board>,
    pub control: Control,
    /// From the end of a cycle to the start of the next; may change at any time.
    pub minimum_cycle_time: watch::Sender<Duration>,
    /// Its part of the budget; may change at any time.
    pub weight: watch::Sender<f64>,
    /// Whether the next cycle to be opened begins anew.
    begins_anew: AtomicBool,
    /// What it waits to have confirmed.
    pub awaited: watch::Sender<Option<Awaited>>,
    /// What time it was when it was made.
    pub started: Moment,
}

impl<S: Store, J: Job<S>> CrawlTask<S, J> {
    pub fn new(settings: CrawlSettings, store: Arc<S>, job: Arc<J>, wiring: &Wiring) -> Self {
        let Wiring { ports, time, board, checkpoint, cycles, life, fresh, fixed_clock, working, .. } = wiring;
        CrawlTask {
            client: Arc::from(settings.name.as_str()),
            store,
            job,
            checkpoint: *checkpoint,
            cycles: *cycles,
            life: *life,
            begins_anew: AtomicBool::new(*fresh == Fresh::Yes),
            fixed_clock: *fixed_clock,
            ports: ports.clone(),
            time: time.clone(),
            working: *working,
            board: board.clone(),
            control: Control::default(),
            minimum_cycle_time: watch::channel(settings.minimum_cycle_time).0,
            weight: watch::channel(settings.weight).0,
            awaited: watch::channel(None).0,
            started: moment(time),
            settings,
        }
    }

    /// What time it is.
    pub fn moment(&self) -> Moment {
        moment(&self.time)
    }

    /// What its next cycle is to be, with these names beside the ring.
    pub fn wanted(&self, strays: &Strays) -> WantedCycle {
        let root = self.store.path("", None);
        let path = |name: &Vec<u8>| shown::path(&root.join(OsStr::from_bytes(name)));
        WantedCycle {
            store: self.store.identity(),
            job: self.job.name().to_owned(),
            parameters: self.job.parameters(),
            ring: self.store.ring().shared_names(),
            now: self.fixed_clock,
            not_in_ring: strays.count,
            stray_paths: strays.names.iter().map(path).collect(),
            no_prefix: strays.no_prefix,
            rehearses_first: self.job.rehearses_first(),
        }
    }

    /// Whether it is to change nothing before a rehearsal was confirmed, its newest cycle being this.
    pub fn is_to_rehearse(&self, newest: Option<&KnownCycle>) -> bool {
        self.wanted(&Strays::default()).is_to_rehearse(newest)
    }

    /// Its target, if it has one, and what lies between two of its cycles.
    pub fn aim(&self) -> Option<(Duration, Duration)> {
        // Who runs single cycles knows best what lies between them.
        let once = self.cycles == Cycles::Once;
        let between = if once { Duration::ZERO } else { *self.minimum_cycle_time.borrow() };
        self.settings.target.map(|target| (target, between))
    }

    /// Whether the cycle that is opened now begins anew in any case. The user's word for that holds for the first one.
    pub fn is_fresh(&self) -> Fresh {
        if self.begins_anew.swap(false, Ordering::Relaxed) { Fresh::Yes } else { Fresh::No }
    }

    /// Has the next cycle begin anew.
    pub fn begin_anew(&self) {
        self.begins_anew.store(true, Ordering::Relaxed);
    }

    pub fn show(&self, write: impl FnOnce(&mut CrawlStatus)) {
        self.board.crawl(&self.settings.name, write);
    }

    /// Shows how many objects of its store are damaged, in each crawl that judges it likewise.
    pub fn shows_damage(&self, objects: u64) {
        self.board.damaged(&self.store.identity(), self.job.name(), objects);
    }

    /// Sleeps until the next cycle may begin, or a command to start comes; a stop ends it with [`Error::Stopped`].
    ///
    /// `wait` says how long, given the minimum cycle time; it is asked anew when that is changed.
    pub async fn sleep_until_cycle(&self, phase: TaskState, wait: impl Fn(Duration) -> Duration) -> Result<()> {
        let mut minimum = self.minimum_cycle_time.subscribe();
        self.control.rests();
        loop {
            let wait = wait(*minimum.borrow_and_update());
            let at = self.time.clock.now().saturating_add(wait);
            self.show(|c| {
                c.phase = phase;
                c.next_cycle_due = Some(at);
            });
            let slept = tokio::select! {
                slept = self.sleep(wait) => slept,
                // The sender lives as long as the crawl.
                _ = minimum.changed() => continue,
                () = self.control.start_wanted() => Ok(()),
            };
            self.control.started();
            self.show(|c| c.next_cycle_due = None);
            return slept;
        }
    }

    /// Sends a message to the keeper of the state until it is answered with more than "try again".
    pub async fn persist<M, T>(&self, to: &Recipient<M>, message: M) -> Result<T>
    where
        M: Message<Result = Result<T>> + Clone + Send + 'static,
        T: Send + 'static,
    {
        let mut patience = SendPatience::default();
        loop {
            match to.send(message.clone()).await.map_err(gone)? {
                Err(e) if e.retry() == Retry::Helps => self.wait_for(&e, &mut patience).await?,
                answer => {
                    patience.end(self);
                    return answer;
                }
            }
        }
    }

    /// Waits a while for whatever keeps the state from being saved. A stop ends it with that as the error.
    pub async fn wait_for(&self, cause: &Error, patience: &mut SendPatience) -> Result<()> {
        let wait = patience.backoff.failed();
        if !std::mem::replace(&mut patience.told, true) {
            warn!(crawl = self.settings.name, error = %cause, "waiting until the state can be saved");
            self.show(|c| c.waiting_for = Some(cause.to_string()));
            let (crawl, error) = (self.settings.name.clone(), cause.clone());
            self.board.emit(|| Event::Waiting { crawl, error });
            self.control.is_up();
        }
        self.sleep(wait).await.map_err(|_| cause.clone())
    }

    async fn sleep(&self, wait: Duration) -> Result<()> {
        tokio::select! {
            () = self.control.stopped() => Err(Error::Stopped),
            () = tokio::time::sleep(wait) => Ok(()),
        }
    }

    /// Shows how it ended.
    pub fn ended(&self, result: &Result<()>) {
        // An engine that has failed stops its crawls in good order, but that is not how they were meant to end.
        self.show(|c| {
            c.phase = if result.is_ok() && c.error.is_none() { TaskState::Done } else { TaskState::Failed };
            // Nobody waits for it any more.
            c.rehearsal = None;
        });
        if let Err(error) = result {
            self.show(|c| {
                c.error = Some(error.to_string());
                c.failure = Some(error.clone());
            });
            let (crawl, error) = (self.settings.name.clone(), error.clone());
            self.board.emit(|| Event::CrawlFailed { crawl, error });
        }
    }
}

fn moment(time: &Time) -> Moment {
    // The wall clock has not jumped where the machine was suspended.
    Moment { monotonic: time.clock.elapsed(), unix_secs: time.clock.unix_secs() }
}

/// A mailbox that is closed while nobody has asked for the end: its actor has panicked.
pub(super) fn gone(_: MailboxError) -> Error {
    Error::ActorPanicked { actor: "checkpointer", message: "it has gone".to_owned() }
}

/// How long one message has been refused for want of room, and whether that was said.
#[derive(Default)]
pub(crate) struct SendPatience {
    backoff: Backoff,
    told: bool,
}

impl SendPatience {
    /// It went through; says whether it was waited for.
    pub fn end<S: Store, J: Job<S>>(&mut self, crawl: &CrawlTask<S, J>) -> bool {
        let waited = std::mem::replace(&mut self.told, false);
        if waited {
            crawl.show(|c| c.waiting_for = None);
        }
        self.backoff.succeeded();
        waited
    }
}
