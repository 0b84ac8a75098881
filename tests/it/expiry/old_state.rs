//! States of 0.1.0, whose cycles deleted while they examined: one that was killed among its deletions is brought up to date when it
//! is opened, its intents are settled, and the rest of it is examined and judged before anything more is deleted.
//!
//! `tests/data/state-0.1.0/mid-deletion.sqlite.gz` was written by Sexton 0.1.0 over a store like the one made here: it was killed
//! after its fourth unlinking, in the second of three prefixes.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use sexton::job::{Job, Judged};
use sexton::policy::cycle::CycleIdentity;
use sexton::state::{Claim, PrefixProgress, SqliteStore, StateStore};
use sexton::store::Store;
use sexton::tahoe::leases::{LeaseSettings, Word};
use sexton::tahoe::{Leases, TahoeStore};

use super::crash::immutable_at;
use crate::support::harness::{NOW, run, sexton};

const PREFIXES: [&str; 3] = ["aa", "mm", "zz"];

fn share(store: &Path, prefix: &str, n: usize) -> PathBuf {
    let bucket = format!("{prefix}{}{}a", "b".repeat(22), char::from(b'a' + n as u8));
    store.join("shares").join(prefix).join(bucket).join("0")
}

/// The store as 0.1.0 had left it: of six buckets in each prefix three are to go, and one loses a lease of two.
fn make_store(store: &Path) {
    let at = NOW.parse().unwrap();
    for (prefix, gone) in PREFIXES.into_iter().zip([&[0, 2, 4][..], &[0], &[]]) {
        for n in 0..6 {
            let path = share(store, prefix, n);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let leases: &[(u8, u32)] = match n {
                1 if prefix == "aa" => &[(2, 3)],
                1 => &[(1, 40), (2, 3)],
                n if n % 2 == 0 => &[(1, 40)],
                _ => &[(1, 3)],
            };
            if !gone.contains(&n) {
                fs::write(path, immutable_at(at, 2, 50, leases)).unwrap();
            }
        }
    }
}

fn unpacked(folder: &Path) -> PathBuf {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/state-0.1.0/mid-deletion.sqlite.gz");
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(fs::File::open(data).unwrap()).read_to_end(&mut bytes).unwrap();
    fs::create_dir_all(folder).unwrap();
    fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let path = folder.join("old");
    fs::write(&path, bytes).unwrap();
    path
}

/// Puts what the old state has of its cycle into a state of the store made here, which lies elsewhere.
fn moved(old: &Path, store: &Path, new: &Path) {
    let (mut from, mut to) = (SqliteStore::open(old).unwrap(), SqliteStore::open(new).unwrap());
    let cycle = from.reader().latest("leases").unwrap().unwrap();
    assert_eq!((cycle.number, cycle.finished, cycle.carrying_out, cycle.done.len()), (0, None, None, 639));
    assert_eq!(from.reader().half_done(&cycle.key()).unwrap(), 1, "a lease table of two leases");
    let store = TahoeStore::open(store).unwrap();
    let settings =
        LeaseSettings { expiry: "age:2678400".parse().unwrap(), word: Some(Word::Offline), ..LeaseSettings::default() };
    assert_eq!(cycle.identity.parameters, Job::<TahoeStore>::parameters(&Leases::new(settings)));
    let identity = CycleIdentity { store: store.identity(), ..cycle.identity.clone() };
    let key = to.begin("leases", &identity, cycle.started).unwrap().key();
    let open: Vec<Claim> = from.claim(&cycle.key(), u32::MAX).unwrap();
    let rows = from.reader().prefixes(&cycle.key(), 0).unwrap();
    let claims = to.claim(&key, u32::MAX).unwrap();
    let progress = rows.into_iter().zip(claims).filter_map(|(row, claim)| {
        let intents = open.iter().find(|claim| claim.prefix == row.prefix).map(|claim| claim.intents.clone());
        Some(PrefixProgress {
            prefix: row.prefix,
            fence: claim.fence,
            cursor: row.cursor,
            tally: row.tally?,
            done: row.done,
            whole: false,
            notes: Vec::new(),
            intents: intents.unwrap_or_default(),
            candidates: Vec::new(),
            judged: Judged::default(),
        })
    });
    let progress: Vec<PrefixProgress> = progress.collect();
    assert_eq!(progress.iter().map(|p| p.intents.len()).sum::<usize>(), 4);
    to.commit(&key, &progress, cycle.started).unwrap();
}

#[test]
fn a_cycle_that_0_1_0_was_killed_in_settles_its_intents_and_is_judged_before_anything_more_goes() {
    for workers in [1, 2] {
        let folder = tempfile::tempdir().unwrap();
        let (store, state) = (folder.path().join("store"), folder.path().join("states/new"));
        make_store(&store);
        moved(&unpacked(&folder.path().join("states")), &store, &state);
        let there = || PREFIXES.map(|prefix| (0..6).filter(|n| share(&store, prefix, *n).exists()).count());
        let crawl = |max_delete: &str| {
            let args = format!("--job leases --json --expire age:2678400 --offline --now {NOW} --workers {workers}");
            let mut command = sexton(["crawl".as_ref(), store.as_os_str(), "--state".as_ref(), state.as_os_str()]);
            run(command.args(args.split(' ')).args(["--max-delete", max_delete]))
        };
        assert_eq!(there(), [3, 5, 6]);
        crawl("10%").expect(4).said("would delete 3 of 18 shares (deleted already: 6)");
        // What it had planned is done, and no more.
        assert_eq!(there(), [3, 3, 6]);
        let ended = crawl("50%").expect(0);
        ended.said("was examined by an earlier run, and is not examined again");
        let report = ended.report();
        assert_eq!(there(), [3, 3, 3]);
        assert_eq!((&report["cycle"], &report["shares"], &report["buckets"]), (&0.into(), &18.into(), &18.into()));
        assert_eq!(report["deleted"], serde_json::json!({"leases": 12, "shares": 9, "bytes": 1422, "buckets": 0}));
        let space = &report["history"]["space-recovered"];
        for (key, shares) in [("examined-shares", 18), ("configured-shares", 9), ("actual-shares", 9)] {
            assert_eq!(space[key], shares, "{key}");
        }
    }
}
