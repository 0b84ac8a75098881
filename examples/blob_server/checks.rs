//! How a blob is checked: its SHA-256 is its name. The scrub does everything else.

use std::io;
use std::path::PathBuf;
use std::vec::IntoIter;

use sexton::job::scrub::{Check, Checked, Checker, Flaw, Listed, PIECE_LEN_MOST, ReadingKind, Span, Want};
use sexton::store::{FileSource, ObjectFile};
use sha2::{Digest, Sha256};

use super::store::{BlobFolder, BlobStore};

/// Checks blobs.
pub struct BlobChecker;

impl Checker for BlobChecker {
    type Store = BlobStore;
    type Object = Vec<u8>;
    type Listing = Option<IntoIter<Vec<u8>>>;
    type Source = FileSource;
    type Check = BlobCheck;
    type Aftermath = ();

    fn object_word(&self) -> &str {
        "blob"
    }

    fn list(&self, folder: &BlobFolder, listing: &mut Self::Listing) -> io::Result<Listed<Vec<u8>>> {
        match listing {
            Some(blobs) => Ok(blobs.next().map_or(Listed::End, Listed::Object)),
            None => {
                *listing = Some(folder.blobs()?.into_iter());
                Ok(Listed::NotYet)
            }
        }
    }

    fn object_name(blob: &Vec<u8>) -> &[u8] {
        blob
    }

    fn path(&self, folder: &BlobFolder, blob: &[u8]) -> PathBuf {
        if blob.is_empty() { folder.path.clone() } else { folder.path_of(blob) }
    }

    fn open(&self, folder: &BlobFolder, blob: &Vec<u8>) -> io::Result<FileSource> {
        ObjectFile::open(&folder.path_of(blob)).map(FileSource::from)
    }

    fn check(&self, blob: &Vec<u8>, size: u64, _: ReadingKind) -> BlobCheck {
        BlobCheck { name: blob.clone(), size, read: 0, hash: Sha256::new() }
    }
}

/// A blob being checked.
pub struct BlobCheck {
    name: Vec<u8>,
    size: u64,
    read: u64,
    hash: Sha256,
}

impl Check for BlobCheck {
    type Facts = ();

    fn next(&mut self) -> Want {
        match (self.size - self.read).min(PIECE_LEN_MOST as u64) {
            0 => Want::Nothing,
            len => Want::Bytes { at: self.read, len: len as usize },
        }
    }

    fn give(&mut self, bytes: &[u8]) {
        self.read += bytes.len() as u64;
        self.hash.update(bytes);
    }

    fn finish(self) -> Checked<()> {
        let is_good = super::hex(&self.hash.finalize()).as_bytes() == self.name;
        let flaw = || Flaw::at("content", Span::new(0, self.size), "its SHA-256 is not its name");
        Checked { flaws: (!is_good).then(flaw).into_iter().collect(), is_partial: false, facts: () }
    }
}
