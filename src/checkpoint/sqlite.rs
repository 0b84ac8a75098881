//! State in SQLite.
#![allow(missing_docs)]
pub struct SqliteStore;
