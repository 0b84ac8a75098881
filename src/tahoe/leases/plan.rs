//! What was seen in a bucket, what is to become of it, and what all that counts for.
//!
//! A plan is pure data, made by a visit. What it says of what was examined goes to the tally when the bucket is examined.
//! Where something is to be deleted it is saved as the body of an intent, and what was recovered goes to the tally once that is
//! settled.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::figures::{Freed, SpareReason};
use super::sums::BucketEnd;
use super::tally::{BucketType, LeaseTally, Share};
use super::windows::WindowedRewrite;
use crate::job::DeletionCount;
use crate::store::Stamp;
use crate::tahoe::cancel::{Patch, Rewrite};

/// One bucket.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct BucketPlan {
    /// Disk usage of the directory, in bytes.
    pub disk_bytes: u64,
    /// The shares, in byte order of their names.
    pub shares: Vec<SharePlan>,
    /// Shares that were listed, but were gone when their turn came.
    #[serde(default)]
    pub vanished: u64,
    /// Whether the directory goes if it is empty in the end.
    #[serde(default)]
    pub prune: bool,
    /// Whether all that is to be done leaves whole files, done or not; see [`Intent::is_all_or_nothing`](crate::job::Intent).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all_or_nothing: bool,
    /// Whether the figures of what was examined are in the tally already: the bucket was examined before it was visited to
    /// carry this out. Intents of 0.1.0 bring them along.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub examined: bool,
    /// What counts for the bucket after its last share, where the shares are only those to which something is done: a bucket may
    /// have a hundred thousand. Intents of 0.1.0 have all shares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<BucketEnd>,
    /// Whether no more may be deleted than it says, since that was judged over the whole ring.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bounded: bool,
    /// Whether other shares of the bucket were handed out before these.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_continued: bool,
    /// How often something in it was found changed and looked at anew.
    #[serde(default)]
    pub round: u8,
}

/// One share.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SharePlan {
    pub name: String,
    /// How many of its leases have which age, in days; of a share that turned out to be corrupt, those of the leases
    /// before. In intents of 0.1.0 only: they are counted when the bucket is examined.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ages: BTreeMap<i64, u64>,
    pub seen: ShareSeen,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Box<Act>>,
    /// Why nothing is done to it though leases of it have expired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spared: Option<SpareReason>,
    /// Whether the act was carried out.
    #[serde(default)]
    pub done: bool,
}

/// As what a share was seen.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) enum ShareSeen {
    /// All its leases could be read.
    Whole(Share),
    /// Corrupt to Tahoe, or with more leases than are read; kept.
    Corrupt,
    /// Tahoe's lease checker does not survive it: the history takes up nothing more from the bucket. Where it would
    /// fail only at cancelling, it has counted the share as examined before.
    Stops(Option<Share>),
}

/// What is to be done to a share.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Act {
    /// The file that it is to be done to.
    pub stamp: Stamp,
    /// How many leases go.
    pub leases: u64,
    pub change: ShareChange,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum ShareChange {
    Unlink,
    Rewrite(#[serde(with = "saved_rewrite")] Rewrite),
    /// Of a long table.
    Windows(Box<WindowedRewrite>),
}

impl SharePlan {
    /// A share to which nothing is to be done. Its name is digits of some script, so nothing of it is lost as text.
    pub fn of(name: Vec<u8>, seen: ShareSeen) -> SharePlan {
        let name = String::from_utf8(name).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned());
        SharePlan { name, ages: BTreeMap::new(), seen, act: None, spared: None, done: false }
    }

    /// Whether there is something left to be done.
    pub fn is_pending(&self) -> bool {
        self.act.is_some() && !self.done
    }

    /// Whether a part of its lease table is rewritten already.
    pub fn is_begun(&self) -> bool {
        self.act.as_ref().is_some_and(|act| matches!(&act.change, ShareChange::Windows(rewrite) if rewrite.is_begun()))
    }

    /// How many leases the table has that is to be rewritten.
    pub fn leases_rewritten(&self) -> u64 {
        let rewrites = |act: &Act| matches!(act.change, ShareChange::Rewrite(_) | ShareChange::Windows(_));
        match &self.seen {
            ShareSeen::Whole(share) | ShareSeen::Stops(Some(share)) if self.act.as_deref().is_some_and(rewrites) => {
                share.leases
            }
            _ => 0,
        }
    }

    /// Whether Tahoe would call the share recovered: no lease is left by the settings, and it was deleted or has
    /// nothing to cancel.
    pub fn is_recovered(&self, share: &Share) -> bool {
        !share.held.by_settings && (self.done || (share.leases == 0 && self.act.is_none()))
    }
}

impl BucketPlan {
    /// It, as it is saved in an intent.
    pub fn sealed(mut self) -> BucketPlan {
        let pending = self.shares.iter().filter(|share| share.is_pending()).filter_map(|share| share.act.as_ref());
        self.all_or_nothing = pending.map(|act| &act.change).all(|change| matches!(change, ShareChange::Unlink));
        self
    }

    /// How many leases the tables have that are to be rewritten.
    pub fn leases_rewritten(&self) -> u64 {
        self.shares.iter().map(SharePlan::leases_rewritten).fold(0, u64::saturating_add)
    }

    /// How many shares it deletes, those that are gone already included: they are counted nowhere else until it is settled.
    pub fn deletes(&self) -> u64 {
        let unlinks =
            |share: &&SharePlan| share.act.as_ref().is_some_and(|act| matches!(act.change, ShareChange::Unlink));
        self.shares.iter().filter(unlinks).count() as u64
    }

    /// What all its acts free, done or not.
    pub fn frees(&self) -> Freed {
        let mut freed = Freed { buckets: u64::from(self.prune), ..Freed::default() };
        self.shares.iter().filter_map(|share| share.act.as_ref()).for_each(|act| freed.merge(&act.freed()));
        freed
    }

    /// What the acts that were done have freed.
    pub fn freed(&self) -> Freed {
        let mut freed = Freed::default();
        let done = self.shares.iter().filter(|share| share.done);
        done.filter_map(|share| share.act.as_ref()).for_each(|act| freed.merge(&act.freed()));
        freed
    }

    /// What all its acts delete, done or not, as it is judged and bounded.
    pub fn deletion(&self) -> DeletionCount {
        let Freed { leases, shares, bytes, .. } = self.frees();
        DeletionCount { objects: shares, records: leases, bytes }
    }

    /// Adds what Tahoe's history has of the bucket as far as it was examined: everything but what was recovered.
    pub fn count_examined(&self, tally: &mut LeaseTally) {
        for plan in &self.shares {
            tally.add_ages(plan.ages.clone());
            plan.spared.into_iter().for_each(|why| tally.spared.add(why));
            match &plan.seen {
                ShareSeen::Whole(share) => tally.add_share(share),
                ShareSeen::Corrupt => {}
                ShareSeen::Stops(examined) => {
                    if let Some(share) = examined {
                        tally.add_examined(share);
                    }
                    return;
                }
            }
        }
        let end = self.end();
        if end.counts() {
            tally.add_bucket(self.disk_bytes, end.kind, end.held, end.stays);
        }
    }

    /// Whether the bucket itself counts with these shares.
    pub fn counts_bucket(&self) -> bool {
        self.end().counts()
    }

    /// Notes how many shares are left in the bucket in the end: all that was handed out of it before is done as well if these are
    /// the ones to which nothing is done.
    pub fn only_if_left(&mut self, shares: Option<u64>) {
        if let Some(end) = &mut self.end {
            end.recovered &= shares == Some(end.left_alone);
        }
    }

    /// Adds what Tahoe's history has under `actual`, once everything that was to be done is done: shares that were deleted or
    /// have no lease that could be, and the bucket if each of its shares was recovered.
    pub fn count_recovered(&self, tally: &mut LeaseTally) {
        let mut recovered = true;
        for plan in &self.shares {
            match &plan.seen {
                ShareSeen::Whole(share) if plan.is_recovered(share) => tally.actual.add_share(share),
                ShareSeen::Whole(_) | ShareSeen::Corrupt => recovered = false,
                ShareSeen::Stops(_) => return,
            }
        }
        let end = self.end();
        if end.counts() && end.recovered && recovered {
            tally.add_recovered_bucket(self.disk_bytes, end.kind);
        }
    }

    /// What counts for the bucket after its shares.
    fn end(&self) -> BucketEnd {
        self.end.unwrap_or_else(|| {
            let mut end = BucketEnd::new();
            self.shares.iter().for_each(|plan| end.add(plan));
            BucketEnd { gone: end.kind == BucketType::None && self.vanished > 0, ..end }
        })
    }
}

/// Bytes as hexadecimal digits: an intent is text.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

/// The bytes of such digits.
pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    let nibble = |c: &u8| char::from(*c).to_digit(16).and_then(|n| u8::try_from(n).ok());
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some(nibble(pair.first()?)? << 4 | nibble(pair.get(1)?)?)).collect()
}

pub(super) mod saved_rewrite {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Patch, Rewrite, hex, unhex};

    #[derive(Serialize, Deserialize)]
    struct SavedRewrite {
        size_before: u64,
        size_after: u64,
        /// Offset, bytes before, bytes after.
        patches: Vec<(u64, String, String)>,
    }

    pub fn serialize<S: Serializer>(rewrite: &Rewrite, serializer: S) -> Result<S::Ok, S::Error> {
        let patches = rewrite.patches.iter().map(|p| (p.at, hex(&p.before), hex(&p.after))).collect();
        let Rewrite { size_before, size_after, .. } = *rewrite;
        SavedRewrite { size_before, size_after, patches }.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Rewrite, D::Error> {
        let SavedRewrite { size_before, size_after, patches } = SavedRewrite::deserialize(deserializer)?;
        let patch = |(at, before, after): (u64, String, String)| {
            let (before, after) = (unhex(&before)?, unhex(&after)?);
            (after.len() <= before.len()).then_some(Patch { at, before, after })
        };
        let patches: Option<Vec<Patch>> = patches.into_iter().map(patch).collect();
        let patches = patches.ok_or_else(|| D::Error::custom("an intent has bytes that are none"))?;
        Ok(Rewrite { patches, size_before, size_after })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rewrite_is_read_back_as_it_was_written() {
        let patch = Patch { at: 8, before: vec![0, 1, 0xff], after: vec![0xa5, 0, 9] };
        let change = ShareChange::Rewrite(Rewrite { patches: vec![patch], size_before: 10, size_after: 7 });
        let text = serde_json::to_string(&change).unwrap();
        assert!(text.contains(r#"[8,"0001ff","a50009"]"#), "{text}");
        let ShareChange::Rewrite(read) = serde_json::from_str(&text).unwrap() else { panic!() };
        let ShareChange::Rewrite(written) = change else { panic!() };
        assert_eq!(read, written);
        for wrong in [r#"[8,"0","00"]"#, r#"[8,"0g","00"]"#, r#"[8,"00","0000"]"#] {
            assert!(serde_json::from_str::<ShareChange>(&text.replace(r#"[8,"0001ff","a50009"]"#, wrong)).is_err());
        }
    }
}
