//! Readers beside the writer: neither waits for the other, and the log is still cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;

use super::script::{Script, once};
use crate::error::Error;
use crate::policy::cycle::CycleKey;
use crate::state::sqlite::WAL_GROWTH_MAX_BYTES;
use crate::state::{PrefixProgress, SqliteStore, StateReader, StateStore, TidyStep, Tidying, each_note, each_prefix};

const KEPT: Script = Script::new("kept", 64);
/// More than are added at once, so that the cycle begins in steps.
const WALKED: Script = Script::new("walked", 1500);
/// Old cycles, whose rows go meanwhile.
const OLD: Script = Script::new("old", 600);

fn log_bytes(store: &SqliteStore) -> u64 {
    std::fs::metadata(&store.wal).map_or(0, |m| m.len())
}

/// Begins a cycle, as the engine does.
fn begin(store: &mut SqliteStore, script: Script) -> CycleKey {
    let cycle = store.begin(script.crawl, &script.identity(), 1.0).unwrap().key();
    let mut from = Some(0);
    while let Some(position) = from {
        from = store.take_up(&cycle, position).unwrap();
    }
    cycle
}

/// Completes a cycle but for so many prefixes, each in two commits. Gives how long the log has become.
fn walk(store: &mut SqliteStore, cycle: &CycleKey, but: usize) -> u64 {
    let (mut longest_log, mut left) = (0, usize::MAX);
    while left > but {
        let claim = store.claim(cycle, 1).unwrap().remove(0);
        for done in [false, true] {
            let progress = PrefixProgress {
                prefix: claim.prefix,
                fence: claim.fence,
                cursor: Some(vec![b'x'; 26]),
                tally: vec![b'x'; 3000],
                done,
                whole: true,
                notes: Vec::new(),
                intents: Vec::new(),
                candidates: Vec::new(),
                judged: crate::job::Judged::default(),
            };
            left = store.commit(cycle, &[progress], 2.0).unwrap().left as usize;
            longest_log = longest_log.max(log_bytes(store));
        }
    }
    longest_log
}

/// Two threads that read as told, again and again, until they are told to stop.
fn read_beside(
    reader: Arc<dyn StateReader>,
    read: impl Fn(&dyn StateReader) + Clone + Send + 'static,
) -> impl FnOnce() {
    let stop = Arc::new(AtomicBool::new(false));
    let start = |_| {
        let (read, reader, stop) = (read.clone(), reader.clone(), stop.clone());
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                read(&*reader);
            }
        })
    };
    let readers: Vec<_> = (0..2).map(start).collect();
    move || {
        stop.store(true, Ordering::Relaxed);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    }
}

/// What is written is several times what the log may be.
const SHORT_BYTES: u64 = WAL_GROWTH_MAX_BYTES + (2 << 20);

#[test]
fn log_is_cut_while_pages_are_read_without_a_pause() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(&folder.path().join("state")).unwrap();
    KEPT.go_on(&mut store, usize::MAX, &mut once).unwrap();
    for _ in 0..3 {
        let old = begin(&mut store, OLD);
        walk(&mut store, &old, 0);
        store.deliver(&old).unwrap();
    }
    let rounds = Arc::new(AtomicU64::new(0));
    let read = rounds.clone();
    let stop = read_beside(store.reader(), move |reader| {
        let cycle = reader.latest(KEPT.crawl).unwrap().unwrap().key();
        let (mut prefixes, mut notes) = (0, 0);
        let count = |n: &mut u32| {
            *n += 1;
            Ok(())
        };
        each_prefix(reader, &cycle, |_| count(&mut prefixes)).unwrap();
        each_note(reader, &cycle, |_, _| count(&mut notes)).unwrap();
        assert_eq!((prefixes, notes), (64, 64 * 4));
        reader.newest(WALKED.crawl).unwrap();
        read.fetch_add(1, Ordering::Relaxed);
    });
    let cycle = begin(&mut store, WALKED);
    let (mut longest, mut removed) = (walk(&mut store, &cycle, 0), 0);
    loop {
        let step = TidyStep { kind: Some(Tidying::Rows), most: 100, old_before: Some(3.0), log_bytes: u64::MAX };
        let tidied = store.tidy(&step).unwrap();
        (removed, longest) = (removed + tidied.rows_removed, longest.max(log_bytes(&store)));
        if tidied.rows_removed == 0 {
            break;
        }
    }
    stop();
    assert_eq!(removed, 2 * 601);
    let rounds = rounds.load(Ordering::Relaxed);
    assert!(rounds > 20, "{rounds} rounds");
    assert!(longest < SHORT_BYTES, "the log has become {longest} bytes long");
}

/// What the test above would show if all pages were one transaction. Nobody who commits waits for it, however long it takes.
#[test]
fn log_is_not_cut_while_somebody_reads_in_one_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(&folder.path().join("state")).unwrap();
    let cycle = begin(&mut store, WALKED);
    let (entered, inside) = channel();
    let (leave, left) = channel::<()>();
    let reader = store.reader.clone();
    let reading = std::thread::spawn(move || {
        let read = reader.page(|conn| {
            conn.query_row("SELECT count(*) FROM prefix", [], |row| row.get::<_, u32>(0))?;
            entered.send(()).unwrap();
            // It would not come to an end if a commit waited.
            left.recv().unwrap();
            Ok(())
        });
        read.unwrap();
    });
    inside.recv().unwrap();
    let longest = walk(&mut store, &cycle, 100);
    assert!(longest > 2 * SHORT_BYTES, "the log has become {longest} bytes long");
    leave.send(()).unwrap();
    reading.join().unwrap();
    walk(&mut store, &cycle, 0);
    assert!(log_bytes(&store) < SHORT_BYTES);
}

#[test]
fn readers_cannot_write_and_end_with_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let mut store = SqliteStore::open(&path).unwrap();
    KEPT.go_on(&mut store, usize::MAX, &mut once).unwrap();
    for sql in ["DELETE FROM note", "PRAGMA query_only = OFF; DELETE FROM note"] {
        store.reader.page(|conn| Ok(conn.execute_batch(sql)?)).unwrap_err();
    }
    let reader = store.reader();
    drop(store);
    assert!(matches!(reader.newest(KEPT.crawl), Err(Error::Stopped)));
    // Nothing of it is open any more, or there would be a log.
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().ends_with("-wal")), "{left:?}");
    assert_eq!(KEPT.examine(&mut SqliteStore::open(&path).unwrap()).unwrap(), KEPT.complete());
}
