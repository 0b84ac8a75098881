//! What ends the engine when an actor panics.
//!
//! A panic in a handler kills an actor silently and nothing restarts it. Each actor therefore owns a [`ActorGuard`]: dropped
//! while panicking, it blows the engine's fuse, so the engine ends with an error that its owner sees.

use std::sync::Arc;

use tokio::sync::watch;

use crate::error::Error;

/// Blown once, by the first actor that panics.
#[derive(Debug, Clone)]
pub(crate) struct Fuse {
    own: Arc<watch::Sender<Option<Error>>>,
    /// That of the governor, which may serve other engines too.
    of_governor: Option<Arc<Fuse>>,
}

impl Fuse {
    pub fn new() -> Self {
        Fuse { own: Arc::new(watch::channel(None).0), of_governor: None }
    }

    /// One of an engine, which is blown with its governor's too.
    pub fn under(governor: &Fuse) -> Self {
        Fuse { of_governor: Some(Arc::new(governor.clone())), ..Fuse::new() }
    }

    /// Waits until it is blown.
    pub async fn blown(&self) -> Error {
        match &self.of_governor {
            None => self.own_blown().await,
            Some(governor) => tokio::select! {
                error = self.own_blown() => error,
                error = governor.own_blown() => error,
            },
        }
    }

    async fn own_blown(&self) -> Error {
        let mut changes = self.own.subscribe();
        match changes.wait_for(Option::is_some).await {
            Ok(error) => error.clone().unwrap_or(Error::Stopped),
            // The sender lives as long as `self`.
            Err(_) => Error::Stopped,
        }
    }

    /// Makes the guard of an actor.
    pub fn guard(&self, actor: &'static str) -> ActorGuard {
        ActorGuard { fuse: self.clone(), actor }
    }
}

/// Held by an actor; blows the fuse if the actor panics.
#[derive(Debug)]
pub(crate) struct ActorGuard {
    fuse: Fuse,
    actor: &'static str,
}

impl Drop for ActorGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let message = "its message stands in the log before this line".to_owned();
            self.fuse.own.send_if_modified(|error| {
                let first = error.is_none();
                error.get_or_insert(Error::ActorPanicked { actor: self.actor, message });
                first
            });
        }
    }
}
