//! The system's own limit on threads, for some seconds: the daemon and a crawl say so, wait, and go on by themselves.
//!
//! How it happens: `ulimit -u`; TasksMax= of a unit and pids.max of a container have the same effect (EAGAIN). Only root can run
//! the program as a user of whom nothing else runs, so that the limit is its own.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use serde_json::Value;

use crate::daemon::process::{CRAWLS, PATIENCE, command, command_for, config};
use crate::support::harness::{Running, Sample, run};

/// A user of whom nothing else runs.
const NOBODY_ELSE: u32 = 42_430;
/// How long the limit lasts.
const LIMITED: Duration = Duration::from_secs(4);

/// A store and a state that this user may use, if there is a way to become this user.
fn sample() -> Option<Sample> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can run a program as another user");
        return None;
    }
    let sample = Sample::new(300);
    std::fs::set_permissions(sample.path(""), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_sexton"), sample.path("sexton")).unwrap();
    for name in ["home", "runtime", "state"] {
        std::fs::create_dir(sample.path(name)).unwrap();
        std::os::unix::fs::chown(sample.path(name), Some(NOBODY_ELSE), Some(NOBODY_ELSE)).unwrap();
    }
    Some(sample)
}

/// The same command, by that user, who may have so many threads.
fn limited(sample: &Sample, command: &Command, threads: u64) -> Running {
    let mut limited = Command::new(sample.path("sexton"));
    limited.args(command.get_args()).current_dir("/").uid(NOBODY_ELSE).gid(NOBODY_ELSE);
    limited.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let limit = move || {
        let maximum = getrlimit(Resource::Nproc).maximum;
        Ok(setrlimit(Resource::Nproc, Rlimit { current: Some(threads), maximum })?)
    };
    // SAFETY: two system calls, and nothing that allocates.
    unsafe { limited.pre_exec(limit) };
    Running::start(&mut limited)
}

/// As the same user: root may not be able to in a container.
fn allow(running: &Running) {
    let mut allow = Command::new("prlimit");
    allow.arg(format!("--pid={}", running.pid().as_raw_nonzero())).arg("--nproc=4000:");
    assert!(allow.uid(NOBODY_ELSE).gid(NOBODY_ELSE).status().unwrap().success(), "it has ended");
}

fn no_backtrace(said: &str) {
    assert!(!said.contains("panicked at") && !said.contains("a part of sexton broke"), "{said}");
}

#[test]
fn a_daemon_goes_on_when_there_are_threads_again() {
    let Some(sample) = sample() else { return };
    // Free when it was asked for; nobody else here asks for a certain one.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let text = config(r#"cpu_percentage: "100%""#, CRAWLS, "").replace("127.0.0.1:0", &address);
    std::fs::write(sample.path("config.ron"), text.replace("state.sqlite", "state/state.sqlite")).unwrap();
    for threads in [1, 3, 6, 9, 11, 12, 13, 14, 15, 17] {
        let running = limited(&sample, &command(&sample), threads);
        std::thread::sleep(LIMITED);
        allow(&running);
        let since = Instant::now();
        let walked = || {
            let status = run(&mut command_for(&sample, "status --json"));
            let status: Value = serde_json::from_str(&status.stdout).unwrap_or_default();
            status["crawls"][0]["state"] == "sleeping"
        };
        while !walked() {
            assert!(since.elapsed() < PATIENCE, "with {threads} threads it does not go on");
            std::thread::sleep(Duration::from_millis(200));
        }
        running.signal(Signal::TERM);
        let ended = running.end();
        no_backtrace(&ended.stderr);
        assert_eq!(ended.status.code(), Some(0), "with {threads} threads: {}", ended.stderr);
        std::fs::remove_dir_all(sample.path("state")).unwrap();
        std::fs::create_dir(sample.path("state")).unwrap();
        std::os::unix::fs::chown(sample.path("state"), Some(NOBODY_ELSE), Some(NOBODY_ELSE)).unwrap();
    }
}

#[test]
fn a_crawl_goes_on_when_there_are_threads_again() {
    let Some(sample) = sample() else { return };
    for threads in [1, 3, 5, 7, 9, 11] {
        let state = format!("state/{threads}.sqlite");
        let running = limited(&sample, &sample.crawl(&state, "--job leases --json --workers 3"), threads);
        std::thread::sleep(LIMITED);
        allow(&running);
        let ended = running.end();
        no_backtrace(&ended.stderr);
        assert_eq!(ended.expect(0).report()["buckets"], 300);
    }
}
