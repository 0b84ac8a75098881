//! What a job has in hand while it looks at one bucket.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::deferred::Deferral;
use super::{DeletionCount, Notes, VisitPhase};
use crate::error::Error;
use crate::policy::deletion::Clocks;
use crate::slice::TimeSlice;
use crate::store::ErrorCause;

/// The tally, the notes, the slice and the moment that counts as now, for one bucket.
pub struct Fold<'a, T> {
    /// The tally of the prefix.
    pub tally: &'a mut T,
    /// Counts, findings and errors.
    pub notes: &'a mut Notes,
    /// Which visit to the bucket this is.
    pub phase: VisitPhase,
    /// The slice in force; `slice.is_over()` says when to yield.
    pub slice: &'a TimeSlice,
    /// When the cycle began by the clock, in seconds since 1970: tells it from all others, also where one `now` was given to
    /// several.
    pub began: f64,
    /// The moment that counts as now in this cycle, in seconds since 1970.
    pub now: f64,
    /// The latest moment that counts as now, in seconds since 1970: a cycle may last for weeks, and `now` is when it began.
    pub latest: f64,
    pub(crate) clocks: &'a dyn Fn() -> Clocks,
    pub(crate) is_there: &'a dyn Fn(&Path) -> bool,
    pub(crate) refused: Option<Error>,
    pub(crate) handed_out: HandedOut,
}

/// What a visit wants to have changed.
#[derive(Debug, Default)]
pub(crate) struct HandedOut {
    /// What all of it deletes; `None` if nothing is to be changed.
    pub count: Option<DeletionCount>,
    /// The bodies of the intents with the objects that each deletes; none while the bucket is only examined.
    pub bodies: Vec<(u64, String)>,
    /// Whether the bucket is to be visited again instead.
    pub deferral: Deferral,
}

impl<T> Fold<'_, T> {
    /// Looks at the clocks: what they say at this moment.
    pub fn clocks(&self) -> Clocks {
        (self.clocks)()
    }

    /// Whether there still is something at this path.
    pub(crate) fn is_there(&self, path: &Path) -> bool {
        (self.is_there)(path)
    }

    /// Refuses to go on, for a cause that somebody has to mend: the crawl stops with the first such error. Nothing of the
    /// bucket counts, and it comes again when the crawl goes on.
    pub fn refuse(&mut self, error: Error) {
        self.refused.get_or_insert(error);
    }

    /// Leaves the bucket for later: it is visited once more after the last one of its prefix. A job that gets `true` ends the
    /// visit at once, and has put nothing into the tally in it; what it has noted and handed out is taken back. With `false` it
    /// goes on: the bucket was deferred before, or too many are.
    pub fn defer(&mut self) -> bool {
        let possible = self.handed_out.deferral != Deferral::Denied;
        if possible {
            self.handed_out.deferral = Deferral::Wanted;
        }
        possible
    }

    /// [Defers](Self::defer) it for an error that says that something cannot be read just now.
    pub(crate) fn defer_for(&mut self, error: &io::Error) -> bool {
        error.kind() == io::ErrorKind::WouldBlock && self.defer()
    }

    pub(crate) fn is_deferred(&self) -> bool {
        self.handed_out.deferral == Deferral::Wanted
    }

    /// Hands out an intent for the bucket: something is to be changed in it that deletes so much. `body` says what, for
    /// [`Job::carry_out`](super::Job::carry_out); while the bucket is only examined it is not looked at.
    ///
    /// # Errors
    /// [`Error::Tally`] if the body cannot be written as JSON.
    pub fn intend(&mut self, deletes: DeletionCount, body: &impl Serialize) -> crate::error::Result<()> {
        if self.phase != VisitPhase::Examine {
            let body = serde_json::to_string(body)
                .map_err(|e| Error::Tally { crawl: "an intent".to_owned(), cause: e.to_string() })?;
            self.handed_out.bodies.push((deletes.objects, body));
        }
        self.handed_out.count.get_or_insert_default().merge(&deletes);
        Ok(())
    }

    /// Notes something that could not be read: as an error with its path if it is still there, else as vanished. What is gone
    /// when a candidate is visited again was counted before.
    pub fn unreadable(&mut self, what: &Unreadable) {
        match what.message() {
            _ if !self.is_there(&what.path) => self.notes.counts.vanished += u64::from(self.phase.examines()),
            message => self.notes.error(&what.path, ErrorCause::of(&what.error), &message),
        }
    }
}

/// How far a visit to a bucket has come, in a job whose buckets may take longer than a slice.
#[derive(Debug)]
pub enum Visited<P> {
    /// To its end.
    Whole,
    /// Up to here; the next visit to the same bucket gets it back.
    Part(P),
    /// Likewise, and what was handed out so far is carried out before that.
    Chunk(P),
}

/// Something of a bucket that could not be read, with its path.
#[derive(Debug)]
pub struct Unreadable {
    /// What could not be read.
    pub path: PathBuf,
    /// The cause.
    pub error: io::Error,
}

impl Unreadable {
    /// The cause, for people.
    pub(crate) fn message(&self) -> String {
        match self.error.kind() {
            io::ErrorKind::WouldBlock => format!("not readable now: {}", self.error),
            _ => self.error.to_string(),
        }
    }
}
