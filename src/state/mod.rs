//! Where progress is kept: the [`StateStore`] trait, which writes it, [`StateReader`], which reads it, and the stores behind them.
//!
//! Progress is one row per (crawl, cycle, prefix): cursor, tally, done, fence. Cursor, tally and notes of one commit are
//! one transaction, and so are the last prefix and the end of its cycle: after any crash a cycle's result is what an
//! undisturbed run gives.

mod check;
#[cfg(any(test, feature = "testing"))]
pub mod contract;
mod memory;
#[cfg(feature = "sqlite")]
mod sqlite;
mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

pub(crate) use check::may_be_given_up;
pub use memory::MemoryStore;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;
pub use writer::StateWriter;

use crate::error::Result;
use crate::job::{Candidate, DamagedObject, Intent, Judged, Note};
use crate::policy::cycle::{CycleIdentity, CycleKey, KnownCycle};

/// By what right a cycle carries out what it has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    /// It deletes no more than it may.
    WithinLimit,
    /// Somebody has confirmed it.
    Confirmed,
}

/// The right to commit to one prefix of a cycle, and what was committed to it so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Position of the prefix in the ring.
    pub prefix: u32,
    /// Grows with each claim on the prefix; a commit under an older one is refused.
    pub fence: u64,
    /// The last bucket that was committed.
    pub cursor: Option<Vec<u8>>,
    /// The tally up to it, opaque here; `None` before the first commit.
    pub tally: Option<Vec<u8>>,
    /// What was planned up to it, and is perhaps carried out; not in the tally.
    pub intents: Vec<Intent>,
}

/// What one commit adds to one prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrefixProgress {
    /// Position of the prefix in the ring.
    pub prefix: u32,
    /// The fence of the claim.
    pub fence: u64,
    /// The last bucket that is in `tally`.
    pub cursor: Option<Vec<u8>>,
    /// The whole tally of the prefix up to `cursor`.
    pub tally: Vec<u8>,
    /// Whether the prefix is complete; this also ends the claim.
    pub done: bool,
    /// Whether every bucket of it was visited: only then it is remembered when that was, see [`StateReader::visits`].
    pub whole: bool,
    /// Notes since the last commit; their numbers go on from the ones before.
    pub notes: Vec<Note>,
    /// All intents of the prefix that are not settled; those of earlier commits go. A prefix that is complete has none.
    pub intents: Vec<Intent>,
    /// Candidates found since the last commit, in any order. While they are carried out there are no new ones, and those up to
    /// `cursor` go.
    pub candidates: Vec<Candidate>,
    /// What the visits since the last commit say about damaged objects.
    pub judged: Judged,
}

/// How a cycle stands after a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CycleStanding {
    /// Prefixes that are not complete.
    pub left: u32,
    /// Objects of the store that are damaged, by what its job has found in this cycle and before, whatever the crawl.
    pub damaged: u64,
}

/// One prefix of a cycle, as saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrefixRow {
    /// Position of the prefix in the ring.
    pub prefix: u32,
    /// Whether it is complete.
    pub done: bool,
    /// The last bucket that is in `tally`.
    pub cursor: Option<Vec<u8>>,
    /// The tally; `None` before the first commit.
    pub tally: Option<Vec<u8>>,
}

/// How the last run of a cleaning ended.
#[derive(Debug, Clone, PartialEq)]
pub struct LastRun {
    /// When, in seconds since 1970.
    pub ended: f64,
    /// What came of it, opaque here.
    pub result: Value,
}

/// One small step of what keeps a state in order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TidyStep {
    /// What to do; `None` only looks what is due.
    pub kind: Option<Tidying>,
    /// How many rows or pages at most; the log is always emptied whole.
    pub most: u64,
    /// Cycles that ended before this moment (seconds since 1970) are old; `None` if none ever is.
    pub old_before: Option<f64>,
    /// The write-ahead log is to be emptied when it is longer than this, in bytes.
    pub log_bytes: u64,
}

/// A kind of work that keeps a state in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tidying {
    /// Moving the write-ahead log into the database.
    Log,
    /// Removing the rows of old cycles.
    Rows,
    /// Giving free pages back to the file system.
    Pages,
}

/// What one call of [`StateStore::tidy`] has done, and what is left to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tidied {
    /// Rows of old cycles that were removed, the cycles' own rows included.
    pub rows_removed: u64,
    /// Cycles among them: from then on nobody sees the cycle.
    pub cycles_removed: u64,
    /// Pages that were given back.
    pub pages_freed: u64,
    /// Bytes of the write-ahead log that were moved into the database.
    pub log_bytes_moved: u64,
    /// How long the write-ahead log is now.
    pub log_bytes: u64,
    /// Pages of the file that hold nothing.
    pub pages_free: u64,
    /// What is to be done next, if anything is.
    pub due: Option<Tidying>,
}

/// How many finished cycles of a crawl are kept beside the newest; the rest goes when a new one begins. (Tahoe's own
/// history has 10 as well.)
pub const FINISHED_CYCLES_KEPT: u64 = 10;

/// Bytes of tallies that are read at once, but for the last one. Those of a ring may together be more than memory should take.
pub const TALLY_BYTES_READ: usize = 1 << 20;

/// Visits all prefixes of a cycle, in ring order.
///
/// # Errors
/// As [`StateReader::prefixes`], and whatever `visit` fails with.
pub fn each_prefix(
    state: &dyn StateReader,
    cycle: &CycleKey,
    mut visit: impl FnMut(PrefixRow) -> Result<()>,
) -> Result<()> {
    let mut from = 0;
    loop {
        let rows = state.prefixes(cycle, from)?;
        let Some(last) = rows.last() else { return Ok(()) };
        from = last.prefix.saturating_add(1);
        rows.into_iter().try_for_each(&mut visit)?;
    }
}

/// Notes that are read at once, at most.
pub const NOTES_READ: usize = 1000;

/// Prefixes that are read at once, at most.
pub const PREFIXES_READ: usize = 4096;

/// From where on notes are read; the default is the first of a cycle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NotePlace {
    /// Position of the prefix.
    pub prefix: u32,
    /// The first note of it that is wanted.
    pub number: u64,
    /// What a store has found out about the notes before, so that it can check all notes of a prefix together.
    pub chain: i64,
}

/// Some of the notes of a cycle, each with the position of its prefix, in the order of the walk.
#[derive(Debug, PartialEq)]
pub struct NotePage {
    pub notes: Vec<(u32, Note)>,
    /// Where the next ones are, if there are more.
    pub next: Option<NotePlace>,
}

/// Visits all notes of a cycle, in the order of the walk.
///
/// # Errors
/// As [`StateReader::notes`], and whatever `visit` fails with.
pub fn each_note(
    state: &dyn StateReader,
    cycle: &CycleKey,
    mut visit: impl FnMut(u32, Note) -> Result<()>,
) -> Result<()> {
    let mut from = Some(NotePlace::default());
    while let Some(place) = from {
        let NotePage { notes, next } = state.notes(cycle, place, NOTES_READ)?;
        notes.into_iter().try_for_each(|(prefix, note)| visit(prefix, note))?;
        from = next;
    }
    Ok(())
}

/// Reads a state, beside whoever writes to it and on any thread: neither waits for the other.
///
/// Each call that its doc comment calls a page reads within one transaction, for some milliseconds. The others read several pages;
/// a cycle that goes meanwhile is an error. No transaction outlives a call, since an old snapshot would keep the log from being cut.
///
/// All methods fail with [`Error::StateFull`](crate::Error::StateFull) where there is no room,
/// [`Error::StateHeld`](crate::Error::StateHeld) where another program locks the file (both: try again later, nothing
/// was lost), [`Error::StateDamaged`](crate::Error::StateDamaged) where what is read is not what was written, and
/// [`Error::Stopped`](crate::Error::Stopped) once the store is closed.
pub trait StateReader: Send + Sync + 'static {
    /// The newest cycle of a crawl by its own row, a page; `None` if the crawl never had one. [`KnownCycle::done`] is empty while the
    /// cycle is in progress: [`prefixes`](Self::prefixes) tells what is complete.
    fn newest(&self, crawl: &str) -> Result<Option<KnownCycle>>;

    /// The newest cycle of a crawl, with the prefixes that are complete. All that will be reported of it is read: nothing of that
    /// may turn out to be damaged only then.
    fn latest(&self, crawl: &str) -> Result<Option<KnownCycle>>;

    /// The finished cycles of a crawl that are kept, the oldest first, a page. Whether all of each is there shows when it is
    /// [read](Self::prefixes).
    fn finished(&self, crawl: &str) -> Result<Vec<KnownCycle>>;

    /// When each prefix of a store was last completed, every bucket of it visited by this job, whatever the crawl;
    /// by name. Known for as long as the state is kept.
    fn visits(&self, store: &str, job: &str) -> Result<BTreeMap<String, f64>>;

    /// How many objects of a store are damaged by the judgement of this job, whatever the crawl: found so, and not found well or
    /// gone since. Known for as long as the state is kept. A page.
    fn damaged(&self, store: &str, job: &str) -> Result<u64>;

    /// The first of them, at most `limit`, by the names of prefix, bucket and object.
    fn damage(&self, store: &str, job: &str, limit: u64) -> Result<Vec<DamagedObject>>;

    /// How many intents of a cycle are not settled and [may be half done](Intent::may_be_half_done). While there are any, the
    /// cycle is not given up.
    fn half_done(&self, cycle: &CycleKey) -> Result<u64>;

    /// The prefixes of a cycle from this position on, in ring order, a page: so many that their tallies come to
    /// [`TALLY_BYTES_READ`], at least one if there is one, and at most [`PREFIXES_READ`]. [`each_prefix`] visits all of them.
    fn prefixes(&self, cycle: &CycleKey, from: u32) -> Result<Vec<PrefixRow>>;

    /// The notes of a cycle from this place on, at most `most`, which is not 0; a page. [`each_note`] visits all of them.
    fn notes(&self, cycle: &CycleKey, from: NotePlace, most: usize) -> Result<NotePage>;

    /// How the last run of a maintenance ended, or `None` if none is known. A page.
    fn last_run(&self, maintenance: &str) -> Result<Option<LastRun>>;
}

/// Keeps the progress of crawls: the one writer of a state, and [who reads it](Self::reader).
///
/// One process at a time works with a state; opening it a second time is refused. Every call is one transaction: it
/// happens whole or not at all. Times are seconds since 1970. All methods fail as those of [`StateReader`] do.
pub trait StateStore: Send + 'static {
    /// Who reads this state. A reader may outlive the store: its calls fail once that is dropped, which waits for those at work.
    fn reader(&self) -> Arc<dyn StateReader>;

    /// Begins the next cycle of a crawl over the identity's ring. An unfinished cycle before it is given up: it keeps its number,
    /// and its rows go. What takes longer with a longer ring is left to [`take_up`](Self::take_up).
    ///
    /// # Errors
    /// [`Error::HalfDone`](crate::Error::HalfDone) if the unfinished cycle has intents that may be half done: what they have begun would
    /// stay half done.
    fn begin(&mut self, crawl: &str, identity: &CycleIdentity, at: f64) -> Result<KnownCycle>;

    /// As [`begin`](Self::begin), for a cycle that another program has begun and counted: it keeps its number. An unfinished
    /// cycle before it is given up, and may have had the same number; whoever holds claims on that one must be gone.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) as [`begin`](Self::begin), and if the crawl has come further than that: to a
    /// higher number, or to the end of a cycle with the same.
    fn begin_numbered(&mut self, crawl: &str, identity: &CycleIdentity, number: u64, at: f64) -> Result<KnownCycle>;

    /// Takes up a cycle that has begun, now or long ago, a step of some milliseconds from a position on, at first 0. Gives where the next
    /// step goes on; `None` when all is done. The first step gives back all claims on the cycle, whoever holds them: those who
    /// might must be gone.
    ///
    /// A cycle that was not taken up to the end is all there as well: its first claim then does what is left, at once.
    fn take_up(&mut self, cycle: &CycleKey, from: u32) -> Result<Option<u32>>;

    /// Claims up to `most` prefixes of a cycle, the first in ring order that are neither complete nor claimed.
    fn claim(&mut self, cycle: &CycleKey, most: u32) -> Result<Vec<Claim>>;

    /// Claims prefixes as [`claim`](Self::claim) does, but first those that were never visited as a whole, and then those
    /// whose last visit is longest ago; the first in ring order where that is the same.
    fn claim_oldest(&mut self, cycle: &CycleKey, most: u32) -> Result<Vec<Claim>>;

    /// Adds progress to claimed prefixes; the one that leaves no prefix incomplete ends the cycle at the moment `at`, unless
    /// there are candidates: then the cycle [is examined](KnownCycle::is_examined).
    ///
    /// # Errors
    /// [`Error::StaleClaim`](crate::Error::StaleClaim) if any claim is no longer in force; nothing is changed then.
    fn commit(&mut self, cycle: &CycleKey, progress: &[PrefixProgress], at: f64) -> Result<CycleStanding>;

    /// Gives claims back, each as (prefix, fence). Claims that are no longer in force are passed over.
    fn release(&mut self, cycle: &CycleKey, claims: &[(u32, u64)]) -> Result<()>;

    /// Ends a cycle of a store without any prefix. A cycle with prefixes left is refused; one that has ended stays as
    /// it is.
    fn finish(&mut self, cycle: &CycleKey, at: f64) -> Result<()>;

    /// Notes that the cycle's report has been handed over.
    fn deliver(&mut self, cycle: &CycleKey) -> Result<()>;

    /// Lets a cycle carry out what it has shown, from the moment `at` on: its prefixes that have candidates are no longer
    /// complete and begin at their first candidate. With [`Consent::Confirmed`] it is noted that somebody agreed. A cycle that
    /// carries out already stays as it is.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) if the cycle is not the newest of its crawl, or [not
    /// examined](KnownCycle::is_examined).
    fn carry_out(&mut self, cycle: &CycleKey, consent: Consent, at: f64) -> Result<()>;

    /// The first candidates of a prefix behind this bucket, in byte order, at most `most`.
    fn candidates(
        &mut self,
        cycle: &CycleKey,
        prefix: u32,
        after: Option<&[u8]>,
        most: usize,
    ) -> Result<Vec<Candidate>>;

    /// Notes how a run of a cleaning has ended, in place of the one before.
    fn ran(&mut self, cleaning: &str, run: &LastRun) -> Result<()>;

    /// Does one small step of what keeps the state in order, as far as it is due, and says what is due next.
    ///
    /// A finished cycle is old if it ended before [`TidyStep::old_before`], was delivered, and is not the newest finished
    /// one of its crawl. An old cycle goes with everything in it: first its name, so that nobody sees a part of it, then
    /// its rows, in as many calls as it takes. Nothing else that can be read through this trait changes.
    fn tidy(&mut self, step: &TidyStep) -> Result<Tidied>;

    /// Makes sure that everything committed so far survives a loss of power.
    fn sync(&mut self) -> Result<()>;
}
