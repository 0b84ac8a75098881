//! State in memory.
#![allow(missing_docs)]
pub struct MemoryStore;
