//! Deleting what has expired: fixtures of the original program, phases, safety, crashes.

mod cli;
pub mod crash;
mod fixtures;
mod long;
mod old_state;
mod online;
mod phases;
mod resumed;
mod safety;
mod world;
