//! Where the quarantine folder lies: anywhere but in the store's own `shares/`, by whatever links one gets there.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{Quarantine, VerifySettings};
use crate::error::{Error, Result};
use crate::store::{TahoeBucket, lies_in};

impl VerifySettings {
    /// Checks that the quarantine folder of the store in this folder, the one that holds `shares/`, does not lie among the
    /// shares: a node would serve what is put there. Nothing has to exist yet.
    ///
    /// # Errors
    /// [`Error::Config`] names both folders, and says how another is given.
    pub fn validate_for(&self, store: &Path) -> Result<()> {
        if self.quarantine == Quarantine::None && self.quarantine_dir.is_none() {
            return Ok(());
        }
        let (folder, shares) = (top(self, store), store.join("shares"));
        if !lies_in(&folder, &shares) {
            return Ok(());
        }
        Err(Error::Config(format!(
            "the quarantine folder {} lies in {}, where the node looks for shares: give one outside with --quarantine-dir \
             (`quarantine_dir` in config.ron)",
            folder.display(),
            shares.display()
        )))
    }
}

fn top(settings: &VerifySettings, store: &Path) -> PathBuf {
    settings.quarantine_dir.clone().unwrap_or_else(|| store.join("quarantine"))
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
}
