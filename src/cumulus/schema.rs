//! Which era a database is of, and which of its columns are there.
//!
//! The table that says what snapshots use decides; everything else is a cross-check. Columns came one by one within an
//! era, and version 0.11 stands in databases of several layouts, so the columns themselves are looked at.

use std::collections::{HashMap, HashSet};

use rusqlite::{Connection, OptionalExtension};

use super::ordinary::{self, Object};
use super::policy::Era;

/// The layout of one database.
#[derive(Debug, Clone)]
pub(super) struct Schema {
    pub(super) era: Era,
    /// The table that says what snapshots use.
    pub(super) usage: &'static str,
    /// Whether blocks have signatures of their parts.
    pub(super) signatures: bool,
    columns: HashMap<&'static str, HashSet<String>>,
    /// Whether signatures have an index, too.
    signatures_indexed: bool,
}

const TABLES: [&str; 8] = [
    "snapshots",
    "segments",
    "block_index",
    "snapshot_contents",
    "segments_used",
    "segment_utilization",
    "subblock_signatures",
    "schema_version",
];
const SCHEMA_VERSION: (i64, i64) = (0, 11);

impl Schema {
    /// More columns than this has no table of any era.
    pub(super) const COLUMNS_MAX: usize = 32;

    /// Looks at a database. The inner error says why it cannot be worked with.
    pub(super) fn detect(conn: &Connection) -> rusqlite::Result<Result<Schema, String>> {
        let objects = Object::all(conn, &TABLES)?;
        let is_table = |name: &str| objects.iter().any(|object| object.is_table(name));
        let in_place_of = |name: &str| objects.iter().find_map(|object| object.in_place_of(name));
        let eras = [("snapshot_contents", Era::A), ("segments_used", Era::B), ("segment_utilization", Era::C)];
        let usage: Vec<_> = eras.into_iter().filter(|(table, _)| is_table(table)).collect();
        let (usage, era) = match usage[..] {
            [only] => only,
            [] => {
                let odd = eras.iter().find_map(|(table, _)| in_place_of(table));
                return Ok(Err(odd.unwrap_or_else(|| "it has no table of what snapshots use".to_owned())));
            }
            [(one, _), (other, _), ..] => {
                let why = format!("it has both {one} and {other}: an upgrade was interrupted; finish it, or go back");
                return Ok(Err(why));
            }
        };
        let is_used = |table: &str| table == usage || !eras.iter().any(|(other, _)| *other == table);
        if let Some(why) = TABLES.into_iter().filter(|table| is_used(table)).find_map(in_place_of) {
            return Ok(Err(why));
        }
        let used: Vec<_> = TABLES.into_iter().filter(|table| is_used(table) && is_table(table)).collect();
        let mut columns = HashMap::new();
        for table in &used {
            columns.insert(*table, table_columns(conn, table)?);
        }
        let signatures = used.contains(&"subblock_signatures");
        let signatures_indexed = signatures && objects.iter().any(|object| object.is_index_of("subblock_signatures"));
        let schema = Schema { era, usage, signatures, columns, signatures_indexed };
        if let Some(why) = schema.fault(&used, conn)? {
            return Ok(Err(why));
        }
        Ok(match ordinary::fault(conn, &objects, &used)? {
            Some(why) => Err(why),
            None => Ok(schema),
        })
    }

    fn fault(&self, tables: &[&str], conn: &Connection) -> rusqlite::Result<Option<String>> {
        const NEEDED: [(&str, &[&str]); 6] = [
            ("snapshots", &["snapshotid"]),
            ("segments", &["segmentid", "segment"]),
            ("block_index", &["blockid", "segmentid", "expired"]),
            ("snapshot_contents", &["blockid", "snapshotid"]),
            ("segments_used", &["snapshotid", "segmentid", "utilization"]),
            ("segment_utilization", &["snapshotid", "segmentid", "bytes_referenced"]),
        ];
        for (table, columns) in NEEDED.into_iter().filter(|(t, _)| *t == self.usage || tables_of_all_eras(t)) {
            if !tables.contains(&table) {
                return Ok(Some(format!("it has no table {table}")));
            }
            if let Some(column) = columns.iter().find(|column| !self.has(table, column)) {
                return Ok(Some(format!("its table {table} has no column {column}")));
            }
        }
        let versioned = tables.contains(&"schema_version");
        match self.era {
            Era::C if !versioned => Ok(Some("it has the tables of era C, but no schema_version".to_owned())),
            Era::C => wrong_version(conn),
            _ if versioned => Ok(Some("it has a schema_version, but the tables of an earlier era".to_owned())),
            Era::A if self.has("segments", "expire_time") || self.has("snapshots", "intent") => {
                Ok(Some("it has the tables of era A, but columns of era B: an upgrade was interrupted".to_owned()))
            }
            _ => Ok(None),
        }
    }

    /// Whether a column is there.
    pub(super) fn has(&self, table: &str, column: &str) -> bool {
        self.columns.get(table).is_some_and(|columns| columns.contains(column))
    }

    /// An SQL expression for a column, or for NULL where it is missing.
    pub(super) fn column(&self, table: &str, column: &'static str) -> &'static str {
        if self.has(table, column) { column } else { "NULL" }
    }

    /// The other columns of a table, as a list to be appended. Whoever reads them sees that none is too large to be written
    /// again.
    pub(super) fn others(&self, table: &str, read: &[&str]) -> String {
        let columns = self.columns.get(table).into_iter().flatten();
        let mut others: Vec<_> = columns.filter(|column| !read.contains(&column.as_str())).collect();
        others.sort_unstable();
        others.iter().map(|column| format!(", \"{}\"", column.replace('"', "\"\""))).collect()
    }

    /// The columns of the signatures that are read as they are deleted.
    pub(super) fn read_with_signatures(&self) -> String {
        if self.signatures_indexed { self.others("subblock_signatures", &["blockid"]) } else { String::new() }
    }

    /// The column of `segments` that says when a segment was written.
    pub(super) fn segment_time(&self) -> &'static str {
        match self.era {
            Era::A => "NULL",
            Era::C if self.has("segments", "timestamp") => "timestamp",
            _ => self.column("segments", "mtime"),
        }
    }

    /// The column of `segments` that says how many bytes a segment has.
    pub(super) fn segment_size(&self) -> &'static str {
        match self.era {
            Era::A => "NULL",
            Era::B => self.column("segments", "size"),
            Era::C => self.column("segments", "data_size"),
        }
    }
}

fn tables_of_all_eras(table: &str) -> bool {
    matches!(table, "snapshots" | "segments" | "block_index")
}

fn table_columns(conn: &Connection, table: &str) -> rusqlite::Result<HashSet<String>> {
    let mut info = conn.prepare("SELECT lower(name) FROM pragma_table_info(?1)")?;
    info.query_map([table], |row| row.get(0))?.collect()
}

fn wrong_version(conn: &Connection) -> rusqlite::Result<Option<String>> {
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let version: Option<(Option<i64>, Option<i64>)> =
        conn.query_row("SELECT major, minor FROM schema_version", [], read).optional()?;
    Ok(match version {
        Some((Some(major), Some(minor))) if (major, minor) == SCHEMA_VERSION => None,
        Some((Some(major), Some(minor))) => Some(format!("its schema version {major}.{minor} is unknown")),
        _ => Some("its schema version is unknown".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMON: &str = "CREATE TABLE snapshots (snapshotid INTEGER PRIMARY KEY, name TEXT);
        CREATE TABLE segments (segmentid INTEGER PRIMARY KEY, segment TEXT);
        CREATE TABLE block_index (blockid INTEGER PRIMARY KEY, segmentid INTEGER, expired INTEGER);";
    const A: &str = "CREATE TABLE snapshot_contents (blockid INTEGER, snapshotid INTEGER);";
    const B: &str = "CREATE TABLE segments_used (snapshotid INTEGER, segmentid INTEGER, utilization REAL);";
    const C: &str =
        "CREATE TABLE segment_utilization (snapshotid INTEGER, segmentid INTEGER, bytes_referenced INTEGER);
        CREATE TABLE schema_version (version TEXT, major INTEGER, minor INTEGER);";

    fn detect(sql: &[&str]) -> Result<Schema, String> {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(&sql.concat()).unwrap();
        Schema::detect(&conn).unwrap()
    }

    #[test]
    fn the_usage_table_tells_the_era() {
        assert_eq!(detect(&[COMMON, A]).unwrap().era, Era::A);
        assert_eq!(detect(&[COMMON, B]).unwrap().era, Era::B);
        assert_eq!(detect(&[COMMON, C, "INSERT INTO schema_version VALUES ('0.11', 0, 11)"]).unwrap().era, Era::C);
    }

    #[test]
    fn what_is_missing_counts_as_null() {
        let schema = detect(&[COMMON, B]).unwrap();
        assert_eq!((schema.segment_time(), schema.segment_size()), ("NULL", "NULL"));
        assert!(!schema.signatures);
        let early = "ALTER TABLE segments ADD mtime REAL; INSERT INTO schema_version VALUES ('0.11', 0, 11);";
        assert_eq!(detect(&[COMMON, C, early]).unwrap().segment_time(), "mtime");
    }

    #[test]
    fn half_upgraded_and_unknown_layouts_are_refused() {
        let refused = |sql: &[&str], why: &str| {
            let error = detect(sql).unwrap_err();
            assert!(error.contains(why), "{error}");
        };
        refused(&[COMMON], "no table of what");
        refused(&[COMMON, A, B], "snapshot_contents and segments_used");
        refused(&[A], "no table snapshots");
        refused(&[COMMON, A, "ALTER TABLE segments ADD expire_time INTEGER"], "columns of era B");
        refused(&[COMMON, C], "schema version is unknown");
        refused(&[COMMON, C, "INSERT INTO schema_version VALUES ('0.12', 0, 12)"], "0.12 is unknown");
        refused(&[COMMON.replace("expired INTEGER", "x").as_str(), A], "no column expired");
    }
}
