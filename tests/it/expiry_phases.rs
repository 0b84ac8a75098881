//! The two phases of a cycle that deletes: nothing goes before the whole ring was examined and judged, and nothing goes then that
//! was not shown.

use std::fs;
use std::time::Duration;

use futures_executor::block_on;
use sexton::Error;
use sexton::engine::Fresh;
use sexton::job::leases::{LeaseSettings, Word};
use sexton::settings::Checkpoint;
use sexton::status::WouldDelete;

use super::expiry_crash::immutable_at;
use super::expiry_world::{DAY, World, renew, settings};
use super::sim_state::SimState;

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
    let keys = ["--max-delete", "`max_delete` in config.ron", "without examining it again"];
    for words in ["300 of 1200 shares", "(deleted already: 0)", "10.0 %", "the clock"].into_iter().chain(keys) {
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
        assert_eq!((report.key.number, report.counts.shares, &report.own["deleted"]["shares"]), (0, all, &all.into()));
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
    assert_eq!((report.counts.shares, report.counts.buckets, report.counts.vanished), (20, 20, 0));
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
    let kept: Vec<_> = report.findings.iter().map(|f| (f.share, &f.region[..], f.only_kept)).collect();
    assert_eq!(kept, [(None, "bucket", true); 3], "{:?}", report.findings);
    assert!(report.findings[0].reason.contains("more has expired than was shown (1 shares, 1 leases"), "{report:?}");
    assert_eq!((report.counts.shares, report.counts.buckets, report.counts.errors), (5, 5, 0));
    let space = &report.own["history"]["space-recovered"];
    assert_eq!((&space["examined-shares"], &space["actual-shares"]), (&5.into(), &1.into()));
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
    block_on(engine.confirm("expiry", 0, None)).unwrap();
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
        let refused = block_on(engine.confirm("expiry", 0, wrong)).unwrap_err().to_string();
        assert!(refused.contains('1'), "{refused}");
        assert!(world.share("aa", 0, 0).exists());
    }
    block_on(engine.confirm("expiry", 0, Some(1))).unwrap();
    engine.join().unwrap();
    assert!(!world.share("aa", 0, 0).exists());
    block_on(engine.shutdown(Duration::from_secs(60))).unwrap();
}
