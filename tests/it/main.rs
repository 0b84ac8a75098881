//! Everything that is tested from outside the library, in one binary: linking is what takes the time.

mod cli;
mod crash;
mod fail_points;
mod fixtures;
mod full_disk;
mod harness;
mod resuming;
mod sim;
mod simulated_budget;
mod simulated_crawl;
mod state_files;
