//! Sexton, the caretaker of a store.

pub mod checkpoint;
pub mod clock;
mod error;
pub mod job;
pub mod policy;
pub mod slice;
pub mod store;
pub mod tahoe;

pub use error::{Error, Result, Retry};
