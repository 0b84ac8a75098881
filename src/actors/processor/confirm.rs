//! The wait of a cycle between its two phases, until somebody has confirmed what it has shown, or wants it examined anew. It
//! holds no slice and costs nothing.
//!
//! Whether a cycle has to wait is decided by [`judging`](super::judging); a confirmation is saved before it is answered.

use std::sync::Arc;

use tracing::info;

use super::crawl::CrawlTask;
use super::judging::{Next, confirmed};
use crate::error::{Error, Result};
use crate::job::{Counts, Job};
use crate::model::{Event, RehearsalStatus, TaskState, WouldDelete};
use crate::policy::cycle::KnownCycle;
use crate::policy::deletion::{DeletionVerdict, SafetyCatch};
use crate::sizes::{self, plural};
use crate::store::Store;

/// What a crawl waits to have confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Awaited {
    cycle: u64,
    /// How many objects it would delete.
    objects: u64,
    /// Whether the confirmation has to name that number.
    over_limit: bool,
}

/// Waits for a confirmation, or for a command to start, which is left to be taken.
///
/// # Errors
/// [`Error::Stopped`] if the crawl is stopped meanwhile.
pub(super) async fn wait<S: Store, J: Job<S>>(
    crawl: &Arc<CrawlTask<S, J>>,
    cycle: &KnownCycle,
    counts: &Counts,
    (verdict, catch): (DeletionVerdict, Option<SafetyCatch>),
) -> Result<Next> {
    let (name, number) = (&crawl.settings.name, cycle.number);
    let (over_limit, would_delete) = (verdict == DeletionVerdict::OverLimit, WouldDelete::of(counts));
    info!(crawl = name, cycle = number, over_limit, ?would_delete, "the cycle waits to be confirmed");
    crawl.show(|c| {
        c.phase = TaskState::Rehearsed;
        c.rehearsing = true;
        c.rehearsal = Some(RehearsalStatus {
            cycle: number,
            examined: counts.objects,
            over_limit,
            would_delete,
            max_delete: catch.map(|catch| sizes::percent(catch.most)),
            ..RehearsalStatus::default()
        });
    });
    let mut awaited = crawl.awaited.subscribe();
    crawl.awaited.send_replace(Some(Awaited { cycle: number, objects: would_delete.shares, over_limit }));
    crawl.board.emit(|| Event::Rehearsed { crawl: name.clone(), cycle: number });
    crawl.control.rests();
    let waited = tokio::select! {
        biased;
        () = crawl.control.stopped() => Err(Error::Stopped),
        // The sender lives as long as the crawl.
        _ = awaited.wait_for(Option::is_none) => Ok(Next::CarryOut),
        () = crawl.control.start_wanted() => Ok(Next::Anew),
    };
    crawl.awaited.send_replace(None);
    waited
}

/// Takes a confirmation in: saved first, so that it is not lost when the wait is over.
///
/// # Errors
/// [`Error::Config`] if the crawl does not wait for the confirmation of this cycle, or the number is not the one that it would
/// delete; whatever keeps it from being saved.
pub(super) async fn take<S: Store, J: Job<S>>(
    crawl: &Arc<CrawlTask<S, J>>,
    cycle: u64,
    objects: Option<u64>,
) -> Result<()> {
    let awaited = *crawl.awaited.borrow();
    check(&crawl.settings.name, awaited, (cycle, objects)).map_err(Error::Config)?;
    let at = crawl.time.clock.unix_secs();
    confirmed(crawl, cycle, at).await?;
    info!(crawl = crawl.settings.name, cycle, "what the cycle has shown is confirmed");
    // Shown at once, so that whoever has confirmed it sees it with the answer.
    crawl.show(|c| {
        if let Some(shown) = c.rehearsal.as_mut().filter(|shown| shown.cycle == cycle) {
            (shown.confirmed, shown.confirmed_at) = (true, Some(at));
            c.rehearsing = false;
            c.phase = TaskState::Walking;
        }
    });
    crawl.awaited.send_replace(None);
    Ok(())
}

/// Says why a confirmation is refused, if it is.
fn check(
    name: &str,
    awaited: Option<Awaited>,
    (confirmed, given): (u64, Option<u64>),
) -> std::result::Result<(), String> {
    let Some(Awaited { cycle, objects, over_limit }) = awaited else {
        return Err(format!("{name} has nothing that waits to be confirmed"));
    };
    match given {
        _ if cycle != confirmed => {
            Err(format!("what waits to be confirmed for {name} is cycle {cycle}, not {confirmed}"))
        }
        None if over_limit => Err(format!(
            "cycle {cycle} of {name} would delete more than it may: the confirmation must name how many objects that is, {objects}"
        )),
        Some(given) if given != objects => {
            Err(format!("cycle {cycle} of {name} would delete {}, not {given}", plural(objects, "object")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_must_be_right_and_beyond_the_limit_it_must_be_named() {
        let awaited = |over_limit| Some(Awaited { cycle: 3, objects: 2908, over_limit });
        for over_limit in [false, true] {
            check("c", awaited(over_limit), (3, Some(2908))).unwrap();
            let wrong = check("c", awaited(over_limit), (3, Some(2907))).unwrap_err();
            assert!(wrong.contains("would delete 2908 objects, not 2907"), "{wrong}");
            assert!(check("c", awaited(over_limit), (2, Some(2908))).unwrap_err().contains("is cycle 3, not 2"));
        }
        check("c", awaited(false), (3, None)).unwrap();
        assert!(check("c", awaited(true), (3, None)).unwrap_err().ends_with("how many objects that is, 2908"));
        assert!(check("c", None, (3, None)).unwrap_err().contains("nothing that waits"));
    }
}
