//! Reading the configuration again: what has changed takes effect, and a bad file changes nothing.

use tracing::{info, warn};

use super::Supervisor;
use super::tasks::{WantedTask, given};
use crate::config::Config;
use crate::daemon::notify;
use crate::engine::Command;
use crate::error::{Error, Result};
use crate::lock::lock;
use crate::spelling::Percent;

impl Supervisor {
    /// Reads the file again.
    ///
    /// # Errors
    /// Why it is refused; the old settings stay in force then, and the status says so.
    pub(super) async fn reload(&mut self) -> Result<Vec<String>> {
        notify::reloading();
        let result = self.reloaded().await;
        notify::ready(&format!("serving {}", self.shared.url));
        match &result {
            Ok(changes) => {
                self.metrics.reloaded("taken");
                lock(&self.shared.view).refused = None;
                if changes.is_empty() {
                    info!("the configuration was read again: nothing has changed");
                } else {
                    info!(changes = changes.join("; "), "the configuration was read again");
                }
            }
            Err(error) => {
                self.metrics.reloaded("refused");
                lock(&self.shared.view).refused = Some(error.to_string());
                warn!(%error, "the configuration is refused, the old one stays in force");
            }
        }
        self.look();
        result
    }

    async fn reloaded(&mut self) -> Result<Vec<String>> {
        let Some(path) = self.start.config_path.clone() else {
            return Err(Error::Config("this daemon was started without a configuration file".to_owned()));
        };
        let read = tokio::task::spawn_blocking(move || Config::load(path)).await;
        let config = read.unwrap_or_else(|panic| Err(Error::Unexpected(panic.to_string())))?;
        let changes = self.take(config)?;
        let mut view = lock(&self.shared.view);
        view.loaded = self.shared.time.clock.unix_secs();
        view.file_rate = self.start.config.settings.budget.rate;
        view.windows = self.start.config.daemon.windows.clone();
        Ok(changes)
    }

    /// Takes other settings, one line for each change.
    fn take(&mut self, config: Config) -> Result<Vec<String>> {
        let was = &self.start.config;
        refuse_what_needs_a_restart(was, &config)?;
        let mut changes = budget_changes(was, &config);
        let (known, wanted, status) = (WantedTask::all(was), WantedTask::all(&config), self.shared.engine.status());
        for task in self.tasks.iter_mut().filter(|task| !task.is_gone()) {
            let title = task.task.title();
            let Some(wanted) = wanted.iter().find(|wanted| wanted.name() == task.task.name()) else {
                changes.push(format!("{title}: gone"));
                task.let_go();
                continue;
            };
            if *wanted == task.task {
                continue;
            }
            // What is just being opened comes up with the settings that it has: it begins again instead.
            let live = live_changes(wanted, &task.task).filter(|_| !task.opening);
            if let Some(settings) = live.as_ref().map(|_| wanted).and_then(WantedTask::as_crawl) {
                // One that does not run takes them when it is started.
                let changes =
                    [Command::SetMinimumCycleTime(settings.minimum_cycle_time), Command::SetWeight(settings.weight)];
                for change in changes {
                    tokio::task::spawn_local(given(&self.shared.engine, wanted.name(), change));
                }
            }
            if live.is_some() || task.is_idle() {
                let what = live.unwrap_or_else(|| "changed".to_owned());
                changes.push(format!("{title}: {what}"));
                task.change(wanted.clone());
                continue;
            }
            changes.push(format!("{title}: changed, begins again where it was"));
            if let Some(known) = self.known.get_mut(wanted.name()) {
                known.note(wanted.name(), &status);
            }
            task.let_go();
        }
        self.known.retain(|name, _| wanted.iter().any(|task| task.name() == name));
        let is_known = |task: &WantedTask| known.iter().any(|known| known.name() == task.name());
        changes.extend(wanted.iter().filter(|task| !is_known(task)).map(|task| format!("{}: new", task.title())));
        self.shared.access.allow_hosts(config.daemon.allowed_hosts.clone());
        self.start.config = config;
        self.forget_by_hand();
        self.end_those_gone();
        Ok(changes)
    }
}

/// What has changed, if all of it can change while the crawl runs.
fn live_changes(wanted: &WantedTask, was: &WantedTask) -> Option<String> {
    let (WantedTask::Crawl(wanted), WantedTask::Crawl(was)) = (wanted, was) else { return None };
    let (is, old) = (&wanted.settings, &was.settings);
    let mut same = was.clone();
    (same.settings.minimum_cycle_time, same.settings.weight) = (is.minimum_cycle_time, is.weight);
    let mut changes = Vec::new();
    if is.minimum_cycle_time != old.minimum_cycle_time {
        changes.push(format!("{} between cycles", humantime::format_duration(is.minimum_cycle_time)));
    }
    if is.weight != old.weight {
        changes.push(format!("weight {}", is.weight));
    }
    (same == *wanted).then(|| changes.join(", "))
}

/// What cannot change while the daemon runs.
fn refuse_what_needs_a_restart(was: &Config, is: &Config) -> Result<()> {
    let fixed = [
        ("state", was.state == is.state),
        ("http listen", was.daemon.listen == is.daemon.listen),
        ("log", was.daemon.log == is.daemon.log),
        ("history", was.upkeep == is.upkeep),
        ("checkpoint", was.settings.checkpoint == is.settings.checkpoint),
        ("priority", was.settings.priority == is.settings.priority),
    ];
    match fixed.iter().find(|(_, same)| !same) {
        Some((what, _)) => {
            Err(Error::Config(format!("{what} has changed, which needs a restart; nothing was changed")))
        }
        None => Ok(()),
    }
}

fn budget_changes(was: &Config, is: &Config) -> Vec<String> {
    let mut changes = Vec::new();
    let (old, new) = (&was.settings.budget, &is.settings.budget);
    if old.rate != new.rate {
        changes.push(format!("budget: {} instead of {}", Percent::of_cores(new.rate), Percent::of_cores(old.rate)));
    }
    if (old.slice, old.basis, old.max_sleep) != (new.slice, new.basis, new.max_sleep) {
        let slice = humantime::format_duration(new.slice);
        changes.push(format!("budget: slices of {slice}, by {}", new.basis));
    }
    if was.daemon.windows != is.daemon.windows {
        changes.push(format!("budget: {} windows of the day", is.daemon.windows.all().len()));
    }
    if was.daemon.allowed_hosts != is.daemon.allowed_hosts {
        changes.push("http: other allowed hosts".to_owned());
    }
    changes
}
