//! Makes a running crawl of what the configuration says.

use std::path::PathBuf;

use serde_json::Value;

use super::shared::{CleaningView, CrawlView};
use crate::config::CrawlConfig;
use crate::config::units::Percent;
use crate::engine::{EngineHandle, Fresh};
use crate::error::{Error, Result, Retry};
use crate::job::leases::LeaseSettings;
use crate::job::{Count, Job, Leases, Verify};
use crate::settings::{CleaningSettings, JobSettings};
use crate::store::TahoeStore;

/// Opens the store, which may take a disk's time, and adds the crawl to the engine.
///
/// # Errors
/// If the store cannot be opened, or the engine refuses the crawl.
pub async fn launch(engine: &EngineHandle, crawl: CrawlConfig, fresh: Fresh) -> Result<()> {
    let CrawlConfig { settings, store: path, job } = crawl;
    let store = open(path).await?;
    // Expiry asks before each slice's deletions; it may evaluate and rehearse beside a node.
    if let (JobSettings::Verify { .. }, true, Some(node)) = (&job, job.needs_stopped_node(), store.running_node()) {
        return Err(Error::NodeRuns { node: node.to_string() });
    }
    match job {
        JobSettings::Count => engine.add_crawl(settings, store, Count, fresh).await,
        JobSettings::Leases(leases) => engine.add_crawl(settings, store, Leases::new(leases), fresh).await,
        JobSettings::Verify { verify, .. } => engine.add_crawl(settings, store, Verify::new(verify), fresh).await,
    }
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
    let parameters = match &crawl.job {
        JobSettings::Count => parameters(&Count),
        JobSettings::Leases(leases) => parameters(&Leases::new(leases.clone())),
        JobSettings::Verify { verify, .. } => parameters(&Verify::new(verify.clone())),
    };
    CrawlView {
        settings: crawl.settings.clone(),
        job: crawl.job.name(),
        parameters,
        store: crawl.store.clone(),
        max_delete: max_delete(&crawl.job),
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

fn parameters(job: &impl Job<TahoeStore>) -> Value {
    match job.parameters() {
        parameters @ Value::Object(_) => parameters,
        _ => Value::Object(serde_json::Map::new()),
    }
}

fn max_delete(job: &JobSettings) -> Option<String> {
    let JobSettings::Leases(LeaseSettings { word: Some(_), max_delete, .. }) = job else { return None };
    Some(Percent::of_cores(*max_delete).to_string())
}

/// Whether a crawl that has ended with this error is tried again by itself.
pub fn may_pass(error: &Error) -> bool {
    matches!(error, Error::Store { .. }) || waits_for_node(error) || error.retry() == Retry::Helps
}

/// Whether it is for the node to stop, or to show that it runs.
pub fn waits_for_node(error: &Error) -> bool {
    matches!(error, Error::NodeRuns { .. } | Error::NodeSilent { .. })
}
