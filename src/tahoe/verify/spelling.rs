//! How people say what the job `verify` is to do: in the configuration file, and on the command line.

use std::collections::BTreeSet;
use std::io::ErrorKind::NotFound;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;

use super::{Advisories, QUARANTINE_MAX_BYTES, Quarantine, VerifySettings};
use crate::error::{Error, Result};
use crate::job::scrub::{PageCache, Sample, Selection};
use crate::settings::{CrawlSettings, Order};
use crate::spelling;
use crate::spelling::value::{Bytes, FilePath, Value};
use crate::state::StateReader;
use crate::store::Store;
use crate::tahoe::{TahoeStore, names};

/// What stands in parentheses behind `verify` in the configuration file.
#[derive(Debug, Deserialize)]
#[serde(rename = "verify", deny_unknown_fields)]
pub(crate) struct VerifyText {
    #[serde(default)]
    quarantine: Quarantine,
    #[serde(default)]
    quarantine_dir: Option<Value<FilePath>>,
    #[serde(default)]
    quarantine_max: Option<Value<Bytes>>,
    #[serde(default)]
    advisories: bool,
    #[serde(default)]
    keep_cache: bool,
    /// Whether the node is stopped.
    #[serde(default)]
    pub offline: bool,
}

impl From<VerifyText> for VerifySettings {
    fn from(text: VerifyText) -> VerifySettings {
        VerifySettings {
            quarantine: text.quarantine,
            quarantine_dir: text.quarantine_dir.map(|path| path.0.into()),
            quarantine_max_bytes: text.quarantine_max.map_or(QUARANTINE_MAX_BYTES, |size| size.0),
            advisories: if text.advisories { Advisories::Write } else { Advisories::None },
            page_cache: if text.keep_cache { PageCache::Keep } else { PageCache::Spare },
            ..VerifySettings::default()
        }
    }
}

/// The name of the crawl that verifies a part: it leaves the whole one, and its unfinished cycle, alone.
pub const PARTIAL: &str = "verify-partial";

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "With --job verify")]
pub struct VerifyArgs {
    /// Verify only a part of all buckets, drawn by chance, anew in each run
    #[arg(long, value_name = "PERCENT%")]
    sample: Option<Sample>,

    /// Verify only this bucket; may be given several times
    #[arg(long = "storage-index", value_name = "SI")]
    storage_indexes: Vec<String>,

    /// Verify only prefixes that were last verified before this moment, in seconds since 1970
    #[arg(long, value_name = "UNIXTIME", value_parser = spelling::unix_time, allow_negative_numbers = true)]
    since: Option<f64>,

    /// Which prefixes first: ring, in byte order, or oldest_first, those verified longest ago [default: oldest_first]
    #[arg(long, value_name = "ring|oldest_first", value_parser = parse_order)]
    order: Option<Order>,

    /// Within which time every share is to be verified again, such as 30d: says whether this pace will keep it
    #[arg(long, value_name = "DURATION", value_parser = spelling::parse_target)]
    target: Option<Duration>,

    /// What is done with corrupt shares: they stay, are copied, or (with --offline) moved to the quarantine folder
    #[arg(long, value_name = "none|copy|move")]
    quarantine: Option<Quarantine>,

    /// The quarantine folder [default: quarantine beside shares/]
    #[arg(long, value_name = "DIR")]
    quarantine_dir: Option<PathBuf>,

    /// How much copies of corrupt shares may take in a cycle, such as 500MB; at least 5 % of the disk stay free [default: 1GiB]
    #[arg(long, value_name = "SIZE", value_parser = spelling::parse_bytes)]
    quarantine_max: Option<u64>,

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
            ("--order", self.order.is_some()),
            ("--target", self.target.is_some()),
            ("--quarantine", self.quarantine.is_some()),
            ("--quarantine-dir", self.quarantine_dir.is_some()),
            ("--quarantine-max", self.quarantine_max.is_some()),
            ("--advisories", self.advisories),
            ("--keep-cache", self.keep_cache),
        ];
        match given.iter().find(|(_, given)| *given) {
            Some((name, _)) => Err(Error::Config(format!("{name} goes with --job verify"))),
            None => Ok(()),
        }
    }

    /// What they mean for the crawl.
    pub fn apply(&self, crawl: CrawlSettings) -> CrawlSettings {
        CrawlSettings { order: self.order.unwrap_or(crawl.order), target: self.target.or(crawl.target), ..crawl }
    }

    /// Narrows the store to the prefixes that are looked at: those of the buckets named, and those last verified before
    /// the moment given; where such a run is resumed, those it began with.
    ///
    /// # Errors
    /// If the state cannot be read.
    pub fn narrow(
        &self,
        store: TahoeStore,
        state: &dyn StateReader,
        parameters: &serde_json::Value,
    ) -> Result<TahoeStore> {
        let mut prefixes: BTreeSet<String> = store.ring().names().iter().cloned().collect();
        if let Some(since) = self.since {
            let unfinished = state.newest(PARTIAL)?.filter(|cycle| {
                (cycle.finished.is_none() || !cycle.delivered) && cycle.identity.parameters == *parameters
            });
            if let Some(cycle) = unfinished {
                return Ok(store.only_prefixes(cycle.identity.ring.iter().map(String::as_str)));
            }
            let visits = state.visits(&store.identity(), "verify")?;
            prefixes.retain(|prefix| visits.get(prefix).is_none_or(|at| *at < since));
        }
        if !self.storage_indexes.is_empty() {
            // All of them are storage indexes, and a prefix is the first two characters.
            prefixes.retain(|prefix| self.storage_indexes.iter().any(|index| index.starts_with(prefix)));
        }
        Ok(store.only_prefixes(prefixes.iter().map(String::as_str)))
    }

    /// The error that names the buckets which are to be verified and are not in the store, if there are any; it is told when
    /// the others were verified.
    pub fn missing(&self, store: &TahoeStore) -> Option<Error> {
        // All of them are storage indexes, and a prefix is the first two characters.
        let path = |index: &str| store.path(&index[..2], Some(index.as_bytes()));
        let is_missing = |index: &&String| path(index).symlink_metadata().is_err_and(|e| e.kind() == NotFound);
        let missing: Vec<&str> = self.storage_indexes.iter().filter(is_missing).map(String::as_str).collect();
        let are = if missing.len() == 1 { "is" } else { "are" };
        (!missing.is_empty()).then(|| Error::Config(format!("{} {are} not in the store", missing.join(", "))))
    }

    /// What they mean for the job, at the moment `now`, in seconds since 1970.
    ///
    /// # Errors
    /// [`Error::Config`] if a storage index is none, or a moment is yet to come, or a folder is given for nothing.
    pub fn settings(&self, now: f64) -> Result<VerifySettings> {
        if let Some(since) = self.since.filter(|since| *since > now) {
            return Err(Error::Config(format!(
                "--since {since} is after now ({now:.0}): give a moment that has passed, in seconds (not milliseconds) since 1970"
            )));
        }
        let beside =
            [("--quarantine-dir", self.quarantine_dir.is_some()), ("--quarantine-max", self.quarantine_max.is_some())];
        if let Some((name, _)) = beside.iter().find(|(_, given)| *given)
            && self.quarantine.unwrap_or_default() == Quarantine::None
        {
            return Err(Error::Config(format!("{name} goes with --quarantine copy or move")));
        }
        let mut selection = Selection { sample: self.sample, since: self.since, ..Selection::default() };
        for storage_index in &self.storage_indexes {
            if !names::is_storage_index(storage_index.as_bytes()) {
                let why = format!("{storage_index:?} is no storage index: those have 26 characters of a-z and 2-7");
                return Err(Error::Config(why));
            }
            selection.buckets.insert(storage_index.clone());
        }
        Ok(VerifySettings {
            selection,
            quarantine: self.quarantine.unwrap_or_default(),
            quarantine_dir: self.quarantine_dir.clone(),
            quarantine_max_bytes: self.quarantine_max.unwrap_or(QUARANTINE_MAX_BYTES),
            advisories: if self.advisories { Advisories::Write } else { Advisories::None },
            page_cache: if self.keep_cache { PageCache::Keep } else { PageCache::Spare },
            ..VerifySettings::default()
        })
    }
}

fn parse_order(text: &str) -> std::result::Result<Order, String> {
    match text {
        "ring" => Ok(Order::Ring),
        "oldest_first" => Ok(Order::OldestFirst),
        _ => Err(format!("order must be ring or oldest_first, not {text}")),
    }
}
