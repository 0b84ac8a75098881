//! The configuration file as it is written: every key optional, every value still to be put in its place.
//!
//! A value is read by its own type, so that a wrong one is refused where it stands in the file. What several values
//! mean together is left to the validation in [`super`]. Nothing outside `config` sees these types.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{self, Deserializer, Unexpected, Visitor};

use super::clean::RawCleaning;
use super::raw_daemon::{RawHttp, RawLog, RawPriority, RawWindows};
use super::units::{self, Percent};
use crate::error::Error;
use crate::job::leases::{Conduct, Expiry, LeaseSettings, ShareTypes, Word};
use crate::job::verify::{Advisories, PageCache, Quarantine, Selection, VerifySettings};
use crate::settings::{
    self, Basis, Checkpoint, HISTORY, JobSettings, Order, PACE, READ_AHEAD, TARGET, WEIGHT, WORKERS,
};
use crate::tahoe::container::ShareType;

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(rename = "config", default, deny_unknown_fields)]
pub(super) struct RawConfig {
    pub state: Option<Value<FilePath>>,
    pub budget: RawBudget,
    pub checkpoint: RawCheckpoint,
    pub priority: RawPriority,
    pub log: RawLog,
    pub http: RawHttp,
    pub crawls: Vec<RawCrawl>,
    pub clean: Vec<RawCleaning>,
    pub history: Option<Value<History>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename = "budget", default, deny_unknown_fields)]
pub(super) struct RawBudget {
    pub cpu_percentage: Option<Value<Percent>>,
    pub cpu_slice: Option<Value<Slice>>,
    pub basis: Option<RawBasis>,
    pub max_sleep: Option<Value<Interval>>,
    pub windows: RawWindows,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename = "basis", rename_all = "snake_case")]
pub(super) enum RawBasis {
    Wall,
    Cpu,
}

impl From<RawBasis> for Basis {
    fn from(raw: RawBasis) -> Self {
        match raw {
            RawBasis::Wall => Basis::Wall,
            RawBasis::Cpu => Basis::Cpu,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename = "checkpoint", rename_all = "snake_case")]
pub(super) enum RawCheckpoint {
    #[default]
    EverySlice,
    EveryBucket,
    Every(Value<Interval>),
}

impl From<RawCheckpoint> for Checkpoint {
    fn from(raw: RawCheckpoint) -> Self {
        match raw {
            RawCheckpoint::EverySlice => Checkpoint::EverySlice,
            RawCheckpoint::EveryBucket => Checkpoint::EveryBucket,
            RawCheckpoint::Every(Value(interval)) => Checkpoint::Every(interval),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename = "crawl", deny_unknown_fields)]
pub(super) struct RawCrawl {
    pub name: Option<Value<Name>>,
    pub store: Value<FilePath>,
    pub job: CheckedJob,
    pub workers: Option<Value<Workers>>,
    pub weight: Option<Value<Weight>>,
    pub minimum_cycle_time: Option<Value<Pace>>,
    pub slow_start: Option<Value<Pace>>,
    pub jitter: Option<Value<Pace>>,
    pub read_ahead: Option<Value<ReadAhead>>,
    pub order: Option<RawOrder>,
    pub target: Option<Value<Target>>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename = "order", rename_all = "snake_case")]
pub(super) enum RawOrder {
    Ring,
    OldestFirst,
}

impl From<RawOrder> for Order {
    fn from(raw: RawOrder) -> Self {
        match raw {
            RawOrder::Ring => Order::Ring,
            RawOrder::OldestFirst => Order::OldestFirst,
        }
    }
}

/// A job whose settings go together; checked here so that an error has its place in the file.
#[derive(Debug, Deserialize)]
#[serde(try_from = "RawJob")]
pub(super) struct CheckedJob(pub JobSettings);

impl TryFrom<RawJob> for CheckedJob {
    type Error = Error;

    fn try_from(raw: RawJob) -> Result<Self, Error> {
        let job = match raw {
            RawJob::Count => JobSettings::Count,
            RawJob::Leases {
                expire,
                sharetypes,
                dry_run,
                delete,
                rehearsal,
                max_delete,
                prune_empty_buckets,
                accept_clock,
                compat,
            } => {
                let default = LeaseSettings::default();
                let types = sharetypes.map(|types| ShareTypes(types.into_iter().map(ShareType::from).collect()));
                JobSettings::Leases(LeaseSettings {
                    expiry: expire.into(),
                    sharetypes: types.unwrap_or(default.sharetypes),
                    word: delete.into(),
                    dry_run,
                    conduct: if compat { Conduct::Compat } else { Conduct::Careful },
                    prune: prune_empty_buckets,
                    rehearsal,
                    max_delete: max_delete.map_or(default.max_delete, |part| part.0),
                    accept_clock,
                    node_stopped: default.node_stopped,
                })
            }
            RawJob::Verify { quarantine, quarantine_dir, advisories, keep_cache, offline } => JobSettings::Verify {
                verify: VerifySettings {
                    selection: Selection::default(),
                    quarantine: quarantine.into(),
                    quarantine_dir: quarantine_dir.map(|path| path.0.into()),
                    advisories: if advisories { Advisories::Write } else { Advisories::None },
                    page_cache: if keep_cache { PageCache::Keep } else { PageCache::Spare },
                    node_stopped: false,
                },
                offline,
            },
        };
        job.validate().map(|()| CheckedJob(job))
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename = "job", rename_all = "snake_case", deny_unknown_fields)]
enum RawJob {
    Count,
    Leases {
        #[serde(default)]
        expire: RawExpire,
        #[serde(default)]
        sharetypes: Option<Vec<RawShareType>>,
        #[serde(default)]
        dry_run: bool,
        #[serde(default)]
        delete: RawDelete,
        #[serde(default = "yes")]
        rehearsal: bool,
        #[serde(default)]
        max_delete: Option<Value<Part>>,
        #[serde(default)]
        prune_empty_buckets: bool,
        #[serde(default)]
        accept_clock: bool,
        #[serde(default)]
        compat: bool,
    },
    Verify {
        #[serde(default)]
        quarantine: RawQuarantine,
        #[serde(default)]
        quarantine_dir: Option<Value<FilePath>>,
        #[serde(default)]
        advisories: bool,
        #[serde(default)]
        keep_cache: bool,
        #[serde(default)]
        offline: bool,
    },
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename = "quarantine", rename_all = "snake_case")]
enum RawQuarantine {
    #[default]
    None,
    Copy,
    Move,
}

impl From<RawQuarantine> for Quarantine {
    fn from(raw: RawQuarantine) -> Self {
        match raw {
            RawQuarantine::None => Quarantine::None,
            RawQuarantine::Copy => Quarantine::Copy,
            RawQuarantine::Move => Quarantine::Move,
        }
    }
}

/// Who leaves a program alone with a file of settings sees first what it would delete.
fn yes() -> bool {
    true
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename = "delete", rename_all = "snake_case")]
enum RawDelete {
    #[default]
    Nothing,
    Offline,
    Online,
}

impl From<RawDelete> for Option<Word> {
    fn from(raw: RawDelete) -> Self {
        match raw {
            RawDelete::Nothing => None,
            RawDelete::Offline => Some(Word::Offline),
            RawDelete::Online => Some(Word::Online),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename = "expire", rename_all = "snake_case")]
enum RawExpire {
    #[default]
    None,
    Age(Value<Age>),
    Cutoff(Value<Cutoff>),
}

impl From<RawExpire> for Expiry {
    fn from(raw: RawExpire) -> Self {
        match raw {
            RawExpire::None => Expiry::None,
            RawExpire::Age(Value(expire)) | RawExpire::Cutoff(Value(expire)) => expire,
        }
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename = "sharetypes", rename_all = "snake_case")]
enum RawShareType {
    Mutable,
    Immutable,
}

impl From<RawShareType> for ShareType {
    fn from(raw: RawShareType) -> Self {
        match raw {
            RawShareType::Mutable => ShareType::Mutable,
            RawShareType::Immutable => ShareType::Immutable,
        }
    }
}

/// How one kind of value is read.
pub(super) trait Kind {
    /// What comes out of it.
    type Of: fmt::Debug;
    /// What would be right, with an example.
    const RIGHT: &'static str;

    /// Reads it as a string.
    fn text(text: &str) -> Result<Self::Of, String> {
        Err(format!("{text:?} stands in quotes; {} would be right", Self::RIGHT))
    }

    /// Reads it as a number.
    fn number(n: f64) -> Result<Self::Of, String>;
}

/// A value of one kind. What is wrong with it is said while the reader still stands behind it, so the error has its
/// place in the file.
pub(super) struct Value<K: Kind>(pub K::Of);

impl<K: Kind> fmt::Debug for Value<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de, K: Kind> Deserialize<'de> for Value<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor::<K>(PhantomData))
    }
}

struct ValueVisitor<K>(PhantomData<K>);

impl<K: Kind> Visitor<'_> for ValueVisitor<K> {
    type Value = Value<K>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(K::RIGHT)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value<K>, E> {
        K::text(text).map(Value).map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, n: u64) -> Result<Value<K>, E> {
        // Rounded beyond 2^53: out of every limit there is.
        K::number(n as f64).map(Value).map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, n: i64) -> Result<Value<K>, E> {
        K::number(n as f64).map(Value).map_err(E::custom)
    }

    fn visit_f64<E: de::Error>(self, n: f64) -> Result<Value<K>, E> {
        K::number(n).map(Value).map_err(E::custom)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value<K>, E> {
        Err(E::invalid_type(Unexpected::Other("a word without quotes"), &self))
    }
}

impl Kind for Percent {
    type Of = Percent;
    const RIGHT: &'static str = "a percentage of one core such as \"10%\"";

    fn text(text: &str) -> Result<Percent, String> {
        text.parse()
    }

    fn number(n: f64) -> Result<Percent, String> {
        Err(units::bare_percent(n))
    }
}

/// Makes a kind that is written as a duration.
macro_rules! duration_kind {
    ($kind:ident, $of:ty, $right:literal, $read:expr) => {
        #[derive(Debug)]
        pub(super) struct $kind;

        impl Kind for $kind {
            type Of = $of;
            const RIGHT: &'static str = $right;

            fn text(text: &str) -> Result<$of, String> {
                $read(text)
            }

            fn number(n: f64) -> Result<$of, String> {
                Err(format!("{n} has no unit: write \"{n}s\", \"{n}m\" or \"{n}h\""))
            }
        }
    };
}

duration_kind!(Slice, Duration, "a duration such as \"1s\"", units::parse_slice);
duration_kind!(Interval, Duration, "a duration such as \"10s\"", units::parse_interval);
duration_kind!(Pace, Duration, "a duration such as \"12h\"", parse_pace);
duration_kind!(History, Duration, "a duration such as \"365d\"", parse_history);
duration_kind!(Target, Duration, "a duration such as \"30d\"", parse_target);
duration_kind!(Age, Expiry, "a duration such as \"31d\"", units::parse_age);

fn parse_target(text: &str) -> Result<Duration, String> {
    let target = units::parse_duration(text)?;
    settings::within(&TARGET, &target, settings::duration)?;
    Ok(target)
}

fn parse_history(text: &str) -> Result<Duration, String> {
    let history = units::parse_duration(text)?;
    settings::within(&HISTORY, &history, settings::duration)?;
    Ok(history)
}

fn parse_pace(text: &str) -> Result<Duration, String> {
    let pace = units::parse_duration(text)?;
    settings::within(&PACE, &pace, settings::duration)?;
    Ok(pace)
}

/// Makes a kind that is written as text and nothing else.
macro_rules! text_kind {
    ($kind:ident, $of:ty, $right:literal, $read:expr) => {
        #[derive(Debug)]
        pub(super) struct $kind;

        impl Kind for $kind {
            type Of = $of;
            const RIGHT: &'static str = $right;

            fn text(text: &str) -> Result<$of, String> {
                $read(text)
            }

            fn number(n: f64) -> Result<$of, String> {
                Err(format!("{n} is a number; {} would be right", Self::RIGHT))
            }
        }
    };
}

text_kind!(Cutoff, Expiry, "a date such as \"2025-01-01\"", units::parse_cutoff);
text_kind!(Part, f64, "a part of the shares such as \"10%\"", units::parse_part);
text_kind!(Name, String, "a name in quotes such as \"leases\"", parse_name);
text_kind!(FilePath, String, "a path in quotes such as \"/srv/tahoe/storage\"", parse_path);

fn parse_name(text: &str) -> Result<String, String> {
    settings::check_name(text).map(|()| text.to_owned())
}

fn parse_path(text: &str) -> Result<String, String> {
    match text {
        "" => Err("the path is empty; one such as \"/srv/tahoe/storage\" would be right".into()),
        path => Ok(path.to_owned()),
    }
}

/// Makes a kind that is a whole number within limits.
macro_rules! whole_kind {
    ($kind:ident, $range:expr, $right:literal) => {
        #[derive(Debug)]
        pub(super) struct $kind;

        impl Kind for $kind {
            type Of = u32;
            const RIGHT: &'static str = $right;

            fn number(n: f64) -> Result<u32, String> {
                if n.fract() != 0.0 {
                    return Err(format!("{n} is no whole number; {} would be right", Self::RIGHT));
                }
                let limits = f64::from(*$range.start())..=f64::from(*$range.end());
                settings::within(&limits, &n, f64::to_string)?;
                // Whole, and within limits that are u32.
                Ok(n as u32)
            }
        }
    };
}

whole_kind!(Workers, WORKERS, "a whole number such as 1");
whole_kind!(ReadAhead, READ_AHEAD, "a whole number such as 8");

#[derive(Debug)]
pub(super) struct Weight;

impl Kind for Weight {
    type Of = f64;
    const RIGHT: &'static str = "a number such as 1.0";

    fn number(n: f64) -> Result<f64, String> {
        settings::within(&WEIGHT, &n, f64::to_string).map(|()| n)
    }
}
