//! What a segment is worth cleaning: age, utilization and benefit from its figures, as the program of the era reckoned
//! them or carefully.

use super::moment::StoredTime;
use super::number::Number;
use super::options::{Era, Mode, Options};
use super::raised::RaisedFault;

/// What is known of one segment that is still there after garbage collection.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SegmentFigures {
    /// Its `segmentid`.
    pub id: i64,
    /// Bytes in use; `None` if unknown.
    pub used: Option<Number>,
    /// Bytes of all its objects, as recorded for the segment (era A: their sum).
    pub size: Option<Number>,
    /// The sum of the sizes of its blocks: stands in where `size` is unknown.
    pub block_bytes: Option<Number>,
    /// When the newest part of it was written.
    pub mtime: StoredTime,
    /// How many blocks it has.
    pub blocks: u64,
    /// Whether some of them are expired already.
    pub expired: bool,
    /// Whether it may be chosen at all. Not in era B if it was cleaned before.
    pub eligible: bool,
    /// What makes its figures worthless, if anything: then none of its blocks is touched (careful mode only).
    pub unreadable: Option<&'static str>,
}

/// How segments are judged. The same bytes and times give the same verdict again, so it need not be kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judge {
    /// The generation of the database.
    pub era: Era,
    /// Compatible or careful.
    pub mode: Mode,
    /// What counts as now, as a Julian day (UTC).
    pub now: f64,
    /// Days added to every age.
    pub age_boost_days: f64,
}

/// What follows from the bytes and the time of a segment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SegmentVerdict {
    /// Days since it was written; `None` where nothing is known and nothing is assumed.
    pub age_days: Option<f64>,
    /// The part in use; `None` for a segment of 0 bytes.
    pub utilization: Option<f64>,
    /// `(1 - u) * (age + age boost) / (u + 0.1)`, in days; `None` where it cannot be computed.
    pub benefit: Option<f64>,
}

/// Why a segment is not judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unfit {
    /// The old cleaner would have raised this.
    Raised(RaisedFault),
    /// It is left alone.
    Odd(&'static str),
}

impl From<RaisedFault> for Unfit {
    fn from(fault: RaisedFault) -> Self {
        Unfit::Raised(fault)
    }
}

impl Judge {
    /// Judges as these options ask for.
    pub fn new(era: Era, options: &Options) -> Judge {
        Judge { era, mode: options.mode, now: options.now, age_boost_days: options.policy_for(era).age_boost_days() }
    }

    /// Judges a segment by the bytes that count as used and as its size.
    pub fn verdict(&self, used: Number, size: Number, mtime: &StoredTime) -> SegmentVerdict {
        let age = mtime.age_days(self.now);
        let assumed = self.mode == Mode::Careful || self.era == Era::B;
        let age_days = if assumed { Some(age.unwrap_or(0.0)) } else { age };
        let utilization = used.over(size);
        SegmentVerdict { age_days, utilization, benefit: self.benefit(utilization, age_days) }
    }

    fn benefit(&self, utilization: Option<f64>, age_days: Option<f64>) -> Option<f64> {
        let Some((u, age)) = utilization.zip(age_days) else {
            // A careful run takes a segment of 0 bytes for one in which there is nothing to gain.
            return (self.mode == Mode::Careful).then_some(0.0);
        };
        let cost = u + 0.1;
        let benefit = (1.0 - u) * (age + self.age_boost_days) / cost;
        (cost != 0.0 && !benefit.is_nan()).then_some(benefit)
    }

    /// Settles which bytes count as used, and which as the size.
    pub(super) fn settle(&self, figures: &SegmentFigures) -> Result<(Number, Number), Unfit> {
        match self.mode {
            Mode::Compat => self.as_the_old_program(figures),
            Mode::Careful => self.carefully(figures),
        }
    }

    fn as_the_old_program(&self, figures: &SegmentFigures) -> Result<(Number, Number), Unfit> {
        let bounded = |n: Option<Number>| match n {
            Some(Number::Int(n)) if i64::try_from(n).is_err() => Err(RaisedFault::Overflow),
            n => Ok(n),
        };
        let (used, size) = (bounded(figures.used)?, bounded(figures.size)?);
        let used = if self.era == Era::B { Some(used.unwrap_or(Number::Real(0.0))) } else { used };
        let (used, size) = used.zip(size).ok_or(RaisedFault::Null)?;
        let verdict = self.verdict(used, size, &figures.mtime);
        let u = verdict.utilization.ok_or(RaisedFault::DivisionByZero)?;
        if self.era == Era::A && verdict.age_days.is_none() {
            return Err(RaisedFault::Null.into());
        }
        match verdict.benefit {
            // The program of era C computed no benefit.
            None if self.era != Era::C && u + 0.1 == 0.0 => Err(RaisedFault::DivisionByZero.into()),
            None if self.era != Era::C => Err(RaisedFault::NotANumber.into()),
            _ => Ok((used, size)),
        }
    }

    fn carefully(&self, figures: &SegmentFigures) -> Result<(Number, Number), Unfit> {
        let zero = Number::Int(0);
        let size = match (self.era, figures.size.or(figures.block_bytes)) {
            (_, Some(size)) => size,
            (Era::A, None) => zero,
            (_, None) => return Err(Unfit::Odd("its size is unknown; left alone")),
        };
        let used = match (self.era, figures.used) {
            (_, Some(used)) => used,
            (Era::C, None) => return Err(Unfit::Odd("how much of it is in use is unknown; left alone")),
            (_, None) => zero,
        };
        if self.era == Era::C && size.is_zero() {
            return Err(Unfit::Odd("its size is 0, so its utilization is undefined; left alone"));
        }
        let verdict = self.verdict(used, size, &figures.mtime);
        let finite = |x: Option<f64>| x.is_none_or(f64::is_finite);
        if !finite(verdict.utilization) || !finite(verdict.age_days) {
            return Err(Unfit::Odd("its figures are not finite numbers; left alone"));
        }
        if verdict.benefit.is_none() && self.era != Era::C {
            return Err(Unfit::Odd("its benefit is not a number; left alone"));
        }
        Ok((used, size))
    }
}
