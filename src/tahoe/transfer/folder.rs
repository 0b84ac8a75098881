//! The files of Tahoe's crawlers in a store's folder: read whole, and replaced so that no crash leaves half of one. What is
//! written goes through a [`HeldFolder`]: the folder belongs to the node's user, who may have put links into it.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Stat};

use crate::calls::fstat;
use crate::error::{Error, Result};
use crate::store::held::knows_no_links;
use crate::store::open::is_a_link;
use crate::store::{self, HeldFolder};
use crate::tahoe::state::{MIGRATE_COMMAND, pickled_name};
use crate::tahoe::store::NodeSign;

/// A larger file is none of these: 20,000 corrupt shares take 1 MB.
const SIZE_MAX: u64 = 2 << 20;

/// Backups of one file that are kept before somebody has to look after them.
const BACKUPS_MAX: u32 = 100;

/// The folder that holds `shares/`, and Tahoe's state files beside it.
#[derive(Debug, Clone)]
pub struct NodeFolder(PathBuf);

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

impl NodeFolder {
    /// Names the folder. It is not looked into.
    pub fn new(path: impl Into<PathBuf>) -> NodeFolder {
        NodeFolder(path.into())
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
    /// another name. Owner and mode are those of the old one, or else of the folder. The folder is held, and no link in it is
    /// followed.
    pub(super) fn replace(&self, name: &str, text: &[u8]) -> Result<Written> {
        let (path, new) = (self.path(name), format!(".{name}.sexton-new"));
        let failed = |doing: &'static str, path: &Path| {
            let path = path.to_path_buf();
            move |e: io::Error| Error::Store { doing, path: path.clone(), cause: e.to_string() }
        };
        let held = HeldFolder::named(&self.0).map_err(failed("write to", &self.0))?;
        let old = held.stat(name.as_bytes()).and_then(|old| old.map(regular).transpose());
        let old = old.map_err(failed("replace", &path))?;
        let same = old.as_ref().map(|old| is_same(&held, name, old, text)).transpose();
        if same.map_err(failed("read", &path))?.unwrap_or(false) {
            // Perhaps by an export that died before it was down on the disk.
            held.sync().map_err(failed("sync", &self.0))?;
            return Ok(Written::Unchanged);
        }
        let replace = || -> Result<Written> {
            held.remove_if_there(new.as_bytes()).map_err(failed("remove", &self.path(&new)))?;
            self.write_new(&held, &new, text, old.as_ref()).map_err(failed("write", &self.path(&new)))?;
            let written = match &old {
                Some(old) => Written::Replaced { kept: self.keep(&held, name, old)? },
                None => Written::New,
            };
            fail_point("stand_in::before_rename");
            held.replace(new.as_bytes(), name.as_bytes()).map_err(failed("replace", &path))?;
            Ok(written)
        };
        // What has failed leaves nothing behind; the first error counts.
        let written = replace().inspect_err(|_| drop(held.remove_if_there(new.as_bytes())))?;
        fail_point("stand_in::after_rename");
        held.sync().map_err(failed("sync", &self.0))?;
        Ok(written)
    }

    /// Writes the new file beside the old one, down to the disk.
    fn write_new(&self, held: &HeldFolder, new: &str, text: &[u8], old: Option<&Stat>) -> io::Result<()> {
        let (owner, mode) = match old {
            Some(old) => (*old, old.st_mode & 0o777),
            // Tahoe's node writes with its umask; whoever may write the folder's files has to read them.
            None => fstat(held).map(|folder| (folder, folder.st_mode & 0o666))?,
        };
        write_as(held, new, (&owner, mode), |file| file.write_all(text))
    }

    /// Gives the old file a second name that nothing has, or where there are no hard links a copy of that name: at no moment is
    /// there neither the old file nor the new one.
    fn keep(&self, held: &HeldFolder, name: &str, old: &Stat) -> Result<PathBuf> {
        let failed = |cause: String| Error::Store { doing: "keep a copy of", path: self.path(name), cause };
        for n in 0..BACKUPS_MAX {
            let suffix = if n == 0 { String::new() } else { format!(".{n}") };
            let kept = format!("{name}.bak{suffix}");
            let linked = match held.link(name.as_bytes(), kept.as_bytes()) {
                Err(e) if knows_no_links(&e) => copy(held, name, &kept, old),
                linked => linked,
            };
            match linked {
                Ok(()) => return Ok(self.path(&kept)),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(failed(e.to_string())),
            }
        }
        Err(failed(format!("there are {BACKUPS_MAX} copies already; remove those that are no longer needed")))
    }
}

/// Refuses to replace what is no regular file.
fn regular(stat: Stat) -> io::Result<Stat> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(stat),
        FileType::Symlink => Err(is_a_link()),
        _ => Err(io::Error::other("it is no regular file")),
    }
}

fn is_same(held: &HeldFolder, name: &str, old: &Stat, text: &[u8]) -> io::Result<bool> {
    if u64::try_from(old.st_size).ok() != Some(text.len() as u64) {
        return Ok(false);
    }
    let Some(file) = held.open_file(name.as_bytes())? else { return Ok(false) };
    let mut there = Vec::with_capacity(text.len() + 1);
    file.take(text.len() as u64 + 1).read_to_end(&mut there)?;
    Ok(there == text)
}

/// Copies a file to a name that must not be taken.
fn copy(held: &HeldFolder, name: &str, kept: &str, old: &Stat) -> io::Result<()> {
    let file = held.open_file(name.as_bytes())?.ok_or(io::ErrorKind::NotFound)?;
    write_as(held, kept, (old, old.st_mode & 0o777), |to| match io::copy(&mut file.take(SIZE_MAX + 1), to)? {
        0..=SIZE_MAX => Ok(()),
        _ => Err(io::Error::other("it is far too large for a state file")),
    })
}

/// Makes a file that must not be there yet, with somebody's owner and this mode, down to the disk. What does not come whole is
/// removed.
fn write_as(
    held: &HeldFolder,
    name: &str,
    (owner, mode): (&Stat, u32),
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let mut file = held.create(name.as_bytes())?;
    let written = (|| {
        let own = fstat(&file)?;
        if (own.st_uid, own.st_gid) != (owner.st_uid, owner.st_gid) {
            let gone = |e: io::Error| {
                let advice = "the node could not write it: run this as the user who owns the node";
                io::Error::new(e.kind(), format!("it would belong to another user than the node ({e}); {advice}"))
            };
            fchown(&file, Some(owner.st_uid), Some(owner.st_gid)).map_err(gone)?;
        }
        write(&mut file)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()
    })();
    written.inspect_err(|_| drop(held.remove_if_there(name.as_bytes())))
}

/// Why the node that a store's folder belongs to must be taken to be running, if so.
///
/// A node reads its crawlers' state only when it starts and writes it again when it stops, so whatever is exported
/// meanwhile is lost.
pub fn running_node(folder: &NodeFolder) -> Option<NodeSign> {
    crate::tahoe::store::running_node(&folder.0)
}

/// Where a test can kill the process: with the fail point's action `return`. Does nothing in release builds.
fn fail_point(name: &str) {
    let _ = name;
    crate::fail_point!(name, |_| std::process::abort());
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, Mode, mknodat};

    use super::*;

    const NAME: &str = "lease_checker.state.json";

    fn folder() -> (tempfile::TempDir, NodeFolder) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("store")).unwrap();
        let folder = NodeFolder::new(dir.path().join("store"));
        (dir, folder)
    }

    fn names(folder: &NodeFolder) -> Vec<String> {
        let names = std::fs::read_dir(&folder.0).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    /// How it happens: who owns the store leads the one who exports to other files, or has him wait for ever.
    #[test]
    fn what_is_no_file_in_the_place_of_a_state_file_is_neither_followed_nor_waited_for() {
        let (dir, folder) = folder();
        let precious = dir.path().join("precious");
        std::fs::write(&precious, "precious").unwrap();
        symlink("../precious", folder.path(NAME)).unwrap();
        let why = folder.replace(NAME, b"{}").unwrap_err().to_string();
        assert!(why.contains(NAME) && why.ends_with("links are never followed to change anything"), "{why}");
        std::fs::remove_file(folder.path(NAME)).unwrap();
        mknodat(CWD, folder.path(NAME), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert!(folder.replace(NAME, b"{}").unwrap_err().to_string().ends_with("it is no regular file"));
        assert!(folder.read(NAME).unwrap_err().to_string().ends_with("it is no regular file"));
        assert_eq!(names(&folder), [NAME]);
        // Links where the new file and the old one's second name would be go themselves, or are left.
        std::fs::remove_file(folder.path(NAME)).unwrap();
        std::fs::write(folder.path(NAME), "old").unwrap();
        for name in [format!(".{NAME}.sexton-new"), format!("{NAME}.bak")] {
            symlink("../precious", folder.path(&name)).unwrap();
        }
        let kept = folder.path(&format!("{NAME}.bak.1"));
        assert_eq!(folder.replace(NAME, b"new").unwrap(), Written::Replaced { kept: kept.clone() });
        assert_eq!(
            (std::fs::read(&kept).unwrap(), std::fs::read(folder.path(NAME)).unwrap()),
            (b"old".into(), b"new".into())
        );
        assert_eq!(std::fs::read_to_string(precious).unwrap(), "precious");
    }

    #[test]
    fn without_hard_links_the_old_file_is_copied_and_nothing_else_is_left() {
        let scenario = fail::FailScenario::setup();
        let (_dir, folder) = folder();
        assert_eq!(folder.replace(NAME, b"one").unwrap(), Written::New);
        std::fs::set_permissions(folder.path(NAME), Permissions::from_mode(0o640)).unwrap();
        fail::cfg("store::linking", "return").unwrap();
        for (text, bak) in [("two", "bak"), ("three", "bak.1")] {
            let kept = folder.path(&format!("{NAME}.{bak}"));
            let before = std::fs::read(folder.path(NAME)).unwrap();
            assert_eq!(folder.replace(NAME, text.as_bytes()).unwrap(), Written::Replaced { kept: kept.clone() });
            assert_eq!(std::fs::read(&kept).unwrap(), before);
            assert_eq!(std::fs::metadata(&kept).unwrap().permissions().mode() & 0o7777, 0o640);
        }
        assert_eq!(folder.replace(NAME, b"three").unwrap(), Written::Unchanged);
        assert_eq!(names(&folder), [NAME.to_owned(), format!("{NAME}.bak"), format!("{NAME}.bak.1")]);
        scenario.teardown();
    }

    #[test]
    fn an_export_that_fails_leaves_nothing_half_made() {
        let (_dir, folder) = folder();
        std::fs::write(folder.path(NAME), "old").unwrap();
        for n in 0..BACKUPS_MAX {
            let suffix = if n == 0 { String::new() } else { format!(".{n}") };
            std::fs::write(folder.path(&format!("{NAME}.bak{suffix}")), "").unwrap();
        }
        let before = names(&folder);
        let why = folder.replace(NAME, b"new").unwrap_err().to_string();
        assert!(why.contains("there are 100 copies already"), "{why}");
        assert_eq!(names(&folder), before);
    }
}
