//! Walks a whole store with a job, without actors, budget or state file: for the tests of stores and jobs. Feature `testing`.
//!
//! What an engine would save is saved here as well, into memory: each prefix's tally goes through its encoding, and on
//! request the walk is stopped after every few buckets and goes on from what was saved.

use std::time::Duration;

use serde_json::{Map, Value};

use super::notes::ErrorNote;
use super::walk::{PrefixState, Saver, Skipped, StopCause, Stopped};
use super::{Counts, CyclePhase, CycleView, Finding, Job, Note, NoteKind, PrefixTally, PrefixWalk, Tally};
use crate::error::Error;
use crate::policy::cycle::Moment;
use crate::policy::deletion::Clocks;
use crate::slice::TimeSlice;
use crate::store::{More, Names, Store};

/// What a whole cycle has brought.
pub struct Walked<T> {
    /// The tally of the whole cycle.
    pub tally: T,
    /// What was counted.
    pub counts: Counts,
    /// Prefixes that have buckets, each with how many.
    pub prefixes: Vec<(String, u64)>,
    /// What was found.
    pub findings: Vec<Finding>,
    /// What could not be read.
    pub errors: Vec<ErrorNote>,
    /// Prefixes that could not be listed, with the cause.
    pub unlisted: Vec<(String, String)>,
    /// Of each prefix, what would have been saved.
    pub saved: Vec<Vec<u8>>,
    now: f64,
}

impl<T: Tally> Walked<T> {
    /// The job's part of the report, with the clock standing still.
    pub fn report<S: Store>(&self, job: &impl Job<S, Tally = T>) -> Map<String, Value> {
        job.report(&CycleView {
            now: self.now,
            fixed_clock: true,
            started: self.now,
            finished: self.now,
            tally: &self.tally,
            counts: &self.counts,
            prefixes: &self.prefixes,
            findings: &self.findings,
        })
    }
}

/// Where the walk is stopped.
#[derive(Debug, Clone, Copy)]
pub enum Stops {
    /// Nowhere.
    Never,
    /// After so many buckets, again and again; it goes on from what was saved.
    Every(u32),
}

struct StopAfter {
    stops: Stops,
    visited: u32,
}

impl<T, P> Saver<T, P> for StopAfter {
    fn after_bucket(&mut self, _state: &mut PrefixState<T, P>, _slice: &TimeSlice) -> Result<(), Error> {
        self.visited += 1;
        match self.stops {
            Stops::Every(buckets) if self.visited.is_multiple_of(buckets) => Err(Error::Stopped),
            _ => Ok(()),
        }
    }
}

/// Walks every prefix of the store, in ring order, as a cycle that examines does.
///
/// # Panics
/// If the job ends the walk, or what it saves cannot be read back.
pub fn walk<S: Store, J: Job<S>>(store: &S, job: &J, now: f64, stops: Stops) -> Walked<J::Tally> {
    let mut walked = Walked {
        tally: J::Tally::default(),
        counts: Counts::default(),
        prefixes: Vec::new(),
        findings: Vec::new(),
        errors: Vec::new(),
        unlisted: Vec::new(),
        saved: Vec::new(),
        now,
    };
    for (position, prefix) in store.ring().clone().names().iter().enumerate() {
        let mut rows = Vec::new();
        match walk_prefix(store, job, (position as u32, prefix), now, stops, &mut rows) {
            Ok(saved) => {
                let PrefixTally { counts, tally, .. } =
                    serde_json::from_slice::<PrefixTally<J::Tally>>(&saved).unwrap();
                walked.prefixes.extend((counts.buckets > 0).then(|| (prefix.clone(), counts.buckets)));
                walked.counts.merge(&counts);
                walked.tally.merge(tally);
                walked.saved.push(saved);
            }
            Err(e) => walked.unlisted.push((prefix.clone(), e.to_string())),
        }
        for (expected, note) in rows.into_iter().enumerate() {
            assert_eq!(note.number, expected as u64, "notes of a prefix are numbered without gaps");
            match note.kind {
                NoteKind::Stray => {}
                NoteKind::Finding => walked.findings.push(serde_json::from_str(&note.body).unwrap()),
                NoteKind::Error => walked.errors.push(serde_json::from_str(&note.body).unwrap()),
            }
        }
    }
    walked
}

/// Clocks that say nothing but the moment given.
pub fn standing_still(now: f64) -> Clocks {
    let moment = Moment { monotonic: Duration::ZERO, unix_secs: now };
    Clocks { started: moment, moment, cycle_now: now, fixed: true }
}

fn walk_prefix<S: Store, J: Job<S>>(
    store: &S,
    job: &J,
    (position, prefix): (u32, &str),
    now: f64,
    stops: Stops,
    rows: &mut Vec<Note>,
) -> std::io::Result<Vec<u8>> {
    let mut state = PrefixState::<J::Tally, J::Part>::new(position, 0);
    loop {
        let Some(mut open) = store.open_prefix(prefix)? else { return Ok(state.encode().unwrap()) };
        let mut names = Names::after(state.cursor.as_deref());
        while store.read_names(&mut open, &mut names)? == More::Maybe {}
        let is_last_pass = names.next_pass_after().is_none();
        let stopped = job.process_prefix(&mut PrefixWalk {
            store,
            prefix,
            open: &open,
            names: &mut names,
            state: &mut state,
            slice: &TimeSlice::unlimited(),
            saver: &mut StopAfter { stops, visited: 0 },
            skipped: &Skipped::default(),
            began: now,
            now,
            latest: now,
            clocks: &|| standing_still(now),
            phase: CyclePhase::Examine,
            is_last_pass,
            candidates: &[],
            visits_strays: job.visits_strays(),
            stopped: None,
        });
        rows.extend(state.notes.take_rows());
        let saved = state.encode().unwrap();
        match stopped {
            Ok(()) => return Ok(saved),
            Err(Stopped(StopCause::Unsaved(Error::Stopped))) => {
                state = PrefixState::resume(position, 0, state.cursor.take(), &saved).unwrap();
            }
            Err(other) => panic!("the walk of {prefix} ended with {other:?}"),
        }
    }
}
