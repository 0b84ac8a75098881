//! Where the bytes of an object come from while it is scrubbed: the [`Source`] trait, and files on a disk.

use std::io;

use super::direct::DirectWindow;
use super::file::{ObjectFile, Stamp};
use super::residency::Residency;

/// What is done with the caches between an object and its reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheUse {
    /// What is read may stay in them.
    Keep,
    /// What was not in them before is dropped after it was read.
    Spare,
    /// They are passed by, as far as possible: what is read comes from where the object is kept.
    Bypass,
}

/// The bytes of one object, opened for reading.
pub trait Source {
    /// The object's size in bytes, as it was when it was opened.
    fn size(&self) -> u64;

    /// What it was when it was opened.
    fn stamp(&self) -> Stamp;

    /// Whether it has been changed since it was opened.
    ///
    /// # Errors
    /// If that cannot be told.
    fn has_changed(&self) -> io::Result<bool>;

    /// Says what is done with caches. Called once, before anything is read. Default: there are none.
    fn use_caches(&mut self, how: CacheUse) {
        let _ = how;
    }

    /// Fills `buf` from this offset on and gives the number of bytes read; less than there is room for only at the object's end.
    ///
    /// # Errors
    /// If it cannot be read; kind `WouldBlock` if it cannot be read just now.
    fn read_at(&mut self, buf: &mut [u8], at: u64) -> io::Result<usize>;

    /// Nothing before this offset will be read again; nothing at all once it is the size. Default: ignored.
    fn is_done_up_to(&mut self, at: u64) {
        let _ = at;
    }
}

/// An object in memory, which never changes.
impl Source for &[u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn stamp(&self) -> Stamp {
        Stamp { device: 0, inode: 0, size: self.size(), modified_ns: 0, changed_ns: 0 }
    }

    fn has_changed(&self) -> io::Result<bool> {
        Ok(false)
    }

    fn read_at(&mut self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let rest = usize::try_from(at).ok().and_then(|at| self.get(at..)).unwrap_or_default();
        let len = buf.len().min(rest.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }
}

/// An object in a file.
#[derive(Debug)]
pub struct FileSource {
    file: ObjectFile,
    caches: Caches,
}

#[derive(Debug)]
enum Caches {
    Kept,
    Spared(Residency),
    Bypassed(DirectWindow),
}

impl From<ObjectFile> for FileSource {
    fn from(file: ObjectFile) -> FileSource {
        FileSource { file, caches: Caches::Kept }
    }
}

impl Source for FileSource {
    fn size(&self) -> u64 {
        self.file.size()
    }

    fn stamp(&self) -> Stamp {
        self.file.stamp()
    }

    fn has_changed(&self) -> io::Result<bool> {
        self.file.has_changed()
    }

    fn use_caches(&mut self, how: CacheUse) {
        self.caches = match how {
            CacheUse::Keep => Caches::Kept,
            CacheUse::Spare => Caches::Spared(Residency::of(&self.file, self.file.size())),
            CacheUse::Bypass => Caches::Bypassed(DirectWindow::of(&self.file, self.file.size())),
        };
    }

    fn read_at(&mut self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        match &mut self.caches {
            Caches::Kept | Caches::Spared(_) => self.file.read_at(buf, at),
            Caches::Bypassed(window) => window.read_at(&self.file, buf, at),
        }
    }

    fn is_done_up_to(&mut self, at: u64) {
        if let Caches::Spared(residency) = &mut self.caches {
            residency.drop_up_to(&self.file, at.min(self.file.size()));
        }
    }
}
