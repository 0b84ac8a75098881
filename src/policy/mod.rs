//! Pure policy: plain values in, decisions out.
//!
//! Nothing here knows actors, files, databases or clocks; time is an argument.

pub mod backoff;
pub mod cycle;
pub mod ring;
