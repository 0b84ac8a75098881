//! Rings: kept once for all cycles of a store, and never mistaken for another.

use std::sync::Arc;

use super::script::Script;
use crate::error::Error;
use crate::policy::cycle::CycleIdentity;
use crate::state::{Claim, PrefixProgress, SqliteStore, StateStore};

fn identity(prefixes: u32) -> CycleIdentity {
    Script::new("c", prefixes).identity()
}

fn number(store: &SqliteStore, sql: &str) -> i64 {
    store.writer.query_row(sql, [], |row| row.get(0)).unwrap()
}

const PAGES: &str = "SELECT count(*) FROM ring";

#[test]
fn a_ring_is_there_once_for_all_its_cycles_and_goes_with_the_last_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(&folder.path().join("state")).unwrap();
    store.begin("a", &identity(2000), 1.0).unwrap();
    let before = store.writer.total_changes();
    let begun = store.begin("b", &identity(2000), 1.0).unwrap();
    // One for the cycle, one for the crawl; then a row for each prefix, and the cycle has begun as a whole.
    assert_eq!((number(&store, PAGES), store.writer.total_changes() - before), (4, 2));
    assert_eq!(store.claim(&begun.key(), 0).unwrap(), []);
    assert_eq!(store.writer.total_changes() - before, 2003);
    assert_eq!(*begun.identity.ring, *identity(2000).ring);
    assert!(number(&store, "SELECT max(length(identity)) FROM cycle") < 400);
    assert_eq!(store.reader().latest("b").unwrap().unwrap(), begun);
    store.begin("c", &identity(3), 1.0).unwrap();
    assert_eq!(number(&store, PAGES), 5);
    let anew = store.begin("c", &identity(3), 2.0).unwrap();
    assert_eq!(store.reader().latest("c").unwrap().unwrap(), anew, "the one that it gave up had the same ring");
    // Given up for others, whose ring is empty.
    for crawl in ["a", "b", "c"] {
        assert!(number(&store, PAGES) > 0);
        let empty = CycleIdentity { ring: Arc::new([]), ..identity(1) };
        store.begin(crawl, &empty, 2.0).unwrap();
        assert_eq!(store.reader().latest(crawl).unwrap().unwrap().identity, empty);
    }
    assert_eq!(number(&store, PAGES), 0);
}

#[test]
fn a_ring_that_is_damaged_is_noticed() {
    for sql in [
        "DELETE FROM ring WHERE page = 1",
        "DELETE FROM ring",
        "UPDATE ring SET names = replace(names, '0007', '0008')",
        "UPDATE ring SET names = substr(names, 2)",
        "UPDATE ring SET page = -page",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(&folder.path().join("state")).unwrap();
        store.begin("c", &identity(1200), 1.0).unwrap();
        store.writer.execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        let error = store.reader().latest("c").unwrap_err();
        assert!(matches!(error, Error::StateDamaged { .. }), "{sql}: {error}");
        assert!(error.to_string().contains("the ring of a cycle fails its checksum"), "{sql}: {error}");
    }
}

/// Time is printed, not asserted (`cargo test --release -- --nocapture`). Of a cycle as such that is what the state takes.
#[test]
fn a_large_ring_costs_a_row_for_each_prefix_and_nothing_else() {
    for prefixes in [256, 65_536] {
        let folder = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(&folder.path().join("state")).unwrap();
        let timed = |store: &mut SqliteStore, what: &str, call: &mut dyn FnMut(&mut SqliteStore)| {
            let (start, before) = (std::time::Instant::now(), store.writer.total_changes());
            call(store);
            println!("{what} {prefixes} prefixes: {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
            store.writer.total_changes() - before
        };
        let mut first = None;
        timed(&mut store, "begin a first cycle of", &mut |store| {
            first = Some(store.begin("c", &identity(prefixes), 1.0).unwrap().key());
        });
        let first = first.unwrap();
        for claims in store.claim(&first, prefixes).unwrap().chunks(1024) {
            let done = |claim: &Claim| PrefixProgress {
                prefix: claim.prefix,
                fence: claim.fence,
                cursor: None,
                tally: b"{}".to_vec(),
                done: true,
                whole: true,
                notes: Vec::new(),
                intents: Vec::new(),
                candidates: Vec::new(),
                judged: crate::job::Judged::default(),
            };
            store.commit(&first, &claims.iter().map(done).collect::<Vec<_>>(), 2.0).unwrap();
        }
        let read = timed(&mut store, "read a cycle of", &mut |store| {
            let mut from = 0;
            while let Some(last) = store.reader().prefixes(&first, from).unwrap().last() {
                from = last.prefix + 1;
            }
        });
        let delivered = timed(&mut store, "deliver", &mut |store| store.deliver(&first).unwrap());
        let next = timed(&mut store, "begin the next cycle of", &mut |store| {
            let next = store.begin("c", &identity(prefixes), 3.0).unwrap().key();
            let (mut from, mut steps) = (Some(0), 0);
            while let Some(position) = from {
                (from, steps) = (store.take_up(&next, position).unwrap(), steps + 1);
            }
            assert_eq!(steps, prefixes.div_ceil(1024));
        });
        let in_steps = u64::from(prefixes > 1024);
        assert_eq!((read, delivered, next), (0, 1, u64::from(prefixes) + 2 + in_steps));
    }
}
