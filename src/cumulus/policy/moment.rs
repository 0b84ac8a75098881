//! A point in time as it stands in a database, where anything may stand.

use serde::{Deserialize, Serialize, Serializer};

/// A point in time as it stands in a database.
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema), schemars(rename = "Moment"))]
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum StoredTime {
    /// NULL.
    #[default]
    Unknown,
    /// A Julian day (UTC).
    Day(f64),
    /// Text where a number belongs; only the compat mode leaves it so.
    Text(String),
}

impl Serialize for StoredTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            StoredTime::Unknown => serializer.serialize_none(),
            StoredTime::Day(day) => serializer.serialize_f64(*day),
            StoredTime::Text(text) => serializer.serialize_str(text),
        }
    }
}

impl StoredTime {
    /// How many days ago that was. Of a text, SQLite takes the number that it begins with, or 0.
    pub fn age_days(&self, now: f64) -> Option<f64> {
        match self {
            StoredTime::Unknown => None,
            StoredTime::Day(day) => Some(now - day),
            StoredTime::Text(text) => Some(now - number_at_start(text)),
        }
    }
}

/// The number with which a text begins, as SQLite takes it in arithmetic.
fn number_at_start(text: &str) -> f64 {
    let text = text.trim_start_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']);
    let is_number = |end: &usize| {
        let part = &text[..*end];
        part.ends_with(|c: char| c.is_ascii_digit() || c == '.') && part.parse::<f64>().is_ok()
    };
    let plain = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E');
    let longest = text.find(|c| !plain(c)).unwrap_or(text.len());
    (1..=longest).rev().find(is_number).and_then(|end| text[..end].parse().ok()).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_count_as_the_number_they_begin_with() {
        for (text, want) in
            [("2007-08-01", 2007.0), (" 1.5e2x", 150.0), ("1e", 1.0), ("x", 0.0), ("-3", -3.0), ("", 0.0)]
        {
            assert_eq!(number_at_start(text), want, "{text:?}");
        }
    }
}
