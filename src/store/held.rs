//! A held folder, and everything that is written, renamed or removed beneath it.
//!
//! Who owns a store may put links into it, and exchange them for others at any moment. So nothing in a store is changed by its
//! path. A folder is held open (the store, or a folder that the operator has named), and each name is reached below the folder
//! that is held, without following a link: by the kernel where it can (`openat2` with RESOLVE_BENEATH and NO_SYMLINKS), else with
//! O_NOFOLLOW. What is changed is thus in that folder, whatever stands in it.
//!
//! Some file systems know no hard links, some cannot rename without replacing. What must not be overwritten is renamed in the way
//! that is there: with RENAME_NOREPLACE, by a second name, or over an empty file of that name which was made for it (O_EXCL).

use std::fs::File;
use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, RenameFlags, Stat};
use rustix::io::Errno;

use super::open::{self, DIRECTORY, is_a_link};
use super::way::Way;
use crate::calls::{Tries, fstat, fsync, linkat, mkdirat, openat, renameat, renameat_with, statat, unlinkat};

/// Set once the system has no `openat2`, or forbids it.
static NO_OPENAT2: AtomicBool = AtomicBool::new(false);

/// Folders above one another, at most: no path is longer.
const DEPTH_MOST: u32 = 4096;

/// A folder that is held open.
#[derive(Debug)]
pub(crate) struct HeldFolder {
    folder: OwnedFd,
    path: PathBuf,
}

/// What tells one file or folder from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileId {
    pub device: u64,
    pub inode: u64,
}

impl FileId {
    pub fn of(stat: &Stat) -> FileId {
        FileId { device: stat.st_dev, inode: stat.st_ino }
    }
}

impl HeldFolder {
    /// Holds a folder that was opened; `path` is what it is called in messages.
    pub fn new(folder: OwnedFd, path: PathBuf) -> HeldFolder {
        HeldFolder { folder, path }
    }

    /// Holds the folder at a path that the operator has given. Links on the way are followed if they can be trusted.
    ///
    /// # Errors
    /// Those of opening, and what is to be said of a link that is followed for reading only: see [`Way`].
    pub fn named(path: &Path) -> io::Result<HeldFolder> {
        let Way { folder, strange_link } = Way::to(path)?;
        if let Some(why) = strange_link {
            return Err(io::Error::other(why));
        }
        Ok(HeldFolder { folder: openat(&folder, ".", DIRECTORY, Mode::empty())?, path: path.to_path_buf() })
    }

    /// Its path, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A second handle of it.
    pub fn again(&self) -> io::Result<HeldFolder> {
        Ok(HeldFolder { folder: self.folder.try_clone()?, path: self.path.clone() })
    }

    /// Which folder it is.
    pub fn id(&self) -> io::Result<FileId> {
        Ok(FileId::of(&fstat(&self.folder)?))
    }

    /// Whether it is this folder, or lies in it.
    pub fn lies_in(&self, other: FileId) -> io::Result<bool> {
        let mut at = self.folder.try_clone()?;
        let mut id = FileId::of(&fstat(&at)?);
        for _ in 0..DEPTH_MOST {
            if id == other {
                return Ok(true);
            }
            at = openat(&at, "..", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
            let above = FileId::of(&fstat(&at)?);
            if above == id {
                return Ok(false);
            }
            id = above;
        }
        Err(Errno::NAMETOOLONG.into())
    }

    /// Holds a folder in it.
    ///
    /// # Errors
    /// If it is none, or a link, or cannot be opened.
    pub fn folder(&self, name: &[u8]) -> io::Result<HeldFolder> {
        Ok(HeldFolder { folder: beneath(&self.folder, name, DIRECTORY)?, path: self.path_of(name) })
    }

    /// As [`folder`](Self::folder); makes it if it is not there, for good, and tells whether it did.
    ///
    /// # Errors
    /// Likewise.
    pub fn make_folder(&self, name: &[u8]) -> io::Result<(HeldFolder, bool)> {
        match mkdirat(&self.folder, plain(name)?, Mode::from_raw_mode(0o777)) {
            Ok(()) => {
                self.sync()?;
                Ok((self.folder(name)?, true))
            }
            Err(Errno::EXIST) => Ok((self.folder(name)?, false)),
            Err(e) => Err(e.into()),
        }
    }

    /// What has this name, a link itself; `None` if nothing does.
    pub fn stat(&self, name: &[u8]) -> io::Result<Option<Stat>> {
        match statat(&self.folder, plain(name)?, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Whether nothing has this name, not even a link that leads nowhere.
    pub fn is_free(&self, name: &[u8]) -> io::Result<bool> {
        self.stat(name).map(|there| there.is_none())
    }

    /// The length of the regular file of this name; `None` if there is nothing, or anything else.
    pub fn file_len(&self, name: &[u8]) -> io::Result<Option<u64>> {
        let is_file = |stat: &Stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        Ok(self.stat(name)?.filter(is_file).and_then(|stat| u64::try_from(stat.st_size).ok()))
    }

    /// Opens a regular file for reading; `None` if nothing has this name.
    ///
    /// # Errors
    /// If it is anything else, or cannot be opened.
    pub fn open_file(&self, name: &[u8]) -> io::Result<Option<File>> {
        match open::unlinked_file_in(&self.folder, plain(name)?) {
            Ok(file) => Ok(Some(file)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Makes a file that must not be there yet, for nobody else to read until more is allowed.
    pub fn create(&self, name: &[u8]) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat(&self.folder, plain(name)?, flags, Mode::RUSR | Mode::WUSR)?.into())
    }

    /// Removes a name that is no folder's. A link goes itself, not what it leads to.
    pub fn remove(&self, name: &[u8]) -> io::Result<()> {
        Ok(unlinkat(&self.folder, plain(name)?, AtFlags::empty())?)
    }

    /// As [`remove`](Self::remove), where nothing may have the name.
    pub fn remove_if_there(&self, name: &[u8]) -> io::Result<()> {
        match self.remove(name) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    /// Removes an empty folder.
    pub fn remove_folder(&self, name: &[u8]) -> io::Result<()> {
        Ok(unlinkat(&self.folder, plain(name)?, AtFlags::REMOVEDIR)?)
    }

    /// Renames a file in it over another one there.
    pub fn replace(&self, name: &[u8], over: &[u8]) -> io::Result<()> {
        Ok(renameat(&self.folder, plain(name)?, &self.folder, plain(over)?)?)
    }

    /// Renames a file in it to a name that must not be taken.
    pub fn rename(&self, name: &[u8], to: &[u8]) -> io::Result<()> {
        rename_new((self.folder.as_fd(), name), (self.folder.as_fd(), to))
    }

    /// Gives a file in it a second name, which must not be taken.
    pub fn link(&self, name: &[u8], also: &[u8]) -> io::Result<()> {
        // Lets a test be on a file system without them. Does nothing in release builds.
        crate::fail_point!("store::linking", |_| Err(Errno::PERM.into()));
        Ok(linkat(&self.folder, plain(name)?, &self.folder, plain(also)?, AtFlags::empty())?)
    }

    /// Waits until what was changed in it is there for good.
    pub fn sync(&self) -> io::Result<()> {
        match fsync(&self.folder) {
            // Some file systems have nothing to wait for in a folder.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(()),
            synced => Ok(synced?),
        }
    }

    /// The names in it, so many at most, in no order.
    pub fn names(&self, most: usize) -> io::Result<Vec<Vec<u8>>> {
        let folder = openat(&self.folder, ".", DIRECTORY, Mode::empty())?;
        let mut buffer = [MaybeUninit::uninit(); 8 << 10];
        let (mut listing, mut names) = (RawDir::new(&folder, &mut buffer), Vec::new());
        let mut tries = Tries::default();
        while names.len() < most
            && let Some(entry) = listing.next()
        {
            let entry = match entry {
                Err(e) if tries.again(e) => continue,
                entry => entry?,
            };
            let name = entry.file_name().to_bytes().to_vec();
            if !matches!(&name[..], b"." | b"..") {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn path_of(&self, name: &[u8]) -> PathBuf {
        self.path.join(std::ffi::OsStr::from_bytes(name))
    }
}

impl AsFd for HeldFolder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }
}

/// Whether a file system has said that it knows no hard links.
pub(crate) fn knows_no_links(e: &io::Error) -> bool {
    let errno = e.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL))
}

/// Renames a file to a name that must not be taken, also where the file system cannot promise that by itself.
///
/// # Errors
/// [`ErrorKind::AlreadyExists`] if the name is taken; `EXDEV` for another file system. It then stands where it stood.
pub(crate) fn rename_new(from: (BorrowedFd<'_>, &[u8]), to: (BorrowedFd<'_>, &[u8])) -> io::Result<()> {
    let ((old, name), (new, wanted)) = ((from.0, plain(from.1)?), (to.0, plain(to.1)?));
    let has = |what: &str| {
        // Lets a test be on a file system without these. Does nothing in release builds.
        let _ = what;
        crate::fail_point!("store::renaming", |lacks| !lacks.unwrap_or_default().contains(what));
        true
    };
    let refused = || Err(Errno::INVAL);
    let renamed =
        if has("noreplace") { renameat_with(old, name, new, wanted, RenameFlags::NOREPLACE) } else { refused() };
    match renamed {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
        renamed => return Ok(renamed?),
    }
    let linked = if has("link") { linkat(old, name, new, wanted, AtFlags::empty()) } else { Err(Errno::PERM) };
    // Where the old name cannot go after all, the new one is taken back; what failed first is told.
    let take_back = |failed: &Errno| {
        let _ = (failed, unlinkat(new, wanted, AtFlags::empty()));
    };
    match linked {
        Ok(()) => return Ok(unlinkat(old, name, AtFlags::empty()).inspect_err(take_back)?),
        Err(e) if knows_no_links(&e.into()) => {}
        Err(e) => return Err(e.into()),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    drop(openat(new, wanted, flags, Mode::RUSR | Mode::WUSR)?);
    Ok(renameat(old, name, new, wanted).inspect_err(take_back)?)
}

/// A name that is one component of a path and leads nowhere else.
pub(crate) fn plain(name: &[u8]) -> io::Result<&[u8]> {
    if name.is_empty() || matches!(name, b"." | b"..") || name.iter().any(|b| matches!(b, b'/' | 0)) {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is no plain name"));
    }
    Ok(name)
}

/// Opens a name below a folder; a link is refused.
pub(crate) fn beneath(folder: impl AsFd, name: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
    let name = plain(name)?;
    let flags = flags | OFlags::NOFOLLOW;
    #[cfg(target_os = "linux")]
    if !NO_OPENAT2.load(Ordering::Relaxed) {
        use rustix::fs::ResolveFlags;

        use crate::calls::openat2;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match openat2(folder.as_fd(), name, flags, Mode::empty(), resolve) {
            // Unknown to an old kernel, or forbidden by a filter of system calls.
            Err(Errno::NOSYS | Errno::PERM) => NO_OPENAT2.store(true, Ordering::Relaxed),
            opened => return refused_link(folder, name, opened),
        }
    }
    // One component below an open folder: without following it, it cannot lead anywhere else.
    refused_link(&folder, name, openat(folder.as_fd(), name, flags, Mode::empty()))
}

/// Says of a link that it is one; asked for as a folder it is only said to be none.
fn refused_link(folder: impl AsFd, name: &[u8], opened: rustix::io::Result<OwnedFd>) -> io::Result<OwnedFd> {
    opened.map_err(|e| {
        let found = || statat(folder.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW);
        let is_link = || found().is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink);
        match e {
            Errno::LOOP => is_a_link(),
            Errno::NOTDIR if is_link() => is_a_link(),
            e => e.into(),
        }
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_not_followed_by_either_way_of_opening() {
        let folder = tempfile::tempdir().unwrap();
        let (outside, inside) = (folder.path().join("outside"), folder.path().join("inside"));
        std::fs::create_dir_all(outside.join("bucket")).unwrap();
        std::fs::create_dir_all(inside.join("real")).unwrap();
        symlink(outside.join("bucket"), inside.join("link")).unwrap();
        let dir = std::fs::File::open(&inside).unwrap();
        for fallback in [false, true] {
            NO_OPENAT2.store(fallback, Ordering::Relaxed);
            assert!(beneath(&dir, b"real", DIRECTORY).is_ok());
            let refused = beneath(&dir, b"link", DIRECTORY).unwrap_err().to_string();
            assert!(refused.starts_with("it is a link"), "{refused}");
            for name in [&b".."[..], b".", b"", b"../outside", b"real/x", b"a\0b"] {
                assert!(beneath(&dir, name, DIRECTORY).is_err(), "{name:?}");
            }
        }
        NO_OPENAT2.store(false, Ordering::Relaxed);
    }

    fn held(path: &Path) -> HeldFolder {
        HeldFolder::named(path).unwrap()
    }

    #[test]
    fn nothing_is_read_made_or_removed_behind_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(path("store")).unwrap();
        std::fs::create_dir_all(path("outside/empty")).unwrap();
        std::fs::write(path("outside/file"), "precious").unwrap();
        for (name, to) in [("folder", "../outside"), ("file", "../outside/file"), ("new", "../outside/new")] {
            symlink(to, path("store").join(name)).unwrap();
        }
        let store = held(&path("store"));
        assert!(store.folder(b"folder").is_err() && store.make_folder(b"folder").is_err());
        assert!(store.open_file(b"file").is_err() && store.file_len(b"file").unwrap().is_none());
        assert!(!store.is_free(b"new").unwrap() && store.create(b"new").is_err());
        assert!(store.remove_folder(b"folder").is_err() && store.remove_folder(b"folder/empty").is_err());
        store.remove(b"file").unwrap();
        std::fs::write(path("store/mine"), "mine").unwrap();
        store.replace(b"mine", b"new").unwrap();
        let left: Vec<_> = std::fs::read_dir(path("outside")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!((left.len(), std::fs::read_to_string(path("outside/file")).unwrap()), (2, "precious".to_owned()));
        assert_eq!(std::fs::read_to_string(path("store/new")).unwrap(), "mine");
    }

    #[test]
    fn a_folder_knows_what_it_lies_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(path("shares/aa")).unwrap();
        std::fs::create_dir_all(path("beside")).unwrap();
        symlink("shares/aa", path("link")).unwrap();
        let shares = held(&path("shares")).id().unwrap();
        assert!(held(&path("shares")).lies_in(shares).unwrap() && held(&path("link")).lies_in(shares).unwrap());
        assert!(!held(&path("beside")).lies_in(shares).unwrap() && !held(folder.path()).lies_in(shares).unwrap());
    }

    /// What a file system without these lacks is tried with one in tests/it; here the last way is taken by itself.
    #[test]
    fn a_name_that_is_taken_is_never_renamed_over() {
        let folder = tempfile::tempdir().unwrap();
        let store = held(folder.path());
        let scenario = fail::FailScenario::setup();
        for lacks in ["off", "return(noreplace)", "return(noreplace link)"] {
            fail::cfg("store::renaming", lacks).unwrap();
            std::fs::write(folder.path().join("one"), "one").unwrap();
            std::fs::write(folder.path().join("taken"), "taken").unwrap();
            let refused = store.rename(b"one", b"taken").unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::AlreadyExists, "{lacks}: {refused}");
            store.rename(b"one", b"other").unwrap();
            let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
            assert_eq!((read("taken"), read("other")), ("taken".to_owned(), "one".to_owned()), "{lacks}");
            store.remove(b"other").unwrap();
            let mut names = store.names(10).unwrap();
            names.sort();
            assert_eq!(names, [b"taken".to_vec()], "{lacks}");
        }
        scenario.teardown();
    }
}
