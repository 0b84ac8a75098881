//! The plan as it is shown, kept beside the database as long as its decisions are: the report of a run that is resumed
//! tells what was planned.
//!
//! Only for people to look at: what is done follows from the decisions alone, and a run goes on without this file.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use super::decision::{self, beside};
use super::faults;
use crate::error::Result;
use crate::policy::cleaning::{CleaningPlan, Era, Odd, Options};

fn path(database: &Path) -> PathBuf {
    beside(database, ".sexton-shown")
}

/// Writes a plan: all of it or nothing, whatever happens.
pub(super) fn keep(plan: &CleaningPlan, database: &Path) -> Result<()> {
    decision::keep(plan, database, &path(database))
}

/// Reads it, if there is one that can be read.
pub(super) fn read(database: &Path) -> Option<CleaningPlan> {
    let file = File::open(path(database)).ok()?;
    serde_json::from_reader(BufReader::new(file)).ok()
}

/// Stands in for a plan that cannot be read.
pub(super) fn lost(era: Era, options: &Options) -> CleaningPlan {
    let mut plan = CleaningPlan::empty(era, options.mode, options.policy_for(era), options.now);
    let what = "what was planned is not known any more; it was done".to_owned();
    plan.odd.push(Odd { segment: None, name: None, what, left_alone: false });
    plan
}

/// Takes it away.
pub(super) fn forget(database: &Path) -> Result<()> {
    match fs::remove_file(path(database)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(faults::io(&e, "remove the plan beside", database)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::cleaning::{Moment, Number, SegmentEntry};

    #[test]
    fn a_plan_reads_back_as_it_was_and_a_torn_one_as_none() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("localdb.sqlite");
        let mut plan = lost(Era::B, &Options::at(2_454_400.1));
        plan.segments.push(SegmentEntry {
            id: i64::MAX,
            name: "n".into(),
            used_bytes: Number::Real(0.1 + 0.2),
            size_bytes: Number::Int(7),
            mtime: Moment::Text("2007".to_owned()),
            age_days: Some(1.0 / 3.0),
            benefit: None,
            utilization: Some(0.7),
            marked: true,
        });
        assert_eq!(read(&database), None);
        keep(&plan, &database).unwrap();
        assert_eq!(read(&database), Some(plan));
        let whole = fs::read(path(&database)).unwrap();
        fs::write(path(&database), &whole[..whole.len() - 9]).unwrap();
        assert_eq!(read(&database), None);
        forget(&database).unwrap();
        forget(&database).unwrap();
    }
}
