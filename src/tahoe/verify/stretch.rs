//! A share being read for quarantine, stretch by stretch: holes are passed over, and what is written is as sparse as what is read.
//!
//! Its hash is of what it holds, not of how it lies on the disk: SHA-256 over each block of 4,096 bytes that is not all zeros (the
//! last one may be shorter), with its offset before it as eight bytes, big-endian, and the size of the share behind all of them. So a
//! hole of any length costs nothing, and a copy on another file system has the same hash.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use ring::digest::{Context, SHA256};
use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::calls::seek;

/// A block that is hashed, and written unless it is all zeros, as a whole.
pub(super) const BLOCK_LEN: u64 = 4096;

/// A file being read.
pub(super) struct Stretches {
    from: File,
    at: u64,
    size: u64,
    hash: Context,
}

/// What a step has come to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HashProgress {
    /// There may be more.
    More,
    /// All was read; this is its hash.
    End(String),
}

impl std::fmt::Debug for Stretches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stretches").field("at", &self.at).field("size", &self.size).finish_non_exhaustive()
    }
}

impl Stretches {
    /// Begins to read a file of this size.
    pub fn of(from: File, size: u64) -> Stretches {
        Stretches { from, at: 0, size, hash: Context::new(&SHA256) }
    }

    /// The file that is read.
    pub fn file(&self) -> &File {
        &self.from
    }

    /// Reads a buffer full at most, which has a block at least. Gives each run of blocks that are not all zeros, with its offset.
    pub fn step(
        &mut self,
        buffer: &mut [u8],
        mut take: impl FnMut(&[u8], u64) -> io::Result<()>,
    ) -> io::Result<HashProgress> {
        let Some(data) = self.next_data()? else { return Ok(HashProgress::End(self.end())) };
        let len = (data.end - data.start).min(buffer.len() as u64 / BLOCK_LEN * BLOCK_LEN);
        // It is no longer than the buffer.
        let bytes = &mut buffer[..usize::try_from(len).unwrap_or(0)];
        if bytes.is_empty() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.from.read_exact_at(bytes, data.start)?;
        let mut run: Option<Range<usize>> = None;
        let mut from = 0;
        for block in bytes.chunks(BLOCK_LEN as usize) {
            if block.iter().all(|byte| *byte == 0) {
                if let Some(run) = run.take() {
                    take(&bytes[run.clone()], data.start + run.start as u64)?;
                }
            } else {
                self.hash.update(&(data.start + from as u64).to_be_bytes());
                self.hash.update(block);
                run = Some(run.map_or(from, |run| run.start)..from + block.len());
            }
            from += block.len();
        }
        if let Some(run) = run {
            take(&bytes[run.clone()], data.start + run.start as u64)?;
        }
        self.at = data.start + len;
        Ok(HashProgress::More)
    }

    fn end(&mut self) -> String {
        let mut hash = std::mem::replace(&mut self.hash, Context::new(&SHA256));
        hash.update(&self.size.to_be_bytes());
        hash.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The next stretch that is no hole, from one block to another; none behind the last.
    fn next_data(&self) -> io::Result<Option<Range<u64>>> {
        if self.at >= self.size {
            return Ok(None);
        }
        let start = match seek(&self.from, SeekFrom::Data(self.at)) {
            Ok(start) => start / BLOCK_LEN * BLOCK_LEN,
            // Nothing but a hole up to the end.
            Err(Errno::NXIO) => return Ok(None),
            // A file system that knows no holes.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some(self.at..self.size)),
            Err(e) => return Err(e.into()),
        };
        let start = start.max(self.at);
        let end = seek(&self.from, SeekFrom::Hole(start)).unwrap_or(self.size).max(start + 1);
        let end = end.checked_next_multiple_of(BLOCK_LEN).unwrap_or(u64::MAX).min(self.size);
        Ok((start < end).then_some(start..end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tahoe::hash::HASH_LEN;

    fn read(file: &File, buffer_len: usize) -> (Vec<(u64, Vec<u8>)>, String) {
        let size = file.metadata().unwrap().len();
        let mut stretches = Stretches::of(file.try_clone().unwrap(), size);
        let (mut runs, mut buffer) = (Vec::new(), vec![0xee; buffer_len]);
        loop {
            let step = stretches.step(&mut buffer, |bytes, at| {
                runs.push((at, bytes.to_vec()));
                Ok(())
            });
            if let HashProgress::End(hash) = step.unwrap() {
                return (runs, hash);
            }
        }
    }

    #[test]
    fn what_is_read_is_what_is_there_and_the_hash_knows_neither_holes_nor_buffers() {
        let folder = tempfile::tempdir().unwrap();
        let (sparse, dense) = (folder.path().join("sparse"), folder.path().join("dense"));
        let mut bytes = vec![0; 3_000_001];
        for (at, len) in [(0, 5000), (8192, 4096), (1_000_000, 70_000), (2_999_999, 2)] {
            bytes[at..at + len].iter_mut().enumerate().for_each(|(i, byte)| *byte = (i % 250 + 1) as u8);
        }
        std::fs::write(&dense, &bytes).unwrap();
        let file = File::create_new(&sparse).unwrap();
        file.set_len(bytes.len() as u64).unwrap();
        for (at, block) in bytes.chunks(4096).enumerate().filter(|(_, block)| block.iter().any(|byte| *byte != 0)) {
            file.write_all_at(block, at as u64 * 4096).unwrap();
        }
        let mut hashes = Vec::new();
        for path in [sparse, dense] {
            for buffer_len in [4096, 5000, 65_536, 1 << 20] {
                let (runs, hash) = read(&File::open(&path).unwrap(), buffer_len);
                let mut found = vec![0; bytes.len()];
                runs.iter().for_each(|(at, run)| found[*at as usize..][..run.len()].copy_from_slice(run));
                assert!(found == bytes, "{buffer_len}");
                let written: usize = runs.iter().map(|(_, run)| run.len()).sum();
                assert!(written < 100_000, "{written}");
                hashes.push(hash);
            }
        }
        hashes.dedup();
        assert_eq!((hashes.len(), hashes[0].len()), (1, 2 * HASH_LEN));
    }

    #[test]
    fn shares_that_differ_have_different_hashes() {
        let folder = tempfile::tempdir().unwrap();
        let hash = |bytes: &[u8], size: u64| {
            let path = folder.path().join("share");
            std::fs::write(&path, bytes).unwrap();
            File::options().write(true).open(&path).unwrap().set_len(size).unwrap();
            read(&File::open(&path).unwrap(), 65_536).1
        };
        let (block, mut two) = ([7; 4096], vec![0; 4096]);
        two.extend_from_slice(&block);
        let mut hashes = vec![
            hash(b"", 0),
            hash(b"", 1),
            hash(b"", 1 << 40),
            hash(&block, 4096),
            hash(&block, 8192),
            hash(&two, 8192),
            hash(&block[1..], 4095),
        ];
        hashes.sort();
        hashes.dedup();
        assert_eq!(hashes.len(), 7);
    }
}
