//! The formats of Tahoe-LAFS 1.20.0: share containers, leases, names, the crawlers' state files.
//!
//! Bytes and names in, plain values out. Nothing here opens a file, and nothing panics on what a file says: a container
//! that makes no sense is a value as well ([`container::Malformed`], [`table::TableFault`]). All integers in these formats
//! are unsigned and big endian. What Tahoe's lease checker does with a share that makes no sense is part of the format,
//! because its history must come out the same.

pub mod cancel;
pub mod cfg;
pub mod check;
pub mod container;
pub mod hash;
pub mod immutable;
pub mod lease;
pub mod leases;
pub mod merkle;
pub mod mutable;
pub mod names;
pub mod number;
mod refusal;
pub mod region;
pub mod sample;
pub mod signature;
pub mod state;
pub mod store;
pub mod table;
pub mod transfer;
pub mod ueb;
pub mod verify;
pub mod words;

pub use leases::Leases;
pub use refusal::ChangeRefusal;
pub use store::TahoeStore;
pub use verify::Verify;

/// Said of whatever raises an exception that Tahoe's own crawler does not catch: it runs no further slice until its
/// node is restarted, and then meets the same bucket again.
pub const STOPS_TAHOE: &str = "Tahoe's crawler would stop here for good";

/// The big-endian `u32` at `at`, or `None` if it does not lie within `bytes`.
pub(crate) fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(field.try_into().ok()?))
}

/// The big-endian `u64` at `at`, or `None` if it does not lie within `bytes`.
pub(crate) fn be64(bytes: &[u8], at: usize) -> Option<u64> {
    let field = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_be_bytes(field.try_into().ok()?))
}
