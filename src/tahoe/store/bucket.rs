//! One bucket: its disk usage, and its shares by their names.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::{AtFlags, CWD};

use super::ends::ListingEnd;
use super::listing::ShareEntry;
use super::node::{NodeSign, running_node};
use super::{DiskUsage, FileId, Site, TahoePrefix};
use crate::calls::{fstat, statat};
use crate::shown;
use crate::store::open::{self, OpenEntry, is_link};
use crate::store::{HeldFolder, ObjectFile};

/// An open bucket of a [`TahoeStore`](super::TahoeStore).
#[derive(Debug)]
pub struct TahoeBucket<'a> {
    prefix: &'a TahoePrefix,
    name: &'a [u8],
    dir: OpenEntry,
    disk_usage: DiskUsage,
    ends: ListingEnd,
}

impl<'a> TahoeBucket<'a> {
    pub(super) fn open(
        prefix: &'a TahoePrefix,
        name: &'a [u8],
        disk_usage: DiskUsage,
        ends: ListingEnd,
    ) -> io::Result<TahoeBucket<'a>> {
        let dir = open::folder_in(&prefix.dir.fd, name)?;
        Ok(TahoeBucket { prefix, name, dir, disk_usage, ends })
    }

    pub(super) fn dir_fd(&self) -> &OwnedFd {
        &self.dir.fd
    }

    pub(super) fn ends(&self) -> ListingEnd {
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
        Ok(self.disk_usage.of_directory(&fstat(&self.dir.fd)?))
    }

    /// Which folder it is.
    pub(crate) fn id(&self) -> io::Result<FileId> {
        Ok(FileId::of(&fstat(&self.dir.fd)?))
    }

    /// The path of the bucket.
    pub fn path(&self) -> PathBuf {
        self.prefix.path.join(OsStr::from_bytes(self.name))
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

    /// Whether the bucket was reached through a link: then nothing in it is ever changed.
    pub fn is_behind_link(&self) -> bool {
        let TahoePrefix { dir, path, .. } = self.prefix;
        dir.is_behind_link(CWD, &**path) || self.dir.is_behind_link(&dir.fd, self.name)
    }

    /// Why the node of its store must be taken to be running, if so; see [`running_node`](super::running_node).
    pub fn running_node(&self) -> Option<NodeSign> {
        running_node(&self.prefix.site.given)
    }

    /// Whether the share of this name is a link, which is never followed to change anything. Costs a system call.
    pub(crate) fn is_link_named(&self, name: &[u8]) -> bool {
        is_link(&self.dir.fd, name)
    }

    /// Whether anything has this name. Costs a system call.
    pub(crate) fn has(&self, name: &[u8]) -> bool {
        statat(&self.dir.fd, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Opens a share for reading. A link is followed; what is no regular file is refused, and not even opened.
    ///
    /// # Errors
    /// Whatever kept it from being opened; kind `IsADirectory` for a directory.
    pub fn open_share(&self, share: &ShareEntry) -> io::Result<ObjectFile> {
        let opened = ObjectFile::open_listed(&self.dir.fd, share.name(), share.listed())?;
        Ok(self.disk_usage.of_share(opened))
    }
}
