//! Pure policy: plain values in, decisions out.
//!
//! Nothing here knows actors, files, databases or clocks; time is an argument.

pub mod backoff;
pub mod budget;
pub mod cycle;
pub mod day;
pub mod deletion;
pub mod fair;
pub mod pace;
pub mod quiet;
pub mod remaining;
pub mod ring;
pub mod step_cost;
pub mod target;
pub mod windows;
