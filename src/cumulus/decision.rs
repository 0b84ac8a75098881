//! What of a plan is needed to do it, kept beside the database until it is done.
//!
//! The marking cannot be found again once part of it is done (era B leaves cleaned segments out of its list, limits would
//! count from zero), so a run that was interrupted goes on with the decisions it had made. What the steps remove
//! can be: they are idempotent, and a resumed run goes through them from the top. When all is done that is noted, and
//! what is kept stays until somebody has had the report: a run that is started again would otherwise mark more, where
//! there are limits.

use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::types::ValueRef;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::faults;
use super::locks::{LockOverrun, LockSummary, LockTimes};
use super::policy::{Era, Options, Regroup, Retention};
use super::touched::TouchedList;
use crate::error::Result;
use crate::own_files::{self, OwnFile};

const VERSION: u32 = 3;
/// A cell of a snapshot is kept as it is up to this length.
const MARKED_MAX_BYTES: usize = 256;
/// A file larger than this is none of ours: some 25 bytes for each of 10^7 segments.
const MOST_BYTES: u64 = 1 << 28;

/// The newest snapshot; one that a later backup wrote under the same id differs by name or time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Newest {
    pub(super) id: i64,
    /// Name and time, as SQLite quotes them.
    pub(super) mark: String,
}

/// All that the steps have to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct CleaningDecision {
    version: u32,
    pub(super) era: Era,
    pub(super) options: Options,
    pub(super) retention: Retention,
    pub(super) newest: Option<Newest>,
    /// Whether garbage is collected at all.
    pub(super) collects: bool,
    /// Whether there are usage rows to remove.
    pub(super) usage: Usage,
    /// Whether there are blocks whose segment is not even a number.
    pub(super) nameless_orphans: bool,
    /// Segments that go with all their blocks; some have no row.
    pub(super) dead: Vec<i64>,
    /// Segments whose blocks go (era B: cleaned, and a backup has run since).
    pub(super) reaped: Vec<i64>,
    /// Whether there are signatures of blocks that were missing before.
    pub(super) dangling_signatures: bool,
    /// Segments whose blocks get new values, ascending.
    pub(super) touched: TouchedList,
    /// The new groups; `None` if the blocks are only marked.
    pub(super) regroup: Option<Regroup>,
    /// What a marked segment gets for its `expire_time` (era B).
    pub(super) expire_time: Option<i64>,
    /// Set when all is done, and only the report is still to be handed over.
    pub(super) finished: Option<Finished>,
}

/// How a run went, for its report.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Finished {
    pub(super) steps: LockSummary,
    #[serde(default)]
    pub(super) lock_overrun: Option<LockOverrun>,
    pub(super) elapsed_secs: f64,
}

impl Finished {
    pub(super) fn new(locks: &LockTimes, lock_overrun: Option<LockOverrun>, elapsed: Duration) -> Finished {
        Finished { steps: locks.summary(), lock_overrun, elapsed_secs: elapsed.as_secs_f64() }
    }
}

/// Which usage rows go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Usage {
    /// None.
    Nothing,
    /// Those of snapshots that go, or that are not there.
    OfMissingSnapshots,
    /// Also those about what is not there.
    Dangling,
    /// All.
    Everything,
}

impl CleaningDecision {
    pub(super) fn new(era: Era, options: Options) -> CleaningDecision {
        CleaningDecision {
            version: VERSION,
            era,
            options,
            retention: Retention::default(),
            newest: None,
            collects: false,
            usage: Usage::Nothing,
            nameless_orphans: false,
            dead: Vec::new(),
            reaped: Vec::new(),
            dangling_signatures: false,
            touched: TouchedList::new(),
            regroup: None,
            expire_time: None,
            finished: None,
        }
    }

    /// The name of the file for a database.
    pub(super) fn path(database: &Path) -> PathBuf {
        beside(database, ".sexton-plan")
    }

    /// Writes it beside the database: all of it or nothing, whatever happens.
    pub(super) fn keep(&self, database: &Path) -> Result<()> {
        keep(self, database, &Self::path(database))
    }

    /// Notes that all is done. Of the lists only the snapshots are needed any more: they tell whether a backup has run.
    pub(super) fn finish(&mut self, finished: Finished, database: &Path) -> Result<()> {
        (self.dead, self.reaped) = (Vec::new(), Vec::new());
        self.touched = TouchedList::new();
        self.regroup = None;
        self.finished = Some(finished);
        self.keep(database)
    }

    /// Reads what was kept. What cannot be read is as good as nothing: the plan is made again.
    pub(super) fn kept(database: &Path) -> Result<Option<CleaningDecision>> {
        let opened = OwnFile::at(&Self::path(database)).and_then(|file| file.open_bounded(MOST_BYTES));
        let Some(file) = opened.map_err(|e| faults::io(&e, "read the plan beside", database))? else {
            return Ok(None);
        };
        match serde_json::from_reader::<_, CleaningDecision>(BufReader::new(file)) {
            Ok(decision) => Ok(Some(decision).filter(|decision| decision.version == VERSION)),
            Err(e) if e.is_io() => Err(faults::io(&e.into(), "read the plan beside", database)),
            Err(_) => Ok(None),
        }
    }

    /// Takes away what was kept.
    pub(super) fn forget(database: &Path) -> Result<()> {
        forget(database, &Self::path(database))
    }

    /// Whether the snapshots are those for which the plan was made, or what its steps make of them.
    pub(super) fn fits(&self, conn: &Connection) -> rusqlite::Result<bool> {
        let known = |id: &i64| {
            self.retention.kept.binary_search(id).is_ok() || self.retention.dropped.binary_search(id).is_ok()
        };
        let mut ids = conn.prepare_cached("SELECT snapshotid FROM snapshots")?;
        let found: Vec<i64> = ids.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        let all_kept = self.retention.kept.iter().all(|id| found.contains(id));
        let greatest = found.iter().max().copied();
        let same_newest = match &self.newest {
            Some(newest) if greatest == Some(newest.id) => Newest::read(conn)?.as_ref() == Some(newest),
            _ => true,
        };
        Ok(all_kept && found.iter().all(known) && same_newest)
    }
}

impl Newest {
    /// Reads the snapshot with the greatest id.
    pub(super) fn read(conn: &Connection) -> rusqlite::Result<Option<Newest>> {
        let sql = "SELECT * FROM snapshots ORDER BY snapshotid DESC LIMIT 1";
        let mut statement = conn.prepare_cached(sql)?;
        let columns: Vec<String> = statement.column_names().iter().map(|name| (*name).to_owned()).collect();
        let mut rows = statement.query([])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let mut newest = Newest { id: 0, mark: String::new() };
        for (i, column) in columns.iter().enumerate() {
            let cell = row.get_ref(i)?;
            if column.eq_ignore_ascii_case("snapshotid") {
                newest.id = cell.as_i64().unwrap_or(0);
            } else {
                newest.mark.push_str(&format!("{column}={};", marked(cell)));
            }
        }
        Ok(Some(newest))
    }
}

/// A cell in a mark: as it is, or, if it is long, by its length and its hash.
fn marked(cell: ValueRef<'_>) -> String {
    match cell {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) if bytes.len() > MARKED_MAX_BYTES => {
            format!("{} bytes, {:032x}", bytes.len(), xxh3_128(bytes))
        }
        cell => format!("{cell:?}"),
    }
}

/// The name of a file beside a database.
pub(super) fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Writes something into a file beside a database: all of it or nothing, whatever happens. It belongs to the database's
/// owner, who may be another user than the one who cleans.
pub(super) fn keep(what: &impl Serialize, database: &Path, path: &Path) -> Result<()> {
    let write = || {
        let file = OwnFile::at(path)?;
        let owner = OwnFile::at(database)?.look()?;
        // An error of the disk comes out as what it is.
        file.replace(
            |new| owner.as_ref().map_or(Ok(()), |database| own_files::give_to_owner_of(new, database)),
            |new| serde_json::to_writer(new, what).map_err(io::Error::from),
        )
    };
    write().map_err(|e| faults::io(&e, "keep the plan beside", database))
}

/// Takes away a file beside a database, if it is there.
pub(super) fn forget(database: &Path, path: &Path) -> Result<()> {
    let removed = OwnFile::at(path).and_then(|file| file.remove());
    removed.map_err(|e| faults::io(&e, "remove the plan beside", database))
}
