//! One cleaning of the configuration file: how it is written, and what is meant.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::below;
use crate::cumulus::policy::{ClockTrust, Limits, Mode, Options, Policy};
use crate::cumulus::settings::{CleaningMode, CleaningSettings, LOCK_DUTY, LongLocks, OlderCopy};
use crate::error::Error;
use crate::settings::{self, MaintenanceSettings};
use crate::spelling::Percent;
use crate::spelling::value::{Bytes, FilePath, Name, Pace, Slice, Value, ValueKind, Weight};

/// What a cleaning is called that has no name.
const NAME: &str = "clean";

#[derive(Debug, Deserialize)]
#[serde(rename = "cleaning", deny_unknown_fields)]
pub(super) struct RawCleaning {
    pub name: Option<Value<Name>>,
    pub database: Value<FilePath>,
    pub policy: Option<RawPolicy>,
    pub every: Option<Value<Pace>>,
    pub slow_start: Option<Value<Pace>>,
    pub max_rewrite: Option<Value<Bytes>>,
    pub max_segments: Option<Value<WholeNumber>>,
    pub min_age: Option<Value<Pace>>,
    pub backup: Option<Value<FilePath>>,
    pub slice: Option<Value<Slice>>,
    pub lock_duty: Option<Value<LockDuty>>,
    pub weight: Option<Value<Weight>>,
    #[serde(default)]
    pub allow_long_lock: bool,
    #[serde(default)]
    pub compat: bool,
    #[serde(default)]
    pub dry_run: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename = "policy", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum RawPolicy {
    Benefit {
        #[serde(default)]
        threshold: Option<Value<Days>>,
        #[serde(default)]
        age_boost: Option<Value<Days>>,
        #[serde(default)]
        intent: Option<Value<Days>>,
    },
    Utilization {
        #[serde(default)]
        below: Option<Value<Fraction>>,
    },
}

impl From<RawPolicy> for Policy {
    fn from(raw: RawPolicy) -> Self {
        let days = |value: Option<Value<Days>>, default: f64| value.map_or(default, |days| days.0);
        match raw {
            RawPolicy::Benefit { threshold, age_boost, intent } => Policy::Benefit {
                threshold_days: days(threshold, 7.0),
                age_boost_days: days(age_boost, 0.0),
                intent: days(intent, 1.0),
            },
            RawPolicy::Utilization { below } => Policy::Utilization { least: below.map_or(0.4, |part| part.0) },
        }
    }
}

/// What is meant. Relative paths are taken from the folder of the file.
pub(super) fn cleaning(raw: RawCleaning, folder: &Path) -> crate::error::Result<CleaningSettings> {
    let name = raw.name.map_or_else(|| NAME.to_owned(), |name| name.0);
    let default = CleaningSettings::new(name, below(folder, raw.database.0));
    let days = |age: Duration| age.as_secs_f64() / 86_400.0;
    let cleaning = CleaningSettings {
        options: Options {
            clock: ClockTrust::Wall,
            mode: if raw.compat { Mode::Compat } else { Mode::Careful },
            policy: raw.policy.map(Policy::from),
            limits: Limits {
                max_rewrite_bytes: raw.max_rewrite.map(|bytes| bytes.0),
                max_segments: raw.max_segments.map(|count| count.0),
                min_age_days: raw.min_age.map(|age| days(age.0)),
                max_segment_blocks: None,
            },
            ..default.options
        },
        manner: if raw.dry_run { CleaningMode::DryRun } else { CleaningMode::InSlices },
        slice: raw.slice.map_or(default.slice, |slice| slice.0),
        lock_duty: raw.lock_duty.map_or(default.lock_duty, |duty| duty.0),
        long_locks: if raw.allow_long_lock { LongLocks::Allow } else { LongLocks::Leave },
        backup: raw.backup.map(|path| below(folder, path.0)),
        // The next run must not fail because this one has made its copy.
        older_copy: OlderCopy::SetAside,
        task: MaintenanceSettings {
            every: raw.every.map_or(default.task.every, |pace| pace.0),
            slow_start: raw.slow_start.map_or(default.task.slow_start, |pace| pace.0),
            weight: raw.weight.map_or(default.task.weight, |weight| weight.0),
            ..default.task
        },
        ..default
    };
    cleaning.validate()?;
    if cleaning.backup.as_ref() == Some(&cleaning.database) {
        return Err(Error::Config(format!(
            "cleaning {}: backup is the database itself; name another file",
            cleaning.task.name
        )));
    }
    Ok(cleaning)
}

/// A count.
#[derive(Debug)]
pub(super) struct WholeNumber;

impl ValueKind for WholeNumber {
    type Of = u64;
    const RIGHT: &'static str = "a whole number such as 100";

    fn number(n: f64) -> Result<u64, String> {
        // Whole numbers are exact up to here.
        const MOST: f64 = 9_007_199_254_740_992.0;
        if n.fract() != 0.0 {
            return Err(format!("must be {}, not {n}", Self::RIGHT));
        }
        settings::within(&(0.0..=MOST), &n, f64::to_string).map(|()| n as u64)
    }
}

/// Days as the old programs count them: a plain number, which need not be whole.
#[derive(Debug)]
pub(super) struct Days;

impl ValueKind for Days {
    type Of = f64;
    const RIGHT: &'static str = "a number of days such as 7.0";

    fn number(n: f64) -> Result<f64, String> {
        settings::within(&(0.0..=1e6), &n, f64::to_string).map(|()| n)
    }
}

/// A part of the whole.
#[derive(Debug)]
pub(super) struct Fraction;

impl ValueKind for Fraction {
    type Of = f64;
    const RIGHT: &'static str = "a part of the whole such as 0.4";

    fn number(n: f64) -> Result<f64, String> {
        settings::within(&(0.0..=1.0), &n, f64::to_string).map(|()| n)
    }
}

/// A part of the time.
#[derive(Debug)]
pub(super) struct LockDuty;

impl ValueKind for LockDuty {
    type Of = f64;
    const RIGHT: &'static str = "a percentage of the time such as \"5%\"";

    fn text(text: &str) -> Result<f64, String> {
        let duty = text.parse::<Percent>()?.cores();
        settings::within(&LOCK_DUTY, &duty, |duty| Percent::of_cores(*duty).to_string()).map(|()| duty)
    }

    fn number(n: f64) -> Result<f64, String> {
        Err(format!("{n} has no unit: write \"{n}%\""))
    }
}
