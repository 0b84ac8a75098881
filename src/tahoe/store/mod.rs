//! A Tahoe-LAFS share store as a [`Store`]: 1,024 prefixes, buckets, shares.
//!
//! Thin: it opens directories and files relative to handles that it holds, and tells what a name is. What is deleted or
//! rewritten goes through [`OpenedBucket`] and nowhere else. Two stores at one path do not get mixed up: the folder `shares/` is opened once, and a
//! prefix that is missing counts as empty only as long as that folder still stands where it was.

mod bucket;
mod ends;
mod erase;
mod listing;
mod medium;
mod node;
mod presence;
mod site;
mod sole;
mod turns;

use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, RawDir, Stat};
use rustix::io::Errno;

pub use bucket::TahoeBucket;
use ends::ListingEnd;
pub use erase::{FoundShare, OpenedBucket, RewriteError, Rewritten};
pub use listing::{ShareEntry, ShareListing};
pub use medium::{Disk, Medium};
pub use node::{NodeShows, NodeSign, running_node};
use presence::{Presence, StoreAccess};
pub(crate) use site::Site;

use crate::calls::{Tries, fstat, statat};
use crate::error::{Error, Result};
use crate::policy::ring::Ring;
use crate::store::held::FileId;
use crate::store::open::{self, OpenEntry};
use crate::store::{ErrorCause, More, Names, Nature, ObjectFile, Store, Strays, explained};
use crate::tahoe::{STOPS_TAHOE, names};

/// Bytes of names that are read at once: some 2,700 names of buckets.
const LISTING_LEN: usize = 128 * 1024;

/// Where a node keeps shares that are still being uploaded, beside the prefixes: every node has it.
const INCOMING: &[u8] = b"incoming";

/// What counts as the disk usage of a directory or share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DiskUsage {
    /// The blocks that the file system has allotted, as Tahoe does.
    #[default]
    Blocks,
    /// 4,096 bytes for a directory, a share's size rounded up to 4,096: the same on every file system, for comparing
    /// results.
    Rounded4096,
}

impl DiskUsage {
    /// Disk usage of a directory, in bytes.
    fn of_directory(self, stat: &Stat) -> u64 {
        match self {
            // Units of 512 bytes, whatever the block size of the file system.
            DiskUsage::Blocks => u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512),
            DiskUsage::Rounded4096 => 4096,
        }
    }

    /// A share, with its disk usage in bytes.
    fn of_share(self, share: ObjectFile) -> ObjectFile {
        match self {
            DiskUsage::Blocks => share,
            DiskUsage::Rounded4096 => {
                let rounded = share.size().checked_next_multiple_of(4096).unwrap_or(u64::MAX);
                share.with_disk_bytes(rounded)
            }
        }
    }
}

/// A share store in the format of Tahoe-LAFS 1.20.0.
#[derive(Debug)]
pub struct TahoeStore {
    site: Arc<Site>,
    root: PathBuf,
    shares_path: PathBuf,
    identity: FileId,
    presence: Presence,
    ends: ListingEnd,
    ring: Ring,
    disk_usage: DiskUsage,
    medium: Arc<dyn Medium>,
    /// Held where this process alone may change it.
    sole: Option<Arc<OwnedFd>>,
}

/// An open prefix of a [`TahoeStore`].
#[derive(Debug)]
pub struct TahoePrefix {
    dir: OpenEntry,
    path: Arc<Path>,
    prefix: Box<[u8]>,
    site: Arc<Site>,
}

impl TahoeStore {
    /// Opens the store in `root`, the folder that holds `shares/`: `storage` in a node's base directory.
    ///
    /// # Errors
    /// [`Error::Config`] if it is not there, or there is no `shares/` in it, with what to give instead where that can be told;
    /// [`Error::Store`] if it cannot be opened.
    pub fn open(root: impl AsRef<Path>) -> Result<TahoeStore> {
        let given = root.as_ref();
        let failed = |path: &Path, e: io::Error| Error::Store {
            doing: "open store",
            path: path.to_path_buf(),
            cause: e.to_string(),
        };
        let root = given.canonicalize().map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => Error::Config(failed(given, e).to_string()),
            _ => failed(given, e),
        })?;
        let shares_path = root.join("shares");
        if !shares_path.is_dir() && is_absent(&shares_path) {
            return Err(Error::Config(no_shares(given, &root)));
        }
        let open = || -> io::Result<_> {
            let site = Site::open(given, &root)?;
            let shares = site.shares_for_reading()?;
            let stat = fstat(&shares)?;
            Ok((Arc::new(site), shares, stat))
        };
        let (site, shares, stat) = open().map_err(|e| failed(&shares_path, e))?;
        let (identity, ends, disk_usage) = (FileId::of(&stat), ListingEnd::on(&shares), DiskUsage::default());
        let (ring, medium) = (names::prefixes(), Arc::new(Disk));
        let presence = Presence::new(shares, identity);
        Ok(TahoeStore { site, root, shares_path, identity, presence, ends, ring, disk_usage, medium, sole: None })
    }

    /// Sets what changes go through. Default: [`Disk`].
    pub fn with_medium(mut self, medium: Arc<dyn Medium>) -> TahoeStore {
        self.medium = medium;
        self
    }

    /// Sets what counts as disk usage. Default: [`DiskUsage::Blocks`].
    pub fn with_disk_usage(mut self, disk_usage: DiskUsage) -> TahoeStore {
        self.disk_usage = disk_usage;
        self
    }

    /// Narrows the ring to these prefixes; names that are none are left out. What stands beside them is no stray.
    pub fn only_prefixes<'a>(mut self, wanted: impl IntoIterator<Item = &'a str>) -> TahoeStore {
        let all = names::prefixes();
        let wanted = wanted.into_iter().filter(|name| all.position(name).is_some());
        self.ring = Ring::new(wanted.map(str::to_owned));
        self
    }

    /// Why nothing is changed in the store, if so: a link on the way to `shares/` belongs neither to root, nor to this user, nor
    /// to the owner of the folder that it leads to. Who may write where such a link stands could lead it to any other store.
    pub fn strange_link(&self) -> Option<&str> {
        self.site.strange_link.as_deref()
    }

    /// Fails if [nothing is changed](Self::strange_link) in the store.
    ///
    /// # Errors
    /// [`Error::Config`] with the link.
    pub fn changeable(self) -> Result<TahoeStore> {
        match &self.site.strange_link {
            Some(why) => Err(Error::Config(why.clone())),
            None => Ok(self),
        }
    }

    /// The folder `shares/`, open for reading.
    fn shares(&self) -> Arc<OwnedFd> {
        self.presence.held()
    }

    /// Whether there is nothing of this name in `shares/`, not even a link.
    fn is_absent(&self, prefix: &str) -> bool {
        matches!(statat(&self.shares(), prefix, AtFlags::SYMLINK_NOFOLLOW), Err(Errno::NOENT))
    }

    /// Fails if the folder `shares/` is gone, or another stands in its place.
    fn check_still_there(&self) -> io::Result<()> {
        let access = if self.sole.is_some() { StoreAccess::Changing } else { StoreAccess::Reading };
        self.presence.check(&self.shares_path, access)
    }
}

fn is_absent(path: &Path) -> bool {
    std::fs::symlink_metadata(path)
        .is_err_and(|e| matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory))
}

/// Says what is wrong with a root that has no `shares/`, and what to give instead. The folder shares itself may be a
/// link, so it is known by the name that was given as well.
fn no_shares(given: &Path, root: &Path) -> String {
    let shown = root.display();
    for path in [given, root] {
        if path.file_name() == Some(OsStr::new("shares"))
            && let Some(parent) =
                path.parent().map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent })
        {
            let (shares, parent) = (path.display(), parent.display());
            return format!("{shares} is the folder shares itself; give the folder that holds it: {parent}");
        }
    }
    if root.join("storage/shares").is_dir() {
        return format!("{shown} holds no folder shares; it seems to be a node's base directory: give {shown}/storage");
    }
    format!(
        "{shown} is no Tahoe share store: it holds no folder shares; give the folder that does, which is storage in \
         the base directory of a Tahoe node"
    )
}

impl Store for TahoeStore {
    type Prefix = TahoePrefix;
    type Bucket<'a> = TahoeBucket<'a>;

    fn identity(&self) -> String {
        self.root.to_string_lossy().into_owned()
    }

    fn ring(&self) -> &Ring {
        &self.ring
    }

    fn still_there(&self) -> io::Result<()> {
        self.check_still_there()
    }

    fn strays(&self) -> io::Result<Strays> {
        self.check_still_there()?;
        let dir = open::folder_in(self.shares(), c".")?.fd;
        let mut buf = [MaybeUninit::uninit(); 32 * 1024];
        let mut listing = RawDir::new(&dir, &mut buf);
        // Prefixes that this crawl leaves out are prefixes all the same.
        let (all, mut strays, mut prefixes) = (names::prefixes(), Strays::default(), 0u64);
        let mut tries = Tries::default();
        while let Some(entry) = listing.next() {
            let entry = match entry {
                Err(e) if tries.again(e) => continue,
                entry => entry?,
            };
            let name = entry.file_name().to_bytes();
            let in_ring = std::str::from_utf8(name).is_ok_and(|name| all.position(name).is_some());
            if in_ring {
                prefixes += 1;
            } else if !is_dot(name) && name != INCOMING {
                strays.push(name);
            }
        }
        strays.no_prefix = strays.count > 0 && prefixes == 0;
        Ok(strays)
    }

    fn open_prefix(&self, prefix: &str) -> io::Result<Option<TahoePrefix>> {
        let opened = open::folder_in(self.shares(), prefix);
        // Checked after the opening: what was opened before it belongs to the store that is there now.
        self.check_still_there()?;
        let dir = match opened {
            Ok(dir) => dir,
            // A link to nothing is there, but cannot be listed.
            Err(e) if e.kind() == io::ErrorKind::NotFound && self.is_absent(prefix) => {
                return Ok(None);
            }
            Err(e) => return Err(e),
        };
        let path = self.shares_path.join(prefix).into();
        Ok(Some(TahoePrefix { dir, path, prefix: prefix.as_bytes().into(), site: self.site.clone() }))
    }

    fn read_names(&self, prefix: &mut TahoePrefix, names: &mut Names) -> io::Result<More> {
        let mut buf = [MaybeUninit::uninit(); LISTING_LEN];
        let mut listing = RawDir::new(&prefix.dir.fd, &mut buf);
        let mut more = More::No;
        let mut tries = Tries::default();
        while let Some(entry) = listing.next() {
            let entry = match entry {
                Err(e) if tries.again(e) => continue,
                entry => entry?,
            };
            let name = entry.file_name().to_bytes();
            if !is_dot(name) {
                names.push(name, prefix.nature(name, entry.file_type()));
            }
            if listing.is_buffer_empty() {
                more = More::Maybe;
                break;
            }
        }
        names.end_chunk();
        Ok(more)
    }

    fn open_bucket<'a>(&self, prefix: &'a TahoePrefix, name: &'a [u8]) -> io::Result<TahoeBucket<'a>> {
        TahoeBucket::open(prefix, name, self.disk_usage, self.ends).map_err(|e| stops_tahoe(&e))
    }

    fn path(&self, prefix: &str, bucket: Option<&[u8]>) -> PathBuf {
        let mut path = self.shares_path.join(prefix);
        if let Some(bucket) = bucket {
            path.push(OsStr::from_bytes(bucket));
        }
        path
    }
}

impl TahoePrefix {
    /// Tells a bucket from a stray. Only a link costs a system call.
    fn nature(&self, name: &[u8], file_type: FileType) -> Nature {
        let directory = match file_type {
            FileType::Directory | FileType::Unknown => true,
            FileType::Symlink => statat(&self.dir.fd, name, AtFlags::empty())
                .is_ok_and(|target| FileType::from_raw_mode(target.st_mode) == FileType::Directory),
            _ => false,
        };
        if directory && name.starts_with(&self.prefix) && names::is_storage_index(name) {
            Nature::Bucket
        } else {
            Nature::Stray
        }
    }
}

/// Words the failure to open a bucket, which Tahoe's crawler does not survive.
fn stops_tahoe(e: &io::Error) -> io::Error {
    let (cause, what) = match e.kind() {
        io::ErrorKind::NotADirectory => {
            (ErrorCause::NotDirectory, "it stands where a bucket belongs, but is no directory".to_owned())
        }
        io::ErrorKind::NotFound => (ErrorCause::DanglingLink, "it is a link to nothing".to_owned()),
        _ => (ErrorCause::of(e), format!("cannot open bucket: {e}")),
    };
    explained(e.kind(), cause, format!("{what}; {STOPS_TAHOE}"))
}

/// The directory's own entries. Other names with a dot count, as they do for Tahoe.
fn is_dot(name: &[u8]) -> bool {
    matches!(name, b"." | b"..")
}

#[cfg(test)]
mod tests;
