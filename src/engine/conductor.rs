//! The conductor: waits for the end of an engine, whatever it is, and brings it about when asked to. Starts and ends single
//! crawls and maintenance meanwhile.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::launch::StateThread;
use crate::actors::messages::Stop;
use crate::actors::{Command, Launched, Life, Membership, Wiring};
use crate::error::{Error, Result};
use crate::lock::lock;

/// Starts something with an engine's wiring.
pub(crate) type Launch = Box<dyn FnOnce(&Wiring) -> Launched + Send>;

/// What the owner of a handle asks for.
pub(crate) enum Request {
    /// The end.
    Shutdown { deadline: Duration },
    /// One more crawl or maintenance.
    Launch { name: String, launch: Launch, reply: oneshot::Sender<Result<()>> },
    /// A sign of life.
    Answer { reply: oneshot::Sender<Result<()>> },
    /// The end of one; answered when it has ended.
    Stop { name: String, reply: oneshot::Sender<Result<()>> },
}

/// How long an actor that panics on another thread takes at most to say so.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How the crawls and maintenance that run can be reached, by name.
#[derive(Clone, Default)]
pub(crate) struct RunningTasks(Arc<Mutex<BTreeMap<String, RunningTask>>>);

struct RunningTask {
    commands: Recipient<Command>,
    workers: u32,
    /// Who waits for its end.
    waiting: Vec<oneshot::Sender<Result<()>>>,
}

impl RunningTasks {
    pub fn commands(&self, name: &str) -> Option<Recipient<Command>> {
        lock(&self.0).get(name).map(|work| work.commands.clone())
    }

    pub fn is_running(&self, name: &str) -> bool {
        lock(&self.0).contains_key(name)
    }

    fn all(&self) -> Vec<Recipient<Command>> {
        lock(&self.0).values().map(|work| work.commands.clone()).collect()
    }

    fn workers(&self) -> u32 {
        lock(&self.0).values().fold(0u32, |sum, work| sum.saturating_add(work.workers)).max(1)
    }
}

/// What is said of a name that nothing running has.
pub(super) fn not_running(name: &str) -> Error {
    Error::Config(format!("there is no crawl or maintenance {name:?} that is running"))
}

type Running = JoinSet<(String, Result<()>)>;

/// Waits for the end, whatever it is, and brings it about when asked to.
pub(super) struct Conductor {
    pub works: RunningTasks,
    pub wiring: Wiring,
    pub membership: Membership,
    pub checkpointer: Recipient<Stop>,
    pub state_thread: Option<StateThread>,
    pub upkeep: Option<Recipient<Stop>>,
    pub requests: mpsc::UnboundedReceiver<Request>,
    pub outcome: watch::Sender<Option<Result<()>>>,
    pub closed: watch::Sender<bool>,
}

impl Conductor {
    pub async fn run(mut self, launched: Vec<Launched>) {
        let mut running = Running::new();
        let idle = launched.is_empty();
        launched.into_iter().for_each(|launched| self.watch(launched, &mut running));
        let (outcome, asked) = self.until_end(&mut running, idle).await;
        let (failed, late) = (outcome.is_err(), matches!(outcome, Err(Error::Deadline(_))));
        if let Err(error) = &outcome {
            self.wiring.board.failed(error);
        }
        self.wiring.board.subscribers().end();
        self.outcome.send_replace(Some(outcome));
        if !asked && !failed {
            // Until shutdown, reports can still be marked as handed over.
            self.wait_for_shutdown().await;
        }
        self.membership.leave();
        self.works.all().iter().for_each(|commands| commands.do_send(Command::Stop));
        self.upkeep.iter().for_each(|upkeep| upkeep.do_send(Stop));
        // Acknowledged when the state is closed; a checkpointer that has gone has closed it.
        let closing = self.checkpointer.send(Stop);
        if late {
            // A state that hangs (a dead disk) must not hold up whoever has set a deadline.
            let _ = tokio::time::timeout(LAST_WORDS, closing).await;
        } else {
            let _ = closing.await;
        }
        drop(self.state_thread);
        self.closed.send_replace(true);
    }

    /// How the engine ended, and whether it was asked to.
    async fn until_end(&mut self, running: &mut Running, mut idle: bool) -> (Result<()>, bool) {
        let mut result = Ok(());
        loop {
            // An engine without crawls serves slices until it is shut down.
            if running.is_empty() && !idle && self.wiring.life == Life::WithItsWork {
                return (self.explained(result).await, false);
            }
            tokio::select! {
                error = self.wiring.fuse.blown() => return (Err(error), false),
                Some(ended) = running.join_next() => {
                    let ended = self.ended(ended);
                    if self.wiring.life == Life::WithItsWork {
                        result = result.and(ended);
                    }
                }
                request = self.requests.recv() => match request {
                    Some(Request::Shutdown { deadline }) => {
                        return (self.stop(deadline, running, result).await, true);
                    }
                    Some(Request::Launch { name, launch, reply }) => {
                        idle = false;
                        // Whoever no longer waits needs no answer.
                        let _ = reply.send(self.launch(&name, launch, running));
                    }
                    Some(Request::Answer { reply }) => drop(reply.send(Ok(()))),
                    Some(Request::Stop { name, reply }) => self.stop_one(&name, reply),
                    // Nobody has a handle any more: it ends with its work, or never.
                    None if running.is_empty() => return (result, true),
                    None => {
                        let Some(ended) = running.join_next().await else { continue };
                        result = result.and(self.ended(ended));
                    }
                },
            }
        }
    }

    async fn wait_for_shutdown(&mut self) {
        loop {
            match self.requests.recv().await {
                Some(Request::Shutdown { .. }) | None => return,
                Some(Request::Launch { reply, .. } | Request::Stop { reply, .. } | Request::Answer { reply }) => {
                    let _ = reply.send(Err(Error::Stopped));
                }
            }
        }
    }

    fn watch(&self, launched: Launched, running: &mut Running) {
        let Launched { name, commands, workers, ended } = launched;
        let work = RunningTask { commands, workers, waiting: Vec::new() };
        lock(&self.works.0).insert(name.clone(), work);
        running.spawn(async move {
            let gone = Err(Error::ActorPanicked { actor: "bucket processor", message: "it has gone".to_owned() });
            (name, ended.await.unwrap_or(gone))
        });
    }

    fn launch(&self, name: &str, launch: Launch, running: &mut Running) -> Result<()> {
        if self.works.is_running(name) {
            return Err(Error::Config(format!("{name} is running already")));
        }
        self.watch(launch(&self.wiring), running);
        self.membership.set_workers(self.works.workers());
        Ok(())
    }

    fn stop_one(&self, name: &str, reply: oneshot::Sender<Result<()>>) {
        match lock(&self.works.0).get_mut(name) {
            Some(work) => {
                work.waiting.push(reply);
                work.commands.do_send(Command::Stop);
            }
            None => {
                let _ = reply.send(Err(not_running(name)));
            }
        }
    }

    /// Takes note of one that has ended.
    fn ended(&self, ended: std::result::Result<(String, Result<()>), tokio::task::JoinError>) -> Result<()> {
        let Ok((name, result)) = ended else { return Ok(()) };
        if let Some(work) = lock(&self.works.0).remove(&name) {
            work.waiting.into_iter().for_each(|reply| drop(reply.send(result.clone())));
        }
        if self.wiring.life == Life::UntilShutdown {
            self.membership.set_workers(self.works.workers());
        }
        result
    }

    /// Stops the crawls after their running buckets, and waits for them, but not beyond the deadline.
    async fn stop(&self, deadline: Duration, running: &mut Running, mut result: Result<()>) -> Result<()> {
        let stopped = async {
            for commands in self.works.all() {
                // Acknowledged, so that a crawl knows why it gets no slice; one that has ended need not know.
                let _ = commands.send(Command::Stop).await;
            }
            self.membership.leave();
            while let Some(ended) = running.join_next().await {
                let ended = self.ended(ended);
                result = result.and(ended);
            }
            self.explained(result).await
        };
        tokio::select! {
            result = stopped => result,
            error = self.wiring.fuse.blown() => Err(error),
            () = tokio::time::sleep(deadline) => Err(Error::Deadline(deadline)),
        }
    }

    /// Where a crawl has ended because an actor has gone: with what that actor has left behind, which may be a moment
    /// later, on another thread.
    async fn explained(&self, result: Result<()>) -> Result<()> {
        if !matches!(result, Err(Error::Stopped | Error::ActorPanicked { .. })) {
            return result;
        }
        tokio::select! {
            error = self.wiring.fuse.blown() => Err(error),
            () = tokio::time::sleep(LAST_WORDS) => result,
        }
    }
}
