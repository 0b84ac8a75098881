//! Small stores to expire in an engine: a clock that is ahead of the machine's, a state and a medium that do what a test
//! wants at the right moment.

use std::fs;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_executor::block_on;
use sexton::Result;
use sexton::clock::{Clock, CpuMeter, SystemClock, Time};
use sexton::engine::{Cycles, Engine, EngineHandle, Fresh};
use sexton::model::{CycleReport, RehearsalStatus, TaskState};
use sexton::settings::{BudgetSettings, Checkpoint, CrawlSettings, Priority, Settings};
use sexton::state::StateStore;
use sexton::tahoe::leases::{Expiry, LeaseSettings, Word};
use sexton::tahoe::store::{Disk, Medium};
use sexton::tahoe::{Leases, TahoeStore};

pub const DAY: u32 = 86_400;

/// The machine's wall clock, moved.
#[derive(Clone)]
pub struct Ahead {
    system: Arc<SystemClock>,
    pub secs: Arc<AtomicI64>,
    /// How long the machine was suspended.
    pub suspended: Arc<AtomicI64>,
}

impl Ahead {
    pub fn by(secs: i64) -> Ahead {
        Ahead { system: Arc::new(SystemClock::new()), secs: Arc::new(AtomicI64::new(secs)), suspended: Arc::default() }
    }
}

impl Clock for Ahead {
    fn now(&self) -> Duration {
        self.system.now()
    }

    fn elapsed(&self) -> Duration {
        self.now() + Duration::from_secs(self.suspended.load(Ordering::Relaxed).unsigned_abs())
    }

    fn unix_secs(&self) -> f64 {
        self.system.unix_secs() + self.secs.load(Ordering::Relaxed) as f64
    }
}

/// Whole seconds since 1970 by the machine's clock.
fn unix_now() -> u32 {
    u32::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

/// A store in a folder of its own.
pub struct World {
    folder: tempfile::TempDir,
    now: u32,
    pub clock: Ahead,
    pub medium: Arc<dyn Medium>,
    pub cycles: Cycles,
    pub fresh: Fresh,
    pub checkpoint: Checkpoint,
    pub workers: u32,
    pub priority: Priority,
}

impl World {
    /// The clock is two hours ahead, so that what was just written counts as long untouched.
    pub fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("store/shares")).unwrap();
        // Once: what is expected of a store is computed after it was walked.
        let now = unix_now() + 7200;
        World {
            folder,
            now,
            clock: Ahead::by(7200),
            medium: Arc::new(Disk),
            cycles: Cycles::Once,
            fresh: Fresh::No,
            checkpoint: Checkpoint::default(),
            workers: 1,
            priority: Priority::Normal,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// The moment that counts as now, as far as it matters.
    pub fn now(&self) -> u32 {
        self.now
    }

    /// Where the share of this number is, in the bucket of this number: `xx` is its prefix.
    pub fn share(&self, prefix: &str, bucket: u32, share: u32) -> PathBuf {
        self.bucket(prefix, bucket).join(share.to_string())
    }

    pub fn bucket(&self, prefix: &str, bucket: u32) -> PathBuf {
        let digit = |n: u32| char::from(b'a' + (n % 20) as u8);
        let name = format!("{prefix}{}{}{}{}a", "b".repeat(20), digit(bucket / 400), digit(bucket / 20), digit(bucket));
        self.store().join("shares").join(prefix).join(name)
    }

    pub fn put(&self, path: &Path, bytes: &[u8]) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Runs the crawl; the report, or why it ended.
    pub fn run(&self, state: impl StateStore, settings: LeaseSettings) -> Result<CycleReport> {
        let engine = self.start(state, settings)?;
        let ended = engine.join();
        let report = engine.last_report("expiry");
        block_on(engine.shutdown(Duration::from_secs(60)))?;
        ended.map(|()| CycleReport::clone(&report.unwrap()))
    }

    /// Runs the crawl until it waits to be confirmed; its engine goes on.
    pub fn run_until_it_waits(
        &self,
        state: impl StateStore,
        settings: LeaseSettings,
    ) -> (EngineHandle, RehearsalStatus) {
        let engine = self.start(state, settings).unwrap();
        loop {
            let status = engine.status().crawls["expiry"].clone();
            assert!(!matches!(status.state, TaskState::Done | TaskState::Failed), "{status:?}");
            if let (TaskState::Rehearsed, Some(shown)) = (status.state, status.rehearsal) {
                return (engine, shown);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts the crawl.
    pub fn start(&self, state: impl StateStore, settings: LeaseSettings) -> Result<EngineHandle> {
        let store = TahoeStore::open(self.store()).unwrap().with_medium(self.medium.clone());
        let budget = BudgetSettings { rate: 4.0, ..BudgetSettings::default() };
        let time = Time { clock: Arc::new(self.clock.clone()), meter: Arc::new(CpuMeter { whole_process: false }) };
        let crawl = CrawlSettings {
            slow_start: Duration::ZERO,
            minimum_cycle_time: Duration::ZERO,
            workers: self.workers,
            ..CrawlSettings::new("expiry")
        };
        Engine::builder(Settings { budget, checkpoint: self.checkpoint, priority: self.priority })
            .state(state)
            .time(time)
            .cycles(self.cycles)
            .fresh(self.fresh)
            .crawl(crawl, store, Leases::new(settings))
            .spawn()
    }
}

/// Leases expire after 31 days, and whatever has expired may go.
pub fn settings(word: Word) -> LeaseSettings {
    LeaseSettings {
        expiry: Expiry::Age { secs: u64::from(31 * DAY) },
        word: Some(word),
        max_delete: 1.0,
        ..LeaseSettings::default()
    }
}

/// Renews the first lease of an immutable share in place, as Tahoe's storage server does.
pub fn renew(path: &Path, expires_unix: u32) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    let file = fs::OpenOptions::new().read(true).write(true).open(path)?;
    let (mut count, size) = ([0; 4], file.metadata()?.len());
    file.read_exact_at(&mut count, 8)?;
    let first = size - 72 * u64::from(u32::from_be_bytes(count));
    let mut record = [0; 72];
    file.read_exact_at(&mut record, first)?;
    record[68..].copy_from_slice(&expires_unix.to_be_bytes());
    file.write_all_at(&record, first)
}

/// A disk on which some operations fail.
#[derive(Debug)]
pub struct Failing {
    /// Which, by name and how often it was done before.
    pub fails: fn(&str, i64) -> Option<io::Error>,
    pub done: AtomicI64,
}

impl Failing {
    pub fn new(fails: fn(&str, i64) -> Option<io::Error>) -> Arc<Failing> {
        Arc::new(Failing { fails, done: AtomicI64::new(0) })
    }

    fn ask(&self, what: &str) -> io::Result<()> {
        (self.fails)(what, self.done.fetch_add(1, Ordering::Relaxed)).map_or(Ok(()), Err)
    }
}

impl Medium for Failing {
    fn write(&self, file: BorrowedFd<'_>, bytes: &[u8], at: u64) -> io::Result<()> {
        self.ask("write")?;
        Disk.write(file, bytes, at)
    }

    fn truncate(&self, file: BorrowedFd<'_>, size: u64) -> io::Result<()> {
        self.ask("truncate")?;
        Disk.truncate(file, size)
    }

    fn sync(&self, file: BorrowedFd<'_>) -> io::Result<()> {
        self.ask("sync")?;
        Disk.sync(file)
    }

    fn unlink(&self, dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
        self.ask("unlink")?;
        Disk.unlink(dir, name)
    }

    fn remove_dir(&self, dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
        self.ask("remove_dir")?;
        Disk.remove_dir(dir, name)
    }
}
