//! What a cycle has shown that waits to be confirmed, and whether somebody has agreed to it.

use serde::Serialize;

use crate::job::Counts;

/// A cycle that stands between its two phases until it is confirmed: a rehearsal, or one that would delete more than it may.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RehearsalStatus {
    /// The cycle; to be named when it is confirmed.
    pub cycle: u64,
    /// Shares examined in it.
    pub examined: u64,
    /// Whether it would delete more than the safety catch allows, so that the confirmation has to name how many shares.
    pub over_limit: bool,
    /// When it was confirmed, in seconds since 1970; `None` while it waits for that.
    pub confirmed: Option<f64>,
    /// What it would delete.
    pub would_delete: WouldDelete,
}

/// What an expiry would delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct WouldDelete {
    /// Leases that would be cancelled.
    pub leases: u64,
    /// Shares that would be unlinked.
    pub shares: u64,
    /// Bytes of their files, and what would be cut off where a lease table becomes shorter.
    pub bytes: u64,
    /// Buckets in which something would be deleted.
    pub buckets: u64,
}

impl WouldDelete {
    /// By what was counted while the cycle was examined.
    pub(crate) fn of(counts: &Counts) -> WouldDelete {
        WouldDelete {
            leases: counts.would_delete_records,
            shares: counts.would_delete,
            bytes: counts.would_delete_bytes,
            buckets: counts.candidates,
        }
    }
}
