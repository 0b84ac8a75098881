//! The Cleaner: runs one maintenance, again and again, beside the crawls and under the same budget.
//!
//! This file holds what happens round a run: waiting for its time, noting how it ended, pause and stop. A run itself is
//! in [`run`]. A run that fails or refuses is told, and tried again at its next time: the reasons (a disk that is not
//! mounted, a clock that jumped) pass, and others depend on the engine.

mod run;

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use serde_json::Value;
use tokio::sync::{oneshot, watch};
use tracing::{info, warn};

use super::control::{Command, Control, work_to_end};
use super::guard::ActorGuard;
use super::messages::{Ran, SlicePort};
use super::{Cycles, Wiring};
use crate::clock::Time;
use crate::error::{Error, Result, Retry};
use crate::maintenance::{Maintenance, MaintenanceReport, MaintenanceResult};
use crate::model::{Board, Event, MaintenanceEnd, MaintenanceStatus, TaskState};
use crate::policy::backoff::Backoff;
use crate::policy::cycle::{LastEnd, Moment, next_start};
use crate::settings::MaintenanceSettings;
use crate::state::{LastRun, StateReader};

/// Where it is learned and noted when a maintenance ran.
#[derive(Clone)]
pub(crate) struct MaintenancePorts {
    pub reader: Arc<dyn StateReader>,
    pub ran: Recipient<Ran>,
}

/// One maintenance, and everything that goes with it.
pub(crate) struct Runner {
    settings: MaintenanceSettings,
    maintenance: Arc<dyn Maintenance>,
    client: Arc<str>,
    cycles: Cycles,
    slices: SlicePort,
    ports: MaintenancePorts,
    time: Time,
    board: Arc<Board>,
    control: Arc<Control>,
    /// Its part of the budget; may change at any time.
    weight: watch::Sender<f64>,
}

impl Runner {
    pub fn new(settings: MaintenanceSettings, maintenance: Arc<dyn Maintenance>, wiring: &Wiring) -> Self {
        Runner {
            client: Arc::from(settings.name.as_str()),
            cycles: wiring.cycles,
            slices: wiring.ports.slices.clone(),
            ports: wiring.maintenance.clone(),
            time: wiring.time.clone(),
            board: wiring.board.clone(),
            control: Arc::default(),
            weight: watch::channel(settings.weight).0,
            settings,
            maintenance,
        }
    }

    /// Runs when it is time, until there were enough runs, or it is stopped.
    async fn runs(&self) -> Result<()> {
        let started = self.time.clock.now();
        let (mut runs, mut last) = (0, self.last_end().await?);
        loop {
            if self.cycles != Cycles::Once {
                self.sleep_until_run(started, last).await?;
            }
            let ended = self.run_once().await;
            // What is running need not be started.
            self.control.started();
            if matches!(ended, Err(Error::Stopped)) || self.cycles == Cycles::Once {
                return ended.map(drop);
            }
            last = LastEnd::Here(self.time.clock.now());
            self.note(&ended).await?;
            self.hand_over(ended).await;
            runs += 1;
            if self.cycles == Cycles::Times(runs) {
                return Ok(());
            }
        }
    }

    /// When the last run of an earlier process ended. One that was stopped in mid-way has not, and goes on.
    async fn last_end(&self) -> Result<LastEnd> {
        if self.cycles == Cycles::Once {
            return Ok(LastEnd::Never);
        }
        // One row: less than what a slice for it would cost.
        let read = || {
            let (reader, name) = (self.ports.reader.clone(), self.settings.name.clone());
            tokio::task::spawn_blocking(move || reader.last_run(&name))
        };
        let last = match self.patiently(async || read().await.unwrap_or(Err(Error::Stopped))).await {
            Ok(Some(last)) => last,
            Ok(None) => return Ok(LastEnd::Never),
            Err(Error::Stopped) => return Err(Error::Stopped),
            // All that is lost is when to begin.
            Err(error) => {
                warn!(maintenance = self.settings.name, error = %error, "cannot read when it ran last");
                return Ok(LastEnd::Never);
            }
        };
        // A result that a newer Sexton has written is not shown.
        let result = serde_json::from_value(last.result).ok();
        self.show(|c| c.last = result.map(|result| MaintenanceEnd { ended: last.ended, result }));
        Ok(LastEnd::Earlier(last.ended))
    }

    async fn sleep_until_run(&self, started: Duration, last: LastEnd) -> Result<()> {
        let now = Moment { monotonic: self.time.clock.now(), unix_secs: self.time.clock.unix_secs() };
        let wait = next_start(started, self.settings.slow_start, last, self.settings.every, now);
        let phase = if last == LastEnd::Never { TaskState::SlowStart } else { TaskState::Sleeping };
        self.show(|c| (c.phase, c.next_run_due) = (phase, Some(now.monotonic.saturating_add(wait))));
        self.control.rests();
        tokio::select! {
            slept = self.sleep(wait) => slept?,
            () = self.control.start_wanted() => {}
        }
        self.control.started();
        self.show(|c| c.next_run_due = None);
        Ok(())
    }

    /// Shows how a run has ended, and keeps it, so that the next process does not run too soon.
    async fn note(&self, ended: &Result<Arc<MaintenanceReport>>) -> Result<()> {
        let result = match ended {
            Ok(report) => report.common.clone(),
            Err(error) => {
                warn!(maintenance = self.settings.name, error = %error, "maintenance failed, it is tried again next time");
                let (maintenance, error) = (self.settings.name.clone(), error.clone());
                self.board.emit(|| Event::MaintenanceFailed { maintenance, error: error.clone() });
                MaintenanceResult::Failed { error: error.to_string() }
            }
        };
        let ended = self.time.clock.unix_secs();
        let run = LastRun { ended, result: serde_json::to_value(&result).unwrap_or(Value::Null) };
        self.show(|c| {
            c.runs += 1;
            c.last = Some(MaintenanceEnd { ended, result });
        });
        let ran = Ran { maintenance: self.settings.name.clone(), run };
        match self.patiently(async || self.ports.ran.send(ran.clone()).await?).await {
            Ok(()) => Ok(()),
            Err(Error::Stopped) => Err(Error::Stopped),
            // The state says so to the crawls as well. Here it costs no more than a run that comes too soon.
            Err(error) => {
                warn!(maintenance = self.settings.name, error = %error, "cannot note when it ran");
                Ok(())
            }
        }
    }

    /// The report was told and noted, so what was kept for it may go. The host of a single run says
    /// itself when it has had it.
    async fn hand_over(&self, ended: Result<Arc<MaintenanceReport>>) {
        let Ok(report) = ended else { return };
        let handed = tokio::task::spawn_blocking(move || report.handed_over()).await;
        if let Ok(Err(error)) = handed {
            warn!(maintenance = self.settings.name, error = %error, "the next run gives the same report again");
        }
    }

    /// Asks something of the state until it is answered with more than "try again".
    async fn patiently<T>(&self, ask: impl AsyncFn() -> Result<T>) -> Result<T> {
        let mut backoff = Backoff::default();
        loop {
            match ask().await {
                Err(e) if e.retry() == Retry::Helps => {
                    self.show(|c| c.waiting_for = Some(e.to_string()));
                    self.sleep(backoff.failed()).await?;
                }
                answer => {
                    self.show(|c| c.waiting_for = None);
                    return answer;
                }
            }
        }
    }

    /// Returns at once while it may work, later if it is paused.
    async fn permission(&self) -> Result<()> {
        let paused = self.control.is_paused();
        if paused {
            self.phase(TaskState::Paused);
        }
        self.control.released().await?;
        if paused {
            self.phase(TaskState::Working);
        }
        Ok(())
    }

    /// Sleeps; a stop ends it with [`Error::Stopped`], a pause does not.
    async fn sleep(&self, wait: Duration) -> Result<()> {
        tokio::select! {
            biased;
            () = self.control.stopped() => Err(Error::Stopped),
            () = tokio::time::sleep(wait) => Ok(()),
        }
    }

    fn show(&self, write: impl FnOnce(&mut MaintenanceStatus)) {
        self.board.maintenance(&self.settings.name, write);
    }

    fn phase(&self, phase: TaskState) {
        self.show(|c| c.phase = phase);
    }

    /// Shows how it ended. A stop that was asked for is no error.
    fn ended(&self, result: Result<()>) -> Result<()> {
        let result = match result {
            Err(Error::Stopped) if self.control.is_stopped() => Ok(()),
            other => other,
        };
        self.show(|c| c.next_run_due = None);
        let Err(error) = &result else {
            self.phase(TaskState::Done);
            info!(maintenance = self.settings.name, "maintenance ended");
            return result;
        };
        self.show(|c| {
            c.phase = TaskState::Failed;
            c.error = Some(error.to_string());
        });
        let (maintenance, error) = (self.settings.name.clone(), error.clone());
        self.board.emit(|| Event::MaintenanceFailed { maintenance, error });
        result
    }
}

/// The actor that runs one maintenance.
pub struct Cleaner {
    runner: Arc<Runner>,
    ended: Option<oneshot::Sender<Result<()>>>,
    _guard: ActorGuard,
}

impl Cleaner {
    pub(crate) fn new(runner: Runner, ended: oneshot::Sender<Result<()>>, guard: ActorGuard) -> Self {
        Cleaner { runner: Arc::new(runner), ended: Some(ended), _guard: guard }
    }
}

impl Actor for Cleaner {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let runner = self.runner.clone();
        let run = async move {
            let result = runner.ended(runner.runs().await);
            runner.control.is_up();
            result
        };
        work_to_end(ctx, self.ended.take(), run);
    }
}

impl Handler<Command> for Cleaner {
    type Result = ResponseFuture<Result<()>>;

    fn handle(&mut self, command: Command, _: &mut Self::Context) -> Self::Result {
        let runner = self.runner.clone();
        match command {
            Command::SetWeight(weight) => drop(runner.weight.send_replace(weight)),
            Command::Confirm { .. } | Command::SetMinimumCycleTime(_) => {
                let why = format!("{} is a maintenance: only a crawl takes this command", runner.settings.name);
                return Box::pin(async { Err(Error::Config(why)) });
            }
            Command::Pause => runner.show(|c| c.paused = true),
            Command::Start | Command::Resume => runner.show(|c| c.paused = false),
            Command::Stop => {}
        }
        Box::pin(async move {
            runner.control.take(command).await;
            Ok(())
        })
    }
}
