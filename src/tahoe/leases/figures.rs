//! Sexton's own figures of a lease crawl, beside those of Tahoe's history entry: what was deleted, what was kept and why,
//! and the empty buckets that Tahoe counts as expired, and as recovered, in every cycle.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::tally::Held;

/// What the report of a lease crawl has of its own beside `history`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LeaseFigures {
    pub expired: ExpiryFigures,
    pub empty: Empty,
    /// Beside a running node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spared: Option<Spared>,
    /// Of a cycle that only tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub would_delete: Option<DryRunFigures>,
    /// Of a cycle that deletes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted: Option<Freed>,
}

impl LeaseFigures {
    /// Reads them from [`CycleReport::own`](crate::model::CycleReport); `None` for another job's report.
    pub fn of(own: &Map<String, Value>) -> Option<LeaseFigures> {
        LeaseFigures::deserialize(own).ok()
    }
}

/// What a cycle that deletes would delete.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct DryRunFigures {
    #[serde(flatten)]
    pub freed: Freed,
    /// The part of all shares that the safety catch lets go.
    pub max_delete: f64,
    /// Whether it is more than that.
    pub over_max_delete: bool,
}

/// What deleting frees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freed {
    /// Leases cancelled.
    pub leases: u64,
    /// Shares unlinked.
    pub shares: u64,
    /// Bytes of the files unlinked, and those cut off where a lease table became shorter.
    pub bytes: u64,
    /// Empty directories of buckets removed.
    pub buckets: u64,
}

impl Freed {
    pub(super) fn is_zero(&self) -> bool {
        *self == Freed::default()
    }

    pub(super) fn merge(&mut self, other: &Freed) {
        self.leases = self.leases.saturating_add(other.leases);
        self.shares = self.shares.saturating_add(other.shares);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.buckets = self.buckets.saturating_add(other.buckets);
    }
}

/// Why a share with expired leases is spared beside a running node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum SpareReason {
    /// Some of its leases have not expired, and its lease table is not rewritten.
    PartlyExpired,
    /// All have expired, but one of them less than a day ago.
    ExpiredWithinADay,
    /// All expired a day ago, but it was touched within the hour.
    TouchedWithinTheHour,
}

/// Shares with expired leases that are kept beside a running node, each for the first reason that holds.
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spared {
    /// Only some of their leases have expired.
    pub partly_expired: u64,
    /// All have expired, one of them less than a day ago.
    pub expired_within_a_day: u64,
    /// All expired a day ago or more, but they were touched within the hour.
    pub touched_within_the_hour: u64,
}

impl Spared {
    pub(super) fn is_zero(&self) -> bool {
        *self == Spared::default()
    }

    pub(super) fn add(&mut self, why: SpareReason) {
        match why {
            SpareReason::PartlyExpired => self.partly_expired += 1,
            SpareReason::ExpiredWithinADay => self.expired_within_a_day += 1,
            SpareReason::TouchedWithinTheHour => self.touched_within_the_hour += 1,
        }
    }

    pub(super) fn merge(&mut self, other: &Spared) {
        self.partly_expired += other.partly_expired;
        self.expired_within_a_day += other.expired_within_a_day;
        self.touched_within_the_hour += other.touched_within_the_hour;
    }
}

/// Buckets without any share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {
    pub buckets: u64,
    /// Disk usage of their directories, in bytes.
    pub disk_bytes: u64,
}

impl Empty {
    pub(super) fn is_zero(&self) -> bool {
        *self == Empty::default()
    }

    pub(super) fn merge(&mut self, other: &Empty) {
        self.buckets = self.buckets.saturating_add(other.buckets);
        self.disk_bytes = self.disk_bytes.saturating_add(other.disk_bytes);
    }
}

/// What has expired, by one rule: buckets all shares of which have, and shares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expired {
    pub buckets: u64,
    pub shares: u64,
    /// Disk usage of the shares, in bytes.
    pub disk_bytes: u64,
}

impl Expired {
    pub(super) fn merge(&mut self, other: &Expired) {
        self.buckets = self.buckets.saturating_add(other.buckets);
        self.shares = self.shares.saturating_add(other.shares);
        self.disk_bytes = self.disk_bytes.saturating_add(other.disk_bytes);
    }
}

/// What has expired by each of two rules.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpiryFigures {
    /// By the leases' own dates.
    pub by_own_dates: Expired,
    /// By the rule in force.
    pub by_rule: Expired,
}

impl ExpiryFigures {
    pub(super) fn is_zero(&self) -> bool {
        *self == ExpiryFigures::default()
    }

    pub(super) fn merge(&mut self, other: &ExpiryFigures) {
        self.by_own_dates.merge(&other.by_own_dates);
        self.by_rule.merge(&other.by_rule);
    }

    /// Counts a share that stays, by the rules that do not hold it.
    pub(super) fn add_share(&mut self, disk_bytes: u64, held: Held) {
        let share = |held| if held { Expired::default() } else { Expired { buckets: 0, shares: 1, disk_bytes } };
        self.merge(&ExpiryFigures { by_own_dates: share(held.by_own_date), by_rule: share(held.by_settings) });
    }
}
