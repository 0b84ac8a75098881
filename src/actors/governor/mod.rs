//! The Governor: sells time slices out of the one budget.
//!
//! Owns the budget's account, the queue of those who wait, and the pauses. It decides nothing itself:
//! [`BudgetAccount`](crate::policy::budget) says when, [`FairQueue`](crate::policy::fair) says who. It never knows what a slice
//! is used for. One or several engines are its members; one that leaves takes its requests and slices with it, and no other's.

mod handle;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::oneshot;

pub use self::handle::GovernorHandle;
pub(crate) use self::handle::Membership;
use super::guard::ActorGuard;
use super::messages::{Join, Leave, Pause, Resume, SetBudget, SetSlots, SliceRequest};
use crate::clock::Time;
use crate::error::Error;
use crate::model::{BudgetBoard, Event, SliceFigures, Subscribers};
use crate::policy::budget::{Accrual, BudgetAccount, Habit, SliceVerdict, Terms, Usual};
use crate::policy::fair::{CLIENTS_REMEMBERED, FairQueue};
use crate::settings::{Basis, BudgetSettings};
use crate::slice::{EngineId, SliceSpent, Tenure, TimeSlice};

/// What the process used outside slices is charged to this client, in basis `cpu`.
const OVERHEAD: &str = "overhead";

/// A slice that takes so many times what was asked is [told of](Event::SliceOverran).
pub const OVERRUN_TOLD: u32 = 10;

struct Grant {
    client: Arc<str>,
    engine: Option<EngineId>,
    since: Duration,
    /// How long it was to be.
    asked: Duration,
    is_overrun_told: bool,
    usual: Usual,
    tenure: Arc<Tenure>,
}

/// An engine under this governor.
struct GovernedEngine {
    workers: u32,
    subscribers: Arc<Subscribers>,
}

/// The actor that sells time slices. Each engine starts one of its own, unless it is
/// [given](crate::engine::EngineBuilder::governor) one.
pub struct Governor {
    time: Time,
    settings: BudgetSettings,
    budget: BudgetAccount,
    members: HashMap<EngineId, GovernedEngine>,
    queue: FairQueue<SliceRequest>,
    /// Who gets nothing: an engine, or with `None` everybody.
    paused: HashSet<Option<EngineId>>,
    /// Requests of those who are paused.
    held: Vec<SliceRequest>,
    /// Who waits until a pause has taken effect.
    pausing: Vec<(Option<EngineId>, oneshot::Sender<()>)>,
    habits: HashMap<Arc<str>, Habit>,
    out: HashMap<u64, Grant>,
    next_id: u64,
    timer: Option<SpawnHandle>,
    /// Whether slices that are out are looked at from time to time.
    is_watching: bool,
    overhead: Overhead,
    board: Arc<BudgetBoard>,
    _guard: ActorGuard,
}

/// What the process has used, and how much of it is accounted for; basis `cpu` only.
struct Overhead {
    process_at_start: Option<Duration>,
    accounted: Duration,
}

impl Governor {
    fn new(settings: BudgetSettings, time: Time, board: Arc<BudgetBoard>, guard: ActorGuard) -> Self {
        let now = time.clock.now();
        let budget = BudgetAccount::new(terms(&settings, 1), accrual(settings.basis), now.as_secs_f64());
        let overhead = Overhead { process_at_start: time.meter.process_cost(), accounted: Duration::ZERO };
        Governor {
            time,
            settings,
            budget,
            members: HashMap::new(),
            queue: FairQueue::default(),
            paused: HashSet::new(),
            held: Vec::new(),
            pausing: Vec::new(),
            habits: HashMap::new(),
            out: HashMap::new(),
            next_id: 0,
            timer: None,
            is_watching: false,
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
        self.queue.take(|request| request.reply.is_closed());
        self.held.retain(|request| !request.reply.is_closed());
        while self.queue.waiting() > 0 {
            match self.budget.verdict(self.now_secs()) {
                SliceVerdict::Now => self.grant(ctx),
                SliceVerdict::In(wait_secs) => {
                    let wait = Duration::try_from_secs_f64(wait_secs).unwrap_or(Duration::MAX);
                    self.timer = Some(ctx.run_later(wait.min(LONGEST_TIMER), |act, ctx| {
                        act.timer = None;
                        act.pump(ctx);
                    }));
                    break;
                }
                SliceVerdict::AfterSettlement => break,
            }
        }
        self.show();
    }

    fn grant(&mut self, ctx: &mut Context<Self>) {
        let Some((client, request)) = self.queue.pop() else { return };
        if request.reply.is_closed() {
            // Withdrawn.
            return;
        }
        let (now, asked, engine) = (self.time.clock.now(), self.settings.slice, request.engine);
        let usual = self.habits.get(&client).unwrap_or(&Habit::UNKNOWN).usual(asked.as_secs_f64());
        let (id, tenure) = (self.next_id, Arc::new(Tenure::default()));
        self.next_id += 1;
        self.budget.grant(id, usual, now.as_secs_f64());
        self.queue.granted(&client, usual.cost_secs);
        let (settle, deadline) = (ctx.address().recipient(), now + asked);
        self.board.figures().granted(id, &client, now, deadline);
        let metering = self.settings.basis;
        let slice = TimeSlice::new(id, client.clone(), deadline, metering, self.time.clone(), tenure.clone(), settle);
        self.out.insert(id, Grant { client, engine, since: now, asked, is_overrun_told: false, usual, tenure });
        self.watch(ctx);
        // A requester that gave up meanwhile drops the slice, which settles it.
        let _ = request.reply.send(Ok(slice));
    }

    /// Looks again, after a while, at the slices that are out.
    fn watch(&mut self, ctx: &mut Context<Self>) {
        if self.is_watching || self.out.values().all(|grant| grant.is_overrun_told) {
            return;
        }
        self.is_watching = true;
        let longest = self.settings.slice.saturating_mul(OVERRUN_TOLD);
        ctx.run_later(longest.min(LONGEST_TIMER), |act, ctx| {
            act.is_watching = false;
            let now = act.time.clock.now();
            act.out.values_mut().for_each(|grant| grant.tell_overrun(now, &act.members));
            act.watch(ctx);
        });
    }

    fn settle(&mut self, msg: &SliceSpent) {
        let Some(mut grant) = self.out.remove(&msg.id) else { return };
        let now = self.time.clock.now();
        grant.tell_overrun(now, &self.members);
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
        self.board.figures().settled(msg.id, &figures);
        if let Some(member) = grant.engine.and_then(|engine| self.members.get(&engine)) {
            member.subscribers.emit(|| Some(Event::SliceEnded(figures)));
        }
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
        self.board.figures().charged(OVERHEAD, extra);
    }

    fn is_paused(&self, engine: Option<EngineId>) -> bool {
        self.paused.contains(&None) || self.paused.contains(&engine)
    }

    /// Follows a change of who is paused.
    fn pauses_changed(&mut self, ctx: &mut Context<Self>) {
        self.out.values().filter(|grant| self.is_paused(grant.engine)).for_each(|grant| grant.tenure.revoke());
        let held = std::mem::take(&mut self.held);
        let (paused, queue) = (&self.paused, &mut self.queue);
        let is_paused = |engine| paused.contains(&None) || paused.contains(&engine);
        let newly_held = queue.take(|request| is_paused(request.engine));
        let (still_held, free): (Vec<_>, Vec<_>) = held.into_iter().partition(|request| is_paused(request.engine));
        self.held = still_held.into_iter().chain(newly_held).collect();
        free.into_iter().for_each(|request| self.push(request));
        let engines: HashSet<EngineId> = self.paused.iter().flatten().copied().collect();
        let all = self.is_paused(None) || !engines.is_empty() && engines.len() == self.members.len();
        self.board.figures().paused(all, engines);
        self.answer_pauses();
        self.pump(ctx);
    }

    /// Answers those pauses that are over, or under which no slice is out any more.
    fn answer_pauses(&mut self) {
        let mut pausing = std::mem::take(&mut self.pausing);
        let is_out = |who: Option<EngineId>| self.out.values().any(|grant| who.is_none() || grant.engine == who);
        for (_, answer) in pausing.extract_if(.., |(who, _)| !self.is_paused(*who) || !is_out(*who)) {
            // Whoever no longer waits needs no answer.
            let _ = answer.send(());
        }
        self.pausing = pausing;
    }

    fn push(&mut self, request: SliceRequest) {
        self.queue.push(&request.client.clone(), request.weight, request);
    }

    /// As many slices may be out at once as all engines together have workers, or more if more cores may be used.
    fn workers_changed(&mut self, ctx: &mut Context<Self>) {
        self.budget.set_terms(terms(&self.settings, self.workers()), self.now_secs());
        self.pump(ctx);
    }

    fn workers(&self) -> u32 {
        self.members.values().fold(0u32, |sum, member| sum.saturating_add(member.workers)).max(1)
    }

    fn show(&mut self) {
        let now = self.now_secs();
        let (sleep, balance) = (self.budget.sleep_secs(now), self.budget.balance(now));
        self.board.figures().standing(balance, sleep, self.queue.waiting() + self.held.len());
    }
}

impl Grant {
    /// Tells once that the slice has taken far more time than was asked.
    fn tell_overrun(&mut self, now: Duration, members: &HashMap<EngineId, GovernedEngine>) {
        let out = now.saturating_sub(self.since);
        if self.is_overrun_told || out <= self.asked.saturating_mul(OVERRUN_TOLD) {
            return;
        }
        self.is_overrun_told = true;
        if let Some(member) = self.engine.and_then(|engine| members.get(&engine)) {
            let overran = || Event::SliceOverran { client: self.client.clone(), asked: self.asked, out };
            member.subscribers.emit(|| Some(overran()));
        }
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
        if msg.engine.is_some_and(|engine| !self.members.contains_key(&engine)) {
            // Whoever no longer waits needs no answer.
            let _ = msg.reply.send(Err(Error::Stopped));
            return;
        }
        if self.is_paused(msg.engine) {
            self.held.push(msg);
        } else {
            self.push(msg);
        }
        self.pump(ctx);
    }
}

impl Handler<SliceSpent> for Governor {
    type Result = ();

    fn handle(&mut self, msg: SliceSpent, ctx: &mut Self::Context) {
        self.settle(&msg);
        self.answer_pauses();
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
        self.budget.set_terms(terms(&settings, self.workers()), now);
        self.settings = settings;
        self.pump(ctx);
    }
}

impl Handler<Join> for Governor {
    type Result = ();

    fn handle(&mut self, Join { engine, workers, subscribers }: Join, ctx: &mut Self::Context) {
        self.members.insert(engine, GovernedEngine { workers, subscribers });
        self.workers_changed(ctx);
    }
}

impl Handler<SetSlots> for Governor {
    type Result = ();

    fn handle(&mut self, SetSlots(engine, workers): SetSlots, ctx: &mut Self::Context) {
        if let Some(member) = self.members.get_mut(&engine) {
            member.workers = workers;
        }
        self.workers_changed(ctx);
    }
}

impl Handler<Leave> for Governor {
    type Result = ();

    fn handle(&mut self, Leave(engine): Leave, ctx: &mut Self::Context) {
        if self.members.remove(&engine).is_none() {
            return;
        }
        let is_its_own = |request: &SliceRequest| request.engine == Some(engine);
        self.out.values().filter(|grant| grant.engine == Some(engine)).for_each(|grant| grant.tenure.revoke());
        let requests = self.queue.take(is_its_own).into_iter().chain(self.held.extract_if(.., |r| is_its_own(r)));
        // Whoever no longer waits needs no answer.
        requests.for_each(|request| drop(request.reply.send(Err(Error::Stopped))));
        self.paused.remove(&Some(engine));
        self.workers_changed(ctx);
        self.pauses_changed(ctx);
    }
}

impl Handler<Pause> for Governor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, Pause(who): Pause, ctx: &mut Self::Context) -> Self::Result {
        let (answer, in_effect) = oneshot::channel();
        self.pausing.push((who, answer));
        self.paused.insert(who);
        self.pauses_changed(ctx);
        Box::pin(async move {
            // A governor that has gone grants nothing.
            let _ = in_effect.await;
        })
    }
}

impl Handler<Resume> for Governor {
    type Result = ();

    fn handle(&mut self, Resume(who): Resume, ctx: &mut Self::Context) {
        self.paused.remove(&who);
        self.pauses_changed(ctx);
    }
}
