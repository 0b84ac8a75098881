//! Where a database lies: its one true name, and whether SQLite can keep its journal beside it.
//!
//! The gate, the kept plan and SQLite's own journal go by name. So links are resolved once, and everything stands beside
//! the name that they lead to; a file that has several true names is refused. Looks at files and opens none, since closing
//! a database file gives up the locks that SQLite has on it.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags};

use super::decision::beside;
use super::error::LocalDbError;
use super::faults;
use crate::calls::statx;
use crate::error::{Error, Result};
use crate::own_files::{MissingFolder, OwnFile};

/// The name that the old programs give the file.
const FILE: &str = "localdb.sqlite";
/// As many links as Linux follows.
const LINKS_MAX: u32 = 40;

/// The name of the file itself: the one given, or `localdb.sqlite` in that folder, with all links resolved. The file need not
/// be there yet, only its folder.
///
/// # Errors
/// If a folder on the way is missing or cannot be searched.
pub(super) fn resolve(path: &Path) -> Result<PathBuf> {
    resolved(file_of(path)).map_err(|e| faults::io(&e, "open", path))
}

/// As [`resolve`], for whoever works on the database: only links and folders that are to be believed.
///
/// # Errors
/// As [`resolve`], and for a link of somebody else, or a folder in which others may make files.
pub(super) fn resolve_own(path: &Path) -> Result<PathBuf> {
    let file = file_of(path);
    let found = OwnFile::named(&file, MissingFolder::Refuse);
    found.map(|own| own.path()).map_err(|e| faults::io(&e, "open", &file))
}

/// The file itself, or the one in a folder.
fn file_of(path: &Path) -> PathBuf {
    if path.is_dir() { path.join(FILE) } else { path.to_owned() }
}

fn resolved(mut path: PathBuf) -> io::Result<PathBuf> {
    for _ in 0..LINKS_MAX {
        match path.canonicalize() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let folder = folder.canonicalize()?;
        let Some(name) = path.file_name() else { return Err(io::ErrorKind::NotFound.into()) };
        let inside = folder.join(name);
        match fs::read_link(&inside) {
            // A link to what is not there yet: whoever makes the file makes it where the link leads.
            Ok(target) => path = folder.join(target),
            Err(_) => return Ok(inside),
        }
    }
    Err(io::Error::from_raw_os_error(libc::ELOOP))
}

/// Refuses what cannot be a database, and what cannot be changed safely.
///
/// # Errors
/// [`LocalDbError::Foreign`] for what is no file, or empty; [`LocalDbError::Failed`] for a file of several names, and for what
/// cannot be looked at.
pub(super) fn refuse_unfit(path: &Path) -> Result<()> {
    let found = fs::symlink_metadata(path).map_err(|e| faults::io(&e, "open", path))?;
    let foreign =
        |cause: &str| Err(Error::from(LocalDbError::Foreign { path: path.to_owned(), cause: cause.to_owned() }));
    if !found.is_file() {
        return foreign("it is not a regular file");
    }
    if found.len() == 0 {
        return foreign("it is empty");
    }
    match several_names(path, &found) {
        Some(cause) => Err(Error::from(LocalDbError::Failed { doing: "clean", path: path.to_owned(), cause })),
        None => Ok(()),
    }
}

/// Why the file beside a database does not speak for the database itself, if that is so. Nothing where there is no file.
pub(super) fn name_fault(path: &Path) -> Option<String> {
    several_names(path, &fs::symlink_metadata(path).ok()?)
}

fn several_names(path: &Path, found: &Metadata) -> Option<String> {
    if found.nlink() > 1 {
        let names = found.nlink();
        return Some(format!(
            "the file has {names} names (hard links), and SQLite looks for its journal beside the name that is used: what a \
             crash leaves half written could not be undone under another one; remove the other names, or work on a copy"
        ));
    }
    is_mount_root(path).then(|| {
        "the file is a mount point of its own, and SQLite looks for its journal beside the name that is used: what a crash \
         leaves half written could not be undone where the file comes from; mount its folder instead, or work on a copy"
            .to_owned()
    })
}

/// Whether something is mounted on just this file. Kernels before 5.8 do not tell.
fn is_mount_root(path: &Path) -> bool {
    statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty())
        .is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Whether a file that SQLite keeps beside a database is there.
pub(super) fn has_beside(path: &Path, suffix: &str) -> bool {
    fs::symlink_metadata(beside(path, suffix)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_of_every_kind_lead_to_the_file_itself() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        for folder in ["disk", "home", "disk/inner"] {
            fs::create_dir(dir.join(folder)).unwrap();
        }
        let file = dir.join("disk/localdb.sqlite");
        symlink("../disk/localdb.sqlite", dir.join("home/localdb.sqlite")).unwrap();
        symlink("home/localdb.sqlite", dir.join("second")).unwrap();
        symlink("disk", dir.join("folder")).unwrap();
        // The file is not there at first, then it is.
        for there in [false, true] {
            if there {
                fs::write(&file, "x").unwrap();
            }
            for name in ["disk", "folder", "home", "home/localdb.sqlite", "second", "disk/inner/../localdb.sqlite"] {
                assert_eq!(resolve(&dir.join(name)).unwrap(), file, "{name}, there: {there}");
            }
        }
        symlink("loop", dir.join("loop")).unwrap();
        assert!(resolve(&dir.join("loop")).is_err());
        assert!(resolve(&dir.join("nowhere/localdb.sqlite")).unwrap_err().to_string().contains("No such file"));
    }

    #[test]
    fn what_is_no_file_of_one_name_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let refused = || refuse_unfit(&path).unwrap_err().to_string();
        assert!(refused().contains("No such file"));
        fs::write(&path, "").unwrap();
        assert!(refused().contains("it is empty"));
        fs::write(&path, "x").unwrap();
        refuse_unfit(&path).unwrap();
        fs::hard_link(&path, dir.path().join("other")).unwrap();
        assert!(refused().contains("2 names"));
        assert!(name_fault(&path).unwrap().contains("2 names"));
        fs::remove_file(&path).unwrap();
        rustix::fs::mkfifoat(CWD, &path, rustix::fs::Mode::RUSR).unwrap();
        assert!(refused().contains("not a regular file"));
    }
}
