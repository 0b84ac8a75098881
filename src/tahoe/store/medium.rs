//! The port through which a store is changed: five operations, each of which a test may let fail or crash.

use std::fmt::Debug;
use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::AtFlags;
use rustix::io::pwrite;

use crate::calls::{fdatasync, ftruncate, patiently, unlinkat};

/// Changes files. Whoever calls it has opened them safely; nothing here resolves more than one name.
pub trait Medium: Debug + Send + Sync + 'static {
    /// Writes all of `bytes` from offset `at` on.
    ///
    /// # Errors
    /// If not all could be written.
    fn write(&self, file: BorrowedFd<'_>, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Cuts the file to `size` bytes.
    ///
    /// # Errors
    /// If its size could not be set.
    fn truncate(&self, file: BorrowedFd<'_>, size: u64) -> io::Result<()>;

    /// Sees to it that what was written survives a loss of power.
    ///
    /// # Errors
    /// If the disk does not say so.
    fn sync(&self, file: BorrowedFd<'_>) -> io::Result<()>;

    /// Removes a name that is no directory's from a directory. A link goes itself, not what it leads to.
    ///
    /// # Errors
    /// If it is still there afterwards, or was not.
    fn unlink(&self, dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()>;

    /// Removes an empty directory from another one.
    ///
    /// # Errors
    /// If it is not empty, or could not be removed.
    fn remove_dir(&self, dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()>;
}

/// The file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk;

impl Medium for Disk {
    fn write(&self, file: BorrowedFd<'_>, bytes: &[u8], at: u64) -> io::Result<()> {
        around("write", || {
            crate::fail_point!("store::torn_write", |_| {
                // Half of it, as a write that crosses a page may end when the process is killed.
                let _ = write_all(file, &bytes[..bytes.len() / 2], at);
                std::process::abort()
            });
            write_all(file, bytes, at)
        })
    }

    fn truncate(&self, file: BorrowedFd<'_>, size: u64) -> io::Result<()> {
        around("truncate", || Ok(ftruncate(file, size)?))
    }

    fn sync(&self, file: BorrowedFd<'_>) -> io::Result<()> {
        around("sync", || Ok(fdatasync(file)?))
    }

    fn unlink(&self, dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
        around("unlink", || Ok(unlinkat(dir, name, AtFlags::empty())?))
    }

    fn remove_dir(&self, dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
        around("remove_dir", || Ok(unlinkat(dir, name, AtFlags::REMOVEDIR)?))
    }
}

fn write_all(file: BorrowedFd<'_>, bytes: &[u8], at: u64) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match patiently(|| pwrite(file, &bytes[done..], at.saturating_add(done as u64)))? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            n => done += n,
        }
    }
    Ok(())
}

/// Where a test can kill the process, before and after each operation. Does nothing in release builds.
fn around<R>(operation: &str, work: impl FnOnce() -> R) -> R {
    let _ = operation;
    crate::fail_point!(&format!("store::before_{operation}"), |_| std::process::abort());
    let result = work();
    crate::fail_point!(&format!("store::after_{operation}"), |_| std::process::abort());
    result
}
