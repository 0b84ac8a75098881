//! Where a store lies: the folder that holds `shares/`, and `shares/` itself, held open for what is changed there; and whether
//! anything may be changed.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;

use crate::calls::openat;
use crate::store::open::{DIRECTORY, refuse_kernel};
use crate::store::way::Way;
use crate::store::{HeldFolder, open_regular};
use crate::tahoe::cfg;

/// A larger file is no `tahoe.cfg`.
const TAHOE_CFG_MAX: u64 = 1 << 20;

/// The folders of a store.
#[derive(Debug)]
pub(crate) struct Site {
    /// The path by which it was opened, from the root of the file system; may lead through links.
    pub given: Box<Path>,
    root: HeldFolder,
    shares: HeldFolder,
    /// Why nothing is changed in it, if so: a link on the way there.
    pub strange_link: Option<String>,
}

impl Site {
    /// Opens the store at the path `given`, which is `root` without links.
    pub fn open(given: &Path, root: &Path) -> io::Result<Site> {
        let given = std::path::absolute(given).unwrap_or_else(|_| root.to_path_buf());
        let held = |way: OwnedFd, path: &Path| -> io::Result<HeldFolder> {
            refuse_kernel(&way)?;
            Ok(HeldFolder::new(openat(&way, ".", DIRECTORY, Mode::empty())?, path.to_path_buf()))
        };
        let (to_root, to_shares) = (Way::to(&given)?, Way::to(&given.join("shares"))?);
        Ok(Site {
            root: held(to_root.folder, root)?,
            shares: held(to_shares.folder, &root.join("shares"))?,
            strange_link: to_root.strange_link.or(to_shares.strange_link),
            given: given.into(),
        })
    }

    /// The path of something beside `shares/`, for messages.
    pub fn path_of(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// What `reserved_space` in the node's tahoe.cfg says, in bytes; 0 where there is none. The file stands where the pid file does,
    /// in the folder above.
    ///
    /// # Errors
    /// That it cannot be read, in words.
    pub fn reserved_space(&self) -> Result<u64, String> {
        let bases = [&*self.given, self.root.path()].into_iter().filter_map(Path::parent);
        for file in bases.map(|base| base.join("tahoe.cfg")) {
            let wrong = |why: &dyn std::fmt::Display| format!("reserved_space in {} is unknown: {why}", file.display());
            let (opened, mut text) = (open_regular(&file), String::new());
            match opened {
                Ok(opened) => {
                    opened.take(TAHOE_CFG_MAX + 1).read_to_string(&mut text).map_err(|e| wrong(&e))?;
                }
                Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => continue,
                Err(e) => return Err(wrong(&e)),
            }
            if text.len() as u64 > TAHOE_CFG_MAX {
                return Err(wrong(&"the file is larger than 1 MiB"));
            }
            return cfg::reserved_space(&text).map_err(|e| wrong(&e));
        }
        Ok(0)
    }

    /// A handle of `shares/` for reading.
    pub fn shares_for_reading(&self) -> io::Result<OwnedFd> {
        Ok(openat(&self.shares, ".", DIRECTORY, Mode::empty())?)
    }

    /// Fails if nothing is changed in it.
    pub fn allow(&self) -> io::Result<()> {
        self.strange_link.as_ref().map_or(Ok(()), |why| Err(io::Error::other(why.clone())))
    }

    /// The folder that holds `shares/`, for what is written beside them.
    ///
    /// # Errors
    /// If nothing is changed in it.
    pub fn root(&self) -> io::Result<&HeldFolder> {
        self.allow().map(|()| &self.root)
    }

    /// The folder `shares/`, for what is changed in it.
    ///
    /// # Errors
    /// Likewise.
    pub fn shares(&self) -> io::Result<&HeldFolder> {
        self.allow().map(|()| &self.shares)
    }
}
