//! The job `leases`: what Tahoe's lease checker does, and what Sexton thinks of the shares besides.
//!
//! Its report holds, under `history`, the entry that Tahoe's own lease checker would have written for the cycle, as
//! coded, with its peculiarities. Sexton's own judgement goes to the findings and never changes that entry.
//!
//! Where expired leases are deleted, a visit (`examine`) only plans it; `carry` does it, once the plan was saved for
//! good. `look` decides what is to become of a share, and says it with the same words to both.

mod carry;
mod examine;
mod expiry;
mod handover;
mod history;
mod judge;
mod look;
mod plan;
mod settings;
mod tally;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use serde_json::{Map, Value, json};

pub use expiry::{Expiry, ShareTypes};
use settings::Manner;
pub use settings::{Conduct, LeaseSettings, Word};
pub use tally::LeaseTally;

use super::{Carried, CycleView, Deed, Fold, Intent, Job, Rehearsal, Unreadable};
use crate::error::Error;
use crate::policy::deletion::{Clocks, SafetyCatch, clock_fault, node_fault};
use crate::store::{Stamp, Store, TahoeBucket, TahoeStore};

/// Checks the leases of every share of a [`TahoeStore`].
#[derive(Debug, Clone, Default)]
pub struct Leases {
    settings: LeaseSettings,
    /// When the youngest share met in this process was touched, in seconds since 1970.
    newest_unix: Arc<AtomicI64>,
}

impl Leases {
    /// Makes the job with these settings.
    pub fn new(settings: LeaseSettings) -> Leases {
        Leases { settings, newest_unix: Arc::default() }
    }

    /// Refuses to delete by clocks that cannot be believed, or by a cutoff yet to come. `newest_unix`: when the youngest
    /// share concerned was touched, beside those met in this process.
    fn check_clocks(&self, clocks: &Clocks, newest_unix: f64) -> Result<(), Error> {
        // A moment that was given for a store at rest is what it is; beside a running node even that has to be true.
        if clocks.fixed && self.settings.word == Some(Word::Offline) {
            return Ok(());
        }
        self.settings.validate_at(clocks.cycle_now)?;
        // Whole seconds of our time are exact.
        let newest = newest_unix.max(self.newest_unix.load(Ordering::Relaxed) as f64);
        match clock_fault(clocks.started, clocks.moment, clocks.cycle_now, newest) {
            Some(why) => Err(Error::Clock { why }),
            None => Ok(()),
        }
    }

    fn meet(&self, stamp: &Stamp) {
        self.newest_unix.fetch_max(stamp.touched_unix() as i64, Ordering::Relaxed);
    }
}

impl Job<TahoeStore> for Leases {
    type Tally = LeaseTally;

    fn name(&self) -> &str {
        "leases"
    }

    fn parameters(&self) -> Value {
        let LeaseSettings { expiry, sharetypes, word, dry_run, conduct, prune, .. } = &self.settings;
        let types: Vec<&str> = sharetypes.0.iter().map(|t| t.as_str()).collect();
        let mut parameters = json!({ "expire": expiry.to_string(), "sharetypes": types });
        if let Some(word) = word {
            let what = if *dry_run { "dry_run" } else { "delete" };
            parameters[what] = json!(word.as_str());
        }
        if *conduct == Conduct::Compat {
            parameters["compat"] = json!(true);
        }
        if *prune {
            parameters["prune_empty_buckets"] = json!(true);
        }
        parameters
    }

    fn process_bucket(&self, bucket: &mut TahoeBucket<'_>, fold: &mut Fold<'_, LeaseTally>) -> Result<(), Unreadable> {
        examine::bucket(self, bucket, fold)
    }

    fn carry_out(
        &self,
        store: &TahoeStore,
        intent: &Intent,
        deed: &mut Deed<'_, LeaseTally>,
    ) -> Result<Carried, Error> {
        carry::bucket(self, store, intent, deed)
    }

    fn may_change(&self, store: &TahoeStore, clocks: &Clocks) -> Result<(), Error> {
        self.check_clocks(clocks, 0.0)?;
        let LeaseSettings { word, accept_clock, node_stopped, .. } = self.settings;
        match word {
            // It may have been started since the crawl was.
            Some(Word::Offline) if !node_stopped => match store.running_node() {
                Some(node) => Err(Error::NodeRuns { node: node.to_string() }),
                None => Ok(()),
            },
            // The node beside which anything is deleted has a clock as well.
            Some(Word::Online) if !accept_clock => {
                let fault = node_fault(store.node_saved_unix(), clocks.moment.unix_secs);
                // They lie beside `shares/`.
                let folder = || store.path("", None).parent().map(Path::to_path_buf).unwrap_or_default();
                fault.map_or(Ok(()), |fault| Err(Error::NodeSilent { folder: folder(), fault }))
            }
            _ => Ok(()),
        }
    }

    fn safety_catch(&self) -> Option<SafetyCatch> {
        Some(SafetyCatch { most: self.settings.max_delete })
    }

    fn rehearses_first(&self) -> bool {
        self.settings.rehearsal && self.settings.manner(Rehearsal::No) == Manner::Deletes
    }

    /// `history`: the entry of Tahoe's lease checker. `deleted`, or `would_delete`: Sexton's own figures. `rehearsal`:
    /// whether the cycle was one; then also `would_delete_in_buckets`.
    fn report(&self, cycle: &CycleView<'_, LeaseTally>) -> Map<String, Value> {
        let manner = self.settings.manner(cycle.rehearsal);
        let mut own = Map::from_iter([("history".to_owned(), history::entry(&self.settings, manner, cycle))]);
        match manner {
            Manner::Looks => {}
            Manner::Tells => drop(own.insert("would_delete".to_owned(), json!(cycle.tally.would_delete))),
            Manner::Deletes => drop(own.insert("deleted".to_owned(), json!(cycle.tally.deleted))),
        }
        if cycle.rehearsal == Rehearsal::Yes {
            own.insert("rehearsal".to_owned(), json!(true));
            own.insert("would_delete_in_buckets".to_owned(), json!(cycle.tally.would_delete_in));
        }
        own
    }
}

#[cfg(test)]
mod tests;
