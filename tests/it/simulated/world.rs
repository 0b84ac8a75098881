//! A world for simulated time: a store and a job made of nothing but time, and a record of every slice.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use actix::prelude::*;
use sexton::Error;
pub use sexton::clock::testing::{EPOCH, SimClock};
use sexton::job::{CycleView, DeletionCount, Fold, Job, PrefixWalk, Stopped, Tally, Unreadable};
use sexton::model::{CycleReport, Event, SliceFigures};
use sexton::policy::deletion::SafetyCatch;
use sexton::policy::ring::Ring;
use sexton::slice::TimeSlice;
use sexton::store::{More, Names, Nature, Store};

/// Every slice and every cycle, in the order in which they ended, and what went wrong meanwhile.
#[derive(Clone, Default)]
pub struct Record {
    pub slices: Arc<Mutex<Vec<SliceFigures>>>,
    pub cycles: Arc<Mutex<Vec<Arc<CycleReport>>>>,
    pub resumed: Arc<Mutex<Vec<bool>>>,
    /// Crawl and error of each time that a crawl had to wait for its state.
    pub waits: Arc<Mutex<Vec<(String, Error)>>>,
    /// Name and error of each crawl, or run of a maintenance, that failed.
    pub failed: Arc<Mutex<Vec<(String, Error)>>>,
    /// When each run of a maintenance began, as seconds since the record's start.
    pub maintenance_starts: Arc<Mutex<Vec<f64>>>,
    begun: Arc<OnceLock<tokio::time::Instant>>,
}

impl Actor for Record {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // Nothing may be missed, however fast it comes.
        ctx.set_mailbox_capacity(1 << 20);
        self.begun.get_or_init(tokio::time::Instant::now);
    }
}

impl Handler<Event> for Record {
    type Result = ();

    fn handle(&mut self, event: Event, _: &mut Self::Context) {
        match event {
            Event::SliceEnded(figures) => self.slices.lock().unwrap().push(figures),
            Event::CycleStarted { resumed, .. } => self.resumed.lock().unwrap().push(resumed),
            Event::CycleFinished(report) => self.cycles.lock().unwrap().push(report),
            Event::Waiting { crawl, error } => self.waits.lock().unwrap().push((crawl, error)),
            Event::CrawlFailed { crawl, error } => self.failed.lock().unwrap().push((crawl, error)),
            Event::MaintenanceStarted { .. } => {
                let begun = *self.begun.get().expect("the actor has started");
                self.maintenance_starts.lock().unwrap().push(begun.elapsed().as_secs_f64());
            }
            Event::MaintenanceFailed { maintenance, error } => {
                self.failed.lock().unwrap().push((maintenance, error));
            }
            _ => {}
        }
    }
}

/// What a promise is held against.
pub struct Asked {
    /// Cores.
    pub rate: f64,
    pub slice_secs: f64,
}

impl Record {
    pub fn taken(&self) -> Vec<SliceFigures> {
        let mut slices = self.slices.lock().unwrap().clone();
        slices.sort_by_key(|s| s.since);
        slices
    }

    /// At every grant from `from` on: cost since then <= rate x time + one slice. What is out counts up to the moment.
    pub fn assert_never_ahead(&self, asked: &Asked, from: Duration) {
        let slices: Vec<SliceFigures> = self.taken().into_iter().filter(|s| s.since >= from).collect();
        assert!(slices.len() > 20, "only {} slices", slices.len());
        for grant in &slices {
            let at = grant.since;
            let cost: f64 = slices.iter().map(|s| charged_by(s, at)).sum();
            let most = asked.rate * (at - from).as_secs_f64() + asked.slice_secs;
            assert!(cost <= most + 1e-6, "at {at:?} {cost} s were spent, {most} s allowed");
        }
    }

    /// Between the start of any slice and the start of the twentieth after it, within one percentage point.
    pub fn assert_keeps_to_share(&self, asked: &Asked, from: Duration) {
        let slices: Vec<SliceFigures> = self.taken().into_iter().filter(|s| s.since >= from).collect();
        assert!(slices.len() > 40, "only {} slices", slices.len());
        for (first, twentieth) in slices.iter().zip(&slices[20..]) {
            let (start, end) = (first.since, twentieth.since);
            let cost: f64 = slices.iter().map(|s| charged_by(s, end) - charged_by(s, start)).sum();
            let points = 100.0 * (cost / (end - start).as_secs_f64() - asked.rate);
            assert!(points.abs() <= 1.0, "{points} points off between {start:?} and {end:?}, at rate {}", asked.rate);
        }
    }

    /// Cost of each client, as a part of the whole.
    pub fn parts(&self) -> std::collections::BTreeMap<String, f64> {
        let mut parts = std::collections::BTreeMap::new();
        for s in self.taken() {
            *parts.entry(s.client.to_string()).or_insert(0.0) += s.cost.as_secs_f64();
        }
        let sum: f64 = parts.values().sum();
        parts.values_mut().for_each(|p| *p /= sum);
        parts
    }
}

/// What a slice has cost up to a moment.
fn charged_by(slice: &SliceFigures, at: Duration) -> f64 {
    at.saturating_sub(slice.since).min(slice.out).as_secs_f64()
}

/// A store of `prefixes` x `buckets` names, which exist nowhere.
pub struct SimStore {
    pub clock: SimClock,
    pub ring: Ring,
    pub buckets: u32,
    /// How long it takes to list a prefix.
    pub listing: Duration,
    /// How long the names are.
    pub name_len: usize,
    /// Whether listing a prefix, or opening a bucket, panics, by its name.
    pub panics: fn(&str) -> bool,
    /// Whether a name is no bucket.
    pub is_stray: fn(&str) -> bool,
    /// Whether a bucket cannot be opened just now, by its name.
    pub busy: Box<dyn Fn(&str) -> bool + Send + Sync>,
    /// Set when a prefix was listed.
    pub after_listing: Option<Arc<AtomicBool>>,
    /// Whether it panics when it is asked for its identity.
    pub nameless: bool,
    /// Prefixes that are open.
    pub open: Arc<AtomicUsize>,
    /// The most prefixes that ever were open at once.
    pub most_open: Arc<AtomicUsize>,
}

impl SimStore {
    pub fn new(clock: &SimClock, prefixes: u32, buckets: u32) -> Self {
        SimStore {
            clock: clock.clone(),
            ring: Ring::new((0..prefixes).map(|i| format!("{i:04}"))),
            buckets,
            listing: Duration::ZERO,
            name_len: 6,
            panics: |_| false,
            is_stray: |_| false,
            busy: Box::new(|_| false),
            after_listing: None,
            nameless: false,
            open: Arc::default(),
            most_open: Arc::default(),
        }
    }
}

/// An open prefix.
pub struct SimPrefix {
    name: String,
    open: Arc<AtomicUsize>,
}

impl Drop for SimPrefix {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Store for SimStore {
    type Prefix = SimPrefix;
    type Bucket<'a> = String;

    fn identity(&self) -> String {
        assert!(!self.nameless, "the store has no name");
        "simulated".into()
    }

    fn ring(&self) -> &Ring {
        &self.ring
    }

    fn open_prefix(&self, prefix: &str) -> std::io::Result<Option<SimPrefix>> {
        let open = self.open.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_open.fetch_max(open, Ordering::SeqCst);
        Ok(Some(SimPrefix { name: prefix.to_owned(), open: self.open.clone() }))
    }

    fn read_names(&self, prefix: &mut SimPrefix, names: &mut Names) -> std::io::Result<More> {
        self.clock.work(self.listing);
        assert!(!(self.panics)(&prefix.name), "the store does not like {}", prefix.name);
        let len = self.name_len;
        for name in (0..self.buckets).map(|i| format!("{i:0len$}")) {
            names.push(name.as_bytes(), if (self.is_stray)(&name) { Nature::Stray } else { Nature::Bucket });
        }
        names.end_chunk();
        if let Some(listed) = &self.after_listing {
            listed.store(true, Ordering::SeqCst);
        }
        Ok(More::No)
    }

    fn open_bucket<'a>(&self, prefix: &'a SimPrefix, name: &'a [u8]) -> std::io::Result<String> {
        let bucket = format!("{}/{}", prefix.name, String::from_utf8_lossy(name));
        assert!(!(self.panics)(&bucket), "the store does not like {bucket}");
        if (self.busy)(&bucket) {
            return Err(std::io::ErrorKind::WouldBlock.into());
        }
        Ok(bucket)
    }

    fn path(&self, prefix: &str, bucket: Option<&[u8]>) -> std::path::PathBuf {
        [prefix, &String::from_utf8_lossy(bucket.unwrap_or_default())].iter().collect()
    }

    fn is_there(&self, _: &std::path::Path) -> bool {
        true
    }
}

/// What is to happen in a bucket, beside what takes its time.
pub type Hook = Box<dyn Fn(&str, &TimeSlice) + Send + Sync>;

/// A job whose buckets take a time, or panic.
pub struct SimJob {
    pub clock: SimClock,
    /// How long the bucket takes, by its name.
    pub unit: Box<dyn Fn(&str) -> Duration + Send + Sync>,
    /// Whether it panics, by the name of the bucket, or of the prefix.
    pub panics: fn(&str) -> bool,
    /// Whether the report panics.
    pub report_panics: bool,
    /// Whether it takes every walk for one that went to its end.
    pub swallows_stop: bool,
    /// Called in each bucket, with the slice in force.
    pub hook: Hook,
    /// Every bucket that was looked at.
    pub visited: Arc<Mutex<Vec<String>>>,
    /// By which rule it changes every bucket of the store, after a rehearsal.
    pub rule: Option<&'static str>,
    /// Whether it asks for names that are no bucket.
    pub visits_strays: bool,
    /// Whether it does that as it goes.
    pub one_pass: bool,
    /// How large a part of the buckets may be changed.
    pub most: f64,
    /// Buckets visited to change them.
    pub changed: Arc<AtomicU64>,
}

impl SimJob {
    pub fn new(clock: &SimClock, unit: impl Fn(&str) -> Duration + Send + Sync + 'static) -> Self {
        let (clock, unit, hook) = (clock.clone(), Box::new(unit), Box::new(|_: &str, _: &TimeSlice| ()));
        let (visited, changed) = (Arc::default(), Arc::default());
        let (panics, rule, most) = (|_: &str| false, None, 1.0);
        SimJob {
            clock,
            unit,
            panics,
            report_panics: false,
            swallows_stop: false,
            hook,
            visited,
            rule,
            visits_strays: false,
            one_pass: false,
            most,
            changed,
        }
    }
}

#[derive(Default, serde::Serialize, serde::Deserialize)]
pub struct Sum(pub u64);

impl Tally for Sum {
    fn merge(&mut self, later: Self) {
        self.0 += later.0;
    }
}

impl Job<SimStore> for SimJob {
    type Tally = Sum;
    type Part = ();

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!({ "rule": self.rule })
    }

    fn rehearses_first(&self) -> bool {
        self.rule.is_some()
    }

    fn name(&self) -> &str {
        "simulated"
    }

    fn process_bucket(&self, bucket: &mut String, fold: &mut Fold<'_, Sum>) -> Result<(), Unreadable> {
        self.visited.lock().unwrap().push(bucket.clone());
        self.clock.work((self.unit)(bucket));
        (self.hook)(bucket, fold.slice);
        assert!(!(self.panics)(bucket), "the job does not like {bucket}");
        if self.rule.is_some() {
            self.changed.fetch_add(u64::from(!fold.phase.examines()), Ordering::SeqCst);
            let count = DeletionCount { objects: 1, records: 0, bytes: 100 };
            fold.intend(count, &serde_json::json!({ "bucket": &bucket })).unwrap();
        }
        if fold.phase.examines() {
            fold.tally.0 += 1;
            fold.notes.counts.objects += 1;
        }
        Ok(())
    }

    fn visits_strays(&self) -> bool {
        self.visits_strays
    }

    fn deletes_in_one_pass(&self) -> bool {
        self.one_pass
    }

    fn safety_catch(&self) -> Option<SafetyCatch> {
        Some(SafetyCatch { most: self.most })
    }

    fn process_prefix(&self, walk: &mut PrefixWalk<'_, SimStore, Self>) -> Result<(), Stopped> {
        assert!(!(self.panics)(walk.prefix()), "the job does not like {}", walk.prefix());
        let walked = walk.each_bucket(|bucket, fold| self.process_bucket(bucket, fold));
        if self.swallows_stop { Ok(()) } else { walked }
    }

    fn report(&self, cycle: &CycleView<'_, Sum>) -> serde_json::Map<String, serde_json::Value> {
        assert!(!self.report_panics, "nothing to report");
        serde_json::Map::from_iter([("sum".to_owned(), cycle.tally.0.into())])
    }
}
