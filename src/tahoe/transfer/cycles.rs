//! A cycle of Tahoe's in the terms of a [`StateStore`]: rows, each with a tally and notes, and how they get there.
//!
//! Tahoe has one tally for a whole cycle, Sexton has one for each prefix. All of it stands in the row of the last prefix
//! that it covers; the others are complete and empty. Tallies are sums, so merging them in ring order gives the whole.
//! Corrupt shares become findings of the prefix in which they are, in Tahoe's order.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::job::{Count, Counts, Finding, Job, Judged, Note, Notes, PrefixTally, Tally};
use crate::policy::cycle::CycleIdentity;
use crate::policy::ring::Ring;
use crate::state::{PrefixProgress, StateStore};
use crate::tahoe::TahoeStore;
use crate::tahoe::leases::LeaseTally;
use crate::tahoe::state::figures::Figures;
use crate::tahoe::words::ShareFinding;

/// One prefix of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub prefix: u32,
    pub done: bool,
    pub cursor: Option<Vec<u8>>,
    /// Counts and tally as they are saved.
    pub saved: Vec<u8>,
    pub notes: Vec<Note>,
    /// The shares that Tahoe has found corrupt.
    pub judged: Judged,
}

/// A cycle to be put into a state.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ImportedCycle {
    pub number: u64,
    pub started: f64,
    /// `None` while it is in progress.
    pub finished: Option<f64>,
    pub identity: CycleIdentity,
    pub rows: Rows,
}

/// The rows of a cycle. Those of the lease checker are made when they are put into a state: with thousands of corrupt shares they
/// take far more memory than Tahoe's figures.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Rows {
    Counts(Vec<Row>),
    Leases { ring: Ring, reach: CycleReach, figures: Box<Figures> },
}

/// How far a cycle of the lease checker has come.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct CycleReach {
    /// Prefixes that are complete, from the first on.
    pub done: u32,
    /// The last bucket visited in the prefix after those.
    pub cursor: Option<Vec<u8>>,
}

/// The rows of a cycle of the lease checker.
pub(super) fn lease_rows(ring: &Ring, reach: &CycleReach, figures: &Figures) -> Result<Vec<Row>> {
    let partial = reach.cursor.is_some() || reach.done == 0;
    let rows = reach.done.saturating_add(u32::from(partial)).min(ring.len());
    // The last complete prefix, or the first while none is.
    let home = reach.done.saturating_sub(1);
    let mut corrupt = by_prefix(ring, rows, figures);
    let mut out = Vec::new();
    for prefix in 0..rows {
        let (counts, tally) = if prefix == home {
            let objects = figures.space.groups[3][1][0].saturating_add(figures.corrupt_shares.len() as u64);
            let counts = Counts { buckets: figures.space.groups[3][0][0], objects, ..Counts::default() };
            (counts, LeaseTally::from_tahoe(figures))
        } else {
            (Counts::default(), LeaseTally::default())
        };
        let mut notes = Notes::resume(counts);
        for (bucket, share) in corrupt.get_mut(prefix as usize).map(std::mem::take).unwrap_or_default() {
            notes.enter(bucket.as_bytes());
            notes.finding(&corrupt_share(bucket, *share));
        }
        let (rows, judged) = (notes.take_rows(), notes.take_judged());
        let saved = encode("leases", &PrefixTally { counts: notes.counts, tally, ..PrefixTally::default() })?;
        let done = prefix < reach.done;
        let cursor = if done { None } else { reach.cursor.clone() };
        out.push(Row { prefix, done, cursor, saved, notes: rows, judged });
    }
    Ok(out)
}

/// Tahoe's corrupt shares, by the row that they go to: never one before that of an earlier share.
fn by_prefix<'f>(ring: &Ring, rows: u32, figures: &'f Figures) -> Vec<Vec<&'f (String, Option<i64>)>> {
    let mut out: Vec<Vec<_>> = (0..rows).map(|_| Vec::new()).collect();
    let mut at = 0;
    for corrupt in &figures.corrupt_shares {
        let (bucket, _) = corrupt;
        let own = bucket.get(..2).and_then(|prefix| ring.position(prefix)).filter(|own| *own < rows);
        at = own.map_or(at, |own| own.max(at));
        if let Some(row) = out.get_mut(at as usize) {
            row.push(corrupt);
        }
    }
    out
}

fn corrupt_share(bucket: &str, share: Option<i64>) -> Finding {
    let reason = "listed as corrupt by Tahoe's lease checker".to_owned();
    let (storage_index, region) = (bucket.to_owned(), "share".to_owned());
    ShareFinding { storage_index, share, region, reason, tahoe_corrupt: true, only_kept: false, bytes: None }.into()
}

/// The rows of a cycle of the bucket counter: every prefix whose count is known is complete.
pub(super) fn count_rows(counts: impl Iterator<Item = (u32, u64)>) -> Result<Vec<Row>> {
    counts
        .map(|(prefix, buckets)| {
            let counts = Counts { buckets, ..Counts::default() };
            let tally = <Count as Job<TahoeStore>>::Tally::default();
            let saved = encode("count", &PrefixTally { counts, tally, ..PrefixTally::default() })?;
            Ok(Row { prefix, done: true, cursor: None, saved, notes: Vec::new(), judged: Judged::default() })
        })
        .collect()
}

fn encode<T: Tally + Serialize>(crawl: &str, saved: &PrefixTally<T>) -> Result<Vec<u8>> {
    serde_json::to_vec(saved).map_err(|e| Error::Tally { crawl: crawl.to_owned(), cause: e.to_string() })
}

/// What a row has saved.
pub(super) fn decode<T: Tally + DeserializeOwned>(crawl: &str, saved: &[u8]) -> Result<PrefixTally<T>> {
    serde_json::from_slice(saved).map_err(|e| Error::Tally { crawl: crawl.to_owned(), cause: e.to_string() })
}

impl ImportedCycle {
    /// Puts the cycle into a state.
    ///
    /// All rows are one commit: whoever dies before it leaves a cycle that was begun and has nothing done, which repeats
    /// work and counts nothing twice.
    pub(super) fn put(&self, crawl: &str, state: &mut dyn StateStore) -> Result<()> {
        let key = state.begin_numbered(crawl, &self.identity, self.number, self.started)?.key();
        let claims = state.claim(&key, u32::MAX)?;
        let fence = |prefix: u32| claims.get(prefix as usize).filter(|claim| claim.prefix == prefix).map(|c| c.fence);
        let rows = match &self.rows {
            Rows::Counts(rows) => rows.clone(),
            Rows::Leases { ring, reach, figures } => lease_rows(ring, reach, figures)?,
        };
        let progress = rows.into_iter().map(|row| {
            let Row { prefix, done, cursor, saved, notes, judged } = row;
            let fence = fence(prefix).ok_or_else(|| Error::Unexpected(format!("prefix {prefix} was not to be had")))?;
            let intents = Vec::new();
            let candidates = Vec::new();
            Ok(PrefixProgress {
                prefix,
                fence,
                cursor,
                tally: saved,
                done,
                whole: false,
                notes,
                intents,
                candidates,
                judged,
            })
        });
        let progress = progress.collect::<Result<Vec<_>>>()?;
        state.commit(&key, &progress, self.finished.unwrap_or(self.started))?;
        let claims: Vec<(u32, u64)> = claims.iter().map(|claim| (claim.prefix, claim.fence)).collect();
        state.release(&key, &claims)?;
        // The history has been read by whoever wanted it; only what is finished here is to be reported.
        if self.finished.is_some() { state.deliver(&key) } else { Ok(()) }
    }
}
