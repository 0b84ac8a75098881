//! The way to a folder, link by link: who has laid the links that lead there.
//!
//! Many keep the objects on another disk and a link in its place. But whoever may write to the folder in which the link stands can
//! lead it anywhere: to somebody else's store, for one, which root would then change for them. So nothing is changed through a
//! link unless it belongs to root, to the user who runs this, or to the owner of the folder that it leads to.
//!
//! Each name is opened by itself, below the folder that is held, and a link is read from its own handle; so the folder at the end
//! is the one that these links have led to, whatever is put in their places meanwhile.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::open::is_of_kernel;
use crate::calls::{fstat, openat, readlink};
use crate::shown;

/// Links on one way, at most: as many as the kernel itself follows.
const LINKS_MOST: u32 = 40;

/// How what is on the way is opened: not at all, but held. With DIRECTORY, so that what is mounted when it is needed is mounted.
const PASSING: OFlags = OFlags::PATH.union(OFlags::CLOEXEC).union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW);

/// A folder, and what is to be said of the way there.
#[derive(Debug)]
pub(crate) struct Way {
    /// The folder at the end, held, not opened.
    pub folder: OwnedFd,
    /// The first link through which nothing is changed, and why, if there is one.
    pub strange_link: Option<String>,
}

/// What is still to be done.
enum PathStep {
    /// To go to this name.
    Name(OsString),
    /// What a link says was done: it leads to where one is now.
    EndOfLink { link: PathBuf, owner: u32 },
}

impl Way {
    /// Goes to a folder.
    ///
    /// # Errors
    /// As opening it would give.
    pub fn to(path: &Path) -> io::Result<Way> {
        let path = std::path::absolute(path)?;
        let root = || openat(CWD, "/", PASSING, Mode::empty());
        let (mut at, mut shown_at) = (root()?, PathBuf::from("/"));
        let (mut strange_link, mut links) = (None, 0);
        let mut steps = steps(&path);
        while let Some(step) = steps.pop() {
            let name = match step {
                PathStep::EndOfLink { link, owner } => {
                    let leads_to = fstat(&at)?.st_uid;
                    if ![0, geteuid().as_raw(), leads_to].contains(&owner) && strange_link.is_none() {
                        strange_link = Some(strange(&link, owner, leads_to));
                    }
                    continue;
                }
                PathStep::Name(name) => name,
            };
            let there = openat(&at, &*name, OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())?;
            let stat = fstat(&there)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
                at = openat(&at, &*name, PASSING, Mode::empty())?;
                enter(&mut shown_at, &name);
                continue;
            }
            links += 1;
            if links > LINKS_MOST {
                return Err(Errno::LOOP.into());
            }
            if is_of_kernel(&there)? {
                // Only the kernel knows where it leads; and only the kernel makes such links.
                at = openat(&at, &*name, PASSING.difference(OFlags::NOFOLLOW), Mode::empty())?;
                enter(&mut shown_at, &name);
                continue;
            }
            let target = PathBuf::from(OsString::from_vec(readlink(&there)?.into_bytes()));
            steps.push(PathStep::EndOfLink { link: shown_at.join(&name), owner: stat.st_uid });
            steps.extend(self::steps(&target));
            if target.is_absolute() {
                (at, shown_at) = (root()?, PathBuf::from("/"));
            }
        }
        Ok(Way { folder: at, strange_link })
    }
}

fn enter(shown_at: &mut PathBuf, name: &OsStr) {
    match name.as_bytes() {
        b".." => drop(shown_at.pop()),
        _ => shown_at.push(name),
    }
}

/// The names of a path, the first one last.
fn steps(path: &Path) -> Vec<PathStep> {
    let names = path.components().rev().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    });
    names.map(PathStep::Name).collect()
}

fn strange(link: &Path, owner: u32, leads_to: u32) -> String {
    format!(
        "{} is a link of user {owner} and leads to a folder of user {leads_to}, so nothing is changed through it: make the link \
         belong to root, to you or to that user, or give a path without it",
        shown::path(link)
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, lchown, symlink};

    use super::*;

    #[test]
    fn the_way_leads_where_the_system_leads() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(path("a/b/c")).unwrap();
        std::fs::write(path("file"), "").unwrap();
        symlink("a/b", path("relative")).unwrap();
        symlink(path("a"), path("absolute")).unwrap();
        symlink("../relative/../../absolute", path("a/chain")).unwrap();
        symlink("loop", path("loop")).unwrap();
        for way in ["a/b/c", "relative/c", "absolute/b/../b/c", "a/chain/b/c", "a/./b/c/", "relative/../b/c"] {
            let found = Way::to(&path(way)).unwrap();
            let (found, expected) = (fstat(&found.folder).unwrap(), std::fs::metadata(path(way)).unwrap());
            assert_eq!((found.st_dev, found.st_ino), (expected.dev(), expected.ino()), "{way}");
        }
        for way in ["nothing", "file", "loop", "file/x", "relative/nothing"] {
            let (found, expected) = (Way::to(&path(way)).unwrap_err(), std::fs::read_dir(path(way)).unwrap_err());
            assert_eq!(found.raw_os_error(), expected.raw_os_error(), "{way}");
        }
        assert_eq!(Way::to(&path("a/chain")).unwrap().strange_link, None, "one's own links are no strange ones");
        let own = fstat(&Way::to(Path::new("/proc/self/cwd")).unwrap().folder).unwrap().st_ino;
        assert_eq!(own, std::fs::metadata(".").unwrap().ino());
    }

    /// Only root can give links away.
    #[test]
    fn a_link_of_others_counts_only_where_it_leads_to_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        ["theirs", "mine"].iter().for_each(|name| std::fs::create_dir_all(path(name).join("shares")).unwrap());
        for (name, to) in [("to-theirs", "theirs"), ("to-mine", "mine"), ("from-root", "mine")] {
            symlink(to, path(name)).unwrap();
        }
        symlink("../from-root/shares", path("theirs/beyond")).unwrap();
        let theirs = Some(65_534);
        for name in ["theirs", "to-theirs", "to-mine", "theirs/beyond"] {
            if let Err(refused) = lchown(path(name), theirs, theirs) {
                return println!("skipped: only root gives files away: {refused}");
            }
        }
        let strange = |name: &str| Way::to(&path(name)).unwrap().strange_link;
        assert_eq!((strange("to-theirs"), strange("from-root/shares"), strange("theirs")), (None, None, None));
        for (name, link) in [("to-mine", "to-mine"), ("to-mine/shares", "to-mine"), ("theirs/beyond", "theirs/beyond")]
        {
            let why = strange(name).expect(name);
            assert!(why.starts_with(&format!("{} is a link of user 65534", path(link).display())), "{why}");
        }
    }
}
