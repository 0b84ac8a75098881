//! The one table of the jobs that the program knows, and of what configuration file, command line, daemon and metrics know of
//! each. How a job's own settings are spelled stands in its room.

mod args;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, EnumAccess, Error as _, MapAccess, VariantAccess, Visitor};

pub use args::JobArgs;

use crate::error::{Error, Result};
use crate::job::{Count, Job};
use crate::policy::deletion::Clocks;
use crate::settings::{CrawlSettings, Order};
use crate::tahoe::leases::{LeaseSettings, LeasesText, Word};
use crate::tahoe::verify::{Advisories, Quarantine, VerifySettings, VerifyText};
use crate::tahoe::{Leases, TahoeStore, verify};

/// A kind of job: what holds for it whatever its settings.
#[derive(Debug)]
pub struct JobKind {
    /// Its name: in the configuration file, behind `--job`, in reports and metrics.
    pub name: &'static str,
    /// How it is written in the configuration file where nothing is set.
    pub spelled: &'static str,
    /// What it does, in a sentence for people.
    pub about: &'static str,
    /// Time from the engine's start to the first slice, unless told otherwise.
    pub slow_start: Duration,
    /// Time from the end of a cycle to the start of the next, unless told otherwise.
    pub minimum_cycle_time: Duration,
    /// Which prefixes come first, unless told otherwise.
    pub order: Order,
    /// Whether it opens buckets, and so counts objects.
    pub opens_buckets: bool,
    /// Whether it may delete.
    pub deletes: bool,
    /// Whether it verifies what it reads.
    pub verifies: bool,
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// Waits and pauses of the first two are those of Tahoe's own crawlers.
const COUNT: JobKind = JobKind {
    name: "count",
    spelled: "count",
    about: "Count the buckets of each prefix",
    slow_start: MINUTE.saturating_mul(5),
    minimum_cycle_time: HOUR,
    order: Order::Ring,
    opens_buckets: false,
    deletes: false,
    verifies: false,
};

const LEASES: JobKind = JobKind {
    name: "leases",
    spelled: "leases()",
    about: "Read all leases, as Tahoe's lease checker does",
    slow_start: MINUTE.saturating_mul(6),
    minimum_cycle_time: HOUR.saturating_mul(12),
    order: Order::Ring,
    opens_buckets: true,
    deletes: true,
    verifies: false,
};

const VERIFY: JobKind = JobKind {
    name: "verify",
    spelled: "verify()",
    about: "Read every byte of every share and check it",
    slow_start: MINUTE.saturating_mul(10),
    minimum_cycle_time: HOUR.saturating_mul(7 * 24),
    order: Order::OldestFirst,
    opens_buckets: true,
    deletes: false,
    verifies: true,
};

/// All of them.
pub const JOBS: [&JobKind; 3] = [&COUNT, &LEASES, &VERIFY];

const NAMES: &[&str] = &[COUNT.name, LEASES.name, VERIFY.name];

impl JobKind {
    /// The kind of this name.
    pub fn named(name: &str) -> Option<&'static JobKind> {
        JOBS.into_iter().find(|kind| kind.name == name)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum JobSettings {
    /// Counts the buckets of each prefix.
    Count,
    /// Reads the leases of every share, and deletes the expired ones if it is told to.
    Leases(LeaseSettings),
    /// Reads and checks every byte of every share.
    Verify {
        /// Which shares, and what becomes of corrupt ones.
        verify: VerifySettings,
        /// Whether the node is stopped: shares may be moved only then.
        offline: bool,
    },
}

/// Something that is done with a job, whichever it is.
pub trait WithJob {
    /// What comes of it.
    type Out;

    /// Does it.
    fn with<J: Job<TahoeStore>>(self, job: J) -> Self::Out;
}

impl JobSettings {
    pub fn kind(&self) -> &'static JobKind {
        match self {
            JobSettings::Count => &COUNT,
            JobSettings::Leases(_) => &LEASES,
            JobSettings::Verify { .. } => &VERIFY,
        }
    }

    /// The name of its kind.
    pub fn name(&self) -> &'static str {
        self.kind().name
    }

    /// Makes the job.
    pub fn with<W: WithJob>(&self, what: W) -> W::Out {
        match self {
            JobSettings::Count => what.with(Count),
            JobSettings::Leases(leases) => what.with(Leases::new(leases.clone())),
            JobSettings::Verify { verify, .. } => what.with(verify::job(verify.clone())),
        }
    }

    /// Whether it changes shares in a way that only a stopped node allows.
    pub fn needs_stopped_node(&self) -> bool {
        match self {
            JobSettings::Leases(leases) => leases.word == Some(Word::Offline) && !leases.dry_run,
            JobSettings::Verify { verify, .. } => verify.quarantine == Quarantine::Move,
            JobSettings::Count => false,
        }
    }

    /// Whether it changes shares, so that no other process should at the same time.
    pub fn changes_shares(&self) -> bool {
        match self {
            JobSettings::Leases(leases) => leases.word.is_some() && !leases.dry_run,
            JobSettings::Verify { .. } | JobSettings::Count => self.needs_stopped_node(),
        }
    }

    /// Whether it writes anything in a store, or with a dry run shows what it would: then every link on the way there is to be
    /// trusted.
    pub fn writes_in_store(&self) -> bool {
        match self {
            JobSettings::Leases(leases) => leases.word.is_some(),
            JobSettings::Verify { verify, .. } => {
                verify.quarantine != Quarantine::None || verify.advisories == Advisories::Write
            }
            JobSettings::Count => false,
        }
    }

    /// The settings of a crawl with this job, unless told otherwise.
    pub fn crawl(&self, name: impl Into<String>) -> CrawlSettings {
        let JobKind { minimum_cycle_time, slow_start, order, .. } = *self.kind();
        CrawlSettings { minimum_cycle_time, slow_start, order, ..CrawlSettings::new(name) }
    }

    /// Takes paths in it from this folder.
    #[must_use]
    pub fn below(mut self, folder: &Path) -> JobSettings {
        if let JobSettings::Verify { verify, .. } = &mut self {
            let dir = verify.quarantine_dir.take();
            verify.quarantine_dir = dir.map(|dir| folder.join(dir).components().collect());
        }
        self
    }

    /// Checks that the job's settings go together.
    ///
    /// # Errors
    /// [`Error::Config`], as [`LeaseSettings::validate`]; if corrupt shares were to be moved while the node may be running.
    pub fn validate(&self) -> Result<()> {
        match self {
            JobSettings::Count => Ok(()),
            JobSettings::Leases(settings) => settings.validate(),
            JobSettings::Verify { verify, offline: false } if verify.quarantine == Quarantine::Move => {
                Err(Error::Config(
                    "shares are moved to quarantine only while the node is stopped: stop it and say so with offline, \
                     or use quarantine copy"
                        .into(),
                ))
            }
            JobSettings::Verify { .. } => Ok(()),
        }
    }

    /// Checks that they go with this store, which need not be there.
    ///
    /// # Errors
    /// As [`VerifySettings::validate_for`].
    pub fn validate_for(&self, store: &Path) -> Result<()> {
        match self {
            JobSettings::Verify { verify, .. } => verify.validate_for(store),
            JobSettings::Count | JobSettings::Leases(_) => Ok(()),
        }
    }

    /// Checks that a cycle can begin with them at the moment `now`, in seconds since 1970.
    ///
    /// # Errors
    /// As [`LeaseSettings::validate_at`].
    pub fn validate_at(&self, now: f64) -> Result<()> {
        match self {
            JobSettings::Leases(leases) => leases.validate_at(now),
            JobSettings::Count | JobSettings::Verify { .. } => Ok(()),
        }
    }

    /// Checks that the store is not in use by a node where that is known from the start. Expiry asks before each deletion instead: it
    /// may evaluate and rehearse beside a node.
    ///
    /// # Errors
    /// [`ChangeRefusal`](crate::tahoe::ChangeRefusal), in [`Error::Other`].
    pub fn check_node(&self, store: &TahoeStore) -> Result<()> {
        let JobSettings::Verify { verify, .. } = self else { return Ok(()) };
        let forbids =
            store.running_node().filter(|node| self.needs_stopped_node() && node.forbids(verify.node_stopped));
        forbids.map_or(Ok(()), |node| Err(node.refusal()))
    }

    /// Checks, where it would change anything, that it may at this moment.
    ///
    /// # Errors
    /// As [`Job::may_change`].
    pub fn may_change(&self, store: &TahoeStore, clocks: &Clocks) -> Result<()> {
        struct MayChange<'a>(&'a TahoeStore, &'a Clocks);
        impl WithJob for MayChange<'_> {
            type Out = Result<()>;
            fn with<J: Job<TahoeStore>>(self, job: J) -> Result<()> {
                job.may_change(self.0, self.1)
            }
        }
        if self.writes_in_store() { self.with(MayChange(store, clocks)) } else { Ok(()) }
    }

    /// What this one and another both delete of one store, if anything: each would count as its own what the other has taken, and
    /// by two rules the shorter one would hold for all.
    pub fn both_delete(&self, other: &JobSettings) -> Option<String> {
        let (JobSettings::Leases(one), JobSettings::Leases(two)) = (self, other) else { return None };
        if !self.changes_shares() || !other.changes_shares() {
            return None;
        }
        let both = one.sharetypes.0.iter().find(|share_type| two.sharetypes.0.contains(share_type))?;
        Some(format!("expired leases of {both} shares"))
    }

    /// What the settings mean, a line for each thing, for people.
    pub fn meaning(&self) -> Vec<String> {
        match self {
            JobSettings::Leases(leases) => leases.meaning(),
            JobSettings::Count | JobSettings::Verify { .. } => Vec::new(),
        }
    }

    /// The largest part of what a cycle examines that it may delete, from 0 to 1; `None` where nothing is deleted.
    pub fn max_delete(&self) -> Option<f64> {
        match self {
            JobSettings::Leases(leases) => leases.word.map(|_| leases.max_delete),
            JobSettings::Count | JobSettings::Verify { .. } => None,
        }
    }
}

/// As the configuration file has it: `count`, `leases(..)`, `verify(..)`. Settings that do not go together are refused here, so that
/// the error has its place in the file.
impl<'de> Deserialize<'de> for JobSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let job = deserializer.deserialize_enum("job", NAMES, JobVisitor)?;
        job.validate().map(|()| job).map_err(D::Error::custom)
    }
}

struct JobVisitor;

impl<'de> Visitor<'de> for JobVisitor {
    type Value = JobSettings;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a job")
    }

    fn visit_enum<A: EnumAccess<'de>>(self, word: A) -> std::result::Result<JobSettings, A::Error> {
        let (JobName(kind), settings) = word.variant()?;
        match kind.name {
            "leases" => {
                settings.struct_variant(&[], Fields::<LeasesText>::NEW).map(|text| JobSettings::Leases(text.into()))
            }
            "verify" => settings.struct_variant(&[], Fields::<VerifyText>::NEW).map(|text| {
                let offline = text.offline;
                JobSettings::Verify { verify: text.into(), offline }
            }),
            _ => settings.unit_variant().map(|()| JobSettings::Count),
        }
    }
}

/// The name of a job, a word without quotes.
struct JobName(&'static JobKind);

impl<'de> Deserialize<'de> for JobName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_identifier(JobNameVisitor)
    }
}

struct JobNameVisitor;

impl Visitor<'_> for JobNameVisitor {
    type Value = JobName;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a job")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> std::result::Result<JobName, E> {
        JobKind::named(name).map(JobName).ok_or_else(|| E::unknown_variant(name, NAMES))
    }
}

/// What stands in parentheses behind a job's name.
struct Fields<T>(std::marker::PhantomData<T>);

impl<T> Fields<T> {
    const NEW: Self = Fields(std::marker::PhantomData);
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the settings of a job")
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> std::result::Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(fields))
    }
}
