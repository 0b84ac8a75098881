//! Rewritings that were begun and could not be finished, and what somebody else does to the share before the same command
//! is given again.

use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sexton::Error;
use sexton::engine::Fresh;
use sexton::model::CycleReport;
use sexton::settings::Checkpoint;
use sexton::tahoe::leases::Word;
use sexton::tahoe::store::Disk;

use super::crash::immutable_at;
use super::world::{Ahead, DAY, Failing, World, settings};
use crate::simulated::world_state::SimState;

/// Bytes of data in the share, and where its leases begin.
const DATA: usize = 50;
const TABLE: u64 = 12 + DATA as u64;

/// A share whose first and last leases have expired, and whose second has not.
fn three_leases(world: &World) {
    world.put(&world.share("aa", 0, 0), &immutable_at(world.now(), 2, DATA, &[(1, 40), (2, 3), (3, 40)]));
}

fn share(world: &World) -> Vec<u8> {
    fs::read(world.share("aa", 0, 0)).unwrap()
}

/// The leases of a share as (first byte of its secrets, when it expires).
fn leases(world: &World) -> Vec<(u8, u32)> {
    let table = share(world).split_off(TABLE as usize);
    table.chunks(72).map(|record| (record[4], u32::from_be_bytes(record[68..72].try_into().unwrap()))).collect()
}

fn renew_record(path: &Path, number: u64, expires_unix: u32) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&expires_unix.to_be_bytes(), TABLE + 72 * number + 68).unwrap();
}

/// Runs until the disk fails, which it goes on to do: from the operation of this number on.
fn interrupted(world: &mut World, state: &SimState, fails: fn(&str, i64) -> Option<io::Error>) {
    world.medium = Failing::new(fails);
    let ended = world.run(state.clone(), settings(Word::Offline));
    let Err(Error::Store { doing: "finish the lease table of", .. }) = ended else { panic!("{ended:?}") };
    world.medium = Arc::new(Disk);
}

fn resumed(world: &World, state: &SimState) -> CycleReport {
    world.run(state.clone(), settings(Word::Offline)).unwrap()
}

fn no_room(since: i64, n: i64) -> Option<io::Error> {
    (n >= since).then(|| io::ErrorKind::StorageFull.into())
}

/// Records and count are written and synced by then.
fn at_the_truncation(what: &str, n: i64) -> Option<io::Error> {
    assert!(n != 4 || what == "truncate", "{what}");
    no_room(4, n)
}

/// How it happens: the disk fails before anything is written, a node renews two leases, one of them behind those that are
/// to stay, and the same command is given again.
#[test]
fn a_lease_renewed_before_the_rewriting_is_resumed_stays() {
    let (mut world, state) = (World::new(), SimState::sound());
    three_leases(&world);
    interrupted(&mut world, &state, |_, n| no_room(0, n));
    let fresh = world.now() + 31 * DAY;
    (1..3).for_each(|number| renew_record(&world.share("aa", 0, 0), number, fresh));
    let report = resumed(&world, &state);
    assert_eq!(leases(&world), [(2, fresh), (3, fresh)]);
    assert_eq!(report.own["deleted"]["leases"], 1);
}

/// Something that is done to a store.
type Step<'a> = &'a dyn Fn(&World);

/// How it happens: the disk fails between the records and their number, and the next run comes while the share has a second
/// name (a backup by links), or stands behind a link, or its bucket does.
#[test]
fn a_table_that_is_half_written_is_not_given_up_for_what_hinders_its_writing() {
    let aside = |path: &Path, world: &World| {
        fs::rename(path, world.path("aside")).unwrap();
        symlink(world.path("aside"), path).unwrap();
    };
    let back = |path: &Path, world: &World| {
        fs::remove_file(path).unwrap();
        fs::rename(world.path("aside"), path).unwrap();
    };
    let hindrances: [(Step<'_>, Step<'_>); 3] = [
        (&|w| fs::hard_link(w.share("aa", 0, 0), w.path("backup")).unwrap(), &|w| {
            fs::remove_file(w.path("backup")).unwrap();
        }),
        (&|w| aside(&w.share("aa", 0, 0), w), &|w| back(&w.share("aa", 0, 0), w)),
        (&|w| aside(&w.bucket("aa", 0), w), &|w| back(&w.bucket("aa", 0), w)),
    ];
    for (n, (hinder, free)) in hindrances.into_iter().enumerate() {
        let (mut world, state) = (World::new(), SimState::sound());
        three_leases(&world);
        interrupted(&mut world, &state, |_, n| no_room(1, n));
        assert_eq!(leases(&world).iter().map(|lease| lease.0).collect::<Vec<_>>(), [2, 2, 2], "half written");
        hinder(&world);
        let refused = world.run(state.clone(), settings(Word::Offline));
        let Err(Error::Store { doing: "finish the lease table of", .. }) = refused else { panic!("{n}: {refused:?}") };
        free(&world);
        let report = resumed(&world, &state);
        assert_eq!(share(&world), immutable_at(world.now(), 2, DATA, &[(2, 3)]), "{n}");
        assert_eq!(report.own["deleted"]["leases"], 2, "{n}");
    }
}

/// How it happens: the disk fails at the truncation, and the store comes back on a disk of another number, as after a remount
/// (here: as a copy, with other inodes).
#[test]
fn a_half_written_table_is_known_again_after_a_remount() {
    let (mut world, state) = (World::new(), SimState::sound());
    three_leases(&world);
    interrupted(&mut world, &state, at_the_truncation);
    let path = world.share("aa", 0, 0);
    fs::copy(&path, world.path("copy")).unwrap();
    fs::rename(world.path("copy"), &path).unwrap();
    let report = resumed(&world, &state);
    assert_eq!(share(&world), immutable_at(world.now(), 2, DATA, &[(2, 3)]));
    assert_eq!(report.own["deleted"]["leases"], 2);
}

/// How it happens: as above without the remount, but somebody writes into the lease that stays.
#[test]
fn a_table_torn_and_then_changed_is_left_alone_and_told() {
    let (mut world, state) = (World::new(), SimState::sound());
    three_leases(&world);
    world.put(&world.share("aa", 1, 0), &immutable_at(world.now(), 2, DATA, &[(1, 40)]));
    interrupted(&mut world, &state, at_the_truncation);
    // The last one: by its count it is the only lease.
    renew_record(&world.share("aa", 0, 0), 2, world.now() + 31 * DAY);
    let before = share(&world);
    // It is no reason to leave the rest undone, nor to come to it again and again.
    let report = resumed(&world, &state);
    let [finding] = &report.findings[..] else { panic!("{:?}", report.findings) };
    assert_eq!((finding.object.as_deref(), &finding.part[..]), (Some("0"), "leases"));
    assert!(
        finding.reason.contains("somebody else has changed the share while its lease table was half"),
        "{finding:?}"
    );
    assert_eq!((&report.own["deleted"]["shares"], &report.own["deleted"]["leases"]), (&1.into(), &1.into()));
    assert_eq!(share(&world), before);
    // The next cycle takes it for what it is: a table that does not fit its file.
    let next = world.run(SimState::sound(), settings(Word::Offline)).unwrap();
    assert_eq!((next.findings.len(), &next.own["deleted"]["leases"]), (1, &0.into()));
    assert_eq!(share(&world), before);
}

/// How it happens: the first write cannot be synced and is taken back, and the disk does not say that this will last.
#[test]
fn what_was_taken_back_but_may_not_last_is_done_again() {
    let (mut world, state) = (World::new(), SimState::sound());
    three_leases(&world);
    interrupted(&mut world, &state, |what, n| (what == "sync" || n == 1).then(|| io::ErrorKind::StorageFull.into()));
    let report = resumed(&world, &state);
    assert_eq!(share(&world), immutable_at(world.now(), 2, DATA, &[(2, 3)]));
    assert_eq!(report.own["deleted"]["leases"], 2);
}

/// How it happens: whatever changes the store panics in mid-slice. That is no panic of the visit, which would cost a bucket
/// that has nothing to do with it.
#[test]
fn a_panic_while_something_is_deleted_loses_no_intent() {
    let (mut world, state) = (World::new(), SimState::sound());
    three_leases(&world);
    world.checkpoint = Checkpoint::EveryBucket;
    world.medium = Failing::new(|_, n| if n == 0 { panic!("no such luck") } else { None });
    let ended = world.run(state.clone(), settings(Word::Offline));
    let Err(Error::ActorPanicked { actor: "settling", .. }) = ended else { panic!("{ended:?}") };
    world.medium = Arc::new(Disk);
    let report = resumed(&world, &state);
    assert_eq!(share(&world), immutable_at(world.now(), 2, DATA, &[(2, 3)]));
    assert_eq!((&report.own["deleted"]["leases"], report.counts.errors), (&2.into(), 0));
}

/// How it happens: while something is about to be deleted, somebody moves `shares/` aside and puts a copy in its place.
#[test]
fn in_a_folder_that_was_moved_aside_nothing_is_deleted() {
    let world = World::new();
    three_leases(&world);
    world.put(&world.share("aa", 1, 0), &immutable_at(world.now(), 2, DATA, &[(1, 40)]));
    let (shares, aside) = (world.store().join("shares"), world.path("aside"));
    let (from, to, moved) = (shares.clone(), aside.clone(), AtomicBool::new(false));
    let moving = SimState::new(move |call| {
        if call == "sync" && !moved.swap(true, Ordering::Relaxed) {
            fs::rename(&from, &to).unwrap();
            fs::create_dir(&from).unwrap();
        }
        Ok(())
    });
    let ended = world.run(moving.clone(), settings(Word::Offline)).map(|report| report.own["deleted"].clone());
    let Err(error @ Error::Store { doing: "go on with", .. }) = ended else { panic!("{ended:?}") };
    assert!(error.to_string().contains("was replaced by another"), "{error}");
    // It was put back, and the crawl is begun again.
    fs::remove_dir(&shares).unwrap();
    fs::rename(&aside, &shares).unwrap();
    assert!(world.share("aa", 1, 0).exists() && leases(&world).len() == 3);
    let report = resumed(&world, &moving);
    assert_eq!((&report.own["deleted"]["shares"], &report.own["deleted"]["leases"]), (&1.into(), &3.into()));
}

/// How it happens: the clock is ahead, so leases expire that are valid; somebody sets it right just before the first of them
/// goes. What is left of that cycle is nothing to be finished.
#[test]
fn a_cycle_that_was_refused_before_anything_was_begun_is_given_up() {
    let mut world = World::new();
    world.put(&world.share("aa", 0, 0), &immutable_at(world.now(), 2, DATA, &[(1, 40), (2, 3), (3, 15)]));
    let before = share(&world);
    world.clock = Ahead::by(20 * i64::from(DAY));
    let clock = world.clock.secs.clone();
    let state = SimState::new(move |call| {
        if call == "sync" {
            clock.store(7200, Ordering::Relaxed);
        }
        Ok(())
    });
    for why in ["it has jumped", "the cycle judges by a moment"] {
        let refused = world.run(state.clone(), settings(Word::Offline)).map(|report| report.own["deleted"].clone());
        let Err(error @ Error::Clock { .. }) = refused else { panic!("{refused:?}") };
        assert!(error.to_string().contains(why), "{error}");
        assert_eq!(share(&world), before);
    }
    world.fresh = Fresh::Yes;
    let report = world.run(state, settings(Word::Offline)).unwrap();
    assert_eq!((report.key.number, leases(&world).len()), (1, 2));
}
