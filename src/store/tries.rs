//! Trying again what the system could not do just now: a call that a signal interrupted (EINTR) always, one that would have had
//! to wait (EAGAIN: a lease on a file, a server that is busy) some times, for a few milliseconds.
//!
//! For opening, listing and reading. EAGAIN from a lock means that somebody holds it, and is none of this.

use std::time::Duration;

use rustix::io::{Errno, Result};

/// How often what would have to wait is tried.
const MOST: u32 = 10;
/// How long it is left alone between two tries: all of them together take less than a slice.
const WAIT: Duration = Duration::from_millis(1);

/// How often something was tried.
#[derive(Debug, Default)]
pub(crate) struct Tries(u32);

impl Tries {
    /// Whether what has failed with this is to be tried again, after a moment if that may help.
    pub fn again(&mut self, error: Errno) -> bool {
        match error {
            Errno::INTR => true,
            Errno::AGAIN if self.0 + 1 < MOST => {
                self.0 += 1;
                std::thread::sleep(WAIT);
                true
            }
            _ => false,
        }
    }
}

/// Tries until it succeeds, or fails for good.
pub(crate) fn patiently<T>(mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let mut tries = Tries::default();
    loop {
        match attempt() {
            Err(error) if tries.again(error) => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing(times: u32, with: Errno) -> (Result<u32>, u32) {
        let mut calls = 0;
        let done = patiently(|| {
            calls += 1;
            if calls <= times { Err(with) } else { Ok(calls) }
        });
        (done, calls)
    }

    #[test]
    fn what_was_interrupted_is_tried_until_it_is_done_and_what_would_wait_ten_times() {
        assert_eq!(failing(1000, Errno::INTR), (Ok(1001), 1001));
        assert_eq!(failing(9, Errno::AGAIN), (Ok(10), 10));
        assert_eq!(failing(1000, Errno::AGAIN), (Err(Errno::AGAIN), 10));
        assert_eq!(failing(1000, Errno::IO), (Err(Errno::IO), 1));
    }
}
