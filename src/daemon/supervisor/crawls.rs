//! The crawls that are wanted: started, stopped, and tried again when what kept them from working may have passed.

use std::time::Duration;

use tracing::{info, warn};

use super::Supervisor;
use crate::config::CrawlConfig;
use crate::daemon::launch::{launch, may_pass, view};
use crate::daemon::shared::{CrawlView, Granted, Refused, Verb};
use crate::engine::Fresh;
use crate::error::{Error, Result};
use crate::lock::lock;
use crate::messages::Order;
use crate::policy::backoff::Backoff;
use crate::status::{CrawlStatus, Phase};

/// A crawl of the configuration, and what is wanted of it.
pub(super) struct Managed {
    pub config: CrawlConfig,
    wanted: Wanted,
    /// Whether it is being opened.
    opening: bool,
    /// Whether its next cycle begins at once.
    at_once: bool,
    /// Whether an unfinished cycle is given up.
    fresh: Fresh,
    backoff: Backoff,
    retry_at: Duration,
    waiting: Option<String>,
    failed: Option<Error>,
}

/// What is wanted of a crawl.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Running,
    /// By an operator.
    Stopped,
    /// It has gone from the configuration, or changed: it ends, and nothing is shown of it any more.
    Gone,
}

/// A crawl was opened, or could not be.
pub(super) struct Ended {
    name: String,
    result: Result<()>,
}

impl Managed {
    pub fn new(config: CrawlConfig) -> Self {
        Managed {
            config,
            wanted: Wanted::Running,
            opening: false,
            at_once: false,
            fresh: Fresh::No,
            backoff: Backoff::default(),
            retry_at: Duration::ZERO,
            waiting: None,
            failed: None,
        }
    }

    fn name(&self) -> &str {
        &self.config.settings.name
    }

    /// It has gone from the configuration.
    pub fn let_go(&mut self) {
        self.wanted = Wanted::Gone;
    }

    pub fn is_gone(&self) -> bool {
        self.wanted == Wanted::Gone
    }

    fn shown(&self) -> CrawlView {
        CrawlView {
            stopped: self.wanted == Wanted::Stopped,
            waiting: self.waiting.clone(),
            failed: self.failed.as_ref().map(Error::to_string),
            ..view(&self.config)
        }
    }
}

impl Supervisor {
    /// Starts what is wanted and does not run, and notices what has ended by itself.
    pub(super) fn look_at_crawls(&mut self, now: Duration) {
        let status = self.shared.engine.status();
        for i in 0..self.crawls.len() {
            let name = self.crawls[i].name().to_owned();
            let running = self.shared.engine.is_running(&name);
            let crawl = &mut self.crawls[i];
            match (running, crawl.opening, crawl.wanted) {
                (true, _, Wanted::Running) => {
                    let found = status.crawls.get(&name);
                    if found.is_some_and(|found| found.phase == Phase::Walking && found.buckets > 0) {
                        crawl.backoff.succeeded();
                    }
                }
                (false, false, Wanted::Running) if crawl.failed.is_none() => {
                    let ended = status.crawls.get(&name).and_then(|found| found.failure.clone());
                    match ended.filter(|_| crawl.waiting.is_none()) {
                        Some(error) => self.failed(i, error, now),
                        None if now >= crawl.retry_at => self.open(i),
                        None => {}
                    }
                }
                _ => {}
            }
        }
        let engine = &self.shared.engine;
        // Gone only when it has ended: until then its name is taken.
        self.crawls.retain(|crawl| {
            let gone = crawl.is_gone() && !crawl.opening && !engine.is_running(crawl.name());
            if gone {
                engine.forget(crawl.name());
            }
            !gone
        });
        self.take_in_changed();
        lock(&self.shared.view).crawls =
            self.crawls.iter().filter(|crawl| !crawl.is_gone()).map(Managed::shown).collect();
    }

    /// What the configuration names and nobody has in hand: new, or changed and gone meanwhile.
    fn take_in_changed(&mut self) {
        for config in &self.start.config.crawls {
            if !self.crawls.iter().any(|crawl| crawl.name() == config.settings.name) {
                self.crawls.push(Managed::new(config.clone()));
            }
        }
    }

    fn open(&mut self, i: usize) {
        let crawl = &mut self.crawls[i];
        crawl.opening = true;
        let (engine, config, fresh) = (self.shared.engine.clone(), crawl.config.clone(), crawl.fresh);
        let ended = self.tell_ended.clone();
        let visits = self.kept.visits.get(crawl.name()).cloned().unwrap_or_default();
        tokio::task::spawn_local(async move {
            let name = config.settings.name.clone();
            let result = launch(&engine, config, fresh).await;
            if result.is_ok() {
                let known = visits.into_iter().zip(0u32..).filter(|(at, _)| *at > 0.0);
                engine.remember_visits(&name, known.map(|(at, position)| (position, at)));
            }
            // A supervisor that has gone needs no answer.
            let _ = ended.send(Ended { name, result });
        });
    }

    /// Takes note of how the opening of a crawl went.
    pub(super) fn launched(&mut self, Ended { name, result }: Ended) {
        let now = self.shared.time.clock.now();
        let Some(i) = self.crawls.iter().position(|crawl| crawl.name() == name) else { return };
        let crawl = &mut self.crawls[i];
        crawl.opening = false;
        match result {
            Ok(()) => {
                info!(crawl = name, "crawl added");
                (crawl.waiting, crawl.fresh) = (None, Fresh::No);
                if std::mem::take(&mut crawl.at_once) {
                    // It may have ended already, which the next look shows.
                    let _ = self.shared.engine.order(&name, Order::Start);
                }
                if crawl.wanted != Wanted::Running {
                    self.end(&name);
                }
            }
            Err(error) => self.failed(i, error, now),
        }
        self.look_at_crawls(now);
    }

    /// It has ended, or did not begin: it is tried again if that can help.
    fn failed(&mut self, i: usize, error: Error, now: Duration) {
        let crawl = &mut self.crawls[i];
        let name = crawl.name().to_owned();
        if may_pass(&error) {
            crawl.waiting = Some(error.to_string());
            crawl.retry_at = now + crawl.backoff.failed();
            // It was at work, or about to be: no slow start for what comes back.
            crawl.at_once = true;
        } else {
            crawl.failed = Some(error.clone());
        }
        if let Some(held_back) = self.quiet.say(&format!("{name}: {error}"), now) {
            let waits = crawl.waiting.is_some();
            warn!(crawl = name, %error, held_back, waits, "the crawl does not run");
        }
    }

    fn end(&self, name: &str) {
        let (engine, name) = (self.shared.engine.clone(), name.to_owned());
        // How it ends is seen at the next look.
        tokio::task::spawn_local(async move { engine.stop(&name).await });
    }

    /// Ends the crawls that have gone from the configuration.
    pub(super) fn end_those_gone(&mut self) {
        let gone: Vec<String> = self.crawls.iter().filter(|c| c.is_gone()).map(|c| c.name().to_owned()).collect();
        gone.iter().for_each(|name| self.end(name));
    }

    pub(super) async fn wish_of_crawl(&mut self, name: &str, verb: Verb) -> Granted {
        let known = self.crawls.iter_mut().find(|crawl| crawl.name() == name && !crawl.is_gone());
        let crawl = known.ok_or_else(|| Refused::Unknown(format!("there is no crawl {name:?}")))?;
        let conflict = |why: &str| Err(Refused::Conflict(format!("{name} {why}")));
        info!(crawl = name, ?verb, "by command");
        let engine = self.shared.engine.clone();
        match verb {
            Verb::Order(Order::Start) => {
                // A cycle that was begun with other parameters is given up for a new one: that is what is asked for.
                if matches!(crawl.failed, Some(Error::CycleDiffers { .. })) {
                    crawl.fresh = Fresh::Yes;
                }
                (crawl.wanted, crawl.retry_at, crawl.failed) = (Wanted::Running, Duration::ZERO, None);
                if engine.order(name, Order::Start).is_err() {
                    crawl.at_once = true;
                    crawl.waiting.get_or_insert_with(|| "it is being started".to_owned());
                }
                Ok(Vec::new())
            }
            Verb::Order(order) => {
                if engine.order(name, order).is_err() {
                    return conflict("is not running; start it");
                }
                self.settled_crawl(name, |found| found.held == (order == Order::Pause)).await;
                Ok(Vec::new())
            }
            Verb::Stop => {
                crawl.wanted = Wanted::Stopped;
                (crawl.waiting, crawl.failed) = (None, None);
                self.end(name);
                Ok(Vec::new())
            }
            // The job that rehearses takes it from here.
            Verb::Confirm(_) => conflict("has no rehearsal that waits to be confirmed"),
        }
    }

    /// Waits a moment until the engine shows what a crawl was told.
    async fn settled_crawl(&self, name: &str, shows: impl Fn(&CrawlStatus) -> bool) {
        for _ in 0..100 {
            if self.shared.engine.status().crawls.get(name).is_none_or(&shows) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}
