//! The calls of [`StateStore`], each one transaction.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::Connection;

use super::conn::transact;
use super::damage::{self, Stretch, Subject};
use super::faults::Out;
use super::rows::Prefix;
use super::whole::{self, Whole};
use super::{
    BEGIN, CARRY_OUT, CLAIM, COMMIT, Call, DELIVER, FINISH, Lap, RAN, RELEASE, SYNC, SqliteStore, candidates,
    crash_point, runs, steps, visits,
};
use crate::error::Result;
use crate::job::{Candidate, DamagedObject};
use crate::policy::cycle::{Cycle, CycleIdentity, CycleKey};
use crate::state::{
    Claim, Consent, LastRun, NotePage, NotePlace, PrefixRow, Progress, Standing, StateStore, Tidied, TidyStep, check,
};

impl StateStore for SqliteStore {
    fn newest(&mut self, crawl: &str) -> Result<Option<Cycle>> {
        self.read(|conn| {
            let Some(row) = whole::kept(conn, crawl)?.and_then(|mut kept| kept.cycles.pop()) else { return Ok(None) };
            Ok(Some(whole::read(conn, row, |_| ())?.into_cycle()))
        })
    }

    fn begin(&mut self, crawl: &str, identity: &CycleIdentity, at: f64) -> Result<Cycle> {
        self.begin_as(crawl, identity, None, at)
    }

    fn begin_numbered(&mut self, crawl: &str, identity: &CycleIdentity, number: u64, at: f64) -> Result<Cycle> {
        self.begin_as(crawl, identity, Some(number), at)
    }

    fn finished(&mut self, crawl: &str) -> Result<Vec<Cycle>> {
        self.read(|conn| {
            let cycles = whole::kept(conn, crawl)?.map(|kept| kept.cycles).unwrap_or_default();
            let finished = cycles.into_iter().filter(|row| row.finished.is_some());
            finished.map(|row| Ok(Whole::finished(conn, row)?.into_cycle())).collect()
        })
    }

    fn claim(&mut self, cycle: &CycleKey, most: u32) -> Result<Vec<Claim>> {
        self.pay_what_is_owed()?;
        let Lap { seal, prefixes, first_free, .. } = self.lap(cycle)?.ok_or_else(|| check::no_cycle(cycle))?;
        if most == 0 || first_free >= prefixes {
            return Ok(Vec::new());
        }
        let session = self.session;
        let claims = self.write(&CLAIM, |conn| {
            let free = Prefix::free(conn, seal, first_free, most, session)?;
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
        let (session, seal) = (self.session, lap.seal);
        let (claims, looked_at) = self.write(&CLAIM, |conn| {
            let (mut claims, mut looked_at) = (Vec::new(), taken);
            for position in order.iter().skip(taken) {
                if claims.len() >= most as usize {
                    break;
                }
                looked_at += 1;
                let prefix = Prefix::at(conn, seal, *position)?.filter(|p| !p.done && p.claimant != session);
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

    fn visits(&mut self, store: &str, job: &str) -> Result<BTreeMap<String, f64>> {
        self.read(|conn| visits::read(conn, visits::subject(store, job)))
    }

    fn damaged(&mut self, store: &str, job: &str) -> Result<u64> {
        self.read(|conn| damage::objects(conn, Subject { store, job }))
    }

    fn damage(&mut self, store: &str, job: &str, limit: u64) -> Result<Vec<DamagedObject>> {
        self.read(|conn| damage::read(conn, Subject { store, job }, limit))
    }

    fn commit(&mut self, cycle: &CycleKey, progress: &[Progress], at: f64) -> Result<Standing> {
        check::moment(at)?;
        self.pay_what_is_owed()?;
        let Some(lap) = self.lap(cycle)? else { return Err(check::commit_to_nothing(cycle, progress)) };
        let known = self.damaged_by(&lap.of)?;
        if progress.is_empty() {
            return Ok(Standing { left: lap.left, damaged: known });
        }
        let session = self.session;
        let (left, damaged) = self.write(&COMMIT, |conn| {
            let mut damaged = known;
            for p in progress {
                let after = steps::advance(conn, lap.seal, (session, lap.carrying_out), p)?;
                if p.judged.changes_nothing(damaged) {
                    continue;
                }
                let prefix = lap.ring.get(p.prefix as usize).map_or("", String::as_str);
                let up_to = if p.done { None } else { p.cursor.as_deref() };
                let on = Stretch { prefix, after: after.as_deref(), up_to };
                damaged = damage::apply(conn, Subject { store: &lap.of.0, job: &lap.of.1 }, on, &p.judged, at)?;
            }
            for p in progress.iter().filter(|p| p.done && p.whole) {
                let prefix = lap.ring.get(p.prefix as usize).map_or("", String::as_str);
                visits::save(conn, lap.subject, prefix, at)?;
            }
            let done = progress.iter().filter(|p| p.done).count() as u32;
            let left = lap.left.checked_sub(done).ok_or_else(|| steps::too_many_done(cycle))?;
            if left == 0 {
                steps::end(conn, cycle, at)?;
            }
            Ok((left, damaged))
        })?;
        if damaged != known {
            self.damaged.insert(lap.of.clone(), damaged);
        }
        if let Some(lap) = self.laps.get_mut(cycle) {
            lap.left = left;
        }
        if left == 0 {
            self.empty_or_owe();
        } else {
            self.empty_if_long();
        }
        Ok(Standing { left, damaged })
    }

    fn half_done(&mut self, cycle: &CycleKey) -> Result<u64> {
        self.read(|conn| {
            let row = whole::find(conn, cycle)?.ok_or_else(|| check::no_cycle(cycle))?;
            steps::half_done(conn, row.seal())
        })
    }

    fn release(&mut self, cycle: &CycleKey, claims: &[(u32, u64)]) -> Result<()> {
        let Some(lap) = self.lap(cycle)? else { return Ok(()) };
        let session = self.session;
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

    fn release_all(&mut self, cycle: &CycleKey) -> Result<()> {
        let Lap { seal, .. } = self.lap(cycle)?.ok_or_else(|| check::no_cycle(cycle))?;
        let (session, mut claims) = (self.session, Vec::new());
        self.read(|conn| {
            Prefix::each(conn, seal, |prefix| {
                claims.extend((prefix.claimant == session).then_some((prefix.position, prefix.fence)));
                Ok(())
            })
        })?;
        if claims.is_empty() { Ok(()) } else { self.release(cycle, &claims) }
    }

    fn finish(&mut self, cycle: &CycleKey, at: f64) -> Result<()> {
        check::moment(at)?;
        self.pay_what_is_owed()?;
        let lap = self.lap(cycle)?.ok_or_else(|| check::no_cycle(cycle))?;
        if lap.left > 0 {
            return Err(check::prefixes_left(cycle, lap.left));
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
            row.save_end(conn)
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
        let Lap { seal, .. } = self.lap(cycle)?.ok_or_else(|| check::no_cycle(cycle))?;
        self.read(|conn| match Prefix::at(conn, seal, prefix)? {
            Some(prefix) => candidates::behind(conn, seal, &prefix, after, most),
            None => Ok(Vec::new()),
        })
    }

    fn prefixes(&mut self, cycle: &CycleKey, from: u32) -> Result<Vec<PrefixRow>> {
        self.read(|conn| {
            let row = whole::find(conn, cycle)?.ok_or_else(|| check::no_cycle(cycle))?;
            let (page, is_last) = Prefix::page(conn, row.seal(), from)?;
            if is_last {
                whole::check_length(conn, &row, from as usize + page.len())?;
            }
            let rows = page.into_iter();
            Ok(rows
                .map(|Prefix { position, done, cursor, tally, .. }| PrefixRow { prefix: position, done, cursor, tally })
                .collect())
        })
    }

    fn notes(&mut self, cycle: &CycleKey, from: NotePlace, most: usize) -> Result<NotePage> {
        self.read(|conn| {
            let row = whole::find(conn, cycle)?.ok_or_else(|| check::no_cycle(cycle))?;
            whole::notes(conn, row.seal(), from, most)
        })
    }

    fn last_run(&mut self, cleaning: &str) -> Result<Option<LastRun>> {
        self.read(|conn| runs::read(conn, cleaning))
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
    fn begin_as(&mut self, crawl: &str, identity: &CycleIdentity, number: Option<u64>, at: f64) -> Result<Cycle> {
        let prefixes = check::identity(identity, at)?;
        let row = self.write(&BEGIN, |conn| steps::begin(conn, crawl, identity, number, prefixes, at))?;
        self.laps.retain(|key, _| key.crawl != crawl);
        self.empty_or_owe();
        // Nothing is done and everything is free: that need not be read.
        let lap = Lap::new(row.seal(), identity, prefixes);
        let cycle = Whole::new(row, identity.clone()).into_cycle();
        self.laps.insert(cycle.key(), lap);
        Ok(cycle)
    }

    /// Runs a writing transaction.
    pub(super) fn write<T>(&mut self, call: &Call, body: impl FnOnce(&Connection) -> Out<T>) -> Result<T> {
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
    fn lap(&mut self, cycle: &CycleKey) -> Result<Option<Lap>> {
        if let Some(lap) = self.laps.get(cycle) {
            return Ok(Some(lap.clone()));
        }
        let lap = self.read(|conn| {
            let Some(row) = whole::find(conn, cycle)? else { return Ok(None) };
            let mut left = 0;
            let whole = whole::read(conn, row, |prefix| left += u32::from(!prefix.done))?;
            let prefixes = left + whole.done.len() as u32;
            let carrying_out = whole.row.carrying_out.is_some();
            Ok(Some(Lap { left, carrying_out, ..Lap::new(whole.seal(), &whole.identity, prefixes) }))
        })?;
        self.laps.extend(lap.clone().map(|lap| (cycle.clone(), lap)));
        Ok(lap)
    }
}
