//! Carrying out intents: save them for good, then do them, one by one, while the slice lasts.
//!
//! One synced commit stands before all deletions that a slice has planned: it has the progress up to them and every one of
//! them. What was done goes into the tally, and a later commit, an ordinary one, saves that and forgets these intents in one
//! transaction. So whenever the process dies, the state knows either the intent or its effect, never both and never neither.
//! What the slice leaves over is there in the state as intents, and is the first thing that the next one does.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::crawl::CrawlTask;
use super::save::Folded;
use super::work::CycleWork;
use crate::calls;
use crate::error::{Error, Result, panic_message};
use crate::job::{Carried, CyclePhase, Deed, DeletionCount, Intent, Intents, Job, PrefixState, Tally};
use crate::slice::TimeSlice;
use crate::store::Store;

/// Whether complete prefixes have so many intents that they should be carried out now.
pub(super) fn are_many<T: Tally, P>(done: &[PrefixState<T, P>]) -> bool {
    Intents::are_many(done.iter().map(|state| &state.intents))
}

/// Prefixes whose intents are to be carried out, on a blocking thread.
pub(super) struct Settling<'a, S: Store, J: Job<S>> {
    pub crawl: &'a CrawlTask<S, J>,
    pub work: &'a CycleWork,
    pub folded: Folded<'a, J::Tally, J::Part>,
}

impl<S: Store, J: Job<S>> Settling<'_, S, J> {
    /// Carries out what was saved for good until the slice is over, at least one, and saves for good what is new. Without a
    /// slice nothing is carried out.
    ///
    /// Where it fails, what is not settled stays in hand, and is in the state if it may be done in part.
    pub fn run(&mut self, slice: Option<&TimeSlice>) -> Result<()> {
        let lasts = || slice.is_some_and(|slice| !slice.is_over());
        let mut goes_on = slice.is_some();
        loop {
            while goes_on && self.carry_out_next(slice)? {
                goes_on = lasts();
            }
            // What was changed meanwhile comes again; the job sees to it that this ends.
            if !self.folded.states().any(|state| state.intents.has_new()) {
                return Ok(());
            }
            self.record()?;
            goes_on = lasts();
            if !goes_on {
                return Ok(());
            }
        }
    }

    /// Saves all there is, and makes sure that it survives a loss of power.
    fn record(&mut self) -> Result<()> {
        let Settling { crawl, work, .. } = *self;
        work.may_change(crawl)?;
        self.folded.save_here(crawl, work)?;
        crawl.sync_here()?;
        self.folded.states().for_each(|state| state.intents.record());
        Ok(())
    }

    /// Carries out the next intent that was saved for good, if there is one.
    fn carry_out_next(&mut self, slice: Option<&TimeSlice>) -> Result<bool> {
        let Settling { crawl, work, .. } = *self;
        let Some(state) = self.folded.states().find(|state| state.intents.has_recorded()) else { return Ok(false) };
        work.may_go_on_changing(crawl)?;
        let Some(mut intent) = state.intents.next() else { return Ok(false) };
        state.dirty = true;
        let before = DeletionCount::deleted(&state.notes.counts);
        let prefix = work.ring.name(state.position).unwrap_or_default();
        let (tally, notes, now) = (&mut state.tally, &mut state.notes, work.now);
        let mut deed = Deed { prefix, tally, notes, now, clocks: work.clocks(crawl) };
        // Caught here, where the intent can be put back. It is not the panic of a visit, which would cost its bucket.
        let mut carry_out = || crawl.job.carry_out(&crawl.store, &intent, &mut deed);
        let carried = catch_unwind(AssertUnwindSafe(|| match slice {
            // What would have to wait is tried again while the slice lasts.
            Some(slice) => calls::while_lasts(slice.watch(), carry_out),
            None => carry_out(),
        }));
        let panicked = |panic: Box<dyn Any + Send>| {
            Err(Error::ActorPanicked { actor: "settling", message: panic_message(&*panic) })
        };
        match carried.unwrap_or_else(panicked) {
            Ok(Carried::Settled) => state.deleted_since(&before, &intent.bucket),
            Ok(Carried::Again(changed)) => {
                let exceeds = changed.deletes > intent.deletes && work.phase != CyclePhase::OnePass;
                if exceeds {
                    let deletes = intent.deletes;
                    state.intents.put_back(intent);
                    let what =
                        format!("the job wants to delete {} objects where it has shown {deletes}", changed.deletes);
                    return Err(Error::Unexpected(what));
                }
                state.intents.put(Intent { begun: true, ..changed });
            }
            Err(error) => {
                // Whatever else refuses does so before anything is done.
                intent.begun |= matches!(error, Error::Store { .. } | Error::ActorPanicked { .. });
                state.intents.put_back(intent);
                return Err(error);
            }
        }
        Ok(true)
    }
}
