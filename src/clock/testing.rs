//! Simulated time, for tests in a runtime whose time is paused. Feature `testing`.
//!
//! Time is tokio's paused clock plus what units of work add to it. A unit adds its length on the thread it runs on, at
//! once. That is exact while slices do not overlap, that is for rates up to one core; tests of higher rates let their
//! clients sleep instead.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::thread::ThreadId;
use std::time::Duration;

use super::{Clock, CostMeter, Time};

/// Seconds since 1970 at the start of every simulation.
pub const EPOCH: f64 = 1_700_000_000.0;

/// Time that tests move: clock and meter of an engine.
#[derive(Debug, Clone)]
pub struct SimClock {
    origin: tokio::time::Instant,
    worked_nanos: Arc<AtomicU64>,
    /// By how much the wall clock was set, in seconds.
    set_secs: Arc<AtomicI64>,
    /// The thread of the actors; all others do blocking work.
    actors: ThreadId,
    tick: Duration,
}

impl Default for SimClock {
    fn default() -> Self {
        Self::new()
    }
}

impl SimClock {
    /// Call it inside a runtime with paused time.
    pub fn new() -> Self {
        Self::ticking(Duration::ZERO)
    }

    /// A clock by which real work takes time too, and the same in every run: each look at it from a blocking thread.
    pub fn ticking(tick: Duration) -> Self {
        SimClock {
            origin: tokio::time::Instant::now(),
            worked_nanos: Arc::default(),
            set_secs: Arc::default(),
            actors: std::thread::current().id(),
            tick,
        }
    }

    /// Sets the wall clock forward or back.
    pub fn set(&self, by_secs: i64) {
        self.set_secs.fetch_add(by_secs, Ordering::SeqCst);
    }

    /// Does one unit of work.
    pub fn work(&self, unit: Duration) {
        let nanos = u64::try_from(unit.as_nanos()).unwrap_or(u64::MAX);
        self.worked_nanos.fetch_add(nanos, Ordering::SeqCst);
    }

    /// As an engine takes it.
    pub fn time(&self) -> Time {
        Time { clock: Arc::new(self.clone()), meter: Arc::new(self.clone()) }
    }
}

impl Clock for SimClock {
    fn now(&self) -> Duration {
        if std::thread::current().id() != self.actors {
            self.work(self.tick);
        }
        self.origin.elapsed() + Duration::from_nanos(self.worked_nanos.load(Ordering::SeqCst))
    }

    fn unix_secs(&self) -> f64 {
        EPOCH + self.now().as_secs_f64() + self.set_secs.load(Ordering::SeqCst) as f64
    }
}

/// For basis `cpu`: all work is CPU time of whoever does it.
impl CostMeter for SimClock {
    fn thread_cost(&self) -> Duration {
        Duration::from_nanos(self.worked_nanos.load(Ordering::SeqCst))
    }

    fn process_cost(&self) -> Option<Duration> {
        None
    }
}
