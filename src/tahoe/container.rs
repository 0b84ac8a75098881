//! Share containers: the header, and what can be told of a container's geometry.
//!
//! Whatever does not begin with one of the two mutable magics is taken for immutable, as Tahoe does, and then usually
//! has an unknown version.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::lease::{IMMUTABLE_RECORD_LEN, MUTABLE_RECORD_LEN};
use super::{be32, be64};

/// Bytes of an immutable container before its data.
pub const IMMUTABLE_DATA_AT: u64 = 12;

/// Where a mutable container's first lease slot stands.
pub const MUTABLE_SLOTS_AT: u64 = 100;

/// Lease slots of a mutable container that stand before its data.
pub const MUTABLE_SLOTS: u64 = 4;

/// Bytes of a mutable container before its data.
pub const MUTABLE_DATA_AT: u64 = MUTABLE_SLOTS_AT + MUTABLE_SLOTS * MUTABLE_RECORD_LEN;

/// Bytes that [`Header::parse`] wants to see.
pub const HEADER_LEN: usize = MUTABLE_SLOTS_AT as usize;

const MUTABLE_MAGICS: [(u8, &[u8; 32]); 2] = [
    (1, b"Tahoe mutable container v1\n\x75\x09\x44\x03\x8e"),
    (2, b"Tahoe mutable container v2\n\xc3\x55\x21\x99\x25"),
];

/// The two kinds of shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename = "sharetypes", rename_all = "lowercase")]
pub enum ShareType {
    /// Changed in place by its owner.
    Mutable,
    /// Written once.
    Immutable,
}

impl ShareType {
    /// Both, in the order of Tahoe's own default.
    pub const ALL: [ShareType; 2] = [ShareType::Mutable, ShareType::Immutable];

    /// Tahoe's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            ShareType::Mutable => "mutable",
            ShareType::Immutable => "immutable",
        }
    }
}

impl fmt::Display for ShareType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The header of a container, as it stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// The header of an immutable container.
    Immutable(Immutable),
    /// The header of a mutable container.
    Mutable(Mutable),
}

/// The header of an immutable container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Immutable {
    /// 1 or 2.
    pub version: u32,
    /// Length of the share data as far as 32 bits can say it. Not used when reading.
    pub data_length: u32,
    /// How many leases stand at the end of the file.
    pub leases: u32,
}

/// The header of a mutable container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mutable {
    /// 1 or 2.
    pub version: u8,
    /// Length of the share data, in bytes.
    pub data_length: u64,
    /// Where the count of the extra lease slots stands.
    pub extra_leases_at: u64,
}

/// Why Tahoe takes a container for corrupt by its header alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// Too short for the header of its kind.
    Short {
        /// The kind.
        share_type: ShareType,
        /// Bytes that are there.
        len: usize,
    },
    /// The version of an immutable container is neither 1 nor 2.
    Version(u32),
    /// It begins as a mutable container does, but its magic is neither of the two.
    Magic,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::Short { len: 0, .. } => write!(f, "the file is empty"),
            Malformed::Short { share_type, len } => {
                let (one, needed) = match share_type {
                    ShareType::Immutable => ("an immutable", IMMUTABLE_DATA_AT),
                    ShareType::Mutable => ("a mutable", MUTABLE_SLOTS_AT),
                };
                write!(f, "the file has {len} bytes, {one} container's header has {needed}")
            }
            Malformed::Version(version) => write!(f, "container version {version} is unknown, 1 and 2 are known"),
            Malformed::Magic => {
                write!(f, "it begins as a mutable container does, but with the magic of no known version")
            }
        }
    }
}

impl Header {
    /// Reads the header from the first bytes of a file: at least [`HEADER_LEN`] of them, or the whole file.
    ///
    /// # Errors
    /// [`Malformed`] where Tahoe's lease checker takes the share for corrupt.
    pub fn parse(head: &[u8]) -> Result<Header, Malformed> {
        if let Some((version, _)) = MUTABLE_MAGICS.iter().find(|(_, magic)| head.starts_with(*magic)) {
            let fields = be64(head, 84).zip(be64(head, 92));
            let (data_length, extra_leases_at) =
                fields.ok_or(Malformed::Short { share_type: ShareType::Mutable, len: head.len() })?;
            return Ok(Header::Mutable(Mutable { version: *version, data_length, extra_leases_at }));
        }
        let short = Malformed::Short { share_type: ShareType::Immutable, len: head.len() };
        let leases = be32(head, 8).ok_or(short)?;
        let (version, data_length) = be32(head, 0).zip(be32(head, 4)).ok_or(short)?;
        match version {
            1 | 2 => Ok(Header::Immutable(Immutable { version, data_length, leases })),
            _ if head.starts_with(b"Tahoe mutable container ") => Err(Malformed::Magic),
            _ => Err(Malformed::Version(version)),
        }
    }

    /// The kind of the share.
    pub fn share_type(&self) -> ShareType {
        match self {
            Header::Immutable(_) => ShareType::Immutable,
            Header::Mutable(_) => ShareType::Mutable,
        }
    }
}

/// What does not fit together in a container, though Tahoe's lease checker does not notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misfit {
    /// Header and leases of an immutable container need more bytes than the file has.
    LeasesBeyondFile {
        /// The header's count of leases.
        leases: u32,
        /// The file's size, in bytes.
        size: u64,
    },
    /// The data length field of an immutable container is not what file size and leases leave for the data.
    DataLength {
        field: u32,
        /// Bytes that are left for the data.
        left: u64,
    },
    /// The extra leases of a mutable container begin before its data ends.
    ExtraLeasesInData {
        /// Where the extra leases begin.
        extra_leases_at: u64,
        /// The data length field.
        data_length: u64,
    },
    /// A mutable container's file does not end where its extra leases end.
    FileEnd {
        /// Where the extra leases end.
        leases_end: u64,
        /// The file's size, in bytes.
        size: u64,
    },
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Misfit::LeasesBeyondFile { leases, size } => {
                let needed = IMMUTABLE_DATA_AT + IMMUTABLE_RECORD_LEN * u64::from(*leases);
                write!(f, "the header counts {leases} leases, which with it need {needed} bytes; the file has {size}")
            }
            Misfit::DataLength { field, left } => {
                write!(f, "the data length field says {field} bytes, but header and leases leave {left} of the file")
            }
            Misfit::ExtraLeasesInData { extra_leases_at, data_length } => write!(
                f,
                "the extra leases begin at {extra_leases_at}, within the {data_length} bytes of data from \
                 {MUTABLE_DATA_AT} on"
            ),
            Misfit::FileEnd { leases_end, size } => {
                write!(f, "the extra leases end at {leases_end}, but the file has {size} bytes")
            }
        }
    }
}

impl Immutable {
    /// Where the leases begin, counted from the end of the file: before the file's first byte where `None`.
    pub fn leases_at(&self, size: u64) -> Option<u64> {
        size.checked_sub(IMMUTABLE_RECORD_LEN * u64::from(self.leases))
    }

    /// Checks the header against the file's size. The data length field holds min(length, 2^32-1), or length mod 2^32
    /// as old versions wrote it.
    pub fn misfit(&self, size: u64) -> Option<Misfit> {
        let data_length = self.leases_at(size).and_then(|at| at.checked_sub(IMMUTABLE_DATA_AT));
        let Some(left) = data_length else {
            return Some(Misfit::LeasesBeyondFile { leases: self.leases, size });
        };
        let field = u64::from(self.data_length);
        let fits = field == left.min(u64::from(u32::MAX)) || field == left & u64::from(u32::MAX);
        (!fits).then_some(Misfit::DataLength { field: self.data_length, left })
    }
}

impl Mutable {
    /// Checks the header by itself.
    pub fn misfit(&self) -> Option<Misfit> {
        let data_end = MUTABLE_DATA_AT.checked_add(self.data_length);
        if data_end.is_some_and(|end| end <= self.extra_leases_at) {
            return None;
        }
        Some(Misfit::ExtraLeasesInData { extra_leases_at: self.extra_leases_at, data_length: self.data_length })
    }

    /// Checks that a file of this size ends with its `extra` lease slots.
    pub fn misfit_at_end(&self, extra: u32, size: u64) -> Option<Misfit> {
        let slots = 4 + MUTABLE_RECORD_LEN * u64::from(extra);
        let leases_end = self.extra_leases_at.saturating_add(slots);
        (leases_end != size).then_some(Misfit::FileEnd { leases_end, size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn immutable(version: u32, data_length: u32, leases: u32) -> Vec<u8> {
        [version, data_length, leases].iter().flat_map(|field| field.to_be_bytes()).collect()
    }

    #[test]
    fn header_tells_the_kind_by_the_magic_alone() {
        let header = Header::parse(&immutable(2, 100, 1)).unwrap();
        assert_eq!(header, Header::Immutable(Immutable { version: 2, data_length: 100, leases: 1 }));
        let mut head = MUTABLE_MAGICS[1].1.to_vec();
        head.resize(84, 0);
        head.extend_from_slice(&300u64.to_be_bytes());
        let short = Malformed::Short { share_type: ShareType::Mutable, len: 92 };
        assert_eq!(Header::parse(&head), Err(short));
        head.extend_from_slice(&768u64.to_be_bytes());
        let header = Header::parse(&head).unwrap();
        assert_eq!(header, Header::Mutable(Mutable { version: 2, data_length: 300, extra_leases_at: 768 }));
        head[25] = b'9';
        assert_eq!(Header::parse(&head), Err(Malformed::Magic));
    }

    #[test]
    fn header_too_short_or_of_another_version_is_malformed() {
        assert_eq!(Header::parse(b""), Err(Malformed::Short { share_type: ShareType::Immutable, len: 0 }));
        let cut = &immutable(1, 0, 0)[..11];
        assert_eq!(Header::parse(cut), Err(Malformed::Short { share_type: ShareType::Immutable, len: 11 }));
        assert_eq!(Header::parse(&immutable(0, 0, 0)), Err(Malformed::Version(0)));
        assert_eq!(Header::parse(&immutable(3, 0, 0)), Err(Malformed::Version(3)));
    }

    #[test]
    fn data_length_is_cut_off_or_wrapped_round_above_32_bits() {
        let header = |data_length| Immutable { version: 1, data_length, leases: 1 };
        assert_eq!(header(100).misfit(12 + 100 + 72), None);
        assert_eq!(header(99).misfit(184), Some(Misfit::DataLength { field: 99, left: 100 }));
        let large = (1u64 << 32) + 5;
        assert_eq!(header(u32::MAX).misfit(12 + large + 72), None);
        assert_eq!(header(5).misfit(12 + large + 72), None);
        assert_eq!(header(6).misfit(12 + large + 72), Some(Misfit::DataLength { field: 6, left: large }));
        assert_eq!(header(0).misfit(83), Some(Misfit::LeasesBeyondFile { leases: 1, size: 83 }));
    }

    #[test]
    fn extra_leases_stand_behind_the_data_and_end_the_file() {
        let header = Mutable { version: 1, data_length: 300, extra_leases_at: 768 };
        assert_eq!(header.misfit(), None);
        assert_eq!(header.misfit_at_end(2, 768 + 4 + 184), None);
        assert_eq!(header.misfit_at_end(1, 956), Some(Misfit::FileEnd { leases_end: 864, size: 956 }));
        assert!(Mutable { data_length: 301, ..header }.misfit().is_some());
        assert!(Mutable { data_length: u64::MAX, ..header }.misfit().is_some());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(head in prop::collection::vec(any::<u8>(), 0..120),
            magic in 0usize..3, size in any::<u64>(),
        ) {
            let mut bytes = MUTABLE_MAGICS.get(magic).map_or(Vec::new(), |m| m.1.to_vec());
            bytes.extend_from_slice(&head);
            match Header::parse(&bytes) {
                Ok(Header::Immutable(header)) => drop(header.misfit(size).map(|m| m.to_string())),
                Ok(Header::Mutable(header)) => {
                    drop(header.misfit().map(|m| m.to_string()));
                    drop(header.misfit_at_end(u32::MAX, size).map(|m| m.to_string()));
                }
                Err(malformed) => prop_assert!(!malformed.to_string().is_empty()),
            }
        }
    }
}
