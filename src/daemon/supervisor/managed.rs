//! One crawl or cleaning of the configuration: what is wanted of it, and when it is tried again after it has failed.
//!
//! It starts and ends nothing itself, and reads no clock.

use std::time::Duration;

use super::tasks::WantedTask;
use crate::advice;
use crate::daemon::keep::ByHand;
use crate::daemon::launch::{cleaning_view, may_pass, view, waits_for_node};
use crate::daemon::shared::{CleaningView, CrawlView};
use crate::engine::Fresh;
use crate::error::Error;
use crate::model::{CrawlStatus, TaskState};
use crate::policy::backoff::Backoff;
use crate::policy::cycle::Difference;

const BEING_STARTED: &str = "it is being started";

/// A crawl or cleaning of the configuration, and what is wanted of it.
pub(super) struct Managed {
    pub task: WantedTask,
    pub wanted: Goal,
    /// Whether it is being opened.
    pub opening: bool,
    /// Whether its next cycle begins at once.
    pub at_once: bool,
    /// Whether an unfinished cycle is given up.
    pub fresh: Fresh,
    /// Whether it was refused to change anything, and its job is asked about that before it walks again.
    pub asks_first: bool,
    pub waiting: Option<String>,
    pub failed: Option<Error>,
    backoff: Backoff,
    retry_at: Duration,
}

/// What is wanted of a crawl.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    Running,
    /// By an operator.
    Stopped,
    /// It has gone from the configuration, or changed: it ends, and nothing is shown of it any more.
    Gone,
}

impl Managed {
    pub fn new(task: WantedTask) -> Self {
        Managed {
            task,
            wanted: Goal::Running,
            opening: false,
            at_once: false,
            fresh: Fresh::No,
            asks_first: false,
            waiting: None,
            failed: None,
            backoff: Backoff::default(),
            retry_at: Duration::ZERO,
        }
    }

    /// One that takes the place of another: that one's end is not taken for its own.
    pub fn again(task: WantedTask) -> Self {
        Managed { waiting: Some(BEING_STARTED.to_owned()), ..Managed::new(task) }
    }

    pub fn name(&self) -> &str {
        self.task.name()
    }

    /// Whether other settings can just be put in place of the old ones, since nothing runs by those.
    pub fn is_idle(&self) -> bool {
        let idle = self.wanted == Goal::Stopped || self.failed.is_some() || self.waiting.is_some();
        idle && !self.opening
    }

    /// Whether it will run by itself.
    pub fn is_coming(&self) -> bool {
        self.wanted == Goal::Running && self.failed.is_none()
    }

    /// Whether it is time to try it.
    pub fn is_due(&self, now: Duration) -> bool {
        now >= self.retry_at
    }

    /// Takes other settings. What has failed with the old ones is tried again.
    pub fn change(&mut self, task: WantedTask) {
        self.task = task;
        self.asks_first = false;
        self.retry_at = Duration::ZERO;
        if self.failed.take().is_some() {
            self.waiting.get_or_insert_with(|| BEING_STARTED.to_owned());
        }
    }

    /// It has gone from the configuration.
    pub fn let_go(&mut self) {
        self.wanted = Goal::Gone;
    }

    pub fn is_gone(&self) -> bool {
        self.wanted == Goal::Gone
    }

    /// It is to run, and is tried now.
    pub fn start(&mut self) {
        (self.wanted, self.retry_at, self.failed) = (Goal::Running, Duration::ZERO, None);
    }

    /// Its next cycle is to begin as soon as it runs.
    pub fn begin_at_once(&mut self) {
        self.at_once = true;
        self.waiting.get_or_insert_with(|| BEING_STARTED.to_owned());
    }

    /// It is to end, or not to begin, until it is started.
    pub fn stop(&mut self) {
        self.wanted = Goal::Stopped;
        (self.waiting, self.failed) = (None, None);
    }

    /// It runs, and looks like this.
    pub fn runs(&mut self, found: Option<&CrawlStatus>) {
        if found.is_some_and(|found| found.phase == TaskState::Walking && found.buckets > 0) {
            self.backoff.succeeded();
        }
    }

    /// It was opened.
    pub fn opened(&mut self) {
        (self.waiting, self.fresh, self.asks_first) = (None, Fresh::No, false);
    }

    /// It has ended, or did not begin: it is tried again if that can help.
    pub fn failed(&mut self, error: &Error, now: Duration) {
        if may_pass(error) {
            self.waiting = Some(advice::told(error));
            self.retry_at = now.saturating_add(self.backoff.failed());
            self.asks_first |= waits_for_node(error);
        } else {
            self.failed = Some(error.clone());
        }
    }

    pub fn as_crawl(&self, by_hand: Option<ByHand>) -> Option<CrawlView> {
        let WantedTask::Crawl(crawl) = &self.task else { return None };
        Some(CrawlView {
            stopped: self.wanted == Goal::Stopped,
            by_hand,
            waiting: self.waiting.clone(),
            failed: self.failed.as_ref().map(told),
            ..view(crawl)
        })
    }

    pub fn as_cleaning(&self, by_hand: Option<ByHand>) -> Option<CleaningView> {
        let WantedTask::Cleaning(settings) = &self.task else { return None };
        Some(CleaningView { stopped: self.wanted == Goal::Stopped, by_hand, ..cleaning_view(settings) })
    }
}

/// An error that ends a crawl, with what helps where that is another thing than for `sexton crawl`.
fn told(error: &Error) -> String {
    match error {
        Error::CycleDiffers { crawl, cycle, differences } => format!(
            "the unfinished cycle {cycle} was begun with other parameters: {}; put those back, or give it up for a new one \
             with `sexton start {crawl}` (what it has deleted so far then no longer counts for max_delete)",
            Difference::list(differences)
        ),
        Error::Clock { why } => format!(
            "the clock cannot be right: {why}; nothing more is deleted until it is set and the crawl is begun again with \
             `sexton start`"
        ),
        error => advice::told(error),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::cumulus::settings::CleaningSettings;
    use crate::tahoe::ChangeRefusal;

    const SECOND: Duration = Duration::from_secs(1);

    fn managed() -> Managed {
        Managed::new(WantedTask::Cleaning(Box::new(CleaningSettings::new("a", "local.db"))))
    }

    fn walking(buckets: u64) -> CrawlStatus {
        CrawlStatus { phase: TaskState::Walking, buckets, ..CrawlStatus::new("leases", 1, 1024) }
    }

    /// The waits of so many failures on end.
    fn waits(managed: &mut Managed, error: &Error, times: usize) -> Vec<u64> {
        let mut now = 100 * SECOND;
        let wait = |_| {
            managed.failed(error, now);
            let secs = (0..60).find(|secs| managed.is_due(now + *secs * SECOND));
            now += Duration::from_secs(secs.unwrap().into());
            secs.unwrap().into()
        };
        (0..times).map(wait).collect()
    }

    #[test]
    fn the_wait_for_a_node_grows_and_its_job_is_asked_until_it_was_let_in() {
        let refusals = [
            ChangeRefusal::NodeRuns { node: "process 7".to_owned() }.into(),
            ChangeRefusal::NodeSilent { folder: PathBuf::from("/s"), fault: "is old".to_owned() }.into(),
        ];
        for refused in refusals {
            let mut managed = managed();
            assert!(!managed.asks_first);
            // It had walked up to the refusal.
            managed.runs(Some(&walking(100)));
            assert_eq!(waits(&mut managed, &refused, 7), [1, 2, 4, 8, 16, 30, 30]);
            assert!(managed.asks_first && managed.waiting == Some(advice::told(&refused)));
            // A store that goes away meanwhile changes nothing of that.
            let store = Error::Store { doing: "use store", path: "/s".into(), cause: "gone".into() };
            assert_eq!(waits(&mut managed, &store, 1), [30]);
            assert!(managed.asks_first);
            managed.opened();
            assert!(!managed.asks_first && managed.waiting.is_none());
            managed.runs(Some(&walking(0)));
            assert_eq!(waits(&mut managed, &refused, 1), [30], "nothing is done yet");
            managed.runs(Some(&walking(1)));
            assert_eq!(waits(&mut managed, &refused, 2), [1, 2]);
            // With other settings it may have nothing to ask for.
            let task = managed.task.clone();
            managed.change(task);
            assert!(!managed.asks_first && managed.is_due(Duration::ZERO));
        }
    }

    #[test]
    fn what_cannot_pass_waits_for_a_command() {
        let mut managed = managed();
        managed.failed(&Error::Config("wrong".to_owned()), SECOND);
        assert!(!managed.is_coming() && managed.waiting.is_none());
        managed.start();
        assert!(managed.is_coming() && managed.is_due(Duration::ZERO));
    }
}
