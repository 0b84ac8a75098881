//! What a worker has in hand, and the fold over it on a blocking thread.
//!
//! Nothing in hand is lost or counted twice: a prefix's tally, notes and cursor move together from here to the state,
//! and stay here until the state has them.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::crawl::CrawlTask;
use super::save::{Folded, is_unsaved_at_its_end};
use super::settle::{Settling, are_many};
use super::work::CycleWork;
use crate::actors::messages::{Contents, ListedPrefix, ListingRequest};
use crate::error::{Error, Result, panic_message};
use crate::job::{
    Coverage, CyclePhase, Intents, Job, PrefixState, PrefixWalk, Saver, Skipped, StopCause, Stopped, Tally,
};
use crate::lock::lock;
use crate::policy::deletion::Clocks;
use crate::settings::Checkpoint;
use crate::slice::{Stage, TimeSlice};
use crate::store::{ErrorCause, Store};

/// Bytes of notes after which progress is saved, even in mid-slice: some thousand rows, which are committed in a few milliseconds.
const NOTE_BYTES_IN_HAND: usize = 256 << 10;

/// Bytes of complete prefixes in hand, notes and tallies, after which the slice ends and progress is saved.
const BYTES_IN_HAND: usize = 4 << 20;

/// Candidates in hand after which the slice ends and progress is saved: they are kept in memory until then.
const CANDIDATES_IN_HAND: usize = 16_384;

/// Complete prefixes in hand after which the slice ends and progress is saved: while one worker saves, the others work.
const PREFIXES_IN_HAND: usize = 128;

/// Listed prefixes still to be folded, and folded ones still to be saved.
pub(super) struct Hand<S: Store, T, P> {
    pub todo: VecDeque<(ListedPrefix<S>, PrefixState<T, P>)>,
    pub done: Vec<PrefixState<T, P>>,
    /// When progress was saved last.
    pub saved_at: Duration,
}

/// Why a fold ended.
pub(super) enum FoldEnd {
    /// Nothing is left in hand, or the slice is over.
    Paused,
    /// The first prefix in hand has more candidates than were read.
    PageEnd,
    /// Progress has to be saved before anything else is done, and that failed in mid-slice.
    Unsaved(Error),
    /// The job will not go on; what the prefix has in hand is tainted.
    Refused(Error),
    /// The job panicked on this bucket of this prefix; what the prefix has in hand is tainted.
    Panicked { position: u32, bucket: Vec<u8>, message: String },
}

impl<S: Store, T: Tally, P> Hand<S, T, P> {
    pub fn new(now: Duration) -> Self {
        Hand { todo: VecDeque::new(), done: Vec::new(), saved_at: now }
    }

    /// Whether there is anything that the state does not have.
    pub fn is_dirty(&self) -> bool {
        self.done.iter().any(is_unsaved_at_its_end) || self.current().is_some_and(PrefixState::is_unsaved)
    }

    /// Whether there is enough in hand to be saved.
    pub fn is_full(&self) -> bool {
        let candidates = || self.done.iter().map(|state| state.candidates.len()).sum::<usize>();
        let bytes = || self.done.iter().map(PrefixState::bytes_in_hand).sum::<usize>();
        let notes = || self.done.iter().map(|state| state.notes.waiting_bytes()).sum::<usize>();
        self.done.len() >= PREFIXES_IN_HAND
            || notes() >= NOTE_BYTES_IN_HAND
            || candidates() >= CANDIDATES_IN_HAND
            || bytes() >= BYTES_IN_HAND
    }

    /// Whether there are intents to be carried out.
    pub fn has_intents(&self) -> bool {
        self.done.iter().chain(self.current()).any(|state| !state.intents.is_empty())
    }

    /// Whether there are intents that have to be saved for good.
    pub fn has_new_intents(&self) -> bool {
        self.done.iter().chain(self.current()).any(|state| state.intents.has_new())
    }

    /// Whether there are intents that were saved for good: nothing new is folded before they were carried out.
    pub fn has_recorded_intents(&self) -> bool {
        self.done.iter().chain(self.current()).any(|state| state.intents.has_recorded())
    }

    /// The prefix in hand of which more names are to be listed before it can be folded on.
    pub fn wants_names(&self) -> Option<ListingRequest> {
        let (listed, _) = self.todo.front()?;
        let Contents::Later { after } = &listed.contents else { return None };
        Some(ListingRequest { position: listed.position, after: Some(after.clone()) })
    }

    /// What was folded of it.
    pub fn folded(&mut self) -> Folded<'_, T, P> {
        let current = self.todo.front_mut().map(|(_, state)| state);
        Folded { done: &mut self.done, current, saved_at: &mut self.saved_at }
    }

    fn current(&self) -> Option<&PrefixState<T, P>> {
        self.todo.front().map(|(_, state)| state)
    }

    /// Saves intents in hand for good, and carries them out while the slice lasts. On a blocking thread.
    pub fn settle<J: Job<S, Tally = T, Part = P>>(
        &mut self,
        crawl: &CrawlTask<S, J>,
        work: &CycleWork,
        slice: Option<&TimeSlice>,
    ) -> Result<()> {
        Settling { crawl, work, folded: self.folded() }.run(slice)
    }

    /// Lets go of all prefixes that are not complete: the state keeps each as it was saved last. Gives their claims.
    pub fn release_unfinished(&mut self) -> Vec<(u32, u64)> {
        self.todo.drain(..).map(|(_, state)| (state.position, state.fence)).collect()
    }

    /// Lets go of each prefix that has intents, likewise.
    pub fn release_intents(&mut self) -> Vec<(u32, u64)> {
        self.release_where(|intents| !intents.is_empty())
    }

    /// Lets go of each prefix that has intents which were not saved for good.
    pub fn release_new_intents(&mut self) -> Vec<(u32, u64)> {
        self.release_where(Intents::has_new)
    }

    fn release_where(&mut self, goes: impl Fn(&Intents) -> bool) -> Vec<(u32, u64)> {
        let all = self.claims();
        self.done.retain(|state| !goes(&state.intents));
        self.todo.retain(|(_, state)| !goes(&state.intents));
        let kept = self.claims();
        all.into_iter().filter(|claim| !kept.contains(claim)).collect()
    }

    /// Notes that nothing more is carried out: what was not begun is saved as such, and then binds no cycle.
    pub fn close_intents(&mut self) {
        self.folded().states().for_each(|state| state.dirty |= state.intents.close());
    }

    /// Prefix and fence of all that is in hand. What is complete there is not complete in the state.
    pub fn claims(&self) -> Vec<(u32, u64)> {
        let states = self.done.iter().chain(self.todo.iter().map(|(_, state)| state));
        states.map(|state| (state.position, state.fence)).collect()
    }
}

/// Folds what is in hand until it is done or the slice is over.
pub(super) fn fold<S: Store, J: Job<S>>(
    crawl: &CrawlTask<S, J>,
    work: &CycleWork,
    hand: &mut Hand<S, J::Tally, J::Part>,
    slice: &TimeSlice,
) -> FoldEnd {
    let skipped = lock(&work.skipped).clone();
    slice.charge(Stage::Fold, || {
        if hand.has_recorded_intents()
            && let Err(error) = hand.settle(crawl, work, Some(slice))
        {
            return FoldEnd::Unsaved(error);
        }
        if hand.has_intents() && slice.is_over() {
            return FoldEnd::Paused;
        }
        while let Some((mut listed, mut state)) = hand.todo.pop_front() {
            let mut saver = MidSlice { crawl, work, done: &mut hand.done, saved_at: &mut hand.saved_at };
            // What an earlier run has handed out of a bucket is carried out before that bucket is visited again.
            if state.is_between_chunks() {
                let settled = saver.carry_out(&mut state, slice);
                let goes_on = settled.is_ok() && state.intents.is_empty();
                if !goes_on {
                    hand.todo.push_front((listed, state));
                    return settled.map_or_else(FoldEnd::Unsaved, |()| FoldEnd::Paused);
                }
            }
            let folded = fold_prefix(crawl, work, &mut listed, &mut state, slice, &mut saver, &skipped);
            match folded {
                Ok(()) if listed.candidates.as_ref().is_some_and(|page| !page.is_last) => {
                    hand.todo.push_front((listed, state));
                    return FoldEnd::PageEnd;
                }
                Ok(()) if goes_on_later(&mut listed) => {
                    hand.todo.push_front((listed, state));
                    return FoldEnd::Paused;
                }
                Ok(()) => hand.done.push(state),
                Err(Stopped(why)) => {
                    let position = state.position;
                    hand.todo.push_front((listed, state));
                    return match why {
                        StopCause::SliceOver => FoldEnd::Paused,
                        StopCause::Unsaved(error) => FoldEnd::Unsaved(error),
                        StopCause::Refused(error) => FoldEnd::Refused(error),
                        StopCause::Panicked { bucket, message } => FoldEnd::Panicked { position, bucket, message },
                    };
                }
            }
            if are_many(&hand.done)
                && let Err(error) = hand.settle(crawl, work, Some(slice))
            {
                return FoldEnd::Unsaved(error);
            }
            if slice.is_over() || hand.is_full() {
                break;
            }
        }
        FoldEnd::Paused
    })
}

fn fold_prefix<S: Store, J: Job<S>>(
    crawl: &CrawlTask<S, J>,
    work: &CycleWork,
    listed: &mut ListedPrefix<S>,
    state: &mut PrefixState<J::Tally, J::Part>,
    slice: &TimeSlice,
    saver: &mut MidSlice<'_, S, J>,
    skipped: &Arc<Skipped>,
) -> std::result::Result<(), Stopped> {
    let prefix = work.ring.name(listed.position).unwrap_or_default();
    let give_up = |state: &mut PrefixState<J::Tally, J::Part>, cause: ErrorCause, why: &dyn std::fmt::Display| {
        state.forget_deferred();
        state.notes.enter(b"");
        let told = format_args!("prefix {prefix:?} left out: {why}");
        state.notes.error(&crawl.store.path(prefix, None), cause, &told);
        // What was examined of it stands.
        if work.phase != CyclePhase::CarryOut {
            state.notes.counts.unlisted = 1;
        }
    };
    let page_is_last = listed.candidates.as_ref().is_none_or(|page| page.is_last);
    let candidates = listed.candidates.as_ref().map_or(&[][..], |page| &page.candidates);
    let (open, names) = match &mut listed.contents {
        Contents::Nothing => {
            // Whatever was there is gone.
            state.deferred_have_gone(work.phase);
            state.coverage = Coverage::All;
            return Ok(());
        }
        Contents::Unlistable(error) => {
            give_up(state, ErrorCause::of(error), &format_args!("cannot list it: {error}"));
            return Ok(());
        }
        Contents::Names { open, names } => (open, names),
        // Waits for its names.
        Contents::Later { .. } => return Ok(()),
    };
    if let Some(message) = skipped.get(&(state.position, Vec::new())) {
        give_up(state, ErrorCause::Panicked, &format_args!("the job panicked on it: {message}"));
        return Ok(());
    }
    let (store, now, phase) = (&*crawl.store, work.now, work.phase);
    let clocks = || work.clocks(crawl);
    let is_last_pass = page_is_last && names.next_pass_after().is_none();
    let (latest, clocks, stopped) = (clocks().latest(), &clocks as &dyn Fn() -> Clocks, None);
    let mut walk = PrefixWalk {
        store,
        prefix,
        open,
        names,
        state,
        slice,
        saver,
        skipped,
        began: work.began,
        now,
        latest,
        phase,
        candidates,
        is_last_pass,
        clocks,
        visits_strays: crawl.job.visits_strays(),
        stopped,
    };
    // Panics on a bucket are caught in the walk; one of an override of `process_prefix` costs the prefix.
    let worked = catch_unwind(AssertUnwindSafe(|| crawl.job.process_prefix(&mut walk))).unwrap_or_else(|panic| {
        Err(Stopped(StopCause::Panicked { bucket: Vec::new(), message: panic_message(&*panic) }))
    });
    // A job that takes a walk which was stopped for one that is done would lose the rest of the prefix.
    worked.and_then(|()| walk.stopped.take().map_or(Ok(()), |why| Err(Stopped(why))))
}

/// Whether a prefix whose names were all visited has more of them, which are to be listed in another pass.
fn goes_on_later<S: Store>(listed: &mut ListedPrefix<S>) -> bool {
    let after = match &listed.contents {
        Contents::Names { names, .. } => names.next_pass_after().map(<[u8]>::to_vec),
        Contents::Later { after } => Some(after.clone()),
        Contents::Nothing | Contents::Unlistable(_) => None,
    };
    let Some(after) = after else { return false };
    listed.contents = Contents::Later { after };
    true
}

/// Saves in mid-slice where the setting asks for it.
struct MidSlice<'a, S: Store, J: Job<S>> {
    crawl: &'a CrawlTask<S, J>,
    work: &'a CycleWork,
    done: &'a mut Vec<PrefixState<J::Tally, J::Part>>,
    saved_at: &'a mut Duration,
}

impl<S: Store, J: Job<S>> MidSlice<'_, S, J> {
    fn folded<'s>(&'s mut self, state: &'s mut PrefixState<J::Tally, J::Part>) -> Folded<'s, J::Tally, J::Part> {
        Folded { done: self.done, current: Some(state), saved_at: self.saved_at }
    }
}

impl<S: Store, J: Job<S>> Saver<J::Tally, J::Part> for MidSlice<'_, S, J> {
    fn carry_out(&mut self, state: &mut PrefixState<J::Tally, J::Part>, slice: &TimeSlice) -> Result<()> {
        let (crawl, work) = (self.crawl, self.work);
        Settling { crawl, work, folded: self.folded(state) }.run(Some(slice))
    }

    fn after_bucket(&mut self, state: &mut PrefixState<J::Tally, J::Part>, slice: &TimeSlice) -> Result<()> {
        let is_much = |state: &PrefixState<J::Tally, J::Part>| {
            state.notes.waiting_bytes() >= NOTE_BYTES_IN_HAND || state.candidates.len() >= CANDIDATES_IN_HAND
        };
        let due = match self.crawl.checkpoint {
            Checkpoint::EveryBucket => true,
            Checkpoint::EverySlice => is_much(state),
            Checkpoint::Every(interval) => is_much(state) || slice.now().saturating_sub(*self.saved_at) >= interval,
        };
        let has_intents = |state: &PrefixState<J::Tally, J::Part>| !state.intents.is_empty();
        if Intents::are_many([&state.intents]) || (due && (has_intents(state) || self.done.iter().any(has_intents))) {
            // What comes of it is saved with the next commit; until then the state has it as intents.
            return self.carry_out(state, slice);
        }
        if !due {
            return Ok(());
        }
        let (crawl, work) = (self.crawl, self.work);
        self.folded(state).save_here(crawl, work)
    }
}
