//! The commands that talk to a running daemon: pause, resume, start, stop, budget, findings, confirm.

use std::io::{BufRead, IsTerminal, Write};

use clap::Args;

use super::client::{DaemonAddress, DaemonClient};
use super::status::over_max_delete;
use super::{Exit, output};
use crate::clock;
use crate::daemon::api::shapes::{
    Budget, BudgetReport, BudgetSetting, Cleaning, Confirmation, Crawl, CrawlDetail, DaemonStatus, Findings, Paused,
    PercentSetting, ProblemSubject, ShownFinding,
};
use crate::engine::Command;
use crate::error::{Error, Result};
use crate::job::NoteKind;
use crate::model::{FindingRow, RehearsalStatus, Verdict, WouldDelete};
use crate::sizes::{self, plural};
use crate::spelling::Percent;

/// One crawl or cleaning, or everything.
#[derive(Debug, Args)]
pub struct OneOrAllArgs {
    /// The crawl or cleaning [default: everything]
    name: Option<String>,

    #[command(flatten)]
    reach: DaemonAddress,
}

/// One crawl or cleaning.
#[derive(Debug, Args)]
pub struct OneArgs {
    /// The crawl or cleaning
    name: String,

    #[command(flatten)]
    reach: DaemonAddress,
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
    reach: DaemonAddress,
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
    reach: DaemonAddress,
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
    reach: DaemonAddress,
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
        let client = DaemonClient::find(&args.reach)?;
        client.post::<Paused>(&format!("/api/{}", command.word()))?;
        output::tell(&format!("everything: {}d", command.word()));
        return say_unsaved(&client);
    };
    tell(command, name, &args.reach)
}

fn tell(command: Command, name: &str, reach: &DaemonAddress) -> Result<Exit> {
    let client = DaemonClient::find(reach)?;
    let (of_crawls, word) = (is_crawl(&client, name)?, command.word());
    let state = match of_crawls {
        true => client.post::<Crawl>(&format!("/api/crawls/{name}/{word}"))?.status.state,
        false => client.post::<Cleaning>(&format!("/api/cleanings/{name}/{word}"))?.status.state,
    };
    output::tell(&format!("{name}: {}", state.as_str().replace('_', " ")));
    say_unsaved(&client)
}

/// Says what the daemon could not save yet of what it was told: that holds, but would not outlive it.
fn say_unsaved(client: &DaemonClient) -> Result<Exit> {
    let problems = client.get::<DaemonStatus>("/api/status")?.problems;
    let unsaved = problems.iter().filter(|problem| problem.about == ProblemSubject::State);
    unsaved.for_each(|problem| output::tell(&problem.text));
    Ok(Exit::Well)
}

/// Whether it is a crawl, or else a cleaning.
fn is_crawl(client: &DaemonClient, name: &str) -> Result<bool> {
    let status: DaemonStatus = client.get("/api/status")?;
    let crawls: Vec<&str> = status.crawls.iter().map(|crawl| crawl.name.as_str()).collect();
    let cleanings: Vec<&str> = status.cleanings.iter().map(|cleaning| cleaning.name.as_str()).collect();
    if !crawls.contains(&name) && !cleanings.contains(&name) {
        let names = [crawls, cleanings].concat().join(", ");
        return Err(Error::Config(format!("there is no crawl or cleaning {name:?}; there is {names}")));
    }
    Ok(crawls.contains(&name))
}

/// Shows or changes the budget.
///
/// # Errors
/// If no daemon is reached, or it refuses.
pub fn budget(args: &BudgetArgs) -> Result<Exit> {
    let client = DaemonClient::find(&args.reach)?;
    let budget = match (args.percent, args.reset) {
        (Some(percent), _) => {
            let setting = BudgetSetting { cpu_percentage: PercentSetting::Number(percent.get()) };
            client.put::<Budget>("/api/budget", &setting)?
        }
        (None, true) => client.delete::<Budget>("/api/budget")?,
        (None, false) => client.get::<BudgetReport>("/api/budget")?.budget,
    };
    output::show(&super::status::budget_line(&budget))?;
    say_unsaved(&client)
}

/// Lists findings and errors.
///
/// # Errors
/// If no daemon is reached, or standard output is closed.
pub fn findings(args: &FindingsArgs) -> Result<Exit> {
    let client = DaemonClient::find(&args.reach)?;
    let of = args.crawl.as_deref().map(|crawl| format!("&crawl={crawl}")).unwrap_or_default();
    let (mut after, mut stdout) = (args.after, std::io::stdout().lock());
    let failed = |e: std::io::Error| Error::Store { doing: "write to", path: "stdout".into(), cause: e.to_string() };
    loop {
        let page = client.get::<Findings>(&format!("/api/findings?limit=1000&after={after}{of}"))?;
        for finding in &page.findings {
            let line = if args.json { json_line(finding)? } else { finding_line(&finding.row) };
            writeln!(stdout, "{line}").map_err(failed)?;
        }
        match page.findings.last().map(|last| last.row.number) {
            Some(last) if page.more && last > after => after = last,
            _ => break,
        }
    }
    stdout.flush().map_err(failed)?;
    Ok(Exit::by(found(&client.get("/api/status")?, args.crawl.as_deref())))
}

/// The verdict over what is damaged or could not be read, in one crawl or in all: what is listed may be mended since.
fn found(status: &DaemonStatus, crawl: Option<&str>) -> Verdict {
    let of_crawl =
        status.problems.iter().filter(|problem| crawl.is_none_or(|crawl| problem.name.as_deref() == Some(crawl)));
    let severities = of_crawl.map(|problem| problem.severity);
    Verdict::over(severities.filter(|severity| matches!(severity, Verdict::Damage | Verdict::Errors)))
}

fn json_line(row: &ShownFinding) -> Result<String> {
    serde_json::to_string(row).map_err(|e| Error::Unexpected(format!("a finding cannot be written: {e}")))
}

fn finding_line(row: &FindingRow) -> String {
    let FindingRow { number, crawl, cycle, cycles, since, text, .. } = row;
    let share = row.object.as_ref().map_or(String::new(), |share| format!(" share {share}"));
    let place = match &row.path {
        Some(path) => path.clone(),
        None => {
            let (bucket, region) = (row.bucket.as_deref(), row.part.as_deref());
            format!("{}{share}: {}", bucket.unwrap_or_default(), region.unwrap_or_default())
        }
    };
    // The same in earlier cycles is not listed again.
    let again = match clock::rfc3339(*since) {
        Some(since) if *cycles > 1 => format!(" (in {cycles} cycles since {since})"),
        _ => String::new(),
    };
    let kind = match row.kind {
        NoteKind::Error => "error",
        NoteKind::Finding => "finding",
        NoteKind::Stray => "stray",
    };
    format!("{number:>6}  {crawl} cycle {cycle}  {kind}  {place}: {text}{again}")
}

/// Shows what a cycle would delete, asks, and confirms it.
///
/// # Errors
/// If no daemon is reached, nothing waits to be confirmed, or the number is missing or wrong.
pub fn confirm(args: &ConfirmArgs) -> Result<Exit> {
    let client = DaemonClient::find(&args.reach)?;
    let crawl = client.get::<CrawlDetail>(&format!("/api/crawls/{}", args.name))?.crawl;
    let waits = crawl.status.rehearsal.as_ref().filter(|rehearsal| !rehearsal.confirmed);
    let Some(RehearsalStatus { cycle, would_delete, .. }) = waits else {
        return Err(Error::Daemon(format!("{} has nothing that waits to be confirmed", args.name)));
    };
    let WouldDelete { buckets, shares, leases, bytes } = *would_delete;
    // What nobody has seen is not confirmed.
    output::show(&format!(
        "{}: {} in {}, {}, {} will be deleted for good, as cycle {cycle} has shown",
        args.name,
        plural(shares, "share"),
        plural(buckets, "bucket"),
        plural(leases, "lease"),
        sizes::for_people(bytes as f64)
    ))?;
    let over_limit = over_max_delete(&crawl);
    if let Some(over_limit) = &over_limit {
        output::show(over_limit)?;
    }
    let agreed = match (args.shares, over_limit) {
        // Whoever names the number has agreed; the daemon compares it.
        (Some(_), _) => true,
        (None, None) => args.yes || matches!(asked("Delete them? [y/N] ")?.as_str(), "y" | "Y" | "yes"),
        (None, Some(_)) => asked("To delete them, type how many shares that is: ")?.parse() == Ok(shares),
    };
    if !agreed {
        output::tell("nothing was confirmed");
        return Ok(Exit::Waits);
    }
    // Always named: another cycle may wait by now.
    let confirmation = Confirmation { cycle: *cycle, shares: Some(args.shares.unwrap_or(shares)) };
    client.post_body::<Crawl>(&format!("/api/crawls/{}/confirm", args.name), &confirmation)?;
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
