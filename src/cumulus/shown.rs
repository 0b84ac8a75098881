//! The plan as it is shown, kept beside the database as long as its decisions are: the report of a run that is resumed
//! tells what was planned.
//!
//! Only for people to look at: what is done follows from the decisions alone, and a run goes on without this file.

use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::decision::{self, beside};
use super::policy::{CleaningPlan, Era, Odd, Options};
use crate::error::Result;
use crate::own_files::OwnFile;

/// A larger file is none of ours: some 400 bytes for each of 10^7 segments.
const MOST_BYTES: u64 = 1 << 32;

fn path(database: &Path) -> PathBuf {
    beside(database, ".sexton-shown")
}

/// Writes a plan: all of it or nothing, whatever happens.
pub(super) fn keep(plan: &CleaningPlan, database: &Path) -> Result<()> {
    decision::keep(plan, database, &path(database))
}

/// Reads it, if there is one that can be read.
pub(super) fn read(database: &Path) -> Option<CleaningPlan> {
    let file = OwnFile::at(&path(database)).and_then(|file| file.open_bounded(MOST_BYTES)).ok()??;
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
    decision::forget(database, &path(database))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::cumulus::policy::{
        Figure, Judge, Number, SegmentFate, SegmentList, SegmentMark, SegmentTable, StoredTime,
    };

    #[test]
    fn a_plan_reads_back_as_it_was_and_a_torn_one_as_none() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("localdb.sqlite");
        let mut plan = lost(Era::B, &Options::at(2_454_400.1));
        let mut table = SegmentTable::default();
        for name in ["n", "0123abcd-4567-89ef-0000-fedcba987654", "gone"] {
            let place = table.push(i64::MAX - 2 + table.records.len() as i64, name);
            table.set_figure(place, Figure::Used, Some(Number::Real(0.1 + 0.2)));
            table.set_figure(place, Figure::Size, Some(Number::Int(7)));
            table.set_mtime(place, StoredTime::Day(2_454_000.3));
        }
        table.set_mtime(0, StoredTime::Text("2007".to_owned()));
        table.records[1].set(SegmentMark::Marked, true);
        table.records[2].fate = SegmentFate::Dead;
        let judge = Judge::new(Era::B, &Options::at(plan.now));
        plan.take_segments(SegmentList::new(table, vec![1, 0], judge));
        assert_eq!(plan.segments.iter().map(|entry| entry.id).collect::<Vec<_>>(), [i64::MAX - 1, i64::MAX - 2]);
        assert_eq!(plan.obsolete().collect::<Vec<_>>(), ["gone".into()]);
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
