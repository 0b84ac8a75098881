//! What somebody tries who wants to read the daemon, drive it, or wear it down, and holds no token.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::process::{CRAWLS, Daemon, PATIENCE, command_for, config};
use crate::support::harness::{Running, Sample, run};

const FAST: &str = r#"cpu_percentage: "100%""#;

fn daemon() -> Daemon {
    Daemon::start(20, &config(FAST, CRAWLS, ""))
}

/// One that listens on all of the machine's addresses.
fn open_daemon() -> Daemon {
    let mut daemon = Daemon::start(20, &config(FAST, CRAWLS, "").replace("127.0.0.1:0", "0.0.0.0:0"));
    daemon.address = daemon.address.replace("localhost", "127.0.0.1");
    daemon
}

#[test]
fn no_way_to_spell_a_path_gets_round_the_token() {
    let daemon = open_daemon();
    for path in [
        "/%61pi/status",
        "/api%2Fstatus",
        "/%61%70%69/findings",
        "/met%72ics",
        "/%6Detrics",
        "//api/status",
        "/./api/status",
        "/login/../api/status",
        "/api/openapi.json/../status",
        "/API/status",
        "/api/status?x=/login",
        "/api/status#/login",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/../../etc/passwd",
        "/api/crawls/..%2f..%2fstate.sqlite-token",
    ] {
        let answer = daemon.send("GET", path, &[], "");
        assert!([400, 401, 404].contains(&answer.status), "{path}: {} {}", answer.status, answer.body);
        assert!(!answer.body.contains("version") && !answer.body.contains("sexton_"), "{path}: {}", answer.body);
    }
    let absolute =
        format!("GET http://{0}/api/status HTTP/1.1\r\nHost: {0}\r\nConnection: close\r\n\r\n", daemon.address);
    assert_eq!(daemon.raw(&absolute).status, 401);
    assert_eq!(daemon.send("GET", "/api/openapi.json", &[], "").status, 200);
}

#[test]
fn a_token_counts_in_its_header_alone_and_is_never_logged() {
    let sample = Sample::new(20);
    std::fs::write(sample.path("config.ron"), config(FAST, CRAWLS, "")).unwrap();
    let mut command = command_for(&sample, "run --no-link -vv");
    let mut running = Running::start(&mut command);
    running.must_say("running");
    let token = std::fs::read_to_string(sample.path("state.sqlite-token")).unwrap().trim().to_owned();
    let link = run(&mut command_for(&sample, "status --open"));
    let url = link.stdout.trim();
    let (address, code) = url.strip_prefix("http://").unwrap().split_once("/login?code=").unwrap();
    let send = |line: &str, header: &str| {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "{line} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{header}\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    for (line, header) in [
        (format!("POST /api/pause?token={token}"), String::new()),
        (format!("POST /api/pause?access_token={token}"), String::new()),
        ("POST /api/pause".to_owned(), format!("Authorization: Basic {token}\r\n")),
        ("POST /api/pause".to_owned(), format!("X-Token: {token}\r\n")),
        ("POST /api/pause".to_owned(), format!("Cookie: token={token}; sexton_session={token}\r\n")),
    ] {
        assert!(send(&line, &header).starts_with("HTTP/1.1 401 "), "{line} {header}");
    }
    assert!(send(&format!("GET /login?code={code}"), "").starts_with("HTTP/1.1 303 "));
    assert!(send("POST /api/pause", &format!("Authorization: Bearer {token}\r\n")).starts_with("HTTP/1.1 200 "));
    running.signal(Signal::TERM);
    let ended = running.end();
    for secret in [&*token, code] {
        assert!(!ended.stderr.contains(secret) && !ended.stdout.contains(secret), "{}", ended.stderr);
    }
}

#[test]
fn other_methods_neither_answer_nor_change_anything() {
    let daemon = daemon();
    let head = daemon.send("HEAD", "/api/status", &[], "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(daemon.send("HEAD", "/metrics", &[("Host", "evil.example")], "").status, 403);
    // A link that is looked at is not used up.
    let path = daemon.link.strip_prefix(&format!("http://{}", daemon.address)).unwrap();
    assert_ne!(daemon.send("HEAD", path, &[], "").status, 303);
    assert_eq!(daemon.send("GET", path, &[], "").status, 303);
    for method in ["OPTIONS", "TRACE", "PATCH", "PROPFIND", "POST"] {
        let answer = daemon.send(method, "/api/status", &[("X-Secret", "told back")], "");
        assert_eq!(answer.status, 401, "{method}: {}", answer.body);
        let all = answer.headers + &*answer.body;
        assert!(!all.to_lowercase().contains("access-control") && !all.contains("told back"), "{method}: {all}");
        assert_eq!(daemon.change(method, "/api/status", "").status, 405, "{method}");
    }
    // A change is none by another name.
    for override_header in ["X-HTTP-Method-Override", "X-Method-Override"] {
        daemon.send("GET", "/api/pause", &[(override_header, "POST")], "");
    }
    assert_eq!(daemon.get("/api/status")["paused"], false);
}

#[test]
fn no_page_may_embed_frame_or_cache_an_answer() {
    let daemon = daemon();
    for path in ["/", "/api/status", "/metrics", "/nothing"] {
        let headers = daemon.send("GET", path, &[], "").headers.to_lowercase();
        for header in [
            "cross-origin-resource-policy: same-origin",
            "frame-ancestors 'none'",
            "x-content-type-options: nosniff",
            "cache-control: no-store",
            "referrer-policy: no-referrer",
        ] {
            assert!(headers.contains(header), "{path}: {header} is not in {headers}");
        }
    }
}

#[test]
fn two_daemons_on_one_host_have_cookies_of_their_own() {
    let names: Vec<String> = [daemon(), daemon()]
        .iter()
        .map(|daemon| {
            let path = daemon.link.strip_prefix(&format!("http://{}", daemon.address)).unwrap().to_owned();
            let headers = daemon.send("GET", &path, &[], "").headers;
            let cookie = headers.lines().find(|line| line.to_lowercase().starts_with("set-cookie: ")).unwrap();
            cookie.split([' ', '=']).nth(1).unwrap().to_owned()
        })
        .collect();
    assert_ne!(names[0], names[1]);
}

#[test]
fn a_flood_of_headers_and_bodies_that_never_come_are_turned_away_at_once() {
    let daemon = daemon();
    let many: String = (0..5000).map(|i| format!("X-{i}: y\r\n")).collect();
    let answer = daemon.raw(&format!("GET /api/status HTTP/1.1\r\nHost: {}\r\n{many}\r\n", daemon.address));
    assert!([400, 431, 0].contains(&answer.status), "{}", answer.status);
    let asked = Instant::now();
    for announced in ["Content-Length: 4000", "Transfer-Encoding: chunked"] {
        let mut stream = daemon.connect();
        write!(stream, "PUT /api/budget HTTP/1.1\r\nHost: {}\r\n{announced}\r\n\r\n", daemon.address).unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        assert_eq!(&status, b"HTTP/1.1 401", "{announced}");
    }
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    // Two lengths, as in smuggling past a proxy.
    let two = "Content-Length: 0\r\nContent-Length: 4\r\n";
    let answer = daemon.raw(&format!("POST /api/pause HTTP/1.1\r\nHost: {}\r\n{two}\r\nGET ", daemon.address));
    assert!([400, 0].contains(&answer.status), "{}", answer.status);
    assert_eq!(daemon.get("/api/status")["paused"], false);
}

#[test]
fn a_request_that_never_ends_is_ended() {
    let daemon = daemon();
    let mut slow = daemon.connect();
    slow.write_all(b"GET /api/status HTTP/1.1\r\nHost: localhost\r\nX: ").unwrap();
    slow.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let (since, mut answer) = (Instant::now(), Vec::new());
    // A byte now and then, for ever.
    loop {
        match slow.read_to_end(&mut answer) {
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            _ => break,
        }
        assert!(since.elapsed() < PATIENCE, "it waits for ever");
        // One that was ended meanwhile shows at the next reading.
        let _ = slow.write_all(b"x");
    }
    assert!(!String::from_utf8_lossy(&answer).contains("200 OK"));
}

#[test]
fn readers_of_events_that_read_nothing_cost_no_memory() {
    let mut daemon = daemon();
    daemon.until_crawl("leases", "sleeping");
    let pid = daemon.running().pid().as_raw_nonzero();
    let resident = || {
        let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = text.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    };
    let asleep: Vec<_> = (0..30).map(|_| daemon.events()).collect();
    for _ in 0..100 {
        daemon.change("POST", "/api/resume", "");
    }
    let before = resident();
    // Each look tells all readers the status, of some 5 kB.
    for _ in 0..600 {
        daemon.change("POST", "/api/resume", "");
    }
    let after = resident();
    assert!(after < before + 24, "{after} MiB after {before} MiB");
    // Those that have slept through it have lost their places.
    let mut awake = daemon.events();
    awake.next("status");
    drop(asleep);
}
