//! One run of a cleaning.
//!
//! The order is: leave the lock alone as long as the duty asks for, holding nothing; get a slice from the governor; take
//! the lock, do a step, release the lock; settle the slice. So it waits for nothing while the lock is held, and a
//! pause or a stop comes between two steps. What the steps are is [`CleaningRun`]'s business; how long the pauses are,
//! that of [`pace`](crate::policy::pace) and [`backoff`](crate::policy::backoff).

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::{Cleaning, Order};
use crate::cumulus::{CleaningReport, CleaningRun, Outcome, Progress};
use crate::error::{Error, Result};
use crate::model::{CleaningPhase, CleaningStatus, Event};
use crate::policy::backoff::Backoff;
use crate::policy::pace::pause_after;
use crate::slice::{Stage, TimeSlice};

/// The Julian day of 1970-01-01 00:00 UTC.
const JULIAN_1970: f64 = 2_440_587.5;

impl Cleaning {
    /// Cleans the database once, or goes on where an earlier process has ended; gives what it has found and done.
    pub(super) async fn run_once(&self) -> Result<Arc<CleaningReport>> {
        self.show(CleaningStatus::begin_run);
        let cleaning = self.settings.name.clone();
        self.board.emit(|| Event::CleaningStarted { cleaning });
        let now = JULIAN_1970 + self.time.clock.unix_secs() / 86_400.0;
        let mut run = CleaningRun::new(self.settings.clone(), now);
        let mut patience = Patience::default();
        loop {
            let slice = self.slice().await?;
            let progress;
            (run, progress) = self.work(run, slice).await?;
            self.show_progress(&run, &progress);
            let pause = match &progress.outcome {
                Outcome::Finished => break,
                Outcome::Later(cause) => self.patience(&mut patience, cause),
                Outcome::More | Outcome::Stale => {
                    patience = Patience::default();
                    let pause = pause_after(progress.lock, self.settings.lock_duty);
                    self.phase(if pause.is_zero() { CleaningPhase::Working } else { CleaningPhase::Pausing });
                    pause
                }
            };
            self.sleep(pause).await?;
        }
        let report = Arc::new(run.into_report());
        info!(cleaning = self.settings.name, refused = report.refused(), "cleaning finished");
        self.board.cleaned(&self.settings.name, report.clone());
        let (cleaning, told) = (self.settings.name.clone(), report.clone());
        self.board.emit(|| Event::CleaningFinished { cleaning, report: told });
        Ok(report)
    }

    /// Waits for a slice; a pause withdraws the request.
    async fn slice(&self) -> Result<TimeSlice> {
        loop {
            self.permission().await?;
            let request = self.slices.slice(self.client.clone(), self.settings.weight);
            if let Some(slice) = self.unless_halted(request).await {
                return slice;
            }
        }
    }

    /// Works in one slice, on a blocking thread, and settles it.
    async fn work(&self, mut run: CleaningRun, slice: TimeSlice) -> Result<(CleaningRun, Progress)> {
        let (duty, order) = (self.settings.lock_duty, self.order.subscribe());
        let working = tokio::task::spawn_blocking(move || {
            loop {
                let progress = slice.charge(Stage::Fold, || run.next_step())?;
                let paused = !pause_after(progress.lock, duty).is_zero() || *order.borrow() != Order::Work;
                if !matches!(progress.outcome, Outcome::More) || paused || slice.is_over() {
                    slice.settle();
                    return Ok((run, progress));
                }
            }
        });
        let panicked = |e: tokio::task::JoinError| Error::ActorPanicked { actor: "cleaner", message: e.to_string() };
        working.await.map_err(panicked)?
    }

    /// How long to wait for what keeps it from working; says so once.
    fn patience(&self, patience: &mut Patience, cause: &Error) -> Duration {
        if !std::mem::replace(&mut patience.told, true) {
            warn!(cleaning = self.settings.name, error = %cause, "waiting");
            let (crawl, error) = (self.settings.name.clone(), cause.clone());
            self.board.emit(|| Event::Waiting { crawl, error });
        }
        self.show(|c| c.waiting_for = Some(cause.to_string()));
        self.phase(CleaningPhase::Waiting);
        patience.backoff.failed()
    }

    fn show_progress(&self, run: &CleaningRun, progress: &Progress) {
        let overrun = run.lock_overrun().map(|overrun| overrun.to_string());
        self.show(|c| {
            if let Some(why) = overrun.as_ref().filter(|_| c.lock_overrun.is_none()) {
                warn!(cleaning = self.settings.name, "{why}");
            }
            c.lock_overrun = overrun;
            c.phase = CleaningPhase::Working;
            c.doing = progress.doing;
            (c.rows_done, c.rows_planned) = (progress.rows_done, progress.rows_planned);
            (c.locks, c.longest_lock_secs) = (run.locks().count(), run.locks().longest().as_secs_f64());
            (c.resumed, c.planned_again) = (run.is_resumed(), run.planned_again());
            c.waiting_for = None;
        });
    }
}

/// How long something has kept it from working, and whether that was said.
#[derive(Default)]
struct Patience {
    backoff: Backoff,
    told: bool,
}
