//! One cycle being worked on: what its workers share, and what of it is shown.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tracing::warn;

use super::crawl::CrawlTask;
use crate::actors::messages::OpenedCycle;
use crate::error::{Error, Result};
use crate::job::{Counts, CyclePhase, ErrorNote, Job, NoteKind, Skipped};
use crate::lock::lock;
use crate::model::{Event, FindingRow, RingMarks};
use crate::policy::cycle::CycleKey;
use crate::policy::deletion::Clocks;
use crate::policy::remaining::RemainingTime;
use crate::policy::ring::{Lap, Ring};
use crate::shown;
use crate::state::PrefixProgress;
use crate::store::Store;

/// While a worker changes the store, it is asked so often whether it may.
const ASKED_EVERY: Duration = Duration::from_secs(1);

/// Panics of a job in one cycle after which its crawl stops.
const PANICS_TOLERATED: u32 = 2;

/// A cycle being worked on.
pub(super) struct CycleWork {
    pub key: CycleKey,
    /// When it began by the clock, in seconds since 1970.
    pub began: f64,
    pub now: f64,
    /// Whether `now` was given rather than read from the clock.
    fixed: bool,
    pub phase: CyclePhase,
    pub ring: Ring,
    pub skipped: Mutex<Arc<Skipped>>,
    panics: AtomicU32,
    course: watch::Sender<Course>,
    /// When the job last said that the store may be changed.
    allowed_at: Mutex<Duration>,
    lap: Mutex<LapView>,
}

/// What the workers of a cycle tell each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Course {
    /// Prefixes are left.
    Going,
    /// All prefixes are complete.
    Done,
    /// One of the workers has failed, so the others stop too.
    Failed,
}

/// How far the cycle has come, for the status.
struct LapView {
    lap: Lap,
    /// Saved cursors of prefixes that are not complete.
    cursors: std::collections::HashMap<u32, Vec<u8>>,
    totals: Counts,
    remaining: RemainingTime,
}

impl CycleWork {
    pub fn new<S: Store, J: Job<S>>(crawl: &CrawlTask<S, J>, opened: &OpenedCycle) -> Self {
        let ring = crawl.store.ring().clone();
        let phase = match opened.cycle.carrying_out {
            Some(_) => CyclePhase::CarryOut,
            None if crawl.job.deletes_in_one_pass() => CyclePhase::OnePass,
            None => CyclePhase::Examine,
        };
        let mut view = LapView {
            lap: Lap::new(ring.len()),
            cursors: std::collections::HashMap::new(),
            totals: Counts::default(),
            remaining: RemainingTime::new(crawl.board.allowed()),
        };
        let show_ring = |write: &mut dyn FnMut(&mut RingMarks)| crawl.board.ring(&crawl.settings.name, write);
        show_ring(&mut RingMarks::restart);
        for saved in &opened.saved {
            if saved.done {
                view.lap.complete(saved.prefix);
            } else if let Some(cursor) = &saved.cursor {
                view.cursors.insert(saved.prefix, cursor.clone());
            }
            view.totals.merge(&saved.counts);
            let Counts { errors, findings, .. } = saved.counts;
            show_ring(&mut |marks| marks.met(saved.prefix, errors, findings));
            if saved.done {
                // When that was, nobody has written down.
                show_ring(&mut |marks| marks.complete(saved.prefix, None));
            }
        }
        crawl.job.take_up_cycle(&view.totals);
        let work = CycleWork {
            key: opened.cycle.key(),
            began: opened.cycle.started,
            now: opened.cycle.identity.now,
            fixed: opened.cycle.identity.fixed_clock,
            phase,
            ring,
            skipped: Mutex::default(),
            panics: AtomicU32::new(0),
            course: watch::channel(Course::Going).0,
            allowed_at: Mutex::default(),
            lap: Mutex::new(view),
        };
        work.show(crawl);
        work
    }

    /// How many prefixes are not complete.
    pub fn left(&self) -> u32 {
        let view = lock(&self.lap);
        view.lap.len() - view.lap.completed()
    }

    /// What was counted in it, as far as it is saved.
    pub fn totals(&self) -> Counts {
        lock(&self.lap).totals.clone()
    }

    /// Waits until it is done or has failed.
    pub async fn over(&self) -> Course {
        let mut course = self.course.subscribe();
        // The sender lives as long as `self`.
        course.wait_for(|course| *course != Course::Going).await.map_or(Course::Failed, |course| *course)
    }

    /// What the clocks say.
    pub fn clocks<S: Store, J: Job<S>>(&self, crawl: &CrawlTask<S, J>) -> Clocks {
        Clocks { started: crawl.started, moment: crawl.moment(), cycle_now: self.now, fixed: self.fixed }
    }

    /// Asks the job whether the store may be changed.
    pub fn may_change<S: Store, J: Job<S>>(&self, crawl: &CrawlTask<S, J>) -> Result<()> {
        crawl.job.may_change(&crawl.store, &self.clocks(crawl))?;
        *lock(&self.allowed_at) = crawl.time.clock.now();
        Ok(())
    }

    /// As [`may_change`](Self::may_change), but takes the last answer for a while.
    pub fn may_go_on_changing<S: Store, J: Job<S>>(&self, crawl: &CrawlTask<S, J>) -> Result<()> {
        let allowed_at = *lock(&self.allowed_at);
        let is_old = crawl.time.clock.now().saturating_sub(allowed_at) >= ASKED_EVERY;
        if is_old { self.may_change(crawl) } else { Ok(()) }
    }

    /// Notes that the crawl was held, or waited for room: the time in between says nothing about its pace.
    pub fn interrupted<S: Store, J: Job<S>>(&self, crawl: &CrawlTask<S, J>) {
        lock(&self.lap).remaining.interrupted(crawl.board.allowed());
    }

    /// Notes that one of the workers has failed.
    pub fn fail(&self) {
        self.course.send_replace(Course::Failed);
    }

    /// Notes a panic of the job: the bucket will be left out. One too many is an error.
    pub fn panicked<S: Store, J: Job<S>>(
        &self,
        crawl: &CrawlTask<S, J>,
        position: u32,
        bucket: Vec<u8>,
        message: String,
    ) -> Result<()> {
        let prefix = self.ring.name(position).unwrap_or_default();
        let path = crawl.store.path(prefix, (!bucket.is_empty()).then_some(&*bucket));
        warn!(crawl = crawl.settings.name, bucket = %shown::path(&path), message, "the job panicked, bucket skipped");
        Arc::make_mut(&mut *lock(&self.skipped)).insert((position, bucket), message.clone());
        let panics = self.panics.fetch_add(1, Ordering::Relaxed) + 1;
        if panics <= PANICS_TOLERATED {
            return Ok(());
        }
        let (crawl, bucket) = (crawl.settings.name.clone(), shown::path(&path));
        Err(Error::JobPanicked { crawl, panics, bucket, message })
    }

    /// Shows what was saved: figures for the status, events for the subscribers.
    pub fn saved<S: Store, J: Job<S>>(&self, crawl: &CrawlTask<S, J>, progress: &[PrefixProgress], added: &Counts) {
        {
            let mut view = lock(&self.lap);
            view.totals.merge(added);
            for p in progress {
                if p.done {
                    view.lap.complete(p.prefix);
                    view.cursors.remove(&p.prefix);
                } else if let Some(cursor) = &p.cursor {
                    view.cursors.insert(p.prefix, cursor.clone());
                }
            }
            let completed = progress.iter().filter(|p| p.done).count();
            // A ring has at most so many prefixes.
            view.remaining.saved(u32::try_from(completed).unwrap_or(u32::MAX), crawl.board.allowed());
            if view.lap.completed() == view.lap.len() {
                self.course.send_if_modified(|course| {
                    let going = *course == Course::Going;
                    *course = if going { Course::Done } else { *course };
                    going
                });
            }
        }
        crawl.show(|c| c.since_start.add(added));
        self.show(crawl);
        for p in progress {
            self.emit(crawl, p);
        }
    }

    fn show<S: Store, J: Job<S>>(&self, crawl: &CrawlTask<S, J>) {
        let view = lock(&self.lap);
        let contiguous = view.lap.last_contiguous();
        let current = contiguous.map_or(0, |c| c + 1);
        crawl.show(|c| {
            c.cycle = Some(self.key.number);
            c.prefixes_done = view.lap.completed();
            c.last_complete_prefix = contiguous.and_then(|p| self.ring.name(p)).map(str::to_owned);
            c.last_complete_bucket = view.cursors.get(&current).map(|name| shown::name(name));
            let Counts { buckets, objects, errors, findings, vanished, .. } = view.totals;
            (c.buckets, c.shares, c.errors, c.findings, c.vanished) = (buckets, objects, errors, findings, vanished);
            c.remaining = view.remaining.clone();
            c.aim = crawl.aim();
        });
    }

    /// Marks in the picture of the ring what was saved of a prefix, and enters its notes in the log.
    fn mark<S: Store, J: Job<S>>(&self, crawl: &CrawlTask<S, J>, progress: &PrefixProgress) {
        let (name, at) = (&crawl.settings.name, crawl.time.clock.unix_secs());
        let count = |kind: NoteKind| progress.notes.iter().filter(|note| note.kind == kind).count() as u64;
        crawl.board.ring(name, |marks| {
            marks.met(progress.prefix, count(NoteKind::Error), count(NoteKind::Finding));
            if progress.done {
                marks.complete(progress.prefix, Some(at));
            }
        });
        let prefix = self.ring.name(progress.prefix).unwrap_or_default();
        let rows = progress.notes.iter().filter_map(|n| FindingRow::of(n, name, self.key.number, at, prefix));
        rows.for_each(|row| crawl.board.found(row));
    }

    fn emit<S: Store, J: Job<S>>(&self, crawl: &CrawlTask<S, J>, progress: &PrefixProgress) {
        let name = &crawl.settings.name;
        self.mark(crawl, progress);
        for note in &progress.notes {
            crawl.board.emit_some(|| match note.kind {
                NoteKind::Finding => {
                    let finding = serde_json::from_str(&note.body).ok()?;
                    Some(Event::Finding { crawl: name.clone(), finding })
                }
                NoteKind::Stray => None,
                NoteKind::Error => {
                    let ErrorNote { path, error, .. } = serde_json::from_str(&note.body).ok()?;
                    Some(Event::Error { crawl: name.clone(), path, error })
                }
            });
        }
        if progress.done {
            let prefix = self.ring.name(progress.prefix).unwrap_or_default().to_owned();
            crawl.board.emit(|| Event::PrefixFinished { crawl: name.clone(), prefix });
        }
    }
}
