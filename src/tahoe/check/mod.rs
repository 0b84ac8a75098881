//! Checks one share by itself, without any capability: everything in it that says something about something else in it.
//!
//! A check reads nothing: it says which bytes it wants. It is made of steps that take one piece of the share at most, so that it
//! can be interrupted inside a share of any size; what it keeps between two steps has a bound as well. It finds decay, not forgery: nothing in an immutable share is
//! signed, and the hash of its UEB and the fingerprint of a mutable key stand in the capability only.

mod blocks;
mod chain;
mod immutable;
mod mutable;
mod tree;

use std::collections::VecDeque;

use ring::digest::{Context, SHA256};

use super::container::{Header, Malformed, Misfit, ShareType};
use super::hash::{HASH_LEN, Hash};
use super::region::Region;
use crate::job::scrub::{Check, Checked, Flaw, PIECE_LEN_MOST, Span, Want};
use blocks::{Blocks, Hashing};
use tree::{Tree, Zeros};

/// The least piece of a share with which a check can work, in bytes: its head is one.
const HEAD_LEN: usize = 4096;

/// Flaws of one share that are kept; one that is all noise has as many as blocks.
const FLAWS_MOST: usize = 16;

/// Whether there is more to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CheckStep {
    More,
    Done,
}

/// Bytes without which a step cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct WantedBytes {
    at: u64,
    len: usize,
}

/// Bytes of a share, as far as they were given since the last step. A step that needs others says so and is done once more when
/// they are there; so it changes nothing before it has all.
#[derive(Debug)]
struct Given<'a> {
    held: &'a [(u64, Vec<u8>)],
    piece: Option<(u64, &'a [u8])>,
    room: usize,
}

impl<'a> Given<'a> {
    /// Exactly these bytes.
    fn bytes(&self, at: u64, len: usize) -> Result<&'a [u8], WantedBytes> {
        if len == 0 {
            return Ok(&[]);
        }
        let held = self.held.iter().map(|(at, bytes)| (*at, &bytes[..]));
        let found = self.piece.into_iter().chain(held).find(|(from, bytes)| *from == at && bytes.len() == len);
        found.map(|(_, bytes)| bytes).ok_or(WantedBytes { at, len })
    }

    /// The next bytes up to `end`, as many as fit a piece; and moves on.
    fn next_piece(&self, next: &mut u64, end: u64) -> Result<&'a [u8], WantedBytes> {
        let len = usize::try_from(end.saturating_sub(*next)).unwrap_or(usize::MAX).min(self.room);
        let piece = self.bytes(*next, len)?;
        *next += len as u64;
        Ok(piece)
    }

    /// One node of a tree that stands at `tree_at`. Trees lie within the file, so no offset overflows.
    fn node(&self, tree_at: u64, node: u64) -> Result<Hash, WantedBytes> {
        let mut hash = [0; HASH_LEN];
        hash.copy_from_slice(self.bytes(node_span(tree_at, node).start, HASH_LEN)?);
        Ok(hash)
    }
}

/// A share being checked.
#[derive(Debug)]
pub struct ShareCheck {
    size: u64,
    number: Option<i64>,
    /// Bytes that are wanted at once, at most.
    room: usize,
    how: Hashing,
    tasks: VecDeque<CheckTask>,
    /// What the step in hand was given so far, each with its offset.
    held: Vec<(u64, Vec<u8>)>,
    /// What it wants besides.
    wanted: Option<WantedBytes>,
    flaws: Flaws,
    share_type: Option<ShareType>,
    signature_not_checked: bool,
    common: Option<CommonFields>,
}

/// What is known of a share that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareFacts {
    /// The kind of the share, as far as it can be told.
    pub share_type: Option<ShareType>,
    /// What it must have in common with the other shares of its bucket; `None` if that could not be read.
    pub common: Option<CommonFields>,
}

/// What the shares of one file have in common, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommonFields {
    /// Of an immutable file.
    Immutable {
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
enum CheckTask {
    Head,
    Immutable(Box<immutable::ImmutablePlan>),
    Mutable(Box<mutable::MutablePlan>),
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
        ShareCheck {
            size,
            number,
            room: PIECE_LEN_MOST,
            how: Hashing::ByTurns,
            tasks: VecDeque::from([CheckTask::Head]),
            held: Vec::new(),
            wanted: None,
            flaws: Flaws::default(),
            share_type: None,
            signature_not_checked: false,
            common: None,
        }
    }

    /// The same check by other code for the hashes of blocks, slower: what both find wrong is no fault of either.
    pub fn over_again(self) -> ShareCheck {
        ShareCheck { how: Hashing::OneByOne, ..self }
    }

    /// The same check in pieces of so many bytes at most; at least 4,096. Default: [`PIECE_LEN_MOST`].
    pub fn in_pieces_of(self, len: usize) -> ShareCheck {
        ShareCheck { room: len.max(HEAD_LEN), ..self }
    }

    /// Does the next part of the work, with a piece that starts at this offset if one was given.
    fn step(&mut self, piece: Option<(u64, &[u8])>) -> Result<(), WantedBytes> {
        let Some(mut task) = self.tasks.pop_front() else { return Ok(()) };
        let held = std::mem::take(&mut self.held);
        let worked = self.work(&mut task, &Given { held: &held, piece, room: self.room });
        match worked {
            Ok(CheckStep::Done) => {}
            Ok(CheckStep::More) => self.tasks.push_front(task),
            Err(wanted) => {
                self.tasks.push_front(task);
                self.held = held;
                self.held.extend(piece.map(|(at, bytes)| (at, bytes.to_vec())));
                return Err(wanted);
            }
        }
        Ok(())
    }

    fn work(&mut self, task: &mut CheckTask, given: &Given<'_>) -> Result<CheckStep, WantedBytes> {
        match task {
            CheckTask::Head => self.head(given),
            CheckTask::Immutable(planned) => self.plan(|check| planned.tasks(check, given)),
            CheckTask::Mutable(planned) => self.plan(|check| planned.tasks(check, given)),
            CheckTask::Blocks(blocks) => blocks.step(given, &mut self.flaws),
            CheckTask::Tree(tree) => tree.step(given, &mut self.flaws),
            CheckTask::Zeros(zeros) => zeros.step(given, &mut self.flaws),
            CheckTask::PrivateKey(digest) => self.private_key(digest, given),
            CheckTask::TellChain(flaw) => {
                self.tell_chain(flaw);
                Ok(CheckStep::Done)
            }
        }
    }

    /// Takes what says where everything is, checks it, and plans the rest. A flaw in it leaves the rest unchecked: nobody knows
    /// where it is.
    fn head(&mut self, given: &Given<'_>) -> Result<CheckStep, WantedBytes> {
        let len = usize::try_from(self.size).unwrap_or(usize::MAX).min(HEAD_LEN);
        let head = given.bytes(0, len)?;
        let planned = match Header::parse(head) {
            Ok(Header::Immutable(header)) => immutable::plan(self, &header, head, given)?,
            Ok(Header::Mutable(header)) => mutable::plan(self, &header, head, given)?,
            Err(short @ Malformed::Short { .. }) => Err(Flaw::in_doubt(Region::ContainerHeader, short.to_string())),
            Err(malformed) => {
                let bytes = Span::new(0, self.size.min(32));
                Err(Flaw::at(Region::ContainerHeader, bytes, malformed.to_string()))
            }
        };
        match planned {
            Ok(task) => self.tasks.push_back(task),
            Err(flaw) => self.flaws.add(flaw),
        }
        Ok(CheckStep::Done)
    }

    fn plan(
        &mut self,
        tasks: impl FnOnce(&mut ShareCheck) -> Result<Vec<CheckTask>, WantedBytes>,
    ) -> Result<CheckStep, WantedBytes> {
        let tasks = tasks(self)?;
        self.tasks.extend(tasks);
        Ok(CheckStep::Done)
    }

    fn private_key(&mut self, digest: &mut Digest, given: &Given<'_>) -> Result<CheckStep, WantedBytes> {
        let step = digest.step(given)?;
        if step == CheckStep::Done
            && let Some(CommonFields::Mutable { parts, .. }) = &mut self.common
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

impl Check for ShareCheck {
    type Facts = ShareFacts;

    fn next(&mut self) -> Want {
        while self.wanted.is_none() && !self.tasks.is_empty() {
            self.wanted = self.step(None).err();
        }
        self.wanted.map_or(Want::Nothing, |WantedBytes { at, len }| Want::Bytes { at, len })
    }

    fn give(&mut self, bytes: &[u8]) {
        if let Some(WantedBytes { at, .. }) = self.wanted.take() {
            self.wanted = self.step(Some((at, bytes))).err();
        }
    }

    fn finish(self) -> Checked<ShareFacts> {
        let ShareCheck { flaws, share_type, signature_not_checked, common, .. } = self;
        Checked { flaws: flaws.0, is_partial: signature_not_checked, facts: ShareFacts { share_type, common } }
    }
}

/// The flaws of a share, in the order in which they were found.
#[derive(Debug, Default)]
struct Flaws(Vec<Flaw>);

impl Flaws {
    /// Whether no more are kept.
    fn is_full(&self) -> bool {
        self.0.len() >= FLAWS_MOST
    }

    /// Adds a flaw, unless there are enough, or one of the same bytes was told already.
    fn add(&mut self, flaw: Flaw) {
        let overlaps = |a: Span, b: Span| a.start < b.end && b.start < a.end;
        let same = |known: &Flaw| {
            known.region == flaw.region && known.bytes.zip(flaw.bytes).is_some_and(|(a, b)| overlaps(a, b))
        };
        if !self.is_full() && !self.0.iter().any(same) {
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

    fn step(&mut self, given: &Given<'_>) -> Result<CheckStep, WantedBytes> {
        let piece = given.next_piece(&mut self.next, self.all.end)?;
        self.context.0.update(piece);
        Ok(if self.next < self.all.end { CheckStep::More } else { CheckStep::Done })
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
