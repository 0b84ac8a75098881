//! `sexton import-tahoe-cfg`: the `config.ron` that means what a node's `tahoe.cfg` tells its crawlers.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use clap::Args;

use super::{Exit, output};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::store::open_regular;
use crate::tahoe::cfg::{Rule, Storage};
use crate::tahoe::lease::LEASE_SECS;
use crate::tahoe::state::figures::ExpireMode;

/// What stands above a crawl that deletes, where Tahoe would.
const ON_DELETING: [&str; 4] = [
    "Tahoe deletes as the node itself. `delete: online` lets the node run, and takes whole shares only, a day after their",
    "leases have expired; `delete: offline` cancels single leases too, as Tahoe does, and needs the node stopped. Take",
    "expire.enabled out of tahoe.cfg, or the node goes on deleting. The first cycle is a rehearsal: `sexton confirm leases`",
    "shows what it would delete, and asks.",
];

/// What stands there instead where leases are to go before their own dates.
const ON_DELETING_EARLY: [&str; 6] = [
    "Tahoe deletes as the node itself, and by this rule leases go that are valid by their own dates: they are granted for 31",
    "days. Without `compat: true` that is refused, and with it leases are cancelled exactly as Tahoe does, bucket after bucket,",
    "which needs the node stopped (`delete: offline`). Here it is only evaluated: in place of `dry_run: true`, `rehearsal: false`",
    "and `max_delete: \"100%\"` let it delete. Take expire.enabled out of tahoe.cfg, or the node goes on deleting. If that is not",
    "what is wanted: age(\"31d\") without compat and dry_run, and `delete: online` beside the running node. The first cycle is a",
    "rehearsal then: `sexton confirm leases` shows what it would delete, and asks.",
];

/// And there where every lease is to go.
const ON_DELETING_ALL: [&str; 6] = [
    "Tahoe deletes as the node itself, and by a cutoff that is yet to come every lease goes, however young. Without `compat: true`",
    "that is refused, and with it leases are cancelled exactly as Tahoe does, bucket after bucket, which needs the node stopped",
    "(`delete: offline`). Here it is only evaluated: in place of `dry_run: true`, `rehearsal: false` and `max_delete: \"100%\"` let",
    "it delete. Take expire.enabled out of tahoe.cfg, or the node goes on deleting. If that is not what is wanted: a date that has",
    "passed, without compat and dry_run, and `delete: online` beside the running node. The first cycle is a rehearsal then:",
    "`sexton confirm leases` shows what it would delete, and asks.",
];

/// A larger file is no `tahoe.cfg`.
const SIZE_MAX: u64 = 1 << 20;

/// Arguments of the command.
#[derive(Debug, Args)]
pub struct TahoeCfgArgs {
    /// The node's tahoe.cfg
    file: PathBuf,
}

/// Runs the command: the configuration goes to stdout, doubts go into its comments and to stderr.
///
/// # Errors
/// [`Error::Config`] if the file cannot be read, or Tahoe's node would not start with it.
pub fn run(args: &TahoeCfgArgs) -> Result<Exit> {
    let wrong = |why: &dyn std::fmt::Display| Error::Config(format!("{}: {why}", args.file.display()));
    let (file, mut text) = (open_regular(&args.file).map_err(|e| wrong(&e))?, String::new());
    file.take(SIZE_MAX + 1).read_to_string(&mut text).map_err(|e| wrong(&e))?;
    if text.len() as u64 > SIZE_MAX {
        return Err(wrong(&"it is larger than 1 MiB, so it is no tahoe.cfg"));
    }
    let storage = Storage::parse(&text).map_err(|why| wrong(&why))?;
    // A relative storage_dir is one of the node's base directory, where the file lies.
    let file = args.file.canonicalize().map_err(|e| wrong(&e))?;
    let store = file.parent().unwrap_or(Path::new("/")).join(&storage.folder);
    let store = store.to_str().ok_or_else(|| wrong(&"its folder has a name that is no UTF-8"))?;
    let (config, doubts) = config(&storage, store, SystemClock::default().unix_secs());
    // What is printed is what `config check` takes.
    Config::parse(&config, "config.ron")
        .map_err(|e| Error::Unexpected(format!("the configuration made is wrong: {e}")))?;
    for doubt in doubts {
        output::say(&format!("doubtful: {doubt}"));
    }
    output::show(config.trim_end())?;
    Ok(Exit::Well)
}

/// The configuration at the moment `now`, in seconds since 1970, and what is doubtful about it.
fn config(storage: &Storage, store: &str, now: f64) -> (String, Vec<String>) {
    let mut doubts = storage.doubts.clone();
    let mut expire = match storage.rule {
        Rule::Never | Rule::By(ExpireMode::Age { secs: None }) => "none".to_owned(),
        Rule::By(ExpireMode::Age { secs: Some(secs) }) if secs % 86_400 == 0 => format!("age(\"{}d\")", secs / 86_400),
        Rule::By(ExpireMode::Age { secs: Some(secs) }) => format!("age(\"{secs}s\")"),
        Rule::By(ExpireMode::Cutoff { unix }) => format!("cutoff({:?})", moment(unix)),
    };
    if Config::parse(&format!("(crawls: [(store: \"/\", job: leases(expire: {expire}, dry_run: true))])"), "").is_err()
    {
        doubts.push(format!(
            "{expire} is beyond what can be written here; no lease is that old, so nothing ever expires"
        ));
        "none".clone_into(&mut expire);
    }
    let ExpiryText { keys, comment, doubt } = manner(storage, &expire, now);
    doubts.extend(doubt.map(str::to_owned));
    doubts.push(
        "each of Tahoe's two crawlers has 10 % of a core of its own, by wall time; here both share one budget, so \"20%\" is \
         the most that they could use together, and \"10%\" what one alone did"
            .to_owned(),
    );
    doubts.push(
        "Tahoe's minimum cycle time is described as from start to start, but counts from the end of a cycle, as it does here"
            .to_owned(),
    );
    doubts.push(
        "Tahoe sleeps 299 s at most, and so exceeds its budget after very long slices; here it does not".to_owned(),
    );
    let comments: String = doubts.iter().map(|doubt| format!("//   - {}\n", on_one_line(doubt))).collect();
    let comment: String = comment.iter().map(|line| format!("            // {line}\n")).collect();
    let types: Vec<&str> = storage.sharetypes.iter().map(|t| t.as_str()).collect();
    let (types, store) = (types.join(", "), in_quotes(store));
    let config = format!(
        "// What this node's tahoe.cfg tells Tahoe-LAFS 1.20's crawlers to do, for Sexton.\n\
         //\n\
         // Doubtful, or not quite the same:\n\
         {comments}\
         (\n    \
             budget: (cpu_percentage: \"20%\", cpu_slice: \"1s\", basis: wall),\n    \
             crawls: [\n        \
                 (\n            \
                     name: \"leases\",\n            \
                     store: {store},\n\
                     {comment}            \
                     job: leases(expire: {expire}, sharetypes: [{types}], {keys}),\n            \
                     minimum_cycle_time: \"12h\",\n            \
                     slow_start: \"6m\",\n        \
                 ),\n        \
                 (\n            \
                     name: \"count\",\n            \
                     store: {store},\n            \
                     job: count,\n            \
                     minimum_cycle_time: \"1h\",\n            \
                     slow_start: \"5m\",\n        \
                 ),\n    \
             ],\n\
         )\n"
    );
    (config, doubts)
}

/// What is done with expired leases.
struct ExpiryText {
    /// The keys that say so.
    keys: &'static str,
    /// What stands above them.
    comment: &'static [&'static str],
    doubt: Option<&'static str>,
}

fn manner(storage: &Storage, expire: &str, now: f64) -> ExpiryText {
    // Moments that matter are far below 2^53.
    let all = matches!(storage.rule, Rule::By(ExpireMode::Cutoff { unix }) if unix as f64 > now);
    let early = matches!(storage.rule, Rule::By(ExpireMode::Age { secs: Some(secs) }) if secs < u64::from(LEASE_SECS));
    match (expire, storage.expires) {
        ("none", _) => ExpiryText { keys: "dry_run: false", comment: &[], doubt: None },
        (_, false) if all => ExpiryText {
            keys: "dry_run: true, compat: true",
            comment: &[],
            doubt: Some(
                "expire.cutoff_date is yet to come, so every lease counts as expired, however young; that is evaluated here only \
                 as Tahoe does it (compat: true)",
            ),
        },
        (_, false) => ExpiryText { keys: "dry_run: true", comment: &[], doubt: None },
        (_, true) if all => ExpiryText {
            keys: "delete: offline, compat: true, dry_run: true",
            comment: &ON_DELETING_ALL,
            doubt: Some(
                "expire.cutoff_date is yet to come, so every lease goes, however young; that is deleted here only as Tahoe does it \
                 (compat: true), which needs the node stopped (delete: offline), and until you change dry_run it is only \
                 evaluated",
            ),
        },
        (_, true) if early => ExpiryText {
            keys: "delete: offline, compat: true, dry_run: true",
            comment: &ON_DELETING_EARLY,
            doubt: Some(
                "expire.override_lease_duration is shorter than the 31 days that leases are granted for, so leases go that are \
                 valid by their own dates; that is deleted here only as Tahoe does it (compat: true), which needs the node \
                 stopped (delete: offline), and until you change dry_run it is only evaluated",
            ),
        },
        (_, true) => ExpiryText {
            keys: "delete: online, rehearsal: true",
            comment: &ON_DELETING,
            doubt: Some(
                "Tahoe cancels expired leases as the node itself; here whole shares go, beside the running node (delete: \
                 online), after a rehearsal that is to be confirmed; delete: offline does all that Tahoe does, with the node \
                 stopped",
            ),
        },
    }
}

/// A moment as it is written in a configuration: a date where it is midnight.
fn moment(unix: i64) -> String {
    let since = Duration::from_secs(u64::try_from(unix).unwrap_or(0));
    // A date of four digits is within what the system's clock can say.
    let text = humantime::format_rfc3339_seconds(UNIX_EPOCH + since).to_string();
    text.strip_suffix("T00:00:00Z").map_or(text.clone(), str::to_owned)
}

/// What came from a file must not end the comment that it stands in.
fn on_one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A text as RON reads it.
fn in_quotes(text: &str) -> String {
    ron::to_string(text).unwrap_or_else(|_| format!("{text:?}"))
}
