//! Everything that is tested from outside the library, in one binary: linking is what takes the time.

// What only the tests of the whole program use.
#![cfg_attr(not(feature = "daemon"), allow(dead_code))]

mod examples;
mod house;
mod simulated;
mod testing;

// These run the program, or need every room.
#[cfg(feature = "daemon")]
mod cleaning;
#[cfg(feature = "daemon")]
mod cumulus;
#[cfg(feature = "daemon")]
mod daemon;
#[cfg(feature = "daemon")]
mod expiry;
#[cfg(feature = "daemon")]
mod program;
#[cfg(feature = "daemon")]
mod state;
#[cfg(feature = "daemon")]
mod support;
#[cfg(feature = "daemon")]
mod tahoe;
#[cfg(feature = "daemon")]
mod verify;
#[cfg(feature = "daemon")]
mod walk;
