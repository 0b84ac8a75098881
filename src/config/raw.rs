//! The configuration file as it is written: every key optional, every value still to be put in its place.
//!
//! A value is read by its own type, so that a wrong one is refused where it stands in the file. What several values
//! mean together is left to the validation in [`super`]. Nothing outside `config` sees these types.

use serde::Deserialize;

use super::clean::{Bytes, RawCleaning};
use super::kind::{
    Age, Cutoff, FilePath, History, Interval, Name, Pace, Part, ReadAhead, Slice, Target, Value, Weight, Workers,
};
use super::raw_daemon::{RawHttp, RawLog, RawPriority, RawWindows};
use super::units::Percent;
use crate::error::Error;
use crate::job::scrub::{PageCache, Selection};
use crate::kinds::JobSettings;
use crate::settings::{Basis, Checkpoint, Order};
use crate::tahoe::container::ShareType;
use crate::tahoe::leases::{Conduct, Expiry, LeaseSettings, ShareTypes, Word};
use crate::tahoe::verify::{Advisories, QUARANTINE_MAX_BYTES, Quarantine, VerifySettings};

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
            RawJob::Verify { quarantine, quarantine_dir, quarantine_max, advisories, keep_cache, offline } => {
                JobSettings::Verify {
                    verify: VerifySettings {
                        selection: Selection::default(),
                        quarantine: quarantine.into(),
                        quarantine_dir: quarantine_dir.map(|path| path.0.into()),
                        quarantine_max_bytes: quarantine_max.map_or(QUARANTINE_MAX_BYTES, |size| size.0),
                        advisories: if advisories { Advisories::Write } else { Advisories::None },
                        page_cache: if keep_cache { PageCache::Keep } else { PageCache::Spare },
                        ..VerifySettings::default()
                    },
                    offline,
                }
            }
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
        quarantine_max: Option<Value<Bytes>>,
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
