//! What can go wrong with a local database.

use std::path::PathBuf;

use crate::error::{Error, Retry};

/// What is wrong with a local database, or with what is to be done to it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum LocalDbError {
    /// Something could not be done, for a cause that has no variant of its own.
    #[error("cannot {doing} local database {}: {cause}", path.display())]
    Failed {
        /// The operation, as a verb.
        doing: &'static str,
        /// The database.
        path: PathBuf,
        cause: String,
    },

    /// The file is not a local database that Sexton knows.
    #[error("{} is not a local database to work with: {cause}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// How that shows.
        cause: String,
    },

    /// The database is not what was written into it.
    #[error("local database {} is damaged: {cause}; restore it from a backup", path.display())]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },

    /// Another program, most likely a backup, works with the database.
    #[error("local database {} is in use, most likely by a backup; come back when it has ended", path.display())]
    Busy {
        /// The database.
        path: PathBuf,
    },

    /// The disk with the database has no room.
    #[error("no room to change local database {}: {cause}; free some space there", path.display())]
    Full {
        /// The database.
        path: PathBuf,
        /// The cause, as the system words it.
        cause: String,
    },

    /// The database has changed since the plan was made.
    #[error("local database {} has changed since the plan was made; plan again", path.display())]
    PlanStale {
        /// The database.
        path: PathBuf,
    },

    /// The plan is to do nothing.
    #[error("will not clean {}: {why}", path.display())]
    Refused {
        /// The database.
        path: PathBuf,
        /// Why not.
        why: String,
    },
}

impl From<LocalDbError> for Error {
    fn from(error: LocalDbError) -> Error {
        let retry = match error {
            LocalDbError::Busy { .. } | LocalDbError::Full { .. } | LocalDbError::PlanStale { .. } => Retry::Helps,
            _ => Retry::Useless,
        };
        Error::other(retry, error)
    }
}
