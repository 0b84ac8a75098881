//! Starting threads where the system may have none to spare: a limit of the user (`ulimit -u`), the unit (`TasksMax=`) or the
//! container (`pids.max`). That is waited for, as a full disk is, and said once.
//!
//! Owns the one way to start a thread here, and the systems in which blocking work needs no new thread.

use std::io::{Error as IoError, ErrorKind, Result as IoResult};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use actix_rt::{System, SystemRunner};
use tracing::warn;

use crate::error::{Error, Result, Retry};
use crate::lock::lock;
use crate::policy::backoff::Backoff;

/// Longer than any process runs: a thread for blocking work stays when it has nothing to do.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Starts a thread, and waits for as long as there is none to be had.
///
/// # Errors
/// [`Error::Config`] for any other cause.
pub(crate) fn start<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>> {
    let (mut backoff, work) = (Backoff::default(), PendingRun::new(work));
    loop {
        match work.attempt(name) {
            Err(error) if error.retry() == Retry::Helps => std::thread::sleep(told(&error, &mut backoff)),
            started => return started,
        }
    }
}

/// As [`start`], and lets others go on while it waits.
///
/// # Errors
/// As [`start`].
pub(crate) async fn start_among_others(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    let (mut backoff, work) = (Backoff::default(), PendingRun::new(work));
    loop {
        match work.attempt(name) {
            Err(error) if error.retry() == Retry::Helps => {
                tokio::time::sleep(told(&error, &mut backoff)).await;
            }
            started => return started.map(drop),
        }
    }
}

/// Whether so many threads could be started now. They are, and end at once.
///
/// # Errors
/// [`Error::NoThread`] if not; [`Error::Config`] for any other cause.
pub(crate) fn try_some(count: usize) -> Result<()> {
    let gate = Arc::new(Mutex::new(()));
    let shut = lock(&gate);
    let name = "sexton-try";
    let waiting = || {
        let gate = gate.clone();
        attempt(name, move || drop(lock(&gate)))
    };
    let started: IoResult<Vec<JoinHandle<()>>> = (0..count).map(|_| waiting()).collect();
    drop(shut);
    // They have nothing to say.
    started.map_err(|e| failed(name, &e))?.into_iter().for_each(|thread| drop(thread.join()));
    Ok(())
}

/// Waits until so many threads can be started: for what starts them without a way to be told that it cannot.
///
/// # Errors
/// [`Error::Config`] for any other cause.
pub(crate) fn wait_for(count: usize) -> Result<()> {
    let mut backoff = Backoff::default();
    loop {
        match try_some(count) {
            Err(error) if error.retry() == Retry::Helps => std::thread::sleep(told(&error, &mut backoff)),
            tried => return tried,
        }
    }
}

/// Makes an actix system on this thread in which blocking work (`spawn_blocking`) always finds a thread: where no more can be
/// started, it waits for one that is there. Tokio panics if there is none at all, so one is started here and all stay.
///
/// # Errors
/// [`Error::Config`] if the system gives it no files to wait with.
pub(crate) fn system() -> Result<SystemRunner> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().thread_keep_alive(FOR_EVER).build();
    let runtime = runtime.map_err(|e| Error::Config(format!("cannot wait for anything: {e}")))?;
    loop {
        // So that whatever keeps it from starting is waited for here, and said.
        start("sexton-try", || ())?.join().ok();
        // Another process may have taken that place meanwhile.
        if catch_unwind(AssertUnwindSafe(|| runtime.spawn_blocking(|| ()))).is_ok() {
            return Ok(System::with_tokio_rt(move || runtime));
        }
    }
}

fn attempt<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> IoResult<JoinHandle<T>> {
    crate::fail_point!("threads::start", |_| Err(ErrorKind::WouldBlock.into()));
    Builder::new().name(name.to_owned()).spawn(work)
}

/// Work for a thread that may have to be tried for again and again. A thread that is not started drops what it was given,
/// so it is given a share.
struct PendingRun<T>(Arc<Mutex<Option<RunOnce<T>>>>);

type RunOnce<T> = Box<dyn FnOnce() -> T + Send>;

impl<T: Send + 'static> PendingRun<T> {
    fn new(work: impl FnOnce() -> T + Send + 'static) -> PendingRun<T> {
        PendingRun(Arc::new(Mutex::new(Some(Box::new(work)))))
    }

    fn attempt(&self, name: &str) -> Result<JoinHandle<T>> {
        let share = self.0.clone();
        let run = move || {
            let work = lock(&share).take();
            // Only the thread that was started comes here, and there is one.
            work.map_or_else(|| unreachable!("a thread was started twice"), |work| work())
        };
        attempt(name, run).map_err(|e| failed(name, &e))
    }
}

fn failed(name: &str, error: &IoError) -> Error {
    match error.kind() {
        ErrorKind::WouldBlock => Error::NoThread { cause: error.to_string() },
        _ => Error::Config(format!("cannot start the thread {name}: {error}")),
    }
}

/// Says once what is waited for, and how long until the next attempt.
fn told(error: &Error, backoff: &mut Backoff) -> Duration {
    if !backoff.is_waiting() {
        warn!(%error, "waiting for it");
    }
    backoff.failed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_started_is_done_and_gives_its_result() {
        assert_eq!(start("test", || 7).unwrap().join().unwrap(), 7);
        try_some(4).unwrap();
    }

    #[test]
    fn only_what_may_pass_is_waited_for() {
        let error = failed("test", &ErrorKind::WouldBlock.into());
        assert!(error.to_string().contains("TasksMax"), "{error}");
        assert_eq!(error.retry(), Retry::Helps);
        assert_eq!(failed("test", &ErrorKind::InvalidInput.into()).retry(), Retry::Useless);
    }
}
