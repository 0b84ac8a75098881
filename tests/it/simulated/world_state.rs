//! A state for simulations: it outlives its engine, and refuses or panics when a test wants it to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use sexton::job::{Candidate, DamagedObject};
use sexton::policy::cycle::{CycleIdentity, CycleKey, KnownCycle};
use sexton::state::{
    Claim, Consent, CycleStanding, LastRun, MemoryStore, NotePage, NotePlace, PrefixProgress, PrefixRow, StateReader,
    StateStore, Tidied, TidyStep,
};
use sexton::{Error, Result};

/// A [`MemoryStore`] that clones share. Before each call it asks the test, by the call's name.
#[derive(Clone)]
pub struct SimState {
    kept: Arc<Mutex<MemoryStore>>,
    before: Arc<dyn Fn(&'static str) -> Result<()> + Send + Sync>,
    /// The most notes of one commit.
    pub most_notes: Arc<AtomicUsize>,
}

impl SimState {
    pub fn new(before: impl Fn(&'static str) -> Result<()> + Send + Sync + 'static) -> Self {
        SimState { kept: Arc::default(), before: Arc::new(before), most_notes: Arc::default() }
    }

    pub fn sound() -> Self {
        Self::new(|_| Ok(()))
    }

    /// What the next process would find, if memory outlived this one.
    pub fn reopen(&self) {
        self.kept.lock().unwrap().reopen();
    }

    fn call<R>(&self, name: &'static str, run: impl FnOnce(&mut MemoryStore) -> Result<R>) -> Result<R> {
        (self.before)(name)?;
        run(&mut self.kept.lock().unwrap())
    }
}

/// As SQLite says it.
pub fn no_room() -> Error {
    Error::StateFull { path: "/state.sqlite".into(), cause: "database or disk is full".into() }
}

impl StateReader for SimState {
    fn newest(&self, crawl: &str) -> Result<Option<KnownCycle>> {
        self.call("latest", |s| s.reader().newest(crawl))
    }

    fn latest(&self, crawl: &str) -> Result<Option<KnownCycle>> {
        self.call("latest", |s| s.reader().latest(crawl))
    }

    fn finished(&self, crawl: &str) -> Result<Vec<KnownCycle>> {
        self.call("finished", |s| s.reader().finished(crawl))
    }

    fn visits(&self, store: &str, job: &str) -> Result<BTreeMap<String, f64>> {
        self.call("visits", |s| s.reader().visits(store, job))
    }

    fn damaged(&self, store: &str, job: &str) -> Result<u64> {
        self.call("damaged", |s| s.reader().damaged(store, job))
    }

    fn damage(&self, store: &str, job: &str, limit: u64) -> Result<Vec<DamagedObject>> {
        self.call("damage", |s| s.reader().damage(store, job, limit))
    }

    fn half_done(&self, cycle: &CycleKey) -> Result<u64> {
        self.call("half_done", |s| s.reader().half_done(cycle))
    }

    fn prefixes(&self, cycle: &CycleKey, from: u32) -> Result<Vec<PrefixRow>> {
        self.call("prefixes", |s| s.reader().prefixes(cycle, from))
    }

    fn notes(&self, cycle: &CycleKey, from: NotePlace, most: usize) -> Result<NotePage> {
        self.call("notes", |s| s.reader().notes(cycle, from, most))
    }

    fn last_run(&self, cleaning: &str) -> Result<Option<LastRun>> {
        self.call("last_run", |s| s.reader().last_run(cleaning))
    }
}

impl StateStore for SimState {
    fn reader(&self) -> Arc<dyn StateReader> {
        Arc::new(self.clone())
    }

    fn begin(&mut self, crawl: &str, identity: &CycleIdentity, at: f64) -> Result<KnownCycle> {
        self.call("begin", |s| s.begin(crawl, identity, at))
    }

    fn begin_numbered(&mut self, crawl: &str, identity: &CycleIdentity, number: u64, at: f64) -> Result<KnownCycle> {
        self.call("begin", |s| s.begin_numbered(crawl, identity, number, at))
    }

    fn claim(&mut self, cycle: &CycleKey, most: u32) -> Result<Vec<Claim>> {
        self.call("claim", |s| s.claim(cycle, most))
    }

    fn claim_oldest(&mut self, cycle: &CycleKey, most: u32) -> Result<Vec<Claim>> {
        self.call("claim", |s| s.claim_oldest(cycle, most))
    }

    fn commit(&mut self, cycle: &CycleKey, progress: &[PrefixProgress], at: f64) -> Result<CycleStanding> {
        self.most_notes.fetch_max(progress.iter().map(|p| p.notes.len()).sum(), Ordering::SeqCst);
        self.call("commit", |s| s.commit(cycle, progress, at))
    }

    fn release(&mut self, cycle: &CycleKey, claims: &[(u32, u64)]) -> Result<()> {
        self.call("release", |s| s.release(cycle, claims))
    }

    fn take_up(&mut self, cycle: &CycleKey, from: u32) -> Result<Option<u32>> {
        self.call("take_up", |s| s.take_up(cycle, from))
    }

    fn finish(&mut self, cycle: &CycleKey, at: f64) -> Result<()> {
        self.call("finish", |s| s.finish(cycle, at))
    }

    fn deliver(&mut self, cycle: &CycleKey) -> Result<()> {
        self.call("deliver", |s| s.deliver(cycle))
    }

    fn carry_out(&mut self, cycle: &CycleKey, consent: Consent, at: f64) -> Result<()> {
        self.call("carry_out", |s| s.carry_out(cycle, consent, at))
    }

    fn candidates(
        &mut self,
        cycle: &CycleKey,
        prefix: u32,
        after: Option<&[u8]>,
        most: usize,
    ) -> Result<Vec<Candidate>> {
        self.call("candidates", |s| s.candidates(cycle, prefix, after, most))
    }

    fn ran(&mut self, cleaning: &str, run: &LastRun) -> Result<()> {
        self.call("ran", |s| s.ran(cleaning, run))
    }

    fn tidy(&mut self, step: &TidyStep) -> Result<Tidied> {
        self.call(if step.kind.is_some() { "tidy" } else { "look" }, |s| s.tidy(step))
    }

    fn sync(&mut self) -> Result<()> {
        self.call("sync", |s| s.sync())
    }
}
