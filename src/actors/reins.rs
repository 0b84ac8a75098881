//! What an operator holds one crawl or one maintenance by: pause, start, stop.
//!
//! Owns the wishes only; whoever works looks at them between two slices, so a pause is in force within one slice.

use tokio::sync::watch;

use super::messages::Instruction;
use crate::error::{Error, Result};

/// The wishes about one crawl or maintenance; each may change at any time.
pub(crate) struct Reins {
    stop: watch::Sender<bool>,
    held: watch::Sender<bool>,
    /// Whether an order to start waits to be followed.
    start: watch::Sender<bool>,
}

impl Reins {
    pub fn new() -> Self {
        Reins { stop: watch::channel(false).0, held: watch::channel(false).0, start: watch::channel(false).0 }
    }

    /// Takes an order in.
    pub fn take(&self, order: Instruction) {
        self.held.send_replace(order == Instruction::Pause);
        if order == Instruction::Start {
            self.start.send_replace(true);
        }
    }

    /// Asks for the end.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    pub fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    pub fn is_held(&self) -> bool {
        *self.held.borrow()
    }

    /// Waits until the end is asked for.
    pub async fn stopped(&self) {
        // The sender lives as long as `self`.
        let _ = self.stop.subscribe().wait_for(|stop| *stop).await;
    }

    /// Waits until a pause begins.
    pub async fn held(&self) {
        let _ = self.held.subscribe().wait_for(|held| *held).await;
    }

    /// Waits until there is no pause. A stop ends it with [`Error::Stopped`].
    pub async fn free(&self) -> Result<()> {
        let mut held = self.held.subscribe();
        tokio::select! {
            biased;
            () = self.stopped() => Err(Error::Stopped),
            _ = held.wait_for(|held| !*held) => Ok(()),
        }
    }

    /// Waits for an order to start, and leaves it to be taken.
    pub async fn asked_to_start(&self) {
        let _ = self.start.subscribe().wait_for(|start| *start).await;
    }

    /// Waits for an order to start, and takes it.
    pub async fn told_to_start(&self) {
        self.asked_to_start().await;
        self.start.send_replace(false);
    }

    /// What is running need not be started.
    pub fn started(&self) {
        self.start.send_replace(false);
    }
}
