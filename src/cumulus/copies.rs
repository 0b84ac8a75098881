//! Which copies of a database Sexton has made: a small file beside a copy that is made again and again.
//!
//! The copy before the last one is replaced, under a name that ends in `.old`. A file of that name which somebody else has
//! put there is not: so each copy is written down here, by its length and a hash of its ends, before it gets its name. The
//! file travels with the copies, and works on file systems that keep neither owners nor attributes.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use crate::own_files::OwnFile;

/// The last one, the one before it, and those of runs that died in between.
const COPIES_MOST: usize = 8;
/// A larger file is none of ours.
const MOST_BYTES: u64 = 4096;
/// How much of a copy is hashed at each end: its header counts every change, so that this tells copies apart.
const END_BYTES: usize = 64 << 10;

/// The copies that were made under one name.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct CopyList {
    copies: Vec<MadeCopy>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct MadeCopy {
    bytes: u64,
    /// Of both ends, as hexadecimal digits.
    ends: String,
}

impl CopyList {
    /// Reads the list that belongs to a copy's name; one that is not there or not readable knows no copy.
    ///
    /// # Errors
    /// If it is not a file to be believed, and what the system says.
    pub(super) fn read(copy: &OwnFile) -> io::Result<CopyList> {
        let text = place(copy).read(MOST_BYTES)?;
        Ok(text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default())
    }

    /// Whether this file was made as one of these copies, and not changed since.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn knows(&self, file: &File) -> io::Result<bool> {
        Ok(self.copies.contains(&MadeCopy::of(file)?))
    }

    /// Adds a copy that is about to get this name.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(super) fn add(copy: &OwnFile, file: &File) -> io::Result<()> {
        let (mut list, made) = (CopyList::read(copy)?, MadeCopy::of(file)?);
        list.copies.retain(|known| *known != made);
        list.copies.push(made);
        let too_many = list.copies.len().saturating_sub(COPIES_MOST);
        list.copies.drain(..too_many);
        place(copy).replace(|_| Ok(()), |new| serde_json::to_writer(new, &list).map_err(io::Error::from))
    }
}

fn place(copy: &OwnFile) -> OwnFile {
    copy.beside(".sexton-copies")
}

impl MadeCopy {
    fn of(file: &File) -> io::Result<MadeCopy> {
        let bytes = file.metadata()?.len();
        let mut hash = Xxh3::new();
        for from in [0, bytes.saturating_sub(END_BYTES as u64)] {
            let mut end = vec![0; END_BYTES.min(usize::try_from(bytes).unwrap_or(END_BYTES))];
            match file.read_exact_at(&mut end, from) {
                // It was cut meanwhile: another file than it was, whatever it is.
                Err(e) if e.kind() == ErrorKind::UnexpectedEof => {}
                other => other?,
            }
            hash.update(&end);
        }
        Ok(MadeCopy { bytes, ends: format!("{:032x}", hash.digest128()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_known_until_it_is_changed() {
        let dir = tempfile::tempdir().unwrap();
        let copy = OwnFile::at(&dir.path().join("copy")).unwrap();
        std::fs::write(copy.path(), vec![7; 200_000]).unwrap();
        let file = File::open(copy.path()).unwrap();
        assert!(!CopyList::read(&copy).unwrap().knows(&file).unwrap());
        CopyList::add(&copy, &file).unwrap();
        assert!(CopyList::read(&copy).unwrap().knows(&file).unwrap());
        for (place, byte) in [(0, 8), (199_999, 8)] {
            let changed = File::options().write(true).open(copy.path()).unwrap();
            changed.write_all_at(&[byte], place).unwrap();
            assert!(!CopyList::read(&copy).unwrap().knows(&file).unwrap(), "{place}");
            changed.write_all_at(&[7], place).unwrap();
        }
        std::fs::write(copy.beside(".sexton-copies").path(), "torn").unwrap();
        assert!(!CopyList::read(&copy).unwrap().knows(&file).unwrap());
    }

    #[test]
    fn the_list_has_a_bound() {
        let dir = tempfile::tempdir().unwrap();
        let copy = OwnFile::at(&dir.path().join("copy")).unwrap();
        for round in 0..100 {
            std::fs::write(copy.path(), round.to_string()).unwrap();
            CopyList::add(&copy, &File::open(copy.path()).unwrap()).unwrap();
        }
        let list = CopyList::read(&copy).unwrap();
        assert!(list.copies.len() == COPIES_MOST && list.knows(&File::open(copy.path()).unwrap()).unwrap());
    }
}
