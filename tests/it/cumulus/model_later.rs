//! The cleaners of eras B and C on plain vectors, step by step as their description goes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rusqlite::{Connection, Row};
use sexton::cumulus::policy::Mode;

use super::model::{Block, NOW, group, sum};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Era {
    B,
    C,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    pub scheme: Option<String>,
    pub timestamp: Option<f64>,
    /// Era B only.
    pub intent: Option<f64>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    pub mtime: Option<f64>,
    pub size: Option<i64>,
    /// Era B only.
    pub expire_time: Option<i64>,
}

/// A database of era B or C.
#[derive(Debug, Clone, PartialEq)]
pub struct Later {
    pub era: Era,
    pub snapshots: BTreeMap<i64, Snapshot>,
    pub segments: BTreeMap<i64, Segment>,
    pub blocks: Vec<Block>,
    /// Snapshot, segment, and the part (era B) or the bytes (era C) in use.
    pub usage: Vec<(i64, i64, Option<f64>)>,
    pub signatures: BTreeSet<i64>,
}

const COMMON: &str = "
    CREATE TABLE block_index (blockid INTEGER PRIMARY KEY, segmentid INTEGER NOT NULL, object TEXT NOT NULL,
        checksum TEXT, size INTEGER, timestamp REAL, expired INTEGER);
    CREATE UNIQUE INDEX block_name_index ON block_index(segmentid, object);
    CREATE TABLE subblock_signatures (blockid INTEGER PRIMARY KEY, algorithm TEXT NOT NULL, signatures BLOB NOT NULL);";
const B: &str = "
    CREATE TABLE snapshots (snapshotid INTEGER PRIMARY KEY, name TEXT NOT NULL, scheme TEXT, timestamp REAL, intent REAL);
    CREATE TABLE segments (segmentid INTEGER PRIMARY KEY, segment TEXT UNIQUE NOT NULL, path TEXT, checksum TEXT,
        mtime REAL, size INTEGER, expire_time INTEGER);
    CREATE TABLE segments_used (snapshotid INTEGER NOT NULL, segmentid INTEGER NOT NULL, utilization REAL);";
const C: &str = "
    CREATE TABLE schema_version (version TEXT, major INTEGER, minor INTEGER);
    INSERT INTO schema_version VALUES ('0.11', 0, 11);
    CREATE TABLE snapshots (snapshotid INTEGER PRIMARY KEY, name TEXT NOT NULL, scheme TEXT, timestamp DATETIME);
    CREATE TABLE segments (segmentid INTEGER PRIMARY KEY, segment TEXT UNIQUE NOT NULL, timestamp DATETIME, path TEXT,
        checksum TEXT, data_size INTEGER, disk_size INTEGER, type TEXT);
    CREATE TABLE segment_utilization (snapshotid INTEGER NOT NULL, segmentid INTEGER NOT NULL,
        bytes_referenced INTEGER);";

fn all<T>(conn: &Connection, sql: &str, row: impl Fn(&Row<'_>) -> rusqlite::Result<T>) -> Vec<T> {
    conn.prepare(sql).unwrap().query_map([], |r| row(r)).unwrap().map(Result::unwrap).collect()
}

impl Later {
    /// Writes it as a database.
    pub fn write(&self, path: &Path) {
        let conn = Connection::open(path).unwrap();
        let own = if self.era == Era::B { B } else { C };
        conn.execute_batch(&format!("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; BEGIN; {COMMON} {own}"))
            .unwrap();
        for (id, s) in &self.snapshots {
            let (sql, intent) = match self.era {
                Era::B => ("INSERT INTO snapshots VALUES (?1, 's', ?2, ?3, ?4)", s.intent),
                Era::C => ("INSERT INTO snapshots SELECT ?1, 's', ?2, ?3 WHERE ?4 IS NULL", None),
            };
            conn.execute(sql, (id, &s.scheme, s.timestamp, intent)).unwrap();
        }
        for (id, s) in &self.segments {
            let sql = match self.era {
                Era::B => "INSERT INTO segments VALUES (?1, 'name ' || ?1, NULL, NULL, ?2, ?3, ?4)",
                Era::C => {
                    "INSERT INTO segments SELECT ?1, 'name ' || ?1, ?2, NULL, NULL, ?3, 1, 'data' WHERE ?4 IS NULL"
                }
            };
            conn.execute(sql, (id, s.mtime, s.size, s.expire_time)).unwrap();
        }
        for b in &self.blocks {
            let row = (b.id, b.segment, b.size, b.timestamp, b.expired);
            conn.execute("INSERT INTO block_index VALUES (?1, ?2, ?1, NULL, ?3, ?4, ?5)", row).unwrap();
        }
        for (snapshot, segment, share) in &self.usage {
            let sql = match self.era {
                Era::B => "INSERT INTO segments_used VALUES (?1, ?2, ?3)",
                Era::C => "INSERT INTO segment_utilization VALUES (?1, ?2, cast(?3 AS INTEGER))",
            };
            conn.execute(sql, (snapshot, segment, share)).unwrap();
        }
        for id in &self.signatures {
            conn.execute("INSERT INTO subblock_signatures VALUES (?1, 'x', x'00')", [id]).unwrap();
        }
        conn.execute_batch("COMMIT").unwrap();
    }

    /// Reads one.
    pub fn read(path: &Path, era: Era) -> Later {
        let conn = Connection::open(path).unwrap();
        let (snapshots, segments, usage) = match era {
            Era::B => ("intent", "mtime, size, expire_time", "utilization FROM segments_used"),
            Era::C => ("NULL", "timestamp, data_size, NULL", "cast(bytes_referenced AS REAL) FROM segment_utilization"),
        };
        let snapshot =
            |r: &Row<'_>| Ok((r.get(0)?, Snapshot { scheme: r.get(1)?, timestamp: r.get(2)?, intent: r.get(3)? }));
        let segment =
            |r: &Row<'_>| Ok((r.get(0)?, Segment { mtime: r.get(1)?, size: r.get(2)?, expire_time: r.get(3)? }));
        let block = |r: &Row<'_>| {
            Ok(Block { id: r.get(0)?, segment: r.get(1)?, size: r.get(2)?, timestamp: r.get(3)?, expired: r.get(4)? })
        };
        let blocks = "SELECT blockid, segmentid, size, timestamp, expired FROM block_index ORDER BY blockid";
        let of_snapshots = format!("SELECT snapshotid, scheme, timestamp, {snapshots} FROM snapshots");
        let usage = format!("SELECT snapshotid, segmentid, {usage} ORDER BY rowid");
        Later {
            era,
            snapshots: all(&conn, &of_snapshots, snapshot).into_iter().collect(),
            segments: all(&conn, &format!("SELECT segmentid, {segments} FROM segments"), segment).into_iter().collect(),
            blocks: all(&conn, blocks, block),
            usage: all(&conn, &usage, |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?))),
            signatures: all(&conn, "SELECT blockid FROM subblock_signatures", |r| r.get(0)).into_iter().collect(),
        }
    }

    /// What a cleaning run makes of it; `None` if it refuses.
    pub fn cleaned(&self, mode: Mode, intent: f64) -> Option<Later> {
        let mut db = self.clone();
        let careful = mode == Mode::Careful;
        let something = !db.segments.is_empty() || !db.blocks.is_empty() || !db.usage.is_empty();
        if careful && db.snapshots.is_empty() && something {
            return None;
        }
        match db.era {
            Era::B => {
                let schemes: BTreeSet<_> = db.snapshots.values().map(|s| s.scheme.clone()).collect();
                for scheme in schemes {
                    db.collect_of_scheme(&scheme, intent, careful);
                }
                if careful {
                    db.drop_dangling();
                }
                db.mark_by_benefit(careful)?;
                db.balance(careful)?;
            }
            Era::C => {
                let snapshots = db.snapshots.clone();
                let newest = |scheme| snapshots.iter().filter(|(_, s)| s.scheme == scheme).map(|(id, _)| *id).max();
                db.snapshots.retain(|id, s| Some(*id) == newest(s.scheme.clone()));
                db.usage.retain(|(snapshot, ..)| db.snapshots.contains_key(snapshot));
                if careful {
                    db.drop_dangling();
                }
                db.drop_unused(None);
                db.mark_by_utilization(careful)?;
            }
        }
        Some(db)
    }

    fn drop_dangling(&mut self) {
        self.usage.retain(|(_, segment, _)| self.segments.contains_key(segment));
    }

    /// Era B. In SQL nothing equals NULL, so the old cleaner dropped no snapshot without a scheme.
    fn collect_of_scheme(&mut self, scheme: &Option<String>, intent: f64, careful: bool) {
        let last = self.snapshots.keys().max().copied();
        let of = |s: &Snapshot| s.scheme == *scheme && (careful || scheme.is_some());
        let mut members: Vec<(i64, Snapshot)> =
            self.snapshots.iter().filter(|(_, s)| of(s)).map(|(id, s)| (*id, s.clone())).collect();
        let greatest = members.iter().map(|(id, _)| *id).max();
        members.sort_by(|(a, x), (b, y)| {
            let age = |s: &Snapshot| s.timestamp.map(|t| NOW - t);
            age(x).partial_cmp(&age(y)).unwrap().then(a.cmp(b))
        });
        let mut most = intent;
        for (place, (id, snapshot)) in members.iter().enumerate() {
            let its = snapshot.intent.unwrap_or(f64::NEG_INFINITY);
            let kept = place == 0 || (careful && Some(*id) == greatest);
            if !kept && (its < most || its == intent) {
                self.snapshots.remove(id);
            }
            most = most.max(its);
        }
        self.usage.retain(|(snapshot, ..)| self.snapshots.contains_key(snapshot));
        self.drop_unused(last);
    }

    fn drop_unused(&mut self, last: Option<i64>) {
        let used: BTreeSet<i64> = self.usage.iter().map(|(_, segment, _)| *segment).collect();
        self.segments.retain(|id, _| used.contains(id));
        let cleaned = |s: &Segment| s.expire_time.zip(last).is_some_and(|(cleaned, last)| cleaned < last);
        self.blocks.retain(|b| self.segments.get(&b.segment).is_some_and(|s| !cleaned(s)));
        let blocks: BTreeSet<i64> = self.blocks.iter().map(|b| b.id).collect();
        self.signatures.retain(|id| blocks.contains(id));
    }

    fn most_used(&self, segment: i64) -> Option<f64> {
        let shares = self.usage.iter().filter(|(_, s, _)| *s == segment).filter_map(|(.., share)| *share);
        shares.reduce(f64::max)
    }

    /// Bytes of a segment: as recorded, or, for a careful run, of its blocks.
    fn size(&self, id: i64, careful: bool) -> Option<i64> {
        let of_blocks = || sum(self.blocks.iter().filter(|b| b.segment == id).map(|b| b.size));
        self.segments[&id].size.or_else(|| of_blocks().filter(|_| careful))
    }

    fn mark_by_benefit(&mut self, careful: bool) -> Option<()> {
        const THRESHOLD: f64 = 7.0;
        let newest = self.snapshots.keys().max().copied();
        let mut marked = Vec::new();
        for (id, segment) in &self.segments {
            let listed = segment.expire_time.is_none() && self.usage.iter().any(|(_, s, _)| s == id);
            if !listed {
                continue;
            }
            let size = match self.size(*id, careful) {
                None | Some(0) if careful => continue,
                None | Some(0) => return None,
                Some(size) => size,
            };
            let used = self.most_used(*id).map_or(0, |part| (size as f64 * part) as i64);
            let u = used as f64 / size as f64;
            let age = segment.mtime.map_or(0.0, |mtime| NOW - mtime);
            if (1.0 - u) * (age + 0.0) / (u + 0.1) > THRESHOLD {
                marked.push(*id);
            }
        }
        for id in marked {
            self.segments.get_mut(&id).unwrap().expire_time = newest;
            self.blocks.iter_mut().filter(|b| b.segment == id).for_each(|b| b.expired = Some(0));
        }
        Some(())
    }

    fn balance(&mut self, careful: bool) -> Option<()> {
        let with = |id: i64| self.blocks.iter().any(|b| b.segment == id && b.expired.is_some());
        let sizes: Vec<i64> =
            self.segments.keys().filter(|id| with(**id)).filter_map(|id| self.size(*id, careful)).collect();
        group(&mut self.blocks, &|_| true, &sizes, careful)
    }

    fn mark_by_utilization(&mut self, careful: bool) -> Option<()> {
        if self.usage.iter().any(|(_, segment, _)| !self.segments.contains_key(segment)) {
            return None;
        }
        let mut marked = Vec::new();
        for id in self.segments.keys() {
            let used = self.most_used(*id);
            match (self.size(*id, careful), used) {
                (Some(size), Some(used)) if size != 0 => marked.extend((used / (size as f64) < 0.4).then_some(*id)),
                _ if careful => {}
                _ => return None,
            }
        }
        self.blocks.iter_mut().filter(|b| marked.contains(&b.segment)).for_each(|b| b.expired = Some(0));
        Some(())
    }
}
