//! What goes out comes back, for whatever both can say; and where Tahoe's last bucket belongs.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::json;

use super::cycles::{CycleReach, lease_rows};
use super::{Crawler, Export, Import, ImportTime, NodeFolder};
use crate::job::Intent;
use crate::policy::cycle::{CycleIdentity, Fresh};
use crate::state::{MemoryStore, PrefixProgress, StateStore};
use crate::store::Store;
use crate::tahoe::TahoeStore;
use crate::tahoe::leases::LeaseSettings;
use crate::tahoe::state::LEASES_FILE;
use crate::tahoe::state::figures::Figures;
use crate::tahoe::state::tests::figures;

const MOMENT: ImportTime = ImportTime { unix_secs: 1_700_000_000.0, fixed: false };

struct Scene {
    dir: tempfile::TempDir,
}

impl Scene {
    fn new() -> Scene {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("shares")).unwrap();
        Scene { dir }
    }

    fn folder(&self) -> NodeFolder {
        NodeFolder::new(self.dir.path())
    }

    fn store(&self) -> TahoeStore {
        TahoeStore::open(self.dir.path()).unwrap()
    }

    /// A state with a cycle of the lease checker that has come so far.
    fn state(&self, number: u64, reach: CycleReach, figures: &Figures) -> MemoryStore {
        let store = self.store();
        let identity = CycleIdentity {
            store: store.identity(),
            job: "leases".to_owned(),
            parameters: super::lease_job(LeaseSettings::from_tahoe(figures)).1,
            ring: store.ring().shared_names(),
            now: 1.0,
            fixed_clock: false,
            not_in_ring: 0,
            stray_paths: Vec::new(),
            no_prefix: false,
            rehearsal: crate::policy::cycle::Rehearsal::No,
        };
        let mut state = MemoryStore::default();
        let key = state.begin_numbered("leases", &identity, number, 12.5).unwrap().key();
        let claims = state.claim(&key, u32::MAX).unwrap();
        let rows = lease_rows(store.ring(), &reach, figures).unwrap().into_iter().zip(&claims);
        let progress: Vec<PrefixProgress> = rows
            .map(|(row, claim)| PrefixProgress {
                prefix: row.prefix,
                fence: claim.fence,
                cursor: row.cursor,
                tally: row.saved,
                done: row.done,
                whole: false,
                notes: row.notes,
                intents: Vec::new(),
                candidates: Vec::new(),
                judged: crate::job::Judged::default(),
            })
            .collect();
        state.commit(&key, &progress, 99.5).unwrap();
        state
    }

    fn export(&self, state: &mut MemoryStore) -> Export {
        let export =
            Export::plan(Crawler::LeaseChecker, &*state.reader(), &self.folder(), &self.store()).unwrap().unwrap();
        export.apply(&self.folder()).unwrap();
        export
    }

    fn import(&self) -> Import {
        Import::plan(Crawler::LeaseChecker, &self.folder(), &self.store(), MOMENT).unwrap().unwrap()
    }
}

/// Some figures, always the same.
fn some_figures() -> Figures {
    figures().new_tree(&mut TestRunner::deterministic()).unwrap().current()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn what_was_exported_is_imported_and_exported_the_same(
        mut figures in figures(),
        number in 0u64..1000,
        done in prop_oneof![Just(0u32), Just(1), 2u32..1023, Just(1024)],
        started in any::<bool>(),
    ) {
        // A cycle of Sexton's own: types that may expire, and nothing deleted.
        figures.expiration_enabled = false;
        if figures.sharetypes.is_empty() {
            figures.sharetypes = LeaseSettings::default().sharetypes.0;
        }
        let scene = Scene::new();
        let bucket = scene.store().ring().name(done).map(|prefix| format!("{prefix}{}", "a".repeat(24)));
        let bucket = bucket.filter(|_| started);
        let reach = CycleReach { done, cursor: bucket.clone().map(String::into_bytes) };
        // Nothing was visited, so nothing was counted.
        let nothing = done == 0 && bucket.is_none();
        prop_assume!(!nothing);
        let first = scene.export(&mut scene.state(number, reach, &figures));
        let text = || std::fs::read(scene.dir.path().join(LEASES_FILE)).unwrap();
        let written = text();
        let import = scene.import();
        let mut state = MemoryStore::default();
        import.apply(&mut state, Fresh::No).unwrap();
        let second = scene.export(&mut state);
        prop_assert_eq!(&second, &first);
        prop_assert_eq!(text(), written);
        prop_assert_eq!(scene.import(), import);
        let latest = state.reader().latest("leases").unwrap().unwrap();
        prop_assert_eq!((latest.number, latest.started, latest.done.len()), (number, 12.5, done as usize));
    }
}

#[test]
fn the_last_bucket_counts_only_where_it_belongs() {
    let scene = Scene::new();
    let mut figures = some_figures();
    figures.expiration_enabled = false;
    scene.export(&mut scene.state(3, CycleReach { done: 1, cursor: None }, &figures));
    let path = scene.dir.path().join(LEASES_FILE);
    let mut file: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(file["last-complete-prefix"], "22");
    let mut import = |bucket: &str| {
        file["last-complete-bucket"] = json!(bucket);
        std::fs::write(&path, file.to_string()).unwrap();
        let import = scene.import();
        let told = import.remarks().iter().any(|remark| remark.contains("Tahoe has skipped every bucket"));
        (import.extent().unwrap().last_bucket.is_some(), told)
    };
    assert_eq!(import("23aaa"), (true, false), "of the prefix in progress, though it is gone");
    assert_eq!(import("22aaa"), (false, false), "left there by the prefix before");
    assert_eq!(import("zzz"), (false, true), "a name that stopped Tahoe from visiting any other");
    for name in ["zzz", "2"] {
        std::fs::create_dir_all(scene.dir.path().join("shares/23").join(name)).unwrap();
        assert_eq!(import(name), (true, false), "{name} lies in the prefix in progress");
    }
    assert_eq!(import("../../shares"), (false, false), "a path is no name");
}

#[test]
fn prefixes_out_of_turn_and_names_that_mislead_tahoe_are_left_out() {
    let scene = Scene::new();
    let mut figures = some_figures();
    figures.corrupt_shares.clear();
    let stray = CycleReach { done: 2, cursor: Some(b"zzz".to_vec()) };
    let mut state = scene.state(0, stray, &figures);
    let key = state.reader().latest("leases").unwrap().unwrap().key();
    let rows = state.reader().prefixes(&key, 0).unwrap();
    // All claims are still held: the walk has gone on elsewhere.
    let beyond = PrefixProgress {
        prefix: 9,
        fence: 1,
        cursor: None,
        tally: rows[0].tally.clone().unwrap(),
        done: true,
        whole: true,
        notes: vec![],
        intents: vec![],
        candidates: vec![],
        judged: crate::job::Judged::default(),
    };
    state.commit(&key, &[beyond], 1.0).unwrap();
    let export = scene.export(&mut state);
    let extent = export.extent().unwrap();
    assert_eq!((extent.prefixes_done, &extent.last_bucket), (2, &None));
    assert!(export.remarks().iter().any(|remark| remark.contains("complete behind the first one that is not: 1;")));
}

#[test]
fn a_cycle_with_half_done_deletions_is_not_given_up_for_what_is_imported() {
    let scene = Scene::new();
    let mut figures = some_figures();
    figures.expiration_enabled = false;
    scene.export(&mut scene.state(3, CycleReach { done: 1, cursor: None }, &figures));
    let mut state = scene.state(3, CycleReach { done: 1, cursor: None }, &figures);
    let latest = state.reader().latest("leases").unwrap().unwrap();
    let intent = Intent { bucket: b"ab".to_vec(), deletes: 1, body: "{}".to_owned(), begun: true };
    let progress = PrefixProgress {
        prefix: 1,
        fence: 1,
        cursor: None,
        tally: b"{}".to_vec(),
        done: false,
        whole: true,
        notes: Vec::new(),
        intents: vec![intent],
        candidates: vec![],
        judged: crate::job::Judged::default(),
    };
    state.commit(&latest.key(), &[progress], 13.0).unwrap();
    let refused = scene.import().apply(&mut state, Fresh::Yes).unwrap_err().to_string();
    assert!(refused.contains("changes that may be half done (buckets: 1)"), "{refused}");
    assert_eq!(state.reader().latest("leases").unwrap(), Some(latest));
}
