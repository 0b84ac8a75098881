//! Which segments may be cleaned, in which order, and which of them are marked.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::judge::{Judge, SegmentVerdict, Unfit};
use super::number::Number;
use super::options::{Era, Limits, Options, Policy, RunPart};
use super::raised::{Raised, RaisedAt};
use super::table::{Figure, SegmentFate, SegmentMark, SegmentTable};

/// Something odd that was found.
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema), schemars(rename = "OddRow"))]
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

/// The segments that may be cleaned, and the odd ones that are left alone. What is marked, and what must not be touched,
/// is noted in the table.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Choice {
    /// Places of all that may be chosen, worst first.
    pub order: Vec<u32>,
    /// What was odd.
    pub odd: Vec<Odd>,
}

impl Choice {
    /// Judges the segments of a table that stay, by ascending id, and marks the worst.
    ///
    /// # Errors
    /// In compat mode, what the old cleaner would have raised.
    pub fn make(era: Era, table: &mut SegmentTable, options: &Options) -> Result<Choice, Raised> {
        let mut choice = Choice::default();
        let judge = Judge::new(era, options);
        choice.order = choice.judge(table, &judge, options)?;
        choice.mark(table, &judge, options);
        Ok(choice)
    }

    /// Settles the figures of all that may be chosen; gives their places, worst first.
    fn judge(&mut self, table: &mut SegmentTable, judge: &Judge, options: &Options) -> Result<Vec<u32>, Raised> {
        let at = if judge.era == Era::C { RaisedAt::Utilization } else { RaisedAt::CleaningList };
        let policy = options.policy_for(judge.era);
        let lists = !matches!(options.part, RunPart::GarbageCollection | RunPart::Balancing);
        let mut ranking = if lists { Ranking::of(table) } else { Ranking::default() };
        for place in 0..table.records.len() {
            if table.records[place].fate != SegmentFate::Stays {
                continue;
            }
            let figures = table.figures(place, judge.era, judge.mode);
            if let Some(why) = figures.unreadable {
                self.leave(table, place, format!("{why}; left alone"));
                table.records[place].set(SegmentMark::Untouchable, true);
                continue;
            }
            let big = options.limits.max_segment_blocks.is_some_and(|most| figures.blocks > most);
            // Also one that is only taken out after marking, when it would have been marked.
            table.records[place].set(SegmentMark::Untouchable, big);
            if big && figures.expired {
                self.leave(table, place, too_many(figures.blocks));
            }
            if !figures.eligible || !lists {
                continue;
            }
            match judge.settle(&figures) {
                Ok((used, size)) => {
                    table.set_figure(place, Figure::Used, Some(used));
                    table.set_figure(place, Figure::Size, Some(size));
                    let verdict = judge.verdict(used, size, &figures.mtime);
                    ranking.push(place, rank(&policy, &verdict));
                }
                Err(Unfit::Raised(fault)) => return Err(Raised { at, fault, segment: Some(figures.id) }),
                Err(Unfit::Odd(why)) => self.leave(table, place, why.to_owned()),
            }
        }
        Ok(ranking.worst_first())
    }

    fn leave(&mut self, table: &SegmentTable, place: usize, what: String) {
        let (id, name) = (table.records[place].id, table.name(place));
        self.odd.push(Odd { segment: Some(id), name: Some(name), what, left_alone: true });
    }

    fn mark(&mut self, table: &mut SegmentTable, judge: &Judge, options: &Options) {
        let policy = options.policy_for(judge.era);
        let wanted = |id: i64, verdict: &SegmentVerdict| match (&options.part, policy) {
            (RunPart::Marking(ids), _) if !ids.is_empty() => ids.contains(&id),
            (_, Policy::Benefit { threshold_days, .. }) => verdict.benefit.is_some_and(|b| b > threshold_days),
            (_, Policy::Utilization { least }) => verdict.utilization.is_some_and(|u| u < least),
        };
        let mut so_far = Marked::default();
        for rank in 0..self.order.len() {
            let place = self.order[rank] as usize;
            let bytes = |figure| table.figure(place, figure).unwrap_or(Number::Int(0));
            let used = bytes(Figure::Used);
            let verdict = judge.verdict(used, bytes(Figure::Size), &table.mtime(place));
            let record = &mut table.records[place];
            if !wanted(record.id, &verdict) || !so_far.leaves_room(used, &verdict, &options.limits) {
                continue;
            }
            if !record.is(SegmentMark::Untouchable) {
                so_far.add(used);
                record.set(SegmentMark::Marked, true);
            } else if !record.is(SegmentMark::Expired) {
                // Else that has been said.
                self.leave(table, place, "it has too many blocks for one step; left alone".to_owned());
            }
        }
        self.name_missing(table, options);
    }

    /// Reports segments that were named for marking but are not in the list.
    fn name_missing(&mut self, table: &SegmentTable, options: &Options) {
        let RunPart::Marking(ids) = &options.part else { return };
        let listed = |id: i64| self.order.iter().any(|place| table.records[*place as usize].id == id);
        let missing: Vec<i64> = ids.iter().copied().filter(|id| !listed(*id)).collect();
        for id in missing {
            let what = "it is not among the segments that can be marked".to_owned();
            self.odd.push(Odd { segment: Some(id), name: None, what, left_alone: true });
        }
    }
}

fn too_many(blocks: u64) -> String {
    format!("its {blocks} blocks are too many for one step; left alone")
}

/// What is marked so far.
#[derive(Debug, Default)]
struct Marked {
    segments: u64,
    rewritten: i128,
}

impl Marked {
    fn leaves_room(&self, used: Number, verdict: &SegmentVerdict, limits: &Limits) -> bool {
        let rewritten = self.rewritten.saturating_add(used.bytes());
        limits.max_segments.is_none_or(|most| self.segments < most)
            && limits.max_rewrite_bytes.is_none_or(|most| rewritten <= i128::from(most))
            && limits.min_age_days.is_none_or(|least| verdict.age_days.unwrap_or(0.0) >= least)
    }

    fn add(&mut self, used: Number) {
        self.segments += 1;
        self.rewritten = self.rewritten.saturating_add(used.bytes());
    }
}

/// Places in a table, to be sorted by their ranks. There may be millions, so no more is moved than the places.
#[derive(Default)]
struct Ranking {
    places: Vec<u32>,
    /// By place.
    ranks: Vec<f64>,
}

impl Ranking {
    /// With room for all of a table that stay.
    fn of(table: &SegmentTable) -> Ranking {
        let staying = table.records.iter().filter(|record| record.fate == SegmentFate::Stays).count();
        Ranking { places: Vec::with_capacity(staying), ranks: vec![0.0; table.records.len()] }
    }

    fn push(&mut self, place: usize, rank: f64) {
        self.ranks[place] = rank;
        self.places.push(place as u32);
    }

    /// By rank, and of equal ones by place, which is by id.
    fn worst_first(self) -> Vec<u32> {
        let Ranking { mut places, ranks } = self;
        // In place: a stable sort would need room for half of them once more.
        places.sort_unstable_by(|a, b| ranks[*a as usize].total_cmp(&ranks[*b as usize]).then(a.cmp(b)));
        places
    }
}

/// A number that is the less the worse a segment is. What cannot be judged goes to the end.
fn rank(policy: &Policy, verdict: &SegmentVerdict) -> f64 {
    let rank = match policy {
        Policy::Benefit { .. } => verdict.benefit.map(|benefit| -benefit),
        Policy::Utilization { .. } => verdict.utilization,
    };
    // So that -0 is 0 also in the total order of doubles, which has the positive NaN at its end.
    rank.filter(|rank| !rank.is_nan()).map_or(f64::NAN, |rank| rank + 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cumulus::policy::{Mode, RaisedFault, StoredTime};

    fn table(segments: &[(i64, i64, f64)]) -> SegmentTable {
        let mut table = SegmentTable::default();
        for (id, used, age) in segments {
            let place = table.push(*id, "");
            table.set_figure(place, Figure::Used, Some(Number::Int((*used).into())));
            table.set_figure(place, Figure::BlockBytes, Some(Number::Int(100)));
            table.set_mtime(place, StoredTime::Day(1000.0 - age));
            table.records[place].blocks = 10;
            table.records[place].set(SegmentMark::InUse, true);
        }
        table
    }

    fn options(mode: Mode, limits: Limits) -> Options {
        Options { mode, limits, ..Options::at(1000.0) }
    }

    /// Ids in order, ids of the marked by id, and ids of the odd.
    fn chosen(mut table: SegmentTable, options: &Options) -> Result<[Vec<i64>; 3], Raised> {
        let choice = Choice::make(Era::A, &mut table, options)?;
        let order = choice.order.iter().map(|place| table.records[*place as usize].id);
        let marked = table.records.iter().filter(|record| record.is(SegmentMark::Marked)).map(|record| record.id);
        Ok([order.collect(), marked.collect(), choice.odd.iter().filter_map(|odd| odd.segment).collect()])
    }

    #[test]
    fn limits_pass_over_what_does_not_fit_and_go_on() {
        let all: Vec<_> = (1..=6).map(|i| (i, 10 * i, 100.0)).collect();
        let marked = |limits| chosen(table(&all), &options(Mode::Careful, limits)).unwrap()[1].clone();
        let none = Limits::default();
        assert_eq!(marked(none), [1, 2, 3, 4, 5, 6]);
        assert_eq!(marked(Limits { max_segments: Some(2), ..none }), [1, 2]);
        assert_eq!(marked(Limits { max_rewrite_bytes: Some(35), ..none }), [1, 2]);
        assert_eq!(marked(Limits { min_age_days: Some(100.5), ..none }), [0i64; 0]);
        let utilization = Options {
            policy: Some(Policy::Utilization { least: 0.3 }),
            ..options(Mode::Careful, Limits { max_rewrite_bytes: Some(25), ..none })
        };
        assert_eq!(chosen(table(&all), &utilization).unwrap()[1], [1]);
    }

    #[test]
    fn equal_benefits_stay_by_id_and_minus_zero_is_zero() {
        let all = [(1, 100, -5.0), (2, 100, 5.0), (3, 50, 5.0)];
        let [order, ..] = chosen(table(&all), &options(Mode::Compat, Limits::default())).unwrap();
        assert_eq!(order, [3, 1, 2]);
    }

    #[test]
    fn an_odd_segment_is_left_alone_where_the_old_program_died_of_it() {
        let all = [(1, 50, f64::INFINITY), (2, 100, f64::NEG_INFINITY), (3, 1, 100.0)];
        let [_, marked, odd] = chosen(table(&all), &options(Mode::Careful, Limits::default())).unwrap();
        assert_eq!(marked, [3]);
        assert_eq!(odd, [1, 2]);
        // (1 - 1) * -inf is not a number.
        let raised = chosen(table(&all), &options(Mode::Compat, Limits::default())).unwrap_err();
        assert_eq!((raised.fault, raised.segment), (RaisedFault::NotANumber, Some(2)));
    }

    #[test]
    fn a_segment_too_big_for_a_step_is_reported_only_if_it_would_change() {
        let limits = Limits { max_segment_blocks: Some(9), ..Limits::default() };
        let all = [(1, 1, 100.0), (2, 99, 1.0)];
        let [_, marked, odd] = chosen(table(&all), &options(Mode::Careful, limits)).unwrap();
        assert_eq!(marked, [0i64; 0]);
        assert_eq!(odd, [1]);
    }

    #[test]
    fn what_cannot_be_judged_comes_last() {
        let policy = Policy::Utilization { least: 0.4 };
        let verdict = |utilization| SegmentVerdict { age_days: None, utilization, benefit: None };
        let mut ranks =
            [Some(f64::INFINITY), None, Some(f64::NAN), Some(-0.0), Some(0.0)].map(|u| rank(&policy, &verdict(u)));
        ranks.sort_by(f64::total_cmp);
        assert_eq!(ranks.map(f64::is_finite), [true, true, false, false, false]);
        assert_eq!(ranks[2], f64::INFINITY);
        assert_eq!(rank(&policy, &verdict(Some(-0.0))).total_cmp(&0.0), std::cmp::Ordering::Equal);
    }
}
