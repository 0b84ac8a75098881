//! Databases whose schema is not that of the old programs: what could make a cleaning delete more than was planned, fail in
//! the middle or never end is refused by name; what people add is left alone, and cleaned as if it were not there.
//!
//! How it happens: a trigger on a table deletes from another one, a foreign key cascades, a table replaces rows by itself, an
//! index calls a function that takes minutes, a cell is so large that to read it takes all memory.

use std::fs;
use std::path::Path;

use rusqlite::Connection;
use rusqlite::limits::Limit;
use sexton::cumulus::policy::Mode;
use sexton::cumulus::settings::CleaningMode;

use super::cli::{clean, golden};
use super::untouched::{JOURNALS, Journal, MANNERS, assert_untouched, cleaned, done, files};
use crate::cumulus::data::State;
use crate::support::harness::run;

const A: &str = "real_a_weekly";
const B: &str = "real_b_weekly";
const C: &str = "real_c_two_schemes";

const BLOCKS: &str = "blockid INTEGER PRIMARY KEY, segmentid INTEGER NOT NULL, object TEXT NOT NULL, checksum TEXT, \
    size INTEGER, timestamp REAL, expired INTEGER";
const CONTENTS: &str = "blockid INTEGER, snapshotid INTEGER";

fn sql(path: &Path, sql: &str) {
    let conn = Connection::open(path).unwrap();
    conn.set_limit(Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 50_000).unwrap();
    conn.execute_batch("PRAGMA foreign_keys = OFF; PRAGMA legacy_alter_table = ON").unwrap();
    conn.execute_batch(sql).unwrap();
}

/// Makes a table anew, with other columns or options, and the rows that it had.
fn again(table: &str, definition: &str) -> String {
    format!(
        "ALTER TABLE {table} RENAME TO old_one; CREATE TABLE {table} {definition}; \
         INSERT INTO {table} SELECT * FROM old_one; DROP TABLE old_one;"
    )
}

fn blocks(instead: &str, of: &str) -> String {
    assert!(BLOCKS.contains(of));
    again("block_index", &format!("({})", BLOCKS.replace(of, instead)))
}

/// Era, what is made, and what is said of it.
fn odd_schemas() -> Vec<(&'static str, String, &'static str)> {
    let a = |sql: &str, words: &'static str| (A, sql.to_owned(), words);
    let mut odd = vec![
        a(
            "CREATE TRIGGER \"Tidy Up\" AFTER DELETE ON block_index BEGIN DELETE FROM snapshot_contents; END",
            "its table block_index has a trigger (tidy up)",
        ),
        a(
            "CREATE TRIGGER t BEFORE UPDATE OF expired ON Block_Index BEGIN SELECT raise(IGNORE); END",
            "block_index has a trigger (t)",
        ),
        a(
            "CREATE TRIGGER t AFTER DELETE ON snapshots BEGIN INSERT INTO snapshots VALUES (old.snapshotid, 'x', 'x', 1); END",
            "snapshots has a trigger (t)",
        ),
        // A schema that was edited by hand hides it behind another table.
        a(
            "CREATE TABLE mine (x); CREATE TRIGGER t AFTER DELETE ON segments BEGIN DELETE FROM mine; END;
             PRAGMA writable_schema = ON; UPDATE sqlite_master SET tbl_name = 'mine' WHERE name = 't'",
            "malformed database schema (t)",
        ),
        a(
            "ALTER TABLE segments RENAME TO s; CREATE VIEW segments AS SELECT * FROM s",
            "its segments is a view, not a table",
        ),
        a(
            "ALTER TABLE snapshot_contents RENAME TO s; CREATE VIEW snapshot_contents AS SELECT * FROM s",
            "its snapshot_contents is a view",
        ),
        a(
            "DROP TABLE snapshot_contents; CREATE VIRTUAL TABLE snapshot_contents USING fts5 (blockid, snapshotid)",
            "its snapshot_contents is a virtual table",
        ),
        a(
            "DROP TABLE snapshots; CREATE VIRTUAL TABLE snapshots USING rtree (snapshotid, name, scheme)",
            "its snapshots is a virtual table",
        ),
        a(
            &again("snapshot_contents", &format!("({CONTENTS}, PRIMARY KEY (blockid, snapshotid)) WITHOUT ROWID")),
            "is WITHOUT ROWID",
        ),
        a(&again("snapshot_contents", &format!("({CONTENTS}) STRICT")), "is STRICT"),
        a(
            &again(
                "snapshot_contents",
                &format!("({CONTENTS}, UNIQUE (blockid, snapshotid) ON /* */ conflict REPLACE)"),
            ),
            "snapshot_contents has an ON CONFLICT clause",
        ),
        a(
            &blocks("segmentid INTEGER NOT NULL ON CONFLICT REPLACE DEFAULT 1", "segmentid INTEGER NOT NULL"),
            "ON CONFLICT",
        ),
        a(&blocks("expired INTEGER CHECK (expired IS NULL)", "expired INTEGER"), "block_index has a CHECK constraint"),
        a(
            &blocks("expired INTEGER UNIQUE", "expired INTEGER"),
            "unique index (sqlite_autoindex_block_index_1) over expired",
        ),
        a(&blocks("expired TEXT", "expired INTEGER"), "a column (expired) that is not declared as an integer"),
        a(&blocks("segmentid TEXT NOT NULL", "segmentid INTEGER NOT NULL"), "(segmentid) that is not declared"),
        a(
            &blocks("blockid INTEGER PRIMARY KEY DESC", "blockid INTEGER PRIMARY KEY"),
            "no column blockid that is its INTEGER",
        ),
        a(
            &blocks("blockid INTEGER", "blockid INTEGER PRIMARY KEY"),
            "no column blockid that is its INTEGER PRIMARY KEY",
        ),
        a(
            &blocks("blockid INT PRIMARY KEY", "blockid INTEGER PRIMARY KEY"),
            "no column blockid that is its INTEGER PRIMARY KEY",
        ),
        a(&again("snapshot_contents", "(blockid, snapshotid)"), "(blockid) that is not declared as an integer"),
        a("ALTER TABLE snapshot_contents ADD COLUMN RowId INTEGER", "a column (rowid) that hides the row ids"),
        a("ALTER TABLE snapshot_contents ADD COLUMN _rowid_", "a column (_rowid_) that hides the row ids"),
        a(
            "ALTER TABLE segments ADD COLUMN x AS (length(segment)) VIRTUAL",
            "segments has a column (x) that is generated",
        ),
        a(
            &again(
                "segments",
                "(segmentid INTEGER PRIMARY KEY, segment TEXT, path TEXT, checksum TEXT, x AS (1) STORED)",
            )
            .replace("SELECT *", "SELECT segmentid, segment, path, checksum"),
            "segments has a column (x) that is generated",
        ),
        a(
            "CREATE UNIQUE INDEX mine ON block_index (timestamp, blockid)",
            "block_index has a unique index (mine) over timestamp",
        ),
        a("CREATE UNIQUE INDEX mine ON block_index (abs(expired))", "a unique index (mine) over expired"),
        a(
            "CREATE UNIQUE INDEX mine ON block_index (blockid) WHERE expired IS NULL",
            "a unique index (mine) over expired",
        ),
        a("CREATE INDEX mine ON block_index (instr(zeroblob(blockid), object))", "an index (mine) that calls instr()"),
        a("CREATE INDEX mine ON snapshot_contents (blockid) WHERE printf('%d', blockid) > 0", "that calls printf()"),
        a("CREATE INDEX mine ON segments (\"replace\"(segment, 'a', segment))", "that calls replace()"),
        a("CREATE INDEX mine ON segments (length ( /* ( */ quote(segment)))", "that calls quote()"),
        (B, "CREATE TRIGGER t AFTER DELETE ON subblock_signatures BEGIN SELECT 1; END".to_owned(), "has a trigger (t)"),
        (B, "CREATE UNIQUE INDEX mine ON segments (expire_time)".to_owned(), "over expire_time"),
        (
            B,
            "CREATE TRIGGER t AFTER UPDATE ON segments BEGIN DELETE FROM block_index; END".to_owned(),
            "has a trigger (t)",
        ),
        (
            C,
            "ALTER TABLE schema_version RENAME TO v; CREATE VIEW schema_version AS SELECT * FROM v".to_owned(),
            "its schema_version is a view",
        ),
    ];
    let columns: String = (0..40).map(|i| format!("ALTER TABLE segments ADD COLUMN c{i};")).collect();
    odd.push((A, columns, "its table segments has more than 32 columns"));
    let many =
        "PRAGMA writable_schema = ON; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400)
        INSERT INTO sqlite_master SELECT 'view', 'v' || i, 'v' || i, 0, 'CREATE VIEW v' || i || ' AS SELECT 1' FROM n";
    odd.push((A, many.to_owned(), "its schema is larger than that of any local database"));
    let long = format!("CREATE VIEW v AS SELECT '{}'", "x".repeat(20_000));
    odd.push((A, long, "its schema has a statement that is longer"));
    odd
}

#[test]
fn an_odd_schema_is_refused_by_the_name_of_what_is_odd_and_left_as_it_is() {
    let mut others = Vec::new();
    for (name, make, words) in odd_schemas() {
        for journal in JOURNALS {
            for manner in MANNERS {
                if words.starts_with("malformed") && matches!(journal, Journal::Log | Journal::FullLog) {
                    // Nor can SQLite give it a log.
                    continue;
                }
                let (_dir, path) = golden(name).copy(false);
                sql(&path, &make);
                journal.prepare(&path);
                let before = files(&path);
                let what = format!("{journal:?} {manner:?} {}", &make[..make.len().min(100)]);
                match cleaned(&path, golden(name), manner) {
                    Err(error) => {
                        let error = error.to_string();
                        if !error.contains(words) {
                            others.push(format!("{what}: {error}"));
                        }
                        assert!(!error.contains("SELECT") && !error.contains("DELETE"), "no SQL of ours: {error}");
                    }
                    Ok(report) => others.push(format!("{what}: cleaned, {:?}", report.refused())),
                }
                assert_untouched(&path, &before, &what);
            }
        }
    }
    assert!(others.is_empty(), "{others:#?}");
}

/// Functions and collations of the program that made an index are not known here.
#[test]
fn an_index_that_only_its_program_can_keep_is_named() {
    use rusqlite::functions::FunctionFlags;
    let make = |path: &Path, sql: &str| {
        let conn = Connection::open(path).unwrap();
        let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
        conn.create_scalar_function("mine", 1, flags, |_| Ok(1)).unwrap();
        conn.execute_batch(sql).unwrap();
    };
    for (sql, words) in [
        (
            "CREATE INDEX i ON block_index (object COLLATE NOCASE); PRAGMA writable_schema = ON;
             UPDATE sqlite_master SET sql = replace(sql, 'NOCASE', 'mine') WHERE name = 'i'",
            "no such collation sequence: mine",
        ),
        ("CREATE INDEX i ON segments (mine(segment))", "an index (i) that calls mine()"),
        ("CREATE INDEX i ON snapshots (snapshotid) WHERE name REGEXP 'x'", "unknown function: REGEXP()"),
    ] {
        for manner in MANNERS {
            let (_dir, path) = golden(A).copy(false);
            if sql.contains("REGEXP") {
                let conn = Connection::open(&path).unwrap();
                let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
                conn.create_scalar_function("regexp", 2, flags, |_| Ok(1)).unwrap();
                conn.execute_batch(sql).unwrap();
            } else {
                make(&path, sql);
            }
            let before = files(&path);
            let error = cleaned(&path, golden(A), manner).unwrap_err().to_string();
            assert!(error.contains(words), "{sql}: {error}");
            assert_untouched(&path, &before, sql);
        }
    }
}

#[test]
fn a_cell_beyond_the_bound_is_refused_by_its_table_before_anything_is_changed() {
    let large = "zeroblob(1048577)";
    let text = "CAST(zeroblob(1048577) AS TEXT)";
    let last = |table: &str| format!("WHERE rowid = (SELECT max(rowid) FROM {table})");
    let mut cells: Vec<(&str, &str, String)> = Vec::new();
    for (era, table, columns) in [
        (A, "snapshots", "name scheme timestamp"),
        (A, "segments", "path checksum"),
        (A, "block_index", "object checksum size timestamp expired"),
        (A, "snapshot_contents", "blockid snapshotid"),
        (B, "snapshots", "name intent"),
        (B, "segments", "mtime size expire_time path"),
        (B, "segments_used", "utilization"),
        (C, "segments", "type data_size timestamp"),
        (C, "segment_utilization", "bytes_referenced"),
    ] {
        for column in columns.split(' ') {
            for value in [large, text] {
                cells.push((era, table, format!("UPDATE {table} SET {column} = {value} {}", last(table))));
            }
        }
    }
    cells.push((A, "segments", format!("UPDATE segments SET segment = {text} {}", last("segments"))));
    cells.push((A, "snapshots", format!("UPDATE snapshots SET scheme = {text} WHERE rowid = 1")));
    let mine =
        |table: &str| format!("ALTER TABLE {table} ADD COLUMN mine; UPDATE {table} SET mine = {large} {}", last(table));
    for table in ["snapshots", "segments", "block_index", "snapshot_contents"] {
        cells.push((A, table, mine(table)));
    }
    cells.push((
        B,
        "subblock_signatures",
        "CREATE INDEX i ON subblock_signatures (signatures);
        INSERT INTO subblock_signatures VALUES (4000000, 'x', zeroblob(1048577))"
            .to_owned(),
    ));
    for (i, (era, table, make)) in cells.iter().enumerate() {
        let journal = JOURNALS[i % 4];
        let (_dir, path) = golden(era).copy(false);
        sql(&path, make);
        journal.prepare(&path);
        let before = files(&path);
        for manner in MANNERS {
            let error = cleaned(&path, golden(era), manner).map(drop).expect_err(make).to_string();
            assert!(error.contains(&format!("a cell of its table {table} is larger than 1 MiB")), "{make}: {error}");
            assert_untouched(&path, &before, make);
        }
    }
}

/// Names and schemes are kept in memory, so there is a bound for all together, too.
#[test]
fn names_that_take_more_than_their_bound_together_are_refused() {
    for (table, make) in [
        ("segments", "INSERT INTO segments (segment) SELECT i || CAST(zeroblob(1000000) AS TEXT) FROM n"),
        ("snapshots", "INSERT INTO snapshots (name, scheme) SELECT 'x', CAST(zeroblob(1000000) AS TEXT) FROM n"),
    ] {
        let (_dir, path) = golden(A).copy(false);
        sql(&path, &format!("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 70) {make}"));
        let before = files(&path);
        let error = cleaned(&path, golden(A), CleaningMode::InSlices).unwrap_err().to_string();
        assert!(error.contains(&format!("names in its table {table} take more than 64 MiB")), "{error}");
        assert_untouched(&path, &before, make);
    }
}

/// What people add, or have chosen when they made the file. All rows of the tables that are cleaned are as in the plain one.
fn harmless() -> Vec<(&'static str, String)> {
    let mut harmless: Vec<(&str, String)> = [
        "CREATE INDEX i1 ON block_index (expired); CREATE INDEX i2 ON block_index (timestamp DESC, segmentid);
         CREATE INDEX i3 ON block_index (object COLLATE NOCASE) WHERE expired IS NULL AND (size > 3 OR size IN (1, 2));
         CREATE INDEX i4 ON segments (lower(substr(segment, 1, 8))); CREATE UNIQUE INDEX i5 ON snapshots (name);
         CREATE INDEX i6 ON snapshot_contents (snapshotid, blockid); CREATE INDEX i7 ON block_index (abs(expired) + 1)",
        // Views, also those that would take for ever, tables with triggers on nothing that is cleaned, other kinds of tables.
        "CREATE VIEW v0 AS SELECT * FROM block_index; CREATE VIEW v1 AS SELECT a.blockid AS x FROM v0 a, v0 b, v0 c, v0 d;
         CREATE VIEW v2 AS SELECT a.x AS x FROM v1 a, v1 b, v1 c, v1 d; CREATE VIEW v3 AS SELECT a.x AS x FROM v2 a, v2 b;
         CREATE VIEW broken AS SELECT x FROM nowhere; CREATE VIEW segments_used AS SELECT 1;
         CREATE TABLE mine (x PRIMARY KEY ON CONFLICT REPLACE CHECK (x > 0)) WITHOUT ROWID; INSERT INTO mine VALUES (1);
         CREATE TRIGGER t1 AFTER INSERT ON mine BEGIN DELETE FROM block_index; END;
         CREATE TRIGGER t2 INSTEAD OF INSERT ON v0 BEGIN DELETE FROM block_index; END;
         CREATE VIRTUAL TABLE search USING fts5 (name)",
        // Without them the rows would go with those that they refer to, or keep them from going.
        "CREATE TABLE mine (s INTEGER REFERENCES segments (segmentid) ON DELETE CASCADE,
             b INTEGER REFERENCES block_index (blockid) ON DELETE RESTRICT, c INTEGER REFERENCES nowhere (x));
         INSERT INTO mine SELECT segmentid, blockid, 1 FROM block_index",
        "ANALYZE; UPDATE sqlite_stat1 SET stat = '1 1 1 1'; INSERT INTO sqlite_stat1 VALUES ('block_index', NULL, '1')",
        "PRAGMA page_size = 512; VACUUM",
        "PRAGMA page_size = 65536; VACUUM",
        "PRAGMA auto_vacuum = FULL; VACUUM",
        "PRAGMA auto_vacuum = INCREMENTAL; VACUUM",
        "PRAGMA application_id = 77; PRAGMA user_version = 8",
    ]
    .map(|sql| (A, sql.to_owned()))
    .into();
    let cascade = "segmentid INTEGER NOT NULL REFERENCES segments (segmentid) ON DELETE CASCADE";
    harmless.push((A, blocks(cascade, "segmentid INTEGER NOT NULL")));
    harmless.push((A, blocks("blockid INTEGER PRIMARY KEY AUTOINCREMENT", "blockid INTEGER PRIMARY KEY")));
    harmless.push((A, blocks("size INT DEFAULT (1 + 2)", "size INTEGER")));
    harmless.push((A, blocks("object TEXT COLLATE NOCASE", "object TEXT")));
    harmless.push((A, "ALTER TABLE block_index ADD COLUMN note TEXT; UPDATE block_index SET note = 'kept'".to_owned()));
    harmless.push((B, "CREATE INDEX i ON subblock_signatures (algorithm, signatures)".to_owned()));
    harmless.push((B, "INSERT INTO subblock_signatures VALUES (4000000, 'x', zeroblob(2000000))".to_owned()));
    harmless.push((
        C,
        "CREATE INDEX i ON segment_utilization (segmentid); CREATE VIEW segment_info AS SELECT 1".to_owned(),
    ));
    harmless
}

#[test]
fn what_people_add_is_left_alone_and_cleaned_as_if_it_were_not_there() {
    for (i, (name, make)) in harmless().into_iter().enumerate() {
        for (manner, journal) in
            [(CleaningMode::InSlices, JOURNALS[i % 4]), (CleaningMode::AtOnce, JOURNALS[(i + 2) % 4])]
        {
            let (_dir, path) = golden(name).copy(false);
            sql(&path, &make);
            let mine = |path: &Path| -> Option<i64> {
                Connection::open(path).unwrap().query_row("SELECT count(*) FROM mine", [], |row| row.get(0)).ok()
            };
            let before = mine(&path);
            journal.prepare(&path);
            let what = format!("{manner:?} {journal:?} {make}");
            let report = cleaned(&path, golden(name), manner).unwrap_or_else(|error| panic!("{what}: {error}"));
            report.handed_over().unwrap();
            golden(name).check(&path, done(golden(name)), &what);
            assert_eq!(mine(&path), before, "{what}");
            let sound: String = Connection::open(&path)
                .and_then(|conn| conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)))
                .unwrap();
            assert_eq!(sound, "ok", "{what}");
        }
    }
}

/// The encoding of a database can be chosen only before its first table is made.
#[test]
fn a_database_in_utf_16_is_cleaned_like_any_other() {
    for encoding in ["UTF-16le", "UTF-16be"] {
        for journal in [Journal::Rollback, Journal::FullLog] {
            let (dir, plain) = golden(A).copy(false);
            let path = dir.path().join("other").join("localdb.sqlite");
            fs::create_dir(path.parent().unwrap()).unwrap();
            let conn = Connection::open(&path).unwrap();
            conn.execute_batch(&format!("PRAGMA encoding = '{encoding}'")).unwrap();
            let from = Connection::open(&plain).unwrap();
            let mut tables = from.prepare("SELECT name, sql FROM sqlite_master WHERE type = 'table'").unwrap();
            let tables: Vec<(String, String)> =
                tables.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect();
            for (table, sql) in tables {
                conn.execute_batch(&sql).unwrap();
                let mut rows = from.prepare(&format!("SELECT * FROM {table}")).unwrap();
                let columns = rows.column_count();
                let marks = vec!["?"; columns].join(", ");
                let mut insert = conn.prepare(&format!("INSERT INTO {table} VALUES ({marks})")).unwrap();
                let mut rows = rows.query([]).unwrap();
                while let Some(row) = rows.next().unwrap() {
                    let cells = (0..columns).map(|i| row.get::<_, rusqlite::types::Value>(i).unwrap());
                    insert.execute(rusqlite::params_from_iter(cells)).unwrap();
                }
            }
            drop(conn);
            journal.prepare(&path);
            cleaned(&path, golden(A), CleaningMode::InSlices).unwrap().handed_over().unwrap();
            golden(A).check(&path, State::Recommended, encoding);
        }
    }
}

/// The program's own words, as a user reads them.
#[test]
fn a_refusal_is_one_line_with_the_name_of_what_is_odd() {
    let (_dir, path) = golden(A).copy(false);
    sql(&path, "CREATE TRIGGER audit AFTER DELETE ON segments BEGIN SELECT 1; END");
    let ended = run(&mut clean(&path, golden(A), Mode::Careful, "")).expect(2);
    ended.said("is not a local database to work with: its table segments has a trigger (audit)");
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
}
