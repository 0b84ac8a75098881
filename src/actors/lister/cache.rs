//! The bucket cache: listings that were read ahead, or are read only in part, with their open directories.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

use super::reading::{OpenListing, Read, read};
use crate::actors::messages::{ListedPrefix, Listing, ListingRequest, NextListing};
use crate::lock::lock;
use crate::priority::Working;
use crate::slice::TimeSlice;
use crate::store::Store;

/// Bytes of names after which a batch is large enough: more than 4,000 names of 26 bytes, well over what a slice of some
/// milliseconds visits.
const BATCH_BYTES: usize = 144 * 1024;

/// Prefixes of one batch at most: each holds an open directory.
const BATCH_PREFIXES: usize = 64;

/// What is kept of a prefix.
enum Slot<S: Store> {
    /// Somebody lists it.
    Busy,
    /// Listed in part.
    Partial(OpenListing<S>),
    /// Listed.
    Ready(ListingRequest, ListedPrefix<S>),
}

/// Listings by position, for one cycle.
pub(super) struct Cache<S: Store> {
    slots: Mutex<Slots<S>>,
    changed: Notify,
}

struct Slots<S: Store> {
    cycle: u64,
    by_position: HashMap<u32, Slot<S>>,
    /// Positions that a worker has got: to read them ahead would be for nobody.
    answered: HashSet<u32>,
    /// What a read-ahead of an earlier cycle still puts back.
    late: HashMap<u32, Slot<S>>,
}

impl<S: Store> Default for Cache<S> {
    fn default() -> Self {
        let (by_position, late) = (HashMap::new(), HashMap::new());
        let slots = Slots { cycle: 0, by_position, answered: HashSet::new(), late };
        Cache { slots: Mutex::new(slots), changed: Notify::new() }
    }
}

impl<S: Store> Cache<S> {
    fn lock(&self) -> MutexGuard<'_, Slots<S>> {
        lock(&self.slots)
    }

    /// Answers with the leading wanted prefixes, and notes which.
    pub async fn next(&self, store: Arc<S>, working: Working, msg: NextListing<S>) -> Listing<S> {
        let cycle = msg.cycle;
        let listing = self.leading(store, working, msg).await;
        let mut slots = self.lock();
        if slots.cycle == cycle {
            slots.answered.extend(listing.ready.iter().map(|listed| listed.position));
        }
        drop(slots);
        listing
    }

    /// Leaves out what a worker has got meanwhile; of a cycle that is over, everything.
    pub fn unanswered(&self, cycle: u64, mut hints: Vec<ListingRequest>) -> Vec<ListingRequest> {
        let slots = self.lock();
        hints.retain(|want| slots.cycle == cycle && !slots.answered.contains(&want.position));
        hints
    }

    /// The leading wanted prefixes: those that were read ahead, then, if they do not make a batch, those that
    /// can be listed within the slice.
    async fn leading(&self, store: Arc<S>, working: Working, msg: NextListing<S>) -> Listing<S> {
        let NextListing { cycle, wanted, slice, .. } = msg;
        let wanted = &wanted[..wanted.len().min(BATCH_PREFIXES)];
        self.first_is_free(cycle, wanted).await;
        let mut ready = self.take_ready(cycle, wanted);
        let bytes: usize = ready.iter().map(|p| p.bytes()).sum();
        if bytes >= BATCH_BYTES || ready.len() == wanted.len() || slice.is_over() && !ready.is_empty() {
            return Listing { ready, slice };
        }
        let todo = self.reserve(cycle, &wanted[ready.len()..], BATCH_PREFIXES);
        if todo.is_empty() {
            return Listing { ready, slice };
        }
        let positions: Vec<u32> = todo.iter().map(|r| r.wanted.position).collect();
        let reading = working.run(move || read(&*store, todo, BATCH_BYTES - bytes, slice));
        match reading.await {
            Ok(read) => {
                let (listed, slice) = self.put_back_rest(cycle, read);
                ready.extend(listed.into_iter().map(|(_, listed)| listed));
                Listing { ready, slice }
            }
            Err(panic) => {
                self.forget(&positions);
                // The clock panicked, for panics of the store are caught; the slice went with it: nothing can be answered.
                std::panic::resume_unwind(Box::new(panic))
            }
        }
    }

    /// Waits until nobody else lists the first wanted prefix: with one worker the walk keeps the ring's order.
    async fn first_is_free(&self, cycle: u64, wanted: &[ListingRequest]) {
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
    fn take_ready(&self, cycle: u64, wanted: &[ListingRequest]) -> Vec<ListedPrefix<S>> {
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
    pub fn reserve(&self, cycle: u64, wanted: &[ListingRequest], most: usize) -> Vec<OpenListing<S>> {
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
                _ => todo.push(OpenListing { wanted: want.clone(), open: None }),
            }
        }
        todo
    }

    /// Keeps everything that was read.
    pub fn put_back(&self, cycle: u64, mut read: Read<S>) -> TimeSlice {
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
    fn put_back_rest(&self, cycle: u64, read: Read<S>) -> (Vec<(ListingRequest, ListedPrefix<S>)>, TimeSlice) {
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

    pub fn forget(&self, positions: &[u32]) {
        self.lock().by_position.retain(|position, _| !positions.contains(position));
        self.changed.notify_waiters();
    }
}

impl<S: Store> Slots<S> {
    /// The slots of this cycle; those of an earlier one are dropped, also when they come late.
    fn of(&mut self, cycle: u64) -> &mut HashMap<u32, Slot<S>> {
        if cycle < self.cycle {
            self.late.clear();
            return &mut self.late;
        }
        if self.cycle != cycle {
            self.by_position.clear();
            self.answered.clear();
            self.cycle = cycle;
        }
        &mut self.by_position
    }
}
