//! Names from a disk as text for people: whatever a file is called, nothing of it acts on a terminal, breaks a line of a log,
//! or turns the text round.
//!
//! A name becomes text here and nowhere else; what is printed later is text already.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Shows a name: control characters, line separators and marks of direction are escaped as in Rust (`\n`, `\u{1b}`), bytes that
/// are no UTF-8 as `\xff`. Everything else, backslashes as well, stays as it is.
pub(crate) fn name(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            if acts(c) { text.extend(c.escape_default()) } else { text.push(c) }
        }
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    text
}

/// Shows a path, as [`name`] does a name.
pub(crate) fn path(path: &Path) -> String {
    name(path.as_os_str().as_bytes())
}

/// Whether a character does something to the text around it.
fn acts(c: char) -> bool {
    let separates = matches!(c, '\u{2028}' | '\u{2029}');
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || separates || turns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_is_escaped_and_all_else_stays() {
        for plain in ["", "aaobc5xutcalwfferpi7udizni", "Ordner für Ä\u{301}, ١٢", "a\\b \"c\" 'd'", "\u{1f4be}"] {
            assert_eq!(name(plain.as_bytes()), plain);
        }
        assert_eq!(name(b"a\x1b[31mb\n\r\t\x07\x7f"), r"a\u{1b}[31mb\n\r\t\u{7}\u{7f}");
        assert_eq!(name("\u{9b}1m \u{202e}gpj \u{2028}".as_bytes()), r"\u{9b}1m \u{202e}gpj \u{2028}");
        assert_eq!(name(b"\xff\xfeok\xc3"), r"\xff\xfeok\xc3");
        assert_eq!(path(Path::new("/srv/\u{1b}c/1")), r"/srv/\u{1b}c/1");
    }
}
