//! Verifying shares: the command, and each bit that may flip.

mod cli;
pub mod flips;
