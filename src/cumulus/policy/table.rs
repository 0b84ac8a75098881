//! What is known of each segment, in 64 bytes for each: there may be millions, and all of them are sorted.
//!
//! What does not fit, and no program ever wrote, is kept beside the records at what it takes: names that are no UUIDs,
//! sums beyond 64 bits, texts in the place of times. Judges nothing.

use std::sync::Arc;

use super::judge::SegmentFigures;
use super::moment::StoredTime;
use super::names;
use super::number::Number;
use super::options::{Era, Mode};

/// What garbage collection does with a segment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SegmentFate {
    #[default]
    Stays,
    /// Its blocks go, its row stays (era B).
    Reaped,
    /// It goes.
    Dead,
}

/// What may be true of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentMark {
    /// A kept snapshot uses it.
    InUse = 1,
    /// It was cleaned before (era B).
    Cleaned = 2,
    /// Blocks of it are expired already.
    Expired = 4,
    /// This run marks it.
    Marked = 8,
    /// Blocks of it get new values.
    Touched = 16,
    /// None of its blocks may be touched.
    Untouchable = 32,
    /// Its name is text among the texts.
    NamedByText = 64,
}

/// The numbers that are known of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figure {
    /// What is in use: bytes; before it is judged, in era B the greatest utilization.
    Used,
    /// Bytes of all its objects: recorded, or judged to be so many.
    Size,
    /// The sum of the sizes of its blocks.
    BlockBytes,
}

const FIGURES: usize = 3;
/// Where the time is among the cells.
const TIME: usize = FIGURES;

/// What stands in a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CellKind {
    Nothing,
    Whole,
    Real,
    /// The place of what does not fit.
    Beside,
}

/// One segment. 64 bytes, so that 10^6 segments take 64 MB; `a_segment_takes_64_bytes` holds it to that.
#[derive(Debug, Clone)]
pub struct SegmentRecord {
    /// Its `segmentid`.
    pub id: i64,
    /// A UUID, or where its name begins and ends among the texts.
    name: [u64; 2],
    /// The figures and the time, each of its kind.
    cells: [u64; FIGURES + 1],
    /// How many blocks it has, 2^32 - 1 if more.
    pub blocks: u32,
    /// What is done with it.
    pub fate: SegmentFate,
    /// Two bits for each cell.
    kinds: u8,
    marks: u8,
    /// What makes its figures worthless: one more than the place among the reasons, or 0.
    reason: u8,
}

impl SegmentRecord {
    /// Whether something is true of it.
    pub fn is(&self, mark: SegmentMark) -> bool {
        self.marks & mark as u8 != 0
    }

    /// Makes it true, or not.
    pub fn set(&mut self, mark: SegmentMark, truth: bool) {
        if truth {
            self.marks |= mark as u8;
        } else {
            self.marks &= !(mark as u8);
        }
    }

    fn kind(&self, cell: usize) -> CellKind {
        match self.kinds >> (2 * cell) & 3 {
            0 => CellKind::Nothing,
            1 => CellKind::Whole,
            2 => CellKind::Real,
            _ => CellKind::Beside,
        }
    }

    fn put(&mut self, cell: usize, kind: CellKind, bits: u64) {
        self.kinds = self.kinds & !(3 << (2 * cell)) | (kind as u8) << (2 * cell);
        self.cells[cell] = bits;
    }
}

/// All segments, in the order in which they were taken in. A place in it is one that [`push`](Self::push) or
/// [`place`](Self::place) gave.
#[derive(Debug, Clone, Default)]
pub struct SegmentTable {
    /// One for each.
    pub records: Vec<SegmentRecord>,
    /// Names that are no UUIDs, one after the other.
    texts: String,
    /// Whole numbers beyond 64 bits.
    wide: Vec<i128>,
    /// Times that are texts.
    times: Vec<String>,
    reasons: Vec<&'static str>,
}

impl SegmentTable {
    /// Takes a segment in, of which nothing is known yet.
    pub fn push(&mut self, id: i64, name: &str) -> usize {
        let (packed, marks) = match names::pack(name) {
            Some(bits) => ([(bits >> 64) as u64, bits as u64], 0),
            None => {
                let start = self.texts.len() as u64;
                self.texts.push_str(name);
                ([start, self.texts.len() as u64], SegmentMark::NamedByText as u8)
            }
        };
        let cells = [0; FIGURES + 1];
        let fate = SegmentFate::Stays;
        self.records.push(SegmentRecord { id, name: packed, cells, blocks: 0, fate, kinds: 0, marks, reason: 0 });
        self.records.len() - 1
    }

    /// The name of a segment in the store.
    pub fn name(&self, place: usize) -> Arc<str> {
        let record = &self.records[place];
        let [high, low] = record.name;
        if record.is(SegmentMark::NamedByText) {
            return self.texts[high as usize..low as usize].into();
        }
        names::unpack(u128::from(high) << 64 | u128::from(low)).into()
    }

    /// One of its figures, if it is known.
    pub fn figure(&self, place: usize, figure: Figure) -> Option<Number> {
        let record = &self.records[place];
        let bits = record.cells[figure as usize];
        match record.kind(figure as usize) {
            CellKind::Nothing => None,
            CellKind::Whole => Some(Number::Int((bits as i64).into())),
            CellKind::Real => Some(Number::Real(f64::from_bits(bits))),
            CellKind::Beside => Some(Number::Int(self.wide[bits as usize])),
        }
    }

    /// Notes one of its figures.
    pub fn set_figure(&mut self, place: usize, figure: Figure, number: Option<Number>) {
        let (record, cell) = (&mut self.records[place], figure as usize);
        match number {
            None => record.put(cell, CellKind::Nothing, 0),
            Some(Number::Real(x)) => record.put(cell, CellKind::Real, x.to_bits()),
            Some(Number::Int(n)) => match i64::try_from(n) {
                Ok(n) => record.put(cell, CellKind::Whole, n as u64),
                Err(_) if record.kind(cell) == CellKind::Beside => self.wide[record.cells[cell] as usize] = n,
                Err(_) => {
                    record.put(cell, CellKind::Beside, self.wide.len() as u64);
                    self.wide.push(n);
                }
            },
        }
    }

    /// Adds to one of its figures as SQLite's `sum()` does: whole numbers exactly, and as doubles from the first double on.
    pub fn add(&mut self, place: usize, figure: Figure, number: Number) {
        let sum = self.figure(place, figure).unwrap_or(Number::Int(0)).plus(number);
        self.set_figure(place, figure, Some(sum));
    }

    /// When its newest part was written.
    pub fn mtime(&self, place: usize) -> StoredTime {
        let record = &self.records[place];
        match record.kind(TIME) {
            CellKind::Real => StoredTime::Day(f64::from_bits(record.cells[TIME])),
            CellKind::Beside => StoredTime::Text(self.times[record.cells[TIME] as usize].clone()),
            CellKind::Nothing | CellKind::Whole => StoredTime::Unknown,
        }
    }

    /// Notes when its newest part was written.
    pub fn set_mtime(&mut self, place: usize, mtime: StoredTime) {
        let record = &mut self.records[place];
        match mtime {
            StoredTime::Unknown => record.put(TIME, CellKind::Nothing, 0),
            StoredTime::Day(day) => record.put(TIME, CellKind::Real, day.to_bits()),
            StoredTime::Text(text) if record.kind(TIME) == CellKind::Beside => {
                self.times[record.cells[TIME] as usize] = text
            }
            StoredTime::Text(text) => {
                record.put(TIME, CellKind::Beside, self.times.len() as u64);
                self.times.push(text);
            }
        }
    }

    /// What makes its figures worthless, if anything.
    pub fn unreadable(&self, place: usize) -> Option<&'static str> {
        let reason = usize::from(self.records[place].reason).checked_sub(1)?;
        self.reasons.get(reason).copied()
    }

    /// Notes what makes its figures worthless; of several reasons the first.
    pub fn set_unreadable(&mut self, place: usize, why: &'static str) {
        if self.records[place].reason != 0 {
            return;
        }
        let known = self.reasons.iter().position(|reason| *reason == why);
        let reason = known.unwrap_or_else(|| {
            self.reasons.push(why);
            self.reasons.len() - 1
        });
        // There are no more reasons than a few lines of code name.
        self.records[place].reason = u8::try_from(reason + 1).unwrap_or(u8::MAX);
    }

    /// The figures of a segment for the policy.
    pub fn figures(&self, place: usize, era: Era, mode: Mode) -> SegmentFigures {
        let record = &self.records[place];
        let block_bytes = self.figure(place, Figure::BlockBytes);
        let size = if era == Era::A { block_bytes } else { self.figure(place, Figure::Size) };
        let used = self.figure(place, Figure::Used);
        SegmentFigures {
            id: record.id,
            used: match era {
                Era::A | Era::C => used,
                Era::B => used.and_then(|u| share(size.or(block_bytes.filter(|_| mode == Mode::Careful)), u)),
            },
            size,
            block_bytes,
            mtime: self.mtime(place),
            blocks: record.blocks.into(),
            expired: record.is(SegmentMark::Expired),
            eligible: match era {
                Era::A => record.is(SegmentMark::InUse),
                Era::B => record.is(SegmentMark::InUse) && !record.is(SegmentMark::Cleaned),
                Era::C => true,
            },
            unreadable: self.unreadable(place),
        }
    }

    /// The place of a segment, where they are by ascending id.
    pub fn place(&self, id: i64) -> Option<usize> {
        self.records.binary_search_by_key(&id, |record| record.id).ok()
    }
}

/// `cast(size * utilization as integer)`, as SQLite reckons: towards 0, and at the ends of 64 bits cut.
fn share(size: Option<Number>, utilization: Number) -> Option<Number> {
    let product = size?.to_f64() * utilization.to_f64();
    (!product.is_nan()).then_some(Number::Int((product as i64).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_takes_64_bytes() {
        // The memory of a run is bounded by this: 64 bytes for a segment, and some 7 for what is decided about it.
        assert_eq!(size_of::<SegmentRecord>(), 64);
    }

    #[test]
    fn what_the_programs_write_needs_nothing_beside_the_record() {
        let mut table = SegmentTable::default();
        let place = table.push(i64::MAX, "0123abcd-4567-89ef-0000-fedcba987654");
        table.add(place, Figure::BlockBytes, Number::Int(i64::MAX.into()));
        table.set_figure(place, Figure::Used, Some(Number::Real(0.7)));
        table.set_figure(place, Figure::Size, Some(Number::Int(4_194_304)));
        table.set_mtime(place, StoredTime::Day(2_454_400.5));
        assert!(table.texts.is_empty() && table.wide.is_empty() && table.times.is_empty());
    }

    #[test]
    fn what_goes_into_a_table_comes_out_of_it() {
        let mut table = SegmentTable::default();
        let names = ["huge", "", "0123abcd-4567-89ef-0000-fedcba987654", "ü"];
        for (name, id) in names.into_iter().zip(i64::MAX - 4..) {
            table.push(id, name);
        }
        assert_eq!([0, 1, 2, 3].map(|place| table.name(place)).each_ref().map(|name| &**name), names);
        assert_eq!(table.place(i64::MAX - 3), Some(1));
        let numbers = [
            Some(Number::Int(i64::MIN.into())),
            Some(Number::Int(1 << 70)),
            None,
            Some(Number::Real(-0.5)),
            Some(Number::Int(-(1 << 64))),
            Some(Number::Int(0)),
        ];
        for (figure, number) in [Figure::Used, Figure::Size, Figure::BlockBytes].into_iter().cycle().zip(numbers) {
            table.set_figure(2, figure, number);
            assert_eq!(table.figure(2, figure), number);
        }
        assert_eq!(table.figure(2, Figure::Used), Some(Number::Real(-0.5)));
        for mtime in
            [StoredTime::Text("a".into()), StoredTime::Text("b".into()), StoredTime::Day(0.1), StoredTime::Unknown]
        {
            table.set_mtime(2, mtime.clone());
            assert_eq!(table.mtime(2), mtime);
        }
        assert_eq!(table.times.len(), 1);
        table.set_unreadable(2, "torn");
        table.set_unreadable(2, "odd");
        assert_eq!(table.unreadable(2), Some("torn"));
        assert_eq!(table.figure(1, Figure::Used), None);
    }

    #[test]
    fn a_figure_adds_up_as_a_sum_of_sqlite() {
        use crate::cumulus::policy::Sum;
        let numbers =
            [Number::Int(i64::MAX.into()), Number::Int(1), Number::Real(-0.0), Number::Int(3), Number::Real(0.1)];
        for from in 0..numbers.len() {
            let (mut table, mut sum) = (SegmentTable::default(), Sum::default());
            let place = table.push(1, "");
            for number in &numbers[from..] {
                table.add(place, Figure::Used, *number);
                sum.add(*number);
                assert_eq!(table.figure(place, Figure::Used), sum.value());
            }
        }
    }
}
