//! `sexton status`: what a running daemon does, for people.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::Exit;
use super::client::{Client, Reach};
use crate::error::{Error, Result};

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

/// Runs the command. Exit code 1 if there is something to look at.
///
/// # Errors
/// If no daemon is reached, or standard output is closed.
pub fn run(args: &StatusArgs) -> Result<Exit> {
    let client = Client::find(&args.reach)?;
    if args.open {
        let link = client.post("/api/link", None)?;
        println!("{}", link["url"].as_str().unwrap_or_default());
        return Ok(Exit::Done);
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
            let failed = list(&status, "problems").any(|problem| problem["severity"] != "warning");
            return Ok(if failed { Exit::WithErrors } else { Exit::Done });
        }
        drop(stdout);
        std::thread::sleep(WATCH_EVERY);
    }
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
        if let Some(target) = crawl["target"]["text"].as_str() {
            lines.push(format!("{:<16} {target}", ""));
        }
    }
    for cleaning in list(status, "cleanings") {
        let (done, planned) = (&cleaning["rows_done"], &cleaning["rows_planned"]);
        let doing = format!("{}, {done} of {planned} rows", text(cleaning, "doing"));
        lines.push(line(cleaning, status, [by_hand(cleaning, status), doing]));
    }
    for problem in list(status, "problems") {
        let name = problem["name"].as_str().unwrap_or_else(|| text(problem, "about"));
        lines.push(format!("! {} {name}: {}", text(problem, "severity"), text(problem, "text")));
    }
    lines.join("\n") + "\n"
}

/// One crawl or cleaning: its name, its state, and what there is to say of it.
fn line<const N: usize>(one: &Value, status: &Value, parts: [String; N]) -> String {
    let state = state(one, status).replace('_', " ");
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    format!("{:<16} {state}: {}", text(one, "name"), parts.join("; "))
}

/// While everything is paused, nothing walks, and nothing begins when its time has come.
fn state<'a>(one: &'a Value, status: &Value) -> &'a str {
    match text(one, "state") {
        "walking" | "sleeping" | "slow_start" | "working" if status["paused"] == true => "paused",
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

fn crawl_line(crawl: &Value, status: &Value) -> String {
    let now = number(status, "now");
    let (done, total) = (number(crawl, "prefixes_done"), number(crawl, "prefixes_total").max(1.0));
    let part = format!("cycle {}, {:.1} %", crawl["cycle"], 100.0 * done / total);
    let doing = match state(crawl, status) {
        "walking" => {
            let rest = match crawl["remaining_secs"].as_object() {
                Some(_) => {
                    let range = &crawl["remaining_secs"];
                    format!(", {} to {} left", secs(number(range, "least")), secs(number(range, "most")))
                }
                None => String::new(),
            };
            let rate = number(crawl, "buckets_per_sec");
            format!("{part}, {rate:.1} buckets/s{rest}")
        }
        "paused" if !crawl["cycle"].is_null() => part,
        "sleeping" | "slow_start" => match crawl["next_cycle_at"].as_f64() {
            Some(at) => format!("next cycle in {}", secs(at - now)),
            None => String::new(),
        },
        _ => String::new(),
    };
    let found = format!("{} errors, {} findings", crawl["errors"], crawl["findings"]);
    line(crawl, status, [by_hand(crawl, status), doing, found])
}
