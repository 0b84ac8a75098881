//! The parts of a share, by the names under which findings speak of them.

use std::fmt;

/// A part of a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Region {
    /// The first 12 bytes of an immutable container, or a container that is neither.
    ContainerHeader,
    /// Lengths in the header of a mutable container.
    ContainerLengths,
    /// The count of the extra lease slots of a mutable container.
    ExtraLeases,
    /// Layout version, sizes and offsets at the beginning of immutable share data.
    Layout,
    /// The blocks of either kind, with their salts where they have such.
    Data,
    /// The plaintext hash tree of an immutable share: zeros.
    PlaintextTree,
    /// The crypttext hash tree of an immutable share.
    CrypttextTree,
    /// The tree over the blocks.
    BlockTree,
    /// The nodes that lead from this share to the root over all shares.
    Chain,
    /// The length of the URI extension block.
    UebLength,
    /// The URI extension block.
    Ueb,
    /// The one field of it that nothing else in a share agrees with.
    UebCrypttextHash,
    /// What the signature of a mutable share covers.
    SignedFields,
    /// The offsets of a mutable share.
    Offsets,
    /// The public key of a mutable share.
    PublicKey,
    /// The signature of a mutable share.
    Signature,
    /// The encrypted private key of a mutable share.
    PrivateKey,
    /// The bucket as a whole: shares of different files in it.
    Bucket,
}

impl Region {
    /// Its name in findings.
    pub fn as_str(self) -> &'static str {
        match self {
            Region::ContainerHeader => "container header",
            Region::ContainerLengths => "container lengths",
            Region::ExtraLeases => "extra lease count",
            Region::Layout => "layout: version, offsets",
            Region::Data => "data blocks",
            Region::PlaintextTree => "plaintext tree",
            Region::CrypttextTree => "crypttext hash tree",
            Region::BlockTree => "block hash tree",
            Region::Chain => "share hash chain",
            Region::UebLength => "UEB length",
            Region::Ueb => "UEB",
            Region::UebCrypttextHash => "UEB crypttext_hash",
            Region::SignedFields => "signed fields",
            Region::Offsets => "offsets",
            Region::PublicKey => "public key",
            Region::Signature => "signature",
            Region::PrivateKey => "encrypted private key",
            Region::Bucket => "bucket",
        }
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<Region> for &'static str {
    fn from(region: Region) -> &'static str {
        region.as_str()
    }
}

impl PartialEq<Region> for &str {
    fn eq(&self, region: &Region) -> bool {
        *self == region.as_str()
    }
}
