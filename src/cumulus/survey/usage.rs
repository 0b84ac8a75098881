//! What the snapshots use: blocks in era A, parts of segments later.

use rusqlite::types::ValueRef;

use super::Gathered;
use super::rows::TableRange;
use crate::cumulus::policy::{
    CleaningRefusal, Era, Figure, Mode, Number, Raised, RaisedAt, RaisedFault, RunPart, SegmentFate, SegmentMark,
};
use crate::cumulus::value;

impl Gathered {
    pub(super) fn read_usage(&mut self, stretch: TableRange<'_>) -> rusqlite::Result<u64> {
        match self.schema.era {
            Era::A => self.read_contents(stretch),
            Era::B | Era::C => self.read_shares(stretch),
        }
    }

    /// Whether a usage row stays, as far as its snapshot decides.
    fn row_stays(&self, snapshot: ValueRef<'_>) -> bool {
        if !self.decision.collects {
            return true;
        }
        match snapshot {
            ValueRef::Integer(id) => match self.decision.retention.kept[..] {
                [only] => only == id,
                ref kept => kept.binary_search(&id).is_ok(),
            },
            // `NULL NOT IN (...)` is not true, so the old programs kept these; unless there is no snapshot at all.
            ValueRef::Null => self.mode == Mode::Compat && !self.takes_everything(),
            _ => false,
        }
    }

    fn read_contents(&mut self, stretch: TableRange<'_>) -> rusqlite::Result<u64> {
        let sql = format!(
            "SELECT rowid, blockid, snapshotid{} FROM snapshot_contents WHERE rowid >= ?1 ORDER BY rowid LIMIT ?2",
            self.schema.others("snapshot_contents", &["blockid", "snapshotid"]),
        );
        stretch.read(&sql, |_, row| {
            if !self.row_stays(row.get_ref(2)?) {
                self.removed.usage_rows += 1;
                return Ok(());
            }
            match row.get_ref(1)? {
                ValueRef::Integer(block) => self.used.insert(block),
                _ => self.dangling = true,
            }
            Ok(())
        })
    }

    fn read_shares(&mut self, stretch: TableRange<'_>) -> rusqlite::Result<u64> {
        let share = if self.schema.era == Era::B { "utilization" } else { "bytes_referenced" };
        let table = self.schema.usage;
        let sql = format!(
            "SELECT rowid, snapshotid, segmentid, {share}{} FROM {table} WHERE rowid >= ?1 ORDER BY rowid LIMIT ?2",
            self.schema.others(table, &["snapshotid", "segmentid", share]),
        );
        stretch.read(&sql, |_, row| {
            if !self.row_stays(row.get_ref(1)?) {
                self.removed.usage_rows += 1;
                return Ok(());
            }
            let share = value::number(row.get_ref(3)?);
            self.take_share(row.get_ref(2)?, share);
            Ok(())
        })
    }

    fn take_share(&mut self, segment: ValueRef<'_>, share: Option<Number>) {
        let place = match segment {
            ValueRef::Integer(id) => self.place(id),
            _ => None,
        };
        let Some(place) = place else {
            return self.unknown_segment(segment.as_i64().ok());
        };
        let table = &mut self.segments;
        table.records[place].set(SegmentMark::InUse, true);
        let share = match (share, self.mode) {
            (Some(Number::Int(n)), Mode::Careful) => Some(Number::Int(n.max(0))),
            (Some(Number::Real(x)), Mode::Careful) => Some(Number::Real(x.max(0.0))),
            (share, _) => share,
        };
        let greatest = match (table.figure(place, Figure::Used), share) {
            (Some(a), Some(b)) if b.to_f64() > a.to_f64() => Some(b),
            (Some(a), _) => Some(a),
            (None, b) => b,
        };
        table.set_figure(place, Figure::Used, greatest);
    }

    fn unknown_segment(&mut self, segment: Option<i64>) {
        let cleans = matches!(self.decision.options.part, RunPart::Whole | RunPart::Marking(_));
        match self.mode {
            Mode::Careful if self.decision.collects => {
                self.dangling = true;
                self.removed.usage_rows += 1;
            }
            Mode::Careful => {}
            Mode::Compat if self.schema.era == Era::C && cleans => {
                let raised = Raised { at: RaisedAt::Utilization, fault: RaisedFault::UnknownSegment, segment };
                self.plan.refused.get_or_insert(CleaningRefusal::Raised(raised));
            }
            Mode::Compat => {}
        }
    }

    /// Eras B and C: segments that no kept snapshot uses go.
    pub(super) fn bury_segments_without_usage(&mut self) {
        if self.schema.era == Era::A || !self.decision.collects || self.plan.refused.is_some() {
            return;
        }
        for record in self.segments.records.iter_mut().filter(|record| !record.is(SegmentMark::InUse)) {
            record.fate = SegmentFate::Dead;
        }
    }

    /// Whether there are usage rows about nothing, and nobody knows how many.
    pub(super) fn dangling_to_count(&self) -> bool {
        self.schema.era == Era::A && self.mode == Mode::Careful && self.decision.collects && self.dangling
    }

    /// Era A: counts the rows that stay by their snapshot but are about no block.
    pub(super) fn count_dangling(&mut self, stretch: TableRange<'_>) -> rusqlite::Result<u64> {
        let sql = "SELECT rowid, blockid, snapshotid FROM snapshot_contents WHERE rowid >= ?1 ORDER BY rowid LIMIT ?2";
        stretch.read(sql, |_, row| {
            let about_a_block = match row.get_ref(1)? {
                ValueRef::Integer(block) => self.used.contains_near(block),
                _ => false,
            };
            if self.row_stays(row.get_ref(2)?) && !about_a_block {
                self.removed.usage_rows += 1;
            }
            Ok(())
        })
    }
}
