//! Everything that is tested from outside the library, in one binary: linking is what takes the time.

mod cleaning;
mod cumulus;
mod daemon;
mod expiry;
mod house;
mod program;
mod simulated;
mod state;
mod support;
mod tahoe;
mod verify;
mod walk;
