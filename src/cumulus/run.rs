//! One cleaning, from opening the database to the last change, in steps that somebody else gives the time for.
//!
//! Owns the connection, the plan and the sizes of the steps. Each call of [`CleaningRun::next_step`] takes the lock once at
//! most and holds it for about the time it is told. It never sleeps and never waits for a lock: what is in use is told,
//! and the same call made again later.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::applier::{Applier, Kept, Step, StepDone};
use super::copier::{self, Copier};
use super::decision::{Decision, Finished};
use super::gate::{Gate, Make};
use super::local_db::{self, Begin, LocalDb};
use super::locks::LockTimes;
use super::report::{CleaningReport, Doing, Outcome, Progress};
use super::shown;
use super::survey::{Planned, Survey, plan};
use crate::error::{Error, Result};
use crate::policy::cleaning::{CleaningPlan, Options};
use crate::policy::pace::Pace;
use crate::settings::{CleaningSettings, Manner, OlderCopy};

enum Stage {
    Opening,
    Reading(Box<Survey>),
    Copying(Copier, Box<Applier>),
    /// Before the first change: the plan is kept, and then a finished copy gets its name.
    Keeping(Option<Copier>, Box<Applier>),
    Changing(Box<Applier>),
    /// After the last change: that all is done is kept, until somebody has had the report.
    Closing(Box<Applier>),
    Done,
}

/// Kinds of work whose rows cost alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Work {
    Reading,
    Copying,
    Changing(Step),
}

impl Work {
    /// Rows of the first step in a slice of 50 ms.
    fn first(self) -> u64 {
        match self {
            Work::Changing(Step::Segments | Step::Blocks | Step::NamelessBlocks | Step::Signatures) => 250,
            Work::Copying => 500,
            Work::Reading | Work::Changing(_) => 5000,
        }
    }
}

/// One cleaning of one database.
pub struct CleaningRun {
    settings: CleaningSettings,
    options: Options,
    database: PathBuf,
    gate: Gate,
    db: Option<LocalDb>,
    stage: Stage,
    pace: Pace<Work>,
    locks: LockTimes,
    begun: Instant,
    rows_done: u64,
    rows_planned: u64,
    usage_rows: u64,
    /// The plan, as it is shown; none before it is made.
    shown: Option<CleaningPlan>,
    /// Set when all is done.
    finished: Option<Finished>,
    resumed: bool,
    planned_again: u32,
    backed_up: bool,
    /// What of the write-ahead log is not yet in the database, as the time it took to write.
    untidied: Duration,
}

impl CleaningRun {
    /// Begins a cleaning at a moment that counts as now: a Julian day (UTC), for settings that do not give one. Nothing
    /// is opened yet.
    pub fn new(settings: CleaningSettings, now: f64) -> CleaningRun {
        let database = local_db::file_of(&settings.database);
        let make = if settings.manner == Manner::DryRun { Make::No } else { Make::Yes };
        CleaningRun {
            options: settings.options_at(now),
            gate: Gate::new(&database, make),
            db: None,
            stage: Stage::Opening,
            pace: Pace::new(settings.slice),
            locks: LockTimes::default(),
            begun: Instant::now(),
            rows_done: 0,
            rows_planned: 0,
            usage_rows: 0,
            shown: None,
            finished: None,
            resumed: false,
            planned_again: 0,
            backed_up: false,
            untidied: Duration::ZERO,
            database,
            settings,
        }
    }

    /// What comes next.
    pub fn doing(&self) -> Doing {
        match &self.stage {
            Stage::Opening => Doing::Opening,
            Stage::Reading(_) => Doing::Reading,
            Stage::Copying(..) => Doing::Copying,
            Stage::Keeping(..) => Doing::Keeping,
            _ if self.is_to_be_tidied() => Doing::Tidying,
            Stage::Closing(_) => Doing::Keeping,
            Stage::Changing(applier) => Doing::Changing(applier.upcoming().step),
            Stage::Done => Doing::Done,
        }
    }

    /// The lock times so far.
    pub fn locks(&self) -> &LockTimes {
        &self.locks
    }

    /// Whether it goes on where an earlier run has ended.
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// How often the plan was made again.
    pub fn planned_again(&self) -> u32 {
        self.planned_again
    }

    /// Does the next step.
    ///
    /// # Errors
    /// What waiting does not help: a damaged database, one that is none, a backup's file that is there already.
    pub fn next_step(&mut self) -> Result<Progress> {
        let (doing, locks_before) = (self.doing(), self.locks.count());
        // What fails and does not say where to go on begins anew, with the plan that is kept.
        let stage = std::mem::replace(&mut self.stage, Stage::Opening);
        let done = match stage {
            _ if doing == Doing::Tidying => self.tidy(stage),
            Stage::Opening => self.open(),
            Stage::Reading(survey) => self.read(survey),
            Stage::Copying(copier, applier) => self.copy(copier, applier),
            Stage::Keeping(copier, applier) => self.keep(copier, applier),
            Stage::Changing(applier) => self.change(applier),
            Stage::Closing(applier) => self.close(applier),
            Stage::Done => {
                self.stage = Stage::Done;
                Ok(())
            }
        };
        let outcome = match done {
            Ok(()) if matches!(self.stage, Stage::Done) && self.doing() == Doing::Done => {
                self.rows_planned = self.rows_done;
                Outcome::Finished
            }
            Ok(()) => Outcome::More,
            Err(Error::PlanStale { .. }) => {
                self.plan_again()?;
                Outcome::Stale
            }
            Err(error) if error.retry() == crate::Retry::Helps => Outcome::Later(error),
            Err(error) => return Err(error),
        };
        let lock = if self.locks.count() > locks_before { self.locks.last() } else { Duration::ZERO };
        let (rows_done, rows_planned) = (self.rows_done, self.rows_planned.max(self.rows_done));
        Ok(Progress { doing, rows_done, rows_planned, lock, outcome })
    }

    /// The report of a run that is finished. One that has changed something gives the same report again, until
    /// [`CleaningReport::handed_over`] is called.
    pub fn into_report(self) -> CleaningReport {
        let kept = self.finished.is_some();
        let finished = self.finished.unwrap_or_else(|| Finished::new(&self.locks, self.begun));
        let era = self.db.as_ref().map_or(crate::policy::cleaning::Era::A, LocalDb::era);
        CleaningReport {
            plan: self.shown.unwrap_or_else(|| shown::lost(era, &self.options)),
            steps: finished.steps,
            elapsed_secs: finished.elapsed_secs,
            resumed: self.resumed,
            planned_again: self.planned_again,
            kept_beside: kept.then_some(self.database),
        }
    }

    fn open(&mut self) -> Result<()> {
        if self.db.is_none() {
            let db = self.locked(None, |run| LocalDb::open(&run.database))?;
            self.db = Some(db);
        }
        self.estimate()?;
        if self.settings.manner == Manner::DryRun {
            return self.survey();
        }
        self.db().refuse_read_only()?;
        match self.locked(Some(Begin::Reading), |run| Applier::kept(run.db(), &run.options))? {
            Kept::Nothing => {
                let refused = !self.backed_up && self.settings.older_copy == OlderCopy::Refuse;
                if let Some(to) = self.settings.backup.as_ref().filter(|_| refused) {
                    copier::refuse_existing(&self.database, to)?;
                }
                self.survey()
            }
            Kept::Begun(applier) => {
                // Made before the plan was kept, so before the first change.
                self.backed_up |= self.settings.backup.as_ref().is_some_and(|to| to.exists());
                // Else it is this run's own plan, begun again after something was in the way.
                if self.shown.is_none() {
                    self.resumed = true;
                    self.shown = shown::read(&self.database);
                }
                self.begin(*applier)
            }
            Kept::Finished(finished) => {
                self.resumed = true;
                self.shown = shown::read(&self.database);
                self.finished = Some(finished);
                self.stage = Stage::Done;
                Ok(())
            }
        }
    }

    fn survey(&mut self) -> Result<()> {
        if self.settings.manner == Manner::AtOnce {
            let planned = self.locked(Some(Begin::Reading), |run| {
                let options = run.options.clone();
                match &mut run.db {
                    Some(db) => plan(db, &options),
                    None => Err(Error::Stopped),
                }
            })?;
            return self.planned(planned);
        }
        self.rows_done = 0;
        self.stage = Stage::Reading(Box::new(Survey::new(self.db(), self.options.clone())));
        Ok(())
    }

    fn read(&mut self, mut survey: Box<Survey>) -> Result<()> {
        let rows = self.rows(Work::Reading);
        let step = self.locked(Some(Begin::Reading), |run| {
            run.timed(Work::Reading, rows, |run| {
                let done = survey.read_step(run.db(), rows)?;
                Ok((done, done))
            })
        });
        match step {
            Ok(rows) => {
                self.rows_done = self.rows_done.saturating_add(rows);
                if survey.conclude() {
                    self.stage = Stage::Reading(survey);
                    return Ok(());
                }
                self.planned(survey.into_planned())
            }
            Err(error) => {
                self.stage = Stage::Reading(survey);
                Err(error)
            }
        }
    }

    fn planned(&mut self, planned: Planned) -> Result<()> {
        if self.settings.manner == Manner::DryRun || planned.plan().refused.is_some() {
            self.shown = Some(planned.into_plan());
            self.stage = Stage::Done;
            return Ok(());
        }
        let (plan, applier) = Applier::of(planned, self.db())?;
        self.shown = Some(plan);
        self.begin(applier)
    }

    /// Begins to do a plan: with a copy if one is wanted and not made yet.
    fn begin(&mut self, applier: Applier) -> Result<()> {
        let d = applier.decision();
        let usage = if applier.upcoming().step <= Step::UsageRows { self.usage_rows } else { 0 };
        let removed = self.shown.as_ref().map(|plan| plan.removed).unwrap_or_default();
        let touched = d.touched.iter().fold(0u64, |sum, (_, blocks, _)| sum.saturating_add(u64::from(*blocks).max(1)));
        let changes = [removed.snapshots, usage, removed.blocks, touched];
        self.rows_planned = changes.iter().fold(self.rows_done, |sum, rows| sum.saturating_add(*rows));
        self.stage = match self.settings.backup.as_ref().filter(|_| !self.backed_up) {
            Some(to) => {
                if self.settings.older_copy == OlderCopy::SetAside {
                    copier::set_aside(to)?;
                }
                Stage::Copying(Copier::start(&self.database, to)?, Box::new(applier))
            }
            None => Stage::Keeping(None, Box::new(applier)),
        };
        Ok(())
    }

    /// Keeps the plan, then gives the copy its name: who finds both knows that the copy came before the first change.
    fn keep(&mut self, copier: Option<Copier>, mut applier: Box<Applier>) -> Result<()> {
        let mut keep = || {
            if let Some(plan) = &self.shown {
                shown::keep(plan, &self.database)?;
            }
            fail_point("cleaning::before_keep");
            applier.keep(self.db())?;
            fail_point("cleaning::after_keep");
            copier.as_ref().map_or(Ok(()), Copier::finish)
        };
        if let Err(error) = keep() {
            self.stage = Stage::Keeping(copier, applier);
            return Err(error);
        }
        self.backed_up |= copier.is_some();
        self.stage = Stage::Changing(applier);
        Ok(())
    }

    fn copy(&mut self, copier: Copier, applier: Box<Applier>) -> Result<()> {
        let pages = self.rows(Work::Copying);
        let copied = self.locked(Some(Begin::Reading), |run| {
            run.timed(Work::Copying, pages, |run| {
                let copied = run.db().transact(Begin::Reading, "back up", |_| Ok(copier.step(pages)?))?;
                Ok((copied, pages))
            })
        });
        match copied {
            Ok(copied) if !copied.more => {
                self.stage = Stage::Keeping(Some(copier), applier);
                Ok(())
            }
            other => {
                self.stage = Stage::Copying(copier, applier);
                other.map(|_| ())
            }
        }
    }

    fn change(&mut self, mut applier: Box<Applier>) -> Result<()> {
        if self.settings.manner == Manner::AtOnce {
            // A failure changes nothing but the place that the plan has come to: it is taken up from where it is kept.
            self.locked(Some(Begin::Writing), |run| applier.all_at_once(run.db()))?;
            self.changed(applier);
            return Ok(());
        }
        let upcoming = applier.upcoming();
        let work = Work::Changing(upcoming.step);
        let rows = self.rows(work);
        let step = self.locked(Some(Begin::Writing), |run| {
            run.timed(work, rows, |run| {
                let done = applier.step(run.db(), rows)?;
                // A step that goes through a table tells how many rows it was given.
                Ok((done, done.rows.max(upcoming.least_rows.min(rows))))
            })
        });
        match step {
            Ok(StepDone { rows, more, .. }) => {
                fail_point("cleaning::after_step");
                self.rows_done = self.rows_done.saturating_add(rows);
                self.untidied = self.untidied.saturating_add(self.locks.last());
                if more {
                    self.stage = Stage::Changing(applier);
                    return Ok(());
                }
                self.changed(applier);
                Ok(())
            }
            Err(error) => {
                self.stage = Stage::Changing(applier);
                Err(error)
            }
        }
    }

    fn changed(&mut self, applier: Box<Applier>) {
        self.untidied = Duration::MAX;
        self.stage = Stage::Closing(applier);
    }

    /// Keeps that all is done, once it is on the disk: a crash from here on does nothing twice, limits included.
    fn close(&mut self, mut applier: Box<Applier>) -> Result<()> {
        fail_point("cleaning::before_close");
        let finished = Finished::new(&self.locks, self.begun);
        if let Err(error) = self.db().sync_log().and_then(|()| applier.close(self.db(), finished.clone())) {
            self.stage = Stage::Closing(applier);
            return Err(error);
        }
        fail_point("cleaning::after_close");
        self.finished = Some(finished);
        self.stage = Stage::Done;
        Ok(())
    }

    fn is_to_be_tidied(&self) -> bool {
        let due = self.untidied > self.settings.slice;
        due && self.db.as_ref().is_some_and(|db| !db.reading_locks())
    }

    fn tidy(&mut self, stage: Stage) -> Result<()> {
        self.stage = stage;
        self.untidied = Duration::ZERO;
        match &self.db {
            Some(db) => db.checkpoint(),
            None => Ok(()),
        }
    }

    fn plan_again(&mut self) -> Result<()> {
        self.planned_again += 1;
        self.resumed = false;
        self.stage = Stage::Opening;
        self.shown = None;
        if self.settings.manner == Manner::DryRun { Ok(()) } else { Decision::forget(&self.database) }
    }

    /// How many rows there are to read, about: by the greatest row ids, or by the size of the file where those are sparse.
    fn estimate(&mut self) -> Result<()> {
        const LEAST_ROW_BYTES: u64 = 16;
        let usage = self.db().schema().usage;
        let sql = format!(
            "SELECT ifnull((SELECT max(rowid) FROM {usage}), 0), ifnull((SELECT max(rowid) FROM block_index), 0)"
        );
        let (usage, blocks) = self.locked(Some(Begin::Reading), |run| {
            run.db().transact(Begin::Reading, "read", |conn| {
                let counts = conn.query_row(&sql, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
                Ok(counts)
            })
        })?;
        let bytes = fs::metadata(&self.database).map_or(0, |m| m.len());
        let rows = |greatest: i64| u64::try_from(greatest).unwrap_or(0).min(bytes / LEAST_ROW_BYTES);
        self.usage_rows = rows(usage);
        self.rows_planned = rows(usage).saturating_add(2 * rows(blocks));
        Ok(())
    }

    /// Does something under the gate and, as far as `begin` takes it, under the database's lock; notes how long. Opening
    /// (`None`) takes the lock too, but for whom is not known before.
    fn locked<T>(&mut self, begin: Option<Begin>, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        // Out of `self` while it is held; a gate opens its file only once.
        let nothing = Gate::new(&self.database, Make::No);
        let mut gate = std::mem::replace(&mut self.gate, nothing);
        let done = gate.enter().and_then(|_entered| {
            let since = Instant::now();
            let done = work(self);
            let reading_locks = self.db.as_ref().is_none_or(LocalDb::reading_locks);
            if done.is_ok() && (begin == Some(Begin::Writing) || reading_locks) {
                self.locks.add(since.elapsed());
            }
            done
        });
        self.gate = gate;
        done
    }

    /// Notes what so many rows cost; `step` also gives how many there were.
    fn timed<T>(&mut self, work: Work, asked: u64, step: impl FnOnce(&Self) -> Result<(T, u64)>) -> Result<T> {
        let since = Instant::now();
        let (done, rows) = step(self)?;
        let first = self.first(work);
        self.pace.measured(work, first, rows.min(asked), since.elapsed());
        Ok(done)
    }

    fn rows(&self, work: Work) -> u64 {
        self.pace.rows(work, self.first(work))
    }

    fn first(&self, work: Work) -> u64 {
        let part = self.settings.slice.as_secs_f64() / 0.05;
        (work.first() as f64 * part.min(1.0)) as u64
    }

    /// The open database.
    fn db(&self) -> &LocalDb {
        self.db.as_ref().expect("every stage but the first has an open database, and the first opens it before use")
    }
}

/// Where tests end the process.
pub(super) fn fail_point(name: &str) {
    // Without fail points the macro is nothing, and does not look at the name.
    let _ = name;
    fail::fail_point!(name, |_| std::process::abort());
}
