//! The status page in a real browser, on a stage of its own and before the real daemon.

mod cleaning;
mod daemon;
mod figures;
mod shown;
mod stage;

// The real program, as its own tests drive it. Not all that they need is needed here.
#[allow(dead_code)]
#[path = "../it/daemon/database.rs"]
pub mod database;
#[allow(dead_code)]
#[path = "../it/support/harness.rs"]
pub mod harness;
#[allow(dead_code)]
#[path = "../it/daemon/process.rs"]
pub mod process;

/// Where those files look for each other.
mod support {
    pub use crate::harness;
}
