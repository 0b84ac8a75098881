//! The steps in which a plan is done, their order, and how far they have come.
//!
//! The order is that of safety: see [`Applier`](super::Applier).

use serde::Serialize;

use super::touched::ListPlace;

/// The kinds of steps, in their order. Rows cost differently: deleting a block touches pages all over an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CleaningStep {
    /// Deleting snapshots.
    Snapshots,
    /// Deleting usage rows.
    UsageRows,
    /// Deleting the newest snapshot, whose number is given again, after its usage rows (era B).
    NewestSnapshot,
    /// Deleting segments with their blocks.
    Segments,
    /// Deleting blocks whose segment stays (era B).
    Blocks,
    /// Deleting blocks whose segment is not even a number.
    NamelessBlocks,
    /// Deleting signatures of blocks that are not there.
    Signatures,
    /// Reading what is in use, after a restart (era A).
    ReadUsage,
    /// Expiring blocks and grouping them, whole segments at a time.
    Expire,
    /// Nothing is left to do.
    Done,
}

impl CleaningStep {
    pub(super) fn next(self) -> CleaningStep {
        match self {
            CleaningStep::Snapshots => CleaningStep::UsageRows,
            CleaningStep::UsageRows => CleaningStep::NewestSnapshot,
            CleaningStep::NewestSnapshot => CleaningStep::Segments,
            CleaningStep::Segments => CleaningStep::Blocks,
            CleaningStep::Blocks => CleaningStep::NamelessBlocks,
            CleaningStep::NamelessBlocks => CleaningStep::Signatures,
            CleaningStep::Signatures => CleaningStep::ReadUsage,
            CleaningStep::ReadUsage => CleaningStep::Expire,
            CleaningStep::Expire | CleaningStep::Done => CleaningStep::Done,
        }
    }
}

/// What one step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepDone {
    /// Its kind.
    pub step: CleaningStep,
    /// Rows it went through.
    pub rows: u64,
    /// Whether there is more to do.
    pub more: bool,
}

/// What the next step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upcoming {
    /// Its kind.
    pub step: CleaningStep,
    /// Rows it goes through at least, however few it is given.
    pub least_rows: u64,
}

/// How far it has come: changed only once a step is committed.
#[derive(Debug, Clone, Copy)]
pub(super) struct StepsProgress {
    pub(super) step: CleaningStep,
    /// Place in the list of segments that go.
    pub(super) place: usize,
    /// Place in the list of segments whose blocks get new values.
    pub(super) touched: ListPlace,
    /// Next row id of this step.
    pub(super) cursor: i64,
}

impl StepsProgress {
    pub(super) fn at(step: CleaningStep) -> StepsProgress {
        StepsProgress { step, place: 0, touched: ListPlace::START, cursor: i64::MIN }
    }
}
