//! What a cycle has shown that waits to be confirmed, and whether somebody has agreed to it.

use serde::{Deserialize, Serialize};

use crate::job::Counts;

/// What the cycle in progress would delete: it stands between examining and deleting until that is confirmed. It is a rehearsal,
/// or a cycle that would delete more than it may.
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema), schemars(rename = "Rehearsal"))]
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RehearsalStatus {
    /// The cycle; to be named when it is confirmed.
    pub cycle: u64,
    /// Shares examined in the cycle.
    pub examined: u64,
    /// Whether it would delete more than `max_delete` allows, so that a confirmation has to name `shares`.
    pub over_limit: bool,
    #[serde(flatten)]
    pub would_delete: WouldDelete,
    /// The largest part of the shares examined that a cycle may delete.
    pub max_delete: Option<String>,
    /// Whether it was confirmed; it is shown until the next cycle begins.
    pub confirmed: bool,
    /// When that was, in seconds since 1970.
    #[serde(default)]
    pub confirmed_at: Option<f64>,
}

/// What an expiry would delete.
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WouldDelete {
    /// Buckets in which something would be deleted.
    pub buckets: u64,
    /// Shares that would be unlinked.
    pub shares: u64,
    /// Leases that would be cancelled, theirs and others.
    pub leases: u64,
    /// Bytes of their files, and what would be cut off where a lease table becomes shorter.
    pub bytes: u64,
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
