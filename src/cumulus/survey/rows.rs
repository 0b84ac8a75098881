//! One step through a table by row id: where it begins, how far it may go, and what is left for the next.

use rusqlite::{Connection, Row};

/// A stretch of a table to read.
pub(super) struct TableRange<'a> {
    pub(super) conn: &'a Connection,
    /// The first row id not yet read; `None` after the last.
    pub(super) cursor: &'a mut Option<i64>,
    /// Most rows to read.
    pub(super) limit: i64,
}

impl TableRange<'_> {
    /// Gives each row to `take` with its id; tells how many there were. The SQL has the row id as its first column, is
    /// ordered by it, and takes the least of them for `?1` and the most rows for `?2`.
    pub(super) fn read(
        self,
        sql: &str,
        mut take: impl FnMut(i64, &Row<'_>) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<u64> {
        let mut statement = self.conn.prepare_cached(sql)?;
        let mut rows = statement.query((*self.cursor, self.limit))?;
        let (mut count, mut last) = (0, None);
        while let Some(row) = rows.next()? {
            // What is not a number comes after all numbers, and is the last that is read.
            let id = row.get_ref(0)?.as_i64().unwrap_or(i64::MAX);
            take(id, row)?;
            count += 1;
            last = Some(id);
        }
        // Short of the limit, there was no more.
        *self.cursor = if count < self.limit { None } else { last.and_then(|last: i64| last.checked_add(1)) };
        Ok(count as u64)
    }
}
