//! Makes a running crawl of what the configuration says.

use std::path::PathBuf;
use std::pin::Pin;

use serde_json::Value;

use super::shared::{CleaningView, CrawlView};
use crate::config::CrawlConfig;
use crate::cumulus::settings::CleaningSettings;
use crate::engine::{EngineHandle, Fresh};
use crate::error::{Error, Result, Retry};
use crate::job::Job;
use crate::kinds::WithJob;
use crate::policy::cycle::Moment;
use crate::policy::deletion::Clocks;
use crate::settings::CrawlSettings;
use crate::tahoe::{ChangeRefusal, TahoeStore};

/// What comes before a crawl is added to the engine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum First {
    /// Nothing: the job is asked when there is something to change.
    Nothing,
    /// The job is asked whether it may change anything at this moment. It was refused that before, and to walk up to the
    /// next refusal would be for nothing.
    AskTheJob(Moment),
}

/// Opens the store, which may take a disk's time, and adds the crawl to the engine.
///
/// # Errors
/// If the store cannot be opened, the job may not change anything where that is asked first, or the engine refuses the
/// crawl.
pub async fn launch(engine: &EngineHandle, crawl: CrawlConfig, fresh: Fresh, first: First) -> Result<()> {
    let CrawlConfig { settings, store: path, job } = crawl;
    let store = open(path).await?;
    let store = if job.writes_in_store() { store.changeable()? } else { store };
    let store = if job.changes_shares() { store.alone()? } else { store };
    job.check_node(&store)?;
    job.with(LaunchCrawl { engine, settings, store, fresh, first }).await
}

/// Adds a crawl to an engine.
struct LaunchCrawl<'a> {
    engine: &'a EngineHandle,
    settings: CrawlSettings,
    store: TahoeStore,
    fresh: Fresh,
    first: First,
}

impl<'a> WithJob for LaunchCrawl<'a> {
    type Out = LocalBoxFuture<'a>;

    fn with<J: Job<TahoeStore>>(self, job: J) -> LocalBoxFuture<'a> {
        let LaunchCrawl { engine, settings, store, fresh, first } = self;
        Box::pin(add(engine, settings, store, job, fresh, first))
    }
}

type LocalBoxFuture<'a> = Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

async fn add(
    engine: &EngineHandle,
    settings: CrawlSettings,
    store: TahoeStore,
    job: impl Job<TahoeStore>,
    fresh: Fresh,
    first: First,
) -> Result<()> {
    let asking = move || {
        let First::AskTheJob(moment) = first else { return Ok((store, job)) };
        // As a cycle that began now would ask.
        let clocks = Clocks { started: moment, moment, cycle_now: moment.unix_secs, fixed: false };
        job.may_change(&store, &clocks).map(|()| (store, job))
    };
    let asked = tokio::task::spawn_blocking(asking).await;
    let (store, job) = asked.unwrap_or_else(|panic| Err(Error::Unexpected(panic.to_string())))?;
    engine.add_crawl(settings, store, job, fresh).await
}

async fn open(path: PathBuf) -> Result<TahoeStore> {
    let shown = path.clone();
    let opened = tokio::task::spawn_blocking(move || TahoeStore::open(path)).await;
    let opened = opened.unwrap_or_else(|panic| Err(Error::Unexpected(panic.to_string())));
    // Whatever keeps a store from being opened may pass: it may be on a disk that is not mounted yet.
    opened.map_err(|error| match error {
        Error::Config(cause) => Error::Store {
            doing: "use store",
            cause: cause.trim_start_matches(&format!("cannot open store {}: ", shown.display())).into(),
            path: shown,
        },
        error => error,
    })
}

/// What is shown of a crawl whether or not it runs.
pub fn view(crawl: &CrawlConfig) -> CrawlView {
    let (parameters, rehearses_first) = crawl.job.with(Shown);
    CrawlView {
        settings: crawl.settings.clone(),
        job: crawl.job.name(),
        parameters,
        store: crawl.store.clone(),
        rehearses_first,
        stopped: false,
        by_hand: None,
        waiting: None,
        failed: None,
    }
}

/// The same of a cleaning.
pub fn cleaning_view(settings: &CleaningSettings) -> CleaningView {
    CleaningView { settings: settings.clone(), stopped: false, by_hand: None }
}

/// The parameters of a job, and whether it rehearses first.
struct Shown;

impl WithJob for Shown {
    type Out = (Value, bool);

    fn with<J: Job<TahoeStore>>(self, job: J) -> (Value, bool) {
        let parameters = match job.parameters() {
            parameters @ Value::Object(_) => parameters,
            _ => Value::Object(serde_json::Map::new()),
        };
        (parameters, job.rehearses_first())
    }
}

/// Whether a crawl that has ended with this error is tried again by itself.
pub fn may_pass(error: &Error) -> bool {
    matches!(error, Error::Store { .. })
        || error.downcast_ref::<ChangeRefusal>().is_some()
        || error.retry() == Retry::Helps
}

/// Whether it is for the node to stop, or to show that it runs.
pub fn waits_for_node(error: &Error) -> bool {
    error.downcast_ref().is_some_and(ChangeRefusal::waits_for_node)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use super::*;
    use crate::actors::Life;
    use crate::engine::Engine;
    use crate::kinds::JobSettings;
    use crate::settings::Settings;
    use crate::tahoe::leases::{Expiry, LeaseSettings, Word};

    /// How it happens: deletions beside a running node were refused, since by its files none runs; the daemon asks again.
    #[actix_rt::test]
    async fn a_crawl_whose_job_is_asked_first_begins_when_the_node_has_shown_itself() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("shares")).unwrap();
        let saved = dir.path().join("lease_checker.state.json");
        fs::write(&saved, "{}").unwrap();
        let now = SystemTime::now();
        let set = |at| fs::File::options().append(true).open(&saved).unwrap().set_modified(at).unwrap();
        let expiry = Expiry::Age { secs: 31 * 86_400 };
        let leases = LeaseSettings { expiry, word: Some(Word::Online), ..LeaseSettings::default() };
        let crawl = CrawlConfig {
            settings: CrawlSettings::new("expire"),
            store: dir.path().to_owned(),
            job: JobSettings::Leases(leases),
        };
        let engine = Engine::builder(Settings::default()).life(Life::UntilShutdown).start().unwrap();
        let unix_secs = now.duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let first = First::AskTheJob(Moment { monotonic: Duration::from_secs(9), unix_secs });

        set(now - Duration::from_secs(40 * 86_400));
        let refused = launch(&engine, crawl.clone(), Fresh::No, first).await.unwrap_err();
        assert!(refused.to_string().contains("the newest is 40.0 days old by this clock"), "{refused}");
        assert!(waits_for_node(&refused) && may_pass(&refused));
        assert!(engine.status().crawls.is_empty(), "nothing begins");
        set(now - Duration::from_secs(600));
        launch(&engine, crawl, Fresh::No, first).await.unwrap();
        assert!(engine.is_running("expire"));
        engine.shutdown(Duration::from_secs(60)).await.unwrap();
    }
}
