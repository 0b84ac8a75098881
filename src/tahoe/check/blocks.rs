//! The blocks of a share against the leaves of its block hash tree, in one pass over the data.

use std::collections::VecDeque;

use super::{CheckStep, Flaws, Given, WantedBytes, node_span};
use crate::job::scrub::{Flaw, Span};
use crate::tahoe::hash::{BLOCK, HASH_LEN, Hash, Hasher, tagged_each};
use crate::tahoe::merkle::{self, Shape};
use crate::tahoe::region::Region;

/// Leaves that are read at once.
const LEAVES_AT_ONCE: u64 = 128;

/// Blocks that are hashed in one step at most: tiny ones cost far more than their bytes.
const BLOCKS_PER_STEP: u64 = 2048;

/// What the blocks are compared with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Against {
    /// Where the block hash tree stands.
    pub tree_at: u64,
    pub tree: Shape,
    /// Whether the chain leads from the tree's root to the root over all shares: then the root is right.
    pub root_is_right: bool,
}

/// How blocks are hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hashing {
    /// By turns, all that are in the buffer: fast.
    ByTurns,
    /// One after the other, by other code: what it says as well is no fault of the code.
    OneByOne,
}

/// Blocks being hashed.
#[derive(Debug)]
pub(super) struct Blocks {
    data: Span,
    block: u64,
    last_block: u64,
    against: Against,
    how: Hashing,
    next: u64,
    hasher: Hasher,
    /// The block that `hasher` is in, and how many bytes of it are still to come.
    current: u64,
    left: u64,
    /// Hashes of the blocks before, which are still to be compared with their leaves.
    hashed: VecDeque<Hash>,
    /// Leaves from the one of block `leaves_from` on.
    leaves: Vec<u8>,
    leaves_from: u64,
    /// The last run of blocks at fault, not told yet.
    bad: Option<(u64, u64)>,
}

impl Blocks {
    /// The data's length is that of all blocks, the last one included.
    pub fn new(data: Span, block: u64, last_block: u64, against: Against, how: Hashing) -> Blocks {
        let mut blocks = Blocks {
            data,
            block,
            last_block,
            against,
            how,
            next: data.start,
            hasher: Hasher::new(BLOCK),
            current: 0,
            left: 0,
            hashed: VecDeque::new(),
            leaves: Vec::new(),
            leaves_from: 0,
            bad: None,
        };
        blocks.left = blocks.len_of(0);
        blocks
    }

    fn len_of(&self, block: u64) -> u64 {
        if block + 1 < self.against.tree.leaves() { self.block } else { self.last_block }
    }

    fn span_of(&self, block: u64) -> Span {
        let start = self.data.start.saturating_add(block.saturating_mul(self.block));
        Span::new(start, start.saturating_add(self.len_of(block)))
    }

    pub fn step(&mut self, given: &Given<'_>, flaws: &mut Flaws) -> Result<CheckStep, WantedBytes> {
        while let Some(hash) = self.hashed.front() {
            let is_good = self.compare(*hash, given, flaws)?;
            self.hashed.pop_front();
            if !is_good {
                // What was read to judge it is needed no longer.
                return Ok(CheckStep::More);
            }
        }
        if self.current >= self.against.tree.leaves() {
            self.tell_bad(flaws);
            return Ok(CheckStep::Done);
        }
        let group = self.group(given.room);
        if group > 1 {
            self.hash_group(group, given)?;
        } else {
            self.hash_piece(given)?;
        }
        Ok(CheckStep::More)
    }

    /// The next bytes, whatever blocks they belong to.
    fn hash_piece(&mut self, given: &Given<'_>) -> Result<(), WantedBytes> {
        let most = BLOCKS_PER_STEP.saturating_mul(self.block.max(1));
        let end = self.data.end.min(self.next.saturating_add(most));
        let mut piece = given.next_piece(&mut self.next, end)?;
        while self.current < self.against.tree.leaves() {
            // Blocks of no bytes at all could go on for long.
            if piece.is_empty() && self.hashed.len() as u64 >= BLOCKS_PER_STEP {
                break;
            }
            let take = usize::try_from(self.left).unwrap_or(usize::MAX).min(piece.len());
            let (now, rest) = piece.split_at(take);
            self.hasher.update(now);
            (self.left, piece) = (self.left - take as u64, rest);
            if self.left > 0 {
                break;
            }
            let hash = std::mem::replace(&mut self.hasher, Hasher::new(BLOCK)).finish();
            self.end_block(hash);
        }
        Ok(())
    }

    /// How many of the blocks to come are hashed together in a buffer of this length, in groups as even as can be, so that none is left
    /// alone; 0 within a block, or if they are to come one by one.
    fn group(&self, room: usize) -> u64 {
        let Some(fit) = (room as u64).checked_div(self.block) else { return 0 };
        let within = self.left != self.len_of(self.current);
        if fit == 0 || within || self.how == Hashing::OneByOne || self.last_block > self.block {
            return 0;
        }
        let left = self.against.tree.leaves() - self.current;
        left.div_ceil(left.div_ceil(fit.min(BLOCKS_PER_STEP)).max(1))
    }

    /// So many blocks, by turns.
    fn hash_group(&mut self, group: u64, given: &Given<'_>) -> Result<(), WantedBytes> {
        let blocks = self.current..self.current + group;
        let lens: Vec<usize> = blocks.map(|block| self.len_of(block) as usize).collect();
        let end = self.data.end.min(self.next.saturating_add(lens.iter().sum::<usize>() as u64));
        let mut piece = given.next_piece(&mut self.next, end)?;
        let mut parts = Vec::with_capacity(lens.len());
        for len in lens {
            let (part, rest) = piece.split_at(len.min(piece.len()));
            parts.push(part);
            piece = rest;
        }
        tagged_each(BLOCK, &parts).into_iter().for_each(|hash| self.end_block(hash));
        Ok(())
    }

    fn end_block(&mut self, hash: Hash) {
        self.hashed.push_back(hash);
        self.current += 1;
        self.left = self.len_of(self.current);
    }

    /// Compares the hash of the first block that was not compared yet with its leaf; says whether they are the same.
    fn compare(&mut self, hash: Hash, given: &Given<'_>, flaws: &mut Flaws) -> Result<bool, WantedBytes> {
        let block = self.current - self.hashed.len() as u64;
        let stored = self.leaf(block, given)?;
        if hash == stored {
            self.tell_bad(flaws);
        } else if self.leaf_is_right(given, block, &stored)? {
            self.bad = Some((self.bad.map_or(block, |(first, _)| first), block));
        } else {
            self.tell_bad(flaws);
            let node = node_span(self.against.tree_at, self.against.tree.leaf(block));
            let reason = format!("leaf {block} is neither the hash of its block nor what the tree above it says");
            flaws.add(Flaw::at(Region::BlockTree, node, reason));
        }
        Ok(hash == stored)
    }

    fn tell_bad(&mut self, flaws: &mut Flaws) {
        let Some((first, last)) = self.bad.take() else { return };
        let which = if first == last { format!("block {first} has") } else { format!("blocks {first} to {last} have") };
        let bytes = Span::new(self.span_of(first).start, self.span_of(last).end);
        flaws.add(Flaw::at(Region::Data, bytes, format!("{which} another hash than the block hash tree says")));
    }

    /// The stored leaf of a block.
    fn leaf(&mut self, block: u64, given: &Given<'_>) -> Result<Hash, WantedBytes> {
        let there = self.leaves_from + (self.leaves.len() / HASH_LEN) as u64;
        if block >= there {
            let tree = self.against.tree;
            let count = (tree.leaves() - block).min(LEAVES_AT_ONCE) as usize;
            let leaves = given.bytes(node_span(self.against.tree_at, tree.leaf(block)).start, count * HASH_LEN)?;
            self.leaves.clear();
            self.leaves.extend_from_slice(leaves);
            self.leaves_from = block;
        }
        let at = (block - self.leaves_from) as usize * HASH_LEN;
        let mut hash = [0; HASH_LEN];
        hash.copy_from_slice(&self.leaves[at..at + HASH_LEN]);
        Ok(hash)
    }

    /// Whether the tree above a stored leaf agrees with it, so that the block is what is wrong.
    fn leaf_is_right(&self, given: &Given<'_>, block: u64, leaf: &Hash) -> Result<bool, WantedBytes> {
        let Against { tree_at, tree, root_is_right } = self.against;
        let node = tree.leaf(block);
        let (Some(sibling), Some(parent)) = (merkle::sibling(node), merkle::parent(node)) else {
            return Ok(root_is_right);
        };
        let sibling = given.node(tree_at, sibling)?;
        Ok(merkle::join(node, leaf, &sibling) == given.node(tree_at, parent)?)
    }
}
