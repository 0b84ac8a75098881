//! Tahoe's hashes: SHA-256 twice, with a tag in front that says what is hashed.
//!
//! `tagged_hash(tag, x) = SHA256d(netstring(tag) + x)`, so that no hash of one kind ever passes for one of another.

use ring::digest::{Context, SHA256, digest};
use sha2::{Digest, Sha256};

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

/// How many parts take turns: enough that the last ones seldom are alone, few enough that they stay in the core's first cache.
const TAKE_TURNS: usize = 8;

/// Bytes that SHA-256 works through in one step.
const STEP_LEN: usize = 64;

/// Bytes of a part's turn. More than a few steps hide the other parts from the processor: with 256 bytes a tenth is lost.
const TURN_LEN: usize = 2 * STEP_LEN;

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

/// The tagged hashes of many parts, one for each.
///
/// A processor spends most of a SHA-256 waiting for its own last round. Parts that take turns give it another one to work on meanwhile:
/// from two parts on they are through in about two thirds of the time.
pub fn tagged_each(tag: Tag, parts: &[&[u8]]) -> Vec<Hash> {
    parts.chunks(TAKE_TURNS).flat_map(|parts| by_turns(tag, parts)).collect()
}

fn by_turns(tag: Tag, parts: &[&[u8]]) -> Vec<Hash> {
    let mut hashers = vec![Sha256::new_with_prefix(tag.0); parts.len()];
    // Once tag and first bytes fill a step, the turns are whole steps, which nothing has to gather.
    let first = STEP_LEN - tag.0.len() % STEP_LEN;
    let longest = parts.iter().map(|part| part.len()).max().unwrap_or(0);
    let turns = (first..longest).step_by(TURN_LEN).map(|from| from..from + TURN_LEN);
    for turn in std::iter::once(0..first).chain(turns) {
        for (hasher, part) in hashers.iter_mut().zip(parts) {
            hasher.update(&part[turn.start.min(part.len())..turn.end.min(part.len())]);
        }
    }
    hashers.into_iter().map(|once| Sha256::digest(once.finalize()).into()).collect()
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
        for (count, len) in [(0, 5), (1, 1), (2, 30), (3, 31), (4, 4096), (5, 55), (9, 160), (17, 64), (33, 2000)] {
            let parts: Vec<&[u8]> = data.chunks_exact(len).take(count).collect();
            let each: Vec<Hash> = parts.iter().map(|part| tagged(BLOCK, part)).collect();
            assert_eq!(tagged_each(BLOCK, &parts), each, "{count} of {len} bytes");
        }
        let uneven: Vec<&[u8]> = [0, 31, 700, 32, 65, 64_000].iter().map(|len| &data[..*len]).collect();
        let each: Vec<Hash> = uneven.iter().map(|part| tagged(BLOCK, part)).collect();
        assert_eq!(tagged_each(BLOCK, &uneven), each);
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
