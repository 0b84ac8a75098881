//! The files of Tahoe's crawlers in a store's folder: read whole, and replaced so that no crash leaves half of one.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::error::{Error, Result};
use crate::store::{self, NodeSign};
use crate::tahoe::state::{MIGRATE_COMMAND, pickled_name};

/// A larger file is none of these: 20,000 corrupt shares take 1 MB.
const SIZE_MAX: u64 = 4 << 20;

/// Backups of one file that are kept before somebody has to look after them.
const BACKUPS_MAX: u32 = 100;

/// The folder that holds `shares/`, and Tahoe's state files beside it.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// There was none before.
    New,
    /// It was the same already, and was left alone.
    Unchanged,
    /// It took the place of another.
    Replaced {
        /// Where the other one is now.
        kept: PathBuf,
    },
}

impl Folder {
    /// Names the folder. It is not looked into.
    pub fn new(path: impl Into<PathBuf>) -> Folder {
        Folder(path.into())
    }

    /// The path of a file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Reads a file; `None` if it is not there.
    ///
    /// # Errors
    /// [`Error::Config`] if it is there as a pickle of old, [`Error::Store`] if it cannot be read.
    pub(super) fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.refuse_pickle(name)?;
        let path = self.path(name);
        let failed = |cause: String| Error::Store { doing: "read", path: path.clone(), cause };
        let file = match store::open_regular(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failed(e.to_string())),
        };
        let mut text = Vec::new();
        file.take(SIZE_MAX + 1).read_to_end(&mut text).map_err(|e| failed(e.to_string()))?;
        if text.len() as u64 > SIZE_MAX {
            return Err(failed("it is far too large for a state file".to_owned()));
        }
        Ok(Some(text))
    }

    /// Refuses a file of the old kind: Tahoe 1.20 does not start beside one.
    pub(super) fn refuse_pickle(&self, name: &str) -> Result<()> {
        let old = self.path(pickled_name(name));
        if fs::symlink_metadata(&old).is_err() {
            return Ok(());
        }
        Err(Error::Config(format!(
            "{} is a state file of the old kind (a pickle), beside which Tahoe 1.20 does not start: convert it first with \
             `{MIGRATE_COMMAND}`",
            old.display()
        )))
    }

    /// Replaces a file: after a crash at any moment it is the old one or the new one, whole. The old one is kept under
    /// another name. Owner and mode are those of the old one, or else of the folder.
    pub(super) fn replace(&self, name: &str, text: &[u8]) -> Result<Written> {
        let (path, new) = (self.path(name), self.path(&format!(".{name}.sexton-new")));
        let failed = |doing: &'static str, path: &Path| {
            let path = path.to_path_buf();
            move |e: io::Error| Error::Store { doing, path: path.clone(), cause: e.to_string() }
        };
        let old = match fs::metadata(&path) {
            Ok(old) => Some(old),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(failed("look at", &path)(e)),
        };
        if old.is_some() && fs::read(&path).is_ok_and(|there| there == text) {
            // Perhaps by an export that died before it was down on the disk.
            self.sync().map_err(failed("sync", &self.0))?;
            return Ok(Written::Unchanged);
        }
        self.write_new(&new, text, old.as_ref()).map_err(failed("write", &new))?;
        let written = match old {
            Some(_) => Written::Replaced { kept: self.keep(&path, name)? },
            None => Written::New,
        };
        fail_point("stand_in::before_rename");
        fs::rename(&new, &path).map_err(failed("replace", &path))?;
        fail_point("stand_in::after_rename");
        self.sync().map_err(failed("sync", &self.0))?;
        Ok(written)
    }

    /// Writes the new file beside the old one, down to the disk.
    fn write_new(&self, new: &Path, text: &[u8], old: Option<&fs::Metadata>) -> io::Result<()> {
        match fs::remove_file(new) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let flags = OFlags::NOFOLLOW.bits().cast_signed();
        let mut file = OpenOptions::new().write(true).create_new(true).custom_flags(flags).open(new)?;
        let (owner, mode) = match old {
            Some(old) => (old.clone(), old.mode() & 0o7777),
            // Tahoe's node writes with its umask; whoever may write the folder's files has to read them.
            None => (fs::metadata(&self.0)?, fs::metadata(&self.0)?.mode() & 0o666),
        };
        let own = file.metadata()?;
        if (own.uid(), own.gid()) != (owner.uid(), owner.gid()) {
            let gone = |e: io::Error| {
                let advice = "the node could not write it: run this as the user who owns the node";
                io::Error::new(e.kind(), format!("it would belong to another user than the node ({e}); {advice}"))
            };
            fchown(&file, Some(owner.uid()), Some(owner.gid())).map_err(gone)?;
        }
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(text)?;
        file.sync_all()
    }

    /// Gives the old file a second name that nothing has.
    fn keep(&self, path: &Path, name: &str) -> Result<PathBuf> {
        for n in 0..BACKUPS_MAX {
            let suffix = if n == 0 { String::new() } else { format!(".{n}") };
            let kept = self.path(&format!("{name}.bak{suffix}"));
            match fs::hard_link(path, &kept) {
                Ok(()) => return Ok(kept),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => {
                    return Err(Error::Store { doing: "keep a copy of", path: path.into(), cause: e.to_string() });
                }
            }
        }
        let cause = format!("there are {BACKUPS_MAX} copies already; remove those that are no longer needed");
        Err(Error::Store { doing: "keep a copy of", path: path.into(), cause })
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
}

/// Why the node that a store's folder belongs to must be taken to be running, if so.
///
/// A node reads its crawlers' state only when it starts and writes it again when it stops, so whatever is exported
/// meanwhile is lost.
pub fn running_node(folder: &Folder) -> Option<NodeSign> {
    store::running_node(&folder.0)
}

/// Where a test can kill the process: with the fail point's action `return`. Does nothing in release builds.
fn fail_point(name: &str) {
    let _ = name;
    fail::fail_point!(name, |_| std::process::abort());
}
