//! A cycle of a running daemon that stands between its two phases: shown with what it would delete, confirmed by command or in the
//! file, and neither lost nor invented by a kill, a restart or another file.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::process::{Daemon, PATIENCE, command, command_for, config};
use super::shapes::assert_fits;
use crate::expiry::crash::immutable_at;
use crate::support::harness::{Ended, Running, Sample, run};

const FAST: &str = r#"cpu_percentage: "100%", cpu_slice: "20ms""#;
const PARAMETERS: &str = r#"expire: age("31d"), delete: offline, max_delete: "60%""#;

fn crawl(parameters: &str, cycle_time: &str) -> String {
    let crawl = format!(
        r#"(name: "expire", store: "store", job: leases({parameters}), slow_start: "0s", minimum_cycle_time: "{cycle_time}")"#
    );
    config(FAST, &crawl, "")
}

/// A daemon on a bucket with an expired share and one with a valid one.
fn start(cycle_time: &str) -> Daemon {
    let sample = Sample::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as u32;
    for (n, days) in [(0, 40), (1, 3)] {
        fs::create_dir_all(share(&sample, n).parent().unwrap()).unwrap();
        fs::write(share(&sample, n), immutable_at(now, 2, 50, &[(1, days)])).unwrap();
    }
    fs::write(sample.path("config.ron"), crawl(PARAMETERS, cycle_time)).unwrap();
    Daemon::again(sample)
}

fn share(sample: &Sample, n: usize) -> PathBuf {
    let bucket = format!("aa{}{}a", "b".repeat(22), ["a", "b"][n]);
    sample.shares().join("aa").join(bucket).join("0")
}

fn are_there(daemon: &Daemon) -> [bool; 2] {
    [0, 1].map(|n| share(&daemon.sample, n).exists())
}

/// Waits until the crawl waits for the confirmation of a cycle.
fn rehearsed(daemon: &Daemon, cycle: u64) -> Value {
    daemon.until("a rehearsal", |status| {
        let crawl = &status["crawls"][0];
        crawl["state"] == "rehearsed" && crawl["rehearsal"]["cycle"] == cycle
    })
}

fn say(daemon: &Daemon, args: &str) -> Ended {
    run(&mut command_for(&daemon.sample, args))
}

fn deleted(daemon: &Daemon, cycle: u64) {
    let status = daemon.until("a cycle that deletes", |status| {
        status["crawls"][0]["last_cycle"]["cycle"].as_u64().is_some_and(|last| last >= cycle)
    });
    assert_eq!(are_there(daemon), [false, true], "{status:#}");
}

/// Waits until the crawl says that it waits for this.
fn waits(daemon: &Daemon, parts: [&str; 2]) -> Value {
    daemon.until("that it waits", |status| {
        let why = status["crawls"][0]["waiting_for"].as_str();
        why.is_some_and(|why| parts.iter().all(|part| why.contains(part)))
    })
}

/// What the crawl has done so far, in slices.
fn slices(daemon: &Daemon) -> u64 {
    let status = daemon.get("/api/status");
    let clients = status["budget"]["clients"].as_array().unwrap();
    let of_crawl = clients.iter().filter(|client| client["name"].as_str().unwrap().starts_with("expire"));
    of_crawl.map(|client| client["slices"].as_u64().unwrap()).sum()
}

/// Three attempts or more go by, and none of them costs a slice.
fn costs_nothing(daemon: &Daemon) {
    let before = slices(daemon);
    std::thread::sleep(Duration::from_secs(8));
    assert_eq!(slices(daemon), before, "it walks to be refused again");
    assert_eq!(are_there(daemon), [true, true]);
}

#[test]
fn what_is_to_be_changed_offline_waits_for_the_node_to_stop() {
    let daemon = start("1s");
    rehearsed(&daemon, 0);
    let pid_file = daemon.sample.path("running.process");
    fs::write(&pid_file, format!("{} 1700000000.5", std::process::id())).unwrap();
    say(&daemon, "confirm expire --yes").expect(0);
    let why = ["the node of this store runs", "for a node that is stopped"];
    let status = waits(&daemon, why);
    assert_eq!(status["problems"][0]["severity"], "waiting");
    costs_nothing(&daemon);
    fs::remove_file(pid_file).unwrap();
    deleted(&daemon, 0);
    // So does verifying, where it moves shares, and at once.
    let verifying = r#"(name: "verify", store: "store", job: verify(quarantine: move, offline: true))"#;
    let sample = Sample::new(1);
    fs::write(sample.path("running.process"), format!("{}", std::process::id())).unwrap();
    fs::write(sample.path("config.ron"), config(FAST, verifying, "")).unwrap();
    waits(&Daemon::again(sample), why);
}

/// How it happens: the daemon starts with the machine, and the disk with the store is mounted later.
#[test]
fn a_store_that_is_away_at_the_start_brings_no_cycle_forward() {
    let daemon = start("1h");
    rehearsed(&daemon, 0);
    let back = |daemon: Daemon| {
        let (sample, _) = daemon.end(Signal::TERM);
        let (there, away) = (sample.store(), sample.path("away"));
        fs::rename(&there, &away).unwrap();
        let daemon = Daemon::again(sample);
        waits(&daemon, ["cannot use store", "No such file or directory"]);
        fs::rename(&away, &there).unwrap();
        daemon
    };
    let stays = |daemon: &Daemon, state: &str| {
        daemon.until_crawl("expire", state);
        std::thread::sleep(Duration::from_secs(1));
        let crawl = daemon.until_crawl("expire", state);
        assert_eq!(crawl["cycle"], 0, "{crawl}");
        crawl
    };
    // Neither examined anew,
    let daemon = back(daemon);
    assert_eq!(stays(&daemon, "rehearsed")["rehearsal"]["cycle"], 0);
    assert_eq!(are_there(&daemon), [true, true]);
    say(&daemon, "confirm expire --yes").expect(0);
    deleted(&daemon, 0);
    // nor begun before its time.
    let daemon = back(daemon);
    let crawl = stays(&daemon, "sleeping");
    let wait = crawl["next_cycle_at"].as_f64().unwrap() - daemon.get("/api/status")["now"].as_f64().unwrap();
    assert!((3000.0..3600.0).contains(&wait), "{wait}");
    // One that was told to begin does so when the store is back.
    let (there, away) = (daemon.sample.store(), daemon.sample.path("away"));
    fs::rename(&there, &away).unwrap();
    say(&daemon, "start expire").expect(0);
    daemon.until_crawl("expire", "waiting");
    fs::rename(&away, &there).unwrap();
    deleted(&daemon, 1);
}

#[test]
fn a_rehearsal_is_shown_and_what_it_shows_goes_once_it_was_confirmed_by_command() {
    let daemon = start("1s");
    let status = rehearsed(&daemon, 0);
    assert_fits("Status", &status);
    let expected = json!({"cycle": 0, "examined": 2, "over_limit": false, "buckets": 1, "shares": 1, "leases": 1,
        "bytes": 134, "max_delete": "60%", "confirmed": false, "confirmed_at": null});
    assert_eq!(status["crawls"][0]["rehearsal"], expected);
    assert_eq!(status["crawls"][0]["last_cycle"], Value::Null, "it has not ended");
    let problem = &status["problems"][0];
    assert_eq!((&problem["about"], &problem["severity"]), (&"crawl".into(), &"waiting".into()));
    assert!(problem["text"].as_str().unwrap().contains("before it deletes 1 share and 1 lease (134 B)"), "{problem}");
    say(&daemon, "status").expect(4);
    let space = |status: &Value| {
        let space = &status["crawls"][0]["last_cycle"]["space"];
        ["deleted_bytes", "deleted_shares", "would_delete_bytes", "would_delete_shares"].map(|key| space[key].clone())
    };
    let metrics = || daemon.send("GET", "/metrics", &[], "").body;
    let bytes = |kind: &str| format!("sexton_last_cycle_bytes{{crawl=\"expire\",kind=\"{kind}\"}}");
    assert!(metrics().contains("sexton_crawl_rehearsed{crawl=\"expire\"} 1"));
    // Two cycles' time, and what is not a confirmation of just this cycle.
    std::thread::sleep(Duration::from_secs(2));
    let other = daemon.change("POST", "/api/crawls/expire/confirm", r#"{"cycle": 1}"#);
    assert_eq!(other.status, 409, "{}", other.body);
    assert!(other.body.contains("is cycle 0, not 1"), "{}", other.body);
    assert_eq!(daemon.send("POST", "/api/crawls/expire/confirm", &[], r#"{"cycle": 0}"#).status, 401);
    let nobody = say(&daemon, "confirm expire");
    assert!(nobody.code() != 0 && nobody.stderr.contains("add --yes"), "{nobody:?}");
    assert_eq!(say(&daemon, "pause expire").code(), 0);
    assert!(metrics().contains("sexton_crawl_rehearsed{crawl=\"expire\"} 1"), "a pause hides nothing");
    assert_eq!(say(&daemon, "resume expire").stdout, "expire: rehearsed\n");
    assert_eq!(daemon.crawl("expire")["last_cycle"], Value::Null);
    let wrong = daemon.change("POST", "/api/crawls/expire/confirm", r#"{"cycle": 0, "shares": 2}"#);
    assert!(wrong.status == 409 && wrong.body.contains("would delete 1 object, not 2"), "{}", wrong.body);
    assert_eq!(are_there(&daemon), [true, true]);

    let confirmed = say(&daemon, "confirm expire --yes").expect(0).stdout;
    assert!(confirmed.starts_with("expire: 1 share in 1 bucket, 1 lease, 134 B will be deleted"), "{confirmed}");
    assert!(confirmed.ends_with("confirmed: they are deleted now\n"), "{confirmed}");
    deleted(&daemon, 0);
    let status = daemon.until("its account", |status| status["crawls"][0]["last_cycle"]["cycle"] == 0);
    assert_eq!(space(&status), [json!(134), json!(1), Value::Null, Value::Null]);
    assert!(metrics().contains(&(bytes("deleted") + " 134")));
    let again = say(&daemon, "confirm expire --yes");
    assert!(again.code() != 0 && again.stderr.contains("nothing that waits to be confirmed"), "{again:?}");
    assert!(metrics().contains("sexton_crawl_rehearsed{crawl=\"expire\"} 0"));
    daemon.until("the next cycle", |status| status["crawls"][0]["last_cycle"]["cycle"] == 1);
    assert_eq!(daemon.crawl("expire")["rehearsal"], Value::Null);
}

#[test]
fn a_kill_before_the_confirmation_finds_it_waiting_and_one_after_it_does_not() {
    let daemon = start("1h");
    rehearsed(&daemon, 0);
    let (sample, _) = daemon.end(Signal::KILL);
    let daemon = Daemon::again(sample);
    let status = rehearsed(&daemon, 0);
    assert_eq!(status["crawls"][0]["rehearsal"]["shares"], 1, "read back from the state");
    let answer = daemon.change("POST", "/api/crawls/expire/confirm", r#"{"cycle": 0}"#);
    let (sample, _) = daemon.end(Signal::KILL);
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_fits("Crawl", &answer.json());
    assert_eq!(answer.json()["rehearsal"]["confirmed"], true);
    let daemon = Daemon::again(sample);
    deleted(&daemon, 0);
}

/// How it happens: the process dies while it saves the confirmation, or before it can answer.
#[test]
fn a_kill_in_the_middle_of_a_confirmation_leaves_all_of_it_or_none() {
    for point in ["before_carry_out", "after_carry_out"] {
        let daemon = start("1h");
        rehearsed(&daemon, 0);
        let (sample, _) = daemon.end(Signal::TERM);
        let dying = Running::start(command(&sample).env("FAILPOINTS", format!("checkpoint::{point}=return")));
        let limit = Instant::now() + PATIENCE;
        while !run(&mut command_for(&sample, "status --json")).stdout.contains("\"confirmed\":false") {
            assert!(Instant::now() < limit, "it never waits");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_ne!(run(&mut command_for(&sample, "confirm expire --yes")).code(), 0, "nobody has answered");
        assert_eq!(dying.end().signal(), Some(6));
        let daemon = Daemon::again(sample);
        if point == "before_carry_out" {
            rehearsed(&daemon, 0);
            assert_eq!(are_there(&daemon), [true, true]);
        } else {
            deleted(&daemon, 0);
        }
    }
}

/// Has it read another file.
fn take(daemon: &mut Daemon, parameters: &str) {
    fs::write(daemon.config(), crawl(parameters, "1s")).unwrap();
    daemon.running().signal(Signal::HUP);
}

#[test]
fn other_parameters_are_rehearsed_anew_and_the_file_can_confirm() {
    let mut daemon = start("1s");
    rehearsed(&daemon, 0);
    let other = PARAMETERS.replace("31d", "32d");
    take(&mut daemon, &other);
    rehearsed(&daemon, 1);
    assert_eq!(daemon.change("POST", "/api/crawls/expire/confirm", r#"{"cycle": 0}"#).status, 409);
    // Told to start it rehearses once more, and still deletes nothing.
    say(&daemon, "start expire").expect(0);
    rehearsed(&daemon, 2);
    assert_eq!(are_there(&daemon), [true, true]);
    take(&mut daemon, &(other + ", rehearsal: false"));
    deleted(&daemon, 2);
}

/// Beyond the limit nobody confirms what he has not counted.
#[test]
fn a_confirmation_of_more_than_the_catch_lets_go_names_the_number() {
    let mut daemon = start("1h");
    rehearsed(&daemon, 0);
    take(&mut daemon, &PARAMETERS.replace("60%", "0%"));
    daemon.until("the other limit", |status| status["crawls"][0]["rehearsal"]["over_limit"] == true);
    let over = "1 of 2 shares is more than max_delete (0%) allows";
    assert!(say(&daemon, "status").stdout.contains(over));
    assert!(daemon.get("/api/status")["problems"][0]["text"].as_str().unwrap().ends_with("more than its limit allows"));
    let unnamed = say(&daemon, "confirm expire --yes");
    assert!(
        unnamed.code() != 0 && unnamed.stdout.contains(over) && unnamed.stderr.contains("--shares N"),
        "{unnamed:?}"
    );
    let unnamed = daemon.change("POST", "/api/crawls/expire/confirm", r#"{"cycle": 0}"#);
    assert!(unnamed.status == 409 && unnamed.body.contains("how many objects that is, 1"), "{}", unnamed.body);
    assert!(say(&daemon, "confirm expire --shares 2").stderr.contains("would delete 1 object, not 2"));
    assert_eq!(are_there(&daemon), [true, true]);
    say(&daemon, "confirm expire --shares 1").expect(0);
    deleted(&daemon, 0);
}

/// How it happens: more than the limit has expired in a crawl that was confirmed long ago, or never had to be.
#[test]
fn without_a_rehearsal_a_cycle_beyond_its_limit_waits_as_well() {
    let mut daemon = start("1s");
    let limited = PARAMETERS.replace("60%", "10%") + ", rehearsal: false";
    fs::write(daemon.config(), crawl(&limited, "1s")).unwrap();
    let (sample, _) = daemon.end(Signal::KILL);
    let _ = fs::remove_file(sample.path("state"));
    daemon = Daemon::again(sample);
    rehearsed(&daemon, 0);
    assert_eq!(are_there(&daemon), [true, true]);
    // A larger limit in the file lets it go on.
    take(&mut daemon, &limited.replace("10%", "50%"));
    deleted(&daemon, 0);
}

/// Whether a question before it goes on would have a meaning.
#[test]
fn a_crawl_in_the_middle_of_its_rehearsal_is_known_to_delete_nothing() {
    let parameters = PARAMETERS.replace("60%", "100%");
    let slowly = |parameters: &str| crawl(parameters, "1h").replace(FAST, r#"cpu_percentage: "1%", cpu_slice: "5ms""#);
    let daemon = Daemon::start(3000, &slowly(&parameters));
    let is = |daemon: &Daemon, state: &str| daemon.until_crawl("expire", state)["rehearsing"].clone();
    daemon.until("some progress", |status| status["crawls"][0]["prefixes_done"].as_u64() > Some(0));
    assert_eq!(is(&daemon, "walking"), true);
    say(&daemon, "stop expire").expect(0);
    assert_eq!(is(&daemon, "stopped"), true);
    let daemon = Daemon::again(daemon.end(Signal::KILL).0);
    assert_eq!(is(&daemon, "stopped"), true);
    // With other settings it goes on to delete when it has ended.
    fs::write(daemon.config(), slowly(&format!("{parameters}, rehearsal: false"))).unwrap();
    daemon.change("POST", "/api/reload", "");
    assert_eq!(is(&daemon, "stopped"), false);
    fs::write(daemon.config(), slowly(&parameters)).unwrap();
    daemon.change("POST", "/api/reload", "");
    say(&daemon, "budget 100%").expect(0);
    say(&daemon, "start expire").expect(0);
    assert_eq!(is(&daemon, "rehearsed"), true);
    say(&daemon, "confirm expire --yes").expect(0);
    assert_eq!(daemon.crawl("expire")["rehearsing"], false);
}
