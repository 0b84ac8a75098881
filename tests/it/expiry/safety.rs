//! What keeps expiry from deleting the wrong things: limits of nothing, links, disks that fail, and shares that somebody else
//! changed.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};

use sexton::Error;
use sexton::engine::Fresh;
use sexton::job::Severity;
use sexton::model::CycleReport;
use sexton::tahoe::ChangeRefusal;
use sexton::tahoe::leases::{Conduct, LeaseSettings, Word};
use sexton::tahoe::words::is_tahoe_corrupt;

use super::crash::immutable_at;
use super::world::{Ahead, DAY, Failing, World, renew, settings};
use crate::simulated::world_state::SimState;

/// A share with one expired lease, one with an expired and a valid one, in one bucket.
fn two_shares(world: &World) {
    world.put(&world.share("aa", 0, 0), &immutable_at(world.now(), 2, 50, &[(1, 40)]));
    world.put(&world.share("aa", 0, 1), &immutable_at(world.now(), 2, 50, &[(1, 40), (2, 3)]));
}

fn read(world: &World, share: u32) -> Vec<u8> {
    fs::read(world.share("aa", 0, share)).unwrap()
}

/// What a run that only tells would delete, as it is told of what was deleted.
fn figures_told(report: &CycleReport) -> serde_json::Value {
    let mut told = report.own["would_delete"].clone();
    let limits = told.as_object_mut().unwrap();
    assert!(limits.remove("max_delete").is_some() && limits.remove("over_max_delete").is_some());
    told
}

/// A dry run says so before.
#[test]
fn a_dry_run_says_whether_the_catch_would_stop_the_run_that_deletes() {
    let world = World::new();
    for n in 0..1200 {
        let days = if n % 4 == 0 { 40 } else { 3 };
        world.put(&world.share("aa", n, 0), &immutable_at(world.now(), 2, 10, &[(1, days)]));
    }
    for (max_delete, over) in [(0.10, true), (0.2499, true), (0.25, false)] {
        let limited = LeaseSettings { max_delete, ..settings(Word::Offline) };
        let told = world.run(SimState::sound(), LeaseSettings { dry_run: true, ..limited.clone() }).unwrap();
        assert_eq!(told.own["would_delete"]["over_max_delete"], over, "{max_delete}");
        let stopped = world.run(SimState::sound(), limited);
        assert_eq!(matches!(stopped, Err(Error::SafetyCatch { .. })), over, "{stopped:?}");
    }
}

/// Zero means none at all, in a small store as well.
#[test]
fn a_part_of_nothing_holds_from_the_first_share_on() {
    let world = World::new();
    two_shares(&world);
    let nothing = LeaseSettings { max_delete: 0.0, ..settings(Word::Offline) };
    let Err(Error::SafetyCatch { would_delete: 1, .. }) = world.run(SimState::sound(), nothing.clone()) else {
        panic!("it went on")
    };
    assert!(world.share("aa", 0, 0).exists());
    let told = world.run(SimState::sound(), LeaseSettings { dry_run: true, ..nothing }).unwrap();
    assert_eq!(told.own["would_delete"]["over_max_delete"], true);
}

#[test]
fn an_empty_bucket_is_deleted_once_or_not_at_all() {
    let world = World::new();
    world.put(&world.share("aa", 0, 0), &immutable_at(world.now(), 2, 50, &[(1, 40)]));
    let mut shown = Vec::new();
    let mut run = |prune| {
        let report = world.run(SimState::sound(), LeaseSettings { prune, ..settings(Word::Offline) }).unwrap();
        let (expired, empty) = (&report.own["expired"]["by_rule"]["buckets"], &report.own["empty"]["buckets"]);
        let history = &report.own["history"]["space-recovered"];
        let sum = expired.as_u64().unwrap() + empty.as_u64().unwrap();
        assert_eq!(history["configured-buckets"], sum, "what Sexton tells apart is one to Tahoe");
        shown.push((expired.as_u64().unwrap(), empty.as_u64().unwrap()));
        (report.own["deleted"].clone(), history["actual-buckets"].clone())
    };
    let nothing = serde_json::json!({"leases": 0, "shares": 0, "bytes": 0, "buckets": 0});
    assert_eq!(run(false), (serde_json::json!({"leases": 1, "shares": 1, "bytes": 134, "buckets": 0}), 1.into()));
    assert_eq!(run(false), (nothing.clone(), 1.into()), "the history counts it again, as Tahoe does");
    fs::write(world.bucket("aa", 0).join("stray"), "").unwrap();
    assert_eq!(run(true).0, nothing);
    fs::remove_file(world.bucket("aa", 0).join("stray")).unwrap();
    assert_eq!(run(true), (serde_json::json!({"leases": 0, "shares": 0, "bytes": 0, "buckets": 1}), 1.into()));
    assert!(!world.bucket("aa", 0).exists());
    assert_eq!(run(true), (nothing, 0.into()));
    assert_eq!(shown, [(1, 0), (0, 1), (0, 1), (0, 1), (0, 0)], "expired once, then empty, in the end gone");
}

#[test]
fn links_are_never_followed_to_change_anything() {
    let world = World::new();
    let expired = immutable_at(world.now(), 2, 50, &[(1, 40)]);
    let partly = immutable_at(world.now(), 2, 50, &[(1, 40), (2, 3)]);
    let outside = world.path("outside");
    // A prefix, a bucket and two shares lead outside.
    let buckets = [outside.join("prefix").join(world.bucket("cc", 0).file_name().unwrap()), outside.join("bucket")];
    for bucket in &buckets {
        world.put(&bucket.join("0"), &expired);
        world.put(&bucket.join("1"), &partly);
    }
    world.put(&outside.join("expired"), &expired);
    world.put(&outside.join("partly"), &partly);
    world.put(&world.share("aa", 1, 7), &immutable_at(world.now(), 2, 50, &[(1, 3)]));
    symlink(outside.join("prefix"), world.store().join("shares/cc")).unwrap();
    symlink(outside.join("bucket"), world.bucket("aa", 0)).unwrap();
    symlink(outside.join("expired"), world.share("aa", 1, 0)).unwrap();
    symlink(outside.join("partly"), world.share("aa", 1, 1)).unwrap();
    // One without any share, which would be removed.
    fs::create_dir(outside.join("empty")).unwrap();
    symlink(outside.join("empty"), world.bucket("aa", 2)).unwrap();
    let pruning = LeaseSettings { prune: true, ..settings(Word::Offline) };
    let rehearsed = world.run(SimState::sound(), LeaseSettings { dry_run: true, ..pruning.clone() }).unwrap();
    let report = world.run(SimState::sound(), pruning).unwrap();
    assert_eq!(figures_told(&rehearsed), report.own["deleted"]);
    assert_eq!(rehearsed.findings, report.findings);
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    for (path, bytes) in [("expired", &expired), ("partly", &partly)] {
        assert_eq!(fs::read(outside.join(path)).unwrap(), *bytes);
    }
    for bucket in &buckets {
        assert_eq!(
            (fs::read(bucket.join("0")).unwrap(), fs::read(bucket.join("1")).unwrap()),
            (expired.clone(), partly.clone())
        );
    }
    assert!(world.share("aa", 1, 0).is_symlink() && world.bucket("aa", 0).is_symlink());
    assert_eq!(report.own["deleted"]["shares"], 0);
    let told = report.findings.iter().filter(|finding| finding.reason.contains("links are never followed")).count();
    assert_eq!((told, report.findings.len()), (6, 6), "{:?}", report.findings);
    assert_eq!(report.own["history"]["space-recovered"]["actual-shares"], 0);
}

#[test]
fn what_lies_in_a_folder_that_is_no_bucket_stays_and_is_told() {
    let world = World::new();
    let expired = immutable_at(world.now(), 2, 50, &[(1, 40)]);
    let bucket = world.bucket("aa", 0);
    let copy = bucket.with_file_name(format!("{}.bak", bucket.file_name().unwrap().to_str().unwrap()));
    let elsewhere = world.store().join("shares/cc").join(world.bucket("dd", 1).file_name().unwrap());
    let strays = [copy.join("0"), world.store().join("shares/cc/ccnotasi/0"), elsewhere.join("0")];
    let valid = copy.join("1");
    strays.iter().for_each(|stray| world.put(stray, &expired));
    world.put(&valid, &immutable_at(world.now(), 2, 50, &[(1, 3)]));
    world.put(&bucket.join("0"), &expired);
    for dry_run in [true, false] {
        let report = world.run(SimState::sound(), LeaseSettings { dry_run, ..settings(Word::Offline) }).unwrap();
        let gone = &report.own[if dry_run { "would_delete" } else { "deleted" }];
        assert_eq!((&gone["shares"], &gone["leases"]), (&1.into(), &1.into()));
        let told: Vec<_> = report.findings.iter().map(|f| (f.object.as_deref(), &f.part[..])).collect();
        assert_eq!(told, [(Some("0"), "bucket"); 3], "{:?}", report.findings);
        assert!(report.findings[0].reason.contains("no bucket of this prefix: it is kept"));
        assert_eq!(bucket.join("0").exists(), dry_run);
    }
    assert!(strays.iter().all(|stray| stray.exists()) && valid.exists());
    let compat = LeaseSettings { conduct: Conduct::Compat, ..settings(Word::Offline) };
    assert_eq!(world.run(SimState::sound(), compat).unwrap().own["deleted"]["shares"], 3);
}

/// How it happens: the clock was ahead when the cycle began, and is right when it is carried on.
#[test]
fn a_cycle_that_judges_by_a_moment_to_come_deletes_nothing_and_leaves_no_intent() {
    let mut world = World::new();
    two_shares(&world);
    let before = (read(&world, 0), read(&world, 1));
    let clock = world.clock.secs.clone();
    clock.store(100 * i64::from(DAY), Ordering::Relaxed);
    // The first commit is the one before the deletions.
    let broken = std::sync::Arc::new(AtomicBool::new(true));
    let is_broken = broken.clone();
    let state = SimState::new(move |call| {
        let damaged = || Error::StateDamaged { path: "state".into(), cause: "a disk fails".into() };
        if call == "commit" && is_broken.load(Ordering::Relaxed) { Err(damaged()) } else { Ok(()) }
    });
    assert!(world.run(state.clone(), settings(Word::Offline)).is_err());
    broken.store(false, Ordering::Relaxed);
    world.clock = Ahead::by(7200);
    let refused = world.run(state.clone(), settings(Word::Offline));
    let Err(error @ Error::Clock { .. }) = refused else { panic!("{refused:?}") };
    assert!(error.to_string().contains("the cycle judges by a moment"), "{error}");
    assert_eq!((read(&world, 0), read(&world, 1)), before);
    world.fresh = Fresh::Yes;
    let report = world.run(state, settings(Word::Offline)).unwrap();
    assert_eq!(report.own["deleted"]["shares"], 1);
}

/// How it happens: the crawl was begun with the node stopped, and then the node is started.
#[test]
fn nothing_is_deleted_offline_once_the_node_runs() {
    let world = World::new();
    two_shares(&world);
    let before = (read(&world, 0), read(&world, 1));
    fs::write(world.path("running.process"), format!("{} 1700000000.5", std::process::id())).unwrap();
    let state = SimState::sound();
    let refused = world.run(state.clone(), settings(Word::Offline));
    let Err(error) = refused else { panic!("{refused:?}") };
    assert!(matches!(error.downcast_ref(), Some(ChangeRefusal::NodeRuns { .. })), "{error}");
    assert!(error.to_string().contains("running.process the node of this store runs"), "{error}");
    assert_eq!((read(&world, 0), read(&world, 1)), before);
    // Looking is no matter.
    let dry_run = LeaseSettings { dry_run: true, ..settings(Word::Offline) };
    assert_eq!(world.run(SimState::sound(), dry_run).unwrap().own["would_delete"]["shares"], 1);
    fs::remove_file(world.path("running.process")).unwrap();
    let report = world.run(state, settings(Word::Offline)).unwrap();
    assert_eq!((report.resumed, &report.own["deleted"]["shares"]), (true, &1.into()));
}

/// What needs no deletion is kept although the rest is refused, and the cycle can still be given up.
#[test]
fn what_was_examined_before_the_refusal_is_not_examined_again() {
    let mut world = World::new();
    world.put(&world.share("a7", 0, 0), &immutable_at(world.now(), 2, 50, &[(1, 3)]));
    two_shares(&world);
    fs::write(world.path("running.process"), format!("{} 1700000000.5", std::process::id())).unwrap();
    let run = |world: &World, state: &SimState| world.run(state.clone(), settings(Word::Offline));
    let (state, given_up) = (SimState::sound(), SimState::sound());
    for state in [&state, &given_up] {
        let refused = run(&world, state).unwrap_err();
        assert!(matches!(refused.downcast_ref(), Some(ChangeRefusal::NodeRuns { .. })), "{refused}");
    }
    fs::remove_dir_all(world.bucket("a7", 0)).unwrap();
    fs::remove_file(world.path("running.process")).unwrap();
    let report = run(&world, &state).unwrap();
    assert_eq!((report.resumed, report.counts.objects, &report.own["deleted"]["shares"]), (true, 3, &1.into()));
    world.fresh = Fresh::Yes;
    assert_eq!(run(&world, &given_up).unwrap().counts.objects, 1);
}

#[test]
fn a_file_with_other_names_is_not_rewritten() {
    let world = World::new();
    two_shares(&world);
    fs::hard_link(world.share("aa", 0, 1), world.path("backup")).unwrap();
    let before = fs::read(world.path("backup")).unwrap();
    let dry_run = LeaseSettings { dry_run: true, ..settings(Word::Offline) };
    let rehearsed = world.run(SimState::sound(), dry_run).unwrap();
    let report = world.run(SimState::sound(), settings(Word::Offline)).unwrap();
    assert_eq!(fs::read(world.path("backup")).unwrap(), before);
    let [finding] = &report.findings[..] else { panic!("{:?}", report.findings) };
    assert!(finding.object.as_deref() == Some("1") && finding.reason.contains("2 names (hard links)"), "{finding:?}");
    assert!(finding.severity == Severity::Note && report.verdict() != sexton::model::Verdict::Damage, "{finding:?}");
    assert_eq!((&report.own["deleted"], &report.findings), (&figures_told(&rehearsed), &rehearsed.findings));
    assert_eq!((&report.own["deleted"]["shares"], &report.own["deleted"]["leases"]), (&1.into(), &1.into()));
}

/// How it happens: the store is mounted read-only, or the disk gives up on everything.
#[test]
fn where_nothing_can_be_written_nothing_is_lost() {
    let mut world = World::new();
    two_shares(&world);
    let before = (read(&world, 0), read(&world, 1));
    world.medium = Failing::new(|_, _| Some(io::Error::from_raw_os_error(5)));
    let refused = world.run(SimState::sound(), settings(Word::Offline));
    // The table could not be put back either, as far as anybody knows.
    let Err(Error::Store { doing: "finish the lease table of", .. }) = refused else { panic!("{refused:?}") };
    assert_eq!((read(&world, 0), read(&world, 1)), before);
    // A read-only file system says so at the first change, and nothing else is tried.
    let failing = Failing::new(|_, _| Some(io::ErrorKind::ReadOnlyFilesystem.into()));
    world.medium = failing.clone();
    let refused = world.run(SimState::sound(), settings(Word::Offline));
    let Err(Error::Unchangeable { .. }) = refused else { panic!("{refused:?}") };
    assert_eq!((read(&world, 0), read(&world, 1), failing.done.load(Ordering::Relaxed)), (before.0, before.1, 1));
}

#[test]
fn a_share_that_cannot_be_unlinked_is_an_error_and_stays() {
    let mut world = World::new();
    two_shares(&world);
    world.medium = Failing::new(|what, _| (what == "unlink").then(|| io::ErrorKind::PermissionDenied.into()));
    let report = world.run(SimState::sound(), settings(Word::Offline)).unwrap();
    assert!(world.share("aa", 0, 0).exists());
    assert!(
        report.errors[0].error.starts_with("its expired leases are kept: permission denied"),
        "{:?}",
        report.errors
    );
    assert_eq!(report.own["deleted"], serde_json::json!({"leases": 1, "shares": 0, "bytes": 72, "buckets": 0}));
    assert_eq!(report.own["history"]["space-recovered"]["actual-shares"], 0);
    assert_eq!(report.own["history"]["space-recovered"]["configured-shares"], 1);
}

/// How it happens: the file system is remounted read-only while shares are deleted; or a rule of the system's forbids it.
#[test]
fn a_crawl_that_can_change_nothing_stops_and_goes_on_once_that_is_mended() {
    for (kind, tried) in [(io::ErrorKind::ReadOnlyFilesystem, 1), (io::ErrorKind::PermissionDenied, 10)] {
        let mut world = World::new();
        for bucket in 0..40 {
            world.put(&world.share("aa", bucket, 0), &immutable_at(world.now(), 2, 50, &[(1, 40)]));
        }
        let failing = match kind {
            io::ErrorKind::ReadOnlyFilesystem => {
                Failing::new(|_, n| (n >= 5).then(|| io::ErrorKind::ReadOnlyFilesystem.into()))
            }
            _ => Failing::new(|_, n| (n >= 5).then(|| io::ErrorKind::PermissionDenied.into())),
        };
        world.medium = failing.clone();
        let state = SimState::sound();
        let stopped = world.run(state.clone(), settings(Word::Offline));
        let Err(Error::Unchangeable { .. }) = stopped else { panic!("{stopped:?}") };
        assert_eq!(failing.done.load(Ordering::Relaxed), 5 + tried, "{kind:?}");
        world.medium = std::sync::Arc::new(sexton::tahoe::store::Disk);
        let report = world.run(state, settings(Word::Offline)).unwrap();
        // Those that were tried in vain are told of, each once; only the last is tried again.
        assert_eq!(report.errors.len() as i64, tried - 1, "{:?}", report.errors);
        assert_eq!(report.own["deleted"]["shares"], 40 - (tried - 1), "{kind:?}");
    }
}

/// How it happens: a server is busy, or somebody holds a lease on the file (EAGAIN); a moment later it is done, also what was left
/// half written meanwhile.
#[test]
fn what_cannot_be_changed_just_now_is_changed_later() {
    let fails: [fn(&str, i64) -> Option<io::Error>; 3] = [
        |_, n| (n < 3).then(|| io::ErrorKind::WouldBlock.into()),
        |_, n| (n == 2).then(|| io::ErrorKind::WouldBlock.into()),
        |_, n| (3..7).contains(&n).then(|| io::ErrorKind::WouldBlock.into()),
    ];
    for (variant, fails) in fails.into_iter().enumerate() {
        let mut world = World::new();
        two_shares(&world);
        world.medium = Failing::new(fails);
        let report = world.run(SimState::sound(), settings(Word::Offline)).unwrap();
        assert!(report.errors.is_empty(), "{variant}: {:?}", report.errors);
        assert_eq!(read(&world, 1), immutable_at(world.now(), 2, 50, &[(2, 3)]), "{variant}");
        assert_eq!(
            report.own["deleted"],
            serde_json::json!({"leases": 2, "shares": 1, "bytes": 206, "buckets": 0}),
            "{variant}"
        );
    }
    // Not without end.
    let mut world = World::new();
    two_shares(&world);
    world.medium = Failing::new(|what, _| (what == "unlink").then(|| io::ErrorKind::WouldBlock.into()));
    let report = world.run(SimState::sound(), settings(Word::Offline)).unwrap();
    assert!(world.share("aa", 0, 0).exists());
    assert_eq!((report.errors.len(), &report.own["deleted"]["shares"]), (1, &0.into()), "{:?}", report.errors);
}

/// How it happens: there is no room, or the disk fails, at the first write, the second, or the truncation.
#[test]
fn a_table_that_cannot_be_rewritten_reads_as_before() {
    for failing in [0, 1, 2] {
        let mut world = World::new();
        world.put(&world.share("aa", 0, 1), &immutable_at(world.now(), 2, 50, &[(1, 40), (2, 3)]));
        let before = read(&world, 1);
        world.medium = match failing {
            0 => Failing::new(|_, n| (n == 0).then(|| io::ErrorKind::StorageFull.into())),
            1 => Failing::new(|_, n| (n == 1).then(|| io::ErrorKind::StorageFull.into())),
            _ => Failing::new(|_, n| (n == 2).then(|| io::ErrorKind::StorageFull.into())),
        };
        let report = world.run(SimState::sound(), settings(Word::Offline)).unwrap();
        assert_eq!(read(&world, 1), before, "{failing}");
        assert_eq!((report.counts.errors, &report.own["deleted"]["leases"]), (1, &0.into()));
    }
}

/// How it happens: the disk fails at the truncation and goes on failing; later it is well again. Of the share beside it, which
/// could not be unlinked then, nothing is told: it goes in the end.
#[test]
fn a_table_that_is_left_half_written_is_finished_by_the_next_run() {
    let mut world = World::new();
    two_shares(&world);
    world.medium = Failing::new(|what, n| (what != "write" || n > 3).then(|| io::ErrorKind::StorageFull.into()));
    let state = SimState::sound();
    assert!(world.run(state.clone(), settings(Word::Offline)).is_err());
    world.medium = std::sync::Arc::new(sexton::tahoe::store::Disk);
    world.fresh = Fresh::Yes;
    let refused = world.run(state.clone(), settings(Word::Offline)).unwrap_err().to_string();
    assert!(refused.contains("changes that may be half done (buckets: 1)"), "{refused}");
    world.fresh = Fresh::No;
    let report = world.run(state, settings(Word::Offline)).unwrap();
    assert_eq!(read(&world, 1), immutable_at(world.now(), 2, 50, &[(2, 3)])[..].to_vec());
    assert_eq!(report.own["deleted"], serde_json::json!({"leases": 2, "shares": 1, "bytes": 206, "buckets": 0}));
    assert_eq!(report.errors.len(), 0, "{:?}", report.errors);
}

/// How it happens: the machine stops after deletions were saved and before they are done, and its owner wants other rules.
#[test]
fn a_cycle_that_only_unlinks_whole_shares_is_given_up_by_fresh() {
    let mut world = World::new();
    world.put(&world.share("aa", 0, 0), &immutable_at(world.now(), 2, 50, &[(1, 40)]));
    let broken = std::sync::Arc::new(AtomicBool::new(true));
    let is_broken = broken.clone();
    let state = SimState::new(move |call| {
        let damaged = || Error::StateDamaged { path: "state".into(), cause: "a disk fails".into() };
        if call == "sync" && is_broken.load(Ordering::Relaxed) { Err(damaged()) } else { Ok(()) }
    });
    assert!(world.run(state.clone(), settings(Word::Offline)).is_err());
    broken.store(false, Ordering::Relaxed);
    assert!(world.share("aa", 0, 0).exists());
    let other = LeaseSettings { expiry: "age:3000000".parse().unwrap(), ..settings(Word::Offline) };
    assert!(matches!(world.run(state.clone(), other.clone()), Err(Error::CycleDiffers { .. })));
    world.fresh = Fresh::Yes;
    let report = world.run(state, other).unwrap();
    assert_eq!((report.key.number, &report.own["deleted"]["shares"]), (1, &1.into()));
}

/// How it happens: a lease is renewed after it was judged and before anything is done, though the node should be stopped.
#[test]
fn a_share_that_was_changed_is_looked_at_anew() {
    let world = World::new();
    two_shares(&world);
    let fresh = world.now() + 31 * DAY;
    let (paths, renewed) = ([world.share("aa", 0, 0), world.share("aa", 0, 1)], AtomicBool::new(false));
    let state = SimState::new(move |call| {
        if call == "sync" && !renewed.swap(true, Ordering::Relaxed) {
            paths.iter().for_each(|path| renew(path, fresh).unwrap());
        }
        Ok(())
    });
    let report = world.run(state, settings(Word::Offline)).unwrap();
    assert_eq!((read(&world, 0).len(), read(&world, 1).len()), (134, 206));
    assert_eq!(report.own["deleted"]["leases"], 0);
    // What was examined counts as it was then.
    let space = &report.own["history"]["space-recovered"];
    assert_eq!((&space["examined-shares"], &space["configured-shares"]), (&2.into(), &1.into()));
    assert_eq!((&space["actual-shares"], report.counts.objects), (&0.into(), 2));
}

/// How it happens: as above, but what is written is no lease table: one with a date that cannot be, and half a header.
#[test]
fn what_the_second_look_finds_is_told() {
    let world = World::new();
    two_shares(&world);
    let far = world.now() + 90 * DAY;
    let (paths, changed) = ([world.share("aa", 0, 0), world.share("aa", 0, 1)], AtomicBool::new(false));
    let state = SimState::new(move |call| {
        if call == "sync" && !changed.swap(true, Ordering::Relaxed) {
            renew(&paths[0], far).unwrap();
            fs::write(&paths[1], b"half").unwrap();
        }
        Ok(())
    });
    let report = world.run(state, settings(Word::Offline)).unwrap();
    let told: Vec<_> =
        report.findings.iter().map(|f| (f.object.as_deref(), &f.part[..], is_tahoe_corrupt(f))).collect();
    assert_eq!(told, [(Some("0"), "leases", false), (Some("1"), "container header", true)], "{:?}", report.findings);
    assert!(report.findings[0].reason.contains("more than 32 days after now"), "{:?}", report.findings);
    assert!(
        report.verdict() == sexton::model::Verdict::Damage
            && report.findings.iter().all(|finding| finding.severity == Severity::Bad)
    );
    assert_eq!(report.own["history"]["corrupt-shares"].as_array().unwrap().len(), 1);
    assert_eq!((&report.own["deleted"]["leases"], report.counts.findings), (&0.into(), 2));
}

/// How it happens: as above, but of two expired leases only one is renewed, so that there is still something to do.
#[test]
fn what_follows_from_a_new_look_is_saved_before_it_is_done() {
    let world = World::new();
    world.put(&world.share("aa", 0, 0), &immutable_at(world.now(), 2, 50, &[(1, 40), (2, 50)]));
    let fresh = world.now() + 31 * DAY;
    let (path, renewed) = (world.share("aa", 0, 0), AtomicBool::new(false));
    let syncs = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counted = syncs.clone();
    let state = SimState::new(move |call| {
        if call == "sync" {
            counted.fetch_add(1, Ordering::Relaxed);
            if !renewed.swap(true, Ordering::Relaxed) {
                renew(&path, fresh).unwrap();
            }
        }
        Ok(())
    });
    let report = world.run(state, settings(Word::Offline)).unwrap();
    assert_eq!(read(&world, 0).len(), 134);
    assert_eq!(report.own["deleted"], serde_json::json!({"leases": 1, "shares": 0, "bytes": 72, "buckets": 0}));
    assert_eq!(syncs.load(Ordering::Relaxed), 2);
}
