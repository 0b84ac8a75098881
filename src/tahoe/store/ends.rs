//! When one call has listed a directory to its end, so that a second one, which would find nothing, can be saved.
//!
//! A listing ends when a call gives nothing more, so even a bucket with one share takes two. On some file systems the first one
//! tells: the position behind the last name is then the end of the directory, at which they give nothing whatever happens.
//! (In Linux, `ext4_dx_readdir` and, for tmpfs, `offset_readdir` begin with that test. On ext4 the position is not the end if a
//! block could not be read. Before Linux 6.11 a tmpfs folder reached this position after two thousand million names were made in it.)

use std::os::fd::AsFd;

use rustix::fs::RawDirEntry;

use crate::calls::fstatfs;

/// ext4, and its forerunners, which use the same number.
const EXT4_MAGIC: u64 = 0xef53;

/// The position of the end, for programs of 64 bits (`EXT4_HTREE_EOF_64BIT`).
const EXT4_END: u64 = i64::MAX as u64;

const TMPFS_MAGIC: u64 = 0x0102_1994;

/// Likewise (`DIR_OFFSET_EOD`).
const TMPFS_END: u64 = i32::MAX as u64;

/// By which position the end of a listing can be told in a store, if it can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ListingEnd(Option<u64>);

impl ListingEnd {
    /// What is known of the file system that an open directory stands on.
    pub fn on(dir: impl AsFd) -> ListingEnd {
        ListingEnd(match fstatfs(dir.as_fd()).map(|fs| fs.f_type as u64) {
            Ok(EXT4_MAGIC) => Some(EXT4_END),
            Ok(TMPFS_MAGIC) => Some(TMPFS_END),
            Ok(_) | Err(_) => None,
        })
    }

    /// Whether nothing can follow the last entry of a buffer.
    pub fn at(self, last: &RawDirEntry<'_>) -> bool {
        self.0 == Some(last.next_entry_cookie())
    }
}
