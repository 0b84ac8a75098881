//! The URI extension block (UEB) of an immutable file: its parameters and root hashes, the same in each of its shares.
//!
//! For each key in byte order: the key, a colon, and the value as a netstring. A block is taken only in the one form in
//! which it is written, so that no bit of it can change unseen.

use super::hash::Hash;
use super::merkle::Shape;

/// A longer block than this was not written by Tahoe: real ones have some 300 bytes.
pub const UEB_LEN_MOST: u64 = 4096;

/// All keys, in byte order; those with `true` were written by the earliest versions only.
const KEYS: [(&str, bool); 13] = [
    ("codec_name", false),
    ("codec_params", false),
    ("crypttext_hash", false),
    ("crypttext_root_hash", false),
    ("needed_shares", false),
    ("num_segments", false),
    ("plaintext_hash", true),
    ("plaintext_root_hash", true),
    ("segment_size", false),
    ("share_root_hash", false),
    ("size", false),
    ("tail_codec_params", false),
    ("total_shares", false),
];

/// What a UEB says. Sizes are in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ueb {
    /// Shares needed for the file, k.
    pub needed_shares: u64,
    /// Shares made of it, N.
    pub total_shares: u64,
    /// Size of the file.
    pub size: u64,
    pub segment_size: u64,
    /// Segments of the file.
    pub num_segments: u64,
    /// Hash of the whole ciphertext.
    pub crypttext_hash: Hash,
    /// Root of the crypttext hash tree.
    pub crypttext_root_hash: Hash,
    /// Root over the block hash trees of all shares.
    pub share_root_hash: Hash,
    /// Root of the plaintext hash tree, where the earliest versions have written one.
    pub plaintext_root_hash: Option<Hash>,
    codec_params: Vec<u8>,
    tail_codec_params: Vec<u8>,
}

/// The sizes that follow from a UEB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UebGeometry {
    /// Bytes of each block but the last.
    pub block: u64,
    /// Bytes of the last block.
    pub last_block: u64,
    /// Bytes of all blocks of a share.
    pub data: u64,
    /// The trees over segments and blocks.
    pub tree: Shape,
}

impl Ueb {
    /// Reads a UEB.
    ///
    /// # Errors
    /// What is wrong with its form, for people.
    pub fn parse(bytes: &[u8]) -> Result<Ueb, String> {
        let mut rest = bytes;
        let mut values: [Option<&[u8]>; KEYS.len()] = [None; KEYS.len()];
        for (value, (key, optional)) in values.iter_mut().zip(KEYS) {
            match take_field(rest, key) {
                Some((field, behind)) => (*value, rest) = (Some(field), behind),
                None if optional => {}
                None => return Err(format!("it has no well-formed field {key} in its place")),
            }
        }
        if !rest.is_empty() {
            return Err(format!("{} bytes stand behind its last field", rest.len()));
        }
        let value = |key: &str| KEYS.iter().position(|(k, _)| *k == key).and_then(|at| values[at]);
        let number = |key: &str| value(key).and_then(decimal).ok_or_else(|| format!("{key} is not a number"));
        let hash = |key: &str| {
            value(key)
                .map(|v| Hash::try_from(v).map_err(|_| format!("{key} has {} bytes, not 32", v.len())))
                .transpose()
        };
        let needed = |key: &str| hash(key)?.ok_or_else(|| format!("it has no {key}"));
        if value("codec_name") != Some(b"crs") {
            return Err("codec_name is not crs".to_owned());
        }
        hash("plaintext_hash")?;
        Ok(Ueb {
            needed_shares: number("needed_shares")?,
            total_shares: number("total_shares")?,
            size: number("size")?,
            segment_size: number("segment_size")?,
            num_segments: number("num_segments")?,
            crypttext_hash: needed("crypttext_hash")?,
            crypttext_root_hash: needed("crypttext_root_hash")?,
            share_root_hash: needed("share_root_hash")?,
            plaintext_root_hash: hash("plaintext_root_hash")?,
            codec_params: value("codec_params").unwrap_or_default().to_vec(),
            tail_codec_params: value("tail_codec_params").unwrap_or_default().to_vec(),
        })
    }

    /// Checks the relations between its fields, and gives the sizes that follow.
    ///
    /// # Errors
    /// Which relation does not hold, for people.
    pub fn geometry(&self) -> Result<UebGeometry, String> {
        let Ueb { needed_shares: k, total_shares: n, size, segment_size, num_segments, .. } = *self;
        if !(1 <= k && k <= n && n <= 256) {
            return Err(format!("{k} of {n} shares cannot be"));
        }
        if size == 0 || segment_size == 0 || !segment_size.is_multiple_of(k) {
            return Err(format!("a file of {size} bytes in segments of {segment_size} for {k} shares cannot be"));
        }
        if num_segments != size.div_ceil(segment_size) {
            return Err(format!("num_segments is {num_segments}, but {size} bytes are in segments of {segment_size}"));
        }
        // Not negative, and at most one segment: num_segments is the quotient, rounded up.
        let tail = size - segment_size * (num_segments - 1);
        let padded_tail = tail.div_ceil(k) * k;
        let params = |segment: u64| format!("{segment}-{k}-{n}").into_bytes();
        if self.codec_params != params(segment_size) || self.tail_codec_params != params(padded_tail) {
            return Err("codec_params or tail_codec_params do not agree with the other fields".to_owned());
        }
        let (block, last_block) = (segment_size / k, padded_tail / k);
        let data = block.checked_mul(num_segments - 1).and_then(|most| most.checked_add(last_block));
        let (Some(data), Some(tree)) = (data, Shape::new(num_segments)) else {
            return Err(format!("{num_segments} segments are too many"));
        };
        Ok(UebGeometry { block, last_block, data, tree })
    }

    /// Where the value of `crypttext_hash` stands in a UEB: nothing else in a share agrees with it.
    pub fn crypttext_hash_at(bytes: &[u8]) -> Option<usize> {
        let key = b"crypttext_hash:32:";
        bytes.windows(key.len()).position(|window| window == key).map(|at| at + key.len())
    }
}

/// The value of the field with which `bytes` begin, and what follows it; `None` if it is another, or not well-formed.
fn take_field<'a>(bytes: &'a [u8], key: &str) -> Option<(&'a [u8], &'a [u8])> {
    let rest = bytes.strip_prefix(key.as_bytes())?.strip_prefix(b":")?;
    let digits = rest.iter().position(|b| *b == b':')?;
    let len = usize::try_from(decimal(&rest[..digits])?).ok()?;
    let rest = &rest[digits + 1..];
    let value = rest.get(..len)?;
    Some((value, rest.get(len..)?.strip_prefix(b",")?))
}

/// A decimal number in the one form in which it is written.
fn decimal(digits: &[u8]) -> Option<u64> {
    let canonical = digits == b"0" || digits.first().is_some_and(|d| *d != b'0');
    let all_digits = digits.iter().all(u8::is_ascii_digit);
    (canonical && all_digits).then(|| std::str::from_utf8(digits).ok()?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block(change: impl Fn(&str) -> Option<String>) -> Vec<u8> {
        let hash = "h".repeat(32);
        let fields = [
            ("codec_name", "crs"),
            ("codec_params", "100-2-4"),
            ("crypttext_hash", &hash),
            ("crypttext_root_hash", &hash),
            ("needed_shares", "2"),
            ("num_segments", "3"),
            ("segment_size", "100"),
            ("share_root_hash", &hash),
            ("size", "251"),
            ("tail_codec_params", "52-2-4"),
            ("total_shares", "4"),
        ];
        let field = |(key, value): &(&str, &str)| {
            let value = change(key).unwrap_or_else(|| (*value).to_owned());
            format!("{key}:{}:{value},", value.len())
        };
        fields.iter().map(field).collect::<String>().into_bytes()
    }

    #[test]
    fn sizes_follow_from_the_fields() {
        let ueb = Ueb::parse(&block(|_| None)).unwrap();
        let geometry = ueb.geometry().unwrap();
        assert_eq!((geometry.block, geometry.last_block, geometry.data), (50, 26, 126));
        assert_eq!(geometry.tree, Shape::new(3).unwrap());
    }

    #[test]
    fn fields_that_do_not_agree_are_told() {
        let wrong = |key: &'static str, value: &'static str| {
            let bytes = block(|k| (k == key).then(|| value.to_owned()));
            Ueb::parse(&bytes).and_then(|ueb| ueb.geometry()).unwrap_err()
        };
        assert!(wrong("needed_shares", "5").contains("5 of 4"));
        assert!(wrong("num_segments", "4").contains("num_segments"));
        assert!(wrong("size", "253").contains("codec_params"));
        assert!(wrong("size", "0251").contains("size is not a number"));
        assert!(wrong("size", "18446744073709551616").contains("size is not a number"));
        assert!(wrong("codec_name", "xor").contains("crs"));
        assert!(wrong("share_root_hash", "short").contains("not 32"));
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_no_flip_keeps_the_form_and_all_values(at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let good = block(|_| None);
            let mut bytes = good.clone();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            if let Ok(ueb) = Ueb::parse(&bytes) {
                prop_assert_ne!(ueb, Ueb::parse(&good).unwrap());
            }
            drop(Ueb::parse(&bytes[..at]));
        }
    }
}
