//! `sexton clean`: cleans one local database of LBS or Cumulus, beside its backups.

use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use futures_executor::block_on;

use super::clean_report::for_people;
use super::crawl::patiently;
use super::progress::CleaningProgress;
use super::signals::Interrupts;
use super::watch::{Ending, until_end_of};
use super::{Exit, output};
use crate::clock::Time;
use crate::cumulus::CleaningReport;
use crate::cumulus::policy::{ClockTrust, Limits, Mode, Options, Policy, RunPart};
use crate::cumulus::settings::{CleaningMode, CleaningSettings, LongLocks};
use crate::engine::{Cycles, Engine};
use crate::error::{Error, Result, Retry};
use crate::settings::{BudgetSettings, Settings};
use crate::spelling::{Percent, parse_slice};

const NAME: &str = "clean";
pub(super) const EXIT_CODES: &str = "Exit codes: 0 well; 1 the database is damaged, or something odd was found and left alone; 2 usage, \
    or not a local database that is known here; 3 refused or could not finish; 130 interrupted, with the plan kept";
const CLOSE_DEADLINE: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
pub struct CleanArgs {
    /// The local database, or the folder that holds localdb.sqlite
    localdb: PathBuf,

    /// Which segments are worth cleaning [default: benefit for eras A and B, utilization for C]
    #[arg(long, value_enum)]
    policy: Option<PolicyName>,

    /// Clean segments with a benefit above this, in days [default: 7]
    #[arg(long, value_name = "DAYS", value_parser = number)]
    threshold: Option<f64>,

    /// Days added to every age, before a backup that is to be kept for long [default: 0]
    #[arg(long, value_name = "DAYS", value_parser = number)]
    age_boost: Option<f64>,

    /// For how long the next snapshot is to be kept: 1 daily, 7 weekly (era B) [default: 1]
    #[arg(long, value_name = "DAYS", value_parser = number)]
    intent: Option<f64>,

    /// Clean segments of which a smaller part than this is in use [default: 0.4]
    #[arg(long, value_name = "PART", value_parser = number)]
    min_utilization: Option<f64>,

    /// Mark no more than the next backup has to write so many bytes again
    #[arg(long, value_name = "BYTES")]
    max_rewrite: Option<u64>,

    /// Mark at most so many segments
    #[arg(long, value_name = "N")]
    max_segments: Option<u64>,

    /// Mark no segment younger than this
    #[arg(long, value_name = "DAYS", value_parser = number)]
    min_age: Option<f64>,

    /// The day that counts as now, as a Julian day in UTC [default: the clock]
    #[arg(long, value_name = "JULIANDAY", value_parser = number)]
    now: Option<f64>,

    /// Make exactly the rows of the old programs, and fail where they failed
    #[arg(long)]
    compat: bool,

    /// Show the plan and change nothing
    #[arg(long)]
    dry_run: bool,

    /// Do all in one transaction, however long it takes
    #[arg(long)]
    at_once: bool,

    /// Do only one part: gc (drop what no snapshot needs), mark (expire segments), balance (group what is expired)
    #[arg(long, value_enum)]
    only: Option<Only>,

    /// With --only mark: this segment, instead of those that the policy finds; may be given again
    #[arg(long, value_name = "ID")]
    mark: Vec<i64>,

    /// Copy the database to this file before the first change; never over a file that is there
    #[arg(long, value_name = "FILE")]
    backup: Option<PathBuf>,

    /// How much may be used, of one core: 10%, 100% [default: 100%]
    #[arg(long, value_name = "PERCENT%", default_value = "100%", hide_default_value = true)]
    cpu: Percent,

    /// How long the database may be locked at a time, or twice as long as one save takes, if that is more
    #[arg(long, value_name = "DURATION", default_value = "50ms", value_parser = parse_slice)]
    slice: Duration,

    /// For how much of the time the database may be locked: backups that start then fail
    #[arg(long, value_name = "PERCENT%", default_value = "5%")]
    lock_duty: Percent,

    /// Clean also segments with so many blocks that to change them takes longer than a slice
    #[arg(long)]
    allow_long_lock: bool,

    /// Vouch for the clock where it does not go with the newest snapshot
    #[arg(long)]
    accept_clock: bool,

    /// Print plan and result as one JSON object on stdout
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PolicyName {
    /// By the benefit of cleaning them: waste, times age, by cost
    Benefit,
    /// By the part in use
    Utilization,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Only {
    /// Drop old snapshots and what is needed by none
    Gc,
    /// Expire the blocks of segments
    Mark,
    /// Group what is expired by age
    Balance,
}

/// Runs the command.
///
/// # Errors
/// Whatever keeps the database from being cleaned; a refusal is a report with another exit code.
pub fn run(args: &CleanArgs) -> Result<Exit> {
    let cleaning = settings(args)?;
    let interrupts = Interrupts::take_over()?;
    let budget = BudgetSettings { rate: args.cpu.cores(), slice: args.slice, ..BudgetSettings::default() };
    let engine = Engine::builder(Settings { budget, ..Settings::default() })
        .time(Time::system(true))
        .cycles(Cycles::Once)
        .maintenance(cleaning.task.clone(), cleaning)
        .spawn()?;
    let ending = {
        let mut progress = CleaningProgress::new(NAME);
        let ending = until_end_of("step", &engine, interrupts, |engine| progress.show(&engine.status()))?;
        // What a short run has not shown yet.
        progress.show(&engine.status());
        ending
    };
    let report = engine.last_maintenance(NAME).and_then(|report| report.body::<CleaningReport>());
    block_on(engine.shutdown(CLOSE_DEADLINE))?;
    let Some(report) = report.filter(|_| ending == Ending::Finished) else {
        output::say("stopped between two steps, backups may run: the same command goes on from here");
        return Ok(Exit::Interrupted);
    };
    print(args, &report)?;
    // Only now: a crash before that prints it again.
    patiently(|error| error.retry() == Retry::Helps, || report.handed_over())?;
    Ok(match report.refused() {
        Some(why) => {
            output::say(&format!("sexton: will not clean {}: {why}", args.localdb.display()));
            Exit::Failed
        }
        None if report.left_alone() > 0 => Exit::Damage,
        None => Exit::Well,
    })
}

fn settings(args: &CleanArgs) -> Result<CleaningSettings> {
    let clock = match (args.now, args.accept_clock) {
        (Some(_), _) => ClockTrust::Given,
        (None, true) => ClockTrust::Accepted,
        (None, false) => ClockTrust::Wall,
    };
    let options = Options {
        now: args.now.unwrap_or(0.0),
        clock,
        mode: if args.compat { Mode::Compat } else { Mode::Careful },
        policy: policy(args)?,
        limits: Limits {
            max_rewrite_bytes: args.max_rewrite,
            max_segments: args.max_segments,
            min_age_days: args.min_age,
            max_segment_blocks: None,
        },
        part: part(args)?,
    };
    let manner = match (args.dry_run, args.at_once) {
        (true, _) => CleaningMode::DryRun,
        (false, true) => CleaningMode::AtOnce,
        (false, false) => CleaningMode::InSlices,
    };
    let long = args.allow_long_lock || args.at_once;
    Ok(CleaningSettings {
        options,
        manner,
        slice: args.slice,
        lock_duty: args.lock_duty.cores(),
        long_locks: if long { LongLocks::Allow } else { LongLocks::Leave },
        backup: args.backup.clone(),
        ..CleaningSettings::new(NAME, &args.localdb)
    })
}

/// The policy that was named, or that the options given belong to; none for that of the era.
fn policy(args: &CleanArgs) -> Result<Option<Policy>> {
    let of_benefit = [("--threshold", args.threshold), ("--age-boost", args.age_boost), ("--intent", args.intent)];
    let benefit = of_benefit.iter().find(|(_, given)| given.is_some());
    let name = match (args.policy, benefit, args.min_utilization) {
        (Some(PolicyName::Utilization), Some((option, _)), _) | (None, Some((option, _)), Some(_)) => {
            return Err(Error::Config(format!("{option} goes with --policy benefit, not with utilization")));
        }
        (Some(PolicyName::Benefit), _, Some(_)) => {
            return Err(Error::Config("--min-utilization goes with --policy utilization".to_owned()));
        }
        (Some(name), ..) => name,
        (None, Some(_), None) => PolicyName::Benefit,
        (None, None, Some(_)) => PolicyName::Utilization,
        (None, None, None) => return Ok(None),
    };
    Ok(Some(match name {
        PolicyName::Benefit => Policy::Benefit {
            threshold_days: args.threshold.unwrap_or(7.0),
            age_boost_days: args.age_boost.unwrap_or(0.0),
            intent: args.intent.unwrap_or(1.0),
        },
        PolicyName::Utilization => Policy::Utilization { least: args.min_utilization.unwrap_or(0.4) },
    }))
}

fn part(args: &CleanArgs) -> Result<RunPart> {
    if !args.mark.is_empty() && args.only != Some(Only::Mark) {
        return Err(Error::Config("--mark goes with --only mark".to_owned()));
    }
    Ok(match args.only {
        None => RunPart::Whole,
        Some(Only::Gc) => RunPart::GarbageCollection,
        Some(Only::Mark) => RunPart::Marking(args.mark.clone()),
        Some(Only::Balance) => RunPart::Balancing,
    })
}

fn print(args: &CleanArgs, report: &CleaningReport) -> Result<()> {
    // Written as it is made: the segments may be many.
    let mut stdout = BufWriter::new(std::io::stdout().lock());
    let written = if args.json {
        serde_json::to_writer(&mut stdout, report).map_err(std::io::Error::from).and_then(|()| stdout.write_all(b"\n"))
    } else {
        stdout.write_all(for_people(report, args.dry_run).as_bytes())
    };
    let written = written.and_then(|()| stdout.flush());
    written.map_err(|e| Error::Store { doing: "write the report to", path: "stdout".into(), cause: e.to_string() })
}

/// A finite number.
fn number(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err("give a number, such as 7.5".to_owned()),
    }
}
