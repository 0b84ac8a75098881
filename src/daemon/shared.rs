//! What the supervisor and the requests share: the engine's handle, what is shown besides its status, and the way in for
//! commands.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::access::AccessKeys;
use super::hub::Hub;
use super::keep::{ByHand, Change};
use super::pace::Paces;
use super::past::Past;
use super::series::Series;
use crate::clock::Time;
use crate::cumulus::settings::CleaningSettings;
use crate::engine::{Command, EngineHandle};
use crate::lock::lock;
use crate::model::{CrawlStatus, CycleReport};
use crate::policy::windows::{Window, Windows};
use crate::priority::InForce;
use crate::settings::CrawlSettings;

/// Wishes that wait at most; a daemon that is so busy says so.
pub const WISHES_MOST: usize = 64;

/// What every request and the supervisor share.
pub struct Shared {
    pub engine: EngineHandle,
    /// What was in the state when it began.
    pub past: Mutex<Past>,
    /// Its clock.
    pub time: Time,
    /// Names this run.
    pub boot: String,
    /// When it began, in seconds since 1970.
    pub started_unix: f64,
    /// The same by the monotonic clock.
    pub started: Duration,
    /// Who may do what.
    pub access: AccessKeys,
    /// Where it can be reached, without a slash at the end.
    pub url: String,
    /// Readers of events.
    pub hub: Hub,
    /// The last hour.
    pub series: Mutex<Series>,
    /// How fast the crawls walk.
    pub paces: Mutex<Paces>,
    /// What the supervisor shows.
    pub view: Mutex<View>,
    /// When the supervisor last looked, in milliseconds of the monotonic clock.
    pub looked: AtomicU64,
    /// To the supervisor.
    pub wishes: mpsc::Sender<Asked>,
}

/// What the supervisor knows and the engine does not.
#[derive(Debug, Clone)]
pub struct View {
    /// The configuration file, if there is one.
    pub config_path: Option<PathBuf>,
    /// The state file.
    pub state: PathBuf,
    /// When the settings in force were read, in seconds since 1970.
    pub loaded: f64,
    /// Why the file was refused when it was last read again.
    pub refused: Option<String>,
    /// The file's usual budget, in cores.
    pub file_rate: f64,
    pub windows: Windows,
    /// The one that is open.
    pub open: Option<Window>,
    /// When that changes, in seconds since 1970, and to how many cores.
    pub next_change: Option<(f64, f64)>,
    /// The change that holds.
    pub changed: Option<Change>,
    /// Whether the daemon is going down.
    pub stopping: bool,
    /// What of what is kept could not be written, and why.
    pub unsaved: Option<String>,
    /// What the system does with threads at work.
    pub priority: InForce,
    /// The crawls, in the order of the file.
    pub crawls: Vec<CrawlView>,
    /// The cleanings, likewise.
    pub cleanings: Vec<CleaningView>,
}

/// What is known of a crawl, running or not.
#[derive(Debug, Clone)]
pub struct CrawlView {
    pub settings: CrawlSettings,
    /// The job's name.
    pub job: &'static str,
    /// What makes its result what it is.
    pub parameters: Value,
    /// The folder that is walked.
    pub store: PathBuf,
    /// Whether nothing is deleted before a rehearsal of it was confirmed.
    pub rehearses_first: bool,
    /// Whether an operator has stopped it.
    pub stopped: bool,
    /// What an operator has done to it, as it is kept over restarts.
    pub by_hand: Option<ByHand>,
    /// Why it is not running although it should; it will be tried again.
    pub waiting: Option<String>,
    /// Why it is not running and will not by itself.
    pub failed: Option<String>,
}

/// What is known of a cleaning, running or not.
#[derive(Debug, Clone)]
pub struct CleaningView {
    pub settings: CleaningSettings,
    /// Whether an operator has stopped it.
    pub stopped: bool,
    /// What an operator has done to it, as it is kept over restarts.
    pub by_hand: Option<ByHand>,
}

/// Whether a command is about a crawl or a cleaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskKind {
    Crawl,
    Cleaning,
}

/// What a request wants changed.
#[derive(Debug)]
pub enum Wish {
    /// Something about one crawl or cleaning.
    Of(TaskKind, String, Command),
    /// Another budget, in cores, or the file's again.
    Budget(Option<f64>),
    /// A pause of everything, or its end.
    Pause(bool),
    /// The configuration read again.
    Reload,
}

/// A wish, and where the answer goes.
pub struct Asked {
    /// What is wanted.
    pub wish: Wish,
    /// The answer.
    pub reply: oneshot::Sender<Granted>,
}

/// What became of a wish: lines for people, or why it was not granted.
pub type Granted = Result<Vec<String>, RefusedWish>;

/// Why a wish was not granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefusedWish {
    /// There is none of this name.
    Unknown(String),
    /// Not possible now.
    Conflict(String),
    /// The wish itself is wrong.
    Wrong(String),
    /// The daemon is going down, or too busy.
    Unavailable(String),
}

impl Shared {
    /// Notes that the supervisor looks.
    pub fn looks(&self) {
        self.looked.store(millis(self.time.clock.now()), Ordering::Relaxed);
    }

    /// How long ago it last looked.
    pub fn since_look(&self) -> Duration {
        let looked = Duration::from_millis(self.looked.load(Ordering::Relaxed));
        self.time.clock.now().saturating_sub(looked)
    }

    /// A copy of what the supervisor shows.
    pub fn view(&self) -> View {
        lock(&self.view).clone()
    }

    /// The last finished cycle of a crawl, of this run or an earlier one.
    pub fn last_report(&self, crawl: &str) -> Option<Arc<CycleReport>> {
        // While the engine reads of earlier cycles, it begins with the oldest.
        let past = lock(&self.past).report(crawl);
        self.engine.last_report(crawl).into_iter().chain(past).max_by_key(|report| report.key.number)
    }

    /// The finished cycles of a crawl that are known, the oldest first.
    pub fn history(&self, crawl: &str) -> Vec<Arc<CycleReport>> {
        let mut cycles = self.engine.history(crawl);
        let newest = cycles.last().map(|report| report.key.number);
        cycles.extend(lock(&self.past).report(crawl).filter(|past| newest < Some(past.key.number)));
        cycles
    }

    /// How a crawl stands: by the cycle that it has opened in this run, or else as an earlier one has saved it.
    pub fn standing(&self, crawl: &str, mut found: CrawlStatus) -> CrawlStatus {
        if found.cycle.is_none()
            && let Some(saved) = lock(&self.past).stands(crawl)
        {
            found.stands_as(saved);
        }
        // A crawl that does not run is judged by others of its kind, or by what the state knew at the start.
        if found.store.is_empty()
            && let Some(saved) = lock(&self.past).stands(crawl)
        {
            found.damaged = self.engine.damaged(&saved.store, &saved.job).unwrap_or(saved.damaged);
        }
        found
    }

    /// Hands a wish to the supervisor, and waits until it has taken effect.
    pub async fn ask(&self, wish: Wish) -> Granted {
        let (reply, answer) = oneshot::channel();
        let going = || RefusedWish::Unavailable("the daemon is going down".to_owned());
        self.wishes.try_send(Asked { wish, reply }).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => RefusedWish::Unavailable("too many commands wait already".to_owned()),
            mpsc::error::TrySendError::Closed(_) => going(),
        })?;
        answer.await.unwrap_or_else(|_| Err(going()))
    }
}

/// A moment of the monotonic clock, for what is read and written at once.
pub fn millis(moment: Duration) -> u64 {
    u64::try_from(moment.as_millis()).unwrap_or(u64::MAX)
}
