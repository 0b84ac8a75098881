//! The names of one prefix: read in chunks, sorted chunk by chunk, given out in byte order.
//!
//! A prefix may hold a million names, and no step over it may be long. So each chunk is sorted when it is read, and the
//! sorted runs are merged while the names are visited, one name at a time. The names stand end to end in one buffer:
//! 26 bytes and an entry of 8 for each name of that length.
//!
//! Nor may it fill the memory. A listing has room for some megabytes of names. Where there are more, it keeps the least ones
//! and counts the others, and the directory is read again for those: as many passes as it takes. No name is dropped.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Bytes of names and entries that a listing holds at most: more than 100,000 names of 26 bytes.
const ROOM: usize = 4 << 20;

/// What a name in a prefix is, as far as the listing can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nature {
    /// It may be a bucket.
    Bucket,
    /// It is no bucket of this store: a stray. It is counted, and visited only by a job that
    /// [asks for it](crate::job::Job::visits_strays).
    Stray,
}

#[derive(Debug, Clone, Copy)]
struct NameEntry {
    at: u32,
    len: u16,
    stray: bool,
}

/// A position within one sorted run: `next` is the entry to be given out, `end` the run's end.
#[derive(Debug, Clone, Copy)]
struct Run {
    next: u32,
    end: u32,
}

/// The names of one prefix, given out in byte order whatever order they were read in.
///
/// Names up to a cursor can be left out from the start, so a listing that is read again after a crash holds only what
/// is still to be visited. Names for which there is no room are left to another pass, which begins after the greatest one
/// that this pass has kept.
#[derive(Debug)]
pub struct Names {
    after: Option<Vec<u8>>,
    room: usize,
    /// The greatest name of this pass, once there was no room for all; greater ones are left to another pass.
    last: Option<Vec<u8>>,
    /// How many are left to another pass.
    later: u64,
    later_strays: u64,
    text: Vec<u8>,
    entries: Vec<NameEntry>,
    /// The first entry that belongs to no sorted run yet.
    unsorted: usize,
    /// The runs that have names left; ordered into a heap by their next name when there are several.
    runs: Vec<Run>,
    merging: bool,
    left: u32,
}

impl Default for Names {
    fn default() -> Names {
        Names {
            after: None,
            room: ROOM,
            last: None,
            later: 0,
            later_strays: 0,
            text: Vec::new(),
            entries: Vec::new(),
            unsorted: 0,
            runs: Vec::new(),
            merging: false,
            left: 0,
        }
    }
}

impl Names {
    /// An empty listing which leaves out every name up to and including `after`.
    pub fn after(after: Option<&[u8]>) -> Self {
        Names { after: after.map(<[u8]>::to_vec), ..Names::default() }
    }

    /// Sets how many bytes of names and entries it holds at most. One name is held in any case. Default: 4 MiB.
    pub fn with_room(mut self, bytes: usize) -> Self {
        self.room = bytes;
        self
    }

    /// Takes in one name. Names up to the cursor are left out, and so are names longer than 65,535 bytes, which no file system
    /// has.
    pub fn push(&mut self, name: &[u8], nature: Nature) {
        if self.after.as_deref().is_some_and(|after| name <= after) {
            return;
        }
        let stray = nature == Nature::Stray;
        if self.last.as_deref().is_some_and(|last| name > last) {
            self.later += 1;
            self.later_strays += u64::from(stray);
            return;
        }
        let (Ok(at), Ok(len)) = (u32::try_from(self.text.len()), u16::try_from(name.len())) else { return };
        self.text.extend_from_slice(name);
        self.entries.push(NameEntry { at, len, stray });
        self.left += 1;
        while self.bytes() > self.room && self.left > 1 {
            self.make_room();
        }
    }

    /// Bytes of the names that are held, and of their entries.
    pub fn bytes(&self) -> usize {
        self.text.len() + self.entries.len() * size_of::<NameEntry>()
    }

    /// The greatest name of this pass, if others are left to another one, which begins after it. Stays what it is while names are
    /// given out.
    pub fn next_pass_after(&self) -> Option<&[u8]> {
        if self.later > 0 { self.last.as_deref() } else { None }
    }

    /// How many names are left to another pass.
    pub fn later(&self) -> u64 {
        self.later
    }

    /// How many of those are strays.
    pub fn later_strays(&self) -> u64 {
        self.later_strays
    }

    /// Keeps three quarters of the names, the least ones, and leaves the others to another pass. Takes a time that grows with
    /// the names, as reading them did; sorted runs stay sorted.
    fn make_room(&mut self) {
        let text = std::mem::take(&mut self.text);
        let of_runs = self.runs.iter().flat_map(|run| &self.entries[run.next as usize..run.end as usize]);
        let mut held: Vec<NameEntry> = of_runs.chain(&self.entries[self.unsorted..]).copied().collect();
        let keep = (held.len() / 4 * 3).max(1) - 1;
        let (_, last, _) = held.select_nth_unstable_by(keep, |a, b| bytes(&text, *a).cmp(bytes(&text, *b)));
        let last = bytes(&text, *last).to_vec();
        drop(held);
        let mut kept =
            KeptNames { text: Vec::with_capacity(text.len()), entries: Vec::new(), later: 0, later_strays: 0 };
        let mut runs = Vec::new();
        for run in &self.runs {
            let next = kept.entries.len() as u32;
            kept.take(&text, &self.entries[run.next as usize..run.end as usize], &last);
            let end = kept.entries.len() as u32;
            if next < end {
                runs.push(Run { next, end });
            }
        }
        let unsorted = kept.entries.len();
        kept.take(&text, &self.entries[self.unsorted..], &last);
        self.later += kept.later;
        self.later_strays += kept.later_strays;
        self.left = kept.entries.len() as u32;
        (self.unsorted, self.merging, self.last) = (unsorted, false, Some(last));
        (self.text, self.entries, self.runs) = (kept.text, kept.entries, runs);
    }

    /// Sorts what came in since the last call into a run of its own. Call it after each chunk.
    pub fn end_chunk(&mut self) {
        let (start, end) = (self.unsorted, self.entries.len());
        if start == end {
            return;
        }
        let text = &self.text;
        self.entries[start..end].sort_unstable_by(|a, b| bytes(text, *a).cmp(bytes(text, *b)));
        self.unsorted = end;
        self.merging = false;
        // Entries are at most u32::MAX by `push`.
        self.runs.push(Run { next: start as u32, end: end as u32 });
    }

    /// How many names have not been given out yet.
    pub fn left(&self) -> u32 {
        self.left
    }

    /// How many of those that have not been given out are strays.
    pub fn strays_left(&self) -> u32 {
        let stray = |run: &Run| {
            let entries = &self.entries[run.next as usize..run.end as usize];
            entries.iter().filter(|e| e.stray).count()
        };
        self.runs.iter().map(stray).sum::<usize>() as u32
    }

    /// The first of these, in order, at most so many.
    pub fn first_strays_left(&self, most: usize) -> Vec<Vec<u8>> {
        let runs = self.runs.iter().flat_map(|run| &self.entries[run.next as usize..run.end as usize]);
        let mut strays: Vec<&[u8]> = runs.filter(|e| e.stray).map(|e| bytes(&self.text, *e)).collect();
        strays.sort_unstable();
        strays.iter().take(most).map(|name| name.to_vec()).collect()
    }

    /// The least name that has not been given out yet, and what it is.
    pub fn peek(&mut self) -> Option<(&[u8], Nature)> {
        self.arrange();
        let entry = self.entries[self.runs.first()?.next as usize];
        let nature = if entry.stray { Nature::Stray } else { Nature::Bucket };
        Some((bytes(&self.text, entry), nature))
    }

    /// Gives out the least name: the next [`peek`](Self::peek) shows the one after it.
    pub fn advance(&mut self) {
        self.arrange();
        let Some(first) = self.runs.first_mut() else { return };
        first.next += 1;
        self.left -= 1;
        if first.next == first.end {
            self.runs.swap_remove(0);
        }
        self.sift_down();
    }

    /// Of the names that have not been given out, leaves out those that are not wanted.
    pub fn retain(&mut self, wanted: impl Fn(&[u8]) -> bool) {
        self.end_chunk();
        let (mut entries, mut runs) = (Vec::new(), Vec::new());
        for run in &self.runs {
            let start = entries.len() as u32;
            let kept = self.entries[run.next as usize..run.end as usize].iter();
            entries.extend(kept.filter(|entry| wanted(bytes(&self.text, **entry))));
            let end = entries.len() as u32;
            if start < end {
                runs.push(Run { next: start, end });
            }
        }
        self.left = entries.len() as u32;
        (self.unsorted, self.merging) = (entries.len(), false);
        (self.entries, self.runs) = (entries, runs);
    }

    /// Makes it an empty listing that leaves out nothing, with the memory that it has.
    pub fn clear(&mut self) {
        let Names { mut text, mut entries, mut runs, room, .. } = std::mem::take(self);
        text.clear();
        entries.clear();
        runs.clear();
        *self = Names { text, entries, runs, room, ..Names::default() };
    }

    /// Puts the runs into heap order, once after they have changed.
    fn arrange(&mut self) {
        if self.merging {
            return;
        }
        self.end_chunk();
        self.merging = true;
        if self.runs.len() < 2 {
            return;
        }
        let runs = std::mem::take(&mut self.runs);
        let ordered: BinaryHeap<Keyed<'_>> = runs.into_iter().map(|run| Keyed { names: self, run }).collect();
        let ordered: Vec<Run> = ordered.into_vec().into_iter().map(|keyed| keyed.run).collect();
        self.runs = ordered;
    }

    /// Restores the heap order below its first run, whose next name has changed.
    fn sift_down(&mut self) {
        let mut i = 0;
        loop {
            let (left, right) = (2 * i + 1, 2 * i + 2);
            let mut least = i;
            for child in [left, right] {
                if child < self.runs.len() && self.key(self.runs[child]) < self.key(self.runs[least]) {
                    least = child;
                }
            }
            if least == i {
                return;
            }
            self.runs.swap(i, least);
            i = least;
        }
    }

    fn key(&self, run: Run) -> &[u8] {
        bytes(&self.text, self.entries[run.next as usize])
    }
}

/// The names that stay when room is made.
struct KeptNames {
    text: Vec<u8>,
    entries: Vec<NameEntry>,
    later: u64,
    later_strays: u64,
}

impl KeptNames {
    /// Takes over the names up to `last`, in their order, and counts the others.
    fn take(&mut self, text: &[u8], entries: &[NameEntry], last: &[u8]) {
        for entry in entries {
            let name = bytes(text, *entry);
            if name > last {
                self.later += 1;
                self.later_strays += u64::from(entry.stray);
                continue;
            }
            // No longer than the text before, so its places fit as well.
            self.entries.push(NameEntry { at: self.text.len() as u32, ..*entry });
            self.text.extend_from_slice(name);
        }
    }
}

fn bytes(text: &[u8], entry: NameEntry) -> &[u8] {
    &text[entry.at as usize..entry.at as usize + usize::from(entry.len)]
}

/// A run with its next name as the key, least first.
struct Keyed<'a> {
    names: &'a Names,
    run: Run,
}

impl Ord for Keyed<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.names.key(other.run).cmp(self.names.key(self.run))
    }
}

impl PartialOrd for Keyed<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Keyed<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Keyed<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn drain(names: &mut Names) -> Vec<(Vec<u8>, bool)> {
        let mut out = Vec::new();
        while let Some((name, nature)) = names.peek() {
            out.push((name.to_vec(), nature == Nature::Stray));
            names.advance();
        }
        out
    }

    proptest! {
        #[test]
        fn names_come_in_byte_order_whatever_the_chunks(
            chunks in prop::collection::vec(prop::collection::vec((prop::collection::vec(any::<u8>(), 0..5), any::<bool>()), 0..30), 0..9),
            after in prop::option::of(prop::collection::vec(any::<u8>(), 0..4)),
        ) {
            let mut names = Names::after(after.as_deref());
            let mut expected = Vec::new();
            for chunk in chunks {
                for (name, stray) in chunk {
                    names.push(&name, if stray { Nature::Stray } else { Nature::Bucket });
                    if after.as_ref().is_none_or(|a| name > *a) { expected.push((name, stray)); }
                }
                names.end_chunk();
            }
            prop_assert_eq!(names.left() as usize, expected.len());
            prop_assert_eq!(names.strays_left() as usize, expected.iter().filter(|e| e.1).count());
            let mut out = drain(&mut names);
            prop_assert!(out.is_sorted_by(|a, b| a.0 <= b.0));
            out.sort();
            expected.sort();
            prop_assert_eq!(out, expected);
            prop_assert_eq!(names.left(), 0);
        }
    }

    /// Lists as often as it takes; gives all names, and how many passes there were.
    fn passes(all: &[(Vec<u8>, bool)], room: usize, chunk: usize) -> (Vec<(Vec<u8>, bool)>, usize) {
        let (mut out, mut after, mut passes) = (Vec::new(), None::<Vec<u8>>, 0);
        loop {
            let mut names = Names::after(after.as_deref()).with_room(room);
            for chunk in all.chunks(chunk) {
                for (name, stray) in chunk {
                    names.push(name, if *stray { Nature::Stray } else { Nature::Bucket });
                    assert!(names.left() == 1 || names.bytes() <= room, "{} bytes", names.bytes());
                }
                names.end_chunk();
            }
            let rest = all.len() - out.len();
            assert_eq!(u64::from(names.left()) + names.later(), rest as u64);
            let strays = all.iter().filter(|(name, stray)| *stray && after.as_ref().is_none_or(|after| name > after));
            assert_eq!(u64::from(names.strays_left()) + names.later_strays(), strays.count() as u64);
            after = names.next_pass_after().map(<[u8]>::to_vec);
            out.extend(drain(&mut names));
            passes += 1;
            assert_eq!(names.next_pass_after(), after.as_deref());
            if after.is_none() {
                return (out, passes);
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_the_room_no_name_is_dropped_and_none_comes_twice(
            all in prop::collection::btree_map(prop::collection::vec(any::<u8>(), 1..9), any::<bool>(), 0..200),
            seed in any::<u64>(), room in 0usize..2000, chunk in 1usize..50,
        ) {
            let sorted: Vec<_> = all.into_iter().collect();
            let mut shuffled = sorted.clone();
            fastrand::Rng::with_seed(seed).shuffle(&mut shuffled);
            prop_assert_eq!(passes(&shuffled, room, chunk).0, sorted);
        }
    }

    #[test]
    fn names_that_fit_are_listed_in_one_pass_and_others_in_as_few_as_there_is_room_for() {
        let all: Vec<_> = (0..10_000u32).rev().map(|i| (format!("{i:092}").into_bytes(), i % 3 == 0)).collect();
        let (out, once) = passes(&all, 1_000_000, 64);
        assert!(out.is_sorted() && once == 1);
        let (again, often) = passes(&all, 100_000, 64);
        assert_eq!(out, again);
        assert!((10..=14).contains(&often), "{often} passes");
    }

    #[test]
    fn a_hundred_thousand_names_of_a_bucket_are_listed_in_one_pass() {
        let mut names = Names::default();
        for i in 0..100_000u32 {
            names.push(format!("{:026}", u64::from(i) * 7919 % 1_000_003).as_bytes(), Nature::Bucket);
            if i % 4096 == 0 {
                names.end_chunk();
            }
        }
        names.end_chunk();
        assert_eq!((names.left(), names.next_pass_after()), (100_000, None));
        assert!(drain(&mut names).is_sorted());
    }
}
