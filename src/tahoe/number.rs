//! Share numbers: the names that Tahoe's lease checker takes for shares.
//!
//! The lease checker visits whatever Python's `int()` takes, which is more than decimal digits: a sign, single
//! underscores between digits, white space around, and the digits of every script. (A storage server serves `^[0-9]+$`
//! only.) The tables are those of Unicode 14, as in Python 3.11.

/// The number in a share's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareNumber {
    value: Option<i64>,
}

/// What a character of a name is to `int()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Symbol {
    Space,
    Sign(Sign),
    Digit(u8),
    Underscore,
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    Plus,
    Minus,
}

impl ShareNumber {
    /// Reads a name as Python's `int()` does, or gives `None` where that raises `ValueError`. Bytes that are no UTF-8
    /// reach `int()` as lone surrogates, which it refuses.
    pub fn parse(name: &[u8]) -> Option<ShareNumber> {
        // Nearly every name is one to three digits.
        if (1..=3).contains(&name.len()) && name.iter().all(u8::is_ascii_digit) {
            let value = name.iter().fold(0, |n, d| n * 10 + i64::from(d - b'0'));
            return Some(ShareNumber { value: Some(value) });
        }
        parse_any(std::str::from_utf8(name).ok()?)
    }

    /// The number, or `None` if it does not fit in 64 bits. (Real ones are 0 to 255.)
    pub fn value(self) -> Option<i64> {
        self.value
    }
}

fn parse_any(name: &str) -> Option<ShareNumber> {
    let mut symbols = name.chars().map(symbol).skip_while(|s| *s == Symbol::Space).peekable();
    let sign = match symbols.peek()? {
        Symbol::Sign(sign) => {
            let sign = *sign;
            symbols.next();
            sign
        }
        _ => Sign::Plus,
    };
    // Counted downwards, so that the least i64 fits as well.
    let mut value = Some(0i64);
    let mut after_digit = false;
    loop {
        match symbols.next() {
            Some(Symbol::Digit(d)) => {
                value = value.and_then(|n| n.checked_mul(10)?.checked_sub(i64::from(d)));
                after_digit = true;
            }
            // An underscore stands between two digits.
            Some(Symbol::Underscore) if after_digit => {
                if !matches!(symbols.peek(), Some(Symbol::Digit(_))) {
                    return None;
                }
                after_digit = false;
            }
            Some(Symbol::Space) if after_digit => break,
            None if after_digit => break,
            _ => return None,
        }
    }
    if symbols.any(|s| s != Symbol::Space) {
        return None;
    }
    let value = value.and_then(|n| if sign == Sign::Minus { Some(n) } else { n.checked_neg() });
    Some(ShareNumber { value })
}

fn symbol(c: char) -> Symbol {
    match c {
        '0'..='9' => Symbol::Digit(c as u8 - b'0'),
        '_' => Symbol::Underscore,
        '+' => Symbol::Sign(Sign::Plus),
        '-' => Symbol::Sign(Sign::Minus),
        // Of ASCII, only what C's isspace() takes; str.isspace() takes U+001C to U+001F too, but int() does not.
        '\t'..='\r' | ' ' => Symbol::Space,
        '\u{85}' | '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' => Symbol::Space,
        '\u{2028}' | '\u{2029}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => Symbol::Space,
        _ if c.is_ascii() => Symbol::Other,
        _ => foreign_digit(c).map_or(Symbol::Other, Symbol::Digit),
    }
}

/// The value of a decimal digit (general category Nd) of another script.
fn foreign_digit(c: char) -> Option<u8> {
    let c = u32::from(c);
    let next = ZEROS.partition_point(|zero| *zero <= c);
    let zero = ZEROS.get(next.checked_sub(1)?)?;
    u8::try_from(c - zero).ok().filter(|d| *d < 10)
}

/// The zeros of the scripts beyond ASCII; the nine code points after each are its other digits. Unicode 14.
const ZEROS: [u32; 65] = [
    0x0660, 0x06f0, 0x07c0, 0x0966, 0x09e6, 0x0a66, 0x0ae6, 0x0b66, 0x0be6, 0x0c66, 0x0ce6, 0x0d66, 0x0de6, 0x0e50,
    0x0ed0, 0x0f20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0, 0x1c40, 0x1c50,
    0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10, 0x104a0, 0x10d30, 0x11066, 0x110f0, 0x11136,
    0x111d0, 0x112f0, 0x11450, 0x114d0, 0x11650, 0x116c0, 0x11730, 0x118e0, 0x11950, 0x11c50, 0x11d50, 0x11da0,
    0x16a60, 0x16ac0, 0x16b50, 0x1d7ce, 0x1d7d8, 0x1d7e2, 0x1d7ec, 0x1d7f6, 0x1e140, 0x1e2f0, 0x1e950, 0x1fbf0,
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What Python 3.11's `int()` said of each name: `[name, number as text or null]`.
    const PYTHON: &str = include_str!("../../tests/data/python-int.json");

    #[test]
    fn names_are_numbers_where_python_says_so() {
        let table: Vec<(String, Option<String>)> = serde_json::from_str(PYTHON).unwrap();
        assert!(table.len() > 2000);
        for (name, expected) in &table {
            let number = ShareNumber::parse(name.as_bytes());
            assert_eq!(number.is_some(), expected.is_some(), "{name:?}");
            if let (Some(number), Some(expected)) = (number, expected) {
                assert_eq!(number.value(), expected.parse().ok(), "{name:?}");
            }
        }
    }

    #[test]
    fn bytes_that_are_no_utf8_are_no_number() {
        assert_eq!(ShareNumber::parse(b"5\xff"), None);
        assert_eq!(ShareNumber::parse(b"\xd9"), None);
    }

    proptest! {
        #[test]
        fn what_rust_writes_of_a_number_is_read_back(n in any::<i64>()) {
            prop_assert_eq!(ShareNumber::parse(n.to_string().as_bytes()).and_then(ShareNumber::value), Some(n));
        }

        #[test]
        fn no_name_panics(name in prop::collection::vec(any::<u8>(), 0..40)) {
            ShareNumber::parse(&name);
        }
    }
}
