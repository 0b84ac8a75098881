//! What the cycles of an older state say about damaged objects: the migration to the version that keeps them.
//!
//! The cycles that are kept are gone through in the order in which they were begun, as if each of their prefixes were
//! committed once more. Of a prefix that was visited in part nobody knows which buckets were; nothing is forgotten for it.

use rusqlite::{Connection, params};
use serde::Deserialize;

use super::damage::{BucketRange, Subject, apply};
use super::faults::Out;
use crate::job::{Counts, Coverage, Finding, Judged, ObjectName, Severity};
use crate::policy::cycle::CycleIdentity;

/// What of a saved tally tells whether its prefix was visited.
#[derive(Deserialize)]
struct SavedVisit {
    counts: Counts,
    #[serde(default)]
    partial: bool,
}

/// Enters the damage of all cycles. What cannot be read is left out: whoever works with the cycle will say what is wrong.
pub(super) fn enter(conn: &Connection) -> Out<()> {
    let mut statement = conn.prepare("SELECT id, identity, coalesce(finished, started) FROM cycle ORDER BY id")?;
    let cycles = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let cycles: Vec<(i64, String, f64)> = cycles.collect::<rusqlite::Result<_>>()?;
    for (id, identity, at) in cycles {
        if let Ok(identity) = serde_json::from_str::<CycleIdentity>(&identity) {
            enter_cycle(conn, id, &identity, at)?;
        }
    }
    Ok(())
}

fn enter_cycle(conn: &Connection, cycle: i64, identity: &CycleIdentity, at: f64) -> Out<()> {
    let of = Subject { store: &identity.store, job: &identity.job };
    let mut statement =
        conn.prepare_cached("SELECT done, cursor, tally FROM prefix WHERE id = ?1 AND tally IS NOT NULL")?;
    for (position, prefix) in (0i64..).zip(&*identity.ring) {
        let mut rows = statement.query([(cycle << 32) | position])?;
        let Some(row) = rows.next()? else { continue };
        let (done, cursor, tally): (bool, Option<Vec<u8>>, Vec<u8>) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let mut judged = judged(conn, cycle, position)?;
        let saved = serde_json::from_slice::<SavedVisit>(&tally);
        let visited = saved.is_ok_and(|saved| !saved.partial && saved.counts.unlisted == 0);
        if visited && (done || cursor.is_some()) {
            judged.coverage = Coverage::All;
        }
        let up_to = if done { None } else { cursor.as_deref() };
        apply(conn, of, BucketRange { prefix, after: None, up_to }, &judged, at)?;
    }
    Ok(())
}

/// What the notes of a prefix say.
fn judged(conn: &Connection, cycle: i64, position: i64) -> Out<Judged> {
    let mut statement = conn.prepare_cached("SELECT kind, bucket, body FROM note WHERE cycle = ?1 AND prefix = ?2")?;
    let mut rows = statement.query(params![cycle, position])?;
    let mut judged = Judged::default();
    while let Some(row) = rows.next()? {
        let (is_finding, bucket, body): (bool, Vec<u8>, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        if !is_finding {
            judged.unclear.insert(ObjectName { bucket, object: Vec::new() });
        } else if let Ok(finding) = serde_json::from_str::<Finding>(&body)
            && finding.severity == Severity::Bad
        {
            judged.damaged.insert(ObjectName { bucket, object: finding.object.unwrap_or_default().into_bytes() });
        }
    }
    Ok(judged)
}
