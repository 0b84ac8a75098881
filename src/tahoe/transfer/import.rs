//! The import: Tahoe's state files become cycles of a state, the one in progress one that the same crawl carries on.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::cycles::{CycleReach, ImportedCycle, Rows, count_rows};
use super::export::EXPIRATION_ENABLED;
use super::{Crawler, Extent, NodeFolder, count_parameters, lease_job};
use crate::error::{Error, Result};
use crate::policy::cycle::{CycleIdentity, Fresh};
use crate::policy::ring::Ring;
use crate::state::{self, StateReader, StateStore};
use crate::store::Store;
use crate::tahoe::TahoeStore;
use crate::tahoe::leases::{Conduct, Expiry, LeaseSettings, Word};
use crate::tahoe::state::counter::Counter;
use crate::tahoe::state::figures::Figures;
use crate::tahoe::state::leases::{CycleHistory, LeaseChecker};
use crate::tahoe::state::{COUNTER_FILE, CycleAt, HISTORY_FILE, LEASES_FILE};

/// The moment that counts as now in the rest of the cycle. Tahoe asks the clock for each share; Sexton freezes it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ImportTime {
    /// Seconds since 1970.
    pub unix_secs: f64,
    /// Whether it was given by the user rather than read from the clock.
    pub fixed: bool,
}

/// What an import will do. Made without changing anything.
#[derive(Debug, Clone, PartialEq)]
pub struct Import {
    crawler: Crawler,
    store: String,
    finished: Vec<ImportedCycle>,
    current: Option<ImportedCycle>,
    extent: Option<Extent>,
    settings: Option<LeaseSettings>,
    remarks: Vec<String>,
}

/// What all cycles of one import have in common.
struct Frame<'a> {
    store: &'a TahoeStore,
    ring: &'a Ring,
    moment: ImportTime,
    not_in_ring: u64,
}

impl Frame<'_> {
    fn identity(&self, crawler: Crawler, parameters: Value, moment: ImportTime) -> CycleIdentity {
        CycleIdentity {
            store: self.store.identity(),
            job: crawler.crawl().to_owned(),
            parameters,
            ring: self.ring.shared_names(),
            now: moment.unix_secs,
            fixed_clock: moment.fixed,
            not_in_ring: self.not_in_ring,
            // Tahoe names none.
            stray_paths: Vec::new(),
            no_prefix: false,
            rehearsal: crate::policy::cycle::Rehearsal::No,
        }
    }
}

impl Import {
    /// Reads Tahoe's files of one crawler, and decides what is done with them; `None` if there are none.
    ///
    /// # Errors
    /// [`Error::Config`] if a file is damaged, of another version or of the old kind, [`Error::Store`] if it cannot be read.
    pub fn plan(
        crawler: Crawler,
        folder: &NodeFolder,
        store: &TahoeStore,
        moment: ImportTime,
    ) -> Result<Option<Import>> {
        let strays = store.strays().map_err(|e| Error::Store {
            doing: "list store",
            path: store.path("", None),
            cause: e.to_string(),
        })?;
        let frame = Frame { store, ring: store.ring(), moment, not_in_ring: strays.count };
        match crawler {
            Crawler::Counter => {
                let Some(text) = folder.read(COUNTER_FILE)? else { return Ok(None) };
                let counter = Counter::parse(&text, frame.ring).map_err(|why| damaged(folder, COUNTER_FILE, &why))?;
                counts(&frame, counter).map(Some)
            }
            Crawler::LeaseChecker => {
                // Each is read and dropped before the other.
                let checker = folder.read(LEASES_FILE)?.map(|text| LeaseChecker::parse(&text, frame.ring)).transpose();
                let checker = checker.map_err(|why| damaged(folder, LEASES_FILE, &why))?;
                let Some(checker) = checker else { return Ok(None) };
                let history = folder.read(HISTORY_FILE)?.map(|text| CycleHistory::parse(&text)).transpose();
                let history = history.map_err(|why| damaged(folder, HISTORY_FILE, &why))?;
                leases(&frame, checker, history.unwrap_or_default()).map(Some)
            }
        }
    }

    /// The cycle in progress, as far as it was taken over.
    pub fn extent(&self) -> Option<&Extent> {
        self.extent.as_ref()
    }

    /// Numbers of the finished cycles, the oldest first.
    pub fn finished(&self) -> impl Iterator<Item = u64> {
        self.finished.iter().map(|cycle| cycle.number)
    }

    /// The settings of the cycle in progress, where it is one of the lease checker.
    pub fn settings(&self) -> Option<&LeaseSettings> {
        self.settings.as_ref()
    }

    /// What is not as one might expect, a sentence each.
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// Whether there is nothing to take over.
    pub fn is_empty(&self) -> bool {
        self.finished.is_empty() && self.current.is_none()
    }

    /// Refuses a state that has something of its own which would be lost, or has come further. Changes nothing.
    ///
    /// # Errors
    /// [`Error::Config`] with what to do, and whatever keeps the state from being read.
    pub fn check(&self, state: &dyn StateReader, fresh: Fresh) -> Result<()> {
        let Some(latest) = state.latest(self.crawler.crawl())? else { return Ok(()) };
        self.check_latest(&latest, fresh)?;
        let half_done = if latest.finished.is_some() { 0 } else { state.half_done(&latest.key())? };
        state::may_be_given_up(&latest.crawl, latest.number, half_done)
    }

    fn check_latest(&self, latest: &crate::policy::cycle::KnownCycle, fresh: Fresh) -> Result<()> {
        let (crawl, number) = (self.crawler.crawl(), latest.number);
        let refuse = |why: String| Err(Error::Config(format!("nothing was imported: {why}")));
        if latest.identity.store != self.store {
            return refuse(format!(
                "the state belongs to the store {}; name another with --state",
                latest.identity.store
            ));
        }
        if let Some(current) = &self.current
            && (current.number < number || (current.number == number && latest.finished.is_some()))
        {
            let ours = if latest.finished.is_some() { "finished" } else { "begun" };
            return refuse(format!(
                "this state has {ours} cycle {number} of {crawl}, Tahoe is in cycle {}; name another state with --state",
                current.number
            ));
        }
        match (latest.finished, latest.delivered, fresh) {
            (_, _, Fresh::Yes) | (Some(_), true, _) => Ok(()),
            (None, _, Fresh::No) => refuse(format!(
                "cycle {number} of {crawl} is in progress here, with {} of {} prefixes complete; let `sexton crawl` finish \
                 it, or give it up with --fresh",
                latest.done.len(),
                latest.identity.ring.len()
            )),
            (Some(_), false, Fresh::No) => refuse(format!(
                "the report of cycle {number} of {crawl} has not been printed yet; let `sexton crawl` print it, or do \
                 without it with --fresh"
            )),
        }
    }

    /// Puts the cycles into a state. Those of the history that it has passed are left out; gives how many were put in.
    ///
    /// # Errors
    /// As [`check`](Self::check), and whatever keeps the state from being written.
    pub fn apply(&self, state: &mut dyn StateStore, fresh: Fresh) -> Result<u64> {
        let crawl = self.crawler.crawl();
        let reader = state.reader();
        self.check(&*reader, fresh)?;
        let latest = reader.newest(crawl)?;
        let first = latest.map_or(0, |cycle| if cycle.finished.is_some() { cycle.number + 1 } else { cycle.number });
        let mut put = 0;
        for cycle in self.finished.iter().filter(|cycle| cycle.number >= first).chain(&self.current) {
            cycle.put(crawl, state)?;
            put += 1;
        }
        state.sync()?;
        Ok(put)
    }
}

fn damaged(folder: &NodeFolder, name: &str, why: &str) -> Error {
    Error::Config(format!(
        "{} is not as Tahoe 1.20 writes it: {why}; nothing was imported. Restore it from a backup, or move it away and let \
         a new cycle begin",
        folder.path(name).display()
    ))
}

fn counts(frame: &Frame<'_>, counter: Counter) -> Result<Import> {
    let crawler = Crawler::Counter;
    let Counter { position, mut counts, .. } = counter;
    let identity = |moment| frame.identity(crawler, count_parameters(), moment);
    let started = position.started.unwrap_or(frame.moment.unix_secs);
    let mut import = Import::new(crawler, frame);
    if let Some(at) = &position.current {
        let mut known = counts.remove(&at.number).unwrap_or_default();
        known.retain(|prefix, _| *prefix < at.next_prefix());
        if known.len() < at.next_prefix() as usize {
            let lost = at.next_prefix() as usize - known.len();
            import.remarks.push(format!(
                "the counts of {lost} prefixes were lost when the node restarted; they are counted again"
            ));
        }
        import.extent = Some(Extent {
            cycle: at.number,
            started,
            prefixes_done: known.len() as u32,
            last_bucket: None,
            buckets: known.values().fold(0, |sum, n| sum.saturating_add(*n)),
            shares: None,
            corrupt_shares: 0,
        });
        let rows = Rows::Counts(count_rows(known.into_iter())?);
        let (number, identity) = (at.number, identity(frame.moment));
        import.current = Some(ImportedCycle { number, started, finished: None, identity, rows });
        return Ok(import);
    }
    let Some(number) = position.last_finished else { return Ok(import.without("it has not begun its first cycle")) };
    let whole = counts.remove(&number).filter(|counts| counts.len() == frame.ring.len() as usize);
    match whole {
        Some(counts) => {
            let moment = ImportTime { unix_secs: started, fixed: false };
            let rows = Rows::Counts(count_rows(counts.into_iter())?);
            // Nothing says when it ended; it began then.
            let finished = Some(started);
            import.finished.push(ImportedCycle { number, started, finished, identity: identity(moment), rows });
        }
        None => {
            import.remarks.push(format!(
                "cycle {number} was interrupted by a restart, so Tahoe has no count of it; the next one, {}, begins here",
                number + 1
            ));
            let (started, identity) = (frame.moment.unix_secs, identity(frame.moment));
            let rows = Rows::Counts(Vec::new());
            import.current = Some(ImportedCycle { number: number + 1, started, finished: None, identity, rows });
        }
    }
    Ok(import)
}

fn leases(frame: &Frame<'_>, checker: LeaseChecker, history: CycleHistory) -> Result<Import> {
    let crawler = Crawler::LeaseChecker;
    let LeaseChecker { position, so_far } = checker;
    let mut import = Import::new(crawler, frame);
    let next = position.current.as_ref().map(|at| at.number).or(position.last_finished.map(|last| last + 1));
    let (past, beyond): (BTreeMap<_, _>, BTreeMap<_, _>) =
        history.0.into_iter().partition(|(number, _)| next.is_some_and(|next| *number < next));
    if let Some(first) = beyond.keys().next() {
        import
            .remarks
            .push(format!("the history has cycles from {first} on, which are yet to come; they are left out"));
    }
    for (number, entry) in past {
        let settings = LeaseSettings::from_tahoe(&entry.figures);
        let (_, mut parameters) = lease_job(settings);
        if entry.figures.expiration_enabled {
            parameters[EXPIRATION_ENABLED] = json!(true);
        }
        let moment = ImportTime { unix_secs: entry.started, fixed: false };
        let identity = frame.identity(crawler, parameters, moment);
        let reach = CycleReach { done: frame.ring.len(), cursor: None };
        let rows = Rows::Leases { ring: frame.ring.clone(), reach, figures: Box::new(entry.figures) };
        import.finished.push(ImportedCycle {
            number,
            started: entry.started,
            finished: Some(entry.finished),
            identity,
            rows,
        });
    }
    let Some((at, figures)) = position.current.as_ref().zip(so_far) else {
        return Ok(match position.last_finished {
            None => import.without("it has not begun its first cycle"),
            Some(last) if import.finished().last() != Some(last) => import.without(&format!(
                "the history does not have its last cycle, {last}; cycles are counted on from what it has"
            )),
            Some(_) => import,
        });
    };
    let started = position.started.unwrap_or(frame.moment.unix_secs);
    import.carry_on(frame, at, started, figures);
    Ok(import)
}

impl Import {
    fn new(crawler: Crawler, frame: &Frame<'_>) -> Import {
        Import {
            crawler,
            store: frame.store.identity(),
            finished: Vec::new(),
            current: None,
            extent: None,
            settings: None,
            remarks: Vec::new(),
        }
    }

    fn without(mut self, why: &str) -> Import {
        self.remarks.push(why.to_owned());
        self
    }

    /// Takes over the lease checker's cycle in progress.
    fn carry_on(&mut self, frame: &Frame<'_>, at: &CycleAt, started: f64, figures: Figures) {
        let mut settings = LeaseSettings::from_tahoe(&figures);
        if settings.sharetypes.0.is_empty() {
            self.remarks
                .push("Tahoe may expire no type of share, so the rest of the cycle has no rule of expiry".to_owned());
            settings = LeaseSettings::default();
        }
        if figures.expiration_enabled && settings.expiry != Expiry::None {
            // It was not judged before it began, and its figures are Tahoe's: nothing else goes on with that.
            settings =
                LeaseSettings { word: Some(Word::Offline), conduct: Conduct::Compat, max_delete: 1.0, ..settings };
            self.remarks.push(
                "Tahoe was deleting what expired; the rest of the cycle does so only as Tahoe does, in one pass and with the node \
                 stopped (--offline --compat --max-delete 100%); to delete with care instead, begin anew with --fresh"
                    .to_owned(),
            );
        }
        let (_, parameters) = lease_job(settings.clone());
        let last_bucket = self.bucket_in_progress(frame, at);
        let reach = CycleReach { done: at.next_prefix(), cursor: last_bucket.clone().map(String::into_bytes) };
        let identity = frame.identity(self.crawler, parameters, frame.moment);
        self.extent = Some(Extent {
            cycle: at.number,
            started,
            prefixes_done: at.next_prefix(),
            last_bucket,
            buckets: figures.space.groups[3][0][0],
            shares: Some(figures.space.groups[3][1][0]),
            corrupt_shares: figures.corrupt_shares.len() as u64,
        });
        self.settings = Some(settings);
        let rows = Rows::Leases { ring: frame.ring.clone(), reach, figures: Box::new(figures) };
        self.current = Some(ImportedCycle { number: at.number, started, finished: None, identity, rows });
    }

    /// The last bucket, if it is one of the prefix in progress. It may as well have been left there by any prefix before;
    /// a name that does not begin with its prefix is looked for in the store.
    fn bucket_in_progress(&mut self, frame: &Frame<'_>, at: &CycleAt) -> Option<String> {
        let (bucket, prefix) = (at.last_bucket.as_ref()?, frame.ring.name(at.next_prefix())?);
        let path = frame.store.path(prefix, Some(bucket.as_bytes()));
        if bucket.starts_with(prefix) || (!bucket.contains('/') && std::fs::symlink_metadata(path).is_ok()) {
            return Some(bucket.clone());
        }
        if bucket.as_str() > prefix {
            self.remarks.push(format!(
                "the last bucket {bucket:?} sorts behind the prefix in progress, {prefix}: since it met that name Tahoe has \
                 skipped every bucket, and they are not in the figures so far; `sexton crawl --fresh` counts them"
            ));
        }
        None
    }
}
