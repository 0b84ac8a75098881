//! What a cleaning run would do, for people and programs to look at before it is done.

use std::fmt;
use std::sync::Arc;

use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::balance::Balance;
use super::choice::Odd;
use super::judge::Judge;
use super::list::{KeptList, SegmentList};
use super::number::Number;
use super::options::{Era, Mode, Policy};
use super::raised::Raised;

/// Why nothing is done.
#[derive(Debug, Clone, PartialEq)]
pub enum CleaningRefusal {
    /// There is data, but no snapshot: more likely damage than intent.
    NoSnapshots,
    /// The newest snapshot is in the future.
    ClockBehind {
        /// By how many days.
        days: f64,
    },
    /// The newest snapshot is very old.
    ClockAhead {
        /// By how many days.
        days: f64,
    },
    /// The old cleaner would have raised an exception (compat mode).
    Raised(Raised),
    /// The options make no sense.
    Options(String),
}

impl fmt::Display for CleaningRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const CLOCK: &str = "set the clock right; or, with `sexton clean`, give the day by --now, or vouch for the clock by \
                             --accept-clock";
        match self {
            CleaningRefusal::NoSnapshots => f.write_str(
                "no snapshots, but segments or blocks: cleaning would empty the database; restore it from a backup",
            ),
            CleaningRefusal::ClockBehind { days } => {
                write!(f, "the newest snapshot is {days:.1} days in the future; {CLOCK}")
            }
            CleaningRefusal::ClockAhead { days } => write!(f, "the newest snapshot is {days:.1} days old; {CLOCK}"),
            CleaningRefusal::Raised(raised) => raised.fmt(f),
            CleaningRefusal::Options(why) => f.write_str(why),
        }
    }
}

impl Serialize for CleaningRefusal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What garbage collection removes, in rows.
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// Rows of `snapshots`.
    pub snapshots: u64,
    /// Rows of the table that says what snapshots use.
    pub usage_rows: u64,
    /// Rows of `segments`.
    pub segments: u64,
    /// Rows of `block_index`.
    pub blocks: u64,
    /// Rows of `subblock_signatures`.
    pub signatures: u64,
}

/// When the space of a plan comes free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comeback {
    /// Nothing comes free.
    Never,
    /// Segments are no longer needed now.
    Now,
    /// Segments are no longer needed after the next backup.
    AfterBackup,
}

impl fmt::Display for Comeback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Comeback::Never => "nothing comes free",
            Comeback::Now => "when the snapshots that use the segments are deleted from the store",
            Comeback::AfterBackup => {
                "when each scheme has had its next backup, and the older snapshots are deleted from the store"
            }
        })
    }
}

impl Serialize for Comeback {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A cleaning run, decided but not done. Serialized, its numbers read back to the same doubles; why it is refused does
/// not, since only what is not refused is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct CleaningPlan {
    /// The generation of the database.
    pub era: Era,
    /// Compatible or careful.
    pub mode: Mode,
    /// Which segments are worth cleaning.
    pub policy: Policy,
    /// What counts as now, as a Julian day (UTC).
    pub now: f64,
    /// What garbage collection removes.
    pub removed: Removed,
    /// The segments that may be cleaned, worst first; and the names of those that are obsolete, which go with
    /// `obsolete` and `obsolete_after_backup` where a plan is serialized.
    pub segments: SegmentList,
    /// The grouping by age.
    pub balance: Balance,
    /// Bytes not in use in the marked segments: what the store gains, rewriting deducted.
    pub reclaimable_bytes: Number,
    /// Bytes in use in the marked segments: what the next backups upload again.
    pub rewrite_bytes: Number,
    /// Bytes of the segments that no kept snapshot uses.
    pub obsolete_bytes: Number,
    /// When the space comes free.
    pub space_comes_free: Comeback,
    /// Why nothing is done.
    pub refused: Option<CleaningRefusal>,
    /// What was odd.
    pub odd: Vec<Odd>,
}

impl CleaningPlan {
    /// A plan that does nothing.
    pub fn empty(era: Era, mode: Mode, policy: Policy, now: f64) -> CleaningPlan {
        CleaningPlan {
            era,
            mode,
            policy,
            now,
            removed: Removed::default(),
            segments: SegmentList::empty(Judge { era, mode, now, age_boost_days: policy.age_boost_days() }),
            balance: Balance::default(),
            reclaimable_bytes: Number::Int(0),
            rewrite_bytes: Number::Int(0),
            obsolete_bytes: Number::Int(0),
            space_comes_free: Comeback::Never,
            refused: None,
            odd: Vec::new(),
        }
    }

    /// Takes in the list with what is marked; the sums follow from it.
    pub fn take_segments(&mut self, segments: SegmentList) {
        let (again, free) = segments.marked_bytes();
        self.reclaimable_bytes = Number::Int(free);
        self.rewrite_bytes = Number::Int(again);
        let after_backup = segments.marked().next().is_some();
        self.space_comes_free = match (after_backup, segments.obsolete_names().next()) {
            (true, _) => Comeback::AfterBackup,
            (false, Some(_)) => Comeback::Now,
            (false, None) => Comeback::Never,
        };
        self.segments = segments;
    }

    /// Ids of the marked segments, in the order of the list.
    pub fn marked(&self) -> impl Iterator<Item = i64> + '_ {
        self.segments.marked()
    }

    /// Names of segments that no kept snapshot uses.
    pub fn obsolete(&self) -> impl Iterator<Item = Arc<str>> + '_ {
        self.segments.obsolete_names()
    }

    /// Names of segments that are used no more after the next backup of each scheme: those that are marked.
    pub fn obsolete_after_backup(&self) -> impl Iterator<Item = Arc<str>> + '_ {
        self.segments.marked_names()
    }
}

/// Lists are written entry by entry, as they are made.
impl Serialize for CleaningPlan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut plan = serializer.serialize_struct("CleaningPlan", 15)?;
        plan.serialize_field("era", &self.era)?;
        plan.serialize_field("mode", &self.mode)?;
        plan.serialize_field("policy", &self.policy)?;
        plan.serialize_field("now", &self.now)?;
        plan.serialize_field("removed", &self.removed)?;
        plan.serialize_field("segments", &self.segments)?;
        plan.serialize_field("balance", &self.balance)?;
        plan.serialize_field("reclaimable_bytes", &self.reclaimable_bytes)?;
        plan.serialize_field("rewrite_bytes", &self.rewrite_bytes)?;
        plan.serialize_field("obsolete_bytes", &self.obsolete_bytes)?;
        plan.serialize_field("space_comes_free", &self.space_comes_free)?;
        plan.serialize_field("obsolete", &Each(|| self.obsolete()))?;
        plan.serialize_field("obsolete_after_backup", &Each(|| self.obsolete_after_backup()))?;
        plan.serialize_field("refused", &self.refused)?;
        plan.serialize_field("odd", &self.odd)?;
        plan.end()
    }
}

/// Serializes what an iterator gives.
struct Each<F>(F);

impl<I: Iterator<Item = Arc<str>>, F: Fn() -> I> Serialize for Each<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0())
    }
}

/// What of a serialized plan does not follow from the rest.
#[derive(Deserialize)]
struct KeptPlan {
    era: Era,
    mode: Mode,
    policy: Policy,
    now: f64,
    removed: Removed,
    segments: KeptList,
    balance: Balance,
    obsolete_bytes: Number,
    obsolete: Vec<Box<str>>,
    odd: Vec<Odd>,
}

impl<'de> Deserialize<'de> for CleaningPlan {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<CleaningPlan, D::Error> {
        let kept = KeptPlan::deserialize(deserializer)?;
        let mut plan = CleaningPlan::empty(kept.era, kept.mode, kept.policy, kept.now);
        let judge =
            Judge { era: kept.era, mode: kept.mode, now: kept.now, age_boost_days: kept.policy.age_boost_days() };
        plan.take_segments(SegmentList::restored(kept.segments, &kept.obsolete, judge));
        plan.removed = kept.removed;
        plan.balance = kept.balance;
        plan.obsolete_bytes = kept.obsolete_bytes;
        plan.odd = kept.odd;
        Ok(plan)
    }
}
