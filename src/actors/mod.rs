//! One actor per role, each a thin shell round pure logic.
//!
//! They know each other only as `Recipient<Message>`; only the [engine](crate::engine) wires them. Blocking work runs on
//! blocking threads, so no actor ever waits for a disk, but for the [`Checkpointer`], which has a thread of its own.

mod checkpointer;
mod cleaner;
mod control;
mod governor;
mod guard;
mod lister;
pub mod messages;
mod processor;
mod upkeep;
mod wiring;

pub use checkpointer::Checkpointer;
pub use cleaner::Cleaner;
pub(crate) use cleaner::{MaintenancePorts, Runner};
pub use control::Command;
pub(crate) use governor::Membership;
pub use governor::{Governor, GovernorHandle, OVERRUN_TOLD};
pub(crate) use guard::Fuse;
pub use lister::PrefixLister;
pub use processor::{BucketProcessor, Cycles};
pub(crate) use processor::{CrawlPlan, CrawlTask, Launched, Ports, WriterPort};
pub(crate) use upkeep::Keeper;
pub use upkeep::Upkeep;
pub use wiring::Life;
pub(crate) use wiring::Wiring;
