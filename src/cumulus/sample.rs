//! A sample database: a local database of era A with real partial use, made from a seed.
//!
//! For `sexton demo` and tests. Segments were written over a year; half of them hold what never changes, in
//! the others some blocks died after a while, so that segments are in use between a little and whole. Names and checksums are random. The same options
//! give the same rows. Only writes one file, and never over one that is no sample.

use std::fs;
use std::io;
use std::path::Path;

use fastrand::Rng;
use rusqlite::{Connection, OpenFlags, params};

use super::faults::{self, Trouble};
use crate::error::{Error, Result};

/// `SxSm`, in the header's field for that purpose: marks a database as a sample.
const APPLICATION_ID: u32 = 0x5378_536d;
/// More blocks than this are no sample.
const BLOCKS_MOST: u64 = 10_000_000;
/// Days over which the segments were written.
const SPAN_DAYS: f64 = 365.0;
const TABLES: &str = "
CREATE TABLE block_index (blockid INTEGER PRIMARY KEY, segmentid INTEGER NOT NULL, object TEXT NOT NULL, checksum TEXT,
    size INTEGER, timestamp REAL, expired INTEGER);
CREATE INDEX block_content_index ON block_index (checksum);
CREATE UNIQUE INDEX block_name_index ON block_index (segmentid, object);
CREATE TABLE snapshots (snapshotid INTEGER PRIMARY KEY, name TEXT NOT NULL, scheme TEXT, timestamp REAL);
CREATE TABLE segments (segmentid INTEGER PRIMARY KEY, segment TEXT UNIQUE NOT NULL, path TEXT, checksum TEXT);
CREATE TABLE snapshot_contents (blockid INTEGER, snapshotid INTEGER);
";

/// What a sample database is made of.
///
/// ```
/// let dir = tempfile::tempdir().unwrap();
/// let sample = sexton::cumulus::sample::SampleDb { segments: 10, ..Default::default() };
/// let made = sample.write(dir.path().join("localdb.sqlite"))?;
/// assert_eq!((made.segments, made.blocks, made.snapshots), (10, 300, 4));
/// # Ok::<(), sexton::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct SampleDb {
    /// Segments. Default 200.
    pub segments: u32,
    /// Blocks of each. Default 30.
    pub blocks_per_segment: u32,
    /// Snapshots, one a day up to `end`. Default 4.
    pub snapshots: u32,
    /// What everything random is made from. Default 1.
    pub seed: u64,
    /// The moment of the newest snapshot, as a Julian day (UTC). Default 2454400.25, in October 2007.
    pub end: f64,
}

impl Default for SampleDb {
    fn default() -> Self {
        SampleDb { segments: 200, blocks_per_segment: 30, snapshots: 4, seed: 1, end: 2_454_400.25 }
    }
}

/// What a sample database holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LocalDbSummary {
    pub segments: u64,
    pub blocks: u64,
    /// Bytes of all blocks.
    pub bytes: u64,
    pub snapshots: u64,
    /// Rows that say which snapshot uses which block.
    pub usage_rows: u64,
}

impl SampleDb {
    /// Writes the database, in place of a sample that is there. It has a write-ahead log.
    ///
    /// # Errors
    /// [`Error::Config`] if it would be too large, or there is a file that is no sample; or if it cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<LocalDbSummary> {
        let path = path.as_ref();
        let blocks = u64::from(self.segments) * u64::from(self.blocks_per_segment);
        if blocks > BLOCKS_MOST || !self.end.is_finite() {
            return Err(Error::Config(format!("a sample of {blocks} blocks is too large: up to {BLOCKS_MOST}")));
        }
        remove_older(path)?;
        let written = || -> std::result::Result<LocalDbSummary, Trouble> {
            // Without the flag for it, a path is never taken for a URI.
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
            let conn = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
            conn.pragma_update(None, "application_id", APPLICATION_ID)?;
            // A sample that is torn by a crash is made anew.
            conn.execute_batch("PRAGMA synchronous = OFF; BEGIN")?;
            conn.execute_batch(TABLES)?;
            let made = LocalDbWriter { sample: self, conn: &conn, rng: Rng::with_seed(self.seed) }.rows()?;
            conn.execute_batch("COMMIT")?;
            conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
            Ok(made)
        };
        written().map_err(|trouble| match trouble {
            Trouble::Sqlite(error) => faults::sqlite(&error, "make sample", path, None),
            Trouble::Named(error) => error,
        })
    }
}

struct LocalDbWriter<'a> {
    sample: &'a SampleDb,
    conn: &'a Connection,
    rng: Rng,
}

impl LocalDbWriter<'_> {
    fn rows(mut self) -> rusqlite::Result<LocalDbSummary> {
        let SampleDb { segments, snapshots, end, .. } = *self.sample;
        let taken = |snapshot: u32| end - f64::from(snapshots - snapshot);
        let mut snapshot_row = self.conn.prepare("INSERT INTO snapshots VALUES (?1, ?2, 'home', ?3)")?;
        for snapshot in 1..=snapshots {
            snapshot_row.execute(params![snapshot, format!("sample-{snapshot:04}"), taken(snapshot)])?;
        }
        let mut made =
            LocalDbSummary { segments: segments.into(), snapshots: snapshots.into(), ..LocalDbSummary::default() };
        let mut segment_row = self.conn.prepare("INSERT INTO segments VALUES (?1, ?2, ?2 || '.tar', ?3)")?;
        for segment in 1..=segments {
            let written = end - SPAN_DAYS + SPAN_DAYS * f64::from(segment) / f64::from(segments + 1);
            segment_row.execute(params![segment, self.uuid(), self.sha1()])?;
            self.blocks_of(segment, written, taken, &mut made)?;
        }
        Ok(made)
    }

    /// The blocks of a segment, and which snapshots use them.
    fn blocks_of(
        &mut self,
        segment: u32,
        written: f64,
        taken: impl Fn(u32) -> f64,
        made: &mut LocalDbSummary,
    ) -> rusqlite::Result<()> {
        let mut block_row =
            self.conn.prepare_cached("INSERT INTO block_index VALUES (?1, ?2, ?3, ?4, ?5, ?6, NULL)")?;
        let mut usage_row = self.conn.prepare_cached("INSERT INTO snapshot_contents VALUES (?1, ?2)")?;
        // Half of the segments hold what never changes. In the others some blocks die, after so many days on average.
        let mortal = if self.rng.bool() { 0.0 } else { self.rng.f64() };
        let mean_days = 5.0 + 90.0 * self.rng.f64();
        for object in 0..self.sample.blocks_per_segment {
            made.blocks += 1;
            // Below 2^32 by the limit on blocks, and below 2^21.
            let (block, size) = (made.blocks as i64, 100 + (1e6 * self.rng.f64().powi(4)) as u32);
            made.bytes += u64::from(size);
            let (name, checksum) = (format!("{object:08x}"), self.sha1());
            block_row.execute(params![block, segment, name, checksum, size, written])?;
            let dies =
                if self.rng.f64() < mortal { written - mean_days * (1.0 - self.rng.f64()).ln() } else { f64::MAX };
            for snapshot in (1..=self.sample.snapshots).filter(|s| (written..dies).contains(&taken(*s))) {
                made.usage_rows += 1;
                usage_row.execute(params![block, snapshot])?;
            }
        }
        Ok(())
    }

    fn uuid(&mut self) -> String {
        let (a, b) = (self.rng.u32(..), self.rng.u64(..1 << 48));
        format!("{a:08x}-{:04x}-4{:03x}-8{:03x}-{b:012x}", self.rng.u16(..), self.rng.u16(..4096), self.rng.u16(..4096))
    }

    fn sha1(&mut self) -> String {
        format!("sha1={:016x}{:016x}{:08x}", self.rng.u64(..), self.rng.u64(..), self.rng.u32(..))
    }
}

/// Removes a sample that is there, with what belongs to it. Anything else is left alone.
fn remove_older(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(faults::io(&e, "look for", path)),
        Ok(_) if !is_sample(path) => {
            let why = "is there already and is no sample; name another file, or remove it first";
            return Err(Error::Config(format!("{} {why}", path.display())));
        }
        Ok(_) => {}
    }
    // The database first: what is left of it otherwise would be nobody's.
    for suffix in ["", "-wal", "-shm", "-journal", ".sexton-plan", ".sexton-shown"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match fs::remove_file(&name) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(faults::io(&e, "remove the older sample", path));
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_sample(path: &Path) -> bool {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let marked = |conn: Connection| conn.pragma_query_value(None, "application_id", |row| row.get::<_, u32>(0));
    Connection::open_with_flags(path, flags).and_then(marked).is_ok_and(|id| id == APPLICATION_ID)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cumulus::policy::Options;
    use crate::cumulus::{LocalDb, plan};

    #[test]
    fn same_options_make_the_same_rows_and_segments_in_use_between_little_and_whole() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (dir.path().join("one"), dir.path().join("other"));
        let sample = SampleDb { segments: 40, ..SampleDb::default() };
        assert_eq!(sample.write(&one).unwrap(), sample.write(&other).unwrap());
        let planned = |path: &Path| {
            let mut db = LocalDb::open(path).unwrap();
            plan(&mut db, &Options::at(sample.end + 1.0)).unwrap().into_plan()
        };
        let made = planned(&one);
        assert_eq!(made.segments, planned(&other).segments);
        let used: Vec<f64> = made.segments.iter().filter_map(|s| s.utilization).collect();
        assert!(used.iter().any(|u| *u < 0.5) && used.iter().any(|u| *u > 0.8), "{used:?}");
        let marked = made.segments.iter().filter(|s| s.marked).count();
        assert!((1..40).contains(&marked), "{marked}");
    }

    #[test]
    fn a_sample_is_made_anew_and_nothing_else_is_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("localdb.sqlite");
        let sample = SampleDb { segments: 3, ..SampleDb::default() };
        let made = sample.write(&path).unwrap();
        Connection::open(&path).unwrap().execute_batch("DELETE FROM block_index").unwrap();
        assert_eq!(sample.write(&path).unwrap(), made);
        let rows = |table: &str| -> i64 {
            let sql = format!("SELECT count(*) FROM {table}");
            Connection::open(&path).unwrap().query_row(&sql, [], |row| row.get(0)).unwrap()
        };
        assert_eq!(rows("block_index") as u64, made.blocks);
        assert_eq!(rows("snapshot_contents") as u64, made.usage_rows);
        fs::write(&path, "to do: buy milk").unwrap();
        assert!(sample.write(&path).unwrap_err().to_string().contains("is no sample"));
        assert_eq!(fs::read(&path).unwrap(), b"to do: buy milk");
    }
}
