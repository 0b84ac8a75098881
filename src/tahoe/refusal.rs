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

/// How long a running node saves nothing of its crawlers at most, in seconds. The bucket counter rests for an hour.
const NODE_SAVES_WITHIN_SECS: f64 = 2.0 * 86_400.0;

/// How far after now a node may have saved something, in seconds.
const NODE_AHEAD_MOST_SECS: f64 = 3600.0;

/// Says why a clock and a node that is said to be running do not go together, if so, as what is to be said of the file that
/// the node saved last. `saved_unix` is when the node last saved the state of its own crawlers, if it ever did, in seconds
/// since 1970, and so is `now_unix`.
pub(super) fn node_fault(saved_unix: Option<f64>, now_unix: f64) -> Option<String> {
    let ago = now_unix - saved_unix?;
    if ago > NODE_SAVES_WITHIN_SECS {
        let days = ago / 86_400.0;
        return Some(format!("is {days:.1} days old by this clock: either the clock is ahead, or no node runs here"));
    }
    if ago < -NODE_AHEAD_MOST_SECS {
        let hours = -ago / 3600.0;
        return Some(format!(
            "was written {hours:.1} hours from now by this clock: either it is behind, or it was ahead then"
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_runs_has_saved_within_two_days_and_not_in_the_future() {
        let fault = |saved| node_fault(saved, 1_000_000.0);
        for saved in [None, Some(1_000_000.0), Some(1_003_600.0), Some(1_000_000.0 - 172_800.0)] {
            assert_eq!(fault(saved), None, "{saved:?}");
        }
        assert!(fault(Some(1_000_000.0 - 172_801.0)).unwrap().contains("2.0 days old by this clock"));
        assert!(fault(Some(1_003_601.0)).unwrap().contains("1.0 hours from now by this clock"));
    }
}
