//! A job of the server's own: deletes blobs that were written long ago. A cycle examines the whole store first; more than the
//! safety catch allows is never deleted without a confirmation.

use std::fs::{self, Metadata};
use std::io;
use std::time::UNIX_EPOCH;

use serde_json::{Map, Value};
use sexton::job::{Carried, CycleView, Deed, DeletionCount, Fold, Intent, Job, Tally, Unreadable};
use sexton::policy::deletion::SafetyCatch;
use sexton::store::{ErrorCause, Store};

use super::store::{BlobFolder, BlobStore};

/// Deletes what is older than this.
pub struct ExpireBlobs {
    pub age_secs: f64,
    /// The most that a cycle may delete, from 0 to 1.
    pub most: f64,
}

/// How many blobs there were, and how many were deleted.
#[derive(Default, serde::Serialize, serde::Deserialize)]
pub struct Expired {
    blobs: u64,
    deleted: u64,
}

impl Tally for Expired {
    fn merge(&mut self, later: Expired) {
        self.blobs += later.blobs;
        self.deleted += later.deleted;
    }
}

impl ExpireBlobs {
    fn has_expired(&self, blob: &Metadata, now: f64) -> bool {
        let modified = blob.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        modified.is_some_and(|modified| modified.as_secs_f64() + self.age_secs < now)
    }
}

impl Job<BlobStore> for ExpireBlobs {
    type Tally = Expired;
    type Part = ();

    fn name(&self) -> &str {
        "expire"
    }

    fn parameters(&self) -> Value {
        self.age_secs.into()
    }

    fn safety_catch(&self) -> Option<SafetyCatch> {
        Some(SafetyCatch { most: self.most })
    }

    fn process_bucket(&self, folder: &mut BlobFolder, fold: &mut Fold<'_, Expired>) -> Result<(), Unreadable> {
        let (mut deletes, mut names) = (DeletionCount::default(), Vec::new());
        for blob in folder.blobs().map_err(|error| Unreadable { path: folder.path.clone(), error })? {
            let path = folder.path_of(&blob);
            let metadata = match path.symlink_metadata() {
                Ok(metadata) => metadata,
                Err(error) => {
                    fold.unreadable(&Unreadable { path, error });
                    continue;
                }
            };
            if fold.phase.examines() {
                fold.tally.blobs += 1;
                fold.notes.counts.objects += 1;
            }
            if metadata.is_file() && self.has_expired(&metadata, fold.now) {
                deletes.merge(&DeletionCount { objects: 1, bytes: metadata.len(), ..DeletionCount::default() });
                names.push(String::from_utf8_lossy(&blob).into_owned());
            }
        }
        if deletes.objects > 0
            && let Err(error) = fold.intend(deletes, &names)
        {
            fold.refuse(error);
        }
        Ok(())
    }

    /// What is gone was deleted before a crash: it counts all the same.
    fn carry_out(&self, store: &BlobStore, intent: &Intent, deed: &mut Deed<'_, Expired>) -> sexton::Result<Carried> {
        let names: Vec<String> = serde_json::from_str(&intent.body).unwrap_or_default();
        for name in names {
            let path = store.path(deed.prefix, Some(&intent.bucket)).join(&name);
            let len = path.symlink_metadata().map_or(0, |blob| blob.len());
            match fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    deed.notes.error(&path, ErrorCause::of(&e), &e);
                }
                _ => {
                    deed.tally.deleted += 1;
                    deed.notes.counts.deleted += 1;
                    deed.notes.counts.deleted_bytes += len;
                }
            }
        }
        Ok(Carried::Settled)
    }

    fn report(&self, cycle: &CycleView<'_, Expired>) -> Map<String, Value> {
        [("blobs", cycle.tally.blobs), ("deleted", cycle.tally.deleted)]
            .map(|(key, count)| (key.to_owned(), count.into()))
            .into_iter()
            .collect()
    }
}
