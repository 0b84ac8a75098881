//! The data of an immutable share: where its parts stand.
//!
//! Layout 2 is layout 1 with wider fields. All offsets in a [`ImmutableLayout`] count from the start of the file, although the
//! share counts them from the start of its data.

use super::container::IMMUTABLE_DATA_AT;
use super::region::Region;
use super::{be32, be64};
use crate::job::scrub::{Flaw, Span};

/// Bytes from the start of the file that [`ImmutableLayout::parse`] wants to see.
pub const HEAD_LEN: usize = 12 + 0x44;

/// Where the parts of an immutable share stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImmutableLayout {
    /// The block size field.
    pub block_size: u64,
    /// The data size field.
    pub data_size: u64,
    /// The whole head with version, sizes and offsets.
    pub head: Span,
    /// The blocks.
    pub data: Span,
    /// The plaintext hash tree.
    pub plaintext_tree: Span,
    /// The crypttext hash tree.
    pub crypttext_tree: Span,
    /// The block hash tree.
    pub block_tree: Span,
    /// The share hash chain.
    pub chain: Span,
    pub ueb_length: Span,
    /// The UEB: what is left up to the leases.
    pub ueb: Span,
}

impl ImmutableLayout {
    /// Reads the layout from the first bytes of a file, whose share data ends at `end`.
    ///
    /// # Errors
    /// If version, sizes or offsets cannot be.
    pub fn parse(head: &[u8], end: u64) -> Result<ImmutableLayout, Flaw> {
        let base = IMMUTABLE_DATA_AT;
        let flaw = |reason: String| Flaw::at(Region::Layout, Span::new(base, base + 0x24), reason);
        let data = head.get(base as usize..).unwrap_or_default();
        let (word, head_len) = match be32(data, 0) {
            Some(1) => (4, 0x24),
            Some(2) => (8, 0x44),
            Some(other) => return Err(flaw(format!("layout version {other} is unknown, 1 and 2 are known"))),
            None => return Err(flaw("the share data is too short for a layout".to_owned())),
        };
        let field = |i: usize| {
            let at = 4 + i * word;
            if word == 4 { be32(data, at).map(u64::from) } else { be64(data, at) }
        };
        let mut fields = [0; 8];
        for (i, value) in fields.iter_mut().enumerate() {
            *value = field(i).ok_or_else(|| flaw("the share data is too short for its layout".to_owned()))?;
        }
        let [block_size, data_size, offsets @ ..] = fields;
        let flaw = |reason: &str| Flaw::at(Region::Layout, Span::new(base, base + head_len), reason);
        let share_len = end.saturating_sub(base);
        let ueb_at = offsets[5].checked_add(word as u64);
        let ascending = offsets.windows(2).all(|two| two[0] <= two[1]);
        if offsets[0] != head_len || !ascending || ueb_at.is_none_or(|at| at > share_len) {
            return Err(flaw("the offsets are not ascending from the end of the head to within the share data"));
        }
        // All offsets are at most the length of the share data, so nothing overflows.
        let span = |i: usize| Span::new(base + offsets[i], base + offsets[i + 1]);
        let ueb_length = Span::new(base + offsets[5], base + offsets[5] + word as u64);
        Ok(ImmutableLayout {
            block_size,
            data_size,
            head: Span::new(base, base + head_len),
            data: span(0),
            plaintext_tree: span(1),
            crypttext_tree: span(2),
            block_tree: span(3),
            chain: span(4),
            ueb_length,
            ueb: Span::new(ueb_length.end, end),
        })
    }

    /// The length field of the UEB, from its bytes; `None` unless they are as many as the layout says.
    pub fn ueb_len(&self, field: &[u8]) -> Option<u64> {
        match field.len() {
            4 => be32(field, 0).map(u64::from),
            8 => be64(field, 0),
            _ => None,
        }
    }
}
