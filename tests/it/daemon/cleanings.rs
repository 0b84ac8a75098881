//! Cleanings of a daemon over HTTP: their status, their plan, and what an operator can do to them.

use rusqlite::Connection;
use rustix::process::Signal;
use serde_json::Value;

use super::database::{daemon, expired, marked};
use super::process::Daemon;
use super::shapes::assert_fits;
use crate::support::harness::{run, sexton};

const FAST: &str = r#"cpu_percentage: "100%", cpu_slice: "20ms""#;
const SLOWLY: &str = r#"cpu_percentage: "2%", cpu_slice: "5ms""#;

fn cleaning(status: &Value) -> &Value {
    &status["cleanings"][0]
}

fn until_state(daemon: &Daemon, state: &str) -> Value {
    cleaning(&daemon.until(&format!("the cleaning {state}"), |status| cleaning(status)["state"] == state)).clone()
}

fn until_run(daemon: &Daemon) -> Value {
    cleaning(&daemon.until("a run", |status| cleaning(status)["last_run"].is_object())).clone()
}

fn do_to(daemon: &Daemon, verb: &str) -> Value {
    let answer = daemon.change("POST", &format!("/api/cleanings/db/{verb}"), "");
    assert_eq!(answer.status, 200, "{verb}: {}", answer.body);
    assert_fits("Cleaning", &answer.json());
    answer.json()
}

#[test]
fn a_plan_is_shown_with_its_segments_and_is_that_of_the_command_line() {
    let daemon = daemon(120, FAST, r#"slow_start: "1h", dry_run: true"#);
    // Known a moment after it is there.
    let before = daemon.until("when it runs", |status| cleaning(status)["next_run_at"].is_number());
    let before = cleaning(&before);
    assert_fits("Cleaning", before);
    assert_eq!((&before["state"], &before["last_run"]), (&"sleeping".into(), &Value::Null));
    let none = daemon.send("GET", "/api/cleanings/db/plan", &[], "");
    assert_eq!(none.status, 404);
    assert!(none.json()["error"].as_str().unwrap().contains("has made no plan since the daemon's start"));

    let mut events = daemon.events();
    do_to(&daemon, "start");
    let told = events.next("cleaning");
    assert_fits("CleaningEvent", &told);
    let run_told = &until_run(&daemon)["last_run"];
    assert_eq!((&told["run"], &run_told["dry_run"], &run_told["refused"]), (run_told, &true.into(), &Value::Null));
    let plan = daemon.get("/api/cleanings/db/plan");
    assert_fits("Plan", &plan);
    assert_eq!(plan["segments"].as_array().unwrap().len(), 120);
    assert_eq!((plan["threshold"]["kind"].as_str(), plan["dry_run"].as_bool()), (Some("benefit"), Some(true)));
    let (marks, database) = (marked(&plan["segments"]), daemon.sample.path("localdb.sqlite"));
    assert!((1..120).contains(&marks.len()), "{marks:?}");
    assert_eq!(run_told["marked_segments"], marks.len());
    assert_eq!(daemon.get("/api/history")["cleanings"][0], *run_told);
    assert!(expired(&database).is_empty(), "a plan alone changes nothing");

    let mut command = sexton(["clean".as_ref(), database.as_os_str()]);
    command.args(["--policy", "benefit", "--dry-run", "--json"]);
    let by_hand = run(&mut command);
    let report: Value = serde_json::from_str(&by_hand.stdout).unwrap_or_else(|e| panic!("{e}: {}", by_hand.stderr));
    assert_eq!(marked(&report["segments"]), marks);
}

#[test]
fn a_plan_comes_in_pieces_and_is_whole() {
    let daemon = daemon(1000, FAST, r#"slow_start: "0s", dry_run: true"#);
    until_run(&daemon);
    let answer = daemon.send("GET", "/api/cleanings/db/plan", &[], "");
    let head = answer.headers.to_lowercase();
    // Nobody has counted it before it was sent: it is made as it is read.
    assert!(head.contains("transfer-encoding: chunked") && !head.contains("content-length"), "{head}");
    assert!(head.contains("content-type: application/json") && answer.body.len() > 100_000, "{head}");
    let plan = answer.json();
    assert_fits("Plan", &plan);
    let mut command = sexton(["clean".as_ref(), daemon.sample.path("localdb.sqlite").as_os_str()]);
    let by_hand = run(command.args(["--policy", "benefit", "--dry-run", "--json"]));
    let report: Value = serde_json::from_str(&by_hand.stdout).unwrap_or_else(|e| panic!("{e}: {}", by_hand.stderr));
    let names = |list: &Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|segment| segment["name"].as_str().unwrap().to_owned()).collect()
    };
    assert!(names(&plan["segments"]).len() > 900, "some are in no snapshot");
    let (mut sent, mut known) = (names(&plan["segments"]), names(&report["segments"]));
    // A moment later the ages, and so the order of near-equals, may differ.
    sent.sort_unstable();
    known.sort_unstable();
    assert_eq!(sent, known);
    let asked_for_its_head = daemon.send("HEAD", "/api/cleanings/db/plan", &[], "");
    assert_eq!((asked_for_its_head.status, asked_for_its_head.body.as_str()), (200, ""));
}

#[test]
fn a_cleaning_is_paused_resumed_stopped_and_started_and_changes_what_it_has_planned() {
    let daemon = daemon(120, FAST, r#"slow_start: "1h""#);
    // Perhaps before it is there: then it is paused when it comes.
    do_to(&daemon, "pause");
    until_state(&daemon, "paused");
    do_to(&daemon, "resume");
    until_state(&daemon, "sleeping");
    do_to(&daemon, "stop");
    until_state(&daemon, "stopped");
    let refused = daemon.change("POST", "/api/cleanings/db/pause", "");
    assert_eq!(refused.status, 409, "{}", refused.body);
    assert!(refused.json()["error"].as_str().unwrap().contains("is not running; start it"));
    do_to(&daemon, "start");
    let run = until_run(&daemon)["last_run"].clone();
    assert_eq!((&run["refused"], &run["dry_run"]), (&Value::Null, &false.into()));
    let plan = daemon.get("/api/cleanings/db/plan");
    assert_eq!(expired(&daemon.sample.path("localdb.sqlite")), marked(&plan["segments"]));
    until_state(&daemon, "sleeping");
    let said = |daemon: &Daemon| {
        crate::support::harness::run(&mut super::process::command_for(&daemon.sample, "status")).stdout
    };
    let line = said(&daemon);
    assert!(line.contains("db               sleeping: next run in ") && line.contains("; run ended "), "{line}");
    let text = daemon.send("GET", "/metrics", &[], "").body;
    assert!(text.lines().any(|line| line.starts_with("sexton_clean") && line.contains("\"db\"")), "{text}");
    do_to(&daemon, "stop");
    until_state(&daemon, "stopped");
    let (sample, _) = daemon.end(Signal::KILL);
    let daemon = Daemon::again(sample);
    until_state(&daemon, "stopped");
    let line = said(&daemon);
    assert!(line.contains("db               stopped: by hand, ") && line.contains("started; run ended "), "{line}");
}

#[test]
fn what_is_asked_of_a_cleaning_needs_the_token_its_name_and_a_verb() {
    let daemon = daemon(3, FAST, r#"slow_start: "1h""#);
    let bearer = format!("Bearer {}", daemon.token);
    for (method, path, headers, status) in [
        ("POST", "/api/cleanings/db/start", vec![], 401),
        ("POST", "/api/cleanings/db/start", vec![("Authorization", "Bearer 0")], 401),
        ("POST", "/api/cleanings/db/start", vec![("Authorization", &*bearer), ("Origin", "http://evil.example")], 403),
        ("POST", "/api/cleanings/nobody/start", vec![("Authorization", &*bearer)], 404),
        ("POST", "/api/cleanings/db/dance", vec![("Authorization", &*bearer)], 404),
        ("POST", "/api/crawls/db/start", vec![("Authorization", &*bearer)], 404),
        ("GET", "/api/cleanings/nobody", vec![], 404),
        ("GET", "/api/crawls/db", vec![], 404),
    ] {
        let answer = daemon.send(method, path, &headers, "");
        assert_eq!(answer.status, status, "{method} {path} {headers:?}: {}", answer.body);
        assert_fits("Error", &answer.json());
    }
    assert_eq!(until_state(&daemon, "sleeping")["last_run"], Value::Null);
}

#[test]
fn a_cleaning_in_mid_run_is_held_by_a_pause_and_goes_on_after_a_restart() {
    let daemon = daemon(600, SLOWLY, r#"slow_start: "0s""#);
    let rows = |status: &Value| cleaning(status)["rows_done"].as_u64().unwrap();
    let locks = |status: &Value| cleaning(status)["locks"].as_u64().unwrap();
    daemon.until("changes", |status| locks(status) > 1);
    do_to(&daemon, "pause");
    until_state(&daemon, "paused");
    let held = rows(&daemon.get("/api/status"));
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(rows(&daemon.get("/api/status")), held);
    do_to(&daemon, "resume");
    daemon.until("it going on", |status| rows(status) > held);
    let (sample, ended) = daemon.end(Signal::TERM);
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    let whole: String = Connection::open(sample.path("localdb.sqlite"))
        .and_then(|db| db.query_row("PRAGMA integrity_check", [], |row| row.get(0)))
        .unwrap();
    assert_eq!(whole, "ok");
    let daemon = Daemon::again(sample);
    daemon.change("PUT", "/api/budget", r#"{"cpu_percentage": 100}"#);
    let done = until_run(&daemon);
    assert_eq!((&done["resumed"], &done["last_run"]["refused"]), (&true.into(), &Value::Null), "{done}");
    let plan = daemon.get("/api/cleanings/db/plan");
    assert_eq!(expired(&daemon.sample.path("localdb.sqlite")), marked(&plan["segments"]));
}
