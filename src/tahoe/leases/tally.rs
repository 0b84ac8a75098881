//! The tally of the lease job: the counters of Tahoe's history entry, for one prefix or merged.
//!
//! All are sums, so the order of merging changes nothing. Bounded by what dates and lease counts there are: an ordinary
//! prefix takes 1 to 2 KiB as JSON; only thousands of leases with random dates would take more than 64. Zeros are not
//! written.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::figures::{Empty, Expired, ExpiryFigures, Freed, Spared};
use crate::job::Tally;
use crate::tahoe::container::ShareType;

/// Raised whenever the meaning of a saved tally changes; an older one is then refused, not misread.
const VERSION: u8 = 1;

/// Counters of Tahoe's history entry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseTally {
    v: Version,
    /// Leases by the day of their age.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) ages: BTreeMap<i64, u64>,
    /// Shares by their number of leases.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) leases_per_share: BTreeMap<u64, u64>,
    #[serde(default, skip_serializing_if = "SpaceTally::is_zero")]
    pub(super) actual: SpaceTally,
    #[serde(default, skip_serializing_if = "SpaceTally::is_zero")]
    pub(super) original: SpaceTally,
    #[serde(default, skip_serializing_if = "SpaceTally::is_zero")]
    pub(super) configured: SpaceTally,
    #[serde(default, skip_serializing_if = "SpaceTally::is_zero")]
    pub(super) examined: SpaceTally,
    /// Buckets whose last share is corrupt.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) unknown_buckets: u64,
    /// What was really deleted: Sexton's own figures.
    #[serde(default, skip_serializing_if = "Freed::is_zero")]
    pub(super) deleted: Freed,
    /// What would have been deleted, had it not been a dry run or a rehearsal.
    #[serde(default, skip_serializing_if = "Freed::is_zero")]
    pub(super) would_delete: Freed,
    /// Buckets in which shares would have been unlinked.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) would_delete_in: u64,
    /// Shares with expired leases that are spared beside a running node.
    #[serde(default, skip_serializing_if = "Spared::is_zero")]
    pub(super) spared: Spared,
    /// Buckets without any share. (Tahoe's own figures of a half-finished cycle do not tell them apart.)
    #[serde(default, skip_serializing_if = "Empty::is_zero")]
    pub(super) empty: Empty,
    /// What `original` and `configured` have though no lease of it has expired: shares without any lease, and damaged ones, all
    /// of which are kept, with their buckets; buckets without a share; and the directories of buckets. (Likewise.)
    #[serde(default, skip_serializing_if = "ExpiryFigures::is_zero")]
    unleased: ExpiryFigures,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Version;

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(VERSION)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Version, D::Error> {
        match u8::deserialize(deserializer)? {
            VERSION => Ok(Version),
            found => Err(serde::de::Error::custom(format!("lease tally of version {found}, this is {VERSION}"))),
        }
    }
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// One group of Tahoe's `space-recovered`, written as four lists of three.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "[Split; 4]", into = "[Split; 4]")]
pub(super) struct SpaceTally {
    pub buckets: Split,
    pub shares: Split,
    pub sharebytes: Split,
    pub diskbytes: Split,
}

/// A sum over everything, and over what is known to be mutable or immutable. Sums stop at `u64::MAX`: sizes come from
/// the disk, and a file may claim exabytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "[u64; 3]", into = "[u64; 3]")]
pub(super) struct Split {
    pub all: u64,
    pub mutable: u64,
    pub immutable: u64,
}

/// The type of a share, or of a bucket by its last share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum BucketType {
    Known(ShareType),
    /// The share is corrupt.
    Unknown,
    /// The bucket has no share.
    None,
}

/// What stands against freeing a share or a bucket: whether there is a lease valid by its own date, and one valid by
/// the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Held {
    pub by_own_date: bool,
    pub by_settings: bool,
}

impl Held {
    /// By both.
    pub(super) const FIRMLY: Held = Held { by_own_date: true, by_settings: true };
}

/// A share that was examined.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Share {
    pub share_type: ShareType,
    pub size: u64,
    pub disk_bytes: u64,
    pub leases: u64,
    pub held: Held,
    /// Whether something is wrong with it, so that nothing of it is deleted on the word of its leases.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub damaged: bool,
}

impl Share {
    /// Whether it stays whatever the rule: nothing of it has expired, though Tahoe counts it.
    pub fn stays(&self) -> bool {
        self.leases == 0 || self.damaged
    }
}

impl From<[Split; 4]> for SpaceTally {
    fn from([buckets, shares, sharebytes, diskbytes]: [Split; 4]) -> SpaceTally {
        SpaceTally { buckets, shares, sharebytes, diskbytes }
    }
}

impl From<SpaceTally> for [Split; 4] {
    fn from(space: SpaceTally) -> [Split; 4] {
        [space.buckets, space.shares, space.sharebytes, space.diskbytes]
    }
}

impl From<[u64; 3]> for Split {
    fn from([all, mutable, immutable]: [u64; 3]) -> Split {
        Split { all, mutable, immutable }
    }
}

impl From<Split> for [u64; 3] {
    fn from(split: Split) -> [u64; 3] {
        [split.all, split.mutable, split.immutable]
    }
}

impl Split {
    fn add(&mut self, n: u64, kind: BucketType) {
        self.all = self.all.saturating_add(n);
        match kind {
            BucketType::Known(ShareType::Mutable) => self.mutable = self.mutable.saturating_add(n),
            BucketType::Known(ShareType::Immutable) => self.immutable = self.immutable.saturating_add(n),
            BucketType::Unknown | BucketType::None => {}
        }
    }

    fn merge(&mut self, later: Split) {
        self.all = self.all.saturating_add(later.all);
        self.mutable = self.mutable.saturating_add(later.mutable);
        self.immutable = self.immutable.saturating_add(later.immutable);
    }
}

impl SpaceTally {
    fn is_zero(&self) -> bool {
        *self == SpaceTally::default()
    }

    pub(super) fn add_share(&mut self, share: &Share) {
        let kind = BucketType::Known(share.share_type);
        self.shares.add(1, kind);
        self.sharebytes.add(share.size, kind);
        self.diskbytes.add(share.disk_bytes, kind);
    }

    fn add_bucket(&mut self, disk_bytes: u64, kind: BucketType) {
        self.buckets.add(1, kind);
        self.diskbytes.add(disk_bytes, kind);
    }

    pub(super) fn merge(&mut self, later: &SpaceTally) {
        self.buckets.merge(later.buckets);
        self.shares.merge(later.shares);
        self.sharebytes.merge(later.sharebytes);
        self.diskbytes.merge(later.diskbytes);
    }
}

impl LeaseTally {
    /// Adds what a bucket, or a later part of the ring, has come to, and takes its maps.
    pub(super) fn take_in(&mut self, later: &mut LeaseTally) {
        self.add_ages(std::mem::take(&mut later.ages));
        for (leases, shares) in std::mem::take(&mut later.leases_per_share) {
            *self.leases_per_share.entry(leases).or_default() += shares;
        }
        self.actual.merge(&later.actual);
        self.original.merge(&later.original);
        self.configured.merge(&later.configured);
        self.examined.merge(&later.examined);
        self.unknown_buckets += later.unknown_buckets;
        self.deleted.merge(&later.deleted);
        self.would_delete.merge(&later.would_delete);
        self.would_delete_in = self.would_delete_in.saturating_add(later.would_delete_in);
        self.spared.merge(&later.spared);
        self.empty.merge(&later.empty);
        self.unleased.merge(&later.unleased);
    }

    /// Counts leases by the day of their age.
    pub(super) fn add_ages(&mut self, ages: BTreeMap<i64, u64>) {
        if self.ages.is_empty() {
            self.ages = ages;
            return;
        }
        for (day, leases) in ages {
            *self.ages.entry(day).or_default() += leases;
        }
    }

    /// Counts a share as examined: what Tahoe does before it cancels anything.
    pub(super) fn add_examined(&mut self, share: &Share) {
        *self.leases_per_share.entry(share.leases).or_default() += 1;
        self.examined.add_share(share);
    }

    /// Counts a share that could be read.
    pub(super) fn add_share(&mut self, share: &Share) {
        self.add_examined(share);
        if share.stays() {
            self.unleased.add_share(share.disk_bytes, share.held);
        }
        if !share.held.by_own_date {
            self.original.add_share(share);
        }
        if !share.held.by_settings {
            self.configured.add_share(share);
        }
    }

    /// Counts a bucket, after its shares; `stays` if one of them [does](Share::stays). `disk_bytes` is that of its directory;
    /// any number will do if it is held firmly.
    pub(super) fn add_bucket(&mut self, disk_bytes: u64, kind: BucketType, held: Held, stays: bool) {
        self.examined.buckets.add(1, kind);
        match kind {
            BucketType::Unknown => self.unknown_buckets += 1,
            BucketType::None => self.empty.merge(&Empty { buckets: 1, disk_bytes }),
            BucketType::Known(_) => {}
        }
        let directory = Expired { buckets: u64::from(stays || kind == BucketType::None), shares: 0, disk_bytes };
        if !held.by_own_date {
            self.original.add_bucket(disk_bytes, kind);
            self.unleased.by_own_dates.merge(&directory);
        }
        if !held.by_settings {
            self.configured.add_bucket(disk_bytes, kind);
            self.unleased.by_rule.merge(&directory);
        }
    }

    /// Counts a bucket as recovered, since each of its shares was. One without shares counts too, though nothing was deleted:
    /// of no share it is true that each was.
    pub(super) fn add_recovered_bucket(&mut self, disk_bytes: u64, kind: BucketType) {
        self.actual.add_bucket(disk_bytes, kind);
    }

    /// What has expired.
    pub(super) fn expired(&self) -> ExpiryFigures {
        ExpiryFigures {
            by_own_dates: with_leases(&self.original, &self.unleased.by_own_dates),
            by_rule: with_leases(&self.configured, &self.unleased.by_rule),
        }
    }
}

/// Tahoe's figures without what had no lease to expire, or none to go by, and would have expired again in each cycle.
fn with_leases(space: &SpaceTally, unleased: &Expired) -> Expired {
    Expired {
        buckets: space.buckets.all.saturating_sub(unleased.buckets),
        shares: space.shares.all.saturating_sub(unleased.shares),
        disk_bytes: space.diskbytes.all.saturating_sub(unleased.disk_bytes),
    }
}

impl Tally for LeaseTally {
    fn merge(&mut self, mut later: LeaseTally) {
        self.take_in(&mut later);
    }

    fn memory_bytes(&self) -> usize {
        // Two numbers, and as much again for the tree that they stand in.
        size_of::<LeaseTally>() + (self.ages.len() + self.leases_per_share.len()) * 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELD: Held = Held { by_own_date: true, by_settings: true };

    #[test]
    fn an_empty_tally_is_nothing_but_its_version() {
        assert_eq!(serde_json::to_string(&LeaseTally::default()).unwrap(), r#"{"v":1}"#);
    }

    #[test]
    fn a_tally_of_another_version_is_refused() {
        assert!(serde_json::from_str::<LeaseTally>(r#"{"v":1}"#).is_ok());
        let refused = serde_json::from_str::<LeaseTally>(r#"{"v":2}"#).unwrap_err().to_string();
        assert!(refused.contains("version 2"), "{refused}");
        assert!(serde_json::from_str::<LeaseTally>(r#"{"v":1,"x":0}"#).is_err());
        assert!(serde_json::from_str::<LeaseTally>("{}").is_err());
    }

    #[test]
    fn what_is_saved_is_read_back() {
        let mut tally = LeaseTally::default();
        tally.add_ages([(-3, 1)].into());
        tally.add_ages([(61, 1)].into());
        let share =
            Share { share_type: ShareType::Mutable, size: 5, disk_bytes: 4096, leases: 2, held: HELD, damaged: false };
        tally.add_share(&share);
        tally.add_bucket(4096, BucketType::Unknown, HELD, false);
        let saved = serde_json::to_string(&tally).unwrap();
        assert_eq!(
            saved,
            concat!(
                r#"{"v":1,"ages":{"-3":1,"61":1},"leases_per_share":{"2":1},"#,
                r#""examined":[[1,0,0],[1,1,0],[5,5,0],[4096,4096,0]],"unknown_buckets":1}"#
            )
        );
        assert_eq!(serde_json::from_str::<LeaseTally>(&saved).unwrap(), tally);
    }

    #[test]
    fn sums_of_impossible_sizes_stop_at_the_largest_number() {
        let mut tally = LeaseTally::default();
        let held = Held { by_own_date: false, by_settings: false };
        let (size, disk_bytes) = (u64::MAX, u64::MAX);
        let share = Share { share_type: ShareType::Immutable, size, disk_bytes, leases: 0, held, damaged: false };
        tally.add_share(&share);
        tally.add_share(&share);
        let mut sum = tally.clone();
        sum.merge(tally);
        assert_eq!(sum.original.sharebytes.all, u64::MAX);
        assert_eq!(sum.examined.shares.immutable, 4);
    }
}
