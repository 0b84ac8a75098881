//! The job `count`: counts the buckets of each prefix, opens none.
#![allow(missing_docs)]
pub struct Count;
