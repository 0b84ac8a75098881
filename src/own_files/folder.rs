//! The folder of a file that is Sexton's own, held open; and how a path that a person names leads there.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::refusal::{FileRefusal, SharedFolder};
use super::{OwnFile, SAFELY, me, same};
use crate::calls::{fstat, fsync, open, openat, readlink, stat, statat, unlinkat};

const GROUP_AND_OTHERS_WRITE: u32 = 0o022;
const STICKY: u32 = 0o1000;
/// Links one after another at most, as the system has it.
const LINKS_MOST: usize = 40;

/// What is done where the folder of a file is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MissingFolder {
    /// It is made, for its owner alone.
    Make,
    /// That is an error.
    Refuse,
}

/// A folder that is held open.
#[derive(Debug)]
pub(crate) struct OwnFolder {
    /// Opened as a place only, which needs no right to list it.
    fd: OwnedFd,
    path: PathBuf,
    stat: Stat,
}

impl OwnFolder {
    /// Opens a folder; the way to it may lead through links.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn open(path: &Path) -> io::Result<OwnFolder> {
        let fd = open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(OwnFolder { stat: fstat(&fd)?, fd, path: path.to_owned() })
    }

    /// Opens a folder of Sexton's own, or makes it with this mode, and those above it for their owner alone. If it is a link, it must be the user's or root's.
    ///
    /// # Errors
    /// What the system says; and if others than its owner may create names in it.
    pub(crate) fn open_or_make(path: &Path, mode: u32) -> io::Result<OwnFolder> {
        let (above, name) = split(path)?;
        make(above)?;
        match crate::calls::mkdirat(&OwnFolder::open(above)?, name, Mode::from_raw_mode(mode)) {
            Err(e) if e != Errno::EXIST => Err(e.into()),
            _ => OwnFolder::open_own(path),
        }
    }

    /// Opens a folder of Sexton's own that is there. If it is a link, it must be the user's or root's.
    ///
    /// # Errors
    /// What the system says; and if others than its owner may create names in it.
    pub(crate) fn open_own(path: &Path) -> io::Result<OwnFolder> {
        let (above, name) = split(path)?;
        let above = OwnFolder::open(above)?;
        let folder = match link(&above, name)? {
            Some((uid, _)) if uid != 0 && uid != me() => return Err(FileRefusal::ForeignLink { uid }.of(path)),
            Some(_) => OwnFolder::open(path)?,
            None => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let fd = openat(&above, name, flags, Mode::empty())?;
                OwnFolder { stat: fstat(&fd)?, fd, path: path.to_owned() }
            }
        };
        folder.refuse_shared(OsStr::new(""))?;
        Ok(folder)
    }

    /// The names in it, of files that may be opened with [`file`](Self::file); no more than that.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn names(&self, most: usize) -> io::Result<Vec<OsString>> {
        let listed = rustix::fs::Dir::new(self.readable()?)?;
        let names = listed.map(|entry| Ok(OsString::from_vec(entry?.file_name().to_bytes().to_vec())));
        names.filter(|name| !name.as_ref().is_ok_and(|name| name == "." || name == "..")).take(most).collect()
    }

    fn readable(&self) -> io::Result<OwnedFd> {
        Ok(openat(&self.fd, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
    }

    pub(crate) fn file(self: &Arc<Self>, name: impl Into<OsString>) -> OwnFile {
        OwnFile { folder: self.clone(), name: name.into() }
    }

    /// The path by which it was opened.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn owner(&self) -> u32 {
        self.stat.st_uid
    }

    /// Whether a file of this user may be believed in it.
    pub(super) fn believes(&self, uid: u32) -> bool {
        uid == me() || uid == 0 || uid == self.owner()
    }

    /// Whether others than its owner may create names in it. What an access list allows shows in the group's rights.
    pub(super) fn is_shared(&self) -> bool {
        self.stat.st_mode & GROUP_AND_OTHERS_WRITE != 0
    }

    /// Makes an error of a folder in which others than its owner may create names.
    ///
    /// # Errors
    /// That one, with the remedy for a file of this name.
    pub(crate) fn refuse_shared(&self, name: &OsStr) -> io::Result<()> {
        if !self.is_shared() {
            return Ok(());
        }
        Err(io::Error::other(SharedFolder {
            folder: self.path.clone(),
            mode: self.stat.st_mode & 0o7777,
            name: name.into(),
            may_be_closed: self.stat.st_mode & STICKY == 0 && (me() == self.owner()),
        }))
    }

    /// Whether a new file gets the mode that it is made with: some file systems have one mode for all files.
    pub(super) fn keeps_modes(&self) -> io::Result<bool> {
        let probe = format!(".sexton-mode-{}", std::process::id());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | SAFELY;
        let file = openat(&self.fd, probe.as_str(), flags, super::PRIVATE)?;
        let mode = fstat(&file)?.st_mode & 0o777;
        unlinkat(&self.fd, probe.as_str(), rustix::fs::AtFlags::empty())?;
        Ok(mode & 0o077 == 0)
    }

    /// Makes an error of a folder whose path leads to another one meanwhile.
    ///
    /// # Errors
    /// That one, and what the system says.
    pub(super) fn refuse_moved(&self) -> io::Result<()> {
        match same(&stat(&self.path)?, &self.stat) {
            true => Ok(()),
            false => Err(FileRefusal::Exchanged.of(&self.path)),
        }
    }

    /// Has its names on the disk.
    ///
    /// # Errors
    /// What the system says; not that its file system cannot do that.
    pub(crate) fn sync(&self) -> io::Result<()> {
        match fsync(&self.readable()?) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(()),
            other => Ok(other?),
        }
    }
}

impl AsFd for OwnFolder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The folder of a path, and the name in it.
pub(super) fn split(path: &Path) -> io::Result<(&Path, &OsStr)> {
    let name = path.file_name().ok_or_else(|| io::Error::other("that is no name of a file"))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok((folder, name))
}

/// Follows a path that a person has named to the file itself, there or not.
pub(super) fn resolve(path: &Path, missing: MissingFolder) -> io::Result<OwnFile> {
    let (mut path, mut owners) = (path.to_owned(), Vec::<(PathBuf, u32)>::new());
    while owners.len() < LINKS_MOST {
        let (folder_path, name) = split(&path)?;
        if missing == MissingFolder::Make {
            make(folder_path)?;
        }
        // Without links, as SQLite wants it, and so that a file has one path whatever leads to it.
        let folder = OwnFolder::open(&fs::canonicalize(folder_path)?)?;
        let Some((uid, target)) = link(&folder, name)? else {
            if let Some((link, uid)) = owners.into_iter().find(|(_, uid)| !folder.believes(*uid)) {
                return Err(FileRefusal::ForeignLink { uid }.of(&link));
            }
            return Ok(Arc::new(folder).file(name));
        };
        let next = folder.path().join(target);
        if fs::symlink_metadata(&next).is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("{} leads nowhere", path.display())));
        }
        owners.push((path, uid));
        path = next;
    }
    Err(Errno::LOOP.into())
}

/// A link's owner, and where it leads; `None` if the name is not one of a link. The link itself is held meanwhile.
fn link(folder: &OwnFolder, name: &OsStr) -> io::Result<Option<(u32, PathBuf)>> {
    let fd = match openat(folder, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let stat = fstat(&fd)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        return Ok(None);
    }
    let target = readlink(&fd)?;
    Ok(Some((stat.st_uid, OsString::from_vec(target.into_bytes()).into())))
}

/// Makes a folder and those above it, for their owner alone, if they are not there.
fn make(folder: &Path) -> io::Result<()> {
    match statat(CWD, folder, rustix::fs::AtFlags::empty()) {
        Ok(_) => Ok(()),
        Err(_) => DirBuilder::new().recursive(true).mode(0o700).create(folder),
    }
}
