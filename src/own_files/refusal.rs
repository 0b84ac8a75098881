//! Why a file or a folder is refused, in words that say what to do about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a file is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileRefusal {
    /// A symbolic link.
    Link,
    /// A pipe, a device, a folder or the like.
    NotRegular,
    /// Several hard links.
    ManyNames,
    /// Of a user who has no business there.
    Foreign {
        /// The owner.
        uid: u32,
    },
    /// Of another user than the one to whom it must belong.
    NotOf {
        /// The owner.
        uid: u32,
        /// Whose it must be.
        owner: u32,
    },
    /// Longer than such a file can be.
    Long {
        /// The bound.
        most_bytes: u64,
    },
    /// Another file than the one that was opened or made has its name.
    Exchanged,
    /// A link to it, of a user who has no business there.
    ForeignLink {
        /// The link's owner.
        uid: u32,
    },
}

impl FileRefusal {
    /// As an error about this file.
    pub(super) fn of(self, path: &Path) -> io::Error {
        io::Error::other(RefusedFile { path: path.to_owned(), why: self })
    }
}

#[derive(Debug)]
struct RefusedFile {
    path: PathBuf,
    why: FileRefusal,
}

impl std::error::Error for RefusedFile {}

impl fmt::Display for RefusedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.path.display())?;
        match self.why {
            FileRefusal::Link => write!(f, "it is a symbolic link, which is not followed: remove it"),
            FileRefusal::NotRegular => write!(f, "it is no file but a folder, a pipe or a device: remove it"),
            FileRefusal::ManyNames => {
                write!(f, "it has several names (hard links), so that another file would change with it: remove it")
            }
            FileRefusal::Foreign { uid } => write!(
                f,
                "it belongs to user {uid}, who is neither you nor root nor the owner of its folder: remove it, or make it \
                 yours with `chown`"
            ),
            FileRefusal::NotOf { uid, owner } => {
                write!(f, "it belongs to user {uid} and not, as it must, to user {owner}")
            }
            FileRefusal::Long { most_bytes } => write!(f, "it is longer than {most_bytes} bytes: remove it"),
            FileRefusal::Exchanged => {
                write!(f, "another program has put something else in its place while it was in use")
            }
            FileRefusal::ForeignLink { uid } => write!(
                f,
                "it is a symbolic link of user {uid}, who is neither you nor root nor the owner of the folder that it leads \
                 to: name the file itself"
            ),
        }
    }
}

/// The text of an error about a file, without the file's path in front: for messages that name it anyway.
pub(crate) fn cause(error: &io::Error, path: &Path) -> String {
    let text = error.to_string();
    text.strip_prefix(&format!("{}: ", path.display())).map(str::to_owned).unwrap_or(text)
}

/// A folder in which others than its owner may create names.
#[derive(Debug)]
pub(super) struct SharedFolder {
    pub(super) folder: PathBuf,
    pub(super) mode: u32,
    /// The name that was to be used in it.
    pub(super) name: PathBuf,
    /// Whether the user may take the others' rights away, and nobody is likely to miss them.
    pub(super) may_be_closed: bool,
}

impl std::error::Error for SharedFolder {}

impl fmt::Display for SharedFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = self.folder.join("sexton");
        write!(
            f,
            "others than its owner may create files in the folder {} (mode {:04o}), and so could exchange what is read from \
             there: keep it in a folder that only its owner may write to, `mkdir -m 700 {}`, and name {} instead, moved there \
             with what stands beside it if it exists",
            self.folder.display(),
            self.mode,
            quoted(&own),
            own.join(&self.name).display()
        )?;
        if self.may_be_closed {
            write!(f, "; or, if nobody else has to write there, run `chmod go-w {}`", quoted(&self.folder))?;
        }
        Ok(())
    }
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    if text.chars().all(|c| c.is_alphanumeric() || "/._-+:,@".contains(c)) {
        return text.into_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}
