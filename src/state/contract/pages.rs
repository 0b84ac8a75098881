//! Tallies are read some at a time, so that those of a whole ring need not fit in memory.

use super::{Backend, begun, progress};
use crate::state::{PrefixProgress, TALLY_BYTES_READ, each_prefix};

pub(super) fn tallies_of_any_size_are_read_in_pages<B: Backend>() {
    let mut backend = B::fresh();
    let store = backend.store();
    let cycle = begun(store, 9);
    // A third of what is read at once, and one that is more by itself; the last prefixes have none.
    let sizes = [1, 1, 1, 1, 1, 7].map(|thirds| thirds * TALLY_BYTES_READ / 3);
    for (claim, size) in store.claim(&cycle, 6).unwrap().iter().zip(sizes) {
        let tally = vec![b'x'; size];
        store.commit(&cycle, &[PrefixProgress { tally, ..progress(claim, "end", true) }], 2.5).unwrap();
    }
    backend.reopen();
    let store = backend.store();
    for from in 0..9 {
        let page = store.reader().prefixes(&cycle, from).unwrap();
        let behind: usize = page[..page.len() - 1].iter().map(|row| row.tally.as_ref().map_or(0, Vec::len)).sum();
        assert!(behind < TALLY_BYTES_READ && page[0].prefix == from, "from {from}: {} rows", page.len());
    }
    assert!(store.reader().prefixes(&cycle, 9).unwrap().is_empty());
    let mut read = Vec::new();
    each_prefix(&*store.reader(), &cycle, |row| {
        read.push((row.prefix, row.tally.map_or(0, |tally| tally.len())));
        Ok(())
    })
    .unwrap();
    let expected: Vec<_> = (0..).zip(sizes.into_iter().chain([0; 3])).collect();
    assert_eq!(read, expected);
}
