//! What a crawl keeps when its settings are changed while it runs: its place, its pause, and that it has begun.

use rustix::process::Signal;
use serde_json::Value;

use super::metrics::metric;
use super::process::{Daemon, config};

const FAST: &str = r#"cpu_percentage: "100%", cpu_slice: "20ms""#;
const SLOWLY: &str = r#"cpu_percentage: "2%", cpu_slice: "5ms""#;

fn crawl(keys: &str) -> String {
    format!(r#"(name: "leases", store: "store", job: leases(), minimum_cycle_time: "1h", {keys})"#)
}

fn reload(daemon: &Daemon, crawl: &str) -> Vec<String> {
    std::fs::write(daemon.config(), config(SLOWLY, crawl, "")).unwrap();
    let answer = daemon.change("POST", "/api/reload", "");
    assert_eq!(answer.status, 200, "{}", answer.body);
    serde_json::from_value(answer.json()["changes"].clone()).unwrap()
}

fn walking(daemon: &Daemon) -> Value {
    let walks = |crawl: &Value| crawl["state"] == "walking" && crawl["prefixes_done"].as_u64().unwrap() > 0;
    daemon.until("a walk", |status| walks(&status["crawls"][0]))["crawls"][0].clone()
}

#[test]
fn a_new_weight_and_pace_hold_without_a_new_beginning() {
    let daemon = Daemon::start(3000, &config(SLOWLY, &crawl(r#"slow_start: "0s""#), ""));
    let before = walking(&daemon);
    let changed = crawl(r#"slow_start: "0s", weight: 3.0"#).replace("\"1h\"", "\"2h\"");
    assert_eq!(reload(&daemon, &changed), ["crawl leases: 2h between cycles, weight 3"]);
    let detail = daemon.get("/api/crawls/leases");
    assert_eq!(detail["settings"]["weight"], 3.0);
    assert_eq!(detail["settings"]["minimum_cycle_secs"], 7200.0);
    // Begun again, it would say with how much.
    assert_eq!((&detail["crawl"]["state"], &detail["crawl"]["resumed_with"]), (&"walking".into(), &Value::Null));
    let done = |crawl: &Value| crawl["prefixes_done"].as_u64().unwrap();
    assert!(done(&detail["crawl"]) >= done(&before));
}

#[test]
fn a_changed_crawl_goes_on_where_it_was_without_another_slow_start() {
    let daemon = Daemon::start(3000, &config(SLOWLY, &crawl(r#"slow_start: "1h""#), ""));
    // It is shown as soon as it is there, and its time as soon as the engine has set it.
    let status = daemon.until("when it begins", |status| status["crawls"][0]["next_cycle_at"].is_number());
    let begins = status["crawls"][0]["next_cycle_at"].as_f64().unwrap();
    // In its slow start, what has passed of that counts.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let changed = crawl(r#"slow_start: "1h", workers: 2"#);
    assert_eq!(reload(&daemon, &changed), ["crawl leases: changed, begins again where it was"]);
    let again = daemon.until("the new settings", |status| {
        status["crawls"][0]["workers"].as_array().unwrap().len() == 2
            && status["crawls"][0]["next_cycle_at"].is_number()
    });
    let begins_again = again["crawls"][0]["next_cycle_at"].as_f64().unwrap();
    assert!((begins_again - begins).abs() < 1.0, "{begins_again} instead of {begins}");

    // Told to start, it has begun.
    daemon.change("POST", "/api/crawls/leases/start", "");
    let before = walking(&daemon);
    let more = format!(
        "{}, (name: \"new\", store: \"store\", job: count, slow_start: \"1h\")",
        crawl(r#"slow_start: "1h", workers: 3"#)
    );
    assert_eq!(reload(&daemon, &more), ["crawl leases: changed, begins again where it was", "crawl new: new"]);
    let resumed = daemon.until("it going on", |status| status["crawls"][0]["resumed_with"].is_number());
    let after = &resumed["crawls"][0];
    assert!(after["resumed_with"].as_u64() >= before["prefixes_done"].as_u64(), "{after}");
    daemon.until_crawl("new", "slow_start");
}

#[test]
fn what_an_operator_has_paused_or_stopped_stays_so_when_the_file_changes() {
    let daemon = Daemon::start(3000, &config(SLOWLY, &crawl(r#"slow_start: "0s""#), ""));
    walking(&daemon);
    daemon.change("POST", "/api/crawls/leases/pause", "");
    daemon.until_crawl("leases", "paused");
    reload(&daemon, &crawl(r#"slow_start: "0s", workers: 2"#));
    daemon.until("the new settings", |status| status["crawls"][0]["workers"].as_array().unwrap().len() == 2);
    let held = daemon.until_crawl("leases", "paused")["buckets"].clone();
    daemon.change("POST", "/api/crawls/leases/resume", "");
    daemon.until("it going on", |status| status["crawls"][0]["buckets"].as_u64() > held.as_u64());
    daemon.change("POST", "/api/crawls/leases/stop", "");
    daemon.until_crawl("leases", "stopped");
    assert_eq!(reload(&daemon, &crawl(r#"slow_start: "0s", workers: 3"#)), ["crawl leases: changed"]);
    assert_eq!(daemon.crawl("leases")["state"], "stopped");
    daemon.change("POST", "/api/crawls/leases/start", "");
    let walks = |status: &Value| status["crawls"][0]["state"] == "walking";
    let status = daemon.until("it walking", walks);
    assert_eq!(status["crawls"][0]["workers"].as_array().unwrap().len(), 3);
}

/// How it happens: a crawl that has walked here and in an earlier process sleeps, and its settings change.
#[test]
fn what_a_crawl_has_done_stays_known_when_it_begins_again() {
    let daemon = Daemon::start(3000, &config(FAST, &crawl(r#"slow_start: "0s""#), ""));
    daemon.until_crawl("leases", "sleeping");
    let daemon = Daemon::again(daemon.end(Signal::TERM).0);
    daemon.until_crawl("leases", "sleeping");
    daemon.change("POST", "/api/crawls/leases/start", "");
    daemon.until("another cycle", |status| status["crawls"][0]["last_cycle"]["cycle"] == 1);
    let counted = r#"sexton_buckets_total{crawl="leases"}"#;
    let before = daemon.until("it asleep", |status| status["crawls"][0]["state"] == "sleeping");
    assert_eq!(metric(&daemon, counted), Some(3000.0));
    let changed = crawl(r#"slow_start: "0s", workers: 2"#);
    std::fs::write(daemon.config(), config(FAST, &changed, "")).unwrap();
    assert_eq!(daemon.change("POST", "/api/reload", "").status, 200);
    daemon.until("it asleep again", |status| {
        let now = &status["crawls"][0];
        for key in ["cycle", "cycle_started", "prefixes_done", "buckets", "last_cycle"] {
            assert_eq!(now[key], before["crawls"][0][key], "{key}");
        }
        assert_ne!(now["state"], "stopped", "nobody has stopped it");
        now["workers"].as_array().unwrap().len() == 2 && now["state"] == "sleeping"
    });
    assert_eq!(metric(&daemon, counted), Some(3000.0));
    assert_eq!(metric(&daemon, r#"sexton_cycle_number{crawl="leases"}"#), Some(1.0));
}

#[test]
fn what_a_reload_ends_in_mid_slice_is_counted_to_the_last_bucket() {
    let long = r#"cpu_percentage: "100%", cpu_slice: "1m""#;
    let settings = |workers: usize| config(long, &crawl(&format!(r#"slow_start: "0s", workers: {workers}"#)), "");
    let daemon = Daemon::start(3000, &settings(1));
    daemon.until_crawl("leases", "walking");
    std::fs::write(daemon.config(), settings(2)).unwrap();
    assert_eq!(daemon.change("POST", "/api/reload", "").status, 200);
    daemon.until("the new settings", |status| status["crawls"][0]["workers"].as_array().unwrap().len() == 2);
    let resumed = daemon.until_crawl("leases", "sleeping");
    let counted = || metric(&daemon, r#"sexton_buckets_total{crawl="leases"}"#);
    daemon.until("what was counted", |_| counted().is_some());
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!(counted(), Some(3000.0), "{resumed:#}");
}

/// How it happens: settings that were changed by mistake are put back, while the store is away.
#[test]
fn a_start_gives_no_cycle_up_whose_settings_are_back() {
    let settings = crawl(r#"slow_start: "0s""#);
    let daemon = Daemon::start(3000, &config(SLOWLY, &settings, ""));
    walking(&daemon);
    reload(&daemon, &settings.replace("leases()", r#"leases(expire: age("60d"), dry_run: true)"#));
    daemon.until("what helps", |status| {
        status["crawls"][0]["error"].as_str().is_some_and(|error| error.contains("put those back"))
    });
    let (there, away) = (daemon.sample.store(), daemon.sample.path("away"));
    std::fs::rename(&there, &away).unwrap();
    reload(&daemon, &settings);
    daemon.until("that the store is away", |status| {
        let crawl = &status["crawls"][0];
        crawl["state"] == "waiting" && crawl["waiting_for"].as_str().is_some_and(|why| why.contains("No such file"))
    });
    assert_eq!(daemon.change("POST", "/api/crawls/leases/start", "").status, 200);
    std::fs::rename(&away, &there).unwrap();
    let resumed = walking(&daemon);
    assert_eq!(resumed["cycle"], 0, "{resumed:#}");
    assert!(resumed["resumed_with"].is_number(), "{resumed:#}");
}
