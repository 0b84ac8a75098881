//! A stored Merkle tree: every node of it against its children, in one pass from the root down; and parts that are zero.

use std::collections::VecDeque;

use super::{CheckStep, Flaws, Given, WantedBytes, node_span};
use crate::job::scrub::{Flaw, Span};
use crate::tahoe::hash::{HASH_LEN, Hash, filler, pair};
use crate::tahoe::merkle::{self, Shape};
use crate::tahoe::region::Region;

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
    /// What is wrong and not told yet, in order.
    wrong: VecDeque<Wrong>,
}

/// Something wrong in a tree.
#[derive(Debug)]
enum Wrong {
    /// A leaf that only fills the tree.
    Filler(Flaw),
    /// A node that is not the hash of its two children, as it is stored.
    Node(u64, Hash),
}

impl Tree {
    pub fn new(region: Region, at: u64, shape: Shape, root_is_right: bool) -> Tree {
        Tree { region, at, shape, root_is_right, next: 0, wrong: VecDeque::new() }
    }

    pub fn step(&mut self, given: &Given<'_>, flaws: &mut Flaws) -> Result<CheckStep, WantedBytes> {
        if !self.wrong.is_empty() {
            self.tell_wrong(given, flaws)?;
            return Ok(CheckStep::More);
        }
        // The inner nodes are those before the first leaf.
        let inner = self.shape.leaf(0);
        if inner == 0 && self.next == 0 {
            let only = given.node(self.at, 0)?;
            self.next = 1;
            self.check_filler(0, &only);
        } else if self.next < inner {
            self.check_nodes(inner, given)?;
        } else {
            return Ok(CheckStep::Done);
        }
        Ok(CheckStep::More)
    }

    fn check_nodes(&mut self, inner: u64, given: &Given<'_>) -> Result<(), WantedBytes> {
        // Each parent has two children.
        let room = (given.room / (2 * HASH_LEN)) as u64;
        let count = (inner - self.next).min(room).min(NODES_PER_STEP);
        let parents = given.bytes(node_span(self.at, self.next).start, count as usize * HASH_LEN)?;
        let children = given.bytes(node_span(self.at, 2 * self.next + 1).start, 2 * count as usize * HASH_LEN)?;
        let (parents, children) = (parents.as_chunks::<HASH_LEN>().0, children.as_chunks::<HASH_LEN>().0);
        for ((stored, two), node) in parents.iter().zip(children.chunks_exact(2)).zip(self.next..) {
            self.check_filler(2 * node + 1, &two[0]);
            self.check_filler(2 * node + 2, &two[1]);
            if pair(&two[0], &two[1]) != *stored {
                self.wrong.push_back(Wrong::Node(node, *stored));
            }
        }
        self.next += count;
        Ok(())
    }

    fn check_filler(&mut self, node: u64, stored: &Hash) {
        let leaf = node.checked_sub(self.shape.leaf(0)).filter(|leaf| *leaf >= self.shape.leaves());
        if let Some(leaf) = leaf
            && filler(leaf) != *stored
        {
            let bytes = node_span(self.at, node);
            let flaw = Flaw::at(self.region, bytes, format!("leaf {leaf}, which only fills the tree, is another"));
            self.wrong.push_back(Wrong::Filler(flaw));
        }
    }

    /// Tells the first thing that is wrong.
    fn tell_wrong(&mut self, given: &Given<'_>, flaws: &mut Flaws) -> Result<(), WantedBytes> {
        match self.wrong.front() {
            _ if flaws.is_full() => self.wrong.clear(),
            Some(Wrong::Filler(flaw)) => flaws.add(flaw.clone()),
            Some(Wrong::Node(node, stored)) => {
                let bytes = self.at_fault(given, *node, stored)?;
                flaws.add(Flaw::at(self.region, bytes, format!("node {node} is not the hash of its two children")));
            }
            None => {}
        }
        self.wrong.pop_front();
        Ok(())
    }

    /// Which nodes are to blame where one is not the hash of its children: itself if the node above does not know it
    /// either, else a child that does not fit its own children, else any of the two.
    fn at_fault(&self, given: &Given<'_>, node: u64, stored: &Hash) -> Result<Span, WantedBytes> {
        let read = |node| given.node(self.at, node);
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

    pub fn step(&mut self, given: &Given<'_>, flaws: &mut Flaws) -> Result<CheckStep, WantedBytes> {
        let from = self.next;
        let piece = given.next_piece(&mut self.next, self.all.end)?;
        let not_zero = |b: &u8| *b != 0;
        if let (Some(first), Some(last)) = (piece.iter().position(not_zero), piece.iter().rposition(not_zero)) {
            let bytes = Span::new(from + first as u64, from + last as u64 + 1);
            flaws.add(Flaw::at(self.region, bytes, "it is not zero, though the UEB says that there is none"));
        }
        Ok(if self.next < self.all.end { CheckStep::More } else { CheckStep::Done })
    }
}
