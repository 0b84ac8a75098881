//! A rehearsal that is over: what its crawl would do next, and whether somebody has agreed to that.

use serde::{Deserialize, Serialize};

use crate::report::CycleReport;

/// A rehearsal that is over.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RehearsalStatus {
    /// The cycle that was one; to be named when it is confirmed.
    pub cycle: u64,
    /// When it ended, in seconds since 1970.
    pub finished: f64,
    /// When it was confirmed, likewise; `None` while it waits for that.
    pub confirmed: Option<f64>,
    /// What it has shown; `None` until that was read back after a restart, and for jobs that do not report it.
    pub would_delete: Option<WouldDelete>,
}

/// What an expiry would delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WouldDelete {
    /// Leases that would be cancelled.
    pub leases: u64,
    /// Shares that would be unlinked.
    pub shares: u64,
    /// Bytes of their files, and what would be cut off where a lease table becomes shorter.
    pub bytes: u64,
    /// Buckets in which shares would be unlinked.
    #[serde(skip_deserializing)]
    pub buckets: u64,
}

impl WouldDelete {
    /// Takes it from the report of a rehearsal: its keys `would_delete` and `would_delete_in_buckets`.
    pub(crate) fn of(report: &CycleReport) -> Option<WouldDelete> {
        let figures = WouldDelete::deserialize(report.own.get("would_delete")?).ok()?;
        let buckets = report.own.get("would_delete_in_buckets").and_then(serde_json::Value::as_u64);
        Some(WouldDelete { buckets: buckets.unwrap_or(0), ..figures })
    }
}
