//! What systemd is told, by a socket that stands in for its own.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::process::{CRAWLS, PATIENCE, command, config};
use crate::support::harness::{Running, Sample};

/// After so long without a word systemd would kill it.
const WATCHDOG: Duration = Duration::from_secs(3);

struct Manager(UnixDatagram);

impl Manager {
    /// The next message with this line.
    fn hears(&self, line: &str) -> String {
        let limit = Instant::now() + PATIENCE;
        let mut bytes = [0; 4096];
        loop {
            let len = self.0.recv(&mut bytes).unwrap_or_else(|e| panic!("no {line}: {e}"));
            let text = String::from_utf8(bytes[..len].to_vec()).unwrap();
            if text.lines().any(|found| found.starts_with(line)) {
                return text;
            }
            assert!(Instant::now() < limit, "no {line}");
        }
    }
}

#[test]
fn systemd_hears_of_the_start_of_life_of_a_reload_and_of_the_end() {
    let sample = Sample::new(20);
    std::fs::write(sample.path("config.ron"), config(r#"cpu_percentage: "100%""#, CRAWLS, "")).unwrap();
    let manager = Manager(UnixDatagram::bind(sample.path("notify")).unwrap());
    manager.0.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = command(&sample);
    command.env("NOTIFY_SOCKET", sample.path("notify")).env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string());
    let running = Running::start(&mut command);
    let ready = manager.hears("READY=1");
    assert!(ready.contains("STATUS=serving http://127.0.0.1:"), "{ready}");
    manager.hears("WATCHDOG=1");
    for _ in 0..3 {
        let since = Instant::now();
        let alive = manager.hears("WATCHDOG=1");
        assert!(since.elapsed() < WATCHDOG, "{:?}", since.elapsed());
        assert!(alive.contains("STATUS=2 crawls, "), "{alive}");
    }
    for text in [config(r#"cpu_percentage: "50%""#, CRAWLS, ""), "nonsense".to_owned()] {
        std::fs::write(sample.path("config.ron"), text).unwrap();
        running.signal(Signal::HUP);
        // Both in one message, as sd_notify(3) asks for.
        assert!(manager.hears("RELOADING=1").contains("MONOTONIC_USEC="));
        manager.hears("READY=1");
    }
    running.signal(Signal::TERM);
    manager.hears("STOPPING=1");
    assert_eq!(running.end().status.code(), Some(0));
}

#[test]
fn without_a_watchdog_none_is_told_and_without_systemd_nothing_is_missed() {
    let sample = Sample::new(20);
    std::fs::write(sample.path("config.ron"), config(r#"cpu_percentage: "100%""#, CRAWLS, "")).unwrap();
    let manager = Manager(UnixDatagram::bind(sample.path("notify")).unwrap());
    manager.0.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut with_socket = command(&sample);
    // Meant for another process, as a child's is.
    with_socket.env("NOTIFY_SOCKET", sample.path("notify")).env("WATCHDOG_USEC", "20000").env("WATCHDOG_PID", "1");
    let running = Running::start(&mut with_socket);
    manager.hears("READY=1");
    running.signal(Signal::TERM);
    assert!(!manager.hears("STOPPING=1").contains("WATCHDOG"));
    assert_eq!(running.end().status.code(), Some(0));

    let mut nobody = command(&sample);
    nobody.env("NOTIFY_SOCKET", sample.path("nobody")).env("WATCHDOG_USEC", "0");
    let mut running = Running::start(&mut nobody);
    running.must_say("the page, once: ");
    running.signal(Signal::TERM);
    assert_eq!(running.end().status.code(), Some(0));
}
