//! Says what is wrong in a configuration file: where it stands, what it is, and what it must be.
//!
//! RON's own messages know the position, but speak of structs, variants and options; people write keys and words.

use ron::error::{Error as RonError, Position, SpannedError};

use crate::kinds::JobKind;

/// One line: `line:column: what is wrong`.
pub(super) fn explain(error: &SpannedError, text: &str) -> String {
    let line = error.span.start.line;
    let start = before(text, &error.span.start);
    let at_fault = text.get(start.len()..).unwrap_or_default();
    let what = match &error.code {
        RonError::ExpectedIdentifier => no_word(start, at_fault),
        code => what(code, before(text, &error.span.end)),
    };
    format!("{line}:{}: {what}", column(error, text))
}

/// Where the value or word begins that is wrong. RON's own column may be inside or behind it.
fn column(error: &SpannedError, text: &str) -> usize {
    let start = before(text, &error.span.start);
    let line = start.rsplit('\n').next().unwrap_or(start);
    let value = match &error.code {
        RonError::Message(_) if error.span.end.line != error.span.start.line => line,
        RonError::Message(_) if before(text, &error.span.end).ends_with('"') => opening_quote(line),
        RonError::Message(_) if line.ends_with('"') => opening_quote(line),
        RonError::Message(_) => line.strip_suffix(['-', '+']).unwrap_or(line),
        RonError::InvalidValueForType { .. } => line.trim_end_matches(is_word),
        _ => line,
    };
    1 + value.chars().count()
}

/// The part of a line before the string that is open at its end, raw strings included.
fn opening_quote(line: &str) -> &str {
    let before = line.rfind('"').map_or(line, |at| &line[..at]);
    let hashes = before.trim_end_matches('#');
    hashes.strip_suffix('r').unwrap_or(before)
}

fn what(code: &RonError, before: &str) -> String {
    match code {
        RonError::Message(why) => why.clone(),
        RonError::InvalidValueForType { expected, found } => format!("must be {expected}, not {found}"),
        RonError::NoSuchStructField { expected, found, outer } => {
            let of = outer.as_deref().map(|o| format!(" in {o}")).unwrap_or_default();
            format!("unknown key {found}{of}; the keys are {}", listed(expected, "and"))
        }
        RonError::NoSuchEnumVariant { expected, found, outer } => {
            let of = outer.as_deref().map(|o| format!("{o} ")).unwrap_or_default();
            let shown: Vec<&str> = expected.iter().map(|word| example(word).unwrap_or(word)).collect();
            format!("{of}must be {}, not {found}", listed(&shown, "or"))
        }
        RonError::MissingStructField { field, outer } => {
            let outer = outer.as_deref().unwrap_or("this");
            format!("the {outer} that ends here has no {field}; {}", missing_hint(field))
        }
        RonError::DuplicateStructField { field, .. } => format!("{field} is given twice; leave one out"),
        RonError::ExpectedStructLike | RonError::ExpectedNamedStructLike(_) => lacking(before),
        RonError::UnexpectedChar(')') if before.ends_with('(') => lacking(&before[..before.len() - 1]),
        RonError::ExpectedComma => "expected a comma, or a closing ) or ]".into(),
        RonError::ExpectedMapColon => "expected a colon and a value after the key".into(),
        RonError::ExpectedBoolean => "must be true or false, without quotes".into(),
        RonError::ExpectedArray => "must be a list: [.., ..]".into(),
        RonError::ExpectedFloat | RonError::ExpectedInteger | RonError::InvalidIntegerDigit { .. } => {
            "must be a number; times, dates and texts stand in quotes".into()
        }
        RonError::ExpectedStringEnd => "the closing \" of this text is missing".into(),
        RonError::ExpectedDifferentStructName { expected: "config", .. }
        | RonError::SuggestRawIdentifier(_)
        | RonError::InvalidIdentifier(_) => lacking(""),
        RonError::Eof => "the file ends in the middle of something; is a closing ) or ] missing?".into(),
        RonError::TrailingCharacters => {
            "something follows the closing ) of the settings; is there one too many?".into()
        }
        other => other.to_string(),
    }
}

/// What must stand where a key or a word is missing, between the text before it and the text from there on.
fn no_word(before: &str, at_fault: &str) -> String {
    let right = match before.trim_end().chars().next_back() {
        _ if at_fault.starts_with('"') => "a word without quotes",
        Some('(' | ',') => "a key and its value, as in (key: value, ..)",
        _ => "a word",
    };
    format!("must be {right}")
}

fn missing_hint(field: &str) -> &'static str {
    match field {
        "store" => "name the folder that holds shares/, such as store: \"/srv/tahoe/storage\"",
        "database" => "name the database, such as database: \"/var/lib/cumulus/localdb.sqlite\"",
        "job" => "say what it does, such as job: count or job: leases()",
        _ => "it is needed",
    }
}

/// How a word is written that needs something in parentheses.
fn example(word: &str) -> Option<&'static str> {
    match word {
        "age" => Some("age(\"31d\")"),
        "cutoff" => Some("cutoff(\"2025-01-01\")"),
        "every" => Some("every(\"10s\")"),
        "benefit" => Some("benefit()"),
        "utilization" => Some("utilization()"),
        job => JobKind::named(job).map(|kind| kind.spelled).filter(|spelled| *spelled != job),
    }
}

/// What is lacking behind the last word of `before`.
fn lacking(before: &str) -> String {
    let before = before.trim_end();
    let word = &before[before.trim_end_matches(is_word).len()..];
    match (word, example(word)) {
        ("age", Some(right)) => {
            format!("age needs a duration: Tahoe's mode age without one never expires anything; write {right}")
        }
        (word, Some(right)) => format!("{word} needs more in parentheses, as in {right}"),
        (_, None) => "must be keys and values in parentheses: (key: value, ..)".into(),
    }
}

/// The text up to a position.
fn before<'a>(text: &'a str, position: &Position) -> &'a str {
    let lines_before = position.line.saturating_sub(1);
    let line_start: usize = text.split_inclusive('\n').take(lines_before).map(str::len).sum();
    let line = text.get(line_start..).unwrap_or_default();
    let columns: usize = line.chars().take(position.col.saturating_sub(1)).map(char::len_utf8).sum();
    text.get(..line_start + columns).unwrap_or(text)
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn listed(words: &[&str], last: &str) -> String {
    match words {
        [first @ .., end] if !first.is_empty() => format!("{} {last} {end}", first.join(", ")),
        words => words.concat(),
    }
}
