//! What a crawl walks: the [`Store`] trait, and the stores that Sexton knows.
//!
//! A store is a ring of prefixes; a prefix holds buckets, a bucket holds objects. A store only reads and
//! names things; what is done with a bucket is a [`Job`](crate::job::Job)'s business.

mod cause;
mod direct;
mod file;
pub(crate) mod held;
mod names;
pub(crate) mod open;
mod place;
mod residency;
mod source;
pub(crate) mod way;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD};
use rustix::io::Errno;

pub use cause::ErrorCause;
pub(crate) use cause::{explained, not_regular};
pub use file::{ObjectFile, Stamp};
pub(crate) use held::HeldFolder;
pub use names::{Names, Nature};
pub(crate) use open::regular as open_regular;
pub(crate) use place::lies_in;
pub use source::{CacheUse, FileSource, Source};

use crate::calls::statat;
use crate::policy::ring::Ring;

/// A ring of prefixes with buckets in them.
///
/// Calls are made on blocking threads and may wait for a disk. Names of buckets are bytes, as the file system gives
/// them; they are visited in byte order.
pub trait Store: Send + Sync + 'static {
    /// An open prefix: where its names are read from and its buckets are opened.
    type Prefix: Send + Sync + 'static;

    /// An open bucket, borrowed from its prefix.
    type Bucket<'a>;

    /// Names the store, the same at every start: it identifies a cycle. For a directory, its canonical path.
    fn identity(&self) -> String;

    /// The prefixes, in the order in which they are walked.
    fn ring(&self) -> &Ring;

    /// Fails if the store as a whole is gone, so that what cannot be listed says nothing about its prefixes; with kind
    /// `Unsupported` if it is there, and what is to be changed in it could not be known again. Default: it is always there.
    fn still_there(&self) -> io::Result<()> {
        Ok(())
    }

    /// Counts the names beside the ring's prefixes, which no crawl visits. Default: none.
    ///
    /// # Errors
    /// If the store's root cannot be listed.
    fn strays(&self) -> io::Result<Strays> {
        Ok(Strays::default())
    }

    /// Opens a prefix, or gives `None` if it does not exist, which is the same as an empty one.
    ///
    /// # Errors
    /// If it is there but cannot be opened, or if the store itself is gone.
    fn open_prefix(&self, prefix: &str) -> io::Result<Option<Self::Prefix>>;

    /// Reads a bounded number of names (some thousands) into `names`, in any order, and tells whether there may be
    /// more. Called again with the same prefix until it says [`More::No`].
    ///
    /// # Errors
    /// If the prefix cannot be listed; the walk then leaves it out and says so.
    fn read_names(&self, prefix: &mut Self::Prefix, names: &mut Names) -> io::Result<More>;

    /// Opens the bucket of this name.
    ///
    /// # Errors
    /// Whatever kept it from being opened; the walk notes it and goes on.
    fn open_bucket<'a>(&self, prefix: &'a Self::Prefix, name: &'a [u8]) -> io::Result<Self::Bucket<'a>>;

    /// The path of a prefix or bucket, for reports.
    fn path(&self, prefix: &str, bucket: Option<&[u8]>) -> PathBuf;

    /// Whether there still is something at this path (without following a link). Decides between an error and
    /// `vanished` after a failure; whatever cannot be told counts as there. Default: `lstat`.
    fn is_there(&self, path: &Path) -> bool {
        !matches!(statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW), Err(Errno::NOENT))
    }
}

/// One store for several crawls.
impl<S: Store> Store for Arc<S> {
    type Prefix = S::Prefix;
    type Bucket<'a> = S::Bucket<'a>;

    fn identity(&self) -> String {
        S::identity(self)
    }

    fn ring(&self) -> &Ring {
        S::ring(self)
    }

    fn still_there(&self) -> io::Result<()> {
        S::still_there(self)
    }

    fn strays(&self) -> io::Result<Strays> {
        S::strays(self)
    }

    fn open_prefix(&self, prefix: &str) -> io::Result<Option<S::Prefix>> {
        S::open_prefix(self, prefix)
    }

    fn read_names(&self, prefix: &mut S::Prefix, names: &mut Names) -> io::Result<More> {
        S::read_names(self, prefix, names)
    }

    fn open_bucket<'a>(&self, prefix: &'a S::Prefix, name: &'a [u8]) -> io::Result<S::Bucket<'a>> {
        S::open_bucket(self, prefix, name)
    }

    fn path(&self, prefix: &str, bucket: Option<&[u8]>) -> PathBuf {
        S::path(self, prefix, bucket)
    }

    fn is_there(&self, path: &Path) -> bool {
        S::is_there(self, path)
    }
}

/// Of strays, so many are named.
pub const STRAYS_NAMED: usize = 1000;

/// Names beside the prefixes of a ring.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Strays {
    /// How many there are.
    pub count: u64,
    /// The first of them in byte order, at most [`STRAYS_NAMED`].
    pub names: BTreeSet<Vec<u8>>,
    /// Whether there are names and none is a prefix: then the layout is that of no such store.
    pub no_prefix: bool,
}

impl Strays {
    /// Takes in one more.
    pub fn push(&mut self, name: &[u8]) {
        self.count += 1;
        name_stray(&mut self.names, name);
    }
}

/// Keeps the first [`STRAYS_NAMED`] names in byte order.
pub(crate) fn name_stray(names: &mut BTreeSet<Vec<u8>>, name: &[u8]) {
    let is_full = names.len() >= STRAYS_NAMED;
    if is_full && names.last().is_some_and(|last| name >= &**last) {
        return;
    }
    names.insert(name.to_vec());
    if names.len() > STRAYS_NAMED {
        names.pop_last();
    }
}

/// Whether a listing may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum More {
    /// Call again.
    Maybe,
    /// All names were given.
    No,
}
