//! What `sexton crawl --job verify` takes beside what every crawl does.

use std::path::PathBuf;

use clap::Args;

use crate::error::{Error, Result};
use crate::job::verify::{Advisories, PageCache, Quarantine, Sample, Selection, VerifySettings};

/// The name of the crawl that verifies a part: it leaves the whole one, and its unfinished cycle, alone.
pub const PARTIAL: &str = "verify-partial";

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "With --job verify")]
pub struct VerifyArgs {
    /// Verify only a part of all buckets, another part in each run
    #[arg(long, value_name = "PERCENT%")]
    sample: Option<Sample>,

    /// Verify only this bucket; may be given several times
    #[arg(long = "storage-index", value_name = "SI")]
    storage_indexes: Vec<String>,

    /// Verify only prefixes that were last verified before this moment, in seconds since 1970
    #[arg(long, value_name = "UNIXTIME", value_parser = super::unix_time)]
    since: Option<f64>,

    /// What becomes of corrupt shares: they stay, are copied, or (with --offline) moved to the quarantine folder
    #[arg(long, value_name = "none|copy|move")]
    quarantine: Option<Quarantine>,

    /// The quarantine folder [default: quarantine beside shares/]
    #[arg(long, value_name = "DIR")]
    quarantine_dir: Option<PathBuf>,

    /// Write Tahoe's corruption advisories for corrupt shares, beside shares/
    #[arg(long)]
    advisories: bool,

    /// Leave in the page cache what was read; otherwise what was not there before is dropped
    #[arg(long)]
    keep_cache: bool,
}

impl VerifyArgs {
    /// Refuses all of them, for a job that knows none.
    ///
    /// # Errors
    /// [`Error::Config`] with the first that was given.
    pub fn refuse(&self) -> Result<()> {
        let given = [
            ("--sample", self.sample.is_some()),
            ("--storage-index", !self.storage_indexes.is_empty()),
            ("--since", self.since.is_some()),
            ("--quarantine", self.quarantine.is_some()),
            ("--quarantine-dir", self.quarantine_dir.is_some()),
            ("--advisories", self.advisories),
            ("--keep-cache", self.keep_cache),
        ];
        match given.iter().find(|(_, given)| *given) {
            Some((name, _)) => Err(Error::Config(format!("{name} goes with --job verify"))),
            None => Ok(()),
        }
    }

    /// What they mean.
    ///
    /// # Errors
    /// [`Error::Config`] if a storage index is none.
    pub fn settings(&self) -> Result<VerifySettings> {
        let mut selection = Selection { sample: self.sample, since: self.since, ..Selection::default() };
        for storage_index in &self.storage_indexes {
            selection.add(storage_index).map_err(Error::Config)?;
        }
        Ok(VerifySettings {
            selection,
            quarantine: self.quarantine.unwrap_or_default(),
            quarantine_dir: self.quarantine_dir.clone(),
            advisories: if self.advisories { Advisories::Write } else { Advisories::None },
            page_cache: if self.keep_cache { PageCache::Keep } else { PageCache::Spare },
        })
    }
}
