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

pub use balance::{AgeGroup, Balance, Histogram, Regroup, balance};
pub use choice::{Choice, Odd};
pub use judge::{Judge, SegmentFigures, Verdict};
pub use list::{IntoEntries, SegmentEntry, SegmentList};
pub use moment::Moment;
pub use number::{Number, Sum, round_days};
pub use options::{Clock, Era, Limits, Mode, Options, Part, Policy};
pub use plan::{CleaningPlan, Comeback, Refusal, Removed};
pub use raised::{At, Fault, Raised};
pub use snapshots::{Retention, SnapshotFigures, retain};
pub use table::{Fate, Figure, Mark, SegmentRecord, SegmentTable};
