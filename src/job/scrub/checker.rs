//! What a room says of its store, so that it can be scrubbed: the [`Checker`] trait.

use std::fmt;
use std::io;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::reading::JudgedObject;
use super::sums::ScrubSums;
use super::{Check, Flaw, ScrubTally};
use crate::job::{Counts, CycleView, Finding, Notes};
use crate::shown;
use crate::store::{Source, Store};

/// An open bucket of the store that a room checks.
pub type BucketOf<'b, R> = <<R as Checker>::Store as Store>::Bucket<'b>;

/// What a listing of a bucket's objects gives next.
#[derive(Debug)]
pub enum Listed<O> {
    Object(O),
    /// Nothing yet: a bounded chunk of names was read.
    NotYet,
    /// No more objects.
    End,
}

/// Which reading of an object a check is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadingKind {
    /// The first one.
    First,
    /// The one past every cache, which decides: a check that can do so uses other code than the first time.
    Again,
}

/// The moments that a cycle goes by, in seconds since 1970.
#[derive(Debug, Clone, Copy)]
pub struct CycleMoment {
    /// When it began by the clock.
    pub began: f64,
    /// What counts as now in it.
    pub now: f64,
}

/// Whether what follows on a batch has more to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FollowUp {
    /// Call again.
    GoesOn,
    /// All was done.
    Ended,
}

/// Says what objects a bucket has and how each is checked. [`Scrub`](super::Scrub) does everything else.
///
/// The objects of a bucket are read in batches; only those of the first batch are compared with each other.
pub trait Checker: Send + Sync + Sized + 'static {
    type Store: Store;

    /// An object as its bucket lists it.
    type Object: Clone + fmt::Debug + Send + 'static;

    /// A listing of the objects of a bucket, in byte order. It goes on in another slice, when the bucket was opened anew.
    type Listing: Default + fmt::Debug + Send + 'static;

    /// An open object. In a file: [`FileSource`](crate::store::FileSource).
    type Source: Source + Send + 'static;

    /// The check of one object.
    type Check: Check;

    /// What follows once a batch was read. `()` where nothing does.
    type Aftermath: Default + Send + 'static;

    /// The job's name. Default: `verify`.
    fn name(&self) -> &str {
        "verify"
    }

    /// What one object is called in messages. Default: `object`.
    fn object_word(&self) -> &str {
        "object"
    }

    /// What makes the result what it is, besides the selection of buckets: see [`Job::parameters`](crate::job::Job::parameters).
    /// Default: nothing.
    fn parameters(&self) -> Value {
        json!({})
    }

    /// See [`Job::visits_strays`](crate::job::Job::visits_strays). Default: no.
    fn visits_strays(&self) -> bool {
        false
    }

    /// See [`Job::take_up_cycle`](crate::job::Job::take_up_cycle). Default: nothing.
    fn take_up_cycle(&self, saved: &Counts) {
        let _ = saved;
    }

    /// Gives the next object of a bucket, or reads a bounded chunk of names.
    ///
    /// # Errors
    /// If the bucket cannot be listed.
    fn list(&self, bucket: &BucketOf<'_, Self>, listing: &mut Self::Listing) -> io::Result<Listed<Self::Object>>;

    /// Makes a listing go on after the bucket was closed. Default: nothing.
    ///
    /// # Errors
    /// If there are too many open files.
    fn set_aside(&self, bucket: &BucketOf<'_, Self>, listing: &mut Self::Listing) -> io::Result<()> {
        let _ = (bucket, listing);
        Ok(())
    }

    /// Notes what else the listing of a bucket has shown. Default: nothing.
    fn note_strays(&self, bucket: &BucketOf<'_, Self>, listing: &Self::Listing, notes: &mut Notes) {
        let _ = (bucket, listing, notes);
    }

    /// The object's name in its bucket; empty if it is the whole bucket.
    fn object_name(object: &Self::Object) -> &[u8];

    /// The path of an object, or of the bucket for an empty name.
    fn path(&self, bucket: &BucketOf<'_, Self>, object: &[u8]) -> PathBuf;

    /// Opens an object for reading.
    ///
    /// # Errors
    /// Whatever kept it from being opened.
    fn open(&self, bucket: &BucketOf<'_, Self>, object: &Self::Object) -> io::Result<Self::Source>;

    /// Begins the check of an object of this size.
    fn check(&self, object: &Self::Object, size: u64, reading: ReadingKind) -> Self::Check;

    /// A flaw of an object, or of the bucket, as a finding. Default: names the bucket as its path does.
    fn finding(&self, bucket: &BucketOf<'_, Self>, object: Option<&Self::Object>, flaw: &Flaw) -> Finding {
        let path = self.path(bucket, b"");
        let object = object.map(Self::object_name).filter(|name| !name.is_empty()).map(shown::name);
        let bytes = flaw.bytes.map(|span| (span.start, span.end));
        let bucket = path.file_name().unwrap_or_default();
        Finding { object, bytes, ..Finding::bad(bucket, flaw.region, flaw.reason.as_str()) }
    }

    /// Compares the objects of a bucket with each other: names those that are odd beside the others, each with the flaw. They are
    /// read once more past every cache before that is held against them. Default: no object says anything of another.
    fn compare(&self, batch: &[JudgedObject<Self>]) -> Vec<(Vec<u8>, Flaw)> {
        let _ = batch;
        Vec::new()
    }

    /// Begins what follows once a batch of objects was read, in order of their names. `is_first` tells the bucket's first batch.
    /// Default: nothing.
    fn begin_aftermath(
        &self,
        bucket: &BucketOf<'_, Self>,
        batch: &mut [JudgedObject<Self>],
        is_first: bool,
        moment: CycleMoment,
    ) -> Self::Aftermath {
        let _ = (bucket, batch, is_first, moment);
        Self::Aftermath::default()
    }

    /// Does the next part of it: about as much as a buffer full. Default: there is none.
    fn go_on(
        &self,
        aftermath: &mut Self::Aftermath,
        bucket: &BucketOf<'_, Self>,
        batch: &mut [JudgedObject<Self>],
        moment: CycleMoment,
        buffer: &mut [u8],
    ) -> FollowUp {
        let _ = (aftermath, bucket, batch, moment, buffer);
        FollowUp::Ended
    }

    /// Adds what it has come to, besides the objects of the batch, to the bucket's sums. Default: nothing.
    fn settle(&self, aftermath: Self::Aftermath, bucket: &BucketOf<'_, Self>, sums: &mut ScrubSums) {
        let _ = (aftermath, bucket, sums);
    }

    /// The key under which the report lists the buckets that were selected. Default: `buckets`.
    fn buckets_key(&self) -> &str {
        "buckets"
    }

    /// The job's own part of the report. Default: `verified` with the figures of the tally that are not zero.
    fn report(&self, cycle: &CycleView<'_, ScrubTally>) -> Map<String, Value> {
        // A struct of numbers always serializes.
        let figures = serde_json::to_value(cycle.tally).unwrap_or_default();
        Map::from_iter([("verified".to_owned(), figures)])
    }
}
