//! The Tahoe node that a store belongs to: whether it runs, and when it last showed itself. Only files are looked at.

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use super::TahoeStore;
use crate::store::open_regular;
use crate::tahoe::state::{COUNTER_FILE, LEASES_FILE};

/// Within this time a running node saves the state of a crawler: its bucket counter rests for an hour, and works a while.
const SAVES_WITHIN: Duration = Duration::from_secs(2 * 3600);

/// Why a store must be taken to have a running node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSign {
    /// The pid file.
    pub file: PathBuf,
    /// What it shows.
    pub shows: NodeShows,
}

/// What a pid file shows of its node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeShows {
    /// A process of that number runs. It may be another one that has got the number since; nobody can tell for sure.
    Process(u32),
    /// It cannot be read, or holds no process: so says the reason.
    Unclear(String),
    /// No such process is seen from here, but the node has saved something so many seconds ago: it may run in a container,
    /// or on another machine.
    Elsewhere {
        /// The process that is not seen.
        pid: u32,
        /// When the state of a crawler was saved last.
        saved_secs_ago: u64,
    },
}

impl fmt::Display for NodeSign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        match &self.shows {
            NodeShows::Process(pid) => write!(f, "by {file} the node of this store runs (process {pid})"),
            NodeShows::Unclear(why) => write!(f, "the node of this store may be running: {file} {why}"),
            NodeShows::Elsewhere { pid, saved_secs_ago } => write!(
                f,
                "the node of this store may be running, in a container or on another machine: process {pid} of {file} is not \
                 seen here, but the node saved the state of a crawler {} min ago",
                saved_secs_ago / 60
            ),
        }
    }
}

/// Why the node that a store's folder belongs to must be taken to be running, where its pid file says so or leaves it open.
/// `root` is the folder that holds `shares/`; the pid file stands in the node's base directory above it, which may hold but
/// a link to the folder. A node stops without leaving one. One whose `storage_dir` is anywhere else is not found.
pub fn running_node(root: &Path) -> Option<NodeSign> {
    let bases = [std::path::absolute(root).ok(), root.canonicalize().ok()];
    let bases = bases.iter().flatten().filter_map(|root| root.parent());
    bases.flat_map(|base| ["running.process", "twistd.pid"].map(|name| base.join(name))).find_map(|file| {
        let shows = shown(&file, root)?;
        Some(NodeSign { file, shows })
    })
}

/// What a pid file shows, unless that is that no node runs.
fn shown(file: &Path, root: &Path) -> Option<NodeShows> {
    let text = match open_regular(file).and_then(io::read_to_string) {
        Ok(text) => text,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return None,
        Err(e) => return Some(NodeShows::Unclear(format!("cannot be read ({e})"))),
    };
    let number = text.split_whitespace().next().and_then(|word| word.parse::<i32>().ok()).filter(|pid| *pid > 0);
    let Some((process, pid)) = number.and_then(|pid| Some((Pid::from_raw(pid)?, u32::try_from(pid).ok()?))) else {
        return Some(NodeShows::Unclear("holds no number of a process".to_owned()));
    };
    // Anything but "no such process" means that there is one, perhaps another user's.
    if test_kill_process(process) != Err(Errno::SRCH) {
        return Some(NodeShows::Process(pid));
    }
    // A date to come is of a clock that has been set since.
    let ago = SystemTime::now().duration_since(saved(root)?).unwrap_or_default();
    (ago < SAVES_WITHIN).then_some(NodeShows::Elsewhere { pid, saved_secs_ago: ago.as_secs() })
}

/// When a node last saved the state of one of its own crawlers beside `shares/`. Older nodes save it under a name without
/// `.json`.
fn saved(root: &Path) -> Option<SystemTime> {
    let names = [COUNTER_FILE, LEASES_FILE].map(|name| [name, name.trim_end_matches(".json")]);
    names.as_flattened().iter().filter_map(|name| fs::metadata(root.join(name)).ok()?.modified().ok()).max()
}

impl TahoeStore {
    /// Why the node of this store must be taken to be running, if so; see [`running_node`].
    pub fn running_node(&self) -> Option<NodeSign> {
        running_node(&self.site.given)
    }

    /// When a node last saved the state of one of its own crawlers beside `shares/`, in seconds since 1970; `None` where no
    /// node has.
    pub fn node_saved_unix(&self) -> Option<f64> {
        // Before 1970 is as long ago as anybody asks.
        saved(&self.root).map(|at| at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, create_dir, write};

    use super::*;

    #[test]
    fn only_a_pid_file_that_is_not_there_or_of_a_process_long_gone_says_that_no_node_runs() {
        let base = tempfile::tempdir().unwrap();
        let (root, file) = (base.path().join("storage"), base.path().join("running.process"));
        create_dir(&root).unwrap();
        let sign = || running_node(&root).map(|sign| sign.shows);
        assert_eq!(sign(), None);
        write(&file, format!("{} 1700000000.5\n", std::process::id())).unwrap();
        assert_eq!(sign(), Some(NodeShows::Process(std::process::id())));
        // No system has such a process.
        write(&file, "2147483647 1700000000.5\n").unwrap();
        assert_eq!(sign(), None);

        // In another pid namespace it may run all the same.
        let state = root.join(COUNTER_FILE);
        write(&state, "{}").unwrap();
        let save = |secs| {
            let at = SystemTime::now() - Duration::from_secs(secs);
            File::options().write(true).open(&state).unwrap().set_modified(at).unwrap();
        };
        save(600);
        let Some(NodeShows::Elsewhere { pid: 2_147_483_647, saved_secs_ago: 600..660 }) = sign() else {
            panic!("{:?}", sign())
        };
        save(7300);
        assert_eq!(sign(), None);

        for text in ["", "-5 1.0", "0", "99999999999", "running"] {
            write(&file, text).unwrap();
            assert_eq!(sign(), Some(NodeShows::Unclear("holds no number of a process".to_owned())), "{text:?}");
        }
        fs::remove_file(&file).unwrap();
        create_dir(&file).unwrap();
        let Some(NodeShows::Unclear(why)) = sign() else { panic!("{:?}", sign()) };
        assert!(why.starts_with("cannot be read ("), "{why}");
    }
}
