//! Reading: prefixes listed one after the other, chunk by chunk, as far as a slice goes. Runs on blocking threads.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::io::Errno;

use crate::actors::messages::{Contents, ListedPrefix, ListingRequest};
use crate::calls;
use crate::error::panic_message;
use crate::slice::{Stage, TimeSlice};
use crate::store::{More, Names, Store};

/// A listing in the making.
pub(super) struct OpenListing<S: Store> {
    pub wanted: ListingRequest,
    /// `None` until the prefix is open.
    pub open: Option<(S::Prefix, Names)>,
}

/// What one call to [`read`] brought.
pub(super) struct Read<S: Store> {
    pub ready: Vec<(ListingRequest, ListedPrefix<S>)>,
    /// Where the slice ended.
    pub partial: Option<OpenListing<S>>,
    pub untouched: Vec<OpenListing<S>>,
    pub slice: TimeSlice,
}

impl<S: Store> ListedPrefix<S> {
    /// Bytes of the names in it.
    pub(super) fn bytes(&self) -> usize {
        match &self.contents {
            Contents::Names { names, .. } => names.bytes(),
            Contents::Nothing | Contents::Unlistable(_) | Contents::Later { .. } => 0,
        }
    }
}

/// Lists prefixes one after the other, chunk by chunk, until there are `enough` bytes of names or the slice is over; at least one
/// chunk in any case. A prefix on which the store panics cannot be listed, that is all.
pub(super) fn read<S: Store>(store: &S, todo: Vec<OpenListing<S>>, enough: usize, slice: TimeSlice) -> Read<S> {
    let mut todo = todo.into_iter();
    let (mut ready, mut partial, mut bytes) = (Vec::new(), None, 0usize);
    slice.charge(Stage::List, || {
        for mut reading in todo.by_ref() {
            let read = || calls::while_lasts(slice.watch(), || read_one(store, &mut reading, &slice));
            let one = catch_unwind(AssertUnwindSafe(read));
            let panicked = |panic: Box<dyn Any + Send>| {
                let why = format!("the store panicked: {}", panic_message(&*panic));
                Some(Contents::Unlistable(io::Error::other(why)))
            };
            let Some(contents) = one.unwrap_or_else(panicked) else {
                partial = Some(reading);
                return;
            };
            if !ready.is_empty() && is_shortage(&contents) {
                // Of open files, which this batch holds: what is ready is worked off first.
                partial = Some(reading);
                return;
            }
            let listed = ListedPrefix { position: reading.wanted.position, contents, candidates: None };
            bytes += listed.bytes();
            ready.push((reading.wanted, listed));
            if bytes >= enough || slice.is_over() {
                return;
            }
        }
    });
    Read { ready, partial, untouched: todo.collect(), slice }
}

/// Whether a prefix could not be opened for want of something that others may give back.
fn is_shortage<S: Store>(contents: &Contents<S>) -> bool {
    let short = [Errno::MFILE, Errno::NFILE, Errno::NOMEM].map(Errno::raw_os_error);
    matches!(contents, Contents::Unlistable(e) if e.raw_os_error().is_some_and(|code| short.contains(&code)))
}

/// Lists one prefix; `None` when the slice ended before it was complete.
fn read_one<S: Store>(store: &S, reading: &mut OpenListing<S>, slice: &TimeSlice) -> Option<Contents<S>> {
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
