//! Damaged objects in the file: older states, and rows that are lost.

use rusqlite::Connection;
use serde_json::json;

use super::script;
use crate::error::Error;
use crate::job::{Counts, Coverage, Finding, Judged, Notes, Severity};
use crate::policy::cycle::{CycleIdentity, Rehearsal};
use crate::state::{Claim, PrefixProgress, SqliteStore, StateStore};
use crate::store::ErrorCause;

fn identity() -> CycleIdentity {
    CycleIdentity {
        store: "/store".to_owned(),
        job: "verify".to_owned(),
        parameters: serde_json::Value::Null,
        ring: ["aa", "ab", "ac"].map(str::to_owned).into(),
        now: 1.0,
        fixed_clock: false,
        not_in_ring: 0,
        stray_paths: Vec::new(),
        no_prefix: false,
        rehearsal: Rehearsal::No,
    }
}

/// What a walk has found, as it is saved; shares as `bucket/share`, those that could not be read with a question mark before,
/// those that are only kept with a plus.
fn walked(claim: &Claim, cursor: &str, done: bool, partial: bool, shares: &[&str]) -> PrefixProgress {
    let mut notes = Notes::resume(Counts::default());
    for text in shares {
        let (bucket, share) = text.trim_start_matches(['?', '+']).split_once('/').unwrap();
        notes.enter(bucket.as_bytes());
        if text.starts_with('?') {
            notes.error(
                &std::path::Path::new("/store/shares/aa").join(bucket).join(share),
                ErrorCause::Other,
                &"it cannot be read",
            );
            continue;
        }
        let severity = if text.starts_with('+') { Severity::Note } else { Severity::Bad };
        notes.finding(&Finding { severity, ..Finding::bad(bucket, "blocks", "its hash differs").in_object(share) });
    }
    let (rows, judged) = (notes.take_rows(), notes.take_judged());
    let coverage = if partial { Coverage::Nothing } else { Coverage::All };
    let tally = serde_json::to_vec(&json!({"counts": notes.counts, "tally": {}, "partial": partial})).unwrap();
    PrefixProgress {
        prefix: claim.prefix,
        fence: claim.fence,
        cursor: Some(cursor.into()),
        tally,
        done,
        whole: !partial,
        notes: rows,
        intents: Vec::new(),
        candidates: Vec::new(),
        judged: Judged { coverage, ..judged },
    }
}

fn known(store: &mut SqliteStore) -> Vec<String> {
    let damage = store.reader().damage("/store", "verify", 100).unwrap();
    assert_eq!(store.reader().damaged("/store", "verify").unwrap(), damage.len() as u64);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    damage.iter().map(|one| format!("{}/{}/{}", one.prefix, text(&one.name.bucket), text(&one.name.object))).collect()
}

#[test]
fn an_older_state_knows_the_damage_that_its_cycles_have_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let mut store = SqliteStore::open(&path).unwrap();
    let first = store.begin("verify", &identity(), 1.0).unwrap().key();
    let claims = store.claim(&first, 3).unwrap();
    let all = [
        walked(&claims[0], "z", true, false, &["a/0", "a/1", "b/2", "+b/3", "c/4"]),
        walked(&claims[1], "z", true, false, &["d/5"]),
        walked(&claims[2], "z", true, false, &["e/6"]),
    ];
    store.commit(&first, &all, 2.0).unwrap();
    store.deliver(&first).unwrap();
    let second = store.begin("verify", &identity(), 3.0).unwrap().key();
    let claims = store.claim(&second, 3).unwrap();
    // "a/0" is well, "a/1" cannot be read, "b" is gone, and "c" was not visited yet; "ab" was visited in part.
    let part = [
        walked(&claims[0], "bb", false, false, &["?a/1"]),
        walked(&claims[1], "z", true, true, &["f/7"]),
        walked(&claims[2], "z", true, false, &[]),
    ];
    store.commit(&second, &part, 4.0).unwrap();
    let now = ["aa/a/1", "aa/c/4", "ab/d/5", "ab/f/7"];
    assert_eq!(known(&mut store), now);
    drop(store);

    let conn = Connection::open(&path).unwrap();
    script::with_rings_as_before(&conn);
    conn.execute_batch(
        "DROP TABLE damage; DROP TABLE damage_total; ALTER TABLE cycle DROP COLUMN carrying_out;
         ALTER TABLE prefix DROP COLUMN candidates; ALTER TABLE prefix DROP COLUMN candidate_sum; DROP TABLE candidate;
         PRAGMA user_version = 5",
    )
    .unwrap();
    drop(conn);
    let mut store = SqliteStore::open(&path).unwrap();
    // Of the errors of an older state only the bucket is known: what it had counts on until the next visit.
    let before = ["aa/a/0", "aa/a/1", "aa/c/4", "ab/d/5", "ab/f/7"];
    assert_eq!(known(&mut store), before);
    let claim = store.claim(&second, 1).unwrap().remove(0);
    let rest = PrefixProgress { notes: Vec::new(), ..walked(&claim, "z", true, false, &[]) };
    store.commit(&second, &[rest], 5.0).unwrap();
    assert_eq!(known(&mut store), ["aa/a/0", "aa/a/1", "ab/d/5", "ab/f/7"]);
}

/// How it happens: a page of the file is put back from an older copy.
#[test]
fn lost_rows_of_damage_are_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let mut store = SqliteStore::open(&path).unwrap();
    let cycle = store.begin("verify", &identity(), 1.0).unwrap().key();
    let claims = store.claim(&cycle, 3).unwrap();
    store.commit(&cycle, &[walked(&claims[0], "z", true, false, &["a/0", "b/0"])], 2.0).unwrap();
    drop(store);
    for change in ["DELETE FROM damage WHERE bucket = x'61'", "UPDATE damage_total SET objects = 1"] {
        let conn = Connection::open(&path).unwrap();
        conn.execute_batch(change).unwrap();
        drop(conn);
        let store = SqliteStore::open(&path).unwrap();
        let error = store.reader().damage("/store", "verify", 100).unwrap_err();
        assert!(matches!(&error, Error::StateDamaged { .. }), "{change}: {error}");
    }
    let counted = SqliteStore::open(&path).unwrap().reader().damaged("/store", "verify");
    assert!(matches!(counted, Err(Error::StateDamaged { .. })), "{counted:?}");
}
