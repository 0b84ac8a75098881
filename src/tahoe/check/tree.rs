//! A stored Merkle tree: every node of it against its children, in one pass from the root down; and parts that are zero.

use std::io;

use super::{Flaws, Step, next_piece, node_span, read, read_node};
use crate::tahoe::hash::{HASH_LEN, Hash, filler, pair};
use crate::tahoe::merkle::{self, Shape};
use crate::tahoe::region::{Flaw, Region, Span};
use crate::tahoe::table::ReadAt;

/// Nodes that are hashed in one step at most.
const NODES_PER_STEP: u64 = 2048;

/// A stored tree being checked. Its leaves are compared with what they are hashes of elsewhere.
#[derive(Debug)]
pub(super) struct Tree {
    region: Region,
    at: u64,
    shape: Shape,
    /// Whether something else says that its root is right.
    root_is_right: bool,
    /// The next parent to look at.
    next: u64,
}

impl Tree {
    pub fn new(region: Region, at: u64, shape: Shape, root_is_right: bool) -> Tree {
        Tree { region, at, shape, root_is_right, next: 0 }
    }

    pub fn step(&mut self, file: &impl ReadAt, buf: &mut [u8], flaws: &mut Flaws) -> io::Result<Step> {
        // The inner nodes are those before the first leaf.
        let inner = self.shape.leaf(0);
        if inner == 0 {
            let only = read_node(file, self.at, 0)?;
            self.check_filler(0, &only, flaws);
            return Ok(Step::Done);
        }
        // Each parent needs room for itself and for two children.
        let room = (buf.len() / (3 * HASH_LEN)) as u64;
        let count = (inner - self.next).min(room).min(NODES_PER_STEP);
        let (parents, children) = buf.split_at_mut(count as usize * HASH_LEN);
        let children = &mut children[..2 * count as usize * HASH_LEN];
        read(file, node_span(self.at, self.next).start, parents)?;
        read(file, node_span(self.at, 2 * self.next + 1).start, children)?;
        let (parents, children) = (parents.as_chunks::<HASH_LEN>().0, children.as_chunks::<HASH_LEN>().0);
        for ((stored, two), node) in parents.iter().zip(children.chunks_exact(2)).zip(self.next..) {
            self.check_filler(2 * node + 1, &two[0], flaws);
            self.check_filler(2 * node + 2, &two[1], flaws);
            if pair(&two[0], &two[1]) != *stored {
                let bytes = self.at_fault(file, node, stored)?;
                flaws.add(Flaw::at(self.region, bytes, format!("node {node} is not the hash of its two children")));
            }
        }
        self.next += count;
        Ok(if self.next < inner { Step::More } else { Step::Done })
    }

    fn check_filler(&self, node: u64, stored: &Hash, flaws: &mut Flaws) {
        let leaf = node.checked_sub(self.shape.leaf(0)).filter(|leaf| *leaf >= self.shape.leaves());
        if let Some(leaf) = leaf
            && filler(leaf) != *stored
        {
            let bytes = node_span(self.at, node);
            flaws.add(Flaw::at(self.region, bytes, format!("leaf {leaf}, which only fills the tree, is another")));
        }
    }

    /// Which nodes are to blame where one is not the hash of its children: itself if the node above does not know it
    /// either, else a child that does not fit its own children, else any of the two.
    fn at_fault(&self, file: &impl ReadAt, node: u64, stored: &Hash) -> io::Result<Span> {
        let read = |node| read_node(file, self.at, node);
        let children = Span::new(node_span(self.at, 2 * node + 1).start, node_span(self.at, 2 * node + 2).end);
        let (sibling, parent) = (merkle::sibling(node), merkle::parent(node));
        let known_above = match (sibling, parent) {
            (Some(sibling), Some(parent)) => merkle::join(node, stored, &read(sibling)?) == read(parent)?,
            _ => self.root_is_right,
        };
        for child in [2 * node + 1, 2 * node + 2] {
            let is_inner = child < self.shape.leaf(0);
            if is_inner && pair(&read(2 * child + 1)?, &read(2 * child + 2)?) != read(child)? {
                return Ok(node_span(self.at, child));
            }
        }
        Ok(if known_above { children } else { node_span(self.at, node) })
    }
}

/// A part that must be zero.
#[derive(Debug)]
pub(super) struct Zeros {
    region: Region,
    all: Span,
    next: u64,
}

impl Zeros {
    pub fn new(region: Region, all: Span) -> Zeros {
        Zeros { region, all, next: all.start }
    }

    pub fn step(&mut self, file: &impl ReadAt, buf: &mut [u8], flaws: &mut Flaws) -> io::Result<Step> {
        let from = self.next;
        let piece = next_piece(file, &mut self.next, self.all.end, buf)?;
        let not_zero = |b: &u8| *b != 0;
        if let (Some(first), Some(last)) = (piece.iter().position(not_zero), piece.iter().rposition(not_zero)) {
            let bytes = Span::new(from + first as u64, from + last as u64 + 1);
            flaws.add(Flaw::at(self.region, bytes, "it is not zero, though the UEB says that there is none"));
        }
        Ok(if self.next < self.all.end { Step::More } else { Step::Done })
    }
}
