//! The crawls and cleanings that are wanted: started, stopped, and tried again when what kept them from working may have
//! passed.

use std::time::Duration;

use tracing::{info, warn};

use super::known::KnownTask;
use super::managed::{Goal, Managed};
use super::{Effect, Supervisor, done};
use crate::config::{Config, CrawlConfig};
use crate::cumulus::settings::CleaningSettings;
use crate::daemon::launch::{First, launch, may_pass};
use crate::daemon::shared::{RefusedWish, TaskKind};
use crate::engine::{Command, EngineHandle, Fresh};
use crate::error::{Error, Result};
use crate::lock::lock;
use crate::policy::cycle::Moment;
use crate::settings::CrawlSettings;

/// What the configuration asks for by one name.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum WantedTask {
    Crawl(Box<CrawlConfig>),
    Cleaning(Box<CleaningSettings>),
}

impl WantedTask {
    /// All of a configuration, in its order.
    pub fn all(config: &Config) -> Vec<WantedTask> {
        let crawls = config.crawls.iter().cloned().map(Box::new).map(WantedTask::Crawl);
        crawls.chain(config.cleanings.iter().cloned().map(Box::new).map(WantedTask::Cleaning)).collect()
    }

    pub fn name(&self) -> &str {
        match self {
            WantedTask::Crawl(crawl) => &crawl.settings.name,
            WantedTask::Cleaning(cleaning) => &cleaning.task.name,
        }
    }

    pub fn kind(&self) -> TaskKind {
        match self {
            WantedTask::Crawl(_) => TaskKind::Crawl,
            WantedTask::Cleaning(_) => TaskKind::Cleaning,
        }
    }

    /// Its settings, if it is a crawl.
    pub fn as_crawl(&self) -> Option<&CrawlSettings> {
        match self {
            WantedTask::Crawl(crawl) => Some(&crawl.settings),
            WantedTask::Cleaning(_) => None,
        }
    }

    /// The same for one that has been there for so long: what is left of its slow start.
    fn after(mut self, passed: Duration) -> WantedTask {
        let slow_start = match &mut self {
            WantedTask::Crawl(crawl) => &mut crawl.settings.slow_start,
            WantedTask::Cleaning(cleaning) => &mut cleaning.task.slow_start,
        };
        *slow_start = slow_start.saturating_sub(passed);
        self
    }

    /// Whether the other is the same thing with other settings: the same job on the same store, or a cleaning as well.
    fn is_as(&self, other: &WantedTask) -> bool {
        match (self, other) {
            (WantedTask::Crawl(one), WantedTask::Crawl(two)) => {
                one.store == two.store && one.job.name() == two.job.name()
            }
            (one, two) => one.kind() == two.kind(),
        }
    }

    /// With what kind of thing it is, for people.
    pub fn title(&self) -> String {
        match self {
            WantedTask::Crawl(_) => format!("crawl {}", self.name()),
            WantedTask::Cleaning(_) => format!("cleaning {}", self.name()),
        }
    }
}

/// Something was opened, or could not be.
pub(super) struct OpeningEnd {
    name: String,
    result: Result<()>,
}

impl Supervisor {
    /// Starts what is wanted and does not run, and notices what has ended by itself.
    pub(super) fn look_at_tasks(&mut self, now: Duration) {
        let status = self.shared.engine.status();
        for i in 0..self.tasks.len() {
            let name = self.tasks[i].name().to_owned();
            let running = self.shared.engine.is_running(&name);
            let crawl = &mut self.tasks[i];
            match (running, crawl.opening, crawl.wanted) {
                (true, _, Goal::Running) => crawl.runs(status.crawls.get(&name)),
                (false, false, Goal::Running) if crawl.failed.is_none() => {
                    let ended = status.crawls.get(&name).and_then(|found| found.failure.clone());
                    match ended.filter(|_| crawl.waiting.is_none()) {
                        Some(error) => {
                            // One that sleeps needs neither store nor node: it was at work, or its time had come.
                            crawl.at_once |= may_pass(&error);
                            self.failed(i, &error, now);
                        }
                        None if crawl.is_due(now) => self.open(i, now),
                        None => {}
                    }
                }
                _ => {}
            }
        }
        let order = WantedTask::all(&self.start.config);
        let (engine, past, metrics) = (&self.shared.engine, &self.shared.past, &self.metrics);
        // Gone only when it has ended: until then its name is taken.
        self.tasks.retain(|crawl| {
            let gone = crawl.is_gone() && !crawl.opening && !engine.is_running(crawl.name());
            let again = order.iter().find(|named| named.name() == crawl.name());
            // One that begins again with other settings is the same one: what it has done stays known.
            if gone && !again.is_some_and(|again| again.is_as(&crawl.task)) {
                engine.forget(crawl.name());
                lock(past).forget(crawl.name());
            }
            if gone && again.is_none() {
                metrics.forget(crawl.name());
            }
            !gone
        });
        self.take_in_changed(now);
        // As in the file, whenever each was taken in.
        let place = |task: &Managed| order.iter().position(|known| known.name() == task.name());
        self.tasks.sort_by_key(place);
        // One that ends only to begin with other settings is shown all the while.
        let shown =
            || self.tasks.iter().filter(|task| !task.is_gone() || order.iter().any(|t| t.name() == task.name()));
        let by_hand = |task: &Managed| self.kept.by_hand.get(task.name()).copied();
        let crawls = shown().filter_map(|task| task.as_crawl(by_hand(task))).collect();
        let cleanings = shown().filter_map(|task| task.as_cleaning(by_hand(task))).collect();
        let mut view = lock(&self.shared.view);
        (view.crawls, view.cleanings) = (crawls, cleanings);
    }

    /// What the configuration names and nobody has in hand: new, or changed and gone meanwhile.
    fn take_in_changed(&mut self, now: Duration) {
        for task in WantedTask::all(&self.start.config) {
            self.known.entry(task.name().to_owned()).or_insert_with(|| KnownTask::new(now));
            if !self.tasks.iter().any(|known| known.name() == task.name()) {
                self.tasks.push(Managed::again(task));
            }
        }
    }

    fn open(&mut self, i: usize, now: Duration) {
        let crawl = &mut self.tasks[i];
        crawl.opening = true;
        let passed = self.known.get(crawl.name()).map_or(Duration::ZERO, |known| known.passed(now));
        let (engine, task, fresh) = (self.shared.engine.clone(), crawl.task.clone().after(passed), crawl.fresh);
        let clock = &self.shared.time.clock;
        let moment = Moment { monotonic: clock.elapsed(), unix_secs: clock.unix_secs() };
        let first = if crawl.asks_first { First::AskTheJob(moment) } else { First::Nothing };
        let ended = self.tell_ended.clone();
        let visits = self.kept.visits.get(crawl.name()).cloned().unwrap_or_default();
        tokio::task::spawn_local(async move {
            let name = task.name().to_owned();
            let result = match task {
                WantedTask::Crawl(crawl) => launch(&engine, *crawl, fresh, first).await,
                WantedTask::Cleaning(cleaning) => engine.add_maintenance(cleaning.task.clone(), *cleaning).await,
            };
            if result.is_ok() {
                let known = visits.into_iter().zip(0u32..).filter(|(at, _)| *at > 0.0);
                engine.remember_visits(&name, known.map(|(at, position)| (position, at)));
            }
            // A supervisor that has gone needs no answer.
            let _ = ended.send(OpeningEnd { name, result });
        });
    }

    /// Takes note of how the opening of a crawl went.
    pub(super) fn launched(&mut self, OpeningEnd { name, result }: OpeningEnd) {
        let now = self.shared.time.clock.now();
        let Some(i) = self.tasks.iter().position(|crawl| crawl.name() == name) else { return };
        let crawl = &mut self.tasks[i];
        crawl.opening = false;
        match result {
            Ok(()) => {
                info!(name, "added");
                crawl.opened();
                let at_once = std::mem::take(&mut crawl.at_once).then_some(Command::Start);
                let stop = (crawl.wanted != Goal::Running).then_some(Command::Stop);
                let pause = self.is_paused(&name).then_some(Command::Pause);
                // In this order; it may have ended already, which the next look shows.
                for command in [at_once, pause, stop].into_iter().flatten() {
                    tokio::task::spawn_local(given(&self.shared.engine, &name, command));
                }
            }
            Err(error) => self.failed(i, &error, now),
        }
        self.look_at_tasks(now);
    }

    /// It has ended, or did not begin.
    fn failed(&mut self, i: usize, error: &Error, now: Duration) {
        let crawl = &mut self.tasks[i];
        crawl.failed(error, now);
        let name = crawl.name().to_owned();
        if let Some(held_back) = self.quiet.say(&format!("{name}: {error}"), now) {
            let again = if crawl.waiting.is_some() { "it is tried again" } else { "it waits for a command" };
            warn!(name, %error, held_back, "not running, {again}");
        }
    }

    /// Ends the crawls that have gone from the configuration.
    pub(super) fn end_those_gone(&mut self) {
        let gone: Vec<String> = self.tasks.iter().filter(|c| c.is_gone()).map(|c| c.name().to_owned()).collect();
        gone.iter().for_each(|name| drop(tokio::task::spawn_local(given(&self.shared.engine, name, Command::Stop))));
    }

    /// Gives a command to a crawl or cleaning, running or not.
    pub(super) fn command(
        &mut self,
        kind: TaskKind,
        name: &str,
        command: Command,
    ) -> std::result::Result<Effect, RefusedWish> {
        let fits = |task: &&mut Managed| task.name() == name && task.task.kind() == kind;
        let none = || RefusedWish::Unknown(format!("there is no crawl or cleaning {name:?}"));
        let task = self.tasks.iter_mut().find(fits).ok_or_else(none)?;
        if task.is_gone() {
            return Err(RefusedWish::Unavailable(format!("{name} ends, since the configuration has changed")));
        }
        info!(name, ?command, "by command");
        let engine = &self.shared.engine;
        match command {
            Command::Start => {
                // Known to the engine a moment before the next look shows it here. Of one that is to be tried again it is
                // what was wrong before.
                let found = engine.status().crawls.get(name).and_then(|found| found.failure.clone());
                let found = found.filter(|_| task.waiting.is_none());
                // A cycle that was begun with other parameters is given up for a new one: that is what is asked for.
                if matches!(task.failed.as_ref().or(found.as_ref()), Some(Error::CycleDiffers { .. })) {
                    task.fresh = Fresh::Yes;
                }
                // One that was stopped may still be ending, and begins anew after that.
                let ends = task.wanted == Goal::Stopped;
                task.start();
                if !engine.is_running(name) || ends {
                    task.begin_at_once();
                }
            }
            // Also while it is still ending: it will not be running.
            Command::Pause | Command::Resume if !task.is_coming() => {
                return Err(RefusedWish::Conflict(format!("{name} is not running; start it")));
            }
            Command::Stop => task.stop(),
            Command::Confirm { .. } => {
                let (engine, name) = (engine.clone(), name.to_owned());
                return Ok(Box::pin(async move {
                    match engine.command(&name, command).await {
                        Ok(()) => Ok(Vec::new()),
                        Err(Error::Config(why)) => Err(RefusedWish::Conflict(why)),
                        Err(error) => Err(RefusedWish::Unavailable(format!("nothing was confirmed: {error}"))),
                    }
                }));
            }
            _ => {}
        }
        Ok(done(given(engine, name, command)))
    }
}

/// Gives the engine a command. One that is on its way, or waits for its store, gets it when it comes; how it ends is seen at the
/// next look.
pub(super) fn given(engine: &EngineHandle, name: &str, command: Command) -> impl Future<Output = ()> + use<> {
    let (engine, name) = (engine.clone(), name.to_owned());
    async move { drop(engine.command(&name, command).await) }
}
