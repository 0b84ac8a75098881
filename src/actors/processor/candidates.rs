//! The second phase of a cycle takes its names from the candidates in the state, a page at a time, instead of from the store's
//! directories.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::crawl::CrawlTask;
use super::worker::Worker;
use crate::actors::messages::{CandidatePage, Contents, ListedPrefix};
use crate::error::{Error, Result, panic_message};
use crate::job::Job;
use crate::policy::cycle::CycleKey;
use crate::slice::{Stage, TimeSlice};
use crate::store::{Names, Nature, Store};

/// Candidates in one page: their names take some 100 KB.
const PAGE_LEN: usize = 4096;

/// What became of a listing, with the slice under which it was made.
type ListedCandidates = (Result<()>, TimeSlice);

impl<S: Store, J: Job<S>> Worker<S, J> {
    /// Takes the first claimed prefix in hand, with the first of its candidates.
    pub(super) async fn list_candidates(&mut self, slice: TimeSlice) -> Result<ListedCandidates> {
        let Some(claim) = self.claims.front() else { return Ok((Ok(()), slice)) };
        let (listed, slice) = self.read_candidates(claim.prefix, claim.cursor.clone(), slice).await?;
        let taken = match listed {
            Ok(listed) => Ok(self.take_in_hand(listed)?),
            Err(error) => Err(error),
        };
        Ok((taken, slice))
    }

    /// Gives the first prefix in hand its next candidates.
    pub(super) async fn next_candidates(&mut self, slice: TimeSlice) -> Result<ListedCandidates> {
        let Some((_, state)) = self.hand.todo.front() else { return Ok((Ok(()), slice)) };
        let (listed, slice) = self.read_candidates(state.position, state.cursor.clone(), slice).await?;
        let put = listed.map(|listed| {
            if let Some((before, _)) = self.hand.todo.front_mut() {
                *before = listed;
            }
        });
        Ok((put, slice))
    }

    async fn read_candidates(
        &mut self,
        prefix: u32,
        after: Option<Vec<u8>>,
        slice: TimeSlice,
    ) -> Result<(Result<ListedPrefix<S>>, TimeSlice)> {
        let (crawl, cycle) = (self.crawl.clone(), self.work.key.clone());
        let reading = self.crawl.working.run(move || {
            let read = slice.charge(Stage::List, || read(&crawl, &cycle, prefix, after));
            (read, slice)
        });
        let panicked = |message| Error::ActorPanicked { actor: "reading of candidates", message };
        let (read, slice) = reading.await.map_err(panicked)?;
        if read.is_ok() {
            self.went_through();
        }
        // Where the whole store has gone, its candidates have not.
        if matches!(&read, Ok(listed) if !matches!(listed.contents, Contents::Names { .. })) {
            self.store_is_there().await?;
        }
        Ok((read, slice))
    }
}

/// Reads a page of candidates and opens their prefix. On a blocking thread.
fn read<S: Store, J: Job<S>>(
    crawl: &CrawlTask<S, J>,
    cycle: &CycleKey,
    position: u32,
    after: Option<Vec<u8>>,
) -> Result<ListedPrefix<S>> {
    let candidates = crawl.candidates_here(cycle, position, after, PAGE_LEN)?;
    let is_last = candidates.len() < PAGE_LEN;
    let mut names = Names::default();
    candidates.iter().for_each(|candidate| names.push(&candidate.bucket, Nature::Bucket));
    names.end_chunk();
    let prefix = crawl.store.ring().name(position).unwrap_or_default();
    let panicked =
        |panic: Box<dyn Any + Send>| Err(io::Error::other(format!("the store panicked: {}", panic_message(&*panic))));
    let opened = catch_unwind(AssertUnwindSafe(|| crawl.store.open_prefix(prefix))).unwrap_or_else(panicked);
    let (contents, is_last) = match opened {
        Ok(Some(open)) => (Contents::Names { open, names }, is_last),
        // What is left of its candidates goes with it.
        Ok(None) => (Contents::Nothing, true),
        Err(error) => (Contents::Unlistable(error), true),
    };
    let candidates = Some(CandidatePage { candidates, is_last });
    Ok(ListedPrefix { position, contents, candidates })
}
