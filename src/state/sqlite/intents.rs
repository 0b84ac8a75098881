//! The rows of intents: read, checked and written like the others (see `rows`). A prefix has them all or none: each commit
//! puts its own in the place of those before, and the prefix knows their number and the chain of their checksums.

use rusqlite::{Connection, params};

use super::faults::{CallFault, Out};
use super::notes::chained;
use super::rows::{Columns, PrefixRecord, Seal, check, count, int};
use crate::job::Intent;

fn sum_of(seal: Seal, position: u32, number: u64, intent: &Intent) -> Out<i64> {
    let mut columns = Columns::of("intent");
    columns.int(seal.id(position)).int(int(number)?).int(int(intent.deletes)?);
    columns.bytes(&intent.bucket).bytes(intent.body.as_bytes());
    // One that may be begun has the checksum that it had before this was a column.
    if !intent.begun {
        columns.bytes(b"not begun");
    }
    Ok(columns.sum(seal.nonce))
}

/// Puts these in the place of those that the prefix has.
pub(super) fn replace(conn: &Connection, seal: Seal, prefix: &mut PrefixRecord, intents: &[Intent]) -> Out<()> {
    if prefix.intents > 0 {
        conn.prepare_cached("DELETE FROM intent WHERE cycle = ?1 AND prefix = ?2")?
            .execute(params![seal.cycle, prefix.position])?;
    }
    (prefix.intents, prefix.intent_chain) = (0, 0);
    for intent in intents {
        let number = prefix.intents;
        let mut statement = conn.prepare_cached(
            "INSERT INTO intent (cycle, prefix, number, deletes, sum, bucket, body, begun) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?;
        let sum = sum_of(seal, prefix.position, number, intent)?;
        let Intent { bucket, deletes, body, begun } = intent;
        statement.execute(params![
            seal.cycle,
            prefix.position,
            int(number)?,
            int(*deletes)?,
            sum,
            bucket,
            body,
            begun
        ])?;
        (prefix.intents, prefix.intent_chain) = (number + 1, chained(prefix.intent_chain, sum));
    }
    Ok(())
}

/// How many intents of these prefixes may be half done.
pub(super) fn half_done(conn: &Connection, seal: Seal, prefixes: &[PrefixRecord]) -> Out<u64> {
    let mut half_done = 0;
    for prefix in prefixes {
        half_done += of(conn, seal, prefix)?.iter().filter(|intent| intent.may_be_half_done()).count() as u64;
    }
    Ok(half_done)
}

/// The intents of a prefix, in order; fails if they are not the ones it was committed with.
pub(super) fn of(conn: &Connection, seal: Seal, prefix: &PrefixRecord) -> Out<Vec<Intent>> {
    if prefix.intents == 0 {
        return Ok(Vec::new());
    }
    let mut statement = conn.prepare_cached(
        "SELECT number, deletes, sum, bucket, body, begun FROM intent WHERE cycle = ?1 AND prefix = ?2 ORDER BY number",
    )?;
    let mut rows = statement.query(params![seal.cycle, prefix.position])?;
    let (mut intents, mut chain) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let number = count(row, 0)?;
        let intent = Intent { bucket: row.get(3)?, deletes: count(row, 1)?, body: row.get(4)?, begun: row.get(5)? };
        let sum = sum_of(seal, prefix.position, number, &intent)?;
        check(row.get(2)?, sum, || format!("intent {number} of prefix {}", prefix.position))?;
        chain = chained(chain, sum);
        intents.push(intent);
    }
    if intents.len() as u64 != prefix.intents || chain != prefix.intent_chain {
        return Err(CallFault::Damaged(format!("the intents of prefix {} are not of one age", prefix.position)));
    }
    Ok(intents)
}
