//! The supervisor: keeps what is running and what is wanted the same, for months.
//!
//! It looks once a second at what there is and what there should be, and does what makes them meet: crawls that are wanted
//! and do not run are started, windows of the day open and close, readers of events are told. Whatever was missed between
//! two looks shows in the next one. Wishes and signals only change what is wanted, and bring the next look forward.

mod budget;
mod by_hand;
mod known;
mod managed;
mod reload;
mod tasks;
mod tell;

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::keep::KeptChanges;
use super::metrics::Metrics;
use super::run::Start;
use super::series::STEP;
use super::shared::{Asked, Granted, RefusedWish, Shared, View, Wish};
use super::signals::Signal;
use super::{launch, notify};
use crate::clock::Time;
use crate::error::Result;
use crate::lock::lock;
use crate::policy::quiet::Quiet;
use crate::priority::{Working, in_force};
use known::KnownTask;
use managed::Managed;
use tasks::{OpeningEnd, WantedTask};
use tell::LastTold;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often what the daemon keeps is written, at least.
const KEEP_EVERY: Duration = Duration::from_secs(300);
/// How often the cgroup is looked at.
const PRIORITY_EVERY: Duration = Duration::from_secs(60);

/// How long a request waits at most for what it wants to take effect: a running bucket may be large. It shows in the status then.
const EFFECT_WITHIN: Duration = Duration::from_secs(10);

/// What is awaited until a wish that was granted has taken effect. The supervisor looks on meanwhile.
type Effect = Pin<Box<dyn Future<Output = Granted>>>;

/// Something that is granted in any case, and has taken effect at the end of `effect`, or is under way.
fn done(effect: impl Future<Output = ()> + 'static) -> Effect {
    Box::pin(async move {
        let _ = tokio::time::timeout(EFFECT_WITHIN, effect).await;
        Ok(Vec::new())
    })
}

/// Who keeps the daemon as it should be.
pub struct Supervisor {
    shared: Arc<Shared>,
    metrics: Arc<Metrics>,
    start: Start,
    kept: KeptChanges,
    /// What of that is in its file.
    saved: KeptChanges,
    working: Working,
    tasks: Vec<Managed>,
    known: BTreeMap<String, KnownTask>,
    told: LastTold,
    quiet: Quiet,
    ended: mpsc::UnboundedReceiver<OpeningEnd>,
    tell_ended: mpsc::UnboundedSender<OpeningEnd>,
    due: Due,
}

/// When things are due next, by the monotonic clock.
#[derive(Debug, Default)]
struct Due {
    sample: Duration,
    keep: Duration,
    priority: Duration,
}

/// What is shown before the first look.
pub fn first_view(start: &Start, state: &Path, time: &Time, working: &Working) -> View {
    View {
        config_path: start.config_path.clone(),
        state: state.to_owned(),
        loaded: time.clock.unix_secs(),
        refused: None,
        file_rate: start.config.settings.budget.rate,
        windows: start.config.daemon.windows.clone(),
        open: None,
        next_change: None,
        changed: None,
        stopping: false,
        unsaved: None,
        priority: in_force(working),
        crawls: start.config.crawls.iter().map(launch::view).collect(),
        cleanings: start.config.cleanings.iter().map(launch::cleaning_view).collect(),
    }
}

impl Supervisor {
    /// Makes one; nothing runs before [`run`](Self::run).
    pub fn new(shared: Arc<Shared>, metrics: Arc<Metrics>, start: Start, kept: KeptChanges, working: Working) -> Self {
        let (tell_ended, ended) = mpsc::unbounded_channel();
        let tasks = WantedTask::all(&start.config).into_iter().map(Managed::new).collect();
        Supervisor {
            shared,
            metrics,
            start,
            saved: kept.clone(),
            kept,
            working,
            tasks,
            known: BTreeMap::new(),
            told: LastTold::default(),
            quiet: Quiet::default(),
            ended,
            tell_ended,
            due: Due::default(),
        }
    }

    /// Runs until a signal asks for the end, or the engine has failed.
    ///
    /// # Errors
    /// The error with which the engine has failed.
    pub async fn run(
        &mut self,
        mut wishes: mpsc::Receiver<Asked>,
        mut signals: mpsc::UnboundedReceiver<Signal>,
    ) -> Result<()> {
        self.greet();
        self.take_up_by_hand().await;
        let engine = self.shared.engine.clone();
        let failed = engine.finished();
        tokio::pin!(failed);
        let mut looks = tokio::time::interval(LOOK_EVERY);
        // After a stall one look shows all that was missed.
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut watchdog = notify::watchdog().map(tokio::time::interval);
        let stopped = loop {
            tokio::select! {
                result = &mut failed => break result,
                () = tick(watchdog.as_mut()) => self.tell_watchdog().await,
                _ = looks.tick() => self.look(),
                Some(Asked { wish, reply }) = wishes.recv() => {
                    let granted = self.grant(wish).await;
                    // First, so that the answer shows what it has made of it.
                    self.look();
                    tokio::task::spawn_local(async move {
                        let answer = match granted {
                            Ok(effect) => effect.await,
                            Err(refused) => Err(refused),
                        };
                        // Whoever no longer waits needs no answer.
                        let _ = reply.send(answer);
                    });
                }
                Some(ended) = self.ended.recv() => self.launched(ended),
                signal = signals.recv() => match signal {
                    Some(Signal::Reload) => drop(self.reload().await),
                    Some(Signal::Stop(name)) => {
                        self.stop(name);
                        break Ok(());
                    }
                    None => break Ok(()),
                },
            }
        };
        if let Err(error) = &stopped {
            error!(%error, "the engine has failed");
            self.stop("the engine has failed");
        }
        stopped
    }

    fn greet(&mut self) {
        let View { state, priority, .. } = self.shared.view();
        info!(url = self.shared.url, state = %state.display(), tasks = self.tasks.len(), "running");
        if self.tasks.is_empty() {
            warn!("the configuration names no crawls and no cleanings: there is nothing to do");
        }
        info!(in_force = ?priority.grip, "{}", priority.text);
        if let Some(change) = self.kept.budget {
            let percent = 100.0 * change.rate;
            info!(percent, "the budget was changed by hand and holds until that is taken back");
        }
    }

    fn stop(&mut self, why: &str) {
        info!(why, "ending after the running bucket");
        notify::stopping();
        lock(&self.shared.view).stopping = true;
        self.tell_bye(why);
    }

    /// Makes what is there and what is wanted meet.
    fn look(&mut self) {
        let now = self.shared.time.clock.now();
        self.shared.looks();
        self.look_at_budget();
        self.look_at_tasks(now);
        let status = self.shared.engine.status();
        self.metrics.look(&status);
        lock(&self.shared.paces).look(&status, now);
        if now >= self.due.sample {
            self.due.sample = now + STEP;
            let unix = self.shared.time.clock.unix_secs();
            let sample = lock(&self.shared.series).take(&status, now, unix);
            sample.iter().for_each(|sample| self.tell_sample(sample));
        }
        self.tell_news(&status, now);
        if now >= self.due.priority {
            self.due.priority = now + PRIORITY_EVERY;
            lock(&self.shared.view).priority = in_force(&self.working);
        }
        if now >= self.due.keep {
            self.due.keep = now + KEEP_EVERY;
            self.keep();
        }
    }

    /// Tells the watchdog that all is alive: the supervisor, since it comes here, and the engine, since it answers.
    async fn tell_watchdog(&self) {
        // Without an answer the watchdog is not told, nor is anything else done: it bites.
        self.shared.engine.answers().await;
        let status = self.shared.engine.status();
        let (crawls, measured) = (status.crawls.len(), status.budget.measured_total_percentage);
        notify::alive(&format!("{crawls} crawls, {measured:.1} % of a core"));
    }

    async fn grant(&mut self, wish: Wish) -> std::result::Result<Effect, RefusedWish> {
        match wish {
            Wish::Of(kind, name, command) => {
                let effect = self.command(kind, &name, command)?;
                self.note_by_hand(&name, command);
                Ok(effect)
            }
            Wish::Budget(rate) => {
                self.change_budget(rate);
                Ok(done(async {}))
            }
            Wish::Pause(pause) => {
                info!(pause, "everything");
                self.note_pause(pause);
                let engine = self.shared.engine.clone();
                Ok(done(async move { if pause { engine.pause().await } else { engine.resume().await } }))
            }
            Wish::Reload => {
                let lines = self.reload().await.map_err(|e| RefusedWish::Wrong(e.to_string()))?;
                Ok(Box::pin(async { Ok(lines) }))
            }
        }
    }

    /// Writes what the daemon keeps. A full disk is waited for.
    pub fn keep(&mut self) {
        for crawl in &self.start.config.crawls {
            let name = &crawl.settings.name;
            let Some(ring) = self.shared.engine.ring(name) else { continue };
            let visits = ring.visited.iter().map(|visited| visited.map_or(0.0, f64::round)).collect();
            self.kept.visits.insert(name.clone(), visits);
        }
        let state = lock(&self.shared.view).state.clone();
        let written = self.kept.write(&KeptChanges::path(&state));
        let now = self.shared.time.clock.now();
        if let Err(error) = &written
            && let Some(held_back) = self.quiet.say("keep", now)
        {
            warn!(%error, held_back, "what the daemon keeps cannot be written; it is tried again");
        }
        let unsaved = match &written {
            Ok(()) => {
                self.saved.clone_from(&self.kept);
                None
            }
            Err(error) => {
                // Sooner than usual.
                self.due.keep = now + Duration::from_secs(10);
                Some(unsaved(&self.kept.not_in(&self.saved), error))
            }
        };
        lock(&self.shared.view).unsaved = unsaved;
    }
}

/// What is lost if the daemon were killed now, for people.
fn unsaved(by_hand: &[String], error: &std::io::Error) -> String {
    if by_hand.is_empty() {
        return format!("when each prefix was visited cannot be saved, it is tried again: {error}");
    }
    format!("not saved yet, and lost if the daemon is killed, it is tried again: {}: {error}", by_hand.join(", "))
}

/// The next tick of a watchdog that may not be there.
async fn tick(watchdog: Option<&mut tokio::time::Interval>) {
    match watchdog {
        Some(interval) => drop(interval.tick().await),
        None => std::future::pending().await,
    }
}
