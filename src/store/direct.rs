//! Reading a file past the page cache: from the disk itself, as far as the system lets one.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{Advice, OFlags, fadvise, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, pread};

use crate::calls::Tries;

/// What offsets, lengths and memory are multiples of; enough for every disk.
const ALIGNMENT: usize = 4096;

/// Bytes that are read at once, at most.
const WINDOW_MOST: usize = 256 << 10;

/// The stretch of a file that was read last past the page cache, in aligned memory of its own.
#[derive(Debug)]
pub(crate) struct DirectWindow {
    memory: Vec<u8>,
    /// Bytes that are read at once: no more than the file has, rounded up.
    window: usize,
    /// Where the stretch begins in the file, and how many bytes it has.
    from: u64,
    len: usize,
}

impl DirectWindow {
    /// Drops the file from the page cache and has it read around it. Where the file system cannot do the one or the
    /// other, what is read may still be the cache's. `size`: bytes of the file.
    pub fn of(file: impl AsFd, size: u64) -> DirectWindow {
        // Only clean pages go; an object that is being written is read anew anyhow.
        let _ = fadvise(&file, 0, None, Advice::DontNeed);
        // Refused by file systems that know no direct reading.
        let _ = fcntl_getfl(&file).and_then(|flags| fcntl_setfl(&file, flags | direct()));
        let size = usize::try_from(size).unwrap_or(usize::MAX).clamp(1, WINDOW_MOST);
        let window = size.next_multiple_of(ALIGNMENT);
        DirectWindow { memory: vec![0; window + ALIGNMENT], window, from: 0, len: 0 }
    }

    /// Fills `buf` from this offset on, as far as the file goes.
    pub fn read_at(&mut self, file: impl AsFd, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            let at = offset.saturating_add(done as u64);
            let behind = at.checked_sub(self.from).and_then(|skip| usize::try_from(skip).ok());
            let Some(skip) = behind.filter(|skip| *skip < self.len) else {
                self.fill(&file, at)?;
                if at.saturating_sub(self.from) >= self.len as u64 {
                    break;
                }
                continue;
            };
            let start = self.memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT) + skip;
            let len = (self.len - skip).min(buf.len() - done);
            buf[done..done + len].copy_from_slice(&self.memory[start..start + len]);
            done += len;
        }
        Ok(done)
    }

    fn fill(&mut self, file: &impl AsFd, at: u64) -> io::Result<()> {
        let from = at - at % ALIGNMENT as u64;
        let start = self.memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        let memory = &mut self.memory[start..start + self.window];
        self.len = 0;
        let mut tries = Tries::default();
        loop {
            match pread(file, &mut *memory, from) {
                Ok(len) => {
                    (self.from, self.len) = (from, len);
                    return Ok(());
                }
                Err(e) if tries.again(e) => {}
                // Accepted when it was asked for, refused when it comes to it.
                Err(Errno::INVAL) if fcntl_getfl(file)?.contains(direct()) => {
                    fcntl_setfl(file, fcntl_getfl(file)? & !direct())?;
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

#[cfg(test)]
mod tests {
    use crate::store::{CacheUse, FileSource, ObjectFile, Source};

    #[test]
    fn past_the_cache_stands_what_was_written() {
        let folder = tempfile::tempdir_in(std::env::current_exe().unwrap().parent().unwrap()).unwrap();
        let bytes: Vec<u8> = (0..700_001u32).map(|i| (i % 251) as u8).collect();
        std::fs::write(folder.path().join("0"), &bytes).unwrap();
        let mut object = FileSource::from(ObjectFile::open(&folder.path().join("0")).unwrap());
        object.use_caches(CacheUse::Bypass);
        let mut buf = vec![0; 300_000];
        for (at, len) in
            [(0, 10), (1, 300_000), (699_990, 11), (699_990, 100), (700_001, 5), (4095, 2), (0, 1), (1 << 40, 1)]
        {
            let read = object.read_at(&mut buf[..len], at).unwrap();
            let expected = bytes.get(at as usize..).unwrap_or_default();
            let expected = &expected[..expected.len().min(len)];
            assert_eq!(&buf[..read], expected, "{len} bytes at {at}");
        }
        assert!(!object.has_changed().unwrap());
    }
}
