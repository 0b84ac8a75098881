//! When prefixes were last completed as a whole: one row for each, replaced with every visit.
//!
//! A row that is missing makes its prefix the first in turn, so it costs a visit and hides nothing; one that is not what
//! was written is an error like any other.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::faults::Out;
use super::rows::{Columns, check};

/// What the visits of a job to a store are found by.
pub(super) fn subject(store: &str, job: &str) -> i64 {
    Columns::of("visits").bytes(store.as_bytes()).bytes(job.as_bytes()).sum(0)
}

fn id(subject: i64, prefix: &str) -> i64 {
    Columns::of("visit id").int(subject).bytes(prefix.as_bytes()).sum(0)
}

fn sum(subject: i64, prefix: &str, at: f64) -> i64 {
    Columns::of("visit").int(subject).bytes(prefix.as_bytes()).real(at).sum(0)
}

/// Remembers that a prefix was completed at this moment.
pub(super) fn save(conn: &Connection, subject: i64, prefix: &str, at: f64) -> Out<()> {
    let mut statement =
        conn.prepare_cached("INSERT OR REPLACE INTO visit (id, subject, prefix, at, sum) VALUES (?1, ?2, ?3, ?4, ?5)")?;
    statement.execute(params![id(subject, prefix), subject, prefix, at, sum(subject, prefix, at)])?;
    Ok(())
}

/// Rows that are read at once.
const PAGE_ROWS: i64 = 4096;

/// When each prefix was last completed.
pub(super) fn read(conn: &Connection, subject: i64) -> Out<BTreeMap<String, f64>> {
    let (mut visits, mut after) = (BTreeMap::new(), None);
    loop {
        after = page(conn, subject, after, &mut visits)?;
        if after.is_none() {
            return Ok(visits);
        }
    }
}

/// Reads some of that: the rows behind this id. Gives the last one's id, if there may be more.
pub(super) fn page(
    conn: &Connection,
    subject: i64,
    after: Option<i64>,
    visits: &mut BTreeMap<String, f64>,
) -> Out<Option<i64>> {
    let mut statement =
        conn.prepare_cached("SELECT subject, prefix, at, sum, id FROM visit WHERE id > ?1 ORDER BY id LIMIT ?2")?;
    let mut rows = statement.query(params![after.unwrap_or(i64::MIN), PAGE_ROWS])?;
    let (mut read, mut last) = (0, None);
    while let Some(row) = rows.next()? {
        let (of, prefix, at): (i64, String, f64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        check(row.get(3)?, sum(of, &prefix, at), || format!("the row of the last visit to prefix {prefix:?}"))?;
        (read, last) = (read + 1, Some(row.get(4)?));
        if of == subject {
            visits.insert(prefix, at);
        }
    }
    Ok(last.filter(|_| read == PAGE_ROWS))
}
