//! A full disk: the crawl waits, says so, and goes on when there is room; nothing that was committed is lost.
//!
//! How it happens: root mounts a small file system in memory for the state and fills it up with another file; everybody
//! else gives the process a limit on the size of its files, which fails in the same calls. Where neither can be had,
//! the tests fail and say so.

use std::collections::HashSet;
use std::ffi::CString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::{MountFlags, UnmountFlags};
use rustix::process::{Resource, Rlimit, Signal, prlimit};
use serde_json::Value;

use crate::support::harness::{NOW, Running, Sample, assert_same, lasting, repeated, run};

const BUCKETS: u32 = 300;

/// Room for a whole crawl, as long as nothing else takes it.
const ENOUGH: u64 = 4 << 20;

/// What is said wherever room is waited for.
const NO_ROOM: &str = "no room to save the state";

fn args(more: &str) -> String {
    format!("--job leases --json --expire age:2678400 --dry-run --now {NOW} {more}")
}

/// Slow enough to be in mid-cycle for a while, with a commit for every few buckets. By the CPU's clock, so that a busy
/// machine does not make it much slower.
fn slow() -> String {
    args("--cpu 15% --basis cpu --slice 1ms -vv")
}

/// How room is taken away and given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// A file system of its own, and a file that fills it.
    SmallFileSystem,
    /// A limit on the size of files.
    LimitedFiles,
}

/// Every way that can be had here.
pub fn ways() -> Vec<Way> {
    let mut ways = Vec::new();
    let folder = tempfile::tempdir().unwrap();
    let mounted = rustix::process::geteuid().is_root().then(|| mount(folder.path(), "64k"));
    let refused = match mounted {
        Some(Ok(())) => {
            unmount(folder.path());
            ways.push(Way::SmallFileSystem);
            String::new()
        }
        Some(Err(refused)) => refused,
        None => "only root may mount one".to_owned(),
    };
    let limited = Command::new("sh").args(["-c", "ulimit -S -f 1000 && ulimit -S -f"]).output();
    let limited = limited.map(|output| String::from_utf8_lossy(&output.stdout).trim() == "1000");
    if matches!(limited, Ok(true)) {
        ways.push(Way::LimitedFiles);
    }
    assert!(
        !ways.is_empty(),
        "a full disk cannot be made here: no small file system ({refused}), and sh sets no limit on files ({limited:?})"
    );
    println!("by {ways:?} {refused}");
    ways
}

/// Mounts a small file system in memory, which only root may.
pub fn mount(folder: &Path, size: &str) -> Result<(), String> {
    let options = CString::new(format!("size={size},mode=755")).unwrap();
    rustix::mount::mount("tmpfs", folder, "tmpfs", MountFlags::empty(), &*options).map_err(|e| format!("mount: {e}"))
}

pub fn unmount(folder: &Path) {
    // Lazily: whoever still has a file open there does not keep it mounted.
    let _ = rustix::mount::unmount(folder, UnmountFlags::DETACH);
}

/// Takes all room in a folder.
pub fn fill(folder: &Path) {
    let mut filler = fs::File::create(folder.join("filler")).unwrap();
    while filler.write(&[1; 4096]).is_ok() {}
}

/// The command, with so many bytes for each file.
pub fn limited(command: &Command, file_bytes: u64) -> Command {
    let blocks = (file_bytes / 512).to_string();
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -S -f \"$0\"; exec \"$@\"", &blocks]);
    limited.arg(command.get_program()).args(command.get_args());
    limited
}

/// Sets the most bytes of a file of a running process, or takes the limit away.
pub fn limit(running: &Running, bytes: Option<u64>) {
    let now = rustix::process::getrlimit(Resource::Fsize);
    let limit = Rlimit { current: bytes.or(now.maximum), maximum: now.maximum };
    prlimit(Some(running.pid()), Resource::Fsize, limit).unwrap();
}

/// Where the state lies.
struct Disk<'a> {
    way: Way,
    sample: &'a Sample,
    folder: PathBuf,
}

impl<'a> Disk<'a> {
    fn new(way: Way, sample: &'a Sample, bytes: u64) -> Disk<'a> {
        let folder = sample.path(&format!("{way:?}-{bytes}"));
        fs::create_dir_all(&folder).unwrap();
        if way == Way::SmallFileSystem {
            mount(&folder, &bytes.to_string()).unwrap();
        }
        Disk { way, sample, folder }
    }

    fn command(&self, args: &str) -> Command {
        self.sample.crawl(self.folder.join("state").to_str().unwrap(), args)
    }

    /// Starts the program where there is no more room than the small file system has, or so many bytes for each file.
    fn start_without_room(&self, file_bytes: u64, args: &str) -> Running {
        let command = self.command(args);
        match self.way {
            Way::SmallFileSystem => Running::start(&mut self.command(args)),
            Way::LimitedFiles => Running::start(&mut limited(&command, file_bytes)),
        }
    }

    /// From now on nothing can be added to the state.
    fn fill(&self, running: &Running) {
        match self.way {
            Way::SmallFileSystem => {
                fill(&self.folder);
            }
            Way::LimitedFiles => {
                let log = fs::metadata(self.folder.join("state-wal")).unwrap().len();
                limit(running, Some(log));
            }
        }
    }

    fn make_room(&self, running: &Running) {
        match self.way {
            Way::SmallFileSystem => {
                // Missing where the file system was too small from the start.
                let _ = fs::remove_file(self.folder.join("filler"));
                rustix::mount::mount_remount(&self.folder, MountFlags::empty(), "size=16m").unwrap();
            }
            Way::LimitedFiles => limit(running, None),
        }
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        if self.way == Way::SmallFileSystem {
            unmount(&self.folder);
        }
    }
}

/// Runs a test in every way that can be had, on small file systems of each size.
fn on_each_disk(sizes: &[u64], test: impl Fn(&Disk<'_>, u64, &Value)) {
    let sample = Sample::new(BUCKETS);
    let expected = lasting(run(&mut sample.crawl("undisturbed", &args(""))).expect(0).report()).1;
    for way in ways() {
        for bytes in sizes {
            test(&Disk::new(way, &sample, *bytes), *bytes, &expected);
        }
    }
}

/// Starts a crawl, and takes the room away in mid-cycle.
fn run_out_of_room(disk: &Disk<'_>) -> Running {
    let mut running = Running::start(&mut disk.command(&slow()));
    (0..20).for_each(|_| drop(running.must_say("visiting bucket")));
    disk.fill(&running);
    let line = running.must_say("waiting until the state can be saved");
    assert!(line.contains(NO_ROOM) && line.contains("free some space there"), "{line}");
    running
}

#[test]
fn in_mid_cycle_it_waits_and_goes_on() {
    on_each_disk(&[ENOUGH], |disk, _, expected| {
        let running = run_out_of_room(disk);
        disk.make_room(&running);
        let ended = running.end().expect(0);
        let (cycle, report) = lasting(ended.report());
        assert_eq!(cycle, 0);
        assert_same(&report, expected, &format!("{:?}", disk.way));
        assert_eq!(ended.report()["resumed"], false);
        let next = run(&mut disk.command(&args(""))).expect(0).report();
        assert_eq!(lasting(next).0, 1, "the report was handed over");
    });
}

/// Where the file system is too small for a state file, for one with a cycle, or for a whole one.
#[test]
fn from_the_start_it_waits_and_goes_on() {
    on_each_disk(&[20 << 10, 130 << 10, 250 << 10], |disk, bytes, expected| {
        // A state is two or three files.
        let mut running = disk.start_without_room(bytes / 3, &args("-vv"));
        running.must_say(NO_ROOM);
        disk.make_room(&running);
        let ended = running.end().expect(0);
        let (cycle, report) = lasting(ended.report());
        assert_eq!(cycle, 0);
        assert_same(&report, expected, &format!("{:?} of {bytes} bytes", disk.way));
    });
}

#[test]
fn killed_while_it_waits_it_has_lost_nothing() {
    on_each_disk(&[ENOUGH], |disk, _, expected| {
        let killed = run_out_of_room(disk).kill();
        assert_eq!(killed.signal(), Some(9));
        // Still without room: it waits at once, or as soon as what the log held in the way is used up.
        let mut running = disk.start_without_room(20 * 1024, &slow());
        let waited = running.says(NO_ROOM);
        disk.make_room(&running);
        let ended = running.end().expect(0);
        assert!(waited.is_some() || disk.way == Way::SmallFileSystem);
        let report = ended.report();
        assert_eq!(report["resumed"], true);
        assert_eq!(lasting(report).0, 0);
        assert_same(&lasting(ended.report()).1, expected, &format!("{:?}", disk.way));
        let twice = repeated(&[killed, ended]).remove(0);
        let slices: HashSet<u64> = twice.iter().map(|visit| visit.slice).collect();
        assert!(slices.len() <= 1, "{twice:?}");
    });
}

/// What cannot be saved is not called saved.
#[test]
fn interrupted_while_it_waits_it_says_that_not_all_is_saved() {
    on_each_disk(&[ENOUGH], |disk, _, expected| {
        let running = run_out_of_room(disk);
        running.signal(Signal::INT);
        let stopped = running.end().expect(3);
        stopped.said(NO_ROOM);
        assert!(!stopped.stderr.contains("all progress is saved"), "{}", stopped.stderr);
        let _ = fs::remove_file(disk.folder.join("filler"));
        let report = run(&mut disk.command(&args(""))).expect(0).report();
        assert_eq!(report["resumed"], true);
        assert_same(&lasting(report).1, expected, &format!("{:?}", disk.way));
    });
}
