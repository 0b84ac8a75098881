//! What the command line takes about a job.

use std::path::Path;

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use super::{JOBS, JobKind, JobSettings, LEASES, VERIFY};
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, Result};
use crate::job::Job;
use crate::kinds::WithJob;
use crate::policy::cycle::{Difference, KnownCycle};
use crate::settings::CrawlSettings;
use crate::state::StateReader;
use crate::tahoe::TahoeStore;
use crate::tahoe::leases::ExpireArgs;
use crate::tahoe::verify::{PARTIAL, VerifyArgs};

/// What `sexton crawl` takes about the job.
#[derive(Debug, Args)]
pub struct JobArgs {
    /// What to do with each bucket
    #[arg(long, value_parser = job_names())]
    job: &'static JobKind,

    #[command(flatten)]
    expiry: ExpireArgs,

    /// The node that serves this store is stopped, and stays so meanwhile: what changes the store may do so
    #[arg(long)]
    offline: bool,

    /// The node is stopped, though its state was saved within two hours (as it also is when it stops) or its pid file is unclear;
    /// goes with --offline. Does not help where the pid file names a running process: remove that file
    #[arg(long, requires = "offline", conflicts_with = "online")]
    node_stopped: bool,

    #[command(flatten)]
    verify: VerifyArgs,
}

fn job_names() -> impl TypedValueParser<Value = &'static JobKind> {
    let names = JOBS.map(|kind| PossibleValue::new(kind.name).help(kind.about));
    PossibleValuesParser::new(names).try_map(|name| JobKind::named(&name).ok_or("no job has this name"))
}

/// What deletes nothing has this name where a cycle that deletes is not finished.
const DRY_RUN: &str = "leases-dry-run";

impl JobArgs {
    /// The job as its settings know it; they also say what is refused. `now`: the moment that counts as now, where one was given.
    ///
    /// # Errors
    /// [`Error::Config`] if an argument belongs to another job, or they do not go together, or not with this store.
    pub fn settings(&self, store: &Path, now: Option<f64>) -> Result<JobSettings> {
        if self.job.name != VERIFY.name {
            self.verify.refuse()?;
        }
        if self.job.name != LEASES.name {
            self.expiry.refuse()?;
        }
        let moment = now.unwrap_or_else(|| SystemClock::default().unix_secs());
        let job = if self.job.name == VERIFY.name {
            let mut verify = self.verify.settings(moment)?;
            verify.node_stopped = self.node_stopped;
            JobSettings::Verify { verify, offline: self.offline }
        } else if self.job.name == LEASES.name {
            JobSettings::Leases(self.expiry.settings(self.offline, self.node_stopped)?)
        } else if self.offline {
            return Err(Error::Config("--offline goes with a job that changes the store".to_owned()));
        } else {
            JobSettings::Count
        };
        job.validate_for(store)?;
        job.validate()?;
        // Whoever only evaluates may give any moment.
        if job.writes_in_store() || now.is_none() {
            job.validate_at(moment)?;
        }
        Ok(job)
    }

    /// The name of the crawl. One over a part has a name of its own, and so has a dry run where it would be in the way of a cycle
    /// that deletes.
    ///
    /// # Errors
    /// If the state cannot be read.
    pub fn crawl_name(&self, job: &JobSettings, state: &dyn StateReader) -> Result<&'static str> {
        match job {
            JobSettings::Verify { verify, .. } if !verify.selection.is_all() => Ok(PARTIAL),
            JobSettings::Leases(_) if self.expiry.is_dry() => {
                let unfinished = |cycle: &KnownCycle| cycle.finished.is_none();
                let deletes =
                    |cycle: &KnownCycle| unfinished(cycle) && cycle.identity.parameters.get("delete").is_some();
                let apart = state.newest(job.name())?.is_some_and(|cycle| deletes(&cycle))
                    || state.newest(DRY_RUN)?.is_some_and(|cycle| unfinished(&cycle));
                Ok(if apart { DRY_RUN } else { job.name() })
            }
            _ => Ok(job.name()),
        }
    }

    /// Narrows the store to what is looked at.
    ///
    /// # Errors
    /// If the state cannot be read.
    pub fn narrow(&self, job: &JobSettings, store: TahoeStore, state: &dyn StateReader) -> Result<TahoeStore> {
        struct Parameters;
        impl WithJob for Parameters {
            type Out = serde_json::Value;
            fn with<J: Job<TahoeStore>>(self, job: J) -> serde_json::Value {
                job.parameters()
            }
        }
        self.verify.narrow(store, state, &job.with(Parameters))
    }

    /// What is to be looked at and is not in the store, as an error that is told when the rest was.
    pub fn missing(&self, store: &TahoeStore) -> Option<Error> {
        self.verify.missing(store)
    }

    /// What they mean for the crawl.
    pub fn apply(&self, crawl: CrawlSettings) -> CrawlSettings {
        self.verify.apply(crawl)
    }

    /// Where an unfinished cycle deletes, to begin anew costs more than it does elsewhere; says so.
    pub fn advised(&self, error: Error) -> Error {
        let Error::CycleDiffers { crawl, cycle, differences } = &error else { return error };
        // What deletes has this parameter, and what does not has none.
        let named = differences.iter().find(|difference| difference.what == "delete");
        let deletes = named.map_or(!self.expiry.is_dry(), |named| named.was.is_some());
        if !self.job.deletes || !deletes {
            return error;
        }
        Error::Config(format!(
            "the unfinished cycle {cycle} of {crawl}, which deletes, was begun with other parameters: {}; use those again, or begin \
             anew with --fresh, and what it has deleted so far no longer counts for --max-delete",
            Difference::list(differences)
        ))
    }
}
