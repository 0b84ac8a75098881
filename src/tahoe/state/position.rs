//! What every crawler keeps: which cycle it is in, and how far.

use serde::{Deserialize, Serialize};

use super::VERSION;
use crate::policy::ring::Ring;

/// A cycle with a higher number is damage: Tahoe runs two cycles a day at most.
const CYCLE_MAX: u64 = u32::MAX as u64;

/// Where a crawler stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Position {
    /// The last cycle that was finished, if any was.
    pub last_finished: Option<u64>,
    /// When the cycle in progress began, or else the last one, in seconds since 1970; `None` if nobody knows.
    pub started: Option<f64>,
    /// The cycle in progress, if there is one.
    pub current: Option<CycleAt>,
}

/// How far a cycle in progress has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CycleAt {
    /// The cycle's number.
    pub number: u64,
    /// Position in the ring of the last prefix that is complete; those before it are too.
    pub last_prefix: Option<u32>,
    /// The last bucket that was visited, in whatever prefix.
    pub last_bucket: Option<String>,
}

impl CycleAt {
    /// Position of the first prefix that is not complete.
    pub fn next_prefix(&self) -> u32 {
        self.last_prefix.map_or(0, |last| last.saturating_add(1))
    }
}

/// The keys as they stand in the file. A key that is missing is refused, though it may be null: Tahoe looks it up, and
/// its node does not start.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct PositionKeys {
    version: u64,
    #[serde(deserialize_with = "Option::deserialize")]
    last_cycle_finished: Option<u64>,
    #[serde(deserialize_with = "Option::deserialize")]
    current_cycle: Option<u64>,
    #[serde(default)]
    current_cycle_start_time: Option<f64>,
    #[serde(deserialize_with = "Option::deserialize")]
    last_complete_prefix: Option<String>,
    #[serde(deserialize_with = "Option::deserialize")]
    last_complete_bucket: Option<String>,
}

impl PositionKeys {
    /// What the keys mean.
    pub(super) fn meaning(self, ring: &Ring) -> Result<Position, String> {
        if self.version != VERSION {
            return Err(format!("it has version {}, the only one known is {VERSION}", self.version));
        }
        let known = |prefix: &String| {
            ring.position(prefix)
                .ok_or_else(|| format!("{prefix:?} is none of the prefixes; Tahoe's node would not start"))
        };
        let last_prefix = self.last_complete_prefix.as_ref().map(known).transpose()?;
        let due = self.last_cycle_finished.map_or(Some(0), |last| last.checked_add(1));
        let current = match self.current_cycle {
            _ if due.is_none_or(|due| due > CYCLE_MAX) => {
                return Err("its last cycle has an impossible number".to_owned());
            }
            Some(number) if Some(number) != due => {
                let last = self.last_cycle_finished.map_or_else(|| "none".to_owned(), |last| last.to_string());
                return Err(format!("cycle {number} is in progress, but the last one finished is {last}"));
            }
            Some(number) if last_prefix.is_some_and(|last| last.saturating_add(1) >= ring.len()) => {
                return Err(format!("cycle {number} is in progress, but its last prefix is complete"));
            }
            Some(number) => Some(CycleAt { number, last_prefix, last_bucket: self.last_complete_bucket }),
            None => None,
        };
        if current.is_some() && self.current_cycle_start_time.is_none() {
            return Err("a cycle is in progress, but nothing says since when".to_owned());
        }
        Ok(Position { last_finished: self.last_cycle_finished, started: self.current_cycle_start_time, current })
    }

    /// The keys that mean this.
    pub(super) fn of(position: &Position, ring: &Ring) -> PositionKeys {
        let current = position.current.as_ref();
        let prefix = current.and_then(|cycle| cycle.last_prefix).and_then(|last| ring.name(last));
        PositionKeys {
            version: VERSION,
            last_cycle_finished: position.last_finished,
            current_cycle: current.map(|cycle| cycle.number),
            current_cycle_start_time: position.started,
            last_complete_prefix: prefix.map(str::to_owned),
            last_complete_bucket: current.and_then(|cycle| cycle.last_bucket.clone()),
        }
    }
}
