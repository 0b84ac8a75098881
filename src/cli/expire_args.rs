//! The arguments of expiry, and what they say together.

use clap::Args;

use crate::config::units::parse_part;
use crate::error::{Error, Result};
use crate::job::leases::{Conduct, Expiry, LeaseSettings, ShareTypes, Word};

/// What `sexton crawl --job leases` takes about expiry.
#[derive(Debug, Args)]
pub(super) struct ExpireArgs {
    /// Which leases count as expired: none, age:SECONDS since granted or renewed, or cutoff:UNIXTIME
    #[arg(long, value_name = "none|age:SECONDS|cutoff:UNIXTIME", default_value = "none")]
    expire: Expiry,

    /// Delete nothing, and tell what would be deleted
    #[arg(long)]
    dry_run: bool,

    /// Delete while the node of the store is running: only whole shares, a day after their leases have expired
    #[arg(long, conflicts_with = "offline")]
    online: bool,

    /// Which types of shares may expire
    #[arg(long, value_name = "TYPES", default_value = "mutable,immutable")]
    sharetypes: ShareTypes,

    /// Stop before more than this part of the shares examined would be gone; holds once 1,000 were examined, so look with
    /// --dry-run first in a small store
    #[arg(long, value_name = "PERCENT%", default_value = "10%", value_parser = parse_part)]
    max_delete: f64,

    /// Vouch for the clock where a share written after now or, with --online, the files of the node speak against it
    #[arg(long)]
    accept_clock: bool,

    /// Remove the directories of buckets that are left empty
    #[arg(long)]
    prune_empty_buckets: bool,

    /// Cancel leases exactly as Tahoe does, faults and all; goes with --offline
    #[arg(long)]
    compat: bool,
}

impl ExpireArgs {
    /// The settings of the job.
    pub fn settings(&self, offline: bool, node_stopped: bool) -> LeaseSettings {
        let word = match (offline, self.online) {
            (true, _) => Some(Word::Offline),
            (false, true) => Some(Word::Online),
            (false, false) => None,
        };
        LeaseSettings {
            expiry: self.expire,
            sharetypes: self.sharetypes.clone(),
            word,
            dry_run: self.dry_run,
            conduct: if self.compat { Conduct::Compat } else { Conduct::Careful },
            prune: self.prune_empty_buckets,
            // Whoever types the word has decided.
            rehearsal: false,
            max_delete: self.max_delete,
            accept_clock: self.accept_clock,
            node_stopped,
        }
    }

    /// Refuses expiry for a job that does not know it.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn refuse(&self) -> Result<()> {
        if self.expire != Expiry::None {
            return Err(Error::Config("--expire goes with --job leases".to_owned()));
        }
        if self.online {
            return Err(Error::Config("--online goes with --job leases".to_owned()));
        }
        Ok(())
    }
}
