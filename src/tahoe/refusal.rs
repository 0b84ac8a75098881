//! Why nothing, or nothing more, is changed in a store.

use std::path::PathBuf;

use crate::error::{Error, Retry};

/// Why the store is not changed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeRefusal {
    /// Something is to be changed that only a stopped node allows, and the node runs.
    #[error("nothing more is changed: {node}")]
    NodeRuns {
        /// How that shows (the file, and what it says), and what to do.
        node: String,
    },

    /// Something is to be changed beside a running node, and by its files and the clock none runs.
    #[error(
        "nothing more is changed: of the files in {} in which a storage node keeps the state of its crawlers \
         (bucket_counter.state.json, lease_checker.state.json), every hour or so, the newest {fault}",
        folder.display()
    )]
    NodeSilent {
        /// The folder that holds `shares/` and these files.
        folder: PathBuf,
        /// How that shows, as what is to be said of the newest file.
        fault: String,
    },

    /// Another process changes the store.
    #[error(
        "another process, perhaps a daemon, may delete from the store {}: two at once would each count what the other has \
         deleted; let it end, or stop it",
        path.display()
    )]
    StoreTaken {
        /// The folder that holds `shares/`.
        path: PathBuf,
    },
}

impl ChangeRefusal {
    /// Whether it is for the node to stop, or to show that it runs.
    pub fn waits_for_node(&self) -> bool {
        matches!(self, ChangeRefusal::NodeRuns { .. } | ChangeRefusal::NodeSilent { .. })
    }
}

impl From<ChangeRefusal> for Error {
    fn from(refusal: ChangeRefusal) -> Error {
        Error::other(Retry::Useless, refusal)
    }
}
