//! The share hash chain: from the root of this share's block tree to the root over all shares.

use crate::tahoe::hash::{HASH_LEN, Hash};
use crate::tahoe::merkle::{self, Shape};

/// Bytes of an entry: node number and hash.
const ENTRY_LEN: usize = 2 + HASH_LEN;

/// Bytes of the longest chain that makes sense: 256 shares have 8 rows above the leaves, and the leaf itself.
pub(super) const CHAIN_LEN_MOST: u64 = 9 * ENTRY_LEN as u64;

/// Whether a chain holds the leaf itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaf {
    /// Immutable shares.
    Included,
    /// Mutable shares.
    LeftOut,
}

/// Where a chain begins, and where it has to lead.
pub(super) struct ChainEnds {
    /// Shares of the file, N.
    pub shares: u64,
    /// This share's number.
    pub number: Option<i64>,
    /// The root of its block tree.
    pub leaf: Hash,
    /// The root over all shares.
    pub root: Hash,
}

/// Checks a chain: exactly the nodes that are needed, and that they lead to the root.
pub(super) fn check(chain: &[u8], ends: &ChainEnds, with: Leaf) -> Result<(), String> {
    let (entries, rest) = chain.as_chunks::<ENTRY_LEN>();
    if !rest.is_empty() {
        return Err(format!("its {} bytes are no whole number of entries", chain.len()));
    }
    let number = ends.number.and_then(|n| u64::try_from(n).ok()).filter(|n| *n < ends.shares);
    let (Some(number), Some(shape)) = (number, Shape::new(ends.shares)) else {
        let name = ends.number.map_or_else(|| "of this share".to_owned(), |n| n.to_string());
        return Err(format!("the number {name} is none of {} shares", ends.shares));
    };
    let leaf = shape.leaf(number);
    let entry = |node: u64| entries.iter().find(|e| u64::from(u16::from_be_bytes([e[0], e[1]])) == node);
    let hash = |node: u64| entry(node).and_then(|e| Hash::try_from(&e[2..]).ok());
    let path: Vec<u64> = merkle::path(shape, number).collect();
    let due = path.len() + usize::from(with == Leaf::Included);
    // As many as are needed, and each that is needed: no others, and none twice.
    if entries.len() != due {
        return Err(format!("it has {} nodes where share {number} of {} needs {due}", entries.len(), ends.shares));
    }
    if with == Leaf::Included {
        let own = hash(leaf).ok_or_else(|| format!("it lacks the share's own node {leaf}"))?;
        if own != ends.leaf {
            return Err("the share's own node in it is not the root of the block hash tree".to_owned());
        }
    }
    let (mut node, mut climbed) = (leaf, ends.leaf);
    for beside in path {
        let sibling = hash(beside).ok_or_else(|| format!("it lacks node {beside}, which share {number} needs"))?;
        climbed = merkle::join(node, &climbed, &sibling);
        node = merkle::parent(node).unwrap_or(0);
    }
    if climbed == ends.root { Ok(()) } else { Err("it does not lead to the root over all shares".to_owned()) }
}
