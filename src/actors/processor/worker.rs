//! One worker: slice after slice, until nothing of the cycle is left.
//!
//! It is in one of `Waiting, Listing, Folding, Committing, Settled`. It waits for a slice holding nothing, and then
//! carries that one slice through listing, folding and committing.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;

use super::crawl::{CrawlTask, SendPatience, gone};
use super::hand::{FoldEnd, Hand, fold};
use super::work::{Course, CycleWork};
use crate::actors::messages::{
    ClaimPrefixes, Contents, ListedPrefix, Listing, ListingRequest, NextListing, ReleaseClaims,
};
use crate::error::{Error, Result, Retry};
use crate::job::{CyclePhase, Intents, Job, PrefixState};
use crate::model::WorkerState;
use crate::settings::Checkpoint;
use crate::slice::{Stage, TimeSlice};
use crate::state::Claim;
use crate::store::Store;

/// Prefixes claimed at once. Towards the end of a cycle fewer, so that the workers end together.
const CLAIMS_AT_ONCE: u32 = 64;

/// While intents are carried out, progress is saved so often: until then the state has what was done as intents.
const CARRYING_SAVED_EVERY: Duration = Duration::from_secs(1);

/// What a slice left to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SliceLeft {
    Something,
    Nothing,
}

/// Works on one cycle of one crawl.
pub(super) struct Worker<S: Store, J: Job<S>> {
    pub(super) crawl: Arc<CrawlTask<S, J>>,
    pub(super) work: Arc<CycleWork>,
    lister: Recipient<NextListing<S>>,
    number: u32,
    /// Claimed, not listed yet.
    pub(super) claims: VecDeque<Claim>,
    pub(super) hand: Hand<S, J::Tally, J::Part>,
    /// Prefixes that could not be listed once.
    listed_again: HashSet<u32>,
    patience: SendPatience,
}

impl<S: Store, J: Job<S>> Worker<S, J> {
    pub fn new(
        crawl: Arc<CrawlTask<S, J>>,
        work: Arc<CycleWork>,
        lister: Recipient<NextListing<S>>,
        number: u32,
    ) -> Self {
        let hand = Hand::new(crawl.time.clock.now());
        let (claims, listed_again, patience) = (VecDeque::new(), HashSet::new(), SendPatience::default());
        Worker { crawl, work, lister, number, claims, hand, listed_again, patience }
    }

    /// Works until nothing is left that others have not claimed. A stop ends it with [`Error::Stopped`], after what is
    /// in hand was saved.
    pub async fn run(mut self) -> Result<()> {
        let result = self.slices().await;
        if result.is_err() {
            self.work.fail();
        }
        let kept = self.hand_over(&result).await;
        self.enter(WorkerState::Idle);
        match result {
            // Stopped, but not with everything saved: that is what has to be told.
            Err(Error::Stopped) => kept.and(result),
            result => result.and(kept),
        }
    }

    async fn slices(&mut self) -> Result<()> {
        let crawl = self.crawl.clone();
        let mut at_work = crawl.control.at_work();
        loop {
            if crawl.control.is_paused() {
                // Whatever a pause leads to, nothing that was done is done again.
                self.commit(None).await?;
                self.enter(WorkerState::Idle);
                drop(at_work);
                crawl.control.released().await?;
                at_work = crawl.control.at_work();
                self.work.interrupted(&crawl);
            }
            self.enter(WorkerState::Waiting);
            let slice = tokio::select! {
                biased;
                course = self.work.over() => return if course == Course::Done { Ok(()) } else { Err(Error::Stopped) },
                () = crawl.control.stopped() => return Err(Error::Stopped),
                // The request is withdrawn.
                () = crawl.control.paused() => continue,
                slice = self.request() => slice?,
                // The wait may be long: through a pause, or at a low percentage.
                () = tokio::time::sleep(self.commit_due_in()), if self.hand.is_dirty() => {
                    self.commit(None).await?;
                    continue;
                }
            };
            let left = self.slice(slice).await?;
            self.enter(WorkerState::Settled);
            if left == SliceLeft::Nothing {
                return Ok(());
            }
        }
    }

    async fn request(&self) -> Result<TimeSlice> {
        let weight = *self.crawl.weight.borrow();
        self.crawl.ports.slices.slice(self.crawl.client.clone(), weight).await
    }

    /// One slice: list, fold, list, fold, until it is over or nothing is left; then commit, then settle.
    async fn slice(&mut self, mut slice: TimeSlice) -> Result<SliceLeft> {
        let mut left = SliceLeft::Something;
        loop {
            if self.hand.todo.is_empty() && !self.hand.has_recorded_intents() {
                self.enter(WorkerState::Listing);
                if self.claims.is_empty() {
                    match self.claim(&slice).await {
                        Ok(claims) => self.claims = claims,
                        Err(error) => return self.try_again_later(error, slice).await,
                    }
                }
                if self.claims.is_empty() {
                    left = SliceLeft::Nothing;
                    break;
                }
                let (listed, back) = match self.work.phase {
                    CyclePhase::CarryOut => self.list_candidates(slice).await?,
                    CyclePhase::Examine | CyclePhase::OnePass => (Ok(()), self.list(slice).await?),
                };
                slice = back;
                if let Err(error) = listed {
                    return self.try_again_later(error, slice).await;
                }
                if self.hand.todo.is_empty() {
                    break;
                }
            }
            if let Some(wanted) = self.hand.wants_names()
                && !self.hand.has_recorded_intents()
            {
                self.enter(WorkerState::Listing);
                slice = self.list_on(wanted, slice).await?;
                if self.hand.wants_names().is_some() {
                    break;
                }
            }
            self.enter(WorkerState::Folding);
            let position = self.hand.todo.front().map(|(listed, _)| listed.position);
            self.crawl.board.ring(&self.crawl.settings.name, |marks| marks.worker(self.number, position));
            let (ended, back) = self.fold(slice).await?;
            slice = back;
            match ended {
                FoldEnd::Paused if slice.is_over() || self.hand.is_full() => break,
                FoldEnd::Paused => {}
                FoldEnd::PageEnd if slice.is_over() => break,
                FoldEnd::PageEnd => {
                    let (listed, back) = self.next_candidates(slice).await?;
                    slice = back;
                    if let Err(error) = listed {
                        return self.try_again_later(error, slice).await;
                    }
                }
                FoldEnd::Unsaved(error) if error.retry() == Retry::Helps => break,
                FoldEnd::Unsaved(error) => return Err(error),
                FoldEnd::Refused(error) => {
                    let claims = self.hand.release_unfinished();
                    return self.release(claims).await.and(Err(error));
                }
                FoldEnd::Panicked { position, bucket, message } => {
                    return self.panicked(position, bucket, message, slice).await.map(|()| SliceLeft::Something);
                }
            }
        }
        // Before a pause or a stop all progress is saved.
        if left == SliceLeft::Nothing || slice.is_revoked() || self.commit_is_due() || self.hand.has_new_intents() {
            self.commit(Some(slice)).await?;
        }
        Ok(if self.hand.has_intents() { SliceLeft::Something } else { left })
    }

    /// Saves what is in hand and waits, if the state may be there for us again; nobody waits with a slice in hand.
    async fn try_again_later(&mut self, error: Error, slice: TimeSlice) -> Result<SliceLeft> {
        if error.retry() == Retry::Useless {
            return Err(error);
        }
        self.commit(Some(slice)).await?;
        self.crawl.wait_for(&error, &mut self.patience).await?;
        Ok(SliceLeft::Something)
    }

    /// Claims the next prefixes, fewer when few are left.
    async fn claim(&mut self, slice: &TimeSlice) -> Result<VecDeque<Claim>> {
        let share = self.work.left() / (4 * self.crawl.settings.workers.max(1));
        let (cycle, most) = (self.work.key.clone(), share.clamp(1, CLAIMS_AT_ONCE));
        let order = self.crawl.settings.order;
        let claimed = self.crawl.ports.claim.send(ClaimPrefixes { cycle, most, order }).await.map_err(gone)?;
        slice.add(Stage::Commit, claimed.cost);
        let claims = claimed.result?;
        self.went_through();
        Ok(claims.into())
    }

    /// Has claimed prefixes listed and takes them in hand; none if the slice ended before the first was complete.
    async fn list(&mut self, slice: TimeSlice) -> Result<TimeSlice> {
        let wanted =
            self.claims.iter().map(|c| ListingRequest { position: c.prefix, after: c.cursor.clone() }).collect();
        let listing = self.ask_for(wanted, slice).await?;
        for listed in listing.ready {
            if self.is_to_be_listed_again(&listed) {
                break;
            }
            self.take_in_hand(listed)?;
        }
        Ok(listing.slice)
    }

    /// Has the next names of the prefix in hand listed, where they did not fit in at once.
    async fn list_on(&mut self, wanted: ListingRequest, slice: TimeSlice) -> Result<TimeSlice> {
        let listing = self.ask_for(vec![wanted], slice).await?;
        for listed in listing.ready {
            if self.is_to_be_listed_again(&listed) {
                break;
            }
            if let Some((current, _)) = self.hand.todo.front_mut() {
                current.contents = listed.contents;
            }
        }
        Ok(listing.slice)
    }

    async fn ask_for(&mut self, wanted: Vec<ListingRequest>, slice: TimeSlice) -> Result<Listing<S>> {
        let (cycle, store) = (self.work.key.number, std::marker::PhantomData);
        let listing = self.lister.send(NextListing { cycle, wanted, slice, store }).await?;
        let unlistable = listing.ready.iter().any(|listed| matches!(listed.contents, Contents::Unlistable(_)));
        if unlistable {
            self.store_is_there().await?;
        }
        Ok(listing)
    }

    /// A prefix that cannot be listed while the store is there is listed once more, under the next slice: the store may have
    /// been gone for a moment.
    fn is_to_be_listed_again(&mut self, listed: &ListedPrefix<S>) -> bool {
        matches!(listed.contents, Contents::Unlistable(_)) && self.listed_again.insert(listed.position)
    }

    /// A store that has gone as a whole ends the walk, to go on when it is back: its prefixes are not to blame.
    pub(super) async fn store_is_there(&self) -> Result<()> {
        let store = self.crawl.store.clone();
        let found = tokio::task::spawn_blocking(move || store.still_there()).await;
        let found = found.unwrap_or_else(|panic| Err(std::io::Error::other(panic)));
        let path = || self.crawl.store.path("", None);
        found.map_err(|e| Error::of_store(path(), &e))
    }

    pub(super) fn take_in_hand(&mut self, listed: ListedPrefix<S>) -> Result<()> {
        let Some(claim) = self.claims.pop_front() else { return Ok(()) };
        let mut state = match claim.tally {
            None => PrefixState::new(claim.prefix, claim.fence),
            Some(saved) => PrefixState::resume(claim.prefix, claim.fence, claim.cursor, &saved)
                .map_err(|cause| Error::Tally { crawl: self.crawl.settings.name.clone(), cause })?,
        };
        // What an earlier run may have carried out in part; it is settled with the slice.
        state.intents = Intents::resume(claim.intents);
        self.hand.todo.push_back((listed, state));
        Ok(())
    }

    /// Folds what is in hand, on a blocking thread.
    async fn fold(&mut self, slice: TimeSlice) -> Result<(FoldEnd, TimeSlice)> {
        let (crawl, work) = (self.crawl.clone(), self.work.clone());
        let empty = Hand::new(self.hand.saved_at);
        let mut hand = std::mem::replace(&mut self.hand, empty);
        let folding = self.crawl.working.run(move || {
            let ended = fold(&crawl, &work, &mut hand, &slice);
            (ended, hand, slice)
        });
        let panicked = |message| Error::ActorPanicked { actor: "fold", message };
        let (ended, hand, slice) = folding.await.map_err(panicked)?;
        self.hand = hand;
        Ok((ended, slice))
    }

    fn commit_is_due(&self) -> bool {
        self.hand.is_full() || self.commit_due_in().is_zero()
    }

    fn commit_due_in(&self) -> Duration {
        let interval = match self.crawl.checkpoint {
            Checkpoint::Every(interval) => interval,
            _ if self.hand.has_recorded_intents() => CARRYING_SAVED_EVERY,
            Checkpoint::EveryBucket | Checkpoint::EverySlice => Duration::ZERO,
        };
        interval.saturating_sub(self.crawl.time.clock.now().saturating_sub(self.hand.saved_at))
    }

    /// Saves intents for good and carries them out while the slice lasts, on a blocking thread; the slice pays for it.
    async fn settle(&mut self, slice: Option<TimeSlice>) -> Result<(Result<()>, Option<TimeSlice>)> {
        let (crawl, work) = (self.crawl.clone(), self.work.clone());
        let empty = Hand::new(self.hand.saved_at);
        let mut hand = std::mem::replace(&mut self.hand, empty);
        let settling = tokio::task::spawn_blocking(move || {
            let settled = match &slice {
                Some(slice) => slice.charge(Stage::Commit, || hand.settle(&crawl, &work, Some(slice))),
                None => hand.settle(&crawl, &work, None),
            };
            (settled, hand, slice)
        });
        let panicked = |e: tokio::task::JoinError| Error::ActorPanicked { actor: "settling", message: e.to_string() };
        let (settled, hand, slice) = settling.await.map_err(panicked)?;
        self.hand = hand;
        Ok((settled, slice))
    }

    /// Saves what is in hand, and settles the slice; before that, while it lasts, carries out what is to be changed. Where
    /// there is no room the slice is settled first, and the commit is tried again, each time under a new slice, until there
    /// is.
    async fn commit(&mut self, mut slice: Option<TimeSlice>) -> Result<()> {
        if !self.hand.is_dirty() {
            return Ok(());
        }
        self.enter(WorkerState::Committing);
        loop {
            let mut settled = Ok(());
            if self.hand.has_new_intents() {
                (settled, slice) = self.settle(slice).await?;
            }
            let error = match settled {
                Ok(()) if !self.hand.is_dirty() => return Ok(()),
                Ok(()) => {
                    match self.hand.folded().save(&self.crawl, &self.work, &mut self.patience, slice.as_ref()).await? {
                        Ok(()) => return Ok(()),
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            if error.retry() == Retry::Useless {
                return Err(error);
            }
            let had_slice = slice.take().is_some();
            self.crawl.wait_for(&error, &mut self.patience).await?;
            if had_slice {
                slice = Some(self.request().await?);
            }
        }
    }

    /// What was asked of the state was done, perhaps after a wait.
    pub(super) fn went_through(&mut self) {
        if self.patience.end(&self.crawl) {
            self.work.interrupted(&self.crawl);
        }
    }

    /// Goes back to the last commit with the prefix on which the job panicked; what else is in hand is kept.
    async fn panicked(&mut self, position: u32, bucket: Vec<u8>, message: String, slice: TimeSlice) -> Result<()> {
        let verdict = self.work.panicked(&self.crawl, position, bucket, message);
        let claims = self.hand.release_unfinished();
        let saved = self.commit(Some(slice)).await;
        let released = self.release(claims).await;
        saved.and(released).and(verdict)
    }

    /// Before the worker ends: what is in hand is saved, claims are given back; what could not be saved will be visited
    /// again. So will what was refused: saved now, it would bind the cycle. A panic may have left its mark on the tally.
    async fn hand_over(&mut self, ended: &Result<()>) -> Result<()> {
        let mut claims = match ended {
            Ok(()) | Err(Error::Stopped) => Vec::new(),
            Err(Error::ActorPanicked { .. }) => self.hand.release_intents(),
            Err(_) => self.hand.release_new_intents(),
        };
        let mut kept = self.commit(None).await;
        if kept.is_ok() {
            self.hand.close_intents();
            kept = self.commit(None).await;
        }
        if kept.is_err() && self.hand.has_intents() {
            claims.extend(self.hand.release_intents());
            kept = self.commit(None).await.and(kept);
        }
        claims.extend(self.hand.claims());
        let released = self.release(claims).await;
        kept.and(released)
    }

    async fn release(&mut self, mut claims: Vec<(u32, u64)>) -> Result<()> {
        claims.extend(self.claims.drain(..).map(|c| (c.prefix, c.fence)));
        if claims.is_empty() {
            return Ok(());
        }
        let cycle = self.work.key.clone();
        self.crawl.persist(&self.crawl.ports.release, ReleaseClaims { cycle, claims }).await
    }

    fn enter(&self, state: WorkerState) {
        self.crawl.show(|c| {
            if let Some(worker) = c.workers.get_mut(self.number as usize) {
                *worker = state;
            }
        });
    }
}
