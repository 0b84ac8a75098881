//! The page cache: what of a file stands in it already, and dropping what only a check has brought there.
//!
//! The cache belongs to the store's users. A crawl that reads every byte would throw out what they read; so whatever was not
//! there before is dropped again when it was read.

use std::os::fd::{AsFd, AsRawFd};

use rustix::fs::{Advice, fadvise};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

/// Parts of a file that are told apart, at most.
const PARTS_MOST: u64 = 4096;

/// The least length of a part, in bytes.
const PART_LEAST: u64 = 256 << 10;

/// Dropping goes on after so many bytes were read, so that a large file never stands in the cache as a whole.
const DROP_AFTER: u64 = 4 << 20;

/// What of a file was in the page cache before it was read.
#[derive(Debug)]
pub(crate) struct Residency {
    size: u64,
    part_len: u64,
    /// For each part, whether any of it was there; empty where nothing was.
    there: Vec<bool>,
    all_there: bool,
    dropped: u64,
}

impl Residency {
    /// Looks at a file that nothing was read of yet.
    pub fn of(file: impl AsFd, size: u64) -> Residency {
        let part_len = PART_LEAST.max(size.div_ceil(PARTS_MOST));
        let mut residency = Residency { size, part_len, there: Vec::new(), all_there: false, dropped: 0 };
        let pages = size.div_ceil(4096);
        match cached_pages(&file, 0, size) {
            Some(0) => {}
            Some(cached) if cached >= pages => residency.all_there = true,
            known => {
                let parts = (0..size.div_ceil(part_len)).map(|part| part * part_len);
                residency.there = match known {
                    Some(_) => parts.map(|at| cached_pages(&file, at, part_len) != Some(0)).collect(),
                    None => probe(&file, parts),
                };
            }
        }
        residency
    }

    /// Drops what was read up to `read` and was not there before; all that is left when `read` is the file's size.
    pub fn drop_up_to(&mut self, file: impl AsFd, read: u64) {
        let is_end = read >= self.size;
        if self.all_there || (!is_end && read.saturating_sub(self.dropped) < DROP_AFTER) {
            return;
        }
        if is_end {
            // Once more from the start: a page that was in the middle of its stretch is at the end of none now.
            self.dropped = 0;
        }
        while self.dropped < read {
            // A run of parts at once: one call for most files.
            let was_there = |at: u64| self.there.get((at / self.part_len) as usize).copied().unwrap_or(false);
            let (from, there) = (self.dropped, was_there(self.dropped));
            let mut end = from;
            while end < read && was_there(end) == there {
                end = (end / self.part_len + 1).saturating_mul(self.part_len);
            }
            self.dropped = end.min(read);
            // The whole of the last page too, and what was read ahead of it.
            let len = if is_end && self.dropped >= self.size { 0 } else { self.dropped - from };
            if !there {
                // A hint: where it is refused the pages stay until they are old.
                let _ = fadvise(&file, from, std::num::NonZeroU64::new(len), Advice::DontNeed);
            }
        }
    }
}

/// How many pages of a stretch are in the page cache; `None` where the system cannot tell (Linux before 6.5).
#[cfg(target_os = "linux")]
fn cached_pages(file: &impl AsFd, at: u64, len: u64) -> Option<u64> {
    #[repr(C)]
    struct CacheRange {
        off: u64,
        len: u64,
    }
    #[repr(C)]
    #[derive(Default)]
    struct Stat {
        cache: u64,
        dirty: u64,
        writeback: u64,
        evicted: u64,
        recently_evicted: u64,
    }
    /// The same on every architecture.
    const CACHESTAT: libc::c_long = 451;
    let (range, mut stat) = (CacheRange { off: at, len }, Stat::default());
    // SAFETY: the kernel reads one `CacheRange` and writes one `Stat`, both of which live here and are laid out as its own
    // structures; the descriptor is borrowed for the length of the call.
    let done = unsafe { libc::syscall(CACHESTAT, file.as_fd().as_raw_fd(), &raw const range, &raw mut stat, 0u32) };
    (done == 0).then_some(stat.cache)
}

#[cfg(not(target_os = "linux"))]
fn cached_pages(_: &impl AsFd, _: u64, _: u64) -> Option<u64> {
    None
}

/// Whether the first byte of each part is there, by reading it without waiting for the disk.
fn probe(file: &impl AsFd, parts: impl Iterator<Item = u64>) -> Vec<bool> {
    // So that looking for one page does not bring in its neighbours.
    let _ = fadvise(file, 0, None, Advice::Random);
    let looked = parts.map(|at| {
        let mut byte = [0];
        let read = preadv2(file, &mut [std::io::IoSliceMut::new(&mut byte)], at, ReadWriteFlags::NOWAIT);
        // Where it cannot be told, what is there stays there.
        !matches!(read, Err(Errno::AGAIN))
    });
    let there = looked.collect();
    let _ = fadvise(file, 0, None, Advice::Normal);
    there
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Write};

    const SIZE: u64 = 6 << 20;

    fn file() -> (tempfile::TempDir, File) {
        // Not in memory only, where dropping does nothing: beside the program that runs.
        let folder = tempfile::tempdir_in(std::env::current_exe().unwrap().parent().unwrap()).unwrap();
        let mut file = File::create(folder.path().join("object")).unwrap();
        file.write_all(&vec![7; SIZE as usize]).unwrap();
        file.sync_all().unwrap();
        let file = File::open(folder.path().join("object")).unwrap();
        (folder, file)
    }

    #[test]
    fn only_what_was_not_there_is_dropped() {
        let (_folder, mut file) = file();
        let Some(pages) = cached_pages(&file, 0, SIZE) else { return };
        assert!(pages > 0, "it was written just now");
        // All of it is there: it stays.
        let mut residency = Residency::of(&file, SIZE);
        residency.drop_up_to(&file, SIZE);
        assert_eq!(cached_pages(&file, 0, SIZE), Some(pages));
        // Nothing is there: all goes.
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        if cached_pages(&file, 0, SIZE) != Some(0) {
            // A file system that keeps everything in memory.
            return;
        }
        let mut residency = Residency::of(&file, SIZE);
        std::io::copy(&mut file, &mut std::io::sink()).unwrap();
        assert!(cached_pages(&file, 0, SIZE) > Some(0));
        residency.drop_up_to(&file, SIZE);
        assert_eq!(cached_pages(&file, 0, SIZE), Some(0));
        // The first part was there: it alone stays.
        fadvise(&file, 0, None, Advice::Random).unwrap();
        std::os::unix::fs::FileExt::read_at(&file, &mut [0; 4096], 0).unwrap();
        let before = cached_pages(&file, 0, PART_LEAST);
        let mut residency = Residency::of(&file, SIZE);
        std::io::Seek::rewind(&mut file).unwrap();
        let mut all = Vec::new();
        file.read_to_end(&mut all).unwrap();
        (0..=SIZE).step_by(100_000).chain([SIZE]).for_each(|read| residency.drop_up_to(&file, read));
        assert!(before > Some(0) && cached_pages(&file, 0, PART_LEAST) >= before);
        // Pages are kept together in twos and fours and more, which stay as a whole.
        assert_eq!(cached_pages(&file, 4 << 20, SIZE), Some(0));
    }

    #[test]
    fn probing_finds_what_is_there() {
        let (_folder, file) = file();
        assert_eq!(probe(&file, [0, PART_LEAST].into_iter()), [true, true]);
    }
}
