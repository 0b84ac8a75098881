//! The golden databases of 100,000 blocks: as [`cumulus_golden`](super::golden), with steps of sizes that fit them.
//!
//! They are made by a port of the generator, and are those of the original if their rows have the digests that stand
//! there.

use sexton::cumulus::policy::Mode;

use super::data::{Golden, State, large};
use super::golden::{check_at_once, check_numbers, check_resumed, check_steps, outcome};

fn cases() -> impl Iterator<Item = (&'static Golden, Mode, State)> {
    let of = |golden| [Mode::Compat, Mode::Careful].map(|mode| (golden, mode, outcome(golden, mode).unwrap()));
    large().iter().flat_map(of)
}

#[test]
fn the_port_makes_the_rows_of_the_original() {
    let names: Vec<&str> = large().iter().map(|golden| golden.name.as_str()).collect();
    assert_eq!(names, ["large_a_100k", "large_a_damaged", "large_c_100k"]);
    for golden in large() {
        golden.check(&golden.copy(false).1, State::Before, "as made");
    }
}

#[test]
fn at_once_gives_the_expected_rows() {
    for (golden, mode, state) in cases() {
        check_at_once(golden, mode, state, mode == Mode::Compat);
    }
}

#[test]
fn steps_of_any_size_give_the_same_rows() {
    for (i, (golden, mode, state)) in cases().enumerate() {
        check_steps(golden, mode, state, i % 2 == 0, 1500);
        check_steps(golden, mode, state, i % 2 == 1, 20_000);
    }
}

#[test]
fn resumed_between_any_two_steps_gives_the_same_rows() {
    for (i, (golden, mode, state)) in cases().enumerate() {
        let lives = check_resumed(golden, mode, state, i % 2 == 0, 30_000);
        assert!(lives > 3, "{} {mode:?}: {lives}", golden.name);
    }
}

#[test]
fn intermediate_numbers_are_the_same_to_the_last_bit() {
    let compared: usize = cases().map(|(golden, mode, _)| check_numbers(golden, mode)).sum();
    assert_eq!(compared, 4);
}
