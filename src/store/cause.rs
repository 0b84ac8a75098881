//! Why something could not be read or changed, as data: by this errors are told apart where they are counted.

use std::error::Error;
use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

/// Why something could not be read or changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorCause {
    /// The system does not allow it.
    PermissionDenied,
    /// It is not there.
    NotFound,
    /// The disk, or what stands in for one, has failed.
    InputOutput,
    /// The process or the system has as many files open as it may.
    TooManyOpenFiles,
    /// There is no room.
    NoSpace,
    /// The file system is mounted for reading only.
    ReadOnly,
    /// It took too long.
    TimedOut,
    /// The job panicked on it.
    Panicked,
    /// It is a link to nothing.
    DanglingLink,
    /// A directory stands where a file belongs.
    Directory,
    /// Something else stands where a directory belongs.
    NotDirectory,
    /// A pipe, a device or a socket stands where a file belongs.
    NotRegular,
    /// What was read contradicts itself, so that the rest cannot be read.
    Malformed,
    /// Anything else, and what an earlier version has noted without a cause.
    #[default]
    #[serde(other)]
    Other,
}

impl ErrorCause {
    /// The cause of an error: the one that it was given, or what the system says.
    pub fn of(error: &io::Error) -> ErrorCause {
        if let Some(explained) = error.get_ref().and_then(|inner| inner.downcast_ref::<Explained>()) {
            return explained.cause;
        }
        match (error.raw_os_error(), error.kind()) {
            (Some(libc::EIO), _) => ErrorCause::InputOutput,
            (Some(libc::EMFILE | libc::ENFILE), _) => ErrorCause::TooManyOpenFiles,
            (_, io::ErrorKind::PermissionDenied) => ErrorCause::PermissionDenied,
            (_, io::ErrorKind::NotFound) => ErrorCause::NotFound,
            (_, io::ErrorKind::StorageFull) => ErrorCause::NoSpace,
            (_, io::ErrorKind::ReadOnlyFilesystem) => ErrorCause::ReadOnly,
            (_, io::ErrorKind::TimedOut) => ErrorCause::TimedOut,
            (_, io::ErrorKind::IsADirectory) => ErrorCause::Directory,
            (_, io::ErrorKind::NotADirectory) => ErrorCause::NotDirectory,
            _ => ErrorCause::Other,
        }
    }
}

/// An error in words of its own.
#[derive(Debug)]
struct Explained {
    cause: ErrorCause,
    text: String,
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for Explained {}

/// Makes an error that says more than the system does; its cause stays known.
pub(crate) fn explained(kind: io::ErrorKind, cause: ErrorCause, text: impl Into<String>) -> io::Error {
    io::Error::new(kind, Explained { cause, text: text.into() })
}

/// What is said of a pipe, a device or a socket where a file belongs.
pub(crate) fn not_regular() -> io::Error {
    explained(io::ErrorKind::Other, ErrorCause::NotRegular, "it is no regular file")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_outlives_the_words_that_are_put_round_it() {
        let system = |code| io::Error::from_raw_os_error(code);
        assert_eq!(ErrorCause::of(&system(libc::EIO)), ErrorCause::InputOutput);
        assert_eq!(ErrorCause::of(&system(libc::EMFILE)), ErrorCause::TooManyOpenFiles);
        assert_eq!(ErrorCause::of(&system(libc::EACCES)), ErrorCause::PermissionDenied);
        assert_eq!(ErrorCause::of(&system(libc::ENOSPC)), ErrorCause::NoSpace);
        assert_eq!(ErrorCause::of(&system(libc::EROFS)), ErrorCause::ReadOnly);
        assert_eq!(ErrorCause::of(&system(libc::ELOOP)), ErrorCause::Other);
        let error = system(libc::EIO);
        let wrapped = explained(error.kind(), ErrorCause::of(&error), format!("cannot read object: {error}"));
        assert_eq!((ErrorCause::of(&wrapped), wrapped.kind()), (ErrorCause::InputOutput, error.kind()));
        assert!(wrapped.to_string().starts_with("cannot read object: "));
    }

    #[test]
    fn a_cause_that_only_a_newer_version_knows_is_any_other() {
        assert_eq!(serde_json::from_str::<ErrorCause>("\"eaten\"").unwrap(), ErrorCause::Other);
        assert_eq!(serde_json::to_string(&ErrorCause::NotRegular).unwrap(), "\"not_regular\"");
    }
}
