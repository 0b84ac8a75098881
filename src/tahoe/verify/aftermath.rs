//! What follows once a batch of shares was read: they are compared, advisories are written, corrupt shares are put away, each
//! step no longer than a buffer full; and then figures, findings and errors are added to the bucket's sums.
//!
//! Only whole buckets are put down, so a crash in the middle has the bucket verified once more. What was moved away until then is
//! known by its note, what was copied by its hash.

use std::collections::BTreeMap;

use super::compare::{self, Member, Tie};
use super::note::Note;
use super::quarantine::{Corrupt, Outcome, PutAway, Step};
use super::sums::BucketSums;
use super::visit::{Judged, Left, Read, Verdict};
use super::{Advisories, Desk, Quarantine, VerifyTally, advisory, quarantine};
use crate::job::{Finding, Fold};
use crate::shown;
use crate::tahoe::region::{Flaw, Region};
use crate::tahoe::store::TahoeBucket;

/// What is said of a corrupt share that no quarantine takes.
pub(super) const LEFT_IN_PLACE: &str = "; a link leads to it, so it is left in place";

/// What is said of shares that differ where corrupt ones are put in quarantine.
pub(super) const LEFT_IN_DOUBT: &str = ", so none of them is copied or moved for that";

/// What follows for one batch. Goes along from slice to slice; is never saved.
#[derive(Debug)]
pub(super) struct Aftermath {
    /// What this cycle had moved away before a crash.
    moved_before: Vec<Note>,
    ties: Vec<Tie>,
    judged: Vec<Judged>,
    /// What was done about corrupt shares, by their places among those judged.
    dealt: BTreeMap<usize, Dealt>,
    /// The place of the first share that was not looked at yet.
    next: usize,
    /// The share that is being put away, by its place.
    current: Option<(usize, Box<PutAway>)>,
}

/// What was done about a corrupt share.
#[derive(Debug, Default)]
pub(super) struct Dealt {
    pub findings: Vec<Finding>,
    pub errors: Vec<String>,
    /// How many bytes were copied, if it lies in quarantine now.
    pub quarantined: Option<u64>,
}

impl Aftermath {
    /// Compares the shares with each other. In the first batch of a bucket it is asked what was moved away before.
    pub fn of(mut judged: Vec<Judged>, desk: Desk<'_>, bucket: &TahoeBucket<'_>, is_first: bool) -> Aftermath {
        let members: Vec<Member<'_>> = judged.iter().filter_map(Judged::member).collect();
        let odd = compare::across(&members);
        for (name, flaw) in odd.of_shares {
            if let Some(read) = read_mut(&mut judged, &name) {
                read.checked.flaws.push(flaw);
            }
        }
        let mut ties = odd.ties;
        for Tie { flaw, names } in &mut ties {
            if desk.settings.quarantine != Quarantine::None {
                flaw.reason.push_str(LEFT_IN_DOUBT);
            }
            for name in names {
                if let Some(read) = read_mut(&mut judged, name) {
                    read.in_doubt = true;
                }
            }
        }
        // Asked before anything is moved now.
        let moves = is_first && desk.settings.quarantine == Quarantine::Move;
        let moved_before =
            if moves { quarantine::moved_before(desk.settings, bucket, desk.moment) } else { Vec::new() };
        Aftermath { moved_before, ties, judged, dealt: BTreeMap::new(), next: 0, current: None }
    }

    /// Does the next part.
    pub fn step(&mut self, desk: Desk<'_>, bucket: &TahoeBucket<'_>, buffer: &mut [u8]) -> Left {
        let (place, step) = match self.current.take() {
            Some((place, going)) => (place, going.step(desk.room, bucket, buffer)),
            None => {
                let Some(place) = self.next_corrupt() else { return Left::Nothing };
                self.next = place + 1;
                match self.begin(place, desk, bucket) {
                    Some(begun) => (place, begun),
                    None => return Left::Something,
                }
            }
        };
        match step {
            Step::More(going) => self.current = Some((place, going)),
            Step::End(outcome) => self.ended(place, outcome, desk.settings.quarantine, bucket),
        }
        Left::Something
    }

    fn next_corrupt(&self) -> Option<usize> {
        let is_corrupt = |judged: &Judged| judged.read().is_some_and(|read| !read.checked.flaws.is_empty());
        let left = self.judged.get(self.next..)?;
        left.iter().position(is_corrupt).map(|behind| self.next + behind)
    }

    /// Writes the advisory of a corrupt share, and begins to put it away if that is wanted and may be.
    fn begin(&mut self, place: usize, desk: Desk<'_>, bucket: &TahoeBucket<'_>) -> Option<Step> {
        let Desk { settings, moment, .. } = desk;
        let Judged { share, size, read, verdict } = self.judged.get_mut(place)?;
        let (name, number) = (share.name(), share.number().value());
        let Verdict::Read(Read { checked, stamp, .. }) = verdict else { return None };
        let stays = quarantine::leaves(settings, bucket, name);
        if stays {
            checked.flaws.iter_mut().for_each(|flaw| flaw.reason.push_str(LEFT_IN_PLACE));
        }
        let share = (number, name);
        let findings: Vec<Finding> = checked.flaws.iter().map(|flaw| finding(bucket, Some(share), flaw)).collect();
        let mut dealt = Dealt { findings, ..Dealt::default() };
        // First: once the share is gone from its bucket, nobody comes back to write it.
        let mut advised = true;
        if settings.advisories == Advisories::Write
            && let Err(e) = advisory::write(bucket, number, checked.share_type, &dealt.findings, moment.now)
        {
            advised = false;
            let folder = shown::path(&advisory::place(bucket));
            dealt.errors.push(format!("cannot write a corruption advisory: folder {folder}: {e}"));
        }
        let may_go = !stays && (advised || settings.quarantine != Quarantine::Move);
        let begun = (may_go && settings.quarantine != Quarantine::None).then(|| {
            let corrupt = Corrupt { name, size: *size, read: *read, stamp: *stamp, findings: &dealt.findings };
            quarantine::begin(settings, bucket, &corrupt, moment)
        });
        self.dealt.insert(place, dealt);
        begun
    }

    fn ended(&mut self, place: usize, outcome: Outcome, quarantine: Quarantine, bucket: &TahoeBucket<'_>) {
        let (Some(dealt), Some(judged)) = (self.dealt.get_mut(&place), self.judged.get_mut(place)) else { return };
        match outcome {
            Outcome::There { copied_bytes } => dealt.quarantined = Some(copied_bytes),
            Outcome::Failed(error) => dealt.errors.push(error),
            Outcome::NoRoom(why) => {
                let done = if quarantine == Quarantine::Move { "moved" } else { "copied" };
                let Verdict::Read(Read { checked, .. }) = &mut judged.verdict else { return };
                for flaw in &mut checked.flaws {
                    flaw.reason.push_str(&format!("; not {done} to quarantine: {why}"));
                }
                let share = (judged.share.number().value(), judged.share.name());
                dealt.findings = checked.flaws.iter().map(|flaw| finding(bucket, Some(share), flaw)).collect();
            }
        }
    }

    /// Adds what has come of the shares to the sums.
    pub fn settle(mut self, bucket: &TahoeBucket<'_>, fold: &Fold<'_, VerifyTally>, sums: &mut BucketSums) {
        self.moved_before.into_iter().for_each(|note| sums.add_moved(note));
        self.ties.iter().for_each(|tie| sums.add_finding(finding(bucket, None, &tie.flaw)));
        for (place, judged) in self.judged.into_iter().enumerate() {
            sums.add(bucket, judged, self.dealt.remove(&place), fold);
        }
    }
}

fn read_mut<'j>(judged: &'j mut [Judged], name: &[u8]) -> Option<&'j mut Read> {
    let place = judged.binary_search_by(|judged| judged.share.name().cmp(name)).ok()?;
    match &mut judged[place].verdict {
        Verdict::Read(read) => Some(read),
        Verdict::Unreadable(_) => None,
    }
}

/// A flaw of a share, or of the bucket, as a finding.
fn finding(bucket: &TahoeBucket<'_>, share: Option<(Option<i64>, &[u8])>, flaw: &Flaw) -> Finding {
    let number = share.and_then(|(number, _)| number);
    let reason = match share {
        Some((None, name)) => format!("share {}: {}", shown::name(name), flaw.reason),
        _ => flaw.reason.clone(),
    };
    let bytes = flaw.bytes.filter(|_| flaw.region != Region::Bucket).map(|span| (span.start, span.end));
    let (storage_index, region) = (bucket.storage_index(), flaw.region.as_str().to_owned());
    Finding { storage_index, share: number, region, reason, tahoe_corrupt: false, only_kept: false, bytes }
}
