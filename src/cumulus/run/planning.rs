//! The first part of a run: from opening the database to a plan, one that is kept or a new one.

use std::fs;

use super::timing::WorkKind;
use super::{CleaningRun, RunStage};
use crate::cumulus::applier::{Applier, KeptDecision};
use crate::cumulus::gate::Make;
use crate::cumulus::local_db::{Begin, LocalDb};
use crate::cumulus::opening::Purpose;
use crate::cumulus::settings::CleaningMode;
use crate::cumulus::survey::{Survey, SurveyedPlan, plan};
use crate::cumulus::{copier, place, shown};
use crate::error::{Error, Result};

impl CleaningRun {
    pub(super) fn open(&mut self) -> Result<()> {
        if self.db.is_none() {
            let dry = self.settings.manner == CleaningMode::DryRun;
            let (make, purpose) = if dry { (Make::No, Purpose::Look) } else { (Make::IfAllowed, Purpose::Clean) };
            self.database = place::resolve_own(&self.settings.database)?;
            // Before anything is made beside it.
            place::refuse_unfit(&self.database)?;
            self.gate.lead_to(&self.database, make);
            let db = self.locked(None, |run| LocalDb::open_for(&run.database, purpose))?;
            self.db = Some(db);
        }
        self.estimate()?;
        if self.settings.manner == CleaningMode::DryRun {
            return self.survey();
        }
        self.db().refuse_read_only()?;
        match self.locked(Some(Begin::Reading), |run| Applier::kept(run.db(), &run.options))? {
            KeptDecision::Nothing => {
                if let Some(to) = self.settings.backup.as_ref().filter(|_| !self.backed_up) {
                    copier::refuse_target(&self.database, to, self.settings.older_copy)?;
                }
                self.survey()
            }
            KeptDecision::Begun(applier) => {
                // Made before the plan was kept, so before the first change.
                self.backed_up |= self.settings.backup.as_ref().is_some_and(|to| to.exists());
                // Else it is this run's own plan, begun again after something was in the way.
                if self.shown.is_none() {
                    self.resumed = true;
                    self.shown = shown::read(&self.database);
                }
                self.begin(*applier)
            }
            KeptDecision::Finished(finished) => {
                self.resumed = true;
                self.shown = shown::read(&self.database);
                self.finished = Some(finished);
                self.stage = RunStage::Done;
                Ok(())
            }
        }
    }

    fn survey(&mut self) -> Result<()> {
        if self.settings.manner == CleaningMode::AtOnce {
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
        self.stage = RunStage::Reading(Box::new(Survey::new(self.db(), self.options.clone())));
        Ok(())
    }

    pub(super) fn read(&mut self, mut survey: Box<Survey>) -> Result<()> {
        let rows = self.rows(WorkKind::Reading);
        let step = self.locked(Some(Begin::Reading), |run| {
            run.timed(WorkKind::Reading, rows, |run| {
                let done = survey.read_step(run.db(), rows)?;
                Ok((done, done))
            })
        });
        match step {
            Ok(rows) => {
                self.rows_done = self.rows_done.saturating_add(rows);
                if survey.conclude() {
                    self.stage = RunStage::Reading(survey);
                    return Ok(());
                }
                self.planned(survey.into_planned())
            }
            Err(error) => {
                self.stage = RunStage::Reading(survey);
                Err(error)
            }
        }
    }

    fn planned(&mut self, planned: SurveyedPlan) -> Result<()> {
        if self.settings.manner == CleaningMode::DryRun || planned.plan().refused.is_some() {
            self.shown = Some(planned.into_plan());
            self.stage = RunStage::Done;
            self.leave_nothing_new();
            return Ok(());
        }
        let (plan, applier) = Applier::of(planned, self.db())?;
        self.shown = Some(plan);
        self.begin(applier)
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
}
