//! The segments whose blocks get new values, in some three bytes for each.
//!
//! There may be millions, and the list stands beside all that is known of them from the plan to the last change. It is
//! gone through once, from its beginning, so each segment is written as what it adds to the one before: the distance
//! of the ids, then the number of blocks with the mark as its lowest bit, both in seven bits a byte. Serialized, it is
//! the sequence of its segments.

use std::fmt;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A segment whose blocks get new values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Touched {
    pub(super) segment: i64,
    /// The number of its blocks, 2^32 - 1 if more.
    pub(super) blocks: u32,
    /// Whether it is marked.
    pub(super) marked: bool,
}

/// Such segments. Ascending ones take the least room.
#[derive(Debug, Clone)]
pub(super) struct TouchedList {
    bytes: Vec<u8>,
    len: usize,
    last: i64,
}

/// A place in a list, between two segments.
#[derive(Debug, Clone, Copy)]
pub(super) struct ListPlace {
    byte: usize,
    /// How many segments are before it.
    pub(super) passed: usize,
    /// The segment before it.
    last: i64,
}

impl ListPlace {
    /// Before the first segment.
    pub(super) const START: ListPlace = ListPlace { byte: 0, passed: 0, last: i64::MIN };
}

impl TouchedList {
    /// A list of none.
    pub(super) fn new() -> TouchedList {
        TouchedList { bytes: Vec::new(), len: 0, last: ListPlace::START.last }
    }

    /// A list of none, with room for about so many, so that it need not be copied to grow. Room that is never written to takes up
    /// no memory.
    pub(super) fn with_room_for(segments: usize) -> TouchedList {
        TouchedList { bytes: Vec::with_capacity(segments.saturating_mul(4)), ..TouchedList::new() }
    }

    /// Takes a segment in, after all others.
    pub(super) fn push(&mut self, touched: Touched) {
        // Modulo 2^64, so that every distance is one.
        self.put(touched.segment.wrapping_sub(self.last) as u64);
        self.put(u64::from(touched.blocks) << 1 | u64::from(touched.marked));
        self.last = touched.segment;
        self.len += 1;
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The segment after a place, and the place after it; `None` at the end.
    pub(super) fn after(&self, place: ListPlace) -> Option<(Touched, ListPlace)> {
        let mut bytes = self.bytes.get(place.byte..)?.iter();
        let segment = place.last.wrapping_add(take(&mut bytes)? as i64);
        let blocks_and_mark = take(&mut bytes)?;
        let touched = Touched {
            segment,
            blocks: u32::try_from(blocks_and_mark >> 1).unwrap_or(u32::MAX),
            marked: blocks_and_mark & 1 == 1,
        };
        let next = ListPlace { byte: self.bytes.len() - bytes.len(), passed: place.passed + 1, last: segment };
        Some((touched, next))
    }

    /// All of them, in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Touched> + '_ {
        let mut place = ListPlace::START;
        std::iter::from_fn(move || {
            let (touched, next) = self.after(place)?;
            place = next;
            Some(touched)
        })
    }

    fn put(&mut self, mut number: u64) {
        while number >= 1 << 7 {
            self.bytes.push(number as u8 | 1 << 7);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }
}

/// Takes a number from the front, as [`TouchedList::put`] writes it.
fn take<'a>(bytes: &mut impl Iterator<Item = &'a u8>) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let byte = *bytes.next()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 1 << 7 {
            return Some(number);
        }
    }
    None
}

impl Serialize for TouchedList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(|touched| (touched.segment, touched.blocks, touched.marked)))
    }
}

impl<'de> Deserialize<'de> for TouchedList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<TouchedList, D::Error> {
        struct Segments;
        impl<'de> Visitor<'de> for Segments {
            type Value = TouchedList;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a sequence of segments, each with its blocks and whether it is marked")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut segments: A) -> Result<TouchedList, A::Error> {
                let mut list = TouchedList::new();
                while let Some((segment, blocks, marked)) = segments.next_element()? {
                    if segment < list.last {
                        return Err(A::Error::custom("segments out of order"));
                    }
                    list.push(Touched { segment, blocks, marked });
                }
                Ok(list)
            }
        }
        deserializer.deserialize_seq(Segments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn list(segments: impl IntoIterator<Item = (i64, u32, bool)>) -> TouchedList {
        let mut list = TouchedList::new();
        segments.into_iter().for_each(|(segment, blocks, marked)| list.push(Touched { segment, blocks, marked }));
        list
    }

    fn segments(list: &TouchedList) -> Vec<(i64, u32, bool)> {
        list.iter().map(|touched| (touched.segment, touched.blocks, touched.marked)).collect()
    }

    fn ids() -> impl Strategy<Value = i64> {
        prop_oneof![any::<i64>(), -300i64..300, Just(i64::MIN), Just(i64::MAX)]
    }

    fn blocks() -> impl Strategy<Value = u32> {
        prop_oneof![any::<u32>(), 0u32..300, Just(u32::MAX)]
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(model in prop::collection::vec((ids(), blocks(), any::<bool>()), 0..50)) {
            let list = list(model.iter().copied());
            prop_assert_eq!(list.len(), model.len());
            prop_assert_eq!(list.is_empty(), model.is_empty());
            prop_assert_eq!(segments(&list), model);
        }

        #[test]
        fn a_list_reads_back_as_it_was_written(mut model in prop::collection::vec((ids(), blocks(), any::<bool>()), 0..50)) {
            model.sort_unstable();
            let text = serde_json::to_string(&list(model.iter().copied())).unwrap();
            prop_assert_eq!(&text, &serde_json::to_string(&model).unwrap());
            prop_assert_eq!(segments(&serde_json::from_str(&text).unwrap()), model);
        }
    }

    #[test]
    fn the_ends_of_the_ranges_come_out_too() {
        let model = [(i64::MIN, 0, false), (-1, u32::MAX, true), (0, 1, true), (i64::MAX, u32::MAX, false)];
        assert_eq!(segments(&list(model)), model);
        let backwards = model.map(|(segment, blocks, marked)| (segment.wrapping_neg(), blocks, marked));
        assert_eq!(segments(&list(backwards)), backwards);
    }

    #[test]
    fn a_segment_among_many_takes_three_bytes() {
        // The memory of a run is bounded by this, beside the 64 bytes of its record and 4 of the order.
        let many = list((1..=1000).map(|i| (100 * i, 250, i % 2 == 0)));
        assert!(many.bytes.len() <= 3 * 1000 + 9, "{} bytes", many.bytes.len());
    }

    #[test]
    fn a_place_is_kept_and_gone_back_to() {
        let list = list([(3, 10, true), (500, 0, false), (i64::MAX, 7, true)]);
        let (_, second) = list.after(ListPlace::START).unwrap();
        let (touched, third) = list.after(second).unwrap();
        assert_eq!((touched.segment, third.passed), (500, 2));
        let (last, end) = list.after(third).unwrap();
        assert_eq!((last.segment, end.passed), (i64::MAX, 3));
        assert!(list.after(end).is_none());
        assert_eq!(list.after(second).unwrap().0, touched);
    }

    #[test]
    fn what_this_program_does_not_write_is_not_read() {
        let read = |text: &str| serde_json::from_str::<TouchedList>(text).map(|list| segments(&list)).ok();
        assert_eq!(read("[[-5,0,false],[7,4294967295,true]]"), Some(vec![(-5, 0, false), (7, u32::MAX, true)]));
        for damaged in [
            "[[7,1,true],[-5,1,true]]",
            "[[7,4294967296,true]]",
            "[[7,-1,true]]",
            "[[9223372036854775808,1,true]]",
            "[[7,1]]",
            "[[7,1,true,1]]",
            "[[7,1,1]]",
            "[[7,1,true]",
            "{}",
        ] {
            assert_eq!(read(damaged), None, "{damaged}");
        }
    }
}
