//! The golden local databases: unpacking them, and comparing rows with what is expected.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rusqlite::Connection;
use rusqlite::types::ValueRef;
use serde_json::Value;
use sexton::cumulus::policy::{Mode, Options, Policy};
use tempfile::TempDir;

/// One golden database with its expectation.
pub struct Golden {
    pub name: String,
    pub expected: Value,
    before: Vec<u8>,
}

/// A state that a database may be compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Before,
    GarbageCollected,
    Marked,
    After,
    Recommended,
}

/// All golden databases, by name.
pub fn all() -> &'static [Golden] {
    static ALL: OnceLock<Vec<Golden>> = OnceLock::new();
    ALL.get_or_init(|| {
        let mut files = unpack("golden.tar.gz");
        let names: Vec<String> =
            files.keys().filter_map(|n| n.strip_suffix(".expected.json")).map(str::to_owned).collect();
        let mut golden = |name: String| Golden {
            expected: serde_json::from_slice(&files[&format!("{name}.expected.json")]).unwrap(),
            before: files.remove(&format!("{name}.before.sqlite")).unwrap(),
            name,
        };
        let all: Vec<_> = names.into_iter().map(&mut golden).collect();
        assert!(all.len() >= 60, "{} golden databases", all.len());
        all
    })
}

/// The large ones, made on the spot.
pub fn large() -> &'static [Golden] {
    static LARGE: OnceLock<Vec<Golden>> = OnceLock::new();
    LARGE.get_or_init(|| {
        let make = |(file, expected): (String, Vec<u8>)| {
            let expected: Value = serde_json::from_slice(&expected).unwrap();
            let dir = folder();
            let path = dir.path().join("made");
            super::generator::make(&path, expected["generator"].as_str().unwrap());
            let name = file.strip_suffix(".expected.json").unwrap().to_owned();
            Golden { name, expected, before: fs::read(path).unwrap() }
        };
        unpack("large.tar.gz").into_iter().map(make).collect()
    })
}

/// The files of an archive in the folder of test data, by name.
fn unpack(archive: &str) -> BTreeMap<String, Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/cumulus").join(archive);
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(File::open(path).unwrap()));
    let entry = |mut entry: tar::Entry<'_, _>| {
        let name = entry.path().unwrap().to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        (name, bytes)
    };
    archive.entries().unwrap().map(|e| entry(e.unwrap())).collect()
}

/// A folder in memory where the system has one: many small steps with a rollback journal would wait for the disk.
pub fn folder() -> TempDir {
    TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap()
}

impl Golden {
    pub fn era(&self) -> &str {
        self.expected["era"].as_str().unwrap()
    }

    /// The options of its run.
    pub fn options(&self, mode: Mode) -> Options {
        let params = &self.expected["params"];
        let number = |key: &str| params[key].as_f64();
        let policy = match number("utilization_threshold") {
            Some(least) => Policy::Utilization { least },
            None => Policy::Benefit {
                threshold_days: number("clean_threshold").unwrap(),
                age_boost_days: number("age_boost").unwrap(),
                intent: number("intent").unwrap_or(1.0),
            },
        };
        Options { mode, policy: Some(policy), ..Options::at(number("now").unwrap_or(2456500.25)) }
    }

    /// Its options as arguments of the command line.
    pub fn args(&self, mode: Mode) -> Vec<String> {
        let options = self.options(mode);
        let mut args = vec![format!("--now={}", options.now)];
        match options.policy.unwrap() {
            Policy::Utilization { least } => args.push(format!("--min-utilization={least}")),
            Policy::Benefit { threshold_days, age_boost_days, intent } => args.extend([
                format!("--threshold={threshold_days}"),
                format!("--age-boost={age_boost_days}"),
                format!("--intent={intent}"),
            ]),
        }
        args.extend((mode == Mode::Compat).then(|| "--compat".to_owned()));
        args
    }

    /// A copy of its database, in this journal mode.
    pub fn copy(&self, wal: bool) -> (TempDir, PathBuf) {
        let dir = folder();
        let path = dir.path().join("localdb.sqlite");
        fs::write(&path, &self.before).unwrap();
        if wal {
            let conn = Connection::open(&path).unwrap();
            let mode: String = conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).unwrap();
            assert_eq!(mode, "wal");
        }
        (dir, path)
    }

    /// Whether the old program ended with an exception.
    pub fn raised(&self) -> bool {
        !self.expected["seed_exception"].is_null()
    }

    /// Why a careful run refuses, if there is an opinion and it does.
    pub fn refused(&self) -> bool {
        self.expected["recommended"]["refused"].is_string()
    }

    /// Whether there is an opinion on what a careful run should do.
    pub fn has_recommended(&self) -> bool {
        self.expected.get("recommended").is_some_and(|r| !r.is_null())
    }

    fn state(&self, state: State) -> &Value {
        let e = &self.expected;
        match state {
            State::Before => &e["before"],
            State::GarbageCollected => &e["steps"]["garbage_collect"],
            State::Marked => &e["steps"]["mark"],
            State::After => &e["after"],
            State::Recommended if e["recommended"].is_string() => &e["after"],
            State::Recommended => &e["recommended"]["after"],
        }
    }

    /// The list, the marks or the balance of the run of this mode.
    pub fn numbers(&self, mode: Mode) -> &Value {
        match &self.expected["recommended"] {
            recommended @ Value::Object(_) if mode == Mode::Careful => recommended,
            _ => &self.expected["steps"],
        }
    }

    /// Compares all rows.
    #[track_caller]
    pub fn check(&self, path: &Path, state: State, how: &str) {
        let conn = Connection::open(path).unwrap();
        let want = self.state(state);
        for (table, order, columns) in tables(self.era()) {
            let (count, digest, rows) = digest(&conn, table, order, columns);
            if Some(digest.as_str()) != want[table]["sha256"].as_str() {
                let rows: Vec<_> = rows.iter().take(150).collect();
                panic!("{} {how} {state:?}: {table} has {count} rows, not\n{}\nbut\n{rows:#?}", self.name, want[table]);
            }
        }
    }
}

/// The tables of an era with order and columns of their canonical rows.
pub fn tables(era: &str) -> Vec<(&'static str, &'static str, &'static str)> {
    let blocks = ("block_index", "blockid", "blockid,segmentid,object,checksum,size,timestamp,expired");
    let signatures = ("subblock_signatures", "blockid", "blockid,algorithm,hex(signatures)");
    match era {
        "A" => vec![
            ("snapshots", "snapshotid", "snapshotid,name,scheme,timestamp"),
            ("segments", "segmentid", "segmentid,segment,path,checksum"),
            blocks,
            ("snapshot_contents", "blockid,snapshotid,rowid", "blockid,snapshotid"),
        ],
        "B" => vec![
            ("snapshots", "snapshotid", "snapshotid,name,scheme,timestamp,intent"),
            ("segments", "segmentid", "segmentid,segment,path,checksum,mtime,size,expire_time"),
            blocks,
            ("segments_used", "snapshotid,segmentid", "snapshotid,segmentid,utilization"),
            signatures,
        ],
        _ => vec![
            ("snapshots", "snapshotid", "snapshotid,name,scheme,timestamp"),
            ("segments", "segmentid", "segmentid,segment,timestamp,path,checksum,data_size,disk_size,type"),
            blocks,
            ("segment_utilization", "snapshotid,segmentid", "snapshotid,segmentid,bytes_referenced"),
            signatures,
        ],
    }
}

fn digest(conn: &Connection, table: &str, order: &str, columns: &str) -> (usize, String, Vec<String>) {
    let mut statement = conn.prepare(&format!("SELECT {columns} FROM {table} ORDER BY {order}")).unwrap();
    let width = statement.column_count();
    let mut rows = statement.query([]).unwrap();
    let mut lines = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        let cells: Vec<String> = (0..width).map(|i| cell(row.get_ref(i).unwrap())).collect();
        lines.push(cells.join("\t") + "\n");
    }
    let bytes = lines.concat().into_bytes();
    (lines.len(), crate::support::sha256::hex(&bytes), lines)
}

fn cell(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "n".to_owned(),
        ValueRef::Integer(n) => format!("i:{n}"),
        ValueRef::Real(x) => format!("r:{:016x}", x.to_bits()),
        ValueRef::Text(text) => {
            let text = String::from_utf8_lossy(text);
            format!("t:{}", text.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n"))
        }
        ValueRef::Blob(_) => panic!("blobs are read through hex()"),
    }
}

/// All rows of a database in canonical form, to compare two of them.
pub fn dump(path: &Path, era: &str) -> String {
    let conn = Connection::open(path).unwrap();
    let of_table = |(table, order, columns)| format!("# {table}\n{}", digest(&conn, table, order, columns).2.concat());
    tables(era).into_iter().map(of_table).collect()
}
