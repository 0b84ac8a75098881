//! When one call has listed a directory to its end, so that a second one, which would find nothing, can be saved.
//!
//! A listing ends when a call gives nothing more, so even a bucket with one share takes two. On ext4 the first one tells:
//! the position behind the last name is then the end of the directory, at which ext4 gives nothing whatever happens.
//! (`ext4_dx_readdir` of Linux begins with that test. The position is not the end if a block could not be read.)

use std::os::fd::AsFd;

use rustix::fs::RawDirEntry;

use crate::calls::fstatfs;

/// ext4, and its forerunners, which use the same number.
const EXT4_MAGIC: u64 = 0xef53;

/// The position of the end, for programs of 64 bits (`EXT4_HTREE_EOF_64BIT`).
const EXT4_END: u64 = i64::MAX as u64;

/// Whether the ends of listings can be told in a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    /// By ext4's position.
    Told,
    /// Only by a call that gives nothing.
    Unknown,
}

impl Ends {
    /// What is known of the file system that an open directory stands on.
    pub fn on(dir: impl AsFd) -> Ends {
        if fstatfs(dir.as_fd()).is_ok_and(|fs| fs.f_type as u64 == EXT4_MAGIC) { Ends::Told } else { Ends::Unknown }
    }

    /// Whether nothing can follow the last entry of a buffer.
    pub fn at(self, last: &RawDirEntry<'_>) -> bool {
        self == Ends::Told && last.next_entry_cookie() == EXT4_END
    }
}
