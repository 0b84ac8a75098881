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
}

/// With this in place of the brace, the body of an intent in the state says that nothing of it was begun.
const NOT_BEGUN: &str = "{\"not_begun\":true,";

impl Intent {
    /// Whether each of its changes is done or not, and never half: then it may be given up at any moment. A body says so
    /// with `"all_or_nothing": true` beside whatever else is in it; and one of which nothing was begun says that.
    pub fn is_all_or_nothing(&self) -> bool {
        #[derive(Deserialize)]
        struct Said {
            #[serde(default)]
            all_or_nothing: bool,
            #[serde(default)]
            not_begun: bool,
        }
        let said = serde_json::from_str(&self.body);
        said.is_ok_and(|Said { all_or_nothing, not_begun }| all_or_nothing || not_begun)
    }

    /// Writes into the body that nothing of it was begun, where that makes a difference and the body has room for it.
    fn mark(&mut self) {
        if let Some(rest) = self.body.strip_prefix('{').filter(|rest| rest.starts_with('"'))
            && !self.is_all_or_nothing()
        {
            self.body = format!("{NOT_BEGUN}{rest}");
        }
    }

    /// Takes that out again; tells whether it was there.
    fn unmark(&mut self) -> bool {
        let Some(rest) = self.body.strip_prefix(NOT_BEGUN) else { return false };
        self.body = format!("{{{rest}");
        true
    }
}

/// The intents of one prefix that have not been carried out.
#[derive(Debug, Default)]
pub struct Intents {
    /// Saved for good by this run, so that they may be carried out.
    recorded: VecDeque<Held>,
    /// Yet to be saved for good.
    new: Vec<Held>,
    bytes: usize,
}

/// An intent in hand.
#[derive(Debug)]
pub(crate) struct Held {
    pub intent: Intent,
    /// Whether something of it may have been done.
    pub begun: bool,
}

impl Intents {
    /// Goes on with what an earlier run saved and perhaps carried out. Whether that would survive a loss of power, it did
    /// not say.
    pub(crate) fn resume(intents: Vec<Intent>) -> Intents {
        let held = |mut intent: Intent| Held { begun: !intent.unmark(), intent };
        let new: Vec<Held> = intents.into_iter().map(held).collect();
        let bytes = new.iter().map(|held| held.intent.body.len()).sum();
        Intents { recorded: VecDeque::new(), new, bytes }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.recorded.is_empty() && self.new.is_empty()
    }

    /// Those there are, in the order in which they are to be carried out.
    pub fn rows(&self) -> impl Iterator<Item = &Intent> {
        self.recorded.iter().chain(&self.new).map(|held| &held.intent)
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
    pub(crate) fn next(&mut self) -> Option<Held> {
        let next = self.recorded.pop_front()?;
        self.bytes -= next.intent.body.len();
        Some(next)
    }

    /// Puts back one that could not be carried out.
    pub(crate) fn put_back(&mut self, held: Held) {
        self.bytes += held.intent.body.len();
        self.recorded.push_front(held);
    }

    /// Has those of which nothing was begun say so when they are saved next. Nothing is carried out after that. Tells
    /// whether there are any.
    pub(crate) fn lay_down(&mut self) -> bool {
        let mut laid_down = false;
        for Held { intent, .. } in self.recorded.iter_mut().filter(|held| !held.begun) {
            let before = intent.body.len();
            intent.mark();
            self.bytes += intent.body.len() - before;
            laid_down |= intent.body.len() > before;
        }
        laid_down
    }

    /// Adds one that is to be saved for good.
    pub(crate) fn put(&mut self, intent: Intent) {
        self.push(Held { intent, begun: false });
    }

    /// As [`put`](Self::put), in place of one that was carried out in part.
    pub(crate) fn put_again(&mut self, intent: Intent) {
        self.push(Held { intent, begun: true });
    }

    fn push(&mut self, held: Held) {
        self.bytes += held.intent.body.len();
        self.new.push(held);
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

    fn rows(intents: &Intents) -> Vec<Intent> {
        intents.rows().cloned().collect()
    }

    #[test]
    fn what_was_laid_down_says_so_until_it_is_taken_up_and_saved_again() {
        let mut intents = Intents::default();
        for body in [json!({"n": 1}), json!({"n": 2}), json!({"n": 3, "all_or_nothing": true}), json!({}), json!("4")] {
            intents.put(Intent { bucket: b"b".to_vec(), deletes: 1, body: body.to_string() });
        }
        let plain = rows(&intents);
        intents.record();
        // One that has failed may be half done.
        let first = intents.next().unwrap();
        intents.put_back(Held { begun: true, ..first });
        assert!(intents.lay_down());
        let saved = rows(&intents);
        let given_up: Vec<bool> = saved.iter().map(Intent::is_all_or_nothing).collect();
        assert_eq!(given_up, [false, true, true, false, false]);

        let mut resumed = Intents::resume(saved);
        assert_eq!(rows(&resumed), plain);
        resumed.record();
        assert!(resumed.lay_down(), "stopped again, before any is carried out");
        assert_eq!(rows(&resumed).iter().map(Intent::is_all_or_nothing).collect::<Vec<_>>(), given_up);
        // After a crash it says nothing.
        let mut crashed = Intents::resume(plain.clone());
        crashed.record();
        assert!(!crashed.lay_down());
        assert_eq!(rows(&crashed), plain);
    }
}
