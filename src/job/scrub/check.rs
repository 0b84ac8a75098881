//! The check of one object, which does no I/O: it says which bytes it wants next, and is given them.
//!
//! So whoever drives it may read ahead, read once more past the page cache, end a slice between any two pieces, and fetch from
//! wherever the object lies, and no check notices. A check gets exactly what it wants, or the object counts as unreadable.

use std::fmt;
use std::io;

use super::Flaw;
use crate::store::Source;

/// The most bytes that a check may want at once: 1,280 KiB. Each worker has one buffer of this size.
pub const PIECE_LEN_MOST: usize = 1280 << 10;

/// What a check wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Want {
    /// These bytes, all at once: at least one, at most [`PIECE_LEN_MOST`].
    Bytes {
        /// Where they begin in the object.
        at: u64,
        /// How many they are.
        len: usize,
    },
    /// Nothing: the check has come to its end.
    Nothing,
}

/// One object being checked. What it keeps between two pieces must have a bound.
pub trait Check: Send + 'static {
    /// What is known of the object besides its flaws, such as what it must have in common with others. Two readings of an object
    /// that have come to the same are equal.
    type Facts: PartialEq + fmt::Debug + Send + 'static;

    /// Says what it wants next, at little cost. Asked again before anything was given it says the same.
    fn next(&mut self) -> Want;

    /// Takes the bytes that it wanted, and works on them.
    fn give(&mut self, bytes: &[u8]);

    /// What was found, once it wants nothing.
    fn finish(self) -> Checked<Self::Facts>;
}

/// What a check has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked<F> {
    /// What is wrong; nothing if the object is well. A bounded number: an object that is all noise has as many as blocks.
    pub flaws: Vec<Flaw>,
    /// Whether a part of it could not be checked, and nothing is wrong with that: a signature of an unknown kind, for one.
    pub is_partial: bool,
    /// What else is known of the object.
    pub facts: F,
}

/// Whether there is more to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    Something,
    Nothing,
}

/// Gives a check the next piece that it wants. `read` says how many bytes it was given, and up to where they came in order.
pub(super) fn give_next<C: Check>(
    check: &mut C,
    source: &mut (impl Source + ?Sized),
    buffer: &mut [u8],
    read: &mut BytesRead,
) -> io::Result<Left> {
    let Want::Bytes { at, len } = check.next() else { return Ok(Left::Nothing) };
    let piece = &mut buffer[..len];
    if source.read_at(piece, at)? != len {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file has become shorter while it was read"));
    }
    read.add(at, len as u64);
    check.give(piece);
    Ok(if check.next() == Want::Nothing { Left::Nothing } else { Left::Something })
}

/// How much of an object was read.
#[derive(Debug, Default)]
pub(super) struct BytesRead {
    /// Bytes that the check was given; some may have been given twice.
    pub all: u64,
    /// Up to this offset it was read in order, but for small gaps.
    pub in_order: u64,
}

impl BytesRead {
    /// A gap of this length is no jump to the object's end: 64 KiB.
    const GAP_MOST: u64 = 64 << 10;

    fn add(&mut self, at: u64, len: u64) {
        self.all = self.all.saturating_add(len);
        if at <= self.in_order.saturating_add(Self::GAP_MOST) {
            self.in_order = self.in_order.max(at.saturating_add(len));
        }
    }
}

/// Checks a whole object at once, without a slice. The buffer has to hold what the check wants at once.
///
/// # Errors
/// If the object cannot be read; kind `UnexpectedEof` if it has become shorter.
///
/// # Panics
/// If the buffer is too short.
pub fn check_whole<C: Check>(
    mut check: C,
    source: &mut impl Source,
    buffer: &mut [u8],
) -> io::Result<Checked<C::Facts>> {
    let mut read = BytesRead::default();
    while give_next(&mut check, source, buffer, &mut read)? == Left::Something {}
    Ok(check.finish())
}
