//! What the daemon itself keeps over restarts, in a small file beside the state: what was changed by hand (the budget,
//! pauses, crawls and cleanings that were stopped), and when each prefix was visited.
//!
//! A file that is lost or damaged costs what was changed by hand and some colour in the picture of the ring, and is said.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::places::beside;
use crate::own_files::{self, OwnFile};
use crate::settings::RATE_CORES;

const VERSION: u32 = 1;
/// A larger file is none of ours: some 15 bytes for each prefix of a hundred crawls.
const MOST_BYTES: u64 = 16 << 20;

/// A change of the budget that holds until it is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// When, in seconds since 1970.
    pub at: f64,
    /// To how many cores.
    pub rate: f64,
}

/// What an operator has done to a crawl or cleaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Done {
    /// It was stopped: until it is started.
    Stopped,
    /// It was paused: until it is resumed or started.
    Paused,
}

/// The same, and when.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ByHand {
    /// What was done.
    pub what: Done,
    /// When, in seconds since 1970.
    pub at: f64,
}

/// What is kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct KeptChanges {
    version: u32,
    /// The changed budget, if it was changed.
    pub budget: Option<Change>,
    /// When everything was paused, in seconds since 1970, if it is.
    #[serde(default)]
    pub paused: Option<f64>,
    /// Crawls and cleanings that were stopped or paused, by name.
    #[serde(default)]
    pub by_hand: BTreeMap<String, ByHand>,
    /// When each prefix was visited, in seconds since 1970, by crawl; 0 if unknown.
    #[serde(default)]
    pub visits: BTreeMap<String, Vec<f64>>,
}

impl KeptChanges {
    /// Where it is kept for a state file.
    pub fn path(state: &Path) -> PathBuf {
        beside(state, "-daemon.json")
    }

    /// What was done by hand that is not in what was `saved`, in words: `the stop of count`.
    pub fn not_in(&self, saved: &KeptChanges) -> Vec<String> {
        let mut missing = Vec::new();
        if self.budget != saved.budget {
            let (changed, file) = ("the changed budget", "that the budget is that of the file again");
            missing.push(if self.budget.is_some() { changed } else { file }.to_owned());
        }
        if self.paused.is_some() != saved.paused.is_some() {
            let what = if self.paused.is_some() { "pause" } else { "end of the pause" };
            missing.push(format!("the {what} of everything"));
        }
        let done = |kept: &KeptChanges, name: &str| kept.by_hand.get(name).map(|by_hand| by_hand.what);
        let names: BTreeSet<&String> = self.by_hand.keys().chain(saved.by_hand.keys()).collect();
        let changed = names.into_iter().filter(|name| done(self, name) != done(saved, name));
        missing.extend(changed.map(|name| match done(self, name) {
            Some(Done::Stopped) => format!("the stop of {name}"),
            Some(Done::Paused) => format!("the pause of {name}"),
            None => format!("that {name} may go on"),
        }));
        missing
    }

    /// Reads it; what cannot be read is said, and then as good as nothing.
    pub fn read(path: &Path) -> KeptChanges {
        let read = || -> Result<KeptChanges, String> {
            let text = OwnFile::at(path).and_then(|file| file.read(MOST_BYTES));
            let text = text.map_err(|e| own_files::cause(&e, path))?;
            let Some(text) = text else { return Ok(KeptChanges::default()) };
            let kept: KeptChanges = serde_json::from_slice(&text).map_err(|e| e.to_string())?;
            let sound = kept.budget.is_none_or(|change| RATE_CORES.contains(&change.rate) && change.at.is_finite());
            if kept.version == VERSION && sound { Ok(kept) } else { Err("it is of another version".to_owned()) }
        };
        read().unwrap_or_else(|cause| {
            warn!(path = %path.display(), cause, "what the daemon had kept cannot be read and is left out");
            KeptChanges::default()
        })
    }

    /// Writes it: all of it or nothing, whatever happens.
    ///
    /// # Errors
    /// As the system says it, such as for a full disk.
    pub fn write(&mut self, path: &Path) -> std::io::Result<()> {
        self.version = VERSION;
        OwnFile::at(path)?.replace(|_| Ok(()), |new| Ok(serde_json::to_writer(new, self)?))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_not_saved_yet_is_named() {
        let by_hand = |what: Done| ByHand { what, at: 6.0 };
        let mut saved = KeptChanges { paused: Some(4.0), ..KeptChanges::default() };
        saved.by_hand.insert("leases".into(), by_hand(Done::Stopped));
        saved.by_hand.insert("verify".into(), by_hand(Done::Paused));
        let mut kept = KeptChanges { budget: Some(Change { at: 5.0, rate: 0.25 }), ..KeptChanges::default() };
        kept.visits.insert("leases".into(), vec![1.0]);
        kept.by_hand.insert("count".into(), by_hand(Done::Stopped));
        kept.by_hand.insert("verify".into(), ByHand { what: Done::Paused, at: 7.0 });
        let named =
            ["the changed budget", "the end of the pause of everything", "the stop of count", "that leases may go on"];
        assert_eq!(kept.not_in(&saved), named);
        assert_eq!(saved.not_in(&kept)[2..], ["that count may go on", "the stop of leases"]);
        assert!(kept.not_in(&kept).is_empty());
    }

    #[test]
    fn what_is_kept_is_read_again_and_what_is_damaged_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = KeptChanges::path(&folder.path().join("state.sqlite"));
        assert_eq!(KeptChanges::read(&path), KeptChanges::default());
        let mut kept = KeptChanges { budget: Some(Change { at: 5.0, rate: 0.25 }), ..KeptChanges::default() };
        kept.visits.insert("leases".into(), vec![0.0, 1.5]);
        kept.by_hand.insert("leases".into(), ByHand { what: Done::Paused, at: 6.0 });
        kept.write(&path).unwrap();
        assert_eq!(KeptChanges::read(&path), kept);
        for damaged in ["", "{", "{\"version\":2}", "{\"version\":1,\"budget\":{\"at\":0,\"rate\":-1}}"] {
            fs::write(&path, damaged).unwrap();
            assert_eq!(KeptChanges::read(&path), KeptChanges::default(), "{damaged}");
        }
    }
}
