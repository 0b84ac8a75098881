//! `sexton run`: the real binary over HTTP.

mod attacks;
mod by_hand;
mod cleanings;
mod damage;
pub mod database;
mod guard;
mod life;
mod metrics;
mod notify;
pub mod process;
#[cfg(feature = "external")]
mod prometheus;
mod readers;
mod rehearsal;
mod reload;
mod shapes;
mod start;
