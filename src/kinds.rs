//! Which of Sexton's own jobs a crawl does, and with what.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::settings::{CrawlSettings, Order};
use crate::tahoe::leases::{LeaseSettings, Word};
use crate::tahoe::verify::{Advisories, Quarantine, VerifySettings};

/// One of Sexton's own jobs, with what makes its result what it is.
#[derive(Debug, Clone, PartialEq)]
pub enum JobSettings {
    /// Counts the buckets of each prefix.
    Count,
    /// Reads the leases of every share, and deletes the expired ones if it is told to.
    Leases(LeaseSettings),
    /// Reads and checks every byte of every share.
    Verify {
        /// Which shares, and what becomes of corrupt ones.
        verify: VerifySettings,
        /// Whether the node is stopped: shares may be moved only then.
        offline: bool,
    },
}

impl JobSettings {
    /// The job's name: `count`, `leases`, `verify`.
    pub fn name(&self) -> &'static str {
        match self {
            JobSettings::Count => "count",
            JobSettings::Leases(_) => "leases",
            JobSettings::Verify { .. } => "verify",
        }
    }

    /// Whether it changes shares in a way that only a stopped node allows.
    pub fn needs_stopped_node(&self) -> bool {
        match self {
            JobSettings::Leases(leases) => leases.word == Some(Word::Offline) && !leases.dry_run,
            JobSettings::Verify { verify, .. } => verify.quarantine == Quarantine::Move,
            JobSettings::Count => false,
        }
    }

    /// Whether it changes shares, so that no other process should at the same time.
    pub fn changes_shares(&self) -> bool {
        match self {
            JobSettings::Leases(leases) => leases.word.is_some() && !leases.dry_run,
            JobSettings::Verify { .. } | JobSettings::Count => self.needs_stopped_node(),
        }
    }

    /// Whether it writes anything in a store, or with a dry run shows what it would: then every link on the way there is to be
    /// trusted.
    pub fn writes_in_store(&self) -> bool {
        match self {
            JobSettings::Leases(leases) => leases.word.is_some(),
            JobSettings::Verify { verify, .. } => {
                verify.quarantine != Quarantine::None || verify.advisories == Advisories::Write
            }
            JobSettings::Count => false,
        }
    }

    /// Time from the end of a cycle to the start of the next, unless told otherwise; Tahoe's own values: 1 hour for
    /// `count`, 12 hours for `leases`; 7 days for `verify`.
    pub fn minimum_cycle_time(&self) -> Duration {
        match self {
            JobSettings::Count => Duration::from_secs(3600),
            JobSettings::Leases(_) => Duration::from_secs(12 * 3600),
            JobSettings::Verify { .. } => Duration::from_secs(7 * 86_400),
        }
    }

    /// Time from the engine's start to the first slice, unless told otherwise; Tahoe's own values: 5 minutes for
    /// `count`, 6 minutes for `leases`; 10 minutes for `verify`.
    pub fn slow_start(&self) -> Duration {
        match self {
            JobSettings::Count => Duration::from_secs(300),
            JobSettings::Leases(_) => Duration::from_secs(360),
            JobSettings::Verify { .. } => Duration::from_secs(600),
        }
    }

    /// The settings of a crawl with this job, unless told otherwise.
    pub fn crawl(&self, name: impl Into<String>) -> CrawlSettings {
        let order = if matches!(self, JobSettings::Verify { .. }) { Order::OldestFirst } else { Order::Ring };
        CrawlSettings {
            minimum_cycle_time: self.minimum_cycle_time(),
            slow_start: self.slow_start(),
            order,
            ..CrawlSettings::new(name)
        }
    }

    /// Checks that the job's settings go together.
    ///
    /// # Errors
    /// [`Error::Config`], as [`LeaseSettings::validate`]; if corrupt shares were to be moved while the node may be running.
    pub fn validate(&self) -> Result<()> {
        match self {
            JobSettings::Count => Ok(()),
            JobSettings::Leases(settings) => settings.validate(),
            JobSettings::Verify { verify, offline: false } if verify.quarantine == Quarantine::Move => {
                Err(Error::Config(
                    "shares are moved to quarantine only while the node is stopped: stop it and say so with offline, \
                     or use quarantine copy"
                        .into(),
                ))
            }
            JobSettings::Verify { .. } => Ok(()),
        }
    }
}
