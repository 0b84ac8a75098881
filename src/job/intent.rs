//! Intents: what a job means to change in a store, saved for good before anything of it is done.
//!
//! A visit never changes the store. What it wants to have changed in its bucket it hands out as one intent; that is kept
//! beside tally and notes, committed with them, synced, and only then carried out. So after a crash at any moment the state
//! knows of every change that may have been made, and what it was to count for.

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
    rows: Vec<Intent>,
    bytes: usize,
}

impl Intents {
    /// Goes on with what was saved and perhaps not carried out.
    pub(crate) fn resume(rows: Vec<Intent>) -> Intents {
        let bytes = rows.iter().map(|intent| intent.body.len()).sum();
        Intents { rows, bytes }
    }

    /// Adds one.
    ///
    /// # Errors
    /// [`Error::Tally`] if the body cannot be written as JSON.
    pub fn add(&mut self, bucket: &[u8], deletes: u64, body: &impl Serialize) -> Result<()> {
        let body = serde_json::to_string(body)
            .map_err(|e| Error::Tally { crawl: "an intent".to_owned(), cause: e.to_string() })?;
        self.bytes += body.len();
        self.rows.push(Intent { bucket: bucket.to_vec(), deletes, body });
        Ok(())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Those there are, in the order of the walk.
    pub fn rows(&self) -> &[Intent] {
        &self.rows
    }

    /// Whether all of these together are so many that they should be carried out now.
    pub(crate) fn are_many<'a>(all: impl IntoIterator<Item = &'a Intents>) -> bool {
        let sum = |(rows, bytes), intents: &Intents| (rows + intents.rows.len(), bytes + intents.bytes);
        let (rows, bytes) = all.into_iter().fold((0, 0), sum);
        rows >= ROWS_IN_HAND || bytes >= BYTES_IN_HAND
    }

    /// Takes all out, to carry them out.
    pub(crate) fn take(&mut self) -> Vec<Intent> {
        self.bytes = 0;
        std::mem::take(&mut self.rows)
    }

    /// How many shares they delete.
    pub(crate) fn deletes(&self) -> u64 {
        self.rows.iter().map(|intent| intent.deletes).fold(0, u64::saturating_add)
    }

    /// Puts one back that has to be saved and carried out once more.
    pub(crate) fn put(&mut self, intent: Intent) {
        self.bytes += intent.body.len();
        self.rows.push(intent);
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
