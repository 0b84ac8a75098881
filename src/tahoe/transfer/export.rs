//! The export: the contiguous part of a crawl as the files that Tahoe's node reads at its next start.
//!
//! A crawl may have completed prefixes beyond the first incomplete one: with several workers, or where they are empty. Tahoe
//! has one position, so those are left out, and its node does them again. So is a started prefix whose last bucket does not begin with its
//! name: Tahoe would skip buckets of the following prefixes for it.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::cycles::decode;
use super::{Crawler, Extent, NodeFolder, Written, lease_job};
use crate::error::{Error, Result};
use crate::job::{Count, Job};
use crate::model::{CycleReport, CycleTotal, ListedNotes};
use crate::policy::cycle::KnownCycle;
use crate::policy::ring::{Lap, Ring};
use crate::state::{PrefixRow, StateReader, each_note, each_prefix};
use crate::store::Store;
use crate::tahoe::leases::LeaseSettings;
use crate::tahoe::state::counter::Counter;
use crate::tahoe::state::leases::{CycleHistory, HistoryEntry, LeaseChecker};
use crate::tahoe::state::{COUNTER_FILE, CycleAt, HISTORY_FILE, LEASES_FILE, Position};
use crate::tahoe::{Leases, TahoeStore};

/// Among the parameters of a finished cycle that Tahoe itself has run: that it cancelled leases.
pub(super) const EXPIRATION_ENABLED: &str = "expiration_enabled";

/// What an export will do. Made without changing anything.
#[derive(Debug, Clone, PartialEq)]
pub struct Export {
    /// In the order in which they are written.
    files: Vec<(&'static str, String)>,
    extent: Option<Extent>,
    finished: Vec<u64>,
    remarks: Vec<String>,
}

impl Export {
    /// Reads one crawl from a state, and decides what Tahoe's files will be; `None` if the state has no cycle of it.
    ///
    /// # Errors
    /// [`Error::Config`] if the state is another store's, or changes of its cycle may be half done, or Tahoe's own files have come
    /// further, or are of the old kind;
    /// and whatever keeps state or files from being read.
    pub fn plan(
        crawler: Crawler,
        state: &dyn StateReader,
        folder: &NodeFolder,
        store: &TahoeStore,
    ) -> Result<Option<Export>> {
        let Some(latest) = state.latest(crawler.crawl())? else { return Ok(None) };
        if latest.identity.store != store.identity() {
            let theirs = &latest.identity.store;
            return Err(Error::Config(format!("nothing was exported: the state belongs to the store {theirs}")));
        }
        if *latest.identity.ring != *store.ring().names() {
            return Err(Error::Config("nothing was exported: the state is not of Tahoe's 1,024 prefixes".to_owned()));
        }
        let half_done = state.half_done(&latest.key())?;
        if half_done > 0 {
            return Err(Error::Config(format!(
                "nothing was exported: cycle {} has planned changes that may be half done (buckets: {half_done}); run its \
                 command again before the node is started, and export then",
                latest.number
            )));
        }
        if latest.is_examined() || (latest.carrying_out.is_some() && latest.finished.is_none()) {
            return Err(Error::Config(format!(
                "nothing was exported: cycle {} has examined everything and has not deleted all that it has shown, which Tahoe \
                 cannot go on with; run its command again, or give it up with --fresh, and export then",
                latest.number
            )));
        }
        let finished = state.finished(crawler.crawl())?;
        let mut export = Export { files: Vec::new(), extent: None, finished: Vec::new(), remarks: Vec::new() };
        match crawler {
            Crawler::Counter => export.counts(state, folder, store.ring(), &latest, &finished)?,
            Crawler::LeaseChecker => export.leases(state, folder, store.ring(), &latest, &finished)?,
        }
        Ok(Some(export))
    }

    /// The cycle in progress, as far as it is handed back.
    pub fn extent(&self) -> Option<&Extent> {
        self.extent.as_ref()
    }

    /// Numbers of the finished cycles that are handed back, the oldest first.
    pub fn finished(&self) -> &[u64] {
        &self.finished
    }

    /// What is not as one might expect, a sentence each.
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// Writes the files, each whole or not at all and synced, the history before the position that stands behind it. Gives
    /// their paths, each with what became of it.
    ///
    /// # Errors
    /// [`Error::Store`] if one cannot be written; those before it are.
    pub fn apply(&self, folder: &NodeFolder) -> Result<Vec<(PathBuf, Written)>> {
        self.files.iter().map(|(name, text)| Ok((folder.path(name), folder.replace(name, text.as_bytes())?))).collect()
    }

    fn counts(
        &mut self,
        state: &dyn StateReader,
        folder: &NodeFolder,
        ring: &Ring,
        latest: &KnownCycle,
        finished: &[KnownCycle],
    ) -> Result<()> {
        let theirs = self.theirs(folder, COUNTER_FILE, |text| Counter::parse(text, ring))?;
        refuse_further(COUNTER_FILE, theirs.as_ref().and_then(|theirs| come(&theirs.position)), latest)?;
        let mut counter = Counter { last_count: theirs.and_then(|theirs| theirs.last_count), ..Counter::default() };
        if let Some(last) = finished.last() {
            let mut counts = std::collections::BTreeMap::new();
            each_prefix(state, &last.key(), |row| {
                let saved = row.tally.map(|tally| decode::<<Count as Job<TahoeStore>>::Tally>("count", &tally));
                counts.insert(row.prefix, saved.transpose()?.map_or(0, |saved| saved.counts.buckets));
                Ok(())
            })?;
            counter.last_count = Some(counts.values().fold(0u64, |sum, n| sum.saturating_add(*n)));
            counter.counts.insert(last.number, counts);
            self.finished.push(last.number);
        }
        let last_finished = if latest.finished.is_some() { Some(latest.number) } else { latest.number.checked_sub(1) };
        let started = Some(began(finished.last().unwrap_or(latest)));
        counter.position = Position { last_finished, started, current: None };
        if latest.finished.is_none() {
            self.remarks.push(format!(
                "cycle {} is in progress here; Tahoe never comes to a count in a cycle that was interrupted, so its node \
                 begins that cycle again",
                latest.number
            ));
        }
        self.file(COUNTER_FILE, &counter.write(ring));
        Ok(())
    }

    fn leases(
        &mut self,
        state: &dyn StateReader,
        folder: &NodeFolder,
        ring: &Ring,
        latest: &KnownCycle,
        finished: &[KnownCycle],
    ) -> Result<()> {
        let theirs = self.theirs(folder, LEASES_FILE, |text| LeaseChecker::parse(text, ring))?;
        refuse_further(LEASES_FILE, theirs.as_ref().and_then(|theirs| come(&theirs.position)), latest)?;
        let mut history = self.theirs(folder, HISTORY_FILE, CycleHistory::parse)?.unwrap_or_default();
        let newest = history.0.last_key_value().map(|(number, _)| Come::ToTheEndOf(*number));
        refuse_further(HISTORY_FILE, newest, latest)?;
        for cycle in finished {
            let entry = entry(state, cycle, ring.len())?;
            history.add(cycle.number, entry);
            self.finished.push(cycle.number);
        }
        self.finished.retain(|number| history.0.contains_key(number));
        let (position, so_far) = match latest.finished {
            Some(_) => {
                let (last_finished, started) = (Some(latest.number), Some(began(latest)));
                (Position { last_finished, started, current: None }, None)
            }
            None => self.in_progress(state, ring, latest)?,
        };
        self.file(HISTORY_FILE, &history.write());
        self.file(LEASES_FILE, &LeaseChecker { position, so_far }.write(&history, ring));
        Ok(())
    }

    /// The contiguous part of the cycle in progress.
    fn in_progress(
        &mut self,
        state: &dyn StateReader,
        ring: &Ring,
        cycle: &KnownCycle,
    ) -> Result<(Position, Option<crate::tahoe::state::figures::Figures>)> {
        let mut lap = Lap::new(ring.len());
        cycle.done.iter().for_each(|prefix| lap.complete(*prefix));
        let last_prefix = lap.last_contiguous();
        let next = last_prefix.map_or(0, |last| last + 1);
        let beyond = cycle.done.iter().filter(|prefix| **prefix > next).count();
        if beyond > 0 {
            self.remarks.push(format!(
                "prefixes that are complete behind the first one that is not: {beyond}; Tahoe has one position, so its node \
                 does them again"
            ));
        }
        let mut rows = state.prefixes(&cycle.key(), next)?.into_iter();
        let last_bucket = rows.next().and_then(|row| bucket(&row, ring));
        let prefixes_done = next;
        let HistoryEntry { figures, .. } = entry(state, cycle, next + u32::from(last_bucket.is_some()))?;
        let ages: u64 = figures.ages.values().fold(0, |sum, n| sum.saturating_add(*n));
        if ages > 0 {
            self.remarks.push(format!(
                "Tahoe cannot go on with the ages of the {ages} leases met so far: its own history entry of cycle {} will \
                 have only the ages that it sees itself. Everything else is carried on, and an import from its file in \
                 mid-cycle has all ages again",
                cycle.number
            ));
        }
        let started = began(cycle);
        self.extent = Some(Extent {
            cycle: cycle.number,
            started,
            prefixes_done,
            last_bucket: last_bucket.clone(),
            buckets: figures.space.groups[3][0][0],
            shares: Some(figures.space.groups[3][1][0]),
            corrupt_shares: figures.corrupt_shares.len() as u64,
        });
        let current = Some(CycleAt { number: cycle.number, last_prefix, last_bucket });
        let last_finished = cycle.number.checked_sub(1);
        Ok((Position { last_finished, started: Some(started), current }, Some(figures)))
    }

    /// What Tahoe's own file says; one that cannot be read is replaced, and kept beside it.
    fn theirs<T>(
        &mut self,
        folder: &NodeFolder,
        name: &'static str,
        parse: impl FnOnce(&[u8]) -> std::result::Result<T, String>,
    ) -> Result<Option<T>> {
        match folder.read(name)?.map(|text| parse(&text)) {
            Some(Ok(theirs)) => Ok(Some(theirs)),
            Some(Err(why)) => {
                self.remarks.push(format!("{name} is not as Tahoe 1.20 writes it ({why}), and is replaced"));
                Ok(None)
            }
            None => Ok(None),
        }
    }

    fn file(&mut self, name: &'static str, value: &Value) {
        self.files.push((name, value.to_string()));
    }
}

/// The last bucket of a started prefix, if Tahoe can go on behind it.
fn bucket(row: &PrefixRow, ring: &Ring) -> Option<String> {
    let name = std::str::from_utf8(row.cursor.as_ref()?).ok()?;
    name.starts_with(ring.name(row.prefix)?).then(|| name.to_owned())
}

/// The history entry of so many prefixes of a cycle, the first ones.
fn entry(state: &dyn StateReader, cycle: &KnownCycle, prefixes: u32) -> Result<HistoryEntry> {
    let unreadable = |cause: String| Error::Tally { crawl: "leases".to_owned(), cause };
    let parameters = &cycle.identity.parameters;
    let (job, _) = lease_job(LeaseSettings::from_parameters(parameters).map_err(unreadable)?);
    let (key, mut notes) = (cycle.key(), ListedNotes::default());
    each_note(state, &key, |prefix, note| if prefix < prefixes { notes.add(&key, &note) } else { Ok(()) })?;
    let mut total = CycleTotal::default();
    each_prefix(state, &key, |row| if row.prefix < prefixes { total.add(cycle, row) } else { Ok(()) })?;
    let report = CycleReport::new::<TahoeStore, Leases>(&job, cycle, total, notes, true, Duration::ZERO);
    let mut history = report.own.get("history").cloned().unwrap_or_default();
    if parameters.get(EXPIRATION_ENABLED).is_some() {
        history["expiration-enabled"] = json!(true);
    }
    HistoryEntry::read(&history).map_err(unreadable)
}

/// When a cycle began, in seconds since 1970. One that goes by a moment that was given has not begun after it.
fn began(cycle: &KnownCycle) -> f64 {
    if cycle.identity.fixed_clock { cycle.started.min(cycle.identity.now) } else { cycle.started }
}

/// How far a crawler has come: in a cycle, or to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Come {
    Into(u64),
    ToTheEndOf(u64),
}

impl Come {
    fn key(self) -> (u64, bool) {
        match self {
            Come::Into(cycle) => (cycle, false),
            Come::ToTheEndOf(cycle) => (cycle, true),
        }
    }
}

/// Refuses to set Tahoe back behind what it has come to by itself.
fn refuse_further(name: &str, theirs: Option<Come>, latest: &KnownCycle) -> Result<()> {
    let ours = if latest.finished.is_some() { Come::ToTheEndOf(latest.number) } else { Come::Into(latest.number) };
    match theirs {
        Some(theirs) if theirs.key() > ours.key() => Err(further(name, theirs, latest)),
        _ => Ok(()),
    }
}

fn come(position: &Position) -> Option<Come> {
    let current = position.current.as_ref().map(|cycle| Come::Into(cycle.number));
    current.or(position.last_finished.map(Come::ToTheEndOf))
}

fn further(name: &str, theirs: Come, latest: &KnownCycle) -> Error {
    let theirs = match theirs {
        Come::Into(cycle) => format!("into cycle {cycle}"),
        Come::ToTheEndOf(cycle) => format!("to the end of cycle {cycle}"),
    };
    let ours = if latest.finished.is_some() { "to the end of" } else { "into" };
    Error::Config(format!(
        "nothing was exported: {name} has come {theirs}, this state {ours} cycle {}, so Tahoe would be set back and lose \
         entries of its history; import Tahoe's state before you crawl, or move its files away",
        latest.number
    ))
}
