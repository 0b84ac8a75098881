//! Checks one share by itself, without any capability: everything in it that says something about something else in it.
//!
//! A check is made of steps that read one buffer of the file at most, so that it can be interrupted inside a share of any
//! size; what it keeps between two steps has a bound as well. It finds decay, not forgery: nothing in an immutable share is
//! signed, and the hash of its UEB and the fingerprint of a mutable key stand in the capability only.

mod blocks;
mod chain;
mod immutable;
mod mutable;
mod tree;

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;

use super::container::{Header, Malformed, Misfit, ShareType};
use super::hash::{HASH_LEN, Hash};
use super::region::{Flaw, Region, Span};
use super::table::ReadAt;
use blocks::{Blocks, Hashing};
use ring::digest::{Context, SHA256};
use tree::{Tree, Zeros};

/// The least buffer with which a check can work, in bytes.
pub const BUFFER_LEAST: usize = 4096;

/// Flaws of one share that are kept; one that is all noise has as many as blocks.
const FLAWS_MOST: usize = 16;

/// Whether there is more to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Go on with the next step.
    More,
    /// Everything was checked.
    Done,
}

/// A share being checked.
#[derive(Debug)]
pub struct ShareCheck {
    size: u64,
    number: Option<i64>,
    how: Hashing,
    tasks: VecDeque<Task>,
    flaws: Flaws,
    share_type: Option<ShareType>,
    signature_not_checked: bool,
    common: Option<Common>,
    read: u64,
}

/// What a check has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Flaws, at most 16; none if all is well.
    pub flaws: Vec<Flaw>,
    /// The kind of the share, as far as it can be told.
    pub share_type: Option<ShareType>,
    /// Whether it has a signature of which nothing can be said: its key is too short or too long.
    pub signature_not_checked: bool,
    /// What it must have in common with the other shares of its bucket; `None` if that could not be read.
    pub common: Option<Common>,
}

/// What the shares of one file have in common, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Common {
    /// Of an immutable file.
    Immutable {
        /// Its UEB.
        ueb: Vec<u8>,
        /// Where it stands in this share.
        at: u64,
    },
    /// Of one version of a mutable file.
    Mutable {
        /// Sequence number and root hash: what makes shares belong together.
        version: (u64, Hash),
        /// The parts that are the same, where they stand in this share, and their SHA-256.
        parts: Vec<(Region, Span, Hash)>,
    },
}

/// What is still to be done.
#[derive(Debug)]
enum Task {
    Head,
    Blocks(Box<Blocks>),
    Tree(Tree),
    Zeros(Zeros),
    PrivateKey(Digest),
    /// The share hash chain was found wanting; it is told at the end, unless the block tree's root turns out to be at fault.
    TellChain(Flaw),
}

impl ShareCheck {
    /// Begins the check of a file of this size; its share number is the one in its name.
    pub fn new(size: u64, number: Option<i64>) -> ShareCheck {
        let (flaws, tasks) = (Flaws::default(), VecDeque::from([Task::Head]));
        let (how, share_type, common, read) = (Hashing::ByTurns, None, None, 0);
        ShareCheck { size, number, how, tasks, flaws, share_type, signature_not_checked: false, common, read }
    }

    /// The same check by other code for the hashes of blocks, slower: what both find wrong is no fault of either.
    pub fn over_again(self) -> ShareCheck {
        ShareCheck { how: Hashing::OneByOne, ..self }
    }

    /// Does the next part of the work, reading about as many bytes as the buffer has.
    ///
    /// # Errors
    /// If the file cannot be read; kind `UnexpectedEof` if it has become shorter.
    ///
    /// # Panics
    /// If the buffer is shorter than [`BUFFER_LEAST`].
    pub fn step(&mut self, file: &impl ReadAt, buf: &mut [u8]) -> io::Result<Step> {
        assert!(buf.len() >= BUFFER_LEAST, "a buffer of {} bytes is too short", buf.len());
        let Some(mut task) = self.tasks.pop_front() else { return Ok(Step::Done) };
        let file = Counting { file, read: Cell::new(self.read) };
        let worked = self.work(&mut task, &file, buf);
        self.read = file.read.get();
        if worked? == Step::More {
            self.tasks.push_front(task);
        }
        Ok(if self.tasks.is_empty() { Step::Done } else { Step::More })
    }

    fn work(&mut self, task: &mut Task, file: &impl ReadAt, buf: &mut [u8]) -> io::Result<Step> {
        match task {
            Task::Head => self.head(file, buf),
            Task::Blocks(blocks) => blocks.step(file, buf, &mut self.flaws),
            Task::Tree(tree) => tree.step(file, buf, &mut self.flaws),
            Task::Zeros(zeros) => zeros.step(file, buf, &mut self.flaws),
            Task::PrivateKey(digest) => self.private_key(digest, file, buf),
            Task::TellChain(flaw) => {
                self.tell_chain(flaw);
                Ok(Step::Done)
            }
        }
    }

    /// Runs all steps at once.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn run(mut self, file: &impl ReadAt, buf: &mut [u8]) -> io::Result<Checked> {
        while self.step(file, buf)? == Step::More {}
        Ok(self.finish())
    }

    /// Up to which byte the share was read, as far as it is read in order.
    pub fn read_up_to(&self) -> u64 {
        match self.tasks.front() {
            Some(Task::Blocks(blocks)) => blocks.read_up_to(),
            _ => 0,
        }
    }

    /// How many bytes of the share were read so far; no more than it has, though some are read twice.
    pub fn bytes_read(&self) -> u64 {
        self.read.min(self.size)
    }

    /// What was found.
    pub fn finish(self) -> Checked {
        let ShareCheck { flaws, share_type, signature_not_checked, common, .. } = self;
        Checked { flaws: flaws.0, share_type, signature_not_checked, common }
    }

    /// Reads what says where everything is, checks it, and plans the rest. A flaw in it leaves the rest unchecked: nobody
    /// knows where it is.
    fn head(&mut self, file: &impl ReadAt, buf: &mut [u8]) -> io::Result<Step> {
        let len = usize::try_from(self.size).unwrap_or(usize::MAX).min(BUFFER_LEAST);
        read(file, 0, &mut buf[..len])?;
        let (head, rest) = buf.split_at_mut(len.max(1));
        let planned = match Header::parse(&head[..len]) {
            Ok(Header::Immutable(header)) => immutable::plan(self, &header, &head[..len], file)?,
            Ok(Header::Mutable(header)) => mutable::plan(self, &header, &head[..len], file, rest)?,
            Err(short @ Malformed::Short { .. }) => Err(Flaw::in_doubt(Region::ContainerHeader, short.to_string())),
            Err(malformed) => {
                let bytes = Span::new(0, self.size.min(32));
                Err(Flaw::at(Region::ContainerHeader, bytes, malformed.to_string()))
            }
        };
        match planned {
            Ok(tasks) => self.tasks.extend(tasks),
            Err(flaw) => self.flaws.add(flaw),
        }
        Ok(Step::Done)
    }

    fn private_key(&mut self, digest: &mut Digest, file: &impl ReadAt, buf: &mut [u8]) -> io::Result<Step> {
        let step = digest.step(file, buf)?;
        if step == Step::Done
            && let Some(Common::Mutable { parts, .. }) = &mut self.common
        {
            parts.push((Region::PrivateKey, digest.all, sha256(&digest.context)));
        }
        Ok(step)
    }

    fn tell_chain(&mut self, flaw: &Flaw) {
        let root_is_wrong = |f: &Flaw| f.region == Region::BlockTree && f.bytes.is_some_and(|b| Some(b) == flaw.bytes);
        // Its `bytes` are those of the root while it waits; the chain's own are as good as unknown.
        if !self.flaws.0.iter().any(root_is_wrong) {
            self.flaws.add(Flaw { bytes: None, ..flaw.clone() });
        }
    }
}

/// A file that counts what is read of it.
struct Counting<'a, R> {
    file: &'a R,
    read: Cell<u64>,
}

impl<R: ReadAt> ReadAt for Counting<'_, R> {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let len = self.file.read_at(buf, offset)?;
        self.read.set(self.read.get().saturating_add(len as u64));
        Ok(len)
    }

    fn has_offset(&self, offset: u64) -> bool {
        self.file.has_offset(offset)
    }
}

/// The flaws of a share, in the order in which they were found.
#[derive(Debug, Default)]
struct Flaws(Vec<Flaw>);

impl Flaws {
    /// Adds a flaw, unless there are enough, or one of the same bytes was told already.
    fn add(&mut self, flaw: Flaw) {
        let overlaps = |a: Span, b: Span| a.start < b.end && b.start < a.end;
        let same = |known: &Flaw| {
            known.region == flaw.region && known.bytes.zip(flaw.bytes).is_some_and(|(a, b)| overlaps(a, b))
        };
        if self.0.len() < FLAWS_MOST && !self.0.iter().any(same) {
            self.0.push(flaw);
        }
    }
}

/// A stretch of the file being hashed as it is.
#[derive(Debug)]
struct Digest {
    all: Span,
    next: u64,
    context: DebugContext,
}

struct DebugContext(Context);

impl std::fmt::Debug for DebugContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Context")
    }
}

impl Digest {
    fn new(all: Span) -> Digest {
        Digest { all, next: all.start, context: DebugContext(Context::new(&SHA256)) }
    }

    fn step(&mut self, file: &impl ReadAt, buf: &mut [u8]) -> io::Result<Step> {
        let piece = next_piece(file, &mut self.next, self.all.end, buf)?;
        self.context.0.update(piece);
        Ok(if self.next < self.all.end { Step::More } else { Step::Done })
    }
}

fn sha256(context: &DebugContext) -> Hash {
    let mut hash = [0; HASH_LEN];
    hash.copy_from_slice(context.0.clone().finish().as_ref());
    hash
}

/// The SHA-256 of a part that is all there.
fn sha256_of(bytes: &[u8]) -> Hash {
    let mut context = DebugContext(Context::new(&SHA256));
    context.0.update(bytes);
    sha256(&context)
}

/// Reads exactly so many bytes.
fn read(file: &impl ReadAt, at: u64, buf: &mut [u8]) -> io::Result<()> {
    if file.read_at(buf, at)? == buf.len() {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file has become shorter while it was read"))
}

/// Reads the next bytes up to `end`, as many as fit, and moves on.
fn next_piece<'b>(file: &impl ReadAt, next: &mut u64, end: u64, buf: &'b mut [u8]) -> io::Result<&'b [u8]> {
    let len = usize::try_from(end.saturating_sub(*next)).unwrap_or(usize::MAX).min(buf.len());
    let piece = &mut buf[..len];
    read(file, *next, piece)?;
    *next += len as u64;
    Ok(piece)
}

/// Reads one node of a tree that stands at `tree_at`. Trees lie within the file, so no offset overflows.
fn read_node(file: &impl ReadAt, tree_at: u64, node: u64) -> io::Result<Hash> {
    let mut hash = [0; HASH_LEN];
    read(file, node_span(tree_at, node).start, &mut hash)?;
    Ok(hash)
}

/// Where a node of a tree stands.
fn node_span(tree_at: u64, node: u64) -> Span {
    let start = tree_at.saturating_add(node.saturating_mul(HASH_LEN as u64));
    Span::new(start, start.saturating_add(HASH_LEN as u64))
}

/// What does not fit; where it says so by the file's size, the file may as well be cut.
fn misfit(region: Region, misfit: Option<Misfit>) -> Result<(), Flaw> {
    misfit.map_or(Ok(()), |misfit| Err(Flaw::in_doubt(region, misfit.to_string())))
}

#[cfg(test)]
mod tests;
