//! Damaged files: sectors that read as zeros, files that end too early, a log that is gone, pages of different ages.
//!
//! The state has one cycle in the middle and one that is finished, but not delivered, and a log with the youngest
//! commits. Whatever is done to it, opening and reading it gives an error that says what to do, or for each prefix a state
//! that it once had, from which the crawl goes on to the right end.

use std::collections::HashSet;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::script::{Script, once};
use crate::error::{Error, Result};
use crate::state::SqliteStore;
use crate::state::sqlite::beside;

const FINISHED: Script = Script::new("finished", 4);
const RUNNING: Script = Script::new("running", 12);
/// Of 24 commits that the running crawl needs.
const COMMITS: usize = 18;
const SECTOR: usize = 512;
const PAGE: usize = 4096;

/// The two files of a state, in memory.
#[derive(Clone)]
struct Files {
    database: Vec<u8>,
    log: Vec<u8>,
}

impl Files {
    fn of(path: &Path) -> Files {
        Files { database: fs::read(path).unwrap(), log: fs::read(beside(path, "-wal")).unwrap_or_default() }
    }

    fn write(&self, path: &Path) {
        fs::write(path, &self.database).unwrap();
        fs::write(beside(path, "-wal"), &self.log).unwrap();
    }
}

struct Scene {
    folder: tempfile::TempDir,
    /// As a killed process leaves it.
    killed: Files,
    /// The same after the log was emptied into the database.
    emptied: Files,
    /// Commits of each prefix of the running cycle.
    commits: Vec<u64>,
    /// States from which the crawl was seen to go on to the right end.
    gone_on_from: HashSet<Vec<u64>>,
    tried: u32,
    refused: u32,
    older: u32,
}

fn scene() -> Scene {
    // In memory where the system has such a folder: the copies are opened a thousand times, each with several syncs.
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let path = folder.path().join("original");
    let mut store = SqliteStore::open(&path).unwrap();
    RUNNING.go_on(&mut store, COMMITS / 3, &mut once).unwrap();
    FINISHED.go_on(&mut store, FINISHED.complete().len() * 2, &mut once).unwrap();
    drop(store);
    let mut store = SqliteStore::open(&path).unwrap();
    RUNNING.go_on(&mut store, COMMITS - COMMITS / 3, &mut once).unwrap();
    let killed = Files::of(&path);
    let commits = RUNNING.examine(&mut store).unwrap();
    assert_eq!(FINISHED.examine(&mut store).unwrap(), FINISHED.complete());
    store.empty().unwrap();
    let emptied = Files::of(&path);
    assert!(killed.log.len() > 20 * PAGE && emptied.log.is_empty() && killed.database != emptied.database);
    Scene { folder, killed, emptied, commits, gone_on_from: HashSet::new(), tried: 0, refused: 0, older: 0 }
}

impl Scene {
    fn try_out(&mut self, files: &Files, what: &str) {
        self.tried += 1;
        let path: PathBuf = self.folder.path().join(format!("copy{}", self.tried));
        files.write(&path);
        match self.read_and_go_on(&path, files) {
            Ok(older) => self.older += u32::from(older),
            Err(error) => {
                assert!(matches!(error, Error::StateDamaged { .. } | Error::StateForeign { .. }), "{what}: {error}");
                let text = error.to_string();
                assert!(
                    text.contains("restore it from a backup") || text.contains("is not a Sexton state file"),
                    "{what}: {text}"
                );
                self.refused += 1;
            }
        }
        for suffix in ["", "-wal", "-shm", "-lock"] {
            let _ = fs::remove_file(beside(&path, suffix));
        }
    }

    /// Whether the state was an older one.
    fn read_and_go_on(&mut self, path: &Path, files: &Files) -> Result<bool> {
        let mut store = SqliteStore::open(path).inspect_err(|error| {
            let untouched =
                fs::read(path).unwrap() == files.database && fs::read(beside(path, "-wal")).unwrap() == files.log;
            assert!(untouched, "changed, though refused at opening: {error}");
        })?;
        // The finished one was emptied into the database: nothing may make it unfinished again.
        assert_eq!(FINISHED.examine(&mut store)?, FINISHED.complete());
        let commits = RUNNING.examine(&mut store)?;
        assert!(commits.iter().zip(&self.commits).all(|(found, known)| found <= known));
        let older = commits != self.commits;
        if self.gone_on_from.insert(commits) {
            RUNNING.go_on(&mut store, usize::MAX, &mut once)?;
            assert_eq!(RUNNING.examine(&mut store)?, RUNNING.complete());
        }
        Ok(older)
    }
}

fn sectors(len: usize) -> impl Iterator<Item = Range<usize>> {
    (0..len).step_by(SECTOR).map(move |start| start..len.min(start + SECTOR))
}

#[test]
fn damage_to_the_database_is_noticed() {
    let mut scene = scene();
    for files in [scene.killed.clone(), scene.emptied.clone()] {
        for sector in sectors(files.database.len()) {
            let mut zeroed = files.clone();
            zeroed.database[sector.clone()].fill(0);
            scene.try_out(&zeroed, &format!("database zeroed at {sector:?}"));
            let mut cut = files.clone();
            cut.database.truncate(sector.start);
            scene.try_out(&cut, &format!("database cut at {}", sector.start));
        }
    }
    assert_eq!(scene.older, 0, "with an undamaged log nothing older is shown");
    assert!(scene.refused > scene.tried / 2 && scene.refused < scene.tried, "{} of {}", scene.refused, scene.tried);
}

#[test]
fn damage_to_the_log_gives_an_older_state() {
    let mut scene = scene();
    let files = scene.killed.clone();
    for sector in sectors(files.log.len()) {
        let mut zeroed = files.clone();
        zeroed.log[sector.clone()].fill(0);
        scene.try_out(&zeroed, &format!("log zeroed at {sector:?}"));
        let mut cut = files.clone();
        cut.log.truncate(sector.start);
        scene.try_out(&cut, &format!("log cut at {}", sector.start));
    }
    assert_eq!(scene.refused, 0);
    assert!(scene.older > scene.tried / 2);
}

/// How it happens: the process dies in the middle of emptying the log, and then the log is damaged or lost. Pages are
/// moved in the order of their numbers.
#[test]
fn pages_of_different_ages_are_noticed_or_harmless() {
    let mut scene = scene();
    let (before, after) = (scene.killed.clone(), scene.emptied.clone());
    let frames = (before.log.len() - 32) / (PAGE + 24);
    for moved in 0..=after.database.len() / PAGE {
        let mut mixed = before.clone();
        let end = moved * PAGE;
        mixed.database.resize(end.max(before.database.len()), 0);
        mixed.database[..end].copy_from_slice(&after.database[..end]);
        for kept in [0, frames / 5, frames / 2, frames - 3, frames] {
            let mut files = mixed.clone();
            files.log.truncate(32 + kept * (PAGE + 24));
            scene.try_out(&files, &format!("{moved} pages moved, {kept} frames kept"));
        }
    }
    assert!(scene.older > 0 && scene.refused > 0, "{} older, {} refused", scene.older, scene.refused);
}

/// How it happens: somebody restores the state file from a backup, and the log of the younger one is still there.
#[test]
fn older_file_beside_a_younger_log_is_noticed_or_harmless() {
    let mut scene = scene();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("backup");
    let mut store = SqliteStore::open(&path).unwrap();
    RUNNING.go_on(&mut store, 5, &mut once).unwrap();
    FINISHED.go_on(&mut store, FINISHED.complete().len() * 2, &mut once).unwrap();
    let backup = Files::of(&path);
    scene.try_out(&Files { database: backup.database, log: scene.killed.log.clone() }, "backup beside a younger log");
    assert_eq!(scene.refused, 1, "rows of another cycle never pass for those of this one");
}
