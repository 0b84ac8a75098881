//! Every golden database, cleaned by the old rules and by the careful ones: at once, in steps of several sizes, with a
//! rollback journal and a write-ahead log, and resumed by a new process between any two steps.

use std::path::Path;

use serde_json::Value;
use sexton::cumulus::LocalDbError;
use sexton::cumulus::policy::{CleaningPlan, Mode, Options, RunPart};
use sexton::cumulus::{Applier, LocalDb, Survey, plan};

use super::data::{Golden, State, all};

/// What must come of a golden database in a mode; `None` where nobody has an opinion.
pub fn outcome(golden: &Golden, mode: Mode) -> Option<State> {
    match mode {
        Mode::Compat if golden.raised() => Some(State::Before),
        Mode::Compat => Some(State::After),
        Mode::Careful if !golden.has_recommended() => None,
        Mode::Careful if golden.refused() => Some(State::Before),
        Mode::Careful => Some(State::Recommended),
    }
}

fn refuses(golden: &Golden, mode: Mode) -> bool {
    if mode == Mode::Compat { golden.raised() } else { golden.refused() }
}

fn cases() -> impl Iterator<Item = (&'static Golden, Mode, State)> {
    let of =
        |golden| [Mode::Compat, Mode::Careful].into_iter().filter_map(move |m| Some((golden, m, outcome(golden, m)?)));
    all().iter().flat_map(of)
}

/// Cleans at once.
pub fn check_at_once(golden: &Golden, mode: Mode, state: State, wal: bool) {
    let (_dir, path) = golden.copy(wal);
    let mut db = LocalDb::open(&path).unwrap();
    let planned = plan(&mut db, &golden.options(mode)).unwrap();
    assert_eq!(planned.plan().refused.is_some(), refuses(golden, mode), "{} {mode:?}", golden.name);
    golden.check(&path, State::Before, "planned only");
    match Applier::new(planned, &db) {
        Ok(applier) => applier.apply_at_once(&db).unwrap(),
        Err(e) if matches!(e.downcast_ref(), Some(LocalDbError::Refused { .. })) => {}
        Err(other) => panic!("{}: {other}", golden.name),
    }
    drop(db);
    golden.check(&path, state, &format!("{mode:?} wal={wal}"));
}

#[test]
fn at_once_gives_the_expected_rows_or_refuses_and_changes_nothing() {
    for (golden, mode, state) in cases() {
        check_at_once(golden, mode, state, false);
        check_at_once(golden, mode, state, true);
    }
}

/// Reads and cleans in steps of so many rows.
pub fn check_steps(golden: &Golden, mode: Mode, state: State, wal: bool, rows: u64) {
    let (_dir, path) = golden.copy(wal);
    let db = LocalDb::open(&path).unwrap();
    let mut survey = Survey::new(&db, golden.options(mode));
    while survey.next_step(&db, rows).unwrap().more {}
    let mut applier = Applier::new(survey.into_planned(), &db).unwrap();
    while applier.next_step(&db, rows).unwrap().more {}
    drop(db);
    golden.check(&path, state, &format!("{mode:?} in steps of {rows}, wal={wal}"));
}

#[test]
fn steps_of_any_size_give_the_same_rows() {
    for (golden, mode, state) in cases().filter(|(g, m, _)| !refuses(g, *m)) {
        let sizes = if golden.name.starts_with("real_") { [64, 333, 5000] } else { [1, 3, 64] };
        for rows in sizes {
            check_steps(golden, mode, state, false, rows);
            check_steps(golden, mode, state, true, rows);
        }
    }
}

/// The process is gone after each step; the next one finds the plan beside the database. It begins from the top, so it
/// takes as many steps as before to get one further.
pub fn check_resumed(golden: &Golden, mode: Mode, state: State, wal: bool, rows: u64) -> usize {
    let (_dir, path) = golden.copy(wal);
    let options = golden.options(mode);
    let mut lives = 0;
    loop {
        let mut db = LocalDb::open(&path).unwrap();
        let mut applier = match Applier::resume(&db, &options).unwrap() {
            Some(applier) => applier,
            None => {
                assert_eq!(lives, 0, "{} {mode:?}: the plan was lost", golden.name);
                let planned = plan(&mut db, &options).unwrap();
                let mut applier = Applier::new(planned, &db).unwrap();
                applier.keep(&db).unwrap();
                applier
            }
        };
        lives += 1;
        let more = (0..lives).all(|_| applier.next_step(&db, rows).unwrap().more);
        if !more {
            assert!(Applier::resume(&db, &options).unwrap().is_none(), "the plan is gone");
            break;
        }
    }
    golden.check(&path, state, &format!("{mode:?} in {lives} lives"));
    lives
}

#[test]
fn resumed_between_any_two_steps_gives_the_same_rows() {
    for (golden, mode, state) in cases().filter(|(g, m, _)| !refuses(g, *m)) {
        let rows = if golden.name.starts_with("real_") { 2000 } else { 30 };
        for wal in [false, true] {
            check_resumed(golden, mode, state, wal, rows);
        }
    }
}

#[test]
fn the_operations_of_the_old_programs_give_their_intermediate_states() {
    for golden in all().iter().filter(|g| g.era() != "C") {
        let (_dir, path) = golden.copy(false);
        let options = golden.options(Mode::Compat);
        let policy = options.policy.unwrap();
        let threshold = golden.expected["params"]["clean_threshold"].as_f64().unwrap();
        let mut db = LocalDb::open(path.parent().unwrap()).unwrap();
        db.set_mode(Mode::Compat);
        db.set_now(options.now);
        if golden.expected["params"]["intent"].as_f64().is_none_or(|intent| intent == 1.0) {
            let collected = db.garbage_collect().and_then(|_| db.commit());
            collected.unwrap_or_else(|e| panic!("{}: {e}", golden.name));
            golden.check(&path, State::GarbageCollected, "garbage collected");
        } else {
            let collect = Options { part: RunPart::GarbageCollection, ..options.clone() };
            let planned = plan(&mut db, &collect).unwrap();
            Applier::new(planned, &db).unwrap().apply_at_once(&db).unwrap();
            golden.check(&path, State::GarbageCollected, "garbage collected");
        }
        let Ok(list) = db.cleaning_list(policy.age_boost_days()) else {
            assert!(golden.raised(), "{}", golden.name);
            continue;
        };
        for entry in list.iter().filter(|e| e.benefit.unwrap() > threshold) {
            db.mark_segment_expired(&entry).unwrap();
        }
        db.commit().unwrap();
        golden.check(&path, State::Marked, "marked");
        let balanced = db.balance();
        assert_eq!(balanced.is_err(), golden.raised(), "{}", golden.name);
        if balanced.is_ok() {
            db.commit().unwrap();
            golden.check(&path, State::After, "balanced");
        } else {
            db.rollback().unwrap();
            golden.check(&path, State::Marked, "rolled back");
        }
    }
}

fn planned(golden: &Golden, mode: Mode) -> CleaningPlan {
    let (_dir, path) = golden.copy(false);
    plan(&mut LocalDb::open(&path).unwrap(), &golden.options(mode)).unwrap().into_plan()
}

#[test]
fn intermediate_numbers_are_the_same_to_the_last_bit() {
    let compared: usize = cases().map(|(golden, mode, _)| check_numbers(golden, mode)).sum();
    assert!(compared > 60, "{compared} groupings compared");
}

/// Compares the list, the marks and the grouping; tells how many groupings there were to compare.
pub fn check_numbers(golden: &Golden, mode: Mode) -> usize {
    let plan = planned(golden, mode);
    let want = golden.numbers(mode);
    let name = format!("{} {mode:?}", golden.name);
    if plan.refused.is_some() {
        return 0;
    }
    // As it is printed, and read back.
    let printed: Value = serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap();
    let keys = ["id", "used_bytes", "size_bytes", "mtime", "age_days", "benefit"];
    if let Some(list) = want["cleaning_list"].as_array() {
        assert_eq!(plan.segments.len(), list.len(), "{name}");
        for (got, want) in printed["segments"].as_array().unwrap().iter().zip(list) {
            for (key, want) in keys.iter().zip(want.as_array().unwrap()) {
                assert!(same(&got[*key], want), "{name}: {key} of {got} is not {want}");
            }
        }
    }
    if let Some(list) = want["utilization"].as_array() {
        assert_eq!(plan.segments.len(), list.len(), "{name}");
        for want in list {
            let id = want[0].as_i64().unwrap();
            let got = plan.segments.iter().find(|e| e.id == id).unwrap();
            assert_eq!(got.utilization, want[3].as_f64(), "{name}: segment {id}");
        }
    }
    if let Some(marked) = want["marked"].as_array() {
        let mut want: Vec<i64> = marked.iter().map(|id| id.as_i64().unwrap()).collect();
        let mut got: Vec<i64> = plan.marked().collect();
        if golden.era() == "C" {
            // Its program went through the segments in no particular order.
            want.sort_unstable();
            got.sort_unstable();
        }
        assert_eq!(got, want, "{name}");
    }
    balance(&printed["balance"], &want["balance"], &name)
}

fn balance(got: &Value, want: &Value, name: &str) -> usize {
    if !want.is_object() {
        return 0;
    }
    for (key, key_there) in [
        ("segment_size", "segment_size"),
        ("total_bytes", "total_bytes"),
        ("target_buckets", "target_buckets"),
        ("min_size", "min_size"),
        ("target_size", "target_size"),
        ("distribution", "distribution"),
        ("cutoffs", "cutoffs_descending"),
    ] {
        let want = want.get(key_there).unwrap_or(&Value::Null);
        let (x, y) = (got[key].as_f64(), want.as_f64());
        // `pow` is the C library's, which may be off by a last bit.
        let near = key.starts_with("target_") && x.zip(y).is_some_and(|(x, y)| x.to_bits().abs_diff(y.to_bits()) <= 1);
        assert!(near || same(&got[key], want), "{name}: {key} is {}, not {want}", got[key]);
    }
    1
}

/// Whether two printed values are equal: numbers as numbers, whole ones exactly.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) if x.is_i64() && y.is_i64() => x == y,
        (Value::Number(x), Value::Number(y)) => x.as_f64() == y.as_f64(),
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same(x, y)),
        (x, y) => x == y,
    }
}

#[test]
fn removed_rows_are_counted_before_they_are() {
    for (golden, mode, _) in cases().filter(|(g, m, _)| !refuses(g, *m)) {
        let (_dir, path) = golden.copy(false);
        let count = |table: &str| -> i64 {
            let conn = rusqlite::Connection::open(&path).unwrap();
            let exists = "SELECT count(*) FROM sqlite_master WHERE name = ?1";
            match conn.query_row(exists, [table], |row| row.get(0)).unwrap() {
                0i64 => 0,
                _ => conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap(),
            }
        };
        let usage = ["snapshot_contents", "segments_used", "segment_utilization"];
        let counts = || {
            let usage_rows: i64 = usage.iter().map(|table| count(table)).sum();
            [count("snapshots"), usage_rows, count("segments"), count("block_index"), count("subblock_signatures")]
        };
        let before = counts();
        let removed = clean(&path, &golden.options(mode)).removed;
        let after = counts();
        let got = [removed.snapshots, removed.usage_rows, removed.segments, removed.blocks, removed.signatures];
        let want: Vec<u64> = before.iter().zip(after).map(|(b, a)| (b - a) as u64).collect();
        assert_eq!(got.to_vec(), want, "{} {mode:?}", golden.name);
    }
}

fn clean(path: &Path, options: &Options) -> CleaningPlan {
    let mut db = LocalDb::open(path).unwrap();
    let planned = plan(&mut db, options).unwrap();
    let report = planned.plan().clone();
    Applier::new(planned, &db).unwrap().apply_at_once(&db).unwrap();
    report
}
