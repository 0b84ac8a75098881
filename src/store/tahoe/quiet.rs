//! Opening without a trace: reading must not change access times, or a read-only walk writes to the disk all the time.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::path::Arg;

#[cfg(target_os = "linux")]
const QUIET: OFlags = OFlags::NOATIME;
#[cfg(not(target_os = "linux"))]
const QUIET: OFlags = OFlags::empty();

/// Set once the system has refused: only a file's owner (or root) may read without a trace.
static REFUSED: AtomicBool = AtomicBool::new(false);

/// Opens a file or directory below `dir`, leaving its access time as it is where that is allowed.
pub(super) fn open_quietly(dir: impl AsFd, name: impl Arg + Copy, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    if !REFUSED.load(Ordering::Relaxed) {
        match openat(dir.as_fd(), name, flags | QUIET, Mode::empty()) {
            Err(Errno::PERM) => REFUSED.store(true, Ordering::Relaxed),
            other => return other,
        }
    }
    openat(dir.as_fd(), name, flags, Mode::empty())
}
