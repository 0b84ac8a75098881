//! The two phases of a cycle that deletes: nothing goes before the whole ring was examined and judged, and nothing goes then that
//! was not shown.

use std::fs;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_executor::block_on;
use proptest::collection::vec;
use proptest::prelude::*;
use sexton::Error;
use sexton::engine::{Command, Fresh};
use sexton::job::Severity;
use sexton::model::WouldDelete;
use sexton::settings::Checkpoint;
use sexton::tahoe::leases::{LeaseSettings, Word};
use sexton::tahoe::store::Disk;

use super::crash::immutable_at;
use super::world::{DAY, Failing, World, renew, settings};
use crate::simulated::world_state::SimState;

/// A share with one expired lease, one with an expired and a valid one, in one bucket.
fn two_shares(world: &World) {
    world.put(&world.share("aa", 0, 0), &immutable_at(world.now(), 2, 50, &[(1, 40)]));
    world.put(&world.share("aa", 0, 1), &immutable_at(world.now(), 2, 50, &[(1, 40), (2, 3)]));
}

#[test]
fn more_than_the_part_allowed_stops_the_crawl_before_anything_goes() {
    let world = World::new();
    for n in 0..1200 {
        let days = if n % 4 == 0 { 40 } else { 3 };
        world.put(&world.share("aa", n, 0), &immutable_at(world.now(), 2, 10, &[(1, days)]));
    }
    let state = SimState::sound();
    let limited = |max_delete| LeaseSettings { max_delete, ..settings(Word::Offline) };
    let Err(error) = world.run(state.clone(), limited(0.10)) else { panic!("it went on") };
    let Error::SafetyCatch { would_delete: 300, deleted: 0, examined: 1200, .. } = error else { panic!("{error}") };
    for words in ["300 of 1200 objects", "(deleted already: 0)", "10.0 %"] {
        assert!(error.to_string().contains(words), "{error}");
    }
    assert!((0..1200).all(|n| world.share("aa", n, 0).exists()));
    let report = world.run(state, limited(0.25)).unwrap();
    assert_eq!((report.key.number, &report.own["deleted"]["shares"]), (0, &300.into()));
}

/// How it happens: every lease has expired by a wrong clock or a wrong rule. However small the store and however the work is
/// divided, nothing goes before the whole ring was judged.
#[test]
fn nothing_is_deleted_before_the_whole_ring_was_judged() {
    let prefixes = ["aa", "ab", "ba", "bb", "ca", "cb", "da", "db", "ea", "eb", "fa", "fb", "ga", "gb", "ha", "hb"];
    for (each, workers, checkpoint) in [
        (188, 1, Checkpoint::EverySlice),
        (188, 8, Checkpoint::EveryBucket),
        (19, 2, Checkpoint::EveryBucket),
        (1, 1, Checkpoint::EverySlice),
    ] {
        let mut world = World::new();
        (world.workers, world.checkpoint) = (workers, checkpoint);
        let shares = || prefixes.iter().flat_map(|prefix| (0..each).map(move |n| (prefix, n)));
        for (prefix, bucket) in shares() {
            world.put(&world.share(prefix, bucket, 0), &immutable_at(world.now(), 2, 10, &[(1, 40)]));
        }
        let (state, all) = (SimState::sound(), u64::from(16 * each));
        let limited = |max_delete| LeaseSettings { max_delete, ..settings(Word::Offline) };
        for _ in 0..2 {
            let refused = world.run(state.clone(), limited(0.10));
            let Err(Error::SafetyCatch { would_delete, deleted: 0, examined, .. }) = refused else {
                panic!("{refused:?}")
            };
            assert_eq!((would_delete, examined), (all, all));
            assert!(shares().all(|(prefix, bucket)| world.share(prefix, bucket, 0).exists()));
        }
        let report = world.run(state, limited(1.0)).unwrap();
        assert_eq!((report.key.number, report.counts.objects, &report.own["deleted"]["shares"]), (0, all, &all.into()));
    }
}

/// What was examined is not examined again by the command that allows more.
#[test]
fn a_larger_limit_carries_out_what_was_examined_without_examining_it_again() {
    let world = World::new();
    for n in 0..20 {
        let days = if n % 4 == 0 { 40 } else { 3 };
        world.put(&world.share("aa", n, 0), &immutable_at(world.now(), 2, 10, &[(1, days)]));
    }
    let state = SimState::sound();
    let limited = |max_delete| LeaseSettings { max_delete, ..settings(Word::Offline) };
    assert!(matches!(world.run(state.clone(), limited(0.10)), Err(Error::SafetyCatch { would_delete: 5, .. })));
    // Whatever is examined again would be counted, or noticed as missing.
    fs::write(world.share("aa", 1, 1), b"no container").unwrap();
    world.put(&world.share("aa", 30, 0), &immutable_at(world.now(), 2, 10, &[(1, 40)]));
    fs::remove_dir_all(world.bucket("aa", 2)).unwrap();
    let report = world.run(state, limited(0.25)).unwrap();
    assert_eq!((report.counts.objects, report.counts.buckets, report.counts.vanished), (20, 20, 0));
    assert_eq!((report.counts.findings, &report.own["deleted"]["shares"]), (0, &5.into()));
    assert!(world.share("aa", 30, 0).exists(), "nobody was shown it");
}

/// How it happens: while a cycle waits, clients renew their leases, and somebody else puts more that has expired into a bucket.
#[test]
fn what_was_renewed_between_the_phases_stays_and_no_more_goes_than_was_shown() {
    let world = World::new();
    for n in 0..4 {
        world.put(&world.share("aa", n, 0), &immutable_at(world.now(), 2, 10, &[(1, 40)]));
    }
    // A lease of two, which does not make the share go.
    world.put(&world.share("aa", 4, 0), &immutable_at(world.now(), 2, 10, &[(1, 40), (2, 3)]));
    let state = SimState::sound();
    let limited = |max_delete| LeaseSettings { max_delete, ..settings(Word::Offline) };
    let refused = world.run(state.clone(), limited(0.5));
    assert!(matches!(refused, Err(Error::SafetyCatch { would_delete: 4, examined: 5, .. })), "{refused:?}");
    renew(&world.share("aa", 0, 0), world.now() + 31 * DAY).unwrap();
    // More shares; a larger one; all leases of the one that was to stay.
    world.put(&world.share("aa", 1, 7), &immutable_at(world.now(), 2, 10, &[(1, 40)]));
    world.put(&world.share("aa", 2, 0), &immutable_at(world.now(), 2, 5000, &[(1, 40)]));
    world.put(&world.share("aa", 4, 0), &immutable_at(world.now(), 2, 10, &[(1, 40), (2, 50)]));
    let report = world.run(state, limited(1.0)).unwrap();
    let there = |n, share| world.share("aa", n, share).exists();
    assert_eq!(
        [there(0, 0), there(1, 0), there(1, 7), there(2, 0), there(3, 0), there(4, 0)],
        [true, true, true, true, false, true]
    );
    assert_eq!(report.own["deleted"], serde_json::json!({"leases": 1, "shares": 1, "bytes": 94, "buckets": 0}));
    let kept: Vec<_> = report.findings.iter().map(|f| (f.object.as_deref(), &f.part[..], f.severity)).collect();
    assert_eq!(kept, [(None, "bucket", Severity::Note); 3], "{:?}", report.findings);
    assert!(
        report.findings[0].reason.contains("more would be deleted than was shown (1 object, 1 record"),
        "{report:?}"
    );
    assert_eq!((report.counts.objects, report.counts.buckets, report.counts.errors), (5, 5, 0));
    let space = &report.own["history"]["space-recovered"];
    assert_eq!((&space["examined-shares"], &space["actual-shares"]), (&5.into(), &1.into()));
}

/// How it happens: a bucket of 2,500 shares is deleted in chunks; in the second one its disk becomes read-only, and before the
/// same command is given again, shares have come to the bucket that have expired as well.
#[test]
fn of_a_bucket_that_was_deleted_in_part_no_more_goes_than_was_shown() {
    for (added, left) in [(0, 0), (900, 1352)] {
        let (mut world, state) = (World::new(), SimState::sound());
        let put = |world: &World, shares: Range<u32>| {
            let share = immutable_at(world.now(), 2, 50, &[(1, 40)]);
            shares.for_each(|n| world.put(&world.share("aa", 0, n), &share));
        };
        put(&world, 0..2500);
        world.medium = Failing::new(|_, n| (n >= 1500).then(|| io::ErrorKind::ReadOnlyFilesystem.into()));
        world.run(state.clone(), settings(Word::Offline)).unwrap_err();
        let shares = |world: &World| fs::read_dir(world.bucket("aa", 0)).unwrap().count();
        assert_eq!(shares(&world), 1000);
        world.medium = Arc::new(Disk);
        put(&world, 3000..3000 + added);
        let report = world.run(state, settings(Word::Offline)).unwrap();
        // The intents that were saved are finished in any case.
        assert_eq!((shares(&world), &report.own["deleted"]["shares"]), (left, &(2500 + added - left as u32).into()));
        let reasons: Vec<&str> = report.findings.iter().map(|finding| finding.reason.as_str()).collect();
        let more = "(452 objects, 452 records, 60568 bytes, now 1024 objects, 1024 records, 137216 bytes)";
        assert_eq!(reasons.len(), usize::from(added > 0), "{reasons:?}");
        assert!(reasons.iter().all(|reason| reason.contains(more)), "{reasons:?}");
    }
}

#[test]
fn a_rehearsal_is_the_cycle_stopped_between_its_phases() {
    let mut world = World::new();
    two_shares(&world);
    let state = SimState::sound();
    let rehearsing = LeaseSettings { rehearsal: true, ..settings(Word::Offline) };
    for _ in 0..2 {
        let (engine, shown) = world.run_until_it_waits(state.clone(), rehearsing.clone());
        let would_delete = WouldDelete { leases: 2, shares: 1, bytes: 206, buckets: 1 };
        assert_eq!((shown.cycle, shown.examined, shown.over_limit, shown.would_delete), (0, 2, false, would_delete));
        assert!(world.share("aa", 0, 0).exists() && engine.last_report("expiry").is_none());
        block_on(engine.shutdown(Duration::from_secs(60))).unwrap();
    }
    let (engine, _) = world.run_until_it_waits(state.clone(), rehearsing.clone());
    block_on(engine.command("expiry", Command::Confirm { cycle: 0, objects: None })).unwrap();
    engine.join().unwrap();
    let report = engine.last_report("expiry").unwrap();
    assert_eq!((report.key.number, &report.own["deleted"]["shares"]), (0, &1.into()));
    assert_eq!(report.own["history"]["expiration-enabled"], true);
    assert!(!world.share("aa", 0, 0).exists());
    block_on(engine.shutdown(Duration::from_secs(60))).unwrap();
    // What was confirmed once is not asked again; other settings are.
    world.fresh = Fresh::Yes;
    assert_eq!(world.run(state.clone(), rehearsing.clone()).unwrap().key.number, 1);
    world.put(&world.share("aa", 0, 0), &immutable_at(world.now(), 2, 50, &[(1, 40)]));
    let other = LeaseSettings { prune: true, ..rehearsing };
    let (engine, shown) = world.run_until_it_waits(state, other);
    assert_eq!(shown.cycle, 2, "other settings are rehearsed anew");
    block_on(engine.shutdown(Duration::from_secs(60))).unwrap();
}

/// Beyond the limit whoever confirms has to know how much that is.
#[test]
fn beyond_the_limit_the_confirmation_names_the_number() {
    let world = World::new();
    two_shares(&world);
    let limited = LeaseSettings { rehearsal: true, max_delete: 0.1, ..settings(Word::Offline) };
    let (engine, shown) = world.run_until_it_waits(SimState::sound(), limited);
    assert!(shown.over_limit);
    for wrong in [None, Some(2)] {
        let refused =
            block_on(engine.command("expiry", Command::Confirm { cycle: 0, objects: wrong })).unwrap_err().to_string();
        assert!(refused.contains('1'), "{refused}");
        assert!(world.share("aa", 0, 0).exists());
    }
    block_on(engine.command("expiry", Command::Confirm { cycle: 0, objects: Some(1) })).unwrap();
    engine.join().unwrap();
    assert!(!world.share("aa", 0, 0).exists());
    block_on(engine.shutdown(Duration::from_secs(60))).unwrap();
}

/// How it happens: the disk is unmounted between the phases, when names come from the state and no folder has to be listed.
#[test]
fn a_store_that_goes_away_between_the_phases_loses_no_candidate() {
    let world = World::new();
    for prefix in ["aa", "bb"] {
        world.put(&world.share(prefix, 0, 0), &immutable_at(world.now(), 2, 10, &[(1, 40)]));
    }
    let (shares, aside, away) = (world.store().join("shares"), world.path("aside"), AtomicBool::new(false));
    let (from, to) = (shares.clone(), aside.clone());
    let state = SimState::new(move |call| {
        if call == "candidates" && !away.swap(true, Ordering::Relaxed) {
            fs::rename(&from, &to).unwrap();
        }
        Ok(())
    });
    assert!(world.run(state.clone(), settings(Word::Offline)).is_err());
    fs::rename(&aside, &shares).unwrap();
    let report = world.run(state, settings(Word::Offline)).unwrap();
    assert_eq!((report.key.number, report.counts.objects, &report.own["deleted"]["shares"]), (0, 2, &2.into()));
}

/// A share of the property test: whether each of its leases has expired.
type Leases = Vec<bool>;

/// Shares of buckets in prefixes.
type Shares = Vec<Vec<Vec<Leases>>>;

/// What deleting comes to by the rules as people know them: a share goes if all its leases have expired, and of the others the
/// expired leases go.
#[derive(Debug, Default, PartialEq)]
struct Account {
    examined: u64,
    shares: u64,
    leases: u64,
    bytes: u64,
}

const PREFIXES: [&str; 3] = ["aa", "mm", "zz"];

fn expected(shares: &Shares) -> Account {
    let mut account = Account::default();
    for leases in shares.iter().flatten().flatten() {
        let expired = leases.iter().filter(|expired| **expired).count();
        account.examined += 1;
        account.leases += expired as u64;
        if expired > 0 && expired == leases.len() {
            account.shares += 1;
            account.bytes += 12 + 20 + 72 * expired as u64;
        } else {
            account.bytes += 72 * expired as u64;
        }
    }
    account
}

fn put_all(world: &World, shares: &Shares) {
    for (prefix, buckets) in PREFIXES.iter().zip(shares) {
        for (n, bucket) in (0..).zip(buckets) {
            for (number, leases) in (0..).zip(bucket) {
                let leases: Vec<(u8, u32)> =
                    (1..).zip(leases).map(|(secret, expired)| (secret, if *expired { 40 } else { 3 })).collect();
                world.put(&world.share(prefix, n, number), &immutable_at(world.now(), 2, 20, &leases));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// Whatever lies in the store, whoever works on it and however it is saved: beyond the limit nothing goes, within it just what
    /// was shown, and the account is that of the model.
    #[test]
    fn random_stores_are_judged_and_accounted_for_as_the_model_says(
        shares in vec(vec(vec(vec(any::<bool>(), 0..4), 0..4), 0..5), 3),
        most in 0u32..=100,
        workers in 1u32..4,
        checkpoint in prop_oneof![Just(Checkpoint::EverySlice), Just(Checkpoint::EveryBucket)],
    ) {
        let mut world = World::new();
        (world.workers, world.checkpoint) = (workers, checkpoint);
        put_all(&world, &shares);
        let (model, before) = (expected(&shares), super::fixtures::files(&world.store()));
        let state = SimState::sound();
        let limited = |max_delete| LeaseSettings { max_delete, ..settings(Word::Offline) };
        let part = f64::from(most) / 100.0;
        let is_over = model.shares as f64 > part * model.examined as f64;
        let report = match world.run(state.clone(), limited(part)) {
            Err(Error::SafetyCatch { would_delete, deleted, examined, .. }) => {
                prop_assert!(is_over);
                prop_assert_eq!((would_delete, deleted, examined), (model.shares, 0, model.examined));
                prop_assert!(super::fixtures::files(&world.store()) == before);
                world.run(state, limited(1.0)).unwrap()
            }
            report => {
                prop_assert!(!is_over);
                report.unwrap()
            }
        };
        let after = super::fixtures::files(&world.store());
        prop_assert_eq!(before.len() - after.len(), model.shares as usize);
        let deleted = &report.own["deleted"];
        let account = Account {
            examined: report.counts.objects,
            shares: deleted["shares"].as_u64().unwrap(),
            leases: deleted["leases"].as_u64().unwrap(),
            bytes: deleted["bytes"].as_u64().unwrap(),
        };
        prop_assert_eq!(account, model);
        let space = &report.own["history"]["space-recovered"];
        prop_assert_eq!(space["examined-shares"].as_u64().unwrap(), report.counts.objects);
        prop_assert_eq!(report.counts.buckets, shares.iter().flatten().filter(|bucket| !bucket.is_empty()).count() as u64);
        prop_assert_eq!((report.counts.findings, report.counts.errors, report.counts.vanished), (0, 0, 0));
        // Nothing is left to be done.
        let again = world.run(SimState::sound(), limited(0.0)).unwrap();
        prop_assert_eq!(&again.own["deleted"]["leases"], 0);
    }
}
