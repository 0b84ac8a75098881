//! What a crawl keeps when its settings are changed while it runs: its place, its pause, and that it has begun.

use serde_json::Value;

use super::daemon::{Daemon, config};

const SLOWLY: &str = r#"cpu_percentage: "1%", cpu_slice: "5ms""#;

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
