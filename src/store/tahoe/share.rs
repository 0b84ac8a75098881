//! One share: an open file with its size and disk usage.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, OFlags, SeekFrom, Stat, fstat, seek};
use rustix::io::{Errno, pread};

use super::DiskUsage;
use super::quiet::open_quietly;
use crate::tahoe::table::ReadAt;

/// An open share.
#[derive(Debug)]
pub struct ShareFile {
    file: OwnedFd,
    size: u64,
    disk_bytes: u64,
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
        Ok(ShareFile { file, size, disk_bytes: disk_usage.of_file(&stat) })
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
