//! `sexton config`: makes and checks configuration files.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use super::{ConfigCommand, Exit, output};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, EXAMPLE};
use crate::cumulus::policy::Policy;
use crate::cumulus::settings::{CleaningMode, CleaningSettings};
use crate::error::{Error, Result};
use crate::spelling::Percent;

/// Runs the command.
///
/// # Errors
/// [`Error::Config`] says what is wrong with the file.
pub fn run(command: &ConfigCommand) -> Result<Exit> {
    match command {
        ConfigCommand::Init { file } => init(file),
        ConfigCommand::Check { file } => check(file),
    }
}

fn init(path: &Path) -> Result<Exit> {
    if path == Path::new("-") {
        return output::show(EXAMPLE.trim_end()).map(|()| Exit::Well);
    }
    let failed = |e: std::io::Error| Error::Config(format!("cannot write {}: {e}", path.display()));
    let mut file = OpenOptions::new().write(true).create_new(true).open(path).map_err(failed)?;
    file.write_all(EXAMPLE.as_bytes()).map_err(failed)?;
    output::show(&format!("wrote {}: look through it, then try it with `sexton config check {0}`", path.display()))?;
    Ok(Exit::Well)
}

fn check(path: &Path) -> Result<Exit> {
    let config = Config::load(path)?;
    output::show(&format!("{} is valid", path.display()))?;
    for line in meaning(&config) {
        output::show(&format!("  {line}"))?;
    }
    for warning in warnings(&config, SystemClock::default().unix_secs()) {
        output::say(&format!("warning: {warning}"));
    }
    Ok(Exit::Well)
}

/// What is valid as it is written, and will stop a crawl if it begins now, in seconds since 1970.
fn warnings(config: &Config, now: f64) -> Vec<String> {
    let refused = config.crawls.iter();
    let refused = refused.filter_map(|crawl| Some((&crawl.settings.name, crawl.job.validate_at(now).err()?)));
    refused.map(|(name, why)| format!("crawl {name} would stop with an error: {why}")).collect()
}

/// What the file means, a line for each thing that it sets up.
fn meaning(config: &Config) -> Vec<String> {
    let budget = &config.settings.budget;
    // As the file writes it, to the last millisecond.
    let every = humantime::format_duration;
    let mut lines = vec![format!(
        "budget: {} of one core, by {}, in slices of {}",
        Percent::of_cores(budget.rate),
        budget.basis,
        every(budget.slice)
    )];
    for crawl in &config.crawls {
        let settings = &crawl.settings;
        lines.push(format!(
            "crawl {}: {} over {}, {} worker(s), {} after each cycle, first after {}",
            settings.name,
            crawl.job.name(),
            crawl.store.display(),
            settings.workers,
            every(settings.minimum_cycle_time),
            every(settings.slow_start)
        ));
        lines.extend(crawl.job.meaning().iter().map(|line| format!("  {line}")));
    }
    if config.crawls.is_empty() {
        lines.push("no crawls".to_owned());
    }
    lines.extend(config.cleanings.iter().map(cleaning));
    if config.cleanings.is_empty() {
        lines.push("no cleanings".to_owned());
    }
    if let Some(history) = config.upkeep.history {
        let days = history.as_secs_f64() / 86_400.0;
        lines.push(format!("history: finished cycles are kept for {days} day(s), the newest always"));
    }
    lines
}

fn cleaning(cleaning: &CleaningSettings) -> String {
    // As the file writes it, to the last millisecond.
    let every = humantime::format_duration;
    let policy = match cleaning.options.policy {
        None => "by the rule of its era".to_owned(),
        Some(Policy::Benefit { threshold_days, .. }) => format!("benefit above {threshold_days} days"),
        Some(Policy::Utilization { least }) => format!("less than {least} in use"),
    };
    format!(
        "cleaning {}: {}, {policy}, {}{} after each run, first after {}, locked {} of the time in steps of {}",
        cleaning.task.name,
        cleaning.database.display(),
        if cleaning.manner == CleaningMode::DryRun { "only planned, " } else { "" },
        every(cleaning.task.every),
        every(cleaning.task.slow_start),
        Percent::of_cores(cleaning.lock_duty),
        every(cleaning.slice),
    )
}
