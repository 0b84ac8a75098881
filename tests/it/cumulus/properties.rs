//! Random databases, with ids up to the ends of 64 bits, against a plain model; and what a backup finds between steps.

use std::path::Path;

use proptest::prelude::*;
use sexton::cumulus::policy::{Mode, Options, Policy};
use sexton::cumulus::{Applier, LocalDb, Survey, plan};
use tempfile::TempDir;

use super::data::{all, dump};
use super::model::{Block, Health, Model, NOW};
use super::model_later::{Era, Later, Segment, Snapshot};

/// Ids near each other, near the ends, and anywhere.
fn id() -> impl Strategy<Value = i64> {
    prop_oneof![4 => 1i64..40, 1 => i64::MAX - 20..=i64::MAX, 1 => any::<i64>()]
}

fn size() -> impl Strategy<Value = Option<i64>> {
    prop_oneof![8 => (1i64..1_000_000).prop_map(Some), 1 => Just(Some(0)), 1 => Just(None)]
}

fn timestamp() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![20 => (-5.0..200.0f64).prop_map(|age| Some(NOW - age)), 1 => Just(None)]
}

fn model() -> impl Strategy<Value = Model> {
    let scheme = prop_oneof![Just(None), Just(Some("".to_owned())), Just(Some("x".to_owned()))];
    let snapshots = prop::collection::btree_map(id(), scheme, 0..5);
    let segments = prop::collection::btree_set(id(), 1..8);
    let expired = prop_oneof![5 => Just(None), 1 => (-1i64..5).prop_map(Some)];
    let block = (id(), any::<prop::sample::Index>(), size(), timestamp(), expired);
    let blocks = prop::collection::vec(block, 0..80);
    let use_of = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..40u8);
    let uses = prop::collection::vec(use_of, 0..120);
    (snapshots, segments, blocks, uses, any::<bool>()).prop_map(|(snapshots, mut segments, blocks, uses, orphans)| {
        let homes: Vec<i64> = segments.iter().copied().collect();
        if orphans {
            segments.pop_first();
        }
        let mut model = Model { snapshots, segments, ..Model::default() };
        for (id, home, size, timestamp, expired) in blocks {
            if !model.blocks.iter().any(|b| b.id == id) {
                model.blocks.push(Block { id, segment: *home.get(&homes), size, timestamp, expired });
            }
        }
        let ids: Vec<i64> = model.snapshots.keys().copied().collect();
        for (block, snapshot, kind) in uses {
            let block = if model.blocks.is_empty() { None } else { Some(block.get(&model.blocks).id) };
            let snapshot = if ids.is_empty() { Some(7) } else { Some(*snapshot.get(&ids)) };
            let row = match kind {
                0 => (None, snapshot),
                1 => (block, None),
                2 => (block, Some(-77)),
                3 => (block.map(|b| b ^ 1), snapshot),
                _ => (block, snapshot),
            };
            if row.0.is_none() || row.1.is_none() || !model.contents.contains(&row) {
                model.contents.push(row);
            }
        }
        model
    })
}

fn scheme() -> impl Strategy<Value = Option<String>> {
    prop_oneof![1 => Just(None), 2 => Just(Some(String::new())), 4 => Just(Some("x".to_owned()))]
}

fn later(era: Era) -> impl Strategy<Value = Later> {
    let of_b = era == Era::B;
    let intent = prop_oneof![4 => Just(Some(1.0)), 2 => Just(Some(7.0)), 1 => Just(Some(0.5)), 1 => Just(None)];
    let snapshot = (scheme(), timestamp(), intent).prop_map(move |(scheme, timestamp, intent)| Snapshot {
        scheme,
        timestamp,
        intent: intent.filter(|_| of_b),
    });
    let snapshots = prop::collection::btree_map(id(), snapshot, 0..6);
    let size = prop_oneof![12 => (1i64..1_000_000).prop_map(Some), 1 => Just(Some(0)), 1 => Just(None)];
    let expire_time = prop_oneof![6 => Just(None), 1 => id().prop_map(Some)];
    let segment = (timestamp(), size, expire_time).prop_map(move |(mtime, size, expire_time)| Segment {
        mtime,
        size,
        expire_time: expire_time.filter(|_| of_b),
    });
    let segments = prop::collection::btree_map(id(), segment, 1..8);
    let expired = prop_oneof![5 => Just(None), 1 => (-1i64..5).prop_map(Some)];
    let block = (id(), any::<prop::sample::Index>(), self::size(), timestamp(), expired, any::<bool>());
    let blocks = prop::collection::vec(block, 0..60);
    let share = prop_oneof![12 => (0.0..1.2f64).prop_map(Some), 1 => Just(None)];
    let use_of = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), share, 0..30u8);
    let uses = prop::collection::vec(use_of, 0..40);
    (snapshots, segments, blocks, uses, 0..4u8).prop_map(move |(snapshots, mut segments, blocks, uses, orphans)| {
        let homes: Vec<i64> = segments.keys().copied().collect();
        if orphans == 0 {
            segments.pop_first();
        }
        let (usage, signatures) = (Vec::new(), [41].into());
        let mut db = Later { era, snapshots, segments, blocks: Vec::new(), usage, signatures };
        for (id, home, size, timestamp, expired, signed) in blocks {
            if !db.blocks.iter().any(|b| b.id == id) {
                db.blocks.push(Block { id, segment: *home.get(&homes), size, timestamp, expired });
                db.signatures.extend(signed.then_some(id));
            }
        }
        let ids: Vec<i64> = db.snapshots.keys().copied().collect();
        for (snapshot, segment, share, kind) in uses {
            let snapshot = if ids.is_empty() || kind == 0 { -77 } else { *snapshot.get(&ids) };
            let segment = if kind == 1 { 4711 } else { *segment.get(&homes) };
            let bytes = |part: f64| (part * 600_000.0).trunc();
            let share = if of_b { share } else { share.map(bytes) };
            if !db.usage.iter().any(|(a, b, _)| (*a, *b) == (snapshot, segment)) {
                db.usage.push((snapshot, segment, share));
            }
        }
        db
    })
}

/// Cleans at once, in steps, and step by step, and compares with the model.
fn compare_later(db: &Later, mode: Mode, intent: f64, rows: u64) -> Result<(), TestCaseError> {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("localdb.sqlite");
    db.write(&path);
    let written = Later::read(&path, db.era);
    let (era, policy) = match db.era {
        Era::B => ("B", Policy::Benefit { threshold_days: 7.0, age_boost_days: 0.0, intent }),
        Era::C => ("C", Policy::Utilization { least: 0.4 }),
    };
    let options = Options { mode, policy: Some(policy), ..Options::at(NOW) };
    let want = written.cleaned(mode, intent);
    let (sliced, stepped) = (copy(&path, "sliced"), copy(&path, "stepped"));
    prop_assert_eq!(clean(&path, &options, None), want.is_some());
    prop_assert_eq!(clean(&sliced, &options, Some(rows)), want.is_some());
    let got = Later::read(&path, db.era);
    prop_assert_eq!(&got, want.as_ref().unwrap_or(&written));
    prop_assert_eq!(&Later::read(&sliced, db.era), &got);
    if want.is_some() {
        check_prefixes(&stepped, era, &options, rows, &Health::read(&path, era));
        prop_assert_eq!(&Later::read(&stepped, db.era), &got);
    }
    Ok(())
}

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![Just(Mode::Careful), Just(Mode::Compat)]
}

fn clean(path: &Path, options: &Options, rows: Option<u64>) -> bool {
    let mut db = LocalDb::open(path).unwrap();
    let Some(rows) = rows else {
        let planned = plan(&mut db, options).unwrap();
        return match Applier::new(planned, &db) {
            Ok(applier) => applier.apply_at_once(&db).is_ok(),
            Err(_) => false,
        };
    };
    let mut survey = Survey::new(&db, options.clone());
    while survey.next_step(&db, rows).unwrap().more {}
    let Ok(mut applier) = Applier::new(survey.into_planned(), &db) else { return false };
    while applier.next_step(&db, rows).unwrap().more {}
    true
}

fn copy(from: &Path, name: &str) -> std::path::PathBuf {
    let to = from.with_file_name(name);
    std::fs::copy(from, &to).unwrap();
    to
}

/// Goes step by step, and looks at the database after each; `end` is how it is when all is done.
fn check_prefixes(path: &Path, era: &str, options: &Options, rows: u64, end: &Health) {
    let before = Health::read(path, era);
    let mut db = LocalDb::open(path).unwrap();
    let mut applier = Applier::new(plan(&mut db, options).unwrap(), &db).unwrap();
    while applier.next_step(&db, rows).unwrap().more {
        Health::read(path, era).check(&before, end, options.mode);
    }
    Health::read(path, era).check(&before, end, options.mode);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_run_gives_what_the_model_gives(model in model(), careful in any::<bool>(), rows in 1u64..60) {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("localdb.sqlite");
        model.write(&path);
        let written = Model::read(&path);
        let mode = if careful { Mode::Careful } else { Mode::Compat };
        let options = Options { mode, ..Options::at(NOW) };
        let want = written.cleaned(mode, 7.0);
        let sliced = copy(&path, "sliced");
        let stepped = copy(&path, "stepped");
        prop_assert_eq!(clean(&path, &options, None), want.is_some());
        prop_assert_eq!(clean(&sliced, &options, Some(rows)), want.is_some());
        let got = Model::read(&path);
        prop_assert_eq!(&got, want.as_ref().unwrap_or(&written));
        prop_assert_eq!(&Model::read(&sliced), &got);
        if want.is_some() {
            check_prefixes(&stepped, "A", &options, rows, &Health::read(&path, "A"));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_run_over_era_b_gives_what_the_model_gives(
        db in later(Era::B), mode in mode(), intent in prop_oneof![Just(1.0), Just(7.0)], rows in 1u64..60,
    ) {
        compare_later(&db, mode, intent, rows)?;
    }

    #[test]
    fn a_run_over_era_c_gives_what_the_model_gives(db in later(Era::C), mode in mode(), rows in 1u64..60) {
        compare_later(&db, mode, 1.0, rows)?;
    }
}

#[test]
fn every_prefix_of_the_steps_leaves_the_golden_databases_fit_for_a_backup() {
    for golden in all().iter().filter(|g| !g.name.starts_with("real_")) {
        for mode in [Mode::Compat, Mode::Careful] {
            let (_dir, path) = golden.copy(true);
            let (_other, whole) = golden.copy(true);
            let options = golden.options(mode);
            if clean(&whole, &options, None) {
                check_prefixes(&path, golden.era(), &options, 5, &Health::read(&whole, golden.era()));
                assert_eq!(dump(&path, golden.era()), dump(&whole, golden.era()), "{} {mode:?}", golden.name);
            }
        }
    }
}
