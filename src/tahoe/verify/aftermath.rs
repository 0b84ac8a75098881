//! What follows once a batch of shares was read: they are compared, advisories are written, corrupt shares are put away, each
//! step no longer than a buffer full; and then figures, findings and errors are added to the bucket's sums.
//!
//! Only whole buckets are put down, so a crash in the middle has the bucket verified once more. What was moved away until then is
//! known by its note, what was copied by its hash.

use super::checker::{JudgedShare, ShareChecker};
use super::compare::{self, Tie};
use super::note::QuarantineNote;
use super::quarantine::{Corrupt, PutAway, QuarantineOutcome, QuarantineStep};
use super::{Advisories, Quarantine, advisory, quarantine};
use crate::job::Finding;
use crate::job::scrub::{Checker, CycleMoment, FollowUp, ScrubSums};
use crate::shown;
use crate::store::ErrorCause;
use crate::tahoe::store::TahoeBucket;

/// What is said of a corrupt share that no quarantine takes.
pub(super) const LEFT_IN_PLACE: &str = "; a link leads to it, so it is left in place";

/// What is said of shares that differ where corrupt ones are put in quarantine.
pub(super) const LEFT_IN_DOUBT: &str = ", so none of them is copied or moved for that";

/// What follows for one batch. Goes along from slice to slice; is never saved.
#[derive(Debug, Default)]
pub struct Aftermath {
    /// What this cycle had moved away before a crash.
    moved_before: Vec<QuarantineNote>,
    ties: Vec<Tie>,
    /// The place of the first share that was not looked at yet.
    next: usize,
    /// The share that is being put away, by its place.
    current: Option<(usize, Box<PutAway>)>,
}

impl Aftermath {
    /// Compares the shares of the first batch with each other, and asks what of the bucket was moved away before.
    pub(super) fn of(
        checker: &ShareChecker,
        bucket: &TahoeBucket<'_>,
        batch: &mut [JudgedShare],
        is_first: bool,
        moment: CycleMoment,
    ) -> Aftermath {
        let (mut ties, mut moved_before) = (Vec::new(), Vec::new());
        if is_first {
            let odd = compare::across_batch(batch);
            for (name, flaw) in odd.of_shares {
                if let Some(read) = share_mut(batch, &name).and_then(JudgedShare::read_mut) {
                    read.checked.flaws.push(flaw);
                }
            }
            ties = odd.ties;
            // Asked before anything is moved now.
            if checker.settings.quarantine == Quarantine::Move {
                moved_before = quarantine::moved_before(&checker.settings, bucket, moment);
            }
        }
        for Tie { flaw, names } in &mut ties {
            if checker.settings.quarantine != Quarantine::None {
                flaw.reason.push_str(LEFT_IN_DOUBT);
            }
            for name in names {
                if let Some(read) = share_mut(batch, name).and_then(JudgedShare::read_mut) {
                    read.in_doubt = true;
                }
            }
        }
        Aftermath { moved_before, ties, next: 0, current: None }
    }

    /// Does the next part.
    pub(super) fn step(
        &mut self,
        checker: &ShareChecker,
        bucket: &TahoeBucket<'_>,
        batch: &mut [JudgedShare],
        moment: CycleMoment,
        buffer: &mut [u8],
    ) -> FollowUp {
        let (place, step) = match self.current.take() {
            Some((place, going)) => (place, going.step(&checker.room, bucket, buffer)),
            None => {
                let left = batch.get(self.next..).unwrap_or_default();
                let Some(behind) = left.iter().position(JudgedShare::is_corrupt) else { return FollowUp::Ended };
                let place = self.next + behind;
                self.next = place + 1;
                match begin(checker, bucket, &mut batch[place], moment) {
                    Some(begun) => (place, begun),
                    None => return FollowUp::GoesOn,
                }
            }
        };
        match step {
            QuarantineStep::More(going) => self.current = Some((place, going)),
            QuarantineStep::End(outcome) => {
                if let Some(judged) = batch.get_mut(place) {
                    ended(judged, outcome, checker.settings.quarantine);
                }
            }
        }
        FollowUp::GoesOn
    }

    /// Adds what is not of the batch to the sums.
    pub(super) fn settle(self, checker: &ShareChecker, bucket: &TahoeBucket<'_>, sums: &mut ScrubSums) {
        for QuarantineNote { read, size, findings, .. } in self.moved_before {
            sums.add_put_away(read.unwrap_or(size), findings.into_iter().map(Finding::from));
        }
        self.ties.iter().for_each(|tie| sums.add_finding(checker.finding(bucket, None, &tie.flaw)));
    }
}

/// Writes the advisory of a corrupt share, and begins to put it away if that is wanted and may be.
fn begin(
    checker: &ShareChecker,
    bucket: &TahoeBucket<'_>,
    judged: &mut JudgedShare,
    moment: CycleMoment,
) -> Option<QuarantineStep> {
    let (settings, share) = (&checker.settings, judged.object.clone());
    let (name, number) = (share.name(), share.number().value());
    let stays = quarantine::leaves(settings, bucket, name);
    let (size, bytes_read) = (judged.size, judged.bytes_read);
    let read = judged.read_mut()?;
    if stays {
        read.checked.flaws.iter_mut().for_each(|flaw| flaw.reason.push_str(LEFT_IN_PLACE));
    }
    let finding = |flaw| checker.finding(bucket, Some(&share), flaw);
    let findings: Vec<Finding> = read.checked.flaws.iter().map(finding).collect();
    let (share_type, stamp) = (read.checked.facts.share_type, read.stamp);
    // First: once the share is gone from its bucket, nobody comes back to write it.
    let mut advised = true;
    if settings.advisories == Advisories::Write
        && let Err(e) = advisory::write(bucket, number, share_type, &findings, moment.now)
    {
        advised = false;
        let folder = shown::path(&advisory::place(bucket));
        let told = format!("cannot write a corruption advisory: folder {folder}: {e}");
        judged.dealt.errors.push((ErrorCause::of(&e), told));
    }
    let may_go = !stays && (advised || settings.quarantine != Quarantine::Move);
    (may_go && settings.quarantine != Quarantine::None).then(|| {
        let corrupt = Corrupt { name, size, read: bytes_read, stamp, findings: &findings };
        quarantine::begin(settings, bucket, &corrupt, moment)
    })
}

fn ended(judged: &mut JudgedShare, outcome: QuarantineOutcome, quarantine: Quarantine) {
    match outcome {
        QuarantineOutcome::There { copied_bytes } => judged.dealt.quarantined = Some(copied_bytes),
        QuarantineOutcome::Failed(cause, error) => judged.dealt.errors.push((cause, error)),
        QuarantineOutcome::NoRoom(why) => {
            let done = if quarantine == Quarantine::Move { "moved" } else { "copied" };
            let Some(read) = judged.read_mut() else { return };
            for flaw in &mut read.checked.flaws {
                flaw.reason.push_str(&format!("; not {done} to quarantine: {why}"));
            }
        }
    }
}

fn share_mut<'b>(batch: &'b mut [JudgedShare], name: &[u8]) -> Option<&'b mut JudgedShare> {
    let place = batch.binary_search_by(|judged| judged.name().cmp(name)).ok()?;
    batch.get_mut(place)
}
