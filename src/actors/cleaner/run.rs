//! One run of a maintenance.
//!
//! The order is: leave the lock alone as long as the last step asks for, holding nothing; get a slice from the governor; do
//! steps, each of which may take a lock and releases it; settle the slice. So it waits for nothing while a lock is held,
//! and a pause or a stop comes between two steps. What the steps are is the business of the
//! [`MaintenanceRun`]; how long it waits for others, that of [`backoff`](crate::policy::backoff).

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::Runner;
use crate::error::{Error, Result, panic_message};
use crate::maintenance::{MaintenanceProgress, MaintenanceReport, MaintenanceRun, MaintenanceStep, StepOutcome};
use crate::model::{Event, MaintenanceStatus, TaskState};
use crate::policy::backoff::Backoff;
use crate::slice::{Stage, TimeSlice};

impl Runner {
    /// Runs once, or goes on where an earlier process has ended; gives what was found and done.
    pub(super) async fn run_once(&self) -> Result<Arc<MaintenanceReport>> {
        self.show(MaintenanceStatus::begin_run);
        self.control.is_up();
        let maintenance = self.settings.name.clone();
        self.board.emit(|| Event::MaintenanceStarted { maintenance });
        let mut run = self.maintenance.begin(self.time.clock.unix_secs());
        let mut patience = BlockedPatience::default();
        loop {
            let slice = self.slice().await?;
            let step;
            (run, step) = self.work(run, slice).await?;
            self.show_progress(step.progress);
            let pause = match &step.outcome {
                StepOutcome::Finished => break,
                StepOutcome::Later(cause) => self.patience(&mut patience, cause),
                StepOutcome::More => {
                    patience = BlockedPatience::default();
                    let pauses = !step.leave_alone.is_zero();
                    self.phase(if pauses { TaskState::Pausing } else { TaskState::Working });
                    step.leave_alone
                }
            };
            self.sleep(pause).await?;
        }
        let report = Arc::new(run.report());
        info!(maintenance = self.settings.name, result = ?report.common, "maintenance finished");
        self.board.maintained(&self.settings.name, report.clone());
        let (maintenance, told) = (self.settings.name.clone(), report.clone());
        self.board.emit(|| Event::MaintenanceFinished { maintenance, report: told });
        Ok(report)
    }

    /// Waits for a slice; a pause withdraws the request.
    async fn slice(&self) -> Result<TimeSlice> {
        loop {
            self.permission().await?;
            let weight = *self.weight.borrow();
            tokio::select! {
                biased;
                () = self.control.stopped() => {}
                () = self.control.paused() => {}
                slice = self.slices.slice(self.client.clone(), weight) => return slice,
            }
        }
    }

    /// Works in one slice, on a blocking thread, and settles it. A panic is the end of this run only.
    async fn work(
        &self,
        mut run: Box<dyn MaintenanceRun>,
        slice: TimeSlice,
    ) -> Result<(Box<dyn MaintenanceRun>, MaintenanceStep)> {
        let _at_work = self.control.at_work();
        let control = self.control.clone();
        let working = tokio::task::spawn_blocking(move || {
            loop {
                let step = slice.charge(Stage::Fold, || run.step(&slice))?;
                let halted = control.is_paused() || control.is_stopped() || !step.leave_alone.is_zero();
                if !matches!(step.outcome, StepOutcome::More) || halted || slice.is_over() {
                    slice.settle();
                    return Ok((run, step));
                }
            }
        });
        working.await.unwrap_or_else(|ended| {
            let message = ended.try_into_panic().map_or_else(|e| e.to_string(), |panic| panic_message(&*panic));
            Err(Error::MaintenancePanicked { maintenance: self.settings.name.clone(), message })
        })
    }

    /// How long to wait for what keeps it from working; says so once.
    fn patience(&self, patience: &mut BlockedPatience, cause: &Error) -> Duration {
        if !std::mem::replace(&mut patience.told, true) {
            warn!(maintenance = self.settings.name, error = %cause, "waiting");
            let (crawl, error) = (self.settings.name.clone(), cause.clone());
            self.board.emit(|| Event::Waiting { crawl, error });
        }
        self.show(|c| c.waiting_for = Some(cause.to_string()));
        self.phase(TaskState::Waiting);
        patience.backoff.failed()
    }

    fn show_progress(&self, progress: MaintenanceProgress) {
        self.show(|c| {
            if let Some(why) = progress.lock_overrun.as_ref().filter(|_| c.progress.lock_overrun.is_none()) {
                warn!(maintenance = self.settings.name, "{why}");
            }
            c.phase = TaskState::Working;
            c.progress = progress;
            c.waiting_for = None;
        });
    }
}

/// How long something has kept it from working, and whether that was said.
#[derive(Default)]
struct BlockedPatience {
    backoff: Backoff,
    told: bool,
}
