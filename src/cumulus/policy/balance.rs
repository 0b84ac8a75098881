//! Grouping what is expired by age, so that what is written again together is of similar age.
//!
//! Group 0 is shared with new data; 1, 2, ... get segments of their own, the oldest the highest number.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::number::{Number, Sum, round_days};
use super::options::Mode;
use super::raised::{Raised, RaisedAt, RaisedFault};

/// Blocks younger than this are young: they are likely to be gone soon.
const YOUNG_DAYS: f64 = 4.0;

#[derive(Debug, Clone, Copy, Default)]
struct AgeSum {
    count: u64,
    bytes: Sum,
}

/// The ages of the expired blocks in use, and the sizes of their segments.
#[derive(Debug, Clone)]
pub struct AgeHistogram {
    mode: Mode,
    groups: HashMap<Option<u64>, AgeSum>,
    /// The last group looked at: neighbours are often of one age.
    last: (Option<u64>, AgeSum),
    segments: Sum,
    segment_count: u64,
    overflow: bool,
}

impl AgeHistogram {
    /// An empty one.
    pub fn new(mode: Mode) -> AgeHistogram {
        AgeHistogram {
            mode,
            groups: HashMap::new(),
            last: (None, AgeSum::default()),
            segments: Sum::default(),
            segment_count: 0,
            overflow: false,
        }
    }

    /// Counts a block that was written this many days ago; the careful mode takes an unknown age for 0.
    pub fn add_block(&mut self, days: Option<f64>, size: Option<Number>) {
        let age = match (days, self.mode) {
            (Some(days), _) => Some(round_days(days)),
            (None, Mode::Careful) => Some(0.0),
            (None, Mode::Compat) => None,
        };
        let key = age.map(f64::to_bits);
        if self.last.0 != key {
            self.flush();
            self.last.0 = key;
        }
        self.last.1.count += 1;
        match (size, self.mode) {
            (Some(size), _) => self.last.1.bytes.add(size),
            (None, Mode::Careful) => self.last.1.bytes.add(Number::Int(0)),
            (None, Mode::Compat) => {}
        }
    }

    /// Counts a segment with expired blocks, by the bytes of all its objects. An unknown size counts for nothing.
    pub fn add_segment(&mut self, size: Option<Number>) {
        let Some(size) = size else { return };
        self.overflow |= matches!(size, Number::Int(n) if i64::try_from(n).is_err());
        self.segments.add(size);
        self.segment_count += 1;
    }

    fn flush(&mut self) {
        let (key, group) = std::mem::take(&mut self.last);
        if group.count == 0 {
            return;
        }
        let known = self.groups.entry(key).or_default();
        known.count += group.count;
        if let Some(bytes) = group.bytes.value() {
            known.bytes.add(bytes);
        }
    }

    /// The groups by ascending age, the unknown one first.
    fn distribution(&mut self) -> Result<Vec<AgeGroup>, RaisedFault> {
        self.flush();
        let mut groups = Vec::with_capacity(self.groups.len());
        for (key, group) in self.groups.drain() {
            let bytes = match self.mode {
                Mode::Compat => group.bytes.within_64_bits()?,
                Mode::Careful => group.bytes.value(),
            };
            groups.push((key.map(f64::from_bits), group.count, bytes));
        }
        groups.sort_by(|a, b| a.0.partial_cmp(&b.0).unwrap_or(std::cmp::Ordering::Equal));
        Ok(groups)
    }
}

/// Age in days, number of blocks, bytes; `None` where unknown.
pub type AgeGroup = (Option<f64>, u64, Option<Number>);

/// The grouping with its intermediate numbers; those that were not reached are `None`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Balance {
    /// Mean bytes of a segment with expired blocks.
    pub segment_size: Option<f64>,
    /// Age in days, blocks and bytes, by ascending age; an unknown age comes first.
    pub distribution: Option<Vec<AgeGroup>>,
    /// Bytes of all expired blocks in use.
    pub total_bytes: Option<Number>,
    /// How many groups would be good.
    pub target_buckets: Option<f64>,
    /// Least bytes for a group of young blocks.
    pub min_size: Option<f64>,
    /// Bytes at which a group is full.
    pub target_size: Option<f64>,
    /// The ages between groups, from the oldest to the youngest.
    pub cutoffs: Option<Vec<Option<f64>>>,
}

/// What is done with the blocks that are expired.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Regroup {
    /// Each gets the group of its age; what is not in use gets group 0. Cutoffs ascend.
    ByAge(Vec<Option<f64>>),
    /// All get group 0.
    Zero,
    /// The old cleaner stopped half-way: those in use have group 0, the others -1, and the future was not mended.
    Stopped,
}

impl Regroup {
    /// The group of a block in use of this age, in days before now and not yet rounded.
    pub fn group(&self, days: Option<f64>) -> i64 {
        let Regroup::ByAge(cutoffs) = self else { return 0 };
        let Some(age) = days.map(round_days) else { return 0 };
        cutoffs.iter().rposition(|cutoff| cutoff.is_some_and(|cutoff| age > cutoff)).unwrap_or(0) as i64
    }
}

/// Finds the groups.
///
/// # Errors
/// In compat mode, what the old cleaner would have raised.
pub fn balance(mut histogram: AgeHistogram) -> Result<(Balance, Regroup), Raised> {
    weigh(&mut histogram).map_err(|fault| Raised { at: RaisedAt::Balance, fault, segment: None })
}

fn weigh(histogram: &mut AgeHistogram) -> Result<(Balance, Regroup), RaisedFault> {
    let mode = histogram.mode;
    if histogram.overflow && mode == Mode::Compat {
        return Err(RaisedFault::Overflow);
    }
    let mut balance = Balance::default();
    let mean = histogram.segments.value().map(|sum| sum.to_f64() / histogram.segment_count as f64);
    balance.segment_size = mean;
    let Some(segment_size) = mean.filter(|mean| *mean != 0.0) else {
        return Ok((balance, if mode == Mode::Careful { Regroup::Zero } else { Regroup::Stopped }));
    };
    let distribution = histogram.distribution()?;
    let mut total = Number::Int(0);
    for (_, _, bytes) in &distribution {
        total = total.plus(bytes.ok_or(RaisedFault::Null)?);
    }
    balance.total_bytes = Some(total);
    if total.is_zero() {
        let stop = (balance, Regroup::Zero);
        return if mode == Mode::Careful { Ok(stop) } else { Err(RaisedFault::DivisionByZero) };
    }
    let target_buckets = 2.0 * (total.to_f64() / segment_size).powf(0.4);
    let min_size = 1.5 * segment_size;
    let target_size = larger(2.0 * segment_size, total.to_f64() / target_buckets);
    let cutoffs = cutoffs(&distribution, min_size, target_size);
    let ascending = cutoffs.iter().rev().copied().collect();
    balance.distribution = Some(distribution);
    balance.target_buckets = Some(target_buckets);
    balance.min_size = Some(min_size);
    balance.target_size = Some(target_size);
    balance.cutoffs = Some(cutoffs);
    Ok((balance, Regroup::ByAge(ascending)))
}

/// The first unless the second is greater: what is not a number never is.
fn larger(a: f64, b: f64) -> f64 {
    if b > a { b } else { a }
}

/// The ages between groups, from the oldest; an unknown age counts as young.
fn cutoffs(distribution: &[AgeGroup], min_size: f64, target_size: f64) -> Vec<Option<f64>> {
    let mut cutoffs = Vec::new();
    let mut bytes = Number::Int(0);
    let mut young = false;
    for (age, _, of_group) in distribution.iter().rev() {
        let is_young = age.is_none_or(|age| age < YOUNG_DAYS);
        let full = bytes.to_f64() >= target_size;
        if full || (is_young && !young) {
            // What was left over before the young begin goes with the group that is older.
            if !full {
                cutoffs.pop();
            }
            cutoffs.push(*age);
            bytes = Number::Int(0);
        }
        bytes = bytes.plus(of_group.unwrap_or(Number::Int(0)));
        young |= is_young;
    }
    // Group 0 is for the young, unless they fill a group of their own or there are none.
    if bytes.to_f64() >= min_size || !young {
        cutoffs.push(Some(-1.0));
    }
    cutoffs.push(Some(-1.0));
    cutoffs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(mode: Mode, segment: i128, blocks: &[(Option<f64>, i128)]) -> AgeHistogram {
        let mut histogram = AgeHistogram::new(mode);
        histogram.add_segment(Some(Number::Int(segment)));
        for (days, size) in blocks {
            histogram.add_block(*days, Some(Number::Int(*size)));
        }
        histogram
    }

    #[test]
    fn without_young_blocks_group_0_stays_free() {
        let (balance, regroup) = balance(histogram(Mode::Compat, 100, &[(Some(10.0), 10)])).unwrap();
        assert_eq!(balance.cutoffs, Some(vec![Some(-1.0), Some(-1.0)]));
        assert_eq!(regroup.group(Some(10.0)), 1);
    }

    #[test]
    fn young_blocks_share_group_0_until_they_fill_one() {
        let few = histogram(Mode::Compat, 100, &[(Some(1.0), 149), (Some(50.0), 500)]);
        let (_, regroup) = balance(few).unwrap();
        assert_eq!((regroup.group(Some(1.0)), regroup.group(Some(50.0))), (0, 1));
        let many = histogram(Mode::Compat, 100, &[(Some(1.0), 150), (Some(50.0), 500)]);
        let (_, regroup) = balance(many).unwrap();
        assert_eq!((regroup.group(Some(1.0)), regroup.group(Some(50.0))), (1, 2));
    }

    #[test]
    fn an_unknown_age_is_young_and_belongs_to_group_0_or_counts_as_0() {
        let blocks = [(None, 10), (Some(50.0), 500)];
        let (compat, regroup) = balance(histogram(Mode::Compat, 100, &blocks)).unwrap();
        assert_eq!(compat.cutoffs, Some(vec![None, Some(-1.0)]));
        assert_eq!((regroup.group(None), regroup.group(Some(50.0))), (0, 0));
        let (careful, regroup) = balance(histogram(Mode::Careful, 100, &blocks)).unwrap();
        assert_eq!(careful.cutoffs, Some(vec![Some(0.0), Some(-1.0)]));
        assert_eq!((regroup.group(None), regroup.group(Some(50.0))), (0, 1));
    }

    #[test]
    fn nothing_in_use_ends_the_old_cleaner_and_gives_group_0_here() {
        let none = |mode| balance(histogram(mode, 100, &[]));
        assert_eq!(none(Mode::Compat).unwrap_err().fault, RaisedFault::DivisionByZero);
        assert_eq!(none(Mode::Careful).unwrap().1, Regroup::Zero);
        let empty = balance(AgeHistogram::new(Mode::Compat)).unwrap();
        assert_eq!(empty, (Balance::default(), Regroup::Stopped));
    }
}
