//! What goes to stdout and stderr, and the lock that keeps stderr from tearing a progress bar.

use std::io::{self, IsTerminal, Write};
use std::sync::Mutex;

use indicatif::ProgressBar;
use serde::Deserialize;
use serde_json::Value;
use tracing_subscriber::EnvFilter;

use crate::error::{Error, Result};
use crate::job::scrub::ScrubTally;
use crate::job::{Counts, Finding, Severity};
use crate::lock::lock;
use crate::model::{BudgetStatus, CycleReport, Range, TargetStatus};
use crate::shown::{duration, range};
use crate::sizes;
use crate::sizes::{plural, unit};
use crate::store::STRAYS_NAMED;
use crate::tahoe::leases::{DryRunFigures, Expired, Freed, HistoryFigures, LeaseFigures, Spared};
use crate::tahoe::words::ShareFinding;

/// The bar on the terminal, while there is one.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Prints a line on stderr, above the progress bar if there is one.
pub fn say(line: &str) {
    above_bar(|| {
        // A closed stderr is no reason to fail.
        let _ = writeln!(io::stderr(), "{line}");
    });
}

/// Prints a line on stdout. What was done is done, whether or not somebody still reads of it.
#[cfg(feature = "daemon")]
pub fn tell(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Lines on stdout about what is being done. Where nobody can read them, the rest is done nevertheless, and what kept them
/// from being read is told at the end.
pub struct Account(Result<()>);

impl Account {
    /// Begins one.
    pub fn new() -> Account {
        Account(Ok(()))
    }

    /// Prints a line.
    pub fn tell(&mut self, line: &str) {
        let shown = show(line);
        // The first cause is the one that matters.
        if self.0.is_ok() {
            self.0 = shown;
        }
    }

    /// Ends it.
    ///
    /// # Errors
    /// If one of the lines was lost.
    pub fn end(self) -> Result<()> {
        self.0
    }
}

/// Prints a line on stdout that was asked for.
///
/// # Errors
/// If nobody can read it.
pub fn show(line: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    let written = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
    written.map_err(|e| Error::Store { doing: "write to", path: "stdout".into(), cause: e.to_string() })
}

/// Whether people are looking at stderr.
pub fn is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// From now on (or with `None`, no longer) lines go above this bar.
pub fn set_bar(bar: Option<ProgressBar>) {
    *lock(&BAR) = bar;
}

fn above_bar<R>(write: impl FnOnce() -> R) -> R {
    let bar = lock(&BAR).clone();
    match bar {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// Sends the library's log to stderr: warnings, with `-v` information, with `-vv` everything. `RUST_LOG` overrides it.
pub fn log_to_stderr(verbose: u8) {
    let log =
        tracing_subscriber::fmt().with_env_filter(filter(verbose)).with_writer(|| AboveBar).with_ansi(is_terminal());
    // A host that has set up logging already keeps its own.
    let _ = log.try_init();
}

/// As [`log_to_stderr`], one JSON object a line, for programs that collect logs.
#[cfg(feature = "daemon")]
pub fn log_json_to_stderr(verbose: u8) {
    let log = tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter(verbose));
    // A host that has set up logging already keeps its own.
    let _ = log.with_writer(io::stderr).try_init();
}

fn filter(verbose: u8) -> EnvFilter {
    let usual = match verbose {
        0 => "warn",
        1 => "sexton=info,warn",
        _ => "sexton=trace,info",
    };
    EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual))
}

struct AboveBar;

impl Write for AboveBar {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        above_bar(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// The report of a cycle, for people.
pub fn report_for_people(report: &CycleReport, budget: &BudgetStatus) -> String {
    let mut lines = Vec::new();
    let resumed = if report.resumed { ", resumed" } else { "" };
    lines.push(format!("{}: cycle {}{resumed}, {:.1} s", report.job, report.key.number, report.elapsed.as_secs_f64()));
    if !report.complete {
        let left_out = report.incomplete_prefixes.len();
        let prefixes = if left_out == 1 { "prefix" } else { "prefixes" };
        lines
            .push(format!("  INCOMPLETE: {left_out} {prefixes} could not be listed, so every number here is at least"));
    }
    let shares = if report.own.get("objects") == Some(&Value::Null) {
        String::new()
    } else {
        format!(", {}", plural(report.counts.objects, "share"))
    };
    lines.push(format!("  {}{shares}", plural(report.counts.buckets, "bucket")));
    let leases = LeaseFigures::of(&report.own);
    if let (Some(history), Some(leases)) = (HistoryFigures::of(&report.own), &leases) {
        lines.extend(leases_for_people(&history, leases));
    }
    if let Some(partial) = report.own.get("partial") {
        lines.push(format!("  PARTIAL: only {}", partial_for_people(partial)));
    }
    let verified = report.own.get("verified").and_then(|verified| ScrubTally::deserialize(verified).ok());
    lines.extend(verified.as_ref().map(verified_for_people));
    if let Some(LeaseFigures { deleted, would_delete, spared, .. }) = &leases {
        lines.extend(deleted.as_ref().map(|freed| freed_for_people("deleted", freed)));
        lines.extend(would_delete.as_ref().map(|told| freed_for_people("would be deleted", &told.freed)));
        lines.extend(would_delete.as_ref().and_then(over_max_delete_for_people));
        lines.extend(spared.as_ref().and_then(spared_for_people));
    }
    let Counts { no_bucket, no_object, vanished, .. } = report.counts;
    let strays = no_bucket + no_object + report.not_in_ring;
    if strays > 0 {
        let outside = report.not_in_ring;
        lines.push(format!("  strays: {no_bucket} no bucket, {no_object} no share, {outside} beside the prefixes (the first {STRAYS_NAMED} are named with --json)"));
    }
    if vanished > 0 {
        lines.push(format!("  vanished meanwhile: {vanished}"));
    }
    lines.extend(findings_for_people(report));
    lines.extend(errors_for_people(report));
    if !report.incomplete_prefixes.is_empty() {
        lines.push(format!("  prefixes that could not be listed: {}", report.incomplete_prefixes.join(" ")));
    }
    let (asked, measured) = (budget.requested_percentage, budget.measured_total_percentage);
    let longest = 1e3 * budget.longest_slice_secs;
    lines.push(format!(
        "  budget {asked:.1} %, measured {measured:.1} %, longest of {} {longest:.1} ms",
        plural(budget.slices, "slice")
    ));
    lines.join("\n") + "\n"
}

/// Whether a target will be kept, by the cycle of this report.
pub fn target_for_people(target: &TargetStatus, report: &CycleReport) -> String {
    let set = duration(target.within_secs);
    if report.own.contains_key("partial") {
        return format!("target {set}: this run looked at a part only, which does not tell whether it will be kept");
    }
    if report.counts.buckets == 0 {
        return format!("target {set}: no bucket was visited, which does not tell whether it will be kept");
    }
    let Some(Range { least, most }) = target.expected_secs else {
        return format!("target {set}: too little was done in this run to tell whether it will be kept");
    };
    let verdict = match target.met {
        Some(true) => "it will be kept",
        None => "it may be kept or missed",
        Some(false) => "it will be MISSED: more budget is needed",
    };
    format!("target {set}: at this pace every share has its turn in {}; {verdict}", range(least, most))
}

/// What a partial run looked at.
fn partial_for_people(partial: &Value) -> String {
    let mut parts = Vec::new();
    if let Some(sample) = partial["sample"].as_str() {
        parts.push(format!("a sample of {sample} of the buckets"));
    }
    if let Some(indexes) = partial["storage_indexes"].as_array() {
        let many = if indexes.len() == 1 { "index" } else { "indexes" };
        parts.push(format!("{} storage {many}", indexes.len()));
    }
    if let Some(since) = partial["since"].as_f64() {
        parts.push(format!("prefixes last verified before {since}"));
    }
    parts.join(", ")
}

fn verified_for_people(verified: &ScrubTally) -> String {
    let ScrubTally { objects: _, bytes, ok, corrupt, unreadable, in_doubt, misread, partly_checked, quarantined } =
        *verified;
    let (size, ok) = (sizes::for_people(bytes as f64), plural(ok, "share"));
    let mut line = format!("  verified {size}: {ok} ok, {corrupt} corrupt, {unreadable} unreadable");
    for (count, words) in [
        (in_doubt, "in doubt"),
        (misread, "misread"),
        (partly_checked, "signatures not checked"),
        (quarantined, "quarantined"),
    ] {
        if count > 0 {
            line += &format!(", {count} {words}");
        }
    }
    line
}

/// Of the findings about sound objects that are only kept, so many are shown; `--json` has them all.
const KEPT_SHOWN: usize = 20;

/// Every finding about something damaged, and the first few about what is only kept.
fn findings_for_people(report: &CycleReport) -> Vec<String> {
    let total = report.counts.findings;
    if total == 0 {
        return Vec::new();
    }
    let line = |finding: &Finding| {
        let f = ShareFinding::from(finding);
        let share = f.share.map_or(String::new(), |n| format!(" share {n}"));
        let bytes = f.bytes.map_or(String::new(), |(start, end)| format!(" (bytes {start} to {end})"));
        format!("    {}{share}: {}: {}{bytes}", f.storage_index, f.region, f.reason)
    };
    let mut kept = 0;
    let shown = report.findings.iter().filter(|finding| {
        let is_kept = finding.severity == Severity::Note;
        kept += usize::from(is_kept);
        !is_kept || kept <= KEPT_SHOWN
    });
    let shown: Vec<String> = shown.map(line).collect();
    let more = match kept.saturating_sub(KEPT_SHOWN) {
        0 => String::new(),
        left => format!(", of which {left} about shares that are only kept are not shown here (all with --json)"),
    };
    std::iter::once(format!("  findings: {total}{more}")).chain(shown).collect()
}

/// Every error that the report has.
fn errors_for_people(report: &CycleReport) -> Vec<String> {
    let (total, listed) = (report.counts.errors, report.errors.len());
    if total == 0 {
        return Vec::new();
    }
    let more = if total > listed as u64 { format!(", the first {listed}") } else { String::new() };
    let lines = report.errors.iter().map(|e| format!("    {}: {}", e.path, e.error));
    std::iter::once(format!("  errors: {total}{more}")).chain(lines).collect()
}

fn freed_for_people(words: &str, freed: &Freed) -> String {
    let (shares, leases) = (plural(freed.shares, "share"), plural(freed.leases, "lease"));
    let size = sizes::for_people(freed.bytes as f64);
    let buckets = match freed.buckets {
        0 => String::new(),
        buckets => format!(", {}", plural(buckets, "empty bucket")),
    };
    format!("  {words}: {shares}, {leases}, {size} by length of files{buckets}")
}

/// Whether the safety catch would stop a run that deletes what this one only tells.
fn over_max_delete_for_people(would_delete: &DryRunFigures) -> Option<String> {
    let most = 100.0 * would_delete.max_delete;
    let text = format!("  that is more than --max-delete allows ({most:.1} %): a run that deletes would stop");
    would_delete.over_max_delete.then_some(text)
}

/// Why shares with expired leases are not touched beside a running node, if there are any.
pub(super) fn spared_for_people(spared: &Spared) -> Option<String> {
    let reasons = [
        (spared.partly_expired, "with only some leases expired"),
        (spared.expired_within_a_day, "expired less than a day ago"),
        (spared.touched_within_the_hour, "touched within the hour"),
    ];
    let counted = reasons.iter().filter(|(shares, _)| *shares > 0);
    let parts: Vec<String> = counted.map(|(shares, words)| format!("{shares} {words}")).collect();
    (!parts.is_empty())
        .then(|| format!("  shares with expired leases that are kept beside a node: {}", parts.join(", ")))
}

/// What was examined and what of it has expired, by disk usage; what is deleted is told by the length of the files.
fn leases_for_people(HistoryFigures { examined, .. }: &HistoryFigures, figures: &LeaseFigures) -> Vec<String> {
    let row = |label: &str, buckets: u64, shares: u64, disk_bytes: u64| {
        let disk = sizes::for_people(disk_bytes as f64);
        let (of_buckets, of_shares) = (unit(buckets, "bucket"), unit(shares, "share"));
        format!("  {label:<34} {buckets:>9} {of_buckets:<7} {shares:>9} {of_shares:<6} {disk:>13} on disk")
    };
    let expired = |label, Expired { buckets, shares, disk_bytes }| row(label, buckets, shares, disk_bytes);
    let mut lines = vec![
        row("examined", examined.buckets, examined.shares, examined.disk_bytes),
        expired("expired by their own dates", figures.expired.by_own_dates),
    ];
    // Without a rule Tahoe's figures follow one that nobody has given.
    if figures.deleted.is_some() || figures.would_delete.is_some() {
        lines.push(expired("expired by the rule in force", figures.expired.by_rule));
    }
    if figures.empty.buckets > 0 {
        lines.push(row("empty, without any share", figures.empty.buckets, 0, figures.empty.disk_bytes));
    }
    lines
}
