//! How long the parts take that run once for every bucket or every slice.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use serde_json::Value;
use sexton::policy::budget::{Accrual, BudgetAccount, Terms, Usual};
use sexton::policy::cycle::{CycleIdentity, Rehearsal};
use sexton::policy::fair::FairQueue;
use sexton::state::{PrefixProgress, SqliteStore, StateStore};
use sexton::store::{Names, Nature};

/// Listing: names in hash order, in chunks as the lister reads them, then all taken in byte order.
fn names(c: &mut Criterion) {
    for count in [98u64, 100_000] {
        let listed: Vec<String> =
            (0..count).map(|i| format!("{:026}", i.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
        c.bench_function(&format!("names: sort and take {count}"), |b| {
            b.iter(|| {
                let mut names = Names::default();
                for chunk in listed.chunks(4096) {
                    chunk.iter().for_each(|name| names.push(name.as_bytes(), Nature::Bucket));
                    names.end_chunk();
                }
                while let Some((name, _)) = names.peek() {
                    black_box(name);
                    names.advance();
                }
            });
        });
    }
}

/// The governor's arithmetic for one slice, with 64 clients.
fn slices(c: &mut Criterion) {
    let terms = Terms { rate: 0.5, slice_secs: 1.0, max_sleep_secs: None, slots: 1 };
    let clients: Vec<std::sync::Arc<str>> = (0..64).map(|i| format!("client {i}").into()).collect();
    c.bench_function("governor: queue, grant and settle one slice of 64 clients", |b| {
        let (mut budget, mut queue, mut now, mut id) =
            (BudgetAccount::new(terms, Accrual::Elapsed, 0.0), FairQueue::default(), 0.0, 0);
        clients.iter().for_each(|client| queue.push(client, 1.0, ()));
        b.iter(|| {
            now += 2.0;
            black_box(budget.verdict(now));
            let (client, ()) = queue.pop().expect("all wait");
            budget.grant(id, Usual { cost_secs: 1.0, out_secs: 1.0 }, now);
            queue.granted(&client, 1.0);
            budget.settle(id, 1.0, now + 1.0);
            queue.settled(&client, 1.0, 1.0);
            queue.push(&client, 1.0, ());
            id += 1;
        });
    });
}

/// One commit of one prefix with a tally of 1 KB.
fn commit(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut state = SqliteStore::open(&dir.path().join("state.sqlite")).expect("a state");
    let ring = (0..1024).map(|i| format!("{i:04}")).collect();
    let identity = CycleIdentity {
        store: "bench".into(),
        job: "bench".into(),
        parameters: Value::Null,
        ring,
        now: 0.0,
        fixed_clock: true,
        not_in_ring: 0,
        stray_paths: Vec::new(),
        no_prefix: false,
        rehearsal: Rehearsal::No,
    };
    let key = state.begin("bench", &identity, 0.0).expect("a cycle").key();
    let claim = state.claim(&key, 1).expect("a claim").remove(0);
    let progress = || {
        vec![PrefixProgress {
            prefix: claim.prefix,
            fence: claim.fence,
            cursor: Some(vec![b'a'; 26]),
            tally: vec![b'x'; 1000],
            done: false,
            whole: true,
            notes: Vec::new(),
            intents: Vec::new(),
            candidates: Vec::new(),
            judged: sexton::job::Judged::default(),
        }]
    };
    c.bench_function("checkpoint: commit one prefix", |b| {
        b.iter_batched(progress, |p| state.commit(&key, &p, 0.0).expect("a commit"), BatchSize::SmallInput);
    });
}

criterion_group!(benches, names, slices, commit);
criterion_main!(benches);
