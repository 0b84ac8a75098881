//! The names of a share store: prefixes and storage indexes.
//!
//! Tahoe's crawlers check nothing of a bucket's name; what is valid here tells a bucket from a stray, no more.

use crate::policy::ring::Ring;

/// Digits of a storage index, in the order of their values. Their byte order is another: digits come first.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// What the last character of a storage index can be: it holds 3 bits and two zero bits.
const LAST: &[u8; 8] = b"aeimquy4";

/// Characters of a storage index: 128 bits at 5 each.
const STORAGE_INDEX_LEN: usize = 26;

/// The 1,024 prefixes, every pair from the alphabet, in byte order: `22 23 .. 27 2a .. 2z 32 .. zz`.
pub fn prefixes() -> Ring {
    let pair = |a: u8| ALPHABET.iter().map(move |b| format!("{}{}", char::from(a), char::from(*b)));
    Ring::new(ALPHABET.iter().copied().flat_map(pair))
}

/// Whether a name is a storage index: 26 characters of the alphabet, the last of them one that 128 bits can end in.
pub fn is_storage_index(name: &[u8]) -> bool {
    name.len() == STORAGE_INDEX_LEN
        && name.iter().all(|c| matches!(c, b'a'..=b'z' | b'2'..=b'7'))
        && name.last().is_some_and(|c| LAST.contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_1024_in_byte_order() {
        let ring = prefixes();
        assert_eq!(ring.len(), 1024);
        let names = ring.names();
        assert_eq!((names[0].as_str(), names[5].as_str(), names[6].as_str()), ("22", "27", "2a"));
        assert_eq!((names[31].as_str(), names[32].as_str(), names[1023].as_str()), ("2z", "32", "zz"));
        assert!(names.is_sorted());
    }

    #[test]
    fn storage_index_is_26_characters_that_128_bits_can_make() {
        // All zeros, all ones.
        assert!(is_storage_index(b"aaaaaaaaaaaaaaaaaaaaaaaaaa"));
        assert!(is_storage_index(b"77777777777777777777777774"));
        for name in
            ["", "aaaaaaaaaaaaaaaaaaaaaaaaab", "Aaaaaaaaaaaaaaaaaaaaaaaaaa", "1aaaaaaaaaaaaaaaaaaaaaaaaa", "aa", ".2"]
        {
            assert!(!is_storage_index(name.as_bytes()), "{name}");
        }
    }
}
