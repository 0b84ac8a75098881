//! The server's files as a store: `blobs/ab/cd/<sha256>`. A prefix is a folder `ab`, a bucket a folder `cd` in it, its objects are the
//! blobs.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::{fs, io};

use sexton::policy::ring::Ring;
use sexton::store::{More, Names, Nature, Store};

/// The folder `blobs`.
#[derive(Debug, Clone)]
pub struct BlobStore {
    root: PathBuf,
    ring: Ring,
}

/// A folder `ab/cd`.
#[derive(Debug)]
pub struct BlobFolder {
    pub path: PathBuf,
}

impl BlobStore {
    pub fn new(root: impl Into<PathBuf>) -> BlobStore {
        BlobStore { root: root.into(), ring: Ring::new((0..256).map(|byte| format!("{byte:02x}"))) }
    }

    /// Where a blob lies.
    pub fn place(&self, name: &str) -> PathBuf {
        self.root.join(&name[..2]).join(&name[2..4]).join(name)
    }
}

/// Whether this is the name of a blob: 64 hex digits.
pub fn is_blob(name: &[u8]) -> bool {
    name.len() == 64 && is_hex(name)
}

fn is_hex(name: &[u8]) -> bool {
    name.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

impl BlobFolder {
    /// Its blobs, sorted: one 65,536th of the store.
    pub fn blobs(&self) -> io::Result<Vec<Vec<u8>>> {
        let names = fs::read_dir(&self.path)?.map(|entry| Ok(entry?.file_name().into_vec()));
        let mut blobs =
            names.filter(|name| name.as_ref().map_or(true, |name| is_blob(name))).collect::<io::Result<Vec<_>>>()?;
        blobs.sort();
        Ok(blobs)
    }

    pub fn path_of(&self, blob: &[u8]) -> PathBuf {
        self.path.join(OsStr::from_bytes(blob))
    }
}

impl Store for BlobStore {
    type Prefix = (PathBuf, fs::ReadDir);
    type Bucket<'a> = BlobFolder;

    fn identity(&self) -> String {
        self.root.display().to_string()
    }

    fn ring(&self) -> &Ring {
        &self.ring
    }

    fn open_prefix(&self, prefix: &str) -> io::Result<Option<Self::Prefix>> {
        let path = self.root.join(prefix);
        match fs::read_dir(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            listing => Ok(Some((path, listing?))),
        }
    }

    fn read_names(&self, (_, listing): &mut Self::Prefix, names: &mut Names) -> io::Result<More> {
        for entry in listing {
            let entry = entry?;
            let name = entry.file_name().into_vec();
            let is_folder = name.len() == 2 && is_hex(&name) && entry.file_type()?.is_dir();
            names.push(&name, if is_folder { Nature::Bucket } else { Nature::Stray });
        }
        names.end_chunk();
        Ok(More::No)
    }

    fn open_bucket<'a>(&self, (folder, _): &'a Self::Prefix, name: &'a [u8]) -> io::Result<BlobFolder> {
        Ok(BlobFolder { path: folder.join(OsStr::from_bytes(name)) })
    }

    fn path(&self, prefix: &str, bucket: Option<&[u8]>) -> PathBuf {
        let folder = self.root.join(prefix);
        bucket.map_or(folder.clone(), |name| folder.join(Path::new(OsStr::from_bytes(name))))
    }
}
