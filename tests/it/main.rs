//! Everything that is tested from outside the library, in one binary: linking is what takes the time.

mod clean_backups;
mod clean_cli;
mod clean_crash;
mod cli;
mod crash;
mod cumulus_backups;
mod cumulus_data;
mod cumulus_golden;
mod cumulus_model;
mod cumulus_properties;
mod daemon;
mod daemon_guard;
mod daemon_life;
mod daemon_shapes;
mod embed;
#[cfg(feature = "external")]
mod external;
#[cfg(feature = "external")]
mod external_prometheus;
mod fail_points;
mod fixtures;
mod full_disk;
mod harness;
mod resuming;
mod rules;
mod rust_text;
mod sha256;
mod sim;
mod sim_state;
mod simulated_budget;
mod simulated_cleaning;
mod simulated_crawl;
mod simulated_day;
mod simulated_panic;
mod simulated_regressions;
mod simulated_schedule;
mod simulated_stop;
mod simulated_upkeep;
mod state_files;
mod tahoe_cfg;
mod tahoe_state;
mod tahoe_state_refused;
