//! The names of one prefix: read in chunks, sorted chunk by chunk, given out in byte order.
//!
//! A prefix may hold a million names, and no step over it may be long. So each chunk is sorted when it is read, and the
//! sorted runs are merged while the names are visited, one name at a time. The names stand end to end in one buffer:
//! 26 bytes and an entry of 8 for each name of a Tahoe bucket.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// What a name in a prefix is, as far as the listing can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nature {
    /// It may be a bucket.
    Bucket,
    /// It is no bucket of this store: a stray. It is visited all the same, as Tahoe does.
    Stray,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
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
/// is still to be visited.
#[derive(Debug, Default)]
pub struct Names {
    after: Option<Vec<u8>>,
    text: Vec<u8>,
    entries: Vec<Entry>,
    /// The first entry that belongs to no sorted run yet.
    unsorted: usize,
    /// The runs that have names left; ordered into a heap by their next name when there are several.
    runs: Vec<Run>,
    merging: bool,
    left: u32,
}

impl Names {
    /// An empty listing which leaves out every name up to and including `after`.
    pub fn after(after: Option<&[u8]>) -> Self {
        Names { after: after.map(<[u8]>::to_vec), ..Names::default() }
    }

    /// Takes in one name. Names up to the cursor are left out. Names longer than 65,535 bytes, or beyond 4 GiB of
    /// names in all, do not occur in file systems and are left out too.
    pub fn push(&mut self, name: &[u8], nature: Nature) {
        if self.after.as_deref().is_some_and(|after| name <= after) {
            return;
        }
        let (Ok(at), Ok(len)) = (u32::try_from(self.text.len()), u16::try_from(name.len())) else { return };
        if self.entries.len() == u32::MAX as usize {
            return;
        }
        self.text.extend_from_slice(name);
        self.entries.push(Entry { at, len, stray: nature == Nature::Stray });
        self.left += 1;
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

    /// Leaves out all names that have not been given out.
    pub fn clear(&mut self) {
        *self = Names::default();
    }

    /// Puts the runs into heap order, once after they have changed.
    fn arrange(&mut self) {
        if self.merging {
            return;
        }
        self.end_chunk();
        self.merging = true;
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

fn bytes(text: &[u8], entry: Entry) -> &[u8] {
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

    #[test]
    fn a_million_names_of_a_bucket_take_less_than_40_mb() {
        let mut names = Names::default();
        for i in 0..1_000_000u32 {
            names.push(format!("{:026}", u64::from(i) * 7919 % 1_000_003).as_bytes(), Nature::Bucket);
            if i % 4096 == 0 {
                names.end_chunk();
            }
        }
        names.end_chunk();
        let used = names.text.len() + names.entries.len() * size_of::<Entry>();
        assert!(used < 40_000_000, "{used} bytes");
        assert!(drain(&mut names).is_sorted());
    }
}
