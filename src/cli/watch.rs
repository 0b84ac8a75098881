//! Watches a running engine from the command line: progress, signals, the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use futures_executor::block_on;

use super::signals::Interrupts;
use crate::engine::EngineHandle;
use crate::error::Result;
use crate::threads;

/// Time between two looks at the engine.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// An operator who presses Ctrl-C waits for one bucket; a bucket may be a slow disk. A second Ctrl-C does not wait.
const STOP_DEADLINE: Duration = Duration::from_secs(24 * 3600);

/// How the engine ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// By itself.
    Finished,
    /// By a signal.
    Interrupted,
}

/// Waits for the engine's end, and calls `look` now and then until it has come. Interrupts are best taken over before the
/// engine starts.
///
/// # Errors
/// The error with which the engine ended, or if nobody can listen to signals.
pub fn until_end(engine: &EngineHandle, interrupts: Interrupts, look: impl FnMut(&EngineHandle)) -> Result<Ending> {
    until_end_of("bucket", engine, interrupts, look)
}

/// As [`until_end`], for work that is done in units of another kind.
///
/// # Errors
/// As [`until_end`].
pub fn until_end_of(
    unit: &'static str,
    engine: &EngineHandle,
    interrupts: Interrupts,
    mut look: impl FnMut(&EngineHandle),
) -> Result<Ending> {
    let (ended, end) = channel();
    let interrupted = Arc::new(AtomicBool::new(false));
    let (stopping, flag) = (engine.clone(), interrupted.clone());
    let listening = interrupts.answer(move || {
        flag.store(true, Ordering::SeqCst);
        super::output::say(&format!("stopping after the running {unit}; once more stops at once"));
        // On a thread of its own, so that the next signal is heard; how it ends is told by `finished` below.
        let stop = move || drop(block_on(stopping.shutdown(STOP_DEADLINE)));
        if let Err(error) = threads::start("sexton-stop", stop) {
            super::output::say(&format!("sexton: {error}"));
        }
    })?;
    let waiting = engine.clone();
    threads::start("sexton-end", move || drop(ended.send(waiting.join())))?;
    loop {
        match end.recv_timeout(LOOK_EVERY) {
            Ok(result) => {
                let interrupted = interrupted.load(Ordering::SeqCst);
                if result.is_err() {
                    listening.end();
                }
                return result.map(|()| if interrupted { Ending::Interrupted } else { Ending::Finished });
            }
            Err(RecvTimeoutError::Timeout) => look(engine),
            // The thread sends before it ends, so this cannot come first; if it did, joining again tells the result.
            Err(RecvTimeoutError::Disconnected) => return engine.join().map(|()| Ending::Finished),
        }
    }
}
