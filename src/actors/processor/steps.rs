//! What a crawl does with the state before and after its walk: in steps, each under a slice, on a blocking thread. So a long
//! history, a large ring and a long report cost no more than the budget allows, and hold up nobody who commits.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::crawl::{CrawlTask, SendPatience};
use crate::error::{Error, Result, Retry, panic_message};
use crate::job::Job;
use crate::slice::{Stage, TimeSlice};
use crate::state::{StateReader, StateStore};
use crate::store::Store;

/// Takes slices for steps, one after the other, and goes on with one while it lasts.
pub(super) struct Steps<'c, S: Store, J: Job<S>> {
    crawl: &'c Arc<CrawlTask<S, J>>,
    client: Arc<str>,
    slice: Option<Arc<TimeSlice>>,
    /// Whether a state that another program holds is not waited for.
    pub is_impatient: bool,
}

impl<'c, S: Store, J: Job<S>> Steps<'c, S, J> {
    /// Steps that have an account of their own, under the crawl's name and this one.
    pub fn new(crawl: &'c Arc<CrawlTask<S, J>>, name: &str) -> Self {
        Steps { crawl, client: format!("{}/{name}", crawl.client).into(), slice: None, is_impatient: false }
    }

    /// Does one step.
    ///
    /// # Errors
    /// [`Error::Stopped`] if the crawl is stopped before it has a slice, [`Error::ActorPanicked`] if the step panics.
    pub async fn work<R: Send + 'static>(&mut self, work: impl FnOnce() -> R + Send + 'static) -> Result<R> {
        let slice = self.slice().await?;
        let worked = tokio::task::spawn_blocking(move || slice.charge(Stage::Fold, work)).await;
        worked.map_err(|panic| Error::ActorPanicked { actor: "job while reporting", message: panic.to_string() })
    }

    /// Changes the state in one step, until it answers with more than "try again".
    ///
    /// # Errors
    /// As [`work`](Self::work), and whatever `ask` gives.
    pub async fn change<R: Send + 'static>(
        &mut self,
        ask: impl FnOnce(&mut dyn StateStore) -> Result<R> + Clone + Send + 'static,
    ) -> Result<R> {
        let writer = self.crawl.ports.writer.clone();
        self.patiently(move || writer.with(ask).and_then(|answer| answer)).await
    }

    /// Reads a page of the state in one step, likewise.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub async fn read<R: Send + 'static>(
        &mut self,
        ask: impl FnOnce(&dyn StateReader) -> Result<R> + Clone + Send + 'static,
    ) -> Result<R> {
        let reader = self.crawl.ports.reader.clone();
        let read = move || {
            // Not the job's panic: it must not be taken for one.
            let read = catch_unwind(AssertUnwindSafe(|| ask(&*reader)));
            read.unwrap_or_else(|panic| {
                Err(Error::ActorPanicked { actor: "reader of the state", message: panic_message(&*panic) })
            })
        };
        self.patiently(read).await
    }

    /// Does one step until it comes to more than "try again". Nobody waits with a slice in hand.
    async fn patiently<R: Send + 'static>(
        &mut self,
        ask: impl FnOnce() -> Result<R> + Clone + Send + 'static,
    ) -> Result<R> {
        let mut patience = SendPatience::default();
        loop {
            match self.work(ask.clone()).await? {
                Err(error @ Error::StateHeld { .. }) if self.is_impatient => return Err(error),
                Err(error) if error.retry() == Retry::Helps => {
                    self.slice = None;
                    self.crawl.wait_for(&error, &mut patience).await?;
                }
                answer => {
                    patience.end(self.crawl);
                    return answer;
                }
            }
        }
    }

    async fn slice(&mut self) -> Result<Arc<TimeSlice>> {
        if let Some(slice) = self.slice.as_ref().filter(|slice| !slice.is_over()) {
            return Ok(slice.clone());
        }
        // Settled before the next is asked for.
        self.slice = None;
        let weight = *self.crawl.weight.borrow();
        let slice = tokio::select! {
            biased;
            () = self.crawl.control.stopped() => return Err(Error::Stopped),
            slice = self.crawl.ports.slices.slice(self.client.clone(), weight) => Arc::new(slice?),
        };
        self.slice = Some(slice.clone());
        Ok(slice)
    }
}
