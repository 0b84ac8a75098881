//! The rows of notes: read, checked and written like the others (see `rows`), and chained by checksums within a prefix.

use rusqlite::{Connection, params};

use super::faults::{CallFault, Out};
use super::rows::{Columns, Seal, check, count, int};
use crate::job::{Note, NoteKind};
use crate::state::NotePlace;

/// The checksum of the checksums of a prefix's notes, with one more.
pub(super) fn chained(chain: i64, note_sum: i64) -> i64 {
    Columns::of("chain").int(chain).int(note_sum).sum(0)
}

fn sum_of(seal: Seal, position: u32, note: &Note) -> Out<i64> {
    let mut columns = Columns::of("note");
    columns.int(seal.id(position)).int(int(note.number)?).int(kind_number(note.kind));
    Ok(columns.bytes(&note.bucket).bytes(note.body.as_bytes()).sum(seal.nonce))
}

fn kind_number(kind: NoteKind) -> i64 {
    match kind {
        NoteKind::Error => 0,
        NoteKind::Finding => 1,
        NoteKind::Stray => 2,
    }
}

/// Writes a note; gives its checksum for the chain.
pub(super) fn insert(conn: &Connection, seal: Seal, position: u32, note: &Note) -> Out<i64> {
    let mut statement = conn.prepare_cached(
        "INSERT INTO note (cycle, prefix, number, kind, sum, bucket, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    let (number, kind, sum) = (int(note.number)?, kind_number(note.kind), sum_of(seal, position, note)?);
    statement.execute(params![seal.cycle, position, number, kind, sum, note.bucket, note.body])?;
    Ok(sum)
}

/// Whether to go on reading.
pub(super) enum Go {
    On,
    Stop,
}

/// The notes of a cycle in order from a place on, each with its position and its checksum, until `visit` says stop.
pub(super) fn each(
    conn: &Connection,
    seal: Seal,
    from: NotePlace,
    mut visit: impl FnMut(u32, Note, i64) -> Out<Go>,
) -> Out<()> {
    let mut statement = conn.prepare_cached(
        "SELECT prefix, number, kind, sum, bucket, body FROM note WHERE cycle = ?1 AND (prefix, number) >= (?2, ?3)
         ORDER BY prefix, number",
    )?;
    let mut rows = statement.query(params![seal.cycle, from.prefix, int(from.number)?])?;
    while let Some(row) = rows.next()? {
        let (position, number) = (row.get(0)?, count(row, 1)?);
        let kind = match row.get(2)? {
            0 => NoteKind::Error,
            1 => NoteKind::Finding,
            2 => NoteKind::Stray,
            other => return Err(CallFault::Damaged(format!("note {number} of prefix {position} is of kind {other}"))),
        };
        let note = Note { number, bucket: row.get(4)?, kind, body: row.get(5)? };
        let sum = sum_of(seal, position, &note)?;
        check(row.get(3)?, sum, || format!("note {number} of prefix {position}"))?;
        if let Go::Stop = visit(position, note, sum)? {
            break;
        }
    }
    Ok(())
}
