//! Everything that is tested from outside the library, in one binary: linking is what takes the time.

mod cli;
mod crash;
mod embed;
#[cfg(feature = "external")]
mod external;
mod fail_points;
mod fixtures;
mod full_disk;
mod harness;
mod resuming;
mod rules;
mod rust_text;
mod sim;
mod sim_state;
mod simulated_budget;
mod simulated_crawl;
mod simulated_panic;
mod simulated_stop;
mod state_files;
