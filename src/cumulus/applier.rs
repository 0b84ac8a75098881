//! Doing a plan in steps, each a transaction of its own that leaves the database fit for a backup.
//!
//! The order is that of safety: snapshots (the decision itself), then what says they used something, then what
//! nothing uses, and last the blocks that stay. After any of the steps, what is in use is over-estimated at worst.

use rusqlite::Connection;

use super::block_set::BlockSet;
use super::decision::{CleaningDecision, Finished, Usage};
use super::error::LocalDbError;
use super::faults::Trouble;
use super::local_db::{Begin, LocalDb};
use super::moves;
use super::policy::{CleaningPlan, Era, Options};
use super::schema::Schema;
use super::steps::{CleaningStep, StepDone, StepsProgress, Upcoming};
use super::survey::SurveyedPlan;
use crate::error::{Error, Result};

/// Rows of a step inside a longer transaction: SQLite remembers all rows that a statement deletes before it begins.
pub(super) const ROWS_AT_ONCE: u64 = 10_000;

/// What is found beside a database.
#[derive(Debug)]
pub(super) enum KeptDecision {
    /// Nothing for this run.
    Nothing,
    /// A plan to go on with.
    Begun(Box<Applier>),
    /// Nobody has had the report of a run that is finished.
    Finished(Finished),
}

/// A plan being done.
#[derive(Debug)]
pub struct Applier {
    decision: CleaningDecision,
    progress: StepsProgress,
    /// Of the database when the plan was made; `None` after a restart, until it has been looked at.
    data_version: Option<i64>,
    /// Blocks in use (era A); `None` once SQL has been taught the groups.
    used: Option<BlockSet>,
    used_is_read: bool,
    kept: bool,
}

impl Applier {
    /// Begins to do a plan.
    ///
    /// # Errors
    /// [`LocalDbError::Refused`] if the plan is refused.
    pub fn new(planned: SurveyedPlan, db: &LocalDb) -> Result<Applier> {
        Ok(Applier::of(planned, db)?.1)
    }

    /// As [`new`](Self::new), and gives back the plan to look at.
    pub(super) fn of(planned: SurveyedPlan, db: &LocalDb) -> Result<(CleaningPlan, Applier)> {
        planned.refuse_refused(db.path())?;
        let SurveyedPlan { plan, decision, data_version, used } = planned;
        let mut applier = Applier {
            decision,
            progress: StepsProgress::at(CleaningStep::Snapshots),
            data_version: Some(data_version),
            used: Some(used),
            used_is_read: true,
            kept: false,
        };
        applier.pass_over_nothing();
        Ok((plan, applier))
    }

    /// Goes on with the plan that is kept beside the database, if it was made by the same options (but for a clock that
    /// has moved on) and no backup has run since. A plan that no longer fits is taken away.
    ///
    /// # Errors
    /// If the file or the database cannot be read, or the database is in use.
    pub fn resume(db: &LocalDb, options: &Options) -> Result<Option<Applier>> {
        Ok(match Applier::kept(db, options)? {
            KeptDecision::Begun(applier) => Some(*applier),
            KeptDecision::Nothing => None,
            KeptDecision::Finished(_) => {
                CleaningDecision::forget(db.path())?;
                None
            }
        })
    }

    /// Looks for what an earlier run has left; what is of no use any more is taken away.
    pub(super) fn kept(db: &LocalDb, options: &Options) -> Result<KeptDecision> {
        let Some(decision) = CleaningDecision::kept(db.path())? else { return Ok(KeptDecision::Nothing) };
        let fits = decision.era == db.era() && decision.options.same_run(options);
        let fits = fits && db.transact(Begin::Reading, "read", |conn| Ok(decision.fits(conn)?))?;
        if !fits {
            CleaningDecision::forget(db.path())?;
            return Ok(KeptDecision::Nothing);
        }
        if let Some(finished) = decision.finished {
            return Ok(KeptDecision::Finished(finished));
        }
        let mut applier = Applier {
            decision,
            progress: StepsProgress::at(CleaningStep::Snapshots),
            data_version: None,
            used: Some(BlockSet::default()),
            used_is_read: false,
            kept: true,
        };
        applier.pass_over_nothing();
        Ok(KeptDecision::Begun(Box::new(applier)))
    }

    /// Keeps the plan beside the database until it is done, so that it can be resumed.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn keep(&mut self, db: &LocalDb) -> Result<()> {
        self.decision.keep(db.path())?;
        self.kept = true;
        Ok(())
    }

    /// The options of the plan; of a resumed one, with the moment that counted as now when it was made.
    pub fn options(&self) -> &Options {
        &self.decision.options
    }

    pub(super) fn decision(&self) -> &CleaningDecision {
        &self.decision
    }

    /// What the next step is.
    pub fn upcoming(&self) -> Upcoming {
        let least_rows = match self.progress.step {
            CleaningStep::Expire => {
                self.decision.touched.after(self.progress.touched).map_or(0, |(touched, _)| touched.blocks.into())
            }
            CleaningStep::Snapshots => self.decision.retention.dropped.len() as u64,
            CleaningStep::Done => 0,
            _ => 1,
        };
        Upcoming { step: self.progress.step, least_rows }
    }

    /// Segments whose blocks are still to be expired or grouped, out of how many.
    pub fn segments_left(&self) -> (usize, usize) {
        let all = self.decision.touched.len();
        (if self.progress.step == CleaningStep::Done { 0 } else { all - self.progress.touched.passed }, all)
    }

    /// Does one step of about `max_rows` rows, in a transaction of its own (or in the one that is pending). Blocks of a
    /// segment are expired all at once, however many they are: see [`upcoming`](Self::upcoming). The result of all
    /// steps does not depend on their sizes.
    ///
    /// # Errors
    /// [`LocalDbError::Busy`] if the database is in use, [`LocalDbError::Full`] if there is no room: nothing is changed,
    /// and the same step may be tried again. [`LocalDbError::PlanStale`] if another program has changed the database.
    pub fn next_step(&mut self, db: &LocalDb, max_rows: u64) -> Result<StepDone> {
        let done = self.step(db, max_rows)?;
        if !done.more && self.kept {
            CleaningDecision::forget(db.path())?;
            self.kept = false;
        }
        Ok(done)
    }

    /// Does everything in one transaction.
    ///
    /// # Errors
    /// As [`next_step`](Self::next_step), nothing being changed.
    pub fn apply_at_once(mut self, db: &LocalDb) -> Result<()> {
        self.all_at_once(db)?;
        if self.kept { CleaningDecision::forget(db.path()) } else { Ok(()) }
    }

    /// As [`apply_at_once`](Self::apply_at_once), and what is kept stays. After an error this one is of no use any more.
    pub(super) fn all_at_once(&mut self, db: &LocalDb) -> Result<()> {
        db.transact(Begin::Writing, "clean", |_| {
            while self.step(db, ROWS_AT_ONCE)?.more {}
            Ok(())
        })
    }

    /// Keeps that all is done.
    pub(super) fn close(&mut self, db: &LocalDb, finished: Finished) -> Result<()> {
        self.decision.finish(finished, db.path())
    }

    /// As [`next_step`](Self::next_step), and what is kept stays.
    pub(super) fn step(&mut self, db: &LocalDb, max_rows: u64) -> Result<StepDone> {
        let step = self.progress.step;
        if step == CleaningStep::Done {
            return Ok(StepDone { step, rows: 0, more: false });
        }
        let max_rows = max_rows.max(1);
        let (rows, progress, version) = db.transact(Begin::Writing, "clean", |conn| {
            let version = self.check_unchanged(conn, db)?;
            let (rows, progress) = self.work(conn, db.schema(), max_rows)?;
            super::run::fail_point("cleaning::in_step");
            Ok((rows, progress, version))
        })?;
        self.data_version = Some(version);
        self.progress = progress;
        self.pass_over_nothing();
        let more = self.progress.step != CleaningStep::Done;
        if !more {
            // Frees the set of blocks; nobody asks for groups any more.
            let _ = moves::unteach_groups(db.conn());
        }
        Ok(StepDone { step, rows, more })
    }

    fn check_unchanged(&self, conn: &Connection, db: &LocalDb) -> std::result::Result<i64, Trouble> {
        let version = LocalDb::data_version(conn)?;
        let unchanged = match self.data_version {
            Some(planned) => planned == version,
            None => self.decision.fits(conn)?,
        };
        if unchanged {
            Ok(version)
        } else {
            Err(Error::from(LocalDbError::PlanStale { path: db.path().to_owned() }).into())
        }
    }

    /// The newest snapshot, if it is to go.
    fn newest_goes(&self) -> Option<i64> {
        let retention = &self.decision.retention;
        retention.greatest.filter(|id| retention.dropped.binary_search(id).is_ok())
    }

    /// Goes to the next step that has something to do.
    fn pass_over_nothing(&mut self) {
        let d = &self.decision;
        loop {
            let something = match self.progress.step {
                CleaningStep::Snapshots => !d.retention.dropped.is_empty(),
                CleaningStep::UsageRows => d.usage != Usage::Nothing,
                CleaningStep::NewestSnapshot => self.newest_goes().is_some(),
                CleaningStep::Segments => self.progress.place < d.dead.len(),
                CleaningStep::Blocks => self.progress.place < d.reaped.len(),
                CleaningStep::NamelessBlocks => d.nameless_orphans && d.collects,
                CleaningStep::Signatures => d.dangling_signatures,
                CleaningStep::ReadUsage => !self.used_is_read && d.era == Era::A && d.regroup.is_some(),
                CleaningStep::Expire => self.progress.touched.passed < d.touched.len(),
                CleaningStep::Done => true,
            };
            if something {
                return;
            }
            self.progress = StepsProgress::at(self.progress.step.next());
        }
    }

    fn work(
        &mut self,
        conn: &Connection,
        schema: &Schema,
        max_rows: u64,
    ) -> std::result::Result<(u64, StepsProgress), Trouble> {
        let at = self.progress;
        let range = (at.cursor, max_rows);
        let newest = self.newest_goes();
        // After a range, either the next range of this step or the next step.
        let ranged = |next: Option<i64>| match next {
            Some(cursor) => (max_rows, StepsProgress { cursor, ..at }),
            None => (0, StepsProgress::at(at.step.next())),
        };
        let whole = |rows: u64| (rows, StepsProgress::at(at.step.next()));
        Ok(match at.step {
            CleaningStep::Snapshots => {
                let dropped = self.decision.retention.dropped.iter().copied();
                whole(moves::drop_snapshots(conn, dropped.filter(|id| Some(*id) != newest))?)
            }
            CleaningStep::UsageRows => ranged(moves::drop_usage(conn, schema, &self.decision, newest, range)?),
            CleaningStep::NewestSnapshot => whole(moves::drop_snapshots(conn, newest.into_iter())?),
            CleaningStep::Segments => drop_segments(conn, schema, &self.decision.dead, at, max_rows, true)?,
            CleaningStep::Blocks => drop_segments(conn, schema, &self.decision.reaped, at, max_rows, false)?,
            CleaningStep::NamelessBlocks => ranged(moves::drop_nameless(conn, schema, range)?),
            CleaningStep::Signatures => ranged(moves::drop_signatures(conn, range)?),
            CleaningStep::ReadUsage => {
                let used = self.used.get_or_insert_default();
                let next = moves::read_used(conn, used, range)?;
                self.used_is_read = next.is_none();
                ranged(next)
            }
            CleaningStep::Expire => self.expire(conn, schema, max_rows)?,
            CleaningStep::Done => whole(0),
        })
    }

    fn expire(&mut self, conn: &Connection, schema: &Schema, max_rows: u64) -> rusqlite::Result<(u64, StepsProgress)> {
        if let Some(used) = self.used.take() {
            moves::teach_groups(conn, &self.decision, used)?;
        }
        let mut at = self.progress;
        let mut rows = 0u64;
        while let Some((touched, next)) = self.decision.touched.after(at.touched) {
            let blocks = u64::from(touched.blocks);
            // At least one, or there would be no progress.
            if rows > 0 && rows.saturating_add(blocks) > max_rows {
                break;
            }
            moves::settle_segment(conn, schema, &self.decision, touched)?;
            // A segment without blocks costs something too.
            rows = rows.saturating_add(blocks.max(1));
            at.touched = next;
        }
        Ok((rows, at))
    }
}

/// Deletes blocks of segments from the list, a segment's row with its last block.
fn drop_segments(
    conn: &Connection,
    schema: &Schema,
    list: &[i64],
    mut at: StepsProgress,
    max_rows: u64,
    with_row: bool,
) -> rusqlite::Result<(u64, StepsProgress)> {
    let mut rows = 0u64;
    while let Some(segment) = list.get(at.place)
        && rows < max_rows
    {
        let most = max_rows - rows;
        let dropped = moves::drop_blocks(conn, schema, *segment, most)?;
        rows = rows.saturating_add(dropped.max(1));
        if dropped >= most {
            // There may be more of it: its row stays until there is not.
            break;
        }
        if with_row {
            moves::drop_segment(conn, *segment)?;
        }
        at.place += 1;
    }
    Ok((rows, at))
}
