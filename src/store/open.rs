//! Opening for reading what others own: regular files and folders, and never anything else.
//!
//! A store and the files beside it belong to whoever runs the server. To open a device already acts: a watchdog starts, a tape
//! rewinds. So a link, and whatever a listing says nothing about, is first opened with `O_PATH`, which does not act. It is looked
//! at, and opened for reading through `/proc/self/fd` only if it is a regular file or a folder, and not on a file system in which
//! the kernel itself answers. What is looked at is then what is opened, whoever moves names about meanwhile.
//!
//! What a listing names a regular file is opened at once, with `O_NOFOLLOW` and `O_NONBLOCK`, since three more system calls for
//! each object would cost a walk a third of its time. Between the listing and the opening somebody can put something else in its
//! place. A link is not followed then, and is looked at. A pipe is not waited for, and it can only be a pipe of theirs. A device
//! would be opened; but nobody can make one in a store without the privilege to make devices, and nobody can move one in that is
//! not on the same file system already. Where that privilege is given away (to root in a container, for one), the store's file
//! system has to be mounted `nodev`. Folders are safe by `O_DIRECTORY`: the kernel looks at what it is before it opens anything.
//!
//! Reading leaves no trace: access times stay, or a read-only walk would write to the disk all the time.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::path::Arg;

use super::cause::not_regular;
use crate::calls::{fstat, fstatfs, openat, statat};

/// How a folder is opened.
pub(crate) const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// How a file is opened. NONBLOCK: a pipe in its place must not stop the work; it changes nothing for regular files.
const FILE: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

#[cfg(target_os = "linux")]
const QUIET: OFlags = OFlags::NOATIME;
#[cfg(not(target_os = "linux"))]
const QUIET: OFlags = OFlags::empty();

/// The file systems in which the kernel itself answers, so that reading may act (`linux/magic.h`): proc, sysfs, debugfs, tracefs,
/// securityfs, cgroup, cgroup2, bpf, pstore, efivarfs, configfs, binfmt_misc, selinux, smack.
const KERNEL_FILE_SYSTEMS: [u64; 14] = [
    0x9fa0,
    0x6265_6572,
    0x6462_6720,
    0x7472_6163,
    0x7363_6673,
    0x0027_e0eb,
    0x6367_7270,
    0xcafe_4a11,
    0x6165_676c,
    0xde5e_81e4,
    0x6265_6570,
    0x4249_4e4d,
    0xf97c_ff8c,
    0x4341_5d53,
];

/// What was opened.
#[derive(Debug)]
pub(crate) struct OpenEntry {
    pub fd: OwnedFd,
    /// Whether no link was followed from its name. If false, one may have been.
    pub followed_no_link: bool,
}

impl OpenEntry {
    /// Whether a link leads from this name in `folder` to what was opened. Costs a system call where that was not seen before.
    pub fn is_behind_link(&self, folder: impl AsFd, name: impl Arg + Copy) -> bool {
        !self.followed_no_link && is_link(folder, name)
    }
}

/// Whether this name is that of a link. What has gone is none.
pub(crate) fn is_link(folder: impl AsFd, name: impl Arg + Copy) -> bool {
    statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
}

/// Opens a file in a folder, which is there as `listed`. A link is followed.
///
/// # Errors
/// Those of opening; what is no regular file, or stands on a file system of the kernel's own, is refused.
pub(crate) fn file_in(folder: impl AsFd, name: impl Arg + Copy, listed: FileType) -> io::Result<OpenEntry> {
    match listed {
        FileType::RegularFile => match quietly(&folder, name, FILE | OFlags::NOFOLLOW) {
            // A link has come in its place since it was listed.
            Err(Errno::LOOP) => {}
            opened => return Ok(OpenEntry { fd: opened?, followed_no_link: true }),
        },
        FileType::Symlink | FileType::Unknown => {}
        FileType::Directory => return Err(Errno::ISDIR.into()),
        _ => return Err(not_regular()),
    }
    let fd = PathOnly::at(folder, name, OFlags::empty())?.open_file()?;
    Ok(OpenEntry { fd, followed_no_link: false })
}

/// Opens a folder in a folder. A link is followed.
///
/// # Errors
/// As [`file_in`].
pub(crate) fn folder_in(folder: impl AsFd, name: impl Arg + Copy) -> io::Result<OpenEntry> {
    match quietly(&folder, name, DIRECTORY | OFlags::NOFOLLOW) {
        Err(Errno::NOTDIR | Errno::LOOP) => {
            let fd = PathOnly::at(folder, name, OFlags::empty())?.open_folder()?;
            Ok(OpenEntry { fd, followed_no_link: false })
        }
        opened => Ok(OpenEntry { fd: opened?, followed_no_link: true }),
    }
}

/// Opens a file beside a store. Links are followed.
///
/// # Errors
/// As [`file_in`].
pub(crate) fn regular(path: &Path) -> io::Result<File> {
    Ok(PathOnly::at(CWD, path, OFlags::empty())?.open_file()?.into())
}

/// Opens a file in a folder that is not reached through a link.
///
/// # Errors
/// As [`file_in`]; [`is_a_link`] for a link.
pub(crate) fn unlinked_file_in(folder: impl AsFd, name: impl Arg + Copy) -> io::Result<File> {
    Ok(PathOnly::at(folder, name, OFlags::NOFOLLOW)?.open_file()?.into())
}

/// What is said of a link where something is to be changed.
pub(crate) fn is_a_link() -> io::Error {
    io::Error::other("it is a link, and links are never followed to change anything")
}

/// Whether a file system is one in which the kernel itself answers.
pub(crate) fn is_of_kernel(folder: impl AsFd) -> io::Result<bool> {
    // Its type has another width and sign on each architecture; the numbers have 32 bits.
    #[allow(clippy::unnecessary_cast)]
    let kind = fstatfs(&folder)?.f_type as u64 & 0xffff_ffff;
    Ok(KERNEL_FILE_SYSTEMS.contains(&kind))
}

/// Fails for what stands on a file system in which the kernel itself answers.
pub(crate) fn refuse_kernel(at: impl AsFd) -> io::Result<()> {
    if is_of_kernel(at)? {
        return Err(io::Error::other("it is on a file system of the kernel's own (such as /proc), and is not read"));
    }
    Ok(())
}

/// Something that was looked at and not opened.
struct PathOnly {
    at: OwnedFd,
    is: FileType,
}

impl PathOnly {
    fn at(folder: impl AsFd, name: impl Arg + Copy, how: OFlags) -> io::Result<PathOnly> {
        let at = openat(folder.as_fd(), name, OFlags::PATH | OFlags::CLOEXEC | how, Mode::empty())?;
        let is = FileType::from_raw_mode(fstat(&at)?.st_mode);
        Ok(PathOnly { at, is })
    }

    fn open_file(self) -> io::Result<OwnedFd> {
        match self.is {
            FileType::RegularFile => {}
            FileType::Directory => return Err(Errno::ISDIR.into()),
            FileType::Symlink => return Err(is_a_link()),
            _ => return Err(not_regular()),
        }
        self.refuse_kernel()?;
        let itself = format!("/proc/self/fd/{}", self.at.as_raw_fd());
        quietly(CWD, &*itself, FILE).map_err(|e| match e {
            Errno::NOENT | Errno::NOTDIR => io::Error::other("it cannot be opened safely: /proc is not mounted"),
            e => e.into(),
        })
    }

    fn open_folder(self) -> io::Result<OwnedFd> {
        match self.is {
            FileType::Directory => {}
            _ => return Err(Errno::NOTDIR.into()),
        }
        self.refuse_kernel()?;
        Ok(quietly(&self.at, c".", DIRECTORY)?)
    }

    fn refuse_kernel(&self) -> io::Result<()> {
        refuse_kernel(&self.at)
    }
}

/// Set once the system has refused: only a file's owner (or root) may read without a trace.
static REFUSED: AtomicBool = AtomicBool::new(false);

/// Opens without a trace where that is allowed.
fn quietly(folder: impl AsFd, name: impl Arg + Copy, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    if !REFUSED.load(Ordering::Relaxed) {
        match openat(folder.as_fd(), name, flags | QUIET, Mode::empty()) {
            Err(Errno::PERM) => REFUSED.store(true, Ordering::Relaxed),
            other => return other,
        }
    }
    openat(folder.as_fd(), name, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::mknodat;

    use super::*;

    const NOT_LISTED: FileType = FileType::Unknown;

    #[test]
    fn a_pipe_is_refused_and_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert_eq!(regular(&path).unwrap_err().to_string(), "it is no regular file");
        assert!(regular(dir.path()).is_err());
        std::fs::write(dir.path().join("file"), "text").unwrap();
        symlink("file", dir.path().join("link")).unwrap();
        assert_eq!(io::read_to_string(regular(&dir.path().join("link")).unwrap()).unwrap(), "text");
    }

    /// How it would show if a device were opened: a pipe that somebody waits at to write lets him go on as soon as it is opened.
    #[test]
    fn what_is_no_file_is_not_even_opened() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        symlink("pipe", dir.path().join("link")).unwrap();
        let folder = std::fs::File::open(dir.path()).unwrap();
        let waits = std::thread::spawn({
            let path = path.clone();
            move || drop(File::options().write(true).open(path).unwrap())
        });
        std::thread::sleep(std::time::Duration::from_millis(50));
        for (name, listed) in [("pipe", FileType::Fifo), ("pipe", NOT_LISTED), ("link", FileType::Symlink)] {
            assert_eq!(file_in(&folder, name, listed).unwrap_err().to_string(), "it is no regular file", "{name}");
            assert!(folder_in(&folder, name).is_err(), "{name}");
        }
        assert!(regular(&dir.path().join("link")).is_err() && unlinked_file_in(&folder, "link").is_err());
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(!waits.is_finished(), "somebody has opened the pipe");
        drop(File::options().read(true).open(path).unwrap());
        waits.join().unwrap();
    }

    #[test]
    fn what_a_link_leads_to_is_read_unless_the_kernel_itself_answers() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("folder")).unwrap();
        std::fs::write(dir.path().join("folder/file"), "text").unwrap();
        let links = [
            ("to-file", "folder/file"),
            ("to-folder", "folder"),
            ("to-proc", "/proc/self/status"),
            ("to-proc-folder", "/proc/self"),
            ("to-sys", "/sys/kernel/mm"),
            ("to-null", "/dev/null"),
            ("to-nothing", "nothing"),
        ];
        links.iter().for_each(|(name, to)| symlink(to, dir.path().join(name)).unwrap());
        let folder = std::fs::File::open(dir.path()).unwrap();
        // The last is a listing that has become untrue.
        for listed in [FileType::Symlink, NOT_LISTED, FileType::RegularFile] {
            let text = io::read_to_string(File::from(file_in(&folder, "to-file", listed).unwrap().fd)).unwrap();
            assert_eq!(text, "text");
            let refused = |name: &str| file_in(&folder, name, listed).unwrap_err();
            assert!(refused("to-proc").to_string().contains("such as /proc"), "{}", refused("to-proc"));
            assert_eq!(refused("to-null").to_string(), "it is no regular file");
            assert_eq!(refused("to-nothing").kind(), io::ErrorKind::NotFound);
            assert_eq!(refused("to-folder").kind(), io::ErrorKind::IsADirectory);
        }
        assert!(folder_in(&folder, "to-folder").is_ok() && folder_in(&folder, "folder").is_ok());
        for name in ["to-proc-folder", "to-sys"] {
            assert!(folder_in(&folder, name).unwrap_err().to_string().contains("such as /proc"), "{name}");
        }
        assert_eq!(folder_in(&folder, "to-file").unwrap_err().kind(), io::ErrorKind::NotADirectory);
        assert_eq!(folder_in(&folder, "to-nothing").unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
