//! System calls on files, each tried again where the system could not do it just now: one that a signal interrupted (EINTR)
//! always, one that would have had to wait (EAGAIN: a lease on a file, a server that is busy) some times, for a few milliseconds,
//! and not beyond the slice under which this thread works.
//!
//! Whoever calls the system by its file functions does it through here. Locks stand apart: there EAGAIN means that somebody
//! holds it.

use std::cell::RefCell;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{
    self, AtFlags, Gid, Mode, OFlags, RenameFlags, SeekFrom, Stat, StatFs, StatVfs, Statx, StatxFlags, Uid,
};
use rustix::io::{Errno, Result};
use rustix::path::Arg;

/// How often what would have to wait is tried.
const MOST: u32 = 10;
/// How long it is left alone between two tries: all of them together take less than a slice.
const WAIT: Duration = Duration::from_millis(1);

thread_local! {
    /// Tells whether the slice under which this thread works is over.
    static IS_OVER: RefCell<Option<Box<dyn Fn() -> bool>>> = const { RefCell::new(None) };
}

/// Works on this thread, and has what would have to wait tried again only as long as this is not over.
pub(crate) fn while_lasts<R>(is_over: impl Fn() -> bool + 'static, work: impl FnOnce() -> R) -> R {
    /// Puts back what was there, also when the work panics.
    struct Before(Option<Box<dyn Fn() -> bool>>);
    impl Drop for Before {
        fn drop(&mut self) {
            IS_OVER.set(self.0.take());
        }
    }
    let _before = Before(IS_OVER.replace(Some(Box::new(is_over))));
    work()
}

fn is_over() -> bool {
    IS_OVER.with_borrow(|is_over| is_over.as_ref().is_some_and(|is_over| is_over()))
}

/// How often something was tried.
#[derive(Debug, Default)]
pub(crate) struct Tries(u32);

impl Tries {
    /// Whether what has failed with this is to be tried again, after a moment if that may help.
    pub fn again(&mut self, error: Errno) -> bool {
        match error {
            Errno::INTR => true,
            Errno::AGAIN if self.0 + 1 < MOST && !is_over() => {
                self.0 += 1;
                std::thread::sleep(WAIT);
                true
            }
            _ => false,
        }
    }
}

/// Tries until it succeeds, or fails for good.
pub(crate) fn patiently<T>(mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let mut tries = Tries::default();
    loop {
        match attempt() {
            Err(error) if tries.again(error) => {}
            done => return done,
        }
    }
}

/// Makes a function of the same name and arguments that is tried again; what it takes can be taken once more.
macro_rules! tried_again {
    ($($call:ident($($argument:ident: $kind:ty),*) -> $done:ty;)*) => {$(
        pub(crate) fn $call($($argument: $kind),*) -> Result<$done> {
            patiently(|| fs::$call($($argument),*))
        }
    )*};
}

tried_again! {
    open(path: impl Arg + Copy, flags: OFlags, mode: Mode) -> OwnedFd;
    openat(folder: impl AsFd + Copy, name: impl Arg + Copy, flags: OFlags, mode: Mode) -> OwnedFd;
    stat(path: impl Arg + Copy) -> Stat;
    statfs(path: impl Arg + Copy) -> StatFs;
    statvfs(path: impl Arg + Copy) -> StatVfs;
    statat(folder: impl AsFd + Copy, name: impl Arg + Copy, how: AtFlags) -> Stat;
    statx(folder: impl AsFd + Copy, name: impl Arg + Copy, how: AtFlags, asked: StatxFlags) -> Statx;
    fstat(file: impl AsFd + Copy) -> Stat;
    fstatfs(file: impl AsFd + Copy) -> StatFs;
    fstatvfs(file: impl AsFd + Copy) -> StatVfs;
    seek(file: impl AsFd + Copy, to: SeekFrom) -> u64;
    mkdirat(folder: impl AsFd + Copy, name: impl Arg + Copy, mode: Mode) -> ();
    unlinkat(folder: impl AsFd + Copy, name: impl Arg + Copy, how: AtFlags) -> ();
    linkat(
        from: impl AsFd + Copy, name: impl Arg + Copy, to: impl AsFd + Copy, also: impl Arg + Copy, how: AtFlags
    ) -> ();
    renameat(from: impl AsFd + Copy, name: impl Arg + Copy, to: impl AsFd + Copy, wanted: impl Arg + Copy) -> ();
    renameat_with(
        from: impl AsFd + Copy, name: impl Arg + Copy, to: impl AsFd + Copy, wanted: impl Arg + Copy, how: RenameFlags
    ) -> ();
    fchmod(file: impl AsFd + Copy, mode: Mode) -> ();
    fchown(file: impl AsFd + Copy, owner: Option<Uid>, group: Option<Gid>) -> ();
    ftruncate(file: impl AsFd + Copy, size: u64) -> ();
    fsync(file: impl AsFd + Copy) -> ();
    fdatasync(file: impl AsFd + Copy) -> ();
}

#[cfg(target_os = "linux")]
tried_again! {
    openat2(
        folder: impl AsFd + Copy, name: impl Arg + Copy, flags: OFlags, mode: Mode, resolve: fs::ResolveFlags
    ) -> OwnedFd;
}

/// Where the link leads that is held.
pub(crate) fn readlink(link: impl AsFd + Copy) -> Result<CString> {
    patiently(|| fs::readlinkat(link, "", Vec::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing(times: u32, with: Errno) -> (Result<u32>, u32) {
        let mut calls = 0;
        let done = patiently(|| {
            calls += 1;
            if calls <= times { Err(with) } else { Ok(calls) }
        });
        (done, calls)
    }

    #[test]
    fn what_was_interrupted_is_tried_until_it_is_done_and_what_would_wait_ten_times() {
        assert_eq!(failing(1000, Errno::INTR), (Ok(1001), 1001));
        assert_eq!(failing(9, Errno::AGAIN), (Ok(10), 10));
        assert_eq!(failing(1000, Errno::AGAIN), (Err(Errno::AGAIN), 10));
        assert_eq!(failing(1000, Errno::IO), (Err(Errno::IO), 1));
    }

    #[test]
    fn what_would_wait_is_not_tried_beyond_the_slice() {
        let left = std::cell::Cell::new(3);
        let is_over = move || left.replace(left.get() - 1) == 0;
        assert_eq!(while_lasts(is_over, || failing(1000, Errno::AGAIN)), (Err(Errno::AGAIN), 4));
        assert_eq!(while_lasts(|| true, || failing(1000, Errno::INTR)), (Ok(1001), 1001));
        let panicked = std::panic::catch_unwind(|| while_lasts(|| true, || panic!("in the middle")));
        assert!(panicked.is_err() && failing(1000, Errno::AGAIN).1 == 10, "it holds for that work alone");
    }
}
