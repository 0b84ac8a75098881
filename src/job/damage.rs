//! What a commit says about damaged objects, and what of the damage known before it stays known.
//!
//! An object counts as damaged from the moment at which it is found so until a later visit finds it well or gone. So what is
//! known belongs to a store and a job, not to a cycle: no beginning and no end of a cycle changes it, only commits do.
//! Pure; no store is touched here.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// Names an object in a prefix. An empty object stands for the bucket as a whole.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    pub bucket: Vec<u8>,
    pub object: Vec<u8>,
}

/// A damaged object, as the state knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct DamagedObject {
    pub prefix: String,
    pub name: ObjectName,
    /// When it was first found damaged, in seconds since 1970.
    pub since: f64,
}

/// What the visits since the last commit of a prefix have come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judged {
    /// Which of the buckets behind the cursor saved before, up to the new one, or to the end of a prefix that is complete, were
    /// visited. Of what is known in them only that stays which is damaged still, or could not be judged.
    pub coverage: Coverage,
    /// Objects found damaged.
    pub damaged: BTreeSet<ObjectName>,
    /// Objects, or whole buckets, that could not be judged.
    pub unclear: BTreeSet<ObjectName>,
    /// Buckets that were passed over, to be visited once more at the end of the prefix: they were not visited.
    pub deferred: BTreeSet<Vec<u8>>,
    /// Buckets behind the cursor saved before that had been passed over, and were visited now.
    pub revisited: BTreeSet<Vec<u8>>,
}

/// Which buckets were visited.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Coverage {
    /// None. The default.
    #[default]
    Nothing,
    /// All that are there: what is not was looked for, and is gone.
    All,
    /// As [`All`](Self::All), of those with such names.
    Only(Picked),
}

/// Says whether it is one of them.
type Predicate = dyn Fn(&[u8]) -> bool + Send + Sync;

/// Tells which names of buckets are picked.
#[derive(Clone)]
pub struct Picked(Arc<Predicate>);

impl Picked {
    /// Those of which this is true.
    pub fn new(picks: impl Fn(&[u8]) -> bool + Send + Sync + 'static) -> Picked {
        Picked(Arc::new(picks))
    }

    /// Whether this one is.
    pub fn picks(&self, bucket: &[u8]) -> bool {
        (self.0)(bucket)
    }
}

impl fmt::Debug for Picked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Picked").finish_non_exhaustive()
    }
}

impl PartialEq for Picked {
    /// Whether they are one.
    fn eq(&self, other: &Picked) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Picked {}

impl Judged {
    /// Whether nothing that is known changes.
    pub(crate) fn changes_nothing(&self, objects_known: u64) -> bool {
        self.damaged.is_empty() && (objects_known == 0 || self.coverage == Coverage::Nothing)
    }

    /// Whether damage that is known, in a bucket between the two cursors or in one that was visited again, is known still.
    pub(crate) fn keeps(&self, known: &ObjectName) -> bool {
        let visited = match &self.coverage {
            Coverage::Nothing => false,
            Coverage::All => true,
            Coverage::Only(picked) => picked.picks(&known.bucket),
        };
        !visited || self.deferred.contains(&known.bucket) || self.damaged.contains(known) || self.is_unclear(known)
    }

    fn is_unclear(&self, known: &ObjectName) -> bool {
        let whole = || ObjectName { bucket: known.bucket.clone(), object: Vec::new() };
        !self.unclear.is_empty() && (self.unclear.contains(known) || self.unclear.contains(&whole()))
    }

    /// Takes up what earlier visits have come to, which could not be saved.
    pub(crate) fn take_up(&mut self, earlier: Judged) {
        self.damaged.extend(earlier.damaged);
        self.unclear.extend(earlier.unclear);
        self.deferred.extend(earlier.deferred.into_iter().filter(|bucket| !self.revisited.contains(bucket)));
        self.revisited.extend(earlier.revisited);
    }
}
