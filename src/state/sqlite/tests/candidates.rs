//! Candidates in the file: damage shows, none is invented or lost without being noticed, and many take little room.

use rusqlite::Connection;

use super::script::Script;
use crate::error::Error;
use crate::job::{Candidate, DeletionCount};
use crate::policy::cycle::CycleKey;
use crate::state::sqlite::SqliteStore;
use crate::state::{Claim, Consent, PrefixProgress, StateStore, TidyStep, Tidying};

const SCRIPT: Script = Script::new("c", 2);

fn progress(claim: &Claim, done: bool, candidates: Vec<Candidate>) -> PrefixProgress {
    PrefixProgress {
        prefix: claim.prefix,
        fence: claim.fence,
        cursor: candidates.last().map(|candidate| candidate.bucket.clone()),
        tally: b"{}".to_vec(),
        done,
        whole: true,
        notes: Vec::new(),
        intents: Vec::new(),
        judged: crate::job::Judged::default(),
        candidates,
    }
}

/// As Tahoe's buckets are named, in byte order.
fn candidate(n: usize) -> Candidate {
    let name = format!("{}{n:024}", "ab");
    Candidate { bucket: name.into(), shown: DeletionCount { objects: 3, records: 4, bytes: 3_000_000 } }
}

fn examined(path: &std::path::Path) -> CycleKey {
    let mut store = SqliteStore::open(path).unwrap();
    let cycle = store.begin("c", &SCRIPT.identity(), 1.0).unwrap().key();
    for claim in store.claim(&cycle, 2).unwrap() {
        store.commit(&cycle, &[progress(&claim, true, (0..1000).map(candidate).collect())], 2.0).unwrap();
    }
    cycle
}

/// Carries everything out.
fn carry_out(path: &std::path::Path) -> crate::error::Result<Option<f64>> {
    let mut store = SqliteStore::open(path)?;
    let cycle = store.reader().latest("c")?.unwrap();
    store.carry_out(&cycle.key(), Consent::WithinLimit, 3.0)?;
    for claim in store.claim(&cycle.key(), 2)? {
        store.candidates(&cycle.key(), claim.prefix, None, usize::MAX)?;
        store.commit(&cycle.key(), &[progress(&claim, true, Vec::new())], 4.0)?;
    }
    Ok(store.reader().latest("c")?.unwrap().finished)
}

#[test]
fn damaged_lost_or_invented_candidates_are_noticed() {
    for (damage, is_noticed) in [
        ("SELECT 1", false),
        ("UPDATE candidate SET body = x'0161010101' WHERE number = 1", true),
        ("UPDATE candidate SET candidates = candidates - 1 WHERE number = 0", true),
        ("UPDATE candidate SET number = 99 WHERE number = 1", true),
        ("DELETE FROM candidate WHERE prefix = 1 AND number = 2", true),
        ("DELETE FROM candidate", true),
        ("UPDATE prefix SET candidates = 0", true),
        ("UPDATE prefix SET done = 0", true),
        ("UPDATE cycle SET carrying_out = 2.5", true),
        ("UPDATE cycle SET confirmed = 2.5", true),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        examined(&path);
        Connection::open(&path).unwrap().execute_batch(damage).unwrap();
        let carried = carry_out(&path);
        match is_noticed {
            true => assert!(matches!(carried, Err(Error::StateDamaged { .. })), "{damage}: {carried:?}"),
            false => assert_eq!(carried.unwrap(), Some(4.0)),
        }
    }
}

#[test]
fn candidates_of_a_cycle_that_was_given_up_go_in_steps() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let mut store = SqliteStore::open(&path).unwrap();
    let pages = || -> i64 {
        let conn = Connection::open(&path).unwrap();
        conn.query_row("SELECT count(*) FROM candidate", [], |row| row.get(0)).unwrap()
    };
    let cycle = store.begin("c", &SCRIPT.identity(), 1.0).unwrap().key();
    let claim = store.claim(&cycle, 1).unwrap().remove(0);
    // Names so long that each fills a page.
    let long = |n: usize| Candidate { bucket: format!("{n:08000}").into(), ..candidate(n) };
    store.commit(&cycle, &[progress(&claim, true, (0..1200).map(long).collect())], 2.0).unwrap();
    assert_eq!(pages(), 1200);
    let next = store.begin("c", &SCRIPT.identity(), 3.0).unwrap().key();
    assert_eq!(pages(), 1200, "none at once");
    assert_eq!(store.take_up(&next, 0).unwrap(), Some(SCRIPT.prefixes));
    assert_eq!(pages(), 176, "so many with each step");
    assert_eq!(store.candidates(&next, 0, None, 9).unwrap(), []);
    let step = TidyStep { kind: Some(Tidying::Rows), most: 60, old_before: None, log_bytes: u64::MAX };
    for left in [116, 56, 0] {
        assert_eq!(store.tidy(&TidyStep { kind: None, ..step }).unwrap().due, Some(Tidying::Rows));
        store.tidy(&step).unwrap();
        assert_eq!(pages(), left);
    }
    assert_ne!(store.tidy(&TidyStep { kind: None, ..step }).unwrap().due, Some(Tidying::Rows));
    assert_eq!(store.reader().latest("c").unwrap().unwrap().key(), next);
}

/// What a million candidates add to the file, whether one worker has found them or two did at a time.
#[test]
fn a_million_candidates_take_little_room() {
    // As many as make the sums plain and the test short.
    const PREFIXES: u32 = 64;
    const EACH: usize = 1000;
    for at_once in [1, 2] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let mut store = SqliteStore::open(&path).unwrap();
        let cycle = store.begin("c", &Script::new("c", PREFIXES).identity(), 1.0).unwrap().key();
        store.sync().unwrap();
        let before = std::fs::metadata(&path).unwrap().len();
        // Each worker claims 32, and they commit in turns, with a part of a prefix at a time.
        let mut hands: Vec<Vec<Claim>> =
            (0..at_once).map(|_| store.claim(&cycle, PREFIXES / at_once).unwrap()).collect();
        while hands.iter().any(|hand| !hand.is_empty()) {
            for hand in &mut hands {
                let claim = hand.remove(0);
                for part in 0..4 {
                    let found = (part * EACH / 4..(part + 1) * EACH / 4).map(candidate).collect();
                    store.commit(&cycle, &[progress(&claim, part == 3, found)], 2.0).unwrap();
                }
            }
        }
        store.sync().unwrap();
        let added = std::fs::metadata(&path).unwrap().len() - before;
        let each = added as f64 / (f64::from(PREFIXES) * EACH as f64);
        println!("{at_once} at once: {each:.1} bytes a candidate");
        assert!(each < 50.0, "{at_once}: {each} bytes");
    }
}
