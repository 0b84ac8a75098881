//! How long a run holds the lock: the size of each step follows from what the rows of those before it cost.

use std::time::Duration;

use super::CleaningRun;
use crate::cumulus::gate::{CleanerGate, Make};
use crate::cumulus::local_db::{Begin, LocalDb};
use crate::cumulus::locks::LockOverrun;
use crate::cumulus::steps::CleaningStep;
use crate::error::Result;

/// Kinds of work whose rows cost alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum WorkKind {
    Reading,
    Copying,
    Changing(CleaningStep),
}

impl WorkKind {
    /// Rows of the first step in a slice of 50 ms.
    fn first(self) -> u64 {
        match self {
            WorkKind::Changing(
                CleaningStep::Segments | CleaningStep::Blocks | CleaningStep::NamelessBlocks | CleaningStep::Signatures,
            ) => 250,
            WorkKind::Copying => 500,
            WorkKind::Reading | WorkKind::Changing(_) => 5000,
        }
    }
}

impl CleaningRun {
    /// Does something under the gate and, as far as `begin` takes it, under the database's lock; notes how long. Opening
    /// (`None`) takes the lock too, but for whom is not known before.
    pub(super) fn locked<T>(&mut self, begin: Option<Begin>, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        // Out of `self` while it is held; a gate opens its file only once.
        let nothing = CleanerGate::new(&self.database, Make::No);
        let mut gate = std::mem::replace(&mut self.gate, nothing);
        let done = gate.enter().and_then(|_entered| {
            let since = (self.now)();
            let done = work(self);
            let reading_locks = self.db.as_ref().is_none_or(LocalDb::reading_locks);
            if done.is_ok() && (begin == Some(Begin::Writing) || reading_locks) {
                self.locks.add((self.now)().saturating_sub(since));
            }
            done
        });
        self.gate = gate;
        done
    }

    /// Notes what so many rows cost; `step` also gives how many there were.
    pub(super) fn timed<T>(
        &mut self,
        work: WorkKind,
        asked: u64,
        step: impl FnOnce(&Self) -> Result<(T, u64)>,
    ) -> Result<T> {
        let since = (self.now)();
        let (done, rows) = step(self)?;
        let first = self.first(work);
        self.pace.measured(work, first, rows.min(asked), (self.now)().saturating_sub(since));
        Ok(done)
    }

    /// Finds out, once, why the lock was held for longer than a slice; that a step hung for once is no reason.
    pub(super) fn note_overrun(&mut self, work: WorkKind, asked: u64, rows: u64) {
        let slice_secs = self.settings.slice.as_secs_f64();
        if self.lock_overrun.is_some() || self.locks.last() <= self.settings.slice {
            return;
        }
        let Some(cost) = self.pace.cost(work) else { return };
        if 2.0 * cost.fixed_secs > slice_secs {
            self.lock_overrun = Some(LockOverrun::FixedCost { fixed_ms: 1e3 * cost.fixed_secs });
        } else if work == WorkKind::Changing(CleaningStep::Expire) && rows > asked && cost.secs(rows) > slice_secs {
            self.lock_overrun = Some(LockOverrun::LargeSegment { blocks: rows });
        }
    }

    pub(super) fn elapsed(&self) -> Duration {
        (self.now)().saturating_sub(self.begun)
    }

    pub(super) fn rows(&self, work: WorkKind) -> u64 {
        self.pace.rows(work, self.first(work))
    }

    fn first(&self, work: WorkKind) -> u64 {
        let part = self.settings.slice.as_secs_f64() / 0.05;
        (work.first() as f64 * part.min(1.0)) as u64
    }
}
