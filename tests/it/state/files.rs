//! State files that are damaged, not ours, not to be written, or in use: an error that says what to do, or the right
//! report; never other numbers, and never a new cycle that nobody asked for.
//!
//! How the damage happens: sectors of 512 bytes that read as zeros, files that end too early; in the state as a killed
//! process leaves it in mid-cycle, with a write-ahead log, and in the same after the log was emptied. The store's own tests
//! go through every sector; here the program is asked, for sectors spread over the whole files.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rusqlite::Connection;
use serde_json::Value;

use crate::support::harness::{Ended, NOW, Running, Sample, assert_same, lasting, run};

const SECTOR: usize = 512;

/// No user of this number owns anything.
const NOBODY: u32 = 65_534;

fn args(more: &str) -> String {
    format!("--job leases --json --expire age:2678400 --dry-run --now {NOW} {more}")
}

fn undisturbed(sample: &Sample) -> Value {
    lasting(run(&mut sample.crawl("undisturbed", &args(""))).expect(0).report()).1
}

fn abort_in_mid_cycle(sample: &Sample, state: &str) {
    let mut command = sample.crawl(state, &args("--checkpoint every_bucket"));
    let ended = run(command.env("FAILPOINTS", "checkpoint::before_commit=20*off->return"));
    assert_eq!(ended.signal(), Some(6), "{}", ended.stderr);
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Fails unless the program has refused a state file, with this advice.
#[track_caller]
fn refused(ended: Ended, advice: &str) {
    refused_with(3, ended, advice);
}

#[track_caller]
fn refused_with(code: i32, ended: Ended, advice: &str) {
    assert_eq!(ended.expect(code).said(advice).stdout, "");
}

// ---- Damage ----

/// A state as files.
#[derive(Clone)]
struct Files {
    database: Vec<u8>,
    log: Vec<u8>,
}

impl Files {
    fn read(state: &Path) -> Files {
        Files { database: fs::read(state).unwrap(), log: fs::read(beside(state, "-wal")).unwrap_or_default() }
    }

    fn write(&self, state: &Path) {
        fs::write(state, &self.database).unwrap();
        fs::write(beside(state, "-wal"), &self.log).unwrap();
    }
}

struct Scene {
    sample: Sample,
    expected: Value,
    tried: usize,
    refused: usize,
}

impl Scene {
    /// The scene, and the state as it was when the process died.
    fn new() -> (Scene, Files) {
        let sample = Sample::new(60);
        let expected = undisturbed(&sample);
        abort_in_mid_cycle(&sample, "killed");
        let files = Files::read(&sample.path("killed"));
        assert!(files.log.len() > 20 * 4096, "the last commits are in the log");
        (Scene { sample, expected, tried: 0, refused: 0 }, files)
    }

    fn try_out(&mut self, files: &Files, what: &str) {
        self.tried += 1;
        let name = format!("damaged-{}", self.tried);
        files.write(&self.sample.path(&name));
        let ended = run(&mut self.sample.crawl(&name, &args("")));
        if ended.code() == 3 {
            self.refused += 1;
            assert_eq!(ended.stdout, "", "{what}");
            let advice = ["restore it from a backup, or move it away", "name another one (--state"];
            assert!(advice.iter().any(|words| ended.stderr.contains(words)), "{what}: {}", ended.stderr);
            return;
        }
        let report = ended.expect(0).report();
        assert_eq!(report["resumed"], true, "{what}: a new cycle");
        let (cycle, report) = lasting(report);
        assert_eq!(cycle, 0, "{what}: a new cycle");
        assert_same(&report, &self.expected, what);
    }

    /// Both kinds of damage at the first and last sectors, and at some `most` between.
    fn damage(&mut self, len: usize, most: usize, files: impl Fn(usize, Damage) -> Files, what: &str) {
        let sectors = len / SECTOR;
        let step = sectors.div_ceil(most);
        let chosen = (0..sectors).filter(|s| *s < 3 || s % step == 0 || s + 2 >= sectors);
        for at in chosen.map(|sector| sector * SECTOR) {
            for damage in [Damage::Zeroed, Damage::Cut] {
                self.try_out(&files(at, damage), &format!("{what} {damage:?} at {at}"));
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Damage {
    Zeroed,
    Cut,
}

impl Damage {
    fn done_to(self, bytes: &[u8], at: usize) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        match self {
            Damage::Zeroed => bytes[at..at + SECTOR].fill(0),
            Damage::Cut => bytes.truncate(at),
        }
        bytes
    }
}

#[test]
fn a_damaged_database_is_refused_or_harmless() {
    let (mut scene, killed) = Scene::new();
    let files = |at, damage: Damage| Files { database: damage.done_to(&killed.database, at), log: killed.log.clone() };
    scene.damage(killed.database.len(), 20, files, "database");
    assert!(scene.refused > 20 && scene.refused < scene.tried, "{} of {} refused", scene.refused, scene.tried);
}

#[test]
fn a_damaged_database_without_log_is_refused_or_harmless() {
    let (mut scene, killed) = Scene::new();
    let emptied = scene.sample.path("emptied");
    killed.write(&emptied);
    drop(sexton::state::SqliteStore::open(&emptied).unwrap());
    let emptied = Files::read(&emptied);
    assert!(emptied.log.is_empty() && emptied.database != killed.database);
    let files = |at, damage: Damage| Files { database: damage.done_to(&emptied.database, at), log: Vec::new() };
    scene.damage(emptied.database.len(), 20, files, "database without log");
    assert!(scene.refused > 20 && scene.refused < scene.tried, "{} of {} refused", scene.refused, scene.tried);
}

#[test]
fn a_damaged_log_costs_progress_and_nothing_else() {
    let (mut scene, killed) = Scene::new();
    let files = |at, damage: Damage| Files { database: killed.database.clone(), log: damage.done_to(&killed.log, at) };
    scene.damage(killed.log.len(), 20, files, "log");
    scene.try_out(&Files { database: killed.database.clone(), log: Vec::new() }, "log gone");
    assert_eq!(scene.refused, 0, "of {}", scene.tried);
}

/// How it happens: the disk is damaged between the end of the cycle and the command that asks for its report.
#[test]
fn a_damaged_report_is_refused_or_right() {
    let (mut scene, _) = Scene::new();
    let mut command = scene.sample.crawl("finished", &args(""));
    let ended = run(command.env("FAILPOINTS", "checkpoint::before_deliver=return"));
    assert_eq!(lasting(ended.report()).1, scene.expected);
    let finished = Files::read(&scene.sample.path("finished"));
    let files = |at, damage: Damage| Files { database: damage.done_to(&finished.database, at), log: Vec::new() };
    scene.damage(finished.database.len(), 20, files, "finished database");
    assert!(scene.refused > 20 && scene.refused < scene.tried, "{} of {} refused", scene.refused, scene.tried);
}

// ---- What is no state file of ours ----

#[test]
fn what_is_no_state_file_is_refused_and_left_as_it_is() {
    let sample = Sample::new(1);
    let other = sample.path("other.sqlite");
    Connection::open(&other).unwrap().execute_batch("CREATE TABLE accounts (name TEXT)").unwrap();
    run(&mut sample.crawl("newer", &args(""))).expect(0);
    Connection::open(sample.path("newer")).unwrap().pragma_update(None, "user_version", 99).unwrap();
    fs::write(sample.path("text"), "my notes\n").unwrap();
    fs::write(sample.path("empty"), "").unwrap();
    // 2: what is there has a layout that is not known here. 3: the state is damaged, so the crawl cannot go on.
    for (name, code, cause, advice) in [
        ("other.sqlite", 2, "is not a Sexton state file", "name another one (--state"),
        ("text", 2, "is not a Sexton state file", "name another one (--state"),
        ("empty", 3, "is damaged: it is empty", "move it away"),
        ("newer", 2, "has schema version 99", "use the newer Sexton"),
    ] {
        let before = fs::read(sample.path(name)).unwrap();
        for more in ["", "--fresh"] {
            let ended = run(&mut sample.crawl(name, &args(more)));
            ended.said(cause);
            refused_with(code, ended, advice);
        }
        assert_eq!(fs::read(sample.path(name)).unwrap(), before, "{name} was changed");
    }
    assert!(!sample.path("other.sqlite-lock").exists() && !sample.path("other.sqlite-wal").exists());
    fs::create_dir(sample.path("folder")).unwrap();
    refused(run(&mut sample.crawl("folder", &args(""))), "it is a folder");
    refused(run(&mut sample.crawl("text/state", &args(""))), "cannot");
}

// ---- What may not be written ----

/// A command whose rights are those of an ordinary user. Root may write everything, so root's command becomes nobody's,
/// with a copy of the program, since nobody may not enter every folder.
fn unprivileged(sample: &Sample, command: Command) -> Command {
    if !rustix::process::geteuid().is_root() {
        return command;
    }
    let program = sample.path("sexton");
    if !program.exists() {
        fs::copy(command.get_program(), &program).unwrap();
        fs::set_permissions(sample.path(""), Permissions::from_mode(0o755)).unwrap();
    }
    let mut unprivileged = Command::new(program);
    unprivileged.args(command.get_args()).uid(NOBODY).gid(NOBODY);
    unprivileged
}

/// Makes a folder one of the user as whom [`unprivileged`] runs.
fn give_to_nobody(folder: &Path) {
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(folder, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}

#[test]
fn a_state_that_may_not_be_written_is_refused_with_advice() {
    let sample = Sample::new(60);
    let folder = sample.path("folder");
    fs::create_dir(&folder).unwrap();
    abort_in_mid_cycle(&sample, "folder/state");
    let before = Files::read(&folder.join("state"));
    let set = |file: &str, mode| fs::set_permissions(folder.join(file), Permissions::from_mode(mode)).unwrap();
    let advice =
        "make the file and its folder writable for this user, or name another file (--state, or `state` in config.ron)";
    let crawl = |state: &str| run(&mut unprivileged(&sample, sample.crawl(state, &args(""))));

    set("state-lock", 0o666);
    set("state", 0o444);
    // In a folder of the user's own: one in which everybody may write is refused for that.
    give_to_nobody(&folder);
    refused(crawl("folder/state"), advice);
    set("", 0o555);
    refused(crawl("folder/state"), advice);
    refused(crawl("folder/new"), advice);
    crawl("folder/new/state").expect(2).said("folder/new");
    set("", 0o755);
    fs::remove_file(folder.join("state-lock")).unwrap();
    set("", 0o555);
    refused(crawl("folder/state"), advice);
    let after = Files::read(&folder.join("state"));
    assert!(after.database == before.database && after.log == before.log, "what was refused was changed");

    set("", 0o755);
    set("state", 0o644);
    let report = run(&mut sample.crawl("folder/state", &args(""))).expect(0).report();
    assert_eq!(report["resumed"], true);
    assert_eq!(lasting(report), (0, undisturbed(&sample)));
}

/// What a user may not read is an error with its path, and the walk goes on.
#[test]
fn a_store_that_may_not_be_read_everywhere_is_walked_as_far_as_it_may() {
    let (sample, names) = Sample::one_prefix(5);
    let shut = |path: &str| fs::set_permissions(sample.shares().join(path), Permissions::from_mode(0o000)).unwrap();
    shut(&format!("aa/{}", names[1]));
    shut(&format!("aa/{}/0", names[3]));
    fs::create_dir(sample.shares().join("bb")).unwrap();
    shut("bb");
    let state = sample.path("writable");
    fs::create_dir(&state).unwrap();
    give_to_nobody(&state);
    let ended = run(&mut unprivileged(&sample, sample.crawl("writable/state", &args("")))).expect(1);
    let report = ended.report();
    let errors: Vec<&str> = report["errors"].as_array().unwrap().iter().map(|e| e["path"].as_str().unwrap()).collect();
    let path = |path: String| sample.shares().join(path).display().to_string();
    assert_eq!(errors, [path(format!("aa/{}", names[1])), path(format!("aa/{}/0", names[3])), path("bb".to_owned())]);
    assert_eq!(report["incomplete_prefixes"], serde_json::json!(["bb"]));
    assert_eq!(report["history"]["space-recovered"]["examined-shares"], 3);
    // So that the folder can be removed.
    for path in ["bb".to_owned(), format!("aa/{}", names[1])] {
        fs::set_permissions(sample.shares().join(path), Permissions::from_mode(0o755)).unwrap();
    }
}

// ---- What is in use ----

#[test]
fn a_second_process_is_refused_and_told_who_the_first_is() {
    let (sample, _) = Sample::one_prefix(400);
    let mut first = Running::start(&mut sample.crawl("state", &args("--cpu 5% --basis cpu --slice 1ms -vv")));
    first.must_say("visiting bucket");
    let holder = format!("is held by process {}, since 20", first.pid().as_raw_nonzero());
    for more in ["", "--fresh", "--sharetypes mutable"] {
        let second = run(&mut sample.crawl("state", &args(more)));
        second.said(&holder);
        refused(second, "wait for it to end, stop it, or name another file (--state, or `state` in config.ron)");
    }
    assert_eq!(first.kill().signal(), Some(9));
    let report = run(&mut sample.crawl("state", &args(""))).expect(0).report();
    assert_eq!(lasting(report), (0, undisturbed(&sample)));
}

/// How it happens: somebody looks at the state with another program, which holds a write lock.
#[test]
fn a_lock_of_another_program_is_waited_for_in_mid_cycle_and_refused_at_the_start() {
    let sample = Sample::new(200);
    let mut running = Running::start(&mut sample.crawl("state", &args("--cpu 10% --basis cpu --slice 1ms -vv")));
    running.must_say("visiting bucket");
    let other = Connection::open(sample.path("state")).unwrap();
    other.busy_timeout(std::time::Duration::from_secs(60)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    running.must_say("waiting until the state can be saved");
    other.execute_batch("ROLLBACK").unwrap();
    let report = running.end().expect(0).report();
    assert_eq!(lasting(report), (0, undisturbed(&sample)));

    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    refused(run(&mut sample.crawl("state", &args(""))), "is held by another program; wait for it to end");
    other.execute_batch("ROLLBACK").unwrap();
    drop(other);
    assert_eq!(lasting(run(&mut sample.crawl("state", &args(""))).expect(0).report()), (1, undisturbed(&sample)));
}
