//! When cycles start, which are resumed, and how long they still take.

use proptest::prelude::*;
use serde_json::json;

use super::*;

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn the_later_of_slow_start_and_minimum_cycle_time_wins() {
    // The engine started at monotonic 100 s; now it is 110 s there, and 5000 s by the wall clock.
    let now = Moment { monotonic: secs(110), unix_secs: 5000.0 };
    for (slow_start, last, minimum, wait) in [
        (0, LastEnd::Never, 3600, 0),
        (300, LastEnd::Never, 3600, 290),
        (5, LastEnd::Never, 3600, 0),
        (0, LastEnd::Here(secs(105)), 60, 55),
        (0, LastEnd::Here(secs(105)), 3, 0),
        (300, LastEnd::Here(secs(105)), 60, 290),
        (30, LastEnd::Here(secs(105)), 60, 55),
        (0, LastEnd::Earlier(4000.0), 3600, 2600),
        (0, LastEnd::Earlier(4000.0), 1000, 0),
        (360, LastEnd::Earlier(4000.0), 1000, 350),
        (0, LastEnd::Earlier(9_000_000.0), 3600, 3600),
        (0, LastEnd::Earlier(f64::NAN), 3600, 3600),
        (0, LastEnd::Earlier(f64::NEG_INFINITY), 3600, 3600),
    ] {
        let waits = next_start(secs(100), secs(slow_start), last, secs(minimum), now);
        assert_eq!(waits, secs(wait), "{slow_start} {last:?} {minimum}");
    }
}

fn ring(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn cycle(finished: Option<f64>, delivered: bool) -> KnownCycle {
    let identity = CycleIdentity {
        store: "/srv/a".into(),
        job: "leases".into(),
        parameters: json!({"expire": "none", "sharetypes": ["mutable", "immutable"]}),
        ring: ring(&["22", "23", "24"]).into(),
        now: 1_700_000_000.0,
        fixed_clock: true,
        not_in_ring: 0,
        stray_paths: Vec::new(),
        no_prefix: false,
        rehearsal: Rehearsal::No,
    };
    KnownCycle {
        crawl: "c".into(),
        number: 3,
        identity,
        started: 1.0,
        finished,
        delivered,
        confirmed: None,
        carrying_out: None,
        done: vec![],
    }
}

/// Decides on a cycle as [`cycle`] makes it, with what is wanted changed from the same.
fn decided(latest: &KnownCycle, fresh: Fresh, change: impl FnOnce(&mut WantedIdentity<'_>)) -> StartDecision {
    let same = latest.identity.clone();
    let (store, job, parameters, ring) = (&same.store, &same.job, &same.parameters, &same.ring);
    let mut wanted = WantedIdentity { store, job, parameters, ring, now: None };
    change(&mut wanted);
    decide(Some(latest), &wanted, fresh)
}

#[test]
fn an_unfinished_cycle_is_resumed_if_nothing_differs() {
    let unfinished = cycle(None, false);
    assert_eq!(decided(&unfinished, Fresh::No, |_| ()), StartDecision::Resume);
    assert_eq!(decided(&unfinished, Fresh::No, |w| w.now = Some(1_700_000_000.0)), StartDecision::Resume);
    assert_eq!(decided(&unfinished, Fresh::Yes, |_| ()), StartDecision::Begin);
    assert_eq!(decided(&unfinished, Fresh::Yes, |w| w.store = "/srv/b"), StartDecision::Begin);
}

#[test]
fn each_difference_is_named() {
    let refused = |change: &dyn Fn(&mut WantedIdentity<'_>)| match decided(&cycle(None, false), Fresh::No, change) {
        StartDecision::Refuse(differences) => differences.iter().map(Difference::to_string).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    let parameters = json!({"expire": "age:864000", "dry_run": true, "sharetypes": ["mutable", "immutable"]});
    assert_eq!(
        refused(&|w| {
            w.store = "/srv/b";
            w.parameters = Box::leak(Box::new(parameters.clone()));
            w.now = Some(5.0);
            w.ring = Box::leak(Box::new(ring(&["22", "24"])));
        }),
        [
            "store: was /srv/a, is /srv/b",
            "dry_run: was not set, is true",
            "expire: was \"none\", is \"age:864000\"",
            "now: was 1700000000, is 5",
            "ring: was 3 prefixes with 23 at position 1, is 2 prefixes with 24 at position 1",
        ]
    );
    assert_eq!(refused(&|w| (w.job, w.parameters) = ("count", &Value::Null)), ["job: was leases, is count"]);
    assert_eq!(
        refused(&|w| w.parameters = &Value::Null),
        [r#"parameters: was {"expire":"none","sharetypes":["mutable","immutable"]}, is null"#]
    );

    let mut by_clock = cycle(None, false);
    by_clock.identity.fixed_clock = false;
    assert_eq!(
        decided(&by_clock, Fresh::No, |w| w.now = Some(5.0)),
        StartDecision::Refuse(vec![Difference::new("now", "1700000000 by the clock", 5)])
    );
}

#[test]
fn a_finished_cycle_is_delivered_once() {
    let finished = cycle(Some(9.0), false);
    assert_eq!(decided(&finished, Fresh::No, |_| ()), StartDecision::Deliver);
    assert_eq!(decided(&finished, Fresh::No, |w| w.now = Some(1_700_000_000.0)), StartDecision::Deliver);
    assert_eq!(decided(&finished, Fresh::Yes, |_| ()), StartDecision::Begin);
    // Another one is wanted: the one that nobody fetched stands in no way.
    assert_eq!(decided(&finished, Fresh::No, |w| w.now = Some(5.0)), StartDecision::Begin);
    assert_eq!(decided(&finished, Fresh::No, |w| w.job = "count"), StartDecision::Begin);
    assert_eq!(decided(&cycle(Some(9.0), true), Fresh::No, |_| ()), StartDecision::Begin);
    let wanted = WantedIdentity { store: "", job: "", parameters: &Value::Null, ring: &[], now: None };
    assert_eq!(decide(None, &wanted, Fresh::No), StartDecision::Begin);
}

proptest! {
    #[test]
    fn waits_never_exceed_both_settings(
        start in 0u64..1000, since in 0u64..100_000, slow in 0u64..100_000, minimum in 0u64..100_000,
        end in prop::num::f64::ANY, unix in prop::num::f64::ANY, here in 0u64..200_000,
    ) {
        let now = Moment { monotonic: secs(start + since), unix_secs: unix };
        for last in [LastEnd::Never, LastEnd::Earlier(end), LastEnd::Here(secs(here))] {
            let wait = next_start(secs(start), secs(slow), last, secs(minimum), now);
            prop_assert!(wait <= secs(slow.max(minimum)));
            prop_assert!(wait >= secs(slow.saturating_sub(since)));
        }
    }
}

#[test]
fn only_what_was_confirmed_with_the_same_parameters_is_done_without_a_rehearsal() {
    let of = |rehearsal: Rehearsal, finished: Option<f64>, confirmed: Option<f64>, expire: &str| {
        let mut latest = cycle(finished, finished.is_some());
        latest.identity.rehearsal = rehearsal;
        latest.confirmed = confirmed;
        let parameters = json!({"expire": expire, "sharetypes": ["mutable", "immutable"]});
        // Another ring or clock is no other deletion.
        let ring = ring(&["22"]);
        let wanted =
            WantedIdentity { store: "/srv/a", job: "leases", parameters: &parameters, ring: &ring, now: Some(1.0) };
        is_confirmed(Some(&latest), &wanted)
    };
    let (ended, confirmed) = (Some(2.0), Some(3.0));
    for (rehearsal, finished, confirmed, expected) in [
        (Rehearsal::Yes, None, None, false),
        (Rehearsal::Yes, None, confirmed, true),
        (Rehearsal::Yes, ended, None, false),
        (Rehearsal::Yes, ended, confirmed, true),
        (Rehearsal::No, None, None, true),
        (Rehearsal::No, ended, None, true),
    ] {
        assert_eq!(of(rehearsal, finished, confirmed, "none"), expected);
        assert!(!of(rehearsal, finished, confirmed, "age:1"), "something else is wanted");
    }
    let parameters = json!(null);
    let wanted = WantedIdentity { store: "", job: "", parameters: &parameters, ring: &[], now: None };
    assert!(!is_confirmed(None, &wanted));
}

#[test]
fn a_cycle_that_stands_between_its_phases_gives_way_to_another_one() {
    let mut examined = cycle(None, false);
    examined.done = (0..examined.identity.ring.len() as u32).collect();
    assert!(examined.is_examined());
    assert_eq!(decided(&examined, Fresh::No, |_| ()), StartDecision::Resume);
    assert_eq!(decided(&examined, Fresh::No, |w| w.parameters = &Value::Null), StartDecision::Begin);
    examined.carrying_out = Some(5.0);
    assert!(matches!(decided(&examined, Fresh::No, |w| w.parameters = &Value::Null), StartDecision::Refuse(_)));
}
