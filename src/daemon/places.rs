//! Where things lie: the configuration, the state, and the card by which others find a running daemon.
//!
//! The system's conventions hold: `/etc` or the user's configuration folder, systemd's `STATE_DIRECTORY` and
//! `RUNTIME_DIRECTORY` where it sets them, else the user's own folders.

use std::env;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use directories::ProjectDirs;
use rustix::fs::Mode;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::error::{Error, Result};
use crate::own_files::{self, OwnFile, OwnFolder};

/// The system's own configuration.
const SYSTEM_CONFIG: &str = "/etc/sexton/config.ron";
/// Where a system service keeps its card.
const SYSTEM_RUNTIME: &str = "/run/sexton";
/// A larger card is none.
const CARD_MOST_BYTES: u64 = 64 * 1024;
/// More cards than this in one folder are not looked at.
const CARDS_MOST: usize = 256;

/// The configuration file to use when none is named: the user's own, or else the system's.
///
/// # Errors
/// [`Error::Config`] if neither is there.
pub fn config() -> Result<PathBuf> {
    let own = ProjectDirs::from("", "", "sexton").map(|dirs| dirs.config_dir().join("config.ron"));
    let candidates: Vec<PathBuf> = own.into_iter().chain([PathBuf::from(SYSTEM_CONFIG)]).collect();
    candidates.iter().find(|path| path.is_file()).cloned().ok_or_else(|| {
        let looked: Vec<String> = candidates.iter().map(|path| path.display().to_string()).collect();
        Error::Config(format!(
            "no configuration: neither {} is there; write one with `sexton config init`, and name it with --config",
            looked.join(" nor ")
        ))
    })
}

/// The state file of a configuration that names none.
///
/// # Errors
/// [`Error::Config`] if the user has no home folder.
pub fn state() -> Result<PathBuf> {
    if let Some(dir) = env_dir("STATE_DIRECTORY") {
        return Ok(dir.join("state.sqlite"));
    }
    let dirs = ProjectDirs::from("", "", "sexton").ok_or_else(|| {
        Error::Config("you have no home folder to keep the state in: name a state file in config.ron".to_owned())
    })?;
    Ok(dirs.state_dir().unwrap_or_else(|| dirs.data_local_dir()).join("state.sqlite"))
}

/// A file that belongs to a state file and stands beside it.
pub fn beside(state: &Path, suffix: &str) -> PathBuf {
    let mut name = state.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// A path by which a file can be known again: with links resolved, also where the file itself is not there any more.
pub fn resolved(path: &Path) -> PathBuf {
    let folder = || {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Some(folder.canonicalize().ok()?.join(path.file_name()?))
    };
    path.canonicalize().ok().or_else(folder).unwrap_or_else(|| path.to_owned())
}

fn env_dir(name: &str) -> Option<PathBuf> {
    // systemd separates several by colons; the first is the service's own.
    let value = env::var_os(name)?;
    let first = env::split_paths(&value).next()?;
    first.is_absolute().then_some(first)
}

/// What a running daemon says of itself to other processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// Its process.
    pub pid: u32,
    /// When it began, as RFC 3339 in UTC.
    pub since: String,
    /// Where it answers.
    pub url: String,
    /// Its state file, with links resolved.
    pub state: PathBuf,
    /// The configuration that it was started with, likewise.
    #[serde(default)]
    pub config: Option<PathBuf>,
    pub token_file: PathBuf,
}

/// A card that is believed, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundCard {
    /// What it says.
    pub card: Card,
    /// The user to whom the card and its folder belong, and the daemon.
    pub owner: u32,
}

/// A card that lies in its folders until this is dropped.
#[derive(Debug)]
pub struct Laid(Vec<OwnFile>);

impl Drop for Laid {
    fn drop(&mut self) {
        // One that stays behind is known as old by its process being gone.
        self.0.iter().for_each(|file| drop(file.remove()));
    }
}

impl Card {
    /// Lays the card wherever others look: who shares this session may not read the state's folder, and the other way
    /// round.
    ///
    /// # Errors
    /// [`Error::Config`] if it cannot be written anywhere.
    pub fn lay(&self) -> Result<Laid> {
        let (mut laid, mut failed) = (Laid(Vec::new()), String::new());
        for folder in own_runtime(&self.state) {
            match self.write(&folder) {
                Ok(file) => laid.0.push(file),
                Err(e) => failed = format!("{}: {e}", folder.display()),
            }
        }
        match laid.0.is_empty() {
            true => Err(Error::Config(format!("cannot say where this daemon listens in {failed}"))),
            false => Ok(laid),
        }
    }

    fn write(&self, folder: &Path) -> io::Result<OwnFile> {
        let folder = Arc::new(OwnFolder::open_or_make(folder, 0o755)?);
        if folder.owner() != own_files::me() {
            // Nobody would believe it there.
            return Err(io::Error::other(format!("the folder belongs to another user ({})", folder.owner())));
        }
        let file = folder.file(format!("{:016x}.json", xxh3_64(self.state.as_os_str().as_encoded_bytes())));
        // For whoever may enter the folder, whatever the umask: it says where to ask, and holds no secret.
        let readable = |new: &fs::File| own_files::set_mode(new, Mode::from_raw_mode(0o644));
        file.replace(readable, |new| new.write_all(&serde_json::to_vec_pretty(self)?))?;
        Ok(file)
    }

    /// The cards of daemons that seem to run, if they may be believed: those of this user, of root, and of the owners of these
    /// state files, which a configuration names. Also looked for beside other state files; and in `/run/sexton`, which only
    /// root can have made, so that there any user is believed.
    pub fn all(named: &[PathBuf], guessed: &[PathBuf]) -> Vec<FoundCard> {
        let owners: Vec<u32> = named.iter().filter_map(|state| Some(fs::symlink_metadata(state).ok()?.uid())).collect();
        let states = named.iter().chain(guessed).cloned().chain(state().ok());
        let folders = states.flat_map(|state| own_runtime(&state)).map(|folder| (folder, false));
        let mut cards: Vec<FoundCard> = Vec::new();
        for (path, is_system) in folders.chain([(PathBuf::from(SYSTEM_RUNTIME), true)]) {
            let Ok(folder) = OwnFolder::open_own(&path).map(Arc::new) else { continue };
            let owner = folder.owner();
            if is_system || owner == own_files::me() || owner == 0 || owners.contains(&owner) {
                let found = Card::in_folder(&folder).into_iter().map(|card| FoundCard { card, owner });
                cards.extend(found);
            }
        }
        // Most daemons have laid theirs twice.
        let mut seen = Vec::new();
        cards.retain(|card| {
            !seen.contains(card) && {
                seen.push(card.clone());
                card.card.is_alive()
            }
        });
        cards
    }

    /// The cards in a folder that belong to its owner.
    fn in_folder(folder: &Arc<OwnFolder>) -> Vec<Card> {
        let names = folder.names(CARDS_MOST).unwrap_or_default();
        let files = names.into_iter().filter(|name| Path::new(name).extension().is_some_and(|e| e == "json"));
        files.filter_map(|name| Card::read(&folder.file(name), folder.owner())).collect()
    }

    fn read(file: &OwnFile, owner: u32) -> Option<Card> {
        serde_json::from_slice(&file.read_of(owner, CARD_MOST_BYTES).ok()??).ok()
    }

    fn is_alive(&self) -> bool {
        Path::new(&format!("/proc/{}", self.pid)).exists() || !Path::new("/proc/self").exists()
    }
}

/// Where this process may lay a card, the best place first.
fn own_runtime(state: &Path) -> Vec<PathBuf> {
    let session = env_dir("XDG_RUNTIME_DIR").map(|dir| dir.join("sexton"));
    let beside = state.parent().map(|folder| folder.join("running"));
    env_dir("RUNTIME_DIRECTORY").into_iter().chain(session).chain(beside).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn card(state: &Path) -> Card {
        Card {
            pid: std::process::id(),
            since: "2026-01-01T00:00:00Z".to_owned(),
            url: "http://127.0.0.1:1".to_owned(),
            state: state.to_owned(),
            config: None,
            token_file: beside(state, "-token"),
        }
    }

    /// The cards of the daemon with this state that are found.
    fn found(state: &Path, named: &[PathBuf], guessed: &[PathBuf]) -> Vec<FoundCard> {
        Card::all(named, guessed).into_iter().filter(|found| found.card.state == state).collect()
    }

    #[test]
    fn a_card_is_readable_lies_in_a_folder_of_its_own_and_goes_with_the_daemon() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let running = Arc::new(OwnFolder::open_or_make(&dir.path().join("running"), 0o755).unwrap());
        let file = card(&state).write(running.path()).unwrap();
        assert_eq!(fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o644);
        let states = [state.clone()];
        assert_eq!(found(&state, &states, &[]), [FoundCard { card: card(&state), owner: own_files::me() }]);
        assert_eq!(found(&state, &[], &states).len(), 1);
        drop(Laid(vec![file.clone()]));
        assert!(!file.path().exists() && found(&state, &states, &[]).is_empty());
    }

    #[test]
    fn what_others_may_have_put_there_is_no_card() {
        let dir = tempfile::tempdir().unwrap();
        let (state, running) = (dir.path().join("state"), dir.path().join("running"));
        let file = card(&state).write(&running).unwrap();
        let states = [state.clone()];
        // In a folder where others may create names.
        fs::set_permissions(&running, fs::Permissions::from_mode(0o1777)).unwrap();
        assert!(found(&state, &states, &[]).is_empty());
        assert!(card(&state).write(&running).is_err());
        fs::set_permissions(&running, fs::Permissions::from_mode(0o755)).unwrap();
        // A link to a card, a pipe, and a card that is far too long.
        fs::rename(file.path(), dir.path().join("card")).unwrap();
        symlink(dir.path().join("card"), file.path()).unwrap();
        assert!(found(&state, &states, &[]).is_empty());
        assert!(card(&state).write(&running).is_err() && file.path().is_symlink());
        fs::remove_file(file.path()).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, file.path(), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert!(found(&state, &states, &[]).is_empty());
        fs::remove_file(file.path()).unwrap();
        let long = serde_json::to_string(&card(&state)).unwrap() + &" ".repeat(70_000);
        fs::write(file.path(), long).unwrap();
        assert!(found(&state, &states, &[]).is_empty());
    }

    /// Only root can make files of other users.
    #[cfg(feature = "external")]
    #[test]
    fn a_card_is_believed_of_you_of_root_and_of_the_owner_of_the_state_that_is_named() {
        const MALLORY: u32 = 61_002;
        if own_files::me() != 0 {
            eprintln!("skipped: needs root, to make files of other users");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (state, running) = (dir.path().join("state"), dir.path().join("running"));
        let file = card(&state).write(&running).unwrap();
        let give = |path: &Path, uid| std::os::unix::fs::lchown(path, Some(uid), Some(uid)).unwrap();
        let states = [state.clone()];
        // Card and folder of two users.
        give(&file.path(), MALLORY);
        assert!(found(&state, &states, &[]).is_empty());
        give(&file.path(), 0);
        give(&running, MALLORY);
        assert!(found(&state, &states, &[]).is_empty());
        assert!(card(&state).write(&running).unwrap_err().to_string().contains("belongs to another user"));
        // Both of somebody else.
        give(&file.path(), MALLORY);
        assert!(found(&state, &states, &[]).is_empty());
        fs::write(&state, "").unwrap();
        give(&state, MALLORY);
        assert_eq!(found(&state, &states, &[]), [FoundCard { card: card(&state), owner: MALLORY }]);
        assert!(found(&state, &[], &states).is_empty(), "a guess names no owner");
        // A link of somebody else in the folder's place.
        give(dir.path(), MALLORY);
        fs::rename(&running, dir.path().join("elsewhere")).unwrap();
        symlink("elsewhere", &running).unwrap();
        give(&running, MALLORY);
        assert!(found(&state, &states, &[]).is_empty());
    }
}
