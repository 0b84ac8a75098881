//! `sexton status`: what a running daemon does, for people.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::client::{Client, Reach};
use super::{Exit, output};
use crate::error::{Error, Result};
use crate::model::Verdict;
use crate::sizes;
use crate::sizes::plural;

const WATCH_EVERY: Duration = Duration::from_secs(1);

/// What the command takes.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Show it again each second
    #[arg(long)]
    watch: bool,

    /// Print it as JSON, as the API has it
    #[arg(long)]
    json: bool,

    /// Print a link that opens the page with the right to change things; it works once
    #[arg(long, conflicts_with_all = ["watch", "json"])]
    open: bool,

    #[command(flatten)]
    reach: Reach,
}

/// Runs the command. The exit code goes by the daemon's verdict.
///
/// # Errors
/// If no daemon is reached, or standard output is closed.
pub fn run(args: &StatusArgs) -> Result<Exit> {
    let client = Client::find(&args.reach)?;
    if args.open {
        let link = client.post("/api/link", None)?;
        output::show(link["url"].as_str().unwrap_or_default())?;
        return Ok(Exit::Well);
    }
    loop {
        let status = client.get("/api/status")?;
        let text = if args.json { format!("{status}\n") } else { for_people(&status) };
        let mut stdout = std::io::stdout().lock();
        // The screen is cleared where somebody looks at one.
        let clear = if args.watch && !args.json && stdout.is_terminal() { "\u{1b}[H\u{1b}[2J" } else { "" };
        let written = write!(stdout, "{clear}{text}").and_then(|()| stdout.flush());
        written.map_err(|e| Error::Store { doing: "write to", path: "stdout".into(), cause: e.to_string() })?;
        if !args.watch {
            return Ok(Exit::by(verdict(&status)));
        }
        drop(stdout);
        std::thread::sleep(WATCH_EVERY);
    }
}

/// The daemon's verdict; one that is not known here comes from a newer daemon, and is worth a look.
pub fn verdict(status: &Value) -> Verdict {
    let said = text(status, "verdict");
    Verdict::ALL.into_iter().find(|verdict| verdict.as_str() == said).unwrap_or(Verdict::Failed)
}

fn list<'a>(status: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    status[key].as_array().into_iter().flatten()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or(0.0)
}

fn secs(secs: f64) -> String {
    let whole = Duration::try_from_secs_f64(secs.max(0.0)).unwrap_or_default().as_secs();
    humantime::format_duration(Duration::from_secs(whole)).to_string()
}

/// The same to the hour from a day on, and to the minute from an hour on.
fn about(of: f64) -> String {
    let unit = if of >= 86_400.0 {
        3600.0
    } else if of >= 3600.0 {
        60.0
    } else {
        1.0
    };
    secs(of - of % unit)
}

/// The budget in one line.
pub fn budget_line(budget: &Value) -> String {
    let source = match text(budget, "source") {
        "changed" => "changed by hand, until `sexton budget --reset`".to_owned(),
        "window" => format!("window {}-{}", text(&budget["window"], "from"), text(&budget["window"], "to")),
        _ => "as in the file".to_owned(),
    };
    let (asked, minute) = (number(budget, "requested_percentage"), number(budget, "measured_percentage"));
    let (hour, debt) = (number(budget, "measured_hour_percentage"), number(budget, "debt_secs"));
    format!(
        "budget {asked:.1} % of a core ({source}); used {minute:.1} % in the last minute, {hour:.1} % in the last \
         hour; debt {debt:.1} s"
    )
}

fn for_people(status: &Value) -> String {
    let mut lines = vec![format!(
        "sexton {}, process {}, up {}{}",
        text(status, "version"),
        status["pid"],
        secs(number(status, "uptime_secs")),
        if status["paused"] == true { ", PAUSED" } else { "" }
    )];
    lines.push(budget_line(&status["budget"]));
    lines.push(format!("priority {}: {}", text(&status["priority"], "asked"), text(&status["priority"], "text")));
    for crawl in list(status, "crawls") {
        lines.push(crawl_line(crawl, status));
        if let Some(spared) = output::spared_for_people(&crawl["last_cycle"]["spared"]) {
            lines.push(format!("{:<16} {}", "", spared.trim_start()));
        }
        lines.extend(over_max_delete(crawl).map(|stops| format!("{:<16} {stops}", "")));
        if let Some(target) = crawl["target"]["text"].as_str() {
            lines.push(format!("{:<16} {target}", ""));
        }
    }
    for cleaning in list(status, "cleanings") {
        lines.push(cleaning_line(cleaning, status));
    }
    // What the second line says already.
    let told = format!("priority: {}", text(&status["priority"], "text"));
    for problem in list(status, "problems").filter(|problem| problem["text"] != told) {
        let name = problem["name"].as_str().unwrap_or_else(|| text(problem, "about"));
        lines.push(format!("! {} {name}: {}", text(problem, "severity"), text(problem, "text")));
    }
    lines.join("\n") + "\n"
}

/// That what waits to be confirmed is more than the safety catch lets go, if so, and what there is to do.
pub fn over_max_delete(crawl: &Value) -> Option<String> {
    let rehearsal = &crawl["rehearsal"];
    if rehearsal["over_limit"] != true || rehearsal["confirmed"] != false {
        return None;
    }
    let (shares, examined) = (rehearsal["shares"].as_u64()?, rehearsal["examined"].as_u64()?);
    Some(format!(
        "{shares} of {} is more than max_delete ({}) allows: check the clock, the rule of expiry and whether clients still renew \
         their leases; if all is right, confirm it with that number (`sexton confirm {} --shares {shares}`)",
        plural(examined, "share"),
        text(rehearsal, "max_delete"),
        text(crawl, "name"),
    ))
}

/// One crawl or cleaning: its name, its state, and what there is to say of it.
fn line<const N: usize>(one: &Value, status: &Value, parts: [String; N]) -> String {
    let state = state(one, status).replace('_', " ");
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    let colon = if parts.is_empty() { "" } else { ": " };
    format!("{:<16} {state}{colon}{}", text(one, "name"), parts.join("; "))
}

/// While everything is paused, nothing walks, and nothing begins when its time has come. A cleaning that leaves its
/// database to others for a moment is not called paused: nobody has paused it.
fn state<'a>(one: &'a Value, status: &Value) -> &'a str {
    match text(one, "state") {
        "walking" | "sleeping" | "slow_start" | "working" | "pausing" if status["paused"] == true => "paused",
        "pausing" => "resting",
        state => state,
    }
}

/// What an operator has done to it, for as long as that lasts.
fn by_hand(one: &Value, status: &Value) -> String {
    let done = &one["by_hand"];
    let ago = secs(number(status, "now") - number(done, "at"));
    match text(done, "what") {
        "stopped" => format!("by hand, {ago} ago, until it is started"),
        "paused" => format!("by hand, {ago} ago, until it is resumed"),
        _ => String::new(),
    }
}

fn cleaning_line(cleaning: &Value, status: &Value) -> String {
    let now = number(status, "now");
    let (done, planned, next) = (&cleaning["rows_done"], &cleaning["rows_planned"], cleaning["next_run_at"].as_f64());
    let doing = match (state(cleaning, status), next) {
        ("sleeping", Some(at)) => format!("next run in {}", about(at - now)),
        // In mid-run; what an ended run has done is told in its own words.
        ("working" | "resting" | "paused" | "waiting", None) if number(cleaning, "rows_planned") > 0.0 => {
            format!("{}, {done} of {planned} rows", text(cleaning, "doing"))
        }
        _ => String::new(),
    };
    line(cleaning, status, [by_hand(cleaning, status), doing, last_run(&cleaning["last_run"], now)])
}

/// How the last run of a cleaning has ended; of one that never ran there is nothing to say.
fn last_run(run: &Value, now: f64) -> String {
    if run.is_null() {
        return String::new();
    }
    let ended = format!("run ended {} ago", about(now - number(run, "finished")));
    match run["refused"].as_str() {
        Some(why) if why.starts_with("it failed: ") => format!("{ended}: {why}"),
        Some(why) => format!("{ended}: refused, {why}"),
        None => {
            let (segments, free) = (&run["marked_segments"], sizes::for_people(number(run, "reclaimable_bytes")));
            let plural = if *segments == 1 { "" } else { "s" };
            match run["dry_run"] == true {
                true => format!("{ended}, dry: {segments} segment{plural} would be marked, {free} would come free"),
                false => format!("{ended}: {segments} segment{plural} marked, {free} come free"),
            }
        }
    }
}

fn crawl_line(crawl: &Value, status: &Value) -> String {
    let now = number(status, "now");
    let doing = match state(crawl, status) {
        "walking" => [at_cycle(crawl), pace(crawl), rest(crawl)].into_iter().flatten().collect::<Vec<_>>().join(", "),
        "sleeping" | "slow_start" if crawl["next_cycle_at"].is_number() => {
            format!("next cycle in {}", about(number(crawl, "next_cycle_at") - now))
        }
        _ => at_cycle(crawl).unwrap_or_default(),
    };
    line(crawl, status, [by_hand(crawl, status), doing, newest_cycle(crawl, now)])
}

/// Whether a cycle is begun that has not ended.
fn is_begun(crawl: &Value) -> bool {
    !crawl["cycle"].is_null() && crawl["cycle"] != crawl["last_cycle"]["cycle"]
}

/// How far the cycle is that is begun.
fn at_cycle(crawl: &Value) -> Option<String> {
    let (done, total) = (number(crawl, "prefixes_done"), number(crawl, "prefixes_total").max(1.0));
    is_begun(crawl).then(|| format!("cycle {}, {:.1} %", crawl["cycle"], 100.0 * done / total))
}

fn pace(crawl: &Value) -> Option<String> {
    crawl["buckets_per_sec"].as_f64().map(|rate| format!("{rate:.1} buckets/s"))
}

fn rest(crawl: &Value) -> Option<String> {
    let range = &crawl["remaining_secs"];
    range.is_object().then(|| format!("{} to {} left", secs(number(range, "least")), secs(number(range, "most"))))
}

/// What was met in the cycle that is begun, else in the last one; of a crawl that never walked there is nothing to say.
fn newest_cycle(crawl: &Value, now: f64) -> String {
    let last = &crawl["last_cycle"];
    if is_begun(crawl) {
        return met(crawl);
    }
    if last.is_null() {
        return String::new();
    }
    let ago = about(now - number(last, "finished"));
    let rehearsal = if crawl["rehearsal"]["cycle"] == last["cycle"] { ", a rehearsal," } else { "" };
    let result = if last["result"] == "complete" { String::new() } else { format!(", {}", text(last, "result")) };
    format!(
        "cycle {}{rehearsal} ended {ago} ago{result}: {}, {}",
        last["cycle"],
        plural(last["buckets"].as_u64().unwrap_or(0), "bucket"),
        met(last)
    )
}

/// What went wrong, and what was found.
fn met(cycle: &Value) -> String {
    let of = |key: &str| cycle[key].as_u64().unwrap_or(0);
    format!("{}, {}", plural(of("errors"), "error"), plural(of("findings"), "finding"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The line of a crawl, with what differs from one at rest that has never walked.
    fn said(differs: &Value) -> String {
        let mut crawl = json!({"name": "verify", "state": "sleeping", "cycle": null, "prefixes_done": 0, "prefixes_total": 1024,
            "buckets": 0, "errors": 0, "findings": 0, "buckets_per_sec": null, "remaining_secs": null,
            "next_cycle_at": 597_640.0, "by_hand": null, "rehearsal": null, "last_cycle": null});
        let fields = differs.as_object().unwrap().clone();
        crawl.as_object_mut().unwrap().extend(fields);
        crawl_line(&crawl, &json!({"now": 100.0, "paused": false}))
    }

    #[test]
    fn a_cleaning_speaks_of_its_next_run_its_last_one_or_the_one_it_is_at() {
        let said = |differs: Value| {
            let mut cleaning = json!({"name": "lap", "state": "sleeping", "doing": "keeping the plan", "rows_done": 9,
                "rows_planned": 9, "by_hand": null, "next_run_at": 7300.0, "last_run": null});
            cleaning.as_object_mut().unwrap().extend(differs.as_object().unwrap().clone());
            cleaning_line(&cleaning, &json!({"now": 100.0, "paused": false})).replace("lap              ", "")
        };
        let run = |refused: Value| {
            json!({"finished": -10_700.0, "refused": refused, "dry_run": false, "marked_segments": 5,
                "reclaimable_bytes": 44_700_000})
        };
        assert_eq!(said(json!({})), "sleeping: next run in 2h");
        let done = "run ended 3h ago: 5 segments marked, 44.7 MB come free";
        assert_eq!(said(json!({"last_run": run(Value::Null)})), format!("sleeping: next run in 2h; {done}"));
        let failed = said(json!({"last_run": run(json!("it failed: no room"))}));
        assert_eq!(failed, "sleeping: next run in 2h; run ended 3h ago: it failed: no room");
        let refused = said(json!({"last_run": run(json!("it would mark all"))}));
        assert_eq!(refused, "sleeping: next run in 2h; run ended 3h ago: refused, it would mark all");
        let at_it = json!({"state": "pausing", "next_run_at": null, "rows_done": 4, "doing": "dropping segments"});
        assert_eq!(said(at_it), "resting: dropping segments, 4 of 9 rows");
        let gone = json!({"state": "waiting", "next_run_at": null, "rows_done": 0, "rows_planned": 0});
        assert_eq!(said(gone), "waiting");
        let stopped = json!({"state": "stopped", "next_run_at": null, "last_run": run(Value::Null)});
        assert_eq!(said(stopped), format!("stopped: {done}"));
    }

    fn last(result: &str) -> Value {
        json!({"cycle": 0, "finished": -7140.0, "result": result, "buckets": 3, "errors": 0, "findings": 7})
    }

    #[test]
    fn a_crawl_that_does_not_walk_speaks_of_its_last_cycle() {
        assert_eq!(said(&json!({})), "verify           sleeping: next cycle in 6days 21h");
        let asleep =
            "verify           sleeping: next cycle in 6days 21h; cycle 0 ended 2h ago: 3 buckets, 0 errors, 7 findings";
        // After a restart, and before.
        assert_eq!(said(&json!({"last_cycle": last("complete")})), asleep);
        assert_eq!(said(&json!({"last_cycle": last("complete"), "cycle": 0, "findings": 7})), asleep);
        let stopped = said(&json!({"last_cycle": last("incomplete"), "state": "stopped", "cycle": 0}));
        let expected = "verify           stopped: cycle 0 ended 2h ago, incomplete: 3 buckets, 0 errors, 7 findings";
        assert_eq!(stopped, expected);
        let waits =
            json!({"last_cycle": last("complete"), "state": "rehearsed", "cycle": 0, "rehearsal": {"cycle": 0}});
        let expected =
            "verify           rehearsed: cycle 0, a rehearsal, ended 2h ago: 3 buckets, 0 errors, 7 findings";
        assert_eq!(said(&waits), expected);
        assert_eq!(said(&json!({"state": "failed", "next_cycle_at": null})), "verify           failed");
    }

    #[test]
    fn more_than_the_catch_lets_go_is_told_with_what_to_do() {
        let waits = |over_limit: bool, confirmed: bool| {
            let rehearsal = json!({"cycle": 3, "shares": 2908, "examined": 10_000, "over_limit": over_limit,
                "max_delete": "10%", "confirmed": confirmed});
            over_max_delete(&json!({"name": "expire", "rehearsal": rehearsal}))
        };
        let told = waits(true, false).unwrap();
        assert!(told.starts_with("2908 of 10000 shares is more than max_delete (10%) allows"), "{told}");
        assert!(told.contains("`sexton confirm expire --shares 2908`"), "{told}");
        assert_eq!((waits(false, false), waits(true, true)), (None, None));
        assert_eq!(over_max_delete(&json!({"rehearsal": null})), None);
    }

    #[test]
    fn a_cycle_that_is_begun_is_spoken_of_and_its_pace_once_it_is_known() {
        let walks =
            json!({"state": "walking", "cycle": 1, "prefixes_done": 512, "errors": 1, "last_cycle": last("complete")});
        assert_eq!(said(&walks), "verify           walking: cycle 1, 50.0 %; 1 error, 0 findings");
        let mut known = walks.clone();
        known["buckets_per_sec"] = json!(2.25);
        known["remaining_secs"] = json!({"least": 60.0, "most": 90.0});
        let expected =
            "verify           walking: cycle 1, 50.0 %, 2.2 buckets/s, 1m to 1m 30s left; 1 error, 0 findings";
        assert_eq!(said(&known), expected);
        known["state"] = json!("waiting");
        assert_eq!(said(&known), "verify           waiting: cycle 1, 50.0 %; 1 error, 0 findings");
    }
}
