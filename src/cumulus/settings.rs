//! What holds for the cleaning of one database.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::maintenance::KIND;
use super::policy::{ClockTrust, Mode, Options};
use crate::error::Result;
use crate::settings::{MaintenanceSettings, SLICE, duration, named, within};

/// How a cleaning goes about its work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CleaningMode {
    /// Plans, and changes nothing.
    DryRun,
    /// In short steps, between which backups may run. The default.
    #[default]
    InSlices,
    /// In one transaction, however long it takes.
    AtOnce,
}

/// What is done with segments with so many blocks that to change them takes longer than a slice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LongLocks {
    /// They are left alone and reported. The default.
    #[default]
    Leave,
    /// They are cleaned, under one long lock each.
    Allow,
}

/// What is done with a copy that stands already where a cleaning is to make one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OlderCopy {
    /// The cleaning is refused. The default.
    #[default]
    Refuse,
    /// It is renamed, with `.old` at the end of its name, in place of the one that had that name: for cleanings that run
    /// again and again.
    SetAside,
}

/// What holds for one cleaning of a local database of LBS or Cumulus.
#[derive(Debug, Clone, PartialEq)]
pub struct CleaningSettings {
    /// Its name, when it runs, and with what weight.
    pub task: MaintenanceSettings,
    /// The database: the file, or the folder that holds `localdb.sqlite`.
    pub database: PathBuf,
    /// What is to be cleaned. With [`ClockTrust::Given`] its `now` counts, otherwise the moment at which the run begins.
    pub options: Options,
    /// In steps, at once, or not at all. Default: in steps.
    pub manner: CleaningMode,
    /// How long the database's lock may be held at a time. Default 50 ms.
    pub slice: Duration,
    /// For which part of the time the lock may be held, from above 0 to 1. Default 0.05.
    pub lock_duty: f64,
    /// Whether a segment may take a longer lock than a slice. Default no. Runs in compat mode and at once never ask.
    pub long_locks: LongLocks,
    /// Where a copy of the database is made before the first change; never over a file that is there. Default: nowhere.
    pub backup: Option<PathBuf>,
    /// What is done with the copy that an earlier run has made. Default: it stays, and the run is refused.
    pub older_copy: OlderCopy,
}

/// Limits of [`CleaningSettings::lock_duty`].
pub const LOCK_DUTY: RangeInclusive<f64> = 0.0001..=1.0;
/// Blocks whose values can be changed within a millisecond, on a machine that is none of the fastest.
const BLOCKS_PER_MS: u128 = 500;

impl CleaningSettings {
    /// The defaults for a database: what the old program of its era did, at the moment the run begins.
    pub fn new(name: impl Into<String>, database: impl Into<PathBuf>) -> Self {
        CleaningSettings {
            task: MaintenanceSettings::new(name),
            database: database.into(),
            options: Options { clock: ClockTrust::Wall, ..Options::at(0.0) },
            manner: CleaningMode::default(),
            slice: Duration::from_millis(50),
            lock_duty: 0.05,
            long_locks: LongLocks::default(),
            backup: None,
            older_copy: OlderCopy::default(),
        }
    }

    /// Checks the name, and all values against their limits.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) names the cleaning, the first setting that is wrong, and its limits.
    pub fn validate(&self) -> Result<()> {
        self.task.validate(KIND)?;
        let of = |what: &str| format!("{KIND} {}: {what}", self.task.name);
        named(&of("slice"), within(&SLICE, &self.slice, duration))?;
        named(&of("lock_duty"), within(&LOCK_DUTY, &self.lock_duty, f64::to_string))
    }

    /// The options of a run that begins now, a Julian day (UTC).
    pub(crate) fn options_at(&self, now: f64) -> Options {
        let mut options = self.options.clone();
        if options.clock != ClockTrust::Given {
            options.now = now;
        }
        // The old rows exactly, or what was asked for at once: neither leaves anything out.
        let may_leave = self.long_locks == LongLocks::Leave && self.manner != CleaningMode::AtOnce;
        if may_leave && options.mode == Mode::Careful && options.limits.max_segment_blocks.is_none() {
            let blocks = self.slice.as_millis().saturating_mul(BLOCKS_PER_MS);
            options.limits.max_segment_blocks = Some(u64::try_from(blocks).unwrap_or(u64::MAX));
        }
        options
    }
}
