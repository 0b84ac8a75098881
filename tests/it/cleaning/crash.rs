//! Crashes of `sexton clean`: after each the same command gives the rows of an undisturbed run, limits included.
//!
//! How the failure happens: the process aborts itself inside the transaction of the nth step, or after it, before or
//! after the plan is kept, before or after it is noted that all is done, and after the report is printed; or it is
//! killed while it leaves the lock alone, or at random moments. What was committed is there.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use serde_json::Value;
use sexton::cumulus::policy::Mode;

use super::cli::{beside, clean, golden};
use crate::cumulus::data::{Golden, dump};
use crate::support::harness::{Running, run};

/// What a report tells of the plan, also if its rows are gone.
const PLANNED: [&str; 9] = [
    "removed",
    "segments",
    "balance",
    "reclaimable_bytes",
    "rewrite_bytes",
    "obsolete_bytes",
    "obsolete",
    "obsolete_after_backup",
    "odd",
];

/// Short steps, and a limit that counts.
const ARGS: &str = "--json --slice 1ms --allow-long-lock --max-segments 1";

#[test]
fn aborted_in_any_step_the_same_command_gives_the_same_rows() {
    for (name, era, wal) in [("real_a_weekly", "A", false), ("real_b_two_schemes", "B", true)] {
        let golden = golden(name);
        let (_dir, path) = golden.copy(wal);
        let undisturbed = run(&mut clean(&path, golden, Mode::Careful, ARGS)).report();
        let expected = dump(&path, era);
        let mut aborted = 0;
        let steps = [0, 1, 3, 8].iter().flat_map(|n| [("in_step", *n), ("after_step", *n)]);
        let ends = ["before_keep", "after_keep", "before_close", "after_close", "before_handed_over"];
        for (point, passed) in ends.into_iter().map(|point| (point, 0)).chain(steps) {
            let (_dir, path) = golden.copy(wal);
            let failing = format!("cleaning::{point}={passed}*off->return");
            let ended = run(clean(&path, golden, Mode::Careful, ARGS).env("FAILPOINTS", &failing));
            if ended.signal() != Some(6) {
                continue;
            }
            aborted += 1;
            let again = run(&mut clean(&path, golden, Mode::Careful, ARGS));
            assert!(dump(&path, era) == expected, "{name}: {failing}\n{}", again.stderr);
            let report = again.report();
            for key in PLANNED {
                assert_eq!(report[key], undisturbed[key], "{name}: {failing}: {key}");
            }
            assert!(!beside(&path).iter().any(|n| n.contains("sexton-plan") || n.contains("sexton-shown")));
        }
        assert!(aborted >= 8, "{name}: aborted {aborted} times");
    }
}

#[test]
fn a_copy_from_before_the_crash_is_kept() {
    let golden = golden("real_a_weekly");
    let (_dir, path) = golden.copy(true);
    let before = dump(&path, "A");
    let copy = path.with_file_name("before.sqlite");
    let args = format!("{ARGS} --backup {}", copy.display());
    for failing in ["cleaning::after_keep=return", "cleaning::after_step=1*off->return"] {
        let ended = run(clean(&path, golden, Mode::Careful, &args).env("FAILPOINTS", failing));
        assert_eq!(ended.signal(), Some(6), "{failing}: {}", ended.stderr);
    }
    run(&mut clean(&path, golden, Mode::Careful, &args)).expect(0);
    assert!(dump(&copy, "A") == before);
    let (_dir, path) = golden.copy(true);
    run(&mut clean(&path, golden, Mode::Careful, ARGS)).expect(0);
    assert!(dump(&path, "A") == dump(&copy.with_file_name("localdb.sqlite"), "A"));
}

#[test]
fn killed_or_interrupted_while_it_leaves_the_lock_alone_it_goes_on_later() {
    for (signal, code) in [(Signal::KILL, None), (Signal::INT, Some(130))] {
        let golden = golden("real_a_weekly");
        let (_dir, path) = golden.copy(true);
        run(&mut clean(&path, golden, Mode::Careful, ARGS));
        let expected = dump(&path, "A");
        let (_dir, path) = golden.copy(true);
        // Some milliseconds of locks, so minutes of pauses.
        let slow = Running::start(&mut clean(&path, golden, Mode::Careful, &format!("{ARGS} --lock-duty 0.05%")));
        while !beside(&path).contains("localdb.sqlite.sexton-plan") {
            std::thread::yield_now();
        }
        slow.signal(signal);
        assert_eq!(slow.end().status.code(), code);
        assert!(dump(&path, "A") != expected, "it had time to finish");
        let again = run(&mut clean(&path, golden, Mode::Careful, ARGS));
        again.said("goes on with the plan of an earlier run");
        assert!(dump(&path, "A") == expected);
    }
}

/// After the last step the rows are those of the end, but nobody has seen the report: the next run prints it and does
/// nothing; the one after that is a run of its own, and marks more.
#[test]
fn a_finished_run_is_reported_once_and_not_done_twice() {
    for how in ["", "--at-once"] {
        let golden = golden("b_two_schemes");
        let args = format!("--json --max-segments 1 --allow-long-lock {how}");
        let once = || clean_again(golden, &args, &[]);
        let (expected, undisturbed) = once();
        for point in ["before_close", "after_close", "before_handed_over"] {
            let failing = [format!("cleaning::{point}=return")];
            let (rows, report) = clean_again(golden, &args, &failing);
            assert!(rows == expected, "{how} {point}");
            for key in PLANNED {
                assert_eq!(report[key], undisturbed[key], "{how} {point}: {key}");
            }
            // Their rows are gone: only what was kept still names them.
            assert_ne!(report["obsolete"].as_array().map(Vec::len), Some(0), "{how} {point}");
            if point != "before_close" {
                assert!(report["steps"]["count"].as_u64() > Some(1), "{how} {point}: {}", report["steps"]);
            }
        }
        let (_dir, path) = golden.copy(true);
        run(&mut clean(&path, golden, Mode::Careful, &args)).expect(0);
        run(&mut clean(&path, golden, Mode::Careful, &args)).expect(0);
        assert!(dump(&path, "B") != expected, "a run of its own finds another segment");
    }
}

/// Runs the same command, aborted at each of the points in turn, and then once more; gives the rows and the report.
fn clean_again(golden: &Golden, args: &str, failing: &[String]) -> (String, Value) {
    let (_dir, path) = golden.copy(true);
    for point in failing {
        let ended = run(clean(&path, golden, Mode::Careful, args).env("FAILPOINTS", point));
        assert_eq!(ended.signal(), Some(6), "{point}: {}", ended.stderr);
    }
    let ended = run(&mut clean(&path, golden, Mode::Careful, args)).expect(0);
    assert!(!beside(&path).iter().any(|n| n.contains("sexton-plan") || n.contains("sexton-shown")));
    (dump(&path, golden.era()), ended.report())
}

/// A backup between the last step and the next run: what is kept is worth nothing any more, and nothing is printed again.
#[test]
fn a_backup_after_a_finished_run_makes_the_next_one_a_run_of_its_own() {
    let golden = golden("real_b_cleaned");
    let (_dir, path) = golden.copy(true);
    let args = "--json --max-segments 1 --allow-long-lock";
    run(clean(&path, golden, Mode::Careful, args).env("FAILPOINTS", "cleaning::after_close=return"));
    let done = dump(&path, "B");
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute("INSERT INTO snapshots (name, scheme, timestamp, intent) VALUES ('new', 'home', 2454407.25, 1.0)", [])
        .unwrap();
    let report = run(&mut clean(&path, golden, Mode::Careful, args)).expect(0).report();
    assert!(report["removed"]["snapshots"].as_u64() > Some(0), "{}", report["removed"]);
    assert!(dump(&path, "B") != done);
}

/// Killed again and again after random times, then left in peace.
#[test]
fn killed_at_random_moments_the_same_command_gives_the_same_rows_and_report() {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos();
    let seed = std::env::var("SEXTON_TEST_SEED").map_or(u64::from(seed), |seed| seed.parse().unwrap());
    println!("SEXTON_TEST_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for (name, wal) in [("real_a_weekly", false), ("real_b_two_schemes", true), ("real_c_two_schemes", true)] {
        let golden = golden(name);
        let args = "--json --slice 5ms --allow-long-lock --max-segments 2 --max-rewrite 1000000000";
        let began = std::time::Instant::now();
        let (_dir, path) = golden.copy(wal);
        let undisturbed = run(&mut clean(&path, golden, Mode::Careful, args)).report();
        let expected = dump(&path, golden.era());
        let (mut life, mut kills, mut ends) = (began.elapsed(), 0, 0);
        while ends < 4 || kills < 2 {
            let (_dir, path) = golden.copy(wal);
            let report = loop {
                let running = Running::start(&mut clean(&path, golden, Mode::Careful, args));
                // Most kills come in the middle of the work, and some after the report.
                std::thread::sleep(random.u32(..1000) * life / 800);
                let ended = if random.u8(..8) == 0 { running.end() } else { running.kill() };
                if ended.stdout.ends_with('\n') {
                    // Printed to the end, if perhaps not noted as handed over. Where the first run took long for another
                    // reason than its work, the kills come earlier from now on.
                    (ends, life) = (ends + 1, life * 4 / 5);
                    break ended.report();
                }
                assert_eq!(ended.signal(), Some(9), "{}", ended.stderr);
                kills += 1;
            };
            assert!(dump(&path, golden.era()) == expected, "{name}");
            for key in PLANNED {
                assert_eq!(report[key], undisturbed[key], "{name}: {key}");
            }
        }
    }
}
