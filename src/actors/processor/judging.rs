//! What stands between the two phases of a cycle: it is judged over the whole ring before anything of it is deleted.
//!
//! What a cycle has shown, and what it was allowed to do, is saved; so whoever resumes it judges anew by the limit of then, or
//! goes on carrying out, and never examines a second time.

use std::sync::Arc;

use tracing::info;

use super::crawl::{CrawlTask, gone};
use super::work::CycleWork;
use super::{Cycles, confirm};
use crate::actors::messages::CarryOut;
use crate::error::{Error, Result};
use crate::job::{CyclePhase, Job};
use crate::policy::cycle::{KnownCycle, Rehearsal};
use crate::policy::deletion::{DeletionVerdict, Examined, judge};
use crate::state::Consent;
use crate::store::Store;

/// What follows once every prefix of a cycle is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// The cycle is finished.
    Report,
    /// It carries out what it has shown.
    CarryOut,
    /// It was ordered to be examined anew.
    Anew,
}

/// Judges a cycle whose prefixes are complete; waits for a confirmation where it needs one.
///
/// # Errors
/// [`Error::SafetyCatch`] if a single cycle would delete more than it may, whatever speaks against changing the store now,
/// [`Error::Stopped`] if the crawl is stopped while it waits.
pub(super) async fn next<S: Store, J: Job<S>>(
    crawl: &Arc<CrawlTask<S, J>>,
    cycle: &KnownCycle,
    work: &CycleWork,
) -> Result<Next> {
    let counts = work.totals();
    if work.phase != CyclePhase::Examine || counts.candidates == 0 {
        return Ok(Next::Report);
    }
    let catch = crawl.job.safety_catch();
    let examined = Examined { examined: counts.objects, would_delete: counts.would_delete, deleted: counts.deleted };
    let rehearses = cycle.identity.rehearsal == Rehearsal::Yes && crawl.job.rehearses_first();
    let verdict = judge(catch, &examined, rehearses);
    info!(crawl = crawl.settings.name, cycle = cycle.number, ?examined, ?verdict, "cycle examined");
    match (verdict, catch) {
        (DeletionVerdict::CarryOut, _) => {}
        (DeletionVerdict::OverLimit, Some(catch)) if crawl.cycles == Cycles::Once && !rehearses => {
            let Examined { examined, would_delete, deleted } = examined;
            let (crawl, number) = (crawl.settings.name.clone(), cycle.number);
            let most = catch.most;
            return Err(Error::SafetyCatch { crawl, cycle: number, would_delete, deleted, examined, most });
        }
        (DeletionVerdict::Confirm | DeletionVerdict::OverLimit, _) => {
            return confirm::wait(crawl, cycle, &counts, (verdict, catch)).await;
        }
    }
    // Before anything is saved that binds the cycle.
    let (worker, clocks) = (crawl.clone(), work.clocks(crawl));
    let asked = tokio::task::spawn_blocking(move || worker.job.may_change(&worker.store, &clocks)).await;
    asked.map_err(|panic| Error::ActorPanicked { actor: "job", message: panic.to_string() })??;
    let message = CarryOut { cycle: cycle.key(), consent: Consent::WithinLimit, at: crawl.time.clock.unix_secs() };
    crawl.persist(&crawl.ports.carry_out, message).await?;
    Ok(Next::CarryOut)
}

/// Refuses a job that deletes as it goes where not everything may be deleted: nobody could stop it in time.
pub(super) fn check_job<S: Store, J: Job<S>>(crawl: &CrawlTask<S, J>) -> Result<()> {
    let limited = crawl.job.safety_catch().filter(|catch| !catch.allows(u64::MAX, u64::MAX));
    match limited {
        Some(_) if crawl.job.deletes_in_one_pass() => Err(Error::Config(format!(
            "{} deletes as it goes, so its safety catch has to allow 100 %",
            crawl.settings.name
        ))),
        _ => Ok(()),
    }
}

/// Saves that somebody has confirmed what a cycle has shown.
pub(super) async fn confirmed<S: Store, J: Job<S>>(crawl: &CrawlTask<S, J>, cycle: u64, at: f64) -> Result<()> {
    let cycle = crate::policy::cycle::CycleKey { crawl: crawl.settings.name.clone(), number: cycle };
    crawl.ports.carry_out.send(CarryOut { cycle, consent: Consent::Confirmed, at }).await.map_err(gone)?
}
