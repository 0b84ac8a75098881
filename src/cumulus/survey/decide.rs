//! What follows from the figures: the fate of segments, the choice of the policy, the groups.

use super::segments::Fate;
use super::{Gathered, Stage};
use crate::cumulus::decision::Usage;
use crate::policy::cleaning::{Choice, Era, Mode, Number, Options, Part, Refusal, balance};

impl Gathered {
    /// After the blocks: everything but the groups is decided.
    pub(super) fn after_blocks(&mut self, options: &Options) {
        if self.decision.collects {
            self.bury();
        }
        self.repair_usage();
        let staying = self.segments.iter().filter(|t| t.fate == Fate::Stays);
        let figures = staying.map(|t| t.figures(self.schema.era, self.mode));
        let choice = match Choice::make(self.schema.era, figures, options) {
            Ok(choice) => choice,
            Err(raised) => {
                self.plan.refused = Some(Refusal::Raised(raised));
                return;
            }
        };
        self.touch(&choice);
        self.plan.take_choice(choice);
    }

    fn bury(&mut self) {
        let era = self.schema.era;
        let mut bytes = Number::Int(0);
        for tally in &mut self.segments {
            if era == Era::A && tally.used_blocks == 0 {
                tally.fate = Fate::Dead;
                self.removed.blocks += tally.blocks;
            }
            match tally.fate {
                Fate::Stays => {}
                Fate::Reaped => self.decision.reaped.push(tally.id),
                Fate::Dead => {
                    let size = tally.own_size.or(tally.bytes.value()).unwrap_or(Number::Int(0));
                    bytes = bytes.plus(Number::Int(size.bytes()));
                    self.removed.segments += 1;
                    self.decision.dead.push(tally.id);
                    self.plan.obsolete.push(tally.name.clone());
                }
            }
        }
        self.plan.obsolete_bytes = bytes;
        self.decision.dead.extend(self.orphans.keys());
        let orphans = self.decision.nameless_orphans || !self.orphans.is_empty();
        if orphans && self.mode == Mode::Careful {
            let blocks: u64 = self.orphans.values().map(|(blocks, _)| blocks).sum();
            self.note(format!("{blocks} blocks of {} segments that are not there; deleted", self.orphans.len()));
        }
    }

    fn repair_usage(&mut self) {
        if !self.decision.collects {
            return;
        }
        if self.schema.era == Era::A && self.mode == Mode::Careful {
            self.dangling |= self.used.len() != self.live_used.len();
            self.used = std::mem::take(&mut self.live_used);
        }
        self.decision.usage = match (self.takes_everything(), self.mode, self.dangling, self.removed.usage_rows) {
            (true, ..) => Usage::Everything,
            (_, Mode::Careful, true, _) => Usage::Dangling,
            (_, _, _, 0) => Usage::Nothing,
            _ => Usage::OfMissingSnapshots,
        };
        if self.decision.usage == Usage::Dangling {
            self.note("usage rows about what is not there; deleted".to_owned());
        }
    }

    /// Settles which segments are marked, and which have blocks that get new values.
    fn touch(&mut self, choice: &Choice) {
        let (era, balances) = (self.schema.era, self.balances());
        let untouchable = |id: i64| choice.untouchable.binary_search(&id).is_ok();
        for id in &choice.marked {
            if let Some(place) = self.place(*id) {
                self.segments[place].marked = true;
            }
        }
        for tally in self.segments.iter_mut().filter(|t| t.fate == Fate::Stays && !untouchable(t.id)) {
            let regrouped = balances && tally.blocks > 0 && (tally.marked || tally.expired_blocks > 0);
            tally.touched = tally.marked || regrouped;
            if tally.touched {
                self.decision.touched.push((tally.id, tally.blocks));
            }
            // Era A takes the mean over the segments in use; a careful run counts an unknown size as 0.
            if regrouped && (era != Era::A || tally.used_blocks > 0) {
                let size = match (era, self.mode) {
                    (Era::A, Mode::Careful) => Some(tally.bytes.value().unwrap_or(Number::Int(0))),
                    (Era::A, Mode::Compat) => tally.bytes.value(),
                    (_, Mode::Careful) => tally.own_size.or(tally.bytes.value()),
                    (_, Mode::Compat) => tally.own_size,
                };
                self.histogram.add_segment(size);
            }
        }
        if balances && self.regroups_orphans() {
            let expired = self.orphans.iter().filter(|(_, (_, expired))| *expired > 0);
            self.decision.touched.extend(expired.map(|(id, (blocks, _))| (*id, *blocks)));
        }
        self.decision.touched.sort_unstable();
        self.decision.marked = choice.marked.clone();
        self.decision.marked.sort_unstable();
        if era == Era::B {
            let retention = &self.decision.retention;
            self.decision.expire_time = retention.kept.last().copied();
        }
    }

    /// The old cleaners grouped blocks without a segment too, if they were asked to group only.
    pub(super) fn regroups_orphans(&self) -> bool {
        !self.decision.collects && self.mode == Mode::Compat
    }

    pub(super) fn stage_after_dangling(&mut self) -> Stage {
        if self.schema.signatures && self.decision.collects && self.schema.era != Era::A {
            return Stage::Signatures;
        }
        self.stage_after_signatures()
    }

    pub(super) fn stage_after_signatures(&mut self) -> Stage {
        // Which of them dangled before is not known; looking for those takes a scan.
        self.decision.dangling_signatures = self.removed.signatures > 0;
        if !self.balances() {
            return Stage::Done;
        }
        if self.decision.touched.is_empty() {
            self.finish_balance();
            return Stage::Done;
        }
        Stage::Ages
    }

    pub(super) fn finish_balance(&mut self) {
        if !self.balances() || self.decision.regroup.is_some() {
            return;
        }
        debug_assert!(!matches!(self.decision.options.part, Part::Marking(_)));
        let histogram = std::mem::replace(&mut self.histogram, crate::policy::cleaning::Histogram::new(self.mode));
        match balance(histogram) {
            Ok((balance, regroup)) => {
                self.plan.balance = balance;
                self.decision.regroup = Some(regroup);
            }
            Err(raised) => self.plan.refused = Some(Refusal::Raised(raised)),
        }
    }
}
