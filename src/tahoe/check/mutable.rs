//! The plan of the check of a mutable share: container, offsets, key and signature are checked at once, the rest is
//! planned.

use super::blocks::{Against, Blocks};
use super::chain::{ChainEnds, Leaf};
use super::immutable::{check_chain, tell_chain};
use super::tree::Tree;
use super::{CheckTask, CommonFields, Digest, Given, ShareCheck, WantedBytes, misfit, sha256_of};
use crate::job::scrub::{Flaw, Span};
use crate::tahoe::be32;
use crate::tahoe::container::{MUTABLE_DATA_AT, Mutable, ShareType};
use crate::tahoe::mutable::{MutableGeometry, MutableLayout};
use crate::tahoe::region::Region;
use crate::tahoe::signature::{KEY_LEN_MOST, PublicKey, Validity};

/// Where the lengths stand in the container.
const LENGTHS: Span = Span { start: 84, end: 100 };

/// A share of which it is known where everything is.
#[derive(Debug)]
pub(super) struct MutablePlan {
    layout: MutableLayout,
    geometry: MutableGeometry,
}

/// Checks what says where everything is; gives the task that follows.
pub(super) fn plan(
    check: &mut ShareCheck,
    header: &Mutable,
    head: &[u8],
    given: &Given<'_>,
) -> Result<Result<CheckTask, Flaw>, WantedBytes> {
    check.share_type = Some(ShareType::Mutable);
    if let Err(flaw) = check_container(check.size, header, given)? {
        return Ok(Err(flaw));
    }
    let layout = match MutableLayout::parse(head, header.data_length) {
        Ok(layout) => layout,
        Err(flaw) => return Ok(Err(flaw)),
    };
    if let Err(flaw) = check_signature(check, &layout, head, given)? {
        return Ok(Err(flaw));
    }
    let geometry = match layout.geometry() {
        Ok(geometry) => geometry,
        Err(flaw) => return Ok(Err(flaw)),
    };
    let due = geometry.tree.bytes();
    if layout.block_tree.len() != due {
        let reason = format!("the block hash tree has {} bytes, not {due}", layout.block_tree.len());
        return Ok(Err(Flaw::at(Region::Offsets, layout.head(), reason)));
    }
    Ok(Ok(CheckTask::Mutable(Box::new(MutablePlan { layout, geometry }))))
}

fn check_container(size: u64, header: &Mutable, given: &Given<'_>) -> Result<Result<(), Flaw>, WantedBytes> {
    let lengths = header.misfit().map(|misfit| Flaw::at(Region::ContainerLengths, LENGTHS, misfit.to_string()));
    let lengths = lengths.map_or(Ok(()), Err);
    let count_end = header.extra_leases_at.checked_add(4);
    if count_end.is_none_or(|end| end > size) || MUTABLE_DATA_AT > size {
        let reason = format!("the extra leases would begin at {}, the file has {size} bytes", header.extra_leases_at);
        return Ok(lengths.and(Err(Flaw::in_doubt(Region::ContainerLengths, reason))));
    }
    let count = given.bytes(header.extra_leases_at, 4)?;
    let extra = be32(count, 0).unwrap_or(0);
    Ok(lengths.and_then(|()| misfit(Region::ExtraLeases, header.misfit_at_end(extra, size))))
}

/// Checks the key's form and the signature, and keeps what the shares of this version have in common.
fn check_signature(
    check: &mut ShareCheck,
    layout: &MutableLayout,
    head: &[u8],
    given: &Given<'_>,
) -> Result<Result<(), Flaw>, WantedBytes> {
    let MutableLayout { public_key, signature, signed, .. } = *layout;
    for (region, span) in [(Region::PublicKey, public_key), (Region::Signature, signature)] {
        if span.len() > KEY_LEN_MOST {
            let reason = format!("{} bytes are too many for it: the offsets have changed", span.len());
            return Ok(Err(Flaw::at(region, layout.head(), reason)));
        }
    }
    let key_bytes = given.bytes(public_key.start, public_key.len() as usize)?;
    let signature_bytes = given.bytes(signature.start, signature.len() as usize)?;
    let Some(key) = PublicKey::parse(key_bytes) else {
        let reason = "it is no RSA key in DER: it has changed, or the offsets have";
        return Ok(Err(Flaw::in_doubt(Region::PublicKey, reason)));
    };
    let message = head.get(signed.start as usize..signed.end as usize).unwrap_or_default();
    match key.judge(message, signature_bytes) {
        Validity::Valid => {}
        Validity::NotChecked => check.signature_not_checked = true,
        Validity::Invalid => {
            let reason = "it is not valid: signed fields, offsets, public key or signature have changed";
            return Ok(Err(Flaw::in_doubt(Region::Signature, reason)));
        }
    }
    let parts = vec![
        (Region::SignedFields, signed, sha256_of(message)),
        (Region::PublicKey, public_key, sha256_of(key_bytes)),
        (Region::Signature, signature, sha256_of(signature_bytes)),
    ];
    check.common = Some(CommonFields::Mutable { version: (layout.sequence_number, layout.root_hash), parts });
    Ok(Ok(()))
}

impl MutablePlan {
    /// Checks the chain; gives the tasks that are left.
    pub fn tasks(&self, check: &mut ShareCheck, given: &Given<'_>) -> Result<Vec<CheckTask>, WantedBytes> {
        let MutablePlan { layout, geometry } = self;
        let leaf = given.node(layout.block_tree.start, 0)?;
        let shares = u64::from(layout.total_shares);
        let ends = ChainEnds { shares, number: check.number, leaf, root: layout.root_hash };
        let chain_flaw = check_chain(layout.chain, &ends, Leaf::LeftOut, given)?;
        let (tree_at, tree) = (layout.block_tree.start, geometry.tree);
        let against = Against { tree_at, tree, root_is_right: chain_flaw.is_none() };
        let mut tasks = Vec::with_capacity(4);
        if tree.leaves() > 0 {
            let blocks = Blocks::new(layout.data, geometry.block, geometry.last_block, against, check.how);
            tasks.push(CheckTask::Blocks(Box::new(blocks)));
        }
        tasks.push(CheckTask::Tree(Tree::new(Region::BlockTree, tree_at, tree, against.root_is_right)));
        tasks.push(CheckTask::PrivateKey(Digest::new(layout.private_key)));
        tasks.extend(chain_flaw.map(|reason| tell_chain(reason, layout.block_tree)));
        Ok(tasks)
    }
}
