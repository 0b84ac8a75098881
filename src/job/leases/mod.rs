//! The job `leases`: what Tahoe's lease checker does.
#![allow(missing_docs)]
pub struct Leases;
