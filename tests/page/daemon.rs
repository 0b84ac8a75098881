//! The status page with the real daemon behind it: a walk that is watched, paused, lost and found again.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::process::{Daemon, config};
use crate::support::harness::Sample;
use sexton_page_tests::Browser;

/// A daemon over a sample store, slow enough to be watched, at an address that it keeps over restarts.
fn daemon() -> Daemon {
    let sample = Sample::new(8000);
    // One share that nothing can read: in the sixth prefix of the ring, so it is found soon.
    let bucket = sample.shares().join("27/27aaaaaaaaaaaaaaaaaaaaaaaa");
    std::fs::create_dir_all(&bucket).unwrap();
    std::fs::write(bucket.join("0"), [0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let crawls =
        r#"(name: "leases", store: "store", job: leases(expire: age("31d"), dry_run: true), slow_start: "0s")"#;
    // Idle threads might wait for long on a machine that is busy with other tests.
    let text = config(r#"cpu_percentage: "2%", cpu_slice: "10ms""#, crawls, "priority: normal,");
    std::fs::write(sample.path("config.ron"), text.replace("127.0.0.1:0", &address)).unwrap();
    Daemon::again(sample)
}

/// How many prefixes the page says are done.
fn done(browser: &Browser) -> u64 {
    browser.js("return document.querySelector('.card progress').value").as_f64().unwrap() as u64
}

fn moves(browser: &Browser) {
    let before = done(browser);
    browser.wait(&format!("document.querySelector('.card progress').value > {before}"));
}

#[test]
fn a_walk_is_watched_paused_and_resumed() {
    let daemon = daemon();
    let browser = Browser::open(&daemon.link);
    let card = "[aria-label='Crawl leases']";
    browser.shows(card, "walking");
    moves(&browser);
    // The ring moves too: the hand is over the prefix that is walked now, and those before it were visited.
    browser.wait("document.querySelectorAll('.dial .cell').length === 1024");
    browser.wait("document.querySelectorAll('.dial .cell:not(.unseen)').length > 20");
    browser.click("[aria-label='Pause leases']");
    browser.shows(card, "paused");
    // What was under way when the click came is still counted.
    let still = |status: &Value| {
        let workers = status["crawls"][0]["workers"].as_array().unwrap();
        workers.iter().all(|worker| worker == "waiting" || worker == "idle")
    };
    let held = daemon.until("no work", still)["crawls"][0]["prefixes_done"].clone();
    browser.wait(&format!("document.querySelector('.card progress').value === {held}"));
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(json!(done(&browser)), held, "it walks while it is paused");
    browser.click("[aria-label='Resume leases']");
    browser.shows(card, "walking");
    moves(&browser);
    // A finding of the walk, and the way to it.
    browser.shows("#findings-table", "27aaaaaaaaaaaaaaaaaaaaaaaa");
    browser.click(&format!("{card} .link"));
    browser.shows("#findings-count", "1 entry");
    browser.keys("#budget-value", "1.5");
    browser.click("#budget-form [type=submit]");
    browser.shows("#budget-source", "1.5 % of one core, changed");
    browser.click("#budget-back");
    browser.shows("#budget-source", "2 % of one core, as the configuration says");
    browser.click("#pause-all");
    // The finding comes before the pause in the line at the top; the crawl and the button say that all is paused.
    browser.shows(card, "paused");
    browser.shows("#pause-all", "Resume everything");
    browser.shows("#verdict", "1 object is damaged");
    browser.click("#pause-all");
    browser.shows("#pause-all", "Pause everything");
    browser.shows(card, "walking");
    for scheme in ["light", "dark"] {
        browser.scheme(scheme);
        for width in [360, 1280] {
            browser.size(width, 900);
            assert_eq!(browser.sideways(), 0, "{width} px, {scheme}");
            browser.shot(&format!("daemon-{width}-{scheme}"));
        }
    }
    assert_eq!(browser.complaints(), Vec::<String>::new());
    let base = format!("http://{}/", daemon.address);
    let foreign: Vec<String> = browser.requests().into_iter().filter(|url| !url.starts_with(&base)).collect();
    assert_eq!(foreign, Vec::<String>::new());
    daemon.end(Signal::TERM).1.expect(0);
    browser.shows("#banner", "The daemon has ended");
}

#[test]
fn a_lost_connection_is_said_and_comes_back() {
    let daemon = daemon();
    let browser = Browser::open(&daemon.link);
    browser.shows("[aria-label='Crawl leases']", "walking");
    browser.wait("document.querySelector('.card progress').value > 10");
    assert!(browser.js("return document.querySelector('#banner').hidden") == json!(true));
    let (sample, _) = daemon.end(Signal::KILL);
    browser.shows("#banner", "Connection lost");
    browser.shot("lost");
    let held = done(&browser);
    let daemon = Daemon::again(sample);
    browser.shows("#banner", "Connected again");
    browser.wait("!document.documentElement.classList.contains('stale')");
    // The walk has gone on from where it was, and so does the page: nothing is loaded by hand.
    browser.wait(&format!("document.querySelector('.card progress').value > {held}"));
    browser.shows("[aria-label='Crawl leases']", "resumed with");
    let wrong: Vec<String> = browser
        .complaints()
        .into_iter()
        .filter(|line| !line.contains("net::ERR_") && !line.contains("status of 401"))
        .collect();
    assert_eq!(wrong, Vec::<String>::new());
    daemon.end(Signal::TERM).1.expect(0);
}

#[test]
fn a_daemon_that_says_nothing_any_more_is_noticed() {
    let daemon = daemon();
    let browser = Browser::open(&daemon.link);
    browser.shows("[aria-label='Crawl leases']", "walking");
    browser.wait("document.querySelector('.card progress').value > 10");
    // Its connections stay open.
    let before = Instant::now();
    daemon.signal(Signal::STOP);
    browser.shows("#banner", "Connection lost");
    // By the page's own rule within ten seconds; a busy machine may have been slow to look.
    assert!(before.elapsed() < Duration::from_secs(20), "noticed after {:?}", before.elapsed());
    daemon.signal(Signal::CONT);
    browser.shows("#banner", "Connected again");
    moves(&browser);
    daemon.end(Signal::TERM).1.expect(0);
}

#[test]
fn without_the_link_one_may_look_and_not_touch() {
    let daemon = daemon();
    let browser = Browser::open(&format!("http://{}/", daemon.address));
    browser.shows("#readonly", "sexton status --open");
    browser.wait("document.querySelector('[aria-label=\"Pause leases\"]').disabled");
    // The page's own call, past its own courtesy: the daemon refuses it.
    let refused = browser.js("return fetch('api/crawls/leases/pause', {method: 'POST'}).then((a) => a.status)");
    assert_eq!(refused, Value::from(401));
    daemon.end(Signal::TERM).1.expect(0);
}
