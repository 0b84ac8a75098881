//! The files in which Tahoe-LAFS 1.20.0's crawlers keep their place: JSON in, plain values out, and back.
//!
//! Strict where Tahoe is not: what it would silently forget (a damaged file), or not survive (`{}`, an unknown prefix), is
//! an error here that says so. Nothing here opens a file. Keys that are not known are passed over, as Tahoe passes over
//! them.
//!
//! Three things in these files are not what they seem:
//!
//! - A number that counts cycles is a key of an object, so it is text; the bucket counter looks for it as a number after a
//!   restart, does not find it, and writes the key a second time. Both are read, and are one ([`counter`]).
//! - The lease checker cannot go on with its own histogram of ages after a restart in mid-cycle ([`leases`]).
//! - `last-complete-bucket` stays when its prefix is complete, so it may belong to any prefix before the one in progress.

pub mod counter;
pub mod figures;
pub mod leases;
mod position;
#[cfg(test)]
pub(crate) mod tests;

use serde::de::DeserializeOwned;

pub use position::{CycleAt, Position};

/// The state of the bucket counter, beside `shares/`.
pub const COUNTER_FILE: &str = "bucket_counter.state.json";
/// The state of the lease checker.
pub const LEASES_FILE: &str = "lease_checker.state.json";
/// The last cycles of the lease checker.
pub const HISTORY_FILE: &str = "lease_checker.history.json";

/// The only version of these files that there has been.
const VERSION: u64 = 1;

/// How many bytes of a state file [`is_as_exported`] looks at.
pub const EXPORT_HEAD_LEN: usize = 4096;

/// Whether a state file that begins like this is as Sexton's export wrote it. No node has saved it since.
///
/// A node writes a state file anew each time, with Python's `json.dumps`: a space behind every colon and comma, also where it
/// goes on from a file of Sexton's. Sexton's files have no space between two words.
///
/// Whoever owns the store can imitate that, as they can set a file's times.
///
/// ```
/// use sexton::tahoe::state::is_as_exported;
///
/// assert!(is_as_exported(br#"{"version":1,"last-cycle-finished":null,"current-cycle":null}"#));
/// assert!(is_as_exported(br#"{"current-cycle":null,"last-cycle-finished":null,"version":1}"#));
/// assert!(!is_as_exported(br#"{"version": 1, "last-cycle-finished": null, "current-cycle": null}"#));
/// ```
pub fn is_as_exported(head: &[u8]) -> bool {
    let head = &head[..head.len().min(EXPORT_HEAD_LEN)];
    let (mut quoted, mut escaped, mut spaced) = (false, false, false);
    for byte in head {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            byte => spaced |= !quoted && byte.is_ascii_whitespace(),
        }
    }
    // Which key comes first depends on how serde_json was built: the first one written, or the first by name.
    let begins = [&br#"{"version":1,"#[..], br#"{"bucket-counts":"#, br#"{"current-cycle":"#];
    begins.iter().any(|key| head.starts_with(key)) && !spaced
}

/// Values that a state file has at most. Each takes some hundred bytes of memory while the file is read; a corrupt share is three.
const VALUES_MAX: usize = 60_000;

/// Counts the values in a JSON document: all but the first follow a comma, a colon or a bracket.
fn values(text: &[u8]) -> usize {
    let (mut quoted, mut escaped, mut values) = (false, false, 1);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' | b':' | b'[' | b'{' if !quoted => values += 1,
            _ => {}
        }
    }
    values
}

/// Reads one JSON document; the error says where it is no such thing.
fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, String> {
    let values = values(text);
    if values > VALUES_MAX {
        return Err(format!("it has {values} values, and no more than {VALUES_MAX} are read of a state file"));
    }
    serde_json::from_slice(text).map_err(|e| e.to_string())
}

/// What Tahoe's own command for the files of old is called.
pub const MIGRATE_COMMAND: &str = "tahoe admin migrate-crawler --basedir NODE";

/// The name that a file had while it was a pickle, which Tahoe 1.20 refuses to start beside.
///
/// ```
/// assert_eq!(sexton::tahoe::state::pickled_name("lease_checker.state.json"), "lease_checker.state");
/// ```
pub fn pickled_name(file: &str) -> &str {
    file.strip_suffix(".json").unwrap_or(file)
}
