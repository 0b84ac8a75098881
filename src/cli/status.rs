//! `sexton status`: what a running daemon does, for people.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use clap::Args;

use super::client::{DaemonAddress, DaemonClient};
use super::{Exit, output};
use crate::daemon::api::shapes::{
    Budget, BudgetSource, Cleaning, CleaningRunRecord, Crawl, Cycle, DaemonStatus, Link, RunResult,
};
use crate::daemon::keep::{ByHand, Done};
use crate::error::{Error, Result};
use crate::model::{CycleResult, Range, RehearsalStatus, TaskState};
use crate::shown::{duration, range};
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
    reach: DaemonAddress,
}

/// Runs the command. The exit code goes by the daemon's verdict.
///
/// # Errors
/// If no daemon is reached, or standard output is closed.
pub fn run(args: &StatusArgs) -> Result<Exit> {
    let client = DaemonClient::find(&args.reach)?;
    if args.open {
        output::show(&client.post::<Link>("/api/link")?.url)?;
        return Ok(Exit::Well);
    }
    loop {
        // As it was written: a newer daemon may say more than is known here.
        let answer = client.get_text("/api/status")?;
        let status: DaemonStatus = client.read(&answer)?;
        let text = if args.json { answer + "\n" } else { for_people(&status) };
        let mut stdout = std::io::stdout().lock();
        // The screen is cleared where somebody looks at one.
        let clear = if args.watch && !args.json && stdout.is_terminal() { "\u{1b}[H\u{1b}[2J" } else { "" };
        let written = write!(stdout, "{clear}{text}").and_then(|()| stdout.flush());
        written.map_err(|e| Error::Store { doing: "write to", path: "stdout".into(), cause: e.to_string() })?;
        if !args.watch {
            return Ok(Exit::by(status.verdict));
        }
        drop(stdout);
        std::thread::sleep(WATCH_EVERY);
    }
}

/// The budget in one line.
pub fn budget_line(budget: &Budget) -> String {
    let source = match (budget.source, &budget.window) {
        (BudgetSource::Changed, _) => "changed by hand, until `sexton budget --reset`".to_owned(),
        (BudgetSource::Window, Some(window)) => format!("window {}-{}", window.from, window.to),
        _ => "as in the file".to_owned(),
    };
    let (asked, debt) = (budget.status.requested_percentage, budget.status.debt_secs);
    let (minute, hour) = (budget.measured_percentage, budget.measured_hour_percentage);
    format!(
        "budget {asked:.1} % of a core ({source}); used {minute:.1} % in the last minute, {hour:.1} % in the last \
         hour; debt {debt:.1} s"
    )
}

fn for_people(status: &DaemonStatus) -> String {
    let mut lines = vec![format!(
        "sexton {}, process {}, up {}{}",
        status.version,
        status.pid,
        duration(status.uptime_secs),
        if status.paused { ", PAUSED" } else { "" }
    )];
    let moment = StatusMoment { now: status.now, paused: status.paused };
    lines.push(budget_line(&status.budget));
    let priority = &status.priority;
    lines.push(format!("priority {}: {}", priority.asked.as_str(), priority.text));
    for crawl in &status.crawls {
        lines.push(crawl_line(crawl, moment));
        let spared = crawl.last_cycle.as_ref().and_then(|cycle| output::spared_for_people(&cycle.spared?));
        lines.extend(spared.map(|spared| format!("{:<16} {}", "", spared.trim_start())));
        lines.extend(over_max_delete(crawl).map(|stops| format!("{:<16} {stops}", "")));
        lines.extend(crawl.status.target.as_ref().map(|target| format!("{:<16} {}", "", target.text)));
    }
    lines.extend(status.cleanings.iter().map(|cleaning| cleaning_line(cleaning, moment)));
    // The third line says it already.
    let told = format!("priority: {}", priority.text);
    for problem in status.problems.iter().filter(|problem| problem.text != told) {
        let name = problem.name.as_deref().unwrap_or(problem.about.as_str());
        lines.push(format!("! {} {name}: {}", problem.severity.as_str(), problem.text));
    }
    lines.join("\n") + "\n"
}

/// What of the daemon a line depends on.
#[derive(Clone, Copy)]
struct StatusMoment {
    now: f64,
    paused: bool,
}

/// That what waits to be confirmed is more than the safety catch lets go, if so, and what there is to do.
pub fn over_max_delete(crawl: &Crawl) -> Option<String> {
    let RehearsalStatus { over_limit, confirmed, examined, would_delete, max_delete, .. } =
        crawl.status.rehearsal.as_ref()?;
    if !over_limit || *confirmed {
        return None;
    }
    let shares = would_delete.shares;
    Some(format!(
        "{shares} of {} is more than max_delete ({}) allows: check the clock, the rule of expiry and whether clients still renew \
         their leases; if all is right, confirm it with that number (`sexton confirm {} --shares {shares}`)",
        plural(*examined, "share"),
        max_delete.as_deref().unwrap_or_default(),
        crawl.name,
    ))
}

/// One crawl or cleaning: its name, its state, and what there is to say of it.
fn line<const N: usize>(name: &str, state: TaskState, parts: [String; N]) -> String {
    // A cleaning that leaves its database to others for a moment is not called paused: nobody has paused it.
    let state = if state == TaskState::Pausing { "resting" } else { state.as_str() }.replace('_', " ");
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    let colon = if parts.is_empty() { "" } else { ": " };
    format!("{name:<16} {state}{colon}{}", parts.join("; "))
}

/// While everything is paused, nothing walks, and nothing begins when its time has come.
fn shown(state: TaskState, moment: StatusMoment) -> TaskState {
    match state {
        TaskState::Walking | TaskState::Sleeping | TaskState::SlowStart | TaskState::Working | TaskState::Pausing
            if moment.paused =>
        {
            TaskState::Paused
        }
        state => state,
    }
}

/// What an operator has done to it, for as long as that lasts.
fn by_hand(done: Option<ByHand>, moment: StatusMoment) -> String {
    let Some(ByHand { what, at }) = done else { return String::new() };
    let ago = duration(moment.now - at);
    match what {
        Done::Stopped => format!("by hand, {ago} ago, until it is started"),
        Done::Paused => format!("by hand, {ago} ago, until it is resumed"),
    }
}

fn cleaning_line(cleaning: &Cleaning, moment: StatusMoment) -> String {
    let (state, found) = (shown(cleaning.status.state, moment), &cleaning.status);
    let doing = match (state, found.next_run_at) {
        (TaskState::Sleeping, Some(at)) => format!("next run in {}", duration(at - moment.now)),
        // In mid-run; what an ended run has done is told in its own words.
        (TaskState::Working | TaskState::Pausing | TaskState::Paused | TaskState::Waiting, None)
            if found.progress.rows_planned > 0 =>
        {
            let progress = &found.progress;
            format!("{}, {} of {} rows", progress.doing, progress.rows_done, progress.rows_planned)
        }
        _ => String::new(),
    };
    let last = cleaning.last_run.as_ref().map_or(String::new(), |run| last_run(run, moment.now));
    line(&cleaning.name, state, [by_hand(cleaning.by_hand, moment), doing, last])
}

/// How the last run of a cleaning has ended.
fn last_run(run: &CleaningRunRecord, now: f64) -> String {
    let ended = format!("run ended {} ago", duration(now - run.finished));
    match (run.result, &run.refused) {
        (RunResult::Failed, Some(why)) => format!("{ended}: it failed: {why}"),
        (_, Some(why)) => format!("{ended}: refused, {why}"),
        (_, None) => {
            let segments = plural(run.figures.marked_segments, "segment");
            let free = sizes::for_people(run.figures.reclaimable_bytes as f64);
            match run.dry_run {
                true => format!("{ended}, dry: {segments} would be marked, {free} would come free"),
                false => format!("{ended}: {segments} marked, {free} come free"),
            }
        }
    }
}

fn crawl_line(crawl: &Crawl, moment: StatusMoment) -> String {
    let (state, found) = (shown(crawl.status.state, moment), &crawl.status);
    let doing = match (state, found.next_cycle_at) {
        (TaskState::Walking, _) => {
            [at_cycle(crawl), pace(crawl), rest(crawl)].into_iter().flatten().collect::<Vec<_>>().join(", ")
        }
        (TaskState::Sleeping | TaskState::SlowStart, Some(at)) => {
            format!("next cycle in {}", duration(at - moment.now))
        }
        _ => at_cycle(crawl).unwrap_or_default(),
    };
    line(&crawl.name, state, [by_hand(crawl.by_hand, moment), doing, newest_cycle(crawl, moment.now)])
}

/// The cycle that is begun and has not ended, if there is one.
fn begun(crawl: &Crawl) -> Option<u64> {
    let last = crawl.last_cycle.as_ref().map(|last| last.summary.cycle);
    crawl.status.cycle.filter(|cycle| Some(*cycle) != last)
}

/// How far the cycle is that is begun.
fn at_cycle(crawl: &Crawl) -> Option<String> {
    let (done, total) = (f64::from(crawl.status.prefixes_done), f64::from(crawl.status.prefixes_total.max(1)));
    begun(crawl).map(|cycle| format!("cycle {cycle}, {:.1} %", 100.0 * done / total))
}

fn pace(crawl: &Crawl) -> Option<String> {
    crawl.buckets_per_sec.map(|rate| format!("{rate:.1} buckets/s"))
}

fn rest(crawl: &Crawl) -> Option<String> {
    crawl.status.remaining_secs.map(|Range { least, most }| format!("{} left", range(least, most)))
}

/// What was met in the cycle that is begun, else in the last one; of a crawl that never walked there is nothing to say.
fn newest_cycle(crawl: &Crawl, now: f64) -> String {
    if begun(crawl).is_some() {
        return met(crawl.status.errors, crawl.status.findings);
    }
    let Some(Cycle { summary: last, .. }) = &crawl.last_cycle else { return String::new() };
    let ago = duration(now - last.finished.unwrap_or(now));
    let rehearses = crawl.status.rehearsal.as_ref().is_some_and(|rehearsal| rehearsal.cycle == last.cycle);
    let rehearsal = if rehearses { ", a rehearsal," } else { "" };
    let result = match last.result {
        CycleResult::Complete => String::new(),
        result => format!(", {}", result.as_str()),
    };
    format!(
        "cycle {}{rehearsal} ended {ago} ago{result}: {}, {}",
        last.cycle,
        plural(last.buckets, "bucket"),
        met(last.errors, last.findings)
    )
}

/// What went wrong, and what was found.
fn met(errors: u64, findings: u64) -> String {
    format!("{}, {}", plural(errors, "error"), plural(findings, "finding"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::model::CrawlStatus;

    /// Something with what differs from it, as a daemon may say it.
    fn differing<T: serde::Serialize + serde::de::DeserializeOwned>(one: &T, differs: &Value) -> T {
        let mut one = serde_json::to_value(one).unwrap();
        one.as_object_mut().unwrap().extend(differs.as_object().unwrap().clone());
        serde_json::from_value(one).unwrap()
    }

    const MOMENT: StatusMoment = StatusMoment { now: 100.0, paused: false };

    /// A crawl at rest that has never walked.
    fn crawl(differs: &Value) -> Crawl {
        let status = CrawlStatus { next_cycle_at: Some(597_640.0), ..CrawlStatus::new("verify", 1, 1024) };
        let status = CrawlStatus { state: TaskState::Sleeping, ..status };
        differing(&Crawl { name: "verify".to_owned(), status, ..Crawl::default() }, differs)
    }

    /// The line of a crawl, with what differs from one at rest that has never walked.
    fn said(differs: &Value) -> String {
        crawl_line(&crawl(differs), MOMENT)
    }

    #[test]
    fn a_cleaning_speaks_of_its_next_run_its_last_one_or_the_one_it_is_at() {
        let said = |differs: Value| {
            let cleaning = differing(
                &Cleaning { name: "lap".to_owned(), ..Cleaning::default() },
                &json!({
                    "state": "sleeping", "doing": "keeping the plan", "rows_done": 9, "rows_planned": 9, "next_run_at": 7300.0
                }),
            );
            cleaning_line(&differing(&cleaning, &differs), MOMENT).replace("lap              ", "")
        };
        let run = |result: &str, refused: Value| {
            let run = json!({"finished": -10_700.0, "result": result, "refused": refused, "marked_segments": 5,
                "reclaimable_bytes": 44_700_000});
            serde_json::to_value(differing(&CleaningRunRecord::default(), &run)).unwrap()
        };
        assert_eq!(said(json!({})), "sleeping: next run in 2 h");
        let done = "run ended 3 h ago: 5 segments marked, 44.7 MB come free";
        assert_eq!(said(json!({"last_run": run("done", Value::Null)})), format!("sleeping: next run in 2 h; {done}"));
        let failed = said(json!({"last_run": run("failed", json!("no room"))}));
        assert_eq!(failed, "sleeping: next run in 2 h; run ended 3 h ago: it failed: no room");
        let refused = said(json!({"last_run": run("refused", json!("it would mark all"))}));
        assert_eq!(refused, "sleeping: next run in 2 h; run ended 3 h ago: refused, it would mark all");
        let at_it = json!({"state": "pausing", "next_run_at": null, "rows_done": 4, "doing": "dropping segments"});
        assert_eq!(said(at_it), "resting: dropping segments, 4 of 9 rows");
        let gone = json!({"state": "waiting", "next_run_at": null, "rows_done": 0, "rows_planned": 0});
        assert_eq!(said(gone), "waiting");
        let stopped = json!({"state": "stopped", "next_run_at": null, "last_run": run("done", Value::Null)});
        assert_eq!(said(stopped), format!("stopped: {done}"));
    }

    fn last(result: &str) -> Value {
        json!({"crawl": "verify", "job": "verify", "cycle": 0, "started": -9000.0, "finished": -7140.0, "elapsed_secs": 1860.0,
            "result": result, "buckets": 3, "shares": 3, "errors": 0, "findings": 7, "vanished": 0, "incomplete_prefixes": 0})
    }

    fn rehearsal(differs: &Value) -> Value {
        serde_json::to_value(differing(&RehearsalStatus::default(), differs)).unwrap()
    }

    #[test]
    fn a_crawl_that_does_not_walk_speaks_of_its_last_cycle() {
        assert_eq!(said(&json!({})), "verify           sleeping: next cycle in 6 d 21 h");
        let asleep =
            "verify           sleeping: next cycle in 6 d 21 h; cycle 0 ended 2 h ago: 3 buckets, 0 errors, 7 findings";
        // After a restart, and before.
        assert_eq!(said(&json!({"last_cycle": last("complete")})), asleep);
        assert_eq!(said(&json!({"last_cycle": last("complete"), "cycle": 0, "findings": 7})), asleep);
        let stopped = said(&json!({"last_cycle": last("incomplete"), "state": "stopped", "cycle": 0}));
        let expected = "verify           stopped: cycle 0 ended 2 h ago, incomplete: 3 buckets, 0 errors, 7 findings";
        assert_eq!(stopped, expected);
        let waits = json!({"last_cycle": last("complete"), "state": "rehearsed", "cycle": 0, "rehearsal": rehearsal(&json!({}))});
        let expected =
            "verify           rehearsed: cycle 0, a rehearsal, ended 2 h ago: 3 buckets, 0 errors, 7 findings";
        assert_eq!(said(&waits), expected);
        assert_eq!(said(&json!({"state": "failed", "next_cycle_at": null})), "verify           failed");
    }

    #[test]
    fn more_than_the_catch_lets_go_is_told_with_what_to_do() {
        let waits = |over_limit: bool, confirmed: bool| {
            let rehearsal =
                rehearsal(&json!({"cycle": 3, "shares": 2908, "examined": 10_000, "over_limit": over_limit,
                "max_delete": "10%", "confirmed": confirmed}));
            over_max_delete(&crawl(&json!({"name": "expire", "rehearsal": rehearsal})))
        };
        let told = waits(true, false).unwrap();
        assert!(told.starts_with("2908 of 10000 shares is more than max_delete (10%) allows"), "{told}");
        assert!(told.contains("`sexton confirm expire --shares 2908`"), "{told}");
        assert_eq!((waits(false, false), waits(true, true)), (None, None));
        assert_eq!(over_max_delete(&crawl(&json!({"rehearsal": null}))), None);
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
            "verify           walking: cycle 1, 50.0 %, 2.2 buckets/s, 1 min to 1 min 30 s left; 1 error, 0 findings";
        assert_eq!(said(&known), expected);
        known["state"] = json!("waiting");
        assert_eq!(said(&known), "verify           waiting: cycle 1, 50.0 %; 1 error, 0 findings");
    }

    #[test]
    fn what_a_newer_daemon_says_is_shown_as_far_as_it_is_known() {
        let newer = json!({"state": "dancing", "workers": ["dancing"], "by_hand": {"what": "praised", "at": 1.0}, "new": [1],
            "last_cycle": last("cut_short")});
        let expected = "verify           other: cycle 0 ended 2 h ago, other: 3 buckets, 0 errors, 7 findings";
        assert_eq!(said(&newer), expected);
    }
}
