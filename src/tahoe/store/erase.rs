//! A bucket opened for changes: unlinking shares, rewriting their lease tables.
//!
//! Every path is resolved below `shares/` without following any link (see [`held`](crate::store::held)). What is changed through
//! the [`Medium`](super::Medium) is thus in the store, whatever stands in it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, OFlags};
use rustix::io::Errno;

use super::TahoeStore;
use super::turns::BucketLock;
use crate::calls::{patiently, statat};
use crate::store::held::{beneath, plain};
use crate::store::open::{self, DIRECTORY, OpenEntry, is_a_link};
use crate::store::{ObjectFile, Stamp, not_regular};
use crate::tahoe::cancel::Rewrite;
use crate::tahoe::number::ShareNumber;

/// A bucket that is to be changed.
#[derive(Debug)]
pub struct OpenedBucket<'s> {
    store: &'s TahoeStore,
    prefix: OwnedFd,
    bucket: OwnedFd,
    name: Vec<u8>,
    _turn: BucketLock,
}

/// What stands under a share's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoundShare {
    Nothing,
    /// A regular file.
    File(Stamp),
}

/// What became of a rewriting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rewritten {
    /// The table reads as it should, and is on the disk.
    Done,
    /// The file is another, or was changed by somebody else; it is as it was found.
    Changed,
    /// It was changed by somebody else while its table was half written, so that not all leases that stay can be told any
    /// more. It is as it was found: nobody could say what of it may be overwritten.
    Torn,
}

/// How a rewriting has failed.
#[derive(Debug)]
pub enum RewriteError {
    /// The table reads as before.
    AsBefore(io::Error),
    /// The table may be half written, or not be on the disk: it has to be done again.
    Between(io::Error),
}

impl TahoeStore {
    /// Opens a bucket for changes; `None` if it is not there any more. Waits while another thread of this process has it open
    /// for changes.
    ///
    /// # Errors
    /// If it cannot be opened without following a link, or at all; if nothing is changed in this store, see
    /// [`strange_link`](Self::strange_link).
    pub fn open_for_change(&self, prefix: &str, bucket: &[u8]) -> io::Result<Option<OpenedBucket<'_>>> {
        let name = bucket.to_vec();
        self.site.allow()?;
        let open = || -> io::Result<OpenedBucket<'_>> {
            let prefix = beneath(self.shares(), prefix.as_bytes(), DIRECTORY)?;
            let bucket = beneath(&prefix, bucket, DIRECTORY)?;
            let turn = BucketLock::at(&bucket)?;
            Ok(OpenedBucket { store: self, prefix, bucket, name, _turn: turn })
        };
        match open() {
            Ok(opened) => Ok(Some(opened)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Whether a share is known to read as before a rewriting. It is opened as a visit does it, through links and only to
    /// be read: that may go where a change may not.
    pub fn reads_as_before(&self, prefix: &str, share: (&[u8], &[u8]), stamp: &Stamp, rewrite: &Rewrite) -> bool {
        let open = || {
            let prefix = open::folder_in(self.shares(), prefix)?;
            let bucket = open::folder_in(&prefix.fd, share.0)?;
            ObjectFile::open_in(&bucket.fd, share.1)
        };
        reads_as_before(open(), stamp, rewrite)
    }
}

impl OpenedBucket<'_> {
    /// What stands under the name of a share now.
    ///
    /// # Errors
    /// If it is no regular file, or cannot be looked at.
    pub fn find(&self, share: &[u8]) -> io::Result<FoundShare> {
        let stat = match statat(&self.bucket, plain(share)?, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(FoundShare::Nothing),
            Err(e) => return Err(e.into()),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(FoundShare::File(Stamp::of(&stat))),
            FileType::Symlink => Err(is_a_link()),
            _ => Err(not_regular()),
        }
    }

    /// Opens a share to be read once more; `None` if it is gone.
    ///
    /// # Errors
    /// If it is no regular file, or cannot be opened.
    pub fn open(&self, share: &[u8]) -> io::Result<Option<ObjectFile>> {
        self.open_as(share, OFlags::RDONLY)
    }

    /// Removes a share.
    ///
    /// # Errors
    /// If it is still there, or was not.
    pub fn unlink(&self, share: &[u8]) -> io::Result<()> {
        self.store.medium.unlink(self.bucket.as_fd(), plain(share)?)
    }

    /// Rewrites a share's lease table in place: records, count, size. A table whose end moves is synced after each of them, so
    /// that it reads as before or as after also if the machine dies in between.
    ///
    /// A file that is neither as it was found (`stamp`) nor anywhere between the beginning and the end of this rewriting
    /// was changed by somebody else, and is left as it is. If it fails half-way, what was written is taken back.
    ///
    /// # Errors
    /// [`RewriteError`]. A file that has more names than one is refused: they would all change.
    pub fn rewrite(&self, share: &[u8], stamp: &Stamp, rewrite: &Rewrite) -> Result<Rewritten, RewriteError> {
        let file = match self.open_as(share, OFlags::RDWR) {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(Rewritten::Changed),
            Err(e) => {
                let read = ObjectFile::open_in(&self.bucket, share);
                let as_before = reads_as_before(read, stamp, rewrite);
                return Err(if as_before { RewriteError::AsBefore(e) } else { RewriteError::Between(e) });
            }
        };
        let found = file.stamp();
        let standing = RewriteStanding::of(&file, stamp, rewrite).map_err(RewriteError::Between)?;
        match standing {
            RewriteStanding::Before | RewriteStanding::Between => {}
            RewriteStanding::Torn => return Ok(Rewritten::Torn),
            RewriteStanding::Other => return Ok(Rewritten::Changed),
        }
        if file.links() > 1 {
            let why = format!("it has {} names (hard links), which would all be changed", file.links());
            let why = io::Error::other(why);
            return Err(if standing == RewriteStanding::Before {
                RewriteError::AsBefore(why)
            } else {
                RewriteError::Between(why)
            });
        }
        let written = self.write(&file, rewrite);
        if let Err(e) = written {
            // The size is set last, so what failed has not cut it.
            let back = || {
                rewrite.patches.iter().rev().try_for_each(|p| self.store.medium.write(file.as_fd(), &p.before, p.at))
            };
            let sync = || self.store.medium.sync(file.as_fd());
            // What is taken back has to survive a loss of power too, in whatever order it comes to the disk.
            let is_back = found.size == rewrite.size_before && back().and_then(|()| sync()).is_ok();
            return Err(if is_back { RewriteError::AsBefore(e) } else { RewriteError::Between(e) });
        }
        self.store.medium.sync(file.as_fd()).map_err(RewriteError::Between)?;
        Ok(Rewritten::Done)
    }

    fn write(&self, file: &ObjectFile, rewrite: &Rewrite) -> io::Result<()> {
        let (medium, fd) = (&self.store.medium, file.as_fd());
        let end_moves = rewrite.size_after != rewrite.size_before;
        for patch in &rewrite.patches {
            medium.write(fd, &patch.after, patch.at)?;
            if end_moves {
                medium.sync(fd)?;
            }
        }
        if end_moves { medium.truncate(fd, rewrite.size_after) } else { Ok(()) }
    }

    /// How many shares stand in it now.
    ///
    /// # Errors
    /// If it cannot be listed.
    pub fn count_shares(&self) -> io::Result<u64> {
        let mut shares = 0;
        for entry in patiently(|| Dir::read_from(&self.bucket))? {
            shares += u64::from(ShareNumber::parse(entry?.file_name().to_bytes()).is_some());
        }
        Ok(shares)
    }

    /// Removes the bucket's directory if it is empty; tells whether it is gone.
    ///
    /// # Errors
    /// If it is empty and cannot be removed.
    pub fn remove_if_empty(self) -> io::Result<bool> {
        match self.store.medium.remove_dir(self.prefix.as_fd(), plain(&self.name)?) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(false),
            Err(e) => Err(e),
        }
    }

    fn open_as(&self, share: &[u8], access: OFlags) -> io::Result<Option<ObjectFile>> {
        // Looked at first: to open a device already acts.
        if self.find(share)? == FoundShare::Nothing {
            return Ok(None);
        }
        // NONBLOCK: a pipe in a share's place must not stop the work. It changes nothing for regular files.
        let flags = access | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
        let file = match beneath(&self.bucket, share, flags) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        ObjectFile::of(OpenEntry { fd: file, followed_no_link: true })
            .map(|file| Some(self.store.disk_usage.of_share(file)))
    }
}

/// How a file stands to its rewriting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RewriteStanding {
    /// It reads as before.
    Before,
    /// Somewhere between begun and done: each byte that changes is as before or as after, and each that is to be cut off is
    /// as before, or cut off. So it is after a crash, whatever part of the writing has reached the disk.
    Between,
    /// Begun, and then changed by somebody else: no whole table, so nobody can tell its leases.
    Torn,
    /// It is another, or was changed by somebody else.
    Other,
}

impl RewriteStanding {
    fn of(file: &ObjectFile, stamp: &Stamp, rewrite: &Rewrite) -> io::Result<RewriteStanding> {
        let found = file.stamp();
        if found == *stamp {
            return Ok(RewriteStanding::Before);
        }
        // Device and inode are not asked for: a device has another number once it is mounted anew, and a copy is as good.
        // It is the bytes that tell, the leases' secrets among them.
        let sizes = [rewrite.size_before, rewrite.size_after];
        let (mut as_before, mut on_its_way) = (found.size == rewrite.size_before, sizes.contains(&found.size));
        let mut read = Vec::with_capacity(rewrite.patches.len());
        for patch in &rewrite.patches {
            let mut bytes = vec![0; patch.before.len()];
            let len = file.read_at(&mut bytes, patch.at)?;
            bytes.truncate(len);
            let after = patch.after.iter().map(Some).chain(std::iter::repeat(None));
            let mut states = bytes.iter().zip(patch.before.iter().zip(after));
            on_its_way &= states.all(|(byte, (before, after))| byte == before || Some(byte) == after);
            as_before &= bytes == patch.before;
            read.push(bytes);
        }
        // A share that was put in its place is no wreck of ours.
        let is_torn = || found.inode == stamp.inode && rewrite.is_torn(found.size, &read);
        Ok(match () {
            () if as_before => RewriteStanding::Before,
            () if on_its_way => RewriteStanding::Between,
            () if is_torn() => RewriteStanding::Torn,
            () => RewriteStanding::Other,
        })
    }
}

/// Whether a share that was opened to be read is known to be as before a rewriting.
fn reads_as_before(opened: io::Result<ObjectFile>, stamp: &Stamp, rewrite: &Rewrite) -> bool {
    opened
        .and_then(|file| RewriteStanding::of(&file, stamp, rewrite))
        .is_ok_and(|standing| standing == RewriteStanding::Before)
}
