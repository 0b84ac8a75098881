//! A Tahoe-LAFS share store as a [`Store`](super::Store).
#![allow(missing_docs)]
pub struct TahoeStore;
pub struct TahoePrefix;
pub struct TahoeBucket;
pub struct ShareEntry;
pub struct ShareFile;
