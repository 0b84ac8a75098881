//! Expiry of shares with more leases than anybody grants: anybody who may write to a store may add leases to its shares.

use std::fs;

use sexton::job::leases::{LeaseSettings, Word};

use super::expiry_crash::immutable_at;
use super::expiry_world::{World, settings};
use super::sim_state::SimState;

/// How it happens: a client adds tens of thousands of leases to each share of a bucket, and some expire. Their tables are
/// planned as one intent, so those that are too many for one are left to the next cycle, and told.
#[test]
fn tables_of_a_bucket_that_are_too_long_together_are_rewritten_one_cycle_after_the_other() {
    let world = World::new();
    let leases: Vec<(u8, u32)> = (0..60_000).map(|n| (n as u8, if n == 7 { 40 } else { 3 })).collect();
    (0..2).for_each(|n| world.put(&world.share("aa", 0, n), &immutable_at(world.now(), 2, 50, &leases)));
    world.put(&world.share("aa", 0, 2), &immutable_at(world.now(), 2, 50, &[(1, 40), (2, 3)]));
    let len = |n| fs::metadata(world.share("aa", 0, n)).unwrap().len();
    let whole = len(0);
    let dry_run = LeaseSettings { dry_run: true, ..settings(Word::Offline) };
    for (cycle, gone) in [[72, 0], [72, 72]].into_iter().enumerate() {
        let told = world.run(SimState::sound(), dry_run.clone()).unwrap();
        let report = world.run(SimState::sound(), settings(Word::Offline)).unwrap();
        assert_eq!([whole - len(0), whole - len(1)], gone, "{cycle}");
        assert_eq!((len(2), report.findings.len()), (134, 1 - cycle), "{:?}", report.findings);
        assert_eq!(
            (&told.own["would_delete"]["leases"], &told.findings),
            (&report.own["deleted"]["leases"], &report.findings)
        );
        for finding in &report.findings {
            assert!(finding.share == Some(1) && finding.only_kept, "{finding:?}");
            let why = "it has 60000 leases, and in this cycle other shares of the bucket come first";
            assert!(finding.reason.ends_with(why), "{finding:?}");
        }
    }
}
