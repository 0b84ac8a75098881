//! The engine: wires stores, jobs and actors together, and starts and stops them.
//!
//! In which order everything comes to life stands here; how each actor is started, in `wiring`. An engine runs inside a host's
//! actix `System` ([`EngineBuilder::start`]) or on a thread of its own ([`EngineBuilder::spawn`]); either way its [`EngineHandle`]
//! can be used from any thread.

mod conductor;
mod handle;
mod launch;

use std::sync::Arc;

use actix_rt::System;
use tokio::sync::{mpsc, watch};

pub(crate) use self::launch::{LaunchPlan, launch_maintenance};
use self::launch::{start_checkpointer, start_upkeep};
pub use crate::actors::{Command, Cycles, Governor, GovernorHandle, Life};
use crate::actors::{CrawlPlan, Fuse, Launched, MaintenancePorts, Ports, Wiring, WriterPort};
use crate::clock::Time;
use crate::error::{Error, Result};
use crate::job::Job;
use crate::maintenance::Maintenance;
use crate::model::{Board, EventSubscriber};
pub use crate::policy::cycle::Fresh;
use crate::priority::Working;
use crate::settings::{self, CrawlSettings, MaintenanceSettings, Settings, UpkeepSettings};
use crate::slice::EngineId;
use crate::state::{StateStore, StateWriter};
use crate::store::Store;
use crate::threads;
use conductor::{Conductor, Request, RunningTasks};
pub use handle::EngineHandle;

/// Crawls under one governor.
///
#[cfg_attr(all(feature = "sqlite", feature = "tahoe"), doc = "```no_run")]
#[cfg_attr(not(all(feature = "sqlite", feature = "tahoe")), doc = "```ignore")]
/// use sexton::state::SqliteStore;
/// use sexton::engine::Engine;
/// use sexton::job::Count;
/// use sexton::settings::{CrawlSettings, Settings};
/// use sexton::tahoe::TahoeStore;
///
/// # fn main() -> sexton::Result<()> {
/// let store = TahoeStore::open("/srv/tahoe/storage")?;
/// let state = SqliteStore::open("/var/lib/sexton/state.sqlite".as_ref())?;
/// let engine = Engine::builder(Settings::default())
///     .state(state)
///     .crawl(CrawlSettings::new("count"), store, Count)
///     .spawn()?;
/// engine.join()
/// # }
/// ```
#[derive(Debug)]
pub struct Engine;

impl Engine {
    /// Begins an engine with these settings.
    pub fn builder(settings: Settings) -> EngineBuilder {
        EngineBuilder {
            settings,
            state: None,
            crawls: Vec::new(),
            maintenance: Vec::new(),
            upkeep: UpkeepSettings::default(),
            subscribers: Vec::new(),
            governor: None,
            time: None,
            cycles: Cycles::Forever,
            life: Life::WithItsWork,
            fresh: Fresh::No,
            fixed_clock: None,
            threads: Threads::Own,
        }
    }
}

/// What an engine is to be.
pub struct EngineBuilder {
    settings: Settings,
    state: Option<Box<dyn StateStore>>,
    crawls: Vec<Box<dyn CrawlPlan>>,
    maintenance: Vec<(MaintenanceSettings, Arc<dyn Maintenance>)>,
    upkeep: UpkeepSettings,
    subscribers: Vec<EventSubscriber>,
    governor: Option<GovernorHandle>,
    time: Option<Time>,
    cycles: Cycles,
    life: Life,
    fresh: Fresh,
    fixed_clock: Option<f64>,
    threads: Threads,
}

/// Where the keeper of the state runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// On a thread of its own: a commit never holds up the host.
    Own,
    /// With everything else, for tests in paused time.
    Shared,
}

impl EngineBuilder {
    /// Keeps progress here. Default: in memory, so that it ends with the process.
    pub fn state(mut self, state: impl StateStore) -> Self {
        self.state = Some(Box::new(state));
        self
    }

    /// Adds a crawl: this job over this store.
    pub fn crawl<S: Store, J: Job<S>>(mut self, settings: CrawlSettings, store: S, job: J) -> Self {
        self.crawls.push(Box::new(LaunchPlan { settings, store, job }));
        self
    }

    /// Adds a maintenance, which runs again and again ([`MaintenanceSettings::every`]). When it last ran is kept with the
    /// [`state`](Self::state), so a restart does not run it at once again. A run that fails or refuses is shown, and tried again at its next time.
    pub fn maintenance(mut self, settings: MaintenanceSettings, maintenance: impl Maintenance) -> Self {
        self.maintenance.push((settings, Arc::new(maintenance)));
        self
    }

    /// How the state is kept in order. Default: [`UpkeepSettings::default`]. Not done with [`Cycles::Once`].
    pub fn upkeep(mut self, settings: UpkeepSettings) -> Self {
        self.upkeep = settings;
        self
    }

    /// Sends every event here too: to an actor (`Recipient<Event>`), or through a [channel](crate::model::event_channel). Who is
    /// full misses events; it never slows the walk.
    pub fn on_event(mut self, subscriber: impl Into<EventSubscriber>) -> Self {
        self.subscribers.push(subscriber.into());
        self
    }

    /// Works within the budget of this governor, which may serve other engines too; [`Settings::budget`] is not used then. Clients
    /// of one name share one account, so crawls of different engines should have different names. Default: a governor of its own.
    pub fn governor(mut self, governor: GovernorHandle) -> Self {
        self.governor = Some(governor);
        self
    }

    /// How many cycles each crawl runs, and how often each maintenance. Default [`Cycles::Forever`]. With [`Cycles::Once`] a
    /// maintenance that fails is the engine's error.
    pub fn cycles(mut self, cycles: Cycles) -> Self {
        self.cycles = cycles;
        self
    }

    /// When the engine ends. Default [`Life::WithItsWork`].
    pub fn life(mut self, life: Life) -> Self {
        self.life = life;
        self
    }

    /// Whether an unfinished cycle of an earlier run is given up. Default [`Fresh::No`]: it goes on.
    pub fn fresh(mut self, fresh: Fresh) -> Self {
        self.fresh = fresh;
        self
    }

    /// The moment that counts as now for the jobs, in seconds since 1970. Default: when the cycle begins.
    pub fn now(mut self, unix_secs: f64) -> Self {
        self.fixed_clock = Some(unix_secs);
        self
    }

    /// Clock and meter. Default: those of the [governor](Self::governor) if it was given one, else the machine's, without charging
    /// what the process does beside the engine. A governor that was given measures slices by its own.
    pub fn time(mut self, time: Time) -> Self {
        self.time = Some(time);
        self
    }

    /// Where the keeper of the state runs. Default [`Threads::Own`].
    pub fn threads(mut self, threads: Threads) -> Self {
        self.threads = threads;
        self
    }

    /// Starts the engine on the current arbiter of a running actix `System`.
    ///
    /// # Errors
    /// [`Error::Config`] if a setting is out of range, two crawls share a name, or no `System` is running.
    pub fn start(self) -> Result<EngineHandle> {
        if System::try_current().is_none() {
            let advice = "no actix system is running on this thread: call it inside one, or use spawn()";
            return Err(Error::Config(advice.to_owned()));
        }
        self.validate()?;
        self.wire()
    }

    /// Starts the engine on a thread of its own, from any program.
    ///
    /// # Errors
    /// As [`start`](Self::start), and if the thread cannot be started.
    pub fn spawn(self) -> Result<EngineHandle> {
        self.validate()?;
        let (started, handle) = std::sync::mpsc::channel();
        let run = move || {
            let system = match threads::system() {
                Ok(system) => system,
                Err(error) => return drop(started.send(Err(error))),
            };
            system.block_on(async move {
                let engine = self.wire();
                let closed = engine.as_ref().ok().map(EngineHandle::closed);
                // If the receiver is gone, spawn() has failed and nobody wants the engine.
                let _ = started.send(engine);
                if let Some(closed) = closed {
                    closed.await;
                }
            });
        };
        threads::start("sexton", run)?;
        let died = |_| Error::ActorPanicked { actor: "engine", message: "it did not start".to_owned() };
        handle.recv().map_err(died)?
    }

    fn validate(&self) -> Result<()> {
        self.settings.validate()?;
        self.crawls.iter().try_for_each(|crawl| crawl.validate())?;
        for (settings, maintenance) in &self.maintenance {
            settings.validate(maintenance.kind())?;
            maintenance.validate()?;
        }
        self.upkeep.validate()?;
        let crawls = self.crawls.iter().map(|crawl| crawl.name());
        settings::check_unique(crawls.chain(self.maintenance.iter().map(|(settings, _)| &*settings.name)))
    }

    /// Starts the actors and whoever waits for their end.
    fn wire(self) -> Result<EngineHandle> {
        let governor = self.governor.unwrap_or_else(|| {
            let time = self.time.clone().unwrap_or_else(|| Time::system(false));
            Governor::launch(self.settings.budget.clone(), time)
        });
        let time = self.time.unwrap_or_else(|| governor.time().clone());
        let engine = EngineId::new();
        let board = Arc::new(Board::new(engine, governor.board().clone(), time.clock.clone()));
        self.subscribers.into_iter().for_each(|subscriber| board.subscribers().add(subscriber));
        let fuse = Fuse::under(governor.fuse());
        let runners = u32::try_from(self.maintenance.len()).unwrap_or(u32::MAX);
        let workers = self.crawls.iter().map(|c| c.workers()).sum::<u32>().saturating_add(runners).max(1);
        let (governor, membership) = governor.join(engine, workers, board.subscribers().clone());
        let state = self.state.unwrap_or_else(|| Box::new(crate::state::MemoryStore::default()));
        let (reader, writer) = (state.reader(), StateWriter::new(state));
        let (checkpointer, state_thread) = start_checkpointer(writer.clone(), &time, &fuse, self.threads)?;
        let ports = Ports {
            slices: governor.slices().clone(),
            reader: reader.clone(),
            claim: checkpointer.clone().recipient(),
            commit: checkpointer.clone().recipient(),
            writer: WriterPort::new(writer, checkpointer.clone().recipient()),
            release: checkpointer.clone().recipient(),
            carry_out: checkpointer.clone().recipient(),
        };
        let maintenance = MaintenancePorts { reader: reader.clone(), ran: checkpointer.clone().recipient() };
        let (checkpoint, cycles, fresh, fixed_clock) =
            (self.settings.checkpoint, self.cycles, self.fresh, self.fixed_clock);
        let (life, fuse, board) = (self.life, fuse.clone(), board.clone());
        let working = Working::new(self.settings.priority);
        let wiring =
            Wiring { ports, maintenance, time, board, fuse, checkpoint, cycles, life, fresh, fixed_clock, working };
        let mut crawls: Vec<Launched> = self.crawls.into_iter().map(|plan| plan.launch(&wiring)).collect();
        crawls.extend(self.maintenance.into_iter().map(|(settings, of)| launch_maintenance(settings, of, &wiring)));
        let tidy = checkpointer.clone().recipient();
        let upkeep = (cycles != Cycles::Once).then(|| start_upkeep(self.upkeep, tidy, &wiring));
        let works = RunningTasks::default();
        let (shutdown, requests) = mpsc::unbounded_channel();
        let (outcome_set, outcome) = watch::channel(None);
        let (closed_set, closed) = watch::channel(false);
        let board = wiring.board.clone();
        let conductor = Conductor {
            works: works.clone(),
            wiring,
            membership,
            checkpointer: checkpointer.clone().recipient(),
            state_thread,
            upkeep,
            requests,
            outcome: outcome_set,
            closed: closed_set,
        };
        actix_rt::spawn(conductor.run(crawls));
        Ok(EngineHandle {
            governor,
            works,
            board,
            deliver: checkpointer.recipient(),
            reader,
            requests: shutdown,
            outcome,
            closed,
        })
    }
}
