//! One share: an open file with its size and disk usage.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, OFlags, SeekFrom, Stat, fstat, seek};
use rustix::io::{Errno, pread};

use super::quiet::open_quietly;
use super::residency::Residency;
use super::{DirectShare, DiskUsage, FileId};
use crate::tahoe::table::ReadAt;

/// An open share.
#[derive(Debug)]
pub struct ShareFile {
    pub(super) file: OwnedFd,
    size: u64,
    disk_bytes: u64,
    stamp: Stamp,
}

/// Which file it is and when it was changed: as long as this is the same, so are its contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    file: FileId,
    size: i64,
    /// Seconds and nanoseconds of the last change of the contents, and of anything.
    changed: [(i64, i64); 2],
}

impl Stamp {
    pub(super) fn of(stat: &Stat) -> Stamp {
        // Wider or narrower on some systems.
        #[allow(clippy::unnecessary_cast)]
        let changed =
            [(stat.st_mtime as i64, stat.st_mtime_nsec as i64), (stat.st_ctime as i64, stat.st_ctime_nsec as i64)];
        Stamp { file: FileId::of(stat), size: stat.st_size, changed }
    }
}

impl ShareFile {
    pub(super) fn open(bucket: impl AsFd, name: &[u8], disk_usage: DiskUsage) -> io::Result<ShareFile> {
        // NONBLOCK: a pipe in a share's place must not stop the walk. It changes nothing for regular files.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = open_quietly(bucket, name, flags)?;
        let stat = fstat(&file)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => return Err(Errno::ISDIR.into()),
            _ => return Err(io::Error::other("it is no regular file")),
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        Ok(ShareFile { file, size, disk_bytes: disk_usage.of_file(&stat), stamp: Stamp::of(&stat) })
    }

    /// Which file it is and when it was changed, as it was when it was opened.
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Whether it has been changed since it was opened.
    ///
    /// # Errors
    /// If the system does not say.
    pub fn has_changed(&self) -> io::Result<bool> {
        Ok(Stamp::of(&fstat(&self.file)?) != self.stamp)
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

impl ReadAt for ShareFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            let at = offset.saturating_add(done as u64);
            match pread(&self.file, &mut buf[done..], at) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
            // The end as `fstat` told it: saves asking for more once it is reached.
            if offset.saturating_add(done as u64) >= self.size {
                break;
            }
        }
        Ok(done)
    }

    fn has_offset(&self, offset: u64) -> bool {
        seek(&self.file, SeekFrom::Start(offset)).is_ok()
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
