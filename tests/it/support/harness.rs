//! Runs the real binary, and listens to it: what the tests of the command line stand on.
//!
//! A process that hangs fails its test: every wait has a limit, far above what a busy machine needs.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use sexton::tahoe::sample::SampleStore;

/// The moment that counts as now in sample stores and in most fixtures.
pub const NOW: &str = "1700000000";

/// Nothing that is waited for takes longer, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// The binary: of this package, or, for the package beside it, where the same target folder holds it.
pub fn program() -> PathBuf {
    match option_env!("CARGO_BIN_EXE_sexton") {
        Some(path) => path.into(),
        None => std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("sexton"),
    }
}

/// The binary, with nothing of the tester's own surroundings.
pub fn sexton<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(program());
    command.args(args).stdin(Stdio::null());
    for name in ["RUST_LOG", "FAILPOINTS", "XDG_STATE_HOME", "XDG_CACHE_HOME"] {
        command.env_remove(name);
    }
    command
}

/// `sexton crawl` with a state of its own; `args` are split at spaces.
pub fn crawl(store: &Path, state: &Path, args: &str) -> Command {
    let mut command = sexton(["crawl".as_ref(), store.as_os_str(), "--state".as_ref(), state.as_os_str()]);
    command.args(args.split_whitespace());
    command
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Ended {
    Running::start(command).end()
}

/// A sample store, and the folder that goes with it.
pub struct Sample {
    folder: tempfile::TempDir,
}

impl Sample {
    pub fn new(buckets: u32) -> Sample {
        let folder = tempfile::tempdir().unwrap();
        SampleStore { buckets, ..SampleStore::default() }.write(&folder.path().join("store"), |_| ()).unwrap();
        Sample { folder }
    }

    /// All buckets in the prefix `aa`, 400 at most, and their names in order; each holds one share without leases.
    pub fn one_prefix(buckets: u16) -> (Sample, Vec<String>) {
        const SHARE: [u8; 12] = [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        let folder = tempfile::tempdir().unwrap();
        let letter = |n: u16| char::from(b'a' + u8::try_from(n).unwrap());
        let name = |i: u16| format!("aa{}{}{}a", "b".repeat(21), letter(i / 20), letter(i % 20));
        let names: Vec<String> = (0..buckets).map(name).collect();
        for name in &names {
            let bucket = folder.path().join("store/shares/aa").join(name);
            std::fs::create_dir_all(&bucket).unwrap();
            std::fs::write(bucket.join("0"), SHARE).unwrap();
        }
        (Sample { folder }, names)
    }

    pub fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    pub fn shares(&self) -> PathBuf {
        self.store().join("shares")
    }

    /// A path beside the store.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn crawl(&self, state: &str, args: &str) -> Command {
        crawl(&self.store(), &self.path(state), args)
    }
}

/// Starts a process. A copy of the program that a test has just written is busy while another test, which forked in that moment,
/// still holds it open: until its own program runs.
fn spawn(command: &mut Command) -> Child {
    let limit = Instant::now() + PATIENCE;
    loop {
        match command.spawn() {
            Err(e) if e.kind() == std::io::ErrorKind::ExecutableFileBusy && Instant::now() < limit => {
                std::thread::sleep(Duration::from_millis(5));
            }
            started => return started.unwrap(),
        }
    }
}

/// A running process.
pub struct Running {
    child: Child,
    stdout: Option<JoinHandle<Vec<u8>>>,
    lines: Receiver<String>,
    said: String,
}

impl Running {
    pub fn start(command: &mut Command) -> Running {
        let mut child = spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
        let (mut stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let stdout = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            stdout.read_to_end(&mut bytes).unwrap();
            bytes
        });
        let (send, lines) = channel();
        std::thread::spawn(move || {
            let mut stderr = BufReader::new(stderr);
            let mut line = Vec::new();
            while stderr.read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
                let text = String::from_utf8_lossy(&std::mem::take(&mut line)).into_owned();
                if send.send(text).is_err() {
                    return;
                }
            }
        });
        Running { child, stdout: Some(stdout), lines, said: String::new() }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Waits until a line on stderr has these words in it; `None` if the process ends before.
    pub fn says(&mut self, words: &str) -> Option<String> {
        let limit = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(limit.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.said += &line;
                    if line.contains(words) {
                        return Some(line);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => self.give_up(&format!("it has not said {words:?}")),
            }
        }
    }

    /// As [`says`](Self::says), and it has to.
    pub fn must_say(&mut self, words: &str) -> String {
        self.says(words).unwrap_or_else(|| panic!("it ended without saying {words:?}:\n{}", self.said))
    }

    pub fn signal(&self, signal: Signal) {
        // One that has ended is still there until `end` is called.
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits for the end.
    pub fn end(mut self) -> Ended {
        self.says("\0 nothing says this, so all is read to the end");
        let limit = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > limit {
                self.give_up("it has closed stderr, but does not end");
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        let stdout = self.stdout.take().unwrap().join().unwrap();
        Ended { status, stdout: String::from_utf8(stdout).unwrap(), stderr: std::mem::take(&mut self.said) }
    }

    pub fn kill(self) -> Ended {
        self.signal(Signal::KILL);
        self.end()
    }

    fn give_up(&mut self, why: &str) -> ! {
        let _ = self.child.kill();
        panic!("after {PATIENCE:?} {why}:\n{}", self.said);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A test that fails leaves no process behind; one that has ended is none any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process that has ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Its exit code; a process that was killed has none.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("{}:\n{}", self.status, self.stderr))
    }

    /// The signal that ended it.
    pub fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    /// Fails unless the exit code is this one.
    #[track_caller]
    pub fn expect(self, code: i32) -> Ended {
        assert_eq!(self.status.code(), Some(code), "{}{}", self.stdout, self.stderr);
        self
    }

    /// The one JSON object on stdout.
    #[track_caller]
    pub fn report(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {:?}\n{}", self.stdout, self.stderr))
    }

    /// Fails unless stderr has these words.
    #[track_caller]
    pub fn said(&self, words: &str) -> &Ended {
        assert!(self.stderr.contains(words), "{words:?} is not in\n{}", self.stderr);
        self
    }
}

/// What of a report has to be the same after any crash: all but times, budget, `resumed`, and the cycle's number, which is
/// returned beside it.
pub fn lasting(mut report: Value) -> (u64, Value) {
    let keys = report.as_object_mut().unwrap();
    let cycle = keys.remove("cycle").and_then(|n| n.as_u64()).unwrap();
    for key in ["elapsed_secs", "budget", "resumed"] {
        keys.remove(key).unwrap_or_else(|| panic!("{key} is missing"));
    }
    (cycle, report)
}

/// Compares what [`lasting`] gives, and shows only what differs.
#[track_caller]
pub fn assert_same(found: &Value, expected: &Value, what: &str) {
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(found), keys(expected), "{what}");
    for key in keys(found) {
        assert_eq!(found[&key], expected[&key], "{key}: {what}");
    }
}

/// The store of this name in `tests/data`, unpacked, and what Tahoe's own crawlers say of it.
pub struct Fixture {
    _folder: tempfile::TempDir,
    pub root: PathBuf,
    pub expected: serde_json::Map<String, Value>,
}

impl Fixture {
    pub fn unpack(name: &str) -> Fixture {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
        let folder = tempfile::tempdir().unwrap();
        let packed = std::fs::File::open(data.join(format!("{name}.tar.gz"))).unwrap();
        tar::Archive::new(flate2::read::GzDecoder::new(packed)).unpack(folder.path()).unwrap();
        let below = folder.path().join(name);
        let root = if below.is_dir() { below } else { folder.path().to_path_buf() };
        let expected = std::fs::read(data.join(format!("{name}.expected.json"))).unwrap();
        Fixture { _folder: folder, root, expected: serde_json::from_slice(&expected).unwrap() }
    }
}

/// A visit to a bucket, from a line that `-vv` writes before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visit {
    /// When it began.
    pub at: SystemTime,
    /// The slice that paid for it, by its number in that process.
    pub slice: u64,
    /// The bucket's name.
    pub bucket: String,
}

/// All visits that a process told of, in order.
pub fn visits(stderr: &str) -> Vec<Visit> {
    // A killed process may leave half a line.
    let whole = stderr.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let visit = |line: &str| Visit {
        at: humantime::parse_rfc3339(line.split_whitespace().next().unwrap()).unwrap(),
        slice: field(line, "slice").parse().unwrap(),
        bucket: field(line, "bucket").to_owned(),
    };
    whole.filter(|line| line.contains(" visiting bucket ")).map(visit).collect()
}

/// A field of a line of the log.
pub fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let value = line.split_once(&format!(" {name}=")).and_then(|(_, rest)| rest.split_whitespace().next());
    value.unwrap_or_else(|| panic!("no {name} in {line}"))
}

/// Of each run but the last of a cycle, the visits that a later one repeats.
pub fn repeated(runs: &[Ended]) -> Vec<Vec<Visit>> {
    let all: Vec<Vec<Visit>> = runs.iter().map(|run| visits(&run.stderr)).collect();
    let of = |next: usize| {
        let later: HashSet<&str> = all[next..].iter().flatten().map(|visit| visit.bucket.as_str()).collect();
        all[next - 1].iter().filter(|visit| later.contains(visit.bucket.as_str())).cloned().collect()
    };
    (1..all.len()).map(of).collect()
}
