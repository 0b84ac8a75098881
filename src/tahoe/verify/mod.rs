//! The job `verify`: reads every byte of every share and checks all that can be checked without a capability.
//!
//! The [scrub](crate::job::scrub) reads the shares; here stands what it has to know of them ([`ShareChecker`]), how the shares of a
//! bucket are compared with each other, and what is done with corrupt ones.
//! Nothing in the store is changed, unless corrupt shares are to be moved to a quarantine folder.

mod advisory;
mod aftermath;
mod checker;
mod compare;
mod folder;
mod note;
mod quarantine;
mod room;
#[cfg(feature = "cli")]
mod spelling;
mod stretch;

use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;

pub use checker::ShareChecker;
#[cfg(feature = "cli")]
pub(crate) use spelling::{PARTIAL, VerifyArgs, VerifyText};

use crate::job::scrub::{PageCache, Scrub, Selection};

/// Bytes that the copies of corrupt shares may take in one cycle, unless told otherwise: 1 GiB.
pub const QUARANTINE_MAX_BYTES: u64 = 1 << 30;

/// How much of a disk copies of corrupt shares leave free, in percent, unless told otherwise.
pub const FREE_PERCENT: u8 = 5;

/// What is done with corrupt shares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename = "quarantine", rename_all = "snake_case")]
pub enum Quarantine {
    /// They stay where they are. The default.
    #[default]
    None,
    /// A copy is kept in the quarantine folder.
    Copy,
    /// They are moved there. Only while the node is stopped: it may be serving or changing them.
    Move,
}

impl Quarantine {
    /// As people write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Quarantine::None => "none",
            Quarantine::Copy => "copy",
            Quarantine::Move => "move",
        }
    }
}

impl FromStr for Quarantine {
    type Err = String;

    fn from_str(text: &str) -> Result<Quarantine, String> {
        let all = [Quarantine::None, Quarantine::Copy, Quarantine::Move];
        let found = all.into_iter().find(|q| q.as_str() == text);
        found.ok_or_else(|| format!("quarantine must be none, copy or move, not {text:?}"))
    }
}

/// Whether Tahoe's corruption advisories are written for corrupt shares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Advisories {
    /// None. The default.
    #[default]
    None,
    /// One for each corrupt share and cycle, in `corruption-advisories` beside `shares/`, where clients' reports go.
    Write,
}

/// What is verified, and what is done with what is found.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifySettings {
    /// Which buckets. Default: all.
    pub selection: Selection,
    /// What is done with corrupt shares. Default: nothing.
    pub quarantine: Quarantine,
    /// Where they go. Default `None`: the folder `quarantine` beside `shares/`.
    pub quarantine_dir: Option<PathBuf>,
    /// How many bytes copies may take in one cycle, in blocks allotted. Default: [`QUARANTINE_MAX_BYTES`].
    pub quarantine_max_bytes: u64,
    /// How much of the disk copies leave free, in percent. Default: [`FREE_PERCENT`].
    pub free_percent: u8,
    /// Whether advisories are written. Default: none.
    pub advisories: Advisories,
    /// What is done with the page cache. Default: it is spared.
    pub page_cache: PageCache,
    /// Whether the node is vouched for to be stopped, as far as that cannot be seen from here; for [`Quarantine::Move`]. Default: no.
    pub node_stopped: bool,
}

impl Default for VerifySettings {
    fn default() -> VerifySettings {
        VerifySettings {
            selection: Selection::default(),
            quarantine: Quarantine::None,
            quarantine_dir: None,
            quarantine_max_bytes: QUARANTINE_MAX_BYTES,
            free_percent: FREE_PERCENT,
            advisories: Advisories::None,
            page_cache: PageCache::Spare,
            node_stopped: false,
        }
    }
}

/// Verifies every share of a [`TahoeStore`](super::TahoeStore).
pub type Verify = Scrub<ShareChecker>;

/// Makes the job with these settings.
pub fn job(settings: VerifySettings) -> Verify {
    let (selection, page_cache) = (settings.selection.clone(), settings.page_cache);
    Scrub::new(ShareChecker::new(settings)).selection(selection).page_cache(page_cache)
}

#[cfg(test)]
mod tests;
