//! Where the quarantine folder lies: anywhere but in the store's own `shares/`, by whatever links one gets there; and where a
//! folder can be. It is held while something is put there, and from the store on (or from the folder that the operator has named)
//! no link is followed.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FsWord, PROC_SUPER_MAGIC, StatVfsMountFlags};

use super::{Quarantine, VerifySettings};
use crate::calls::{statfs, statvfs};
use crate::error::{Error, Result};
use crate::shown;
use crate::store::open::{folder_in, is_a_link};
use crate::store::{ErrorCause, HeldFolder, explained, lies_in};
use crate::tahoe::store::TahoeBucket;

/// The folder in a store, where none is named.
const DEFAULT: &str = "quarantine";

/// The file system of `/sys` (`SYSFS_MAGIC` in `linux/magic.h`): like that of `/proc` it takes no files, whoever asks.
const SYSFS_MAGIC: FsWord = 0x6265_6572;

impl VerifySettings {
    /// Checks that the quarantine folder of the store in this folder, the one that holds `shares/`, is one or can be made, and
    /// does not lie among the shares: a node would serve what is put there. Nothing has to exist yet, and nothing is made. (Whether
    /// this user may write there is not asked: it need not be the one who will verify.)
    ///
    /// # Errors
    /// [`Error::Config`] names the folder and the cause, and says how another is given.
    pub fn validate_for(&self, store: &Path) -> Result<()> {
        if self.quarantine == Quarantine::None && self.quarantine_dir.is_none() {
            return Ok(());
        }
        let (folder, shares) = (top(self, store), store.join("shares"));
        let refused = |why: &str, another: &str| {
            let folder = shown::path(&folder);
            Err(Error::Config(format!(
                "the quarantine folder {folder} {why}: give {another} with --quarantine-dir (`quarantine_dir` in config.ron)"
            )))
        };
        if self.quarantine_dir.is_none() && folder.is_symlink() {
            let why = "is a link, and nothing in a store is changed through links";
            return refused(why, "the folder that it leads to, if that is yours,");
        }
        if lies_in(&folder, &shares) {
            let why = format!("lies in {}, where the node looks for shares", shown::path(&shares));
            return refused(&why, "one outside");
        }
        why_it_cannot_be(&folder).map_or(Ok(()), |why| refused(&format!("cannot be: {why}"), "another"))
    }
}

fn top(settings: &VerifySettings, store: &Path) -> PathBuf {
    settings.quarantine_dir.clone().unwrap_or_else(|| store.join(DEFAULT))
}

/// Why a folder is none and cannot be made, as far as that is so for everybody.
fn why_it_cannot_be(folder: &Path) -> Option<String> {
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
    for above in folder.ancestors() {
        let shown = shown::path(above);
        match fs::metadata(above) {
            Ok(there) if !there.is_dir() => return Some(format!("{shown} is no folder")),
            Ok(_) => {
                let takes_none = |fs: FsWord| fs == FsWord::from(PROC_SUPER_MAGIC) || fs == SYSFS_MAGIC;
                let read_only = statvfs(above).is_ok_and(|fs| fs.f_flag.contains(StatVfsMountFlags::RDONLY));
                let takes_none = read_only || statfs(above).is_ok_and(|fs| takes_none(fs.f_type));
                return takes_none.then(|| format!("nothing can be written to the file system of {shown}"));
            }
            Err(e) if e.kind() == ErrorKind::NotFound && above.is_symlink() => {
                return Some(format!("{shown} is a link to nothing"));
            }
            // What is below a file is told of that file.
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(_) => return None,
        }
    }
    None
}

/// The folder for the shares of a bucket, held.
#[derive(Debug)]
pub(super) struct QuarantinePlace {
    pub folder: HeldFolder,
    /// The folders that were made for it, each with the one that it is in, the outermost first.
    made: Vec<(HeldFolder, Vec<u8>)>,
}

impl QuarantinePlace {
    /// Makes what is missing of it.
    ///
    /// # Errors
    /// If it cannot be made, is reached through a link, or lies among the shares; nothing is left of it then.
    pub fn make(settings: &VerifySettings, bucket: &TahoeBucket<'_>) -> io::Result<QuarantinePlace> {
        let named = |e: io::Error| {
            let folder = shown::path(&path(settings, bucket));
            explained(e.kind(), ErrorCause::of(&e), format!("folder {folder}: {e}"))
        };
        let (above, names) = top_of(settings, bucket).map_err(named)?;
        let mut place = QuarantinePlace { folder: above, made: Vec::new() };
        let names = names.into_iter().chain([bucket.prefix().to_vec(), bucket.name().to_vec()]);
        let made = place.check(bucket).and_then(|()| {
            names.into_iter().try_for_each(|name| place.enter(name).map_err(|e| advised(settings, e)))?;
            place.check(bucket)
        });
        match made {
            Ok(()) => Ok(place),
            Err(e) => {
                place.undo();
                Err(named(e))
            }
        }
    }

    fn enter(&mut self, name: Vec<u8>) -> io::Result<()> {
        let (folder, is_new) = self.folder.make_folder(&name)?;
        let above = std::mem::replace(&mut self.folder, folder);
        if is_new {
            self.made.push((above, name));
        }
        Ok(())
    }

    /// It may be mounted anywhere.
    fn check(&self, bucket: &TahoeBucket<'_>) -> io::Result<()> {
        if self.folder.lies_in(bucket.site().shares()?.id()?)? || self.folder.id()? == bucket.id()? {
            return Err(io::Error::other("it lies among the shares themselves"));
        }
        Ok(())
    }

    /// Removes again what was made for it and has nothing in it, the innermost first.
    pub fn undo(self) {
        let _ = self.made.iter().rev().try_for_each(|(above, name)| above.remove_folder(name));
    }
}

/// The folder for the shares of a bucket, to be read: only what is put there goes by no link.
///
/// # Errors
/// If it is not there or cannot be opened.
pub(super) fn open(settings: &VerifySettings, bucket: &TahoeBucket<'_>) -> io::Result<HeldFolder> {
    let path = path(settings, bucket);
    Ok(HeldFolder::new(folder_in(CWD, &path)?.fd, path))
}

/// The folder from which on no link is followed, and what is still to be entered from there: the store and `quarantine`, or the
/// folder that the operator has named, as far as it is there.
fn top_of(settings: &VerifySettings, bucket: &TahoeBucket<'_>) -> io::Result<(HeldFolder, Vec<Vec<u8>>)> {
    let Some(dir) = &settings.quarantine_dir else {
        return Ok((bucket.site().root()?.again()?, vec![DEFAULT.as_bytes().to_vec()]));
    };
    let (dir, mut missing) = (std::path::absolute(dir)?, Vec::new());
    for above in dir.ancestors() {
        match HeldFolder::named(above) {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                missing.extend(above.file_name().map(|name| name.as_bytes().to_vec()));
            }
            held => {
                missing.reverse();
                return Ok((held?, missing));
            }
        }
    }
    Err(ErrorKind::NotFound.into())
}

/// Says how to have the quarantine elsewhere, where the store has a link in its place.
fn advised(settings: &VerifySettings, e: io::Error) -> io::Error {
    match settings.quarantine_dir {
        None if e.to_string() == is_a_link().to_string() => {
            io::Error::other(format!("{e}; if it is yours, name where it leads to with --quarantine-dir"))
        }
        _ => e,
    }
}

/// The path of that folder, for messages.
pub(super) fn path(settings: &VerifySettings, bucket: &TahoeBucket<'_>) -> PathBuf {
    let top = top(settings, &bucket.site().path_of(""));
    top.join(OsStr::from_bytes(bucket.prefix())).join(OsStr::from_bytes(bucket.name()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn no_way_into_shares_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("store/shares/aa")).unwrap();
        symlink("store/shares/aa", path("link")).unwrap();
        symlink(path("store"), path("mine")).unwrap();
        let check = |dir: &str| {
            let (quarantine, quarantine_dir) = (Quarantine::Copy, Some(path(dir)));
            VerifySettings { quarantine, quarantine_dir, ..VerifySettings::default() }.validate_for(&path("mine"))
        };
        for inside in ["store/shares", "store/shares/q/r", "link", "link/q", "mine/shares/q", "no/../store/shares/q"] {
            let why = check(inside).expect_err(inside).to_string();
            assert!(why.contains("where the node looks for shares") && why.contains(inside), "{why}");
        }
        for outside in ["store", "store/quarantine", "store/shares2", "q", "link/../../quarantine"] {
            check(outside).expect(outside);
        }
        // The default may be a link as well.
        let default = VerifySettings { quarantine: Quarantine::Move, ..VerifySettings::default() };
        default.validate_for(&path("store")).unwrap();
        symlink("shares", path("store/quarantine")).unwrap();
        assert!(default.validate_for(&path("store")).is_err());
        // And must not: its owner could lead it anywhere.
        fs::remove_file(path("store/quarantine")).unwrap();
        symlink("../q", path("store/quarantine")).unwrap();
        let why = default.validate_for(&path("store")).unwrap_err().to_string();
        assert!(why.contains("is a link") && why.contains("--quarantine-dir"), "{why}");
        VerifySettings::default().validate_for(&path("store")).unwrap();
    }

    #[test]
    fn what_is_no_folder_and_cannot_become_one_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("store/shares")).unwrap();
        fs::write(path("file"), "").unwrap();
        symlink("file", path("to-file")).unwrap();
        symlink("store", path("to-folder")).unwrap();
        symlink("nothing", path("to-nothing")).unwrap();
        let check = |dir: PathBuf| {
            let (quarantine, quarantine_dir) = (Quarantine::Copy, Some(dir));
            VerifySettings { quarantine, quarantine_dir, ..VerifySettings::default() }.validate_for(&path("store"))
        };
        for (dir, cause) in [
            (path("file"), "is no folder"),
            (path("file/q/r"), "file is no folder"),
            (path("to-file"), "is no folder"),
            (path("to-nothing"), "is a link to nothing"),
            (path("to-nothing/q"), "to-nothing is a link to nothing"),
            ("/dev/full".into(), "is no folder"),
            ("/proc/q".into(), "nothing can be written to the file system of /proc"),
            ("/sys/q/r".into(), "nothing can be written to the file system of /sys"),
        ] {
            let why = check(dir).expect_err(cause).to_string();
            assert!(why.contains(cause) && why.contains("give another with --quarantine-dir"), "{why}");
        }
        for dir in ["q", "q/r", "to-folder", "to-folder/q", "store/quarantine"] {
            check(path(dir)).expect(dir);
            assert!(!path("q").exists() && !path("store/q").exists() && !path("store/quarantine").exists());
        }
    }
}
