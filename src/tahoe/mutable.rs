//! The data of a mutable share, SDMF and MDMF: its fields, and where its parts stand.
//!
//! All offsets in a [`MutableLayout`] count from the start of the file, although the share counts them from the start of its
//! data.

use super::container::MUTABLE_DATA_AT;
use super::hash::Hash;
use super::merkle::Shape;
use super::region::Region;
use super::{be32, be64};
use crate::job::scrub::{Flaw, Span};

/// Bytes from the start of the file that [`MutableLayout::parse`] wants to see.
pub const HEAD_LEN: usize = MUTABLE_DATA_AT as usize + 123;

/// Where the data of MDMF always begins: behind room for the largest key, chain and signature.
const MDMF_DATA_AT: u64 = 123 + 1220 + 260 + 292 + 272;

/// Bytes of the salt in front of each MDMF block.
const SALT_LEN: u64 = 16;

/// The two kinds of mutable files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MutableFormat {
    /// One segment, one salt.
    Sdmf,
    /// Many segments, each with a salt.
    Mdmf,
}

/// The fields of a mutable share and where its parts stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MutableLayout {
    /// SDMF or MDMF.
    pub kind: MutableFormat,
    /// Counts the versions of the file.
    pub sequence_number: u64,
    /// Root over the block hash trees of all shares.
    pub root_hash: Hash,
    /// Shares needed for the file, k.
    pub needed_shares: u8,
    /// Shares made of it, N.
    pub total_shares: u8,
    /// Bytes of a segment.
    pub segment_size: u64,
    /// Bytes of the file.
    pub data_length: u64,
    /// What the signature covers.
    pub signed: Span,
    pub offsets: Span,
    /// The public key, DER.
    pub public_key: Span,
    pub signature: Span,
    /// The share hash chain.
    pub chain: Span,
    /// The block hash tree.
    pub block_tree: Span,
    /// The blocks, with their salts.
    pub data: Span,
    /// The encrypted private key.
    pub private_key: Span,
}

/// The sizes that follow from the fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MutableGeometry {
    /// Bytes of each block but the last, salt included.
    pub block: u64,
    /// Bytes of the last block, likewise.
    pub last_block: u64,
    /// The tree over the blocks.
    pub tree: Shape,
}

impl MutableLayout {
    /// Reads fields and offsets from the first bytes of a file with so many bytes of share data.
    ///
    /// # Errors
    /// If the version is unknown, or the offsets cannot be.
    pub fn parse(head: &[u8], data_length: u64) -> Result<MutableLayout, Flaw> {
        let base = MUTABLE_DATA_AT;
        let there = usize::try_from(data_length).unwrap_or(usize::MAX);
        let data = head.get(base as usize..).unwrap_or_default();
        let data = &data[..data.len().min(there)];
        let short = || Flaw::at(Region::ContainerLengths, Span::new(84, 100), "the share data is too short");
        match data.first() {
            Some(0) => sdmf(data).ok_or_else(short)?.checked(data_length),
            Some(1) => mdmf(data).ok_or_else(short)?.checked(data_length),
            Some(other) => {
                let reason = format!("version {other} is unknown, 0 (SDMF) and 1 (MDMF) are known");
                Err(Flaw::at(Region::SignedFields, Span::new(base, base + 1), reason))
            }
            None => Err(short()),
        }
    }

    /// Where fields and offsets stand.
    pub fn head(&self) -> Span {
        Span::new(self.signed.start, self.offsets.end)
    }

    /// Checks the relations between the fields, and gives the sizes that follow.
    ///
    /// # Errors
    /// Which relation does not hold.
    pub fn geometry(&self) -> Result<MutableGeometry, Flaw> {
        // The data's length follows from the offsets, and all of them from the version.
        let flaw = |reason: String| Flaw::at(Region::SignedFields, self.head(), reason);
        let (k, n) = (u64::from(self.needed_shares), u64::from(self.total_shares));
        if !(1 <= k && k <= n) {
            return Err(flaw(format!("{k} of {n} shares cannot be")));
        }
        let MutableLayout { kind, segment_size: segment, data_length: size, .. } = *self;
        if size > 0 && (segment == 0 || !segment.is_multiple_of(k)) {
            return Err(flaw(format!("segments of {segment} bytes for {k} shares cannot be")));
        }
        let (salt, segments) = match kind {
            _ if size == 0 => (0, 0),
            MutableFormat::Sdmf => (0, 1),
            MutableFormat::Mdmf => (SALT_LEN, size.div_ceil(segment)),
        };
        let sizes = || {
            let tree = Shape::new(segments)?;
            if segments == 0 {
                return Some((MutableGeometry { block: 0, last_block: 0, tree }, 0));
            }
            let tail = size - segment.checked_mul(segments - 1)?;
            let block = (segment / k).checked_add(salt)?;
            let last_block = tail.div_ceil(k).checked_add(salt)?;
            let data = block.checked_mul(segments - 1)?.checked_add(last_block)?;
            Some((MutableGeometry { block, last_block, tree }, data))
        };
        match sizes() {
            Some((geometry, data)) if data == self.data.len() => Ok(geometry),
            _ => Err(flaw(format!(
                "{size} bytes in segments of {segment} for {k} shares do not fill the {} bytes of data",
                self.data.len()
            ))),
        }
    }
}

/// Fields and offsets as read, each offset with the part that begins there.
struct Draft {
    layout: MutableLayout,
    /// Offsets in the order in which their parts stand, the end of the last part included.
    ascending: Vec<u64>,
    first: u64,
}

impl Draft {
    fn checked(self, data_length: u64) -> Result<MutableLayout, Flaw> {
        let Draft { layout, ascending, first } = self;
        // Which offsets there are is what the version says.
        let flaw = |reason: &str| Flaw::at(Region::Offsets, layout.head(), reason);
        let in_order = ascending.windows(2).all(|two| two[0] <= two[1]);
        if ascending.first() != Some(&first) || !in_order {
            return Err(flaw("the offsets are not ascending from the end of the head"));
        }
        if let Some(eof) = ascending.last().filter(|eof| **eof > data_length) {
            let reason = format!(
                "the offsets lead to byte {eof} of the share data, which by the container has {data_length}: either has changed"
            );
            return Err(Flaw::in_doubt(Region::Offsets, reason));
        }
        if layout.kind == MutableFormat::Mdmf && layout.data.start != MUTABLE_DATA_AT + MDMF_DATA_AT {
            return Err(flaw("the data does not begin where it does in every MDMF share"));
        }
        Ok(layout)
    }
}

/// A part between two offsets; what is out of order or too large is refused later, by the offsets themselves.
fn part(from: u64, to: u64) -> Span {
    Span::new(MUTABLE_DATA_AT.saturating_add(from), MUTABLE_DATA_AT.saturating_add(to))
}

fn sdmf(data: &[u8]) -> Option<Draft> {
    let narrow = |at| be32(data, at).map(u64::from);
    let (signature, chain, tree, blocks) = (narrow(75)?, narrow(79)?, narrow(83)?, narrow(87)?);
    let (private_key, eof) = (be64(data, 91)?, be64(data, 99)?);
    let layout = MutableLayout {
        kind: MutableFormat::Sdmf,
        sequence_number: be64(data, 1)?,
        root_hash: data.get(9..41)?.try_into().ok()?,
        needed_shares: *data.get(57)?,
        total_shares: *data.get(58)?,
        segment_size: be64(data, 59)?,
        data_length: be64(data, 67)?,
        signed: part(0, 75),
        offsets: part(75, 107),
        public_key: part(107, signature),
        signature: part(signature, chain),
        chain: part(chain, tree),
        block_tree: part(tree, blocks),
        data: part(blocks, private_key),
        private_key: part(private_key, eof),
    };
    Some(Draft { layout, ascending: vec![107, signature, chain, tree, blocks, private_key, eof], first: 107 })
}

fn mdmf(data: &[u8]) -> Option<Draft> {
    let [private_key, chain, signature, key, key_end, blocks, tree, eof] = {
        let mut offsets = [0; 8];
        for (i, offset) in offsets.iter_mut().enumerate() {
            *offset = be64(data, 59 + 8 * i)?;
        }
        offsets
    };
    let layout = MutableLayout {
        kind: MutableFormat::Mdmf,
        sequence_number: be64(data, 1)?,
        root_hash: data.get(9..41)?.try_into().ok()?,
        needed_shares: *data.get(41)?,
        total_shares: *data.get(42)?,
        segment_size: be64(data, 43)?,
        data_length: be64(data, 51)?,
        signed: part(0, 59),
        offsets: part(59, 123),
        public_key: part(key, key_end),
        signature: part(signature, key),
        chain: part(chain, signature),
        block_tree: part(tree, eof),
        data: part(blocks, tree),
        private_key: part(private_key, chain),
    };
    let ascending = vec![private_key, chain, signature, key, key_end, blocks, tree, eof];
    Some(Draft { layout, ascending, first: 123 })
}
