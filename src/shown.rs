//! Names from a disk as text for people: whatever a file is called, nothing of it acts on a terminal, breaks a line of a log,
//! or turns the text round. And how long something takes, as people read it.
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

/// Shows a time in seconds: `2 h 47 min`, the rest left out, in two units at most; below ten seconds with a digit, below one in
/// milliseconds.
pub(crate) fn duration(secs: f64) -> String {
    const UNITS: [(&str, u64, u64); 3] = [("d", 86_400, 3600), ("h", 3600, 60), ("min", 60, 1)];
    match secs {
        ..0.0005 => return "0 s".to_owned(),
        ..0.01 => return format!("{:.1} ms", (secs * 1e4).floor() / 10.0),
        ..0.9995 => return format!("{:.0} ms", secs * 1e3),
        ..10.0 => return format!("{:.1} s", (secs * 10.0).floor() / 10.0).replace(".0 s", " s"),
        _ => {}
    }
    // What does not fit is the longest time there is.
    let secs = secs as u64;
    let Some(unit) = UNITS.iter().position(|(_, size, _)| secs >= *size) else { return format!("{secs} s") };
    let (word, size, part) = UNITS[unit];
    match secs % size / part {
        0 => format!("{} {word}", secs / size),
        rest => format!("{} {word} {rest} {}", secs / size, UNITS.get(unit + 1).map_or("s", |(word, ..)| word)),
    }
}

/// Shows from how many seconds to how many something takes, the most of them rounded up: `2 h 47 min to 3 h 5 min`.
pub(crate) fn range(least: f64, most: f64) -> String {
    let part = match most {
        ..10.0 => 0.1,
        ..3600.0 => 1.0,
        ..86_400.0 => 60.0,
        _ => 3600.0,
    };
    let (least, most) = (duration(least), duration((most / part).ceil() * part));
    if least == most { least } else { format!("{least} to {most}") }
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

    #[test]
    fn times_are_shown_in_two_units_at_most() {
        let shown = [0.0, 0.0044, 0.5, 1.0, 9.94, 59.9, 3599.6, 10_020.0, 86_400.0, 609_000.0].map(duration);
        let expected =
            ["0 s", "4.4 ms", "500 ms", "1 s", "9.9 s", "59 s", "59 min 59 s", "2 h 47 min", "1 d", "7 d 1 h"];
        assert_eq!(shown, expected);
        assert_eq!([0.009_96, 9.97, -1.0, f64::NAN].map(duration), ["9.9 ms", "9.9 s", "0 s", "0 s"]);
        let day = 86_400.0;
        assert_eq!(range(0.0, 0.0), "0 s");
        assert_eq!(range(4.0, 12.2), "4 s to 13 s");
        assert_eq!(range(10.0 * day, 30.0 * day + 59.0), "10 d to 30 d 1 h");
        assert!(duration(f64::INFINITY).contains(" d"), "{}", duration(f64::INFINITY));
    }
}
