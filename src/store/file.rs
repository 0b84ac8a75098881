//! One object in a file: the open file, what it was when it was opened, and its bytes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Stat};
use rustix::io::{Errno, pread};
use rustix::path::Arg;
use serde::{Deserialize, Serialize};

use super::cause::not_regular;
use super::open::{self, OpenEntry};
use crate::calls::{Tries, fstat};

/// An open object.
#[derive(Debug)]
pub struct ObjectFile {
    file: OwnedFd,
    size: u64,
    disk_bytes: u64,
    links: u64,
    stamp: Stamp,
    followed_no_link: bool,
}

/// What tells a file from another, and from itself before a change: as long as it is the same, so are its contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    #[serde(rename = "dev")]
    pub device: u64,
    #[serde(rename = "ino")]
    pub inode: u64,
    /// The size, in bytes.
    pub size: u64,
    /// When its bytes were changed last, in nanoseconds since 1970.
    #[serde(rename = "mtime")]
    pub modified_ns: i64,
    /// When anything of it was changed last, in nanoseconds since 1970.
    #[serde(rename = "ctime")]
    pub changed_ns: i64,
}

impl Stamp {
    pub(crate) fn of(stat: &Stat) -> Stamp {
        // Nanoseconds since 1970 fit until 2262.
        let ns = |secs: i64, nanos: i64| secs.saturating_mul(1_000_000_000).saturating_add(nanos);
        Stamp {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified_ns: ns(stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or(0)),
            changed_ns: ns(stat.st_ctime, i64::try_from(stat.st_ctime_nsec).unwrap_or(0)),
        }
    }

    /// When it was touched last in either way, in seconds since 1970.
    pub fn touched_unix(&self) -> f64 {
        self.modified_ns.max(self.changed_ns) as f64 / 1e9
    }
}

impl ObjectFile {
    /// Opens a file at a path, for reading, as [`open_in`](Self::open_in) does.
    ///
    /// # Errors
    /// Those of opening; kind `IsADirectory` for a folder.
    pub fn open(path: &Path) -> io::Result<ObjectFile> {
        ObjectFile::open_in(CWD, path)
    }

    /// Opens a file of this name in a folder, for reading. A link is followed. What is not a regular file is refused, and not
    /// even opened.
    ///
    /// # Errors
    /// Those of opening; kind `IsADirectory` for a folder.
    pub fn open_in(folder: impl AsFd, name: impl Arg + Copy) -> io::Result<ObjectFile> {
        ObjectFile::open_listed(folder, name, FileType::Unknown)
    }

    /// Opens what a folder lists as `listed`: a regular file is opened at once, anything else is looked at first.
    pub(crate) fn open_listed(folder: impl AsFd, name: impl Arg + Copy, listed: FileType) -> io::Result<ObjectFile> {
        ObjectFile::of(open::file_in(folder, name, listed)?)
    }

    /// Takes a file that was opened; what is no regular one is refused.
    pub(crate) fn of(OpenEntry { fd: file, followed_no_link }: OpenEntry) -> io::Result<ObjectFile> {
        let stat = fstat(&file)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => return Err(Errno::ISDIR.into()),
            _ => return Err(not_regular()),
        }
        let stamp = Stamp::of(&stat);
        // Of another width on other systems.
        #[allow(clippy::useless_conversion)]
        let links = u64::try_from(stat.st_nlink).unwrap_or(u64::MAX);
        // Units of 512 bytes, whatever the block size of the file system.
        let disk_bytes = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512);
        Ok(ObjectFile { file, size: stamp.size, disk_bytes, links, stamp, followed_no_link })
    }

    /// What it was when it was opened.
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// How many names it has.
    pub fn links(&self) -> u64 {
        self.links
    }

    /// Whether it was seen that no link was followed to open it.
    pub(crate) fn followed_no_link(&self) -> bool {
        self.followed_no_link
    }

    /// Whether it has been changed since it was opened.
    ///
    /// # Errors
    /// If the system does not say.
    pub fn has_changed(&self) -> io::Result<bool> {
        // An open file stays the same, whatever number a file system gives it meanwhile.
        let Stamp { size, modified_ns, changed_ns, .. } = Stamp::of(&fstat(&self.file)?);
        Ok((size, modified_ns, changed_ns) != (self.stamp.size, self.stamp.modified_ns, self.stamp.changed_ns))
    }

    /// The size of the file, in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Its disk usage, in bytes: the blocks that the file system has allotted.
    pub fn disk_bytes(&self) -> u64 {
        self.disk_bytes
    }

    /// Has other disk usage told of it, where it is counted in another way.
    pub(crate) fn with_disk_bytes(self, disk_bytes: u64) -> ObjectFile {
        ObjectFile { disk_bytes, ..self }
    }

    /// Fills `buf` from this offset on, as far as the file goes, and gives the number of bytes read.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        // A disk that fails, or memory that does. Does nothing in release builds.
        crate::fail_point!("store::read", |how| {
            if how.as_deref() == Some("fails") {
                return Err(Errno::IO.into());
            }
            if how.as_deref() == Some("waits") {
                return Err(Errno::AGAIN.into());
            }
            let len = self.fill(buf, offset)?;
            buf[..len].iter_mut().skip(len / 2).take(1).for_each(|byte| *byte ^= 4);
            Ok(len)
        });
        self.fill(buf, offset)
    }

    fn fill(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let (mut done, mut tries) = (0, Tries::default());
        while done < buf.len() {
            let at = offset.saturating_add(done as u64);
            match pread(&self.file, &mut buf[done..], at) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if tries.again(e) => {}
                Err(e) => return Err(e.into()),
            }
            // The end as `fstat` told it: saves asking for more once it is reached.
            if offset.saturating_add(done as u64) >= self.size {
                break;
            }
        }
        Ok(done)
    }
}

impl AsFd for ObjectFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
