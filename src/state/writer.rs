//! The one writer of the state. The checkpointer owns it, and lends it to threads that fold.
//!
//! A commit takes some 20 microseconds; a hop to another thread and back takes two or three times that. So where progress
//! is saved after every bucket, the folding thread borrows the writer and commits itself, one at a time.

use std::sync::{Arc, Mutex};

use super::StateStore;
use crate::error::{Error, Result};
use crate::lock::lock;

/// A state store, one user at a time, until it is closed. Cheap to clone.
#[derive(Clone)]
pub struct StateWriter(Arc<Mutex<Option<Box<dyn StateStore>>>>);

impl StateWriter {
    /// The writer of this store.
    pub fn new(state: Box<dyn StateStore>) -> Self {
        StateWriter(Arc::new(Mutex::new(Some(state))))
    }

    /// Works with the store, alone.
    ///
    /// # Errors
    /// [`Error::Stopped`] once it is closed, and whatever the work gives.
    pub fn with<R>(&self, work: impl FnOnce(&mut dyn StateStore) -> Result<R>) -> Result<R> {
        let mut state = lock(&self.0);
        work(state.as_deref_mut().ok_or(Error::Stopped)?)
    }

    /// Closes the store: when this returns, another process may open it.
    pub fn close(&self) {
        *lock(&self.0) = None;
    }
}

impl std::fmt::Debug for StateWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Writer")
    }
}
