//! What commits cost. The time is printed, not asserted (`cargo test --release -- --nocapture`); that the log
//! stays short is asserted.

use std::time::Instant;

use super::script::Script;
use crate::state::sqlite::WAL_GROWTH_MAX_BYTES;
use crate::state::{Claim, PrefixProgress, SqliteStore, StateStore, each_prefix};

fn progress(claim: &Claim, n: u64, tally_bytes: usize) -> PrefixProgress {
    let cursor = Some(format!("{n:026}").into_bytes());
    let tally = vec![n as u8; tally_bytes];
    PrefixProgress {
        prefix: claim.prefix,
        fence: claim.fence,
        cursor,
        tally,
        done: false,
        whole: true,
        notes: Vec::new(),
        intents: Vec::new(),
        candidates: Vec::new(),
        judged: crate::job::Judged::default(),
    }
}

#[test]
fn log_stays_short_over_many_commits() {
    const COMMITS: u64 = 4000;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let mut store = SqliteStore::open(&path).unwrap();
    let cycle = store.begin("c", &Script::new("c", 1024).identity(), 1.0).unwrap().key();
    for tally_bytes in [1000, 2000] {
        let (mut sum, mut worst, mut longest_log) = (0, 0, 0);
        for n in 0..COMMITS {
            // A claim every 100 buckets, as in a store of 100,000.
            let claim = match n % 100 {
                0 => store.claim(&cycle, 1).unwrap().remove(0),
                _ => continue,
            };
            for n in n..n + 100 {
                let progress = [progress(&claim, n, tally_bytes)];
                let start = Instant::now();
                store.commit(&cycle, &progress, 2.0).unwrap();
                let nanos = start.elapsed().as_nanos();
                (sum, worst) = (sum + nanos, worst.max(nanos));
            }
            longest_log = longest_log.max(std::fs::metadata(&store.wal).map_or(0, |m| m.len()));
        }
        println!(
            "a commit with a tally of {tally_bytes} bytes: {:.1} us, at worst {:.1} ms",
            sum as f64 / COMMITS as f64 / 1e3,
            worst as f64 / 1e6
        );
        assert!((1..WAL_GROWTH_MAX_BYTES + (1 << 20)).contains(&longest_log), "{longest_log}");
    }
    let start = Instant::now();
    let mut claims = 0;
    while !store.claim(&cycle, 1).unwrap().is_empty() {
        claims += 1;
    }
    println!("a claim: {:.1} us", start.elapsed().as_secs_f64() * 1e6 / f64::from(claims));
    assert_eq!(claims, 1024 - 2 * 40);
}

/// What a ring costs beside the visits to its prefixes: opening a cycle, claiming, completing and reading it back. In a debug build
/// a smaller one.
#[test]
fn a_cycle_over_a_large_ring_is_read_back_whole() {
    let took = |prefixes: u32| {
        let folder = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(&folder.path().join("state")).unwrap();
        let start = Instant::now();
        assert_eq!(store.reader().newest("c").unwrap(), None);
        let cycle = store.begin("c", &Script::new("c", prefixes).identity(), 1.0).unwrap().key();
        let opened = start.elapsed();
        loop {
            let claims = store.claim(&cycle, 64).unwrap();
            if claims.is_empty() {
                break;
            }
            let all: Vec<PrefixProgress> =
                claims.iter().map(|c| PrefixProgress { done: true, ..progress(c, 1, 30) }).collect();
            store.commit(&cycle, &all, 2.0).unwrap();
        }
        let (walked, mut rows) = (start.elapsed(), 0);
        let finished = store.reader().newest("c").unwrap().unwrap();
        each_prefix(&*store.reader(), &finished.key(), |_| {
            rows += 1;
            Ok(())
        })
        .unwrap();
        store.deliver(&cycle).unwrap();
        assert_eq!((rows, store.reader().finished("c").unwrap().len()), (prefixes, 1));
        let closed = start.elapsed() - walked;
        println!("a ring of {prefixes}: opened in {opened:?}, walked in {:?}, closed in {closed:?}", walked - opened);
    };
    took(256);
    took(if cfg!(debug_assertions) { 5000 } else { 65_536 });
}
