//! One way to lock: a panic elsewhere must not make what is behind a lock unusable.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, also after a panic of another holder. Only for what every holder leaves whole at any moment: plain figures, maps
/// whose entries are put in and taken out whole, stores whose calls are transactions.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
