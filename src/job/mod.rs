//! What a crawl does with the buckets it meets: the [`Job`] trait, and the jobs that Sexton knows.
//!
//! A job folds buckets into a *tally*. Tallies of prefixes are kept apart, saved with the position, and merged in ring
//! order at the end of a cycle, so the result is the same whoever worked on which prefix, and whatever crashed
//! meanwhile. What grows with the store (findings, errors) goes to the [`Notes`], which become rows of their own.

mod candidate;
mod count;
mod counts;
mod damage;
mod deferred;
mod finding;
mod fold;
mod intent;
mod notes;
mod remarks;
pub mod scrub;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod walk;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

pub use candidate::{Candidate, CyclePhase, DeletionCount, PartlyDeleted, VisitPhase};
pub use count::Count;
pub use counts::{Counts, Verified};
pub use damage::{Coverage, DamagedObject, Judged, ObjectName, Picked};
pub use deferred::{BucketName, Deferred, DeferredBucket};
pub use finding::{Finding, Severity};
pub use fold::{Fold, Unreadable, Visited};
pub use intent::{Carried, Deed, Intent, Intents};
pub use notes::{ErrorNote, Note, NoteKind, Notes, PrefixTally, StrayNote};
pub(crate) use remarks::Remarks;
pub(crate) use walk::{PrefixState, Saver, Skipped, StopCause};
pub use walk::{PrefixWalk, Stopped};

use crate::policy::deletion::{Clocks, SafetyCatch};
use crate::store::Store;

/// A fold over the buckets of a store.
///
/// Its methods run on blocking threads. A panic in one of them costs the bucket: the walk goes back to the last commit,
/// leaves the bucket out and reports it; the third in one cycle stops the crawl.
pub trait Job<S: Store>: Sized + Send + Sync + 'static {
    /// What the buckets of one prefix are folded into; at most 64 KiB as JSON.
    type Tally: Tally;
    /// A bucket that was begun and not finished, see [`PrefixWalk::each_bucket_in_parts`]; `()` where each is done at once.
    type Part: Send + 'static;

    /// The name by which people know it: `count`, `verify`.
    fn name(&self) -> &str;

    /// What, besides the name, makes the result what it is. Frozen in a cycle: it is resumed only with equal ones.
    /// Default: nothing.
    fn parameters(&self) -> Value {
        Value::Null
    }

    /// Called before a cycle is begun or gone on with, with what is saved of all its prefixes. Default: nothing.
    fn take_up_cycle(&self, saved: &Counts) {
        let _ = saved;
    }

    /// Folds one bucket into the tally.
    ///
    /// Long work looks at `fold.slice.is_over()` now and then. Findings and errors go to `fold.notes`. Nothing is changed
    /// here: what is to be changed is handed out with [`Fold::intend`]. A bucket for which something was handed out is visited
    /// again when the cycle [carries out](VisitPhase::CarryOut), and what is handed out then is done; `fold.phase` says which
    /// visit this is.
    ///
    /// # Errors
    /// [`Unreadable`] if the bucket could not be read to its end; it is noted with its path, or counted as vanished
    /// when it is no longer there, and the walk goes on. What was put into the tally until then stays. What cannot be read just
    /// now can be left for [later](Fold::defer).
    fn process_bucket(&self, bucket: &mut S::Bucket<'_>, fold: &mut Fold<'_, Self::Tally>) -> Result<(), Unreadable>;

    /// Works off one prefix, or as much of it as fits the slice; one with very many names comes in several passes. Override it in a job that needs no bucket.
    ///
    /// Default: [`PrefixWalk::each_bucket`] with [`process_bucket`](Self::process_bucket).
    ///
    /// # Errors
    /// [`Stopped`] when the slice is over or progress cannot be saved: the same prefix comes again.
    fn process_prefix(&self, walk: &mut PrefixWalk<'_, S, Self>) -> Result<(), Stopped> {
        walk.each_bucket(|bucket, fold| self.process_bucket(bucket, fold))
    }

    /// Carries out an intent that [`process_bucket`](Self::process_bucket) has handed out, and adds the figures of what was
    /// deleted to the tally and to the counts in the notes. It was saved for good before; after a crash it comes again, so what
    /// is done already must count as done. What it asks for [again](Carried::Again) deletes no more objects than the intent.
    /// Default: nothing, for jobs that change nothing.
    ///
    /// # Errors
    /// What must stop the crawl; nothing of it is in the tally then. The intent stays saved, and comes again when the crawl goes
    /// on. With [`Error::Store`](crate::Error::Store) it may be half done, with any other nothing of it was begun.
    fn carry_out(&self, store: &S, intent: &Intent, deed: &mut Deed<'_, Self::Tally>) -> crate::error::Result<Carried> {
        let _ = (store, intent, deed);
        Ok(Carried::Settled)
    }

    /// Says whether anything may be changed now. Asked before intents are saved, so that a refusal leaves none behind, and
    /// about once a second while they are carried out. Default: yes.
    ///
    /// # Errors
    /// What must stop the crawl.
    fn may_change(&self, store: &S, clocks: &Clocks) -> crate::error::Result<()> {
        let _ = (store, clocks);
        Ok(())
    }

    /// How much a cycle may delete without somebody's confirmation, judged over the whole ring before anything is deleted. May
    /// change between runs. Default: anything.
    fn safety_catch(&self) -> Option<SafetyCatch> {
        None
    }

    /// Whether names that are [no bucket](crate::store::Nature::Stray) of the store are visited like buckets, as some crawlers
    /// do. Otherwise they are counted, and the job never sees them. Default: no.
    fn visits_strays(&self) -> bool {
        false
    }

    /// Whether intents are carried out as they come, so that nothing is judged before. Refused where the safety catch does not
    /// allow everything. Default: no.
    fn deletes_in_one_pass(&self) -> bool {
        false
    }

    /// Whether a crawl's first cycle with these parameters is to be a [rehearsal](crate::policy::cycle::Rehearsal): it stops between its two phases
    /// until somebody has confirmed what it has shown. Default: no.
    fn rehearses_first(&self) -> bool {
        false
    }

    /// The job's own part of the report of a cycle: keys and values beside the ones that every report has.
    fn report(&self, cycle: &CycleView<'_, Self::Tally>) -> Map<String, Value>;
}

/// What buckets are folded into, and how two of them become one.
pub trait Tally: Default + Serialize + DeserializeOwned + Send + 'static {
    /// Adds what `later` holds; `later` stands for prefixes further round the ring.
    fn merge(&mut self, later: Self);

    /// Bytes of memory that it takes, roughly: so many tallies wait to be saved as fit some megabytes. Default: its size without
    /// anything that it points to.
    fn memory_bytes(&self) -> usize {
        size_of::<Self>()
    }
}

/// A cycle as a job sees it when the report is made.
#[derive(Debug)]
pub struct CycleView<'a, T> {
    /// The moment that counts as now, in seconds since 1970.
    pub now: f64,
    /// Whether `now` was given by the user, so that the clock stands still at it.
    pub fixed_clock: bool,
    /// When the cycle began, in seconds since 1970.
    pub started: f64,
    /// When it ended, in seconds since 1970.
    pub finished: f64,
    /// The tallies of all prefixes, merged in ring order.
    pub tally: &'a T,
    /// The walk's counts, over all prefixes.
    pub counts: &'a Counts,
    /// Buckets of each prefix that has any, in ring order.
    pub prefixes: &'a [(String, u64)],
    /// All findings, in the order of the walk.
    pub findings: &'a [Finding],
}
