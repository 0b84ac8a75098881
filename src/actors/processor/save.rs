//! Saving: what the state does not have yet goes there whole, and comes back as saved, or as refused, and is in hand again.
//!
//! Between two slices it goes by message. Between two buckets a thread at work borrows the writer, within what the slice
//! charges for folding: a message would cost more than the commit. The writer is a lock of a database, so a thread in the idle
//! class leaves it for that moment; one that cannot leave it has the checkpointer do it after all.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;

use super::crawl::{CrawlTask, SendPatience, gone};
use super::work::CycleWork;
use crate::actors::messages::{AtWriter, Batch, Committed};
use crate::error::{Error, Result, panic_message};
use crate::job::{Candidate, Counts, Coverage, CyclePhase, Intent, Job, Judged, PrefixState, Tally};
use crate::policy::cycle::CycleKey;
use crate::priority::{is_stuck, unhindered};
use crate::slice::{Stage, TimeSlice};
use crate::state::{PrefixProgress, StateStore, StateWriter};
use crate::store::Store;

/// The prefixes that were folded, and the one that is being folded.
pub(super) struct Folded<'h, T: Tally, P> {
    pub done: &'h mut Vec<PrefixState<T, P>>,
    pub current: Option<&'h mut PrefixState<T, P>>,
    /// When progress was saved last.
    pub saved_at: &'h mut Duration,
}

impl<T: Tally, P> Folded<'_, T, P> {
    /// All of them.
    pub fn states(&mut self) -> impl Iterator<Item = &mut PrefixState<T, P>> {
        self.done.iter_mut().chain(self.current.as_deref_mut())
    }

    /// Commits what the state does not have, on this thread.
    pub fn save_here<S: Store, J: Job<S, Tally = T, Part = P>>(
        &mut self,
        crawl: &CrawlTask<S, J>,
        work: &CycleWork,
    ) -> Result<()> {
        let (unsaved, batch) = self.take_unsaved(crawl, work)?;
        let batch = Arc::new(batch);
        let lent = batch.clone();
        let commit = move |state: &mut dyn StateStore| state.commit(&lent.cycle, &lent.progress, lent.at);
        let result = crawl.ports.writer.with(commit).and_then(|committed| committed);
        // Whoever committed it has let go of it, unless the checkpointer is just dying of it.
        let Some(batch) = Arc::into_inner(batch) else { return result.map(drop) };
        let saved = unsaved.come_back(crawl, work, Committed { batch, result, cost: Duration::ZERO });
        self.saved(crawl, saved)
    }

    /// Has it committed by the checkpointer, and charges the slice with what it cost. The inner error says why nothing was saved.
    pub async fn save<S: Store, J: Job<S, Tally = T, Part = P>>(
        mut self,
        crawl: &CrawlTask<S, J>,
        work: &CycleWork,
        patience: &mut SendPatience,
        slice: Option<&TimeSlice>,
    ) -> Result<Result<()>> {
        let (unsaved, batch) = self.take_unsaved(crawl, work)?;
        let committed = crawl.ports.commit.send(batch).await.map_err(gone)?;
        if let Some(slice) = slice {
            slice.add(Stage::Commit, committed.cost);
        }
        if committed.result.is_ok() && patience.end(crawl) {
            work.interrupted(crawl);
        }
        let saved = unsaved.come_back(crawl, work, committed);
        Ok(self.saved(crawl, saved))
    }

    /// Takes what the state does not have. A prefix that was folded to its end and has no intents is to be complete there.
    fn take_unsaved<S: Store, J: Job<S>>(
        &mut self,
        crawl: &CrawlTask<S, J>,
        work: &CycleWork,
    ) -> Result<(Unsaved<'_, T, P>, Batch)> {
        let done = self.done.iter_mut().filter(|state| is_unsaved_at_its_end(state)).map(|state| (state, true));
        let current = self.current.as_deref_mut().filter(|state| state.is_unsaved()).map(|state| (state, false));
        let (mut states, mut tallies) = (Vec::new(), Vec::new());
        for (state, at_its_end) in done.chain(current) {
            let cause = |cause| Error::Tally { crawl: format!("prefix {}", state.position), cause };
            tallies.push(state.encode().map_err(cause)?);
            states.push((state, at_its_end));
        }
        let take = |((state, at_its_end), tally): (&mut (&mut PrefixState<T, P>, bool), _)| {
            take_progress(state, tally, *at_its_end, work.phase)
        };
        let progress = states.iter_mut().zip(tallies).map(take).collect();
        let unsaved = Unsaved(states.into_iter().map(|(state, _)| state).collect());
        Ok((unsaved, Batch { cycle: work.key.clone(), progress, at: crawl.time.clock.unix_secs() }))
    }

    /// Lets go of the prefixes that are complete in the state. Those with intents left stay in hand.
    fn saved<S: Store, J: Job<S>>(&mut self, crawl: &CrawlTask<S, J>, saved: Result<()>) -> Result<()> {
        saved?;
        *self.saved_at = crawl.time.clock.now();
        self.done.retain(|state| !state.intents.is_empty());
        Ok(())
    }
}

/// Whether the state does not have all of a prefix that was folded to its end.
pub(super) fn is_unsaved_at_its_end<T: Tally, P>(state: &PrefixState<T, P>) -> bool {
    state.is_unsaved() || state.intents.is_empty()
}

/// Takes what the state does not have of a prefix. One with intents left is not complete; one whose candidates are carried out
/// was not visited as a whole.
fn take_progress<T: Tally, P>(
    state: &mut PrefixState<T, P>,
    tally: Vec<u8>,
    at_its_end: bool,
    phase: CyclePhase,
) -> PrefixProgress {
    let intents: Vec<Intent> = state.intents.rows().collect();
    // What could not be listed, nobody has looked for; and of candidates, only what is to be deleted is looked at.
    let is_examined = state.notes.counts.unlisted == 0 && phase != CyclePhase::CarryOut;
    let coverage = if is_examined { state.coverage.clone() } else { Coverage::Nothing };
    PrefixProgress {
        prefix: state.position,
        fence: state.fence,
        cursor: state.cursor.clone(),
        tally,
        done: at_its_end && intents.is_empty(),
        whole: state.whole && is_examined,
        notes: state.notes.take_rows(),
        intents,
        candidates: std::mem::take(&mut state.candidates),
        judged: Judged { coverage, ..state.notes.take_judged() },
    }
}

/// The prefixes of which a [`Batch`] is on its way to the state, in the same order.
struct Unsaved<'h, T: Tally, P>(Vec<&'h mut PrefixState<T, P>>);

impl<T: Tally, P> Unsaved<'_, T, P> {
    fn come_back<S: Store, J: Job<S>>(
        self,
        crawl: &CrawlTask<S, J>,
        work: &CycleWork,
        Committed { batch, result, .. }: Committed,
    ) -> Result<()> {
        match result {
            Ok(standing) => {
                crawl.shows_damage(standing.damaged);
                let mut added = Counts::default();
                for state in self.0 {
                    added.merge(&state.take_added());
                    state.dirty = false;
                }
                work.saved(crawl, &batch.progress, &added);
                Ok(())
            }
            Err(error) => {
                for (state, progress) in self.0.into_iter().zip(batch.progress) {
                    state.notes.give_back(progress.notes, progress.judged);
                    let newer = std::mem::replace(&mut state.candidates, progress.candidates);
                    state.candidates.extend(newer);
                }
                Err(error)
            }
        }
    }
}

/// How threads at work reach the writer.
#[derive(Clone)]
pub(crate) struct WriterPort {
    writer: StateWriter,
    checkpointer: Recipient<AtWriter>,
}

impl WriterPort {
    pub fn new(writer: StateWriter, checkpointer: Recipient<AtWriter>) -> Self {
        WriterPort { writer, checkpointer }
    }

    /// Works with the state on this thread, or has the checkpointer do it where this thread may take no lock of a database.
    pub(super) fn with<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn StateStore) -> R + Send + 'static,
    ) -> Result<R> {
        if !is_stuck() {
            let worked = catch_unwind(AssertUnwindSafe(|| unhindered(|| self.writer.with(|state| Ok(work(state))))));
            // Not the job's panic: it must not be taken for one.
            return worked.unwrap_or_else(|panic| {
                Err(Error::ActorPanicked { actor: "checkpointer", message: panic_message(&*panic) })
            });
        }
        let (answer, answered) = std::sync::mpsc::channel();
        let work = AtWriter(Box::new(move |state| {
            // Whoever asked waits for it.
            let _ = answer.send(work(state));
        }));
        futures_executor::block_on(self.checkpointer.send(work)).map_err(gone)??;
        answered.recv().map_err(|_| Error::Stopped)
    }
}

impl<S: Store, J: Job<S>> CrawlTask<S, J> {
    /// Reads candidates of a prefix behind a bucket.
    pub(super) fn candidates_here(
        &self,
        cycle: &CycleKey,
        prefix: u32,
        after: Option<Vec<u8>>,
        most: usize,
    ) -> Result<Vec<Candidate>> {
        let cycle = cycle.clone();
        self.ports.writer.with(move |state| state.candidates(&cycle, prefix, after.as_deref(), most))?
    }

    /// Makes sure that what was committed survives a loss of power.
    pub(super) fn sync_here(&self) -> Result<()> {
        self.ports.writer.with(|state| state.sync())?
    }
}
