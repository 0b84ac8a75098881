//! `lease_checker.state.json` and `lease_checker.history.json`.
//!
//! **The histogram in mid-cycle.** In memory Tahoe keys the ages by pairs of numbers, in the file they are a list of
//! triples, and it is not turned back: after a restart in mid-cycle the first lease raises an exception, and the lease
//! checker does not run again. No JSON can give it pairs. So a cycle in progress is written for Tahoe with an empty
//! histogram, which its loader makes a usable one of, and the ages so far stand under a key of our own beside it
//! ([`AGES_KEPT`]): Tahoe keeps keys that it does not know as long as the cycle lasts, and reading adds them again. What
//! is lost is that Tahoe's own history entry of this one cycle has only the ages of the leases that it has met itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::figures::{Figures, LeaseHistogram};
use super::position::{Position, PositionKeys};
use crate::policy::ring::Ring;

/// Where the ages so far are kept in a file written for Tahoe.
pub const AGES_KEPT: &str = "sexton-lease-age-histogram";

/// How many cycles the history has at most.
pub const HISTORY_MAX: usize = 10;

/// The state of the lease checker.
#[derive(Debug, Clone, PartialEq)]
pub struct LeaseChecker {
    /// Where it stands.
    pub position: Position,
    /// What it has counted in the cycle in progress; `None` between cycles.
    pub so_far: Option<Figures>,
}

#[derive(Serialize)]
struct LeaseStateFile {
    #[serde(flatten)]
    keys: PositionKeys,
    #[serde(rename = "cycle-to-date", skip_serializing_if = "Option::is_none")]
    so_far: Option<Value>,
    /// A copy of the history file, which nobody reads.
    history: Value,
}

/// What is read of it beside the [`PositionKeys`]: by itself, since `flatten` keeps all keys that nobody wants until the end.
#[derive(Deserialize)]
struct SoFar {
    #[serde(rename = "cycle-to-date", default)]
    so_far: Option<Value>,
}

impl LeaseChecker {
    /// Reads the state file.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &[u8], ring: &Ring) -> Result<LeaseChecker, String> {
        let keys: PositionKeys = super::parse(text)?;
        let SoFar { so_far: object } = super::parse(text)?;
        let position = keys.meaning(ring)?;
        let so_far = match (&position.current, object) {
            (None, _) => None,
            (Some(cycle), None) => return Err(format!("cycle {} is in progress without cycle-to-date", cycle.number)),
            (Some(_), Some(object)) => Some(so_far(&object).map_err(|why| format!("cycle-to-date: {why}"))?),
        };
        Ok(LeaseChecker { position, so_far })
    }

    /// Writes the state file, with a copy of the history as Tahoe does.
    pub fn write(&self, history: &CycleHistory, ring: &Ring) -> Value {
        let so_far = self.so_far.as_ref().map(|figures| {
            let mut object = figures.write();
            if let Some(ages) = object.insert("lease-age-histogram".to_owned(), json!({})) {
                object.insert(AGES_KEPT.to_owned(), ages);
            }
            Value::Object(object)
        });
        let file = LeaseStateFile { keys: PositionKeys::of(&self.position, ring), so_far, history: history.write() };
        // Text, numbers and maps of text: this always serializes.
        serde_json::to_value(file).unwrap_or_default()
    }
}

/// The figures of a cycle in progress, with the ages that were kept for it.
fn so_far(object: &Value) -> Result<Figures, String> {
    let mut figures = Figures::read(object)?;
    if let Some(kept) = object.get(AGES_KEPT) {
        let LeaseHistogram(kept) = LeaseHistogram::deserialize(kept).map_err(|e| e.to_string())?;
        for (day, leases) in kept {
            let sum = figures.ages.entry(day).or_default();
            *sum = sum.saturating_add(leases);
        }
    }
    Ok(figures)
}

/// The last cycles of the lease checker, by number.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CycleHistory(pub BTreeMap<u64, HistoryEntry>);

/// A finished cycle.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryEntry {
    /// When it began, in seconds since 1970.
    pub started: f64,
    /// When it was finished, in seconds since 1970.
    pub finished: f64,
    /// What it has counted.
    pub figures: Figures,
}

const TIMES: &str = "cycle-start-finish-times";

impl HistoryEntry {
    /// Reads an entry.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn read(object: &Value) -> Result<HistoryEntry, String> {
        let times = object.get(TIMES).ok_or_else(|| format!("there is no {TIMES}"))?;
        let (started, finished) = <(f64, f64)>::deserialize(times).map_err(|e| format!("{TIMES}: {e}"))?;
        Ok(HistoryEntry { started, finished, figures: Figures::read(object)? })
    }

    fn write(&self) -> Value {
        let mut object = self.figures.write();
        object.insert(TIMES.to_owned(), json!([self.started, self.finished]));
        Value::Object(object)
    }
}

impl CycleHistory {
    /// Reads the history file.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &[u8]) -> Result<CycleHistory, String> {
        let entries: BTreeMap<String, Value> = super::parse(text)?;
        let entry = |(number, object): (String, Value)| {
            let cycle = number.parse::<u32>().map_err(|_| format!("{number:?} is no number of a cycle"))?;
            Ok((u64::from(cycle), HistoryEntry::read(&object).map_err(|why| format!("cycle {cycle}: {why}"))?))
        };
        entries.into_iter().map(entry).collect::<Result<_, String>>().map(CycleHistory)
    }

    /// Writes the history file.
    pub fn write(&self) -> Value {
        let entries = self.0.iter().map(|(cycle, entry)| (cycle.to_string(), entry.write()));
        Value::Object(entries.collect::<Map<_, _>>())
    }

    /// Adds a cycle, and drops those with the lowest numbers until ten are left, as Tahoe does. Gives the numbers that
    /// were dropped, which may be the one that was added.
    pub fn add(&mut self, cycle: u64, entry: HistoryEntry) -> Vec<u64> {
        self.0.insert(cycle, entry);
        let mut dropped = Vec::new();
        while self.0.len() > HISTORY_MAX {
            dropped.extend(self.0.pop_first().map(|(cycle, _)| cycle));
        }
        dropped
    }
}
