//! A cleaning on disks that are slow at saving: it gets on whatever the slice, and no lock is longer than it must be.
//!
//! How the failure happens: every commit takes a while below SQLite, however little it saves. Where that alone is more than
//! a slice, steps that become smaller to fit it only become more of them, down to single rows. Here the time of a commit
//! is added to a simulated clock at the system call that makes it a commit: the frame that ends a transaction in a
//! write-ahead log, the removal of a rollback journal. Besides, each page that is written takes a while, which stands for the
//! work on its rows. Nothing else moves that clock, so a run is the same on any machine, loaded or not.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use rusqlite::{Connection, ffi};
use sexton::cumulus::policy::Options;
use sexton::cumulus::sample::SampleDb;
use sexton::cumulus::settings::{CleaningSettings, LongLocks};
use sexton::cumulus::{CleaningRun, Doing, LockOverrun, StepResult};

const SLICES_MS: [u64; 4] = [1, 5, 10, 1000];
/// What a page takes: some 30 rows of 2 us each.
const PAGE: Duration = Duration::from_micros(60);
/// What a commit takes besides, at most: the pages that every step writes, whatever its rows.
const OWN_WORK: Duration = Duration::from_millis(1);

/// Steps in which a run learns what a commit and a row cost.
const LEARNING: usize = 12;

#[derive(Debug, Clone, Copy, Default)]
struct Disk {
    /// What a commit takes.
    commit: Duration,
    commits: u32,
    /// Bytes written so far.
    written: u64,
}

thread_local! {
    static DISK: Cell<Disk> = const { Cell::new(Disk { commit: Duration::ZERO, commits: 0, written: 0 }) };
}

fn committed() {
    DISK.with(|disk| disk.set(Disk { commits: disk.get().commits + 1, ..disk.get() }));
}

type Write = unsafe extern "C" fn(c_int, *const c_void, usize, i64) -> isize;
type Unlink = unsafe extern "C" fn(*const c_char) -> c_int;
static WRITE: OnceLock<Write> = OnceLock::new();
static UNLINK: OnceLock<Unlink> = OnceLock::new();

/// Only the header of a frame has this length; it tells how long the database is if a transaction ends with it, else 0.
unsafe extern "C" fn write(file: c_int, bytes: *const c_void, count: usize, at: i64) -> isize {
    DISK.with(|disk| disk.set(Disk { written: disk.get().written + count as u64, ..disk.get() }));
    if count == 24 {
        // SAFETY: SQLite gives so many bytes to write.
        let header = unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), count) };
        if header[4..8] != [0; 4] {
            committed();
        }
    }
    // SAFETY: what SQLite has asked for, of the function that it would have asked.
    WRITE.get().map_or(-1, |write| unsafe { write(file, bytes, count, at) })
}

unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    // SAFETY: SQLite gives the name of a file.
    if unsafe { CStr::from_ptr(path) }.to_bytes().ends_with(b"-journal") {
        committed();
    }
    // SAFETY: as above.
    UNLINK.get().map_or(-1, |unlink| unsafe { unlink(path) })
}

/// Puts itself between SQLite and the system, for this whole process; counts for each thread.
fn watch_commits() {
    static WATCHED: OnceLock<()> = OnceLock::new();
    WATCHED.get_or_init(|| {
        let replace = |name: &CStr, by: *const c_void| {
            // SAFETY: the default VFS is that for Unix, which has these calls and takes functions of their types; it asks
            // for them by name and forgets nothing of its own.
            unsafe {
                let vfs = ffi::sqlite3_vfs_find(std::ptr::null());
                let (get, set) = ((*vfs).xGetSystemCall.unwrap(), (*vfs).xSetSystemCall.unwrap());
                let before = get(vfs, name.as_ptr()).unwrap();
                let by = std::mem::transmute::<*const c_void, ffi::sqlite3_syscall_ptr>(by);
                assert_eq!(set(vfs, name.as_ptr(), by), ffi::SQLITE_OK);
                before as *const c_void
            }
        };
        // SAFETY: the types that SQLite calls them by.
        unsafe {
            WRITE.get_or_init(|| {
                std::mem::transmute::<*const c_void, Write>(replace(c"pwrite", write as *const c_void))
            });
            UNLINK.get_or_init(|| {
                std::mem::transmute::<*const c_void, Unlink>(replace(c"unlink", unlink as *const c_void))
            });
        }
    });
}

/// What the pages and the commits of this thread have taken.
fn simulated() -> Duration {
    let disk = DISK.with(Cell::get);
    PAGE.mul_f64(disk.written as f64 / 4096.0) + disk.commits * disk.commit
}

/// 240,000 blocks.
fn sample(dir: &Path) -> PathBuf {
    let path = dir.join("localdb.sqlite");
    SampleDb { segments: 8000, ..SampleDb::default() }.write(&path).unwrap();
    path
}

/// How a run went.
struct Ran {
    took: Duration,
    commits: u32,
    /// Of the steps that changed something.
    locks: Vec<Duration>,
    lock_overrun: Option<LockOverrun>,
    rows: (i64, i64, i64),
}

fn clean(from: &Path, slice: Duration, commit: Duration, wal: bool) -> Ran {
    watch_commits();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("localdb.sqlite");
    std::fs::copy(from, &path).unwrap();
    if !wal {
        let conn = Connection::open(&path).unwrap();
        conn.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(())).unwrap();
    }
    let now = SampleDb::default().end + 1.0;
    let settings = CleaningSettings {
        options: Options::at(now),
        slice,
        long_locks: LongLocks::Allow,
        ..CleaningSettings::new("cleaner", &path)
    };
    DISK.with(|disk| disk.set(Disk { commit, commits: 0, written: 0 }));
    let begun = simulated();
    let mut run = CleaningRun::timed_by(settings, now, simulated);
    let mut locks = Vec::new();
    loop {
        let progress = run.next_step().unwrap();
        if matches!(progress.doing, Doing::Changing(_)) {
            locks.push(progress.lock);
        }
        match progress.outcome {
            StepResult::Finished => break,
            StepResult::More => {}
            other => panic!("{other:?}"),
        }
    }
    let (took, commits, lock_overrun) = (simulated() - begun, DISK.with(Cell::get).commits, run.lock_overrun());
    drop(run);
    let sql = "SELECT (SELECT count(*) FROM snapshot_contents), count(*), ifnull(sum(expired), 0) FROM block_index";
    let rows = Connection::open(&path).unwrap().query_row(sql, [], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?))).unwrap();
    Ran { took, commits, locks, lock_overrun, rows }
}

/// Cleans at each slice, and compares with the run at 50 ms.
fn check(commit: Duration, wal: bool) {
    let dir = tempfile::tempdir().unwrap();
    let path = sample(dir.path());
    let ordinary = clean(&path, Duration::from_millis(50), commit, wal);
    assert_eq!(ordinary.lock_overrun, None);
    for slice in SLICES_MS.map(Duration::from_millis) {
        let ran = clean(&path, slice, commit, wal);
        let how = format!("slice {slice:?}, commit {commit:?}, wal {wal}: {} commits in {:?}", ran.commits, ran.took);
        assert_eq!(ran.rows, ordinary.rows, "{how}");
        assert!(ran.took < 3 * ordinary.took, "{how}, in slices of 50 ms {:?}", ordinary.took);
        // The rows take about as long as saving them, once that was learnt.
        let learnt = ran.locks.get(LEARNING..).unwrap_or_default();
        let (locked, saving) = (learnt.iter().sum::<Duration>(), commit.mul_f64(learnt.len() as f64));
        assert!(learnt.is_empty() || locked.mul_f64(0.7) > saving, "{how}, locked for {locked:?}");
        // A commit has work of its own besides, on this CPU.
        let most = slice.max(2 * (commit + OWN_WORK)).mul_f64(1.25);
        let longer = ran.locks.iter().filter(|lock| **lock > most).count();
        assert!(longer <= ran.locks.len() / 50, "{how}, {longer} of {} locks above {most:?}", ran.locks.len());
        check_told(&ran, slice, commit, &how);
    }
}

fn check_told(ran: &Ran, slice: Duration, commit: Duration, how: &str) {
    match ran.lock_overrun {
        Some(LockOverrun::FixedCost { fixed_ms }) => {
            let fixed = Duration::from_secs_f64(fixed_ms / 1e3);
            assert!(fixed > commit.mul_f64(0.8) && fixed < commit + 2 * OWN_WORK, "{how}, {fixed:?}");
            assert!(slice < 2 * fixed, "{how}, {fixed:?}");
        }
        None => assert!(slice > 2 * commit, "{how}: nothing is said"),
        Some(other) => panic!("{how}: {other}"),
    }
}

#[test]
fn with_commits_of_20_ms_each_slice_takes_at_most_three_times_as_long_as_one_of_50_ms_in_a_log() {
    check(Duration::from_millis(20), true);
}

#[test]
fn with_commits_of_20_ms_each_slice_takes_at_most_three_times_as_long_as_one_of_50_ms_in_a_rollback_journal() {
    check(Duration::from_millis(20), false);
}

#[test]
fn with_commits_of_400_us_each_slice_takes_at_most_three_times_as_long_as_one_of_50_ms_in_a_log() {
    check(Duration::from_micros(400), true);
}

#[test]
fn with_commits_of_400_us_each_slice_takes_at_most_three_times_as_long_as_one_of_50_ms_in_a_rollback_journal() {
    check(Duration::from_micros(400), false);
}

/// A segment whose blocks are settled together, however long it takes.
#[test]
fn that_a_large_segment_is_locked_for_longer_than_a_slice_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("localdb.sqlite");
    SampleDb { segments: 3, blocks_per_segment: 30_000, ..SampleDb::default() }.write(&path).unwrap();
    let ran = clean(&path, Duration::from_millis(5), Duration::ZERO, true);
    assert_eq!(ran.lock_overrun, Some(LockOverrun::LargeSegment { blocks: 30_000 }));
}
