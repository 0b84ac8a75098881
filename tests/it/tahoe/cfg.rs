//! `sexton import-tahoe-cfg`: what it prints is a configuration that `sexton config check` takes, whatever it was made of.

use proptest::prelude::*;
use sexton::config::Config;
use sexton::kinds::JobSettings;
use sexton::tahoe::container::ShareType;
use sexton::tahoe::leases::{Conduct, Expiry, LeaseSettings, ShareTypes, Word};

use crate::support::harness::{Ended, run, sexton};

fn import(folder: &std::path::Path, cfg: &str) -> Ended {
    let file = folder.join("tahoe.cfg");
    std::fs::write(&file, cfg).unwrap();
    run(&mut sexton(["import-tahoe-cfg".as_ref(), file.as_os_str()]))
}

#[test]
fn what_is_printed_is_a_configuration_that_means_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let cfg = "[node]\nnickname = a%%b\n[storage]\nenabled = true\nstorage_dir = my \"store\"\nreserved_space = 1G\n\
               expire.enabled = true\nexpire.mode = age\nexpire.override_lease_duration = 2mo\nexpire.mutable = no\n";
    let printed = import(folder.path(), cfg).expect(0);
    printed.said("doubtful: each of Tahoe's two crawlers has 10 % of a core of its own");
    let file = folder.path().join("config.ron");
    std::fs::write(&file, &printed.stdout).unwrap();
    run(&mut sexton(["config".as_ref(), "check".as_ref(), file.as_os_str()])).expect(0);
    let config = Config::parse(&printed.stdout, &file).unwrap();
    assert_eq!(config.settings.budget.rate, 0.20);
    let store = folder.path().canonicalize().unwrap().join("my \"store\"");
    assert_eq!(config.crawls.iter().map(|c| c.store.clone()).collect::<Vec<_>>(), [store.clone(), store]);
    let leases = JobSettings::Leases(LeaseSettings {
        expiry: Expiry::Age { secs: 62 * 86_400 },
        sharetypes: ShareTypes(vec![ShareType::Immutable]),
        word: Some(Word::Online),
        rehearsal: true,
        ..LeaseSettings::default()
    });
    assert_eq!((&config.crawls[0].job, &config.crawls[1].job), (&leases, &JobSettings::Count));
    assert!(
        printed.stdout.contains("\n            // Tahoe deletes as the node itself. `delete: online`"),
        "{}",
        printed.stdout
    );
    for line in printed.stderr.lines() {
        let doubt = line.strip_prefix("doubtful: ").unwrap();
        assert!(printed.stdout.contains(doubt), "what is said stands in the comments too: {doubt}");
    }
}

/// Below 31 days leases go that are valid by their own dates: nobody but Tahoe does that.
#[test]
fn a_duration_below_that_of_leases_is_followed_as_tahoe_does_it() {
    let folder = tempfile::tempdir().unwrap();
    let with = |days: u32, enabled: bool| {
        let rule = format!("expire.mode = age\nexpire.override_lease_duration = {days} days");
        let printed = import(folder.path(), &format!("[storage]\nexpire.enabled = {enabled}\n{rule}\n")).expect(0);
        let config = Config::parse(&printed.stdout, "config.ron").unwrap();
        let JobSettings::Leases(leases) = config.crawls[0].job.clone() else { panic!("{}", printed.stdout) };
        (leases, printed)
    };
    for days in [1, 10, 30] {
        let (leases, printed) = with(days, true);
        let expected = LeaseSettings {
            expiry: Expiry::Age { secs: u64::from(days) * 86_400 },
            sharetypes: "immutable,mutable".parse().unwrap(),
            word: Some(Word::Offline),
            conduct: Conduct::Compat,
            dry_run: true,
            rehearsal: true,
            ..LeaseSettings::default()
        };
        assert_eq!(leases, expected);
        printed.said("shorter than the 31 days");
        assert!(printed.stdout.contains("Without `compat: true` that is refused"), "{}", printed.stdout);
    }
    assert_eq!((with(31, true).0.word, with(31, true).0.conduct), (Some(Word::Online), Conduct::Careful));
    assert_eq!((with(10, false).0.word, with(10, false).0.dry_run), (None, true));
}

/// By a cutoff yet to come every lease goes: nobody but Tahoe does that either.
#[test]
fn a_cutoff_to_come_is_followed_as_tahoe_does_it() {
    let folder = tempfile::tempdir().unwrap();
    let with = |date: &str, enabled: bool| {
        let rule = format!("expire.mode = cutoff-date\nexpire.cutoff_date = {date}");
        let printed = import(folder.path(), &format!("[storage]\nexpire.enabled = {enabled}\n{rule}\n")).expect(0);
        let config = Config::parse(&printed.stdout, "config.ron").unwrap();
        let JobSettings::Leases(leases) = config.crawls[0].job.clone() else { panic!("{}", printed.stdout) };
        leases.validate().unwrap();
        leases.validate_at(1.9e9).expect("it can run");
        (leases, printed)
    };
    let (leases, printed) = with("9876-05-04", true);
    assert_eq!((leases.word, leases.conduct, leases.dry_run), (Some(Word::Offline), Conduct::Compat, true));
    printed.said("expire.cutoff_date is yet to come, so every lease goes");
    assert!(
        printed.stdout.contains("// Tahoe deletes as the node itself, and by a cutoff that is"),
        "{}",
        printed.stdout
    );
    let (leases, printed) = with("9876-05-04", false);
    assert_eq!((leases.word, leases.conduct, leases.dry_run), (None, Conduct::Compat, true));
    printed.said("expire.cutoff_date is yet to come");
    let (leases, printed) = with("2020-05-04", true);
    assert_eq!((leases.word, leases.conduct, leases.rehearsal), (Some(Word::Online), Conduct::Careful, true));
    assert!(!printed.stderr.contains("yet to come"), "{}", printed.stderr);
}

#[test]
fn what_tahoe_only_evaluates_is_only_evaluated() {
    let folder = tempfile::tempdir().unwrap();
    let cfg = "[storage]\nexpire.enabled = false\nexpire.mode = age\nexpire.override_lease_duration = 60 days\n";
    let printed = import(folder.path(), cfg).expect(0).stdout;
    let config = Config::parse(&printed, "config.ron").unwrap();
    let JobSettings::Leases(leases) = &config.crawls[0].job else { panic!("{printed}") };
    assert_eq!((leases.word, leases.dry_run), (None, true));
    assert!(!printed.contains("delete"), "{printed}");
}

#[test]
fn what_tahoe_would_not_start_with_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |cfg: &str, says: &str| {
        let ended = import(folder.path(), cfg).expect(2);
        ended.said(says).said("tahoe.cfg");
        assert_eq!(ended.stdout, "");
    };
    refused("storage = yes\n", "before the first section");
    refused("[storage]\nexpire.enabled = true\n", "there is no expire.mode");
    refused("[storage]\nexpire.mode = age\nexpire.override_lease_duration = 31\n", "has no unit");
    run(&mut sexton(["import-tahoe-cfg".as_ref(), folder.path().join("none").as_os_str()])).expect(2);
}

#[test]
fn rules_beyond_what_a_configuration_can_say_never_expire_anything() {
    let folder = tempfile::tempdir().unwrap();
    let cfg = "[storage]\nexpire.mode = age\nexpire.override_lease_duration = 9999999999 days\n";
    let printed = import(folder.path(), cfg).expect(0);
    printed.said("no lease is that old");
    assert!(printed.stdout.contains("expire: none"), "{}", printed.stdout);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn every_configuration_that_is_printed_is_valid(
        enabled in any::<bool>(),
        mode in prop_oneof![Just("age"), Just("cutoff-date")],
        days in prop_oneof![0u32..32, 0u32..5000],
        date in "(19|20|99)[0-9]{2}-(0[1-9]|1[0-2])-[0-3][0-9]",
        types in any::<(bool, bool)>(),
        dir in "[a-z\\\\\"'ä\u{1f600} ./-]{1,12}",
    ) {
        let folder = tempfile::tempdir().unwrap();
        let cfg = format!(
            "[storage]\nstorage_dir = {dir}\nexpire.enabled = {enabled}\nexpire.mode = {mode}\n\
             expire.override_lease_duration = {days} days\nexpire.cutoff_date = {date}\n\
             expire.mutable = {}\nexpire.immutable: {}\n",
            types.0, types.1
        );
        let printed = import(folder.path(), &cfg).expect(0);
        Config::parse(&printed.stdout, "config.ron").unwrap();
    }
}
