//! The blocks: sums by segment, and, once it is known which are to be expired, their ages.

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::Gathered;
use super::rows::TableRange;
use crate::cumulus::policy::{Era, Figure, Mode, Number, SegmentFate, SegmentMark, StoredTime};
use crate::cumulus::value;

impl Gathered {
    pub(super) fn read_blocks(&mut self, stretch: TableRange<'_>) -> rusqlite::Result<u64> {
        let sql = format!(
            "SELECT blockid, segmentid, {}, {}, expired IS NOT NULL{} FROM block_index WHERE blockid >= ?1 \
             ORDER BY blockid LIMIT ?2",
            self.schema.column("block_index", "size"),
            self.schema.column("block_index", "timestamp"),
            self.schema.others("block_index", &["blockid", "segmentid", "size", "timestamp", "expired"]),
        );
        let conn = stretch.conn;
        stretch.read(&sql, |block, row| {
            let expired = row.get_ref(4)? == ValueRef::Integer(1);
            let segment = row.get_ref(1)?;
            let place = match segment {
                ValueRef::Integer(id) => self.place(id),
                _ => None,
            };
            match place {
                Some(place) => self.take_block(conn, place, block, row.get_ref(2)?, row.get_ref(3)?, expired)?,
                None => self.take_orphan(segment, block, expired),
            }
            Ok(())
        })
    }

    fn take_block(
        &mut self,
        conn: &Connection,
        place: usize,
        block: i64,
        size: ValueRef<'_>,
        time: ValueRef<'_>,
        expired: bool,
    ) -> rusqlite::Result<()> {
        let era = self.schema.era;
        let table = &mut self.segments;
        let record = &mut table.records[place];
        let stays = record.fate == SegmentFate::Stays;
        self.removed.blocks += u64::from(!stays);
        record.blocks = record.blocks.saturating_add(1);
        if expired {
            record.set(SegmentMark::Expired, true);
        }
        let (size, odd_size) = size_of(size, self.mode);
        if let Some(size) = size {
            table.add(place, Figure::BlockBytes, size);
        }
        if let Some(why) = odd_size {
            table.set_unreadable(place, why);
        }
        if era != Era::A {
            if self.schema.signatures && stays {
                self.surviving.insert(block);
            }
            return Ok(());
        }
        let written = match (time, self.mode) {
            (ValueRef::Real(day), _) if day.is_finite() => StoredTime::Day(day),
            (time, Mode::Compat) => value::moment(time),
            (time, Mode::Careful) => match value::careful_moment(conn, time)? {
                Ok(moment) => moment,
                Err(why) => {
                    table.set_unreadable(place, why);
                    StoredTime::Unknown
                }
            },
        };
        match (table.mtime(place), written) {
            (StoredTime::Day(newest), StoredTime::Day(day)) if day <= newest => {}
            (newest, written) => table.set_mtime(place, value::later(newest, written)),
        }
        if self.used.contains_near(block) {
            table.records[place].set(SegmentMark::InUse, true);
            self.live_used.insert(block);
            if let Some(size) = size {
                table.add(place, Figure::Used, size);
            }
        }
        Ok(())
    }

    fn take_orphan(&mut self, segment: ValueRef<'_>, block: i64, expired: bool) {
        if self.schema.era == Era::A && self.used.contains_near(block) {
            self.dangling = true;
        }
        if self.decision.collects {
            self.removed.blocks += 1;
        }
        match segment {
            ValueRef::Integer(id) => {
                let orphan = self.orphans.entry(id).or_default();
                orphan.0 += 1;
                orphan.1 += u64::from(expired);
            }
            _ => self.decision.nameless_orphans = true,
        }
    }

    /// Counts the signatures of blocks that go or are not there.
    pub(super) fn read_signatures(&mut self, stretch: TableRange<'_>) -> rusqlite::Result<u64> {
        // Deleting a row reads what an index of it holds.
        let others = self.schema.read_with_signatures();
        let sql =
            format!("SELECT blockid{others} FROM subblock_signatures WHERE blockid >= ?1 ORDER BY blockid LIMIT ?2");
        stretch.read(&sql, |_, row| {
            let block: i64 = row.get(0)?;
            if !self.surviving.contains_near(block) {
                self.removed.signatures += 1;
            }
            Ok(())
        })
    }

    /// Counts the ages of the blocks that are, or are to be, expired.
    pub(super) fn read_ages(&mut self, stretch: TableRange<'_>) -> rusqlite::Result<u64> {
        let sql = format!(
            "SELECT blockid, segmentid, {}, {}, expired IS NOT NULL FROM block_index WHERE blockid >= ?1 \
             ORDER BY blockid LIMIT ?2",
            self.schema.column("block_index", "size"),
            value::timestamp(self.mode, self.schema.column("block_index", "timestamp")),
        );
        stretch.read(&sql, |block, row| {
            let expired = row.get_ref(4)? == ValueRef::Integer(1);
            if !self.is_regrouped(row.get_ref(1)?, expired) {
                return Ok(());
            }
            if self.schema.era == Era::A && !self.used.contains_near(block) {
                return Ok(());
            }
            let (size, _) = size_of(row.get_ref(2)?, self.mode);
            let days = value::days_since(self.now, &value::moment(row.get_ref(3)?));
            self.histogram.add_block(days, size);
            Ok(())
        })
    }

    fn is_regrouped(&mut self, segment: ValueRef<'_>, expired: bool) -> bool {
        let ValueRef::Integer(id) = segment else { return false };
        match self.place(id) {
            Some(place) => {
                let record = &self.segments.records[place];
                record.is(SegmentMark::Touched) && (expired || record.is(SegmentMark::Marked))
            }
            None => expired && self.regroups_orphans(),
        }
    }
}

/// The size of a block. A careful run takes NULL and negative ones for 0, and wants whole numbers.
fn size_of(cell: ValueRef<'_>, mode: Mode) -> (Option<Number>, Option<&'static str>) {
    match (cell, mode) {
        (ValueRef::Null, Mode::Careful) => (None, None),
        (ValueRef::Integer(n), Mode::Careful) => (Some(Number::Int(n.max(0).into())), None),
        (_, Mode::Careful) => (None, Some("the size of a block is no whole number")),
        (cell, Mode::Compat) => (value::number(cell), None),
    }
}
