//! What a worker has in hand, and the fold over it on a blocking thread.
//!
//! Nothing in hand is lost or counted twice: a prefix's tally, notes and cursor move together from here to the state,
//! and stay here until the state has them.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::crawl::{Crawl, CycleWork, gone};
use crate::checkpoint::{Progress, Standing};
use crate::error::{Error, Result};
use crate::job::{Counts, Job, PrefixState, PrefixWalk, Saver, Skipped, Stopped, Tally, Why, panic_message};
use crate::lock::lock;
use crate::messages::{Commit, Contents, ListedPrefix};
use crate::priority::{is_stuck, unhindered};
use crate::settings::Checkpoint;
use crate::slice::{Stage, TimeSlice};
use crate::store::Store;

/// Notes in hand after which progress is saved even in mid-slice: they are kept in memory until then.
const NOTES_IN_HAND: usize = 4096;

/// Complete prefixes in hand after which progress is saved even in mid-slice.
pub(super) const PREFIXES_IN_HAND: usize = 1024;

/// Listed prefixes still to be folded, and folded ones still to be saved.
pub(super) struct Hand<S: Store, T> {
    pub todo: VecDeque<(ListedPrefix<S>, PrefixState<T>)>,
    pub done: Vec<PrefixState<T>>,
    /// When progress was saved last.
    pub saved_at: Duration,
}

/// Why a fold ended.
pub(super) enum Ended {
    /// Nothing is left in hand, or the slice is over.
    Paused,
    /// Progress has to be saved before anything else is done, and that failed in mid-slice.
    Unsaved(Error),
    /// The job panicked on this bucket of this prefix; what the prefix has in hand is tainted.
    Panicked { position: u32, bucket: Vec<u8>, message: String },
}

impl<S: Store, T: Tally> Hand<S, T> {
    pub fn new(now: Duration) -> Self {
        Hand { todo: VecDeque::new(), done: Vec::new(), saved_at: now }
    }

    /// Whether there is anything that the state does not have.
    pub fn is_dirty(&self) -> bool {
        !self.done.is_empty() || self.todo.front().is_some_and(|(_, state)| state.dirty)
    }

    /// What the state does not have yet.
    pub fn gather(&mut self) -> Result<Vec<Progress>> {
        let current = self.todo.front_mut().map(|(_, state)| state).filter(|state| state.dirty);
        gather(&mut self.done, current)
    }

    /// The state has it.
    pub fn saved(&mut self, now: Duration) -> Counts {
        self.saved_at = now;
        let current = self.todo.front_mut().map(|(_, state)| state).filter(|state| state.dirty);
        saved(&mut self.done, current)
    }

    /// The state does not have it.
    pub fn give_back(&mut self, progress: Vec<Progress>) {
        let current = self.todo.front_mut().map(|(_, state)| state);
        give_back(progress, &mut self.done, current);
    }

    /// Prefix and fence of all that is in hand and not complete.
    pub fn claims(&self) -> Vec<(u32, u64)> {
        self.todo.iter().map(|(_, state)| (state.position, state.fence)).collect()
    }
}

/// Folds what is in hand until it is done or the slice is over.
pub(super) fn fold<S: Store, J: Job<S>>(
    crawl: &Crawl<S, J>,
    work: &CycleWork,
    hand: &mut Hand<S, J::Tally>,
    slice: &TimeSlice,
) -> Ended {
    let skipped = lock(&work.skipped).clone();
    slice.charge(Stage::Fold, || {
        while let Some((mut listed, mut state)) = hand.todo.pop_front() {
            let mut saver = MidSlice { crawl, work, done: &mut hand.done, saved_at: &mut hand.saved_at };
            let folded = fold_prefix(crawl, work, &mut listed, &mut state, slice, &mut saver, &skipped);
            match folded {
                Ok(()) => hand.done.push(state),
                Err(Stopped(why)) => {
                    let position = state.position;
                    hand.todo.push_front((listed, state));
                    return match why {
                        Why::SliceOver => Ended::Paused,
                        Why::Unsaved(error) => Ended::Unsaved(error),
                        Why::Panicked { bucket, message } => Ended::Panicked { position, bucket, message },
                    };
                }
            }
            if slice.is_over() || hand.done.len() >= PREFIXES_IN_HAND {
                break;
            }
        }
        Ended::Paused
    })
}

fn fold_prefix<S: Store, J: Job<S>>(
    crawl: &Crawl<S, J>,
    work: &CycleWork,
    listed: &mut ListedPrefix<S>,
    state: &mut PrefixState<J::Tally>,
    slice: &TimeSlice,
    saver: &mut MidSlice<'_, S, J>,
    skipped: &Arc<Skipped>,
) -> std::result::Result<(), Stopped> {
    let prefix = work.ring.name(listed.position).unwrap_or_default();
    let give_up = |state: &mut PrefixState<J::Tally>, why: &dyn std::fmt::Display| {
        state.notes.enter(b"");
        state.notes.error(&crawl.store.path(prefix, None), &format_args!("prefix {prefix:?} left out: {why}"));
        state.notes.counts.unlisted = 1;
    };
    let (open, names) = match &mut listed.contents {
        Contents::Nothing => return Ok(()),
        Contents::Unlistable(error) => {
            give_up(state, &format_args!("cannot list it: {error}"));
            return Ok(());
        }
        Contents::Names { open, names } => (open, names),
    };
    if let Some(message) = skipped.get(&(state.position, Vec::new())) {
        give_up(state, &format_args!("the job panicked on it: {message}"));
        return Ok(());
    }
    let (store, now) = (&*crawl.store, work.now);
    let mut walk = PrefixWalk { store, prefix, open, names, state, slice, saver, skipped, now, stopped: None };
    // Panics on a bucket are caught in the walk; one of an override of `process_prefix` costs the prefix.
    let worked = catch_unwind(AssertUnwindSafe(|| crawl.job.process_prefix(&mut walk)))
        .unwrap_or_else(|panic| Err(Stopped(Why::Panicked { bucket: Vec::new(), message: panic_message(&*panic) })));
    // A job that takes a walk which was stopped for one that is done would lose the rest of the prefix.
    worked.and_then(|()| walk.stopped.take().map_or(Ok(()), |why| Err(Stopped(why))))
}

/// Saves in mid-slice where the setting asks for it.
struct MidSlice<'a, S: Store, J: Job<S>> {
    crawl: &'a Crawl<S, J>,
    work: &'a CycleWork,
    done: &'a mut Vec<PrefixState<J::Tally>>,
    saved_at: &'a mut Duration,
}

impl<S: Store, J: Job<S>> Saver<J::Tally> for MidSlice<'_, S, J> {
    fn after_bucket(&mut self, state: &mut PrefixState<J::Tally>, slice: &TimeSlice) -> Result<()> {
        let due = match self.crawl.checkpoint {
            Checkpoint::EveryBucket => true,
            Checkpoint::EverySlice => state.notes.waiting() >= NOTES_IN_HAND,
            Checkpoint::Every(interval) => {
                state.notes.waiting() >= NOTES_IN_HAND || slice.now().saturating_sub(*self.saved_at) >= interval
            }
        };
        if !due {
            return Ok(());
        }
        let progress = gather(self.done, Some(state))?;
        let (cycle, at) = (&self.work.key, self.crawl.time.clock.unix_secs());
        let commit = || {
            if is_stuck() {
                return self.commit_elsewhere(&progress, at);
            }
            // On this thread, within what the slice charges for folding: a message would cost more than the commit.
            unhindered(|| self.crawl.ports.desk.with(|state| state.commit(cycle, &progress, at)))
        };
        let committed = catch_unwind(AssertUnwindSafe(commit)).unwrap_or_else(|panic| {
            // Not the job's panic: it must not be taken for one.
            Err(Error::ActorPanicked { actor: "checkpointer", message: panic_message(&*panic) })
        });
        match committed {
            Ok(_) => {
                *self.saved_at = slice.now();
                let added = saved(self.done, Some(state));
                self.work.saved(self.crawl, &progress, &added);
                Ok(())
            }
            Err(error) => {
                give_back(progress, self.done, Some(state));
                Err(error)
            }
        }
    }
}

impl<S: Store, J: Job<S>> MidSlice<'_, S, J> {
    /// By message: this thread must take no lock, since it may be starved while it holds it.
    fn commit_elsewhere(&self, progress: &[Progress], at: f64) -> Result<Standing> {
        let message = Commit { cycle: self.work.key.clone(), progress: progress.to_vec(), at };
        futures_executor::block_on(self.crawl.ports.commit.send(message)).map_err(gone)?.result
    }
}

fn gather<T: Tally>(done: &mut [PrefixState<T>], current: Option<&mut PrefixState<T>>) -> Result<Vec<Progress>> {
    let entry = |state: &mut PrefixState<T>, done: bool| -> Result<Progress> {
        let cause = |cause| Error::Tally { crawl: format!("prefix {}", state.position), cause };
        Ok(Progress {
            prefix: state.position,
            fence: state.fence,
            cursor: state.cursor.clone(),
            tally: state.encode().map_err(cause)?,
            done,
            // What could not be listed was not visited.
            whole: state.whole && state.notes.counts.unlisted == 0,
            notes: state.notes.take_rows(),
        })
    };
    let mut progress = Vec::with_capacity(done.len() + 1);
    for state in done {
        progress.push(entry(state, true)?);
    }
    if let Some(state) = current {
        progress.push(entry(state, false)?);
    }
    Ok(progress)
}

fn saved<T: Tally>(done: &mut Vec<PrefixState<T>>, current: Option<&mut PrefixState<T>>) -> Counts {
    let mut added = Counts::default();
    for state in done.iter_mut().chain(current) {
        added.merge(&state.take_added());
        state.dirty = false;
    }
    done.clear();
    added
}

fn give_back<T: Tally>(progress: Vec<Progress>, done: &mut [PrefixState<T>], current: Option<&mut PrefixState<T>>) {
    for (state, progress) in done.iter_mut().chain(current).zip(progress) {
        state.notes.give_back(progress.notes);
    }
}
