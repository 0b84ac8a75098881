//! What a bucket has come to so far, share by share: sums, and never the shares themselves, since there may be a hundred thousand.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::figures::Freed;
use super::plan::{Act, ShareChange, SharePlan, ShareSeen};
use super::tally::{BucketType, Held, LeaseTally, SpaceTally};

/// A bucket being visited.
#[derive(Debug)]
pub(super) struct LeaseSums {
    /// What was examined.
    tally: LeaseTally,
    /// The shares that Tahoe calls recovered though nothing was done to them.
    pub recovered: SpaceTally,
    end: BucketEnd,
    /// Whether it is held by shares to which nothing is done, by their own dates and by the settings.
    held_firmly: Held,
    /// What all acts free.
    pub frees: Freed,
    /// How many shares there are, and how many vanished when their turn came.
    pub shares: u64,
    pub vanished: u64,
    /// Whether anything is to be done.
    pub is_pending: bool,
    /// How many leases the tables have that are to be rewritten.
    pub leases_rewritten: u64,
}

/// What counts for a bucket after its last share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BucketEnd {
    /// By the last share that could be told.
    pub kind: BucketType,
    pub held: Held,
    /// Whether a share of it stays whatever the rule.
    pub stays: bool,
    /// Whether each share to which nothing is done is recovered.
    pub recovered: bool,
    /// How many these are.
    #[serde(default)]
    pub left_alone: u64,
    /// Whether Tahoe's lease checker would have stopped in it: it takes up nothing more of the bucket, nor the bucket itself.
    pub stopped: bool,
    /// Whether all shares have vanished: the bucket is on its way out itself, and as an empty one it would count as recovered.
    pub gone: bool,
}

impl BucketEnd {
    /// Of a bucket of which nothing was seen.
    pub fn new() -> BucketEnd {
        let held = Held { by_own_date: false, by_settings: false };
        BucketEnd {
            kind: BucketType::None,
            held,
            stays: false,
            recovered: true,
            left_alone: 0,
            stopped: false,
            gone: false,
        }
    }

    /// Whether the bucket itself counts.
    pub fn counts(&self) -> bool {
        !self.stopped && !self.gone
    }

    /// The next share was seen, in byte order of the names.
    pub fn add(&mut self, plan: &SharePlan) {
        if self.stopped {
            return;
        }
        self.left_alone += u64::from(plan.act.is_none());
        match &plan.seen {
            ShareSeen::Whole(share) => {
                self.kind = BucketType::Known(share.share_type);
                self.held.by_own_date |= share.held.by_own_date;
                self.held.by_settings |= share.held.by_settings;
                self.stays |= share.stays();
                self.recovered &= plan.act.is_some() || plan.is_recovered(share);
            }
            ShareSeen::Corrupt => (self.kind, self.held, self.recovered) = (BucketType::Unknown, Held::FIRMLY, false),
            ShareSeen::Stops(_) => self.stopped = true,
        }
    }
}

impl LeaseSums {
    pub fn new() -> LeaseSums {
        LeaseSums {
            tally: LeaseTally::default(),
            recovered: SpaceTally::default(),
            end: BucketEnd::new(),
            held_firmly: Held { by_own_date: false, by_settings: false },
            frees: Freed::default(),
            shares: 0,
            vanished: 0,
            is_pending: false,
            leases_rewritten: 0,
        }
    }

    /// Whether Tahoe's lease checker would have stopped.
    pub fn has_stopped(&self) -> bool {
        self.end.stopped
    }

    /// Where the ages of the leases of the next share are counted.
    pub fn ages(&mut self) -> &mut BTreeMap<i64, u64> {
        &mut self.tally.ages
    }

    /// Adds the next share, in byte order of the names.
    pub fn add(&mut self, plan: &SharePlan) {
        if !self.end.stopped {
            plan.spared.into_iter().for_each(|why| self.tally.spared.add(why));
            match &plan.seen {
                ShareSeen::Whole(share) => {
                    self.tally.add_share(share);
                    if plan.act.is_none() && plan.is_recovered(share) {
                        self.recovered.add_share(share);
                    }
                }
                ShareSeen::Stops(Some(share)) => self.tally.add_examined(share),
                ShareSeen::Corrupt | ShareSeen::Stops(None) => {}
            }
        }
        self.end.add(plan);
        let firmly = match &plan.seen {
            ShareSeen::Whole(share) if plan.act.is_none() => share.held,
            ShareSeen::Corrupt => Held::FIRMLY,
            ShareSeen::Whole(_) | ShareSeen::Stops(_) => Held { by_own_date: false, by_settings: false },
        };
        self.held_firmly.by_own_date |= firmly.by_own_date;
        self.held_firmly.by_settings |= firmly.by_settings;
        self.shares += 1;
        self.leases_rewritten = self.leases_rewritten.saturating_add(plan.leases_rewritten());
        if let Some(act) = &plan.act {
            self.is_pending = true;
            self.frees.merge(&act.freed());
        }
    }

    /// Whether the size of its directory does not matter, since it is not freed in any case.
    pub fn is_held_firmly(&self) -> bool {
        self.held_firmly == Held::FIRMLY
    }

    /// Whether every share goes.
    pub fn all_go(&self) -> bool {
        self.shares == self.frees.shares && self.vanished == 0
    }

    /// What counts after the last share.
    pub fn end(&self) -> BucketEnd {
        let gone = self.end.kind == BucketType::None && self.vanished > 0;
        BucketEnd { gone, ..self.end }
    }

    /// What was examined, the bucket included. Called once, after the last share.
    pub fn examined(&mut self, disk_bytes: u64) -> &mut LeaseTally {
        let end = self.end();
        if end.counts() {
            self.tally.add_bucket(disk_bytes, end.kind, end.held, end.stays);
        }
        &mut self.tally
    }
}

impl Act {
    pub fn freed(&self) -> Freed {
        let (shares, bytes) = match &self.change {
            ShareChange::Unlink => (1, self.stamp.size),
            ShareChange::Rewrite(rewrite) => (0, rewrite.size_before.saturating_sub(rewrite.size_after)),
            ShareChange::Windows(rewrite) => (0, rewrite.size_before.saturating_sub(rewrite.size_after)),
        };
        Freed { leases: self.leases, shares, bytes, buckets: 0 }
    }
}
