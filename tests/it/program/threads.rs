//! A system that has no thread to spare, and parts of the program that break: what is said, and that the rest goes on.
//!
//! How it happens: a fail point stands for the system's refusal (EAGAIN), or panics where a share is read. With the real limit
//! the same is tested in `external_threads.rs`.

use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;

use crate::daemon::process::{CRAWLS, command, command_for, config};
use crate::support::harness::{Running, Sample, run};

const NO_THREAD: &str = "no thread can be started: ";

#[test]
fn a_crawl_waits_for_a_thread_says_so_once_and_comes_to_the_same_end() {
    let sample = Sample::new(20);
    let args = "--job count --json";
    let undisturbed = run(&mut sample.crawl("undisturbed", args)).expect(0).report();
    let mut waiting = Running::start(sample.crawl("state", args).env("FAILPOINTS", "threads::start=2*return"));
    waiting.must_say(NO_THREAD);
    let ended = waiting.end();
    assert_eq!(ended.stderr.matches(NO_THREAD).count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("TasksMax="), "{}", ended.stderr);
    let report = ended.expect(0).report();
    assert_eq!((&report["buckets"], &report["resumed"]), (&undisturbed["buckets"], &undisturbed["resumed"]));
}

#[test]
fn a_daemon_waits_at_its_start_for_threads_and_says_what_for() {
    let sample = Sample::new(20);
    // Free when it was asked for; nobody else here asks for a certain one.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let text = config(r#"cpu_percentage: "100%""#, CRAWLS, "").replace("127.0.0.1:0", &address);
    std::fs::write(sample.path("config.ron"), text).unwrap();
    let mut running = Running::start(command(&sample).env("FAILPOINTS", "threads::start=3*return"));
    running.must_say(NO_THREAD);
    let status = run(&mut command_for(&sample, "status")).expect(3);
    assert!(status.stderr.contains("the daemon waits at its start: no thread can be started"), "{}", status.stderr);
    running.must_say("the page, once: ");
    let status = run(&mut command_for(&sample, "status"));
    assert!(status.stdout.starts_with("sexton "), "{}", status.stderr);
    running.signal(Signal::TERM);
    assert_eq!(running.end().status.code(), Some(0));
}

#[test]
fn a_panic_is_one_line_that_names_a_report_for_its_owner_alone() {
    let sample = Sample::new(20);
    let mut command = sample.crawl("state", "--job verify");
    command.env("HOME", sample.path("home")).env_remove("STATE_DIRECTORY");
    let ended = run(command.env("FAILPOINTS", "store::read=1*panic(what\nbroke)").env("RUST_BACKTRACE", "full"));
    let lines: Vec<&str> = ended.stderr.lines().filter(|line| line.contains("a part of sexton broke")).collect();
    let [line] = lines[..] else { panic!("{}", ended.stderr) };
    assert!(line.contains("what broke") && line.contains(".rs:"), "{line}");
    assert!(!ended.stderr.contains("panicked at") && !ended.stderr.contains("backtrace"), "{}", ended.stderr);
    let path = line.split_whitespace().find(|word| word.ends_with(".txt")).unwrap();
    assert!(path.starts_with(sample.path("home").to_str().unwrap()), "{path}");
    assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    let report = std::fs::read_to_string(path).unwrap();
    assert!(report.contains("what broke") && report.contains("read_at"), "{report}");
    // The rest of the walk was done, and the bucket is listed.
    assert!(ended.stdout.contains("20 buckets"), "{}", ended.stdout);
    ended.expect(1);
}
