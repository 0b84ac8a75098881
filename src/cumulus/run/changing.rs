//! The second part of a run: from a plan to the last change, with a copy before the first and what is kept in between.

use std::time::Duration;

use super::timing::WorkKind;
use super::{CleaningRun, RunStage, fail_point};
use crate::cumulus::applier::Applier;
use crate::cumulus::copier::Copier;
use crate::cumulus::decision::Finished;
use crate::cumulus::local_db::Begin;
use crate::cumulus::settings::CleaningMode;
use crate::cumulus::shown;
use crate::cumulus::steps::{CleaningStep, StepDone};
use crate::error::Result;

impl CleaningRun {
    /// Begins to do a plan: with a copy if one is wanted and not made yet.
    pub(super) fn begin(&mut self, applier: Applier) -> Result<()> {
        let d = applier.decision();
        let usage = if applier.upcoming().step <= CleaningStep::UsageRows { self.usage_rows } else { 0 };
        let removed = self.shown.as_ref().map(|plan| plan.removed).unwrap_or_default();
        let touched = d.touched.iter().fold(0u64, |sum, touched| sum.saturating_add(u64::from(touched.blocks).max(1)));
        let changes = [removed.snapshots, usage, removed.blocks, touched];
        self.rows_planned = changes.iter().fold(self.rows_done, |sum, rows| sum.saturating_add(*rows));
        self.stage = match self.settings.backup.as_ref().filter(|_| !self.backed_up) {
            Some(to) => {
                let copier = Copier::start(&self.database, to, self.settings.older_copy)?;
                RunStage::Copying(copier, Box::new(applier))
            }
            None => RunStage::Keeping(None, Box::new(applier)),
        };
        Ok(())
    }

    /// Keeps the plan, then gives the copy its name: who finds both knows that the copy came before the first change.
    pub(super) fn keep(&mut self, mut copier: Option<Copier>, mut applier: Box<Applier>) -> Result<()> {
        let mut keep = || {
            if let Some(plan) = &self.shown {
                shown::keep(plan, &self.database)?;
            }
            fail_point("cleaning::before_keep");
            applier.keep(self.db())?;
            fail_point("cleaning::after_keep");
            copier.as_mut().map_or(Ok(()), Copier::finish)
        };
        if let Err(error) = keep() {
            self.stage = RunStage::Keeping(copier, applier);
            return Err(error);
        }
        self.backed_up |= copier.is_some();
        self.stage = RunStage::Changing(applier);
        Ok(())
    }

    pub(super) fn copy(&mut self, copier: Copier, applier: Box<Applier>) -> Result<()> {
        let pages = self.rows(WorkKind::Copying);
        let copied = self.locked(Some(Begin::Reading), |run| {
            run.timed(WorkKind::Copying, pages, |run| {
                let copied = run.db().transact(Begin::Reading, "back up", |_| Ok(copier.step(pages)?))?;
                Ok((copied, pages))
            })
        });
        match copied {
            Ok(copied) if !copied.more => {
                self.stage = RunStage::Keeping(Some(copier), applier);
                Ok(())
            }
            other => {
                self.stage = RunStage::Copying(copier, applier);
                other.map(|_| ())
            }
        }
    }

    pub(super) fn change(&mut self, mut applier: Box<Applier>) -> Result<()> {
        if self.settings.manner == CleaningMode::AtOnce {
            // A failure changes nothing but the place that the plan has come to: it is taken up from where it is kept.
            self.locked(Some(Begin::Writing), |run| applier.all_at_once(run.db()))?;
            self.changed(applier);
            return Ok(());
        }
        let upcoming = applier.upcoming();
        let work = WorkKind::Changing(upcoming.step);
        let rows = self.rows(work);
        let step = self.locked(Some(Begin::Writing), |run| {
            run.timed(work, rows, |run| {
                let done = applier.step(run.db(), rows)?;
                // A step that goes through a table tells how many rows it was given.
                Ok((done, done.rows.max(upcoming.least_rows.min(rows))))
            })
        });
        if let Ok(done) = &step {
            self.note_overrun(work, rows, done.rows);
        }
        match step {
            Ok(StepDone { rows, more, .. }) => {
                fail_point("cleaning::after_step");
                self.rows_done = self.rows_done.saturating_add(rows);
                self.untidied = self.untidied.saturating_add(self.locks.last());
                if more {
                    self.stage = RunStage::Changing(applier);
                    return Ok(());
                }
                self.changed(applier);
                Ok(())
            }
            Err(error) => {
                self.stage = RunStage::Changing(applier);
                Err(error)
            }
        }
    }

    fn changed(&mut self, applier: Box<Applier>) {
        self.untidied = Duration::MAX;
        self.stage = RunStage::Closing(applier);
    }

    /// Keeps that all is done, once it is on the disk: a crash from here on does nothing twice, limits included.
    pub(super) fn close(&mut self, mut applier: Box<Applier>) -> Result<()> {
        fail_point("cleaning::before_close");
        let finished = Finished::new(&self.locks, self.lock_overrun, self.elapsed());
        if let Err(error) = self.db().sync_log().and_then(|()| applier.close(self.db(), finished.clone())) {
            self.stage = RunStage::Closing(applier);
            return Err(error);
        }
        fail_point("cleaning::after_close");
        self.finished = Some(finished);
        self.stage = RunStage::Done;
        Ok(())
    }
}
