//! The conductor: waits for the end of an engine, whatever it is, and brings it about when asked to.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::{mpsc, watch};

use super::StateThread;
use crate::actors::{Fuse, Launched};
use crate::error::{Error, Result};
use crate::messages::Stop;
use crate::status::Board;

/// A request to shut down.
pub(crate) struct Shutdown {
    pub deadline: Duration,
}

/// How long an actor that panics on another thread takes at most to say so.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Waits for the end, whatever it is, and brings it about when asked to.
pub(super) struct Conductor {
    pub crawls: Vec<Launched>,
    pub board: Arc<Board>,
    pub governor: Recipient<Stop>,
    pub checkpointer: Recipient<Stop>,
    pub state_thread: Option<StateThread>,
    pub upkeep: Option<Recipient<Stop>>,
    pub fuse: Fuse,
    pub requests: mpsc::UnboundedReceiver<Shutdown>,
    pub outcome: watch::Sender<Option<Result<()>>>,
    pub closed: watch::Sender<bool>,
}

impl Conductor {
    pub async fn run(mut self) {
        let stops: Vec<Recipient<Stop>> = self.crawls.iter().map(|c| c.stop.clone()).collect();
        let idle = self.crawls.is_empty();
        let mut crawls = Box::pin(all_ended(std::mem::take(&mut self.crawls)));
        // An engine without crawls serves slices until it is shut down.
        let (outcome, asked) = tokio::select! {
            error = self.fuse.blown() => (Err(error), false),
            result = &mut crawls, if !idle => (self.explained(result).await, false),
            Some(Shutdown { deadline }) = self.requests.recv() => (self.stop(&stops, deadline, &mut crawls).await, true),
            else => (self.explained(crawls.await).await, false),
        };
        let (failed, late) = (outcome.is_err(), matches!(outcome, Err(Error::Deadline(_))));
        if let Err(error) = &outcome {
            self.board.failed(error);
        }
        self.outcome.send_replace(Some(outcome));
        if !asked && !failed {
            // Until shutdown, reports can still be marked as handed over.
            self.requests.recv().await;
        }
        self.governor.do_send(Stop);
        for stop in stops.into_iter().chain(self.upkeep) {
            stop.do_send(Stop);
        }
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

    /// Stops the crawls after their running buckets, and waits for them, but not beyond the deadline.
    async fn stop(
        &self,
        stops: &[Recipient<Stop>],
        deadline: Duration,
        crawls: &mut (impl Future<Output = Result<()>> + Unpin),
    ) -> Result<()> {
        let stopped = async {
            for stop in stops {
                // Acknowledged, so that a crawl knows why it gets no slice; one that has ended need not know.
                let _ = stop.send(Stop).await;
            }
            self.governor.do_send(Stop);
            self.explained(crawls.await).await
        };
        tokio::select! {
            result = stopped => result,
            error = self.fuse.blown() => Err(error),
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
            error = self.fuse.blown() => Err(error),
            () = tokio::time::sleep(LAST_WORDS) => result,
        }
    }
}

/// Waits for all crawls; the first error is the result.
async fn all_ended(crawls: Vec<Launched>) -> Result<()> {
    let mut result = Ok(());
    for crawl in crawls {
        let gone = Err(Error::ActorPanicked { actor: "bucket processor", message: "it has gone".to_owned() });
        let ended = crawl.ended.await.unwrap_or(gone);
        result = result.and(ended);
    }
    result
}
