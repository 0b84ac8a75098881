//! `sexton run`: the real binary over HTTP.

mod attacks;
mod by_hand;
pub mod cleanings;
mod damage;
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
