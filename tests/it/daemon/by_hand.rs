//! What an operator has done to single crawls by hand: it outlives restarts, and is shown, until it is taken back.

use std::io::{Read, Write};

use rustix::process::Signal;
use serde_json::Value;

use super::metrics::metric;
use super::process::{CRAWLS, Daemon, command_for, config};
use super::shapes::assert_fits;
use crate::state::full_disk::limit;
use crate::support::harness::{Ended, Sample, run};

const FAST: &str = r#"cpu_percentage: "100%", cpu_slice: "20ms""#;

fn say(daemon: &Daemon, args: &str) -> Ended {
    run(&mut command_for(&daemon.sample, args))
}

#[test]
fn stopped_and_paused_outlive_a_restart_until_they_are_taken_back() {
    let daemon = Daemon::start(20, &config(FAST, CRAWLS, ""));
    daemon.until_crawl("leases", "sleeping");
    assert_eq!(say(&daemon, "stop leases").expect(0).stdout, "leases: stopped\n");
    assert_eq!(say(&daemon, "pause count").expect(0).stdout, "count: paused\n");
    let (sample, _) = daemon.end(Signal::KILL);
    let daemon = Daemon::again(sample);
    let paused = daemon.until_crawl("count", "paused");
    let stopped = daemon.crawl("leases");
    assert_eq!(stopped["state"], "stopped", "{stopped:#}");
    assert_eq!((&stopped["by_hand"]["what"], &paused["by_hand"]["what"]), (&"stopped".into(), &"paused".into()));
    assert_fits("Status", &daemon.get("/api/status"));
    let said = say(&daemon, "status").stdout;
    for words in ["leases           stopped: by hand, ", "count            paused: by hand, "] {
        assert!(said.contains(words), "{words:?} is not in\n{said}");
    }
    assert!(!said.contains(": ;"), "{said}");
    // What it has done before is not forgotten with the process, nor by a reader of programs.
    assert!(said.contains("until it is started; cycle 0 ended "), "{said}");
    let of = |key: &str| stopped[key].clone();
    assert_eq!((of("cycle"), of("buckets"), of("prefixes_done")), (0.into(), 20.into(), of("prefixes_total")));
    assert_eq!(daemon.get("/api/history?crawl=leases")["cycles"][0], stopped["last_cycle"]);
    say(&daemon, "start leases").expect(0);
    say(&daemon, "resume count").expect(0);
    let (sample, _) = daemon.end(Signal::KILL);
    let daemon = Daemon::again(sample);
    daemon.until_crawl("leases", "sleeping");
    assert_eq!(daemon.until_crawl("count", "slow_start")["by_hand"], Value::Null);
}

/// The machine is restarted while one crawl is paused and another is stopped, both in the middle of their first cycle.
#[test]
fn a_cycle_that_is_kept_from_going_on_shows_how_far_it_is_saved() {
    let crawl = |name: &str| format!(r#"(name: "{name}", store: "store", job: leases(), slow_start: "0s"), "#);
    // Slow enough to be caught in mid-cycle, fast enough that a commit of some seconds on a busy disk is soon slept off.
    let slowly = r#"cpu_percentage: "10%", cpu_slice: "5ms""#;
    let daemon = Daemon::start(6000, &config(slowly, &["held", "ended"].map(crawl).concat(), ""));
    for (name, verb, state) in [("held", "pause", "paused"), ("ended", "stop", "stopped")] {
        daemon.until("some progress", |status| {
            let crawls = status["crawls"].as_array().unwrap();
            crawls.iter().any(|crawl| crawl["name"] == name && crawl["prefixes_done"].as_u64() > Some(20))
        });
        say(&daemon, &format!("{verb} {name}")).expect(0);
        daemon.until_crawl(name, state);
    }
    // What the last slice has done is saved by then.
    daemon.until("everything saved", |status| {
        status["crawls"]
            .as_array()
            .unwrap()
            .iter()
            .all(|crawl| crawl["workers"].as_array().unwrap().iter().all(|worker| worker == "idle"))
    });
    let before = ["held", "ended"].map(|name| daemon.crawl(name));
    let daemon = Daemon::again(daemon.end(Signal::KILL).0);
    for (before, state) in before.iter().zip(["paused", "stopped"]) {
        let name = before["name"].as_str().unwrap();
        let after = daemon.until_crawl(name, state);
        let keys = [
            "cycle",
            "cycle_started",
            "prefixes_done",
            "prefixes_total",
            "last_complete_prefix",
            "last_complete_bucket",
        ];
        for key in keys.into_iter().chain(["buckets", "shares", "errors", "findings", "vanished"]) {
            assert_eq!(after[key], before[key], "{key} of {name}");
        }
        let part = after["prefixes_done"].as_f64().unwrap() / after["prefixes_total"].as_f64().unwrap();
        let told = metric(&daemon, &format!(r#"sexton_cycle_progress_ratio{{crawl="{name}"}}"#)).unwrap();
        assert!((told - part).abs() < 1e-9 && part > 0.0, "{told}, {part}");
        let said = say(&daemon, "status").stdout;
        assert!(said.contains(&format!("; cycle 0, {:.1} %; 0 errors, ", 100.0 * part)), "{said}");
        let cycles = daemon.get(&format!("/api/crawls/{name}"))["cycles"].clone();
        assert_eq!((&cycles[0]["result"], &cycles[0]["buckets"]), (&"in_progress".into(), &before["buckets"]));
    }
    assert_fits("Status", &daemon.get("/api/status"));
    assert_fits("History", &daemon.get("/api/history"));
}

/// A stop takes effect after the running bucket; what is said meanwhile must not undo it for the next process.
#[test]
fn what_was_stopped_can_only_be_started() {
    let daemon = Daemon::start(3000, &config(r#"cpu_percentage: "100%", cpu_slice: "1m""#, CRAWLS, ""));
    daemon.until_crawl("leases", "walking");
    for verb in ["pause", "resume"] {
        assert_eq!(daemon.change("POST", "/api/crawls/leases/stop", "").status, 200);
        let refused = daemon.change("POST", &format!("/api/crawls/leases/{verb}"), "");
        assert_eq!((refused.status, &daemon.crawl("leases")["by_hand"]["what"]), (409, &"stopped".into()), "{verb}");
        daemon.change("POST", "/api/crawls/leases/start", "");
    }
}

/// How it happens: a node is started and the crawl is paused, both within one slice of deletions. The pause ends the slice,
/// which is then refused; and when the node has stopped, the crawl is tried again.
#[test]
fn a_pause_outlives_a_failure_of_its_crawl() {
    let sample = Sample::new(3000);
    let job = r#"leases(expire: age("31d"), delete: offline, rehearsal: false, max_delete: "100%")"#;
    let crawls = format!(r#"(name: "leases", store: "store", job: {job}, slow_start: "0s")"#);
    std::fs::write(sample.path("config.ron"), config(r#"cpu_percentage: "100%", cpu_slice: "1m""#, &crawls, ""))
        .unwrap();
    let pid_file = sample.path("running.process");
    std::fs::write(&pid_file, format!("{} 1700000000.5", std::process::id())).unwrap();
    let daemon = Daemon::again(sample);
    // All is examined by then; the node is asked for before anything is deleted.
    let waits_for_the_node = |status: &serde_json::Value| {
        let why = status["crawls"][0]["waiting_for"].as_str();
        why.is_some_and(|why| why.contains("the node of this store runs"))
    };
    daemon.until("that it waits for the node", waits_for_the_node);
    assert_eq!(daemon.change("POST", "/api/crawls/leases/pause", "").status, 200);
    std::fs::remove_file(pid_file).unwrap();
    let begun = daemon.until("what becomes of it", |status| status["crawls"][0]["state"] != "waiting");
    daemon.until_crawl("leases", "paused");
    let buckets = begun["crawls"][0]["buckets"].clone();
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(daemon.crawl("leases")["buckets"], buckets, "it walks");
}

#[test]
fn what_cannot_be_saved_is_named_and_saved_once_there_is_room() {
    let mut daemon = Daemon::start(5, &config(FAST, CRAWLS, ""));
    daemon.until_crawl("leases", "sleeping");
    limit(daemon.running(), Some(0));
    let said = say(&daemon, "stop count").expect(0).stdout;
    assert!(said.starts_with("count: stopped\nnot saved yet") && said.contains(": the stop of count: "), "{said}");
    let said = say(&daemon, "pause").expect(0).stdout;
    assert!(said.contains(": the pause of everything, the stop of count: "), "{said}");
    assert!(say(&daemon, "status").expect(4).stdout.contains("! waiting state: not saved yet"));
    limit(daemon.running(), None);
    assert_eq!(say(&daemon, "resume").expect(0).stdout, "everything: resumed\n");
    let (sample, _) = daemon.end(Signal::KILL);
    Daemon::again(sample).until_crawl("count", "stopped");
}

#[test]
fn what_was_done_to_a_crawl_that_has_gone_is_forgotten() {
    let mut daemon = Daemon::start(20, &config(FAST, CRAWLS, ""));
    say(&daemon, "stop count").expect(0);
    for crawls in [CRAWLS.lines().filter(|line| !line.contains("count")).collect(), CRAWLS.to_owned()] {
        std::fs::write(daemon.config(), config(FAST, &crawls, "")).unwrap();
        daemon.running().signal(Signal::HUP);
        let wanted = 1 + usize::from(crawls == CRAWLS);
        daemon.until("the new file", |status| status["crawls"].as_array().unwrap().len() == wanted);
    }
    assert_eq!(daemon.until_crawl("count", "slow_start")["by_hand"], Value::Null);
}

#[test]
fn when_a_crawl_was_where_is_not_kept_when_it_has_gone() {
    let daemon = Daemon::start(5, &config(FAST, CRAWLS, ""));
    daemon.until_crawl("leases", "sleeping");
    let (sample, _) = daemon.end(Signal::TERM);
    let kept = |sample: &Sample| {
        let kept = std::fs::read(sample.path("state.sqlite-daemon.json")).unwrap();
        serde_json::from_slice::<Value>(&kept).unwrap()["visits"]["leases"].clone()
    };
    assert_eq!(kept(&sample).as_array().map(Vec::len), Some(1024));
    std::fs::write(sample.path("config.ron"), config(FAST, &CRAWLS.replace("\"leases\"", "\"other\""), "")).unwrap();
    let daemon = Daemon::again(sample);
    daemon.until_crawl("other", "sleeping");
    assert_eq!(kept(&daemon.end(Signal::TERM).0), Value::Null);
}

#[test]
fn while_everything_is_paused_nothing_is_said_to_begin() {
    let daemon = Daemon::start(20, &config(FAST, CRAWLS, ""));
    daemon.until_crawl("leases", "sleeping");
    assert!(say(&daemon, "status").stdout.contains("next cycle in "));
    say(&daemon, "pause").expect(0);
    let said = say(&daemon, "status").stdout;
    assert!(said.contains(", PAUSED\n") && said.contains("leases           paused: cycle 0"), "{said}");
    assert!(!said.contains("next cycle"), "{said}");
    let (sample, _) = daemon.end(Signal::KILL);
    let daemon = Daemon::again(sample);
    daemon.until("that the pause holds", |status| status["paused"] == true);
    say(&daemon, "resume").expect(0);
    let (sample, _) = daemon.end(Signal::KILL);
    assert_eq!(Daemon::again(sample).get("/api/status")["paused"], false);
}

#[test]
fn findings_of_a_crawl_that_is_not_there_are_refused() {
    let daemon = Daemon::start(5, &config(FAST, CRAWLS, ""));
    say(&daemon, "findings --crawl leases").expect(0);
    say(&daemon, "findings --crawl nope").expect(2).said(r#"there is no crawl "nope""#);
    assert_eq!(daemon.send("GET", "/api/findings?crawl=nope", &[], "").status, 404);
}

#[test]
fn a_file_that_holds_no_token_is_said_to_hold_none() {
    let daemon = Daemon::start(5, &config(FAST, CRAWLS, ""));
    let path = daemon.sample.path("no-token");
    for text in ["", "a token\nand more", "t\u{f6}ken-of-some-length"] {
        std::fs::write(&path, text).unwrap();
        let args = format!("pause --token-file {}", path.display());
        say(&daemon, &args).expect(3).said("no-token does not hold a token");
    }
}

/// How it happens: `sexton pause | head -0`, or a script whose log is on a full disk.
#[test]
fn what_was_done_is_done_though_nobody_can_read_of_it() {
    let daemon = Daemon::start(5, &config(FAST, CRAWLS, ""));
    daemon.until_crawl("leases", "sleeping");
    let unread = |args: &str| {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        command_for(&daemon.sample, args).stdout(full).output().unwrap()
    };
    for args in ["pause", "resume", "stop count", "start count"] {
        let ended = unread(args);
        assert_eq!(ended.status.code(), Some(0), "{args}: {}", String::from_utf8_lossy(&ended.stderr));
    }
    // What was only asked for was for nothing.
    for args in ["status", "budget", "status --open", "confirm leases --yes"] {
        let ended = unread(args);
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(3), "{args}: {said}");
        assert!(!said.contains("panicked"), "{args}: {said}");
    }
}

#[test]
fn a_server_that_is_no_daemon_is_not_taken_for_one() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = listener.local_addr().unwrap().to_string();
    // It says yes to everything. The thread ends with the tests.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 7\r\n\r\nwelcome");
        }
    });
    for args in ["status", "pause", "findings", "budget"] {
        run(&mut crate::support::harness::sexton([args, "--url", &url])).expect(3).said("is no daemon of Sexton");
    }
}

#[test]
fn a_window_that_opens_while_the_budget_is_set_by_hand_is_said_to_change_nothing() {
    let day = r#"cpu_percentage: "100%", windows: { "00:00-12:00": "20%", "12:00-00:00": "20%" }"#;
    let mut daemon = Daemon::start(5, &config(FAST, CRAWLS, ""));
    say(&daemon, "budget 30%").expect(0);
    std::fs::write(daemon.config(), config(day, CRAWLS, "")).unwrap();
    daemon.running().signal(Signal::HUP);
    let line = daemon.running().must_say("another window of the day");
    assert!(line.contains("the budget set by hand stays in force") && line.contains("percent=30"), "{line}");
}

#[test]
fn a_daemon_is_found_without_its_session_and_by_the_file_that_it_was_started_with() {
    let mut daemon = Daemon::start(5, &config(FAST, CRAWLS, ""));
    // Until then there is something to look at.
    daemon.until_crawl("leases", "sleeping");
    daemon.until_crawl("count", "slow_start");
    let elsewhere = |args: &str| {
        let mut command = command_for(&daemon.sample, args);
        command.env("XDG_RUNTIME_DIR", daemon.sample.path("another"));
        run(&mut command)
    };
    elsewhere("status").expect(0);
    // By the usual configuration, which names another folder for the state.
    let own = daemon.sample.path("home/.config/sexton");
    std::fs::create_dir_all(&own).unwrap();
    let state = daemon.sample.path("state.sqlite");
    let usual = config(FAST, CRAWLS, "").replace("state.sqlite", state.to_str().unwrap());
    std::fs::write(own.join("config.ron"), usual).unwrap();
    let mut unnamed = crate::support::harness::sexton(["status"]);
    unnamed.env("HOME", daemon.sample.path("home")).env_remove("XDG_RUNTIME_DIR").env_remove("XDG_CONFIG_HOME");
    assert!(run(&mut unnamed).expect(0).stdout.contains("leases"));

    // A file that was refused does not hide the daemon that says so.
    std::fs::write(daemon.config(), "(nonsense").unwrap();
    daemon.running().signal(Signal::HUP);
    daemon.until("the refusal", |status| status["config"]["refused"].is_string());
    let ended = say(&daemon, "status");
    ended.said("this is the daemon that was started with that file");
    assert!(ended.stdout.contains("the configuration was refused"), "{ended:?}");
    // Another one is not taken for it.
    let mut other = crate::support::harness::sexton(["status", "--config", "nowhere.ron"]);
    other.env("HOME", daemon.sample.path("home")).env("XDG_RUNTIME_DIR", daemon.sample.path("runtime"));
    run(&mut other).expect(2).said("nowhere.ron");
}
