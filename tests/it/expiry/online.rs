//! Expiry beside a running node: what it may not delete, and that no lease renewed meanwhile is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sexton::Error;
use sexton::tahoe::ChangeRefusal;
use sexton::tahoe::leases::{LeaseSettings, Word};

use super::crash::immutable_at;
use super::world::{Ahead, DAY, World, renew, settings};
use crate::simulated::world_state::SimState;

/// How it happens: a node renews leases in a loop, over and over, while they are judged and shares are unlinked; and
/// others just after they were judged, and before anything is done.
#[test]
fn no_lease_that_a_node_renews_is_lost() {
    let world = World::new();
    let (now, fresh) = (world.now(), world.now() + 31 * DAY);
    let share = |n: u32| world.share("aa", n, 0);
    for n in 0..600 {
        world.put(&share(n), &immutable_at(now, 2, 300, &[(1, 40), (2, 50)]));
    }
    // Every third is renewed all the time, every third between judgement and deed, and every third goes.
    let looped: Vec<_> = (0..600).step_by(3).map(share).collect();
    let late: Vec<_> = (1..600).step_by(3).map(share).collect();
    looped.iter().for_each(|path| renew(path, fresh).unwrap());
    let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let node = {
        let (stop, rounds, looped) = (stop.clone(), rounds.clone(), looped.clone());
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                looped.iter().for_each(|path| renew(path, fresh).unwrap());
                rounds.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    while rounds.load(Ordering::Relaxed) == 0 {
        std::thread::yield_now();
    }
    let renewed = AtomicBool::new(false);
    let to_renew = late.clone();
    let state = SimState::new(move |call| {
        if call == "sync" && !renewed.swap(true, Ordering::Relaxed) {
            to_renew.iter().for_each(|path| renew(path, fresh).unwrap());
        }
        Ok(())
    });
    let report = world.run(state, settings(Word::Online)).unwrap();
    stop.store(true, Ordering::Relaxed);
    node.join().unwrap();
    for path in looped.iter().chain(&late) {
        let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{} is lost: {e}", path.display()));
        assert_eq!(bytes.len(), 12 + 300 + 144, "no table is rewritten");
        assert_eq!(bytes[12 + 300 + 68..12 + 300 + 72], fresh.to_be_bytes());
    }
    assert_eq!(report.own["deleted"]["shares"], 200);
    assert_eq!(report.own["history"]["space-recovered"]["actual-shares"], 200);
    assert_eq!(report.own["history"]["space-recovered"]["examined-shares"], 600);
    assert_eq!((report.counts.deleted, report.counts.errors), (200, 0));
}

#[test]
fn only_whole_shares_go_a_day_after_their_leases_have_expired() {
    let world = World::new();
    let now = world.now();
    let put = |n, leases: &[(u8, u32)]| world.put(&world.share("aa", n, 0), &immutable_at(now, 1, 50, leases));
    put(0, &[(1, 40), (2, 33)]);
    put(1, &[(1, 40), (2, 3)]);
    put(2, &[(1, 40), (2, 31)]);
    put(3, &[]);
    let before = std::fs::read(world.share("aa", 1, 0)).unwrap();
    let report = world.run(SimState::sound(), settings(Word::Online)).unwrap();
    let there = |n| world.share("aa", n, 0).exists();
    assert_eq!((there(0), there(1), there(2), there(3)), (false, true, true, true));
    assert_eq!(std::fs::read(world.share("aa", 1, 0)).unwrap(), before, "no table is rewritten");
    assert_eq!(report.own["deleted"]["leases"], 2);
    let spared = serde_json::json!({"partly_expired": 1, "expired_within_a_day": 1, "touched_within_the_hour": 0});
    assert_eq!(report.own["spared"], spared);
}

#[test]
fn what_was_touched_within_the_hour_stays() {
    let mut world = World::new();
    world.put(&world.share("aa", 0, 0), &immutable_at(world.now(), 1, 50, &[(1, 40)]));
    world.clock = Ahead::by(3000);
    let report = world.run(SimState::sound(), settings(Word::Online)).unwrap();
    assert!(world.share("aa", 0, 0).exists());
    assert_eq!(
        (&report.own["deleted"]["shares"], &report.own["spared"]["touched_within_the_hour"]),
        (&0.into(), &1.into())
    );
}

fn assert_clock_refused(refused: sexton::Result<sexton::model::CycleReport>, why: &str) {
    let Err(error @ Error::Clock { .. }) = refused else { panic!("{refused:?}") };
    assert!(error.to_string().contains(why), "{error}");
}

#[test]
fn a_clock_before_the_newest_share_is_refused() {
    let world = World::new();
    for n in 0..3 {
        world.put(&world.share("aa", n, 0), &immutable_at(world.now(), 1, 50, &[(1, 40)]));
    }
    let newest = std::fs::File::options().write(true).open(world.share("aa", 2, 0)).unwrap();
    newest.set_modified(std::time::SystemTime::now() + std::time::Duration::from_secs(9000)).unwrap();
    assert_clock_refused(world.run(SimState::sound(), settings(Word::Online)), "a share was written");
    assert!((0..3).all(|n| world.share("aa", n, 0).exists()));
}

/// How it happens: the clock is behind every share, so that no lease has expired for it and there is nothing to delete; or
/// one share has a date that cannot be.
#[test]
fn a_clock_behind_a_share_is_refused_though_nothing_would_be_deleted() {
    let mut world = World::new();
    (0..3).for_each(|n| world.put(&world.share("aa", n, 0), &immutable_at(world.now(), 1, 50, &[(1, 3)])));
    world.put(&world.share("ab", 0, 0), &immutable_at(world.now(), 1, 50, &[(1, 3)]));
    let late = std::fs::File::options().write(true).open(world.share("aa", 1, 0)).unwrap();
    late.set_modified(std::time::SystemTime::now() + std::time::Duration::from_secs(9000)).unwrap();
    let dry_run = LeaseSettings { dry_run: true, ..settings(Word::Online) };
    let rehearsal = LeaseSettings { rehearsal: true, ..settings(Word::Online) };
    for refused in [settings(Word::Online), dry_run, rehearsal] {
        let state = SimState::sound();
        let expected = world.share("aa", 1, 0).display().to_string();
        // However often it is tried.
        for _ in 0..2 {
            assert_clock_refused(world.run(state.clone(), refused.clone()), &expected);
        }
        let accepted = LeaseSettings { accept_clock: true, ..refused };
        let report = world.run(state, accepted).unwrap();
        assert_eq!((report.resumed, report.counts.objects), (true, 4), "each share counts once");
    }
    assert_clock_refused(world.run(SimState::sound(), settings(Word::Online)), "accept_clock: true");
    let state = SimState::sound();
    assert!(world.run(state.clone(), settings(Word::Online)).is_err());
    late.set_modified(std::time::SystemTime::now()).unwrap();
    assert_eq!(world.run(state, settings(Word::Online)).unwrap().counts.objects, 4);
    world.clock = Ahead::by(-7290);
    assert_clock_refused(world.run(SimState::sound(), settings(Word::Online)), "a share was written 72");
}

/// How it happens: the clock was set a month ahead before anything was started, so no clock jumps, and every lease that is
/// valid has expired for it.
#[test]
fn a_clock_by_which_the_running_node_has_long_been_silent_is_refused() {
    let mut world = World::new();
    world.put(&world.share("aa", 0, 0), &immutable_at(world.now(), 1, 50, &[(1, 3)]));
    let saved = |name: &str| world.put(&world.store().join(name), b"{}");
    saved("lease_checker.state.json");
    saved("bucket_counter.state");
    world.clock = Ahead::by(40 * i64::from(DAY));
    let silent = world.run(SimState::sound(), settings(Word::Online));
    let Err(error) = silent else { panic!("{silent:?}") };
    assert!(matches!(error.downcast_ref(), Some(ChangeRefusal::NodeSilent { .. })), "{error}");
    assert!(error.to_string().contains("the newest is 40.0 days old by this clock"), "{error}");
    world.clock = Ahead::by(-7290);
    let behind = LeaseSettings { expiry: "cutoff:9".parse().unwrap(), ..settings(Word::Online) };
    assert_clock_refused(world.run(SimState::sound(), behind), "a share was written 72");
    assert!(world.share("aa", 0, 0).exists());
    world.clock = Ahead::by(40 * i64::from(DAY));
    let accepted = LeaseSettings { accept_clock: true, ..settings(Word::Online) };
    assert_eq!(world.run(SimState::sound(), accepted).unwrap().own["deleted"]["shares"], 1);
    // One of the two is enough.
    world.put(&world.share("aa", 0, 0), &immutable_at(world.now(), 1, 50, &[(1, 40)]));
    world.clock = Ahead::by(7200);
    let old = std::fs::File::options().write(true).open(world.store().join("lease_checker.state.json")).unwrap();
    old.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(world.run(SimState::sound(), settings(Word::Online)).unwrap().own["deleted"]["shares"], 1);
}

#[test]
fn a_clock_that_jumps_is_refused_and_the_cycle_goes_on_once_it_is_right() {
    let world = World::new();
    world.put(&world.share("aa", 0, 0), &immutable_at(world.now(), 1, 50, &[(1, 40)]));
    let secs = world.clock.secs.clone();
    let state = SimState::new(move |call| {
        if call == "sync" {
            secs.store(7200 + 86_400, Ordering::Relaxed);
        }
        Ok(())
    });
    assert_clock_refused(world.run(state.clone(), settings(Word::Online)), "it has jumped by 86400 s");
    assert!(world.share("aa", 0, 0).exists());
    // Started anew it has no way to tell that a clock jumped before; all else speaks for it.
    let report = world.run(state, settings(Word::Online)).unwrap();
    assert!(!world.share("aa", 0, 0).exists() && report.resumed);
    assert_eq!(report.own["deleted"]["shares"], 1);
}

#[test]
fn a_machine_that_was_suspended_has_no_clock_that_jumps() {
    let world = World::new();
    world.put(&world.share("aa", 0, 0), &immutable_at(world.now(), 1, 50, &[(1, 40)]));
    let (secs, suspended) = (world.clock.secs.clone(), world.clock.suspended.clone());
    let state = SimState::new(move |call| {
        if call == "sync" {
            secs.store(7200 + 3600, Ordering::Relaxed);
            suspended.store(3600, Ordering::Relaxed);
        }
        Ok(())
    });
    assert_eq!(world.run(state, settings(Word::Online)).unwrap().own["deleted"]["shares"], 1);
}

#[cfg(target_os = "linux")]
mod in_the_idle_class {
    use std::io;
    use std::os::fd::BorrowedFd;
    use std::sync::{Arc, Mutex};

    use sexton::priority::{ClassEntry, Working};
    use sexton::settings::{Checkpoint, Priority};
    use sexton::tahoe::store::{Disk, Medium};

    use super::*;

    /// A disk that notes in which scheduling class whoever unlinks something is.
    #[derive(Debug, Default)]
    struct Watching(Mutex<Vec<u32>>);

    /// The scheduling policy of the calling thread: field 41 of its `stat`, after a name in parentheses.
    fn scheduling_policy() -> u32 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let after_name = stat.rsplit(')').next().unwrap();
        after_name.split_whitespace().nth(41 - 3).unwrap().parse().unwrap()
    }

    impl Medium for Watching {
        fn write(&self, _: BorrowedFd<'_>, _: &[u8], _: u64) -> io::Result<()> {
            unreachable!("no lease table is rewritten")
        }

        fn truncate(&self, _: BorrowedFd<'_>, _: u64) -> io::Result<()> {
            unreachable!("no share is cut")
        }

        fn sync(&self, file: BorrowedFd<'_>) -> io::Result<()> {
            Disk.sync(file)
        }

        fn unlink(&self, dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
            self.0.lock().unwrap().push(scheduling_policy());
            Disk.unlink(dir, name)
        }

        fn remove_dir(&self, dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
            Disk.remove_dir(dir, name)
        }
    }

    /// Beside a busy machine a thread in the idle class may stand still for minutes, also between reading leases and unlinking.
    #[test]
    fn beside_a_node_nothing_is_unlinked_in_the_idle_class() {
        let mut world = World::new();
        // In mid-slice, where the thread is in the class.
        (world.priority, world.checkpoint) = (Priority::Idle, Checkpoint::EveryBucket);
        if Working::new(Priority::Idle).manner() != ClassEntry::Switch {
            return;
        }
        for (word, policy) in [(Word::Offline, libc::SCHED_IDLE), (Word::Online, libc::SCHED_OTHER)] {
            (0..3).for_each(|n| world.put(&world.share("aa", n, 0), &immutable_at(world.now(), 2, 50, &[(1, 40)])));
            let watching = Arc::new(Watching::default());
            world.medium = watching.clone();
            assert_eq!(world.run(SimState::sound(), settings(word)).unwrap().own["deleted"]["shares"], 3);
            assert_eq!(*watching.0.lock().unwrap(), [policy as u32; 3], "{word:?}");
        }
    }
}
