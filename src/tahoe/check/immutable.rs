//! The plan of the check of an immutable share: container, layout and UEB are checked at once, the rest is planned.

use std::io;

use super::blocks::{Against, Blocks};
use super::chain::{self, CHAIN_LEN_MOST, Ends, Leaf};
use super::tree::{Tree, Zeros};
use super::{Common, ShareCheck, Task, misfit, node_span, read, read_node};
use crate::tahoe::container::{Immutable, ShareType};
use crate::tahoe::hash::{Hash, pair};
use crate::tahoe::immutable::Layout;
use crate::tahoe::merkle::Shape;
use crate::tahoe::region::{Flaw, Region, Span};
use crate::tahoe::table::ReadAt;
use crate::tahoe::ueb::{Geometry, UEB_LEN_MOST, Ueb};

/// Checks what says where everything is; gives the tasks that are left.
pub(super) fn plan(
    check: &mut ShareCheck,
    header: &Immutable,
    head: &[u8],
    file: &impl ReadAt,
) -> io::Result<Result<Vec<Task>, Flaw>> {
    check.share_type = Some(ShareType::Immutable);
    let planned = misfit(Region::ContainerHeader, header.misfit(check.size))
        .and_then(|()| Layout::parse(head, header.leases_at(check.size).unwrap_or(0)));
    let layout = match planned {
        Ok(layout) => layout,
        Err(flaw) => return Ok(Err(flaw)),
    };
    let bytes = match read_ueb(&layout, file)? {
        Ok(bytes) => bytes,
        Err(flaw) => return Ok(Err(flaw)),
    };
    let parsed = Ueb::parse(&bytes).and_then(|ueb| ueb.geometry().map(|geometry| (ueb, geometry)));
    let (ueb, geometry) = match parsed {
        Ok(parsed) => parsed,
        Err(reason) => return Ok(Err(Flaw::at(Region::Ueb, layout.ueb, reason))),
    };
    check.common = Some(Common::Immutable { ueb: bytes, at: layout.ueb.start });
    match check_sizes(&layout, &geometry) {
        Ok(()) => tasks(check, &layout, &ueb, &geometry, file).map(Ok),
        Err(flaw) => Ok(Err(flaw)),
    }
}

fn read_ueb(layout: &Layout, file: &impl ReadAt) -> io::Result<Result<Vec<u8>, Flaw>> {
    let mut field = [0; 8];
    let field = &mut field[..layout.ueb_length.len() as usize];
    read(file, layout.ueb_length.start, field)?;
    let (said, there) = (layout.ueb_len(field), layout.ueb.len());
    if said != Some(there) {
        let said = said.unwrap_or(0);
        let reason = format!(
            "it says {said} bytes, but {there} are left up to the leases: it has changed, or the offset of the UEB"
        );
        return Ok(Err(Flaw::in_doubt(Region::UebLength, reason)));
    }
    if there > UEB_LEN_MOST {
        return Ok(Err(Flaw::in_doubt(Region::UebLength, format!("{there} bytes are too many for a UEB"))));
    }
    let mut bytes = vec![0; there as usize];
    read(file, layout.ueb.start, &mut bytes)?;
    Ok(Ok(bytes))
}

/// The sizes of the parts against what the UEB says.
fn check_sizes(layout: &Layout, geometry: &Geometry) -> Result<(), Flaw> {
    let flaw = |reason: String| Flaw::at(Region::Layout, layout.head, reason);
    let Geometry { block, data, tree, .. } = *geometry;
    if (layout.block_size, layout.data_size, layout.data.len()) != (block, data, data) {
        let (fields, room) = ((layout.block_size, layout.data_size), layout.data.len());
        return Err(flaw(format!(
            "block size and data size are {fields:?} with room for {room} bytes, but the UEB makes them {block} and {data}"
        )));
    }
    let trees = [layout.plaintext_tree, layout.crypttext_tree, layout.block_tree];
    match trees.iter().find(|span| span.len() != tree.bytes()) {
        Some(span) => Err(flaw(format!("a tree has {} bytes, but the UEB makes it {}", span.len(), tree.bytes()))),
        None => Ok(()),
    }
}

fn tasks(
    check: &mut ShareCheck,
    layout: &Layout,
    ueb: &Ueb,
    geometry: &Geometry,
    file: &impl ReadAt,
) -> io::Result<Vec<Task>> {
    let tree = geometry.tree;
    let leaf = read_node(file, layout.block_tree.start, 0)?;
    let ends = Ends { shares: ueb.total_shares, number: check.number, leaf, root: ueb.share_root_hash };
    let chain_flaw = check_chain(layout.chain, &ends, Leaf::Included, file)?;
    let against = Against { tree_at: layout.block_tree.start, tree, root_is_right: chain_flaw.is_none() };
    let blocks = Blocks::new(layout.data, geometry.block, geometry.last_block, against, check.how);
    let plaintext = match &ueb.plaintext_root_hash {
        Some(root) => {
            let agrees = check_root(check, Region::PlaintextTree, layout.plaintext_tree, tree, root, (layout, file))?;
            Task::Tree(Tree::new(Region::PlaintextTree, layout.plaintext_tree.start, tree, agrees))
        }
        None => Task::Zeros(Zeros::new(Region::PlaintextTree, layout.plaintext_tree)),
    };
    let root = &ueb.crypttext_root_hash;
    let agrees = check_root(check, Region::CrypttextTree, layout.crypttext_tree, tree, root, (layout, file))?;
    let mut tasks = vec![
        Task::Blocks(Box::new(blocks)),
        plaintext,
        Task::Tree(Tree::new(Region::CrypttextTree, layout.crypttext_tree.start, tree, agrees)),
        Task::Tree(Tree::new(Region::BlockTree, layout.block_tree.start, tree, against.root_is_right)),
    ];
    tasks.extend(chain_flaw.map(|reason| tell_chain(reason, layout.block_tree)));
    Ok(tasks)
}

/// The root of a tree against the UEB; gives whether they agree. Where they do not, the tree is to blame if its root does
/// not fit it either; of a tree that is a root alone nobody can tell.
fn check_root<R: ReadAt>(
    check: &mut ShareCheck,
    region: Region,
    tree: Span,
    shape: Shape,
    said: &Hash,
    (layout, file): (&Layout, &R),
) -> io::Result<bool> {
    let root = read_node(file, tree.start, 0)?;
    if root == *said {
        return Ok(true);
    }
    if shape.nodes() == 1 {
        let reason = "its root is not the one in the UEB: either of them has changed";
        check.flaws.add(Flaw::in_doubt(region, reason));
        return Ok(false);
    }
    let (left, right) = (read_node(file, tree.start, 1)?, read_node(file, tree.start, 2)?);
    check.flaws.add(if pair(&left, &right) == root {
        Flaw::at(Region::Ueb, layout.ueb, format!("its root of the {region} is not the one that stands there"))
    } else {
        Flaw::at(region, node_span(tree.start, 0), "its root is not the one in the UEB".to_owned())
    });
    Ok(false)
}

/// Reads and checks a share hash chain; gives what is wrong with it.
pub(super) fn check_chain(chain: Span, ends: &Ends, with: Leaf, file: &impl ReadAt) -> io::Result<Option<String>> {
    if chain.len() > CHAIN_LEN_MOST {
        return Ok(Some(format!("{} bytes are too many for it", chain.len())));
    }
    let mut bytes = vec![0; chain.len() as usize];
    read(file, chain.start, &mut bytes)?;
    Ok(chain::check(&bytes, ends, with).err())
}

/// What is wrong with a chain, to be told at the end; it carries the bytes of the block tree's root, where it begins.
pub(super) fn tell_chain(reason: String, block_tree: Span) -> Task {
    Task::TellChain(Flaw::at(Region::Chain, node_span(block_tree.start, 0), reason))
}
