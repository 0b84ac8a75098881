//! Cancelling leases: what is left of a container, as bytes. An immutable container's remaining records move
//! up, its count and size follow; a mutable container's slots are overwritten. Without leases the file goes.
//!
//! An immutable container's leases are its last records, as many as its count says. So where Tahoe writes the records that
//! remain, the count, and then the size, a crash before the last step leaves the old last records to be read, which may all have
//! expired. Here the records that remain are written over and over up to the old end: then any run of so many of them is all of
//! them, and the table reads as before or as after, whatever steps were done. What is left in the end are the same bytes.
//!
//! Pure: a table in, changes out. Nothing is written here.

use std::collections::HashSet;

use super::container::{Header, IMMUTABLE_DATA_AT, MUTABLE_SLOTS_AT};
use super::lease::{IMMUTABLE_RECORD_LEN, MUTABLE_RECORD_LEN};

/// Where an immutable container counts its leases.
const COUNT_AT: u64 = 8;

/// What version 2 keeps of a secret of 32 zero bytes: its BLAKE2b hash of 32 bytes.
const ZERO_SECRET_HASHED: [u8; 32] = [
    0x89, 0xeb, 0x0d, 0x6a, 0x8a, 0x69, 0x1d, 0xae, 0x2c, 0xd1, 0x5e, 0xd0, 0x36, 0x99, 0x31, 0xce, 0x0a, 0x94, 0x9e,
    0xca, 0xfa, 0x5c, 0x3f, 0x93, 0xf8, 0x12, 0x18, 0x33, 0x64, 0x6e, 0x15, 0xc3,
];

/// A lease record of a table, with where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseEntry {
    /// Where it begins, in bytes from the beginning of the file.
    pub at: u64,
    /// The record.
    pub bytes: Vec<u8>,
    /// Whether it is to be cancelled.
    pub expired: bool,
}

/// Bytes of a file that change, and those behind them that are cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// Where they begin.
    pub at: u64,
    /// What stands there.
    pub before: Vec<u8>,
    /// What will stand there, no longer than `before`; what is beyond the new size stands until the file is cut.
    pub after: Vec<u8>,
}

/// How a lease table is rewritten: the patches in their order, and then the size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrite {
    /// What is written, in this order.
    pub patches: Vec<Patch>,
    /// The file's size before, in bytes.
    pub size_before: u64,
    /// The file's size afterwards, in bytes.
    pub size_after: u64,
}

impl Rewrite {
    /// Whether a file that was neither left as before nor anywhere on the way of this rewriting was begun on and is no whole
    /// table: its number of leases does not fit its size, or a lease that stays is missing. `found` is what stands where
    /// the patches are, as far as the file goes. Renewed leases count as themselves.
    ///
    /// Slots of a mutable container are each by itself, so such a file is never torn.
    pub fn is_torn(&self, size: u64, found: &[Vec<u8>]) -> bool {
        let ([records, count], [table, counted]) = (&self.patches[..], found) else { return false };
        if self.size_after == self.size_before {
            return false;
        }
        let (was, stays, is) = (identities(&records.before), identities(&records.after), identities(table));
        let moved = is.iter().zip(was.iter().zip(&stays)).any(|(is, (was, stays))| is == stays && is != was);
        let leases = <[u8; 4]>::try_from(&counted[..]).map_or(0, u32::from_be_bytes);
        let fits = size.checked_sub(records.at) == Some(IMMUTABLE_RECORD_LEN * u64::from(leases));
        let there: HashSet<_> = is.into_iter().collect();
        (moved || *counted == count.after) && !(fits && stays.iter().all(|lease| there.contains(lease)))
    }
}

/// What of each record of an immutable container a renewal leaves: all but its date, which comes last.
fn identities(table: &[u8]) -> Vec<&[u8]> {
    table.chunks_exact(IMMUTABLE_RECORD_LEN as usize).map(|record| &record[..record.len() - 4]).collect()
}

/// What cancelling leaves of a share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CancelOutcome {
    /// Nothing is cancelled.
    Untouched,
    /// No lease is left, so the file goes.
    Unlinked,
    /// Some leases are left.
    Rewritten(Rewrite),
}

/// What cancelling by secret comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BySecret {
    /// What is left of the share.
    pub outcome: CancelOutcome,
    /// How many leases go, valid ones among them.
    pub cancelled: u64,
    /// Whether Tahoe's lease checker fails at a lease that an earlier cancelling has taken already.
    pub stops: bool,
}

/// Cancels exactly the entries that are marked as expired.
pub fn exactly(header: &Header, size: u64, table: &[LeaseEntry]) -> CancelOutcome {
    let kept: Vec<bool> = table.iter().map(|entry| !entry.expired).collect();
    outcome(header, size, table, &kept)
}

/// Cancels as Tahoe does: each expired lease by its secret, and with it all that have the same. Takes a time that grows with
/// the table.
pub fn by_secret(header: &Header, size: u64, table: &[LeaseEntry]) -> BySecret {
    let mut gone = HashSet::new();
    let expired = table.iter().filter(|entry| entry.expired);
    // Tahoe finds no lease with a secret that it has cancelled already, and goes no further.
    let stops = expired.map(|entry| secret_of(header, &entry.bytes)).any(|wanted| !gone.insert(wanted));
    let kept: Vec<bool> = table.iter().map(|entry| !gone.contains(&secret_of(header, &entry.bytes))).collect();
    let cancelled = kept.iter().filter(|kept| !**kept).count() as u64;
    BySecret { outcome: outcome(header, size, table, &kept), cancelled, stops }
}

/// The cancel secret in a record of such a container.
pub fn secret_of(header: &Header, record: &[u8]) -> Option<[u8; 32]> {
    let range = match header {
        Header::Immutable(_) => 36..68,
        Header::Mutable(_) => 40..72,
    };
    record.get(range)?.try_into().ok()
}

fn outcome(header: &Header, size: u64, table: &[LeaseEntry], kept: &[bool]) -> CancelOutcome {
    let left = kept.iter().filter(|kept| **kept).count();
    match (left, header) {
        (all, _) if all == table.len() => CancelOutcome::Untouched,
        (0, _) => CancelOutcome::Unlinked,
        (left, Header::Immutable(_)) => move_up(size, table, kept, left as u64),
        // Slots that lie in the header or over each other cannot be overwritten one by one.
        (_, Header::Mutable(_)) if !stand_apart(table) => CancelOutcome::Untouched,
        (_, Header::Mutable(header)) => {
            let gone = table.iter().zip(kept).filter(|(_, kept)| !**kept);
            let blank = blank_slot(header.version);
            let patch = |(entry, _): (&LeaseEntry, _)| Patch {
                at: entry.at,
                before: entry.bytes.clone(),
                after: blank.clone(),
            };
            CancelOutcome::Rewritten(Rewrite {
                patches: gone.map(patch).collect(),
                size_before: size,
                size_after: size,
            })
        }
    }
}

fn stand_apart(table: &[LeaseEntry]) -> bool {
    let mut starts: Vec<u64> = table.iter().map(|entry| entry.at).collect();
    starts.sort_unstable();
    starts.first().is_none_or(|first| *first >= MUTABLE_SLOTS_AT)
        && starts.windows(2).all(|pair| pair[1] - pair[0] >= MUTABLE_RECORD_LEN)
}

fn move_up(size: u64, table: &[LeaseEntry], kept: &[bool], left: u64) -> CancelOutcome {
    let start = table.first().map_or(size, |first| first.at);
    // A table that reaches into the header cannot be rewritten without destroying it: such a share is left as it is.
    if start < IMMUTABLE_DATA_AT {
        return CancelOutcome::Untouched;
    }
    let bytes = |entries: &mut dyn Iterator<Item = &LeaseEntry>| {
        let mut bytes = Vec::with_capacity(table.len() * IMMUTABLE_RECORD_LEN as usize);
        entries.for_each(|entry| bytes.extend_from_slice(&entry.bytes));
        bytes
    };
    let remain = || table.iter().zip(kept).filter(|(_, kept)| **kept).map(|(entry, _)| entry);
    // Over and over: see the head of this file.
    let after = bytes(&mut remain().cycle().take(table.len()));
    // All of it: a lease that is renewed behind those that stay is seen to be another.
    let before = bytes(&mut table.iter());
    // Counts of a header are 32 bits wide, and no more than such a count were read.
    let counted = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    let patches = vec![Patch { at: start, before, after }, count(counted(table.len() as u64), counted(left))];
    let size_after = start + IMMUTABLE_RECORD_LEN * left;
    CancelOutcome::Rewritten(Rewrite { patches, size_before: size, size_after })
}

/// The count in an immutable container's header.
pub fn count(before: u32, after: u32) -> Patch {
    Patch { at: COUNT_AT, before: before.to_be_bytes().to_vec(), after: after.to_be_bytes().to_vec() }
}

/// An empty slot, as the container's version writes it.
pub fn blank_slot(version: u8) -> Vec<u8> {
    let mut slot = vec![0; MUTABLE_RECORD_LEN as usize];
    if version == 2 {
        slot[8..40].copy_from_slice(&ZERO_SECRET_HASHED);
        slot[40..72].copy_from_slice(&ZERO_SECRET_HASHED);
    }
    slot
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tahoe::container::{Immutable, Mutable};

    const IMMUTABLE: Header = Header::Immutable(Immutable { version: 1, data_length: 100, leases: 0 });

    fn immutable(secrets: &[(u8, bool)]) -> Vec<LeaseEntry> {
        let entry = |(i, (secret, expired)): (usize, &(u8, bool))| {
            let mut bytes = vec![i as u8; 72];
            bytes[36..68].fill(*secret);
            LeaseEntry { at: 112 + 72 * i as u64, bytes, expired: *expired }
        };
        secrets.iter().enumerate().map(entry).collect()
    }

    #[test]
    fn records_that_remain_move_up_in_their_order() {
        let table = immutable(&[(1, true), (2, false), (3, true), (4, false)]);
        let CancelOutcome::Rewritten(rewrite) = exactly(&IMMUTABLE, 400, &table) else { panic!() };
        assert_eq!((rewrite.size_before, rewrite.size_after), (400, 112 + 144));
        let [records, count] = &rewrite.patches[..] else { panic!() };
        assert_eq!(records.after, [&table[1].bytes[..], &table[3].bytes].concat().repeat(2));
        assert_eq!(records.before, table.iter().flat_map(|entry| entry.bytes.clone()).collect::<Vec<u8>>());
        assert_eq!((count.at, &count.before[..], &count.after[..]), (8, &[0, 0, 0, 4][..], &[0, 0, 0, 2][..]));
        assert_eq!(exactly(&IMMUTABLE, 400, &immutable(&[(1, true)])), CancelOutcome::Unlinked);
        assert_eq!(exactly(&IMMUTABLE, 400, &immutable(&[(1, false)])), CancelOutcome::Untouched);
    }

    /// The leases as Tahoe finds them: the last records of the file, as many as its count says.
    fn read(file: &[u8]) -> HashSet<&[u8]> {
        let count = u32::from_be_bytes(file[8..12].try_into().unwrap()) as usize;
        file[file.len() - 72 * count..].chunks(72).collect()
    }

    #[test]
    fn after_each_step_a_table_reads_as_before_or_as_after() {
        for (leases, kept) in (2..8u32).flat_map(|leases| (1..(1u32 << leases) - 1).map(move |kept| (leases, kept))) {
            let expired: Vec<(u8, bool)> = (0..leases).map(|i| (i as u8, kept >> i & 1 == 0)).collect();
            let table = immutable(&expired);
            let mut file = vec![0; 112];
            file[8..12].copy_from_slice(&leases.to_be_bytes());
            table.iter().for_each(|entry| file.extend_from_slice(&entry.bytes));
            let (before, size) = (file.clone(), file.len() as u64);
            let stays: Vec<u8> = table.iter().filter(|e| !e.expired).flat_map(|e| e.bytes.clone()).collect();
            let CancelOutcome::Rewritten(rewrite) = exactly(&IMMUTABLE, size, &table) else { panic!() };
            for patch in &rewrite.patches {
                file[patch.at as usize..][..patch.after.len()].copy_from_slice(&patch.after);
                let is = read(&file);
                assert!(is == read(&before) || is == stays.chunks(72).collect(), "{leases} leases, {kept:b}");
            }
            file.truncate(rewrite.size_after as usize);
            assert_eq!(file[112..], stays, "what stays, in its order");
            assert_eq!(file[8..12], kept.count_ones().to_be_bytes());
        }
    }

    #[test]
    fn a_table_begun_on_and_renewed_is_torn_unless_it_is_whole() {
        let table = immutable(&[(1, true), (2, false), (3, true)]);
        let CancelOutcome::Rewritten(rewrite) = exactly(&IMMUTABLE, 328, &table) else { panic!() };
        let mut renewed = table[1].bytes.clone();
        renewed[68..].fill(0xee);
        let torn =
            |slots: &[&[u8]], count: u32, size| rewrite.is_torn(size, &[slots.concat(), count.to_be_bytes().to_vec()]);
        let [one, two, three] = [&table[0].bytes[..], &table[1].bytes, &table[2].bytes];
        assert!(!torn(&[one, &renewed, three], 3, 328), "not begun");
        assert!(!torn(&[&renewed, two, three], 3, 328), "every lease that stays is there");
        assert!(torn(&[&renewed, two, three], 1, 328), "not cut");
        assert!(torn(&[one, &renewed, three], 1, 328), "only the number was written");
        assert!(!torn(&[&renewed], 1, 184), "done");
        assert!(!torn(&[&renewed, three], 2, 256), "done, and one added");
    }

    #[test]
    fn a_shared_secret_takes_a_valid_lease_only_where_tahoe_does_it() {
        let table = immutable(&[(7, true), (7, false), (8, false)]);
        let CancelOutcome::Rewritten(careful) = exactly(&IMMUTABLE, 328, &table) else { panic!() };
        assert_eq!(careful.size_after, 112 + 144);
        let tahoe = by_secret(&IMMUTABLE, 328, &table);
        let CancelOutcome::Rewritten(rewrite) = tahoe.outcome else { panic!() };
        assert_eq!((rewrite.size_after, tahoe.cancelled, tahoe.stops), (112 + 72, 2, false));
        let doubled = by_secret(&IMMUTABLE, 256, &immutable(&[(7, true), (7, true)]));
        assert_eq!((doubled.outcome, doubled.stops), (CancelOutcome::Unlinked, true));
    }

    /// What Tahoe does, step by step: it looks through the whole table for each expired lease.
    fn as_tahoe_goes(table: &[LeaseEntry]) -> (Vec<bool>, bool) {
        let mut kept = vec![true; table.len()];
        for expired in table.iter().filter(|entry| entry.expired) {
            let same: Vec<usize> =
                (0..table.len()).filter(|i| kept[*i] && table[*i].bytes[36..68] == expired.bytes[36..68]).collect();
            if same.is_empty() {
                return (kept, true);
            }
            same.into_iter().for_each(|i| kept[i] = false);
        }
        (kept, false)
    }

    proptest! {
        #[test]
        fn secrets_are_cancelled_as_tahoe_goes_through_them(table in prop::collection::vec((0u8..6, any::<bool>()), 0..12)) {
            let table = immutable(&table);
            let (kept, stops) = as_tahoe_goes(&table);
            let BySecret { outcome: found, cancelled, stops: stopped } = by_secret(&IMMUTABLE, 1000, &table);
            prop_assert_eq!((found, stopped), (outcome(&IMMUTABLE, 1000, &table, &kept), stops));
            prop_assert_eq!(cancelled, kept.iter().filter(|kept| !**kept).count() as u64);
        }
    }

    #[test]
    fn mutable_slots_are_overwritten_as_their_version_does() {
        for (version, blank) in [(1, 0), (2, 0x89)] {
            let header = Header::Mutable(Mutable { version, data_length: 0, extra_leases_at: 468 });
            let entry = |at, expired| LeaseEntry { at, bytes: vec![5; 92], expired };
            let table = [entry(100, true), entry(472, false)];
            let CancelOutcome::Rewritten(rewrite) = exactly(&header, 564, &table) else { panic!() };
            assert_eq!((rewrite.size_before, rewrite.size_after, rewrite.patches.len()), (564, 564, 1));
            let slot = &rewrite.patches[0];
            assert_eq!((slot.at, slot.after.len(), slot.after[8], slot.after[40]), (100, 92, blank, blank));
            assert_eq!((slot.after[7], slot.after[72]), (0, 0));
        }
    }

    #[test]
    fn a_table_that_reaches_into_the_header_is_left_alone() {
        let mut table = immutable(&[(1, true), (2, false)]);
        table.iter_mut().for_each(|entry| entry.at -= 105);
        assert_eq!(exactly(&IMMUTABLE, 151, &table), CancelOutcome::Untouched);
    }
}
