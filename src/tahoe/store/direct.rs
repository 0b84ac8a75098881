//! Reading a share past the page cache: from the disk itself, as far as the system lets one.

use std::cell::RefCell;
use std::io;

use rustix::fs::{Advice, OFlags, fadvise, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, pread};

use super::ShareFile;
use crate::calls::Tries;
use crate::tahoe::table::ReadAt;

/// What offsets, lengths and memory are multiples of; enough for every disk.
const ALIGNMENT: usize = 4096;

/// Bytes that are read at once.
const WINDOW: usize = 256 << 10;

/// A share that is read past the page cache.
#[derive(Debug)]
pub struct DirectShare {
    share: ShareFile,
    /// Memory of its own, aligned, with the stretch of the file that stands in it.
    window: RefCell<Window>,
}

#[derive(Debug)]
struct Window {
    memory: Vec<u8>,
    /// Where the stretch begins in the file, and how many bytes it has.
    from: u64,
    len: usize,
}

impl DirectShare {
    /// Drops the share from the page cache and has it read around it. Where the file system cannot do the one or the
    /// other, what is read may still be the cache's.
    pub(super) fn new(share: ShareFile) -> DirectShare {
        // Only clean pages go; a share that is being written is read anew anyhow.
        let _ = fadvise(&share.file, 0, None, Advice::DontNeed);
        // Refused by file systems that know no direct reading.
        let _ = fcntl_getfl(&share.file).and_then(|flags| fcntl_setfl(&share.file, flags | direct()));
        let window = Window { memory: vec![0; WINDOW + ALIGNMENT], from: 0, len: 0 };
        DirectShare { share, window: RefCell::new(window) }
    }

    /// The share itself.
    pub fn into_share(self) -> ShareFile {
        self.share
    }

    fn fill(&self, window: &mut Window, at: u64) -> io::Result<()> {
        let from = at - at % ALIGNMENT as u64;
        let start = window.memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        let memory = &mut window.memory[start..start + WINDOW];
        window.len = 0;
        let mut tries = Tries::default();
        loop {
            match pread(&self.share.file, &mut *memory, from) {
                Ok(len) => {
                    (window.from, window.len) = (from, len);
                    return Ok(());
                }
                Err(e) if tries.again(e) => {}
                // Accepted when it was asked for, refused when it comes to it.
                Err(Errno::INVAL) if fcntl_getfl(&self.share.file)?.contains(direct()) => {
                    fcntl_setfl(&self.share.file, fcntl_getfl(&self.share.file)? & !direct())?;
                }
                Err(e) => return Err(e.into()),
            }
        }
    }
}

#[cfg(target_os = "linux")]
fn direct() -> OFlags {
    OFlags::DIRECT
}

#[cfg(not(target_os = "linux"))]
fn direct() -> OFlags {
    OFlags::empty()
}

impl ReadAt for DirectShare {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut window = self.window.borrow_mut();
        let mut done = 0;
        while done < buf.len() {
            let at = offset.saturating_add(done as u64);
            let behind = at.checked_sub(window.from).and_then(|skip| usize::try_from(skip).ok());
            let Some(skip) = behind.filter(|skip| *skip < window.len) else {
                self.fill(&mut window, at)?;
                if at.saturating_sub(window.from) >= window.len as u64 {
                    break;
                }
                continue;
            };
            let start = window.memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT) + skip;
            let len = (window.len - skip).min(buf.len() - done);
            buf[done..done + len].copy_from_slice(&window.memory[start..start + len]);
            done += len;
        }
        Ok(done)
    }

    fn has_offset(&self, offset: u64) -> bool {
        self.share.has_offset(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use crate::tahoe::TahoeStore;

    #[test]
    fn past_the_cache_stands_what_was_written() {
        let folder = tempfile::tempdir_in(std::env::current_exe().unwrap().parent().unwrap()).unwrap();
        let index = "aababababababababababababa";
        let bucket = folder.path().join("shares/aa").join(index);
        std::fs::create_dir_all(&bucket).unwrap();
        let bytes: Vec<u8> = (0..700_001u32).map(|i| (i % 251) as u8).collect();
        std::fs::write(bucket.join("0"), &bytes).unwrap();
        let store = TahoeStore::open(folder.path()).unwrap();
        let prefix = store.open_prefix("aa").unwrap().unwrap();
        let bucket = store.open_bucket(&prefix, index.as_bytes()).unwrap();
        let mut listing = crate::tahoe::store::ShareListing::new();
        listing.read(&bucket).unwrap();
        let share = listing.next(&bucket).unwrap().unwrap();
        let share = bucket.open_share(&share).unwrap().past_the_cache();
        let mut buf = vec![0; 300_000];
        for (at, len) in
            [(0, 10), (1, 300_000), (699_990, 11), (699_990, 100), (700_001, 5), (4095, 2), (0, 1), (1 << 40, 1)]
        {
            let read = share.read_at(&mut buf[..len], at).unwrap();
            let expected = bytes.get(at as usize..).unwrap_or_default();
            let expected = &expected[..expected.len().min(len)];
            assert_eq!(&buf[..read], expected, "{len} bytes at {at}");
        }
        assert!(!share.into_share().has_changed().unwrap());
    }
}
