//! Cells of a database as the policy's types. Columns promise nothing: anything may stand in any of them.

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::policy::{Mode, Number, StoredTime};

/// A size, as SQLite counts it in a sum: of a text, the number that it begins with.
pub(super) fn number(cell: ValueRef<'_>) -> Option<Number> {
    match cell {
        ValueRef::Null => None,
        ValueRef::Integer(n) => Some(Number::Int(n.into())),
        ValueRef::Real(x) => Some(Number::Real(x)),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            let text = StoredTime::Text(String::from_utf8_lossy(bytes).into_owned());
            text.age_days(0.0).map(|minus| Number::Real(0.0 - minus))
        }
    }
}

/// Of a text that should be a number or a moment, more than this is not looked at.
const MOMENT_MAX_BYTES: usize = 64;

/// A moment as it stands there.
pub(super) fn moment(cell: ValueRef<'_>) -> StoredTime {
    match cell {
        ValueRef::Null => StoredTime::Unknown,
        ValueRef::Integer(n) => StoredTime::Day(n as f64),
        ValueRef::Real(x) => StoredTime::Day(x),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            StoredTime::Text(String::from_utf8_lossy(&bytes[..bytes.len().min(MOMENT_MAX_BYTES)]).into_owned())
        }
    }
}

/// What a careful run makes of a moment: a date in ISO 8601 is one too.
///
/// # Errors
/// Says what is wrong with it.
pub(super) fn careful_moment(
    conn: &Connection,
    cell: ValueRef<'_>,
) -> rusqlite::Result<Result<StoredTime, &'static str>> {
    Ok(match moment(cell) {
        StoredTime::Day(day) if !day.is_finite() => Err("a timestamp is infinite"),
        StoredTime::Text(_) if !matches!(cell, ValueRef::Text(_)) => Err("a timestamp is binary"),
        StoredTime::Text(text) => {
            let sql = format!("SELECT {}", careful_timestamp("?1"));
            let day: Option<f64> = conn.prepare_cached(&sql)?.query_row([&text], |row| row.get(0))?;
            day.map(StoredTime::Day).ok_or("a timestamp is text, and no date")
        }
        moment => Ok(moment),
    })
}

/// An SQL expression for the Julian day of a column as the mode reads it.
///
/// Only text goes through `julianday`, which rounds to milliseconds; and only such as begins with a year, since it also
/// knows "now".
pub(super) fn timestamp(mode: Mode, column: &str) -> String {
    match mode {
        Mode::Compat => column.to_owned(),
        Mode::Careful => careful_timestamp(column),
    }
}

fn careful_timestamp(column: &str) -> String {
    format!(
        "CASE typeof({column}) WHEN 'text' THEN CASE WHEN {column} GLOB '[0-9][0-9][0-9][0-9]*' \
         THEN julianday({column}) END ELSE {column} END"
    )
}

/// The later of two moments, as SQLite's `max()` orders them: text after numbers, NULL for nothing.
pub(super) fn later(a: StoredTime, b: StoredTime) -> StoredTime {
    match (&a, &b) {
        (_, StoredTime::Unknown) => a,
        (StoredTime::Unknown, _) => b,
        (StoredTime::Day(x), StoredTime::Day(y)) => {
            if y > x {
                b
            } else {
                a
            }
        }
        (StoredTime::Text(x), StoredTime::Text(y)) => {
            if y > x {
                b
            } else {
                a
            }
        }
        (StoredTime::Text(_), StoredTime::Day(_)) => a,
        (StoredTime::Day(_), StoredTime::Text(_)) => b,
    }
}

/// Days from a moment to now, none from the future: what is later than now, or text (which SQLite orders after all
/// numbers), has been set to now before it is asked for.
pub(super) fn days_since(now: f64, moment: &StoredTime) -> Option<f64> {
    match moment {
        StoredTime::Unknown => None,
        StoredTime::Day(day) if *day > now => Some(0.0),
        StoredTime::Day(day) => Some(now - day),
        StoredTime::Text(_) => Some(0.0),
    }
}

/// A text; `None` for NULL.
pub(super) fn text(cell: ValueRef<'_>) -> Option<String> {
    match cell {
        ValueRef::Null => None,
        ValueRef::Integer(n) => Some(n.to_string()),
        ValueRef::Real(x) => Some(x.to_string()),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
    }
}
