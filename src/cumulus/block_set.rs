//! A compressed set of block ids: about one bit for each where they are dense, two bytes and little more where not.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// The ids that share all but their lowest 16 bits.
#[derive(Debug, Clone)]
enum Chunk {
    /// Few: their lowest bits, ascending.
    Few(Vec<u16>),
    /// Many: one bit each.
    Many(Box<[u64; WORDS]>),
}

const WORDS: usize = 1 << 10;
/// From here on bits take less room than numbers.
const MOST_FEW: usize = 4096;

/// Spreads keys that are mostly consecutive; the keys come from row ids, not from an enemy who wants collisions.
#[derive(Debug, Default, Clone)]
struct Spread(u64);

impl Hasher for Spread {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = (self.0.rotate_left(5) ^ key).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}

/// A set of row ids, any 64-bit numbers.
#[derive(Debug, Clone, Default)]
pub(super) struct BlockSet {
    chunks: Vec<Chunk>,
    places: HashMap<u64, u32, BuildHasherDefault<Spread>>,
    /// The chunk looked at last: neighbours come together. Key and place.
    last: Option<(u64, u32)>,
    len: u64,
}

impl BlockSet {
    /// Takes an id in.
    pub(super) fn insert(&mut self, id: i64) {
        let (key, low) = split(id);
        let place = match self.last {
            Some((last, place)) if last == key => place,
            _ => {
                let next = self.chunks.len() as u32;
                let place = *self.places.entry(key).or_insert(next);
                if place == next {
                    self.chunks.push(Chunk::Few(Vec::new()));
                }
                self.last = Some((key, place));
                place
            }
        };
        if self.chunks[place as usize].insert(low) {
            self.len += 1;
        }
    }

    /// Whether an id is in the set.
    pub(super) fn contains(&self, id: i64) -> bool {
        let (key, low) = split(id);
        let place = match self.last {
            Some((last, place)) if last == key => place,
            _ => match self.places.get(&key) {
                Some(place) => *place,
                None => return false,
            },
        };
        self.chunks[place as usize].contains(low)
    }

    /// Like [`contains`](Self::contains), and remembers where it was: faster when neighbours are asked for in turn.
    pub(super) fn contains_near(&mut self, id: i64) -> bool {
        let (key, _) = split(id);
        if self.last.is_none_or(|(last, _)| last != key) {
            match self.places.get(&key) {
                Some(place) => self.last = Some((key, *place)),
                None => return false,
            }
        }
        self.contains(id)
    }

    /// How many ids are in the set.
    pub(super) fn len(&self) -> u64 {
        self.len
    }
}

fn split(id: i64) -> (u64, u16) {
    let id = id as u64;
    (id >> 16, id as u16)
}

impl Chunk {
    fn insert(&mut self, low: u16) -> bool {
        match self {
            Chunk::Few(few) => {
                let place = match few.last() {
                    Some(last) if *last < low => few.len(),
                    None => 0,
                    _ => match few.binary_search(&low) {
                        Ok(_) => return false,
                        Err(place) => place,
                    },
                };
                few.insert(place, low);
                if few.len() > MOST_FEW {
                    let mut bits = Box::new([0u64; WORDS]);
                    few.iter().for_each(|low| bits[usize::from(*low >> 6)] |= 1 << (low & 63));
                    *self = Chunk::Many(bits);
                }
                true
            }
            Chunk::Many(bits) => {
                let (word, bit) = (&mut bits[usize::from(low >> 6)], 1 << (low & 63));
                let new = *word & bit == 0;
                *word |= bit;
                new
            }
        }
    }

    fn contains(&self, low: u16) -> bool {
        match self {
            Chunk::Few(few) => few.binary_search(&low).is_ok(),
            Chunk::Many(bits) => bits[usize::from(low >> 6)] & (1 << (low & 63)) != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use proptest::prelude::*;

    fn ids() -> impl Strategy<Value = Vec<i64>> {
        let dense = (0i64..200_000, 1i64..9000).prop_map(|(from, n)| (from..from + n).collect::<Vec<_>>());
        let sparse = prop::collection::vec(any::<i64>(), 0..50);
        prop::collection::vec(prop_oneof![dense, sparse], 1..6).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn is_a_set(ids in ids(), others in prop::collection::vec(any::<i64>(), 20)) {
            let model: HashSet<i64> = ids.iter().copied().collect();
            let mut set = BlockSet::default();
            ids.iter().for_each(|id| set.insert(*id));
            prop_assert_eq!(set.len(), model.len() as u64);
            for id in ids.iter().flat_map(|id| [*id, id.wrapping_add(1), id.wrapping_sub(1)]).chain(others) {
                prop_assert_eq!(set.contains(id), model.contains(&id));
                prop_assert_eq!(set.contains_near(id), model.contains(&id));
            }
        }
    }

    #[test]
    fn ends_of_the_range_are_told_apart() {
        let mut set = BlockSet::default();
        [i64::MIN, -1, 0, i64::MAX].iter().for_each(|id| set.insert(*id));
        assert_eq!(
            [i64::MIN, i64::MIN + 1, -1, -2, 0, 1, i64::MAX].map(|id| set.contains(id)),
            [true, false, true, false, true, false, true]
        );
    }
}
