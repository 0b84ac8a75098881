//! Whether the folder `shares/` that is being walked still stands where it stood.
//!
//! A folder is known by device and inode number. There are file systems whose inode numbers do not last (mergerfs, FUSE): there a
//! folder of another number is the same if it is on the same device and lists the same names as the handle that is held. It
//! is opened again then, and that is enough to read on; to change anything, files have to be known again, so nothing is
//! changed there.

use std::collections::BTreeSet;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rustix::fs::{CWD, Mode, RawDir};

use super::{FileId, is_dot};
use crate::calls::{Tries, fstat, openat, stat};
use crate::lock::lock;
use crate::store::open::{self, DIRECTORY};

/// More names than this, a prefix each, are not compared.
const NAMES_MOST: usize = 65_536;
/// How often two listings are compared: a node may make a new prefix between them.
const TRIES: usize = 3;

/// Whether something may be changed in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StoreAccess {
    Reading,
    Changing,
}

/// What is known of the folder `shares/`.
#[derive(Debug)]
pub(super) struct Presence(Mutex<KnownFolder>);

#[derive(Debug)]
struct KnownFolder {
    /// It, open for reading.
    held: Arc<OwnedFd>,
    /// What it was when it was looked at last.
    id: FileId,
    /// The first number that it had instead, once there was one.
    other_inode: Option<u64>,
}

impl Presence {
    pub fn new(shares: OwnedFd, id: FileId) -> Presence {
        Presence(Mutex::new(KnownFolder { held: Arc::new(shares), id, other_inode: None }))
    }

    /// The folder, open for reading.
    pub fn held(&self) -> Arc<OwnedFd> {
        lock(&self.0).held.clone()
    }

    /// Fails if the folder at this path is gone, or is not the one that is held. Where inode numbers do not last, changing
    /// fails with kind `Unsupported`.
    pub fn check(&self, path: &Path, access: StoreAccess) -> io::Result<()> {
        let gone = |e: io::Error| io::Error::other(format!("the folder shares is gone: {e}"));
        let found = FileId::of(&stat(path).map_err(|e| gone(e.into()))?);
        let mut known = lock(&self.0);
        // A mount that came back: the path is there again, and what was opened before is of no use.
        fstat(&*known.held).map_err(|e| io::Error::other(format!("the folder shares was gone for a while: {e}")))?;
        if found != known.id {
            let there = open::folder_in(CWD, path).map_err(gone)?.fd;
            let is_it = FileId::of(&fstat(&there)?).device == known.id.device && list_the_same(&known.held, &there)?;
            if !is_it {
                return Err(io::Error::other("the folder shares was replaced by another while it was being walked"));
            }
            known.other_inode.get_or_insert(found.inode);
            (known.held, known.id) = (Arc::new(there), found);
        }
        match known.other_inode {
            Some(inode) if access == StoreAccess::Changing => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!(
                    "inode numbers do not last on this file system (the folder shares has got the number {inode}), so a file \
                     cannot be known again before it is changed; mount it such that they last (mergerfs: inodecalc=path-hash; \
                     FUSE: noforget), or work on the folders that lie below it"
                ),
            )),
            _ => Ok(()),
        }
    }
}

/// Whether two folders have the same names.
fn list_the_same(one: &OwnedFd, other: &OwnedFd) -> io::Result<bool> {
    for _ in 0..TRIES {
        if names(one)? == names(other)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn names(folder: &OwnedFd) -> io::Result<BTreeSet<Vec<u8>>> {
    let folder = openat(folder, ".", DIRECTORY, Mode::empty())?;
    let mut buf = [MaybeUninit::uninit(); 32 * 1024];
    let (mut listing, mut names) = (RawDir::new(&folder, &mut buf), BTreeSet::new());
    let mut tries = Tries::default();
    while let Some(entry) = listing.next() {
        let entry = match entry {
            Err(e) if tries.again(e) => continue,
            entry => entry?,
        };
        let name = entry.file_name().to_bytes();
        if !is_dot(name) {
            names.insert(name.to_vec());
        }
        if names.len() > NAMES_MOST {
            return Err(io::Error::other("there are too many names in the folder shares to tell it from another"));
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn presence(path: &Path) -> Presence {
        let held = open::folder_in(CWD, path).unwrap().fd;
        let id = FileId::of(&fstat(&held).unwrap());
        Presence::new(held, id)
    }

    fn names_held(presence: &Presence) -> Vec<Vec<u8>> {
        names(&presence.held()).unwrap().into_iter().collect()
    }

    /// A folder that was moved away, and another in its place: as one of another number is seen.
    #[test]
    fn another_number_is_the_same_folder_if_the_names_are_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let (path, aside) = (dir.path().join("shares"), dir.path().join("aside"));
        for folder in [&path, &aside] {
            ["aa", "ab"].iter().for_each(|name| fs::create_dir_all(folder.join(name)).unwrap());
        }
        let presence = presence(&path);
        presence.check(&path, StoreAccess::Changing).unwrap();
        fs::rename(&path, dir.path().join("before")).unwrap();
        assert!(presence.check(&path, StoreAccess::Reading).unwrap_err().to_string().contains("is gone"));
        fs::rename(&aside, &path).unwrap();
        presence.check(&path, StoreAccess::Reading).unwrap();
        // It is opened again: what is made in it is seen.
        fs::create_dir(path.join("ac")).unwrap();
        assert_eq!(names_held(&presence), [b"aa", b"ab", b"ac"]);
        fs::remove_dir(path.join("ac")).unwrap();
        let refused = presence.check(&path, StoreAccess::Changing).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::Unsupported, "{refused}");
        // From here on it is known that numbers do not last.
        fs::rename(&path, &aside).unwrap();
        fs::rename(dir.path().join("before"), &path).unwrap();
        presence.check(&path, StoreAccess::Reading).unwrap();
        assert!(presence.check(&path, StoreAccess::Changing).is_err());
    }

    #[test]
    fn a_folder_with_other_names_is_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shares");
        fs::create_dir_all(path.join("aa")).unwrap();
        let presence = presence(&path);
        fs::rename(&path, dir.path().join("before")).unwrap();
        fs::create_dir(&path).unwrap();
        for access in [StoreAccess::Reading, StoreAccess::Changing] {
            assert!(presence.check(&path, access).unwrap_err().to_string().contains("replaced by another"));
        }
    }
}
