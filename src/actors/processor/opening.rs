//! The beginning and the end of a cycle: it is opened, what was saved of it is read back and checked, and at last its report is made
//! of what is saved. All of that in [`Steps`].

use std::sync::Arc;
use std::time::Duration;

use super::Cycles;
use super::crawl::CrawlTask;
use super::steps::Steps;
use crate::actors::messages::{OpenedCycle, Origin, SavedPrefix};
use crate::error::{Error, Result};
use crate::job::{Counts, Job, Note};
use crate::model::{CycleReport, CycleTotal, ListedNotes};
use crate::policy::cycle::{CycleKey, Fresh, KnownCycle, StartDecision, decide};
use crate::state::{NOTES_READ, NotePlace, PrefixRow};
use crate::store::Store;

/// Opens the cycle that a crawl is to work on: the unfinished one, a new one, or one that was finished and never handed over.
pub(super) async fn open<S: Store, J: Job<S>>(crawl: &Arc<CrawlTask<S, J>>) -> Result<OpenedCycle> {
    let (mut steps, store) = (Steps::new(crawl, "cycle"), crawl.store.clone());
    let strays = steps.work(move || store.strays()).await?.map_err(|e| Error::Store {
        doing: "list store",
        path: crawl.store.path("", None),
        cause: e.to_string(),
    })?;
    let (wanted, at, fresh) = (crawl.wanted(&strays), crawl.time.clock.unix_secs(), crawl.is_fresh());
    // Who waits for the one cycle wants to know at once that another program is in the way.
    steps.is_impatient = crawl.cycles == Cycles::Once;
    let (name, mut saved) = (crawl.settings.name.clone(), Vec::new());
    let of = name.clone();
    let mut newest = steps.read(move |state| state.newest(&of)).await?;
    if let Some(cycle) = newest.as_mut().filter(|cycle| cycle.finished.is_none() && fresh == Fresh::No) {
        saved = read_prefixes(&mut steps, cycle).await?;
        cycle.done = saved.iter().filter(|saved| saved.done).map(|saved| saved.prefix).collect();
    }
    let identity = Arc::new(wanted.identity(at, newest.as_ref()));
    let (cycle, origin) = match (decide(newest.as_ref(), &wanted.wanted(), fresh), newest) {
        // One crawl of a name runs at a time: whoever held claims on it has ended, and could perhaps not give them back.
        (StartDecision::Resume, Some(cycle)) => (cycle, Origin::Resumed),
        (StartDecision::Deliver, Some(cycle)) => (cycle, Origin::Undelivered),
        (StartDecision::Refuse(differences), Some(cycle)) => {
            return Err(Error::CycleDiffers { crawl: name, cycle: cycle.number, differences });
        }
        (_, _) => (steps.change(move |state| state.begin(&name, &identity, at)).await?, Origin::Begun),
    };
    // A cycle of its own was in nobody's way.
    steps.is_impatient &= origin != Origin::Begun;
    if origin != Origin::Undelivered {
        take_up(&mut steps, &cycle, at).await?;
    }
    steps.is_impatient = false;
    if origin == Origin::Begun {
        saved = Vec::new();
    } else {
        // What will be reported may not turn out to be damaged only then.
        each_page_of_notes(&mut steps, &cycle.key(), (), |(), _| Ok(())).await?;
    }
    if origin == Origin::Undelivered {
        saved = read_prefixes(&mut steps, &cycle).await?;
    }
    Ok(OpenedCycle { cycle, origin, saved })
}

/// Reads how far each prefix of a cycle has come.
async fn read_prefixes<S: Store, J: Job<S>>(
    steps: &mut Steps<'_, S, J>,
    cycle: &KnownCycle,
) -> Result<Vec<SavedPrefix>> {
    let of = cycle.crawl.clone();
    each_page_of_prefixes(steps, &cycle.key(), Vec::new(), move |mut saved, rows| {
        for PrefixRow { prefix, done, cursor, tally } in rows {
            let counts = tally.map_or_else(|| Ok(Counts::default()), |tally| Counts::of_saved(&tally));
            let counts = counts.map_err(|cause| Error::Tally { crawl: of.clone(), cause })?;
            saved.push(SavedPrefix { prefix, done, cursor, counts });
        }
        Ok(saved)
    })
    .await
}

/// Has the state take up the cycle to work on.
async fn take_up<S: Store, J: Job<S>>(steps: &mut Steps<'_, S, J>, cycle: &KnownCycle, at: f64) -> Result<()> {
    let mut from = Some(0);
    while let Some(position) = from {
        let key = cycle.key();
        from = steps.change(move |state| state.take_up(&key, position)).await?;
    }
    // Where there is no prefix, no commit ends the cycle.
    if cycle.identity.ring.is_empty() {
        let key = cycle.key();
        steps.change(move |state| state.finish(&key, at)).await?;
    }
    Ok(())
}

/// Reads a finished cycle back and makes its report: what is told is what is saved.
pub(super) async fn report<S: Store, J: Job<S>>(
    crawl: &Arc<CrawlTask<S, J>>,
    (key, origin): (CycleKey, Origin),
    elapsed: Duration,
) -> Result<CycleReport> {
    let (mut steps, name) = (Steps::new(crawl, "cycle"), key.crawl.clone());
    let newest = steps.read(move |state| state.newest(&name)).await?;
    let cycle = newest.filter(|cycle| cycle.number == key.number).ok_or(Error::Stopped)?;
    report_of(&mut steps, crawl, cycle, origin != Origin::Begun, elapsed, |_| ()).await
}

/// Makes the report of a cycle, and shows its notes to `see` as they come.
pub(super) async fn report_of<S: Store, J: Job<S>>(
    steps: &mut Steps<'_, S, J>,
    crawl: &Arc<CrawlTask<S, J>>,
    cycle: KnownCycle,
    resumed: bool,
    elapsed: Duration,
    see: impl Fn(&[(u32, Note)]) + Clone + Send + 'static,
) -> Result<CycleReport> {
    let (key, cycle) = (cycle.key(), Arc::new(cycle));
    let of = key.clone();
    let notes = each_page_of_notes(steps, &key, ListedNotes::default(), move |mut listed, notes| {
        see(&notes);
        notes.iter().try_for_each(|(_, note)| listed.add(&of, note))?;
        Ok(listed)
    })
    .await?;
    let of = cycle.clone();
    let total = each_page_of_prefixes(steps, &key, CycleTotal::default(), move |mut total, rows| {
        rows.into_iter().try_for_each(|row| total.add(&of, row))?;
        Ok(total)
    })
    .await?;
    let crawl = crawl.clone();
    steps.work(move || CycleReport::new::<S, J>(&crawl.job, &cycle, total, notes, resumed, elapsed)).await
}

/// Folds all notes of a cycle, some in each step.
pub(super) async fn each_page_of_notes<S: Store, J: Job<S>, A: Send + 'static>(
    steps: &mut Steps<'_, S, J>,
    cycle: &CycleKey,
    mut into: A,
    fold: impl FnOnce(A, Vec<(u32, Note)>) -> Result<A> + Clone + Send + 'static,
) -> Result<A> {
    let mut from = Some(NotePlace::default());
    while let Some(place) = from {
        let key = cycle.clone();
        let page = steps.read(move |state| state.notes(&key, place, NOTES_READ)).await?;
        let fold = fold.clone();
        into = steps.work(move || fold(into, page.notes)).await??;
        from = page.next;
    }
    Ok(into)
}

/// Folds all prefixes of a cycle, some in each step.
async fn each_page_of_prefixes<S: Store, J: Job<S>, A: Send + 'static>(
    steps: &mut Steps<'_, S, J>,
    cycle: &CycleKey,
    mut into: A,
    fold: impl FnOnce(A, Vec<PrefixRow>) -> Result<A> + Clone + Send + 'static,
) -> Result<A> {
    let mut from = 0;
    loop {
        let key = cycle.clone();
        let rows = steps.read(move |state| state.prefixes(&key, from)).await?;
        let Some(last) = rows.last() else { return Ok(into) };
        from = last.prefix.saturating_add(1);
        let fold = fold.clone();
        into = steps.work(move || fold(into, rows)).await??;
    }
}
