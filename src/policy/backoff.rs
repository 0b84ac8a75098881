//! How long to wait before something is tried again that others have to make possible: room on a full disk.

use std::time::Duration;

/// The first wait.
const FIRST: Duration = Duration::from_secs(1);
/// The longest wait: whoever frees the disk should see work go on within half a minute.
const LONGEST: Duration = Duration::from_secs(30);

/// Waits that double from 1 s up to 30 s, until something succeeds.
#[derive(Debug, Clone, Default)]
pub struct Backoff {
    /// The last wait given out; `None` while all is well.
    last: Option<Duration>,
}

impl Backoff {
    /// Takes note of a failure, and says how long to wait before the next attempt.
    pub fn failed(&mut self) -> Duration {
        let wait = self.last.map_or(FIRST, |last| (last * 2).min(LONGEST));
        self.last = Some(wait);
        wait
    }

    /// Takes note of a success: the next failure waits 1 s again.
    pub fn succeeded(&mut self) {
        self.last = None;
    }

    /// Whether the last attempt failed.
    pub fn is_waiting(&self) -> bool {
        self.last.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::default();
        let waits: Vec<u64> = (0..8).map(|_| backoff.failed().as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert!(backoff.is_waiting());
        backoff.succeeded();
        assert!(!backoff.is_waiting());
        assert_eq!(backoff.failed(), Duration::from_secs(1));
    }
}
