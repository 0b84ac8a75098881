//! One thread at a time changes a bucket: two that rewrite one lease table by turns of single writes leave a third one.
//!
//! Other processes are kept off by [`sole`](super::sole); this is for the crawls and workers of this one.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Condvar, Mutex, PoisonError};

use super::FileId;
use crate::calls::fstat;
use crate::lock::lock;

/// The buckets that are being changed.
static TAKEN: Mutex<BTreeSet<FileId>> = Mutex::new(BTreeSet::new());

/// Rings when one of them no longer is.
static GIVEN_BACK: Condvar = Condvar::new();

/// The right to change a bucket, until it is dropped. Whoever has one asks for no second.
#[derive(Debug)]
pub(super) struct BucketLock(FileId);

impl BucketLock {
    /// Waits until nobody else has the turn at this open folder.
    ///
    /// # Errors
    /// If the system does not say which folder it is.
    pub fn at(folder: impl AsFd) -> io::Result<BucketLock> {
        let id = FileId::of(&fstat(folder.as_fd())?);
        let mut taken = lock(&TAKEN);
        while !taken.insert(id) {
            taken = GIVEN_BACK.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(BucketLock(id))
    }
}

impl Drop for BucketLock {
    fn drop(&mut self) {
        lock(&TAKEN).remove(&self.0);
        GIVEN_BACK.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use crate::tahoe::store::TahoeStore;

    #[test]
    fn a_bucket_is_changed_by_one_at_a_time_and_others_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        for bucket in ["one", "other"] {
            std::fs::create_dir_all(dir.path().join("shares/aa").join(bucket)).unwrap();
        }
        // Each crawl has opened the store for itself.
        let open = || TahoeStore::open(dir.path()).unwrap();
        let (store, beside) = (open(), open());
        let first = store.open_for_change("aa", b"one").unwrap().unwrap();
        let (tell, told) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for bucket in [&b"other"[..], b"one"] {
                    let opened = beside.open_for_change("aa", bucket).unwrap();
                    tell.send((bucket, opened.is_some())).unwrap();
                }
            });
            assert_eq!(told.recv().unwrap(), (&b"other"[..], true));
            assert!(told.recv_timeout(Duration::from_millis(100)).is_err(), "two have the turn");
            drop(first);
            assert_eq!(told.recv().unwrap(), (&b"one"[..], true));
        });
    }
}
