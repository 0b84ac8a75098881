//! The list of segments, worst first: a small record for each, made into an entry when somebody looks at it.
//!
//! Owns the order. An entry's age, utilization and benefit are reckoned again from what the record holds, and come out the
//! same.

use std::fmt;
use std::sync::Arc;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::judge::Judge;
use super::moment::StoredTime;
use super::number::Number;
use super::table::{Figure, SegmentFate, SegmentMark, SegmentTable};

/// One line of the list of segments.
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema), schemars(rename = "Segment"))]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SegmentEntry {
    /// Its `segmentid`.
    pub id: i64,
    /// Its name in the store.
    pub name: Arc<str>,
    pub used_bytes: Number,
    /// Bytes of all its objects.
    pub size_bytes: Number,
    /// When the newest part of it was written, as a Julian day; a text where the database has one in its place.
    pub mtime: StoredTime,
    /// Days since then; negative for the future, `None` where nothing is known and nothing is assumed.
    pub age_days: Option<f64>,
    /// `(1 - u) * (age + age boost) / (u + 0.1)`, in days; `None` where it cannot be computed.
    pub benefit: Option<f64>,
    /// The part in use, from 0 to 1; `None` for a segment of 0 bytes.
    pub utilization: Option<f64>,
    /// Whether this run marks it.
    pub marked: bool,
}

/// The segments that may be cleaned, worst first, and the names of those that are obsolete.
///
/// There may be millions: it takes 68 bytes for each, and makes an entry only when it is asked for. Serialized, it is
/// the sequence of its entries.
#[derive(Debug, Clone)]
pub struct SegmentList {
    table: SegmentTable,
    /// Places in the table: 32 bits, since 2^32 records would take 256 GB.
    order: Vec<u32>,
    judge: Judge,
}

impl SegmentList {
    /// An empty list.
    pub fn empty(judge: Judge) -> SegmentList {
        SegmentList::new(SegmentTable::default(), Vec::new(), judge)
    }

    /// The segments of a table that stand in an order, by their places; what is dead in the table is obsolete.
    pub(crate) fn new(table: SegmentTable, order: Vec<u32>, judge: Judge) -> SegmentList {
        SegmentList { table, order, judge }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// One of them, the worst being 0.
    pub fn get(&self, rank: usize) -> Option<SegmentEntry> {
        self.order.get(rank).map(|place| self.entry(*place as usize))
    }

    /// All of them, worst first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = SegmentEntry> + ExactSizeIterator + '_ {
        self.order.iter().map(|place| self.entry(*place as usize))
    }

    /// Ids of those that are marked, worst first.
    pub fn marked(&self) -> impl Iterator<Item = i64> + '_ {
        self.marked_places().map(|place| self.table.records[place].id)
    }

    /// Names of those that are marked, worst first.
    pub fn marked_names(&self) -> impl Iterator<Item = Arc<str>> + '_ {
        self.marked_places().map(|place| self.table.name(place))
    }

    /// Names of segments that no kept snapshot uses; none of them is in the list.
    pub fn obsolete_names(&self) -> impl Iterator<Item = Arc<str>> + '_ {
        let places = 0..self.table.records.len();
        places.filter(|place| self.table.records[*place].fate == SegmentFate::Dead).map(|place| self.table.name(place))
    }

    /// Bytes in use in those that are marked, and bytes not in use.
    pub(super) fn marked_bytes(&self) -> (i128, i128) {
        self.marked_places().fold((0, 0), |(again, free), place| {
            let [used, size] = self.bytes(place).map(Number::bytes);
            (again.saturating_add(used), free.saturating_add(size.saturating_sub(used).max(0)))
        })
    }

    fn marked_places(&self) -> impl Iterator<Item = usize> + '_ {
        let places = self.order.iter().map(|place| *place as usize);
        places.filter(|place| self.table.records[*place].is(SegmentMark::Marked))
    }

    fn bytes(&self, place: usize) -> [Number; 2] {
        [Figure::Used, Figure::Size].map(|figure| self.table.figure(place, figure).unwrap_or(Number::Int(0)))
    }

    fn entry(&self, place: usize) -> SegmentEntry {
        let [used_bytes, size_bytes] = self.bytes(place);
        let mtime = self.table.mtime(place);
        let verdict = self.judge.verdict(used_bytes, size_bytes, &mtime);
        SegmentEntry {
            id: self.table.records[place].id,
            name: self.table.name(place),
            used_bytes,
            size_bytes,
            mtime,
            age_days: verdict.age_days,
            benefit: verdict.benefit,
            utilization: verdict.utilization,
            marked: self.table.records[place].is(SegmentMark::Marked),
        }
    }

    /// A list that was kept, with the names of the obsolete.
    pub(super) fn restored(KeptList(mut table): KeptList, obsolete: &[Box<str>], judge: Judge) -> SegmentList {
        let order = (0..table.records.len() as u32).collect();
        table.records.reserve_exact(obsolete.len());
        for name in obsolete {
            let place = table.push(0, name);
            table.records[place].fate = SegmentFate::Dead;
        }
        SegmentList::new(table, order, judge)
    }
}

impl PartialEq for SegmentList {
    fn eq(&self, other: &SegmentList) -> bool {
        self.judge == other.judge && self.iter().eq(other.iter()) && self.obsolete_names().eq(other.obsolete_names())
    }
}

impl Serialize for SegmentList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl IntoIterator for SegmentList {
    type Item = SegmentEntry;
    type IntoIter = IntoEntries;

    fn into_iter(self) -> IntoEntries {
        IntoEntries { list: self, next: 0 }
    }
}

/// The entries of a list, worst first.
#[derive(Debug)]
pub struct IntoEntries {
    list: SegmentList,
    next: usize,
}

impl Iterator for IntoEntries {
    type Item = SegmentEntry;

    fn next(&mut self) -> Option<SegmentEntry> {
        let entry = self.list.get(self.next)?;
        self.next += 1;
        Some(entry)
    }
}

/// The entries of a list that was serialized, in their order; what follows from others is left out.
#[derive(Debug)]
pub(super) struct KeptList(SegmentTable);

impl<'de> Deserialize<'de> for KeptList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<KeptList, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = KeptList;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a sequence of segments")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<KeptList, A::Error> {
                let mut table = SegmentTable::default();
                while let Some(entry) = entries.next_element::<SegmentEntry>()? {
                    let place = table.push(entry.id, &entry.name);
                    table.set_figure(place, Figure::Used, Some(entry.used_bytes));
                    table.set_figure(place, Figure::Size, Some(entry.size_bytes));
                    table.set_mtime(place, entry.mtime);
                    table.records[place].set(SegmentMark::Marked, entry.marked);
                }
                Ok(KeptList(table))
            }
        }
        deserializer.deserialize_seq(Entries)
    }
}
