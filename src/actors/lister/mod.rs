//! The PrefixLister: lists prefixes for one crawl, some of them ahead of time.
//!
//! Owns the bucket cache (listings that were read ahead, or are read only in part), the open directories in it, and the
//! read-ahead, which is a client of the governor with a low weight. It never opens a bucket.

mod cache;
mod reading;

use std::sync::Arc;

use actix::prelude::*;

use super::guard::ActorGuard;
use super::messages::{Listing, ListingRequest, NextListing, SlicePort};
use crate::priority::Working;
use crate::store::Store;
use cache::Cache;
use reading::read;

/// Bytes of names after which enough is read ahead.
const AHEAD_BYTES: usize = 2 << 20;

/// The weight of the read-ahead beside a worker's 1.
const READ_AHEAD_WEIGHT: f64 = 0.1;

/// The actor that lists prefixes.
pub struct PrefixLister<S: Store> {
    store: Arc<S>,
    cache: Arc<Cache<S>>,
    slices: SlicePort,
    client: Arc<str>,
    /// How many prefixes to read ahead.
    ahead: usize,
    reading_ahead: bool,
    working: Working,
    _guard: ActorGuard,
}

impl<S: Store> PrefixLister<S> {
    pub(crate) fn new(
        store: Arc<S>,
        crawl: &str,
        ahead: u32,
        slices: SlicePort,
        working: Working,
        guard: ActorGuard,
    ) -> Self {
        PrefixLister {
            store,
            cache: Arc::default(),
            slices,
            client: format!("{crawl}/read-ahead").into(),
            ahead: ahead as usize,
            reading_ahead: false,
            working,
            _guard: guard,
        }
    }

    /// Lists what the worker will want next, under a slice of its own.
    fn read_ahead(&mut self, cycle: u64, hints: Vec<ListingRequest>, ctx: &mut Context<Self>) {
        if self.reading_ahead || self.ahead == 0 || hints.is_empty() {
            return;
        }
        self.reading_ahead = true;
        let (store, cache, ahead) = (self.store.clone(), self.cache.clone(), self.ahead);
        let (slices, client, working) = (self.slices.clone(), self.client.clone(), self.working);
        let work = async move {
            // Without a slice (stop) nothing is read ahead.
            let Ok(slice) = slices.slice(client, READ_AHEAD_WEIGHT).await else { return };
            let hints = cache.unanswered(cycle, hints);
            let todo = cache.reserve(cycle, &hints, ahead);
            if todo.is_empty() {
                return slice.settle();
            }
            let positions: Vec<u32> = todo.iter().map(|r| r.wanted.position).collect();
            match working.run(move || read(&*store, todo, AHEAD_BYTES, slice)).await {
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
        let (wanted, working) = (msg.wanted.clone(), self.working);
        let answer = async move { cache.next(store, working, msg).await };
        Box::pin(answer.into_actor(self).map(move |listing, act, ctx| {
            let hints = wanted.into_iter().skip(listing.ready.len()).collect();
            act.read_ahead(cycle, hints, ctx);
            listing
        }))
    }
}
