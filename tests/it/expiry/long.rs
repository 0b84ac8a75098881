//! Expiry of shares with more leases than anybody grants: anybody who may write to a store may add leases to its shares.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use sexton::Error;
use sexton::job::Severity;
use sexton::tahoe::leases::{LeaseSettings, Word};
use sexton::tahoe::store::Disk;

use super::crash::immutable_at;
use super::world::{DAY, Failing, World, settings};
use crate::simulated::world_state::SimState;

/// How it happens: a client adds tens of thousands of leases to each share of a bucket, and some expire. Those that are
/// too many for one cycle are left to the next, and told.
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
            assert!(finding.object.as_deref() == Some("1") && finding.severity == Severity::Note, "{finding:?}");
            let why = "it has 60000 leases, and in this cycle other shares of the bucket come first";
            assert!(finding.reason.ends_with(why), "{finding:?}");
        }
    }
}

/// A share with 5,000 leases, of which each second one has expired: three windows.
fn long_table(world: &World) -> Vec<(u8, u32)> {
    let leases: Vec<(u8, u32)> = (0..5000).map(|n| (n as u8, if n % 2 == 0 { 40 } else { 3 })).collect();
    world.put(&world.share("aa", 0, 0), &immutable_at(world.now(), 2, 50, &leases));
    leases
}

/// Runs until the disk fails at some change, which it goes on to do.
fn interrupted(world: &mut World, state: &SimState, fails: fn(&str, i64) -> Option<io::Error>) -> Vec<u8> {
    world.medium = Failing::new(fails);
    let ended = world.run(state.clone(), settings(Word::Offline)).map(|report| report.own["deleted"].clone());
    let Err(Error::Store { doing: "finish the lease table of", .. }) = ended else { panic!("{ended:?}") };
    world.medium = Arc::new(Disk);
    fs::read(world.share("aa", 0, 0)).unwrap()
}

/// The last lease has expired.
fn renew_last(path: &Path, at: u32) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&(at + 31 * DAY).to_be_bytes(), 62 + 72 * 4998 + 68).unwrap();
}

fn full(fails: bool) -> Option<io::Error> {
    fails.then(|| io::ErrorKind::StorageFull.into())
}

/// How it happens: the disk fails in the third window of a table, and the same command is given again, before or after a client has
/// renewed a lease.
#[test]
fn a_long_table_that_is_half_rewritten_is_finished_unless_somebody_else_has_changed_it() {
    for renewed in [false, true] {
        let (mut world, state) = (World::new(), SimState::sound());
        let leases = long_table(&world);
        // Two windows, each written and synced.
        let half = interrupted(&mut world, &state, |_, n| full(n >= 4));
        let valid: Vec<(u8, u32)> = leases.iter().filter(|lease| lease.1 == 3).copied().collect();
        let after = immutable_at(world.now(), 2, 50, &valid);
        assert_eq!(half[62..][..72 * 2500], after[62..], "two windows and more than all that stay");
        assert_eq!(half.len(), 62 + 72 * 5000);
        let path = world.share("aa", 0, 0);
        if renewed {
            renew_last(&path, world.now());
        }
        let found = fs::read(&path).unwrap();
        let report = world.run(state, settings(Word::Offline)).unwrap();
        let (is, deleted) = (fs::read(&path).unwrap(), &report.own["deleted"]["leases"]);
        if renewed {
            assert!(is == found && *deleted == 0, "left as it stands");
            let [finding] = &report.findings[..] else { panic!("{:?}", report.findings) };
            assert!(finding.reason.contains("while its lease table was half rewritten"), "{finding:?}");
        } else {
            assert!(is == after && *deleted == 2500, "{} bytes, {deleted}", is.len());
        }
    }
}

/// How it happens: the disk fails before anything is written.
#[test]
fn a_lease_renewed_before_its_long_table_is_touched_stays() {
    let (mut world, state) = (World::new(), SimState::sound());
    let leases = long_table(&world);
    let whole = interrupted(&mut world, &state, |_, n| full(n >= 0));
    assert!(whole == immutable_at(world.now(), 2, 50, &leases));
    renew_last(&world.share("aa", 0, 0), world.now());
    let report = world.run(state, settings(Word::Offline)).unwrap();
    let stays: Vec<(u8, u32)> = leases
        .iter()
        .enumerate()
        .filter(|(n, lease)| lease.1 == 3 || *n == 4998)
        .map(|(n, lease)| (lease.0, if n == 4998 { 0 } else { 3 }))
        .collect();
    assert_eq!(report.own["deleted"]["leases"], 2499);
    assert!(fs::read(world.share("aa", 0, 0)).unwrap() == immutable_at(world.now(), 2, 50, &stays));
}
