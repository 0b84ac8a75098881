//! Where the quarantine folder lies: anywhere but in the store's own `shares/`, by whatever links one gets there; and where a
//! folder can be.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FsWord, PROC_SUPER_MAGIC, StatVfsMountFlags, statfs, statvfs};

use super::note::is_free;
use super::{Quarantine, VerifySettings};
use crate::error::{Error, Result};
use crate::shown;
use crate::store::{TahoeBucket, lies_in};

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
        if lies_in(&folder, &shares) {
            let why = format!("lies in {}, where the node looks for shares", shown::path(&shares));
            return refused(&why, "one outside");
        }
        why_it_cannot_be(&folder).map_or(Ok(()), |why| refused(&format!("cannot be: {why}"), "another"))
    }
}

fn top(settings: &VerifySettings, store: &Path) -> PathBuf {
    settings.quarantine_dir.clone().unwrap_or_else(|| store.join("quarantine"))
}

/// The folders that are missing for this one to be there, the innermost first.
pub(super) fn missing(folder: &Path) -> Vec<&Path> {
    let is_missing = |above: &&Path| !above.as_os_str().is_empty() && is_free(above).is_ok_and(|free| free);
    folder.ancestors().take_while(is_missing).collect()
}

/// Makes a folder and those that are [`missing`], for good: one that its parent forgets in a loss of power takes along what was
/// moved there.
pub(super) fn make(folder: &Path, missing: &[&Path]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let parents = missing.iter().filter_map(|made| made.parent());
    let is_here = |parent: &Path| parent.as_os_str().is_empty();
    parents.map(|parent| if is_here(parent) { Path::new(".") } else { parent }).try_for_each(sync)
}

/// Waits until what was changed in a folder is there for good.
pub(super) fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
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

/// The folder for the shares of a bucket.
pub(super) fn of_bucket(settings: &VerifySettings, bucket: &TahoeBucket<'_>) -> PathBuf {
    let top = top(settings, &bucket.beside_shares(""));
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
