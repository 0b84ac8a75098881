//! Sexton, the caretaker of a store.

pub mod actors;
pub mod checkpoint;
#[cfg(feature = "cli")]
pub mod cli;
pub mod clock;
pub mod config;
pub mod cumulus;
pub mod engine;
mod error;
pub mod job;
pub mod messages;
pub mod policy;
pub mod report;
pub mod settings;
pub mod slice;
pub mod status;
pub mod store;
pub mod tahoe;

pub use error::{Error, Result, Retry};
