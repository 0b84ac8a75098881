//! The first start, as a new user meets it: where things are, and what is said of what is not right.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use rustix::process::Signal;

use super::process::{CRAWLS, Daemon, command, command_for, config};
use crate::state::full_disk::{limit, limited};
use crate::support::harness::{Running, Sample, run, sexton};

const FAST: &str = r#"cpu_percentage: "100%""#;

fn sample(text: &str) -> Sample {
    let sample = Sample::new(5);
    std::fs::write(sample.path("config.ron"), text).unwrap();
    sample
}

/// With a home of its own, and nothing named.
fn at_home(sample: &Sample, args: &str) -> Command {
    let mut command = sexton(args.split_whitespace());
    command.env("HOME", sample.path("home")).env("XDG_RUNTIME_DIR", sample.path("runtime"));
    for name in ["STATE_DIRECTORY", "RUNTIME_DIRECTORY", "NOTIFY_SOCKET", "XDG_CONFIG_HOME", "XDG_STATE_HOME"] {
        command.env_remove(name);
    }
    command
}

fn refused(command: &mut Command, code: i32, said: &[&str]) {
    let ended = run(command);
    assert_eq!(ended.status.code(), Some(code), "{}", ended.stderr);
    assert!(said.iter().all(|said| ended.stderr.contains(said)), "{}", ended.stderr);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
}

#[test]
fn without_a_configuration_it_says_where_it_looked_and_how_to_make_one() {
    let sample = sample("");
    if std::path::Path::new("/etc/sexton/config.ron").exists() {
        return;
    }
    let own = sample.path("home/.config/sexton/config.ron");
    refused(&mut at_home(&sample, "run"), 2, &[own.to_str().unwrap(), "/etc/sexton/config.ron", "sexton config init"]);
    refused(&mut at_home(&sample, "run --config nowhere.ron"), 2, &["/nowhere.ron: No such file"]);
    refused(&mut at_home(&sample, "status"), 3, &["no daemon runs; start one with `sexton run`"]);
    refused(&mut at_home(&sample, "status --url 127.0.0.1:1"), 3, &["at http://127.0.0.1:1 does not answer"]);
}

#[test]
fn the_usual_places_are_found_without_a_word() {
    let sample = sample("");
    let own = sample.path("home/.config/sexton");
    std::fs::create_dir_all(&own).unwrap();
    let text = config(FAST, CRAWLS, "").replace(r#"state: "state.sqlite", "#, "");
    let text = text.replace("\"store\"", &format!("{:?}", sample.store()));
    std::fs::write(own.join("config.ron"), text).unwrap();
    let mut running = Running::start(&mut at_home(&sample, "run"));
    running.must_say("the page, once: ");
    let state = sample.path("home/.local/state/sexton/state.sqlite");
    assert!(state.is_file());
    let status = run(&mut at_home(&sample, "status --json"));
    let status: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!(status["config"]["path"], own.join("config.ron").to_str().unwrap());
    assert_eq!(status["config"]["state"], state.canonicalize().unwrap().to_str().unwrap());
    running.signal(Signal::TERM);
    assert_eq!(running.end().status.code(), Some(0));
}

#[test]
fn a_port_in_use_and_an_address_of_others_are_told_apart() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let on = |address: &str| sample(&config(FAST, CRAWLS, "").replace("127.0.0.1:0", address));
    let said = format!("cannot listen on {address}: ");
    refused(&mut command(&on(&address)), 2, &[&said, "another program does", "listen: \"127.0.0.1:7378\""]);
    // An address for documentation, which no machine has.
    refused(&mut command(&on("192.0.2.1:7377")), 2, &["this machine has no such address"]);
}

#[test]
fn a_state_that_cannot_be_kept_and_a_token_that_others_can_read_are_refused() {
    let nowhere = sample(&config(FAST, CRAWLS, "").replace("state.sqlite", "config.ron/state.sqlite"));
    refused(&mut command(&nowhere), 3, &["config.ron/state.sqlite: Not a directory"]);

    let (sample, _) = Daemon::start(5, &config(FAST, CRAWLS, "")).end(Signal::TERM);
    let token = sample.path("state.sqlite-token");
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o644)).unwrap();
    refused(&mut command(&sample), 2, &["state.sqlite-token: others may read it", "chmod 600"]);
    std::fs::write(&token, "short").unwrap();
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
    refused(&mut command(&sample), 2, &["holds less than 16 characters: remove it"]);
    std::fs::remove_file(&token).unwrap();
    std::fs::create_dir(&token).unwrap();
    refused(&mut command(&sample), 2, &["state.sqlite-token: it is no file"]);
}

#[test]
fn an_empty_configuration_is_run_and_said_to_be_empty() {
    let sample = sample(&config(FAST, "", ""));
    let mut running = Running::start(&mut command(&sample));
    running.must_say("there is nothing to do");
    running.signal(Signal::TERM);
    assert_eq!(running.end().status.code(), Some(0));
}

#[test]
fn the_token_that_cannot_be_read_is_named_where_it_is_needed() {
    let daemon = Daemon::start(5, &config(FAST, CRAWLS, ""));
    let mut status = command_for(&daemon.sample, "status --token-file nowhere");
    assert_eq!(run(&mut status).stderr, "", "reading on loopback needs none");
    let ended = run(&mut command_for(&daemon.sample, "pause --token-file nowhere"));
    assert_eq!(ended.status.code(), Some(3));
    let said = "(there is no token to send: nowhere: No such file or directory";
    assert!(ended.stderr.contains(said), "{}", ended.stderr);
}

#[test]
fn a_full_disk_is_waited_for_before_it_has_begun() {
    // Free when it was asked for; nobody else here asks for a certain one.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let sample = sample(&config(FAST, CRAWLS, "").replace("127.0.0.1:0", &address));
    let manager = std::os::unix::net::UnixDatagram::bind(sample.path("notify")).unwrap();
    let without_room = || {
        let plain = command(&sample);
        let mut command = limited(&plain, 0);
        command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("NOTIFY_SOCKET", sample.path("notify"));
        let mut running = Running::start(&mut command);
        running.must_say("no room to save the state in ");
        running
    };
    // Told to end meanwhile, it does.
    let waiting = without_room();
    waiting.signal(Signal::TERM);
    assert_eq!(waiting.end().status.code(), Some(0));

    let mut waiting = without_room();
    let refused =
        |args: &str| refused(&mut command_for(&sample, args), 3, &["waits at its start: no room to save the state"]);
    refused("status");
    refused("status --json");
    refused("pause");
    let ask = |text: &str| {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let health = ask("GET /healthz HTTP/1.0\r\n\r\n");
    assert!(
        health.starts_with("HTTP/1.0 503 ") && health.ends_with("\r\n\r\nthe daemon waits at its start\n"),
        "{health}"
    );
    let elsewhere = ask("GET /api/status HTTP/1.1\r\nHost: evil.example\r\n\r\n");
    assert!(elsewhere.starts_with("HTTP/1.1 403 ") && !elsewhere.contains("no room"), "{elsewhere}");
    let mut bytes = [0; 4096];
    let len = manager.recv(&mut bytes).unwrap();
    let told = String::from_utf8_lossy(&bytes[..len]);
    assert!(told.contains("STATUS=waiting: no room") && told.contains("EXTEND_TIMEOUT_USEC="), "{told}");
    limit(&waiting, None);
    waiting.must_say("the page, once: ");
    waiting.signal(Signal::TERM);
    assert_eq!(waiting.end().status.code(), Some(0));
}
