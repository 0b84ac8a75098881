//! The job `leases`: what Tahoe's lease checker does, and what Sexton thinks of the shares besides.
//!
//! Its report holds, under `history`, the entry that Tahoe's own lease checker would have written for the cycle, as
//! coded, with its peculiarities. Sexton's own judgement goes to the findings and never changes that entry. Expiry is
//! evaluated only: nothing is deleted here.

mod examine;
mod expiry;
mod handover;
mod history;
mod judge;
mod tally;

use serde_json::{Map, Value, json};

pub use expiry::{Expiry, ShareTypes};
pub use tally::LeaseTally;

use super::{CycleView, Fold, Job, Unreadable};
use crate::store::{TahoeBucket, TahoeStore};

/// What decides about leases.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeaseSettings {
    /// The rule by which leases expire. Default: none.
    pub expiry: Expiry,
    /// The types of shares whose leases expire. Default: both.
    pub sharetypes: ShareTypes,
}

/// Checks the leases of every share of a [`TahoeStore`].
#[derive(Debug, Clone, Default)]
pub struct Leases {
    settings: LeaseSettings,
}

impl Leases {
    /// Makes the job with these settings.
    pub fn new(settings: LeaseSettings) -> Leases {
        Leases { settings }
    }
}

impl Job<TahoeStore> for Leases {
    type Tally = LeaseTally;

    fn name(&self) -> &str {
        "leases"
    }

    fn parameters(&self) -> Value {
        let sharetypes: Vec<&str> = self.settings.sharetypes.0.iter().map(|t| t.as_str()).collect();
        json!({ "expire": self.settings.expiry.to_string(), "sharetypes": sharetypes })
    }

    fn process_bucket(&self, bucket: &mut TahoeBucket<'_>, fold: &mut Fold<'_, LeaseTally>) -> Result<(), Unreadable> {
        examine::bucket(&self.settings, bucket, fold)
    }

    /// `history`: the entry of Tahoe's lease checker.
    fn report(&self, cycle: &CycleView<'_, LeaseTally>) -> Map<String, Value> {
        Map::from_iter([("history".to_owned(), history::entry(&self.settings, cycle))])
    }
}

#[cfg(test)]
mod tests;
