//! The configuration file `config.ron`: read, checked, and turned into [`settings`](mod@settings).
//!
//! Three kinds of types, one for each step: what is written (`raw`), how single values are written ([`spelling`](crate::spelling)), and
//! what is meant ([`Config`], made of the plain settings that the engine takes). Whatever is wrong in a file is said
//! with its line and column, or, where several values do not go together, with the name of the crawl.

mod clean;
mod diagnosis;
mod raw;
mod raw_daemon;
mod together;

use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ron::extensions::Extensions;
use serde::Deserialize;

use crate::cumulus::settings::CleaningSettings;
use crate::error::{Error, Result};
use crate::kinds::JobSettings;
use crate::policy::windows::Windows;
use crate::settings::{self, Basis, BudgetSettings, CrawlSettings, Order, Priority, Settings, UpkeepSettings};

/// The configuration file that comes with Sexton: complete, commented, with every default written out.
pub const EXAMPLE: &str = include_str!("../../config.ron");

/// A larger file is no configuration.
const SIZE_MOST: u64 = 1 << 20;

/// A configuration file, checked.
///
/// ```
/// let text = r#"(budget: (cpu_percentage: "25%"), crawls: [(store: "/srv/tahoe/storage", job: count)])"#;
/// let config = sexton::config::Config::parse(text, "/etc/sexton/config.ron")?;
/// assert_eq!(config.settings.budget.rate, 0.25);
/// assert_eq!(config.crawls[0].settings.name, "count");
/// # Ok::<(), sexton::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The state file. Default `None`: where the program keeps its state for this user.
    pub state: Option<PathBuf>,
    /// What holds for the whole engine.
    pub settings: Settings,
    /// What concerns the daemon only.
    pub daemon: DaemonConfig,
    /// The crawls, in the order of the file. Default: none.
    pub crawls: Vec<CrawlConfig>,
    /// The cleanings, in the order of the file, each ready for
    /// [`EngineBuilder::maintenance`](crate::engine::EngineBuilder::maintenance). Default: none.
    pub cleanings: Vec<CleaningSettings>,
    /// How the state is kept in order.
    pub upkeep: UpkeepSettings,
}

impl Default for Config {
    /// What an empty file means.
    fn default() -> Self {
        let settings = Settings { priority: gives_way(), ..Settings::default() };
        Config {
            state: None,
            settings,
            daemon: DaemonConfig::default(),
            crawls: Vec::new(),
            cleanings: Vec::new(),
            upkeep: UpkeepSettings::default(),
        }
    }
}

/// What concerns the daemon only.
#[derive(Debug, Clone, PartialEq)]
pub struct DaemonConfig {
    /// Windows of the day with a budget each. Default: none.
    pub windows: Windows,
    /// How it logs. Default: for people.
    pub log: LogFormat,
    /// Where it listens. Default `127.0.0.1:7377`; port 0 takes any that is free.
    pub listen: SocketAddr,
    /// Names under which scrapers and proxies may reach it, beside those of loopback: `host` or `host:port`. Default: none.
    pub allowed_hosts: Vec<String>,
}

impl Default for DaemonConfig {
    fn default() -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], DEFAULT_PORT));
        DaemonConfig { windows: Windows::default(), log: LogFormat::People, listen, allowed_hosts: Vec::new() }
    }
}

/// A program that is there to be unnoticed gives way unless it is told otherwise.
fn gives_way() -> Priority {
    Priority::Idle
}

/// Where the daemon listens unless told otherwise.
pub const DEFAULT_PORT: u16 = 7377;

/// How the log is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename = "log", rename_all = "snake_case")]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    People,
    /// One JSON object a line.
    Json,
}

/// One crawl of a configuration file.
#[derive(Debug, Clone, PartialEq)]
pub struct CrawlConfig {
    /// What holds for the crawl.
    pub settings: CrawlSettings,
    /// The folder that holds `shares/`.
    pub store: PathBuf,
    /// What it does.
    pub job: JobSettings,
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Config`] if the file cannot be read; if the state file or a quarantine folder lies among shares, or two
    /// crawls delete the same leases; or as [`Config::parse`].
    pub fn load(path: impl AsRef<Path>) -> Result<Config> {
        let path = path.as_ref();
        let cannot = |why: &dyn std::fmt::Display| Error::Config(format!("cannot read {}: {why}", path.display()));
        let mut text = String::new();
        let file = File::open(path).map_err(|e| cannot(&e))?;
        file.take(SIZE_MOST + 1).read_to_string(&mut text).map_err(|e| cannot(&e))?;
        if text.len() as u64 > SIZE_MOST {
            return Err(cannot(&"it is larger than 1 MiB, so it is no configuration file"));
        }
        let config = Config::parse(&text, path)?;
        for CrawlConfig { settings, store, job } in &config.crawls {
            let named = |e| Error::Config(format!("{}: crawl {}: {e}", path.display(), settings.name));
            job.validate_for(store).map_err(named)?;
        }
        together::check(&config).map_err(|e| Error::Config(format!("{}: {e}", path.display())))?;
        Ok(config)
    }

    /// Reads a text. `path` is where it came from: it stands in errors, and relative paths in the text are taken from
    /// its folder.
    ///
    /// # Errors
    /// [`Error::Config`] as `path:line:column: what is wrong`; or, where settings do not go
    /// together, with the name of the crawl.
    pub fn parse(text: &str, path: impl AsRef<Path>) -> Result<Config> {
        let path = path.as_ref();
        let ron = ron::Options::default().with_default_extension(Extensions::IMPLICIT_SOME);
        let raw: raw::RawConfig = ron
            .from_str(text)
            .map_err(|e| Error::Config(format!("{}:{}", path.display(), diagnosis::explain(&e, text))))?;
        validated(raw, path.parent().unwrap_or(Path::new("")))
            .map_err(|e| Error::Config(format!("{}: {e}", path.display())))
    }
}

fn validated(mut raw: raw::RawConfig, folder: &Path) -> Result<Config> {
    let daemon = raw_daemon::daemon(raw.budget.windows.take(), raw.log, raw.http)?;
    let settings = Settings { budget: budget(raw.budget), checkpoint: raw.checkpoint.into(), priority: raw.priority };
    settings.validate()?;
    let crawls = raw.crawls.into_iter().map(|raw| crawl(raw, folder)).collect::<Result<Vec<_>>>()?;
    let cleanings = raw.clean.into_iter().map(|raw| clean::cleaning(raw, folder)).collect::<Result<Vec<_>>>()?;
    let names = crawls.iter().map(|c| c.settings.name.as_str());
    settings::check_unique(names.chain(cleanings.iter().map(|c| c.task.name.as_str())))?;
    let upkeep = raw.history.map_or_else(UpkeepSettings::default, |age| UpkeepSettings { history: Some(age.0) });
    let state = raw.state.map(|path| below(folder, path.0));
    Ok(Config { state, settings, daemon, crawls, cleanings, upkeep })
}

fn budget(raw: raw::RawBudget) -> BudgetSettings {
    let default = BudgetSettings::default();
    BudgetSettings {
        rate: raw.cpu_percentage.map_or(default.rate, |percent| percent.0.cores()),
        slice: raw.cpu_slice.map_or(default.slice, |slice| slice.0),
        basis: raw.basis.map_or(default.basis, Basis::from),
        max_sleep: raw.max_sleep.map(|longest| longest.0),
    }
}

fn crawl(raw: raw::RawCrawl, folder: &Path) -> Result<CrawlConfig> {
    let job = raw.job.below(folder);
    let name = raw.name.map_or_else(|| job.name().to_owned(), |name| name.0);
    let default = job.crawl(name);
    let settings = CrawlSettings {
        workers: raw.workers.map_or(default.workers, |n| n.0),
        weight: raw.weight.map_or(default.weight, |n| n.0),
        minimum_cycle_time: raw.minimum_cycle_time.map_or(default.minimum_cycle_time, |pace| pace.0),
        jitter: raw.jitter.map_or(default.jitter, |pace| pace.0),
        slow_start: raw.slow_start.map_or(default.slow_start, |pace| pace.0),
        read_ahead: raw.read_ahead.map_or(default.read_ahead, |n| n.0),
        order: raw.order.map_or(default.order, Order::from),
        target: raw.target.map(|target| target.0),
        name: default.name,
    };
    settings.validate()?;
    Ok(CrawlConfig { settings, store: below(folder, raw.store.0), job })
}

/// A path of the file, taken from the file's folder, without parts that lead nowhere: `.` is the folder itself.
fn below(folder: &Path, path: impl AsRef<Path>) -> PathBuf {
    folder.join(path).components().collect()
}

#[cfg(test)]
mod tests;
