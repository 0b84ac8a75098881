//! Whether the tables that a cleaning uses are ordinary ones.
//!
//! In a database from somewhere else a table may be a view, or bring triggers, constraints and expressions that delete more
//! than was planned, fail in the middle, or never end. They are switched off where SQLite can do that; here they are named,
//! so that such a database is refused before anything is changed. What a cleaning does not use is left alone.

use rusqlite::{Connection, Error};

use super::schema::Schema;
use super::sql_words::{SqlToken, has, words};

/// An object of the schema. SQLite has seen to it that names and statements say the same: a schema that was edited by hand
/// and does not is malformed to it.
pub(super) struct Object {
    kind: String,
    /// In lower case, as `table`.
    name: String,
    /// The table that an index or a trigger belongs to.
    table: String,
    words: Vec<SqlToken>,
}

/// Functions that an index may call: quick ones, whatever they are given.
const QUICK: [&str; 20] = [
    "abs",
    "coalesce",
    "date",
    "datetime",
    "hex",
    "ifnull",
    "iif",
    "julianday",
    "length",
    "lower",
    "max",
    "min",
    "nullif",
    "round",
    "substr",
    "substring",
    "trim",
    "typeof",
    "unixepoch",
    "upper",
];
/// Keywords before a parenthesis that are no function.
const NO_FUNCTION: [&str; 22] = [
    "and", "as", "between", "by", "case", "cast", "collate", "else", "escape", "glob", "in", "is", "isnull", "like",
    "not", "notnull", "null", "or", "then", "values", "when", "where",
];
/// Names under which SQLite knows the row id.
const ROW_ID: [&str; 3] = ["rowid", "oid", "_rowid_"];
/// Columns that hold numbers of rows, and those that a cleaning writes whole numbers into.
const NUMBERS: [&str; 5] = ["snapshotid", "segmentid", "blockid", "expired", "expire_time"];
/// Columns that a cleaning writes.
const WRITTEN: [&str; 3] = ["expired", "timestamp", "expire_time"];

impl Object {
    /// All objects of a database, with the words of those that make or index one of these tables; the others are not read.
    pub(super) fn all(conn: &Connection, tables: &[&str]) -> rusqlite::Result<Vec<Object>> {
        let names = tables.iter().map(|table| format!("'{table}'")).collect::<Vec<_>>().join(", ");
        let mut list = conn.prepare(&format!(
            "SELECT type, name, tbl_name, CASE WHEN type IN ('table', 'index') AND lower(tbl_name) IN ({names}) THEN sql END
             FROM sqlite_master"
        ))?;
        let text = |row: &rusqlite::Row<'_>, i| Ok::<_, Error>(row.get::<_, Option<String>>(i)?.unwrap_or_default());
        let object = |row: &rusqlite::Row<'_>| {
            Ok(Object {
                kind: text(row, 0)?.to_ascii_lowercase(),
                name: text(row, 1)?.to_ascii_lowercase(),
                table: text(row, 2)?.to_ascii_lowercase(),
                words: words(&text(row, 3)?),
            })
        };
        list.query_map([], object)?.collect()
    }

    pub(super) fn is_table(&self, name: &str) -> bool {
        self.kind == "table" && self.name == name
    }

    pub(super) fn is_index_of(&self, table: &str) -> bool {
        self.kind == "index" && self.table == table
    }

    /// What stands in place of a table of this name, if it is something else.
    pub(super) fn in_place_of(&self, table: &str) -> Option<String> {
        match self.kind.as_str() {
            _ if self.name != table => None,
            "view" => Some(format!("its {table} is a view, not a table")),
            "table" if has(&self.words, &["create", "virtual"]) => Some(format!("its {table} is a virtual table")),
            _ => None,
        }
    }

    /// A function that an index calls and that is not known to be quick.
    fn slow_function(&self) -> Option<&str> {
        // The first parenthesis comes after the name of the table.
        let begin =
            self.words.iter().position(|word| *word == SqlToken::Sign('(')).map_or(self.words.len(), |at| at + 1);
        let calls = self.words[begin..].windows(2).filter(|pair| pair[1] == SqlToken::Sign('('));
        let mut names = calls.filter_map(|pair| pair[0].name());
        names.find(|name| !QUICK.contains(name) && !NO_FUNCTION.contains(name))
    }
}

/// What is odd about the tables that are used, if anything is.
pub(super) fn fault(conn: &Connection, objects: &[Object], used: &[&'static str]) -> rusqlite::Result<Option<String>> {
    for table in used {
        for object in objects {
            if let Some(why) = object.in_place_of(table).or_else(|| object_fault(object, table)) {
                return Ok(Some(why));
            }
        }
        if let Some(why) =
            column_fault(conn, table)?.map_or_else(|| index_fault(conn, objects, table), |why| Ok(Some(why)))?
        {
            return Ok(Some(why));
        }
        if let Some(why) = unworkable(conn, table)? {
            return Ok(Some(why));
        }
    }
    Ok(None)
}

fn object_fault(object: &Object, table: &str) -> Option<String> {
    let name = &object.name;
    match object.kind.as_str() {
        "trigger" if object.table == table => Some(format!("its table {table} has a trigger ({name})")),
        "index" if object.table == table => {
            let function = object.slow_function()?;
            Some(format!("its table {table} has an index ({name}) that calls {function}()"))
        }
        "table" if object.name == table => {
            let words = &object.words;
            let end = words.iter().rposition(|word| *word == SqlToken::Sign(')')).map_or(words.len(), |at| at + 1);
            let options = &words[end..];
            let what = if has(words, &["on", "conflict"]) {
                "has an ON CONFLICT clause"
            } else if has(words, &["check"]) {
                "has a CHECK constraint"
            } else if has(options, &["without"]) {
                "is WITHOUT ROWID"
            } else if has(options, &["strict"]) {
                "is STRICT"
            } else {
                return None;
            };
            Some(format!("its table {table} {what}"))
        }
        _ => None,
    }
}

fn column_fault(conn: &Connection, table: &str) -> rusqlite::Result<Option<String>> {
    let mut info = conn.prepare("SELECT lower(name), lower(type), pk, hidden FROM pragma_table_xinfo(?1)")?;
    let mut rows = info.query([table])?;
    let (mut count, mut key) = (0, Vec::new());
    while let Some(row) = rows.next()? {
        let (name, kind): (String, String) = (row.get(0)?, row.get(1)?);
        let (in_key, hidden): (i64, i64) = (row.get(2)?, row.get(3)?);
        count += 1;
        let what = if count > Schema::COLUMNS_MAX {
            return Ok(Some(format!("its table {table} has more than {} columns", Schema::COLUMNS_MAX)));
        } else if hidden != 0 {
            "is generated"
        } else if ROW_ID.contains(&name.as_str()) {
            "hides the row ids"
        } else if NUMBERS.contains(&name.as_str()) && !kind.contains("int") {
            "is not declared as an integer"
        } else {
            if in_key > 0 {
                key.push((name, kind));
            }
            continue;
        };
        return Ok(Some(format!("its table {table} has a column ({name}) that {what}")));
    }
    let wanted = match table {
        "snapshots" => "snapshotid",
        "segments" => "segmentid",
        "block_index" | "subblock_signatures" => "blockid",
        _ => return Ok(None),
    };
    // Only so is the column another name of the row id, by which the table is gone through.
    let is_row_id = matches!(&key[..], [(name, kind)] if name == wanted && kind == "integer");
    let apart = "SELECT EXISTS (SELECT 1 FROM pragma_index_list(?1) WHERE origin = 'pk')";
    let is_row_id = is_row_id && !conn.query_row(apart, [table], |row| row.get::<_, bool>(0))?;
    Ok((!is_row_id).then(|| format!("its table {table} has no column {wanted} that is its INTEGER PRIMARY KEY")))
}

/// A unique index over what a cleaning writes would stop it in the middle.
fn index_fault(conn: &Connection, objects: &[Object], table: &str) -> rusqlite::Result<Option<String>> {
    let mut list = conn.prepare("SELECT lower(name) FROM pragma_index_list(?1) WHERE \"unique\"")?;
    for name in list.query_map([table], |row| row.get::<_, String>(0))? {
        let name = name?;
        let mut info = conn.prepare("SELECT lower(name) FROM pragma_index_xinfo(?1)")?;
        let columns: Vec<Option<String>> = info.query_map([&name], |row| row.get(0))?.collect::<Result<_, _>>()?;
        let expressions = objects.iter().filter(|object| object.kind == "index" && object.name == name);
        let mut named = columns
            .into_iter()
            .flatten()
            .chain(expressions.flat_map(|object| object.words.iter().filter_map(SqlToken::name)).map(str::to_owned));
        if let Some(written) = named.find(|column| WRITTEN.contains(&column.as_str())) {
            return Ok(Some(format!(
                "its table {table} has a unique index ({name}) over {written}, which is to be changed"
            )));
        }
    }
    Ok(None)
}

/// Whether SQLite itself cannot work with a table: an index needs a function or a collation that is not known here.
fn unworkable(conn: &Connection, table: &str) -> rusqlite::Result<Option<String>> {
    let change = match table {
        "block_index" => "UPDATE block_index SET expired = NULL WHERE blockid = 0".to_owned(),
        _ => format!("DELETE FROM {table} WHERE rowid = 0"),
    };
    for sql in [format!("SELECT * FROM {table} ORDER BY rowid"), format!("DELETE FROM {table} WHERE rowid = 0"), change]
    {
        match conn.prepare(&sql).map(drop) {
            Err(Error::SqlInputError { msg, .. }) => {
                return Ok(Some(format!("its table {table} cannot be worked with: {msg}")));
            }
            other => other?,
        }
    }
    Ok(None)
}
