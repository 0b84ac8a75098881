//! Reading the figures of a local database, in steps, and making the plan.
//!
//! Three scans: what snapshots use, the blocks for sums by segment, the blocks again for their ages. What garbage
//! collection would remove is reckoned, not done: a dry run changes nothing. Between steps the database is free; if
//! another program changes it, the next step says so and the survey begins anew.

mod blocks;
mod decide;
mod rows;
mod segments;
mod snapshots;
mod usage;

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, ErrorCode, ffi};

use super::block_set::BlockSet;
use super::decision::CleaningDecision;
use super::faults::{self, Trouble};
use super::local_db::{Begin, LocalDb};
use super::policy::{
    AgeHistogram, Choice, CleaningPlan, Era, Judge, Mode, Odd, Options, Removed, RunPart, SegmentList, SegmentTable,
};
use super::schema::Schema;
use crate::cumulus::LocalDbError;
use crate::error::{Error, Result};
use rows::TableRange;

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SurveyStage {
    Snapshots,
    Segments,
    Usage,
    Blocks,
    Dangling,
    Signatures,
    Ages,
    Done,
}

/// The result of one step of a [`Survey`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SurveyDone {
    /// Rows read in this step.
    pub rows: u64,
    /// Whether there is more to read.
    pub more: bool,
}

/// A survey of one database, as far as it has come.
#[derive(Debug)]
pub struct Survey {
    options: Options,
    stage: SurveyStage,
    /// Where the next step of this stage begins: the first row id not yet read, `None` after the last.
    cursor: Option<i64>,
    data_version: Option<i64>,
    gathered: Gathered,
}

/// What has been read so far.
#[derive(Debug)]
struct Gathered {
    schema: Schema,
    mode: Mode,
    now: f64,
    decision: CleaningDecision,
    plan: CleaningPlan,
    /// The segments, by ascending id.
    segments: SegmentTable,
    /// What the policy made of them; `None` before, and if it refuses.
    choice: Option<Choice>,
    /// Where the last block was found in `segments`.
    last: usize,
    /// Era A: blocks that snapshots use.
    used: BlockSet,
    /// Era A: those of them that exist, with their segment.
    live_used: BlockSet,
    /// Eras B and C: blocks that stay.
    surviving: BlockSet,
    /// Segment ids without a row: blocks, and how many of them are expired.
    orphans: BTreeMap<i64, (u64, u64)>,
    histogram: AgeHistogram,
    removed: Removed,
    /// Usage rows that go because they are about something that is not there.
    dangling: bool,
    kept_text: KeptText,
}

/// Counts texts that are kept in memory beyond their row: names of segments that are no UUIDs, and schemes.
#[derive(Debug, Default)]
struct KeptText(usize);

impl KeptText {
    /// Most of them together: those of a million segments.
    const MAX_BYTES: usize = 64 << 20;

    fn is_full(&self) -> bool {
        self.0 > Self::MAX_BYTES
    }

    fn take(&mut self, text: Option<&str>) -> rusqlite::Result<()> {
        self.0 += text.map_or(0, str::len);
        if !self.is_full() {
            return Ok(());
        }
        let code = ffi::Error::new(ffi::SQLITE_TOOBIG);
        Err(rusqlite::Error::SqliteFailure(code, None))
    }
}

/// A plan, and what it takes to do it.
#[derive(Debug)]
pub struct SurveyedPlan {
    pub(super) plan: CleaningPlan,
    pub(super) decision: CleaningDecision,
    pub(super) data_version: i64,
    /// Era A: blocks in use.
    pub(super) used: BlockSet,
}

impl SurveyedPlan {
    /// The plan, to look at.
    pub fn plan(&self) -> &CleaningPlan {
        &self.plan
    }

    /// The plan, to keep.
    pub fn into_plan(self) -> CleaningPlan {
        self.plan
    }

    /// Makes an error of a plan that is refused.
    pub(super) fn refuse_refused(&self, path: &Path) -> Result<()> {
        match &self.plan.refused {
            Some(why) => Err(Error::from(LocalDbError::Refused { path: path.to_owned(), why: why.to_string() })),
            None => Ok(()),
        }
    }
}

/// Makes a plan in one transaction, which only reads.
///
/// # Errors
/// If the database cannot be read, or is in use.
pub fn plan(db: &mut LocalDb, options: &Options) -> Result<SurveyedPlan> {
    let mut survey = Survey::new(db, options.clone());
    db.transact(Begin::Reading, "read", |conn| {
        loop {
            survey.read(conn, db.path(), u64::MAX)?;
            if !survey.conclude() {
                return Ok(());
            }
        }
    })?;
    Ok(survey.into_planned())
}

impl Survey {
    /// Begins a survey. Nothing is read yet.
    pub fn new(db: &LocalDb, options: Options) -> Survey {
        let era = db.era();
        let plan = CleaningPlan::empty(era, options.mode, options.policy_for(era), options.now);
        let gathered = Gathered {
            schema: db.schema().clone(),
            mode: options.mode,
            now: options.now,
            decision: CleaningDecision::new(era, options.clone()),
            plan,
            segments: SegmentTable::default(),
            choice: None,
            last: 0,
            used: BlockSet::default(),
            live_used: BlockSet::default(),
            surviving: BlockSet::default(),
            orphans: BTreeMap::new(),
            histogram: AgeHistogram::new(options.mode),
            removed: Removed::default(),
            dangling: false,
            kept_text: KeptText::default(),
        };
        Survey { options, stage: SurveyStage::Snapshots, cursor: Some(i64::MIN), data_version: None, gathered }
    }

    /// Reads at most about `max_rows` rows in one transaction.
    ///
    /// # Errors
    /// [`LocalDbError::PlanStale`] if another program has changed the database since the first step: begin a new survey.
    /// [`LocalDbError::Busy`] if it is in use: try again later; nothing is lost.
    pub fn next_step(&mut self, db: &LocalDb, max_rows: u64) -> Result<SurveyDone> {
        let rows = self.read_step(db, max_rows)?;
        Ok(SurveyDone { rows, more: self.conclude() })
    }

    /// The part of a step that takes the lock; [`conclude`](Self::conclude) is to follow.
    pub(super) fn read_step(&mut self, db: &LocalDb, max_rows: u64) -> Result<u64> {
        db.transact(Begin::Reading, "read", |conn| self.read(conn, db.path(), max_rows))
    }

    /// Draws the conclusions from a stage that is read to its end, which may take longer than a lock should; tells
    /// whether there is more to read.
    pub(super) fn conclude(&mut self) -> bool {
        if self.cursor.is_none() {
            self.stage = self.after();
            self.cursor = Some(i64::MIN);
        }
        self.stage != SurveyStage::Done
    }

    /// The plan, once there is nothing more to read.
    ///
    /// # Panics
    /// If there is: after a step that told of more.
    pub fn into_planned(self) -> SurveyedPlan {
        assert!(self.stage == SurveyStage::Done, "the survey is not finished");
        let Gathered { mut plan, decision, removed, used, segments, choice, .. } = self.gathered;
        if plan.refused.is_none() {
            plan.removed = removed;
        }
        let judge = Judge::new(plan.era, &self.options);
        match choice {
            Some(choice) => plan.take_segments(SegmentList::new(segments, choice.order, judge)),
            // Of one that is refused only what is obsolete is known.
            None => plan.segments = SegmentList::new(segments, Vec::new(), judge),
        }
        SurveyedPlan { plan, decision, data_version: self.data_version.unwrap_or(0), used }
    }

    /// Reads rows of one stage.
    fn read(&mut self, conn: &Connection, path: &Path, max_rows: u64) -> std::result::Result<u64, Trouble> {
        let version = LocalDb::data_version(conn)?;
        if *self.data_version.get_or_insert(version) != version {
            return Err(Error::from(LocalDbError::PlanStale { path: path.to_owned() }).into());
        }
        let mut rows = 0;
        while self.stage != SurveyStage::Done && self.cursor.is_some() && rows < max_rows {
            let limit = i64::try_from(max_rows - rows).unwrap_or(i64::MAX);
            rows += self.read_stage(conn, limit).map_err(|error| self.too_large(error, path))?;
        }
        if self.stage == SurveyStage::Blocks && self.cursor.is_none() {
            // Judging the segments takes room for a moment: that of the cached pages, which are not the ones read next.
            conn.execute_batch("PRAGMA shrink_memory")?;
        }
        Ok(rows)
    }

    /// The table that is being read.
    fn table(&self) -> &'static str {
        match self.stage {
            SurveyStage::Snapshots | SurveyStage::Done => "snapshots",
            SurveyStage::Segments => "segments",
            SurveyStage::Usage | SurveyStage::Dangling => self.gathered.schema.usage,
            SurveyStage::Blocks | SurveyStage::Ages => "block_index",
            SurveyStage::Signatures => "subblock_signatures",
        }
    }

    /// Names the table of a cell that SQLite has refused to read.
    fn too_large(&self, error: rusqlite::Error, path: &Path) -> Trouble {
        let cause = match error.sqlite_error_code() {
            Some(ErrorCode::TooBig) if self.gathered.kept_text.is_full() => {
                format!("names in its table {} take more than {} MiB", self.table(), KeptText::MAX_BYTES >> 20)
            }
            Some(ErrorCode::TooBig) => format!("a cell of its table {} is {}", self.table(), faults::TOO_LARGE),
            _ => return error.into(),
        };
        Error::from(LocalDbError::Foreign { path: path.to_owned(), cause }).into()
    }

    fn read_stage(&mut self, conn: &Connection, limit: i64) -> rusqlite::Result<u64> {
        let g = &mut self.gathered;
        let stretch = TableRange { conn, cursor: &mut self.cursor, limit };
        match self.stage {
            SurveyStage::Snapshots => {
                self.cursor = None;
                g.read_snapshots(conn, &self.options)
            }
            SurveyStage::Segments => g.read_segments(stretch),
            SurveyStage::Usage => g.read_usage(stretch),
            SurveyStage::Blocks => g.read_blocks(stretch),
            SurveyStage::Dangling => g.count_dangling(stretch),
            SurveyStage::Signatures => g.read_signatures(stretch),
            SurveyStage::Ages => g.read_ages(stretch),
            SurveyStage::Done => Ok(0),
        }
    }

    /// Draws the conclusions from the stage that is finished, and says which is next.
    fn after(&mut self) -> SurveyStage {
        let g = &mut self.gathered;
        if g.plan.refused.is_some() {
            return SurveyStage::Done;
        }
        match self.stage {
            SurveyStage::Snapshots => SurveyStage::Segments,
            SurveyStage::Segments => SurveyStage::Usage,
            SurveyStage::Usage => {
                g.bury_segments_without_usage();
                if g.plan.refused.is_some() { SurveyStage::Done } else { SurveyStage::Blocks }
            }
            SurveyStage::Blocks => {
                g.after_blocks(&self.options);
                match g.plan.refused {
                    Some(_) => SurveyStage::Done,
                    None if g.dangling_to_count() => SurveyStage::Dangling,
                    None => g.stage_after_dangling(),
                }
            }
            SurveyStage::Dangling => g.stage_after_dangling(),
            SurveyStage::Signatures => g.stage_after_signatures(),
            SurveyStage::Ages | SurveyStage::Done => {
                g.finish_balance();
                SurveyStage::Done
            }
        }
    }
}

impl Gathered {
    /// Whether snapshots are missing altogether, so that compat mode takes everything away.
    fn takes_everything(&self) -> bool {
        self.decision.collects && self.decision.retention.greatest.is_none() && self.mode == Mode::Compat
    }

    fn balances(&self) -> bool {
        self.schema.era != Era::C && matches!(self.decision.options.part, RunPart::Whole | RunPart::Balancing)
    }

    /// Notes what the run repairs.
    fn note(&mut self, what: String) {
        self.plan.odd.push(Odd { segment: None, name: None, what, left_alone: false });
    }
}
