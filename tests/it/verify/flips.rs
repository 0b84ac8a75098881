//! Real shares, damaged in small ways, against the prototype that defines what must be found.
//!
//! `tests/data/flips.json` says of some thousands of flipped bits, cuts and zeroed sectors whether `scrub_prototype.py`, which
//! stands on Tahoe-LAFS's own modules, has found them (`make_flips.py` made it).

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use sexton::job::scrub::{Checked, check_whole};
use sexton::tahoe::check::{ShareCheck, ShareFacts};

use crate::support::harness::Fixture;

fn check(mut bytes: &[u8], number: i64, buffer: &mut [u8]) -> Checked<ShareFacts> {
    let check = ShareCheck::new(bytes.len() as u64, Some(number)).in_pieces_of(buffer.len());
    check_whole(check, &mut bytes, buffer).unwrap()
}

/// Our name for a region of the prototype; where several could be meant, whichever comes first.
fn region(prototype: &str) -> Option<&'static [&'static str]> {
    let name = prototype.trim_start_matches("SDMF ").trim_start_matches("MDMF ");
    Some(match name {
        "container header" | "container magic" => &["container header"],
        // Data that ends too early, or a count that is looked for elsewhere.
        "container lengths" => &["container lengths", "offsets", "extra lease count"],
        "extra lease count" => &["extra lease count"],
        "layout: version, offsets" => &["layout: version, offsets", "UEB length"],
        "data blocks" | "data" => &["data blocks"],
        "plaintext tree (unused)" => &["plaintext tree"],
        "crypttext hash tree" => &["crypttext hash tree"],
        "block hash tree" => &["block hash tree"],
        "share hash chain" => &["share hash chain"],
        "UEB length" => &["UEB length"],
        "UEB, the rest" => &["UEB"],
        "UEB crypttext_root_hash" => &["UEB", "crypttext hash tree"],
        "UEB share_root_hash" => &["share hash chain"],
        "signed fields" | "public key" | "signature" => &["signature", "public key", "signed fields", "offsets"],
        // What they make of the parts shows first.
        "offsets" => &["offsets", "signature", "public key", "signed fields", "share hash chain", "block hash tree"],
        _ => return None,
    })
}

/// Compares with what the prototype has found; gives how many were found and how many there were, by region.
pub fn compare(shares: &Path, flips: &[Value]) -> BTreeMap<String, (u32, u32)> {
    let mut figures: BTreeMap<String, (u32, u32)> = BTreeMap::new();
    let mut buffer = vec![0; 64 << 10];
    for row in flips {
        let share = row["share"].as_str().unwrap();
        let good = std::fs::read(shares.join(share)).unwrap();
        let number = share.rsplit_once('/').unwrap().1.parse().unwrap();
        assert_eq!(check(&good, number, &mut buffer).flaws, [], "{share}");
        for flip in row["flips"].as_array().unwrap() {
            let (name, bit) = (flip[0].as_str().unwrap(), flip[1].as_u64().unwrap());
            let mut bytes = good.clone();
            bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
            let flaws = check(&bytes, number, &mut buffer).flaws;
            assert_eq!(!flaws.is_empty(), flip[2] == true, "{share}, {name}, bit {bit}: {flaws:?}");
            let kind = if good.starts_with(b"Tahoe") { "mutable" } else { "immutable" };
            let figure = figures.entry(format!("{kind}: {name}")).or_default();
            *figure = (figure.0 + u32::from(!flaws.is_empty()), figure.1 + 1);
            // Where bytes are named, the bit is in them.
            for flaw in &flaws {
                let holds = flaw.bytes.is_none_or(|b| (b.start..b.end).contains(&(bit / 8)));
                assert!(holds, "{share}, {name}, bit {bit} of byte {}: {flaw:?}", bit / 8);
            }
            if let (Some(expected), Some(first)) = (region(name), flaws.first()) {
                let told = first.region;
                assert!(expected.contains(&told), "{share}, {name}, bit {bit}: {flaws:?}");
            }
        }
        for cut in row["cuts"].as_array().unwrap() {
            let length = cut[0].as_u64().unwrap();
            let flaws = check(&good[..length as usize], number, &mut buffer).flaws;
            assert_eq!(!flaws.is_empty(), cut[1] == true, "{share} cut to {length}: {flaws:?}");
        }
        for zero in row["zeros"].as_array().unwrap() {
            let at = zero[0].as_u64().unwrap() as usize;
            let mut bytes = good.clone();
            bytes.iter_mut().skip(at).take(512).for_each(|b| *b = 0);
            let flaws = check(&bytes, number, &mut buffer).flaws;
            assert_eq!(!flaws.is_empty(), zero[1] == true, "{share}, zeros from {at}: {flaws:?}");
        }
    }
    figures
}

#[test]
fn every_flip_cut_and_zeroed_sector_that_the_prototype_finds_is_found() {
    let fixture = Fixture::unpack("real-grid-small");
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/flips.json");
    let flips: Vec<Value> = serde_json::from_slice(&std::fs::read(data).unwrap()).unwrap();
    assert_eq!(flips.len(), 112);
    let figures = compare(&fixture.root.join("shares"), &flips);
    // The table of what can be found: all of a region, or nothing of it.
    let nothing = [
        "leases",
        "nodeid, write enabler",
        "UEB crypttext_hash",
        "encrypted private key",
        "gap before data",
        "stale",
        "slack",
    ];
    for (region, (found, all)) in &figures {
        let harmless = nothing.iter().any(|name| region.contains(name));
        let nearly = region.ends_with("SDMF offsets") || region.ends_with("container lengths");
        match (harmless, nearly) {
            (true, _) => assert_eq!(*found, 0, "{region}"),
            // The rest moves ends within bytes that mean nothing.
            (_, true) => assert!(100 * found >= 95 * all, "{region}: {found} of {all}"),
            _ => assert_eq!(found, all, "{region}"),
        }
    }
    assert!(figures.len() > 25, "{figures:?}");
}
