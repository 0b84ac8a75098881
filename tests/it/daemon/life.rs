//! The life of a daemon: commands and what is in force after them, signals, files read again, and what breaks round it.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::process::{CRAWLS, Daemon, command, command_for, config};
use crate::support::harness::{Sample, run};

/// Enough for a walk of half a minute or more: to be caught in the middle of.
const SLOWLY: &str = r#"cpu_percentage: "2%", cpu_slice: "5ms""#;
const FAST: &str = r#"cpu_percentage: "100%", cpu_slice: "20ms""#;

fn walking(daemon: &Daemon) -> Value {
    daemon.until("a walk", |status| {
        let crawl = &status["crawls"][0];
        crawl["state"] == "walking" && crawl["prefixes_done"].as_u64().is_some_and(|done| done > 0)
    })
}

#[test]
fn a_pause_is_in_force_within_one_slice_and_ends_where_it_was() {
    let daemon = Daemon::start(3000, &config(r#"cpu_percentage: "20%", cpu_slice: "20ms""#, CRAWLS, ""));
    walking(&daemon);
    for (pause, resume) in [("/api/pause", "/api/resume"), ("/api/crawls/leases/pause", "/api/crawls/leases/resume")] {
        assert_eq!(daemon.change("POST", pause, "").status, 200);
        let status = daemon.get("/api/status");
        let clients = status["budget"]["clients"].as_array().unwrap();
        assert!(clients.iter().all(|client| client["name"] != "leases" || client["out"] == 0), "{pause}: {clients:?}");
        let cost = |status: &Value| -> f64 {
            let clients = status["budget"]["clients"].as_array().unwrap().clone();
            clients.iter().filter(|c| c["name"] == "leases").map(|c| c["cost_secs"].as_f64().unwrap()).sum()
        };
        let before = daemon.get("/api/status");
        std::thread::sleep(Duration::from_millis(500));
        let after = daemon.get("/api/status");
        assert_eq!(before["crawls"][0]["buckets"], after["crawls"][0]["buckets"]);
        assert_eq!(cost(&before), cost(&after));
        assert_eq!(daemon.change("POST", resume, "").status, 200);
        let buckets = after["crawls"][0]["buckets"].as_u64().unwrap();
        daemon.until("it going on", |status| status["crawls"][0]["buckets"].as_u64().unwrap() > buckets);
    }
}

#[test]
fn a_changed_budget_holds_at_once_and_over_restarts_until_it_is_taken_back() {
    let daemon = Daemon::start(2000, &config(r#"cpu_percentage: "0.1%", cpu_slice: "5ms""#, CRAWLS, ""));
    // Counted from before the change: how much of the walk is left when the change shows, nobody knows on a busy machine.
    let slices = |status: &Value| status["budget"]["slices"].as_u64().unwrap();
    let (before, at) = (slices(&daemon.get("/api/status")), Instant::now());
    let answer = daemon.change("PUT", "/api/budget", r#"{"cpu_percentage": "40%"}"#).json();
    assert_eq!((&answer["source"], answer["changed"]["cpu_percentage"].as_f64()), (&"changed".into(), Some(40.0)));
    daemon.until("the change in force", |status| status["budget"]["requested_percentage"] == 40.0);
    daemon.until("the pace of it", |status| slices(status) >= before + 10);
    // At 0.1 % ten slices of 5 ms take 50 s; at 40 % an eighth of a second.
    assert!(at.elapsed() < Duration::from_secs(40), "{:?}", at.elapsed());
    let (sample, _) = daemon.end(Signal::TERM);
    let daemon = Daemon::again(sample);
    // In force from the first look on, a moment after it is shown.
    let status = daemon.until("the change", |status| status["budget"]["requested_percentage"] == 40.0);
    let budget = &status["budget"];
    assert_eq!((&budget["source"], budget["file_percentage"].as_f64()), (&"changed".into(), Some(0.1)));
    assert_eq!(daemon.change("DELETE", "/api/budget", "").json()["source"], "file");
    let (sample, _) = daemon.end(Signal::TERM);
    assert_eq!(Daemon::again(sample).get("/api/status")["budget"]["source"], "file");
}

#[test]
fn sighup_takes_a_good_file_and_keeps_the_old_one_for_a_bad_one() {
    let mut daemon = Daemon::start(200, &config(FAST, CRAWLS, ""));
    daemon.until_crawl("leases", "sleeping");
    let bad = config(FAST, CRAWLS, "").replace("\"100%\"", "\"100\"");
    std::fs::write(daemon.config(), bad).unwrap();
    daemon.running().signal(Signal::HUP);
    let status = daemon.until("the refusal", |status| status["config"]["refused"].is_string());
    let why = status["config"]["refused"].as_str().unwrap();
    assert!(why.contains("config.ron:1:") && why.contains("100 has no unit"), "{why}");
    assert_eq!(status["budget"]["requested_percentage"], 100.0);
    assert_eq!(status["problems"][0]["about"], "config");

    let crawls = r#"
        (name: "leases", store: "store", job: leases(), slow_start: "0s", minimum_cycle_time: "1s"),
        (name: "again", store: "store", job: count, slow_start: "0s", minimum_cycle_time: "1h"),
    "#;
    let good = config(r#"cpu_percentage: "50%", cpu_slice: "20ms""#, crawls, "");
    std::fs::write(daemon.config(), &good).unwrap();
    daemon.running().signal(Signal::HUP);
    let status = daemon.until("the new crawls", |status| {
        let names: Vec<&str> = status["crawls"].as_array().unwrap().iter().filter_map(|c| c["name"].as_str()).collect();
        names == ["leases", "again"] && status["budget"]["requested_percentage"] == 50.0
    });
    assert_eq!(status["config"]["refused"], Value::Null);
    daemon.until("the new pace", |status| status["crawls"][0]["cycle"].as_u64().unwrap() >= 1);
    daemon.until_crawl("again", "sleeping");

    // A crawl with other parameters begins anew only when it is told to, if it was in mid-cycle.
    let moved = config(FAST, CRAWLS, "").replace("state.sqlite", "other.sqlite");
    std::fs::write(daemon.config(), moved).unwrap();
    daemon.running().signal(Signal::HUP);
    let status = daemon.until("the refusal", |status| status["config"]["refused"].is_string());
    assert!(status["config"]["refused"].as_str().unwrap().contains("state has changed, which needs a restart"));

    // A file that says what the last good one said.
    std::fs::write(daemon.config(), good).unwrap();
    daemon.running().signal(Signal::HUP);
    daemon.until("no refusal", |status| status["config"]["refused"].is_null());
    let (_, ended) = daemon.end(Signal::TERM);
    let said = ended.stderr.lines().filter(|line| line.contains("the configuration was read again"));
    let changed: Vec<bool> = said.map(|line| !line.contains("nothing has changed")).collect();
    assert_eq!(changed, [true, false], "{}", ended.stderr);
}

#[test]
fn a_cycle_with_other_parameters_is_begun_anew_only_when_that_is_said() {
    let mut daemon = Daemon::start(3000, &config(SLOWLY, CRAWLS, ""));
    walking(&daemon);
    let other = CRAWLS.replace("leases()", r#"leases(expire: age("31d"), dry_run: true)"#);
    std::fs::write(daemon.config(), config(SLOWLY, &other, "")).unwrap();
    daemon.running().signal(Signal::HUP);
    let failed = daemon.until_crawl("leases", "failed");
    let health = daemon.send("GET", "/healthz", &[], "");
    assert_eq!((health.status, &*health.body), (503, "1 crawl or cleaning has failed: see the status\n"));
    assert!(failed["error"].as_str().unwrap().contains("was begun with other parameters"), "{failed}");
    assert_eq!(daemon.change("POST", "/api/crawls/leases/start", "").status, 200);
    let crawl = daemon.until_crawl("leases", "walking");
    assert_eq!((&crawl["cycle"], &crawl["error"]), (&1.into(), &Value::Null));
}

#[test]
fn sigterm_ends_it_in_each_phase_with_the_state_saved() {
    let phases =
        [("slow_start", "1h", FAST), ("walking", "0s", SLOWLY), ("sleeping", "0s", FAST), ("paused", "0s", SLOWLY)];
    for (phase, slow_start, budget) in phases {
        let crawl = format!(
            r#"(name: "leases", store: "store", job: leases(), slow_start: "{slow_start}", minimum_cycle_time: "1h")"#
        );
        let daemon = Daemon::start(1000, &config(budget, &crawl, ""));
        if phase == "walking" || phase == "paused" {
            walking(&daemon);
        }
        if phase == "paused" {
            daemon.change("POST", "/api/crawls/leases/pause", "");
        }
        let before = daemon.until_crawl("leases", phase);
        let at = Instant::now();
        let (sample, ended) = daemon.end(Signal::TERM);
        assert_eq!(ended.status.code(), Some(0), "{phase}: {}", ended.stderr);
        assert!(at.elapsed() < Duration::from_secs(20), "{phase}: {:?}", at.elapsed());
        assert!(!sample.path("runtime/sexton").read_dir().is_ok_and(|mut dir| dir.next().is_some()), "{phase}");
        let daemon = Daemon::again(sample);
        if phase == "paused" {
            // Which holds until somebody ends it.
            daemon.until_crawl("leases", "paused");
            daemon.change("POST", "/api/crawls/leases/resume", "");
        }
        if phase == "walking" || phase == "paused" {
            let resumed = daemon.until("it resumed", |status| status["crawls"][0]["resumed_with"].is_number());
            let done = resumed["crawls"][0]["resumed_with"].as_u64().unwrap();
            assert!(done >= before["prefixes_done"].as_u64().unwrap(), "{phase}: {done} of {before}");
        }
        if phase == "sleeping" {
            // What the first one has found is known to the second.
            let status = daemon.until("the history", |status| status["crawls"][0]["last_cycle"].is_object());
            assert_eq!(status["crawls"][0]["last_cycle"]["buckets"], 1000);
            // The history is there at once, the ring as soon as the crawl is.
            daemon.until("the visits", |_| {
                let ring = daemon.get("/api/crawls/leases")["ring"]["visited"].clone();
                ring.as_array().is_some_and(|visits| visits.len() == 1024 && visits.iter().all(Value::is_number))
            });
        }
    }
}

#[test]
fn a_second_daemon_is_refused_by_the_name_of_the_first() {
    let mut daemon = Daemon::start(20, &config(FAST, CRAWLS, ""));
    let pid = daemon.running().pid().as_raw_nonzero();
    let ended = run(&mut command(&daemon.sample));
    assert_eq!(ended.status.code(), Some(3));
    let said = format!("is held by process {pid}, since 20");
    assert!(ended.stderr.contains(&said), "{}", ended.stderr);
    assert_eq!(daemon.get("/api/status")["pid"], i64::from(pid.get()));
}

#[test]
fn a_store_that_is_not_there_is_waited_for() {
    let daemon = Daemon::start(50, &config(FAST, &CRAWLS.replace("\"store\"", "\"later\""), ""));
    daemon.until("what it waits for", |status| {
        let crawl = &status["crawls"][0];
        crawl["state"] == "waiting"
            && crawl["waiting_for"].as_str().is_some_and(|why| why.contains("No such file or directory"))
    });
    std::fs::rename(daemon.sample.store(), daemon.sample.path("later")).unwrap();
    assert_eq!(daemon.until_crawl("leases", "sleeping")["buckets"], 50);
}

#[test]
fn a_store_that_disappears_in_mid_walk_is_waited_for_and_nothing_is_counted_against_it() {
    let daemon = Daemon::start(4000, &config(r#"cpu_percentage: "10%", cpu_slice: "5ms""#, CRAWLS, ""));
    walking(&daemon);
    let (there, away) = (daemon.sample.store(), daemon.sample.path("away"));
    std::fs::rename(&there, &away).unwrap();
    let crawl = daemon.until_crawl("leases", "waiting");
    assert!(crawl["waiting_for"].as_str().unwrap().contains("store"), "{crawl}");
    let done = daemon.crawl("leases")["prefixes_done"].as_u64().unwrap();
    assert!(done < 1024, "{done}");
    std::fs::rename(&away, &there).unwrap();
    daemon.change("PUT", "/api/budget", r#"{"cpu_percentage": 100}"#);
    let crawl = daemon.until_crawl("leases", "sleeping");
    assert_eq!((&crawl["buckets"], &crawl["errors"]), (&4000.into(), &0.into()));
    assert_eq!(crawl["last_cycle"]["result"], "complete");
}

#[test]
fn findings_are_numbered_told_and_known_after_a_restart() {
    let sample = Sample::new(300);
    let bucket = first_bucket(&sample.shares());
    std::fs::write(bucket.join("7"), b"this is no share at all, whatever it says").unwrap();
    std::fs::write(sample.path("config.ron"), config(FAST, CRAWLS, "")).unwrap();
    let daemon = Daemon::again(sample);
    daemon.until_crawl("leases", "sleeping");
    let page = daemon.get("/api/findings");
    assert_eq!((page["first"].as_u64(), page["last"].as_u64()), (Some(1), Some(1)), "{page}");
    let finding = page["findings"][0].clone();
    assert_eq!(finding["storage_index"], bucket.file_name().unwrap().to_str().unwrap());
    assert_eq!(daemon.get("/api/findings?after=1")["findings"].as_array().unwrap().len(), 0);
    assert_eq!(daemon.get("/api/findings?crawl=count")["findings"].as_array().unwrap().len(), 0);
    let ring = daemon.get("/api/crawls/leases")["ring"]["findings"].clone();
    assert_eq!(ring.as_array().unwrap().iter().filter_map(Value::as_u64).sum::<u64>(), 1);
    let listed = run(&mut command_for(&daemon.sample, "findings --json"));
    assert_eq!(serde_json::from_str::<Value>(&listed.stdout).unwrap(), finding);
    let (sample, _) = daemon.end(Signal::INT);
    let daemon = Daemon::again(sample);
    daemon.until("the finding", |status| status["last_finding"] == 1);
    let again = daemon.get("/api/findings")["findings"][0].clone();
    assert_eq!((&again["text"], &again["prefix"]), (&finding["text"], &finding["prefix"]));
    daemon.until("its last cycle", |status| status["crawls"][0]["last_cycle"].is_object());
    let said = run(&mut command_for(&daemon.sample, "status")).stdout;
    assert!(said.contains("cycle 0 ended ") && said.contains(": 300 buckets, 0 errors, 1 finding"), "{said}");
}

#[test]
fn findings_are_told_once_however_often_a_crawl_begins_again() {
    let sample = Sample::new(3000);
    let bucket = first_bucket(&sample.shares());
    std::fs::write(bucket.join("7"), b"this is no share at all, whatever it says").unwrap();
    std::fs::write(sample.path("config.ron"), config(SLOWLY, CRAWLS, "")).unwrap();
    let mut daemon = Daemon::again(sample);
    walking(&daemon);
    let last = |daemon: &Daemon| daemon.get("/api/findings")["last"].as_u64();
    assert_eq!(last(&daemon), Some(1));
    // In mid-cycle.
    daemon.change("POST", "/api/crawls/leases/stop", "");
    daemon.until_crawl("leases", "stopped");
    daemon.change("POST", "/api/crawls/leases/start", "");
    daemon.until("it resumed", |status| status["crawls"][0]["resumed_with"].is_number());
    assert_eq!(last(&daemon), Some(1));
    // Between cycles, with other settings.
    daemon.change("PUT", "/api/budget", r#"{"cpu_percentage": 100}"#);
    daemon.until_crawl("leases", "sleeping");
    let other = CRAWLS.replace("store: \"store\", job: leases()", "store: \"store\", job: leases(), workers: 2");
    std::fs::write(daemon.config(), config(SLOWLY, &other, "")).unwrap();
    daemon.running().signal(Signal::HUP);
    daemon.until("its other workers", |status| {
        let crawl = &status["crawls"][0];
        crawl["workers"].as_array().unwrap().len() == 2
            && crawl["last_cycle"].is_object()
            && crawl["state"] == "sleeping"
    });
    assert_eq!(last(&daemon), Some(1));
}

fn first_bucket(shares: &Path) -> std::path::PathBuf {
    let mut prefixes: Vec<_> = std::fs::read_dir(shares).unwrap().map(|e| e.unwrap().path()).collect();
    prefixes.sort();
    let mut buckets: Vec<_> = std::fs::read_dir(&prefixes[0]).unwrap().map(|e| e.unwrap().path()).collect();
    buckets.sort();
    buckets.remove(0)
}

#[test]
fn a_state_that_cannot_grow_is_waited_for_said_and_gone_on_with() {
    // As on a full disk: the limit on the size of files makes writing fail.
    let sample = Sample::new(3000);
    let text = config(r#"cpu_percentage: "30%", cpu_slice: "5ms""#, CRAWLS, "");
    std::fs::write(sample.path("config.ron"), text).unwrap();
    let mut daemon = Daemon::again(sample);
    walking(&daemon);
    let pid = daemon.running().pid();
    let wal = std::fs::metadata(daemon.sample.path("state.sqlite-wal")).map_or(0, |meta| meta.len());
    limit_file_size(pid, Some(wal.max(4096)));
    let status = daemon.until("that it waits", |status| status["crawls"][0]["state"] == "waiting");
    assert!(status["crawls"][0]["waiting_for"].as_str().unwrap().contains("no room to save the state"), "{status}");
    assert_eq!(status["problems"][0]["severity"], "waiting");
    limit_file_size(pid, None);
    daemon.change("PUT", "/api/budget", r#"{"cpu_percentage": 100}"#);
    let crawl = daemon.until_crawl("leases", "sleeping");
    assert_eq!((&crawl["buckets"], &crawl["waiting_for"]), (&3000.into(), &Value::Null));
}

fn limit_file_size(pid: rustix::process::Pid, most: Option<u64>) {
    use rustix::process::{Resource, Rlimit, prlimit};
    // The hard limit stays, so that the soft one can be taken back.
    prlimit(Some(pid), Resource::Fsize, Rlimit { current: most, maximum: None }).unwrap();
}

#[test]
fn the_commands_find_the_daemon_and_say_so_when_none_runs() {
    let sample = Sample::new(50);
    std::fs::write(sample.path("config.ron"), config(FAST, CRAWLS, "")).unwrap();
    for args in ["status", "pause", "budget 25%", "findings", "start leases"] {
        let ended = run(&mut command_for(&sample, args));
        assert_eq!(ended.status.code(), Some(3), "{args}");
        assert!(ended.stderr.contains("no daemon runs for the state"), "{args}: {}", ended.stderr);
    }
    let daemon = Daemon::again(sample);
    daemon.until_crawl("leases", "sleeping");
    let crawls = |status: &Value| status["crawls"].as_array().unwrap().clone();
    daemon.until("all stores opened", |status| crawls(status).iter().all(|crawl| crawl["state"] != "waiting"));
    let say = |args: &str| {
        let ended = run(&mut command_for(&daemon.sample, args));
        assert_eq!(ended.stderr, "", "{args}");
        (ended.stdout.clone(), ended.status.code())
    };
    let (text, code) = say("status");
    assert!(text.contains("leases") && text.contains("budget 100.0 % of a core (as in the file)"), "{text}");
    assert_eq!(code, Some(0));
    let status: Value = serde_json::from_str(&say("status --json").0).unwrap();
    assert_eq!(status["boot"], daemon.get("/api/status")["boot"]);
    assert!(say("status --open").0.starts_with(&format!("http://{}/login?code=", daemon.address)));
    assert_eq!(say("pause leases").0, "leases: paused\n");
    assert_eq!(say("resume leases").0, "leases: sleeping\n");
    assert_eq!(say("pause").0, "everything: paused\n");
    assert_eq!(daemon.get("/api/status")["paused"], true);
    say("resume");
    assert!(say("budget 25%").0.starts_with("budget 25.0 % of a core (changed by hand"));
    assert!(say("budget --reset").0.contains("(as in the file)"));
    say("start leases");
    daemon.until("another cycle", |status| status["crawls"][0]["last_cycle"]["cycle"] == 1);
    say("stop leases");
    daemon.until_crawl("leases", "stopped");
    let unknown = run(&mut command_for(&daemon.sample, "start nobody"));
    assert!(
        unknown.stderr.contains("there is no crawl or cleaning \"nobody\"; there is leases, count"),
        "{}",
        unknown.stderr
    );
}

#[test]
fn completions_and_man_pages_are_made_of_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let ended = run(&mut crate::support::harness::sexton(["completions", shell]));
        assert!(ended.stdout.contains("findings"), "{shell}");
    }
    let ended = run(&mut crate::support::harness::sexton(["man".as_ref(), folder.path().as_os_str()]));
    assert_eq!(ended.status.code(), Some(0));
    let page = std::fs::read_to_string(folder.path().join("sexton-run.1")).unwrap();
    assert!(page.contains("SIGHUP") && folder.path().join("sexton.1").is_file());
    // man(1) leaves the list as it is, and nothing else.
    let list = page.split_once(".nf\n").and_then(|(_, list)| list.split_once(".fi\n")).unwrap().0;
    assert!(list.lines().count() == 4 && list.lines().all(|line| line.starts_with("  ")), "{page}");
}

#[test]
fn what_is_printed_to_nobody_ends_without_a_word() {
    for args in ["completions bash", "man", "config init /dev/null/x", "status --url 127.0.0.1:1"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = crate::support::harness::sexton(args.split_whitespace());
        let ended = command.stdout(writer).output().unwrap();
        let printed = !args.contains("/x") && !args.contains("--url");
        let signal = std::os::unix::process::ExitStatusExt::signal(&ended.status);
        assert_eq!((signal == Some(13), ended.stderr.is_empty()), (printed, printed), "{args}: {ended:?}");
    }
}

#[test]
fn the_demo_serves_its_page() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = crate::support::harness::sexton(["demo", "--serve", "--buckets", "200", "--dir"]);
    command.arg(folder.path()).env("XDG_RUNTIME_DIR", folder.path().join("runtime"));
    let running = crate::support::harness::Running::start(&mut command);
    let limit = Instant::now() + super::process::PATIENCE;
    while !folder.path().join("runtime/sexton").read_dir().is_ok_and(|mut cards| cards.next().is_some()) {
        assert!(Instant::now() < limit, "it lays no card");
        std::thread::sleep(Duration::from_millis(20));
    }
    running.signal(Signal::INT);
    let ended = running.end();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("/login?code="));
}
