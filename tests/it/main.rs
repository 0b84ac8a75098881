//! Everything that is tested from outside the library, in one binary: linking is what takes the time.

mod clean_backups;
mod clean_cli;
mod clean_crash;
mod clean_faults;
mod clean_paced;
mod clean_places;
mod clean_schemas;
mod clean_untouched;
mod cli;
mod crash;
mod cumulus_backups;
mod cumulus_data;
mod cumulus_generator;
mod cumulus_golden;
mod cumulus_large;
mod cumulus_model;
mod cumulus_model_later;
mod cumulus_properties;
mod daemon;
mod daemon_attacks;
mod daemon_by_hand;
mod daemon_cleanings;
mod daemon_damage;
mod daemon_guard;
mod daemon_life;
mod daemon_metrics;
mod daemon_notify;
mod daemon_readers;
mod daemon_rehearsal;
mod daemon_reload;
mod daemon_shapes;
mod daemon_start;
mod embed;
mod expiry_cli;
mod expiry_crash;
mod expiry_fixtures;
mod expiry_long;
mod expiry_old_state;
mod expiry_online;
mod expiry_phases;
mod expiry_resumed;
mod expiry_safety;
mod expiry_world;
#[cfg(feature = "external")]
mod external;
#[cfg(feature = "external")]
mod external_grid;
#[cfg(feature = "external")]
mod external_prometheus;
#[cfg(feature = "external")]
mod external_threads;
mod fail_points;
mod fixtures;
mod full_disk;
mod harness;
mod house;
mod huge_buckets;
mod own_files;
#[cfg(feature = "external")]
mod page;
#[cfg(feature = "external")]
mod page_browser;
#[cfg(feature = "external")]
mod page_cleaning;
#[cfg(feature = "external")]
mod page_daemon;
#[cfg(feature = "external")]
mod page_figures;
#[cfg(feature = "external")]
mod page_stage;
mod resuming;
mod sha256;
mod sim;
mod sim_state;
mod simulated_budget;
mod simulated_claims;
mod simulated_cleaning;
mod simulated_crawl;
mod simulated_day;
mod simulated_deferred;
mod simulated_intents;
mod simulated_order;
mod simulated_panic;
mod simulated_parts;
mod simulated_passes;
mod simulated_regressions;
mod simulated_rehearsal;
mod simulated_schedule;
mod simulated_stop;
mod simulated_upkeep;
mod state_files;
#[cfg(feature = "external")]
mod store_owner;
mod tahoe_cfg;
mod tahoe_state;
mod tahoe_state_refused;
mod threads;
mod vanished;
mod verify_cli;
mod verify_flips;
