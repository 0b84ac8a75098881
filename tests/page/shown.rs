//! The status page in headless Chromium, with the examples of the API: what it shows, and that nothing in it can be driven
//! by what comes from a disk.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use thirtyfour::Key;

use super::stage::{Play, Stage};
use sexton_page_tests::Browser;

/// The page with these answers, once it shows them.
pub fn page(play: Play) -> (Stage, Browser) {
    let stage = Stage::open(play);
    let browser = Browser::open(&stage.url);
    browser.wait("document.querySelector('#vitals').children.length === 4");
    browser.wait("!document.querySelector('#findings-table').innerText.includes('Not loaded')");
    (stage, browser)
}

pub fn crawl<'a>(play: &'a mut Play, name: &str) -> &'a mut Value {
    let crawls = play.status["crawls"].as_array_mut().unwrap();
    crawls.iter_mut().find(|c| c["name"] == name).unwrap()
}

/// No error in the console, and no request to anywhere but the page's own server.
pub fn clean(stage: &Stage, browser: &Browser) {
    assert_eq!(browser.complaints(), Vec::<String>::new());
    let foreign: Vec<String> = browser.requests().into_iter().filter(|url| !own(url, &stage.url)).collect();
    assert_eq!(foreign, Vec::<String>::new());
}

fn own(url: &str, base: &str) -> bool {
    url.starts_with(base) || url.starts_with(&format!("blob:{base}")) || url.starts_with("data:")
}

#[test]
fn it_fits_every_width_in_both_schemes() {
    let (stage, browser) = page(Play::as_written());
    browser.wait("document.querySelectorAll('.dial .cell').length === 1024");
    let mut papers = BTreeSet::new();
    for scheme in ["light", "dark"] {
        browser.scheme(scheme);
        for width in [360, 768, 1280, 1920] {
            browser.size(width, 900);
            assert_eq!(browser.sideways(), 0, "{width} px, {scheme}");
            browser.shot(&format!("examples-{width}-{scheme}"));
        }
        let paper = browser.js("return getComputedStyle(document.documentElement).backgroundColor");
        papers.insert(paper.as_str().unwrap().to_owned());
    }
    assert_eq!(papers.len(), 2, "both schemes have the paper {papers:?}");
    // Chosen by hand, whatever the system prefers: it prefers dark here, and the second choice is light.
    let paper = "return getComputedStyle(document.documentElement).backgroundColor";
    let dark = browser.js(paper);
    browser.click("#theme");
    assert_eq!(browser.text("#theme-name"), "light");
    assert_ne!(browser.js(paper), dark);
    browser.go(&stage.url);
    browser.wait("document.querySelector('#theme-name').textContent === 'light'");
    assert_ne!(browser.js(paper), dark);
    clean(&stage, &browser);
}

#[test]
fn what_the_api_says_is_shown() {
    let (stage, browser) = page(Play::as_written());
    // Damage before whatever else there is, and red.
    assert_eq!(browser.text("#verdict"), "3 objects are damaged.");
    assert_eq!(browser.js("return document.querySelector('#verdict').dataset.tone"), "danger");
    browser.shows("#problems", "2 of what was looked at could not be read");
    browser.shows("#problems", "it waits to be confirmed before it deletes 240 shares and 251 leases (1.9 GB)");
    let vitals = browser.text("#vitals");
    for part in ["10 d 11 h", "2 errors and 3 findings", "49.8 % of 50 %", "2 h 46 min to 3 h 5 min"] {
        assert!(vitals.contains(part), "{part} is not in {vitals}");
    }
    let card = browser.text("[aria-label='Crawl leases']");
    let target =
        "Every share is to have its turn within 30 days: at this pace it takes 7 days 5 h, so the target will be met.";
    for part in ["walking", "40.6 %", "84,520 buckets, 106,201 shares", "11.7 buckets/s", target] {
        assert!(card.contains(part), "{part} is not in {card}");
    }
    let both = "1 error, 4 findings in this cycle; 2 errors, 3 findings in the last";
    assert!(card.contains(both), "{both} is not in {card}");
    browser.shows("#budget-source", "50 % of one core, by the window 22:00 to 06:00; 10 % outside of windows");
    browser.shows("#cycles", "incomplete, 3 prefixes missing");
    browser.shows("#cycles", "≥ 208,113");
    browser.shows("#ages-lead", "leases, as cycle 11 has seen them");
    browser.shows("#cleaning-list", "dropping blocks");
    let plan = Play::as_written().plan;
    let segments = plan["segments"].as_array().unwrap();
    let marked = segments.iter().filter(|s| s["marked"] == true).count();
    assert_eq!(browser.js("return document.querySelectorAll('.dot').length"), json!(segments.len()));
    assert_eq!(browser.js("return document.querySelectorAll('.dot.marked').length"), json!(marked));
    clean(&stage, &browser);
}

#[test]
fn what_an_operator_has_done_is_shown_and_nothing_that_is_not_so() {
    let mut play = Play::as_written();
    play.status["paused"] = json!(true);
    let now = play.status["now"].as_f64().unwrap();
    let count = crawl(&mut play, "count");
    count["state"] = json!("stopped");
    count["by_hand"] = json!({"what": "stopped", "at": now - 720.0});
    for cycle in play.crawl["cycles"].as_array_mut().unwrap() {
        cycle["space"] = json!({"examined_bytes": 9000, "expired_bytes": 8000, "expired_shares": 3, "deleted_bytes": 0,
            "deleted_shares": 0, "would_delete_bytes": 7000, "would_delete_shares": 3});
    }
    // The same as number 5, met in one cycle more.
    play.find(json!({"number": 6, "cycles": 4, "replaces": 5, "text": "not a folder, still"}));
    let (stage, browser) = page(play);
    browser.shows("[aria-label='Crawl count']", "Stopped by hand 12 min ago, until it is started.");
    let card = browser.text("[aria-label='Crawl leases']");
    assert!(card.contains("paused") && card.contains("of walking left") && !card.contains("buckets/s"), "{card}");
    assert!(!browser.text("#vitals").contains("begins again"));
    browser.shows("#cycles", "Would delete");
    browser.shows("#cycles", "7.0 kB");
    assert!(!browser.text("#cycles").contains("Deleted"), "nothing was");
    browser.shows("#findings-table", "4 cycles");
    browser.shows("#findings-count", "5 entries");
    clean(&stage, &browser);
}

/// Gives a cycle, running or over, so many errors and findings.
fn met(cycle: &mut Value, errors: u64, findings: u64) {
    (cycle["errors"], cycle["findings"]) = (json!(errors), json!(findings));
}

#[test]
fn a_cycle_that_has_just_begun_does_not_hide_what_the_last_one_has_found() {
    let mut play = Play::as_written();
    play.status["problems"] = json!([]);
    let leases = crawl(&mut play, "leases");
    met(leases, 0, 1);
    met(&mut leases["last_cycle"], 0, 1216);
    let (stage, browser) = page(play.clone());
    browser.shows("#verdict", "Running, with 1,216 findings.");
    browser.shows("#vitals", "in the last finished cycle of each crawl");
    assert!(!browser.text("#vitals").contains("has more"), "the running one has less");
    browser.shows("[aria-label='Crawl leases']", "1 finding in this cycle; 1,216 findings in the last");
    clean(&stage, &browser);

    // Once the running one has more, that is told; an error is more than any findings.
    met(crawl(&mut play, "leases"), 1, 2);
    let (stage, browser) = page(play.clone());
    browser.shows("#verdict", "Running, with 1 error and 2 findings.");
    browser.shows("#vitals", "in the last finished cycle of each crawl, or in the running one where it has more");
    clean(&stage, &browser);

    // None has ended yet, and nothing walks.
    play.status["paused"] = json!(true);
    play.status["crawls"].as_array_mut().unwrap().retain(|c| c["name"] == "leases");
    crawl(&mut play, "leases")["last_cycle"] = Value::Null;
    let (stage, browser) = page(play);
    browser.shows("#verdict", "Everything is paused.");
    browser.shows("#vitals", "so far: no cycle has ended yet");
    browser.shows("#vitals", "0 of 1 crawl walking");
    browser.shows("#vitals", "0 of 1 cleaning at work");
    clean(&stage, &browser);
}

#[test]
fn a_crawl_at_rest_speaks_of_its_last_cycle_also_after_a_restart() {
    let mut play = Play::as_written();
    let none = json!({"cycle": null, "cycle_started": null, "prefixes_done": 0, "buckets": 0, "shares": 0, "errors": 0,
        "findings": 0, "last_complete_prefix": null, "state": "sleeping", "workers": ["idle"], "remaining_secs": null,
        "buckets_per_sec": null, "next_cycle_at": 1_700_001_785.0});
    for name in ["leases", "count"] {
        let crawl = crawl(&mut play, name).as_object_mut().unwrap();
        crawl.extend(none.as_object().unwrap().clone());
    }
    crawl(&mut play, "count")["last_cycle"] = Value::Null;
    // Walking, and nothing is known of its pace.
    let expire = crawl(&mut play, "expire");
    (expire["state"], expire["cycle"], expire["rehearsal"]) = (json!("walking"), json!(1), Value::Null);
    let (stage, browser) = page(play);
    let card = browser.text("[aria-label='Crawl leases']");
    for part in
        ["cycle 11", "complete", "208,113 buckets, 261,940 shares", "2 errors, 3 findings in the last cycle", "100 %"]
    {
        assert!(card.contains(part), "{part} is not in {card}");
    }
    browser.shows("[aria-label='Crawl count']", "No cycle has begun yet.");
    browser.shows("[aria-label='Crawl expire']", "rate not known yet");
    assert!(browser.text("#vitals").contains("2 errors and 3 findings"), "{}", browser.text("#vitals"));
    clean(&stage, &browser);
}

#[test]
fn names_from_disks_stay_text() {
    let hostile = format!("<img src=x onerror=alert(1)><script>alert(2)</script>\u{202e}{}", "long".repeat(80));
    let mut play = Play::as_written();
    play.find(json!({"text": hostile, "region": hostile, "storage_index": hostile, "prefix": "ms"}));
    play.status["problems"][0]["text"] = json!(hostile);
    crawl(&mut play, "leases")["store"] = json!(hostile);
    crawl(&mut play, "count")["error"] = json!(hostile);
    crawl(&mut play, "count")["state"] = json!("failed");
    crawl(&mut play, "count")["name"] = json!(hostile);
    play.status["cleanings"][0]["database"] = json!(hostile);
    play.plan["segments"][0]["name"] = json!(hostile);
    let (stage, browser) = page(play);
    browser.js("for (const d of document.querySelectorAll('details')) d.open = true");
    browser.wait("document.querySelectorAll('#cleaning-list tbody tr').length > 0");
    // What turns text around is spelled out.
    browser.shows("#findings-table", "<img src=x onerror=alert(1)><script>alert(2)</script>\\u{202e}longlong");
    assert_eq!(browser.js("return document.querySelectorAll('img').length"), json!(1), "the icon is the only picture");
    assert_eq!(browser.js("return document.querySelectorAll('body script').length"), json!(0));
    for width in [360, 1280] {
        browser.size(width, 900);
        assert_eq!(browser.sideways(), 0, "{width} px");
        browser.shot(&format!("hostile-{width}"));
    }
    clean(&stage, &browser);
}

#[test]
fn findings_are_filtered_and_saved() {
    let mut play = Play::as_written();
    play.find(json!({"kind": "error", "path": "=cmd", "text": "said \"no\", twice", "crawl": "count"}));
    let (stage, browser) = page(play);
    let rows = |browser: &Browser| browser.js("return document.querySelectorAll('#findings-table tbody tr').length");
    assert_eq!((rows(&browser), browser.text("#findings-count")), (json!(6), "6 entries, newest first".to_owned()));
    browser.keys("#findings-search", "permission jf");
    browser.shows("#findings-count", "1 of 6 entries");
    assert_eq!(rows(&browser), json!(1));
    browser
        .js("const s = document.querySelector('#findings-search'); s.value = ''; s.dispatchEvent(new Event('input'))");
    browser.js(
        "const s = document.querySelector('#findings-kind'); s.value = 'error'; s.dispatchEvent(new Event('input'))",
    );
    browser.shows("#findings-count", "2 of 6 entries");
    let folder = browser.downloads();
    browser.click("#save-csv");
    browser.click("#save-json");
    let read = |ending: &str| {
        let limit = Instant::now() + Duration::from_secs(60);
        loop {
            let mut files = std::fs::read_dir(&folder).unwrap().map(|f| f.unwrap().path());
            if let Some(path) = files.find(|path| path.extension().is_some_and(|e| e == ending)) {
                // The browser reserves the name with an empty file, and moves the whole one there.
                let text = std::fs::read_to_string(path).unwrap();
                if !text.is_empty() {
                    return text;
                }
            }
            assert!(Instant::now() < limit, "no file *.{ending} was saved");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    let saved: Value = serde_json::from_str(&read("json")).unwrap();
    let numbers: Vec<&Value> = saved.as_array().unwrap().iter().map(|f| &f["number"]).collect();
    assert_eq!(numbers, [&json!(6), &json!(3)]);
    let csv = read("csv");
    let lines: Vec<&str> = csv.split("\r\n").collect();
    assert_eq!(lines[0], "number,kind,crawl,cycle,cycles,since,at,prefix,storage_index,share,region,path,text");
    // Quoted by RFC 4180, and no formula to a spreadsheet.
    assert!(lines[1].ends_with(",'=cmd,\"said \"\"no\"\", twice\""), "{}", lines[1]);
    assert_eq!(lines.len(), 4, "{csv}");
    clean(&stage, &browser);
}

#[test]
fn nothing_is_deleted_without_a_yes() {
    let mut play = Play::as_written();
    play.crawl["settings"]["parameters"]["delete"] = json!("offline");
    let (stage, browser) = page(play);
    browser.click("[aria-label='Start now: count']");
    browser.shows("#ask", "may delete what has expired");
    browser.click("#ask-no");
    browser.shows("[aria-label='Crawl expire'] .callout", "240 shares with 251 leases (1.9 GB) in 212 buckets");
    let confirm = "[aria-label='Crawl expire'] .callout .button";
    for refuse in [|b: &Browser| b.click("#ask-no"), |b: &Browser| b.press(Key::Escape)] {
        browser.click(confirm);
        browser.wait("document.querySelector('#ask').open");
        browser.shows("#ask", "/srv/tahoe/friends");
        browser.shows("#ask", "1.9 GB");
        browser.shows("#ask", "251");
        assert_eq!(browser.js("return document.activeElement.id"), json!("ask-no"), "Enter would not delete");
        refuse(&browser);
        browser.wait("!document.querySelector('#ask').open");
    }
    browser.click("[aria-label='Stop backup-db']");
    browser.shows("#toast", "this is a stage");
    assert_eq!(stage.changes().len(), 1, "{:?}", stage.changes());
    browser.click("#toast button");
    browser.click(confirm);
    browser.click("#ask-yes");
    browser.shows("#toast", "this is a stage");
    let confirmed =
        ("POST".to_owned(), "/api/crawls/expire/confirm".to_owned(), r#"{"cycle":0,"shares":240}"#.to_owned());
    assert_eq!(stage.changes()[1..], [confirmed]);
}

#[test]
fn what_deletes_nothing_is_not_asked_about() {
    let mut play = Play::as_written();
    play.crawl["settings"]["parameters"] = json!({"expire": "age:2678400", "delete": "online"});
    let dry = &mut play.status["cleanings"][0];
    (dry["dry_run"], dry["state"]) = (json!(true), json!("sleeping"));
    let (stage, browser) = page(play.clone());
    // What waits to be confirmed is rehearsed again, and the cleaning only shows what it would do.
    for control in ["[aria-label='Start now: expire']", "[aria-label='Start now: backup-db']"] {
        browser.click(control);
        browser.shows("#toast", "this is a stage");
        browser.click("#toast button");
    }
    let asked: Vec<String> = stage.changes().into_iter().map(|(_, path, _)| path).collect();
    assert_eq!(asked, ["/api/crawls/expire/start", "/api/cleanings/backup-db/start"]);
    drop((stage, browser));

    // The question before everything goes on names what may delete, and that only: neither these two, nor what was stopped.
    play.status["paused"] = json!(true);
    crawl(&mut play, "count")["state"] = json!("stopped");
    let (stage, browser) = page(play.clone());
    browser.wait("document.querySelector('.dial')");
    browser.click("#pause-all");
    browser.shows("#ask", "may delete something, for good: leases.");
    browser.click("#ask-no");
    assert_eq!(stage.changes(), []);
    drop((stage, browser));

    play.crawl["settings"]["parameters"] = json!({"expire": "age:2678400", "dry_run": "online"});
    let (stage, browser) = page(play);
    browser.wait("document.querySelector('.dial')");
    browser.click("#pause-all");
    browser.shows("#toast", "this is a stage");
    assert_eq!(stage.changes().len(), 1, "nothing may delete anything, so nothing was asked");
}

/// A crawl that is to delete is in the middle of its first rehearsal: when it goes on, nothing is deleted before somebody has
/// looked at what it has shown and confirmed that.
#[test]
fn what_is_still_being_rehearsed_is_not_asked_about() {
    let mut play = Play::as_written();
    play.crawl["settings"]["parameters"] = json!({"expire": "age:2678400", "delete": "online"});
    let count = crawl(&mut play, "count");
    (count["state"], count["cycle"], count["rehearsing"]) = (json!("paused"), json!(0), json!(true));
    (count["last_cycle"], count["rehearsal"]) = (Value::Null, Value::Null);
    let (stage, browser) = page(play);
    browser.click("[aria-label='Resume count']");
    browser.shows("#toast", "this is a stage");
    let asked: Vec<String> = stage.changes().into_iter().map(|(_, path, _)| path).collect();
    assert_eq!(asked, ["/api/crawls/count/resume"]);
}

/// How it happens: something between the browser and the daemon has forgotten the stream's connection, and says so to neither.
/// Calls are answered all the while; but rings, cycles and findings come by the stream.
#[test]
fn a_stream_that_has_gone_silent_is_opened_anew_while_the_daemon_answers() {
    let play = Play { silent: true, ..Play::as_written() };
    let (_stage, browser) = page(play);
    let limit = Instant::now() + Duration::from_secs(40);
    let mut opened = 0;
    while opened < 2 {
        opened += browser.requests().iter().filter(|url| url.ends_with("/api/events")).count();
        assert!(Instant::now() < limit, "it was opened {opened} times");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(browser.js("return document.querySelector('#banner').hidden"), json!(true), "nothing was lost");
}

#[test]
fn every_control_is_reached_by_keyboard() {
    let (stage, browser) = page(Play::as_written());
    browser.wait("document.querySelector('#ages-panel:not([hidden]) .bars')");
    let controls =
        browser.js("return [...document.querySelectorAll('a[href], button, input, select, summary, [tabindex=\"0\"]')]
            .filter((e) => e.checkVisibility() && !e.disabled && !e.closest('dialog'))
            .map((e, i) => { e.dataset.nth = i; return e.outerHTML.slice(0, 80); })");
    let controls = controls.as_array().unwrap();
    assert!(controls.len() > 25, "{controls:?}");
    let mut reached = BTreeSet::new();
    for step in 0..controls.len() + 15 {
        browser.press(Key::Tab);
        let script = "const e = document.activeElement, s = getComputedStyle(e);
            return [e.dataset.nth ?? '', s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) > 0, e.getAttribute('class')]";
        let at = browser.js(script);
        if step == 0 {
            assert_eq!(at[2], "skip", "the first one leads past the head");
        }
        if let Ok(nth) = at[0].as_str().unwrap().parse::<usize>() {
            assert_eq!(at[1], true, "the focus is not seen on {}", controls[nth]);
            reached.insert(nth);
        }
    }
    let missing: Vec<&Value> = (0..controls.len()).filter(|n| !reached.contains(n)).map(|n| &controls[n]).collect();
    assert_eq!(missing, Vec::<&Value>::new());
    clean(&stage, &browser);
}

#[test]
fn the_ring_is_read_by_keyboard_and_by_pointer() {
    let (stage, browser) = page(Play::as_written());
    browser.wait("document.querySelector('.dial')");
    browser.keys(".dial", Key::Home);
    browser.shows("#ring-read", "prefix 22, 1 of 1,024: visited 2 h");
    browser.keys(".dial", Key::PageDown + Key::Right);
    browser.shows("#ring-read", "prefix 33, 34 of 1,024");
    let told = browser.js("return document.querySelector('.dial').getAttribute('aria-valuetext')");
    assert_eq!(told.as_str().unwrap(), browser.text("#ring-read"));
    // The one with a finding is `ai`; Enter shows what was found there.
    let play = Play::as_written();
    let names = play.crawl["ring"]["prefixes"].as_array().unwrap();
    let found = play.crawl["ring"]["findings"].as_array().unwrap().iter().position(|n| n != 0).unwrap();
    browser.keys(".dial", Key::Home);
    for _ in 0..found / 32 {
        browser.keys(".dial", Key::PageDown);
    }
    for _ in 0..found % 32 {
        browser.keys(".dial", Key::Right);
    }
    browser.shows("#ring-read", &format!("prefix {}", names[found].as_str().unwrap()));
    browser.shows("#ring-read", "finding");
    browser.keys(".dial", Key::Enter);
    let asked = browser.js("return document.querySelector('#findings-search').value");
    assert_eq!(asked, json!(format!("prefix:{}", names[found].as_str().unwrap())));
    browser.js("document.querySelector('#ring-text').open = true");
    browser.wait("document.querySelectorAll('#ring-text tbody tr').length === 32");
    clean(&stage, &browser);
}

#[test]
fn what_is_not_known_is_said() {
    let mut play = Play::as_written();
    crawl(&mut play, "leases")["remaining_secs"] = Value::Null;
    play.status["access"]["may_change"] = json!(false);
    play.findings["findings"] = json!([]);
    play.findings["last"] = json!(0);
    play.budget["series"]["samples"] = json!([]);
    let (stage, browser) = page(play);
    browser.shows("[aria-label='Crawl leases']", "time left not known yet");
    browser.shows("#vitals", "not known");
    browser.shows("#budget-chart", "The first sample is not there yet.");
    browser.shows("#findings-table", "No finding and no error is kept.");
    browser.shows("#readonly", "sexton status --open");
    let live = browser.js(
        "return [...document.querySelectorAll('.card .buttons button, .callout button, #budget-form button, #pause-all, #reload')]
            .filter((b) => !b.disabled).length",
    );
    assert_eq!(live, json!(0), "a control is offered that would be refused");
    clean(&stage, &browser);
}

#[test]
fn a_page_that_may_not_look_says_how_it_would() {
    let mut play = Play::as_written();
    play.locked = true;
    let stage = Stage::open(play);
    let browser = Browser::open(&stage.url);
    browser.shows("#banner", "sexton status --open");
    assert_eq!(browser.text("#verdict"), "This page may not look.");
}
