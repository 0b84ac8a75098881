//! A running `sexton run`, as tests drive it: the real binary over HTTP, with nothing of the tester's own surroundings.
//!
//! Requests are written by hand onto a socket, so that tests can send what no client would.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::harness::{Ended, Running, Sample, sexton};

/// Nothing that is waited for takes longer, however busy the machine: a commit of 3 s on a busy disk is slept off for 300 s
/// at 1 %.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// A daemon on a sample store.
pub struct Daemon {
    pub sample: Sample,
    running: Option<Running>,
    pub address: String,
    pub token: String,
    /// The link that it printed.
    pub link: String,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }
}

/// Crawls that begin at once, over the sample store.
pub const CRAWLS: &str = r#"
    (name: "leases", store: "store", job: leases(), slow_start: "0s", minimum_cycle_time: "1h"),
    (name: "count", store: "store", job: count, slow_start: "1h", minimum_cycle_time: "1h"),
"#;

/// A configuration with these crawls, and more keys.
pub fn config(budget: &str, crawls: &str, more: &str) -> String {
    // In the idle class a daemon makes no progress while other tests keep all processors busy.
    let priority = if more.contains("priority:") { "" } else { "priority: normal," };
    format!(
        r#"(state: "state.sqlite", budget: ({budget}), http: (listen: "127.0.0.1:0"), {priority} {more} crawls: [{crawls}])"#
    )
}

impl Daemon {
    /// Starts one over so many buckets.
    pub fn start(buckets: u32, config: &str) -> Daemon {
        let sample = Sample::new(buckets);
        std::fs::write(sample.path("config.ron"), config).unwrap();
        Self::again(sample)
    }

    /// Starts one on what is there.
    pub fn again(sample: Sample) -> Daemon {
        let mut running = Running::start(&mut command(&sample));
        let line = running.must_say("the page, once: ");
        let link = line.trim_end().rsplit(' ').next().unwrap().to_owned();
        let address = link.strip_prefix("http://").unwrap().split('/').next().unwrap().to_owned();
        let token = std::fs::read_to_string(sample.path("state.sqlite-token")).unwrap().trim().to_owned();
        Daemon { sample, running: Some(running), address, token, link }
    }

    pub fn running(&mut self) -> &mut Running {
        self.running.as_mut().unwrap()
    }

    pub fn config(&self) -> PathBuf {
        self.sample.path("config.ron")
    }

    /// Sends a request with these headers, and reads the answer to its end.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut text = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            text += &format!("Host: {}\r\n", self.address);
        }
        if !body.is_empty() {
            text += &format!("Content-Length: {}\r\nContent-Type: application/json\r\n", body.len());
        }
        headers.iter().for_each(|(name, value)| text += &format!("{name}: {value}\r\n"));
        self.raw(&(text + "\r\n" + body))
    }

    /// Sends bytes as they are.
    pub fn raw(&self, text: &str) -> Answer {
        let mut stream = self.connect();
        stream.write_all(text.as_bytes()).unwrap();
        let mut answer = Vec::new();
        // A daemon that refuses a large body may close before it has read all of it.
        let _ = stream.read_to_end(&mut answer);
        parse(&String::from_utf8_lossy(&answer))
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    pub fn get(&self, path: &str) -> Value {
        let answer = self.send("GET", path, &[], "");
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    }

    /// Sends a change with the token.
    pub fn change(&self, method: &str, path: &str, body: &str) -> Answer {
        self.send(method, path, &[("Authorization", &format!("Bearer {}", self.token))], body)
    }

    /// A crawl in the status.
    pub fn crawl(&self, name: &str) -> Value {
        let status = self.get("/api/status");
        let crawls = status["crawls"].as_array().unwrap();
        crawls.iter().find(|crawl| crawl["name"] == name).unwrap_or(&Value::Null).clone()
    }

    /// Waits until the status shows something.
    pub fn until(&self, what: &str, shows: impl Fn(&Value) -> bool) -> Value {
        let limit = Instant::now() + PATIENCE;
        loop {
            let status = self.get("/api/status");
            if shows(&status) {
                return status;
            }
            assert!(Instant::now() < limit, "it never shows {what}: {status:#}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until a crawl is in a state.
    pub fn until_crawl(&self, name: &str, state: &str) -> Value {
        let found = |status: &Value| {
            let crawls = status["crawls"].as_array().unwrap();
            crawls.iter().find(|crawl| crawl["name"] == name && crawl["state"] == state).cloned()
        };
        found(&self.until(&format!("{name} {state}"), |status| found(status).is_some())).unwrap()
    }

    /// Sends it a signal that does not end it.
    // Only the tests of the page suspend a daemon.
    #[allow(dead_code)]
    pub fn signal(&self, signal: Signal) {
        self.running.as_ref().unwrap().signal(signal);
    }

    /// Ends it by a signal and gives back what it ran on.
    pub fn end(mut self, signal: Signal) -> (Sample, Ended) {
        let running = self.running.take().unwrap();
        running.signal(signal);
        (self.sample, running.end())
    }

    /// Opens the stream of events.
    pub fn events(&self) -> Events {
        let mut stream = self.connect();
        write!(stream, "GET /api/events HTTP/1.1\r\nHost: {}\r\n\r\n", self.address).unwrap();
        Events(BufReader::new(stream))
    }
}

/// A command of the program that finds this daemon.
pub fn command_for(sample: &Sample, args: &str) -> Command {
    let mut command = sexton(args.split_whitespace());
    surroundings(&mut command, sample);
    command.arg("--config").arg(sample.path("config.ron"));
    command
}

/// `sexton run` on what is there.
pub fn command(sample: &Sample) -> Command {
    command_for(sample, "run")
}

fn surroundings(command: &mut Command, sample: &Sample) {
    command.env("XDG_RUNTIME_DIR", sample.path("runtime")).env("HOME", sample.path("home")).env("TZ", "UTC");
    for name in ["STATE_DIRECTORY", "RUNTIME_DIRECTORY", "NOTIFY_SOCKET", "XDG_CONFIG_HOME"] {
        command.env_remove(name);
    }
}

fn parse(text: &str) -> Answer {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { unchunked(body) } else { body.to_owned() };
    Answer { status, headers: head.to_owned(), body }
}

fn unchunked(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((length, rest)) = body.split_once("\r\n") {
        let length = usize::from_str_radix(length.trim(), 16).unwrap_or(0);
        if length == 0 {
            break;
        }
        text += &rest[..length];
        body = &rest[length + 2..];
    }
    text
}

/// A stream of server-sent events.
pub struct Events(BufReader<TcpStream>);

impl Events {
    /// The next event of this name.
    pub fn next(&mut self, name: &str) -> Value {
        let limit = Instant::now() + PATIENCE;
        let (mut current, mut line) = (String::new(), String::new());
        loop {
            line.clear();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the stream ended before an event {name}");
            if let Some(event) = line.strip_prefix("event: ") {
                current = event.trim_end().to_owned();
            } else if let Some(data) = line.strip_prefix("data: ")
                && current == name
            {
                return serde_json::from_str(data).unwrap();
            }
            assert!(Instant::now() < limit, "no event {name}");
        }
    }

    /// Whether the stream ends.
    pub fn ends(&mut self) -> bool {
        self.0.read_to_end(&mut Vec::new()).is_ok()
    }
}

/// A file of the API's examples.
pub fn example(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/api").join(name)).unwrap()
}
