//! Crashes at fail points: after each of them the same command gives the report of an undisturbed run.
//!
//! How the failure happens: the process aborts itself just before or just after a transaction that changes the state,
//! when it comes to that point for the first, second, nth time. The machine goes on, so whatever was written before is
//! there.

use rustix::process::Signal;
use serde_json::Value;

use super::harness::{Ended, NOW, Running, Sample, assert_same, lasting, repeated, run};

const ABORTED: Option<i32> = Some(6);

fn args(more: &str) -> String {
    format!("--job leases --json --expire age:2678400 --dry-run --now {NOW} {more}")
}

fn undisturbed(sample: &Sample) -> Value {
    lasting(run(&mut sample.crawl("undisturbed", &args(""))).expect(0).report()).1
}

/// Whether a cycle is known when the process aborts at a point.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    No,
    Yes,
}

struct Abort<'a> {
    sample: &'a Sample,
    /// Names the state files.
    name: String,
    expected: &'a Value,
    args: String,
}

impl Abort<'_> {
    /// Aborts at a point that was passed so many times before, then runs the same command again. Tells whether it came to
    /// the point.
    fn at(&self, point: &str, passed: usize, known: Known) -> bool {
        let state = format!("{}-{point}-{passed}", self.name);
        let failing = format!("checkpoint::{point}={passed}*off->return");
        let aborted = run(self.sample.crawl(&state, &self.args).env("FAILPOINTS", &failing));
        if aborted.signal() != ABORTED {
            aborted.expect(0);
            return false;
        }
        let report = run(&mut self.sample.crawl(&state, &self.args)).expect(0).report();
        assert_eq!(report["resumed"], known == Known::Yes, "aborted by {failing}");
        let (cycle, report) = lasting(report);
        assert_eq!(cycle, 0, "aborted by {failing}");
        assert_same(&report, self.expected, &format!("aborted by {failing}"));
        true
    }

    /// Before and after.
    fn around(&self, call: &str, passed: usize) -> bool {
        self.at(&format!("before_{call}"), passed, Known::Yes) && self.at(&format!("after_{call}"), passed, Known::Yes)
    }
}

#[test]
fn aborted_at_the_making_of_state_and_cycle() {
    let sample = Sample::new(50);
    let abort = Abort { sample: &sample, name: String::new(), expected: &undisturbed(&sample), args: args("") };
    for (point, known) in [
        ("before_create", Known::No),
        ("after_create", Known::No),
        ("before_begin", Known::No),
        ("after_begin", Known::Yes),
        ("before_deliver", Known::Yes),
    ] {
        assert!(abort.at(point, 0, known), "{point} is not reached");
        assert!(!abort.at(point, 1, known), "{point} is reached twice");
    }
}

#[test]
fn aborted_after_the_delivery_the_next_cycle_begins() {
    let sample = Sample::new(50);
    let mut failing = sample.crawl("state", &args(""));
    let aborted = run(failing.env("FAILPOINTS", "checkpoint::after_deliver=return"));
    assert_eq!(aborted.signal(), ABORTED);
    let expected = undisturbed(&sample);
    assert_eq!(lasting(aborted.report()), (0, expected.clone()), "printed before");
    assert_eq!(lasting(run(&mut sample.crawl("state", &args(""))).expect(0).report()), (1, expected));
}

#[test]
fn aborted_at_every_commit() {
    let sample = Sample::new(8);
    let abort = Abort {
        sample: &sample,
        name: String::new(),
        expected: &undisturbed(&sample),
        args: args("--checkpoint every_bucket"),
    };
    let commits = (0..).take_while(|passed| abort.around("commit", *passed)).count();
    // One for each bucket, and one for each 128 prefixes on the way in which there is none, here five times.
    assert_eq!(commits, 8 + 5);
}

/// How it happens: a share says that it cannot be read just now; its bucket is visited again at the end of its prefix, also by
/// another process.
#[test]
fn what_cannot_be_read_just_now_is_visited_again_and_counts_once() {
    let (sample, _) = Sample::one_prefix(6);
    let expected = undisturbed(&sample);
    let args = args("--checkpoint every_bucket");
    for reading in [0, 7] {
        let waits = format!("store::read={reading}*off->1*return(waits)->off");
        let once = run(sample.crawl(&format!("once-{reading}"), &args).env("FAILPOINTS", &waits)).expect(0);
        assert_same(&lasting(once.report()).1, &expected, &waits);
        let mut aborted_by = 0;
        for commit in 0.. {
            let state = format!("{reading}-{commit}");
            let failing = format!("{waits};checkpoint::before_commit={commit}*off->return");
            let aborted = run(sample.crawl(&state, &args).env("FAILPOINTS", &failing));
            if aborted.signal() != ABORTED {
                break;
            }
            aborted_by += 1;
            let report = run(&mut sample.crawl(&state, &args)).expect(0).report();
            assert_same(&lasting(report).1, &expected, &failing);
        }
        assert!(aborted_by > 6, "{aborted_by} commits");
    }
    let never = run(sample.crawl("never", &args).env("FAILPOINTS", "store::read=return(waits)")).expect(1).report();
    let errors = never["errors"].as_array().unwrap();
    assert_eq!((errors.len(), &never["buckets"]), (6, &expected["buckets"]));
    assert!(errors.iter().all(|e| e["error"].as_str().unwrap().starts_with("not readable now: ")), "{errors:?}");
}

#[test]
fn aborted_at_some_of_many_commits() {
    let sample = Sample::new(1000);
    let expected = undisturbed(&sample);
    for workers in [1, 2] {
        let args = args(&format!("--checkpoint every_bucket --workers {workers}"));
        let abort = Abort { sample: &sample, name: workers.to_string(), expected: &expected, args };
        for passed in [1, 600, 996 + workers] {
            assert!(abort.around("commit", passed), "there is no commit {passed} with {workers} worker(s)");
        }
    }
}

#[test]
fn aborted_at_claims() {
    let sample = Sample::new(100);
    let abort = Abort {
        sample: &sample,
        name: String::new(),
        expected: &undisturbed(&sample),
        args: args("--workers 2 --slice 5ms"),
    };
    for passed in [0, 1, 7, 14] {
        assert!(abort.around("claim", passed), "there is no claim {passed}");
    }
}

/// How it happens: interrupted, a worker gives its claims back when all is saved.
#[test]
fn aborted_at_the_release_of_claims() {
    // In mid-prefix there is always a claim to give back.
    let (sample, _) = Sample::one_prefix(400);
    let expected = undisturbed(&sample);
    for point in ["before_release", "after_release"] {
        let mut failing = sample.crawl(point, &args("--slice 1ms --cpu 20% --basis cpu -vv"));
        let mut running = Running::start(failing.env("FAILPOINTS", format!("checkpoint::{point}=return")));
        (0..10).for_each(|_| drop(running.must_say("visiting bucket")));
        running.signal(Signal::INT);
        let aborted = running.end();
        assert_eq!(aborted.signal(), ABORTED, "{point} is not reached: {}\n{}", aborted.status, aborted.stderr);
        let resumed = run(&mut sample.crawl(point, &args("-vv"))).expect(0);
        assert_eq!(repeated(&[aborted, resumed]), [vec![]], "all was saved before");
        let report = run(&mut sample.crawl(point, &args(""))).expect(0).report();
        assert_eq!(lasting(report), (1, expected.clone()));
    }
}

/// How it happens: something in the 2nd bucket from here ends the process, again and again.
#[test]
fn a_process_that_always_dies_after_one_bucket_still_ends() {
    let sample = Sample::new(10);
    let args = args("--checkpoint every_bucket -vv");
    let mut runs = Vec::new();
    while runs.last().is_none_or(|run: &Ended| run.signal() == ABORTED) {
        assert!(runs.len() < 10 + 1024 / 128 + 1, "it does not come to an end");
        let mut failing = sample.crawl("state", &args);
        runs.push(run(failing.env("FAILPOINTS", "checkpoint::before_commit=1*off->return")));
    }
    assert_eq!(lasting(runs.last().unwrap().report()), (0, undisturbed(&sample)));
    // Besides buckets also stretches of prefixes without any are saved: dying after such a one may repeat none.
    let repeated = repeated(&runs);
    assert!(repeated.iter().all(|buckets| buckets.len() <= 1), "{repeated:?}");
    assert!(repeated.iter().flatten().count() >= 9, "{repeated:?}");
}
