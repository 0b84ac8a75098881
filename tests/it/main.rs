//! Everything that is tested from outside the library, in one binary: linking is what takes the time.

mod cumulus_backups;
mod cumulus_data;
mod cumulus_golden;
mod cumulus_model;
mod cumulus_properties;
mod sha256;
mod sim;
mod simulated_budget;
mod simulated_crawl;
