//! The segments, each with what stands about it in its own row.

use rusqlite::types::ValueRef;

use super::Gathered;
use super::rows::TableRange;
use crate::cumulus::policy::{Era, Figure, Mode, Number, SegmentFate, SegmentMark};
use crate::cumulus::value;

impl Gathered {
    pub(super) fn read_segments(&mut self, stretch: TableRange<'_>) -> rusqlite::Result<u64> {
        let schema = &self.schema;
        let sql = format!(
            "SELECT segmentid, segment, {}, {}, {}{} FROM segments WHERE segmentid >= ?1 ORDER BY segmentid LIMIT ?2",
            schema.segment_size(),
            schema.segment_time(),
            schema.column("segments", "expire_time"),
            schema.others(
                "segments",
                &["segmentid", "segment", schema.segment_size(), schema.segment_time(), "expire_time"]
            ),
        );
        let (careful, era) = (self.mode == Mode::Careful, schema.era);
        let last_snapshot = self.decision.retention.greatest;
        let conn = stretch.conn;
        stretch.read(&sql, |_, row| {
            let id: i64 = row.get(0)?;
            let time = row.get_ref(3)?;
            let cleaned = match row.get_ref(4)? {
                ValueRef::Integer(n) => Some(n),
                ValueRef::Null => None,
                // Not NULL, so cleaned; of no known time.
                _ => Some(i64::MAX),
            };
            let reaped = era == Era::B
                && self.decision.collects
                && cleaned.zip(last_snapshot).is_some_and(|(cleaned, last)| cleaned < last);
            let table = &mut self.segments;
            let name = value::text(row.get_ref(1)?).unwrap_or_default();
            let place = table.push(id, &name);
            if table.records[place].is(SegmentMark::NamedByText) {
                self.kept_text.take(Some(&name))?;
            }
            table.records[place].fate = if reaped { SegmentFate::Reaped } else { SegmentFate::Stays };
            table.records[place].set(SegmentMark::Cleaned, cleaned.is_some());
            table.set_figure(place, Figure::Size, size(row.get_ref(2)?, careful));
            // Era C has dates as texts by design.
            let mtime = match careful || era == Era::C {
                true => value::careful_moment(conn, time)?.unwrap_or_default(),
                false => value::moment(time),
            };
            table.set_mtime(place, mtime);
            Ok(())
        })
    }

    /// The segment with this id. Asked for neighbours in turn.
    pub(super) fn place(&mut self, id: i64) -> Option<usize> {
        let near = [self.last, self.last + 1];
        let found = near.into_iter().find(|i| self.segments.records.get(*i).is_some_and(|record| record.id == id));
        let place = match found {
            Some(place) => place,
            None => self.segments.place(id)?,
        };
        self.last = place;
        Some(place)
    }
}

/// A recorded size. A careful run takes what is no whole number for unknown, and a negative one for 0.
fn size(cell: ValueRef<'_>, careful: bool) -> Option<Number> {
    match (value::number(cell), careful) {
        (Some(Number::Int(n)), true) => Some(Number::Int(n.max(0))),
        (Some(Number::Real(_)), true) => None,
        (number, _) => number,
    }
}
