//! What a cleaning run would do, for people and programs to look at before it is done.

use std::fmt;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::balance::Balance;
use super::choice::{Choice, Odd, SegmentEntry};
use super::number::Number;
use super::options::{Era, Mode, Policy};
use super::raised::Raised;

/// Why nothing is done.
#[derive(Debug, Clone, PartialEq)]
pub enum Refusal {
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

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const CLOCK: &str = "set the clock right, give the day with --now, or vouch for the clock with --accept-clock";
        match self {
            Refusal::NoSnapshots => f.write_str(
                "no snapshots, but segments or blocks: cleaning would empty the database; restore it from a backup",
            ),
            Refusal::ClockBehind { days } => write!(f, "the newest snapshot is {days:.1} days in the future; {CLOCK}"),
            Refusal::ClockAhead { days } => write!(f, "the newest snapshot is {days:.1} days old; {CLOCK}"),
            Refusal::Raised(raised) => raised.fmt(f),
            Refusal::Options(why) => f.write_str(why),
        }
    }
}

impl Serialize for Refusal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What garbage collection removes, in rows.
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

impl<'de> Deserialize<'de> for Comeback {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Comeback, D::Error> {
        let text = String::deserialize(deserializer)?;
        let all = [Comeback::Never, Comeback::Now, Comeback::AfterBackup];
        all.into_iter()
            .find(|comeback| comeback.to_string() == text)
            .ok_or_else(|| D::Error::custom("no such comeback"))
    }
}

/// A cleaning run, decided but not done. Serialized, its numbers read back to the same doubles; why it is refused does
/// not, since only what is not refused is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// The segments that may be cleaned, worst first.
    pub segments: Vec<SegmentEntry>,
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
    /// Names of segments that no kept snapshot uses.
    pub obsolete: Vec<Arc<str>>,
    /// Names of segments that are used no more after the next backup of each scheme.
    pub obsolete_after_backup: Vec<Arc<str>>,
    /// Why nothing is done.
    #[serde(skip_deserializing)]
    pub refused: Option<Refusal>,
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
            segments: Vec::new(),
            balance: Balance::default(),
            reclaimable_bytes: Number::Int(0),
            rewrite_bytes: Number::Int(0),
            obsolete_bytes: Number::Int(0),
            space_comes_free: Comeback::Never,
            obsolete: Vec::new(),
            obsolete_after_backup: Vec::new(),
            refused: None,
            odd: Vec::new(),
        }
    }

    /// Takes in the list with what is marked; the sums follow from it.
    pub fn take_choice(&mut self, choice: Choice) {
        let (mut free, mut again) = (0i128, 0i128);
        for entry in choice.list.iter().filter(|e| e.marked) {
            let used = entry.used_bytes.bytes();
            again = again.saturating_add(used);
            free = free.saturating_add(entry.size_bytes.bytes().saturating_sub(used).max(0));
            self.obsolete_after_backup.push(entry.name.clone());
        }
        self.reclaimable_bytes = Number::Int(free);
        self.rewrite_bytes = Number::Int(again);
        self.space_comes_free = match (self.obsolete_after_backup.is_empty(), self.obsolete.is_empty()) {
            (false, _) => Comeback::AfterBackup,
            (true, false) => Comeback::Now,
            (true, true) => Comeback::Never,
        };
        self.segments = choice.list;
        self.odd.extend(choice.odd);
    }

    /// Ids of the marked segments, in the order of the list.
    pub fn marked(&self) -> impl Iterator<Item = i64> {
        self.segments.iter().filter(|e| e.marked).map(|e| e.id)
    }
}
