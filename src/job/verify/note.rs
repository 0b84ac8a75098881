//! The note beside a share in quarantine: what was found of it, as `<share>.json`.
//!
//! Never over an existing file. It is only ever replaced by a newer one of the same share, which says that it was moved now.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fd::BorrowedFd;
use rustix::fs::{RenameFlags, renameat_with};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::job::{Finding, Fold};

/// A longer note is none of ours.
const NOTE_LEN_MOST: u64 = 1 << 20;

/// What lies beside a share in quarantine.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Note {
    /// The moment that counted as now in the cycle, in seconds since 1970.
    pub now: f64,
    /// When the cycle began by the clock, likewise: with `now` it tells which one it was. Older notes do not say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<f64>,
    /// `copy` or `move`.
    pub how: String,
    pub size: u64,
    /// How many bytes of it were read; older notes do not say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<u64>,
    pub findings: Vec<Finding>,
}

impl Note {
    /// Whether it was written in the cycle that this is a part of.
    pub fn is_of_cycle<T>(&self, fold: &Fold<'_, T>) -> bool {
        self.now == fold.now && self.began.is_none_or(|began| began == fold.began)
    }

    /// Reads the note of a share, if there is one of ours.
    pub fn of(share: &Path) -> Option<Note> {
        serde_json::from_slice(&read(&path(share))?).ok()
    }

    /// Whether a share that is not there may get this name: nothing else stands under it, nor under those of its note and of
    /// the drafts. What a crash has left of this very share is nothing else.
    pub fn may_stand_at(&self, share: &Path) -> io::Result<bool> {
        Ok(self.was_left_at(share) || (is_free(&path(share))? && is_free(&draft(share))?))
    }

    /// Whether this note may take the place of the one beside a share that is there: it is ours, or there is none.
    pub fn may_replace_at(&self, share: &Path) -> io::Result<bool> {
        Ok(is_free(&draft(&path(share)))? && (is_free(&path(share))? || Note::of(share).is_some()))
    }

    /// Writes it, before its share comes.
    pub fn write(&self, share: &Path) -> io::Result<()> {
        if !self.was_left_at(share) {
            return self.write_new(&path(share));
        }
        // The draft beside it was begun after it was written, so it is ours as well.
        remove_if_there(&draft(share))?;
        File::open(path(share))?.sync_all()
    }

    /// Writes it in place of the one that is there, at once: a crash leaves the one or the other.
    pub fn replace(&self, share: &Path) -> io::Result<()> {
        let draft = draft(&path(share));
        self.write_new(&draft)?;
        fs::rename(&draft, path(share)).inspect_err(|_| drop(fs::remove_file(&draft)))
    }

    /// Takes back what was written of a share that did not come.
    pub fn take_back(share: &Path) {
        // The error that kept the share away is what counts.
        if is_free(share).is_ok_and(|free| free) {
            let _ = remove_if_there(&path(share));
        }
    }

    fn write_new(&self, path: &Path) -> io::Result<()> {
        let text = self.text()?;
        write_new(path, |file| file.write_all(&text))
    }

    /// Whether exactly this note stands there, by a crash.
    fn was_left_at(&self, share: &Path) -> bool {
        read(&path(share)).zip(self.text().ok()).is_some_and(|(there, text)| there == text)
    }

    fn text(&self) -> io::Result<Vec<u8>> {
        Ok(serde_json::to_vec_pretty(self)?)
    }
}

/// Where a file is written before it gets its name.
pub(super) fn draft(path: &Path) -> PathBuf {
    with(path, ".part")
}

/// Writes a file that must not be there yet. One that did not come whole, as on a full disk, is removed.
pub(super) fn write_new(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    let written = write(&mut file).and_then(|()| disk_is_full()).and_then(|()| file.sync_all());
    written.inspect_err(|_| drop(fs::remove_file(path)))
}

/// Renames a file of ours to a name that must not be taken, also where the file system cannot promise that by itself.
pub(super) fn rename_new(dir: BorrowedFd<'_>, from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(dir, from, dir, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        }
        renamed => Ok(renamed?),
    }
}

/// Whether nothing has this name, not even a link that leads nowhere.
pub(super) fn is_free(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
        there => there.map(|_| false),
    }
}

fn path(share: &Path) -> PathBuf {
    with(share, ".json")
}

fn with(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// The text of a file that is no link, as far as a note goes.
fn read(path: &Path) -> Option<Vec<u8>> {
    fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file)?;
    let mut text = Vec::new();
    File::open(path).ok()?.take(NOTE_LEN_MOST).read_to_end(&mut text).ok()?;
    Some(text)
}

pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Where a test lets the disk be full. Does nothing in release builds.
fn disk_is_full() -> io::Result<()> {
    fail::fail_point!("quarantine::write", |_| Err(rustix::io::Errno::NOSPC.into()));
    Ok(())
}
