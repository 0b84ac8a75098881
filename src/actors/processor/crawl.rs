//! What the workers of one crawl share, and how they reach the state.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::watch;
use tracing::warn;

use super::super::reins::Reins;
use super::{Cycles, Ports};
use crate::checkpoint::{Cycle, CycleKey, Progress};
use crate::clock::Time;
use crate::engine::{Life, Wiring};
use crate::error::{Error, Result, Retry};
use crate::job::{Counts, ErrorNote, Job, NoteKind, PrefixState, Rehearsal, Skipped};
use crate::lock::lock;
use crate::messages::{Opened, WantedCycle};
use crate::policy::backoff::Backoff;
use crate::policy::cycle::{Fresh, Moment, Rehearsed};
use crate::policy::deletion::{Clocks, Excess, Ledger, Toll};
use crate::policy::remaining::RemainingTime;
use crate::policy::ring::{Lap, Ring};
use crate::priority::Working;
use crate::settings::{Checkpoint, CrawlSettings};
use crate::shown;
use crate::status::{Board, CrawlStatus, Event, FindingRow, Phase, RingMarks};
use crate::store::Store;

/// While a worker changes the store, it is asked so often whether it may.
const ASKED_EVERY: Duration = Duration::from_secs(1);

/// Panics of a job in one cycle after which its crawl stops.
const PANICS_TOLERATED: u32 = 2;

/// One crawl: what is walked, what is done, and everything that goes with it.
pub(crate) struct Crawl<S: Store, J: Job<S>> {
    pub settings: CrawlSettings,
    pub client: Arc<str>,
    pub store: Arc<S>,
    pub job: Arc<J>,
    pub checkpoint: Checkpoint,
    pub cycles: Cycles,
    pub life: Life,
    pub fresh: Fresh,
    pub fixed_clock: Option<f64>,
    pub ports: Ports,
    pub time: Time,
    pub working: Working,
    pub board: Arc<Board>,
    pub reins: Reins,
    /// From the end of a cycle to the start of the next; may change at any time.
    pub minimum_cycle_time: watch::Sender<Duration>,
    /// Its part of the budget; may change at any time.
    pub weight: watch::Sender<f64>,
    pub opened: AtomicBool,
    /// The rehearsal that it waits to have confirmed.
    pub awaited: watch::Sender<Option<u64>>,
    /// What time it was when it was made.
    pub started: Moment,
}

impl<S: Store, J: Job<S>> Crawl<S, J> {
    pub fn new(settings: CrawlSettings, store: Arc<S>, job: Arc<J>, wiring: &Wiring) -> Self {
        let Wiring { ports, time, board, checkpoint, cycles, life, fresh, fixed_clock, working, .. } = wiring;
        Crawl {
            client: Arc::from(settings.name.as_str()),
            store,
            job,
            checkpoint: *checkpoint,
            cycles: *cycles,
            life: *life,
            fresh: *fresh,
            fixed_clock: *fixed_clock,
            ports: ports.clone(),
            time: time.clone(),
            working: *working,
            board: board.clone(),
            reins: Reins::new(),
            minimum_cycle_time: watch::channel(settings.minimum_cycle_time).0,
            weight: watch::channel(settings.weight).0,
            opened: AtomicBool::new(false),
            awaited: watch::channel(None).0,
            started: moment(time),
            settings,
        }
    }

    /// What time it is.
    pub fn moment(&self) -> Moment {
        moment(&self.time)
    }

    /// What its next cycle is to be, with so many names beside the ring.
    pub fn wanted(&self, not_in_ring: u64) -> WantedCycle {
        WantedCycle {
            store: self.store.identity(),
            job: self.job.name().to_owned(),
            parameters: self.job.parameters(),
            ring: self.store.ring().names().to_vec(),
            now: self.fixed_clock,
            not_in_ring,
            rehearses_first: self.job.rehearses_first(),
        }
    }

    /// Whether it is to change nothing before a rehearsal was confirmed, its newest cycle being this.
    pub fn is_to_rehearse(&self, newest: Option<&Cycle>) -> bool {
        self.job.rehearses_first() && self.wanted(0).rehearsed(newest) != Rehearsed::Confirmed
    }

    /// Its target, if it has one, and what lies between two of its cycles.
    fn aim(&self) -> Option<(Duration, Duration)> {
        // Who runs single cycles knows best what lies between them.
        let once = self.cycles == Cycles::Once;
        let between = if once { Duration::ZERO } else { *self.minimum_cycle_time.borrow() };
        self.settings.target.map(|target| (target, between))
    }

    /// Whether a cycle was opened in this process before; notes that one is now.
    pub fn opened_before(&self) -> bool {
        self.opened.swap(true, Ordering::Relaxed)
    }

    pub fn show(&self, write: impl FnOnce(&mut CrawlStatus)) {
        self.board.crawl(&self.settings.name, write);
    }

    /// Sleeps until the next cycle may begin, or an order to start comes; a stop ends it with [`Error::Stopped`].
    ///
    /// `wait` says how long, given the minimum cycle time; it is asked anew when that is changed.
    pub async fn sleep_until_cycle(&self, phase: Phase, wait: impl Fn(Duration) -> Duration) -> Result<()> {
        let mut minimum = self.minimum_cycle_time.subscribe();
        loop {
            let wait = wait(*minimum.borrow_and_update());
            let at = self.time.clock.now().saturating_add(wait);
            self.show(|c| {
                c.phase = phase;
                c.next_cycle_at = Some(at);
            });
            let slept = tokio::select! {
                slept = self.sleep(wait) => slept,
                // The sender lives as long as the crawl.
                _ = minimum.changed() => continue,
                () = self.reins.told_to_start() => Ok(()),
            };
            self.show(|c| c.next_cycle_at = None);
            return slept;
        }
    }

    /// Sends a message to the keeper of the state until it is answered with more than "try again".
    pub async fn persist<M, T>(&self, to: &Recipient<M>, message: M) -> Result<T>
    where
        M: Message<Result = Result<T>> + Clone + Send + 'static,
        T: Send + 'static,
    {
        let mut patience = Patience::default();
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
    pub async fn wait_for(&self, cause: &Error, patience: &mut Patience) -> Result<()> {
        let wait = patience.backoff.failed();
        if !std::mem::replace(&mut patience.told, true) {
            warn!(crawl = self.settings.name, error = %cause, "waiting until the state can be saved");
            self.show(|c| c.waiting_for = Some(cause.to_string()));
            let (crawl, error) = (self.settings.name.clone(), cause.clone());
            self.board.emit(|| Event::Waiting { crawl, error });
        }
        self.sleep(wait).await.map_err(|_| cause.clone())
    }

    async fn sleep(&self, wait: Duration) -> Result<()> {
        tokio::select! {
            () = self.reins.stopped() => Err(Error::Stopped),
            () = tokio::time::sleep(wait) => Ok(()),
        }
    }

    /// Shows how it ended.
    pub fn ended(&self, result: &Result<()>) {
        // An engine that has failed stops its crawls in good order, but that is not how they were meant to end.
        self.show(|c| {
            c.phase = if result.is_ok() && c.error.is_none() { Phase::Ended } else { Phase::Failed };
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
pub(crate) struct Patience {
    backoff: Backoff,
    told: bool,
}

impl Patience {
    /// It went through; says whether it was waited for.
    pub fn end<S: Store, J: Job<S>>(&mut self, crawl: &Crawl<S, J>) -> bool {
        let waited = std::mem::replace(&mut self.told, false);
        if waited {
            crawl.show(|c| c.waiting_for = None);
        }
        self.backoff.succeeded();
        waited
    }
}

/// A cycle being worked on.
pub(super) struct CycleWork {
    pub key: CycleKey,
    /// When it began by the clock, in seconds since 1970.
    pub began: f64,
    pub now: f64,
    /// Whether `now` was given rather than read from the clock.
    fixed: bool,
    pub rehearsal: Rehearsal,
    pub ring: Ring,
    pub skipped: Mutex<Arc<Skipped>>,
    panics: AtomicU32,
    course: watch::Sender<Course>,
    /// When the job last said that the store may be changed.
    allowed_at: Mutex<Duration>,
    lap: Mutex<LapView>,
}

/// What the workers of a cycle tell each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Course {
    /// Prefixes are left.
    Going,
    /// All prefixes are complete.
    Done,
    /// One of the workers has failed, so the others stop too.
    Failed,
}

/// How far the cycle has come, for the status.
struct LapView {
    lap: Lap,
    /// Saved cursors of prefixes that are not complete.
    cursors: std::collections::HashMap<u32, Vec<u8>>,
    totals: Counts,
    /// What the safety catch knows of it.
    ledger: Ledger,
    remaining: RemainingTime,
}

impl CycleWork {
    pub fn new<S: Store, J: Job<S>>(crawl: &Crawl<S, J>, opened: &Opened) -> Result<Self> {
        let ring = crawl.store.ring().clone();
        let mut view = LapView {
            lap: Lap::new(ring.len()),
            cursors: std::collections::HashMap::new(),
            totals: Counts::default(),
            ledger: Ledger::default(),
            remaining: RemainingTime::new(crawl.board.allowed()),
        };
        let show_ring = |write: &mut dyn FnMut(&mut RingMarks)| crawl.board.ring(&crawl.settings.name, write);
        show_ring(&mut RingMarks::restart);
        for row in &opened.rows {
            if row.done {
                view.lap.complete(row.prefix);
            } else if let Some(cursor) = &row.cursor {
                view.cursors.insert(row.prefix, cursor.clone());
            }
            if let Some(saved) = &row.tally {
                let state = PrefixState::<J::Tally>::resume(row.prefix, 0, None, saved)
                    .map_err(|cause| Error::Tally { crawl: crawl.settings.name.clone(), cause })?;
                view.totals.merge(&state.notes.counts);
                view.ledger.enter(row.prefix, state.toll());
                let Counts { errors, findings, .. } = state.notes.counts;
                show_ring(&mut |marks| marks.met(row.prefix, errors, findings));
            }
            if row.done {
                // When that was, nobody has written down.
                show_ring(&mut |marks| marks.complete(row.prefix, None));
            }
        }
        let work = CycleWork {
            key: opened.cycle.key(),
            began: opened.cycle.started,
            now: opened.cycle.identity.now,
            fixed: opened.cycle.identity.fixed_clock,
            rehearsal: opened.cycle.identity.rehearsal,
            ring,
            skipped: Mutex::default(),
            panics: AtomicU32::new(0),
            course: watch::channel(Course::Going).0,
            allowed_at: Mutex::default(),
            lap: Mutex::new(view),
        };
        work.show(crawl);
        Ok(work)
    }

    /// How many prefixes are not complete.
    pub fn left(&self) -> u32 {
        let view = lock(&self.lap);
        view.lap.len() - view.lap.completed()
    }

    /// Waits until it is done or has failed.
    pub async fn over(&self) -> Course {
        let mut course = self.course.subscribe();
        // The sender lives as long as `self`.
        course.wait_for(|course| *course != Course::Going).await.map_or(Course::Failed, |course| *course)
    }

    /// What the clocks say.
    pub fn clocks<S: Store, J: Job<S>>(&self, crawl: &Crawl<S, J>) -> Clocks {
        Clocks { started: crawl.started, moment: crawl.moment(), cycle_now: self.now, fixed: self.fixed }
    }

    /// Asks the safety catch whether prefixes may delete what they are about to, and notes that they do if so.
    pub fn allow<S: Store, J: Job<S>>(&self, crawl: &Crawl<S, J>, tolls: &[(u32, Toll)]) -> Result<()> {
        let Some(catch) = crawl.job.safety_catch() else { return Ok(()) };
        let reserved = lock(&self.lap).ledger.reserve(catch, tolls);
        reserved.map_err(|Excess { toll: Toll { examined, deletes }, deleted }| {
            let (crawl, most) = (crawl.settings.name.clone(), catch.most);
            Error::SafetyCatch { crawl, deletes, deleted, examined, most }
        })
    }

    /// Asks the job whether the store may be changed.
    pub fn may_change<S: Store, J: Job<S>>(&self, crawl: &Crawl<S, J>) -> Result<()> {
        crawl.job.may_change(&crawl.store, &self.clocks(crawl))?;
        *lock(&self.allowed_at) = crawl.time.clock.now();
        Ok(())
    }

    /// As [`may_change`](Self::may_change), but takes the last answer for a while.
    pub fn may_go_on_changing<S: Store, J: Job<S>>(&self, crawl: &Crawl<S, J>) -> Result<()> {
        let allowed_at = *lock(&self.allowed_at);
        let is_old = crawl.time.clock.now().saturating_sub(allowed_at) >= ASKED_EVERY;
        if is_old { self.may_change(crawl) } else { Ok(()) }
    }

    /// Notes what was examined of a prefix, before any of it is saved.
    pub fn examined(&self, prefix: u32, shares: u64) {
        lock(&self.lap).ledger.examined(prefix, shares);
    }

    /// Notes that the crawl was held, or waited for room: the time in between says nothing about its pace.
    pub fn interrupted<S: Store, J: Job<S>>(&self, crawl: &Crawl<S, J>) {
        lock(&self.lap).remaining.interrupted(crawl.board.allowed());
    }

    /// Notes that one of the workers has failed.
    pub fn fail(&self) {
        self.course.send_replace(Course::Failed);
    }

    /// Notes a panic of the job: the bucket will be left out. One too many is an error.
    pub fn panicked<S: Store, J: Job<S>>(
        &self,
        crawl: &Crawl<S, J>,
        position: u32,
        bucket: Vec<u8>,
        message: String,
    ) -> Result<()> {
        let prefix = self.ring.name(position).unwrap_or_default();
        let path = crawl.store.path(prefix, (!bucket.is_empty()).then_some(&*bucket));
        warn!(crawl = crawl.settings.name, bucket = %shown::path(&path), message, "the job panicked, bucket skipped");
        Arc::make_mut(&mut *lock(&self.skipped)).insert((position, bucket), message.clone());
        let panics = self.panics.fetch_add(1, Ordering::Relaxed) + 1;
        if panics <= PANICS_TOLERATED {
            return Ok(());
        }
        let (crawl, bucket) = (crawl.settings.name.clone(), shown::path(&path));
        Err(Error::JobPanicked { crawl, panics, bucket, message })
    }

    /// Shows what was saved: figures for the status, events for the subscribers.
    pub fn saved<S: Store, J: Job<S>>(&self, crawl: &Crawl<S, J>, progress: &[Progress], added: &Counts) {
        {
            let mut view = lock(&self.lap);
            view.totals.merge(added);
            for p in progress {
                if p.done {
                    view.lap.complete(p.prefix);
                    view.cursors.remove(&p.prefix);
                } else if let Some(cursor) = &p.cursor {
                    view.cursors.insert(p.prefix, cursor.clone());
                }
            }
            let completed = progress.iter().filter(|p| p.done).count();
            // A ring has at most so many prefixes.
            view.remaining.saved(u32::try_from(completed).unwrap_or(u32::MAX), crawl.board.allowed());
            if view.lap.completed() == view.lap.len() {
                self.course.send_if_modified(|course| {
                    let going = *course == Course::Going;
                    *course = if going { Course::Done } else { *course };
                    going
                });
            }
        }
        crawl.show(|c| c.since_start.add(added));
        self.show(crawl);
        for p in progress {
            self.emit(crawl, p);
        }
    }

    fn show<S: Store, J: Job<S>>(&self, crawl: &Crawl<S, J>) {
        let view = lock(&self.lap);
        let contiguous = view.lap.last_contiguous();
        let current = contiguous.map_or(0, |c| c + 1);
        crawl.show(|c| {
            c.cycle = Some(self.key.number);
            c.prefixes_done = view.lap.completed();
            c.last_complete_prefix = contiguous.and_then(|p| self.ring.name(p)).map(str::to_owned);
            c.last_complete_bucket = view.cursors.get(&current).map(|name| shown::name(name));
            let Counts { buckets, shares, errors, findings, vanished, .. } = view.totals;
            (c.buckets, c.shares, c.errors, c.findings, c.vanished) = (buckets, shares, errors, findings, vanished);
            c.remaining = view.remaining.clone();
            c.aim = crawl.aim();
        });
    }

    /// Marks in the picture of the ring what was saved of a prefix, and enters its notes in the log.
    fn mark<S: Store, J: Job<S>>(&self, crawl: &Crawl<S, J>, progress: &Progress) {
        let (name, at) = (&crawl.settings.name, crawl.time.clock.unix_secs());
        let errors = progress.notes.iter().filter(|note| note.kind == NoteKind::Error).count() as u64;
        crawl.board.ring(name, |marks| {
            marks.met(progress.prefix, errors, progress.notes.len() as u64 - errors);
            if progress.done {
                marks.complete(progress.prefix, Some(at));
            }
        });
        let prefix = self.ring.name(progress.prefix).unwrap_or_default();
        let rows = progress.notes.iter().filter_map(|n| FindingRow::of(n, name, self.key.number, at, prefix));
        rows.for_each(|row| crawl.board.found(row));
    }

    fn emit<S: Store, J: Job<S>>(&self, crawl: &Crawl<S, J>, progress: &Progress) {
        let name = &crawl.settings.name;
        self.mark(crawl, progress);
        for note in &progress.notes {
            crawl.board.emit_some(|| match note.kind {
                NoteKind::Finding => {
                    let finding = serde_json::from_str(&note.body).ok()?;
                    Some(Event::Finding { crawl: name.clone(), finding })
                }
                NoteKind::Error => {
                    let ErrorNote { path, error } = serde_json::from_str(&note.body).ok()?;
                    Some(Event::Error { crawl: name.clone(), path, error })
                }
            });
        }
        if progress.done {
            let prefix = self.ring.name(progress.prefix).unwrap_or_default().to_owned();
            crawl.board.emit(|| Event::PrefixFinished { crawl: name.clone(), prefix });
        }
    }
}
