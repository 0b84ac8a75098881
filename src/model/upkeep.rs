//! What is shown of how the engine keeps its own state in order.

use serde::Serialize;

use crate::state::Tidying;

/// The upkeep of the state since the engine started.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct UpkeepStatus {
    /// Old cycles that were removed.
    pub cycles_removed: u64,
    /// Rows of theirs that were removed, their own included.
    pub rows_removed: u64,
    /// Pages that were given back to the file system.
    pub pages_freed: u64,
    /// Pages of the state file that hold nothing, when it was last looked at.
    pub pages_free: u64,
    /// Bytes of the write-ahead log that were moved into the database by upkeep, rather than by a commit.
    pub log_bytes_moved: u64,
    /// How long the write-ahead log was when it was last looked at.
    pub log_bytes: u64,
    /// Steps done.
    pub steps: u64,
    /// The longest of them: for so long at most a commit had to wait.
    pub longest_step_secs: f64,
    /// What is being done, or waits for its slice.
    pub due: Option<Tidying>,
    /// Why the last attempt failed; it is made again.
    pub error: Option<String>,
}
