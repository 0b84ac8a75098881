//! The rows of cleanings: when the last run of each ended, and what came of it. Checked like the others (see `rows`).
//!
//! A row that is not there only means that the cleaning runs sooner than it need have.

use rusqlite::{Connection, OptionalExtension, params};

use super::faults::{CallFault, Out};
use super::rows::{Columns, check};
use crate::state::LastRun;

fn sum(name: &str, ended: f64, result: &str) -> i64 {
    Columns::of("cleaning").bytes(name.as_bytes()).real(ended).bytes(result.as_bytes()).sum(0)
}

/// How the last run of a cleaning ended.
pub(super) fn read(conn: &Connection, name: &str) -> Out<Option<LastRun>> {
    let mut statement = conn.prepare_cached("SELECT ended, result, sum FROM cleaning WHERE name = ?1")?;
    let found = statement.query_row([name], |row| Ok((row.get(0)?, row.get::<_, String>(1)?, row.get(2)?)));
    let Some((ended, result, found)) = found.optional()? else { return Ok(None) };
    check(found, sum(name, ended, &result), || format!("the row of cleaning {name:?}"))?;
    let result = serde_json::from_str(&result)
        .map_err(|e| CallFault::Damaged(format!("the result of cleaning {name:?} cannot be read: {e}")))?;
    Ok(Some(LastRun { ended, result }))
}

/// Writes it, in place of the one before.
pub(super) fn save(conn: &Connection, name: &str, run: &LastRun) -> Out<()> {
    let result = run.result.to_string();
    let mut statement =
        conn.prepare_cached("INSERT OR REPLACE INTO cleaning (name, ended, result, sum) VALUES (?1, ?2, ?3, ?4)")?;
    statement.execute(params![name, run.ended, result, sum(name, run.ended, &result)])?;
    Ok(())
}
