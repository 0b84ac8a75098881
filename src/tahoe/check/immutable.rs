//! The plan of the check of an immutable share: container, layout and UEB are checked at once, the rest is planned.

use super::blocks::{Against, Blocks};
use super::chain::{self, CHAIN_LEN_MOST, ChainEnds, Leaf};
use super::tree::{Tree, Zeros};
use super::{CheckTask, CommonFields, Given, ShareCheck, WantedBytes, misfit, node_span};
use crate::job::scrub::{Flaw, Span};
use crate::tahoe::container::{Immutable, ShareType};
use crate::tahoe::hash::{Hash, pair};
use crate::tahoe::immutable::ImmutableLayout;
use crate::tahoe::merkle::Shape;
use crate::tahoe::region::Region;
use crate::tahoe::ueb::{UEB_LEN_MOST, Ueb, UebGeometry};

/// A share of which it is known where everything is.
#[derive(Debug)]
pub(super) struct ImmutablePlan {
    layout: ImmutableLayout,
    ueb: Ueb,
    geometry: UebGeometry,
}

/// Checks what says where everything is; gives the task that follows.
pub(super) fn plan(
    check: &mut ShareCheck,
    header: &Immutable,
    head: &[u8],
    given: &Given<'_>,
) -> Result<Result<CheckTask, Flaw>, WantedBytes> {
    check.share_type = Some(ShareType::Immutable);
    let planned = misfit(Region::ContainerHeader, header.misfit(check.size))
        .and_then(|()| ImmutableLayout::parse(head, header.leases_at(check.size).unwrap_or(0)));
    let layout = match planned {
        Ok(layout) => layout,
        Err(flaw) => return Ok(Err(flaw)),
    };
    let bytes = match read_ueb(&layout, given)? {
        Ok(bytes) => bytes,
        Err(flaw) => return Ok(Err(flaw)),
    };
    let parsed = Ueb::parse(bytes).and_then(|ueb| ueb.geometry().map(|geometry| (ueb, geometry)));
    let (ueb, geometry) = match parsed {
        Ok(parsed) => parsed,
        Err(reason) => return Ok(Err(Flaw::at(Region::Ueb, layout.ueb, reason))),
    };
    check.common = Some(CommonFields::Immutable { ueb: bytes.to_vec(), at: layout.ueb.start });
    let sizes = check_sizes(&layout, &geometry);
    Ok(sizes.map(|()| CheckTask::Immutable(Box::new(ImmutablePlan { layout, ueb, geometry }))))
}

fn read_ueb<'g>(layout: &ImmutableLayout, given: &Given<'g>) -> Result<Result<&'g [u8], Flaw>, WantedBytes> {
    let field = given.bytes(layout.ueb_length.start, layout.ueb_length.len() as usize)?;
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
    Ok(Ok(given.bytes(layout.ueb.start, there as usize)?))
}

/// The sizes of the parts against what the UEB says.
fn check_sizes(layout: &ImmutableLayout, geometry: &UebGeometry) -> Result<(), Flaw> {
    let flaw = |reason: String| Flaw::at(Region::Layout, layout.head, reason);
    let UebGeometry { block, data, tree, .. } = *geometry;
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

impl ImmutablePlan {
    /// Checks the roots and the chain; gives the tasks that are left.
    pub fn tasks(&self, check: &mut ShareCheck, given: &Given<'_>) -> Result<Vec<CheckTask>, WantedBytes> {
        let ImmutablePlan { layout, ueb, geometry } = self;
        let tree = geometry.tree;
        let leaf = given.node(layout.block_tree.start, 0)?;
        let ends = ChainEnds { shares: ueb.total_shares, number: check.number, leaf, root: ueb.share_root_hash };
        let chain_flaw = check_chain(layout.chain, &ends, Leaf::Included, given)?;
        let against = Against { tree_at: layout.block_tree.start, tree, root_is_right: chain_flaw.is_none() };
        let blocks = Blocks::new(layout.data, geometry.block, geometry.last_block, against, check.how);
        let root_flaw = |region, at, said| root_flaw(layout, region, at, tree, said, given);
        let (plaintext, plaintext_flaw) = match &ueb.plaintext_root_hash {
            Some(root) => {
                let flaw = root_flaw(Region::PlaintextTree, layout.plaintext_tree, root)?;
                let agrees = flaw.is_none();
                (CheckTask::Tree(Tree::new(Region::PlaintextTree, layout.plaintext_tree.start, tree, agrees)), flaw)
            }
            None => (CheckTask::Zeros(Zeros::new(Region::PlaintextTree, layout.plaintext_tree)), None),
        };
        let crypttext_flaw = root_flaw(Region::CrypttextTree, layout.crypttext_tree, &ueb.crypttext_root_hash)?;
        let agrees = crypttext_flaw.is_none();
        // All is there that was wanted.
        plaintext_flaw.into_iter().chain(crypttext_flaw).for_each(|flaw| check.flaws.add(flaw));
        let mut tasks = vec![
            CheckTask::Blocks(Box::new(blocks)),
            plaintext,
            CheckTask::Tree(Tree::new(Region::CrypttextTree, layout.crypttext_tree.start, tree, agrees)),
            CheckTask::Tree(Tree::new(Region::BlockTree, layout.block_tree.start, tree, against.root_is_right)),
        ];
        tasks.extend(chain_flaw.map(|reason| tell_chain(reason, layout.block_tree)));
        Ok(tasks)
    }
}

/// The root of a tree against the UEB: what is wrong if they do not agree. The tree is to blame if its root does not fit it either;
/// of a tree that is a root alone nobody can tell.
fn root_flaw(
    layout: &ImmutableLayout,
    region: Region,
    tree: Span,
    shape: Shape,
    said: &Hash,
    given: &Given<'_>,
) -> Result<Option<Flaw>, WantedBytes> {
    let root = given.node(tree.start, 0)?;
    if root == *said {
        return Ok(None);
    }
    if shape.nodes() == 1 {
        return Ok(Some(Flaw::in_doubt(region, "its root is not the one in the UEB: either of them has changed")));
    }
    let (left, right) = (given.node(tree.start, 1)?, given.node(tree.start, 2)?);
    Ok(Some(if pair(&left, &right) == root {
        Flaw::at(Region::Ueb, layout.ueb, format!("its root of the {region} is not the one that stands there"))
    } else {
        Flaw::at(region, node_span(tree.start, 0), "its root is not the one in the UEB")
    }))
}

/// Checks a share hash chain; gives what is wrong with it.
pub(super) fn check_chain(
    chain: Span,
    ends: &ChainEnds,
    with: Leaf,
    given: &Given<'_>,
) -> Result<Option<String>, WantedBytes> {
    if chain.len() > CHAIN_LEN_MOST {
        return Ok(Some(format!("{} bytes are too many for it", chain.len())));
    }
    let bytes = given.bytes(chain.start, chain.len() as usize)?;
    Ok(chain::check(bytes, ends, with).err())
}

/// What is wrong with a chain, to be told at the end; it carries the bytes of the block tree's root, where it begins.
pub(super) fn tell_chain(reason: String, block_tree: Span) -> CheckTask {
    CheckTask::TellChain(Flaw::at(Region::Chain, node_span(block_tree.start, 0), reason))
}
