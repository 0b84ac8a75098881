//! Carrying out intents: save them for good, then do them.
//!
//! One synced commit stands before all deletions of a slice: it has the progress up to them and every one of them. What was
//! done goes into the tally, and the next commit, an ordinary one, saves that and forgets the intents in one transaction.
//! So whenever the process dies, the state knows either the intent or its effect, never both and never neither.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::crawl::{Crawl, CycleWork};
use super::hand::{gather, give_back, saved};
use crate::error::{Error, Result};
use crate::job::{Carried, Deed, Intent, Intents, Job, PrefixState, Tally, panic_message};
use crate::store::Store;

/// Whether complete prefixes have so many intents that they should be carried out now.
pub(super) fn are_many<T: Tally>(done: &[PrefixState<T>]) -> bool {
    Intents::are_many(done.iter().map(|state| &state.intents))
}

/// Carries out all intents of these prefixes. Runs on a blocking thread.
///
/// Where it fails, what is not settled stays in hand, and is in the state if it may be done in part.
pub(super) fn settle<S: Store, J: Job<S>>(
    crawl: &Crawl<S, J>,
    work: &CycleWork,
    done: &mut Vec<PrefixState<J::Tally>>,
    mut current: Option<&mut PrefixState<J::Tally>>,
) -> Result<()> {
    // What was changed meanwhile comes again; the job sees to it that this ends.
    while done.iter().chain(current.as_deref()).any(|state| !state.intents.is_empty()) {
        let states = done.iter().chain(current.as_deref());
        let tolls: Vec<_> = states.map(|state| (state.position, state.toll())).collect();
        work.allow(crawl, &tolls)?;
        crawl.job.may_change(&crawl.store, &work.clocks(crawl))?;
        save_for_good(crawl, work, done, current.as_deref_mut())?;
        for state in done.iter_mut().chain(current.as_deref_mut()) {
            carry_out(crawl, work, state)?;
        }
    }
    Ok(())
}

fn save_for_good<S: Store, J: Job<S>>(
    crawl: &Crawl<S, J>,
    work: &CycleWork,
    done: &mut Vec<PrefixState<J::Tally>>,
    mut current: Option<&mut PrefixState<J::Tally>>,
) -> Result<()> {
    let progress = gather(done, current.as_deref_mut())?;
    if let Err(error) = crawl.commit_here(work, &progress) {
        give_back(progress, done, current);
        return Err(error);
    }
    let added = saved(done, current);
    work.saved(crawl, &progress, &added);
    crawl.sync_here()
}

fn carry_out<S: Store, J: Job<S>>(
    crawl: &Crawl<S, J>,
    work: &CycleWork,
    state: &mut PrefixState<J::Tally>,
) -> Result<()> {
    let prefix = work.ring.name(state.position).unwrap_or_default();
    let mut intents = state.intents.take().into_iter();
    while let Some(intent) = intents.next() {
        state.dirty = true;
        let (tally, notes, now) = (&mut state.tally, &mut state.notes, work.now);
        let mut deed = Deed { prefix, tally, notes, now, clocks: work.clocks(crawl) };
        // Caught here, where what is left can be put back. It is not the panic of a visit, which would cost its bucket.
        let carried = catch_unwind(AssertUnwindSafe(|| crawl.job.carry_out(&crawl.store, &intent, &mut deed)));
        let panicked = |panic: Box<dyn Any + Send>| {
            Err(Error::ActorPanicked { actor: "settling", message: panic_message(&*panic) })
        };
        match carried.unwrap_or_else(panicked) {
            Ok(Carried::Settled) => {}
            Ok(Carried::Again(changed)) => state.intents.put(changed),
            Err(error) => {
                let left: Vec<Intent> = std::iter::once(intent).chain(intents).collect();
                left.into_iter().for_each(|intent| state.intents.put(intent));
                return Err(error);
            }
        }
    }
    Ok(())
}
