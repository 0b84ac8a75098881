//! One share: an open file with its size and disk usage.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, SeekFrom, Stat};
use rustix::io::{Errno, pread};
use serde::{Deserialize, Serialize};

use super::residency::Residency;
use super::{DirectShare, DiskUsage};
use crate::calls::{Tries, fstat, seek};
use crate::store::open;
use crate::tahoe::table::ReadAt;

/// An open share.
#[derive(Debug)]
pub struct ShareFile {
    pub(super) file: OwnedFd,
    size: u64,
    disk_bytes: u64,
    links: u64,
    stamp: Stamp,
}

/// What tells a file from another, and from itself before a change: as long as it is the same, so are its contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// The device.
    #[serde(rename = "dev")]
    pub device: u64,
    /// The inode.
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

impl ShareFile {
    /// Opens what a bucket lists as `listed`.
    pub(super) fn open(
        bucket: impl AsFd,
        name: &[u8],
        listed: FileType,
        disk_usage: DiskUsage,
    ) -> io::Result<ShareFile> {
        ShareFile::from_fd(open::file_in(bucket, name, listed)?, disk_usage)
    }

    /// Takes a file that was opened; what is no regular one is refused.
    pub(super) fn from_fd(file: OwnedFd, disk_usage: DiskUsage) -> io::Result<ShareFile> {
        let stat = fstat(&file)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => return Err(Errno::ISDIR.into()),
            _ => return Err(io::Error::other("it is no regular file")),
        }
        let stamp = Stamp::of(&stat);
        // Of another width on other systems.
        #[allow(clippy::useless_conversion)]
        let links = u64::try_from(stat.st_nlink).unwrap_or(u64::MAX);
        Ok(ShareFile { file, size: stamp.size, disk_bytes: disk_usage.of_file(&stat), links, stamp })
    }

    /// What it was when it was opened.
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// How many names it has.
    pub fn links(&self) -> u64 {
        self.links
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

    /// What of it stands in the page cache; ask before anything is read.
    pub fn residency(&self) -> Residency {
        Residency::of(&self.file, self.size)
    }

    /// Drops from the page cache what was read up to here and was not there before.
    pub fn drop_from_cache(&self, residency: &mut Residency, read: u64) {
        residency.drop_up_to(&self.file, read.min(self.size));
    }

    /// From here on it is read past the page cache, as far as the system lets one.
    pub fn past_the_cache(self) -> DirectShare {
        DirectShare::new(self)
    }

    /// The size of the file, in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Its disk usage, in bytes.
    pub fn disk_bytes(&self) -> u64 {
        self.disk_bytes
    }
}

impl AsFd for ShareFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl ReadAt for ShareFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
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

    fn has_offset(&self, offset: u64) -> bool {
        seek(&self.file, SeekFrom::Start(offset)).is_ok()
    }
}

impl ShareFile {
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

impl DiskUsage {
    /// Disk usage of a directory, in bytes.
    pub(super) fn of_directory(self, stat: &Stat) -> u64 {
        match self {
            DiskUsage::Blocks => blocks(stat),
            DiskUsage::Rounded4096 => 4096,
        }
    }

    /// Disk usage of a file, in bytes.
    fn of_file(self, stat: &Stat) -> u64 {
        match self {
            DiskUsage::Blocks => blocks(stat),
            DiskUsage::Rounded4096 => {
                let size = u64::try_from(stat.st_size).unwrap_or(0);
                size.checked_next_multiple_of(4096).unwrap_or(u64::MAX)
            }
        }
    }
}

/// `st_blocks` counts units of 512 bytes, whatever the block size of the file system.
fn blocks(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512)
}
