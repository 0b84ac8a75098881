//! Opens every file that is Sexton's own: the state with its lock and companions, the token, the cards in `running/`,
//! `daemon.json`, the plan beside a database, the guard file, and the copies that `--backup` makes.
//!
//! Whoever runs Sexton is often root and often works in folders of other users. So nothing here follows a link that
//! somebody else has put there, believes a file that somebody else has written, or waits for a pipe. The rules:
//!
//! 1. **The folder** is opened once and held; its files are reached from there. A folder in which others than its owner may
//!    create names is refused, a sticky one (`/tmp`) too: SQLite opens `-wal`, `-shm` and `-journal` by name and believes
//!    them. The remedy is a folder of mode 0700, and the error says how to get one. A folder that only its owner may write
//!    to is not refused, whoever that is. Folders that are made here have mode 0700.
//! 2. **A file** is made anew (`O_EXCL`), or it belongs to the user who runs Sexton, to root, or to the owner of the folder:
//!    root often works on another user's state or database. It is a regular file, never a link, a pipe or a device; it has
//!    one name, so that writing to it changes no other file; and what is read of it has a bound.
//! 3. **What is made** has mode 0600, since the state may hold secrets. The exceptions: a copy has its original's owner
//!    and mode, what stands beside a database may have the database's owner, and cards, which hold no secret, have 0644.
//! 4. **What is removed or replaced** satisfies rule 2 before that.
//! 5. **The path that a person names** may be a symbolic link, if the link belongs to the user who runs Sexton, to root, or
//!    to the owner of the folder that it leads to. It is resolved once, and everything else stands beside the file itself.
//! 6. **A database** is opened by SQLite by its name, so it and its companions are looked at before and after that: see
//!    [`OwnDatabase`].
//! 7. **The guard file** is only locked, never read or written. So it may be anybody's, in any folder: see
//!    [`open_to_lock`].
//! 8. **A backup** is only written, so its folder may be one of a file system that keeps no modes (exFAT on a USB disk),
//!    where rule 1 has no remedy: see [`OwnFile::in_folder_for_copies`].
//!
//! Files in a store are not Sexton's own; `store` knows how to treat those. A configuration is not either: people write it.

mod database;
mod folder;
mod lockable;
mod refusal;
mod rename;
#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::calls::{fchmod, fchown, fstat, openat, renameat, statat, unlinkat};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::process::{Gid, Uid, geteuid};

pub(crate) use database::{COMPANIONS, OwnDatabase};
pub(crate) use folder::{MissingFolder, OwnFolder};
pub(crate) use lockable::{Make, open_to_lock};
use refusal::FileRefusal;
pub(crate) use refusal::cause;
pub(crate) use rename::rename_new;

/// Nothing is followed, waited for or inherited.
const SAFELY: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);
/// What is made is for its owner alone.
const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

/// What a file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileAccess {
    Read,
    /// Reading and writing.
    Write,
}

/// A file of Sexton's own, there or not, in a folder that is held open.
#[derive(Debug, Clone)]
pub(crate) struct OwnFile {
    folder: Arc<OwnFolder>,
    name: OsString,
}

impl OwnFile {
    /// Names a file by its path, which is not resolved, and opens its folder.
    ///
    /// # Errors
    /// If the folder is not there, or others than its owner may create names in it.
    pub(crate) fn at(path: &Path) -> io::Result<OwnFile> {
        let file = OwnFile::anywhere(path)?;
        file.folder.refuse_shared(&file.name)?;
        Ok(file)
    }

    /// Names a file by the path that a person has given: a link there is followed, if it is the user's own (rule 5).
    ///
    /// # Errors
    /// As [`at`](Self::at), and for a link of somebody else, or one that leads nowhere.
    pub(crate) fn named(path: &Path, missing: MissingFolder) -> io::Result<OwnFile> {
        let file = folder::resolve(path, missing)?;
        file.folder.refuse_shared(&file.name)?;
        Ok(file)
    }

    /// Names a copy to be made. Where the folder's file system keeps no modes, anybody may create names in it; everywhere
    /// else that is refused.
    ///
    /// # Errors
    /// As [`at`](Self::at).
    pub(crate) fn in_folder_for_copies(path: &Path) -> io::Result<OwnFile> {
        let file = OwnFile::anywhere(path)?;
        if file.folder.is_shared() && file.folder.keeps_modes()? {
            file.folder.refuse_shared(&file.name)?;
        }
        Ok(file)
    }

    /// Names a file in a folder that is not looked at.
    fn anywhere(path: &Path) -> io::Result<OwnFile> {
        let (folder, name) = folder::split(path)?;
        // Without links, as SQLite wants it.
        let folder = OwnFolder::open(&folder.canonicalize()?)?;
        Ok(OwnFile { folder: Arc::new(folder), name: name.to_owned() })
    }

    /// The file in the same folder whose name has this suffix.
    pub(crate) fn beside(&self, suffix: &str) -> OwnFile {
        let mut name = self.name.clone();
        name.push(suffix);
        OwnFile { folder: self.folder.clone(), name }
    }

    pub(crate) fn folder(&self) -> &OwnFolder {
        &self.folder
    }

    /// The path, without links.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join(&self.name)
    }

    /// Looks at the file without opening it; `None` if it is not there. Closing a file gives up SQLite's locks on it, so
    /// this is the only way to look at a database that is in use.
    ///
    /// # Errors
    /// If it is not a file to be believed (rule 2).
    pub(crate) fn look(&self) -> io::Result<Option<Stat>> {
        match statat(self.folder.as_fd(), &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => self.check(&stat).map(|()| Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Opens the file; `None` if it is not there.
    ///
    /// # Errors
    /// As [`look`](Self::look), and what the system says.
    pub(crate) fn open(&self, access: FileAccess) -> io::Result<Option<File>> {
        // Looked at first, since to open a device may do something; and once more when it is open.
        if self.look()?.is_none() {
            return Ok(None);
        }
        let flags = if access == FileAccess::Read { OFlags::RDONLY } else { OFlags::RDWR };
        match openat(self.folder.as_fd(), &self.name, flags | SAFELY, Mode::empty()) {
            Ok(file) => self.check(&fstat(&file)?).map(|()| Some(file.into())),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::LOOP) => Err(self.refused(FileRefusal::Link)),
            Err(e) => Err(e.into()),
        }
    }

    /// Makes the file, of mode 0600, for reading and writing.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`], and what else the system says.
    pub(crate) fn create_new(&self) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | SAFELY;
        Ok(openat(self.folder.as_fd(), &self.name, flags, PRIVATE)?.into())
    }

    /// Opens the file for reading and writing, or makes it.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(crate) fn open_or_create(&self) -> io::Result<File> {
        // Whoever makes it in between makes it for good, unless somebody keeps removing it.
        for _ in 0..16 {
            if let Some(file) = self.open(FileAccess::Write)? {
                return Ok(file);
            }
            match self.create_new() {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                made => return made,
            }
        }
        Err(io::Error::other("it is made and removed again and again"))
    }

    /// Opens the file for reading, if it is there and not longer than that.
    ///
    /// # Errors
    /// As [`open`](Self::open), and for a longer file.
    pub(crate) fn open_bounded(&self, most_bytes: u64) -> io::Result<Option<io::Take<File>>> {
        let Some(file) = self.open(FileAccess::Read)? else { return Ok(None) };
        if file.metadata()?.len() > most_bytes {
            return Err(self.refused(FileRefusal::Long { most_bytes }));
        }
        Ok(Some(file.take(most_bytes)))
    }

    /// Reads the whole file, if it is there and not longer than that.
    ///
    /// # Errors
    /// As [`open_bounded`](Self::open_bounded).
    pub(crate) fn read(&self, most_bytes: u64) -> io::Result<Option<Vec<u8>>> {
        let Some(mut file) = self.open_bounded(most_bytes)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Reads the whole file, if it is there, not longer than that, and belongs to this user.
    ///
    /// # Errors
    /// As [`open_bounded`](Self::open_bounded), and for a file of another user.
    pub(crate) fn read_of(&self, owner: u32, most_bytes: u64) -> io::Result<Option<Vec<u8>>> {
        let Some(mut file) = self.open_bounded(most_bytes)? else { return Ok(None) };
        let (uid, mut bytes) = (fstat(file.get_ref())?.st_uid, Vec::new());
        if uid != owner {
            return Err(self.refused(FileRefusal::NotOf { uid, owner }));
        }
        file.read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Writes the file anew: after a crash at any moment it is the old one or the new one, whole. It keeps its owner;
    /// `prepare` may change owner and mode of the new file before anything is in it.
    ///
    /// # Errors
    /// What the system says; and if what is there, or a half-written file with `.new` at its end, is not Sexton's own.
    pub(crate) fn replace(
        &self,
        prepare: impl FnOnce(&File) -> io::Result<()>,
        write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>,
    ) -> io::Result<()> {
        let old = self.look()?;
        let new = self.beside(".new");
        // Left by a process that died.
        new.remove()?;
        let file = new.create_new()?;
        let written = || {
            if let Some(old) = &old {
                give_to_owner_of(&file, old)?;
            }
            prepare(&file)?;
            let mut buffered = BufWriter::new(&file);
            write(&mut buffered)?;
            buffered.flush()?;
            drop(buffered);
            file.sync_all()?;
            new.rename_to(self, &file)
        };
        written().inspect_err(|_| drop(new.remove()))?;
        self.folder.sync()
    }

    /// Gives this file, which is open, the name of another one in place of what has it.
    ///
    /// # Errors
    /// What the system says, and if another file has this one's name meanwhile.
    pub(crate) fn rename_to(&self, other: &OwnFile, file: &File) -> io::Result<()> {
        self.refuse_exchanged(file)?;
        Ok(renameat(self.folder.as_fd(), &self.name, other.folder.as_fd(), &other.name)?)
    }

    /// Gives this file, which is open, a name that nothing has.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`], and as [`rename_to`](Self::rename_to).
    pub(crate) fn rename_new(&self, other: &OwnFile, file: &File) -> io::Result<()> {
        self.refuse_exchanged(file)?;
        rename_new(self.folder.as_fd(), &self.name, other.folder.as_fd(), &other.name)
    }

    /// Makes an error of a name that does not lead to this open file.
    ///
    /// # Errors
    /// That one, and what the system says.
    pub(crate) fn refuse_exchanged(&self, file: &File) -> io::Result<()> {
        let (held, named) = (fstat(file)?, self.look()?);
        match named.is_some_and(|named| same(&named, &held)) {
            true => Ok(()),
            false => Err(self.refused(FileRefusal::Exchanged)),
        }
    }

    /// Removes the file, if it is there.
    ///
    /// # Errors
    /// If it is not Sexton's own, and what the system says.
    pub(crate) fn remove(&self) -> io::Result<()> {
        if self.look()?.is_none() {
            return Ok(());
        }
        match unlinkat(self.folder.as_fd(), &self.name, AtFlags::empty()) {
            Err(e) if e != Errno::NOENT => Err(e.into()),
            _ => Ok(()),
        }
    }

    /// The name alone.
    pub(crate) fn name(&self) -> &OsStr {
        &self.name
    }

    fn check(&self, stat: &Stat) -> io::Result<()> {
        let refusal = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile if stat.st_nlink > 1 => FileRefusal::ManyNames,
            FileType::RegularFile if !self.folder.believes(stat.st_uid) => FileRefusal::Foreign { uid: stat.st_uid },
            FileType::RegularFile => return Ok(()),
            FileType::Symlink => FileRefusal::Link,
            _ => FileRefusal::NotRegular,
        };
        Err(self.refused(refusal))
    }

    fn refused(&self, refusal: FileRefusal) -> io::Error {
        refusal.of(&self.path())
    }
}

/// Gives a file that was just made the owner and the mode of another one. Where the owner cannot be given, the group and
/// others get no rights that the original's did not have.
///
/// # Errors
/// What the system says.
pub(crate) fn give_like(file: &File, original: &Stat) -> io::Result<()> {
    let made = fstat(file)?;
    let (uid, gid) = (Uid::from_raw(original.st_uid), Gid::from_raw(original.st_gid));
    let mode = Mode::from_raw_mode(original.st_mode) & (Mode::RWXU | Mode::RWXG | Mode::RWXO);
    let is_same = (made.st_uid, made.st_gid) == (original.st_uid, original.st_gid);
    let is_given = is_same || fchown(file, Some(uid), Some(gid)).is_ok();
    let group_is_given = is_given || fchown(file, None, Some(gid)).is_ok();
    let kept = if group_is_given { mode } else { mode & Mode::RWXU };
    set_mode(file, kept)
}

/// Gives a file this mode, where its file system keeps modes.
///
/// # Errors
/// What the system says.
pub(crate) fn set_mode(file: &File, mode: Mode) -> io::Result<()> {
    match fchmod(file, mode) {
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
        other => Ok(other?),
    }
}

/// Gives a file that was just made to the owner of another one, where that is allowed. Its mode stays 0600.
///
/// # Errors
/// What the system says.
pub(crate) fn give_to_owner_of(file: &File, other: &Stat) -> io::Result<()> {
    if other.st_uid == me() {
        return Ok(());
    }
    match fchown(file, Some(Uid::from_raw(other.st_uid)), Some(Gid::from_raw(other.st_gid))) {
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
        done => Ok(done?),
    }
}

/// Whether both are of one file.
pub(crate) fn same(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

/// The user who runs Sexton; on this thread.
pub(crate) fn me() -> u32 {
    geteuid().as_raw()
}
