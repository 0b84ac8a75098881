//! Figures of the status page that depend on what a store holds: the ages of leases however they lie, what a cycle beside a
//! running node has spared, how a cleaning's last run went.

use serde_json::{Value, json};

use super::shown::{clean, crawl, page};
use super::stage::Play;
use sexton_page_tests::Browser;

/// The examples with these ages: of each day, how many leases.
fn aged(ages: &[(i32, u64)]) -> Play {
    let mut play = Play::as_written();
    let bar = |&(day, leases): &(i32, u64)| json!({"from_days": day, "to_days": day + 1, "leases": leases});
    play.crawl["lease_ages"] = ages.iter().map(bar).collect();
    play
}

/// The labels below the axis, and of each bar its class and how wide it is drawn.
fn drawn(browser: &Browser) -> (String, Vec<(String, f64)>) {
    browser.wait("document.querySelector('#ages-panel:not([hidden]) .bars .bar')");
    let labels = "return [...document.querySelectorAll('#ages-chart text')].map((t) => t.textContent).join(' | ')";
    let bars = "return [...document.querySelectorAll('#ages-chart .bar')]
        .map((b) => [b.getAttribute('class'), Number(b.getAttribute('width'))])";
    let bars = browser.js(bars);
    let bar = |bar: &Value| (bar[0].as_str().unwrap().to_owned(), bar[1].as_f64().unwrap());
    (browser.js(labels).as_str().unwrap().to_owned(), bars.as_array().unwrap().iter().map(bar).collect())
}

fn shots(browser: &Browser, name: &str) {
    for scheme in ["light", "dark"] {
        browser.scheme(scheme);
        for width in [360, 1280] {
            browser.size(width, 900);
            assert_eq!(browser.sideways(), 0, "{width} px, {scheme}");
            browser.shot(&format!("{name}-{width}-{scheme}"));
        }
    }
    browser.size(1280, 900);
}

#[test]
fn a_lease_dated_zero_does_not_stretch_the_ages() {
    let mut ages: Vec<(i32, u64)> = (0..40).map(|day| (day, 100)).collect();
    ages.push((20_000, 1));
    let (stage, browser) = page(aged(&ages));
    let (labels, bars) = drawn(&browser);
    assert_eq!(bars.len(), 41);
    assert!(bars.iter().all(|(_, width)| *width > 5.0), "{bars:?}");
    assert_eq!(bars.iter().filter(|(class, _)| class == "bar old").count(), 40 - 31 + 1);
    for part in ["0 days", "older", "expires at 31 days"] {
        assert!(labels.contains(part), "{part} is not in {labels}");
    }
    assert!(!labels.contains("20,00"), "{labels}");
    browser.keys("#ages-chart svg", thirtyfour::Key::End);
    browser.shows("#ages-read", "older, 20,000 to 20,001 days: 1 lease, < 0.1 %");
    shots(&browser, "ages-zero");
    clean(&stage, &browser);
}

#[test]
fn where_all_leases_are_old_the_axis_begins_there() {
    let (stage, browser) = page(aged(&[(0, 3), (1099, 400), (1100, 2500), (1101, 700)]));
    let (labels, bars) = drawn(&browser);
    assert_eq!(bars.len(), 4);
    assert!(bars.iter().all(|(_, width)| *width > 20.0), "{bars:?}");
    for part in ["younger", "1,100", "← expires at 31 days"] {
        assert!(labels.contains(part), "{part} is not in {labels}");
    }
    assert!(!labels.contains(" | 0 days") && !labels.contains("older"), "{labels}");
    browser.keys("#ages-chart svg", thirtyfour::Key::Home);
    browser.shows("#ages-read", "younger, 0 to 1 days: 3 leases");
    shots(&browser, "ages-old");
    clean(&stage, &browser);
}

#[test]
fn what_a_cycle_has_spared_is_told_with_the_reasons() {
    let mut play = Play::as_written();
    let spared = json!({"partly_expired": 1000, "expired_within_a_day": 0, "touched_within_the_hour": 258});
    crawl(&mut play, "leases")["last_cycle"]["spared"] = spared.clone();
    play.crawl["cycles"][1]["spared"] = spared;
    // Of the others nothing is known, or that there was nothing.
    crawl(&mut play, "expire")["last_cycle"]["spared"] =
        json!({"partly_expired": 0, "expired_within_a_day": 0, "touched_within_the_hour": 0});
    for cycle in play.crawl["cycles"].as_array_mut().unwrap() {
        cycle["space"] = json!({"examined_bytes": 9000, "expired_bytes": 8000, "expired_shares": 3, "deleted_bytes": 0,
            "deleted_shares": 0, "would_delete_bytes": 1_200_000, "would_delete_shares": 3});
    }
    let (stage, browser) = page(play);
    browser.shows(
        "[aria-label='Crawl leases']",
        "Cycle 11 spared 1,258 shares with expired leases beside the running node: 1,000 with only some leases expired, \
         258 touched within the hour.",
    );
    for other in ["expire", "count"] {
        assert!(!browser.text(&format!("[aria-label='Crawl {other}']")).contains("spared"));
    }
    browser.shows("#cycles", "Spared");
    browser.shows("#cycles", "1,258");
    shots(&browser, "spared");
    clean(&stage, &browser);

    // On a narrow screen no label runs into its value, and all values begin at the same place.
    browser.size(360, 900);
    let gaps = "const range = document.createRange();
        return [...document.querySelectorAll('.stacked td')].map((td) => {
            range.selectNodeContents(td);
            return Math.round(range.getBoundingClientRect().left - td.getBoundingClientRect().left);
        })";
    let gaps = browser.js(gaps);
    let gaps = gaps.as_array().unwrap();
    assert!(gaps.len() > 20 && gaps.iter().all(|gap| gap == &gaps[0]), "{gaps:?}");
}

#[test]
fn how_the_last_run_of_a_cleaning_went() {
    let mut play = Play::as_written();
    play.status["cleanings"][0]["last_run"]["result"] = json!("failed");
    play.status["cleanings"][0]["last_run"]["refused"] = json!("the database is malformed");
    let mut refused = play.clone();
    refused.status["cleanings"][0]["last_run"]["result"] = json!("refused");
    refused.status["cleanings"][0]["last_run"]["refused"] = json!("no snapshot would be left");
    for (play, words) in [(play, "The last run failed"), (refused, "The last run was refused")] {
        let (stage, browser) = page(play);
        browser.shows("[aria-label='Cleaning backup-db']", words);
        assert!(!browser.text("[aria-label='Cleaning backup-db']").contains("it failed"));
        clean(&stage, &browser);
    }
}
