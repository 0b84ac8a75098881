//! The commands that talk to a running daemon: pause, resume, start, stop, budget, findings, confirm.

use std::io::{BufRead, IsTerminal, Write};

use clap::Args;
use serde_json::{Value, json};

use super::client::{Client, Reach};
use super::status::over_max_delete;
use super::{Exit, output};
use crate::clock;
use crate::engine::Command;
use crate::error::{Error, Result};
use crate::model::Verdict;
use crate::sizes::{self, plural};
use crate::spelling::Percent;

/// One crawl or cleaning, or everything.
#[derive(Debug, Args)]
pub struct OneOrAllArgs {
    /// The crawl or cleaning [default: everything]
    name: Option<String>,

    #[command(flatten)]
    reach: Reach,
}

/// One crawl or cleaning.
#[derive(Debug, Args)]
pub struct OneArgs {
    /// The crawl or cleaning
    name: String,

    #[command(flatten)]
    reach: Reach,
}

/// What `sexton budget` takes.
#[derive(Debug, Args)]
pub struct BudgetArgs {
    /// The budget from now on, also over restarts: 25% [default: show the budget]
    #[arg(value_name = "PERCENT%")]
    percent: Option<Percent>,

    /// Take a change back: file and windows hold again
    #[arg(long, conflicts_with = "percent")]
    reset: bool,

    #[command(flatten)]
    reach: Reach,
}

/// What `sexton findings` takes.
#[derive(Debug, Args)]
pub struct FindingsArgs {
    /// Only of this crawl
    #[arg(long, value_name = "NAME")]
    crawl: Option<String>,

    /// Only those with a greater number
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    after: u64,

    /// One JSON object a line
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    reach: Reach,
}

/// What `sexton confirm` takes.
#[derive(Debug, Args)]
pub struct ConfirmArgs {
    /// The crawl whose cycle is confirmed
    name: String,

    /// How many shares will be deleted; needed where that is more than max_delete allows
    #[arg(long, value_name = "N")]
    shares: Option<u64>,

    /// Do not ask
    #[arg(long)]
    yes: bool,

    #[command(flatten)]
    reach: Reach,
}

/// Does `pause`, `resume`, `start` or `stop` to one crawl or cleaning.
///
/// # Errors
/// If no daemon is reached, or it refuses.
pub fn one(command: Command, args: &OneArgs) -> Result<Exit> {
    tell(command, &args.name, &args.reach)
}

/// Does `pause` or `resume` to one, or to everything.
///
/// # Errors
/// If no daemon is reached, or it refuses.
pub fn one_or_all(command: Command, args: &OneOrAllArgs) -> Result<Exit> {
    let Some(name) = &args.name else {
        let client = Client::find(&args.reach)?;
        client.post(&format!("/api/{}", command.word()), None)?;
        output::tell(&format!("everything: {}d", command.word()));
        return say_unsaved(&client);
    };
    tell(command, name, &args.reach)
}

fn tell(command: Command, name: &str, reach: &Reach) -> Result<Exit> {
    let client = Client::find(reach)?;
    let answer = client.post(&format!("{}/{}", path_of(&client, name)?, command.word()), None)?;
    output::tell(&format!("{name}: {}", answer["state"].as_str().unwrap_or("done").replace('_', " ")));
    say_unsaved(&client)
}

/// Says what the daemon could not save yet of what it was told: that holds, but would not outlive it.
fn say_unsaved(client: &Client) -> Result<Exit> {
    let status = client.get("/api/status")?;
    let unsaved = status["problems"].as_array().into_iter().flatten().filter(|problem| problem["about"] == "state");
    unsaved.for_each(|problem| output::tell(problem["text"].as_str().unwrap_or_default()));
    Ok(Exit::Well)
}

/// The path of a crawl or cleaning in the API.
fn path_of(client: &Client, name: &str) -> Result<String> {
    let status = client.get("/api/status")?;
    let has = |kind: &str| status[kind].as_array().into_iter().flatten().any(|one| one["name"] == name);
    match ["crawls", "cleanings"].iter().find(|kind| has(kind)) {
        Some(kind) => Ok(format!("/api/{kind}/{name}")),
        None => {
            let names: Vec<&str> = ["crawls", "cleanings"]
                .iter()
                .flat_map(|kind| status[*kind].as_array().into_iter().flatten())
                .filter_map(|one| one["name"].as_str())
                .collect();
            Err(Error::Config(format!("there is no crawl or cleaning {name:?}; there is {}", names.join(", "))))
        }
    }
}

/// Shows or changes the budget.
///
/// # Errors
/// If no daemon is reached, or it refuses.
pub fn budget(args: &BudgetArgs) -> Result<Exit> {
    let client = Client::find(&args.reach)?;
    let budget = match (args.percent, args.reset) {
        (Some(percent), _) => client.put("/api/budget", &json!({ "cpu_percentage": percent.get() }))?,
        (None, true) => client.delete("/api/budget")?,
        (None, false) => client.get("/api/budget")?["budget"].take(),
    };
    output::show(&super::status::budget_line(&budget))?;
    say_unsaved(&client)
}

/// Lists findings and errors.
///
/// # Errors
/// If no daemon is reached, or standard output is closed.
pub fn findings(args: &FindingsArgs) -> Result<Exit> {
    let client = Client::find(&args.reach)?;
    let of = args.crawl.as_deref().map(|crawl| format!("&crawl={crawl}")).unwrap_or_default();
    let (mut after, mut stdout) = (args.after, std::io::stdout().lock());
    let failed = |e: std::io::Error| Error::Store { doing: "write to", path: "stdout".into(), cause: e.to_string() };
    loop {
        let page = client.get(&format!("/api/findings?limit=1000&after={after}{of}"))?;
        let rows = page["findings"].as_array().cloned().unwrap_or_default();
        for row in &rows {
            let line = if args.json { row.to_string() } else { finding_line(row) };
            writeln!(stdout, "{line}").map_err(failed)?;
        }
        match rows.last().and_then(|row| row["number"].as_u64()) {
            Some(last) if page["more"] == true && last > after => after = last,
            _ => break,
        }
    }
    stdout.flush().map_err(failed)?;
    Ok(Exit::by(found(&client.get("/api/status")?, args.crawl.as_deref())))
}

/// The verdict over what is damaged or could not be read, in one crawl or in all: what is listed may be mended since.
fn found(status: &Value, crawl: Option<&str>) -> Verdict {
    let problems = status["problems"].as_array().into_iter().flatten();
    let of_crawl = problems.filter(|problem| crawl.is_none_or(|crawl| problem["name"] == crawl));
    Verdict::over(of_crawl.filter_map(|problem| match problem["severity"].as_str() {
        Some("damage") => Some(Verdict::Damage),
        Some("errors") => Some(Verdict::Errors),
        _ => None,
    }))
}

fn finding_line(row: &Value) -> String {
    let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let share = row["share"].as_i64().map_or(String::new(), |share| format!(" share {share}"));
    let place = match row["path"].as_str() {
        Some(path) => path.to_owned(),
        None => format!("{}{share}: {}", text("storage_index"), text("region")),
    };
    let (number, cycle) = (&row["number"], &row["cycle"]);
    // The same in earlier cycles is not listed again.
    let again = match (row["cycles"].as_u64(), row["since"].as_f64().and_then(clock::rfc3339)) {
        (Some(cycles @ 2..), Some(since)) => format!(" (in {cycles} cycles since {since})"),
        _ => String::new(),
    };
    format!("{number:>6}  {} cycle {cycle}  {}  {place}: {}{again}", text("crawl"), text("kind"), text("text"))
}

/// Shows what a cycle would delete, asks, and confirms it.
///
/// # Errors
/// If no daemon is reached, nothing waits to be confirmed, or the number is missing or wrong.
pub fn confirm(args: &ConfirmArgs) -> Result<Exit> {
    let client = Client::find(&args.reach)?;
    let detail = client.get(&format!("/api/crawls/{}", args.name))?;
    let crawl = &detail["crawl"];
    let rehearsal = &crawl["rehearsal"];
    let waits = rehearsal["cycle"].as_u64().filter(|_| rehearsal["confirmed"] == false);
    let Some(cycle) = waits else {
        return Err(Error::Daemon(format!("{} has nothing that waits to be confirmed", args.name)));
    };
    let figure = |key: &str| rehearsal[key].as_u64().unwrap_or(0);
    // What nobody has seen is not confirmed.
    output::show(&format!(
        "{}: {} in {}, {}, {} will be deleted for good, as cycle {cycle} has shown",
        args.name,
        plural(figure("shares"), "share"),
        plural(figure("buckets"), "bucket"),
        plural(figure("leases"), "lease"),
        sizes::for_people(figure("bytes") as f64)
    ))?;
    let over_limit = over_max_delete(crawl);
    if let Some(over_limit) = &over_limit {
        output::show(over_limit)?;
    }
    let agreed = match (args.shares, over_limit) {
        // Whoever names the number has agreed; the daemon compares it.
        (Some(_), _) => true,
        (None, None) => args.yes || matches!(asked("Delete them? [y/N] ")?.as_str(), "y" | "Y" | "yes"),
        (None, Some(_)) => asked("To delete them, type how many shares that is: ")?.parse() == Ok(figure("shares")),
    };
    if !agreed {
        output::tell("nothing was confirmed");
        return Ok(Exit::Waits);
    }
    // Always named: another cycle may wait by now.
    let shares = args.shares.unwrap_or(figure("shares"));
    let body = json!({ "cycle": cycle, "shares": shares });
    client.post(&format!("/api/crawls/{}/confirm", args.name), Some(&body))?;
    output::tell("confirmed: they are deleted now");
    Ok(Exit::Well)
}

fn asked(question: &str) -> Result<String> {
    if !std::io::stdin().is_terminal() {
        let advice = "nobody is there to be asked: add --yes, or, where it is more than max_delete allows, --shares N";
        return Err(Error::Config(advice.to_owned()));
    }
    let mut stdout = std::io::stdout().lock();
    // A prompt that is not seen is answered with no.
    let _ = write!(stdout, "{question}").and_then(|()| stdout.flush());
    drop(stdout);
    let mut answer = String::new();
    let _ = std::io::stdin().lock().read_line(&mut answer);
    Ok(answer.trim().to_owned())
}
