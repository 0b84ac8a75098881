//! The Governor: sells time slices out of the one budget.
//!
//! Owns the budget's account, the queue of those who wait, and the pause. It decides nothing itself:
//! [`Budget`](crate::policy::budget) says when, [`FairQueue`](crate::policy::fair) says who. It never knows what a slice
//! is used for.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::oneshot;

use super::guard::Guard;
use super::messages::{Pause, Resume, SetBudget, SetSlots, SliceRequest, Stop};
use crate::clock::Time;
use crate::error::{Error, Result};
use crate::model::{Board, Event, SliceFigures};
use crate::policy::budget::{Accrual, Budget, Habit, Terms, Usual, Verdict};
use crate::policy::fair::{CLIENTS_REMEMBERED, FairQueue};
use crate::settings::{Basis, BudgetSettings};
use crate::slice::{SliceSpent, Tenure, TimeSlice};

/// What the process used outside slices is charged to this client, in basis `cpu`.
const OVERHEAD: &str = "overhead";

type Reply = oneshot::Sender<Result<TimeSlice>>;

struct Grant {
    client: Arc<str>,
    since: Duration,
    usual: Usual,
    tenure: Arc<Tenure>,
}

/// The actor that sells time slices.
pub struct Governor {
    time: Time,
    settings: BudgetSettings,
    workers: u32,
    budget: Budget,
    queue: FairQueue<Reply>,
    habits: HashMap<Arc<str>, Habit>,
    out: HashMap<u64, Grant>,
    next_id: u64,
    mode: Mode,
    timer: Option<SpawnHandle>,
    overhead: Overhead,
    board: Arc<Board>,
    _guard: Guard,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Running,
    Paused,
    Stopped,
}

/// What the process has used, and how much of it is accounted for; basis `cpu` only.
struct Overhead {
    process_at_start: Option<Duration>,
    accounted: Duration,
}

impl Governor {
    /// Makes a governor for so many workers: as many slices may be out at once, or more if more cores may be used.
    pub(crate) fn new(settings: BudgetSettings, workers: u32, time: Time, board: Arc<Board>, guard: Guard) -> Self {
        let now = time.clock.now();
        let budget = Budget::new(terms(&settings, workers), accrual(settings.basis), now.as_secs_f64());
        let overhead = Overhead { process_at_start: time.meter.process_cost(), accounted: Duration::ZERO };
        board.budget(|b| b.requested(&settings, now));
        Governor {
            time,
            settings,
            workers,
            budget,
            queue: FairQueue::default(),
            habits: HashMap::new(),
            out: HashMap::new(),
            next_id: 0,
            mode: Mode::Running,
            timer: None,
            overhead,
            board,
            _guard: guard,
        }
    }

    fn now_secs(&self) -> f64 {
        self.time.clock.now().as_secs_f64()
    }

    /// Grants what may be granted now, and sets the timer for what may be granted later.
    fn pump(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        self.queue.retain(|reply| !reply.is_closed());
        while self.mode == Mode::Running && self.queue.waiting() > 0 {
            match self.budget.verdict(self.now_secs()) {
                Verdict::Now => self.grant(ctx),
                Verdict::In(wait_secs) => {
                    let wait = Duration::try_from_secs_f64(wait_secs).unwrap_or(Duration::MAX);
                    self.timer = Some(ctx.run_later(wait.min(LONGEST_TIMER), |act, ctx| {
                        act.timer = None;
                        act.pump(ctx);
                    }));
                    break;
                }
                Verdict::AfterSettlement => break,
            }
        }
        self.show();
    }

    fn grant(&mut self, ctx: &mut Context<Self>) {
        let Some((client, reply)) = self.queue.pop() else { return };
        if reply.is_closed() {
            // Withdrawn.
            return;
        }
        let now = self.time.clock.now();
        let usual = self.habits.get(&client).unwrap_or(&Habit::UNKNOWN).usual(self.settings.slice.as_secs_f64());
        let (id, tenure) = (self.next_id, Arc::new(Tenure::default()));
        self.next_id += 1;
        self.budget.grant(id, usual, now.as_secs_f64());
        self.queue.granted(&client, usual.cost_secs);
        self.board.budget(|b| b.granted(id, &client, now, now + self.settings.slice));
        let settle = ctx.address().recipient();
        let deadline = now + self.settings.slice;
        let metering = self.settings.basis;
        let slice = TimeSlice::new(id, client.clone(), deadline, metering, self.time.clone(), tenure.clone(), settle);
        self.out.insert(id, Grant { client, since: now, usual, tenure });
        // A requester that gave up meanwhile drops the slice, which settles it.
        let _ = reply.send(Ok(slice));
    }

    fn settle(&mut self, msg: &SliceSpent) {
        let Some(grant) = self.out.remove(&msg.id) else { return };
        let now = self.time.clock.now();
        let out = now.saturating_sub(grant.since);
        let cost = match self.settings.basis {
            Basis::Wall => out,
            // Whoever has metered nothing is charged for its time: an unknown cost is not taken for none.
            Basis::Cpu if msg.spent.total().is_zero() => out,
            Basis::Cpu => msg.spent.total(),
        };
        let (cost_secs, now_secs) = (cost.as_secs_f64(), now.as_secs_f64());
        self.budget.settle(msg.id, cost_secs, now_secs);
        self.queue.settled(&grant.client, grant.usual.cost_secs, cost_secs);
        if self.habits.len() >= CLIENTS_REMEMBERED {
            let out: HashSet<&str> = self.out.values().map(|g| &*g.client).collect();
            self.habits.retain(|client, _| out.contains(&**client));
        }
        let habit = self.habits.entry(grant.client.clone()).or_insert(Habit::UNKNOWN);
        habit.learn(cost_secs, out.as_secs_f64());
        self.overhead.accounted += msg.spent.total();
        self.charge_overhead(now);
        let sleep = Duration::try_from_secs_f64(self.budget.sleep_secs(now_secs)).unwrap_or(Duration::MAX);
        let figures = SliceFigures { client: grant.client, since: grant.since, out, cost, spent: msg.spent, sleep };
        self.board.budget(|b| b.settled(msg.id, &figures));
        self.board.emit(|| Event::SliceEnded(figures.clone()));
    }

    /// Charges what the process has used beside its slices. A slice that is out may have used up to its age.
    fn charge_overhead(&mut self, now: Duration) {
        if self.settings.basis != Basis::Cpu {
            return;
        }
        let (Some(start), Some(process)) = (self.overhead.process_at_start, self.time.meter.process_cost()) else {
            return;
        };
        let out: Duration = self.out.values().map(|g| now.saturating_sub(g.since)).sum();
        let extra = process.saturating_sub(start).saturating_sub(self.overhead.accounted).saturating_sub(out);
        self.overhead.accounted += extra;
        self.budget.charge(extra.as_secs_f64(), now.as_secs_f64());
        self.board.budget(|b| b.charged(OVERHEAD, extra));
    }

    fn revoke_all(&self) {
        for grant in self.out.values() {
            grant.tenure.revoke();
        }
    }

    fn show(&mut self) {
        let now = self.now_secs();
        let (sleep, balance, waiting) = (self.budget.sleep_secs(now), self.budget.balance(now), self.queue.waiting());
        let (paused, at) = (self.mode == Mode::Paused, self.time.clock.now());
        self.board.budget(|b| b.standing(balance, sleep, waiting, paused, at));
    }
}

/// Timers further off than this are set again when they ring.
const LONGEST_TIMER: Duration = Duration::from_secs(24 * 3600);

fn terms(settings: &BudgetSettings, workers: u32) -> Terms {
    Terms {
        rate: settings.rate,
        slice_secs: settings.slice.as_secs_f64(),
        max_sleep_secs: settings.max_sleep.map(|d| d.as_secs_f64()),
        // The rate is at most 1,024 by validation.
        slots: workers.max(settings.rate.ceil() as u32),
    }
}

fn accrual(basis: Basis) -> Accrual {
    match basis {
        Basis::Wall => Accrual::Elapsed,
        Basis::Cpu => Accrual::Estimated,
    }
}

impl Actor for Governor {
    type Context = Context<Self>;
}

impl Handler<SliceRequest> for Governor {
    type Result = ();

    fn handle(&mut self, msg: SliceRequest, ctx: &mut Self::Context) {
        if self.mode == Mode::Stopped {
            // Whoever no longer waits needs no answer.
            let _ = msg.reply.send(Err(Error::Stopped));
            return;
        }
        self.queue.push(&msg.client, msg.weight, msg.reply);
        self.pump(ctx);
    }
}

impl Handler<SliceSpent> for Governor {
    type Result = ();

    fn handle(&mut self, msg: SliceSpent, ctx: &mut Self::Context) {
        self.settle(&msg);
        self.pump(ctx);
    }
}

impl Handler<SetBudget> for Governor {
    type Result = ();

    fn handle(&mut self, SetBudget(settings): SetBudget, ctx: &mut Self::Context) {
        let now = self.now_secs();
        if settings.basis != self.settings.basis {
            // What was used under the old basis is paid for.
            self.overhead = Overhead { process_at_start: self.time.meter.process_cost(), accounted: Duration::ZERO };
        }
        self.budget.set_accrual(accrual(settings.basis), now);
        self.budget.set_terms(terms(&settings, self.workers), now);
        let at = self.time.clock.now();
        self.board.budget(|b| b.requested(&settings, at));
        self.settings = settings;
        self.pump(ctx);
    }
}

impl Handler<SetSlots> for Governor {
    type Result = ();

    fn handle(&mut self, SetSlots(workers): SetSlots, ctx: &mut Self::Context) {
        self.workers = workers;
        self.budget.set_terms(terms(&self.settings, workers), self.now_secs());
        self.pump(ctx);
    }
}

impl Handler<Pause> for Governor {
    type Result = ();

    fn handle(&mut self, _: Pause, ctx: &mut Self::Context) {
        if self.mode == Mode::Running {
            self.mode = Mode::Paused;
        }
        self.revoke_all();
        self.pump(ctx);
    }
}

impl Handler<Resume> for Governor {
    type Result = ();

    fn handle(&mut self, _: Resume, ctx: &mut Self::Context) {
        if self.mode == Mode::Paused {
            self.mode = Mode::Running;
        }
        self.pump(ctx);
    }
}

impl Handler<Stop> for Governor {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        self.mode = Mode::Stopped;
        self.revoke_all();
        for reply in self.queue.drain() {
            // Whoever no longer waits needs no answer.
            let _ = reply.send(Err(Error::Stopped));
        }
        self.pump(ctx);
    }
}
