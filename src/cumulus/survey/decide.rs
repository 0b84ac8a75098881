//! What follows from the figures: the fate of segments, the choice of the policy, the groups.

use super::{Gathered, SurveyStage};
use crate::cumulus::decision::Usage;
use crate::cumulus::policy::{
    Choice, CleaningRefusal, Era, Figure, Mode, Number, Options, RunPart, SegmentFate, SegmentMark, balance,
};
use crate::cumulus::touched::{Touched, TouchedList};

impl Gathered {
    /// After the blocks: everything but the groups is decided.
    pub(super) fn after_blocks(&mut self, options: &Options) {
        if self.decision.collects {
            self.bury();
        }
        self.repair_usage();
        match Choice::make(self.schema.era, &mut self.segments, options) {
            Ok(mut choice) => {
                self.plan.odd.append(&mut choice.odd);
                self.touch();
                self.choice = Some(choice);
            }
            Err(raised) => self.plan.refused = Some(CleaningRefusal::Raised(raised)),
        }
    }

    fn bury(&mut self) {
        let era = self.schema.era;
        let mut bytes = Number::Int(0);
        let table = &mut self.segments;
        for place in 0..table.records.len() {
            let record = &mut table.records[place];
            if era == Era::A && !record.is(SegmentMark::InUse) {
                record.fate = SegmentFate::Dead;
                self.removed.blocks += u64::from(record.blocks);
            }
            match record.fate {
                SegmentFate::Stays => {}
                SegmentFate::Reaped => self.decision.reaped.push(record.id),
                SegmentFate::Dead => {
                    self.removed.segments += 1;
                    self.decision.dead.push(record.id);
                    let known = table.figure(place, Figure::Size).or(table.figure(place, Figure::BlockBytes));
                    bytes = bytes.plus(Number::Int(known.map_or(0, Number::bytes)));
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

    /// Settles which segments have blocks that get new values.
    fn touch(&mut self) {
        let (era, balances) = (self.schema.era, self.balances());
        for place in 0..self.segments.records.len() {
            let record = &mut self.segments.records[place];
            if record.fate != SegmentFate::Stays || record.is(SegmentMark::Untouchable) {
                continue;
            }
            let (marked, blocks) = (record.is(SegmentMark::Marked), record.blocks);
            let regrouped = balances && blocks > 0 && (marked || record.is(SegmentMark::Expired));
            record.set(SegmentMark::Touched, marked || regrouped);
            // Era A takes the mean over the segments in use; a careful run counts an unknown size as 0.
            if regrouped && (era != Era::A || record.is(SegmentMark::InUse)) {
                let (recorded, blocks) =
                    (self.segments.figure(place, Figure::Size), self.segments.figure(place, Figure::BlockBytes));
                self.histogram.add_segment(match (era, self.mode) {
                    (Era::A, Mode::Careful) => Some(blocks.unwrap_or(Number::Int(0))),
                    (Era::A, Mode::Compat) => blocks,
                    (_, Mode::Careful) => recorded.or(blocks),
                    (_, Mode::Compat) => recorded,
                });
            }
        }
        self.decision.touched = self.touched();
        if era == Era::B {
            self.decision.expire_time = self.decision.retention.kept.last().copied();
        }
    }

    /// The segments whose blocks get new values, by ascending id: those of the table, and between them those without a row.
    fn touched(&self) -> TouchedList {
        let regroups_orphans = self.balances() && self.regroups_orphans();
        let expired = self.orphans.iter().filter(|(_, (_, expired))| regroups_orphans && *expired > 0);
        let mut orphans = expired
            .map(|(segment, (blocks, _))| Touched {
                segment: *segment,
                blocks: u32::try_from(*blocks).unwrap_or(u32::MAX),
                marked: false,
            })
            .peekable();
        let of_table = self.segments.records.iter().filter(|record| record.is(SegmentMark::Touched));
        let mut touched = TouchedList::with_room_for(of_table.clone().count());
        for record in of_table {
            while let Some(orphan) = orphans.next_if(|orphan| orphan.segment < record.id) {
                touched.push(orphan);
            }
            touched.push(Touched { segment: record.id, blocks: record.blocks, marked: record.is(SegmentMark::Marked) });
        }
        for orphan in orphans {
            touched.push(orphan);
        }
        touched
    }

    /// The old cleaners grouped blocks without a segment too, if they were asked to group only.
    pub(super) fn regroups_orphans(&self) -> bool {
        !self.decision.collects && self.mode == Mode::Compat
    }

    pub(super) fn stage_after_dangling(&mut self) -> SurveyStage {
        if self.schema.signatures && self.decision.collects && self.schema.era != Era::A {
            return SurveyStage::Signatures;
        }
        self.stage_after_signatures()
    }

    pub(super) fn stage_after_signatures(&mut self) -> SurveyStage {
        // Which of them dangled before is not known; looking for those takes a scan.
        self.decision.dangling_signatures = self.removed.signatures > 0;
        if !self.balances() {
            return SurveyStage::Done;
        }
        if self.decision.touched.is_empty() {
            self.finish_balance();
            return SurveyStage::Done;
        }
        SurveyStage::Ages
    }

    pub(super) fn finish_balance(&mut self) {
        if !self.balances() || self.decision.regroup.is_some() {
            return;
        }
        debug_assert!(!matches!(self.decision.options.part, RunPart::Marking(_)));
        let histogram = std::mem::replace(&mut self.histogram, crate::cumulus::policy::AgeHistogram::new(self.mode));
        match balance(histogram) {
            Ok((balance, regroup)) => {
                self.plan.balance = balance;
                self.decision.regroup = Some(regroup);
            }
            Err(raised) => self.plan.refused = Some(CleaningRefusal::Raised(raised)),
        }
    }
}
