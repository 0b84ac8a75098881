//! The real actors in simulated time.

mod budget;
mod claims;
#[cfg(feature = "daemon")]
mod cleaning;
pub mod crawl;
#[cfg(feature = "daemon")]
mod day;
mod deferred;
mod governor;
#[cfg(feature = "sqlite")]
mod in_a_file;
mod intents;
mod maintenance;
mod order;
mod paid;
mod panic;
mod parts;
mod passes;
mod regressions;
mod rehearsal;
#[cfg(feature = "daemon")]
mod schedule;
mod stop;
mod strays;
mod upkeep;
pub mod world;
pub mod world_state;
