//! What an operator has stopped or paused: kept over restarts, until that is taken back.

use tracing::info;

use super::Supervisor;
use crate::daemon::keep::{ByHand, Done};
use crate::engine::Command;

impl Supervisor {
    /// Takes up what was done before the daemon began; before the first look.
    pub(super) async fn take_up_by_hand(&mut self) {
        self.forget_by_hand();
        if self.kept.paused.is_some() {
            info!("everything was paused by hand, and stays so until it is resumed");
            // Before anything is added that could ask for a slice.
            self.shared.engine.pause().await;
        }
        for task in &mut self.tasks {
            let name = task.name().to_owned();
            match self.kept.by_hand.get(&name).map(|by_hand| by_hand.what) {
                Some(Done::Stopped) => {
                    info!(name, "was stopped by hand, and stays so until it is started");
                    task.stop();
                }
                // Whenever it begins, it begins paused.
                Some(Done::Paused) => info!(name, "was paused by hand, and stays so until it is resumed"),
                None => {}
            }
        }
    }

    /// Whether it is to begin paused.
    pub(super) fn is_paused(&self, name: &str) -> bool {
        self.kept.by_hand.get(name).is_some_and(|by_hand| by_hand.what == Done::Paused)
    }

    /// Takes down what a command means for later.
    pub(super) fn note_by_hand(&mut self, name: &str, command: Command) {
        let at = self.shared.time.clock.unix_secs();
        let done = match command {
            Command::Stop => Some(Done::Stopped),
            Command::Pause => Some(Done::Paused),
            Command::Start | Command::Resume => None,
            _ => return,
        };
        let was = match done {
            Some(what) => self.kept.by_hand.insert(name.to_owned(), ByHand { what, at }),
            None => self.kept.by_hand.remove(name),
        };
        if was.map(|was| was.what) != done {
            self.keep();
        }
    }

    /// Takes down that everything is paused, or is not any more.
    pub(super) fn note_pause(&mut self, pause: bool) {
        let at = self.shared.time.clock.unix_secs();
        self.kept.paused = pause.then_some(self.kept.paused.unwrap_or(at));
        self.keep();
    }

    /// Forgets what has gone from the configuration, and when it was where.
    pub(super) fn forget_by_hand(&mut self) {
        let config = &self.start.config;
        let crawls = config.crawls.iter().map(|crawl| crawl.settings.name.as_str());
        let names: Vec<&str> =
            crawls.chain(config.cleanings.iter().map(|cleaning| cleaning.task.name.as_str())).collect();
        self.kept.by_hand.retain(|name, _| names.contains(&name.as_str()));
        self.kept.visits.retain(|name, _| names.contains(&name.as_str()));
    }
}
