//! The blocks of a share against the leaves of its block hash tree, in one pass over the data.

use std::io;

use super::{Flaws, Step, next_piece, node_span, read, read_node};
use crate::tahoe::hash::{BLOCK, HASH_LEN, Hash, Hasher, tagged_each};
use crate::tahoe::merkle::{self, Shape};
use crate::tahoe::region::{Flaw, Region, Span};
use crate::tahoe::table::ReadAt;

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
            leaves: Vec::new(),
            leaves_from: 0,
            bad: None,
        };
        blocks.left = blocks.len_of(0);
        blocks
    }

    pub fn read_up_to(&self) -> u64 {
        self.next
    }

    fn len_of(&self, block: u64) -> u64 {
        if block + 1 < self.against.tree.leaves() { self.block } else { self.last_block }
    }

    fn span_of(&self, block: u64) -> Span {
        let start = self.data.start.saturating_add(block.saturating_mul(self.block));
        Span::new(start, start.saturating_add(self.len_of(block)))
    }

    pub fn step(&mut self, file: &impl ReadAt, buf: &mut [u8], flaws: &mut Flaws) -> io::Result<Step> {
        let group = self.group(buf.len());
        if group > 1 {
            return self.step_by_group(file, group, buf, flaws);
        }
        let most = BLOCKS_PER_STEP.saturating_mul(self.block.max(1));
        let len = usize::try_from(most).unwrap_or(usize::MAX).min(buf.len());
        let mut piece = next_piece(file, &mut self.next, self.data.end, &mut buf[..len])?;
        while self.current < self.against.tree.leaves() {
            let take = usize::try_from(self.left).unwrap_or(usize::MAX).min(piece.len());
            let (now, rest) = piece.split_at(take);
            self.hasher.update(now);
            (self.left, piece) = (self.left - take as u64, rest);
            if self.left > 0 {
                return Ok(Step::More);
            }
            let hash = std::mem::replace(&mut self.hasher, Hasher::new(BLOCK)).finish();
            self.end_block(hash, file, flaws)?;
        }
        self.tell_bad(flaws);
        Ok(Step::Done)
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
    fn step_by_group(&mut self, file: &impl ReadAt, group: u64, buf: &mut [u8], flaws: &mut Flaws) -> io::Result<Step> {
        let blocks = self.current..self.current + group;
        let lens: Vec<usize> = blocks.map(|block| self.len_of(block) as usize).collect();
        let mut piece = next_piece(file, &mut self.next, self.data.end, &mut buf[..lens.iter().sum()])?;
        let mut parts = Vec::with_capacity(lens.len());
        for len in lens {
            let (part, rest) = piece.split_at(len.min(piece.len()));
            parts.push(part);
            piece = rest;
        }
        for hash in tagged_each(BLOCK, &parts) {
            self.end_block(hash, file, flaws)?;
        }
        Ok(Step::More)
    }

    fn end_block(&mut self, hash: Hash, file: &impl ReadAt, flaws: &mut Flaws) -> io::Result<()> {
        let (block, stored) = (self.current, self.leaf(file)?);
        self.current += 1;
        self.left = self.len_of(self.current);
        if hash == stored {
            self.tell_bad(flaws);
        } else if self.leaf_is_right(file, block, &stored)? {
            self.bad = Some((self.bad.map_or(block, |(first, _)| first), block));
        } else {
            self.tell_bad(flaws);
            let node = node_span(self.against.tree_at, self.against.tree.leaf(block));
            let reason = format!("leaf {block} is neither the hash of its block nor what the tree above it says");
            flaws.add(Flaw::at(Region::BlockTree, node, reason));
        }
        Ok(())
    }

    fn tell_bad(&mut self, flaws: &mut Flaws) {
        let Some((first, last)) = self.bad.take() else { return };
        let which = if first == last { format!("block {first} has") } else { format!("blocks {first} to {last} have") };
        let bytes = Span::new(self.span_of(first).start, self.span_of(last).end);
        flaws.add(Flaw::at(Region::Data, bytes, format!("{which} another hash than the block hash tree says")));
    }

    /// The stored leaf of the current block.
    fn leaf(&mut self, file: &impl ReadAt) -> io::Result<Hash> {
        let there = self.leaves_from + (self.leaves.len() / HASH_LEN) as u64;
        if self.current >= there {
            let tree = self.against.tree;
            let count = (tree.leaves() - self.current).min(LEAVES_AT_ONCE) as usize;
            self.leaves.resize(count * HASH_LEN, 0);
            read(file, node_span(self.against.tree_at, tree.leaf(self.current)).start, &mut self.leaves)?;
            self.leaves_from = self.current;
        }
        let at = (self.current - self.leaves_from) as usize * HASH_LEN;
        let mut hash = [0; HASH_LEN];
        hash.copy_from_slice(&self.leaves[at..at + HASH_LEN]);
        Ok(hash)
    }

    /// Whether the tree above a stored leaf agrees with it, so that the block is what is wrong.
    fn leaf_is_right(&self, file: &impl ReadAt, block: u64, leaf: &Hash) -> io::Result<bool> {
        let Against { tree_at, tree, root_is_right } = self.against;
        let node = tree.leaf(block);
        let (Some(sibling), Some(parent)) = (merkle::sibling(node), merkle::parent(node)) else {
            return Ok(root_is_right);
        };
        let sibling = read_node(file, tree_at, sibling)?;
        Ok(merkle::join(node, leaf, &sibling) == read_node(file, tree_at, parent)?)
    }
}
