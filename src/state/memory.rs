//! A [`StateStore`] in memory: for embedders who need no resuming, and for tests.
//!
//! It keeps the same contract as the one in SQLite, and nothing beyond the life of the process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use super::{
    Claim, Consent, CycleStanding, FINISHED_CYCLES_KEPT, LastRun, NotePage, NotePlace, PREFIXES_READ, PrefixProgress,
    PrefixRow, StateReader, StateStore, TALLY_BYTES_READ, Tidied, TidyStep, Tidying, check,
};
use crate::error::{Error, Result};
use crate::job::{Candidate, DamagedObject, Intent, Note, ObjectName};
use crate::lock::lock;
use crate::policy::cycle::{CycleIdentity, CycleKey, KnownCycle};

/// Progress of crawls in plain maps. Starts empty; clones share it.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore(Arc<Mutex<MemoryState>>);

#[derive(Debug, Default)]
struct MemoryState {
    crawls: BTreeMap<String, MemoryCrawl>,
    /// By store and job.
    visits: BTreeMap<(String, String), BTreeMap<String, f64>>,
    runs: BTreeMap<String, LastRun>,
    /// By store and job; when each was first found so, by prefix and name.
    damage: BTreeMap<(String, String), BTreeMap<(String, ObjectName), f64>>,
}

#[derive(Debug, Clone, Default)]
struct MemoryCrawl {
    /// The number of the next cycle; stays when cycles go.
    next: u64,
    cycles: BTreeMap<u64, CycleState>,
}

#[derive(Debug, Clone)]
struct CycleState {
    identity: CycleIdentity,
    started: f64,
    finished: Option<f64>,
    delivered: bool,
    confirmed: Option<f64>,
    carrying_out: Option<f64>,
    prefixes: Vec<MemoryPrefix>,
}

#[derive(Debug, Clone, Default)]
struct MemoryPrefix {
    cursor: Option<Vec<u8>>,
    tally: Option<Vec<u8>>,
    done: bool,
    fence: u64,
    claimed: bool,
    notes: Vec<Note>,
    intents: Vec<Intent>,
    candidates: Vec<Candidate>,
}

impl MemoryPrefix {
    fn in_force(&self, fence: u64) -> bool {
        self.claimed && !self.done && self.fence == fence
    }

    fn claim(&mut self, prefix: u32) -> Claim {
        self.fence += 1;
        self.claimed = true;
        let (cursor, tally, intents) = (self.cursor.clone(), self.tally.clone(), self.intents.clone());
        Claim { prefix, fence: self.fence, cursor, tally, intents }
    }
}

impl CycleState {
    /// The cycle as the outside knows it.
    fn cycle(&self, crawl: &str, number: u64) -> KnownCycle {
        KnownCycle {
            crawl: crawl.to_owned(),
            number,
            identity: self.identity.clone(),
            started: self.started,
            finished: self.finished,
            delivered: self.delivered,
            confirmed: self.confirmed,
            carrying_out: self.carrying_out,
            done: (0..).zip(&self.prefixes).filter(|(_, p)| p.done).map(|(position, _)| position).collect(),
        }
    }

    fn half_done(&self) -> u64 {
        let intents = self.prefixes.iter().flat_map(|prefix| &prefix.intents);
        intents.filter(|intent| intent.may_be_half_done()).count() as u64
    }

    fn left(&self) -> u32 {
        u32::try_from(self.prefixes.iter().filter(|p| !p.done).count()).unwrap_or(u32::MAX)
    }

    fn release_all(&mut self) {
        self.prefixes.iter_mut().for_each(|prefix| prefix.claimed = false);
    }

    fn rows(&self) -> u64 {
        1 + self.prefixes.iter().map(|p| 1 + p.notes.len() as u64).sum::<u64>()
    }

    fn advance(&mut self, progress: &PrefixProgress) -> Result<()> {
        let stale = Error::StaleClaim { prefix: progress.prefix, fence: progress.fence };
        let Some(prefix) = self.prefixes.get_mut(progress.prefix as usize) else { return Err(stale) };
        if !prefix.in_force(progress.fence) {
            return Err(stale);
        }
        check::note_numbers(progress, prefix.notes.len() as u64)?;
        check::intents(progress)?;
        check::candidates(progress, self.carrying_out.is_some())?;
        prefix.candidates.extend_from_slice(&progress.candidates);
        prefix.candidates.sort_by(|one, other| one.bucket.cmp(&other.bucket));
        if self.carrying_out.is_some() {
            let left = |candidate: &Candidate| Some(&candidate.bucket) > progress.cursor.as_ref();
            prefix.candidates.retain(|candidate| !progress.done && left(candidate));
        }
        prefix.intents.clone_from(&progress.intents);
        prefix.cursor.clone_from(&progress.cursor);
        prefix.tally = Some(progress.tally.clone());
        prefix.notes.extend_from_slice(&progress.notes);
        prefix.done = progress.done;
        prefix.claimed = !progress.done;
        Ok(())
    }
}

impl MemoryCrawl {
    /// The numbers of the cycles that are old.
    fn old(&self, before: Option<f64>) -> Vec<u64> {
        let finished: Vec<check::FinishedCycle> = self
            .cycles
            .iter()
            .filter_map(|(number, c)| {
                Some(check::FinishedCycle { number: *number, at: c.finished?, delivered: c.delivered })
            })
            .collect();
        check::old(&finished, before)
    }
}

impl MemoryState {
    fn cycle(&mut self, key: &CycleKey) -> Result<&mut CycleState> {
        self.find(key).ok_or_else(|| check::no_cycle(key))
    }

    fn find(&mut self, key: &CycleKey) -> Option<&mut CycleState> {
        self.crawls.get_mut(&key.crawl)?.cycles.get_mut(&key.number)
    }

    fn visits(&self, store: &str, job: &str) -> BTreeMap<String, f64> {
        self.visits.get(&(store.to_owned(), job.to_owned())).cloned().unwrap_or_default()
    }
}

impl MemoryStore {
    fn kept(&self) -> MutexGuard<'_, MemoryState> {
        lock(&self.0)
    }

    /// What the next process would find, if memory outlived this one.
    #[cfg(any(test, feature = "testing"))]
    pub fn reopen(&mut self) {
        for cycle in self.kept().crawls.values_mut().flat_map(|c| c.cycles.values_mut()) {
            cycle.release_all();
        }
    }
}

/// Changes what is known of damage by what the visits to a prefix behind the cursor `after` have come to.
fn judge(
    known: &mut BTreeMap<(String, ObjectName), f64>,
    prefix: &str,
    after: Option<&[u8]>,
    progress: &PrefixProgress,
    at: f64,
) {
    let up_to = progress.cursor.as_deref().filter(|_| !progress.done);
    let passed = |bucket: &[u8]| after.is_none_or(|after| bucket > after) && up_to.is_none_or(|up_to| bucket <= up_to);
    let visited = |bucket: &Vec<u8>| passed(bucket) || progress.judged.revisited.contains(bucket);
    known.retain(|(of, name), _| of != prefix || !visited(&name.bucket) || progress.judged.keeps(name));
    for name in &progress.judged.damaged {
        known.entry((prefix.to_owned(), name.clone())).or_insert(at);
    }
}

impl StateReader for MemoryStore {
    fn newest(&self, crawl: &str) -> Result<Option<KnownCycle>> {
        let kept = self.kept();
        let newest = kept.crawls.get(crawl).and_then(|c| c.cycles.last_key_value());
        Ok(newest.map(|(number, state)| {
            let cycle = state.cycle(crawl, *number);
            if state.finished.is_some() { cycle } else { KnownCycle { done: Vec::new(), ..cycle } }
        }))
    }

    fn latest(&self, crawl: &str) -> Result<Option<KnownCycle>> {
        let kept = self.kept();
        let newest = kept.crawls.get(crawl).and_then(|c| c.cycles.last_key_value());
        Ok(newest.map(|(number, state)| state.cycle(crawl, *number)))
    }

    fn finished(&self, crawl: &str) -> Result<Vec<KnownCycle>> {
        let kept = self.kept();
        let cycles = kept.crawls.get(crawl).map(|kept| &kept.cycles);
        let finished = cycles.into_iter().flatten().filter(|(_, state)| state.finished.is_some());
        Ok(finished.map(|(number, state)| state.cycle(crawl, *number)).collect())
    }

    fn visits(&self, store: &str, job: &str) -> Result<BTreeMap<String, f64>> {
        let kept = self.kept();
        Ok(kept.visits(store, job))
    }

    fn damaged(&self, store: &str, job: &str) -> Result<u64> {
        let kept = self.kept();
        Ok(kept.damage.get(&(store.to_owned(), job.to_owned())).map_or(0, |known| known.len() as u64))
    }

    fn damage(&self, store: &str, job: &str, limit: u64) -> Result<Vec<DamagedObject>> {
        let kept = self.kept();
        let known = kept.damage.get(&(store.to_owned(), job.to_owned())).into_iter().flatten();
        let object = |((prefix, name), since): (&(String, ObjectName), &f64)| {
            let (prefix, name, since) = (prefix.clone(), name.clone(), *since);
            DamagedObject { prefix, name, since }
        };
        Ok(known.take(usize::try_from(limit).unwrap_or(usize::MAX)).map(object).collect())
    }

    fn half_done(&self, cycle: &CycleKey) -> Result<u64> {
        Ok(self.kept().cycle(cycle)?.half_done())
    }

    fn prefixes(&self, cycle: &CycleKey, from: u32) -> Result<Vec<PrefixRow>> {
        let mut kept = self.kept();
        let rows = (0..).zip(&kept.cycle(cycle)?.prefixes).skip(from as usize).map(|(prefix, state)| PrefixRow {
            prefix,
            done: state.done,
            cursor: state.cursor.clone(),
            tally: state.tally.clone(),
        });
        let mut bytes = 0;
        let fits = |row: &PrefixRow| {
            let had = bytes;
            bytes += row.tally.as_ref().map_or(0, Vec::len);
            had < TALLY_BYTES_READ
        };
        Ok(rows.take(PREFIXES_READ).take_while(fits).collect())
    }

    fn notes(&self, cycle: &CycleKey, from: NotePlace, most: usize) -> Result<NotePage> {
        let mut kept = self.kept();
        let all = (0..).zip(&kept.cycle(cycle)?.prefixes).flat_map(|(at, p)| p.notes.iter().map(move |n| (at, n)));
        let mut rest = all.skip_while(|(at, note)| (*at, note.number) < (from.prefix, from.number));
        let notes = rest.by_ref().take(most).map(|(at, note)| (at, note.clone())).collect();
        let next = rest.next().map(|(prefix, note)| NotePlace { prefix, number: note.number, chain: 0 });
        Ok(NotePage { notes, next })
    }

    fn last_run(&self, maintenance: &str) -> Result<Option<LastRun>> {
        let kept = self.kept();
        Ok(kept.runs.get(maintenance).cloned())
    }
}

impl StateStore for MemoryStore {
    fn reader(&self) -> Arc<dyn StateReader> {
        Arc::new(self.clone())
    }

    fn begin(&mut self, crawl: &str, identity: &CycleIdentity, at: f64) -> Result<KnownCycle> {
        let number = self.kept().crawls.get(crawl).map_or(0, |kept| kept.next);
        self.begin_numbered(crawl, identity, number, at)
    }

    fn begin_numbered(&mut self, crawl: &str, identity: &CycleIdentity, number: u64, at: f64) -> Result<KnownCycle> {
        let mut kept = self.kept();
        check::identity(identity, at)?;
        let newest = kept.crawls.get(crawl).and_then(|kept| kept.cycles.last_key_value());
        check::number(crawl, number, newest.map(|(newest, cycle)| (*newest, cycle.finished.is_some())))?;
        let kept = kept.crawls.entry(crawl.to_owned()).or_default();
        for (number, cycle) in kept.cycles.iter().filter(|(_, cycle)| cycle.finished.is_none()) {
            check::may_be_given_up(crawl, *number, cycle.half_done())?;
        }
        kept.next = number + 1;
        kept.cycles.retain(|_, cycle| cycle.finished.is_some());
        while kept.cycles.len() as u64 > FINISHED_CYCLES_KEPT {
            kept.cycles.pop_first();
        }
        let prefixes = vec![MemoryPrefix::default(); identity.ring.len()];
        let state = CycleState {
            identity: identity.clone(),
            started: at,
            finished: None,
            delivered: false,
            confirmed: None,
            carrying_out: None,
            prefixes,
        };
        let cycle = state.cycle(crawl, number);
        kept.cycles.insert(number, state);
        Ok(cycle)
    }

    fn take_up(&mut self, cycle: &CycleKey, from: u32) -> Result<Option<u32>> {
        if from == 0 {
            self.kept().cycle(cycle)?.release_all();
        }
        Ok(None)
    }

    fn claim(&mut self, cycle: &CycleKey, most: u32) -> Result<Vec<Claim>> {
        let mut kept = self.kept();
        let free = (0..).zip(&mut kept.cycle(cycle)?.prefixes).filter(|(_, p)| !p.done && !p.claimed);
        Ok(free.take(most as usize).map(|(prefix, state)| state.claim(prefix)).collect())
    }

    fn claim_oldest(&mut self, cycle: &CycleKey, most: u32) -> Result<Vec<Claim>> {
        let mut kept = self.kept();
        let CycleState { identity, prefixes, .. } = kept.cycle(cycle)?;
        let free = (0..).zip(&*prefixes).filter(|(_, p)| !p.done && !p.claimed).map(|(prefix, _): (u32, _)| prefix);
        let (free, identity) = (free.collect(), identity.clone());
        let visits = kept.visits(&identity.store, &identity.job);
        let oldest = check::oldest_first(&identity.ring, free, &visits, most);
        let state = kept.cycle(cycle)?;
        let claims = oldest.into_iter().filter_map(|at| state.prefixes.get_mut(at as usize).map(|p| p.claim(at)));
        Ok(claims.collect())
    }

    fn commit(&mut self, cycle: &CycleKey, progress: &[PrefixProgress], at: f64) -> Result<CycleStanding> {
        let mut kept = self.kept();
        check::moment(at)?;
        let Some(state) = kept.find(cycle) else { return Err(check::commit_to_nothing(cycle, progress)) };
        // Worked on a copy of the prefixes concerned, so that a refusal changes nothing.
        let before: Vec<(usize, MemoryPrefix)> = progress
            .iter()
            .filter_map(|p| Some((p.prefix as usize, state.prefixes.get(p.prefix as usize)?.clone())))
            .collect();
        let cursors: Vec<Option<Vec<u8>>> = progress
            .iter()
            .map(|p| state.prefixes.get(p.prefix as usize).and_then(|prefix| prefix.cursor.clone()))
            .collect();
        if let Err(refused) = progress.iter().try_for_each(|p| state.advance(p)) {
            // Backwards: of two copies of one prefix the first is the one from before.
            before.into_iter().rev().for_each(|(position, prefix)| state.prefixes[position] = prefix);
            return Err(refused);
        }
        let left = state.left();
        let has_candidates = state.prefixes.iter().any(|prefix| !prefix.candidates.is_empty());
        if left == 0 && state.finished.is_none() && !progress.is_empty() && !has_candidates {
            state.finished = Some(at);
        }
        let CycleIdentity { store, job, ring, .. } = &state.identity;
        let whole = progress.iter().filter(|p| p.done && p.whole);
        let names: Vec<String> = whole.filter_map(|p| ring.get(p.prefix as usize).cloned()).collect();
        let subject = (store.clone(), job.clone());
        let prefixes: Vec<String> =
            progress.iter().map(|p| ring.get(p.prefix as usize).cloned().unwrap_or_default()).collect();
        let known = kept.damage.entry(subject.clone()).or_default();
        for (i, (p, saved)) in progress.iter().zip(cursors).enumerate() {
            // What this very commit has saved of the prefix before.
            let earlier = progress[..i].iter().rfind(|earlier| earlier.prefix == p.prefix);
            let after = earlier.map_or(saved, |earlier| earlier.cursor.clone());
            judge(known, &prefixes[i], after.as_deref(), p, at);
        }
        let damaged = known.len() as u64;
        kept.visits.entry(subject).or_default().extend(names.into_iter().map(|name| (name, at)));
        Ok(CycleStanding { left, damaged })
    }

    fn release(&mut self, cycle: &CycleKey, claims: &[(u32, u64)]) -> Result<()> {
        let mut kept = self.kept();
        let Some(state) = kept.find(cycle) else { return Ok(()) };
        for (position, fence) in claims {
            match state.prefixes.get_mut(*position as usize) {
                Some(prefix) if prefix.in_force(*fence) => prefix.claimed = false,
                _ => {}
            }
        }
        Ok(())
    }

    fn finish(&mut self, cycle: &CycleKey, at: f64) -> Result<()> {
        let mut kept = self.kept();
        check::moment(at)?;
        let state = kept.cycle(cycle)?;
        match state.left() {
            0 => state.finished = state.finished.or(Some(at)),
            left => return Err(check::prefixes_left(cycle, left)),
        }
        Ok(())
    }

    fn deliver(&mut self, cycle: &CycleKey) -> Result<()> {
        let mut kept = self.kept();
        let state = kept.cycle(cycle)?;
        if state.finished.is_none() {
            return Err(check::unfinished(cycle));
        }
        state.delivered = true;
        Ok(())
    }

    fn carry_out(&mut self, cycle: &CycleKey, consent: Consent, at: f64) -> Result<()> {
        let mut kept = self.kept();
        check::moment(at)?;
        let newest = kept.crawls.get(&cycle.crawl).and_then(|kept| kept.cycles.last_key_value());
        let newest = newest.map_or(cycle.number, |(newest, _)| *newest);
        let state = kept.cycle(cycle)?;
        if check::may_carry_out(&state.cycle(&cycle.crawl, cycle.number), newest)? {
            state.carrying_out = Some(at);
            state.confirmed = (consent == Consent::Confirmed).then_some(at);
            for prefix in state.prefixes.iter_mut().filter(|prefix| !prefix.candidates.is_empty()) {
                (prefix.done, prefix.cursor) = (false, None);
            }
        }
        Ok(())
    }

    fn candidates(
        &mut self,
        cycle: &CycleKey,
        prefix: u32,
        after: Option<&[u8]>,
        most: usize,
    ) -> Result<Vec<Candidate>> {
        let mut kept = self.kept();
        let prefix = kept.cycle(cycle)?.prefixes.get(prefix as usize);
        let all = prefix.into_iter().flat_map(|prefix| &prefix.candidates);
        Ok(all.filter(|candidate| Some(&*candidate.bucket) > after).take(most).cloned().collect())
    }

    fn ran(&mut self, cleaning: &str, run: &LastRun) -> Result<()> {
        let mut kept = self.kept();
        check::moment(run.ended)?;
        kept.runs.insert(cleaning.to_owned(), run.clone());
        Ok(())
    }

    fn tidy(&mut self, step: &TidyStep) -> Result<Tidied> {
        let mut kept = self.kept();
        let mut tidied = Tidied::default();
        let most = if step.kind == Some(Tidying::Rows) { step.most } else { 0 };
        for crawl in kept.crawls.values_mut() {
            for number in crawl.old(step.old_before) {
                if tidied.rows_removed >= most {
                    tidied.due = Some(Tidying::Rows);
                    return Ok(tidied);
                }
                tidied.rows_removed += crawl.cycles.remove(&number).map_or(0, |cycle| cycle.rows());
                tidied.cycles_removed += 1;
            }
        }
        Ok(tidied)
    }

    fn sync(&mut self) -> Result<()> {
        Ok(())
    }
}
