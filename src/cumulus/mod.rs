//! Local databases of LBS and Cumulus: reading what the policy wants to know, and doing what it decided.
//!
//! [`LocalDb`] is one open database of any era, with the operations of the old programs for those who script. A whole
//! run is *decide, show, do*: a [`Survey`] reads the figures in steps and gives a [`SurveyedPlan`]; its
//! [`CleaningPlan`](self::policy::CleaningPlan) can be printed; an [`Applier`] does it in steps. Each step of
//! either is one short transaction, and one that changes something leaves the database such that a backup may run
//! next:
//!
//! - I1: the segment of every block exists;
//! - I2: no usage row is about a block (era A) or segment that does not exist, since ids are given again;
//! - I3: the snapshot with the greatest id is there as long as usage rows of it are;
//! - I4: the blocks of a segment get their final groups together.
//!
//! The old backup programs hold the write lock while they run and wait for nobody: a busy database is
//! [`LocalDbError::Busy`], to be tried again later. They lose a snapshot without a word if
//! somebody reads while they commit to a database with a rollback journal; so in such a database even reading takes the
//! write lock, which keeps backups from starting and finds those that run.
//!
//! [`CleaningRun`] is all of that as one run, step by step, with a copy made before the first change if that is wanted.
//! Backups under a [`Guard`] never meet it.
//!
//! Never decides anything (that is `policy::cleaning`), and never looks at a clock, but for [`LocalDb::now`].

mod applier;
mod block_set;
mod copier;
mod copies;
mod decision;
mod error;
mod faults;
mod gate;
mod local_db;
mod locks;
mod maintenance;
mod moves;
mod opening;
mod ordinary;
mod place;
pub mod policy;
mod report;
mod run;
pub mod sample;
mod schema;
pub mod settings;
mod shown;
mod sql_words;
mod steps;
mod survey;
mod touched;
mod value;

pub use applier::Applier;
pub use error::LocalDbError;
pub use gate::Guard;
pub use local_db::{LocalDb, Segment};
pub use locks::{LockOverrun, LockSummary, LockTimes};
pub use maintenance::CleaningFigures;
pub use report::{CleaningReport, Doing, RunProgress, StepResult};
pub use run::CleaningRun;
pub use steps::{CleaningStep, StepDone, Upcoming};
pub use survey::{Survey, SurveyDone, SurveyedPlan, plan};
