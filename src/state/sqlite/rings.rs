//! The rings of cycles. Those of one store are mostly the same, so each is there once, under the hash of its names, in pages.

use std::sync::Arc;

use rusqlite::{Connection, params};

use super::faults::{CallFault, Out};
use super::rows::Columns;

/// Names in a page: some kilobytes.
const PAGE_NAMES: usize = 512;

/// What a ring is found by, and checked with.
fn id(names: &[String]) -> i64 {
    let mut columns = Columns::of("ring");
    for name in names {
        columns.bytes(name.as_bytes());
    }
    columns.sum(0)
}

/// Saves a ring, unless it is there, and gives its id.
pub(super) fn save(conn: &Connection, names: &[String]) -> Out<i64> {
    let id = id(names);
    if conn.prepare_cached("SELECT 1 FROM ring WHERE id = ?1 LIMIT 1")?.exists([id])? {
        return Ok(id);
    }
    let mut statement = conn.prepare_cached("INSERT INTO ring (id, page, names) VALUES (?1, ?2, ?3)")?;
    for (page, names) in (0i64..).zip(names.chunks(PAGE_NAMES)) {
        let names = serde_json::to_string(names).map_err(|e| CallFault::Damaged(e.to_string()))?;
        statement.execute(params![id, page, names])?;
    }
    Ok(id)
}

pub(super) fn read(conn: &Connection, ring: i64) -> Out<Arc<[String]>> {
    let mut statement = conn.prepare_cached("SELECT names FROM ring WHERE id = ?1 ORDER BY page")?;
    let (mut rows, mut names) = (statement.query([ring])?, Vec::new());
    let damaged = || CallFault::Damaged("the ring of a cycle fails its checksum".to_owned());
    while let Some(row) = rows.next()? {
        let page: Vec<String> =
            serde_json::from_str(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?).map_err(|_| damaged())?;
        names.extend(page);
    }
    if id(&names) == ring { Ok(names.into()) } else { Err(damaged()) }
}

/// Removes the rings that no cycle has any more.
pub(super) fn remove_unused(conn: &Connection) -> Out<()> {
    let unused = "DELETE FROM ring WHERE id NOT IN (SELECT ring FROM cycle WHERE ring IS NOT NULL)";
    conn.prepare_cached(unused)?.execute([])?;
    Ok(())
}
