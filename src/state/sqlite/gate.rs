//! The gate before the readers of a state: they give way to whoever cuts the log, who never waits for them while progress is
//! committed.
//!
//! A log that somebody reads from cannot be cut. With one page read after the other there might always be somebody. So whoever
//! wants to cut it shuts the gate: the pages that are being read end within some milliseconds, the next ones wait before it,
//! and the first commit that finds nobody inside cuts the log.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::lock::lock;

/// How long a page waits before a gate that is shut. If nothing was committed by then, the log does not grow either.
const GIVES_WAY: Duration = Duration::from_millis(50);

#[derive(Debug, Default)]
pub(super) struct LogGate {
    door: Mutex<Door>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Door {
    /// Pages that are being read.
    inside: u32,
    shut: bool,
    /// For good.
    closed: bool,
}

/// A page that is being read.
pub(super) struct Inside<'g>(&'g LogGate);

impl LogGate {
    /// Lets a page in.
    ///
    /// # Errors
    /// [`Error::Stopped`] once the state is closed.
    pub fn enter(&self) -> Result<Inside<'_>> {
        let mut door = lock(&self.door);
        if door.shut && !door.closed {
            let waited = self.changed.wait_timeout_while(door, GIVES_WAY, |door| door.shut && !door.closed);
            door = waited.unwrap_or_else(PoisonError::into_inner).0;
            door.shut = false;
        }
        if door.closed {
            return Err(Error::Stopped);
        }
        door.inside += 1;
        Ok(Inside(self))
    }

    /// Shuts the gate, and waits so long for those inside. Tells whether nobody is.
    pub fn shut(&self, wait: Duration) -> bool {
        let mut door = lock(&self.door);
        door.shut = true;
        self.emptied(door, wait).inside == 0
    }

    /// Whether it was shut, and not opened since.
    pub fn is_shut(&self) -> bool {
        lock(&self.door).shut
    }

    pub fn open(&self) {
        lock(&self.door).shut = false;
        self.changed.notify_all();
    }

    /// Lets nobody in any more, and waits for those inside.
    pub fn close(&self) {
        let mut door = lock(&self.door);
        door.closed = true;
        self.changed.notify_all();
        drop(self.emptied(door, Duration::MAX));
    }

    fn emptied<'d>(&self, door: MutexGuard<'d, Door>, wait: Duration) -> MutexGuard<'d, Door> {
        if door.inside == 0 || wait.is_zero() {
            return door;
        }
        let waited = self.changed.wait_timeout_while(door, wait, |door| door.inside > 0);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        lock(&self.0.door).inside -= 1;
        self.0.changed.notify_all();
    }
}
