//! The job `leases`: what Tahoe's lease checker does, and what Sexton thinks of the shares besides.
//!
//! Its report holds, under `history`, the entry that Tahoe's own lease checker would have written for the cycle, as
//! coded, with its peculiarities. Sexton's own judgement goes to the findings and never changes that entry.
//!
//! Where expired leases are deleted, a visit (`examine`) only plans it, twice: when the bucket is examined, and when the whole
//! ring was. `carry` does it, once the second plan was saved for good. `look` decides what is to become of a share, and says it with the same words to both.

mod carry;
mod examine;
mod expiry;
mod failures;
mod figures;
mod handover;
mod history;
mod judge;
mod look;
mod plan;
mod settings;
#[cfg(feature = "cli")]
mod spelling;
mod sums;
mod tally;
mod windows;
mod youngest;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use examine::{Desk, LeaseVisit};
pub use expiry::{Expiry, ShareTypes};
use failures::Failures;
pub use figures::{DryRunFigures, Expired, Freed, LeaseFigures, Spared};
pub use history::HistoryFigures;
use settings::ExpiryMode;
pub use settings::{Conduct, LeaseSettings, Word};
#[cfg(feature = "cli")]
pub(crate) use spelling::{ExpireArgs, LeasesText};
pub use tally::LeaseTally;
use youngest::Youngest;

use super::TahoeStore;
use super::store::TahoeBucket;
use crate::error::Error;
use crate::job::{Carried, CycleView, Deed, Fold, Intent, Job, PrefixWalk, Stopped, Unreadable, Visited};
use crate::policy::deletion::{Clocks, SafetyCatch, clock_fault, secs_ahead};
use crate::shown;
use crate::store::Store;
use crate::tahoe::refusal::{ChangeRefusal, node_fault};

/// Checks the leases of every share of a [`TahoeStore`].
#[derive(Debug, Clone, Default)]
pub struct Leases {
    settings: LeaseSettings,
    youngest: Arc<Youngest>,
    failures: Arc<Failures>,
}

impl Leases {
    /// Makes the job with these settings.
    pub fn new(settings: LeaseSettings) -> Leases {
        Leases { settings, youngest: Arc::default(), failures: Arc::default() }
    }

    /// Refuses to go on by a cutoff yet to come. A rehearsal and a dry run refuse what the run would refuse. A moment that was
    /// given is what it is.
    fn refuses(&self, fold: &mut Fold<'_, LeaseTally>) -> bool {
        match self.settings.validate_at(fold.now) {
            Err(why) if !fold.clocks().fixed => {
                fold.refuse(why);
                true
            }
            _ => false,
        }
    }

    /// Refuses to delete by clocks that cannot be believed, or by a cutoff yet to come. `planned`: when the youngest share
    /// that is about to go was touched, in seconds since 1970, and which it is.
    fn check_clocks(&self, clocks: &Clocks, planned: Option<(f64, PathBuf)>) -> Result<(), Error> {
        // A moment that was given for a store at rest is what it is; beside a running node even that has to be true.
        if clocks.fixed && self.settings.word == Some(Word::Offline) {
            return Ok(());
        }
        self.settings.validate_at(clocks.cycle_now)?;
        if let Some(why) = clock_fault(clocks.started, clocks.moment, clocks.cycle_now) {
            return Err(Error::Clock { why });
        }
        let mut young = planned.into_iter().chain(self.youngest.get());
        young.try_for_each(|(touched_unix, share)| self.check_date(touched_unix, clocks, || share))
    }

    /// Refuses a clock that is behind a share, touched at `touched_unix`, in seconds since 1970; unless it is vouched for.
    fn check_date(&self, touched_unix: f64, clocks: &Clocks, share: impl FnOnce() -> PathBuf) -> Result<(), Error> {
        match secs_ahead(touched_unix, clocks.moment.unix_secs) {
            Some(ahead) if !self.settings.accept_clock => Err(Error::Clock {
                why: format!(
                    "a share was written {ahead:.0} s after it, {} (if the clock is right and that date is wrong, say so with \
                     --accept-clock, or `accept_clock: true` in config.ron)",
                    shown::path(&share())
                ),
            }),
            _ => Ok(()),
        }
    }
}

impl Leases {
    fn catch(&self) -> SafetyCatch {
        SafetyCatch { most: self.settings.max_delete }
    }

    /// What a run that deletes would delete, and whether it would be let.
    fn would_delete(&self, cycle: &CycleView<'_, LeaseTally>) -> DryRunFigures {
        let (freed, max_delete) = (cycle.tally.would_delete, self.settings.max_delete);
        DryRunFigures { freed, max_delete, over_max_delete: !self.catch().allows(freed.shares, cycle.counts.objects) }
    }
}

impl Job<TahoeStore> for Leases {
    type Tally = LeaseTally;
    type Part = Box<LeaseVisit>;

    fn name(&self) -> &str {
        "leases"
    }

    /// As Tahoe does.
    fn visits_strays(&self) -> bool {
        true
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
        if self.refuses(fold) {
            return Ok(());
        }
        let (mut part, mut desk) = (None, Desk::new());
        loop {
            match examine::bucket(self, bucket, part.take(), &mut desk, fold)? {
                Visited::Whole => return Ok(()),
                Visited::Part(visit) | Visited::Chunk(visit) => part = Some(visit),
            }
        }
    }

    fn process_prefix(&self, walk: &mut PrefixWalk<'_, TahoeStore, Self>) -> Result<(), Stopped> {
        let mut desk = Desk::new();
        walk.each_bucket_in_parts(|bucket, part, fold| {
            if self.refuses(fold) { Ok(Visited::Whole) } else { examine::bucket(self, bucket, part, &mut desk, fold) }
        })
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
        self.check_clocks(clocks, None)?;
        let LeaseSettings { word, accept_clock, node_stopped, .. } = self.settings;
        match word {
            // It may have been started since the crawl was.
            Some(Word::Offline) => store
                .running_node()
                .filter(|node| node.forbids(node_stopped))
                .map_or(Ok(()), |node| Err(node.refusal())),
            // The node beside which anything is deleted has a clock as well.
            Some(Word::Online) if !accept_clock => {
                let fault = node_fault(store.node_saved_unix(), clocks.moment.unix_secs);
                // They lie beside `shares/`.
                let folder = || store.path("", None).parent().map(Path::to_path_buf).unwrap_or_default();
                fault.map_or(Ok(()), |fault| Err(ChangeRefusal::NodeSilent { folder: folder(), fault }.into()))
            }
            _ => Ok(()),
        }
    }

    fn safety_catch(&self) -> Option<SafetyCatch> {
        Some(self.catch())
    }

    fn deletes_in_one_pass(&self) -> bool {
        self.settings.conduct == Conduct::Compat && self.settings.manner() == ExpiryMode::Deletes
    }

    fn rehearses_first(&self) -> bool {
        self.settings.rehearsal && self.settings.manner() == ExpiryMode::Deletes
    }

    /// `history`: the entry of Tahoe's lease checker. Sexton's own figures: `expired` by the leases' own dates and by the rule
    /// in force, without what that entry counts beside it, in each cycle again: `empty` buckets, shares without any lease, damaged ones,
    /// which are kept, and directories; `deleted`, or `would_delete` with `max_delete`, the part that the safety catch lets go, and
    /// `over_max_delete`, whether that is more;
    /// beside a running node `spared`, shares with expired leases that are not touched there, by the first reason.
    fn report(&self, cycle: &CycleView<'_, LeaseTally>) -> Map<String, Value> {
        let manner = match self.settings.manner() {
            // A rehearsal of 0.1.0 was a cycle of its own, which only told.
            ExpiryMode::Deletes if !cycle.tally.would_delete.is_zero() => ExpiryMode::Tells,
            manner => manner,
        };
        let figures = LeaseFigures {
            expired: cycle.tally.expired(),
            empty: cycle.tally.empty,
            spared: (self.settings.word == Some(Word::Online)).then_some(cycle.tally.spared),
            would_delete: (manner == ExpiryMode::Tells).then(|| self.would_delete(cycle)),
            deleted: (manner == ExpiryMode::Deletes).then_some(cycle.tally.deleted),
        };
        let mut own = if let Value::Object(own) = json!(figures) { own } else { Map::new() };
        // Moved in, as there may be 50,000 ages.
        own.insert("history".to_owned(), history::entry(&self.settings, manner, cycle));
        own
    }
}

#[cfg(test)]
mod tests;
