//! Names of segments in 16 bytes: both programs name a segment by a UUID, and what is none is kept elsewhere as text.

/// Where the hyphens of a UUID are.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];
const UUID_LEN: usize = 36;

/// A UUID from the one text that [`unpack`] makes of it: 36 characters, lower case.
pub(super) fn pack(name: &str) -> Option<u128> {
    let name = name.as_bytes();
    if name.len() != UUID_LEN {
        return None;
    }
    let mut bits = 0u128;
    for (i, character) in name.iter().enumerate() {
        let digit = match character {
            b'-' if HYPHENS.contains(&i) => continue,
            _ if HYPHENS.contains(&i) => return None,
            b'0'..=b'9' => character - b'0',
            b'a'..=b'f' => character - b'a' + 10,
            _ => return None,
        };
        bits = bits << 4 | u128::from(digit);
    }
    Some(bits)
}

/// The text of a UUID.
pub(super) fn unpack(bits: u128) -> String {
    let mut name = format!("{bits:032x}");
    HYPHENS.iter().for_each(|place| name.insert(*place, '-'));
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_what_unpacks_to_itself_is_packed() {
        let name = "0123abcd-4567-89ef-0000-fedcba987654";
        assert_eq!(pack(name).map(unpack).as_deref(), Some(name));
        let others = ["", "huge", &name.to_uppercase(), &name.replace('-', "0"), &name.replace('0', "-"), &name[1..]];
        for other in others {
            assert_eq!(pack(other), None, "{other}");
        }
        assert_eq!(pack("0123abcd-4567-89ef-0000-fedcba98765é"), None);
    }

    proptest! {
        #[test]
        fn every_uuid_comes_back(bits in any::<u128>()) {
            prop_assert_eq!(pack(&unpack(bits)), Some(bits));
        }
    }
}
