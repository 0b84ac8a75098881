//! Buckets that are left for the end of their prefix, where they are visited once more: what could not be read just then.
//!
//! Nothing of such a bucket counts before its second visit. The list is saved with the progress of its prefix, which is not
//! complete before the list is empty. It is bounded: what finds no place in it is not deferred.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::DeletionCount;

/// Buckets that are deferred in one prefix, at most, and how many bytes their names have together.
const BUCKETS_MOST: usize = 1000;
const NAMES_MOST: usize = 64 << 10;

/// A bucket that is to be visited once more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeferredBucket {
    pub name: BucketName,
    /// Whether its name is no bucket's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_stray: bool,
    /// What examining has shown of it, where candidates are carried out.
    #[serde(default, skip_serializing_if = "DeletionCount::is_nothing")]
    pub shown: DeletionCount,
}

/// A name as it stands in JSON: text where it is text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum BucketName {
    /// As nearly all are.
    Text(String),
    /// Any other.
    Bytes(Vec<u8>),
}

impl BucketName {
    pub(super) fn of(name: &[u8]) -> BucketName {
        match std::str::from_utf8(name) {
            Ok(text) => BucketName::Text(text.to_owned()),
            Err(_) => BucketName::Bytes(name.to_vec()),
        }
    }

    /// The name.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            BucketName::Text(text) => text.as_bytes(),
            BucketName::Bytes(bytes) => bytes,
        }
    }
}

/// The deferred buckets of a prefix, in the order in which they are visited again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Deferred(VecDeque<DeferredBucket>);

impl Deferred {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there is room for one with this name.
    pub(super) fn has_room_for(&self, name: &[u8]) -> bool {
        // Nearly always there are none, and then nothing is summed up.
        let bytes = || self.0.iter().map(|bucket| bucket.name.as_bytes().len()).sum::<usize>();
        self.0.is_empty() || (self.0.len() < BUCKETS_MOST && bytes() + name.len() <= NAMES_MOST)
    }

    pub(super) fn push(&mut self, name: &[u8], is_stray: bool, shown: DeletionCount) {
        self.0.push_back(DeferredBucket { name: BucketName::of(name), is_stray, shown });
    }

    /// The next one.
    pub(super) fn first(&self) -> Option<&DeferredBucket> {
        self.0.front()
    }

    /// Takes the next one off.
    pub(super) fn pop(&mut self) {
        self.0.pop_front();
    }
}

/// Whether the visit to a bucket may leave it for later.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Deferral {
    /// It may not: this is its second visit, or there are too many.
    #[default]
    Denied,
    Possible,
    /// It does.
    Wanted,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_by_names_and_by_their_bytes_and_any_name_is_read_back() {
        let mut deferred = Deferred::default();
        while deferred.has_room_for(b"aaaaaaaaaaaaaaaaaaaaaaaaaa") {
            deferred.push(b"aaaaaaaaaaaaaaaaaaaaaaaaaa", false, DeletionCount::default());
        }
        assert_eq!(deferred.0.len(), BUCKETS_MOST);
        assert!(serde_json::to_vec(&deferred).unwrap().len() < 40 * BUCKETS_MOST, "some bytes beside each name");
        let mut deferred = Deferred::default();
        while deferred.has_room_for(&[0xff; 255]) {
            deferred.push(&[0xff; 255], true, DeletionCount::of_objects(7));
        }
        assert_eq!(deferred.0.len(), NAMES_MOST / 255);
        let read: Deferred = serde_json::from_slice(&serde_json::to_vec(&deferred).unwrap()).unwrap();
        assert_eq!(read, deferred);
    }
}
