//! The Tahoe node that a store belongs to: whether it runs, and when it last showed itself. Only files are looked at.

use std::fmt;
use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use super::TahoeStore;
use crate::error::Error;
use crate::store::open_regular;
use crate::tahoe::ChangeRefusal;
use crate::tahoe::state::{COUNTER_FILE, EXPORT_HEAD_LEN, LEASES_FILE, is_as_exported};

/// Within this time a running node saves the state of a crawler: its bucket counter rests for an hour, and works a while.
const SAVES_WITHIN: Duration = Duration::from_secs(2 * 3600);

/// A pid file is longer than this only by mistake or with bad intent.
const PID_FILE_MAX: u64 = 4096;

/// Why a store must be taken to have a running node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSign {
    /// The pid file, or the state of a crawler.
    pub file: PathBuf,
    pub shows: NodeShows,
}

/// What a file shows of its node.
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
    /// There is no pid file where one would be expected, but the node has saved the state of a crawler. Its pid file may be
    /// somewhere else.
    Saved {
        /// When that was.
        secs_ago: u64,
    },
}

impl NodeSign {
    /// Whether the sign forbids what only a stopped node allows. `node_stopped` says that somebody vouches for the node being
    /// stopped, which counts for what cannot be seen from here; a process is seen.
    pub fn forbids(&self, node_stopped: bool) -> bool {
        !node_stopped || matches!(self.shows, NodeShows::Process(_))
    }

    /// The error that refuses a change which only a stopped node allows.
    pub fn refusal(&self) -> Error {
        let node = format!("{self}, and offline is for a node that is stopped; {}", self.remedy());
        ChangeRefusal::NodeRuns { node }.into()
    }

    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match &self.shows {
            NodeShows::Process(_) => "stop it, or, if no node of this store runs, remove that file",
            NodeShows::Unclear(_) | NodeShows::Elsewhere { .. } => {
                "stop it, or, if no node of this store runs, remove that file or say --node-stopped"
            }
            NodeShows::Saved { .. } => {
                "stop it, and, once it is stopped, say --node-stopped: a node saves its state also when it stops, so this asks \
                 for two hours after each stop (the daemon waits until they are over)"
            }
        }
    }
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
            NodeShows::Saved { secs_ago } => write!(
                f,
                "the node of this store may be running, with a pid file somewhere else: {file} was saved {} min ago",
                secs_ago / 60
            ),
        }
    }
}

/// Why the node that a store's folder belongs to must be taken to be running, where its pid file or the state of its crawlers
/// says so or leaves it open. A process that is seen comes before all other signs.
///
/// `root` is the folder that holds `shares/`; the pid file stands in the node's base directory above it, which may hold but
/// a link to the folder. A node stops without leaving one. The pid file of a node whose `storage_dir` is anywhere else, or which
/// was started with `--pidfile`, is not found; such a node shows itself by the state that it saves.
pub fn running_node(root: &Path) -> Option<NodeSign> {
    let saved = saved_by_node(root);
    let bases = [std::path::absolute(root).ok(), root.canonicalize().ok()];
    let bases = bases.iter().flatten().filter_map(|root| root.parent());
    let files = bases.flat_map(|base| ["running.process", "twistd.pid"].map(|name| base.join(name)));
    let mut unseen = None;
    for file in files {
        let saved_secs_ago = saved.as_ref().map(|(_, secs)| *secs);
        let Some(shows) = shown(&file, saved_secs_ago) else { continue };
        let seen = matches!(shows, NodeShows::Process(_));
        let sign = NodeSign { file, shows };
        if seen {
            return Some(sign);
        }
        unseen.get_or_insert(sign);
    }
    unseen.or_else(|| saved.map(|(file, secs_ago)| NodeSign { file, shows: NodeShows::Saved { secs_ago } }))
}

/// What a pid file shows, unless that is that no node runs. `saved_secs_ago` is when the node has saved something lately.
fn shown(file: &Path, saved_secs_ago: Option<u64>) -> Option<NodeShows> {
    let mut text = String::new();
    let read = open_regular(file).and_then(|file| file.take(PID_FILE_MAX + 1).read_to_string(&mut text));
    match read {
        Ok(_) if text.len() as u64 > PID_FILE_MAX => {
            return Some(NodeShows::Unclear(format!("is longer than {PID_FILE_MAX} bytes, so it is no pid file")));
        }
        Ok(_) => {}
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return None,
        Err(e) => return Some(NodeShows::Unclear(format!("cannot be read ({e})"))),
    }
    let number = text.split_whitespace().next().and_then(|word| word.parse::<i32>().ok()).filter(|pid| *pid > 0);
    let Some((process, pid)) = number.and_then(|pid| Some((Pid::from_raw(pid)?, u32::try_from(pid).ok()?))) else {
        return Some(NodeShows::Unclear("holds no number of a process".to_owned()));
    };
    // Anything but "no such process" means that there is one, perhaps another user's.
    if test_kill_process(process) != Err(Errno::SRCH) {
        return Some(NodeShows::Process(pid));
    }
    saved_secs_ago.map(|saved_secs_ago| NodeShows::Elsewhere { pid, saved_secs_ago })
}

/// The names under which a node saves the state of its crawlers beside `shares/`. Older nodes do it without `.json`.
fn state_files(root: &Path) -> impl Iterator<Item = (PathBuf, SystemTime)> {
    let names = [COUNTER_FILE, LEASES_FILE].into_iter().flat_map(|name| [name, name.trim_end_matches(".json")]);
    names.filter_map(move |name| {
        let file = root.join(name);
        let at = fs::metadata(&file).ok()?.modified().ok()?;
        Some((file, at))
    })
}

/// The state of a crawler that a node has saved lately, and how many seconds ago; the newest. What Sexton's own export wrote says
/// nothing of a node.
fn saved_by_node(root: &Path) -> Option<(PathBuf, u64)> {
    // A date to come is of a clock that has been set since.
    let ago = |at| SystemTime::now().duration_since(at).unwrap_or_default();
    let fresh = state_files(root).map(|(file, at)| (file, ago(at))).filter(|(_, ago)| *ago < SAVES_WITHIN);
    let theirs = fresh.filter(|(file, _)| !is_exported(file));
    theirs.map(|(file, ago)| (file, ago.as_secs())).min_by_key(|(_, secs)| *secs)
}

/// Whether a state file is as Sexton's export wrote it. One that cannot be read is not known to be.
fn is_exported(file: &Path) -> bool {
    let mut head = Vec::new();
    let read = open_regular(file).and_then(|file| file.take(EXPORT_HEAD_LEN as u64).read_to_end(&mut head));
    read.is_ok() && is_as_exported(&head)
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
        let newest = state_files(&self.root).map(|(_, at)| at).max();
        newest.map(|at| at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, create_dir, write};

    use super::*;

    /// A node's base directory with an empty store.
    struct Node(tempfile::TempDir);

    impl Node {
        fn new() -> Node {
            let node = Node(tempfile::tempdir().unwrap());
            create_dir(node.root()).unwrap();
            node
        }

        fn root(&self) -> PathBuf {
            self.0.path().join("storage")
        }

        fn pid_file(&self, text: &str) {
            write(self.0.path().join("running.process"), text).unwrap();
        }

        /// The state of a crawler, saved so many seconds ago.
        fn state(&self, name: &str, text: &str, secs: u64) {
            let file = self.root().join(name);
            write(&file, text).unwrap();
            let at = SystemTime::now() - Duration::from_secs(secs);
            File::options().write(true).open(&file).unwrap().set_modified(at).unwrap();
        }

        fn sign(&self) -> Option<NodeShows> {
            running_node(&self.root()).map(|sign| sign.shows)
        }
    }

    /// As Tahoe's node writes it.
    const NODES_OWN: &str = r#"{"version": 1, "last-cycle-finished": 3, "current-cycle": null}"#;

    #[test]
    fn a_pid_file_says_whether_a_node_runs() {
        let node = Node::new();
        assert_eq!(node.sign(), None);
        node.pid_file(&format!("{} 1700000000.5\n", std::process::id()));
        assert_eq!(node.sign(), Some(NodeShows::Process(std::process::id())));
        // No system has such a process.
        node.pid_file("2147483647 1700000000.5\n");
        assert_eq!(node.sign(), None);

        // In another pid namespace it may run all the same.
        node.state(COUNTER_FILE, NODES_OWN, 600);
        let Some(NodeShows::Elsewhere { pid: 2_147_483_647, saved_secs_ago: 600..660 }) = node.sign() else {
            panic!("{:?}", node.sign())
        };
        node.state(COUNTER_FILE, NODES_OWN, 7300);
        assert_eq!(node.sign(), None);

        for text in ["", "-5 1.0", "0", "99999999999", "running"] {
            node.pid_file(text);
            assert_eq!(node.sign(), Some(NodeShows::Unclear("holds no number of a process".to_owned())), "{text:?}");
        }
        node.pid_file(&"7 ".repeat(3000));
        assert_eq!(node.sign(), Some(NodeShows::Unclear("is longer than 4096 bytes, so it is no pid file".to_owned())));
        let file = node.0.path().join("running.process");
        fs::remove_file(&file).unwrap();
        create_dir(&file).unwrap();
        let Some(NodeShows::Unclear(why)) = node.sign() else { panic!("{:?}", node.sign()) };
        assert!(why.starts_with("cannot be read ("), "{why}");
    }

    /// How it happens: a node keeps its pid file in /run, as some distributions start it.
    #[test]
    fn fresh_state_of_a_node_counts_without_a_pid_file() {
        for name in [COUNTER_FILE, LEASES_FILE, "bucket_counter.state", "lease_checker.state"] {
            let node = Node::new();
            node.state(name, NODES_OWN, 7300);
            assert_eq!(node.sign(), None, "{name}");
            node.state(name, NODES_OWN, 90);
            let Some(NodeShows::Saved { secs_ago: 90..150 }) = node.sign() else { panic!("{name}: {:?}", node.sign()) };
            // The newer one is told.
            node.state("lease_checker.state", "a pickle", 30);
            let Some(NodeShows::Saved { secs_ago: 30..60 }) = node.sign() else { panic!("{name}: {:?}", node.sign()) };
        }
        let node = Node::new();
        node.state(LEASES_FILE, "", 90);
        assert!(node.sign().is_some(), "a file that is torn says nothing of an export");
    }

    #[test]
    fn what_an_export_wrote_is_no_sign_of_a_node_until_the_node_saves_it() {
        let node = Node::new();
        for name in [COUNTER_FILE, LEASES_FILE] {
            let text = r#"{"version":1,"last-cycle-finished":3,"a name":"with a space, \" and: all"}"#;
            node.state(name, text, 5);
            assert_eq!(node.sign(), None, "{name}");
        }
        node.state(LEASES_FILE, NODES_OWN, 5);
        assert!(matches!(node.sign(), Some(NodeShows::Saved { .. })));
    }

    #[test]
    fn a_process_comes_before_all_that_cannot_be_seen_and_is_not_vouched_for() {
        let node = Node::new();
        node.state(LEASES_FILE, NODES_OWN, 5);
        let sign = running_node(&node.root()).unwrap();
        assert!(sign.forbids(false) && !sign.forbids(true));
        node.pid_file("nothing");
        let sign = running_node(&node.root()).unwrap();
        assert!(matches!(sign.shows, NodeShows::Unclear(_)) && !sign.forbids(true));
        write(node.0.path().join("twistd.pid"), std::process::id().to_string()).unwrap();
        let sign = running_node(&node.root()).unwrap();
        assert!(matches!(sign.shows, NodeShows::Process(_)) && sign.forbids(true));
    }
}
