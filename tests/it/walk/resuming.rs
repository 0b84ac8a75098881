//! An unfinished cycle goes on with the same command, and a finished one is reported until somebody has got it.

use std::collections::HashSet;
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::harness::{Ended, NOW, Running, Sample, lasting, run, visits};

const BUCKETS: u32 = 400;

/// What every run here has in common.
fn args(more: &str) -> String {
    format!("--job leases --json --expire age:2678400 --dry-run --now {NOW} {more}")
}

/// The report of a run that nothing has disturbed.
fn undisturbed(sample: &Sample) -> Value {
    let report = run(&mut sample.crawl("undisturbed", &args(""))).expect(0).report();
    assert_eq!((&report["resumed"], &report["buckets"]), (&false.into(), &BUCKETS.into()));
    lasting(report).1
}

/// Leaves a cycle unfinished: the process is aborted at its sixth commit.
fn abort_in_mid_cycle(sample: &Sample, state: &str) {
    let mut command = sample.crawl(state, &args("--slice 1ms"));
    let ended = run(command.env("FAILPOINTS", "checkpoint::before_commit=5*off->return"));
    assert_eq!(ended.signal(), Some(6), "{}", ended.stderr);
}

fn bucket_names(ended: &Ended) -> HashSet<String> {
    visits(&ended.stderr).into_iter().map(|visit| visit.bucket).collect()
}

#[test]
fn an_interrupt_saves_all_and_the_same_command_goes_on() {
    let sample = Sample::new(BUCKETS);
    let expected = undisturbed(&sample);
    for (signal, workers) in [(Signal::INT, 1), (Signal::TERM, 2)] {
        let state = format!("{signal:?}");
        let slow = args(&format!("--workers {workers} --slice 1ms --cpu 20% --basis cpu -vv"));
        let mut running = Running::start(&mut sample.crawl(&state, &slow));
        (0..30).for_each(|_| drop(running.must_say("visiting bucket")));
        running.signal(signal);
        let stopped = running.end().expect(130);
        stopped.said("stopping after the running bucket").said("all progress is saved");
        assert_eq!(stopped.stdout, "");
        let resumed = run(&mut sample.crawl(&state, &args("-vv"))).expect(0);
        resumed.said("resuming cycle 0, of which ");
        assert_eq!(resumed.report()["resumed"], true);
        assert_eq!(lasting(resumed.report()), (0, expected.clone()));
        let (before, after) = (bucket_names(&stopped), bucket_names(&resumed));
        assert!(before.is_disjoint(&after), "visited twice: {:?}", before.intersection(&after));
        assert_eq!(before.len() + after.len(), BUCKETS as usize);
    }
}

/// How it happens: each commit takes ten minutes, so the first signal has to wait that long.
#[test]
fn a_second_interrupt_ends_it_at_once() {
    let sample = Sample::new(BUCKETS);
    let mut slow = sample.crawl("state", &args("-vv"));
    let mut running = Running::start(slow.env("FAILPOINTS", "checkpoint::before_commit=sleep(600000)"));
    running.must_say("visiting bucket");
    running.signal(Signal::INT);
    running.must_say("once more stops at once");
    running.signal(Signal::INT);
    assert_eq!(running.end().expect(130).stdout, "");
    let report = run(&mut sample.crawl("state", &args(""))).expect(0).report();
    assert_eq!(report["resumed"], true);
    assert_eq!(lasting(report), (0, undisturbed(&sample)));
}

#[test]
fn budget_workers_and_checkpoints_may_change_within_a_cycle() {
    let sample = Sample::new(BUCKETS);
    abort_in_mid_cycle(&sample, "state");
    let other = "--cpu 300% --slice 20ms --basis cpu --workers 3 --checkpoint every_bucket";
    let report = run(&mut sample.crawl("state", &args(other))).expect(0).report();
    assert_eq!(report["resumed"], true);
    assert_eq!(lasting(report), (0, undisturbed(&sample)));
}

#[test]
fn other_parameters_are_refused_with_the_difference_until_fresh() {
    let sample = Sample::new(BUCKETS);
    abort_in_mid_cycle(&sample, "state");
    let refused = |command: &str, difference: &str| {
        let ended = run(&mut sample.crawl("state", command)).expect(2);
        ended.said("the unfinished cycle 0 of leases was begun with other parameters").said(difference).said("--fresh");
        assert_eq!(ended.stdout, "");
    };
    let common = "--job leases --json --dry-run";
    refused(&format!("{common} --now {NOW} --expire none"), "expire: was \"age:2678400\", is \"none\"");
    refused(&format!("{common} --now {NOW} --expire age:1"), "is \"age:1\"");
    refused(&format!("{common} --now 1700000001 --expire age:2678400"), "now: was 1700000000, is 1700000001");
    let only_mutable = args("--sharetypes mutable");
    refused(&only_mutable, "sharetypes: was [\"mutable\",\"immutable\"], is [\"mutable\"]");
    let other = Sample::new(1);
    let ended = run(&mut crate::support::harness::crawl(&other.store(), &sample.path("state"), &args(""))).expect(2);
    ended.said(&format!("is {}", other.store().display()));

    let report = run(&mut sample.crawl("state", &format!("{only_mutable} --fresh"))).expect(0).report();
    assert_eq!((&report["cycle"], &report["resumed"]), (&1.into(), &false.into()));
    let report = run(&mut sample.crawl("state", &args(""))).expect(0).report();
    assert_eq!(lasting(report), (2, undisturbed(&sample)));
}

/// The moment that counts as now need not be given again: it is frozen in the cycle.
#[test]
fn a_cycle_keeps_its_moment() {
    let sample = Sample::new(BUCKETS);
    abort_in_mid_cycle(&sample, "state");
    let report = run(&mut sample.crawl("state", "--job leases --json --expire age:2678400 --dry-run"));
    assert_eq!(lasting(report.expect(0).report()), (0, undisturbed(&sample)));
}

/// Runs the command again after a cycle was finished and its report lost, then once more.
fn report_comes_again(sample: &Sample, expected: &Value) {
    let again = run(&mut sample.crawl("state", &args("-vv"))).expect(0);
    again.said("an earlier run has finished cycle 0, this is its report");
    assert_eq!(visits(&again.stderr), [], "nothing is crawled");
    assert_eq!(again.report()["resumed"], true);
    assert_eq!(lasting(again.report()), (0, expected.clone()));
    let next = run(&mut sample.crawl("state", &args("-vv"))).expect(0);
    assert_eq!(visits(&next.stderr).len(), BUCKETS as usize);
    assert_eq!(next.report()["resumed"], false);
    assert_eq!(lasting(next.report()), (1, expected.clone()));
}

/// How it happens: whoever should read the report has gone.
#[test]
fn a_report_that_could_not_be_printed_comes_again() {
    let sample = Sample::new(BUCKETS);
    let expected = undisturbed(&sample);
    for _ in 0..2 {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = sample.crawl("state", &args(""));
        let ended = command.stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(ended.status.code(), Some(3));
        let said = String::from_utf8(ended.stderr).unwrap();
        assert!(said.contains("cannot write the report to stdout"), "{said}");
    }
    report_comes_again(&sample, &expected);
}

/// How it happens: the process dies when the report is printed, but that is not noted yet.
#[test]
fn a_report_whose_printing_was_not_noted_comes_again() {
    let sample = Sample::new(BUCKETS);
    let expected = undisturbed(&sample);
    for _ in 0..2 {
        let mut command = sample.crawl("state", &args(""));
        let ended = run(command.env("FAILPOINTS", "checkpoint::before_deliver=return"));
        assert_eq!(ended.signal(), Some(6));
        assert_eq!(lasting(ended.report()), (0, expected.clone()));
    }
    report_comes_again(&sample, &expected);
}

#[test]
fn a_finished_cycle_is_not_reported_to_who_asks_for_another() {
    let sample = Sample::new(BUCKETS);
    let mut command = sample.crawl("state", &args(""));
    run(command.env("FAILPOINTS", "checkpoint::before_deliver=return"));
    let report = run(&mut sample.crawl("state", &args("--sharetypes mutable"))).expect(0).report();
    assert_eq!((&report["cycle"], &report["resumed"]), (&1.into(), &false.into()));
    assert_ne!(lasting(report).1, undisturbed(&sample));
}
