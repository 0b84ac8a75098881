//! The Tahoe node that a store belongs to: whether it runs, and when it last showed itself. Only files are looked at.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::stat;
use rustix::process::{Pid, test_kill_process};

use super::TahoeStore;
use crate::tahoe::state::{COUNTER_FILE, LEASES_FILE};

/// A running node, by what its pid file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeProcess {
    /// The pid file.
    pub file: PathBuf,
    /// The process.
    pub pid: u32,
}

impl fmt::Display for NodeProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "by {} the node of this store runs (process {})", self.file.display(), self.pid)
    }
}

/// The process of the node that a store's folder belongs to, where its pid file says that it runs. `root` is the folder that
/// holds `shares/`; the pid file stands in the node's base directory above it, which may hold but a link to the folder. A
/// node whose `storage_dir` is anywhere else is not found.
pub fn running_node(root: &Path) -> Option<NodeProcess> {
    let bases = [std::path::absolute(root).ok(), root.canonicalize().ok()];
    let bases = bases.iter().flatten().filter_map(|root| root.parent());
    bases.flat_map(|base| ["running.process", "twistd.pid"].map(|name| base.join(name))).find_map(|file| {
        let text = fs::read_to_string(&file).ok()?;
        let pid: i32 = text.split_whitespace().next()?.parse().ok()?;
        // Anything but "no such process" means that there is one, perhaps another user's.
        let gone = test_kill_process(Pid::from_raw(pid)?) == Err(rustix::io::Errno::SRCH);
        (!gone).then(|| Some(NodeProcess { file, pid: u32::try_from(pid).ok()? }))?
    })
}

impl TahoeStore {
    /// The node of this store, if it runs.
    pub fn running_node(&self) -> Option<NodeProcess> {
        running_node(&self.given)
    }

    /// When a node last saved the state of one of its own crawlers beside `shares/`, in seconds since 1970; `None` where no
    /// node has. Older nodes save it under a name without `.json`.
    pub fn node_saved_unix(&self) -> Option<f64> {
        let names = [COUNTER_FILE, LEASES_FILE].map(|name| [name, name.trim_end_matches(".json")]);
        let stats = names.as_flattened().iter().filter_map(|name| stat(self.root.join(name)).ok());
        // Times that matter are far below 2^53.
        stats.map(|stat| stat.st_mtime as f64).reduce(f64::max)
    }
}
