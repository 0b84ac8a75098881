//! Sexton, the caretaker of a store.

pub mod checkpoint;
pub mod clock;
pub mod config;
mod error;
pub mod job;
pub mod policy;
pub mod settings;
pub mod slice;
pub mod store;
pub mod tahoe;

pub use error::{Error, Result, Retry};
