//! The note beside a share in quarantine: what was found of it, as `<share>.json`.
//!
//! Never over an existing file. It is only ever replaced by a newer one of the same share, which says that it was moved now.

use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;

use serde::{Deserialize, Serialize};

use crate::calls::fstat;
use crate::job::scrub::CycleMoment;
use crate::store::HeldFolder;
use crate::tahoe::words::ShareFinding;

/// A longer note is none of ours.
const NOTE_LEN_MOST: u64 = 1 << 20;

/// What lies beside a share in quarantine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct QuarantineNote {
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
    /// Its hash (see [`stretch`](super::stretch)), where it was copied; older notes do not say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    pub findings: Vec<ShareFinding>,
}

impl QuarantineNote {
    /// Whether it was written in this cycle.
    pub fn is_of_cycle(&self, moment: CycleMoment) -> bool {
        self.now == moment.now && self.began.is_none_or(|began| began == moment.began)
    }

    /// Reads the note of a share, if there is one of ours.
    pub fn of(folder: &HeldFolder, share: &[u8]) -> Option<QuarantineNote> {
        serde_json::from_slice(&read(folder, &name(share))?).ok()
    }

    /// Whether a share that is not there may get this name: nothing else stands under it, nor under those of its note and of
    /// the drafts. What a crash has left of such a share is nothing else.
    pub fn may_stand_at(&self, folder: &HeldFolder, share: &[u8]) -> io::Result<bool> {
        let is_free = folder.is_free(&name(share))?;
        Ok(self.was_left_at(folder, share)? || (is_free && folder.is_free(&draft(share))?))
    }

    /// Whether this note may take the place of the one beside a share that is there: it is ours, or there is none.
    pub fn may_replace_at(&self, folder: &HeldFolder, share: &[u8]) -> io::Result<bool> {
        Ok(folder.is_free(&draft(&name(share)))?
            && (folder.is_free(&name(share))? || QuarantineNote::of(folder, share).is_some()))
    }

    /// Writes it, before its share comes. What a crash has left of one goes.
    pub fn write(&self, folder: &HeldFolder, share: &[u8]) -> io::Result<()> {
        if self.was_left_at(folder, share)? {
            // The draft beside it was begun after it was written, so it is ours as well.
            folder.remove_if_there(&draft(share))?;
            folder.remove_if_there(&name(share))?;
        }
        self.write_new(folder, &name(share))
    }

    /// Writes it in place of the one that is there, at once: a crash leaves the one or the other.
    pub fn replace(&self, folder: &HeldFolder, share: &[u8]) -> io::Result<()> {
        let draft = draft(&name(share));
        self.write_new(folder, &draft)?;
        folder.replace(&draft, &name(share)).inspect_err(|_| drop(folder.remove_if_there(&draft)))
    }

    /// Takes back what was written of a share that did not come.
    pub fn take_back(folder: &HeldFolder, share: &[u8]) {
        // The error that kept the share away is what counts.
        if folder.is_free(share).is_ok_and(|free| free) {
            let _ = (folder.remove_if_there(&draft(share)), folder.remove_if_there(&name(share)));
        }
    }

    fn write_new(&self, folder: &HeldFolder, name: &[u8]) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(self)?;
        write_new(folder, name, |file| file.write_all(&text))
    }

    /// Whether a note stands there that a crash has left without its share: this one, or one beside a draft, whichever cycle it
    /// was.
    fn was_left_at(&self, folder: &HeldFolder, share: &[u8]) -> io::Result<bool> {
        let Some(there) = QuarantineNote::of(folder, share) else { return Ok(false) };
        // A share that is renamed has no hash yet when its name is looked for.
        let texts = [&there, self].map(|note| serde_json::to_vec(&QuarantineNote { hash: None, ..note.clone() }).ok());
        Ok((texts[0].is_some() && texts[0] == texts[1]) || !folder.is_free(&draft(share))?)
    }
}

/// Where a file is written before it gets its name.
pub(super) fn draft(name: &[u8]) -> Vec<u8> {
    [name, b".part"].concat()
}

/// Writes a file that must not be there yet, for all who may read the folder. One that did not come whole, as on a full disk, is
/// removed.
pub(super) fn write_new(
    folder: &HeldFolder,
    name: &[u8],
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let mut file = folder.create(name)?;
    let mode = || io::Result::Ok(Permissions::from_mode(fstat(folder)?.st_mode & 0o666));
    let written = write(&mut file).and_then(|()| file.set_permissions(mode()?)).and_then(|()| sync_new(&file));
    written.inspect_err(|_| drop(folder.remove_if_there(name)))
}

/// Waits until a new file is on the disk.
pub(super) fn sync_new(file: &File) -> io::Result<()> {
    // Where a test lets the disk be full. Does nothing in release builds.
    crate::fail_point!("quarantine::write", |_| Err(rustix::io::Errno::NOSPC.into()));
    file.sync_all()
}

fn name(share: &[u8]) -> Vec<u8> {
    [share, b".json"].concat()
}

/// The text of a file that is no link, as far as a note goes.
fn read(folder: &HeldFolder, name: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    folder.open_file(name).ok()??.take(NOTE_LEN_MOST).read_to_end(&mut text).ok()?;
    Some(text)
}
