//! The walk over one prefix: bucket after bucket, in byte order, until the slice is over; at last those that were deferred.
//!
//! The clock is looked at after each bucket, so each slice makes progress. A bucket counts as visited when its effects
//! on tally, notes and cursor stand together in the [`PrefixState`]; they are only ever saved together.

use std::cell::RefCell;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use tracing::trace;

use super::candidate::{more_than_shown, shown_of};
use super::deferred::Deferral;
use super::fold::HandedOut;
use super::{
    Candidate, Counts, Coverage, CyclePhase, Deferred, DeferredBucket, DeletionCount, Fold, Intent, Intents, Job,
    Notes, PartlyDeleted, Picked, PrefixTally, Tally, Unreadable, VisitPhase, Visited,
};
use crate::error::{Error, panic_message};
use crate::policy::deletion::Clocks;
use crate::shown;
use crate::slice::TimeSlice;
use crate::store::{ErrorCause, Names, Nature, STRAYS_NAMED, Store};

/// Buckets on which the job panicked in this run, with the panic's message; keyed by prefix position and name.
pub(crate) type Skipped = HashMap<(u32, Vec<u8>), String>;

/// How far a prefix has been folded, and into what.
#[derive(Debug)]
pub(crate) struct PrefixState<T, P> {
    pub position: u32,
    pub fence: u64,
    /// The last bucket whose effects are in `tally` and `notes`.
    pub cursor: Option<Vec<u8>>,
    pub tally: T,
    pub notes: Notes,
    /// What was planned in it and not carried out. The prefix is not complete before there is none.
    pub intents: Intents,
    /// Candidates that are yet to be saved.
    pub candidates: Vec<Candidate>,
    /// The counts that were saved last.
    saved: Counts,
    /// Whether there is anything that was not saved yet.
    pub dirty: bool,
    /// Whether every bucket of the prefix is visited, none left out.
    pub whole: bool,
    /// Which of its buckets are.
    pub coverage: Coverage,
    /// Buckets that are to be visited once more. The prefix is not complete before there are none.
    pub deferred: Deferred,
    /// The bucket whose turn it is, if it is deleted in chunks.
    partly_deleted: Option<PartlyDeleted>,
    /// What is half done of the bucket whose turn it is. Never saved: after a crash that bucket begins anew.
    part: Option<P>,
}

impl<T: Tally, P> PrefixState<T, P> {
    pub fn new(position: u32, fence: u64) -> Self {
        PrefixState {
            position,
            fence,
            cursor: None,
            tally: T::default(),
            notes: Notes::default(),
            intents: Intents::default(),
            candidates: Vec::new(),
            saved: Counts::default(),
            dirty: false,
            whole: true,
            coverage: Coverage::Nothing,
            deferred: Deferred::default(),
            partly_deleted: None,
            part: None,
        }
    }

    /// Goes on from what was saved; the error says why the saved tally cannot be read.
    pub fn resume(position: u32, fence: u64, cursor: Option<Vec<u8>>, saved: &[u8]) -> Result<Self, String> {
        let saved: PrefixTally<T> = serde_json::from_slice(saved).map_err(|e| e.to_string())?;
        let PrefixTally { counts, tally, partial, deferred, partly_deleted } = saved;
        let (notes, whole) = (Notes::resume(counts.clone()), !partial);
        let new = PrefixState::new(position, fence);
        Ok(PrefixState { cursor, tally, notes, saved: counts, whole, deferred, partly_deleted, ..new })
    }

    /// Takes in what the visit to a bucket has handed out.
    fn take_in(&mut self, bucket: &[u8], phase: VisitPhase, handed_out: HandedOut) {
        let HandedOut { count: Some(count), bodies, .. } = handed_out else { return };
        match phase {
            VisitPhase::Examine => {
                let counts = &mut self.notes.counts;
                counts.candidates += 1;
                counts.would_delete = counts.would_delete.saturating_add(count.objects);
                counts.would_delete_bytes = counts.would_delete_bytes.saturating_add(count.bytes);
                counts.would_delete_records = counts.would_delete_records.saturating_add(count.records);
                self.candidates.push(Candidate { bucket: bucket.to_vec(), shown: count });
                return;
            }
            VisitPhase::CarryOut { shown } if !count.is_within(&shown) => {
                // Once for all chunks of a bucket.
                let was_refused =
                    self.partly_deleted.as_mut().map(|partly| std::mem::replace(&mut partly.is_refused, true));
                if was_refused != Some(true) {
                    self.notes.finding(&more_than_shown(bucket, &shown, &count));
                }
                return;
            }
            VisitPhase::CarryOut { .. } | VisitPhase::OnePass => {}
        }
        bodies.into_iter().for_each(|(deletes, body)| {
            self.intents.put(Intent { bucket: bucket.to_vec(), deletes, body, begun: false });
        });
    }

    /// Notes what was deleted of a bucket since there were these counts, if it is deleted in chunks.
    pub fn deleted_since(&mut self, before: &DeletionCount, bucket: &[u8]) {
        let mut deleted = DeletionCount::deleted(&self.notes.counts);
        deleted.take_off(before);
        let partly = self.partly_deleted.iter_mut().filter(|partly| partly.is(bucket));
        partly.for_each(|partly| partly.deleted.merge(&deleted));
    }

    /// Whether a bucket that is deleted in chunks has one that is yet to be carried out.
    pub fn is_between_chunks(&self) -> bool {
        self.partly_deleted.is_some() && !self.intents.is_empty()
    }

    /// Counts a bucket that was visited.
    fn count(&mut self, turn: &BucketTurn<'_>, phase: VisitPhase, path: impl FnOnce() -> PathBuf) {
        self.notes.counts.buckets += u64::from(phase.examines());
        if phase.examines() && turn.is_stray {
            self.notes.counts.no_bucket += 1;
            self.notes.stray(&path());
        }
        if turn.deferred.is_some() {
            self.notes.revisited();
        }
    }

    /// What is deferred has gone with its prefix.
    pub fn deferred_have_gone(&mut self, phase: CyclePhase) {
        while let Some(bucket) = self.deferred.first() {
            self.notes.enter(bucket.name.as_bytes());
            self.notes.revisited();
            if phase != CyclePhase::CarryOut {
                self.notes.counts.buckets += 1;
                self.notes.counts.no_bucket += u64::from(bucket.is_stray);
                self.notes.counts.vanished += 1;
            }
            self.deferred.pop();
        }
    }

    /// Leaves out what is still deferred, where its prefix cannot be worked off.
    pub fn forget_deferred(&mut self) {
        self.deferred = Deferred::default();
        self.dirty = true;
    }

    /// Whether there is anything that the state does not have.
    pub fn is_unsaved(&self) -> bool {
        self.dirty || self.intents.has_new()
    }

    /// Bytes of memory that it takes until it is saved.
    pub fn bytes_in_hand(&self) -> usize {
        self.notes.waiting_bytes() + self.tally.memory_bytes()
    }

    /// Notes that everything was saved; gives what was counted since the last time.
    pub fn take_added(&mut self) -> Counts {
        let added = self.notes.counts.since(&self.saved);
        self.saved = self.notes.counts.clone();
        added
    }

    /// What is saved of it: a [`PrefixTally`].
    pub fn encode(&self) -> Result<Vec<u8>, String> {
        #[derive(serde::Serialize)]
        struct SavedState<'a, T> {
            counts: &'a Counts,
            tally: &'a T,
            #[serde(skip_serializing_if = "std::ops::Not::not")]
            partial: bool,
            #[serde(skip_serializing_if = "Deferred::is_empty")]
            deferred: &'a Deferred,
            #[serde(skip_serializing_if = "Option::is_none")]
            partly_deleted: &'a Option<PartlyDeleted>,
        }
        let PrefixState { notes, tally, whole, deferred, partly_deleted, .. } = self;
        let saved = SavedState { counts: &notes.counts, tally, partial: !whole, deferred, partly_deleted };
        serde_json::to_vec(&saved).map_err(|e| e.to_string())
    }
}

/// Why the walk over a prefix ended before its last bucket. Hand it on.
#[derive(Debug)]
pub struct Stopped(pub(crate) StopCause);

#[derive(Debug, Clone)]
pub(crate) enum StopCause {
    SliceOver,
    Unsaved(Error),
    /// The job will not go on. What of the prefix was not saved yet is tainted by the bucket at which it refused.
    Refused(Error),
    Panicked {
        bucket: Vec<u8>,
        message: String,
    },
}

/// Saves progress in mid-slice, where the checkpoint setting asks for it.
pub(crate) trait Saver<T, P> {
    /// Called after each bucket.
    fn after_bucket(&mut self, state: &mut PrefixState<T, P>, slice: &TimeSlice) -> Result<(), Error>;

    /// Called in the middle of a bucket: what it has handed out so far is to be carried out. Default: it waits.
    fn carry_out(&mut self, _state: &mut PrefixState<T, P>, _slice: &TimeSlice) -> Result<(), Error> {
        Ok(())
    }
}

/// A visit to a bucket, or to what is left of it.
type Visit<'v, S, J> = dyn FnMut(
        &mut <S as Store>::Bucket<'_>,
        Option<<J as Job<S>>::Part>,
        &mut Fold<'_, <J as Job<S>>::Tally>,
    ) -> Result<Visited<<J as Job<S>>::Part>, Unreadable>
    + 'v;

/// One prefix being walked: what [`Job::process_prefix`](super::Job::process_prefix) works on.
pub struct PrefixWalk<'a, S: Store, J: Job<S>> {
    pub(crate) store: &'a S,
    pub(crate) prefix: &'a str,
    pub(crate) open: &'a S::Prefix,
    pub(crate) names: &'a mut Names,
    pub(crate) state: &'a mut PrefixState<J::Tally, J::Part>,
    pub(crate) slice: &'a TimeSlice,
    pub(crate) saver: &'a mut dyn Saver<J::Tally, J::Part>,
    pub(crate) skipped: &'a Skipped,
    pub(crate) began: f64,
    pub(crate) now: f64,
    pub(crate) latest: f64,
    pub(crate) phase: CyclePhase,
    /// The candidates among the names, in byte order, where they are carried out.
    pub(crate) candidates: &'a [Candidate],
    /// Whether no names of the prefix are left to another pass: then what was deferred is visited again.
    pub(crate) is_last_pass: bool,
    pub(crate) clocks: &'a dyn Fn() -> Clocks,
    /// Whether names that are no bucket are visited too.
    pub(crate) visits_strays: bool,
    /// Why it ended early, whatever the job makes of that.
    pub(crate) stopped: Option<StopCause>,
}

impl<S: Store, J: Job<S>> PrefixWalk<'_, S, J> {
    /// The name of the prefix.
    pub fn prefix(&self) -> &str {
        self.prefix
    }

    /// The tally of the prefix.
    pub fn tally(&mut self) -> &mut J::Tally {
        &mut self.state.tally
    }

    /// The moment that counts as now in this cycle, in seconds since 1970.
    pub fn now(&self) -> f64 {
        self.now
    }

    /// Leaves out the buckets that are not wanted, as if they were not there. Such a prefix is not remembered as visited.
    pub fn only(&mut self, wanted: impl Fn(&[u8]) -> bool + Send + Sync + 'static) {
        self.state.whole = false;
        let picked = Picked::new(wanted);
        self.names.retain(|name| picked.picks(name));
        self.state.coverage = Coverage::Only(picked);
    }

    /// Counts all names that are left as buckets without opening any, and gives their number.
    pub fn count_rest(&mut self) -> u64 {
        let left = u64::from(self.names.left()) + self.names.later();
        if self.phase != CyclePhase::CarryOut {
            self.state.notes.counts.buckets += left;
            self.state.notes.counts.no_bucket += u64::from(self.names.strays_left()) + self.names.later_strays();
            for name in self.names.first_strays_left(STRAYS_NAMED) {
                self.state.notes.enter(&name);
                self.state.notes.stray(&self.store.path(self.prefix, Some(&name)));
            }
        }
        self.names.clear();
        self.state.dirty = true;
        left
    }

    /// Opens and visits the buckets that are left, in byte order.
    ///
    /// What cannot be opened or read is noted, and the walk goes on.
    ///
    /// # Errors
    /// [`Stopped`] when the slice is over, progress cannot be saved, or `visit` refused to go on or panicked.
    pub fn each_bucket(
        &mut self,
        mut visit: impl FnMut(&mut S::Bucket<'_>, &mut Fold<'_, J::Tally>) -> Result<(), Unreadable>,
    ) -> Result<(), Stopped> {
        self.each_bucket_in_parts(|bucket, _, fold| visit(bucket, fold).map(|()| Visited::Whole))
    }

    /// As [`each_bucket`](Self::each_bucket), for jobs whose buckets may take longer than a slice.
    ///
    /// A visit looks at `fold.slice.is_over()` now and then and ends with [`Visited::Part`] when it is, having done at
    /// least something; the next slice visits the same bucket again (opened anew) with that part. Until it is whole,
    /// a visit puts nothing into tally and notes: only whole buckets are saved, and after a crash the bucket begins anew.
    ///
    /// # Errors
    /// As [`each_bucket`](Self::each_bucket).
    pub fn each_bucket_in_parts(
        &mut self,
        mut visit: impl FnMut(
            &mut S::Bucket<'_>,
            Option<J::Part>,
            &mut Fold<'_, J::Tally>,
        ) -> Result<Visited<J::Part>, Unreadable>,
    ) -> Result<(), Stopped> {
        self.visit_buckets(&mut visit).map_err(|why| {
            self.stopped = Some(why.clone());
            Stopped(why)
        })
    }

    fn visit_buckets(&mut self, visit: &mut Visit<'_, S, J>) -> Result<(), StopCause> {
        if self.state.coverage == Coverage::Nothing {
            self.state.coverage = Coverage::All;
        }
        // What would have to wait is tried again while the slice lasts.
        crate::calls::while_lasts(self.slice.watch(), || {
            let mut name = Vec::new();
            while let Some((next, nature)) = self.names.peek() {
                name.clear();
                name.extend_from_slice(next);
                let turn = BucketTurn { name: &name, is_stray: nature == Nature::Stray, deferred: None };
                if self.visit_one(&turn, visit)? == VisitEnd::InPart {
                    continue;
                }
                self.state.cursor.get_or_insert_default().clone_from(&name);
                self.names.advance();
                self.save_after_bucket()?;
            }
            while let Some(bucket) = self.next_deferred() {
                let (name, is_stray) = (bucket.name.as_bytes(), bucket.is_stray);
                let turn = BucketTurn { name, is_stray, deferred: Some(bucket.shown) };
                if self.visit_one(&turn, visit)? == VisitEnd::InPart {
                    continue;
                }
                self.state.deferred.pop();
                self.save_after_bucket()?;
            }
            Ok(())
        })
    }

    /// The next bucket that was left for later, once no name of the prefix is left.
    fn next_deferred(&self) -> Option<DeferredBucket> {
        self.state.deferred.first().filter(|_| self.is_last_pass).cloned()
    }

    /// The effects of a bucket stand in the state.
    fn save_after_bucket(&mut self) -> Result<(), StopCause> {
        self.state.dirty = true;
        self.state.partly_deleted = None;
        self.saver.after_bucket(self.state, self.slice).map_err(StopCause::Unsaved)?;
        let is_left = self.names.left() > 0 || self.next_deferred().is_some();
        if is_left && self.slice.is_over() { Err(StopCause::SliceOver) } else { Ok(()) }
    }

    /// Visits a bucket, or goes on with that. What comes of it stands in the state together with its place.
    fn visit_one(&mut self, turn: &BucketTurn<'_>, visit: &mut Visit<'_, S, J>) -> Result<VisitEnd, StopCause> {
        let name = turn.name;
        if turn.is_stray && !self.visits_strays {
            self.state.notes.enter(name);
            self.state.count(turn, VisitPhase::Examine, || self.store.path(self.prefix, Some(name)));
            return Ok(VisitEnd::Whole);
        }
        // Before the visit, so that no bucket is visited unseen; costs a comparison where nobody listens. A visit that goes on
        // where the last slice has ended is the same one.
        if self.state.part.is_none() {
            trace!(slice = self.slice.id(), bucket = %shown::name(name), "visiting bucket");
        }
        self.state.notes.enter(name);
        let before = self.state.notes.counts.clone();
        let gone = RefCell::new(None);
        // Asked after every failure: where the whole store has gone, nothing that is in it has vanished.
        let is_there = |path: &std::path::Path| match self.store.still_there() {
            Ok(()) => self.store.is_there(path),
            Err(error) => {
                gone.replace(Some(Error::of_store(self.store.path("", None), &error)));
                true
            }
        };
        let shown = match turn.deferred {
            Some(shown) => shown,
            None if self.phase == CyclePhase::CarryOut => shown_of(self.candidates, name),
            None => DeletionCount::default(),
        };
        let partly = self.state.partly_deleted.as_ref().filter(|partly| partly.is(name));
        let shown = partly.map_or(shown, |partly| partly.left_of(shown));
        let phase = match self.phase {
            CyclePhase::Examine => VisitPhase::Examine,
            CyclePhase::CarryOut => VisitPhase::CarryOut { shown },
            CyclePhase::OnePass => VisitPhase::OnePass,
        };
        let may_defer = turn.deferred.is_none() && self.state.deferred.has_room_for(name);
        let deferral = if may_defer { Deferral::Possible } else { Deferral::Denied };
        let mut fold = Fold {
            tally: &mut self.state.tally,
            notes: &mut self.state.notes,
            phase,
            slice: self.slice,
            began: self.began,
            now: self.now,
            latest: self.latest,
            clocks: self.clocks,
            is_there: &is_there,
            refused: None,
            handed_out: HandedOut { deferral, ..HandedOut::default() },
        };
        let skipped = Some(self.skipped).filter(|skipped| !skipped.is_empty());
        if let Some(message) = skipped.and_then(|skipped| skipped.get(&(self.state.position, name.to_vec()))) {
            let told = format_args!("bucket skipped, the job panicked on it: {message}");
            fold.notes.error(&self.store.path(self.prefix, Some(name)), ErrorCause::Panicked, &told);
            self.state.whole = false;
        } else {
            let part = self.state.part.take();
            let visited = catch_unwind(AssertUnwindSafe(|| match self.store.open_bucket(self.open, name) {
                Ok(mut bucket) => visit(&mut bucket, part, &mut fold),
                Err(error) if fold.defer_for(&error) => Ok(Visited::Whole),
                Err(error) => Err(Unreadable { path: self.store.path(self.prefix, Some(name)), error }),
            }));
            if let Some(error) = fold.refused.take() {
                return Err(StopCause::Refused(error));
            }
            let visited = visited.map(|visited| {
                visited.unwrap_or_else(|unreadable| {
                    fold.unreadable(&unreadable);
                    Visited::Whole
                })
            });
            if let Some(error) = gone.take() {
                return Err(StopCause::Refused(error));
            }
            match visited {
                Ok(_) if fold.is_deferred() => {
                    self.state.notes.defer(before);
                    self.state.deferred.push(name, turn.is_stray, shown);
                    return Ok(VisitEnd::Whole);
                }
                Ok(Visited::Whole) => {}
                Ok(Visited::Part(part)) => {
                    self.state.part = Some(part);
                    return if self.slice.is_over() { Err(StopCause::SliceOver) } else { Ok(VisitEnd::InPart) };
                }
                Ok(Visited::Chunk(part)) => {
                    let handed_out = std::mem::take(&mut fold.handed_out);
                    self.state.part = Some(part);
                    self.state.partly_deleted.get_or_insert_with(|| PartlyDeleted::nothing_of(name));
                    self.state.take_in(name, phase, handed_out);
                    self.saver.carry_out(self.state, self.slice).map_err(StopCause::Unsaved)?;
                    let ends = self.slice.is_over() || !self.state.intents.is_empty();
                    return if ends { Err(StopCause::SliceOver) } else { Ok(VisitEnd::InPart) };
                }
                Err(panic) => {
                    let (bucket, message) = (name.to_vec(), panic_message(&*panic));
                    return Err(StopCause::Panicked { bucket, message });
                }
            }
        }
        let handed_out = std::mem::take(&mut fold.handed_out);
        self.state.take_in(name, phase, handed_out);
        self.state.count(turn, phase, || self.store.path(self.prefix, Some(name)));
        Ok(VisitEnd::Whole)
    }
}

/// A bucket whose turn it is.
struct BucketTurn<'n> {
    name: &'n [u8],
    is_stray: bool,
    /// What examining has shown of it, if it was left for later before.
    deferred: Option<DeletionCount>,
}

/// How a visit has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum VisitEnd {
    /// The walk goes on behind it.
    Whole,
    /// The same bucket is visited on.
    InPart,
}
