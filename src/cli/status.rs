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
        lines.push(crawl_line(crawl, number(status, "now")));
    }
    for cleaning in list(status, "cleanings") {
        let (state, doing) = (text(cleaning, "state"), text(cleaning, "doing"));
        let (done, planned) = (&cleaning["rows_done"], &cleaning["rows_planned"]);
        lines.push(format!("{:<16} {state}: {doing}, {done} of {planned} rows", text(cleaning, "name")));
    }
    for problem in list(status, "problems") {
        let name = problem["name"].as_str().unwrap_or_else(|| text(problem, "about"));
        lines.push(format!("! {} {name}: {}", text(problem, "severity"), text(problem, "text")));
    }
    lines.join("\n") + "\n"
}

fn crawl_line(crawl: &Value, now: f64) -> String {
    let (done, total) = (number(crawl, "prefixes_done"), number(crawl, "prefixes_total").max(1.0));
    let doing = match text(crawl, "state") {
        "walking" => {
            let rest = match crawl["remaining_secs"].as_object() {
                Some(_) => {
                    let range = &crawl["remaining_secs"];
                    format!(", {} to {} left", secs(number(range, "least")), secs(number(range, "most")))
                }
                None => String::new(),
            };
            let rate = number(crawl, "buckets_per_sec");
            format!("cycle {}, {:.1} %, {rate:.1} buckets/s{rest}", crawl["cycle"], 100.0 * done / total)
        }
        "sleeping" | "slow_start" => match crawl["next_cycle_at"].as_f64() {
            Some(at) => format!("next cycle in {}", secs(at - now)),
            None => String::new(),
        },
        _ => String::new(),
    };
    let (errors, findings) = (&crawl["errors"], &crawl["findings"]);
    let state = text(crawl, "state").replace('_', " ");
    format!("{:<16} {state}: {doing}; {errors} errors, {findings} findings", text(crawl, "name"))
}
