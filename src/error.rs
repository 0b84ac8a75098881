//! The one error type of the library.
//!
//! Every variant says what was tried, on what, and why it failed. What a store, a job or a maintenance has to say for itself is an
//! error type of its own, in [`Error::Other`].
//! [`Error::retry`] tells a caller whether waiting can help.

use std::path::PathBuf;
use std::sync::Arc;

use crate::policy::cycle::Difference;

/// The result of everything in this crate that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, with advice where there is any.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting, an argument or a file of settings is wrong.
    #[error("{0}")]
    Config(String),

    /// The store as a whole cannot be used.
    #[error("cannot {doing} {}: {cause}", path.display())]
    Store {
        /// The operation, as a verb: `open store`, `list`.
        doing: &'static str,
        /// What it was tried on.
        path: PathBuf,
        /// The cause, as the system words it.
        cause: String,
    },

    /// The state file is not what was written into it.
    #[error(
        "state file {} is damaged: {cause}; restore it from a backup, or move it away to begin the cycle anew",
        path.display()
    )]
    StateDamaged {
        /// The state file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },

    /// The state file belongs to another program.
    #[error("{} is not a Sexton state file ({cause})", path.display())]
    StateForeign {
        /// The file.
        path: PathBuf,
        /// How that shows.
        cause: String,
    },

    /// The state file was written by a newer Sexton.
    #[error(
        "state file {} has schema version {found}, this Sexton knows up to {known}; use the newer Sexton",
        path.display()
    )]
    StateNewer {
        /// The state file.
        path: PathBuf,
        /// The version it has.
        found: i64,
        /// The newest version known here.
        known: i64,
    },

    /// Another process works with the state file.
    #[error("state file {} is held by {holder}", path.display())]
    StateHeld {
        /// The state file.
        path: PathBuf,
        /// Who holds it, as far as known.
        holder: String,
    },

    /// The disk with the state file has no room.
    #[error("no room to save the state in {}: {cause}; free some space there", path.display())]
    StateFull {
        /// The state file.
        path: PathBuf,
        /// The cause, as the system words it.
        cause: String,
    },

    /// The state file cannot be used where it is.
    #[error("cannot {doing} state file {}: {cause}; {}", path.display(), lacks.remedy())]
    StateUnusable {
        /// The operation, as a verb.
        doing: &'static str,
        /// The state file.
        path: PathBuf,
        cause: String,
        /// What it lacks there.
        lacks: StateLack,
    },

    /// Anything else that went wrong with the state.
    #[error("cannot {doing} state file {}: {cause}", path.display())]
    State {
        /// The operation, as a verb.
        doing: &'static str,
        /// The state file.
        path: PathBuf,
        cause: String,
    },

    /// An unfinished cycle was begun with other parameters.
    #[error(
        "the unfinished cycle {cycle} of {crawl} was begun with other parameters: {}",
        Difference::list(differences)
    )]
    CycleDiffers {
        crawl: String,
        /// The unfinished cycle's number.
        cycle: u64,
        /// Each difference.
        differences: Vec<Difference>,
    },

    /// A cycle is to be given up that only its own intents can bring to a whole end.
    #[error(
        "cycle {cycle} of {crawl} has planned changes that may be half done (buckets: {buckets}): let it come to its end with \
         the same parameters"
    )]
    HalfDone {
        crawl: String,
        cycle: u64,
        /// In how many buckets.
        buckets: u64,
    },

    /// A cycle would delete more than it may without a confirmation.
    #[error(
        "cycle {cycle} of {crawl} is examined and would delete {would_delete} of {examined} objects (deleted already: {deleted}), \
         and {:.1} % is the most allowed, so it waits",
        most * 100.0
    )]
    SafetyCatch {
        crawl: String,
        /// The cycle that waits.
        cycle: u64,
        /// Objects that it would delete.
        would_delete: u64,
        /// Objects that it has deleted before, if it was begun by an older Sexton.
        deleted: u64,
        /// Objects examined in it.
        examined: u64,
        /// The largest part that may be deleted, from 0 to 1.
        most: f64,
    },

    /// The clock cannot be believed, so nothing is deleted by it.
    #[error("the clock cannot be right: {why}; nothing more is deleted until it is set")]
    Clock {
        /// How that shows.
        why: String,
    },

    /// Nothing more can be changed in the store.
    #[error("cannot change {}: {cause}; nothing more is changed", path.display())]
    Unchangeable {
        /// What could not be changed last.
        path: PathBuf,
        cause: String,
    },

    /// A commit came under a claim that is no longer in force.
    #[error("the claim on prefix {prefix} with fence {fence} is no longer in force")]
    StaleClaim {
        /// Position of the prefix in the ring.
        prefix: u32,
        /// The fence of the late commit.
        fence: u64,
    },

    /// A tally cannot be written or read back.
    #[error("cannot save or read the tally of {crawl}: {cause}; was it saved by another version of the job?")]
    Tally {
        /// The crawl, or the part of it.
        crawl: String,
        cause: String,
    },

    /// A job panicked on too many buckets.
    #[error("crawl {crawl} stopped: its job panicked on {panics} buckets, last on {bucket}: {message}")]
    JobPanicked {
        crawl: String,
        /// Panics in this cycle.
        panics: u32,
        /// Path of the last such bucket.
        bucket: String,
        /// Its panic message.
        message: String,
    },

    /// A step of a maintenance panicked: that run has ended, the next one is tried at its time.
    #[error("maintenance {maintenance} stopped: a step of it panicked: {message}")]
    MaintenancePanicked {
        maintenance: String,
        /// The panic message.
        message: String,
    },

    /// An actor of the engine panicked; the engine has ended.
    #[error("the engine ended because its {actor} panicked: {message}")]
    ActorPanicked {
        /// The actor's role.
        actor: &'static str,
        /// The panic message, as far as known.
        message: String,
    },

    /// The engine did not stop within the deadline given.
    #[error("the engine did not stop within {0:?}; what was committed is kept")]
    Deadline(std::time::Duration),

    /// A running daemon could not be reached, or has refused something.
    #[error("{0}")]
    Daemon(String),

    /// The system has no thread to spare for now.
    #[error(
        "no thread can be started: {cause}; let this user have more of them (ulimit -u, TasksMax= of the unit, pids.max of the \
         container), or end other programs"
    )]
    NoThread {
        /// The cause, as the system words it.
        cause: String,
    },

    /// What a store, a job or a maintenance says for itself.
    #[error("{source}")]
    Other {
        /// Whether trying again can help.
        retry: Retry,
        /// What it says.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },

    /// Something came out other than it went in: a fault of Sexton's own.
    #[error("{0}; please report this")]
    Unexpected(String),

    /// The engine is stopping or has stopped.
    #[error("the engine has stopped")]
    Stopped,
}

/// What a state file lacks in the place where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateLack {
    /// This user's right to write the file, or in its folder.
    Rights,
    /// A file system that has locks.
    Locks,
}

impl StateLack {
    fn remedy(self) -> &'static str {
        match self {
            StateLack::Rights => "make the file and its folder writable for this user",
            StateLack::Locks => {
                "use a file on a local disk, or have the lock service of that file system run (for NFS, rpc.statd on both sides)"
            }
        }
    }
}

/// Whether trying again later can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The cause may pass by itself: a full disk, a lock.
    Helps,
    /// Somebody has to do something first.
    Useless,
}

/// What cannot be done with a store that has gone.
const GOING_ON: &str = "go on with";

impl Error {
    /// Of a store that is not there as it was: it has gone as a whole, at least for a moment, or must not be changed.
    pub(crate) fn of_store(path: PathBuf, cause: &std::io::Error) -> Error {
        let (unchangeable, cause) = (cause.kind() == std::io::ErrorKind::Unsupported, cause.to_string());
        if unchangeable { Error::Unchangeable { path, cause } } else { Error::Store { doing: GOING_ON, path, cause } }
    }

    /// Whether a store has gone as a whole: the work goes on where it was once that is back.
    pub fn is_store_gone(&self) -> bool {
        matches!(self, Error::Store { doing: GOING_ON, .. })
    }

    /// An error of a store's, a job's or a maintenance's own.
    pub fn other(retry: Retry, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::Other { retry, source: source.into().into() }
    }

    /// The error of this type that was given to [`Error::other`], if it is one.
    pub fn downcast_ref<E: std::error::Error + 'static>(&self) -> Option<&E> {
        let Error::Other { source, .. } = self else { return None };
        source.downcast_ref()
    }

    /// Tells whether the same call may succeed later without anything being changed here.
    pub fn retry(&self) -> Retry {
        match self {
            Error::StateFull { .. } | Error::StateHeld { .. } | Error::NoThread { .. } => Retry::Helps,
            Error::Other { retry, .. } => *retry,
            _ => Retry::Useless,
        }
    }
}

/// What a panic said, as far as it is text.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
