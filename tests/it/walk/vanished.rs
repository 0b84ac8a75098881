//! A store that goes away as a whole, for a moment or for longer, under a crawl that runs once.
//!
//! How the failure happens: a disk that is unplugged, a network share that hangs up (here the folder `shares` is moved away and
//! back). Every prefix and every bucket fails then, and none of them is to blame.

use std::fs;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::process::Signal;
use serde_json::Value;

use crate::support::harness::{Ended, NOW, Running, Sample, assert_same, lasting, run};

/// Slow enough that the store can go away in the middle.
fn args(job: &str, more: &str) -> String {
    let expiry = if job == "leases" { "--expire age:2678400 --dry-run" } else { "" };
    format!("--job {job} --json {expiry} --now {NOW} {more}")
}

const SLOWLY: &str = "--slice 1ms --cpu 10% -vv";

/// How it ends: the shares of a sample are of random bytes.
fn code(job: &str) -> i32 {
    i32::from(job == "verify")
}

fn undisturbed(sample: &Sample, job: &str) -> Value {
    lasting(run(&mut sample.crawl("undisturbed", &args(job, ""))).expect(code(job)).report()).1
}

/// Moves the store away once some buckets were visited.
fn unplugged(sample: &Sample, job: &str, more: &str) -> Running {
    let mut running = Running::start(&mut sample.crawl("state", &args(job, &format!("{SLOWLY} {more}"))));
    (0..20).for_each(|_| drop(running.must_say("visiting bucket")));
    fs::rename(sample.shares(), sample.store().join("away")).unwrap();
    running
}

fn plug_in(sample: &Sample) {
    fs::rename(sample.store().join("away"), sample.shares()).unwrap();
}

#[test]
fn a_crawl_whose_store_has_gone_ends_with_code_3_and_the_same_command_goes_on_with_the_same_cycle() {
    for (job, sample) in
        [("leases", Sample::one_prefix(300).0), ("leases", Sample::new(300)), ("verify", Sample::new(300))]
    {
        let expected = undisturbed(&sample, job);
        let ended = unplugged(&sample, job, "").end().expect(3);
        ended.said("cannot go on with").said("the folder shares is gone");
        assert_eq!(ended.stdout, "", "nothing is finished");
        plug_in(&sample);
        let report = run(&mut sample.crawl("state", &args(job, ""))).expect(code(job)).report();
        assert_eq!(report["resumed"], true);
        let (cycle, report) = lasting(report);
        assert_eq!(cycle, 0);
        assert_same(&report, &expected, job);
    }
}

#[test]
fn told_to_wait_it_goes_on_when_the_store_is_back() {
    let sample = Sample::new(300);
    let expected = undisturbed(&sample, "leases");
    let mut running = unplugged(&sample, "leases", "--wait");
    running.must_say("waiting until it is back");
    plug_in(&sample);
    let (cycle, report) = lasting(running.end().expect(0).report());
    assert_eq!(cycle, 0);
    assert_same(&report, &expected, "after a wait");
}

#[test]
fn a_signal_ends_the_wait_with_everything_saved() {
    let sample = Sample::new(300);
    let mut running = unplugged(&sample, "leases", "--wait");
    running.must_say("waiting until it is back");
    // It listens to signals a moment later than it says so.
    std::thread::sleep(std::time::Duration::from_millis(300));
    running.signal(Signal::INT);
    let ended: Ended = running.end().expect(130);
    assert_eq!(ended.stdout, "");
    plug_in(&sample);
    assert_eq!(run(&mut sample.crawl("state", &args("leases", ""))).expect(0).report()["resumed"], true);
}

/// A folder with the same names in place of the one that is held, on the same device: what inode numbers that do not last look
/// like. Where something is to be deleted it holds no buckets, so that nothing is lost with them.
#[test]
fn where_inode_numbers_do_not_last_reading_goes_on_and_changing_is_refused_before_the_first_change() {
    for (deletes, code) in [(false, 0), (true, 3)] {
        let sample = Sample::new(300);
        let job = if deletes { "--job leases --expire age:2678400 --offline --max-delete 100%" } else { "--job count" };
        let state = if deletes { "deletes" } else { "counts" };
        let args = format!("{job} --json --slice 1ms --cpu 2% -v");
        let (shares, away) = (sample.shares(), sample.store().join("away"));
        fs::create_dir(&away).unwrap();
        for prefix in fs::read_dir(&shares).unwrap().map(|entry| entry.unwrap()) {
            let copy = away.join(prefix.file_name());
            fs::create_dir(&copy).unwrap();
            let buckets = fs::read_dir(prefix.path()).unwrap().filter(|_| !deletes);
            buckets.for_each(|bucket| fs::create_dir(copy.join(bucket.unwrap().file_name())).unwrap());
        }
        let mut running = Running::start(&mut sample.crawl(state, &args));
        running.must_say("state:");
        renameat_with(CWD, &shares, CWD, &away, RenameFlags::EXCHANGE).unwrap();
        let ended = running.end().expect(code);
        if deletes {
            ended.said("inode numbers do not last");
            assert_eq!(
                fs::read_dir(&away).unwrap().flat_map(|p| fs::read_dir(p.unwrap().path()).unwrap()).count(),
                300
            );
        } else {
            assert_eq!(ended.report()["buckets"], 300);
            assert_eq!(ended.report()["errors"].as_array().map(Vec::len), Some(0), "{}", ended.stdout);
        }
    }
}
