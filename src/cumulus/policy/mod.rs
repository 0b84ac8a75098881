//! What a segment cleaner does, decided from figures alone.
//!
//! LBS and Cumulus keep the blocks of a backup in *segments*, files that are never changed. As blocks fall out of use,
//! segments fill with holes; cleaning marks the blocks of a holey segment as expired, so that the next backup writes
//! those still needed again, grouped by age, and depends on the segment no more. (Rosenblum and Ousterhout 1992; Vrable,
//! Savage and Voelker 2009.)
//!
//! The way of a plan: [`retain`] decides which snapshots stay, a [`SegmentTable`] takes in what is known of each segment,
//! [`Choice::make`] puts them in order and marks the worst, [`balance`](balance()) groups the expired blocks by age, and [`CleaningPlan`] holds what came out. Whoever reads
//! the figures (see `cumulus`) goes between these calls. Nothing here reads a database or a clock: the figures and the
//! moment that counts as now are arguments.

mod balance;
mod choice;
mod judge;
mod list;
mod moment;
mod names;
mod number;
mod options;
mod plan;
mod raised;
mod snapshots;
mod table;

pub use balance::{AgeGroup, AgeHistogram, Balance, Regroup, balance};
pub use choice::{Choice, Odd};
pub use judge::{Judge, SegmentFigures, SegmentVerdict};
pub use list::{IntoEntries, SegmentEntry, SegmentList};
pub use moment::StoredTime;
pub use number::{Number, Sum, round_days};
pub use options::{ClockTrust, Era, Limits, Mode, Options, Policy, RunPart};
pub use plan::{CleaningPlan, CleaningRefusal, Comeback, Removed};
pub use raised::{Raised, RaisedAt, RaisedFault};
pub use snapshots::{Retention, SnapshotFigures, retain};
pub use table::{Figure, SegmentFate, SegmentMark, SegmentRecord, SegmentTable};
