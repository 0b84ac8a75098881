//! Saving from a thread at work, between two buckets.
//!
//! It is done on that thread, at the checkpointer's desk, within what the slice charges for folding: a message would cost
//! more than the commit. The desk is a lock of a database, so a thread in the idle class leaves it for that moment; one
//! that cannot leave it sends a message after all.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::crawl::{Crawl, gone};
use super::work::CycleWork;
use crate::actors::messages::{Commit, ReadCandidates, SyncState};
use crate::error::{Error, Result, panic_message};
use crate::job::{Candidate, Job};
use crate::policy::cycle::CycleKey;
use crate::priority::{is_stuck, unhindered};
use crate::state::{Progress, StateStore};
use crate::store::Store;

impl<S: Store, J: Job<S>> Crawl<S, J> {
    /// Commits progress of a cycle.
    pub(super) fn commit_here(&self, work: &CycleWork, progress: &[Progress]) -> Result<()> {
        let at = self.time.clock.unix_secs();
        if is_stuck() {
            let message = Commit { cycle: work.key.clone(), progress: progress.to_vec(), at };
            let committed = futures_executor::block_on(self.ports.commit.send(message)).map_err(gone)?;
            return committed.result.map(|standing| self.shows_damage(standing.damaged));
        }
        let mut damaged = 0;
        self.at_desk(|state| state.commit(&work.key, progress, at).map(|standing| damaged = standing.damaged))?;
        self.shows_damage(damaged);
        Ok(())
    }

    /// Reads candidates of a prefix behind a bucket.
    pub(super) fn candidates_here(
        &self,
        cycle: &CycleKey,
        prefix: u32,
        after: Option<Vec<u8>>,
        most: usize,
    ) -> Result<Vec<Candidate>> {
        if is_stuck() {
            let message = ReadCandidates { cycle: cycle.clone(), prefix, after, most };
            return futures_executor::block_on(self.ports.candidates.send(message)).map_err(gone)?;
        }
        self.at_desk(|state| state.candidates(cycle, prefix, after.as_deref(), most))
    }

    /// Makes sure that what was committed survives a loss of power.
    pub(super) fn sync_here(&self) -> Result<()> {
        if is_stuck() {
            return futures_executor::block_on(self.ports.sync.send(SyncState)).map_err(gone)?;
        }
        self.at_desk(|state| state.sync())
    }

    fn at_desk<R>(&self, work: impl FnOnce(&mut dyn StateStore) -> Result<R>) -> Result<R> {
        let worked = catch_unwind(AssertUnwindSafe(|| unhindered(|| self.ports.desk.with(work))));
        // Not the job's panic: it must not be taken for one.
        worked.unwrap_or_else(|panic| {
            Err(Error::ActorPanicked { actor: "checkpointer", message: panic_message(&*panic) })
        })
    }
}
