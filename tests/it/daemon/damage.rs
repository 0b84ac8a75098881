//! Damage as a daemon tells of it: by one rule in status, metrics and exit codes, from the finding until a later visit finds the
//! object well or gone, whatever begins meanwhile.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use super::database;
use super::metrics::metric;
use super::process::{CRAWLS, Daemon, command_for, config};
use super::shapes::assert_fits;
use crate::support::harness::{Ended, Fixture, Sample, run};

const FAST: &str = r#"cpu_percentage: "100%", cpu_slice: "20ms""#;

/// CHK of 4096 bytes.
const INDEX: &str = "aaobc5xutcalwfferpi7udizni";

/// A sample with a store beside its own, written by Tahoe, in which everything is well.
fn grid(crawls: &str) -> Sample {
    let sample = Sample::new(0);
    let fixture = Fixture::unpack("real-grid-small");
    fs::rename(&fixture.root, sample.path("grid")).unwrap();
    fs::write(sample.path("config.ron"), config(FAST, crawls, "")).unwrap();
    sample
}

fn share(sample: &Sample, number: u32) -> PathBuf {
    sample.path("grid/shares").join(&INDEX[..2]).join(INDEX).join(number.to_string())
}

fn flip(share: &Path) {
    let mut bytes = fs::read(share).unwrap();
    bytes[100] ^= 1;
    fs::write(share, bytes).unwrap();
}

fn say(daemon: &Daemon, args: &str) -> Ended {
    run(&mut command_for(&daemon.sample, args))
}

fn damaged(daemon: &Daemon) -> Option<f64> {
    metric(daemon, r#"sexton_damaged_objects{crawl="verify"}"#)
}

fn again(daemon: &Daemon) {
    let before = daemon.crawl("verify")["last_cycle"]["cycle"].as_u64();
    assert_eq!(daemon.change("POST", "/api/crawls/verify/start", "").status, 200);
    daemon.until("the next cycle", |status| status["crawls"][0]["last_cycle"]["cycle"].as_u64() > before);
}

#[test]
fn damage_is_told_from_the_finding_until_a_visit_finds_it_well_or_gone() {
    let verify = r#"(name: "verify", store: "grid", job: verify(), slow_start: "0s", minimum_cycle_time: "1h")"#;
    let daemon = Daemon::again(grid(verify));
    assert_eq!(damaged(&daemon), Some(0.0), "before it was looked for");
    daemon.until_crawl("verify", "sleeping");
    assert_eq!(damaged(&daemon), Some(0.0));
    say(&daemon, "status").expect(0);
    say(&daemon, "findings").expect(0);

    [0, 1].iter().for_each(|number| flip(&share(&daemon.sample, *number)));
    again(&daemon);
    let is_told = |daemon: &Daemon, objects: u64, words: &str| {
        let status = daemon.get("/api/status");
        assert_fits("Status", &status);
        assert_eq!((&status["verdict"], &status["crawls"][0]["damaged"]), (&"damage".into(), &objects.into()));
        assert_eq!(status["problems"][0]["severity"], "damage", "{status:#}");
        assert_eq!(damaged(daemon), Some(objects as f64));
        assert_eq!(metric(daemon, r#"sexton_problems{severity="damage"}"#), Some(1.0));
        let said = say(daemon, "status").expect(1).stdout;
        assert!(said.contains(&format!("! damage verify: {words}; `sexton findings --crawl verify` lists")), "{said}");
    };
    is_told(&daemon, 2, "2 objects are damaged");
    say(&daemon, "findings --crawl verify").expect(1);

    // A process begins, before any crawl does.
    let slow = verify.replace("0s", "1h");
    fs::write(daemon.config(), config(FAST, &slow, "")).unwrap();
    let daemon = Daemon::again(daemon.end(Signal::KILL).0);
    assert_eq!(damaged(&daemon), Some(2.0), "at the first scrape");
    is_told(&daemon, 2, "2 objects are damaged");
    // One that was stopped by hand is no better.
    say(&daemon, "stop verify").expect(0);
    let daemon = Daemon::again(daemon.end(Signal::TERM).0);
    assert_eq!(damaged(&daemon), Some(2.0));

    flip(&share(&daemon.sample, 0));
    again(&daemon);
    is_told(&daemon, 1, "1 object is damaged");
    fs::remove_file(share(&daemon.sample, 1)).unwrap();
    again(&daemon);
    let status = daemon.get("/api/status");
    assert_eq!((damaged(&daemon), &status["verdict"]), (Some(0.0), &"well".into()), "{status:#}");
    say(&daemon, "status").expect(0);
    // What was found once is still listed; it is damaged no more.
    assert!(say(&daemon, "findings").expect(0).stdout.contains(INDEX));
}

#[test]
fn one_crawl_finds_damage_and_another_of_its_kind_finds_it_well() {
    let crawls = r#"
        (name: "verify", store: "grid", job: verify(), slow_start: "0s", minimum_cycle_time: "1h"),
        (name: "whole", store: "grid", job: verify(), slow_start: "1h", minimum_cycle_time: "1h")"#;
    let sample = grid(crawls);
    flip(&share(&sample, 0));
    let daemon = Daemon::again(sample);
    daemon.until_crawl("verify", "sleeping");
    let of = |crawl: &str| metric(&daemon, &format!(r#"sexton_damaged_objects{{crawl="{crawl}"}}"#));
    assert_eq!([of("verify"), of("whole")], [Some(1.0); 2]);
    flip(&share(&daemon.sample, 0));
    assert_eq!(daemon.change("POST", "/api/crawls/whole/start", "").status, 200);
    daemon.until("the whole", |status| status["crawls"][1]["last_cycle"].is_object());
    assert_eq!([of("verify"), of("whole")], [Some(0.0); 2]);
}

#[test]
fn errors_come_before_what_waits_and_are_told_alike() {
    let leases = r#"(name: "leases", store: "grid", job: leases(), slow_start: "0s", minimum_cycle_time: "1h"),
        (name: "gone", store: "nowhere", job: count, slow_start: "0s", minimum_cycle_time: "1h")"#;
    let sample = grid(leases);
    fs::write(sample.path("grid/shares/zz"), "no folder").unwrap();
    fs::create_dir(sample.path("nowhere")).unwrap();
    let daemon = Daemon::again(sample);
    daemon.until_crawl("leases", "sleeping");
    daemon.until_crawl("gone", "waiting");
    let status = daemon.get("/api/status");
    let severities: Vec<&str> =
        status["problems"].as_array().unwrap().iter().map(|problem| problem["severity"].as_str().unwrap()).collect();
    assert!(severities.starts_with(&["errors", "errors", "waiting"]), "{status:#}");
    assert_eq!(status["verdict"], "errors");
    assert_eq!(metric(&daemon, r#"sexton_unreadable{crawl="leases"}"#), Some(1.0));
    say(&daemon, "status").expect(1);
    say(&daemon, "findings").expect(1);
    say(&daemon, "findings --crawl gone").expect(0);
    // What waits alone.
    fs::remove_file(daemon.sample.path("grid/shares/zz")).unwrap();
    assert_eq!(daemon.change("POST", "/api/crawls/leases/start", "").status, 200);
    daemon.until("a good cycle", |status| status["crawls"][0]["last_cycle"]["cycle"] == 1);
    say(&daemon, "status").expect(4);
}

/// The names of all series that the alert rules use.
fn used_by_alerts() -> BTreeSet<String> {
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/alerts.yml");
    let text = fs::read_to_string(rules).unwrap();
    let rules = text.lines().filter(|line| line.trim_start().starts_with("expr: "));
    let words = rules.flat_map(|line| line.split(|c: char| !c.is_ascii_lowercase() && c != '_' && !c.is_ascii_digit()));
    words.filter(|word| word.starts_with("sexton_")).map(str::to_owned).collect()
}

#[test]
fn every_series_of_an_alert_is_there_at_the_first_scrape_for_every_crawl_and_verdict() {
    let slow = CRAWLS.replace("0s", "1h");
    let verify = r#"(name: "verify", store: "store", job: verify(), slow_start: "1h", minimum_cycle_time: "1h")"#;
    let daemon = Daemon::start(1, &config(FAST, &format!("{slow}{verify}"), ""));
    let body = daemon.send("GET", "/metrics", &[], "").body;
    let cleaning = database::daemon(5, FAST, r#"slow_start: "1h""#).send("GET", "/metrics", &[], "").body;
    let used = used_by_alerts();
    assert!(used.len() > 12, "{used:?}");
    for name in used {
        let lines: Vec<&str> = body.lines().filter(|line| line.starts_with(&format!("{name}{{crawl="))).collect();
        let of = |crawl: &str| lines.iter().any(|line| line.contains(&format!(r#"crawl="{crawl}""#)));
        let plain = body.contains(&format!("\n{name} "));
        let is_there = plain || ["leases", "count", "verify"].iter().all(|crawl| of(crawl));
        assert!(is_there || cleaning.contains(&format!("\n{name}{{cleaning=\"db\"}}")), "{name} is not in {body}");
    }
    for result in ["ok", "corrupt", "unreadable", "in_doubt"] {
        let name = format!(r#"sexton_verified_shares_total{{crawl="verify",result="{result}"}}"#);
        assert!(body.contains(&format!("\n{name} 0\n")), "{name} is not in {body}");
    }
    for severity in ["damage", "errors", "failed", "waiting", "warning"] {
        assert!(body.contains(&format!("\nsexton_problems{{severity=\"{severity}\"}} ")), "{severity}");
    }
}
