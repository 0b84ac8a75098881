//! Beside Tahoe-LAFS: its configuration, its state files, and the program itself.

mod cfg;
#[cfg(feature = "external")]
mod grid;
#[cfg(feature = "external")]
mod live;
pub mod state;
mod state_refused;
