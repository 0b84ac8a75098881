//! The real actors in simulated time.

mod budget;
mod claims;
mod cleaning;
pub mod crawl;
mod day;
mod deferred;
mod governor;
mod intents;
mod maintenance;
mod order;
mod panic;
mod parts;
mod passes;
mod regressions;
mod rehearsal;
mod schedule;
mod stop;
mod upkeep;
pub mod world;
pub mod world_state;
