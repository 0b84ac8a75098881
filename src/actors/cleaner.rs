//! The Cleaner: cleans one local database, step by step, beside the crawls and under the same budget.
//!
//! The order is: leave the lock alone as long as the duty asks for, holding nothing; get a slice from the governor; take
//! the lock, do a step, release the lock; settle the slice. So it waits for nothing while the lock is held, and a
//! pause or a stop comes between two steps. What the steps are is [`CleaningRun`]'s business; how long the pauses are,
//! that of [`pace`](crate::policy::pace) and [`backoff`](crate::policy::backoff).

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::guard::Guard;
use super::reins::Reins;
use crate::clock::Time;
use crate::cumulus::{CleaningRun, Outcome, Progress};
use crate::engine::Wiring;
use crate::error::{Error, Result};
use crate::messages::{Order, SliceRequest, Stop};
use crate::policy::backoff::Backoff;
use crate::policy::pace::pause_after;
use crate::settings::CleaningSettings;
use crate::slice::{Stage, TimeSlice};
use crate::status::{Board, CleaningPhase, Event};

/// The Julian day of 1970-01-01 00:00 UTC.
const JULIAN_1970: f64 = 2_440_587.5;

/// One cleaning, and everything that goes with it.
pub(crate) struct Cleaning {
    settings: CleaningSettings,
    client: Arc<str>,
    slices: Recipient<SliceRequest>,
    time: Time,
    board: Arc<Board>,
    reins: Reins,
}

impl Cleaning {
    pub fn new(settings: CleaningSettings, wiring: &Wiring) -> Self {
        Cleaning {
            client: Arc::from(settings.name.as_str()),
            slices: wiring.ports.slices.clone(),
            time: wiring.time.clone(),
            board: wiring.board.clone(),
            reins: Reins::new(),
            settings,
        }
    }

    async fn run(&self) -> Result<()> {
        let now = JULIAN_1970 + self.time.clock.unix_secs() / 86_400.0;
        let mut run = CleaningRun::new(self.settings.clone(), now);
        let mut patience = Patience::default();
        loop {
            let slice = self.slice().await?;
            let progress;
            (run, progress) = self.work(run, slice).await?;
            self.show(&run, &progress);
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
        let cleaning = self.settings.name.clone();
        self.board.emit(|| Event::CleaningFinished { cleaning, report });
        Ok(())
    }

    /// Waits for a slice; not while it is told to pause.
    async fn slice(&self) -> Result<TimeSlice> {
        loop {
            self.reins.free().await?;
            tokio::select! {
                biased;
                () = self.reins.stopped() => return Err(Error::Stopped),
                // The request is withdrawn.
                () = self.reins.held() => {}
                slice = SliceRequest::send(&self.slices, self.client.clone(), self.settings.weight) => return slice,
            }
        }
    }

    /// Works in one slice, on a blocking thread, and settles it.
    async fn work(&self, mut run: CleaningRun, slice: TimeSlice) -> Result<(CleaningRun, Progress)> {
        let duty = self.settings.lock_duty;
        let working = tokio::task::spawn_blocking(move || {
            loop {
                let progress = slice.charge(Stage::Fold, || run.next_step())?;
                let paused = !pause_after(progress.lock, duty).is_zero();
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
        self.board.cleaning(&self.settings.name, |c| c.waiting_for = Some(cause.to_string()));
        self.phase(CleaningPhase::Waiting);
        patience.backoff.failed()
    }

    fn show(&self, run: &CleaningRun, progress: &Progress) {
        self.board.cleaning(&self.settings.name, |c| {
            c.phase = CleaningPhase::Working;
            c.doing = progress.doing;
            (c.rows_done, c.rows_planned) = (progress.rows_done, progress.rows_planned);
            (c.locks, c.longest_lock_secs) = (run.locks().count(), run.locks().longest().as_secs_f64());
            (c.resumed, c.planned_again) = (run.is_resumed(), run.planned_again());
            c.waiting_for = None;
        });
    }

    fn phase(&self, phase: CleaningPhase) {
        self.board.cleaning(&self.settings.name, |c| c.phase = phase);
    }

    async fn sleep(&self, wait: Duration) -> Result<()> {
        tokio::select! {
            biased;
            () = self.reins.stopped() => Err(Error::Stopped),
            () = tokio::time::sleep(wait) => Ok(()),
        }
    }

    /// Shows how it ended. A stop that was asked for is no error.
    fn ended(&self, result: Result<()>) -> Result<()> {
        let result = match result {
            Err(Error::Stopped) if self.reins.is_stopped() => Ok(()),
            other => other,
        };
        let Err(error) = &result else {
            self.phase(CleaningPhase::Ended);
            return result;
        };
        self.board.cleaning(&self.settings.name, |c| {
            c.phase = CleaningPhase::Failed;
            c.error = Some(error.to_string());
        });
        let (crawl, error) = (self.settings.name.clone(), error.clone());
        self.board.emit(|| Event::CrawlFailed { crawl, error });
        result
    }
}

/// How long something has kept it from working, and whether that was said.
#[derive(Default)]
struct Patience {
    backoff: Backoff,
    told: bool,
}

/// The actor that cleans one database.
pub struct Cleaner {
    cleaning: Arc<Cleaning>,
    ended: Option<oneshot::Sender<Result<()>>>,
    _guard: Guard,
}

impl Cleaner {
    pub(crate) fn new(cleaning: Cleaning, ended: oneshot::Sender<Result<()>>, guard: Guard) -> Self {
        Cleaner { cleaning: Arc::new(cleaning), ended: Some(ended), _guard: guard }
    }
}

impl Actor for Cleaner {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let cleaning = self.cleaning.clone();
        let run = async move {
            let result = cleaning.run().await;
            cleaning.ended(result)
        };
        ctx.spawn(run.into_actor(self).map(|result, act, ctx| {
            if let Some(ended) = act.ended.take() {
                // An engine that has gone needs no answer.
                let _ = ended.send(result);
            }
            ctx.stop();
        }));
    }
}

impl Handler<Stop> for Cleaner {
    type Result = ();

    fn handle(&mut self, _: Stop, _: &mut Self::Context) {
        self.cleaning.reins.stop();
    }
}

impl Handler<Order> for Cleaner {
    type Result = ();

    fn handle(&mut self, order: Order, _: &mut Self::Context) {
        self.cleaning.reins.take(order);
        self.cleaning.board.cleaning(&self.cleaning.settings.name, |c| c.held = order == Order::Pause);
    }
}
