//! The PrefixLister: lists prefixes for one crawl, some of them ahead of time.
//!
//! Owns the bucket cache (listings that were read ahead, or are read only in part), the open directories in it, and the
//! read-ahead, which is a client of the governor with a low weight. It never opens a bucket.

use std::any::Any;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix::prelude::*;
use tokio::sync::Notify;

use super::guard::Guard;
use crate::job::panic_message;
use crate::messages::{Contents, ListedPrefix, Listing, NextListing, SliceRequest, Wanted};
use crate::slice::{Stage, TimeSlice};
use crate::store::{More, Names, Store};

/// Names after which a batch is large enough: well over what a slice of some milliseconds visits.
const BATCH_NAMES: u32 = 4096;

/// Names after which enough is read ahead: some 2 MB of them.
const AHEAD_NAMES: u32 = 65_536;

/// Prefixes of one batch at most: each holds an open directory.
const BATCH_PREFIXES: usize = 64;

/// The weight of the read-ahead beside a worker's 1.
const READ_AHEAD_WEIGHT: f64 = 0.1;

/// The actor that lists prefixes.
pub struct PrefixLister<S: Store> {
    store: Arc<S>,
    cache: Arc<Cache<S>>,
    governor: Recipient<SliceRequest>,
    client: Arc<str>,
    /// How many prefixes to read ahead.
    ahead: usize,
    reading_ahead: bool,
    _guard: Guard,
}

/// What is kept of a prefix.
enum Slot<S: Store> {
    /// Somebody lists it.
    Busy,
    /// Listed in part.
    Partial(Reading<S>),
    /// Listed.
    Ready(Wanted, ListedPrefix<S>),
}

/// A listing in the making.
struct Reading<S: Store> {
    wanted: Wanted,
    /// `None` until the prefix is open.
    open: Option<(S::Prefix, Names)>,
}

/// Listings by position, for one cycle.
struct Cache<S: Store> {
    slots: Mutex<Slots<S>>,
    changed: Notify,
}

struct Slots<S: Store> {
    cycle: u64,
    by_position: HashMap<u32, Slot<S>>,
    /// Positions that a worker has got: to read them ahead would be for nobody.
    answered: HashSet<u32>,
}

/// What one call to [`read`] brought.
struct Read<S: Store> {
    ready: Vec<(Wanted, ListedPrefix<S>)>,
    /// Where the slice ended.
    partial: Option<Reading<S>>,
    untouched: Vec<Reading<S>>,
    slice: TimeSlice,
}

impl<S: Store> PrefixLister<S> {
    pub(crate) fn new(store: Arc<S>, crawl: &str, ahead: u32, governor: Recipient<SliceRequest>, guard: Guard) -> Self {
        let slots = Slots { cycle: 0, by_position: HashMap::new(), answered: HashSet::new() };
        PrefixLister {
            store,
            cache: Arc::new(Cache { slots: Mutex::new(slots), changed: Notify::new() }),
            governor,
            client: format!("{crawl}/read-ahead").into(),
            ahead: ahead as usize,
            reading_ahead: false,
            _guard: guard,
        }
    }

    /// Lists what the worker will want next, under a slice of its own.
    fn read_ahead(&mut self, cycle: u64, hints: Vec<Wanted>, ctx: &mut Context<Self>) {
        if self.reading_ahead || self.ahead == 0 || hints.is_empty() {
            return;
        }
        self.reading_ahead = true;
        let (store, cache, ahead) = (self.store.clone(), self.cache.clone(), self.ahead);
        let (governor, client) = (self.governor.clone(), self.client.clone());
        let work = async move {
            // Without a slice (stop) nothing is read ahead.
            let Ok(slice) = SliceRequest::send(&governor, client, READ_AHEAD_WEIGHT).await else { return };
            let hints = cache.unanswered(cycle, hints);
            let todo = cache.reserve(cycle, &hints, ahead);
            if todo.is_empty() {
                return slice.settle();
            }
            let positions: Vec<u32> = todo.iter().map(|r| r.wanted.position).collect();
            match tokio::task::spawn_blocking(move || read(&*store, todo, AHEAD_NAMES, slice)).await {
                Ok(read) => drop(cache.put_back(cycle, read)),
                Err(_) => cache.forget(&positions),
            }
        };
        ctx.spawn(work.into_actor(self).map(|(), act, _| act.reading_ahead = false));
    }
}

impl<S: Store> Actor for PrefixLister<S> {
    type Context = Context<Self>;
}

impl<S: Store> Handler<NextListing<S>> for PrefixLister<S> {
    type Result = ResponseActFuture<Self, Listing<S>>;

    fn handle(&mut self, msg: NextListing<S>, _: &mut Self::Context) -> Self::Result {
        let (store, cache, cycle) = (self.store.clone(), self.cache.clone(), msg.cycle);
        let wanted = msg.wanted.clone();
        let answer = async move { cache.next(store, msg).await };
        Box::pin(answer.into_actor(self).map(move |listing, act, ctx| {
            let hints = wanted.into_iter().skip(listing.ready.len()).collect();
            act.read_ahead(cycle, hints, ctx);
            listing
        }))
    }
}

impl<S: Store> Cache<S> {
    fn lock(&self) -> MutexGuard<'_, Slots<S>> {
        // Slots are put in and taken out whole, so a panic elsewhere leaves them usable.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers with the leading wanted prefixes, and notes which.
    async fn next(&self, store: Arc<S>, msg: NextListing<S>) -> Listing<S> {
        let cycle = msg.cycle;
        let listing = self.leading(store, msg).await;
        let mut slots = self.lock();
        if slots.cycle == cycle {
            slots.answered.extend(listing.ready.iter().map(|listed| listed.position));
        }
        drop(slots);
        listing
    }

    /// Leaves out what a worker has got meanwhile; of a cycle that is over, everything.
    fn unanswered(&self, cycle: u64, mut hints: Vec<Wanted>) -> Vec<Wanted> {
        let slots = self.lock();
        hints.retain(|want| slots.cycle == cycle && !slots.answered.contains(&want.position));
        hints
    }

    /// The leading wanted prefixes: those that were read ahead, then, if they do not make a batch, those that
    /// can be listed within the slice.
    async fn leading(&self, store: Arc<S>, msg: NextListing<S>) -> Listing<S> {
        let NextListing { cycle, wanted, slice, .. } = msg;
        let wanted = &wanted[..wanted.len().min(BATCH_PREFIXES)];
        self.first_is_free(cycle, wanted).await;
        let mut ready = self.take_ready(cycle, wanted);
        let names: u32 = ready.iter().map(|p| p.names_left()).sum();
        if names >= BATCH_NAMES || ready.len() == wanted.len() || slice.is_over() && !ready.is_empty() {
            return Listing { ready, slice };
        }
        let todo = self.reserve(cycle, &wanted[ready.len()..], BATCH_PREFIXES);
        if todo.is_empty() {
            return Listing { ready, slice };
        }
        let positions: Vec<u32> = todo.iter().map(|r| r.wanted.position).collect();
        let reading = tokio::task::spawn_blocking(move || read(&*store, todo, BATCH_NAMES - names, slice));
        match reading.await {
            Ok(read) => {
                let (listed, slice) = self.put_back_rest(cycle, read);
                ready.extend(listed.into_iter().map(|(_, listed)| listed));
                Listing { ready, slice }
            }
            Err(panic) => {
                self.forget(&positions);
                // The clock panicked, for panics of the store are caught; the slice went with it: nothing can be answered.
                std::panic::resume_unwind(panic.into_panic())
            }
        }
    }

    /// Waits until nobody else lists the first wanted prefix: with one worker the walk keeps the ring's order.
    async fn first_is_free(&self, cycle: u64, wanted: &[Wanted]) {
        let Some(first) = wanted.first() else { return };
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if !matches!(self.lock().of(cycle).get(&first.position), Some(Slot::Busy)) {
                return;
            }
            changed.await;
        }
    }

    /// Takes out the leading wanted prefixes that are ready.
    fn take_ready(&self, cycle: u64, wanted: &[Wanted]) -> Vec<ListedPrefix<S>> {
        let mut slots = self.lock();
        let slots = slots.of(cycle);
        let mut ready = Vec::new();
        for want in wanted {
            match slots.entry(want.position) {
                Entry::Occupied(slot) if matches!(slot.get(), Slot::Ready(read, _) if read == want) => {
                    if let Slot::Ready(_, listed) = slot.remove() {
                        ready.push(listed);
                    }
                }
                _ => break,
            }
        }
        ready
    }

    /// Marks the leading wanted prefixes that nobody lists, at most `most`, as being listed by the caller.
    fn reserve(&self, cycle: u64, wanted: &[Wanted], most: usize) -> Vec<Reading<S>> {
        let mut slots = self.lock();
        let slots = slots.of(cycle);
        let mut todo = Vec::new();
        for want in wanted.iter().take(most) {
            match slots.insert(want.position, Slot::Busy) {
                Some(Slot::Busy) => break,
                Some(Slot::Ready(read, listed)) if read == *want => {
                    slots.insert(want.position, Slot::Ready(read, listed));
                    break;
                }
                Some(Slot::Partial(reading)) if reading.wanted == *want => todo.push(reading),
                // What was listed for another cursor is of no use.
                _ => todo.push(Reading { wanted: want.clone(), open: None }),
            }
        }
        todo
    }

    /// Keeps everything that was read.
    fn put_back(&self, cycle: u64, mut read: Read<S>) -> TimeSlice {
        let ready = std::mem::take(&mut read.ready);
        let (_, slice) = self.put_back_rest(cycle, read);
        let mut slots = self.lock();
        let slots = slots.of(cycle);
        for (wanted, listed) in ready {
            slots.insert(wanted.position, Slot::Ready(wanted, listed));
        }
        self.changed.notify_waiters();
        slice
    }

    /// Keeps what is not ready, and gives back what is, with the slice.
    fn put_back_rest(&self, cycle: u64, read: Read<S>) -> (Vec<(Wanted, ListedPrefix<S>)>, TimeSlice) {
        let mut slots = self.lock();
        let slots = slots.of(cycle);
        for (wanted, _) in &read.ready {
            slots.remove(&wanted.position);
        }
        for reading in read.untouched {
            slots.remove(&reading.wanted.position);
        }
        if let Some(reading) = read.partial {
            slots.insert(reading.wanted.position, Slot::Partial(reading));
        }
        self.changed.notify_waiters();
        (read.ready, read.slice)
    }

    fn forget(&self, positions: &[u32]) {
        self.lock().by_position.retain(|position, _| !positions.contains(position));
        self.changed.notify_waiters();
    }
}

impl<S: Store> Slots<S> {
    /// The slots of this cycle; those of any other are dropped.
    fn of(&mut self, cycle: u64) -> &mut HashMap<u32, Slot<S>> {
        if self.cycle != cycle {
            self.by_position.clear();
            self.answered.clear();
            self.cycle = cycle;
        }
        &mut self.by_position
    }
}

impl<S: Store> ListedPrefix<S> {
    fn names_left(&self) -> u32 {
        match &self.contents {
            Contents::Names { names, .. } => names.left(),
            Contents::Nothing | Contents::Unlistable(_) => 0,
        }
    }
}

/// Lists prefixes one after the other, chunk by chunk, until there are `enough` names or the slice is over; at least one
/// chunk in any case. A prefix on which the store panics cannot be listed, that is all.
fn read<S: Store>(store: &S, todo: Vec<Reading<S>>, enough: u32, slice: TimeSlice) -> Read<S> {
    let mut todo = todo.into_iter();
    let (mut ready, mut partial, mut names) = (Vec::new(), None, 0u32);
    slice.charge(Stage::List, || {
        for mut reading in todo.by_ref() {
            let one = catch_unwind(AssertUnwindSafe(|| read_one(store, &mut reading, &slice)));
            let panicked = |panic: Box<dyn Any + Send>| {
                let why = format!("the store panicked: {}", panic_message(&*panic));
                Some(Contents::Unlistable(io::Error::other(why)))
            };
            let Some(contents) = one.unwrap_or_else(panicked) else {
                partial = Some(reading);
                return;
            };
            let listed = ListedPrefix { position: reading.wanted.position, contents };
            names = names.saturating_add(listed.names_left());
            ready.push((reading.wanted, listed));
            if names >= enough || slice.is_over() {
                return;
            }
        }
    });
    Read { ready, partial, untouched: todo.collect(), slice }
}

/// Lists one prefix; `None` when the slice ended before it was complete.
fn read_one<S: Store>(store: &S, reading: &mut Reading<S>, slice: &TimeSlice) -> Option<Contents<S>> {
    let (open, names) = match &mut reading.open {
        Some(open) => open,
        None => {
            let name = store.ring().name(reading.wanted.position).unwrap_or_default();
            match store.open_prefix(name) {
                Ok(Some(open)) => reading.open.insert((open, Names::after(reading.wanted.after.as_deref()))),
                Ok(None) => return Some(Contents::Nothing),
                Err(error) => return Some(Contents::Unlistable(error)),
            }
        }
    };
    loop {
        match store.read_names(open, names) {
            Ok(More::No) => break,
            Ok(More::Maybe) if slice.is_over() => return None,
            Ok(More::Maybe) => {}
            Err(error) => return Some(Contents::Unlistable(error)),
        }
    }
    let (open, mut names) = reading.open.take()?;
    names.end_chunk();
    Some(Contents::Names { open, names })
}
