//! A daemon that cleans a database, and what tests ask of the two.

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::Connection;
use serde_json::Value;
use sexton::cumulus::sample::SampleDb;

use super::process::{Daemon, config};
use crate::support::harness::Sample;

/// Julian day of 1970-01-01.
const UNIX_EPOCH_JULIAN: f64 = 2_440_587.5;

/// A daemon with one cleaning, of a database whose newest snapshot is a few hours old.
pub fn daemon(segments: u32, budget: &str, keys: &str) -> Daemon {
    let sample = Sample::new(1);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    let database = SampleDb { segments, end: UNIX_EPOCH_JULIAN + now / 86_400.0 - 0.25, ..SampleDb::default() };
    database.write(sample.path("localdb.sqlite")).unwrap();
    // Idle threads might wait for long on a machine that is busy with other tests.
    let clean = format!(
        r#"priority: normal, clean: [(name: "db", database: "localdb.sqlite", policy: benefit(), every: "1h", lock_duty: "100%", {keys})],"#
    );
    std::fs::write(sample.path("config.ron"), config(budget, "", &clean)).unwrap();
    Daemon::again(sample)
}

pub fn marked(segments: &Value) -> BTreeSet<u64> {
    let segments = segments.as_array().unwrap().iter();
    segments.filter(|segment| segment["marked"] == true).map(|segment| segment["id"].as_u64().unwrap()).collect()
}

/// The segments of which the database says that their blocks are to be written again.
pub fn expired(database: &Path) -> BTreeSet<u64> {
    let db = Connection::open(database).unwrap();
    let mut rows = db.prepare("SELECT DISTINCT segmentid FROM block_index WHERE expired IS NOT NULL").unwrap();
    rows.query_map([], |row| row.get::<_, i64>(0)).unwrap().map(|id| id.unwrap() as u64).collect()
}
