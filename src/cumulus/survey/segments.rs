//! The segments, and what is summed up for each.

use std::sync::Arc;

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::Gathered;
use crate::cumulus::value;
use crate::policy::cleaning::{Era, Mode, Moment, Number, SegmentFigures, Sum};

/// What becomes of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It stays.
    Stays,
    /// Its blocks go, its row stays (era B).
    Reaped,
    /// It goes.
    Dead,
}

/// What is known of one segment.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) id: i64,
    pub(super) name: Arc<str>,
    pub(super) fate: Fate,
    /// Eras B and C: its recorded size.
    pub(super) own_size: Option<Number>,
    /// When its newest part was written: recorded, or of its blocks (era A).
    pub(super) mtime: Moment,
    /// Era B: the greatest snapshot id when it was cleaned.
    pub(super) expire_time: Option<i64>,
    /// Whether a usage row names it (eras B and C).
    pub(super) has_usage: bool,
    /// The greatest utilization or number of bytes of all usage rows (eras B and C).
    pub(super) usage: Option<Number>,
    pub(super) bytes: Sum,
    /// Era A: bytes of the blocks in use.
    pub(super) used: Sum,
    pub(super) blocks: u64,
    pub(super) used_blocks: u64,
    pub(super) expired_blocks: u64,
    pub(super) unreadable: Option<&'static str>,
    /// Set by the decision.
    pub(super) marked: bool,
    /// Set by the decision: blocks of it get new values.
    pub(super) touched: bool,
}

impl Tally {
    /// Its figures for the policy.
    pub(super) fn figures(&self, era: Era, mode: Mode) -> SegmentFigures {
        let block_bytes = self.bytes.value();
        let size = if era == Era::A { block_bytes } else { self.own_size };
        let used = match era {
            Era::A => self.used.value(),
            Era::B => self.usage.and_then(|u| share(size.or(block_bytes.filter(|_| mode == Mode::Careful)), u)),
            Era::C => self.usage,
        };
        SegmentFigures {
            id: self.id,
            name: self.name.clone(),
            used,
            size,
            block_bytes,
            mtime: self.mtime.clone(),
            blocks: self.blocks,
            expired_blocks: self.expired_blocks,
            eligible: match era {
                Era::A => self.used_blocks > 0,
                Era::B => self.has_usage && self.expire_time.is_none(),
                Era::C => true,
            },
            unreadable: self.unreadable.map(str::to_owned),
        }
    }
}

/// `cast(size * utilization as integer)`, as SQLite reckons: towards 0, and at the ends of 64 bits cut.
fn share(size: Option<Number>, utilization: Number) -> Option<Number> {
    let product = size?.to_f64() * utilization.to_f64();
    (!product.is_nan()).then_some(Number::Int((product as i64).into()))
}

impl Gathered {
    pub(super) fn read_segments(
        &mut self,
        conn: &Connection,
        cursor: &mut Option<i64>,
        limit: i64,
    ) -> rusqlite::Result<u64> {
        let schema = &self.schema;
        let sql = format!(
            "SELECT segmentid, segment, {}, {}, {} FROM segments WHERE segmentid >= ?1 ORDER BY segmentid LIMIT ?2",
            schema.segment_size(),
            schema.segment_time(),
            schema.column("segments", "expire_time"),
        );
        let (careful, era) = (self.mode == Mode::Careful, schema.era);
        let last_snapshot = self.decision.retention.greatest;
        let mut statement = conn.prepare_cached(&sql)?;
        let mut rows = statement.query((*cursor, limit))?;
        let mut count = 0;
        let mut last = None;
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            let time = row.get_ref(3)?;
            let expire_time = match row.get_ref(4)? {
                ValueRef::Integer(n) => Some(n),
                ValueRef::Null => None,
                // Not NULL, so cleaned; of no known time.
                _ => Some(i64::MAX),
            };
            let reaped = era == Era::B
                && self.decision.collects
                && expire_time.zip(last_snapshot).is_some_and(|(cleaned, last)| cleaned < last);
            self.segments.push(Tally {
                id,
                name: value::text(row.get_ref(1)?).unwrap_or_default().into(),
                fate: if reaped { Fate::Reaped } else { Fate::Stays },
                own_size: size(row.get_ref(2)?, careful),
                // Era C has dates as texts by design.
                mtime: match careful || era == Era::C {
                    true => value::careful_moment(conn, time)?.unwrap_or_default(),
                    false => value::moment(time),
                },
                expire_time,
                has_usage: false,
                usage: None,
                bytes: Sum::default(),
                used: Sum::default(),
                blocks: 0,
                used_blocks: 0,
                expired_blocks: 0,
                unreadable: None,
                marked: false,
                touched: false,
            });
            count += 1;
            last = Some(id);
        }
        *cursor = super::usage::next(last, count, limit);
        Ok(count)
    }

    /// The segment with this id. Asked for neighbours in turn.
    pub(super) fn place(&mut self, id: i64) -> Option<usize> {
        let near = [self.last, self.last + 1];
        let found = near.into_iter().find(|i| self.segments.get(*i).is_some_and(|t| t.id == id));
        let place = match found {
            Some(place) => place,
            None => self.segments.binary_search_by_key(&id, |t| t.id).ok()?,
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
