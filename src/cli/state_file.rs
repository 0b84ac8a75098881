//! Where the state of a crawl lies: where it is said, or in the user's state folder.

use std::path::{Path, PathBuf};

use directories::ProjectDirs;
use xxhash_rust::xxh3::xxh3_64;

use crate::error::{Error, Result};
use crate::store::lies_in;

/// The state file of one job over the store in this folder: the one that was named, or else that in the user's state folder.
/// It never lies among the shares, where a node would come upon it.
///
/// # Errors
/// [`Error::Config`] names the folder that is not there or that it must not lie in; and if the user has no home folder.
pub fn path(given: Option<&Path>, store: &Path, identity: &str, job: &str) -> Result<PathBuf> {
    let path = given.map_or_else(|| default_path(store, identity, job), given_path)?;
    let shares = store.join("shares");
    if lies_in(&path, &shares) {
        return Err(Error::Config(format!(
            "the state file {} lies in {}, where the node looks for shares: name one outside with --state",
            path.display(),
            shares.display()
        )));
    }
    Ok(path)
}

/// The state file that was named, if its folder is there: one that is made up for a slip of the pen would begin everything anew.
///
/// # Errors
/// [`Error::Config`] names the folder.
fn given_path(path: &Path) -> Result<PathBuf> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match folder.try_exists() {
        Ok(false) => Err(Error::Config(format!(
            "the folder of --state {} is not there: make {}, or name a file in another",
            path.display(),
            folder.display()
        ))),
        // What else is wrong with it, the attempt to open the file will tell.
        _ => Ok(path.to_path_buf()),
    }
}

/// The state file of one job over one store, in the user's state folder: `NAME-HASH-JOB.sqlite`, where NAME is for
/// people, and HASH tells apart stores whose folders have the same name.
///
/// # Errors
/// If the user has no home folder.
fn default_path(store: &Path, identity: &str, job: &str) -> Result<PathBuf> {
    let dirs = ProjectDirs::from("", "", "sexton").ok_or_else(|| {
        Error::Config("you have no home folder to keep the state in: say where with --state FILE".to_owned())
    })?;
    let folder = dirs.state_dir().unwrap_or_else(|| dirs.data_local_dir());
    Ok(folder.join(file_name(store, identity, job)))
}

fn file_name(store: &Path, identity: &str, job: &str) -> String {
    let last = store.canonicalize().ok().and_then(|p| p.file_name().map(|n| n.to_string_lossy().into_owned()));
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let name: String = last.unwrap_or_default().chars().map(plain).take(40).collect();
    format!("{name}-{:08x}-{job}.sqlite", xxh3_64(identity.as_bytes()) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_of_one_name_have_states_of_their_own() {
        let name = |identity: &str| file_name(Path::new("/"), identity, "count");
        assert_ne!(name("/a/storage"), name("/b/storage"));
        assert!(name("/a/storage").ends_with("-count.sqlite"));
    }
}
