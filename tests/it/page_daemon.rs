//! The status page with the real daemon behind it: a walk that is watched, paused, lost and found again.

use std::net::{SocketAddr, TcpListener};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::harness::{Running, Sample, sexton};
use super::page_browser::Browser;

/// A daemon over a sample store, slow enough to be watched, at an address that it keeps over restarts.
struct Scene {
    sample: Sample,
    address: SocketAddr,
}

impl Scene {
    fn new() -> Scene {
        let sample = Sample::new(8000);
        // One share that nothing can read: the sixth prefix of the ring, so it is found soon.
        let bucket = sample.shares().join("27/27aaaaaaaaaaaaaaaaaaaaaaaa");
        std::fs::create_dir_all(&bucket).unwrap();
        std::fs::write(bucket.join("0"), [0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let text = format!(
            r#"(
                state: "state.sqlite",
                budget: (cpu_percentage: "2%", cpu_slice: "10ms"),
                priority: normal,
                http: (listen: "{address}"),
                crawls: [(name: "leases", store: "store", job: leases(expire: age("31d"), dry_run: true),
                    slow_start: "0s")],
            )"#
        );
        std::fs::write(sample.path("config.ron"), text).unwrap();
        Scene { sample, address }
    }

    /// Starts the daemon; the link that opens the page.
    fn start(&self) -> (Running, String) {
        let config = self.sample.path("config.ron");
        let mut daemon = Running::start(&mut sexton(["run".as_ref(), "--config".as_ref(), config.as_os_str()]));
        let said = daemon.must_say("the page, once: ");
        let link = said.split_once("once: ").unwrap().1.trim().to_owned();
        (daemon, link)
    }
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
    let scene = Scene::new();
    let (daemon, link) = scene.start();
    let browser = Browser::open(&link);
    let card = "[aria-label='Crawl leases']";
    browser.shows(card, "walking");
    moves(&browser);
    // The ring moves too: the hand is over the prefix that is walked now, and those before it were visited.
    browser.wait("document.querySelectorAll('.dial .cell').length === 1024");
    browser.wait("document.querySelectorAll('.dial .cell:not(.unseen)').length > 20");
    browser.click("[aria-label='Pause leases']");
    browser.shows(card, "paused");
    // What was under way when the click came is still counted.
    std::thread::sleep(std::time::Duration::from_secs(2));
    let held = done(&browser);
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(done(&browser), held, "it walks while it is paused");
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
    browser.shows("#verdict", "Everything is paused");
    browser.click("#pause-all");
    browser.wait("!document.querySelector('#verdict').innerText.includes('paused')");
    for scheme in ["light", "dark"] {
        browser.scheme(scheme);
        for width in [360, 1280] {
            browser.size(width, 900);
            assert_eq!(browser.sideways(), 0, "{width} px, {scheme}");
            browser.shot(&format!("daemon-{width}-{scheme}"));
        }
    }
    assert_eq!(browser.complaints(), Vec::<String>::new());
    let base = format!("http://{}/", scene.address);
    let foreign: Vec<String> = browser.requests().into_iter().filter(|url| !url.starts_with(&base)).collect();
    assert_eq!(foreign, Vec::<String>::new());
    daemon.signal(Signal::TERM);
    browser.shows("#banner", "The daemon has ended");
    daemon.end().expect(0);
}

#[test]
fn a_lost_connection_is_said_and_comes_back() {
    let scene = Scene::new();
    let (daemon, link) = scene.start();
    let browser = Browser::open(&link);
    browser.shows("[aria-label='Crawl leases']", "walking");
    browser.wait("document.querySelector('.card progress').value > 10");
    assert!(browser.js("return document.querySelector('#banner').hidden") == json!(true));
    daemon.kill();
    browser.shows("#banner", "Connection lost");
    browser.shot("lost");
    let held = done(&browser);
    let (daemon, _) = scene.start();
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
    daemon.signal(Signal::TERM);
    daemon.end().expect(0);
}

#[test]
fn without_the_link_one_may_look_and_not_touch() {
    let scene = Scene::new();
    let (daemon, _) = scene.start();
    let browser = Browser::open(&format!("http://{}/", scene.address));
    browser.shows("#readonly", "sexton status --open");
    browser.wait("document.querySelector('[aria-label=\"Pause leases\"]').disabled");
    // The page's own call, past its own courtesy: the daemon refuses it.
    let refused = browser.js("return fetch('api/crawls/leases/pause', {method: 'POST'}).then((a) => a.status)");
    assert_eq!(refused, Value::from(401));
    daemon.signal(Signal::TERM);
    daemon.end().expect(0);
}
