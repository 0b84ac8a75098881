//! The cleaner of era A on plain vectors, step by step as CLEANER's description goes: many passes, no cleverness. And
//! the state of a database as the invariants see it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rusqlite::Connection;
use sexton::cumulus::policy::Mode;

#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    pub id: i64,
    pub segment: i64,
    pub size: Option<i64>,
    pub timestamp: Option<f64>,
    pub expired: Option<i64>,
}

/// A database of era A.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Model {
    pub snapshots: BTreeMap<i64, Option<String>>,
    pub segments: BTreeSet<i64>,
    pub blocks: Vec<Block>,
    pub contents: Vec<(Option<i64>, Option<i64>)>,
}

pub const NOW: f64 = 2454400.25;
const SCHEMA: &str = "
    CREATE TABLE snapshots (snapshotid INTEGER PRIMARY KEY, name TEXT NOT NULL, scheme TEXT, timestamp REAL);
    CREATE TABLE segments (segmentid INTEGER PRIMARY KEY, segment TEXT UNIQUE NOT NULL, path TEXT, checksum TEXT);
    CREATE TABLE block_index (blockid INTEGER PRIMARY KEY, segmentid INTEGER NOT NULL, object TEXT NOT NULL,
        checksum TEXT, size INTEGER, timestamp REAL, expired INTEGER);
    CREATE INDEX block_content_index ON block_index(checksum);
    CREATE UNIQUE INDEX block_name_index ON block_index(segmentid, object);
    CREATE TABLE snapshot_contents (blockid INTEGER, snapshotid INTEGER);
    CREATE UNIQUE INDEX snapshot_contents_unique ON snapshot_contents(blockid, snapshotid);";

impl Model {
    /// Writes it as a database.
    pub fn write(&self, path: &Path) {
        let conn = Connection::open(path).unwrap();
        conn.execute_batch(&format!("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; BEGIN; {SCHEMA}")).unwrap();
        for (id, scheme) in &self.snapshots {
            conn.execute("INSERT INTO snapshots VALUES (?1, 's', ?2, 2454400.0)", (id, scheme)).unwrap();
        }
        for id in &self.segments {
            conn.execute("INSERT INTO segments VALUES (?1, 'name ' || ?1, NULL, NULL)", [id]).unwrap();
        }
        for b in &self.blocks {
            let row = (b.id, b.segment, b.size, b.timestamp, b.expired);
            conn.execute("INSERT INTO block_index VALUES (?1, ?2, ?1, NULL, ?3, ?4, ?5)", row).unwrap();
        }
        for row in &self.contents {
            conn.execute("INSERT OR IGNORE INTO snapshot_contents VALUES (?1, ?2)", *row).unwrap();
        }
        conn.execute_batch("COMMIT").unwrap();
    }

    /// Reads one.
    pub fn read(path: &Path) -> Model {
        let conn = Connection::open(path).unwrap();
        let mut model = Model::default();
        let mut s = conn.prepare("SELECT snapshotid, scheme FROM snapshots").unwrap();
        model.snapshots = s.query_map([], |r| Ok((r.get(0)?, r.get(1)?))).unwrap().map(Result::unwrap).collect();
        let mut s = conn.prepare("SELECT segmentid FROM segments").unwrap();
        model.segments = s.query_map([], |r| r.get(0)).unwrap().map(Result::unwrap).collect();
        let mut s = conn.prepare("SELECT blockid, segmentid, size, timestamp, expired FROM block_index").unwrap();
        let block = |r: &rusqlite::Row<'_>| {
            Ok(Block { id: r.get(0)?, segment: r.get(1)?, size: r.get(2)?, timestamp: r.get(3)?, expired: r.get(4)? })
        };
        model.blocks = s.query_map([], block).unwrap().map(Result::unwrap).collect();
        let mut s = conn.prepare("SELECT blockid, snapshotid FROM snapshot_contents").unwrap();
        model.contents = s.query_map([], |r| Ok((r.get(0)?, r.get(1)?))).unwrap().map(Result::unwrap).collect();
        model.sorted()
    }

    pub fn sorted(mut self) -> Model {
        self.blocks.sort_by_key(|b| b.id);
        self.contents.sort();
        self
    }

    fn used(&self) -> BTreeSet<i64> {
        self.contents.iter().filter_map(|(block, _)| *block).collect()
    }

    /// What a cleaning run makes of it; `None` if it refuses.
    pub fn cleaned(&self, mode: Mode, threshold: f64) -> Option<Model> {
        let mut db = self.clone();
        let careful = mode == Mode::Careful;
        let something = !db.segments.is_empty() || !db.blocks.is_empty() || !db.contents.is_empty();
        if careful && db.snapshots.is_empty() && something {
            return None;
        }
        db.collect_garbage(careful);
        let marked = db.marked(careful, threshold)?;
        for b in db.blocks.iter_mut().filter(|b| marked.contains(&b.segment)) {
            b.expired = Some(1);
        }
        db.group(careful)?;
        Some(db.sorted())
    }

    fn collect_garbage(&mut self, careful: bool) {
        let newest = self.snapshots.keys().max().copied();
        let snapshots = self.snapshots.clone();
        let greatest_of =
            |scheme: &Option<String>| snapshots.iter().filter(|(_, s)| *s == scheme).map(|(id, _)| *id).max();
        self.snapshots.retain(|id, scheme| Some(*id) == if careful { greatest_of(scheme) } else { newest });
        let (snapshots, segments) = (self.snapshots.clone(), self.segments.clone());
        let home: BTreeMap<i64, i64> = self.blocks.iter().map(|b| (b.id, b.segment)).collect();
        let is_there = |block: i64| home.get(&block).is_some_and(|segment| segments.contains(segment));
        self.contents.retain(|(block, snapshot)| match snapshot {
            _ if careful && !block.is_some_and(is_there) => false,
            Some(id) => snapshots.contains_key(id),
            None => !careful && !snapshots.is_empty(),
        });
        let used = self.used();
        let live: BTreeSet<i64> = self.blocks.iter().filter(|b| used.contains(&b.id)).map(|b| b.segment).collect();
        self.segments.retain(|id| live.contains(id));
        self.blocks.retain(|b| self.segments.contains(&b.segment));
    }

    fn marked(&self, careful: bool, threshold: f64) -> Option<BTreeSet<i64>> {
        let used = self.used();
        let mut marked = BTreeSet::new();
        for segment in &self.segments {
            let of: Vec<&Block> = self.blocks.iter().filter(|b| b.segment == *segment).collect();
            let size = sum(of.iter().map(|b| size_of(b, careful)))?;
            let in_use = sum(of.iter().filter(|b| used.contains(&b.id)).map(|b| size_of(b, careful)))?;
            let newest =
                of.iter().filter_map(|b| b.timestamp).fold(None, |a: Option<f64>, t| Some(a.map_or(t, |a| a.max(t))));
            if size == 0 {
                if careful { continue } else { return None }
            }
            let age = match newest {
                Some(newest) => NOW - newest,
                None if careful => 0.0,
                None => return None,
            };
            let u = in_use as f64 / size as f64;
            if u + 0.1 == 0.0 {
                return None;
            }
            if (1.0 - u) * age / (u + 0.1) > threshold {
                marked.insert(*segment);
            }
        }
        Some(marked)
    }

    fn group(&mut self, careful: bool) -> Option<()> {
        let used = self.used();
        let of = |id: i64| self.blocks.iter().filter(move |b| b.segment == id);
        let sizes = self.segments.iter().filter(|id| of(**id).any(|b| b.expired.is_some()));
        let sizes = sizes.filter_map(|id| sum(of(*id).map(|b| size_of(b, careful)))).collect::<Vec<i64>>();
        group(&mut self.blocks, &|id| used.contains(&id), &sizes, careful)
    }
}

fn size_of(b: &Block, careful: bool) -> Option<i64> {
    if careful { Some(b.size.unwrap_or(0).max(0)) } else { b.size }
}

/// The sum of what is known; `None` if nothing is.
pub fn sum(sizes: impl Iterator<Item = Option<i64>>) -> Option<i64> {
    sizes.flatten().fold(None, |sum, size| Some(sum.unwrap_or(0) + size))
}

/// Groups what is expired by age; `sizes` are those of the segments with such blocks. `None` if the old cleaner fails.
pub fn group(blocks: &mut [Block], used: &dyn Fn(i64) -> bool, sizes: &[i64], careful: bool) -> Option<()> {
    let mean = sizes.iter().map(|s| *s as f64).sum::<f64>() / sizes.len() as f64;
    let expired = |b: &&mut Block| b.expired.is_some();
    if sizes.is_empty() || mean == 0.0 {
        for b in blocks.iter_mut().filter(expired) {
            b.expired = Some(if careful || used(b.id) { 0 } else { -1 });
            b.timestamp = b.timestamp.map(|t| if careful { t.min(NOW) } else { t });
        }
        return Some(());
    }
    let mut groups: Vec<(Option<f64>, Option<i64>)> = Vec::new();
    let round = |x: f64| if x < 0.0 { (x - 0.5).trunc() } else { (x + 0.5).trunc() };
    let age = |b: &Block| match b.timestamp {
        Some(t) => Some(round(NOW - t)),
        None => careful.then_some(0.0),
    };
    for b in blocks.iter_mut().filter(expired) {
        b.timestamp = b.timestamp.map(|t| t.min(NOW));
    }
    for b in blocks.iter().filter(|b| b.expired.is_some() && used(b.id)) {
        let size = size_of(b, careful);
        match groups.iter_mut().find(|(a, _)| *a == age(b)) {
            Some((_, of_age)) => *of_age = sum([*of_age, size].into_iter()),
            None => groups.push((age(b), size)),
        }
    }
    groups.sort_by(|a, b| b.partial_cmp(a).unwrap());
    let total = groups.iter().map(|(_, sum)| *sum).sum::<Option<i64>>()?;
    if total == 0 && !careful {
        return None;
    }
    let cutoffs = if total == 0 { Vec::new() } else { cutoffs(&groups, total as f64, mean) };
    for b in blocks.iter_mut().filter(expired) {
        b.expired = Some(0);
        for (i, cutoff) in cutoffs.iter().rev().enumerate() {
            if used(b.id) && age(b).zip(*cutoff).is_some_and(|(age, cutoff)| age > cutoff) {
                b.expired = Some(i as i64);
            }
        }
    }
    Some(())
}

fn cutoffs(oldest_first: &[(Option<f64>, Option<i64>)], total: f64, mean: f64) -> Vec<Option<f64>> {
    let target = (2.0 * mean).max(total / (2.0 * (total / mean).powf(0.4)));
    let (mut cutoffs, mut bytes, mut young) = (Vec::new(), 0, false);
    for (age, sum) in oldest_first {
        let is_young = age.is_none_or(|age| age < 4.0);
        if bytes as f64 >= target || is_young && !young {
            if (bytes as f64) < target && !cutoffs.is_empty() {
                cutoffs.pop();
            }
            cutoffs.push(*age);
            bytes = 0;
        }
        bytes += sum.unwrap_or(0);
        young |= is_young;
    }
    if bytes as f64 >= 1.5 * mean || !young {
        cutoffs.push(Some(-1.0));
    }
    cutoffs.push(Some(-1.0));
    cutoffs
}
/// Of a block: its id, `expired`, and the bits of its timestamp.
pub type Value = (i64, Option<i64>, Option<u64>);

/// What a backup must find whole, of a database of any era.
#[derive(Debug, Clone, Default)]
pub struct Health {
    /// Blocks without a segment.
    pub orphans: BTreeSet<i64>,
    /// Row ids of usage rows about what is not there.
    pub dangling: BTreeSet<i64>,
    /// Signatures of blocks that are not there.
    pub signatures: BTreeSet<i64>,
    pub greatest: Option<i64>,
    /// Snapshots of which there are usage rows.
    pub using: BTreeSet<i64>,
    /// Values of the blocks of each segment.
    pub values: BTreeMap<i64, Vec<Value>>,
}

impl Health {
    pub fn read(path: &Path, era: &str) -> Health {
        let conn = Connection::open(path).unwrap();
        let ids = |sql: &str| -> BTreeSet<i64> {
            conn.prepare(sql).unwrap().query_map([], |r| r.get(0)).unwrap().map(Result::unwrap).collect()
        };
        let (usage, about) = match era {
            "A" => ("snapshot_contents", "blockid IS NOT NULL AND blockid NOT IN (SELECT blockid FROM block_index)"),
            "B" => ("segments_used", "segmentid IS NOT NULL AND segmentid NOT IN (SELECT segmentid FROM segments)"),
            _ => ("segment_utilization", "segmentid IS NOT NULL AND segmentid NOT IN (SELECT segmentid FROM segments)"),
        };
        let mut health = Health {
            orphans: ids("SELECT blockid FROM block_index WHERE segmentid NOT IN (SELECT segmentid FROM segments)"),
            // A row about nothing (NULL) does not dangle, but "NOT IN" of an empty table is true of NULL too.
            dangling: ids(&format!("SELECT rowid FROM {usage} WHERE {about}")),
            greatest: ids("SELECT snapshotid FROM snapshots").last().copied(),
            using: ids(&format!("SELECT DISTINCT snapshotid FROM {usage} WHERE snapshotid IS NOT NULL")),
            ..Health::default()
        };
        if era != "A" {
            let sql = "SELECT blockid FROM subblock_signatures WHERE blockid NOT IN (SELECT blockid FROM block_index)";
            health.signatures = ids(sql);
        }
        let mut s =
            conn.prepare("SELECT segmentid, blockid, expired, timestamp FROM block_index ORDER BY blockid").unwrap();
        let mut rows = s.query([]).unwrap();
        while let Some(r) = rows.next().unwrap() {
            let time: Option<f64> = r.get(3).unwrap_or(None);
            let value = (r.get(1).unwrap(), r.get(2).unwrap(), time.map(f64::to_bits));
            health.values.entry(r.get(0).unwrap()).or_default().push(value);
        }
        health
    }

    /// Checks I1 to I4 after some steps. In compat mode the usage rows of orphans are left behind, as the old cleaner did.
    #[track_caller]
    pub fn check(&self, before: &Health, end: &Health, mode: Mode) {
        assert!(self.orphans.is_subset(&before.orphans), "I1");
        if mode == Mode::Careful || before.orphans.is_empty() {
            assert!(self.dangling.is_subset(&before.dangling), "I2");
        }
        assert!(self.signatures.is_subset(&before.signatures), "signatures of missing blocks");
        if let Some(greatest) = before.greatest.filter(|id| self.greatest != Some(*id)) {
            assert!(!self.using.contains(&greatest), "I3");
        }
        for (segment, values) in self.values.iter().filter(|(segment, _)| end.values.contains_key(segment)) {
            let settled = Some(values) == end.values.get(segment) || Some(values) == before.values.get(segment);
            assert!(settled, "I4: segment {segment} has {values:?}");
        }
    }
}
