//! Time and cost, injected: everything that asks what time it is, or what a stretch of work has cost, asks one of these.
//!
//! Monotonic time decides (budgets, deadlines); the wall clock only dates what people and file formats read.

#[cfg(any(test, feature = "testing"))]
pub mod testing;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Tells the time. The engine has one; tests give it another.
pub trait Clock: Send + Sync + 'static {
    /// Monotonic time since a moment of the clock's own choosing.
    fn now(&self) -> Duration;

    /// Monotonic time that also counts what the machine was suspended for, to compare the wall clock with. Default: as
    /// [`now`](Self::now), for machines that are never suspended.
    fn elapsed(&self) -> Duration {
        self.now()
    }

    /// Seconds since 1970, by the wall clock.
    fn unix_secs(&self) -> f64;
}

/// A moment as people read it, in UTC: `2023-11-14T22:13:20Z`. `None` before 1970, and where the year has more than four digits.
pub(crate) fn rfc3339(unix_secs: f64) -> Option<String> {
    /// 10000-01-01.
    const END_SECS: f64 = 253_402_300_800.0;
    let since = Duration::try_from_secs_f64(unix_secs).ok().filter(|_| unix_secs < END_SECS)?;
    Some(humantime::format_rfc3339_seconds(UNIX_EPOCH.checked_add(since)?).to_string())
}

/// Tells what the calling thread has used so far, for the budget's basis `cpu`.
pub trait CostMeter: Send + Sync + 'static {
    /// Cost so far of the calling thread; only differences on one thread mean anything.
    fn thread_cost(&self) -> Duration;

    /// Cost so far of the whole process, or `None` where that is not told (inside a host, in tests).
    fn process_cost(&self) -> Option<Duration>;
}

/// The machine's clock. Follows tokio's clock, so that paused time in tests pauses it too.
#[derive(Debug, Clone)]
pub struct SystemClock {
    origin: tokio::time::Instant,
}

impl SystemClock {
    /// Makes a clock whose monotonic time starts now.
    pub fn new() -> Self {
        SystemClock { origin: tokio::time::Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        tokio::time::Instant::now().saturating_duration_since(self.origin)
    }

    fn elapsed(&self) -> Duration {
        kernel_time(rustix::time::ClockId::Boottime)
    }

    fn unix_secs(&self) -> f64 {
        // A clock before 1970 reads as 1970: nothing here computes with dates before that.
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
    }
}

/// The kernel's CPU clocks.
#[derive(Debug, Clone, Copy)]
pub struct CpuMeter {
    /// Whether the process is Sexton's own, so that what it uses outside slices is Sexton's overhead.
    pub whole_process: bool,
}

impl CostMeter for CpuMeter {
    fn thread_cost(&self) -> Duration {
        kernel_time(rustix::time::ClockId::ThreadCPUTime)
    }

    fn process_cost(&self) -> Option<Duration> {
        self.whole_process.then(|| kernel_time(rustix::time::ClockId::ProcessCPUTime))
    }
}

fn kernel_time(clock: rustix::time::ClockId) -> Duration {
    let t = rustix::time::clock_gettime(clock);
    Duration::new(u64::try_from(t.tv_sec).unwrap_or(0), u32::try_from(t.tv_nsec).unwrap_or(0))
}

/// The clock and the meter that an engine runs by.
#[derive(Clone)]
pub struct Time {
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Tells the cost.
    pub meter: Arc<dyn CostMeter>,
}

impl Time {
    /// The machine's own clocks; `whole_process` as in [`CpuMeter`].
    pub fn system(whole_process: bool) -> Self {
        Time { clock: Arc::new(SystemClock::new()), meter: Arc::new(CpuMeter { whole_process }) }
    }
}

impl std::fmt::Debug for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Time")
    }
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn moments_of_four_digit_years_are_shown() {
        assert_eq!(rfc3339(1_700_000_000.9).as_deref(), Some("2023-11-14T22:13:20Z"));
        assert_eq!(rfc3339(253_402_300_799.5).as_deref(), Some("9999-12-31T23:59:59Z"));
        for none in [-1.0, 253_402_300_800.0, 1e300, f64::INFINITY, f64::NAN] {
            assert_eq!(rfc3339(none), None, "{none}");
        }
    }
}
