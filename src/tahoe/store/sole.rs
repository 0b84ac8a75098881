//! One process at a time changes a store: of two that delete beside each other, each would count as its own what the other
//! has taken.
//!
//! The lock is an advisory one (flock) on the folder `shares/`; nothing is written for it, it ends with its process, and
//! Tahoe, which takes none, is not kept off by it.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::fs::{FlockOperation, Mode, flock};
use rustix::io::Errno;

use super::{FileId, TahoeStore};
use crate::calls::openat;
use crate::error::{Error, Result};
use crate::store::open::DIRECTORY;
use crate::tahoe::ChangeRefusal;

/// The locks of this process: its crawls, of different types of shares perhaps, may change one store together.
static HELD: Mutex<BTreeMap<FileId, Weak<OwnedFd>>> = Mutex::new(BTreeMap::new());

impl TahoeStore {
    /// Keeps other processes from changing the store for as long as this value lives. Where the file system knows no locks,
    /// nobody is kept off.
    ///
    /// # Errors
    /// As [`changeable`](TahoeStore::changeable); [`ChangeRefusal::StoreTaken`] if another process does; [`Error::Store`] if the folder cannot be opened.
    pub fn alone(self) -> Result<TahoeStore> {
        let mut store = self.changeable()?;
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|_, lock| lock.strong_count() > 0);
        let lock = match held.get(&store.identity).and_then(Weak::upgrade) {
            Some(lock) => lock,
            None => Arc::new(store.lock()?),
        };
        held.insert(store.identity, Arc::downgrade(&lock));
        store.sole = Some(lock);
        Ok(store)
    }

    fn lock(&self) -> Result<OwnedFd> {
        let failed = |e: Errno| Error::Store { doing: "lock", path: self.shares_path.clone(), cause: e.to_string() };
        let folder = openat(&self.shares(), ".", DIRECTORY, Mode::empty()).map_err(failed)?;
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => Err(ChangeRefusal::StoreTaken { path: self.root.clone() }.into()),
            // Some file systems of networks know no locks.
            Ok(()) | Err(_) => Ok(folder),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crawls_of_one_process_share_the_lock_and_it_ends_with_the_last() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("shares")).unwrap();
        let open = || TahoeStore::open(dir.path()).unwrap();
        // Another process has its own opening of the folder.
        let other = || openat(rustix::fs::CWD, &dir.path().join("shares"), DIRECTORY, Mode::empty()).unwrap();
        let lock = |fd: &OwnedFd| flock(fd, FlockOperation::NonBlockingLockExclusive);
        let (first, second) = (open().alone().unwrap(), open().alone().unwrap());
        drop(first);
        assert_eq!(lock(&other()), Err(Errno::WOULDBLOCK));
        drop(second);
        let taken = other();
        assert_eq!(lock(&taken), Ok(()));
        let refused = open().alone().unwrap_err();
        assert!(matches!(refused.downcast_ref(), Some(ChangeRefusal::StoreTaken { .. })), "{refused}");
        drop(taken);
        open().alone().unwrap();
    }
}
