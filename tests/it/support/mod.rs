//! What tests stand on: the binary as it is run, points at which it can be made to fail, digests.

mod fail_points;
pub mod harness;
pub mod sha256;
