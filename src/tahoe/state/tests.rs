//! What is written is read back, whatever it is; what Tahoe writes in forms of its own is read too.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::json;

use super::counter::Counter;
use super::figures::{ExpireMode, Figures, SpaceRecovered};
use super::leases::{AGES_KEPT, CycleHistory, HistoryEntry, LeaseChecker};
use super::{CycleAt, Position, is_as_exported};
use crate::tahoe::container::ShareType;
use crate::tahoe::names::prefixes;

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..10, 0..=u64::MAX]
}

fn mode() -> impl Strategy<Value = ExpireMode> {
    prop_oneof![
        any::<Option<u64>>().prop_map(|secs| ExpireMode::Age { secs }),
        any::<i64>().prop_map(|unix| ExpireMode::Cutoff { unix }),
    ]
}

/// Any figures that there can be.
pub(crate) fn figures() -> impl Strategy<Value = Figures> {
    let types = prop_oneof![
        Just(vec![]),
        Just(vec![ShareType::Mutable]),
        Just(vec![ShareType::Immutable, ShareType::Mutable]),
        Just(ShareType::ALL.to_vec()),
    ];
    let space = (any::<[[[u32; 3]; 4]; 4]>(), 0u64..3).prop_map(|(groups, unknown_buckets)| {
        let groups = groups.map(|group| group.map(|unit| unit.map(u64::from)));
        SpaceRecovered { groups, unknown_buckets }
    });
    let ages = btree_map(-50_000i64..50_000, 1u64..1 << 40, 0..6);
    let leases = btree_map(0u64..300, 1u64..1 << 40, 0..6);
    let corrupt = vec(("[a-z2-7]{26}", any::<Option<i64>>()), 0..5);
    (any::<bool>(), mode(), types, ages, leases, corrupt, space).prop_map(
        |(expiration_enabled, mode, sharetypes, ages, leases_per_share, corrupt_shares, space)| Figures {
            expiration_enabled,
            mode,
            sharetypes,
            ages,
            leases_per_share,
            corrupt_shares,
            space,
        },
    )
}

fn position() -> impl Strategy<Value = Position> {
    let started = 0f64..2e9;
    let at = (any::<Option<u16>>(), started, proptest::option::of(0u32..1023), proptest::option::of("[a-z2-7]{0,30}"));
    (any::<bool>(), at).prop_map(|(in_cycle, (last, started, last_prefix, last_bucket))| {
        let last_finished = last.map(u64::from);
        let number = last_finished.map_or(0, |last| last + 1);
        let current = in_cycle.then_some(CycleAt { number, last_prefix, last_bucket });
        Position { last_finished, started: Some(started), current }
    })
}

proptest! {
    #[test]
    fn counter_is_read_back(
        position in position(),
        counts in btree_map(number(), btree_map(0u32..1024, number(), 0..5), 0..3),
        last_count in any::<Option<u64>>(),
    ) {
        let ring = prefixes();
        let counter = Counter { position, counts, last_count };
        let text = counter.write(&ring).to_string();
        prop_assert!(is_as_exported(text.as_bytes()));
        prop_assert_eq!(Counter::parse(text.as_bytes(), &ring), Ok(counter));
    }

    #[test]
    fn lease_checker_and_history_are_read_back(
        position in position(),
        figures in figures(),
        history in btree_map(0u64..1000, (0f64..2e9, 0f64..2e9), 0..3),
    ) {
        let ring = prefixes();
        let so_far = position.current.is_some().then(|| figures.clone());
        let entry = |(started, finished)| HistoryEntry { started, finished, figures: figures.clone() };
        let history = CycleHistory(history.into_iter().map(|(cycle, times)| (cycle, entry(times))).collect());
        let checker = LeaseChecker { position, so_far };
        let text = checker.write(&history, &ring).to_string();
        prop_assert!(is_as_exported(text.as_bytes()));
        prop_assert_eq!(LeaseChecker::parse(text.as_bytes(), &ring), Ok(checker));
        let text = history.write().to_string();
        prop_assert_eq!(CycleHistory::parse(text.as_bytes()), Ok(history));
    }

    #[test]
    fn nothing_in_a_file_panics(text in ".{0,60}", cut in any::<prop::sample::Index>(), figures in figures()) {
        let ring = prefixes();
        let position = Position { current: Some(CycleAt { number: 0, last_prefix: None, last_bucket: None }), ..Position::default() };
        let mut sound = LeaseChecker { position, so_far: Some(figures) }.write(&CycleHistory::default(), &ring).to_string().into_bytes();
        sound.truncate(cut.index(sound.len()));
        for text in [text.as_bytes(), &sound] {
            let _ = (Counter::parse(text, &ring), LeaseChecker::parse(text, &ring), CycleHistory::parse(text));
        }
    }
}

#[test]
fn what_a_node_writes_is_not_taken_for_an_export() {
    for folder in ["between", "doubled", "odd", "plain"] {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tahoe-state").join(folder);
        for file in std::fs::read_dir(folder).unwrap() {
            assert!(!is_as_exported(&std::fs::read(file.unwrap().path()).unwrap()));
        }
    }
    assert!(!is_as_exported(b""));
    assert!(!is_as_exported(br#"{"version":1,"last-cycle-finished":1,"history": {}}"#), "nobody writes it so");
}

#[test]
fn a_file_of_too_many_values_is_refused() {
    let text = |n: usize| format!(r#"{{"version":1,"a \"[,[, name":[{}0]}}"#, "0,".repeat(n));
    assert_eq!(super::values(text(100).as_bytes()), 1 + 1 + 1 + 1 + 1 + 1 + 100);
    let refused = Counter::parse(text(60_000).as_bytes(), &prefixes()).unwrap_err();
    assert_eq!(refused, "it has 60006 values, and no more than 60000 are read of a state file");
}

#[test]
fn a_count_whose_key_stands_there_twice_is_one() {
    let text = r#"{"version": 1, "last-cycle-finished": null, "current-cycle": 0, "current-cycle-start-time": 1.5,
        "last-complete-prefix": "23", "last-complete-bucket": null, "bucket-counts": {"0": {"22": 5}, "0": {"23": 7}}}"#;
    let counter = Counter::parse(text.as_bytes(), &prefixes()).unwrap();
    assert_eq!(counter.counts, [(0, [(0, 5), (1, 7)].into())].into());
}

#[test]
fn ages_are_read_in_each_form_that_tahoe_has_and_added_to_those_kept() {
    let figures = Figures {
        expiration_enabled: false,
        mode: ExpireMode::Age { secs: None },
        sharetypes: vec![],
        ages: [(0, 4), (2, 1)].into(),
        leases_per_share: [].into(),
        corrupt_shares: vec![],
        space: SpaceRecovered::default(),
    };
    let position = Position {
        started: Some(0.0),
        current: Some(CycleAt { number: 0, last_prefix: None, last_bucket: None }),
        ..Position::default()
    };
    let written = LeaseChecker { position, so_far: Some(figures) }.write(&CycleHistory::default(), &prefixes());
    assert_eq!(written["cycle-to-date"]["lease-age-histogram"], json!({}));
    assert_eq!(written["cycle-to-date"][AGES_KEPT], json!([[0, 86400, 4], [172_800, 259_200, 1]]));
    for form in [json!([[0, 86400, 10], [86400, 172_800, 1]]), json!({"0,86400": 10, "86400,172800": 1})] {
        let mut later = written.clone();
        later["cycle-to-date"]["lease-age-histogram"] = form;
        let read = LeaseChecker::parse(later.to_string().as_bytes(), &prefixes()).unwrap();
        assert_eq!(read.so_far.unwrap().ages, [(0, 14), (1, 1), (2, 1)].into());
    }
}

#[test]
fn history_has_ten_entries_and_the_lowest_numbers_go() {
    let entry = HistoryEntry {
        started: 0.0,
        finished: 1.0,
        figures: Figures {
            expiration_enabled: true,
            mode: ExpireMode::Age { secs: Some(1) },
            sharetypes: vec![],
            ages: [].into(),
            leases_per_share: [].into(),
            corrupt_shares: vec![],
            space: SpaceRecovered::default(),
        },
    };
    let mut history = CycleHistory::default();
    for cycle in 20..30 {
        assert_eq!(history.add(cycle, entry.clone()), [0; 0]);
    }
    assert_eq!(history.add(30, entry.clone()), [20]);
    assert_eq!(history.add(0, entry), [0], "where the count began again, what is new goes at once");
    assert_eq!(history.0.into_keys().collect::<Vec<_>>(), (21..=30).collect::<Vec<_>>());
}
