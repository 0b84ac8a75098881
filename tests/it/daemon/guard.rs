//! What keeps others from reading or driving a daemon, and from wearing it down.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use super::process::{CRAWLS, Daemon, config};

fn daemon() -> Daemon {
    Daemon::start(20, &config(r#"cpu_percentage: "100%""#, CRAWLS, ""))
}

#[test]
fn a_change_needs_the_token_and_reading_on_loopback_does_not() {
    let daemon = daemon();
    let mode = std::fs::metadata(daemon.sample.path("state.sqlite-token")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for path in ["/", "/api/status", "/metrics", "/api/openapi.json"] {
        assert_eq!(daemon.send("GET", path, &[], "").status, 200, "{path}");
    }
    let wrong = format!("Bearer {}", "0".repeat(64));
    for headers in [vec![], vec![("Authorization", wrong.as_str())], vec![("Authorization", "Basic eA==")]] {
        for (method, path) in
            [("POST", "/api/pause"), ("PUT", "/api/budget"), ("DELETE", "/api/budget"), ("POST", "/api/link")]
        {
            let answer = daemon.send(method, path, &headers, "");
            assert_eq!(answer.status, 401, "{method} {path}: {}", answer.body);
        }
    }
    assert!(!daemon.get("/api/status")["paused"].as_bool().unwrap());
    assert_eq!(daemon.change("POST", "/api/pause", "").status, 200);
    assert!(daemon.get("/api/status")["paused"].as_bool().unwrap());
}

#[test]
fn a_page_elsewhere_can_neither_read_nor_drive_it() {
    let daemon = daemon();
    let bearer = format!("Bearer {}", daemon.token);
    for headers in [
        vec![("Host", "evil.example")],
        vec![("Host", "evil.example:80")],
        vec![("Host", "localhost.evil.example")],
        vec![("Origin", "http://evil.example")],
        vec![("Origin", "null")],
        vec![("Sec-Fetch-Site", "cross-site")],
        vec![("Sec-Fetch-Site", "same-site")],
    ] {
        for (method, path) in
            [("GET", "/api/status"), ("GET", "/api/events"), ("GET", "/metrics"), ("POST", "/api/pause")]
        {
            let mut headers = headers.clone();
            headers.push(("Authorization", &bearer));
            let answer = daemon.send(method, path, &headers, "");
            assert_eq!(answer.status, 403, "{method} {path} {headers:?}: {}", answer.body);
            assert!(!answer.body.contains("crawls") && !answer.headers.to_lowercase().contains("access-control-allow"));
        }
    }
    let no_host = daemon.raw("GET /api/status HTTP/1.0\r\n\r\n");
    assert_eq!(no_host.status, 403, "{}", no_host.body);
    let preflight = daemon.send("OPTIONS", "/api/budget", &[("Origin", "http://evil.example")], "");
    assert_eq!(preflight.status, 403);
    assert!(!daemon.get("/api/status")["paused"].as_bool().unwrap());
}

/// What a health check of HTTP/1.0 sends, HAProxy's own among them.
fn without_host(daemon: &Daemon, path: &str) -> super::process::Answer {
    daemon.raw(&format!("GET {path} HTTP/1.0\r\n\r\n"))
}

#[test]
fn a_health_check_needs_no_host_and_no_token_and_everything_else_says_what_it_needs() {
    let daemon = daemon();
    for answer in [
        without_host(&daemon, "/healthz"),
        daemon.raw("GET /healthz HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n"),
        daemon.send("GET", "/healthz", &[], ""),
    ] {
        assert_eq!((answer.status, &*answer.body), (200, "ok\n"), "{}", answer.headers);
    }
    assert_eq!(daemon.send("HEAD", "/healthz", &[], "").status, 200);
    assert_eq!(daemon.send("GET", "/healthz", &[("Host", "evil.example")], "").status, 403);
    let refused = without_host(&daemon, "/metrics");
    assert_eq!(refused.status, 403);
    let advice = refused.json()["error"].as_str().unwrap().to_owned();
    assert!(
        ["Host: localhost", "/healthz", "\"\" to allowed_hosts"].iter().all(|said| advice.contains(said)),
        "{advice}"
    );
    // Each of them helps.
    assert_eq!(daemon.raw("GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n").status, 200);
    let text = std::fs::read_to_string(daemon.config()).unwrap();
    let text = text.replace(r#""127.0.0.1:0""#, r#""127.0.0.1:0", allowed_hosts: [""]"#);
    std::fs::write(daemon.config(), text).unwrap();
    assert_eq!(daemon.change("POST", "/api/reload", "").status, 200);
    assert_eq!(without_host(&daemon, "/metrics").status, 200);
    assert_eq!(daemon.send("GET", "/metrics", &[("Host", "evil.example")], "").status, 403);
}

#[test]
fn names_of_the_configuration_are_known_too() {
    let more = r#"log: people,"#;
    let text = config(r#"cpu_percentage: "100%""#, CRAWLS, more)
        .replace(r#""127.0.0.1:0""#, r#""127.0.0.1:0", allowed_hosts: ["nas.example.org"]"#);
    let daemon = Daemon::start(20, &text);
    let with = |host| daemon.send("GET", "/api/status", &[("Host", host)], "").status;
    assert_eq!((with("nas.example.org"), with("NAS.example.org:443"), with("other.example.org")), (200, 200, 403));
}

#[test]
fn the_link_gives_the_page_a_session_once_and_the_session_needs_the_own_origin() {
    let daemon = daemon();
    let path = daemon.link.strip_prefix(&format!("http://{}", daemon.address)).unwrap().to_owned();
    let answer = daemon.send("GET", &path, &[], "");
    assert_eq!(answer.status, 303, "{}", answer.body);
    let headers = answer.headers.to_lowercase();
    let cookie = answer.headers.lines().find(|line| line.to_lowercase().starts_with("set-cookie: ")).unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    assert!(headers.contains("location: /"), "{headers}");
    let cookie = cookie.split(' ').nth(1).unwrap().trim_end_matches(';').to_owned();
    assert!(!cookie.contains(&daemon.token));
    assert_eq!(daemon.send("GET", &path, &[], "").status, 403, "the link works once");

    let origin = format!("http://{}", daemon.address);
    let with = |method: &str, path: &str, headers: &[(&str, &str)]| {
        let mut all = vec![("Cookie", cookie.as_str())];
        all.extend_from_slice(headers);
        daemon.send(method, path, &all, "").status
    };
    assert_eq!(with("POST", "/api/pause", &[("Origin", &origin)]), 200);
    assert_eq!(with("POST", "/api/resume", &[]), 401, "without its Origin the cookie alone is not enough");
    assert_eq!(with("POST", "/api/resume", &[("Origin", "http://evil.example")]), 403);
    assert_eq!(with("POST", "/api/link", &[("Origin", &origin)]), 401, "a page hands its right on to nobody");
    let status = daemon.send("GET", "/api/status", &[("Cookie", &cookie)], "").json();
    assert_eq!(status["access"]["may_change"], true);
    assert_eq!(daemon.get("/api/status")["access"]["may_change"], false);

    let link = daemon.change("POST", "/api/link", "").json();
    let path = link["url"].as_str().unwrap().strip_prefix(&origin).unwrap().to_owned();
    assert_eq!(daemon.send("GET", &path, &[], "").status, 303);
}

#[test]
fn beyond_loopback_reading_needs_the_token_too() {
    let text = config(r#"cpu_percentage: "100%""#, CRAWLS, "").replace("127.0.0.1:0", "0.0.0.0:0");
    let mut daemon = Daemon::start(20, &text);
    daemon.address = daemon.address.replace("localhost", "127.0.0.1");
    for path in ["/api/status", "/metrics", "/api/events", "/api/findings"] {
        assert_eq!(daemon.send("GET", path, &[], "").status, 401, "{path}");
    }
    assert_eq!(daemon.change("GET", "/api/status", "").status, 200);
    assert_eq!(daemon.change("GET", "/metrics", "").status, 200);
    assert_eq!(daemon.send("GET", "/", &[], "").status, 200, "the page itself holds nothing");
}

#[test]
fn bodies_and_headers_are_bounded() {
    let daemon = daemon();
    let large = format!(r#"{{"cpu_percentage": "{}"}}"#, "1".repeat(10_000));
    assert_eq!(daemon.change("PUT", "/api/budget", &large).status, 413);
    let declared = format!(
        "PUT /api/budget HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Length: 99999999999\r\n\r\n",
        daemon.address, daemon.token
    );
    assert_eq!(daemon.raw(&declared).status, 413);
    let chunk = format!("{:x}\r\n{}\r\n", 8192, "1".repeat(8192));
    let chunked = format!(
        "PUT /api/budget HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n{chunk}{chunk}0\r\n\r\n",
        daemon.address, daemon.token
    );
    assert_eq!(daemon.raw(&chunked).status, 413);
    let headers = format!("GET / HTTP/1.1\r\nHost: {}\r\nX: {}\r\n\r\n", daemon.address, "x".repeat(1 << 20));
    let answer = daemon.raw(&headers);
    assert!([400, 431, 0].contains(&answer.status), "{}", answer.status);
    assert_eq!(daemon.get("/api/status")["budget"]["source"], "file");
}

#[test]
fn two_hundred_idle_connections_keep_nobody_out() {
    let daemon = daemon();
    let mut idle: Vec<_> = (0..200).map(|_| daemon.connect()).collect();
    for half in idle.iter_mut().skip(100) {
        half.write_all(b"GET /api/status HTTP/1.1\r\nHos").unwrap();
    }
    let asked = Instant::now();
    daemon.get("/api/status");
    assert_eq!(daemon.change("POST", "/api/pause", "").status, 200);
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
}

#[test]
fn a_slow_reader_of_events_holds_up_nobody_and_too_many_are_refused() {
    let mut daemon = daemon();
    // Reads nothing at all.
    let slow = daemon.events();
    let mut quick = daemon.events();
    quick.next("status");
    let more: Vec<_> = (0..30)
        .map(|_| {
            let mut events = daemon.events();
            events.next("status");
            events
        })
        .collect();
    let refused = daemon.send("GET", "/api/events", &[], "");
    assert_eq!(refused.status, 503, "{}", refused.body);
    drop(more);
    daemon.until("room again", |_| {
        let mut stream = daemon.connect();
        write!(stream, "GET /api/events HTTP/1.1\r\nHost: {}\r\n\r\n", daemon.address).unwrap();
        let mut head = [0; 15];
        stream.read_exact(&mut head).unwrap();
        head.ends_with(b"200 OK") || head.windows(3).any(|w| w == b"200")
    });
    quick.next("status");
    daemon.running().signal(rustix::process::Signal::TERM);
    assert_eq!(quick.next("bye")["why"], "SIGTERM");
    assert!(quick.ends());
    drop(slow);
}
