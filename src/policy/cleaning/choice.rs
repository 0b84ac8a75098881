//! The list of segments, worst first, and which of them are marked.

use std::cmp::Ordering;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

use super::number::Number;
use super::options::{Era, Limits, Mode, Options, Part, Policy};
use super::raised::{At, Fault, Raised};

/// A point in time as it stands in a database.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Moment {
    /// NULL.
    #[default]
    Unknown,
    /// A Julian day (UTC).
    Day(f64),
    /// Text where a number belongs; only the compat mode leaves it so.
    Text(String),
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Moment::Unknown => serializer.serialize_none(),
            Moment::Day(day) => serializer.serialize_f64(*day),
            Moment::Text(text) => serializer.serialize_str(text),
        }
    }
}

impl Moment {
    /// How many days ago that was. Of a text, SQLite takes the number that it begins with, or 0.
    pub fn age_days(&self, now: f64) -> Option<f64> {
        match self {
            Moment::Unknown => None,
            Moment::Day(day) => Some(now - day),
            Moment::Text(text) => Some(now - number_at_start(text)),
        }
    }
}

/// The number with which a text begins, as SQLite takes it in arithmetic.
fn number_at_start(text: &str) -> f64 {
    let text = text.trim_start_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']);
    let is_number = |end: &usize| {
        let part = &text[..*end];
        part.ends_with(|c: char| c.is_ascii_digit() || c == '.') && part.parse::<f64>().is_ok()
    };
    let plain = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E');
    let longest = text.find(|c| !plain(c)).unwrap_or(text.len());
    (1..=longest).rev().find(is_number).and_then(|end| text[..end].parse().ok()).unwrap_or(0.0)
}

/// What is known of one segment that is still there after garbage collection.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SegmentFigures {
    /// Its `segmentid`.
    pub id: i64,
    /// Its name in the store.
    pub name: Arc<str>,
    /// Bytes in use; `None` if unknown.
    pub used: Option<Number>,
    /// Bytes of all its objects, as recorded for the segment (era A: their sum).
    pub size: Option<Number>,
    /// The sum of the sizes of its blocks: stands in where `size` is unknown.
    pub block_bytes: Option<Number>,
    /// When the newest part of it was written.
    pub mtime: Moment,
    /// How many blocks it has.
    pub blocks: u64,
    /// How many of them are expired already.
    pub expired_blocks: u64,
    /// Whether it may be chosen at all. Not in era B if it was cleaned before.
    pub eligible: bool,
    /// What makes its figures worthless, if anything: then none of its blocks is touched (careful mode only).
    pub unreadable: Option<String>,
}

/// One line of the list of segments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SegmentEntry {
    /// Its `segmentid`.
    pub id: i64,
    /// Its name in the store.
    pub name: Arc<str>,
    /// Bytes in use.
    pub used_bytes: Number,
    /// Bytes of all its objects.
    pub size_bytes: Number,
    /// When the newest part of it was written.
    pub mtime: Moment,
    /// Days since then; negative for the future, `None` where nothing is known and nothing is assumed.
    pub age_days: Option<f64>,
    /// `(1 - u) * (age + age boost) / (u + 0.1)`, in days; `None` where it cannot be computed.
    pub benefit: Option<f64>,
    /// The part in use; `None` for a segment of 0 bytes.
    pub utilization: Option<f64>,
    /// Whether this run marks it.
    pub marked: bool,
}

/// Something odd that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Odd {
    /// The segment, if it is about one.
    pub segment: Option<i64>,
    /// Its name, if it has one.
    pub name: Option<Arc<str>>,
    /// What is odd, and what is done about it.
    pub what: String,
    /// Whether it is left as it is: nothing was repaired.
    pub left_alone: bool,
}

/// The list of segments with those that are marked, and the odd ones that are left alone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Choice {
    /// All that may be chosen, worst first.
    pub list: Vec<SegmentEntry>,
    /// Ids of those marked, in the order in which they were.
    pub marked: Vec<i64>,
    /// Ids of those of which no block may be touched, ascending.
    pub untouchable: Vec<i64>,
    /// What was odd.
    pub odd: Vec<Odd>,
}

impl Choice {
    /// Makes the list and marks the worst. `figures` come by ascending id.
    ///
    /// # Errors
    /// In compat mode, what the old cleaner would have raised.
    pub fn make(
        era: Era,
        figures: impl IntoIterator<Item = SegmentFigures>,
        options: &Options,
    ) -> Result<Choice, Raised> {
        let mut choice = Choice::default();
        let policy = options.policy_for(era);
        let at = if era == Era::C { At::Utilization } else { At::CleaningList };
        for figures in figures {
            let (id, blocks, expired) = (figures.id, figures.blocks, figures.expired_blocks);
            if let Some(why) = figures.unreadable {
                choice.leave(id, figures.name, format!("{why}; left alone"));
                choice.untouchable.push(id);
                continue;
            }
            let big = options.limits.max_segment_blocks.is_some_and(|most| blocks > most);
            if big && expired > 0 {
                choice.untouchable.push(id);
                choice.leave(id, figures.name.clone(), too_many(blocks));
            }
            if !figures.eligible || matches!(options.part, Part::GarbageCollection | Part::Balancing) {
                continue;
            }
            let name = figures.name.clone();
            match evaluate(era, figures, options, &policy) {
                Ok(entry) => choice.list.push(entry),
                Err(Unfit::Raised(fault)) => return Err(Raised { at, fault, segment: Some(id) }),
                Err(Unfit::Odd(why)) => choice.leave(id, name, why.to_owned()),
            }
            // A big one that would be marked is taken out after marking; what is big is not known to the list.
            if big && expired == 0 {
                choice.untouchable.push(id);
            }
        }
        sort(&mut choice.list, &policy);
        choice.mark(&policy, options);
        Ok(choice)
    }

    fn leave(&mut self, id: i64, name: Arc<str>, what: String) {
        self.odd.push(Odd { segment: Some(id), name: Some(name), what, left_alone: true });
    }

    fn mark(&mut self, policy: &Policy, options: &Options) {
        let wanted = |entry: &SegmentEntry| match (&options.part, *policy) {
            (Part::Marking(ids), _) if !ids.is_empty() => ids.contains(&entry.id),
            (_, Policy::Benefit { threshold_days, .. }) => entry.benefit.is_some_and(|b| b > threshold_days),
            (_, Policy::Utilization { least }) => entry.utilization.is_some_and(|u| u < least),
        };
        let mut rewritten: i128 = 0;
        let mut list = std::mem::take(&mut self.list);
        for entry in list.iter_mut().filter(|e| wanted(e)) {
            if !fits(entry, self.marked.len(), rewritten, &options.limits) {
                continue;
            }
            if self.untouchable.binary_search(&entry.id).is_ok() {
                if !self.odd.iter().any(|odd| odd.segment == Some(entry.id)) {
                    self.leave(
                        entry.id,
                        entry.name.clone(),
                        "it has too many blocks for one step; left alone".to_owned(),
                    );
                }
                continue;
            }
            rewritten = rewritten.saturating_add(entry.used_bytes.bytes());
            entry.marked = true;
            self.marked.push(entry.id);
        }
        self.list = list;
        self.name_missing(options);
    }

    /// Reports segments that were named for marking but are not in the list.
    fn name_missing(&mut self, options: &Options) {
        let Part::Marking(ids) = &options.part else { return };
        for id in ids.iter().filter(|id| !self.list.iter().any(|e| e.id == **id)) {
            let what = "it is not among the segments that can be marked".to_owned();
            self.odd.push(Odd { segment: Some(*id), name: None, what, left_alone: true });
        }
    }
}

fn too_many(blocks: u64) -> String {
    format!("its {blocks} blocks are too many for one step; left alone")
}

fn fits(entry: &SegmentEntry, marked: usize, rewritten: i128, limits: &Limits) -> bool {
    let segments = limits.max_segments.is_none_or(|most| (marked as u64) < most);
    let bytes = limits
        .max_rewrite_bytes
        .is_none_or(|most| rewritten.saturating_add(entry.used_bytes.bytes()) <= i128::from(most));
    let age = limits.min_age_days.is_none_or(|least| entry.age_days.unwrap_or(0.0) >= least);
    segments && bytes && age
}

/// Sorts the worst to the front; equal ones stay by id. What cannot be judged goes to the end.
fn sort(list: &mut [SegmentEntry], policy: &Policy) {
    // Not by the total order of doubles, in which -0 is below 0.
    let ascending = |a: Option<f64>, b: Option<f64>| match (a, b) {
        (Some(a), Some(b)) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
        (a, b) => a.is_none().cmp(&b.is_none()),
    };
    // In place: a stable sort would need room for half of them once more.
    list.sort_unstable_by(|a, b| {
        let order = match policy {
            Policy::Benefit { .. } => ascending(a.benefit.map(|b| -b), b.benefit.map(|b| -b)),
            Policy::Utilization { .. } => ascending(a.utilization, b.utilization),
        };
        order.then(a.id.cmp(&b.id))
    });
}

enum Unfit {
    Raised(Fault),
    Odd(&'static str),
}

impl From<Fault> for Unfit {
    fn from(fault: Fault) -> Self {
        Unfit::Raised(fault)
    }
}

fn evaluate(era: Era, figures: SegmentFigures, options: &Options, policy: &Policy) -> Result<SegmentEntry, Unfit> {
    let age = figures.mtime.age_days(options.now);
    let (used, size, age, u) = match options.mode {
        Mode::Compat => as_the_old_program(era, &figures, age)?,
        Mode::Careful => carefully(era, &figures, age)?,
    };
    let benefit = benefit(u, age, policy.age_boost_days(), options.mode, era)?;
    Ok(SegmentEntry {
        id: figures.id,
        name: figures.name,
        used_bytes: used,
        size_bytes: size,
        mtime: figures.mtime,
        age_days: age,
        benefit,
        utilization: u,
        marked: false,
    })
}

type Judged = (Number, Number, Option<f64>, Option<f64>);

fn as_the_old_program(era: Era, figures: &SegmentFigures, age: Option<f64>) -> Result<Judged, Unfit> {
    let bounded = |n: Option<Number>| match n {
        Some(Number::Int(n)) if i64::try_from(n).is_err() => Err(Fault::Overflow),
        n => Ok(n),
    };
    let (used, size) = (bounded(figures.used)?, bounded(figures.size)?);
    let (used, age) = match era {
        Era::B => (Some(used.unwrap_or(Number::Real(0.0))), Some(age.unwrap_or(0.0))),
        _ => (used, age),
    };
    let (used, size) = used.zip(size).ok_or(Fault::Null)?;
    let u = used.over(size).ok_or(Fault::DivisionByZero)?;
    if era == Era::A && age.is_none() {
        return Err(Fault::Null.into());
    }
    Ok((used, size, age, Some(u)))
}

fn carefully(era: Era, figures: &SegmentFigures, age: Option<f64>) -> Result<Judged, Unfit> {
    let zero = Number::Int(0);
    let size = match (era, figures.size.or(figures.block_bytes)) {
        (_, Some(size)) => size,
        (Era::A, None) => zero,
        (_, None) => return Err(Unfit::Odd("its size is unknown; left alone")),
    };
    let used = match (era, figures.used) {
        (_, Some(used)) => used,
        (Era::C, None) => return Err(Unfit::Odd("how much of it is in use is unknown; left alone")),
        (_, None) => zero,
    };
    if era == Era::C && size.is_zero() {
        return Err(Unfit::Odd("its size is 0, so its utilization is undefined; left alone"));
    }
    let u = used.over(size);
    if u.is_some_and(|u| !u.is_finite()) || age.is_some_and(|age| !age.is_finite()) {
        return Err(Unfit::Odd("its figures are not finite numbers; left alone"));
    }
    Ok((used, size, Some(age.unwrap_or(0.0)), u))
}

fn benefit(u: Option<f64>, age: Option<f64>, boost: f64, mode: Mode, era: Era) -> Result<Option<f64>, Unfit> {
    let Some((u, age)) = u.zip(age) else {
        // A careful run takes a segment of 0 bytes for one in which there is nothing to gain.
        return Ok((mode == Mode::Careful).then_some(0.0));
    };
    let cost = u + 0.1;
    let benefit = (1.0 - u) * (age + boost) / cost;
    match mode {
        _ if cost != 0.0 && !benefit.is_nan() => Ok(Some(benefit)),
        // The program of era C computed no benefit.
        _ if era == Era::C => Ok(None),
        Mode::Compat if cost == 0.0 => Err(Fault::DivisionByZero.into()),
        Mode::Compat => Err(Fault::NotANumber.into()),
        Mode::Careful => Err(Unfit::Odd("its benefit is no number; left alone")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(id: i64, used: i64, age: f64) -> SegmentFigures {
        SegmentFigures {
            id,
            used: Some(Number::Int(used.into())),
            size: Some(Number::Int(100)),
            mtime: Moment::Day(1000.0 - age),
            blocks: 10,
            eligible: true,
            ..SegmentFigures::default()
        }
    }

    fn options(mode: Mode, limits: Limits) -> Options {
        Options { mode, limits, ..Options::at(1000.0) }
    }

    #[test]
    fn limits_pass_over_what_does_not_fit_and_go_on() {
        let all = || (1..=6).map(|i| segment(i, 10 * i, 100.0)).collect::<Vec<_>>();
        let marked = |limits| Choice::make(Era::A, all(), &options(Mode::Careful, limits)).unwrap().marked;
        let none = Limits::default();
        assert_eq!(marked(none), [1, 2, 3, 4, 5, 6]);
        assert_eq!(marked(Limits { max_segments: Some(2), ..none }), [1, 2]);
        assert_eq!(marked(Limits { max_rewrite_bytes: Some(35), ..none }), [1, 2]);
        assert_eq!(marked(Limits { min_age_days: Some(100.5), ..none }), [0i64; 0]);
        let utilization = Options {
            policy: Some(Policy::Utilization { least: 0.3 }),
            ..options(Mode::Careful, Limits { max_rewrite_bytes: Some(25), ..none })
        };
        assert_eq!(Choice::make(Era::A, all(), &utilization).unwrap().marked, [1]);
    }

    #[test]
    fn equal_benefits_stay_by_id_and_minus_zero_is_zero() {
        let all = vec![segment(1, 100, -5.0), segment(2, 100, 5.0), segment(3, 50, 5.0)];
        let choice = Choice::make(Era::A, all, &options(Mode::Compat, Limits::default())).unwrap();
        assert_eq!(choice.list.iter().map(|e| e.id).collect::<Vec<_>>(), [3, 1, 2]);
    }

    #[test]
    fn an_odd_segment_is_left_alone_where_the_old_program_died_of_it() {
        let mut infinite = segment(1, 50, 0.0);
        infinite.mtime = Moment::Day(f64::NEG_INFINITY);
        let mut opposite = segment(2, 100, 0.0);
        opposite.mtime = Moment::Day(f64::INFINITY);
        let all = vec![infinite, opposite, segment(3, 1, 100.0)];
        let careful = Choice::make(Era::A, all.clone(), &options(Mode::Careful, Limits::default())).unwrap();
        assert_eq!(careful.marked, [3]);
        assert_eq!(careful.odd.iter().map(|o| o.segment).collect::<Vec<_>>(), [Some(1), Some(2)]);
        // (1 - 1) * -inf is not a number.
        let raised = Choice::make(Era::A, all, &options(Mode::Compat, Limits::default())).unwrap_err();
        assert_eq!((raised.fault, raised.segment), (Fault::NotANumber, Some(2)));
    }

    #[test]
    fn a_segment_too_big_for_a_step_is_reported_only_if_it_would_change() {
        let limits = Limits { max_segment_blocks: Some(9), ..Limits::default() };
        let choice =
            Choice::make(Era::A, vec![segment(1, 1, 100.0), segment(2, 99, 1.0)], &options(Mode::Careful, limits));
        let choice = choice.unwrap();
        assert_eq!(choice.marked, [0i64; 0]);
        assert_eq!(choice.odd.iter().map(|o| o.segment).collect::<Vec<_>>(), [Some(1)]);
    }

    #[test]
    fn texts_count_as_the_number_they_begin_with() {
        for (text, want) in
            [("2007-08-01", 2007.0), (" 1.5e2x", 150.0), ("1e", 1.0), ("x", 0.0), ("-3", -3.0), ("", 0.0)]
        {
            assert_eq!(number_at_start(text), want, "{text:?}");
        }
    }
}
