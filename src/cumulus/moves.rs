//! The single changes of which a plan's steps consist. Each is idempotent, and runs in a transaction of the caller's.

use std::sync::Arc;

use rusqlite::functions::FunctionFlags;
use rusqlite::{Connection, OptionalExtension, params};

use super::block_set::BlockSet;
use super::decision::{CleaningDecision, Usage};
use super::policy::{Era, Mode, Regroup};
use super::schema::Schema;
use super::touched::Touched;
use super::value;

/// The name under which SQL finds the group of a block.
const GROUP: &str = "sexton_group";

/// The last of the next `limit` rows from `from` on, by row id; `None` after the last row.
fn upper_end(conn: &Connection, table: &str, from: i64, limit: u64) -> rusqlite::Result<Option<i64>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    if limit == i64::MAX {
        return Ok(Some(i64::MAX));
    }
    let sql = format!("SELECT max(r) FROM (SELECT rowid AS r FROM {table} WHERE rowid >= ?1 ORDER BY rowid LIMIT ?2)");
    conn.prepare_cached(&sql)?.query_row((from, limit), |row| row.get(0)).optional().map(Option::flatten)
}

/// Deletes what the condition says among the next `limit` rows of a table; gives where to go on.
fn delete_range(
    conn: &Connection,
    table: &str,
    condition: &str,
    but: Option<i64>,
    (from, limit): (i64, u64),
) -> rusqlite::Result<Option<i64>> {
    let Some(to) = upper_end(conn, table, from, limit)? else { return Ok(None) };
    let sql = format!("DELETE FROM {table} WHERE rowid BETWEEN ?1 AND ?2 AND (?3 IS NULL OR 1) AND ({condition})");
    conn.prepare_cached(&sql)?.execute(params![from, to, but])?;
    Ok(to.checked_add(1))
}

/// Deletes snapshots.
pub(super) fn drop_snapshots(conn: &Connection, ids: impl Iterator<Item = i64>) -> rusqlite::Result<u64> {
    let mut delete = conn.prepare_cached("DELETE FROM snapshots WHERE snapshotid = ?1")?;
    let mut rows = 0;
    for id in ids {
        rows += delete.execute([id])? as u64;
    }
    Ok(rows)
}

/// Deletes usage rows among the next `limit` ones; gives where to go on. `but` is a snapshot that is still there, but is
/// to go.
pub(super) fn drop_usage(
    conn: &Connection,
    schema: &Schema,
    decision: &CleaningDecision,
    but: Option<i64>,
    range: (i64, u64),
) -> rusqlite::Result<Option<i64>> {
    let missing = "snapshotid NOT IN (SELECT snapshotid FROM snapshots WHERE snapshotid IS NOT ?3)";
    let careful = decision.options.mode == Mode::Careful;
    let missing = if careful { format!("snapshotid IS NULL OR {missing}") } else { missing.to_owned() };
    let condition = match (decision.usage, schema.era) {
        (Usage::Nothing, _) => return Ok(None),
        (Usage::Everything, _) => "1".to_owned(),
        (Usage::OfMissingSnapshots, _) => missing,
        (Usage::Dangling, Era::A) => format!(
            "{missing} OR NOT EXISTS (SELECT 1 FROM block_index AS b JOIN segments USING (segmentid) \
             WHERE b.blockid = snapshot_contents.blockid)"
        ),
        (Usage::Dangling, _) => {
            format!("{missing} OR segmentid IS NULL OR segmentid NOT IN (SELECT segmentid FROM segments)")
        }
    };
    delete_range(conn, schema.usage, &condition, but, range)
}

/// Deletes at most about `limit` blocks of a segment, with their signatures; gives how many.
pub(super) fn drop_blocks(conn: &Connection, schema: &Schema, segment: i64, limit: u64) -> rusqlite::Result<u64> {
    const BLOCKS: &str = "(SELECT blockid FROM block_index WHERE segmentid = ?1 ORDER BY object LIMIT ?2)";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    if schema.signatures {
        let sql = format!("DELETE FROM subblock_signatures WHERE blockid IN {BLOCKS}");
        conn.prepare_cached(&sql)?.execute((segment, limit))?;
    }
    let sql = format!("DELETE FROM block_index WHERE blockid IN {BLOCKS}");
    Ok(conn.prepare_cached(&sql)?.execute((segment, limit))? as u64)
}

/// Deletes a segment, which must have no blocks any more.
pub(super) fn drop_segment(conn: &Connection, segment: i64) -> rusqlite::Result<()> {
    conn.prepare_cached("DELETE FROM segments WHERE segmentid = ?1")?.execute([segment]).map(|_| ())
}

/// Deletes blocks, among the next `limit` ones, whose segment is not even a number; gives where to go on.
pub(super) fn drop_nameless(conn: &Connection, schema: &Schema, range: (i64, u64)) -> rusqlite::Result<Option<i64>> {
    const NAMELESS: &str = "typeof(segmentid) <> 'integer'";
    if schema.signatures {
        let condition = format!("blockid IN (SELECT blockid FROM block_index WHERE {NAMELESS})");
        delete_range(conn, "subblock_signatures", &condition, None, (i64::MIN, u64::MAX))?;
    }
    delete_range(conn, "block_index", NAMELESS, None, range)
}

/// Deletes signatures, among the next `limit` ones, of blocks that are not there; gives where to go on.
pub(super) fn drop_signatures(conn: &Connection, range: (i64, u64)) -> rusqlite::Result<Option<i64>> {
    let condition = "NOT EXISTS (SELECT 1 FROM block_index AS b WHERE b.blockid = subblock_signatures.blockid)";
    delete_range(conn, "subblock_signatures", condition, None, range)
}

/// Takes the next `limit` usage rows of era A into the set of blocks in use; gives where to go on.
pub(super) fn read_used(
    conn: &Connection,
    used: &mut BlockSet,
    (from, limit): (i64, u64),
) -> rusqlite::Result<Option<i64>> {
    let sql = "SELECT rowid, blockid FROM snapshot_contents WHERE rowid >= ?1 ORDER BY rowid LIMIT ?2";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query((from, limit))?;
    let (mut count, mut next) = (0, None);
    while let Some(row) = rows.next()? {
        count += 1;
        next = row.get::<_, i64>(0)?.checked_add(1);
        if let Ok(block) = row.get_ref(1)?.as_i64() {
            used.insert(block);
        }
    }
    Ok(if count < limit { None } else { next })
}

/// Teaches SQL the group of a block, by its id and its time.
pub(super) fn teach_groups(conn: &Connection, decision: &CleaningDecision, used: BlockSet) -> rusqlite::Result<()> {
    let Some(regroup) = decision.regroup.clone() else { return Ok(()) };
    let (era, mode, now) = (decision.era, decision.options.mode, decision.options.now);
    let used = Arc::new(used);
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_DIRECTONLY;
    conn.create_scalar_function(GROUP, 2, flags, move |context| {
        let block = context.get_raw(0).as_i64().unwrap_or(0);
        if era == Era::A && !used.contains(block) {
            return Ok(if regroup == Regroup::Stopped { -1 } else { 0 });
        }
        let days = value::days_since(now, &value::moment(context.get_raw(1)));
        Ok(regroup.group(if mode == Mode::Careful { days.or(Some(0.0)) } else { days }))
    })
}

/// Makes SQL forget it.
pub(super) fn unteach_groups(conn: &Connection) -> rusqlite::Result<()> {
    conn.remove_function(GROUP, 2)
}

/// Gives the blocks of a segment their final values, and the segment itself if it is marked.
pub(super) fn settle_segment(
    conn: &Connection,
    schema: &Schema,
    decision: &CleaningDecision,
    Touched { segment, marked, .. }: Touched,
) -> rusqlite::Result<()> {
    if marked && decision.era == Era::B && schema.has("segments", "expire_time") {
        let sql = "UPDATE segments SET expire_time = ?2 WHERE segmentid = ?1";
        conn.prepare_cached(sql)?.execute((segment, decision.expire_time))?;
    }
    let Some(regroup) = &decision.regroup else {
        let value = if decision.era == Era::A { 1 } else { 0 };
        let sql = "UPDATE block_index SET expired = ?2 WHERE segmentid = ?1 AND expired IS NOT ?2";
        return conn.prepare_cached(sql)?.execute((segment, value)).map(|_| ());
    };
    let column = schema.column("block_index", "timestamp");
    let time = value::timestamp(decision.options.mode, column);
    let group = format!("{GROUP}(blockid, {time})");
    let which = if marked { "" } else { "AND expired IS NOT NULL" };
    // Text is later than every number to SQLite; a careful run leaves it as it is.
    let future = match decision.options.mode {
        _ if column == "NULL" || *regroup == Regroup::Stopped => None,
        Mode::Compat => Some("timestamp > ?2"),
        Mode::Careful => Some("(timestamp > ?2 AND typeof(timestamp) IN ('integer', 'real'))"),
    };
    let sql = match future {
        Some(future) => format!(
            "UPDATE block_index SET expired = {group}, timestamp = CASE WHEN {future} THEN ?2 ELSE timestamp END \
             WHERE segmentid = ?1 {which} AND (expired IS NOT {group} OR {future})"
        ),
        None => format!(
            "UPDATE block_index SET expired = {group} WHERE segmentid = ?1 {which} AND expired IS NOT {group} \
             AND (?2 IS NULL OR 1)"
        ),
    };
    conn.prepare_cached(&sql)?.execute((segment, decision.options.now)).map(|_| ())
}
