//! `sexton clean` and `sexton guard` on local databases.

mod backups;
pub mod cli;
mod crash;
mod faults;
mod paced;
mod places;
mod schemas;
mod untouched;
