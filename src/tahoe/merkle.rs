//! Merkle trees as they stand in shares: complete, from the root down, row by row.
//!
//! The leaves are filled up to a power of two P. Node 0 is the root, the children of node i are 2i+1 and 2i+2, leaf i is node
//! P-1+i. Pure arithmetic; trees are read and checked elsewhere, in pieces.

use super::hash::{HASH_LEN, Hash, pair};

/// The shape of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    leaves: u64,
    padded: u64,
}

impl Shape {
    /// The tree over so many leaves; over none, it is one filler. `None` if it had more nodes than can be counted.
    pub fn new(leaves: u64) -> Option<Shape> {
        let padded = leaves.max(1).checked_next_power_of_two()?;
        (padded < 1 << 57).then_some(Shape { leaves, padded })
    }

    /// Leaves that are no fillers.
    pub fn leaves(self) -> u64 {
        self.leaves
    }

    /// Leaves with the fillers: a power of two.
    pub fn padded(self) -> u64 {
        self.padded
    }

    /// All nodes.
    pub fn nodes(self) -> u64 {
        2 * self.padded - 1
    }

    /// Bytes of the tree in a share.
    pub fn bytes(self) -> u64 {
        self.nodes() * HASH_LEN as u64
    }

    /// The node of a leaf.
    pub fn leaf(self, i: u64) -> u64 {
        self.padded - 1 + i
    }
}

/// The other child of a node's parent; `None` for the root.
pub fn sibling(node: u64) -> Option<u64> {
    // Left children have odd numbers.
    match node {
        0 => None,
        _ if node % 2 == 1 => Some(node + 1),
        _ => Some(node - 1),
    }
}

/// The parent of a node; `None` for the root.
pub fn parent(node: u64) -> Option<u64> {
    Some(node.checked_sub(1)? / 2)
}

/// The hash over a node and its sibling.
pub fn join(node: u64, hash: &Hash, sibling: &Hash) -> Hash {
    if node % 2 == 1 { pair(hash, sibling) } else { pair(sibling, hash) }
}

/// The nodes that are needed, beside the leaf, to climb from it to the root; from the leaf upwards.
pub fn path(shape: Shape, leaf: u64) -> impl Iterator<Item = u64> {
    let nodes = std::iter::successors(Some(shape.leaf(leaf)), |node| parent(*node));
    nodes.filter_map(sibling)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tahoe::hash::{BLOCK, filler, tagged};
    use proptest::prelude::*;

    /// A whole tree, made row by row as the format says.
    fn tree(leaves: &[Hash]) -> Vec<Hash> {
        let padded = leaves.len().max(1).next_power_of_two();
        let mut row: Vec<Hash> = leaves.to_vec();
        row.extend((leaves.len()..padded).map(|i| filler(i as u64)));
        let mut rows = vec![row.clone()];
        while row.len() > 1 {
            row = row.chunks(2).map(|two| pair(&two[0], &two[1])).collect();
            rows.push(row.clone());
        }
        rows.into_iter().rev().flatten().collect()
    }

    #[test]
    fn shapes_are_powers_of_two() {
        let shape = |leaves| Shape::new(leaves).unwrap();
        assert_eq!((shape(0).nodes(), shape(1).nodes(), shape(2).nodes(), shape(5).nodes()), (1, 1, 3, 15));
        assert_eq!((shape(5).bytes(), shape(5).leaf(4)), (480, 11));
        assert_eq!(Shape::new(u64::MAX), None);
        assert_eq!(path(shape(4), 2).collect::<Vec<_>>(), [6, 1]);
        assert_eq!(path(shape(1), 0).count(), 0);
    }

    proptest! {
        #[test]
        fn climbing_from_any_leaf_gives_the_root(n in 1usize..70, pick in any::<prop::sample::Index>()) {
            let leaves: Vec<Hash> = (0..n).map(|i| tagged(BLOCK, &i.to_le_bytes())).collect();
            let (tree, shape) = (tree(&leaves), Shape::new(n as u64).unwrap());
            prop_assert_eq!(tree.len() as u64, shape.nodes());
            let leaf = pick.index(n) as u64;
            let (mut node, mut hash) = (shape.leaf(leaf), leaves[leaf as usize]);
            for beside in path(shape, leaf) {
                prop_assert_eq!(sibling(node), Some(beside));
                hash = join(node, &hash, &tree[beside as usize]);
                node = parent(node).unwrap();
                prop_assert_eq!(hash, tree[node as usize]);
            }
            prop_assert_eq!((node, hash), (0, tree[0]));
        }
    }
}
