//! What `/metrics` and the status say of a crawl's figures: every finished cycle counts once, and what was not deleted is not
//! said to be.

use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use super::process::{CRAWLS, Daemon, command_for, config};
use super::shapes::assert_fits;
use crate::expiry::crash::immutable_at;
use crate::support::harness::{Sample, run};

const FAST: &str = r#"cpu_percentage: "100%", cpu_slice: "20ms""#;

/// The value of a series, if it is there.
pub fn metric(daemon: &Daemon, name: &str) -> Option<f64> {
    let body = daemon.send("GET", "/metrics", &[], "").body;
    let line = body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map(|value| value.parse().unwrap())
}

/// Runs one more cycle to its end.
fn again(daemon: &Daemon, name: &str, cycle: u64) -> Value {
    assert_eq!(daemon.change("POST", &format!("/api/crawls/{name}/start"), "").status, 200);
    let status = daemon.until("the next cycle", |status| status["crawls"][0]["last_cycle"]["cycle"] == cycle);
    status["crawls"][0].clone()
}

#[test]
fn the_metrics_tell_what_a_crawl_and_its_last_cycle_have_come_to() {
    let daemon = Daemon::start(300, &config(FAST, CRAWLS, ""));
    daemon.until_crawl("leases", "sleeping");
    let answer = daemon.send("GET", "/metrics", &[], "");
    assert!(answer.headers.contains("text/plain; version=0.0.4"), "{}", answer.headers);
    for line in ["sexton_buckets_total{crawl=\"leases\"} 300", "sexton_last_cycle_buckets{crawl=\"leases\"} 300"] {
        assert!(answer.body.contains(line), "{line} is not in {}", answer.body);
    }
}

#[test]
fn alert_rules_and_dashboard_name_metrics_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let known = std::fs::read_to_string(root.join("src/daemon/metrics.rs")).unwrap();
    for file in ["packaging/alerts.yml", "packaging/grafana.json"] {
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        let words = text.split(|c: char| !c.is_ascii_lowercase() && c != '_' && !c.is_ascii_digit());
        let named: Vec<&str> = words.filter(|word| word.starts_with("sexton_")).collect();
        assert!(named.len() > 5, "{named:?}");
        for name in named {
            let name = name.strip_suffix("_bucket").unwrap_or(name);
            assert!(known.contains(&format!("\"{name}\"")), "{file} names {name}");
        }
    }
}

#[test]
fn a_cycle_that_ends_before_the_first_look_counts_and_each_further_one_once() {
    let count = r#"(name: "count", store: "store", job: count, slow_start: "0s", minimum_cycle_time: "1h")"#;
    let daemon = Daemon::start(5, &config(FAST, count, ""));
    daemon.until_crawl("count", "sleeping");
    let finished = |daemon: &Daemon| metric(daemon, r#"sexton_cycles_finished_total{crawl="count"}"#);
    assert_eq!(finished(&daemon), Some(1.0));
    again(&daemon, "count", 1);
    assert_eq!(finished(&daemon), Some(2.0));
    assert_eq!(metric(&daemon, r#"sexton_buckets_total{crawl="count"}"#), Some(10.0));
    assert_eq!(metric(&daemon, r#"sexton_shares_total{crawl="count"}"#), None, "it looks into no bucket");
    // What the last process has finished is none of this one's.
    let daemon = Daemon::again(daemon.end(Signal::TERM).0);
    daemon.until_crawl("count", "sleeping");
    assert_eq!(finished(&daemon), Some(0.0));
}

#[test]
fn what_verifying_has_come_to_is_counted_over_cycles() {
    let verify = r#"(name: "verify", store: "store", job: verify(), slow_start: "0s", minimum_cycle_time: "1h")"#;
    let daemon = Daemon::start(20, &config(FAST, verify, ""));
    daemon.until_crawl("verify", "sleeping");
    let once = daemon.get("/api/crawls/verify")["report"]["verified"].clone();
    assert!(once["shares"].as_u64().unwrap() >= 20, "{once}");
    let figure = |what: &str| once[what].as_f64().unwrap();
    for cycle in 1..=2 {
        let so_far = cycle as f64;
        let shares = |result| format!(r#"sexton_verified_shares_total{{crawl="verify",result="{result}"}}"#);
        for result in ["ok", "corrupt", "unreadable"] {
            assert_eq!(metric(&daemon, &shares(result)), Some(so_far * figure(result)), "{result}");
        }
        let bytes = metric(&daemon, r#"sexton_verified_bytes_total{crawl="verify"}"#);
        assert_eq!(bytes, Some(so_far * figure("bytes")));
        again(&daemon, "verify", cycle);
    }
    // One bad share is listed once, however often it is met.
    let crawl = daemon.crawl("verify");
    let findings = daemon.get("/api/findings");
    assert_fits("Findings", &findings);
    let rows = findings["findings"].as_array().unwrap();
    assert_eq!(rows.len() as u64, crawl["findings"].as_u64().unwrap() + crawl["errors"].as_u64().unwrap());
    assert!(rows.iter().all(|row| row["cycles"] == 3 && row["since"].as_f64() < row["at"].as_f64()), "{rows:#?}");
    assert!(!rows.is_empty(), "the sample's shares have flaws");
}

#[test]
fn whether_a_target_is_met_is_told_by_status_and_metrics() {
    for (target, met) in [("30 days", true), ("10 minutes", false)] {
        let verify = format!(
            r#"(name: "verify", store: "store", job: verify(), target: "{target}", slow_start: "0s", minimum_cycle_time: "1h")"#
        );
        let daemon = Daemon::start(5, &config(FAST, &verify, ""));
        daemon.until_crawl("verify", "sleeping");
        let status = daemon.get("/api/status");
        assert_fits("Status", &status);
        let found = &status["crawls"][0]["target"];
        assert_eq!(found["met"], met, "{found:#}");
        assert!(found["expected_secs"]["most"].as_f64().unwrap() >= 3600.0, "with the time between cycles: {found}");
        assert!(found["oldest_secs"].as_f64().unwrap() < 600.0, "{found}");
        assert_eq!(daemon.get("/api/crawls/verify")["crawl"]["target"]["met"], met);
        let missed = status["problems"].as_array().unwrap().iter().any(|problem| problem["text"] == found["text"]);
        assert_eq!(missed, !met);
        assert_eq!(metric(&daemon, r#"sexton_target_met{crawl="verify"}"#), Some(f64::from(u8::from(met))));
        let said = crate::support::harness::run(&mut super::process::command_for(&daemon.sample, "status")).stdout;
        assert!(said.contains(found["text"].as_str().unwrap()), "{said}");
    }
}

#[test]
fn errors_are_told_apart_by_what_is_wrong() {
    let sample = Sample::new(1);
    let bucket = |last: char| sample.shares().join("zz").join(format!("zz{}{last}", "b".repeat(23)));
    std::fs::create_dir_all(bucket('a').join("0")).unwrap();
    std::fs::create_dir_all(bucket('e')).unwrap();
    std::os::unix::fs::symlink("nowhere", bucket('e').join("0")).unwrap();
    std::fs::write(bucket('i'), "").unwrap();
    std::fs::create_dir_all(bucket('m')).unwrap();
    // A container of version 1 that counts five leases and has none.
    std::fs::write(bucket('m').join("0"), [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 5]).unwrap();
    let leases = r#"(name: "leases", store: "store", job: leases(), slow_start: "0s", minimum_cycle_time: "1h")"#;
    std::fs::write(sample.path("config.ron"), config(FAST, leases, "")).unwrap();
    let daemon = Daemon::again(sample);
    daemon.until_crawl("leases", "sleeping");
    let of = |cause: &str| metric(&daemon, &format!(r#"sexton_errors_total{{cause="{cause}",crawl="leases"}}"#));
    let causes = ["directory for a share", "link to nothing", "file for a bucket", "lease table"];
    // They are counted at the next look.
    daemon.until("each of them", |_| causes.iter().all(|cause| of(cause) == Some(1.0)));
    let body = daemon.send("GET", "/metrics", &[], "").body;
    assert!(!body.contains(r#"cause="other""#), "{body}");
}

#[test]
fn what_was_deleted_is_counted_and_what_was_spared_is_said_with_the_reason() {
    let sample = Sample::new(0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as u32;
    let bucket = sample.shares().join("aa").join(format!("aa{}a", "b".repeat(23)));
    std::fs::create_dir_all(&bucket).unwrap();
    let expired = immutable_at(now, 2, 50, &[(1, 40)]);
    std::fs::write(bucket.join("0"), &expired).unwrap();
    let file = |word: &str| {
        let job = format!(r#"leases(expire: age("31d"), delete: {word}, rehearsal: false, max_delete: "100%")"#);
        let times = r#"slow_start: "0s", minimum_cycle_time: "1h""#;
        config(FAST, &format!(r#"(name: "leases", store: "store", job: {job}, {times})"#), "")
    };
    std::fs::write(sample.path("config.ron"), file("online")).unwrap();
    let mut daemon = Daemon::again(sample);
    let spared = daemon.until_crawl("leases", "sleeping")["last_cycle"]["spared"].clone();
    assert_eq!((&spared["touched_within_the_hour"], &spared["partly_expired"]), (&1.into(), &0.into()));
    assert_fits("Status", &daemon.get("/api/status"));
    let gauge = r#"sexton_last_cycle_spared_shares{crawl="leases",reason="touched_within_the_hour"}"#;
    assert_eq!(metric(&daemon, gauge), Some(1.0));
    let said = run(&mut command_for(&daemon.sample, "status")).stdout;
    assert!(said.contains(" kept beside a node: 1 touched within the hour\n"), "{said}");
    let total =
        |what: &str, daemon: &Daemon| metric(daemon, &format!(r#"sexton_deleted_{what}_total{{crawl="leases"}}"#));
    assert_eq!(total("shares", &daemon), Some(0.0));

    std::fs::write(daemon.config(), file("offline")).unwrap();
    daemon.running().signal(Signal::HUP);
    daemon.until("a cycle that deletes", |status| {
        status["crawls"][0]["last_cycle"]["space"]["deleted_shares"] == 1 || {
            daemon.change("POST", "/api/crawls/leases/start", "");
            false
        }
    });
    assert_eq!(metric(&daemon, gauge), None);
    let all = ["shares", "leases", "bytes"].map(|what| total(what, &daemon));
    assert_eq!(all, [Some(1.0), Some(1.0), Some(expired.len() as f64)]);

    // With the crawl goes what was counted of it.
    std::fs::write(daemon.config(), config(FAST, "", "")).unwrap();
    daemon.running().signal(Signal::HUP);
    let series = |daemon: &Daemon| daemon.send("GET", "/metrics", &[], "").body;
    assert!(series(&daemon).contains(r#"client="leases""#));
    // As a crawl and as a client, and its history and its read-ahead are clients too.
    daemon.until("nothing of the crawl in the metrics", |_| !series(&daemon).contains(r#"="leases"#));
    let clients = daemon.get("/api/budget")["budget"]["clients"].clone();
    let cost = |name: &str| clients.as_array().unwrap().iter().find(|one| one["name"] == name)?["cost_secs"].as_f64();
    assert!(cost("leases").is_none() && cost("others") > Some(0.0), "what it has cost is told all the same: {clients}");
}

/// How it happens: a whole part of a store cannot be read, and thousands of errors come in a moment.
#[test]
fn many_errors_at_once_are_counted_at_once() {
    let sample = Sample::new(1);
    let prefix = sample.shares().join("zz");
    std::fs::create_dir_all(&prefix).unwrap();
    let letters = || ('a'..='z').filter(|c| *c != 'l');
    let names = letters().flat_map(|a| letters().map(move |b| format!("zz{}{a}{b}a", "b".repeat(21)))).take(600);
    names.for_each(|name| std::fs::write(prefix.join(name), "").unwrap());
    let leases = r#"(name: "leases", store: "store", job: leases(), slow_start: "0s", minimum_cycle_time: "1h")"#;
    std::fs::write(sample.path("config.ron"), config(FAST, leases, "")).unwrap();
    let daemon = Daemon::again(sample);
    daemon.until_crawl("leases", "sleeping");
    let errors = || metric(&daemon, r#"sexton_errors_total{cause="file for a bucket",crawl="leases"}"#);
    daemon.until("that they are counted", |_| errors() >= Some(600.0));
    assert_eq!(errors(), Some(600.0));
}
