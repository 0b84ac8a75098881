//! The arguments of expiry, and what they say together.

use clap::Args;

use crate::config::units::parse_part;
use crate::error::{Error, Result};
use crate::tahoe::leases::{Conduct, Expiry, LeaseSettings, ShareTypes, Word};

/// What `sexton crawl --job leases` takes about expiry.
#[derive(Debug, Args)]
pub(super) struct ExpireArgs {
    /// Which leases count as expired: none, age:SECONDS since granted or renewed, or cutoff:UNIXTIME [default: none]
    #[arg(long, value_name = "none|age:SECONDS|cutoff:UNIXTIME")]
    expire: Option<Expiry>,

    /// Delete nothing, and tell what would be deleted
    #[arg(long)]
    dry_run: bool,

    /// Delete while the node of the store is running: only whole shares, a day after their leases have expired
    #[arg(long, conflicts_with = "offline")]
    online: bool,

    /// Which types of shares may expire [default: mutable,immutable]
    #[arg(long, value_name = "TYPES")]
    sharetypes: Option<ShareTypes>,

    /// Delete nothing, and exit with 4, if more than this part of the shares examined would go; the same command with a larger
    /// part then deletes what was examined [default: 10%]
    #[arg(long, value_name = "PERCENT%", value_parser = parse_part)]
    max_delete: Option<f64>,

    /// Vouch for the clock where a share written after now or, with --online, the files of the node speak against it
    #[arg(long)]
    accept_clock: bool,

    /// Remove the directories of buckets that are left empty
    #[arg(long)]
    prune_empty_buckets: bool,

    /// Cancel leases exactly as Tahoe does, faults and all, bucket after bucket; goes with --offline and --max-delete 100%
    #[arg(long)]
    compat: bool,
}

impl ExpireArgs {
    /// The settings of the job.
    ///
    /// # Errors
    /// [`Error::Config`] with the first that means nothing where no rule is given.
    pub fn settings(&self, offline: bool, node_stopped: bool) -> Result<LeaseSettings> {
        let of_a_rule = [
            ("--dry-run", self.dry_run),
            ("--max-delete", self.max_delete.is_some()),
            ("--accept-clock", self.accept_clock),
            ("--compat", self.compat),
        ];
        if let Some((name, _)) = of_a_rule.iter().find(|(_, given)| *given && self.expire.is_none()) {
            return Err(Error::Config(format!("{name} goes with --expire age:SECONDS or --expire cutoff:UNIXTIME")));
        }
        let word = match (offline, self.online) {
            (true, _) => Some(Word::Offline),
            (false, true) => Some(Word::Online),
            (false, false) => None,
        };
        let default = LeaseSettings::default();
        Ok(LeaseSettings {
            expiry: self.expire.unwrap_or(default.expiry),
            sharetypes: self.sharetypes.clone().unwrap_or(default.sharetypes),
            word,
            dry_run: self.dry_run,
            conduct: if self.compat { Conduct::Compat } else { Conduct::Careful },
            prune: self.prune_empty_buckets,
            // Whoever types the command has decided.
            rehearsal: false,
            max_delete: self.max_delete.unwrap_or(default.max_delete),
            accept_clock: self.accept_clock,
            node_stopped,
        })
    }

    /// Whether the run deletes nothing, whatever was said besides.
    pub fn is_dry(&self) -> bool {
        self.dry_run || self.expire.unwrap_or(Expiry::None) == Expiry::None
    }

    /// Refuses all of them, for a job that knows none.
    ///
    /// # Errors
    /// [`Error::Config`] with the first that was given.
    pub fn refuse(&self) -> Result<()> {
        let given = [
            ("--expire", self.expire.is_some()),
            ("--dry-run", self.dry_run),
            ("--online", self.online),
            ("--sharetypes", self.sharetypes.is_some()),
            ("--max-delete", self.max_delete.is_some()),
            ("--accept-clock", self.accept_clock),
            ("--prune-empty-buckets", self.prune_empty_buckets),
            ("--compat", self.compat),
        ];
        match given.iter().find(|(_, given)| *given) {
            Some((name, _)) => Err(Error::Config(format!("{name} goes with --job leases"))),
            None => Ok(()),
        }
    }
}
