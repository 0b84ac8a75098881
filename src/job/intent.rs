//! Intents: what a job means to change in a store, saved for good before anything of it is done.
//!
//! A visit never changes the store. What it wants to have changed in its bucket it hands out as one intent; that is kept
//! beside tally and notes, committed with them, synced, and only then carried out. So after a crash at any moment the state
//! knows of every change that may have been made, and what it was to count for.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::Notes;
use crate::error::{Error, Result};
use crate::policy::deletion::Clocks;

/// How many intents of a worker are in hand at most before they are carried out, even in mid-slice.
const ROWS_IN_HAND: usize = 16_384;

/// How many bytes of them are in hand at most, likewise.
const BYTES_IN_HAND: usize = 8 << 20;

/// What is to be done to one bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// The bucket's name.
    pub bucket: Vec<u8>,
    /// How many shares it would delete.
    pub deletes: u64,
    /// What is to be done, and the bucket's whole effect on the tally, as the job writes it.
    pub body: String,
}

impl Intent {
    /// Whether each of its changes is done or not, and never half: then it may be given up at any moment. A body says so
    /// with `"all_or_nothing": true` beside whatever else is in it.
    pub fn is_all_or_nothing(&self) -> bool {
        #[derive(Deserialize)]
        struct Said {
            #[serde(default)]
            all_or_nothing: bool,
        }
        serde_json::from_str(&self.body).is_ok_and(|Said { all_or_nothing }| all_or_nothing)
    }
}

/// The intents of one prefix that have not been carried out.
#[derive(Debug, Default)]
pub struct Intents {
    /// Saved for good by this run, so that they may be carried out.
    recorded: VecDeque<Intent>,
    /// Yet to be saved for good.
    new: Vec<Intent>,
    bytes: usize,
}

impl Intents {
    /// Goes on with what an earlier run saved and perhaps carried out. Whether that would survive a loss of power, it did
    /// not say.
    pub(crate) fn resume(new: Vec<Intent>) -> Intents {
        let bytes = new.iter().map(|intent| intent.body.len()).sum();
        Intents { recorded: VecDeque::new(), new, bytes }
    }

    /// Adds one.
    ///
    /// # Errors
    /// [`Error::Tally`] if the body cannot be written as JSON.
    pub fn add(&mut self, bucket: &[u8], deletes: u64, body: &impl Serialize) -> Result<()> {
        let body = serde_json::to_string(body)
            .map_err(|e| Error::Tally { crawl: "an intent".to_owned(), cause: e.to_string() })?;
        self.put(Intent { bucket: bucket.to_vec(), deletes, body });
        Ok(())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.recorded.is_empty() && self.new.is_empty()
    }

    /// Those there are, in the order in which they are to be carried out.
    pub fn rows(&self) -> impl Iterator<Item = &Intent> {
        self.recorded.iter().chain(&self.new)
    }

    fn len(&self) -> usize {
        self.recorded.len() + self.new.len()
    }

    /// Whether any is yet to be saved for good.
    pub(crate) fn has_new(&self) -> bool {
        !self.new.is_empty()
    }

    /// Whether any was saved for good, and is yet to be carried out.
    pub(crate) fn has_recorded(&self) -> bool {
        !self.recorded.is_empty()
    }

    /// Whether all of these together are so many that they should be carried out now.
    pub(crate) fn are_many<'a>(all: impl IntoIterator<Item = &'a Intents>) -> bool {
        let sum = |(rows, bytes), intents: &Intents| (rows + intents.len(), bytes + intents.bytes);
        let (rows, bytes) = all.into_iter().fold((0, 0), sum);
        rows >= ROWS_IN_HAND || bytes >= BYTES_IN_HAND
    }

    /// Notes that all were saved for good.
    pub(crate) fn record(&mut self) {
        self.recorded.extend(self.new.drain(..));
    }

    /// Takes out the next that was saved for good, to carry it out.
    pub(crate) fn next(&mut self) -> Option<Intent> {
        let next = self.recorded.pop_front()?;
        self.bytes -= next.body.len();
        Some(next)
    }

    /// Puts back one that could not be carried out.
    pub(crate) fn put_back(&mut self, intent: Intent) {
        self.bytes += intent.body.len();
        self.recorded.push_front(intent);
    }

    /// How many shares they delete.
    pub(crate) fn deletes(&self) -> u64 {
        self.rows().map(|intent| intent.deletes).fold(0, u64::saturating_add)
    }

    /// Adds one that is to be saved for good.
    pub(crate) fn put(&mut self, intent: Intent) {
        self.bytes += intent.body.len();
        self.new.push(intent);
    }
}

/// What a job has in hand while it carries out an intent.
pub struct Deed<'a, T> {
    /// The name of the prefix.
    pub prefix: &'a str,
    /// The tally of the prefix.
    pub tally: &'a mut T,
    /// Counts and errors.
    pub notes: &'a mut Notes,
    /// The moment that counts as now in this cycle, in seconds since 1970.
    pub now: f64,
    /// What the clocks say.
    pub clocks: Clocks,
}

/// What became of an intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Carried {
    /// It is done, as far as it can be, and in the tally.
    Settled,
    /// Something was changed meanwhile and was looked at anew; nothing of it is in the tally yet.
    Again(Intent),
}
