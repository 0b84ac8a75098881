//! A cleaning on the status page, with the real daemon and a real database behind it: asked about, started by click,
//! watched, and its plan as a picture.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::database::{daemon, expired, marked};
use sexton_page_tests::Browser;

const CARD: &str = "[aria-label='Cleaning db']";
const BAR: &str = "document.querySelector(\"[aria-label='Progress of db']\").value";

/// Of each dot: whether it is marked, and how far it lies below the threshold line that is drawn, in units of the picture.
const DOTS: &str = r"
    const line = document.querySelector('.threshold').getAttribute('d').slice(1).split('L').map((p) => p.split(' ').map(Number));
    const at = (x) => {
        const i = line.findIndex((p) => p[0] >= x);
        if (i <= 0) return i < 0 ? line.at(-1)[1] : Infinity;
        const [[x0, y0], [x1, y1]] = [line[i - 1], line[i]];
        return y0 + ((x - x0) / Math.max(x1 - x0, 1e-9)) * (y1 - y0);
    };
    return [...document.querySelectorAll('.dot')].map((dot) => {
        const [x, y] = ['cx', 'cy'].map((name) => Number(dot.getAttribute(name)));
        return [dot.classList.contains('marked'), Math.max(-1e6, Math.min(1e6, y - at(x)))];
    });";

#[test]
fn a_cleaning_is_asked_about_started_watched_and_shown() {
    let daemon = daemon(600, r#"cpu_percentage: "1%", cpu_slice: "5ms""#, r#"slow_start: "1h""#);
    let database = daemon.sample.path("localdb.sqlite");
    let browser = Browser::open(&daemon.link);
    browser.shows(CARD, "sleeping");
    browser.shows(CARD, "No plan since the daemon's start");
    assert_eq!(browser.js("return document.querySelectorAll('.dot').length"), json!(0));

    let start = format!("{CARD} [aria-label^='Start now']");
    browser.click(&start);
    browser.shows("#ask", "This cannot be taken back");
    browser.shows("#ask", database.to_str().unwrap());
    assert_eq!(browser.js("return document.activeElement.id"), json!("ask-no"), "Enter would clean");
    browser.click("#ask-no");
    browser.wait("!document.querySelector('#ask').open");
    assert_eq!(daemon.get("/api/status")["cleanings"][0]["state"], "sleeping", "a no is a no");
    browser.click(&start);
    browser.click("#ask-yes");

    browser.shows(CARD, "at work");
    browser.wait(&format!("{BAR} > 0"));
    let before = browser.js(&format!("return {BAR}"));
    browser.wait(&format!("{BAR} > {before}"));
    browser.shot("cleaning-at-work");
    assert_eq!(daemon.change("PUT", "/api/budget", r#"{"cpu_percentage": 100}"#).status, 200);

    browser.wait("document.querySelectorAll('.dot').length > 0");
    browser.shows(CARD, "Last run ended");
    let plan = daemon.get("/api/cleanings/db/plan");
    let segments = plan["segments"].as_array().unwrap();
    let marks: BTreeSet<u64> = marked(&plan["segments"]);
    browser.shows(CARD, &format!("Marked {} of {} segments", marks.len(), segments.len()));
    // As many dots as segments, and those below the line are those that were marked.
    let dots = browser.js(DOTS);
    let dots: Vec<(bool, f64)> = dots.as_array().unwrap().iter().map(dot).collect();
    assert_eq!(dots.len(), segments.len());
    assert_eq!(dots.iter().filter(|dot| dot.0).count(), marks.len());
    let clear: Vec<&(bool, f64)> = dots.iter().filter(|dot| dot.1.abs() > 2.0).collect();
    assert!(clear.len() > dots.len() / 2, "{dots:?}");
    assert!(clear.iter().all(|(marked, below)| *marked == (*below > 0.0)), "{clear:?}");
    assert_eq!(expired(&database), marks);

    for scheme in ["light", "dark"] {
        browser.scheme(scheme);
        for width in [360, 1280] {
            browser.size(width, 900);
            assert_eq!(browser.sideways(), 0, "{width} px, {scheme}");
            browser.shot(&format!("cleaning-{width}-{scheme}"));
        }
    }
    // That no plan was made yet is answered with 404, which browsers tell the console.
    let wrong: Vec<String> = browser.complaints().into_iter().filter(|line| !line.contains("status of 404")).collect();
    assert_eq!(wrong, Vec::<String>::new());
}

fn dot(value: &Value) -> (bool, f64) {
    (value[0].as_bool().unwrap(), value[1].as_f64().unwrap())
}
