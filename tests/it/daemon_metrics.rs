//! What `/metrics` and the status say of a crawl's figures: every finished cycle counts once, and what was not deleted is not
//! said to be.

use rustix::process::Signal;
use serde_json::Value;

use super::daemon::{Daemon, config};
use super::daemon_shapes::assert_fits;

const FAST: &str = r#"cpu_percentage: "100%", cpu_slice: "20ms""#;

fn metric(daemon: &Daemon, name: &str) -> Option<f64> {
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
fn a_cycle_that_ends_before_the_first_look_counts_and_each_further_one_once() {
    let count = r#"(name: "count", store: "store", job: count, slow_start: "0s", minimum_cycle_time: "1h")"#;
    let daemon = Daemon::start(5, &config(FAST, count, ""));
    daemon.until_crawl("count", "sleeping");
    let finished = |daemon: &Daemon| metric(daemon, r#"sexton_cycles_finished_total{crawl="count"}"#);
    assert_eq!(finished(&daemon), Some(1.0));
    again(&daemon, "count", 1);
    assert_eq!(finished(&daemon), Some(2.0));
    assert_eq!(metric(&daemon, r#"sexton_buckets_total{crawl="count"}"#), Some(10.0));
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
        let said = super::harness::run(&mut super::daemon::command_for(&daemon.sample, "status")).stdout;
        assert!(said.contains(found["text"].as_str().unwrap()), "{said}");
    }
}
