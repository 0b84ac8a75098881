//! Sexton's own files as a user and an attacker meet them: where they may lie, what of them is believed, who may read them.
//!
//! An attacker who may create names in a folder puts links, pipes and files there before Sexton runs.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use sexton::cumulus::policy::Mode;

use crate::cleaning::cli::{beside, clean, golden};
use crate::daemon::process::{CRAWLS, Daemon, command, config};
use crate::support::harness::{Sample, run};

const FAST: &str = r#"cpu_percentage: "100%""#;
const COUNT: &str = "--job count";

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

fn fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// A sample with a configuration, and a file that nothing may change.
fn with_victim() -> Sample {
    let sample = Sample::new(5);
    fs::write(sample.path("config.ron"), config(FAST, CRAWLS, "")).unwrap();
    fs::write(sample.path("victim"), "important").unwrap();
    sample
}

fn is_untouched(sample: &Sample) {
    assert_eq!(fs::read(sample.path("victim")).unwrap(), b"important");
}

#[test]
fn a_state_where_others_may_create_names_is_refused_and_the_remedy_works() {
    let sample = with_victim();
    let shared = sample.path("shared");
    fs::create_dir(&shared).unwrap();
    for folder_mode in [0o1777, 0o777, 0o775] {
        set_mode(&shared, folder_mode);
        let ended = run(&mut sample.crawl("shared/state", COUNT)).expect(3);
        ended.said(&format!("mkdir -m 700 {}/sexton`", shared.display())).said(&format!("(mode {folder_mode:04o})"));
        assert_eq!(fs::read_dir(&shared).unwrap().count(), 0, "{folder_mode:o}");
    }
    let text = fs::read_to_string(sample.path("config.ron")).unwrap().replace("state.sqlite", "shared/state.sqlite");
    fs::write(sample.path("config.ron"), text).unwrap();
    run(&mut command(&sample)).expect(3).said("mkdir -m 700");
    fs::create_dir(shared.join("sexton")).unwrap();
    set_mode(&shared.join("sexton"), 0o700);
    run(&mut sample.crawl("shared/sexton/state", COUNT)).expect(0);
    // Others may look in, which gives away nothing.
    set_mode(&shared, 0o755);
    run(&mut sample.crawl("shared/state", COUNT)).expect(0);
}

#[test]
fn links_and_pipes_in_the_place_of_a_states_files_are_refused_and_lead_nowhere() {
    let sample = with_victim();
    for suffix in ["-lock", "-new", "-wal", "-shm", "-journal"] {
        let path = sample.path(&format!("state{suffix}"));
        symlink(sample.path("victim"), &path).unwrap();
        run(&mut sample.crawl("state", COUNT)).expect(3).said(&format!("state{suffix}: it is a symbolic link"));
        assert!(path.is_symlink(), "{suffix}");
        fs::remove_file(&path).unwrap();
        fifo(&path);
        run(&mut sample.crawl("state", COUNT)).expect(3).said(&format!("state{suffix}: it is no file"));
        fs::remove_file(&path).unwrap();
        is_untouched(&sample);
    }
    fifo(&sample.path("state"));
    run(&mut sample.crawl("state", COUNT)).expect(3).said("it is no file");
    fs::remove_file(sample.path("state")).unwrap();
    run(&mut sample.crawl("state", COUNT)).expect(0);
    // A second name: what is written would change another file.
    fs::hard_link(sample.path("state"), sample.path("other")).unwrap();
    run(&mut sample.crawl("state", COUNT)).expect(3).said("it has several names");
}

#[test]
fn links_in_the_place_of_a_daemons_files_lead_nowhere() {
    let sample = with_victim();
    let outside = sample.path("outside");
    fs::create_dir(&outside).unwrap();
    for name in ["state.sqlite-token", "state.sqlite-token.new"] {
        symlink(sample.path("victim"), sample.path(name)).unwrap();
        run(&mut command(&sample)).expect(2).said(&format!("{name}: it is a symbolic link"));
        fs::remove_file(sample.path(name)).unwrap();
    }
    fifo(&sample.path("state.sqlite-token"));
    run(&mut command(&sample)).expect(2).said("it is no file");
    fs::remove_file(sample.path("state.sqlite-token")).unwrap();
    symlink(sample.path("victim"), sample.path("state.sqlite-daemon.json.new")).unwrap();
    // A file of the user's own that only looks like one of Sexton's.
    fs::write(sample.path("state.new"), "of somebody").unwrap();
    let daemon = Daemon::again(sample);
    daemon.change("POST", "/api/pause", "");
    let card = fs::read_dir(daemon.sample.path("running")).unwrap().next().unwrap().unwrap().path();
    let (sample, _) = daemon.end(Signal::TERM);
    is_untouched(&sample);
    assert!(sample.path("state.sqlite-daemon.json.new").is_symlink());
    assert_eq!(fs::read(sample.path("state.new")).unwrap(), b"of somebody");
    // The card, and its folder.
    let mut new = card.clone().into_os_string();
    new.push(".new");
    symlink(sample.path("victim"), &new).unwrap();
    let (sample, _) = Daemon::again(sample).end(Signal::TERM);
    is_untouched(&sample);
    assert!(Path::new(&new).is_symlink() && !card.exists());
}

#[test]
fn what_is_made_is_for_its_owner_alone() {
    let sample = with_victim();
    let text = fs::read_to_string(sample.path("config.ron")).unwrap().replace("state.sqlite", "a/b/state.sqlite");
    fs::write(sample.path("config.ron"), text).unwrap();
    let mut running = crate::support::harness::Running::start(&mut command(&sample));
    running.must_say("the page, once: ");
    let state = sample.path("a/b/state.sqlite");
    for suffix in ["", "-lock", "-token", "-wal", "-shm"] {
        let mut name = state.clone().into_os_string();
        name.push(suffix);
        assert_eq!(mode(Path::new(&name)), 0o600, "{suffix}");
    }
    assert_eq!([mode(&sample.path("a")), mode(&sample.path("a/b"))], [0o700; 2]);
    running.signal(Signal::TERM);
    running.end().expect(0);
    assert_eq!(mode(&sample.path("a/b/state.sqlite-daemon.json")), 0o600);
}

#[test]
fn a_copy_has_the_databases_mode_and_takes_no_name_for_a_uri() {
    let (dir, path) = golden("real_b_weekly").copy(false);
    set_mode(&path, 0o640);
    let mut command = clean(&path, golden("real_b_weekly"), Mode::Compat, "--backup file:copy?mode=memory");
    run(command.current_dir(dir.path())).expect(0);
    let copy = dir.path().join("file:copy?mode=memory");
    assert_eq!(mode(&copy), 0o640);
    assert!(fs::read(&copy).unwrap().starts_with(b"SQLite format 3"));
    assert!(!beside(&path).iter().any(|name| name.contains("part")));
}

#[test]
fn a_part_is_removed_only_if_sexton_began_it() {
    let (dir, path) = golden("real_b_weekly").copy(false);
    let before = fs::read(&path).unwrap();
    let (copy, part) = (dir.path().join("copy"), dir.path().join("copy.sexton-part"));
    let clean = || {
        let args = format!("--backup {}", copy.display());
        run(&mut clean(&path, golden("real_b_weekly"), Mode::Compat, &args))
    };
    let foreign = |said: &str| {
        clean().expect(3).said(said);
        assert!(fs::read(&path).unwrap() == before && !copy.exists());
    };
    fs::write(&part, "to do: buy milk").unwrap();
    foreign("is not a copy that Sexton began: move it away");
    assert_eq!(fs::read(&part).unwrap(), b"to do: buy milk");
    fs::remove_file(&part).unwrap();
    symlink("localdb.sqlite", &part).unwrap();
    foreign("it is a symbolic link");
    fs::remove_file(&part).unwrap();
    for suffix in ["-journal", "-wal", "-shm"] {
        let companion = dir.path().join(format!("copy.sexton-part{suffix}"));
        fs::write(&companion, "of somebody").unwrap();
        foreign("is in the way: remove it");
        assert_eq!(fs::read(&companion).unwrap(), b"of somebody");
        fs::remove_file(&companion).unwrap();
    }
    // Held by another process that makes it.
    let held = fs::File::create(&part).unwrap();
    held.lock().unwrap();
    foreign("another process is making");
    drop(held);
    // Left behind by one that was killed.
    fs::write(&part, &before[..5000]).unwrap();
    clean().expect(0);
    assert!(copy.exists() && !part.exists());
}

#[test]
fn a_copy_is_refused_where_others_may_create_names_before_anything_is_done() {
    let (_dir, path) = golden("real_b_weekly").copy(false);
    let shared = tempfile::tempdir().unwrap();
    set_mode(shared.path(), 0o1777);
    let before = fs::read(&path).unwrap();
    let args = format!("--backup {}/copy", shared.path().display());
    run(&mut clean(&path, golden("real_b_weekly"), Mode::Compat, &args)).expect(3).said("mkdir -m 700");
    assert!(fs::read(&path).unwrap() == before && fs::read_dir(shared.path()).unwrap().next().is_none());
}

#[test]
fn a_database_where_others_may_create_names_is_refused_and_guarded_all_the_same() {
    let (dir, path) = golden("real_b_weekly").copy(false);
    let before = fs::read(&path).unwrap();
    for folder_mode in [0o777, 0o1777] {
        set_mode(dir.path(), folder_mode);
        for args in ["", "--dry-run"] {
            run(&mut clean(&path, golden("real_b_weekly"), Mode::Compat, args)).expect(3).said("mkdir -m 700");
        }
        let mut guarded = crate::support::harness::sexton(["guard".as_ref(), path.as_os_str()]);
        run(guarded.args(["--", "true"])).expect(0);
    }
    assert!(fs::read(&path).unwrap() == before);
}

/// How it happens: the plan's files are links, or the log is one, which SQLite would open and believe.
#[test]
fn links_beside_a_database_are_refused() {
    let outside = tempfile::tempdir().unwrap();
    let victim = outside.path().join("victim");
    fs::write(&victim, "important").unwrap();
    for name in ["-wal", "-shm", "-journal", ".sexton-plan", ".sexton-plan.new", ".sexton-shown", ".sexton-guard"] {
        let (dir, path) = golden("real_b_weekly").copy(false);
        let link = dir.path().join(format!("localdb.sqlite{name}"));
        symlink(&victim, &link).unwrap();
        let said = format!("localdb.sqlite{name}: it is a symbolic link");
        run(&mut clean(&path, golden("real_b_weekly"), Mode::Compat, "")).expect(3).said(&said);
        assert!(link.is_symlink() && fs::read(&victim).unwrap() == b"important", "{name}");
    }
}

/// How it happens: the copy goes to a USB disk, whose file system has neither hard links nor modes, so that everybody may
/// write there and no folder of mode 0700 can be made. What is read later, such as a state, is still refused there.
#[cfg(feature = "external")]
#[test]
fn a_copy_is_made_on_a_file_system_without_hard_links() {
    if !rustix::process::geteuid().is_root() {
        return println!("skipped: needs root, to mount a file system");
    }
    let folder = tempfile::tempdir().unwrap();
    let exfat = match crate::walk::store_owner::ExFat::in_folder(folder.path()) {
        Ok(exfat) => exfat,
        Err(why) => return println!("skipped: {why}"),
    };
    let names = || {
        let names = fs::read_dir(&exfat.mount).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect::<Vec<_>>()
    };
    let args = format!("--backup {}/copy", exfat.mount.display());
    let (_dir, path) = golden("real_b_weekly").copy(false);
    let before = crate::cumulus::data::dump(&path, "B");
    run(&mut clean(&path, golden("real_b_weekly"), Mode::Compat, &args)).expect(0);
    assert_eq!(names(), ["copy"], "nothing half-made is left behind");
    assert!(crate::cumulus::data::dump(&exfat.mount.join("copy"), "B") == before);
    run(&mut clean(&path, golden("real_b_weekly"), Mode::Compat, &args)).expect(3).said("is there already");
    let sample = Sample::new(5);
    let state = exfat.mount.join("state");
    run(&mut crate::support::harness::crawl(&sample.store(), &state, COUNT)).expect(3).said("others than its owner");
}
