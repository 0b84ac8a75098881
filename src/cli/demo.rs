//! `sexton demo`: a sample store and a sample database; both jobs and a cleaning under one visible budget; then a crawl
//! that is stopped, killed and resumed.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use directories::ProjectDirs;
use futures_executor::block_on;
use indicatif::ProgressBar;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::signals::Interrupts;
use super::watch::{Ending, until_end};
use super::{DemoArgs, Exit, output};
use crate::clock::Time;
use crate::cumulus::CleaningReport;
use crate::cumulus::policy::Options;
use crate::cumulus::sample::SampleDb;
use crate::cumulus::settings::CleaningSettings;
use crate::engine::{Cycles, Engine, EngineHandle, Fresh};
use crate::error::{Error, Result};
use crate::job::Count;
use crate::settings::{BudgetSettings, CrawlSettings, Settings};
use crate::sizes;
use crate::state::SqliteStore;
use crate::tahoe::leases::{Expiry, LeaseSettings};
use crate::tahoe::sample::{SampleStore, StoreSummary};
use crate::tahoe::{Leases, TahoeStore, words};

/// The budget of the demo: enough to end soon, little enough to be seen.
const RATE: f64 = 0.20;
const SLICE: Duration = Duration::from_millis(20);

/// Nobody backs up into the sample, so the cleaning need not leave it alone for long.
const LOCK_DUTY: f64 = 0.5;

/// The expiry that is evaluated: leases that were not renewed for 31 days.
const EXPIRY: Expiry = Expiry::Age { secs: 31 * 86_400 };

/// How long the crawl that is stopped and killed should take.
const SHOW_SECS: f64 = 4.0;

const CLOSE_DEADLINE: Duration = Duration::from_secs(30);

/// Prints a line, made as by `format!`.
macro_rules! show {
    ($($words:tt)*) => { output::show(&format!($($words)*)) };
}

/// Runs the command.
///
/// # Errors
/// If the folder cannot be used, nobody can read what is printed, or anything comes out other than it went in.
pub fn run(args: &DemoArgs) -> Result<Exit> {
    let dir = folder(args)?;
    let sample = SampleStore { buckets: args.buckets, ..SampleStore::default() };
    show!("1. A store in Tahoe-LAFS's format, {} buckets, below {}", args.buckets, dir.display())?;
    let made = make(&sample, &dir)?;
    show!(
        "   {} shares ({} of them mutable) with {} leases, {}",
        made.shares,
        made.mutable_shares,
        made.leases,
        sizes::for_people(made.bytes as f64)
    )?;
    #[cfg(feature = "daemon")]
    if args.serve {
        return serve(&dir, args.buckets);
    }
    let database = dir.join("localdb.sqlite");
    let rows = SampleDb::default().write(&database)?;
    show!("   and a local database of LBS, {}:", database.display())?;
    show!(
        "   {} blocks ({}) in {} segments, of which {} snapshots use a part\n",
        rows.blocks,
        sizes::for_people(rows.bytes as f64),
        rows.segments,
        rows.snapshots
    )?;
    let Some(whole) = under_one_budget(&sample, &dir, &made)? else { return Ok(Exit::Interrupted) };
    stopped_killed_resumed(&sample, &dir, &whole)?;
    show!("\nThe store, the database and the state files are kept in {}", dir.display())?;
    show!("Try:  sexton crawl {} --job leases --cpu 10%", dir.display())?;
    show!("      sexton clean {} --dry-run --now {}", database.display(), cleaned_at())?;
    Ok(Exit::Well)
}

/// The sample store under a daemon with its page, on any port that is free.
#[cfg(feature = "daemon")]
fn serve(dir: &Path, buckets: u32) -> Result<Exit> {
    // A cycle long enough to be watched, and the next one soon after it.
    let text = String::from(
        r#"(
            state: "serve.sqlite",
            priority: normal,
            budget: (cpu_percentage: "5%", cpu_slice: "20ms"),
            http: (listen: "127.0.0.1:0"),
            crawls: [
                (name: "leases", store: ".", job: leases(expire: age("31d"), dry_run: true), slow_start: "0s",
                    minimum_cycle_time: "30s"),
                (name: "count", store: ".", job: count, slow_start: "5s", minimum_cycle_time: "1m"),
            ],
        )"#,
    );
    let config = crate::config::Config::parse(&text, dir.join("demo.ron"))?;
    show!("2. Two crawls over its {buckets} buckets, as a daemon under 5 % of a core. Ctrl-C ends it.\n")?;
    let mut shown = Ok(());
    crate::daemon::run(crate::daemon::Start { config, config_path: None }, |link| {
        shown = show!("   Its page, with the right to change things (the link works once):\n\n   {link}\n");
    })?;
    shown.map(|()| Exit::Well)
}

fn folder(args: &DemoArgs) -> Result<PathBuf> {
    if let Some(dir) = &args.dir {
        return Ok(dir.clone());
    }
    let dirs = ProjectDirs::from("", "", "sexton");
    let dirs = dirs.ok_or_else(|| Error::Config("you have no home folder: say where with --dir DIR".to_owned()))?;
    Ok(dirs.cache_dir().join(format!("demo-{}", args.buckets)))
}

fn make(sample: &SampleStore, dir: &Path) -> Result<StoreSummary> {
    // For its owner alone, since states lie in it too.
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|e| Error::Config(format!("cannot make the folder {}: {e}", dir.display())))?;
    let bar = if output::is_terminal() { ProgressBar::new(sample.buckets.into()) } else { ProgressBar::hidden() };
    let made = sample.write(dir, |buckets| bar.set_position(buckets));
    bar.finish_and_clear();
    made
}

/// What one crawl over the whole store has found, and what it cost.
struct DemoRun {
    report: Value,
    cost_secs: f64,
}

/// The moment that counts as now for the cleaning: the day after the newest snapshot.
fn cleaned_at() -> f64 {
    SampleDb::default().end + 1.0
}

fn cleaning(dir: &Path) -> CleaningSettings {
    let defaults = CleaningSettings::new("cleaner", dir.join("localdb.sqlite"));
    CleaningSettings { options: Options::at(cleaned_at()), slice: SLICE, lock_duty: LOCK_DUTY, ..defaults }
}

/// Both jobs and the cleaning in one engine; `None` if it was interrupted.
fn under_one_budget(sample: &SampleStore, dir: &Path, made: &StoreSummary) -> Result<Option<DemoRun>> {
    show!("2. Both jobs and a cleaning, in one engine, under one budget of {:.0} % of a core", 100.0 * RATE)?;
    let budget = BudgetSettings { rate: RATE, slice: SLICE, ..BudgetSettings::default() };
    let leases = LeaseSettings { expiry: EXPIRY, ..LeaseSettings::default() };
    let interrupts = Interrupts::take_over()?;
    let engine = Engine::builder(Settings { budget, ..Settings::default() })
        .state(SqliteStore::open(&dir.join("demo.sqlite"))?)
        .time(Time::system(true))
        .cycles(Cycles::Once)
        .fresh(Fresh::Yes)
        .now(sample.now.into())
        .crawl(CrawlSettings::new("count"), TahoeStore::open(dir)?, Count)
        .crawl(CrawlSettings::new("leases"), TahoeStore::open(dir)?, Leases::new(leases))
        .maintenance(cleaning(dir).task, cleaning(dir))
        .spawn()?;
    let mut told = Instant::now();
    let ending = until_end(&engine, interrupts, |engine| {
        if told.elapsed() >= Duration::from_secs(1) {
            told = Instant::now();
            show_pace(engine);
        }
    })?;
    let status = engine.status();
    if ending == Ending::Interrupted {
        return Ok(None);
    }
    show!("   {:<20} {:>7} {:>10} {:>9} {:>13}", "client", "slices", "work", "of a core", "longest slice")?;
    for client in &status.budget.clients {
        let (name, slices) = (&client.name, client.slices);
        let (work, part) = (client.cost_secs, client.total_percentage);
        show!("   {name:<20} {slices:>7} {work:>8.2} s {part:>7.1} % {:>10.1} ms", 1e3 * client.longest_slice_secs)?;
    }
    let measured = status.budget.measured_total_percentage;
    show!("   together {measured:.1} % of a core, {:.0} % asked for", 100.0 * RATE)?;
    let report = |crawl: &str| {
        engine.last_report(crawl).map(|r| r.to_json_in(&words::REPORT, &status.budget)).unwrap_or_default()
    };
    let (count, leases) = (report("count"), report("leases"));
    check("buckets counted", &count["buckets"], made.buckets)?;
    check("shares examined", &leases["history"]["space-recovered"]["examined-shares"], made.shares)?;
    let ages = leases["history"]["lease-age-histogram"].as_array().cloned().unwrap_or_default();
    let seen: u64 = ages.iter().filter_map(|bin| bin[2].as_u64()).sum();
    check("leases read", &seen.into(), made.leases)?;
    show_cleaning(&engine)?;
    block_on(engine.shutdown(CLOSE_DEADLINE))?;
    let cost_secs = status.budget.client("leases").map_or(1.0, |c| c.cost_secs);
    Ok(Some(DemoRun { report: leases, cost_secs }))
}

fn show_cleaning(engine: &EngineHandle) -> Result<()> {
    let report = engine.last_maintenance("cleaner").and_then(|report| report.body::<CleaningReport>());
    let report = report.ok_or_else(|| Error::Unexpected("nothing was cleaned".to_owned()))?;
    if let Some(why) = report.refused() {
        return Err(Error::Unexpected(format!("the cleaning refused: {why}")));
    }
    let plan = &report.plan;
    show!(
        "   segments marked: {} of {}; {} come free, {} are to be written again",
        plan.marked().count(),
        plan.segments.len(),
        sizes::for_people(plan.reclaimable_bytes.to_f64()),
        sizes::for_people(plan.rewrite_bytes.to_f64())
    )?;
    let longest = report.steps.longest_ms.unwrap_or(0.0);
    show!("   the database was locked {} times, at most {longest:.1} ms", report.steps.count)?;
    report.handed_over()
}

fn show_pace(engine: &EngineHandle) {
    let status = engine.status();
    let crawl = |name: &str| status.crawls.get(name).map_or(0, |c| c.buckets);
    let (count, leases, percent) = (crawl("count"), crawl("leases"), status.budget.measured_total_percentage);
    let doing = status.maintenance.get("cleaner").map_or(String::new(), |c| c.progress.doing.to_string());
    output::say(&format!(
        "   count {count} buckets, leases {leases} buckets, cleaner {doing}, {percent:.1} % of a core"
    ));
}

fn check(what: &str, found: &Value, written: u64) -> Result<()> {
    if found.as_u64() == Some(written) {
        show!("   {what}: {written}, as many as were written")?;
        return Ok(());
    }
    Err(Error::Unexpected(format!("{what}: {found}, but {written} were written")))
}

/// The same crawl as a process of its own: interrupted, then killed, then left to end; the report is the same.
fn stopped_killed_resumed(sample: &SampleStore, dir: &Path, whole: &DemoRun) -> Result<()> {
    show!("\n3. The same crawl as a process of its own: stopped, killed, resumed")?;
    let percent = (100.0 * whole.cost_secs / SHOW_SECS).clamp(1.0, 100.0);
    let state = dir.join("killed.sqlite");
    let start = |fresh: bool| crawl_process(sample, dir, &state, percent, fresh);
    let part = Duration::from_secs_f64(SHOW_SECS / 4.0);
    show!("   $ sexton crawl {} --job leases --cpu {percent:.1}% --slice 20ms", dir.display())?;
    for (signal, name) in [(Signal::INT, "Ctrl-C"), (Signal::KILL, "kill -9")] {
        let mut child = start(name == "Ctrl-C")?;
        std::thread::sleep(part);
        let alive = child.try_wait().map_err(cannot_run)?.is_none();
        if alive {
            // Nobody else waits for the child, so its number is its own even if it has just ended.
            kill_process(Pid::from_child(&child), signal).map_err(|e| cannot_run(e.into()))?;
        }
        let ended = child.wait().map_err(cannot_run)?;
        show!(
            "   {name} after {:.1} s: {}",
            part.as_secs_f64(),
            if alive { ended.to_string() } else { "too late".into() }
        )?;
    }
    let ended = start(false)?.wait_with_output().map_err(cannot_run)?;
    let mut report: Value = serde_json::from_slice(&ended.stdout)
        .map_err(|e| Error::Unexpected(format!("the resumed crawl printed no report: {e}")))?;
    show!("   left alone: {}, resumed: {}", ended.status, report["resumed"])?;
    let mut expected = whole.report.clone();
    for report in [&mut report, &mut expected] {
        for key in ["elapsed_secs", "budget", "resumed", "cycle"] {
            report[key] = Value::Null;
        }
    }
    if report != expected {
        return Err(Error::Unexpected("its report differs from the undisturbed one".to_owned()));
    }
    show!("   its report is the same as the undisturbed one, to the last number")?;
    Ok(())
}

fn crawl_process(sample: &SampleStore, dir: &Path, state: &Path, percent: f64, fresh: bool) -> Result<Child> {
    let mut command = Command::new(std::env::current_exe().map_err(cannot_run)?);
    command.arg("crawl").arg(dir).args(["--job", "leases", "--dry-run", "--json", "--slice", "20ms"]);
    command.args(["--expire", &EXPIRY.to_string(), "--now", &sample.now.to_string()]);
    command.args(["--cpu", &format!("{percent}%")]).arg("--state").arg(state);
    if fresh {
        command.arg("--fresh");
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().map_err(cannot_run)
}

fn cannot_run(e: std::io::Error) -> Error {
    Error::Unexpected(format!("cannot run a second sexton: {e}"))
}
