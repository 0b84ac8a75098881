//! Standing in for Tahoe's own crawlers: taking over where they stopped, and handing back.
//!
//! An import reads the state files in a store's folder and puts what they say into a [`StateStore`]: the finished cycles of
//! the history, and the cycle in progress as one that the same crawl carries on. An export writes the contiguous part of a
//! crawl as the state files that Tahoe's node reads at its next start. Both are decided first, as a value that can be shown
//! ([`Import`], [`Export`]), and done then. The files of a crawl that cannot be read are an error, and nothing is changed.
//!
//! Nothing here walks a store, and nothing under `shares/` is touched.
//!
//! [`StateStore`]: crate::state::StateStore

mod cycles;
mod export;
mod folder;
mod import;
#[cfg(test)]
mod tests;

pub use export::Export;
pub use folder::{NodeFolder, Written, running_node};
pub use import::{Import, ImportTime};

use std::fmt;

use super::leases::LeaseSettings;
use super::{Leases, TahoeStore};
use crate::job::{Count, Job};

/// Which of Tahoe's two crawlers, and which job does the same here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crawler {
    /// The bucket counter; the job `count`.
    Counter,
    /// The lease checker; the job `leases`.
    LeaseChecker,
}

impl Crawler {
    /// The name of the job, and of its crawl in a state.
    pub fn crawl(self) -> &'static str {
        match self {
            Crawler::Counter => "count",
            Crawler::LeaseChecker => "leases",
        }
    }
}

impl fmt::Display for Crawler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Crawler::Counter => "bucket counter",
            Crawler::LeaseChecker => "lease checker",
        })
    }
}

/// What of a cycle was taken over or handed back.
#[derive(Debug, Clone, PartialEq)]
pub struct Extent {
    /// The cycle's number.
    pub cycle: u64,
    /// When it began, in seconds since 1970.
    pub started: f64,
    /// Prefixes that are complete.
    pub prefixes_done: u32,
    /// The last bucket in the first prefix that is not complete, if any was visited there.
    pub last_bucket: Option<String>,
    /// Buckets visited.
    pub buckets: u64,
    /// Shares visited; `None` where none was looked for.
    pub shares: Option<u64>,
    /// Corrupt shares among them.
    pub corrupt_shares: u64,
}

/// The lease job that a cycle's frozen settings belong to, and its parameters as a crawl would freeze them.
fn lease_job(settings: LeaseSettings) -> (Leases, serde_json::Value) {
    let job = Leases::new(settings);
    let parameters = Job::<TahoeStore>::parameters(&job);
    (job, parameters)
}

/// The parameters of the count job, as a crawl would freeze them.
fn count_parameters() -> serde_json::Value {
    Job::<TahoeStore>::parameters(&Count)
}
