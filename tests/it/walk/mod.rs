//! Walking a store: counts as Tahoe has them, crashes, resuming, stores that go away or were prepared by somebody.

mod crash;
mod fixtures;
mod huge_buckets;
mod resuming;
#[cfg(feature = "external")]
pub mod store_owner;
mod vanished;
