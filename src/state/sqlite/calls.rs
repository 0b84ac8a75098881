//! The calls of [`StateStore`], each one transaction.

use std::sync::Arc;

use rusqlite::Connection;

use super::conn::transact;
use super::damage::{self, BucketRange, Subject};
use super::faults::Out;
use super::rows::PrefixRecord;
use super::whole::{self, WholeCycle};
use super::{
    BEGIN, CARRY_OUT, CLAIM, COMMIT, CycleInProgress, DELIVER, FINISH, RAN, RELEASE, SYNC, SqliteStore, TAKE_UP,
    WritingCall, candidates, crash_point, random, runs, steps, tidy, visits,
};
use crate::error::Result;
use crate::job::Candidate;
use crate::policy::cycle::{CycleIdentity, CycleKey, KnownCycle};
use crate::state::{
    Claim, Consent, CycleStanding, LastRun, PrefixProgress, StateReader, StateStore, Tidied, TidyStep, check,
};

impl StateStore for SqliteStore {
    fn reader(&self) -> Arc<dyn StateReader> {
        self.reader.clone()
    }

    fn begin(&mut self, crawl: &str, identity: &CycleIdentity, at: f64) -> Result<KnownCycle> {
        self.begin_as(crawl, identity, None, at)
    }

    fn begin_numbered(&mut self, crawl: &str, identity: &CycleIdentity, number: u64, at: f64) -> Result<KnownCycle> {
        self.begin_as(crawl, identity, Some(number), at)
    }

    fn take_up(&mut self, cycle: &CycleKey, from: u32) -> Result<Option<u32>> {
        self.pay_what_is_owed()?;
        if from == 0 {
            self.laps.remove(cycle);
            self.sessions.insert(cycle.clone(), random());
        }
        let lap = self.take_up_some(cycle)?.ok_or_else(|| check::no_cycle(cycle))?;
        // Where nothing else keeps the state in order, this does.
        let most = u64::from(steps::ROWS_AT_ONCE);
        let gone = self.write(&TAKE_UP, |conn| tidy::remove_rows_of_no_cycle(conn, most))?;
        // Never 0, where it would begin anew.
        Ok(if lap.is_whole() && gone < most { None } else { Some(lap.next.max(1)) })
    }

    fn claim(&mut self, cycle: &CycleKey, most: u32) -> Result<Vec<Claim>> {
        self.pay_what_is_owed()?;
        let CycleInProgress { seal, session, prefixes, first_free, .. } =
            self.lap(cycle)?.ok_or_else(|| check::no_cycle(cycle))?;
        if most == 0 || first_free >= prefixes {
            return Ok(Vec::new());
        }
        let claims = self.write(&CLAIM, |conn| {
            let free = PrefixRecord::free(conn, seal, first_free, most, session)?;
            free.into_iter().map(|prefix| steps::claim(conn, seal, prefix, session)).collect::<Out<Vec<_>>>()
        })?;
        if let Some(lap) = self.laps.get_mut(cycle) {
            let all = claims.len() < most as usize;
            lap.first_free = claims.last().filter(|_| !all).map_or(prefixes, |last| last.prefix + 1);
        }
        Ok(claims)
    }

    fn claim_oldest(&mut self, cycle: &CycleKey, most: u32) -> Result<Vec<Claim>> {
        self.pay_what_is_owed()?;
        let lap = self.lap(cycle)?.ok_or_else(|| check::no_cycle(cycle))?;
        let (order, taken) = match lap.oldest {
            Some(known) => known,
            None => {
                // Once for each opening: what is visited meanwhile is complete, or was given back to be visited again.
                let visits = self.read(|conn| visits::read(conn, lap.subject))?;
                (check::oldest_first(&lap.ring, (0..lap.prefixes).collect(), &visits, u32::MAX).into(), 0)
            }
        };
        let (session, seal) = (lap.session, lap.seal);
        let (claims, looked_at) = self.write(&CLAIM, |conn| {
            let (mut claims, mut looked_at) = (Vec::new(), taken);
            for position in order.iter().skip(taken) {
                if claims.len() >= most as usize {
                    break;
                }
                looked_at += 1;
                let prefix = PrefixRecord::at(conn, seal, *position)?.filter(|p| !p.done && p.claimant != session);
                if let Some(prefix) = prefix {
                    claims.push(steps::claim(conn, seal, prefix, session)?);
                }
            }
            Ok((claims, looked_at))
        })?;
        if let Some(lap) = self.laps.get_mut(cycle) {
            lap.oldest = Some((order, looked_at));
        }
        Ok(claims)
    }

    fn commit(&mut self, cycle: &CycleKey, progress: &[PrefixProgress], at: f64) -> Result<CycleStanding> {
        check::moment(at)?;
        self.pay_what_is_owed()?;
        let Some(lap) = self.lap(cycle)? else { return Err(check::commit_to_nothing(cycle, progress)) };
        let known = self.damaged_by(&lap.of)?;
        if progress.is_empty() {
            return Ok(CycleStanding { left: lap.left, damaged: known });
        }
        let (left, candidates, damaged) = self.write(&COMMIT, |conn| {
            let (mut damaged, mut candidates) = (known, lap.candidates);
            for p in progress {
                let (after, [had, has]) = steps::advance(conn, lap.seal, (lap.session, lap.carrying_out), p)?;
                let others = candidates.checked_sub(had).ok_or_else(|| steps::too_many_done(cycle))?;
                candidates = others.saturating_add(has);
                if p.judged.changes_nothing(damaged) {
                    continue;
                }
                let prefix = lap.ring.get(p.prefix as usize).map_or("", String::as_str);
                let up_to = if p.done { None } else { p.cursor.as_deref() };
                let on = BucketRange { prefix, after: after.as_deref(), up_to };
                damaged = damage::apply(conn, Subject { store: &lap.of.0, job: &lap.of.1 }, on, &p.judged, at)?;
            }
            for p in progress.iter().filter(|p| p.done && p.whole) {
                let prefix = lap.ring.get(p.prefix as usize).map_or("", String::as_str);
                visits::save(conn, lap.subject, prefix, at)?;
            }
            let done = progress.iter().filter(|p| p.done).count() as u32;
            let left = lap.left.checked_sub(done).ok_or_else(|| steps::too_many_done(cycle))?;
            // With candidates it is examined; what it has shown is yet to be judged.
            if left == 0 && candidates == 0 {
                steps::end(conn, cycle, at)?;
            }
            Ok((left, candidates, damaged))
        })?;
        if damaged != known {
            self.damaged.insert(lap.of.clone(), damaged);
        }
        if let Some(lap) = self.laps.get_mut(cycle) {
            (lap.left, lap.candidates) = (left, candidates);
        }
        if left == 0 {
            self.empty_or_owe();
        } else {
            self.empty_if_long();
        }
        Ok(CycleStanding { left, damaged })
    }

    fn release(&mut self, cycle: &CycleKey, claims: &[(u32, u64)]) -> Result<()> {
        let Some(lap) = self.lap(cycle)? else { return Ok(()) };
        let session = lap.session;
        let first = self.write(&RELEASE, |conn| {
            let mut first = lap.first_free;
            for (position, fence) in claims {
                let Some(mut prefix) = steps::in_force(conn, lap.seal, session, *position, *fence)? else { continue };
                prefix.claimant = 0;
                prefix.save(conn, lap.seal)?;
                first = first.min(*position);
            }
            Ok(first)
        })?;
        if let Some(lap) = self.laps.get_mut(cycle) {
            lap.first_free = first;
            lap.oldest = lap.oldest.take().map(|(order, _)| (order, 0));
        }
        Ok(())
    }

    fn finish(&mut self, cycle: &CycleKey, at: f64) -> Result<()> {
        check::moment(at)?;
        self.pay_what_is_owed()?;
        let lap = self.lap(cycle)?.ok_or_else(|| check::no_cycle(cycle))?;
        if lap.left > 0 {
            return Err(check::prefixes_left(cycle, lap.left));
        }
        if lap.candidates > 0 {
            return Ok(());
        }
        self.write(&FINISH, |conn| steps::end(conn, cycle, at))?;
        self.empty_or_owe();
        Ok(())
    }

    fn deliver(&mut self, cycle: &CycleKey) -> Result<()> {
        self.write(&DELIVER, |conn| {
            let mut row = whole::find(conn, cycle)?.ok_or_else(|| check::no_cycle(cycle))?;
            if row.finished.is_none() {
                return Err(check::unfinished(cycle).into());
            }
            row.delivered = true;
            row.save(conn)
        })?;
        self.empty_or_owe();
        Ok(())
    }

    fn carry_out(&mut self, cycle: &CycleKey, consent: Consent, at: f64) -> Result<()> {
        check::moment(at)?;
        self.pay_what_is_owed()?;
        self.write(&CARRY_OUT, |conn| steps::carry_out(conn, cycle, consent, at))?;
        self.laps.remove(cycle);
        self.empty_or_owe();
        Ok(())
    }

    fn candidates(
        &mut self,
        cycle: &CycleKey,
        prefix: u32,
        after: Option<&[u8]>,
        most: usize,
    ) -> Result<Vec<Candidate>> {
        let CycleInProgress { seal, .. } = self.lap(cycle)?.ok_or_else(|| check::no_cycle(cycle))?;
        self.read(|conn| match PrefixRecord::at(conn, seal, prefix)? {
            Some(prefix) => candidates::behind(conn, seal, &prefix, after, most),
            None => Ok(Vec::new()),
        })
    }

    fn ran(&mut self, cleaning: &str, run: &LastRun) -> Result<()> {
        check::moment(run.ended)?;
        self.write(&RAN, |conn| runs::save(conn, cleaning, run))?;
        // So that it survives a loss of power. Where it does not, the cleaning only runs sooner.
        let _ = self.empty();
        Ok(())
    }

    fn tidy(&mut self, step: &TidyStep) -> Result<Tidied> {
        self.tidy_step(step)
    }

    fn sync(&mut self) -> Result<()> {
        crash_point(SYNC.before);
        self.empty()?;
        self.emptying_owed = false;
        crash_point(SYNC.after);
        Ok(())
    }
}

impl SqliteStore {
    /// Begins a cycle, with the next number where none is given.
    fn begin_as(&mut self, crawl: &str, identity: &CycleIdentity, number: Option<u64>, at: f64) -> Result<KnownCycle> {
        let prefixes = check::identity(identity, at)?;
        let row = self.write(&BEGIN, |conn| steps::begin(conn, crawl, identity, number, prefixes, at))?;
        self.laps.retain(|key, _| key.crawl != crawl);
        self.sessions.retain(|key, _| key.crawl != crawl);
        self.empty_or_owe();
        // Nothing is done and everything is free: that need not be read.
        let lap = CycleInProgress::new(&row, identity, self.session);
        let lap = if row.beginning { lap } else { CycleInProgress { left: prefixes, next: prefixes, ..lap } };
        let cycle = WholeCycle { row, identity: identity.clone(), done: Vec::new() }.into_cycle();
        self.laps.insert(cycle.key(), lap);
        Ok(cycle)
    }

    /// Runs a writing transaction.
    pub(super) fn write<T>(&mut self, call: &WritingCall, body: impl FnOnce(&Connection) -> Out<T>) -> Result<T> {
        let done = transact(&self.writer, &self.path, call.doing, "BEGIN IMMEDIATE", |conn| {
            let value = body(conn)?;
            crash_point(call.before);
            Ok(value)
        });
        match &done {
            Ok(_) => crash_point(call.after),
            Err(_) => {
                self.laps.clear();
                self.damaged.clear();
            }
        }
        done
    }

    /// Reads within one transaction, so that all of it is of one moment.
    pub(super) fn read<T>(&self, body: impl FnOnce(&Connection) -> Out<T>) -> Result<T> {
        transact(&self.writer, &self.path, "read", "BEGIN", body)
    }

    /// How many objects of this store are damaged by the judgement of this job.
    fn damaged_by(&mut self, of: &(Arc<str>, Arc<str>)) -> Result<u64> {
        if let Some(known) = self.damaged.get(of) {
            return Ok(*known);
        }
        let damaged = self.read(|conn| damage::objects(conn, Subject { store: &of.0, job: &of.1 }))?;
        self.damaged.insert(of.clone(), damaged);
        Ok(damaged)
    }

    /// What to remember of a cycle; `None` if it is not kept.
    fn lap(&mut self, cycle: &CycleKey) -> Result<Option<CycleInProgress>> {
        if let Some(lap) = self.laps.get(cycle).filter(|lap| lap.is_whole()) {
            return Ok(Some(lap.clone()));
        }
        loop {
            match self.take_up_some(cycle)? {
                Some(lap) if !lap.is_whole() => {}
                taken_up => return Ok(taken_up),
            }
        }
    }

    /// Takes up some prefixes of a cycle: adds them if it is beginning, else reads them. Gives what is to be remembered of the cycle so
    /// far, or `None` if it is not kept.
    fn take_up_some(&mut self, cycle: &CycleKey) -> Result<Option<CycleInProgress>> {
        let mut lap = match self.laps.get(cycle) {
            Some(lap) => lap.clone(),
            None => {
                let session = self.sessions.get(cycle).copied().unwrap_or(self.session);
                let found = self.read(|conn| {
                    let Some(row) = whole::find(conn, cycle)? else { return Ok(None) };
                    Ok(Some(CycleInProgress::new(&row, &whole::identity(conn, &row, &mut None)?, session)))
                })?;
                let Some(lap) = found else { return Ok(None) };
                lap
            }
        };
        if lap.beginning {
            lap.next = self.write(&TAKE_UP, |conn| steps::go_on_beginning(conn, cycle, lap.next, lap.prefixes))?;
            lap.left = lap.next;
            if lap.next == lap.prefixes {
                lap.beginning = false;
                self.empty_or_owe();
            }
        } else if !lap.is_whole() {
            self.read(|conn| {
                let row = whole::find(conn, cycle)?.ok_or_else(|| check::no_cycle(cycle))?;
                for prefix in whole::prefixes(conn, &row, lap.next)?.0 {
                    lap.left += u32::from(!prefix.done);
                    lap.candidates = lap.candidates.saturating_add(prefix.candidates);
                    lap.next += 1;
                }
                let done = (lap.prefixes - lap.left) as usize;
                if lap.is_whole() { whole::check_end(&row, done, lap.ring.len(), lap.candidates) } else { Ok(()) }
            })?;
        }
        self.laps.insert(cycle.clone(), lap.clone());
        Ok(Some(lap))
    }
}
