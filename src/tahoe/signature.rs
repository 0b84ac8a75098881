//! The public key and the signature of a mutable share.
//!
//! The key is a DER SubjectPublicKeyInfo with an RSA key in it. The signature is RSA-PSS with SHA-256, MGF1 with SHA-256
//! and a salt of 32 bytes.

use ring::signature::{RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};

/// Longer keys and signatures than this are none: those of 8,192 bits have 1,062 and 1,024 bytes.
pub const KEY_LEN_MOST: u64 = 4096;

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
        (ends && is_positive(modulus) && is_positive(exponent)).then_some(PublicKey { rsa })
    }

    /// Whether the signature over the message is valid.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, self.rsa).verify(message, signature).is_ok()
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
