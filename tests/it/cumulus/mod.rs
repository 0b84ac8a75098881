//! What is decided about a local database, held against the golden databases of the original programs.

mod backups;
pub mod data;
mod generator;
mod golden;
mod large;
pub mod model;
mod model_later;
mod properties;
