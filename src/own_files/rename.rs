//! Gives a file a name that nothing has, on every file system.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::calls::{fstat, linkat, openat, renameat, renameat_with, statat, unlinkat};

/// Renames a regular file, never over a file that is there. The folders are open, and the names are names in them.
///
/// Not every file system knows `RENAME_NOREPLACE`, and not every one has hard links (exFAT, many FUSE mounts). Where there
/// is neither, the name is taken by an empty file (`O_EXCL`), over which the file is then renamed.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] if something has the name; and what the system says. The file then has its old name.
pub(crate) fn rename_new(from_folder: impl AsFd, from: &OsStr, to_folder: impl AsFd, to: &OsStr) -> io::Result<()> {
    let (from_folder, to_folder) = (from_folder.as_fd(), to_folder.as_fd());
    match renameat_with(from_folder, from, to_folder, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
        other => return Ok(other?),
    }
    match linkat(from_folder, from, to_folder, to, AtFlags::empty()) {
        Ok(()) => return Ok(unlinkat(from_folder, from, AtFlags::empty())?),
        Err(Errno::PERM | Errno::NOSYS | Errno::OPNOTSUPP | Errno::MLINK) => {}
        Err(e) => return Err(e.into()),
    }
    take_name_and_rename(from_folder, from, to_folder, to)
}

pub(super) fn take_name_and_rename(
    from_folder: impl AsFd,
    from: &OsStr,
    to_folder: impl AsFd,
    to: &OsStr,
) -> io::Result<()> {
    let (from_folder, to_folder) = (from_folder.as_fd(), to_folder.as_fd());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let placeholder = openat(to_folder, to, flags, Mode::RUSR | Mode::WUSR)?;
    let renamed = renameat(from_folder, from, to_folder, to);
    if renamed.is_err() {
        // Only if it is still the empty file that was made here.
        let held = fstat(&placeholder)?;
        let named = statat(to_folder, to, AtFlags::SYMLINK_NOFOLLOW);
        if named.is_ok_and(|named| super::same(&named, &held)) {
            unlinkat(to_folder, to, AtFlags::empty())?;
        }
    }
    Ok(renamed?)
}
