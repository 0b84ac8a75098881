//! One bucket: its disk usage, and the names in it that Tahoe's lease checker takes for shares, in byte order.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::{AtFlags, CWD, FileType, RawDir};

use super::ends::Ends;
use super::listing::LISTING_LEN;
use super::node::{NodeSign, running_node};
use super::{DiskUsage, FileId, ShareFile, Site, TahoePrefix, is_dot, stops_tahoe};
use crate::calls::{Tries, fstat, statat};
use crate::shown;
use crate::store::{HeldFolder, name_stray, open};
use crate::tahoe::number::ShareNumber;

/// An open bucket of a [`TahoeStore`](super::TahoeStore).
#[derive(Debug)]
pub struct TahoeBucket<'a> {
    prefix: &'a TahoePrefix,
    name: &'a [u8],
    dir: OwnedFd,
    disk_usage: DiskUsage,
    ends: Ends,
    /// The names of the shares, end to end, once they were [listed](Self::list).
    text: Vec<u8>,
    shares: Vec<ShareEntry>,
    no_share: u64,
    /// The first of the names that are not.
    strays: BTreeSet<Vec<u8>>,
}

/// A name in a bucket that is taken for a share.
#[derive(Debug, Clone, Copy)]
pub struct ShareEntry {
    at: usize,
    len: usize,
    number: ShareNumber,
    /// What the listing says that it is.
    listed: FileType,
}

impl ShareEntry {
    /// The share's number, as its name says.
    pub fn number(&self) -> ShareNumber {
        self.number
    }
}

impl<'a> TahoeBucket<'a> {
    pub(super) fn open(
        prefix: &'a TahoePrefix,
        name: &'a [u8],
        disk_usage: DiskUsage,
        ends: Ends,
    ) -> io::Result<TahoeBucket<'a>> {
        let dir = open::folder_in(&prefix.dir, name)?;
        let (text, shares) = (Vec::new(), Vec::new());
        let strays = BTreeSet::new();
        Ok(TahoeBucket { prefix, name, dir, disk_usage, ends, text, shares, no_share: 0, strays })
    }

    /// Lists the shares, all at once.
    ///
    /// # Errors
    /// If the bucket cannot be listed.
    pub fn list(&mut self) -> io::Result<()> {
        self.try_to_list().map_err(|e| stops_tahoe(&e))
    }

    fn try_to_list(&mut self) -> io::Result<()> {
        self.text.clear();
        self.shares.clear();
        self.no_share = 0;
        self.strays.clear();
        let mut buf = [MaybeUninit::uninit(); LISTING_LEN];
        let mut listing = RawDir::new(&self.dir, &mut buf);
        let mut tries = Tries::default();
        while let Some(entry) = listing.next() {
            let entry = match entry {
                Err(e) if tries.again(e) => continue,
                entry => entry?,
            };
            let name = entry.file_name().to_bytes();
            if !is_dot(name) {
                match ShareNumber::parse(name) {
                    Some(number) => {
                        let (at, len, listed) = (self.text.len(), name.len(), entry.file_type());
                        self.shares.push(ShareEntry { at, len, number, listed });
                        self.text.extend_from_slice(name);
                    }
                    None => {
                        self.no_share += 1;
                        name_stray(&mut self.strays, name);
                    }
                }
            }
            if self.ends.at(&entry) {
                break;
            }
        }
        let text = &self.text;
        self.shares.sort_unstable_by(|a, b| text[a.at..a.at + a.len].cmp(&text[b.at..b.at + b.len]));
        Ok(())
    }

    pub(super) fn dir_fd(&self) -> &OwnedFd {
        &self.dir
    }

    pub(super) fn ends(&self) -> Ends {
        self.ends
    }

    /// The bucket's name: the storage index, if it is a valid one.
    pub fn name(&self) -> &[u8] {
        self.name
    }

    /// The name of its prefix.
    pub fn prefix(&self) -> &[u8] {
        &self.prefix.prefix
    }

    /// The bucket's name as text for people; what is no text of one line is escaped.
    pub fn storage_index(&self) -> String {
        shown::name(self.name)
    }

    /// Disk usage of the directory itself, in bytes, as it is now. Costs a system call.
    ///
    /// # Errors
    /// If the file system cannot tell.
    pub fn disk_bytes(&self) -> io::Result<u64> {
        Ok(self.disk_usage.of_directory(&fstat(&self.dir)?))
    }

    /// The shares, in byte order of their names; none before they were [listed](Self::list).
    pub fn shares(&self) -> &[ShareEntry] {
        &self.shares
    }

    /// How many names are not taken for shares.
    pub fn no_share(&self) -> u64 {
        self.no_share
    }

    /// The paths of the first of them, in byte order.
    pub fn strays(&self) -> impl Iterator<Item = PathBuf> {
        self.strays.iter().map(|name| self.path_of(name))
    }

    /// A share's name.
    pub fn share_name(&self, share: &ShareEntry) -> &[u8] {
        self.text.get(share.at..share.at + share.len).unwrap_or_default()
    }

    /// Which folder it is.
    pub(crate) fn id(&self) -> io::Result<FileId> {
        Ok(FileId::of(&fstat(&self.dir)?))
    }

    /// The path of the bucket.
    pub fn path(&self) -> PathBuf {
        self.prefix.path.join(OsStr::from_bytes(self.name))
    }

    /// The path of a share.
    pub fn share_path(&self, share: &ShareEntry) -> PathBuf {
        self.path_of(self.share_name(share))
    }

    /// The path of a share by its name.
    pub(crate) fn path_of(&self, name: &[u8]) -> PathBuf {
        self.path().join(OsStr::from_bytes(name))
    }

    /// The store that it is in, for what is written there.
    pub(crate) fn site(&self) -> &Site {
        &self.prefix.site
    }

    /// The bucket once more, for what is changed in it.
    ///
    /// # Errors
    /// If it was reached through a link, or was moved away, or nothing is changed in this store.
    pub(crate) fn for_change(&self) -> io::Result<HeldFolder> {
        let bucket = self.site().shares()?.folder(self.prefix())?.folder(self.name)?;
        if bucket.id()? != self.id()? {
            return Err(io::Error::other("another bucket stands in its place"));
        }
        Ok(bucket)
    }

    /// Whether the bucket was reached through a link: then nothing in it is ever changed. Costs two system calls.
    pub fn is_behind_link(&self) -> bool {
        is_link(CWD, self.prefix.path.as_os_str().as_bytes()) || is_link(self.prefix.dir.as_fd(), self.name)
    }

    /// Why the node of its store must be taken to be running, if so; see [`running_node`](super::running_node).
    pub fn running_node(&self) -> Option<NodeSign> {
        running_node(&self.prefix.site.given)
    }

    /// Whether a share is a link, which is never followed to change anything. Costs a system call.
    pub fn is_link(&self, share: &ShareEntry) -> bool {
        is_link(self.dir.as_fd(), self.share_name(share))
    }

    /// Whether the share of this name is a link. Costs a system call.
    pub(crate) fn is_link_named(&self, name: &[u8]) -> bool {
        is_link(self.dir.as_fd(), name)
    }

    /// As [`open_share`](Self::open_share), by its name and by what a listing says that it is.
    pub(crate) fn open_named(&self, name: &[u8], listed: FileType) -> io::Result<ShareFile> {
        ShareFile::open(&self.dir, name, listed, self.disk_usage)
    }

    /// Opens a share for reading. A link is followed; what is no regular file is refused, and not even opened.
    ///
    /// # Errors
    /// Whatever kept it from being opened; kind `IsADirectory` for a directory.
    pub fn open_share(&self, share: &ShareEntry) -> io::Result<ShareFile> {
        ShareFile::open(&self.dir, self.share_name(share), share.listed, self.disk_usage)
    }
}

/// What has gone is none.
fn is_link(dir: BorrowedFd<'_>, name: &[u8]) -> bool {
    statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
}
