//! Mutated real shares never panic; what they were before is good. (That nothing which can be found is missed is tested
//! flip by flip from outside.)

use std::io::{self, Read};

use proptest::prelude::*;

use super::*;
use crate::job::scrub::check_whole;

/// The shares of the small grid with their numbers.
fn shares() -> Vec<(i64, Vec<u8>)> {
    let packed = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/real-grid-small.tar.gz")).unwrap();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(&packed[..]));
    let mut shares = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
        if let (true, Ok(number)) = (entry.header().entry_type().is_file(), name.parse()) {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            shares.push((number, bytes));
        }
    }
    shares
}

fn check(number: i64, bytes: Vec<u8>, piece: usize) -> Checked<ShareFacts> {
    run(ShareCheck::new(bytes.len() as u64, Some(number)), &bytes, piece).unwrap()
}

fn run(check: ShareCheck, mut bytes: &[u8], piece: usize) -> io::Result<Checked<ShareFacts>> {
    check_whole(check.in_pieces_of(piece), &mut bytes, &mut vec![0; piece])
}

#[test]
fn real_shares_are_good_whatever_the_buffer() {
    let shares = shares();
    assert_eq!(shares.len(), 112);
    for (number, bytes) in shares {
        let checked = check(number, bytes.clone(), 256 << 10);
        assert_eq!(checked.flaws, []);
        assert!(checked.facts.common.is_some() && !checked.is_partial);
        assert_eq!(check(number, bytes.clone(), HEAD_LEN), checked);
        assert_eq!(check(number, bytes, HEAD_LEN + 1), checked);
    }
}

/// Blocks that are hashed by turns are judged like blocks that come one by one.
#[test]
fn both_ways_of_hashing_find_the_same() {
    let bytes = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/thirteen-blocks.share")).unwrap();
    let mut blocks = std::collections::BTreeSet::new();
    for (number, bytes, flips) in shares().into_iter().map(|(n, bytes)| (n, bytes, 8)).chain([(0, bytes, 400)]) {
        for at in (0..flips).map(|i| bytes.len() * i / flips) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            let check = || ShareCheck::new(bytes.len() as u64, Some(number));
            let one_by_one = run(check().over_again(), &flipped, 65536).unwrap();
            for buffer in [4096, 32768, 40000, 524288] {
                let by_turns = run(check(), &flipped, buffer).unwrap();
                assert_eq!(by_turns, one_by_one, "share {number}, byte {at}, buffer {buffer}");
            }
            let in_data = one_by_one.flaws.into_iter().filter(|flaw| flaw.region == Region::Data);
            blocks.extend(in_data.map(|flaw| flaw.reason));
        }
    }
    assert_eq!(blocks.len(), 13, "flips were found in {blocks:?}");
}

#[test]
fn a_share_under_another_number_is_found() {
    for (number, bytes) in shares() {
        for other in [number ^ 1, 4, -1, 1 << 40] {
            let flaws = check(other, bytes.clone(), 65536).flaws;
            assert_eq!(flaws.iter().map(|f| f.region).collect::<Vec<_>>(), [Region::Chain], "{number} as {other}");
        }
    }
}

#[test]
fn a_share_that_shrinks_meanwhile_is_an_error_and_no_flaw() {
    let (number, mut bytes) = shares().into_iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    let check = ShareCheck::new(bytes.len() as u64, Some(number));
    bytes.truncate(bytes.len() / 2);
    let error = run(check, &bytes, 4096).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

/// Made with OpenSSL's keys and signatures by way of Python; Tahoe itself makes keys of 2,048 bits, unless it is told
/// otherwise.
#[test]
fn a_share_with_a_short_key_is_not_called_corrupt_for_it() {
    let bytes = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/sdmf-1024-bits.share")).unwrap();
    let checked = check(0, bytes.clone(), 4096);
    assert_eq!(checked.flaws, []);
    assert!(checked.facts.common.is_some() && checked.is_partial);
    // All but the signature is checked: its only block stands here.
    let mut damaged = bytes;
    damaged[468 + 565] ^= 1;
    assert_eq!(check(0, damaged, 4096).flaws.iter().map(|f| f.region).collect::<Vec<_>>(), [Region::Data]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics_on_mutated_shares(
        pick in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0usize..700, any::<u64>()), 0..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        thread_local!(static SHARES: Vec<(i64, Vec<u8>)> = shares());
        let (number, mut bytes) = SHARES.with(|shares| shares[pick.index(shares.len())].clone());
        for (at, near, value) in changes {
            // Mostly where lengths and offsets stand.
            let at = if near < 690 { near } else { at.index(bytes.len()) };
            let value = match value % 4 { 0 => value, 1 => value % 4096, 2 => u64::MAX, _ => bytes.len() as u64 };
            for (byte, new) in bytes.iter_mut().skip(at).zip(value.to_be_bytes()) {
                *byte = new;
            }
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let _ = run(ShareCheck::new(bytes.len() as u64, Some(number)), &bytes, HEAD_LEN);
    }
}
