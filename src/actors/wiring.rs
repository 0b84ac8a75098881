//! What every actor of one engine is wired with.

use std::sync::Arc;

use super::{Cycles, Fuse, MaintenancePorts, Ports};
use crate::clock::Time;
use crate::model::Board;
use crate::policy::cycle::Fresh;
use crate::priority::Working;
use crate::settings::Checkpoint;

/// When an engine ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// When all its crawls and all maintenance have ended, with the first error of one of them; without any, at shutdown.
    WithItsWork,
    /// At shutdown only. Crawls and maintenance may come and go, and the end of one does not end the others.
    /// What earlier runs have found is shown as well.
    UntilShutdown,
}

/// What a crawl is wired with.
#[derive(Clone)]
pub(crate) struct Wiring {
    pub ports: Ports,
    pub maintenance: MaintenancePorts,
    pub time: Time,
    pub board: Arc<Board>,
    pub fuse: Fuse,
    pub checkpoint: Checkpoint,
    pub cycles: Cycles,
    pub life: Life,
    pub fresh: Fresh,
    pub fixed_clock: Option<f64>,
    pub working: Working,
}

impl Wiring {
    /// The same, for a crawl whose unfinished cycle is, or is not, given up.
    pub fn with_fresh(&self, fresh: Fresh) -> Wiring {
        Wiring { fresh, ..self.clone() }
    }
}
