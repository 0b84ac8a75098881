//! Tahoe's hashes: SHA-256 twice, with a tag in front that says what is hashed.
//!
//! `tagged_hash(tag, x) = SHA256d(netstring(tag) + x)`, so that no hash of one kind ever passes for one of another.

use ring::digest::{Context, SHA256, digest};

/// A hash as it stands in a share.
pub type Hash = [u8; HASH_LEN];

/// Bytes of a hash.
pub const HASH_LEN: usize = 32;

/// Leaf of a block hash tree.
pub const BLOCK: Tag = Tag("29:allmydata_encoded_subshare_v1,");
/// Leaf of a crypttext hash tree.
pub const CRYPTTEXT_SEGMENT: Tag = Tag("30:allmydata_crypttext_segment_v1,");
/// URI extension block.
pub const UEB: Tag = Tag("26:allmydata_uri_extension_v1,");
/// Inner node of a Merkle tree.
pub const MERKLE_NODE: Tag = Tag("25:Merkle tree internal node,");
/// What fills a Merkle tree up to a power of two.
pub const MERKLE_FILLER: Tag = Tag("22:Merkle tree empty leaf,");

/// How many parts are hashed side by side with profit: what the SHA extensions of common processors take.
pub const SIDE_BY_SIDE: usize = 4;

/// What is hashed, as the netstring that stands in front of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag(&'static str);

/// A tagged hash in the making: bytes come in pieces of any size.
#[derive(Clone)]
pub struct Hasher(Context);

impl Hasher {
    /// Begins a hash of this kind.
    pub fn new(tag: Tag) -> Hasher {
        let mut context = Context::new(&SHA256);
        context.update(tag.0.as_bytes());
        Hasher(context)
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Gives the hash.
    pub fn finish(self) -> Hash {
        let once = self.0.finish();
        bytes(&digest(&SHA256, once.as_ref()))
    }
}

impl std::fmt::Debug for Hasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hasher")
    }
}

/// The tagged hash of bytes that are all there.
pub fn tagged(tag: Tag, data: &[u8]) -> Hash {
    let mut hasher = Hasher::new(tag);
    hasher.update(data);
    hasher.finish()
}

/// The tagged hashes of many parts at once, one for each.
///
/// A processor works through one SHA-256 at the speed of its dependencies; several side by side it works through in nearly the time of
/// one. Worth it from [`SIDE_BY_SIDE`] parts of about one length on.
pub fn tagged_each(tag: Tag, parts: &[&[u8]]) -> Vec<Hash> {
    let mut once = vec![[0; HASH_LEN]; parts.len()];
    tape_sha256::hash_many_prefixed(tag.0.as_bytes(), parts, &mut once);
    once.iter().map(|hash| bytes(&digest(&SHA256, hash))).collect()
}

/// The inner node over two nodes: `SHA256d(netstring(tag) + netstring(left) + netstring(right))`.
pub fn pair(left: &Hash, right: &Hash) -> Hash {
    let mut hasher = Hasher::new(MERKLE_NODE);
    for node in [left, right] {
        hasher.update(b"32:");
        hasher.update(node);
        hasher.update(b",");
    }
    hasher.finish()
}

/// The leaf that stands at place `i` where there is no real one.
pub fn filler(i: u64) -> Hash {
    tagged(MERKLE_FILLER, i.to_string().as_bytes())
}

fn bytes(digest: &ring::digest::Digest) -> Hash {
    let mut hash = [0; HASH_LEN];
    hash.copy_from_slice(digest.as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(hash: &Hash) -> String {
        hash.iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn hashes_are_those_of_the_original_program() {
        let expected = [
            (tagged(BLOCK, b"abc"), "fd3c231eb0555dc77b9f2670d945e4f1e782fe9f43669fe8425c9fde7b01c55f"),
            (tagged(UEB, b"abc"), "025d4a26e91dc0d336f3bac4d28adff6dfbd4ed42e6e3aa1fa6ac6da7204ff09"),
            (tagged(CRYPTTEXT_SEGMENT, b"abc"), "8ca3a93e7852bec59c152d3e4138c2c19f5d80bc70aa74afc21e90db01197b2c"),
            (filler(0), "e0024730188e2de564a697cc2987407b24ae7eb6b880190c1a0337a5740e527a"),
            (filler(3), "9ed59076b6bee6b75864630c3c20cff6934efe03a60a7fd28b69542fb13a68a3"),
            (pair(&[b'a'; 32], &[b'b'; 32]), "3336bfd9c91ae1779fa1f96b7c6acec9278f8b0a82b94db38dfb3659a108cc88"),
        ];
        for (found, expected) in expected {
            assert_eq!(hex(&found), expected);
        }
    }

    #[test]
    fn many_at_once_give_the_hashes_of_each() {
        let data: Vec<u8> = (0..70_000u32).map(|i| (i % 251) as u8).collect();
        for (count, len) in [(0, 5), (1, 1), (4, 4096), (5, 55), (17, 64), (33, 2000)] {
            let parts: Vec<&[u8]> = data.chunks_exact(len).take(count).collect();
            let each: Vec<Hash> = parts.iter().map(|part| tagged(BLOCK, part)).collect();
            assert_eq!(tagged_each(BLOCK, &parts), each, "{count} of {len} bytes");
        }
    }

    #[test]
    fn pieces_of_any_size_give_one_hash() {
        let mut hasher = Hasher::new(BLOCK);
        for piece in [&b""[..], b"a", b"bc"] {
            hasher.update(piece);
        }
        assert_eq!(hasher.finish(), tagged(BLOCK, b"abc"));
    }
}
