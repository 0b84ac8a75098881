//! The youngest share that was met in this process: no clock can be right that is behind it.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::lock::lock;

/// When the youngest share was touched, and which one it is.
#[derive(Debug, Default)]
pub(super) struct Youngest {
    /// Whole seconds since 1970, so that all but a few shares cost one comparison.
    touched_unix: AtomicI64,
    share: Mutex<Option<(f64, PathBuf)>>,
}

impl Youngest {
    /// A share was met. `path` is asked for only where it is the youngest so far.
    pub fn meet(&self, touched_unix: f64, path: impl FnOnce() -> PathBuf) {
        if touched_unix as i64 <= self.touched_unix.load(Ordering::Relaxed) {
            return;
        }
        let mut share = lock(&self.share);
        if share.as_ref().is_none_or(|(before, _)| *before < touched_unix) {
            self.touched_unix.store(touched_unix as i64, Ordering::Relaxed);
            *share = Some((touched_unix, path()));
        }
    }

    /// When it was touched, in seconds since 1970, and its path; `None` before any share was met.
    pub fn get(&self) -> Option<(f64, PathBuf)> {
        lock(&self.share).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_youngest_stays_and_others_are_not_asked_for_their_path() {
        let youngest = Youngest::default();
        assert_eq!(youngest.get(), None);
        youngest.meet(5.5, || "a".into());
        youngest.meet(4.0, || unreachable!("it is older"));
        youngest.meet(9.0, || "b".into());
        assert_eq!(youngest.get(), Some((9.0, "b".into())));
    }
}
