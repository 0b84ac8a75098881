//! The ring: the prefixes of a store in byte order, and how far round it a cycle has come.

use std::sync::Arc;

/// The prefixes of a store, sorted in byte order, each once.
///
/// Cheap to clone. Positions are `u32`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ring {
    prefixes: Arc<[String]>,
}

impl Ring {
    /// Makes a ring of these names: sorted in byte order, doubles dropped.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        let mut prefixes: Vec<String> = names.into_iter().collect();
        prefixes.sort_unstable();
        prefixes.dedup();
        Ring { prefixes: prefixes.into() }
    }

    /// How many prefixes there are.
    pub fn len(&self) -> u32 {
        u32::try_from(self.prefixes.len()).unwrap_or(u32::MAX)
    }

    /// Whether there is no prefix at all.
    pub fn is_empty(&self) -> bool {
        self.prefixes.is_empty()
    }

    /// The name at a position, or `None` beyond the end.
    pub fn name(&self, position: u32) -> Option<&str> {
        self.prefixes.get(position as usize).map(String::as_str)
    }

    /// The position of a name, or `None` if it is not in the ring.
    pub fn position(&self, name: &str) -> Option<u32> {
        self.prefixes.binary_search_by(|p| p.as_str().cmp(name)).ok().and_then(|i| u32::try_from(i).ok())
    }

    /// All names, in order.
    pub fn names(&self) -> &[String] {
        &self.prefixes
    }

    /// The same, to be kept without a copy.
    pub fn shared_names(&self) -> Arc<[String]> {
        self.prefixes.clone()
    }
}

/// Which prefixes of a cycle are complete; the seed's `last-complete-prefix` is a view of it.
#[derive(Debug, Clone, Default)]
pub struct Lap {
    done: Vec<bool>,
    count: u32,
    contiguous: u32,
}

impl Lap {
    /// A lap of `len` prefixes, none complete.
    pub fn new(len: u32) -> Self {
        Lap { done: vec![false; len as usize], count: 0, contiguous: 0 }
    }

    /// Notes that the prefix at `position` is complete. Positions beyond the end and repetitions change nothing.
    pub fn complete(&mut self, position: u32) {
        match self.done.get_mut(position as usize) {
            Some(done) if !*done => *done = true,
            _ => return,
        }
        self.count += 1;
        while self.done.get(self.contiguous as usize).copied().unwrap_or(false) {
            self.contiguous += 1;
        }
    }

    /// How many prefixes are complete.
    pub fn completed(&self) -> u32 {
        self.count
    }

    /// How many prefixes there are.
    pub fn len(&self) -> u32 {
        u32::try_from(self.done.len()).unwrap_or(u32::MAX)
    }

    /// Whether the lap has no prefixes.
    pub fn is_empty(&self) -> bool {
        self.done.is_empty()
    }

    /// The last prefix up to which all are complete, or `None` while the first is not.
    pub fn last_contiguous(&self) -> Option<u32> {
        self.contiguous.checked_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_sorted_and_found_again() {
        let ring = Ring::new(["b", "a", "22", "b"].map(String::from));
        assert_eq!(ring.names(), ["22", "a", "b"]);
        assert_eq!(ring.position("b"), Some(2));
        assert_eq!(ring.position("c"), None);
        assert_eq!(ring.name(3), None);
    }

    proptest! {
        #[test]
        fn contiguous_part_is_what_a_scan_finds(len in 0u32..40, marks in prop::collection::vec(0u32..44, 0..80)) {
            let mut lap = Lap::new(len);
            let mut model = vec![false; len as usize];
            for m in marks {
                lap.complete(m);
                if m < len { model[m as usize] = true; }
                let scan = model.iter().take_while(|d| **d).count() as u32;
                prop_assert_eq!(lap.last_contiguous(), scan.checked_sub(1));
                prop_assert_eq!(lap.completed(), model.iter().filter(|d| **d).count() as u32);
            }
        }
    }
}
