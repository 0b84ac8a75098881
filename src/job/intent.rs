//! Intents: what a job means to change in a store, saved for good before anything of it is done.
//!
//! A visit never changes the store. What it wants to have changed in its bucket it hands out as one intent; that is kept
//! beside tally and notes, committed with them, synced, and only then carried out. So after a crash at any moment the state
//! knows of every change that may have been made, and what it was to count for.

use std::collections::VecDeque;

use serde::Deserialize;

use super::Notes;
use crate::policy::deletion::Clocks;

/// How many intents of a worker are in hand at most before they are carried out, even in mid-slice.
const ROWS_IN_HAND: usize = 16_384;

/// How many bytes of them are in hand at most, likewise.
const BYTES_IN_HAND: usize = 4 << 20;

/// What is to be done to one bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// The bucket's name.
    pub bucket: Vec<u8>,
    /// How many objects it would delete.
    pub deletes: u64,
    /// What is to be done, and the bucket's whole effect on the tally, as the job writes it.
    pub body: String,
    /// Whether something of it may have been done. In the state that is so of each, unless the run that saved it ended in good
    /// order and says otherwise.
    pub begun: bool,
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

    /// Whether something of it may be done, and the rest not. Then its cycle is not given up.
    pub fn may_be_half_done(&self) -> bool {
        self.begun && !self.is_all_or_nothing()
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
    /// Whether nothing more of them is begun.
    closed: bool,
}

impl Intents {
    /// Goes on with what an earlier run saved and perhaps carried out. Whether that would survive a loss of power, it did
    /// not say.
    pub(crate) fn resume(intents: Vec<Intent>) -> Intents {
        let bytes = intents.iter().map(|intent| intent.body.len()).sum();
        Intents { recorded: VecDeque::new(), new: intents, bytes, closed: false }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.recorded.is_empty() && self.new.is_empty()
    }

    /// Those there are, in the order in which they are to be carried out, as they are saved: once they are, they may be begun.
    pub fn rows(&self) -> impl Iterator<Item = Intent> {
        let saved = |intent: &Intent| Intent { begun: intent.begun || !self.closed, ..intent.clone() };
        self.recorded.iter().chain(&self.new).map(saved)
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

    /// Notes that nothing more is carried out, so that those of which nothing was begun are saved as such. Tells whether that
    /// makes a difference.
    pub(crate) fn close(&mut self) -> bool {
        self.closed = true;
        self.recorded.iter().any(|intent| !intent.begun && !intent.is_all_or_nothing())
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
    /// It comes again as this: a part of it is done, or something was changed meanwhile and was looked at anew, or cannot be done
    /// just now. Nothing of it is in the tally yet.
    Again(Intent),
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_not_begun_is_saved_as_such_until_it_is_taken_up_again() {
        let mut intents = Intents::default();
        for body in [json!({"n": 1}), json!({"n": 2}), json!({"n": 3, "all_or_nothing": true}), json!({}), json!("4")] {
            intents.put(Intent { bucket: b"b".to_vec(), deletes: 1, body: body.to_string(), begun: false });
        }
        let half_done = |intents: &Intents| intents.rows().map(|i| i.may_be_half_done()).collect::<Vec<_>>();
        intents.record();
        assert_eq!(half_done(&intents), [true, true, false, true, true], "from now on each may be begun");
        // One that has failed may be half done.
        let first = intents.next().unwrap();
        intents.put_back(Intent { begun: true, ..first });
        assert!(intents.close());
        assert_eq!(half_done(&intents), [true, false, false, false, false]);
        let saved: Vec<Intent> = intents.rows().collect();

        let mut resumed = Intents::resume(saved.clone());
        assert_eq!(half_done(&resumed), [true, true, false, true, true]);
        resumed.record();
        assert!(resumed.close(), "stopped again, before any is carried out");
        assert_eq!(resumed.rows().collect::<Vec<_>>(), saved);
        // After a crash each is taken for begun.
        let crashed = saved.into_iter().map(|intent| Intent { begun: true, ..intent }).collect();
        let mut crashed = Intents::resume(crashed);
        crashed.record();
        assert!(!crashed.close());
        assert_eq!(half_done(&crashed), [true, true, false, true, true]);
    }
}
