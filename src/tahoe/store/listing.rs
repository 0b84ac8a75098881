//! The names of the shares in one bucket, read chunk by chunk, so that no step over a bucket of a million names is long and
//! their memory is bounded: [`Names`] keeps some of them, and the directory is read again for the others.

use std::collections::BTreeSet;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::fs::{FileType, RawDir, SeekFrom};

use super::bucket::TahoeBucket;
use super::{is_dot, stops_tahoe};
use crate::calls::{Tries, seek};
use crate::store::{More, Names, Nature, name_stray};
use crate::tahoe::number::ShareNumber;

/// Bytes of names that are read at once; an ordinary bucket needs some 100.
const LISTING_LEN: usize = 8 * 1024;

/// Bytes of names that are held: more than 50,000 shares. A file has 256 at most.
const ROOM: usize = 1 << 20;

/// A name in a bucket that Tahoe's lease checker takes for a share.
#[derive(Debug, Clone)]
pub struct ShareEntry {
    name: Vec<u8>,
    number: ShareNumber,
    /// What the listing says that it is: a file, or what has to be looked at.
    listed: FileType,
}

impl ShareEntry {
    /// The share's name.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// The share's name, without the rest.
    pub fn into_name(self) -> Vec<u8> {
        self.name
    }

    /// The share's number, as its name says.
    pub fn number(&self) -> ShareNumber {
        self.number
    }

    pub(super) fn listed(&self) -> FileType {
        self.listed
    }
}

/// A listing of shares in byte order. It outlives the bucket that it was begun in, for the next time that is opened.
#[derive(Debug)]
pub struct ShareListing {
    names: Names,
    /// The directory, where the listing has to go on in it after the bucket was closed.
    dir: Option<OwnedFd>,
    is_read: bool,
    is_first_pass: bool,
    no_share: u64,
    /// The first of the names that are not taken for shares.
    strays: BTreeSet<Vec<u8>>,
}

impl Default for ShareListing {
    fn default() -> ShareListing {
        ShareListing::new()
    }
}

impl ShareListing {
    /// A listing of which nothing was read yet.
    pub fn new() -> ShareListing {
        let names = Names::default().with_room(ROOM);
        ShareListing { names, dir: None, is_read: false, is_first_pass: true, no_share: 0, strays: BTreeSet::new() }
    }

    /// Makes it one of which nothing was read yet, with the memory that it has.
    pub fn clear(&mut self) {
        let ShareListing { names, dir, is_read, is_first_pass, no_share, strays } = self;
        names.clear();
        strays.clear();
        (*dir, *is_read, *is_first_pass, *no_share) = (None, false, true, 0);
    }

    /// Whether names have to be [read](Self::read) before the next one can be told.
    pub fn wants_reading(&self) -> bool {
        !self.is_read
    }

    /// Reads the next chunk of names.
    ///
    /// # Errors
    /// If the bucket cannot be listed.
    pub fn read(&mut self, bucket: &TahoeBucket<'_>) -> io::Result<()> {
        self.read_chunk(bucket).map_err(|e| stops_tahoe(&e))
    }

    fn read_chunk(&mut self, bucket: &TahoeBucket<'_>) -> io::Result<()> {
        let mut buf = [MaybeUninit::uninit(); LISTING_LEN];
        let dir = self.dir.as_ref().unwrap_or(bucket.dir_fd());
        let mut listing = RawDir::new(dir, &mut buf);
        let mut more = More::No;
        let mut tries = Tries::default();
        while let Some(entry) = listing.next() {
            let entry = match entry {
                Err(e) if tries.again(e) => continue,
                entry => entry?,
            };
            let name = entry.file_name().to_bytes();
            if !is_dot(name) {
                match ShareNumber::parse(name) {
                    // Told apart here as what is opened at once, and what is looked at first.
                    Some(_) if entry.file_type() == FileType::RegularFile => self.names.push(name, Nature::Bucket),
                    Some(_) => self.names.push(name, Nature::Stray),
                    None if self.is_first_pass => {
                        self.no_share += 1;
                        name_stray(&mut self.strays, name);
                    }
                    None => {}
                }
            }
            if bucket.ends().at(&entry) {
                break;
            }
            if listing.is_buffer_empty() {
                more = More::Maybe;
                break;
            }
        }
        self.names.end_chunk();
        self.is_read = more == More::No;
        Ok(())
    }

    /// The next share, once all was read. `None` when there is none left, unless names [have to be read](Self::wants_reading)
    /// again.
    ///
    /// # Errors
    /// If the bucket cannot be read once more, for the names for which there was no room.
    pub fn next(&mut self, bucket: &TahoeBucket<'_>) -> io::Result<Option<ShareEntry>> {
        let next = self.names.peek().and_then(|(name, nature)| {
            let listed = if nature == Nature::Bucket { FileType::RegularFile } else { FileType::Unknown };
            // Nothing else was taken up.
            Some(ShareEntry { name: name.to_vec(), number: ShareNumber::parse(name)?, listed })
        });
        if next.is_some() {
            self.names.advance();
        } else if let Some(after) = self.names.next_pass_after() {
            self.names = Names::after(Some(after)).with_room(ROOM);
            (self.is_read, self.is_first_pass) = (false, false);
            seek(self.dir.as_ref().unwrap_or(bucket.dir_fd()), SeekFrom::Start(0))?;
        }
        Ok(next)
    }

    /// Makes it go on in the bucket's directory where it is, although the bucket is closed.
    ///
    /// # Errors
    /// If there are too many open files.
    pub fn keep(&mut self, bucket: &TahoeBucket<'_>) -> io::Result<()> {
        let goes_on = !self.is_read || self.names.next_pass_after().is_some();
        if self.dir.is_none() && goes_on {
            self.dir = Some(bucket.dir_fd().try_clone()?);
        }
        Ok(())
    }

    /// The first of the names that are not taken for shares, in byte order.
    pub fn strays(&self) -> impl Iterator<Item = &[u8]> {
        self.strays.iter().map(Vec::as_slice)
    }

    /// How many names are not taken for shares.
    pub fn no_share(&self) -> u64 {
        self.no_share
    }
}
