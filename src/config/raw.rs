//! The configuration file as it is written: every key optional, every value still to be put in its place.
//!
//! A value is read by its own type, so that a wrong one is refused where it stands in the file. What several values
//! mean together is left to the validation in [`super`]. Nothing outside `config` sees these types.

use serde::Deserialize;

use super::LogFormat;
use super::clean::RawCleaning;
use super::raw_daemon::{RawHttp, RawWindows};
use crate::kinds::JobSettings;
use crate::settings::{Basis, Checkpoint, Order, Priority};
use crate::spelling::Percent;
use crate::spelling::value::{
    FilePath, History, Interval, Name, Pace, ReadAhead, Slice, Target, Value, Weight, Workers,
};

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(rename = "config", default, deny_unknown_fields)]
pub(super) struct RawConfig {
    pub state: Option<Value<FilePath>>,
    pub budget: RawBudget,
    pub checkpoint: RawCheckpoint,
    #[serde(default = "super::gives_way")]
    pub priority: Priority,
    pub log: LogFormat,
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
    pub basis: Option<Basis>,
    pub max_sleep: Option<Value<Interval>>,
    pub windows: RawWindows,
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
    pub job: JobSettings,
    pub workers: Option<Value<Workers>>,
    pub weight: Option<Value<Weight>>,
    pub minimum_cycle_time: Option<Value<Pace>>,
    pub slow_start: Option<Value<Pace>>,
    pub jitter: Option<Value<Pace>>,
    pub read_ahead: Option<Value<ReadAhead>>,
    pub order: Option<Order>,
    pub target: Option<Value<Target>>,
}
