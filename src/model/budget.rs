//! The budget on the board: the governor writes here what it grants and settles, and every engine under it reads it.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::{BudgetStatus, ClientStatus, Range, SliceFigures};
use crate::clock::Clock;
use crate::lock::lock;
use crate::policy::fair::CLIENTS_REMEMBERED;
use crate::settings::{Basis, BudgetSettings};
use crate::slice::EngineId;

/// Clients that are no longer listed one by one.
pub(crate) const OTHERS: &str = "others";

/// One budget: what is wanted of it, and how it stands.
pub(crate) struct BudgetBoard(Mutex<BudgetFigures>);

/// What is known of one budget.
pub(crate) struct BudgetFigures {
    clock: Arc<dyn Clock>,
    settings: BudgetSettings,
    started: Duration,
    cost: Duration,
    slices: u64,
    longest: Duration,
    clients: BTreeMap<Arc<str>, ClientBoard>,
    out: BTreeMap<u64, OutBoard>,
    balance_secs: f64,
    sleep_secs: f64,
    waiting: usize,
    /// When balance and sleep were what they are here.
    stood_at: Duration,
    /// Whether nothing is granted to anybody.
    all_paused: bool,
    /// The engines that are paused.
    paused: HashSet<EngineId>,
    /// What was allowed until `allowed_at`.
    allowed: Duration,
    allowed_at: Duration,
}

#[derive(Default)]
struct ClientBoard {
    cost: Duration,
    slices: u64,
    longest: Duration,
}

struct OutBoard {
    client: Arc<str>,
    since: Duration,
    deadline: Duration,
}

impl BudgetBoard {
    pub fn new(settings: &BudgetSettings, clock: Arc<dyn Clock>) -> Self {
        let now = clock.now();
        let figures = BudgetFigures {
            clock,
            settings: settings.clone(),
            started: now,
            cost: Duration::ZERO,
            slices: 0,
            longest: Duration::ZERO,
            clients: BTreeMap::new(),
            out: BTreeMap::new(),
            balance_secs: 0.0,
            sleep_secs: 0.0,
            waiting: 0,
            stood_at: now,
            all_paused: false,
            paused: HashSet::new(),
            allowed: Duration::ZERO,
            allowed_at: now,
        };
        BudgetBoard(Mutex::new(figures))
    }

    pub fn figures(&self) -> MutexGuard<'_, BudgetFigures> {
        lock(&self.0)
    }
}

impl BudgetFigures {
    /// The settings that were asked for last. The governor heeds them before any request for a slice that comes after them.
    pub fn settings(&self) -> &BudgetSettings {
        &self.settings
    }

    pub fn requested(&mut self, settings: &BudgetSettings) {
        self.roll();
        self.settings = settings.clone();
    }

    /// Nothing is granted to these engines, or to anybody.
    pub fn paused(&mut self, all: bool, engines: HashSet<EngineId>) {
        self.roll();
        (self.all_paused, self.paused) = (all, engines);
    }

    fn roll(&mut self) {
        (self.allowed, self.allowed_at) = (self.allowed(), self.clock.now());
    }

    /// The time that the budget has allowed since the start.
    pub fn allowed(&self) -> Duration {
        let now = self.clock.now();
        let since = if self.all_paused { Duration::ZERO } else { now.saturating_sub(self.allowed_at) };
        self.allowed.saturating_add(since.mul_f64(self.pace()))
    }

    /// How much is allowed in a second. Above one core it depends on the workers how much of it they can use, so from there
    /// on nothing is promised that was not measured.
    fn pace(&self) -> f64 {
        self.settings.rate.min(1.0)
    }

    /// How long it takes until so much was allowed, at the budget in force.
    pub fn takes(&self, (least, most): (Duration, Duration)) -> Range {
        Range { least: least.as_secs_f64() / self.pace(), most: most.as_secs_f64() / self.pace() }
    }

    pub fn granted(&mut self, id: u64, client: &Arc<str>, since: Duration, deadline: Duration) {
        self.clients.entry(client.clone()).or_default();
        self.out.insert(id, OutBoard { client: client.clone(), since, deadline });
    }

    pub fn settled(&mut self, id: u64, figures: &SliceFigures) {
        self.out.remove(&id);
        self.slices += 1;
        self.longest = self.longest.max(figures.out);
        self.cost += figures.cost;
        self.forget_one();
        // It was there when the slice was granted: who is not any more was forgotten meanwhile.
        let known = self.clients.contains_key(&figures.client);
        let name = if known { figures.client.clone() } else { OTHERS.into() };
        let client = self.clients.entry(name).or_default();
        client.cost += figures.cost;
        client.slices += 1;
        client.longest = client.longest.max(figures.out);
    }

    /// Keeps the table of clients bounded: one that has nothing out is counted among the others from then on.
    fn forget_one(&mut self) {
        if self.clients.len() <= CLIENTS_REMEMBERED {
            return;
        }
        let idle = |name: &&Arc<str>| &***name != OTHERS && !self.out.values().any(|out| out.client == **name);
        if let Some(name) = self.clients.keys().find(idle).cloned() {
            self.count_among_others(&name);
        }
    }

    /// Drops a task that has gone, and its other clients: its history, its read-ahead.
    pub fn forget(&mut self, gone: &str) {
        let is_its_own =
            |name: &&Arc<str>| name.strip_prefix(gone).is_some_and(|more| more.is_empty() || more.starts_with('/'));
        let names: Vec<Arc<str>> = self.clients.keys().filter(is_its_own).cloned().collect();
        names.iter().for_each(|name| self.count_among_others(name));
    }

    fn count_among_others(&mut self, name: &Arc<str>) {
        if let Some(gone) = self.clients.remove(name) {
            let others = self.clients.entry(OTHERS.into()).or_default();
            others.cost += gone.cost;
            others.slices += gone.slices;
            others.longest = others.longest.max(gone.longest);
        }
    }

    pub fn charged(&mut self, client: &str, cost: Duration) {
        self.cost += cost;
        self.clients.entry(client.into()).or_default().cost += cost;
    }

    pub fn standing(&mut self, balance_secs: f64, sleep_secs: f64, waiting: usize) {
        self.roll();
        (self.balance_secs, self.sleep_secs, self.waiting) = (balance_secs, sleep_secs, waiting);
        self.stood_at = self.allowed_at;
    }

    /// As an engine sees it. For basis `wall`, what is out counts up to this moment.
    pub fn status(&self, engine: EngineId) -> BudgetStatus {
        let now = self.clock.now();
        let elapsed = now.saturating_sub(self.started).as_secs_f64();
        let percent = |cost_secs: f64| if elapsed > 0.0 { 100.0 * cost_secs / elapsed } else { 0.0 };
        let (mut cost_secs, mut longest) = (self.cost.as_secs_f64(), self.longest);
        let mut clients: BTreeMap<&str, ClientStatus> = BTreeMap::new();
        for (name, c) in &self.clients {
            let (cost_secs, longest_slice_secs) = (c.cost.as_secs_f64(), c.longest.as_secs_f64());
            let status = ClientStatus {
                name: name.to_string(),
                cost_secs,
                slices: c.slices,
                longest_slice_secs,
                ..ClientStatus::default()
            };
            clients.insert(name, status);
        }
        for out in self.out.values() {
            let age = now.saturating_sub(out.since);
            longest = longest.max(age);
            let new = || ClientStatus { name: out.client.to_string(), ..ClientStatus::default() };
            let client = clients.entry(&out.client).or_insert_with(new);
            client.out += 1;
            client.longest_slice_secs = client.longest_slice_secs.max(age.as_secs_f64());
            client.overrun_secs = client.overrun_secs.max(now.saturating_sub(out.deadline).as_secs_f64());
            if self.settings.basis == Basis::Wall {
                client.cost_secs += age.as_secs_f64();
                cost_secs += age.as_secs_f64();
            }
        }
        // The debt is worked off while nothing happens.
        let sleep_secs = (self.sleep_secs - now.saturating_sub(self.stood_at).as_secs_f64()).max(0.0);
        for client in clients.values_mut() {
            client.total_percentage = percent(client.cost_secs);
            client.percentage = client.total_percentage;
        }
        let balance_secs = self.balance_secs + (self.sleep_secs - sleep_secs) * self.settings.rate;
        let (slice_secs, longest_slice_secs) = (self.settings.slice.as_secs_f64(), longest.as_secs_f64());
        BudgetStatus {
            requested_percentage: 100.0 * self.settings.rate,
            measured_total_percentage: percent(cost_secs),
            basis: self.settings.basis,
            slice_secs,
            paused: self.all_paused || self.paused.contains(&engine),
            balance_secs,
            // Plus zero, since the other zero would be shown with a sign.
            debt_secs: (-balance_secs).max(0.0) + 0.0,
            current_sleep_secs: sleep_secs,
            waiting: self.waiting,
            slices: self.slices,
            longest_slice_secs,
            longest_overrun_secs: (longest_slice_secs - slice_secs).max(0.0),
            clients: clients.into_values().collect(),
        }
    }
}
