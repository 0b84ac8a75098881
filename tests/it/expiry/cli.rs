//! `sexton crawl --job leases` as its users meet it: exit codes, refusals, and what the report says beside Tahoe's history.

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use serde_json::json;
use sexton::tahoe::TahoeStore;

use super::crash::immutable_at;
use crate::support::harness::{Fixture, NOW, Sample, crawl, run};

#[test]
fn corrupt_shares_end_with_1_though_everything_could_be_read() {
    let (fixture, folder) = (Fixture::unpack("fixture-odd"), tempfile::tempdir().unwrap());
    for (args, code) in [("--job leases --json", 1), ("--job count --json", 0)] {
        let report = run(&mut crawl(&fixture.root, &folder.path().join("state"), args)).expect(code).report();
        assert_eq!(report["errors"], json!([]), "{args}");
    }
}

#[test]
fn a_cutoff_to_come_is_refused_by_whoever_only_asks_too() {
    let sample = Sample::new(4);
    let to_come = NOW.parse::<u64>().unwrap() + 1;
    let expire = format!("--job leases --expire cutoff:{to_come} --now {NOW}");
    for how in ["--offline", "--offline --dry-run", "--online --dry-run", "--online"] {
        run(&mut sample.crawl("state", &format!("{expire} {how}"))).expect(2).said("is after now");
    }
    run(&mut sample.crawl("state", "--job leases --expire cutoff:99999999999 --dry-run"))
        .expect(2)
        .said("is after now");
    assert!(!sample.path("state").exists());
    // As Tahoe evaluates at a moment that was given, and as Tahoe does.
    for how in ["--dry-run", "--offline --compat --dry-run", "--offline --compat --max-delete 100%"] {
        run(&mut sample.crawl("state", &format!("{expire} {how}"))).expect(0);
    }
}

/// Two that delete with a state each would both count what only one of them has deleted.
#[test]
fn two_processes_do_not_delete_from_one_store() {
    let sample = Sample::new(4);
    let expire = format!("--job leases --expire cutoff:{NOW} --now {NOW} --max-delete 100%");
    let other = TahoeStore::open(sample.store()).unwrap().alone().unwrap();
    let crawl = |how: &str| run(&mut sample.crawl("state", &format!("{expire} {how}")));
    crawl("--offline").expect(3).said("another process, perhaps a daemon, may delete from the store");
    crawl("--dry-run").expect(0);
    drop(other);
    crawl("--offline").expect(0);
}

/// What the error says to do is possible: look, and allow more. Neither examines again, nor gives anything up.
#[test]
fn a_cycle_beyond_its_limit_waits_while_it_is_looked_into() {
    let sample = Sample::new(1500);
    let rule = format!("--job leases --expire age:2678400 --now {NOW} --checkpoint every_bucket");
    let crawl = |args: &str| run(&mut sample.crawl("state", args));
    let files = || super::fixtures::files(&sample.store());
    let before = files();
    let waits = "cycle 0 of leases is examined and would delete 568 of 1849 shares (deleted already: 0)";
    crawl(&format!("{rule} --offline")).expect(4).said(waits);
    for words in ["--offline --dry-run", "--dry-run", "--offline --dry-run --fresh"] {
        let told = crawl(&format!("{rule} {words} --json")).expect(0).report();
        assert_eq!((&told["would_delete"]["shares"], &told["resumed"]), (&json!(568), &json!(false)), "{words}");
    }
    crawl(&format!("--job leases --now {NOW}")).expect(0);
    crawl(&format!("{rule} --offline --max-delete 30%")).expect(4).said(waits);
    assert!(files() == before);
    let report = crawl(&format!("{rule} --offline --max-delete 31% --json")).expect(0).report();
    assert_eq!((&report["cycle"], &report["resumed"], &report["shares"]), (&json!(0), &json!(true), &json!(1849)));
    assert_eq!(report["deleted"]["shares"], 568);
    assert_eq!(files().len(), before.len() - 568);
}

/// How it happens: the machine stops while a cycle is examined, or while it deletes, and its owner only wants to look.
#[test]
fn a_dry_run_is_not_in_the_way_of_a_cycle_that_deletes() {
    for point in ["checkpoint::before_commit=1*off->return", "store::after_unlink=3*off->return"] {
        let sample = Sample::new(40);
        let rule = format!("--job leases --expire age:2678400 --now {NOW} --checkpoint every_bucket");
        let deleting = format!("{rule} --offline --max-delete 100%");
        let aborted = run(sample.crawl("state", &deleting).env("FAILPOINTS", point));
        assert_eq!(aborted.signal(), Some(6), "{}", aborted.stderr);
        for _ in 0..2 {
            run(&mut sample.crawl("state", &format!("{rule} --dry-run"))).expect(0);
        }
        let costs = "begin anew with --fresh, and what it has deleted so far no longer counts for --max-delete";
        let other = format!("--job leases --expire age:2678401 --now {NOW} --offline --max-delete 100%");
        run(&mut sample.crawl("state", &other)).expect(2).said(costs);
        let report = run(&mut sample.crawl("state", &format!("{deleting} --json"))).expect(0).report();
        assert_eq!((&report["cycle"], &report["resumed"]), (&json!(0), &json!(true)));
        // One that was begun beside it goes on beside it.
        let aborted = run(sample
            .crawl("state", &format!("{rule} --dry-run"))
            .env("FAILPOINTS", "checkpoint::after_commit=return"));
        assert_eq!(aborted.signal(), Some(6));
    }
}

#[test]
fn a_dry_run_beside_a_node_that_is_silent_is_refused_as_the_run_is() {
    let sample = Sample::new(4);
    let saved = File::create(sample.store().join("bucket_counter.state.json")).unwrap();
    saved.set_modified(SystemTime::now() - Duration::from_secs(4 * 86_400)).unwrap();
    let online = "--job leases --expire age:2678400 --online --max-delete 100%";
    for dry_run in ["", "--dry-run"] {
        let refused = run(&mut sample.crawl("state", &format!("{online} {dry_run}"))).expect(3);
        refused.said("is 4.0 days old by this clock");
        let vouched = format!("{online} {dry_run} --accept-clock --fresh");
        run(&mut sample.crawl("state", &vouched)).expect(0);
    }
}

#[test]
fn a_dry_run_by_a_clock_that_is_behind_a_share_is_refused_as_the_run_is() {
    let sample = Sample::new(0);
    let share = sample.shares().join(format!("aa/aa{}a/0", "b".repeat(23)));
    fs::create_dir_all(share.parent().unwrap()).unwrap();
    fs::write(&share, immutable_at(NOW.parse().unwrap(), 2, 50, &[(1, 40)])).unwrap();
    let ahead = SystemTime::now() + Duration::from_secs(86_400);
    File::options().write(true).open(&share).unwrap().set_modified(ahead).unwrap();
    let crawl = |how: &str| {
        let rule = "--job leases --expire age:2678400 --offline --max-delete 100% --fresh";
        run(&mut sample.crawl("state", &format!("{rule} {how}")))
    };
    for how in ["--dry-run", ""] {
        crawl(how).expect(3).said("a share was written").said("--accept-clock");
    }
    let told = crawl("--dry-run --accept-clock").expect(0).stdout;
    assert!(told.contains("would be deleted: 1 share, 1 lease,"), "{told}");
    assert!(share.exists());
    crawl("--accept-clock").expect(0);
    assert!(!share.exists());
}

#[test]
fn empty_buckets_are_told_apart_from_those_that_have_expired() {
    let sample = Sample::new(40);
    let words = |more: &str| {
        let args = format!("--job leases --expire cutoff:{NOW} --now {NOW} --max-delete 100% {more}");
        run(&mut sample.crawl("state", &args)).expect(0).stdout
    };
    let row = |text: &str, label: &str| {
        let line = text.lines().find(|line| line.trim().starts_with(label))?;
        line.trim().strip_prefix(label)?.split_whitespace().next()?.parse::<u64>().ok()
    };
    let by_rule = "expired by the rule in force";
    let first = words("--offline");
    let emptied = row(&first, by_rule).unwrap();
    assert!(emptied > 0 && row(&first, "empty, without any share").is_none(), "{first}");
    let second = words("--offline");
    assert_eq!((row(&second, by_rule), row(&second, "empty, without any share")), (Some(0), Some(emptied)), "{second}");
    let sizes = ["on disk", "0 B by length of files"];
    assert!(sizes.iter().all(|words| second.contains(words)), "{second}");
}

#[test]
fn without_a_rule_nothing_is_said_to_have_expired_by_one() {
    let sample = Sample::new(40);
    let told = |args: &str| run(&mut sample.crawl("state", &format!("--job leases {args}"))).expect(0).stdout;
    let by_rule = "expired by the rule in force";
    let text = told("");
    assert!(!text.contains(by_rule) && text.contains("expired by their own dates"), "{text}");
    let text = told("--expire age:2678400 --dry-run --max-delete 0%");
    assert!(text.contains(by_rule), "{text}");
    assert!(text.contains("that is more than --max-delete allows (0.0 %): a run that deletes would stop"), "{text}");
    assert!(told("--expire age:2678400 --dry-run").contains("--max-delete allows (10.0 %)"), "a small store too");
    assert!(!told("--expire age:2678400 --dry-run --max-delete 100%").contains("--max-delete"));
}

#[test]
fn what_is_kept_beside_a_running_node_is_told_with_its_reason() {
    let sample = Sample::new(40);
    // Every share of it was written just now.
    let args = format!("--job leases --expire cutoff:{NOW} --online --dry-run");
    let told = run(&mut sample.crawl("state", &args)).expect(0).stdout;
    let line = told.lines().find(|line| line.contains("kept beside a node: ")).expect("a line");
    assert!(line.contains("touched within the hour"), "{line}");
    assert!(told.contains("would be deleted: 0 shares"), "{told}");
    let _ = fs::remove_file(sample.path("state"));
    let report = run(&mut sample.crawl("state", &format!("{args} --json"))).expect(0).report();
    assert!(report["spared"]["touched_within_the_hour"].as_u64().unwrap() > 0, "{report}");
}
