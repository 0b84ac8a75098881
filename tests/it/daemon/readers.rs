//! Clients that ask and do not read, or hold their places: what they cost, and that everybody else is still answered.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::process::{CRAWLS, Daemon, PATIENCE, command_for, config};
use crate::support::harness::run;

const FAST: &str = r#"cpu_percentage: "100%""#;
/// What the daemon may take whatever is asked of it.
const MOST_MIB: u64 = 64;

fn daemon() -> Daemon {
    let daemon = Daemon::start(20, &config(FAST, CRAWLS, ""));
    daemon.until_crawl("leases", "sleeping");
    daemon
}

/// A figure of the process's memory, in MiB: `VmRSS` now, `VmHWM` at most.
fn memory(daemon: &mut Daemon, figure: &str) -> u64 {
    let pid = daemon.running().pid().as_raw_nonzero();
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(figure)?.strip_prefix(':')).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024
}

/// `sexton status` finds and reads it, within a time that people wait for.
fn status_answers(daemon: &Daemon) {
    let asked = Instant::now();
    run(&mut command_for(&daemon.sample, "status")).expect(0);
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
}

fn ask(daemon: &Daemon, request: &str, times: usize) -> TcpStream {
    let mut stream = daemon.connect();
    stream.set_nonblocking(true).unwrap();
    // As much of it as the system takes; the daemon reads one request of it.
    let _ = stream.write(request.repeat(times).as_bytes());
    stream
}

/// How it happens: 300 clients ask 2,000 times each and read nothing.
#[test]
fn answers_that_nobody_reads_cost_no_memory() {
    let mut daemon = daemon();
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let asking: Vec<_> = (0..300).map(|_| ask(&daemon, &get("/metrics"), 2000)).collect();
    std::thread::sleep(Duration::from_secs(2));
    status_answers(&daemon);
    let (peak, now) = (memory(&mut daemon, "VmHWM"), memory(&mut daemon, "VmRSS"));
    drop(asking);
    assert!(peak < MOST_MIB, "{peak} MiB at most, {now} MiB after two seconds");
    // Answers of every size, from a few bytes to a page's largest file, one after the other.
    for path in ["/theme.js", "/api/status", "/api/openapi.json", "/parts.css"] {
        drop((0..100).map(|_| ask(&daemon, &get(path), 500)).collect::<Vec<_>>());
    }
    status_answers(&daemon);
    let after = memory(&mut daemon, "VmRSS");
    assert!(after < MOST_MIB, "{after} MiB afterwards");
}

#[test]
fn when_all_places_are_taken_the_longest_idle_goes() {
    let daemon = daemon();
    let idle: Vec<_> = (0..700).map(|_| daemon.connect()).collect();
    status_answers(&daemon);
    // The first have lost their places, the last have not.
    let ended = |mut stream: &TcpStream| {
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        matches!(stream.read(&mut [0; 1]), Ok(0) | Err(_)) && {
            let _ = stream.write(b"GET /theme.js HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer);
            !answer.starts_with("HTTP/1.1 200 ")
        }
    };
    assert_eq!((ended(&idle[0]), ended(&idle[699])), (true, false));
}

#[test]
fn requests_that_come_together_are_answered_one_after_the_other() {
    let daemon = daemon();
    let (host, token) = (&daemon.address, &daemon.token);
    let change = |length: &str, body: &str| {
        format!(
            "PUT /api/budget HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\n{length}\r\n\r\n{body}"
        )
    };
    let (whole, halves) = (r#"{"cpu_percentage": "31%"}"#, (r#"{"cpu_percen"#, r#"tage": "32%"}"#));
    let chunks = format!("{:X};a=b\r\n{}\r\n{:x}\r\n{}\r\n", halves.0.len(), halves.0, halves.1.len(), halves.1);
    let requests = [
        format!("GET /theme.js HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        change(&format!("Content-Length: {}", whole.len()), whole),
        change("Transfer-Encoding: chunked", &(chunks + "0\r\nX: y\r\n\r\n")),
        format!("HEAD /api/status HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        format!("GET /nothing HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        format!("GET /api/budget HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"),
    ];
    for piece in [usize::MAX, 7] {
        let mut stream = daemon.connect();
        for piece in requests.concat().as_bytes().chunks(piece) {
            stream.write_all(piece).unwrap();
        }
        let mut answers = String::new();
        stream.read_to_string(&mut answers).unwrap();
        let codes: Vec<&str> = answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
        assert_eq!(codes, ["200", "200", "200", "200", "404", "200"], "{answers}");
        assert!(answers.rsplit("HTTP/1.1 ").next().unwrap().contains("32"), "{answers}");
    }
}

#[test]
fn a_connection_whose_requests_do_not_end_clearly_ends_after_one_answer() {
    let daemon = daemon();
    let host = &daemon.address;
    let next = format!("GET /theme.js HTTP/1.1\r\nHost: {host}\r\n\r\n").repeat(3);
    for header in ["Upgrade: websocket\r\nConnection: upgrade", "Content-Length: 0\r\nContent-Length: 0"] {
        let mut stream = daemon.connect();
        write!(stream, "GET /theme.js HTTP/1.1\r\nHost: {host}\r\n{header}\r\n\r\n{next}").unwrap();
        let mut answers = Vec::new();
        let _ = stream.read_to_end(&mut answers);
        assert_eq!(String::from_utf8_lossy(&answers).matches("HTTP/1.1 ").count(), 1, "{header}");
    }
}
