//! The public key and the signature of a mutable share.
//!
//! The key is a DER SubjectPublicKeyInfo with an RSA key in it. The signature is RSA-PSS with SHA-256, MGF1 with SHA-256
//! and a salt of 32 bytes.
//!
//! Signatures of keys that are shorter or longer than those that people use are not checked: nothing is said of them.

use ring::signature::{RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};

/// Longer keys and signatures than this are none: those of 8,192 bits have 1,062 and 1,024 bytes.
pub const KEY_LEN_MOST: u64 = 4096;

/// Bytes of the modulus of keys that can be used: 2,048 to 8,192 bits.
const MODULUS_LEN: std::ops::RangeInclusive<usize> = 256..=1024;

/// Bytes of their exponent at most. (The longest of these are refused as well, but nobody has such.)
const EXPONENT_LEN_MOST: usize = 5;

/// `SEQUENCE { OBJECT IDENTIFIER rsaEncryption, NULL }`.
const RSA: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;
const INTEGER: u8 = 0x02;

/// A public key of a mutable file.
#[derive(Debug, Clone, Copy)]
pub struct PublicKey<'a> {
    /// `RSAPublicKey`, DER.
    rsa: &'a [u8],
    /// Bytes of its numbers, without zeros in front.
    modulus_len: usize,
    exponent_len: usize,
}

/// What can be said of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// It is right.
    Valid,
    /// It is wrong.
    Invalid,
    /// Nothing: the key is not of 2,048 to 8,192 bits, or has an exponent of more than 40 bits.
    NotChecked,
}

impl<'a> PublicKey<'a> {
    /// Takes a key in the one form in which it is written (DER has one for each value); else gives `None`.
    pub fn parse(der: &'a [u8]) -> Option<PublicKey<'a>> {
        let (info, nothing) = take(der, SEQUENCE)?;
        let (bits, behind) = take(info.strip_prefix(RSA)?, BIT_STRING)?;
        // The number of unused bits stands in front.
        let rsa = bits.strip_prefix(b"\0")?;
        let (numbers, rest) = take(rsa, SEQUENCE)?;
        let (modulus, numbers) = take(numbers, INTEGER)?;
        let (exponent, none) = take(numbers, INTEGER)?;
        let ends = [nothing, behind, rest, none].iter().all(|end| end.is_empty());
        let len = |integer: &[u8]| integer.strip_prefix(b"\0").unwrap_or(integer).len();
        let (modulus_len, exponent_len) = (len(modulus), len(exponent));
        let is_key = ends && is_positive(modulus) && is_positive(exponent);
        is_key.then_some(PublicKey { rsa, modulus_len, exponent_len })
    }

    /// Judges the signature over the message. One that is not as long as the key is wrong, whatever the key.
    pub fn judge(&self, message: &[u8], signature: &[u8]) -> Validity {
        if signature.len() != self.modulus_len {
            return Validity::Invalid;
        }
        if !MODULUS_LEN.contains(&self.modulus_len) || self.exponent_len > EXPONENT_LEN_MOST {
            return Validity::NotChecked;
        }
        match UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, self.rsa).verify(message, signature) {
            Ok(()) => Validity::Valid,
            Err(_) => Validity::Invalid,
        }
    }
}

/// The contents of the DER value with which `der` begins, if it is of this type and its length in the shortest form.
fn take(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = der.strip_prefix(&[tag])?.split_first()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81 => {
            let (len, rest) = rest.split_first()?;
            (usize::from(*len), rest)
        }
        0x82 => {
            let (len, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*len)), rest)
        }
        _ => return None,
    };
    let shortest = match first {
        0x81 => len > 0x7f,
        0x82 => len > 0xff,
        _ => true,
    };
    (shortest && len <= rest.len()).then(|| rest.split_at(len))
}

/// Whether these are the bytes of a DER integer above zero, without needless zeros in front.
fn is_positive(integer: &[u8]) -> bool {
    match integer {
        [0, next, ..] => *next >= 0x80,
        [first, ..] => (1..0x80).contains(first),
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key with numbers of these lengths, in bytes.
    fn key(modulus: usize, exponent: &[u8]) -> Vec<u8> {
        let value = |tag: u8, body: &[u8]| {
            let len = u16::try_from(body.len()).unwrap().to_be_bytes();
            let len = match len {
                [0, len @ 0..=0x7f] => vec![len],
                [0, len] => vec![0x81, len],
                [high, low] => vec![0x82, high, low],
            };
            [&[tag][..], &len, body].concat()
        };
        let modulus = [&b"\0"[..], &vec![0xc5; modulus]].concat();
        let rsa = value(SEQUENCE, &[value(INTEGER, &modulus), value(INTEGER, exponent)].concat());
        value(SEQUENCE, &[RSA, &value(BIT_STRING, &[b"\0", &rsa[..]].concat())].concat())
    }

    #[test]
    fn of_keys_that_are_too_short_or_too_long_nothing_is_said() {
        let judge = |modulus: usize, exponent: &[u8], signature: usize| {
            let key = key(modulus, exponent);
            PublicKey::parse(&key).unwrap().judge(b"message", &vec![7; signature])
        };
        let usual = b"\x01\0\x01";
        for (modulus, validity) in [
            (64, Validity::NotChecked),
            (128, Validity::NotChecked),
            (255, Validity::NotChecked),
            (256, Validity::Invalid),
            (1024, Validity::Invalid),
            (1025, Validity::NotChecked),
        ] {
            assert_eq!(judge(modulus, usual, modulus), validity, "{modulus} bytes");
            assert_eq!(judge(modulus, usual, modulus - 1), Validity::Invalid, "{modulus} bytes");
        }
        assert_eq!(judge(256, b"\x01\0\0\0\0\x01", 256), Validity::NotChecked);
        // An exponent that is none was damaged.
        assert_eq!(judge(256, b"\x01\0\x02", 256), Validity::Invalid);
    }

    #[test]
    fn lengths_are_taken_in_their_shortest_form_only() {
        assert_eq!(take(b"\x02\x01\x05\x06", INTEGER), Some((&b"\x05"[..], &b"\x06"[..])));
        for wrong in [&b""[..], b"\x02", b"\x02\x02\x05", b"\x02\x81\x01\x05", b"\x02\x82\x00\x01\x05", b"\x03\x01\x05"]
        {
            assert_eq!(take(wrong, INTEGER), None);
        }
        let long = [&[0x02, 0x81, 0x80][..], &[7; 128]].concat();
        assert_eq!(take(&long, INTEGER).unwrap().0.len(), 128);
        assert!(is_positive(b"\x01") && is_positive(b"\0\x80"));
        assert!(!is_positive(b"") && !is_positive(b"\0") && !is_positive(b"\x80") && !is_positive(b"\0\x01"));
    }
}
