//! Crashes: another process is aborted just before and just after each kind of transaction, at each of several times.
//!
//! The child is this test's own program, told by its environment to run the script and by `FAILPOINTS` where to abort.

use std::path::Path;
use std::process::Command;

use super::script::{Script, once};
use crate::state::{SqliteStore, StateStore};

const SCRIPT: Script = Script::new("crashed", 6);
const STATE: &str = "SEXTON_TEST_CRASH_STATE";

/// What the child does. Without its environment there is nothing to do: the tests below run it.
#[test]
fn child() {
    let Some(path) = std::env::var_os(STATE) else { return };
    let scenario = fail::FailScenario::setup();
    let mut store = SqliteStore::open(Path::new(&path)).unwrap();
    SCRIPT.go_on(&mut store, usize::MAX, &mut once).unwrap();
    scenario.teardown();
}

/// Runs the child with a fail point that aborts it when it has been passed `passed` times. Tells whether it was aborted.
fn abort_at(state: &Path, point: &str, passed: usize) -> bool {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "state::sqlite::tests::crash::child"])
        .env(STATE, state)
        .env("FAILPOINTS", format!("{point}={passed}*off->return"))
        .output()
        .unwrap()
        .status;
    assert_eq!(status.success(), std::os::unix::process::ExitStatusExt::signal(&status).is_none(), "{status}");
    !status.success()
}

/// Aborts at a point until it is not reached any more; each time the crawl must go on from what was committed, to the
/// right end.
fn crash_everywhere(call: &str, times: usize, committed: impl Fn(usize, usize) -> usize) {
    // `more` is how many of the calls aborted at are in the state.
    for (when, more) in [("before", 0), ("after", 1)] {
        for passed in 0..times {
            let folder = tempfile::tempdir().unwrap();
            let state = folder.path().join("state");
            let point = format!("checkpoint::{when}_{call}");
            assert!(abort_at(&state, &point, passed), "{point} is not reached {passed} times");
            let mut store = SqliteStore::open(&state).unwrap();
            if store.reader().latest(SCRIPT.crawl).unwrap().is_some() {
                let found: u64 = SCRIPT.examine(&mut store).unwrap().iter().sum();
                assert_eq!(found as usize, 2 * committed(passed, more), "{point} {passed}");
            } else {
                assert!(call == "create" || (call == "begin" && when == "before"), "{point}");
            }
            SCRIPT.go_on(&mut store, usize::MAX, &mut once).unwrap();
            assert_eq!(SCRIPT.examine(&mut store).unwrap(), SCRIPT.complete());
            assert!(store.reader().latest(SCRIPT.crawl).unwrap().unwrap().delivered);
        }
    }
}

#[test]
fn aborted_at_the_making_of_the_file() {
    crash_everywhere("create", 1, |_, _| 0);
}

#[test]
fn aborted_at_the_beginning_of_a_cycle() {
    crash_everywhere("begin", 1, |_, _| 0);
}

#[test]
fn aborted_at_a_claim() {
    // Three pairs of prefixes, four commits each; at the last claim all are done.
    crash_everywhere("claim", 3, |passed, _| passed * 4);
}

#[test]
fn aborted_at_a_commit_loses_nothing_committed() {
    crash_everywhere("commit", 12, |passed, more| passed + more);
}

#[test]
fn aborted_at_the_delivery() {
    crash_everywhere("deliver", 1, |_, _| 12);
}
