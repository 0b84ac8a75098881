//! What files are read as, and what is said about wrong ones.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::cumulus::policy::{Era, Limits, Mode, Options, Policy};
use crate::cumulus::settings::{CleaningMode, LongLocks, OlderCopy};
use crate::policy::windows::Window;
use crate::settings::{Checkpoint, MaintenanceSettings, Priority};
use crate::tahoe::container::ShareType;
use crate::tahoe::leases::{Expiry, LeaseSettings, ShareTypes};
use crate::tahoe::verify::VerifySettings;

fn parse(text: &str) -> Result<Config> {
    Config::parse(text, "/etc/sexton/config.ron")
}

#[test]
fn the_example_holds_exactly_the_documented_defaults() {
    let example = parse(EXAMPLE).unwrap();
    let short = r#"(crawls: [
        (store: "/srv/tahoe/storage", job: leases()),
        (store: "/srv/tahoe/storage", job: verify()),
        (store: "/srv/tahoe/storage", job: count),
    ])"#;
    assert_eq!(example, parse(short).unwrap());
    assert_eq!(example.settings, Settings { priority: Priority::Idle, ..Settings::default() });
    assert_eq!(example.daemon, DaemonConfig::default());
    assert_eq!(example.daemon.listen.to_string(), "127.0.0.1:7377");

    // The numbers of the issue and of Tahoe's crawlers, once more as numbers.
    let budget = &example.settings.budget;
    assert_eq!((budget.rate, budget.slice, budget.max_sleep), (0.10, Duration::from_secs(1), None));
    assert_eq!((budget.basis, example.settings.checkpoint), (Basis::Wall, Checkpoint::EverySlice));
    assert_eq!(example.state, None);
    let [leases, verify, count] = &example.crawls[..] else { panic!("three crawls: {example:?}") };
    let secs = |d: Duration| d.as_secs();
    assert_eq!((secs(leases.settings.minimum_cycle_time), secs(leases.settings.slow_start)), (43_200, 360));
    assert_eq!((secs(count.settings.minimum_cycle_time), secs(count.settings.slow_start)), (3_600, 300));
    assert_eq!((leases.settings.workers, leases.settings.weight, leases.settings.read_ahead), (1, 1.0, 8));
    assert_eq!(leases.job, JobSettings::Leases(LeaseSettings { rehearsal: true, ..LeaseSettings::default() }));
    assert_eq!((count.settings.name.as_str(), &count.job), ("count", &JobSettings::Count));
    assert_eq!(verify.job, JobSettings::Verify { verify: VerifySettings::default(), offline: false });
    assert_eq!((secs(verify.settings.minimum_cycle_time), secs(verify.settings.slow_start)), (7 * 86_400, 600));
    assert_eq!((leases.settings.order, verify.settings.order), (Order::Ring, Order::OldestFirst));
}

#[test]
fn paths_are_taken_from_the_folder_of_the_file_without_parts_that_lead_nowhere() {
    let text = r#"(state: "./s.sqlite", crawls: [(store: ".", job: count)],
        clean: [(database: "/srv/./db/", backup: "b/./copy")])"#;
    let config = parse(text).unwrap();
    let shown = |path: &Path| path.display().to_string();
    assert_eq!(config.state.as_deref().map(shown).as_deref(), Some("/etc/sexton/s.sqlite"));
    assert_eq!(shown(&config.crawls[0].store), "/etc/sexton");
    assert_eq!(shown(&config.cleanings[0].database), "/srv/db");
    assert_eq!(config.cleanings[0].backup.as_deref().map(shown).as_deref(), Some("/etc/sexton/b/copy"));
}

#[test]
fn every_key_is_read() {
    let config = parse(
        r#"(
            state: "state.sqlite",
            budget: (cpu_percentage: "250%", cpu_slice: "500ms", basis: cpu, max_sleep: "299s",
                windows: {"22:00-06:00": "50%", "12:00-13:30": "5%"}),
            priority: low, log: json, http: (listen: "[::1]:80", allowed_hosts: ["NAS.example.org", "proxy:8080", ""]),
            checkpoint: every("10s"),
            crawls: [(
                name: "old-leases", store: "../storage", workers: 2, weight: 0.1, read_ahead: 0,
                minimum_cycle_time: "0s", slow_start: "1m", jitter: "5m",
                job: leases(expire: cutoff("2025-01-01"), sharetypes: [immutable], dry_run: true),
            )],
        )"#,
    )
    .unwrap();
    let budget = BudgetSettings {
        rate: 2.5,
        slice: Duration::from_millis(500),
        basis: Basis::Cpu,
        max_sleep: Some(Duration::from_secs(299)),
    };
    let settings = Settings { budget, checkpoint: Checkpoint::Every(Duration::from_secs(10)), priority: Priority::Low };
    let crawl = CrawlConfig {
        settings: CrawlSettings {
            name: "old-leases".into(),
            workers: 2,
            weight: 0.1,
            minimum_cycle_time: Duration::ZERO,
            jitter: Duration::from_secs(300),
            slow_start: Duration::from_secs(60),
            read_ahead: 0,
            ..CrawlSettings::new("old-leases")
        },
        store: "/etc/sexton/../storage".into(),
        job: JobSettings::Leases(LeaseSettings {
            expiry: Expiry::Cutoff { unix: 1_735_689_600 },
            sharetypes: ShareTypes(vec![ShareType::Immutable]),
            dry_run: true,
            rehearsal: true,
            ..LeaseSettings::default()
        }),
    };
    let window = |span: &str, rate| Window { span: span.parse().unwrap(), rate };
    let daemon = DaemonConfig {
        windows: Windows::new(vec![window("22:00-06:00", 0.5), window("12:00-13:30", 0.05)]).unwrap(),
        log: LogFormat::Json,
        listen: "[::1]:80".parse().unwrap(),
        allowed_hosts: vec!["nas.example.org".into(), "proxy:8080".into(), String::new()],
    };
    let state = Some("/etc/sexton/state.sqlite".into());
    assert_eq!(config, Config { state, settings, daemon, crawls: vec![crawl], ..Config::default() });
    assert_eq!(parse("()").unwrap(), Config::default());
}

#[test]
fn every_key_of_a_cleaning_is_read() {
    let config = parse(
        r#"(
            history: "30d",
            clean: [
                (database: "localdb", policy: utilization(below: 0.25), dry_run: true),
                (
                    name: "laptop", database: "/var/lib/lbs/localdb.sqlite",
                    policy: benefit(threshold: 8, age_boost: 1.5, intent: 7), every: "1d", slow_start: "0s",
                    max_rewrite: "1.5GB", max_segments: 100, min_age: "36h", backup: "copy.sqlite", slice: "20ms",
                    lock_duty: "0.5%", weight: 0.5, allow_long_lock: true, compat: true,
                ),
            ],
        )"#,
    )
    .unwrap();
    assert_eq!(config.upkeep.history, Some(Duration::from_secs(30 * 86_400)));
    let default = CleaningSettings::new("clean", "/etc/sexton/localdb");
    let short = CleaningSettings {
        options: Options { policy: Some(Policy::Utilization { least: 0.25 }), ..default.options.clone() },
        manner: CleaningMode::DryRun,
        older_copy: OlderCopy::SetAside,
        ..default
    };
    let default = CleaningSettings::new("laptop", "/var/lib/lbs/localdb.sqlite");
    let limits = Limits {
        max_rewrite_bytes: Some(1_500_000_000),
        max_segments: Some(100),
        min_age_days: Some(1.5),
        max_segment_blocks: None,
    };
    let policy = Policy::Benefit { threshold_days: 8.0, age_boost_days: 1.5, intent: 7.0 };
    let long = CleaningSettings {
        options: Options { mode: Mode::Compat, policy: Some(policy), limits, ..default.options.clone() },
        slice: Duration::from_millis(20),
        lock_duty: 0.005,
        long_locks: LongLocks::Allow,
        backup: Some("/etc/sexton/copy.sqlite".into()),
        older_copy: OlderCopy::SetAside,
        task: MaintenanceSettings {
            every: Duration::from_secs(86_400),
            slow_start: Duration::ZERO,
            weight: 0.5,
            ..default.task
        },
        ..default
    };
    assert_eq!(config.cleanings, [short, long]);
}

/// What the file says in comments about a cleaning holds once the slashes are taken out, and is the default.
#[test]
fn the_example_of_a_cleaning_holds_the_defaults() {
    let uncommented: Vec<&str> = EXAMPLE
        .lines()
        .map(|line| match line.strip_prefix("        // ") {
            Some(inside) if EXAMPLE.find(line) > EXAMPLE.find("clean: [") => inside,
            _ => line,
        })
        .collect();
    let config = parse(&uncommented.join("\n")).unwrap();
    let default = CleaningSettings::new("clean", "/var/lib/cumulus/localdb.sqlite");
    let written = CleaningSettings {
        options: Options { policy: Some(Policy::of_era(Era::A)), ..default.options.clone() },
        older_copy: OlderCopy::SetAside,
        ..default
    };
    assert_eq!(config.cleanings, [written]);
    assert_eq!(config.upkeep, UpkeepSettings::default());
    let short =
        parse(r#"(clean: [(database: "x", policy: benefit()), (name: "y", database: "y", policy: utilization())])"#);
    let policies: Vec<_> = short.unwrap().cleanings.iter().map(|c| c.options.policy).collect();
    assert_eq!(policies, [Some(Policy::of_era(Era::A)), Some(Policy::of_era(Era::C))]);
}

/// What stands in a file, and what is said about it behind the file's name.
const WRONG: &[(&str, &str)] = &[
    (r#"(budget: (cpu_percentage: "10"))"#, r#"1:27: 10 has no unit: write "10%""#),
    ("(budget: (cpu_percentage: 10%))", r#"1:27: 10 has no unit: write "10%""#),
    (
        "(\n  budget: (\n    cpu_percentage: 0.1,\n  ),\n)",
        r#"3:21: 0.1 has no unit: write "0.1%", or "10%" if that part of a core is meant"#,
    ),
    (
        "(budget: (windows: {\"22-6\": \"50%\"}))",
        r#"1:21: "22-6" is no window of the day; write it like "22:00-06:00""#,
    ),
    (
        r#"(budget: (windows: {"22:00-06:00": "50%", "05:00-07:00": "5%"}))"#,
        " budget windows: the windows 22:00-06:00 and 05:00-07:00 overlap",
    ),
    (r#"(http: (listen: "nas"))"#, r#"1:17: must be an address with a port such as "127.0.0.1:7377", not "nas""#),
    (
        r#"(http: (allowed_hosts: ["a/b"]))"#,
        r#"1:25: must be a host such as "nas.example.org" or "nas:7377", or "" for requests that name none, not "a/b""#,
    ),
    (
        "(budget: (cpu_percentage: ten))",
        r#"1:27: must be a percentage of one core such as "10%", not a word without quotes"#,
    ),
    (
        "(budget: (cpu_percentage: true))",
        r#"1:27: must be a percentage of one core such as "10%", not the boolean `true`"#,
    ),
    (
        r#"(budget: (cpu_percent: "10%"))"#,
        "1:11: unknown key cpu_percent in budget; the keys are cpu_percentage, cpu_slice, basis, max_sleep and windows",
    ),
    (
        "(\n\n    budgt: (),\n)",
        "3:5: unknown key budgt in config; the keys are state, budget, checkpoint, priority, log, http, crawls, clean and history",
    ),
    ("(budget: (cpu_slice: 1s))", r#"1:22: 1 has no unit: write "1s", "1m" or "1h""#),
    (r#"(budget: (cpu_slice: "2h"))"#, "1:22: 2h is out of range: must be between 1ms and 1h"),
    (r##"(budget: (cpu_slice: r#"2h"#))"##, "1:22: 2h is out of range: must be between 1ms and 1h"),
    (r#"(budget: (cpu_slice: "2\th"))"#, "1:22: 2h is out of range: must be between 1ms and 1h"),
    ("(budget: (basis: disk))", "1:18: basis must be wall or cpu, not disk"),
    (r#"(budget: (basis: "wall"))"#, "1:18: must be a word without quotes"),
    ("((((", "1:2: must be a key and its value, as in (key: value, ..)"),
    (r#"(crawls: [(store: "x", job: [])])"#, "1:29: must be a word"),
    (r#"(budget: (max_sleep: Some("299")))"#, r#"1:27: 299 has no unit: write "299s", "299m" or "299h""#),
    (r#"(budget (cpu_slice: "1s"))"#, "1:8: expected a colon and a value after the key"),
    ("(checkpoint: always)", r#"1:14: checkpoint must be every_slice, every_bucket or every("10s"), not always"#),
    ("(checkpoint: every)", r#"1:19: every needs more in parentheses, as in every("10s")"#),
    ("(checkpoint: every(10))", r#"1:20: 10 has no unit: write "10s", "10m" or "10h""#),
    ("(checkpoint: every_slice, checkpoint: every_slice)", "1:27: checkpoint is given twice; leave one out"),
    (
        "(crawls: [(job: count)])",
        r#"1:22: the crawl that ends here has no store; name the folder that holds shares/, such as store: "/srv/tahoe/storage""#,
    ),
    (
        "(crawls: [\n(store: \"x\")\n])",
        "2:12: the crawl that ends here has no job; say what it does, such as job: count or job: leases()",
    ),
    (r#"(crawls: [(store: "", job: count)])"#, r#"1:19: must be a path such as "/srv/tahoe/storage", not empty"#),
    (
        "(crawls: [(store: 5, job: count)])",
        r#"1:19: must be a path in quotes such as "/srv/tahoe/storage", not the number 5"#,
    ),
    (
        r#"(crawls: [(name: "A", store: "x", job: count)])"#,
        r#"1:18: the name of a task must be 1 to 64 of a-z, 0-9, - and _, not "A""#,
    ),
    (r#"(crawls: [(store: "x", job: scrub)])"#, "1:29: job must be count, leases() or verify(), not scrub"),
    (r#"(crawls: [(store: "x", job: leases)])"#, "1:35: leases needs more in parentheses, as in leases()"),
    (
        r#"(crawls: [(store: "x", job: leases(expire: age))])"#,
        r#"1:47: age needs a duration: Tahoe's mode age without one never expires anything; write age("31d")"#,
    ),
    (
        r#"(crawls: [(store: "x", job: leases(expire: age()))])"#,
        r#"1:48: age needs a duration: Tahoe's mode age without one never expires anything; write age("31d")"#,
    ),
    (
        r#"(crawls: [(store: "x", job: leases(expire: cutoff(2025-01-01)))])"#,
        "1:51: must be a number; times, dates and texts stand in quotes",
    ),
    (
        r#"(crawls: [(store: "x", job: leases(expire: cutoff("2025-02-30")))])"#,
        r#"1:51: "2025-02-30" is no date; write it like "2025-01-01" (midnight UTC) or "2025-01-01T12:00:00Z""#,
    ),
    (
        r#"(crawls: [(store: "x", job: leases(expired: none))])"#,
        "1:36: unknown key expired in leases; the keys are expire, sharetypes, dry_run, delete, rehearsal, max_delete, prune_empty_buckets, accept_clock and compat",
    ),
    (
        r#"(crawls: [(store: "x", job: leases(sharetypes: [both]))])"#,
        "1:49: sharetypes must be mutable or immutable, not both",
    ),
    (r#"(crawls: [(store: "x", job: leases(sharetypes: mutable))])"#, "1:47: must be a list: [.., ..]"),
    (r#"(crawls: [(store: "x", job: leases(dry_run: yes))])"#, "1:44: must be true or false, without quotes"),
    (
        "(crawls: [(store: \"x\", job: leases(\n  expire: age(\"31d\"),\n))])",
        "3:1: deleting expired leases needs a word: offline if the node of this store is stopped, online if it is running; \
         or dry_run (--dry-run), to see what would be deleted",
    ),
    (r#"(crawls: [(store: "x", job: count, workers: -1)])"#, "1:45: -1 is out of range: must be between 1 and 256"),
    (r#"(crawls: [(store: "x", job: count, workers: 1.5)])"#, "1:45: must be a whole number such as 1, not 1.5"),
    (
        r#"(crawls: [(store: "x", job: count, workers: "1")])"#,
        r#"1:45: must be a whole number such as 1, not "1" in quotes"#,
    ),
    (
        r#"(crawls: [(store: "x", job: count, weight: NaN)])"#,
        "1:44: NaN is out of range: must be between 0.001 and 1000",
    ),
    (
        r#"(crawls: [(store: "x", job: count), (store: "y", job: count)])"#,
        " two tasks have the name count; give one of them another name",
    ),
    (
        r#"(clean: [(name: "a", database: "x"), (name: "a", database: "y")])"#,
        " two tasks have the name a; give one of them another name",
    ),
    (
        "(clean: [(\n  name: \"a\",\n)])",
        r#"3:1: the cleaning that ends here has no database; name the database, such as database: "/var/lib/cumulus/localdb.sqlite""#,
    ),
    (r#"(clean: [(database: "x", policy: benefit)])"#, "1:41: benefit needs more in parentheses, as in benefit()"),
    (r#"(clean: [(database: "x", policy: oldest)])"#, "1:34: policy must be benefit() or utilization(), not oldest"),
    (
        r#"(clean: [(database: "x", policy: benefit(treshold: 7))])"#,
        "1:42: unknown key treshold in benefit; the keys are threshold, age_boost and intent",
    ),
    (
        r#"(clean: [(database: "x", policy: benefit(threshold: "7d"))])"#,
        r#"1:53: must be a number of days such as 7.0, not "7d" in quotes"#,
    ),
    (
        r#"(clean: [(database: "x", policy: utilization(below: 40))])"#,
        "1:53: 40 is out of range: must be between 0 and 1",
    ),
    (r#"(clean: [(database: "x", every: 7)])"#, r#"1:33: 7 has no unit: write "7s", "7m" or "7h""#),
    (r#"(clean: [(database: "x", lock_duty: "150%")])"#, "1:37: 150% is out of range: must be between 0.01% and 100%"),
    (r#"(clean: [(database: "x", lock_duty: 5)])"#, r#"1:37: 5 has no unit: write "5%""#),
    (r#"(clean: [(database: "x", max_rewrite: 500)])"#, r#"1:39: 500 has no unit: write "500B", "500MB" or "500GB""#),
    (
        r#"(clean: [(database: "x", max_rewrite: "lots")])"#,
        r#"1:39: "lots" is no size; write it like "500MB" or "2GiB""#,
    ),
    (r#"(clean: [(database: "x", max_segments: 1.5)])"#, "1:40: must be a whole number such as 100, not 1.5"),
    (r#"(clean: [(database: "x", backup: "x")])"#, " cleaning clean: backup is the database itself; name another file"),
    (r#"(history: "1s")"#, "1:11: 1s is out of range: must be between 1h and 100years"),
    (r#"(crawls: [(store: "x", job: count)]"#, "1:35: expected a comma, or a closing ) or ]"),
    (r#"(state: "ä", budget: (cpu_percentage: "ö"))"#, r#"1:39: "ö" is no percentage; write it like "10%""#),
    (r#"(state: "x)"#, r#"1:9: the closing " of this text is missing"#),
    ("())", "1:3: something follows the closing ) of the settings; is there one too many?"),
    ("", "1:1: must be keys and values in parentheses: (key: value, ..)"),
    ("budget: ()", "1:1: must be keys and values in parentheses: (key: value, ..)"),
];

#[test]
fn what_is_wrong_is_said_with_its_place_and_what_it_must_be() {
    for (text, said) in WRONG {
        let error = parse(text).expect_err(text);
        assert_eq!(error.to_string(), format!("/etc/sexton/config.ron:{said}"), "in {text}");
    }
}

#[test]
fn a_file_that_is_none_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.ron");
    let said = || Config::load(&path).unwrap_err().to_string();
    assert!(said().starts_with(&format!("cannot read {}: No such file", path.display())), "{}", said());
    std::fs::write(&path, b"(\xff)").unwrap();
    assert!(said().ends_with("did not contain valid UTF-8"), "{}", said());
    std::fs::write(&path, vec![b' '; (1 << 20) + 1]).unwrap();
    assert!(said().ends_with("larger than 1 MiB, so it is no configuration file"), "{}", said());
    std::fs::write(&path, EXAMPLE).unwrap();
    assert_eq!(Config::load(&path).unwrap(), parse(EXAMPLE).unwrap());
}

proptest! {
    /// Damages the example anywhere: it is read or refused, and a refusal has a place that exists.
    #[test]
    fn no_damage_makes_the_reader_panic(at in 0..EXAMPLE.len(), put in "[\"()\\[\\],:a-z0-9äö\n/*-]{0,3}", cut in 0usize..40) {
        // The example is ASCII, so it can be cut anywhere.
        let text = format!("{}{put}{}", &EXAMPLE[..at], &EXAMPLE[(at + cut).min(EXAMPLE.len())..]);
        let Err(error) = Config::parse(&text, "c") else { return Ok(()) };
        let said = error.to_string();
        if said.starts_with("c: two tasks have the name") || said.contains("backup is the database") {
            return Ok(());
        }
        let mut place = said.split(':').skip(1).map(|n| n.parse::<usize>());
        let (Some(Ok(line)), Some(Ok(column))) = (place.next(), place.next()) else { panic!("{said}") };
        let width = text.split('\n').nth(line - 1).map(|l| l.chars().count());
        prop_assert!(width.is_some_and(|width| (1..=width + 1).contains(&column)), "{}", said);
    }
}
