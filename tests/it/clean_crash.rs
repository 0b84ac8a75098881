//! Crashes of `sexton clean`: after each the same command gives the rows of an undisturbed run, limits included.
//!
//! How the failure happens: the process aborts itself inside the transaction of the nth step, or after it, or before or
//! after the plan is kept; or it is killed while it leaves the lock alone. What was committed is there.

use rustix::process::Signal;
use sexton::policy::cleaning::Mode;

use super::clean_cli::{beside, clean, golden};
use super::cumulus_data::dump;
use super::harness::{Running, run};

/// Short steps, and a limit that counts.
const ARGS: &str = "--json --slice 1ms --allow-long-lock --max-segments 1";

#[test]
fn aborted_in_any_step_the_same_command_gives_the_same_rows() {
    for (name, era, wal) in [("real_a_weekly", "A", false), ("real_b_cleaned", "B", true)] {
        let golden = golden(name);
        let (_dir, path) = golden.copy(wal);
        let undisturbed = run(&mut clean(&path, golden, Mode::Careful, ARGS)).report();
        let expected = dump(&path, era);
        let mut aborted = 0;
        let steps = [0, 1, 3, 6, 10].iter().flat_map(|n| [("in_step", *n), ("after_step", *n)]);
        for (point, passed) in [("before_keep", 0), ("after_keep", 0)].into_iter().chain(steps) {
            let (_dir, path) = golden.copy(wal);
            let failing = format!("cleaning::{point}={passed}*off->return");
            let ended = run(clean(&path, golden, Mode::Careful, ARGS).env("FAILPOINTS", &failing));
            if ended.signal() != Some(6) {
                continue;
            }
            aborted += 1;
            // After the last step the plan is done: what then follows is a run of its own, which finds nothing to remove.
            let unfinished = beside(&path).contains("localdb.sqlite.sexton-plan");
            let again = run(&mut clean(&path, golden, Mode::Careful, ARGS));
            assert!(dump(&path, era) == expected, "{name}: {failing}\n{}", again.stderr);
            let report = again.report();
            for key in ["removed", "segments", "balance", "reclaimable_bytes", "odd"].iter().filter(|_| unfinished) {
                assert_eq!(report[*key], undisturbed[*key], "{name}: {failing}: {key}");
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
