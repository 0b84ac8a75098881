//! `sexton tahoe-state`: takes over Tahoe's crawlers where they stopped, and hands back.
//!
//! What was done goes to stdout, a line for each cycle; what is not as one might expect goes to stderr.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand, ValueEnum};

use super::output::Account;
use super::{Exit, output, state_file};
use crate::clock;
use crate::error::{Error, Result};
use crate::policy::cycle::Fresh;
use crate::sizes::plural;
use crate::state::{SqliteStore, StateStore};
use crate::store::Store;
use crate::tahoe::TahoeStore;
use crate::tahoe::leases::{Expiry, LeaseSettings};
use crate::tahoe::transfer::{Crawler, Export, Extent, Import, ImportTime, NodeFolder, Written, running_node};

const IMPORT_HELP: &str = "\
Reads bucket_counter.state.json, lease_checker.state.json and lease_checker.history.json in STORE, and changes none of them. \
A half-finished cycle becomes one that `sexton crawl` carries on with the command that is printed; finished cycles of the \
history are kept with their numbers. The node may run, but it goes on with its own cycle then.";

const EXPORT_HELP: &str = "\
Writes bucket_counter.state.json, lease_checker.state.json and lease_checker.history.json in STORE. A running node reads its \
state only when it starts, and overwrites it when it stops: EXPORT WITH THE NODE STOPPED. Files that are there are kept as \
*.bak, *.bak.1 and so on.

Of a half-finished cycle of the lease checker everything is handed back but the ages of the leases met so far, which Tahoe \
cannot load in mid-cycle. A half-finished count is handed back as not begun: Tahoe never finishes a count that was \
interrupted. Prefixes that are complete behind one that is not (with several workers, or since they are empty) are left out.";

/// What to do with Tahoe's state.
#[derive(Debug, Subcommand)]
pub enum TahoeStateCommand {
    /// Turn Tahoe's half-finished cycle into one that Sexton carries on
    #[command(after_help = IMPORT_HELP)]
    Import(ImportArgs),
    /// Write Sexton's position as the files from which Tahoe's crawlers go on; with the node stopped
    #[command(after_help = EXPORT_HELP)]
    Export(ExportArgs),
}

/// What both take.
#[derive(Debug, Args)]
struct CommonArgs {
    /// The folder that holds shares/ and Tahoe's state files: a Tahoe node's storage folder
    store: PathBuf,

    /// Which crawler
    #[arg(long, value_enum, default_value = "both")]
    job: Which,

    /// Where Sexton's progress is kept [default: in your state folder, named after store and job]
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,

    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    /// The bucket counter
    Count,
    /// The lease checker
    Leases,
    /// Both, as far as there is something
    Both,
}

/// Arguments of the import.
#[derive(Debug, Args)]
pub struct ImportArgs {
    #[command(flatten)]
    common: CommonArgs,

    /// The moment that counts as now in the rest of the cycle, in seconds since 1970 [default: the clock's]
    #[arg(long, value_name = "UNIXTIME", value_parser = crate::spelling::unix_time, allow_negative_numbers = true)]
    now: Option<f64>,

    /// Give up an unfinished cycle of Sexton's own
    #[arg(long)]
    fresh: bool,
}

/// Arguments of the export.
#[derive(Debug, Args)]
pub struct ExportArgs {
    #[command(flatten)]
    common: CommonArgs,

    /// The node is stopped, though its pid file cannot be read or its state is fresh; no word for a process that is seen
    #[arg(long)]
    node_stopped: bool,
}

impl Which {
    fn crawlers(self) -> &'static [Crawler] {
        match self {
            Which::Count => &[Crawler::Counter],
            Which::Leases => &[Crawler::LeaseChecker],
            Which::Both => &[Crawler::Counter, Crawler::LeaseChecker],
        }
    }
}

impl CommonArgs {
    fn state_path(&self, store: &TahoeStore, crawler: Crawler) -> Result<PathBuf> {
        state_file::path(self.state.as_deref(), &self.store, &store.identity(), crawler.crawl())
    }
}

/// Runs the command.
///
/// # Errors
/// Whatever keeps it from being done; what was not said to be done was not done.
pub fn run(command: &TahoeStateCommand) -> Result<Exit> {
    match command {
        TahoeStateCommand::Import(args) => import(args),
        TahoeStateCommand::Export(args) => export(args),
    }
}

fn import(args: &ImportArgs) -> Result<Exit> {
    let store = TahoeStore::open(&args.common.store)?;
    let folder = NodeFolder::new(&args.common.store);
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let moment = ImportTime { unix_secs: args.now.unwrap_or(clock), fixed: args.now.is_some() };
    let fresh = if args.fresh { Fresh::Yes } else { Fresh::No };
    // All files are read before anything is changed for the first of them.
    let mut plans = Vec::new();
    for crawler in args.common.job.crawlers() {
        match Import::plan(*crawler, &folder, &store, moment)? {
            Some(plan) => plans.push((*crawler, plan)),
            None => output::say(&format!("{crawler}: there is no state file of it")),
        }
    }
    if plans.is_empty() {
        let folder = args.common.store.display();
        return Err(Error::Config(format!("nothing to import: {folder} has no state file of Tahoe's crawlers")));
    }
    let states = plans.iter().map(|(crawler, _)| args.common.state_path(&store, *crawler));
    let states = states.collect::<Result<Vec<_>>>()?;
    for ((_, plan), path) in plans.iter().zip(&states) {
        if let Some(state) = existing(path)? {
            plan.check(&*state.reader(), fresh)?;
        }
    }
    let mut account = Account::new();
    for ((crawler, plan), path) in plans.iter().zip(&states) {
        if !args.common.dry_run && !plan.is_empty() {
            plan.apply(&mut SqliteStore::open(path)?, fresh)?;
        }
        told(
            &mut account,
            *crawler,
            plan.extent(),
            plan.finished(),
            plan.remarks(),
            if args.common.dry_run { "would take" } else { "took" },
        );
        if plan.extent().is_some() {
            let command = command_line(&args.common, *crawler, plan.settings(), args.now);
            account.tell(&format!("  carried on by: {command}"));
        }
    }
    account.end().map(|()| Exit::Well)
}

fn export(args: &ExportArgs) -> Result<Exit> {
    let store = TahoeStore::open(&args.common.store)?;
    let folder = NodeFolder::new(&args.common.store);
    let mut plans = Vec::new();
    for crawler in args.common.job.crawlers() {
        let path = args.common.state_path(&store, *crawler)?;
        let plan = match existing(&path)? {
            Some(state) => Export::plan(*crawler, &*state.reader(), &folder, &store)?,
            None => None,
        };
        match plan {
            Some(plan) => plans.push((*crawler, plan)),
            None => {
                output::say(&format!("{crawler}: no cycle of the job {} is in {}", crawler.crawl(), path.display()))
            }
        }
    }
    if plans.is_empty() {
        return Err(Error::Config(
            "nothing to export: crawl the store first, or name the state with --state".to_owned(),
        ));
    }
    if let Some(node) = running_node(&folder).filter(|node| node.forbids(args.node_stopped)) {
        return Err(Error::Config(format!(
            "nothing was exported: {node}, and a node overwrites its state when it stops; {}",
            node.remedy()
        )));
    }
    let mut account = Account::new();
    for (crawler, plan) in plans {
        let written = if args.common.dry_run { Vec::new() } else { plan.apply(&folder)? };
        let finished = plan.finished().iter().copied();
        told(
            &mut account,
            crawler,
            plan.extent(),
            finished,
            plan.remarks(),
            if args.common.dry_run { "would hand back" } else { "handed back" },
        );
        for (path, written) in written {
            let path = path.display();
            account.tell(&match written {
                Written::New => format!("  wrote {path}"),
                Written::Unchanged => format!("  {path} was the same already"),
                Written::Replaced { kept } => format!("  wrote {path}; the one before is {}", kept.display()),
            });
        }
    }
    account.end().map(|()| Exit::Well)
}

/// The state, if there is one; none is made.
fn existing(path: &Path) -> Result<Option<SqliteStore>> {
    if path.symlink_metadata().is_err() { Ok(None) } else { SqliteStore::open(path).map(Some) }
}

fn told(
    account: &mut Account,
    crawler: Crawler,
    extent: Option<&Extent>,
    finished: impl Iterator<Item = u64>,
    remarks: &[String],
    did: &str,
) {
    let finished: Vec<u64> = finished.collect();
    if let (Some(first), Some(last)) = (finished.first(), finished.last()) {
        let which = if first == last { format!("cycle {first}") } else { format!("cycles, {first} to {last}") };
        let count = if first == last { String::new() } else { format!("{} ", finished.len()) };
        account.tell(&format!("{crawler}: {did} {count}finished {which}"));
    }
    if let Some(extent) = extent {
        account.tell(&format!("{crawler}: {did} {}", in_words(extent)));
    }
    if finished.is_empty() && extent.is_none() {
        account.tell(&format!("{crawler}: {did} no cycle"));
    }
    for remark in remarks {
        output::say(&format!("{crawler}: {remark}"));
    }
}

fn in_words(extent: &Extent) -> String {
    let Extent { cycle, started, prefixes_done, last_bucket, buckets, shares, corrupt_shares } = extent;
    let since = clock::rfc3339(*started).unwrap_or_else(|| format!("at {started}"));
    let bucket = last_bucket.as_ref().map(|bucket| format!(", and the next up to {bucket}")).unwrap_or_default();
    let shares = shares.map(|shares| format!(", {}, {corrupt_shares} corrupt", plural(shares, "share")));
    let (shares, buckets) = (shares.unwrap_or_default(), plural(*buckets, "bucket"));
    format!("cycle {cycle}, begun {since}: {prefixes_done} of 1024 prefixes complete{bucket}; {buckets}{shares}")
}

/// The command that carries the cycle on: its parameters are those that are frozen in it. Where Tahoe was deleting it goes on as
/// Tahoe does; otherwise nothing is deleted before the next cycle.
fn command_line(common: &CommonArgs, crawler: Crawler, settings: Option<&LeaseSettings>, now: Option<f64>) -> String {
    let mut words = format!("sexton crawl {} --job {}", quoted(&common.store), crawler.crawl());
    if let Some(LeaseSettings { expiry, sharetypes, word, .. }) = settings {
        let how = if word.is_some() { "--offline --compat --max-delete 100%" } else { "--dry-run" };
        if *expiry != Expiry::None {
            words += &format!(" --expire {expiry} {how}");
        }
        let types: Vec<&str> = sharetypes.0.iter().map(|t| t.as_str()).collect();
        words += &format!(" --sharetypes {}", types.join(","));
    }
    if let Some(now) = now {
        words += &format!(" --now {now}");
    }
    if let Some(state) = &common.state {
        words += &format!(" --state {}", quoted(state));
    }
    words
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    if text.chars().all(|c| c.is_alphanumeric() || "/._-+:,@".contains(c)) {
        return text.into_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}
