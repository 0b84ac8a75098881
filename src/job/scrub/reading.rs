//! One object being read: as it comes, and once more past every cache before it is called corrupt.
//!
//! What counts is what lies where the object is kept, and what other code says of it. An object that was changed while it was read
//! is read anew, since its users write in place and take no lock.

use std::io;

use super::check::{BytesRead, Check, Checked, Left, give_next};
use super::checker::{BucketOf, Checker};
use super::{Flaw, ReadingKind};
use crate::store::{CacheUse, ErrorCause, Source, Stamp};

/// How often an object that changes under the reader is read anew. A writer's own change takes milliseconds.
const READINGS_MOST: u32 = 5;

/// An object that was looked at to its end.
pub struct JudgedObject<R: Checker> {
    pub object: R::Object,
    /// Its size in bytes; 0 if it could not be opened.
    pub size: u64,
    /// How many bytes of it were read; no more than it has, though some may be read twice.
    pub bytes_read: u64,
    /// What was found.
    pub verdict: ObjectVerdict<FactsOf<R>>,
    /// What was done about it, where it is corrupt.
    pub dealt: Dealt,
}

/// The facts that the checks of a room come to.
pub type FactsOf<R> = <<R as Checker>::Check as Check>::Facts;

/// What was found of an object.
#[derive(Debug)]
pub enum ObjectVerdict<F> {
    /// It was read.
    Read(ReadObject<F>),
    /// It could not be read, or has vanished.
    Unreadable(io::Error),
}

/// An object that was read.
#[derive(Debug)]
pub struct ReadObject<F> {
    /// What its check has found.
    pub checked: Checked<F>,
    /// What it was when it was read.
    pub stamp: Stamp,
    /// Whether it or another object of its bucket is wrong, and nothing tells which.
    pub in_doubt: bool,
    /// The flaw that it had only in a cache.
    pub(super) misread: Option<Flaw>,
    /// How often it was begun, and whether the last time was past every cache.
    pub(super) begun: u32,
    pub(super) is_direct: bool,
}

/// What was done about a corrupt object.
#[derive(Debug, Default)]
pub struct Dealt {
    /// What could not be done, and why.
    pub errors: Vec<(ErrorCause, String)>,
    /// How many bytes were copied, if it lies in quarantine now.
    pub quarantined: Option<u64>,
}

/// Why an object is read again.
#[derive(Debug)]
pub(super) struct Doubt<F> {
    pub flaw: Flaw,
    /// What it was at first.
    pub checked: Checked<F>,
}

/// An object being read. Goes along from slice to slice; is never saved.
pub(super) struct ObjectReading<R: Checker> {
    object: R::Object,
    /// How often it was begun.
    begun: u32,
    check: R::Check,
    source: R::Source,
    read: BytesRead,
    /// What the first reading has shown, where this is the one past every cache.
    because: Option<Box<Doubt<FactsOf<R>>>>,
}

/// What a step of a reading has come to.
pub(super) enum Stepped<R: Checker> {
    More(Box<ObjectReading<R>>),
    Judged(JudgedObject<R>),
}

/// Why an object is begun.
pub(super) struct Beginning<R: Checker> {
    pub object: R::Object,
    pub begun: u32,
    pub because: Option<Box<Doubt<FactsOf<R>>>>,
}

impl<R: Checker> ObjectReading<R> {
    /// Opens an object.
    pub fn begin(checker: &R, bucket: &BucketOf<'_, R>, caches: CacheUse, beginning: Beginning<R>) -> Stepped<R> {
        let Beginning { object, begun, because } = beginning;
        let mut source = match checker.open(bucket, &object) {
            Ok(source) => source,
            Err(e) => return Stepped::Judged(JudgedObject::unreadable(object, e)),
        };
        let again = because.is_some();
        source.use_caches(if again { CacheUse::Bypass } else { caches });
        let kind = if again { ReadingKind::Again } else { ReadingKind::First };
        let check = checker.check(&object, source.size(), kind);
        Stepped::More(Box::new(ObjectReading { object, begun, check, source, read: BytesRead::default(), because }))
    }

    /// Reads the next piece, and begins anew where that is called for.
    pub fn step(
        mut self: Box<Self>,
        checker: &R,
        bucket: &BucketOf<'_, R>,
        caches: CacheUse,
        buffer: &mut [u8],
    ) -> Stepped<R> {
        match give_next(&mut self.check, &mut self.source, buffer, &mut self.read) {
            Ok(Left::Something) => {
                self.source.is_done_up_to(self.read.in_order);
                Stepped::More(self)
            }
            Ok(Left::Nothing) => (*self).end(checker, bucket, caches, None),
            Err(e) => (*self).end(checker, bucket, caches, Some(e)),
        }
    }

    /// It was read to its end, or as far as it can be.
    fn end(self, checker: &R, bucket: &BucketOf<'_, R>, caches: CacheUse, failed: Option<io::Error>) -> Stepped<R> {
        let ObjectReading { object, begun, check, mut source, read, because } = self;
        let (size, stamp) = (source.size(), source.stamp());
        source.is_done_up_to(size);
        let bytes_read = read.all.min(size);
        let judged = |object, verdict| {
            Stepped::Judged(JudgedObject { object, size, bytes_read, verdict, dealt: Dealt::default() })
        };
        match source.has_changed() {
            Ok(false) => {}
            Ok(true) if begun < READINGS_MOST => {
                let beginning = Beginning { object, begun: begun + 1, because: None };
                return ObjectReading::begin(checker, bucket, caches, beginning);
            }
            Ok(true) => {
                let error = io::Error::other(format!("it was changed while it was read, {begun} times"));
                return judged(object, ObjectVerdict::Unreadable(error));
            }
            Err(e) => return judged(object, ObjectVerdict::Unreadable(e)),
        }
        if let Some(e) = failed {
            return judged(object, ObjectVerdict::Unreadable(e));
        }
        let checked = check.finish();
        if let Some(flaw) = checked.flaws.first().cloned().filter(|_| because.is_none()) {
            let because = Some(Box::new(Doubt { flaw, checked }));
            return ObjectReading::begin(checker, bucket, caches, Beginning { object, begun, because });
        }
        let is_direct = because.is_some();
        let misread =
            because.filter(|doubt| checked.flaws.is_empty() && checked != doubt.checked).map(|doubt| doubt.flaw);
        let read = ReadObject { checked, stamp, in_doubt: false, misread, begun, is_direct };
        judged(object, ObjectVerdict::Read(read))
    }
}

impl<R: Checker> JudgedObject<R> {
    fn unreadable(object: R::Object, error: io::Error) -> JudgedObject<R> {
        let verdict = ObjectVerdict::Unreadable(error);
        JudgedObject { object, size: 0, bytes_read: 0, verdict, dealt: Dealt::default() }
    }

    /// The object's name in its bucket.
    pub fn name(&self) -> &[u8] {
        R::object_name(&self.object)
    }

    /// What was read of it, if it could be read.
    pub fn read(&self) -> Option<&ReadObject<FactsOf<R>>> {
        match &self.verdict {
            ObjectVerdict::Read(read) => Some(read),
            ObjectVerdict::Unreadable(_) => None,
        }
    }

    /// Likewise, to be changed.
    pub fn read_mut(&mut self) -> Option<&mut ReadObject<FactsOf<R>>> {
        match &mut self.verdict {
            ObjectVerdict::Read(read) => Some(read),
            ObjectVerdict::Unreadable(_) => None,
        }
    }

    /// Whether it was read and has flaws.
    pub fn is_corrupt(&self) -> bool {
        self.read().is_some_and(|read| !read.checked.flaws.is_empty())
    }
}
