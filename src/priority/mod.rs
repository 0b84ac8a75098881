//! What the system does with threads at work: the idle class, or a low one, or none.
//!
//! A thread enters the class for a stretch of work and leaves it again, also before it takes a lock of a database: a
//! holder that is starved would block a backup, or the whole daemon. Where the system does not let this user leave the
//! class, work is done on threads of its own that never come back, and never touch a database ([`ClassEntry::OwnThreads`]).
//!
//! Owns the system calls; [`in_force`] says what they are worth against other processes.

mod force;
mod system;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::panic_message;
use crate::settings::Priority;
use crate::threads;
pub use force::{Grip, InForce, in_force};
use system::Class;

/// How threads get into the class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClassEntry {
    /// They do not: it was not asked for, or the system refuses it.
    Never,
    /// They enter it and leave it.
    Switch,
    /// They cannot leave it, so each stretch of work has a thread of its own.
    OwnThreads,
}

/// The class of an engine's threads at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Working {
    priority: Priority,
    manner: ClassEntry,
}

thread_local! {
    /// The class that this thread is in for a stretch of work.
    static AT_WORK: Cell<Option<Working>> = const { Cell::new(None) };
}

impl Working {
    /// Threads at work are as all others.
    pub const NORMAL: Working = Working { priority: Priority::Normal, manner: ClassEntry::Never };

    /// Tries out, on a thread that ends at once, what the system allows.
    pub fn new(priority: Priority) -> Working {
        let Some(class) = Class::of(priority) else { return Working::NORMAL };
        let tried = threads::start("sexton-class", move || {
            if class.enter().is_err() {
                return ClassEntry::Never;
            }
            if Class::leave().is_ok() { ClassEntry::Switch } else { ClassEntry::OwnThreads }
        });
        // What is tried out may fail as a whole; then there is no class.
        let manner = tried.ok().and_then(|thread| thread.join().ok()).unwrap_or(ClassEntry::Never);
        Working { priority, manner }
    }

    /// How threads get into the class.
    pub fn manner(&self) -> ClassEntry {
        self.manner
    }

    /// What was asked for.
    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// Runs a stretch of blocking work in the class.
    ///
    /// # Errors
    /// The message of a panic.
    pub async fn run<R: Send + 'static>(self, work: impl FnOnce() -> R + Send + 'static) -> Result<R, String> {
        if self.manner != ClassEntry::OwnThreads {
            let done = tokio::task::spawn_blocking(move || self.at_work(work)).await;
            return done.map_err(|panic| panic.to_string());
        }
        let (done, result) = tokio::sync::oneshot::channel();
        let work = move || {
            let result = catch_unwind(AssertUnwindSafe(|| self.at_work(work)));
            // Whoever no longer waits needs no answer.
            let _ = done.send(result.map_err(|panic| panic_message(&*panic)));
        };
        threads::start_among_others("sexton-work", work).await.map_err(|e| e.to_string())?;
        result.await.unwrap_or_else(|_| Err("its thread has gone".to_owned()))
    }

    fn at_work<R>(self, work: impl FnOnce() -> R) -> R {
        let Some(class) = Class::of(self.priority).filter(|_| self.manner != ClassEntry::Never) else {
            return work();
        };
        // It was tried out before; where it fails all the same, the work is done as everything else is.
        let entered = class.enter().is_ok();
        let _back = Back(AT_WORK.replace(entered.then_some(self)));
        work()
    }
}

/// Brings the thread back to what it was, also after a panic.
struct Back(Option<Working>);

impl Drop for Back {
    fn drop(&mut self) {
        let was = AT_WORK.replace(self.0);
        if was.is_some_and(|working| working.manner == ClassEntry::Switch) && self.0.is_none() {
            // Tried out before; a thread that stays in the class is slow, but right.
            let _ = Class::leave();
        }
    }
}

/// Whether this thread is in a class that it cannot leave, so that it must take no lock of a database.
pub fn is_stuck() -> bool {
    AT_WORK.get().is_some_and(|working| working.manner == ClassEntry::OwnThreads)
}

/// Runs something that holds a lock of a database, or waits for one: out of the class, if the thread is in it and can leave.
pub fn unhindered<R>(work: impl FnOnce() -> R) -> R {
    let Some(working) = AT_WORK.get().filter(|working| working.manner == ClassEntry::Switch) else { return work() };
    let left = Class::leave().is_ok();
    AT_WORK.set(None);
    let result = catch_unwind(AssertUnwindSafe(work));
    AT_WORK.set(Some(working));
    if let Some(class) = Class::of(working.priority).filter(|_| left) {
        // What is left of the stretch is done as everything else is, if need be.
        let _ = class.enter();
    }
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<R: Send + 'static>(working: Working, work: impl FnOnce() -> R + Send + 'static) -> Result<R, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(working.run(work))
    }

    #[test]
    fn work_is_done_in_the_class_and_locks_are_taken_out_of_it() {
        for manner in [ClassEntry::Switch, ClassEntry::OwnThreads] {
            let working = Working { manner, ..Working::new(Priority::Idle) };
            if Working::new(Priority::Idle).manner == ClassEntry::Never {
                return;
            }
            let classes =
                run(working, || (system::is_idle(), unhindered(system::is_idle), system::is_idle(), is_stuck()));
            let stuck = manner == ClassEntry::OwnThreads;
            // One that may not leave the class says so, and is not asked to.
            let can_leave = Working::new(Priority::Idle).manner == ClassEntry::Switch && !stuck;
            assert_eq!(classes.unwrap(), (true, !can_leave, true, stuck), "{manner:?}");
        }
        assert_eq!(run(Working::NORMAL, system::is_idle), Ok(false));
    }

    #[test]
    fn a_thread_of_the_pool_is_as_before_after_a_panic() {
        let working = Working::new(Priority::Idle);
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            let panicked = working.run(|| panic!("as tests do")).await;
            assert!(panicked.is_err_and(|message: String| message.contains("as tests do")));
            let after = tokio::task::spawn_blocking(|| (system::is_idle(), is_stuck())).await.unwrap();
            assert_eq!(after, (false, false));
        });
    }
}
