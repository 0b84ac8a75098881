//! `sexton crawl`: one whole cycle in the foreground.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_executor::block_on;

use super::progress::Progress;
use super::signals::{Interrupts, end_at_a_signal};
use super::verify_args::PARTIAL;
use super::watch::{Ending, until_end};
use super::{CrawlArgs, Exit, JobName, output, state_file};
use crate::clock::{Clock, SystemClock, Time};
use crate::engine::{Cycles, Engine, EngineHandle, Fresh};
use crate::error::{Error, Result, Retry};
use crate::job::{Count, Job};
use crate::kinds::JobSettings;
use crate::model::CycleReport;
use crate::policy::backoff::Backoff;
use crate::policy::cycle::{Cycle, Difference, Moment};
use crate::policy::deletion::Clocks;
use crate::settings::{BudgetSettings, CrawlSettings, Settings};
use crate::sizes::plural;
use crate::state::{SqliteStore, StateReader, StateStore};
use crate::store::Store;
use crate::tahoe::{Leases, TahoeStore, verify};

/// Closing the state takes a moment at most.
const CLOSE_DEADLINE: Duration = Duration::from_secs(30);

/// Runs the command.
///
/// # Errors
/// Whatever keeps the crawl from being finished.
pub fn run(args: &CrawlArgs) -> Result<Exit> {
    let mut fresh = if args.fresh { Fresh::Yes } else { Fresh::No };
    loop {
        match crawl(args, fresh) {
            Err(error) if args.wait && error.is_store_gone() => {
                output::say(&format!("sexton: {error}; waiting until it is back"));
                until_store_is_back(args)?;
                // What was done before is saved, and gone on with.
                fresh = Fresh::No;
            }
            other => return other.map_err(|error| advised(args, error)),
        }
    }
}

/// Waits until the store can be opened. All progress is saved, so a signal ends the process at once.
fn until_store_is_back(args: &CrawlArgs) -> Result<()> {
    let waiting = end_at_a_signal()?;
    let mut backoff = Backoff::default();
    loop {
        std::thread::sleep(backoff.failed());
        if TahoeStore::open(&args.store).is_ok_and(|store| store.still_there().is_ok()) {
            waiting.store(false, Ordering::SeqCst);
            return Ok(());
        }
    }
}

/// Where an unfinished cycle deletes, to begin anew costs more than it does elsewhere; says so.
fn advised(args: &CrawlArgs, error: Error) -> Error {
    let Error::CycleDiffers { crawl, cycle, differences } = &error else { return error };
    // What deletes has this parameter, and what does not has none.
    let named = differences.iter().find(|difference| difference.what == "delete");
    let deletes = named.map_or(!args.expiry.is_dry(), |named| named.was.is_some());
    if args.job != JobName::Leases || !deletes {
        return error;
    }
    Error::Config(format!(
        "the unfinished cycle {cycle} of {crawl}, which deletes, was begun with other parameters: {}; use those again, or begin \
         anew with --fresh, and what it has deleted so far no longer counts for --max-delete",
        Difference::list(differences)
    ))
}

fn crawl(args: &CrawlArgs, fresh: Fresh) -> Result<Exit> {
    let job = job(args)?;
    let store = TahoeStore::open(&args.store)?;
    let store = if job.writes_in_store() { store.changeable()? } else { store };
    refuse_what_may_not_change(args, &job, &store)?;
    let state = state_path(args, job.name(), &store)?;
    output::say(&format!("state: {}", state.display()));
    let state = patiently(|error| matches!(error, Error::StateFull { .. }), || SqliteStore::open(&state))?;
    let reader = state.reader();
    let store = if job.changes_shares() { store.alone()? } else { store };
    let name = crawl_name(args, &job, &*reader)?;
    let store = match &job {
        JobSettings::Verify { verify, .. } => {
            args.verify.narrow(store, &*reader, &verify::job(verify.clone()).parameters())?
        }
        _ => store,
    };
    let prefixes = store.ring().len();
    // As it is now: what goes meanwhile is none that was never there.
    let missing = args.verify.missing(&store);
    let interrupts = Interrupts::take_over()?;
    let engine = start((args, name), &job, store, state, fresh)?;
    let ending = {
        let mut progress = Progress::new(name, prefixes);
        let ending = until_end(&engine, interrupts, |engine| progress.show(&engine.status()));
        // What a short run has not shown yet.
        progress.show(&engine.status());
        ending
    };
    if ending.as_ref().map_or(true, |ending| *ending == Ending::Interrupted) {
        say_damage(&engine, name);
    }
    let ending = ending?;
    let exit = finish(args, &engine, name, ending)?;
    match missing {
        Some(missing) if exit == Exit::Well => Err(missing),
        // Damage comes first.
        Some(missing) if exit == Exit::Damage => {
            output::say(&format!("sexton: {missing}"));
            Ok(exit)
        }
        _ => Ok(exit),
    }
}

/// Says of a crawl that did not come to its end what is damaged by what it knows so far.
fn say_damage(engine: &EngineHandle, name: &str) {
    let damaged = engine.status().crawls.get(name).map_or(0, |crawl| crawl.damaged);
    if damaged > 0 {
        let are = if damaged == 1 { "is" } else { "are" };
        output::say(&format!("damage: {} {are} damaged, by what was visited so far", plural(damaged, "object")));
    }
}

/// The job as the settings know it; they also say what is refused.
fn job(args: &CrawlArgs) -> Result<JobSettings> {
    if args.job != JobName::Verify {
        args.verify.refuse()?;
    }
    let job = match args.job {
        JobName::Verify => {
            args.expiry.refuse()?;
            let mut verify = args.verify.settings(now(args))?;
            verify.node_stopped = args.node_stopped;
            verify.validate_for(&args.store)?;
            JobSettings::Verify { verify, offline: args.offline }
        }
        JobName::Count if args.offline => {
            return Err(Error::Config("--offline goes with a job that changes the store".to_owned()));
        }
        JobName::Count => args.expiry.refuse().map(|()| JobSettings::Count)?,
        JobName::Leases => JobSettings::Leases(args.expiry.settings(args.offline, args.node_stopped)?),
    };
    job.validate()?;
    if let JobSettings::Leases(leases) = &job
        // Whoever only evaluates may give any moment.
        && (leases.word.is_some() || args.now.is_none())
    {
        leases.validate_at(now(args))?;
    }
    Ok(job)
}

/// The moment that counts as now, in seconds since 1970.
fn now(args: &CrawlArgs) -> f64 {
    args.now.unwrap_or_else(|| SystemClock::default().unix_secs())
}

/// Refuses to change the store by a word that node or clock speak against; a dry run with a word refuses the same.
fn refuse_what_may_not_change(args: &CrawlArgs, job: &JobSettings, store: &TahoeStore) -> Result<()> {
    match job {
        JobSettings::Leases(leases) if leases.word.is_some() => {
            let (clock, cycle_now) = (SystemClock::default(), now(args));
            let moment = Moment { monotonic: clock.now(), unix_secs: clock.unix_secs() };
            let clocks = Clocks { started: moment, moment, cycle_now, fixed: args.now.is_some() };
            Leases::new(leases.clone()).may_change(store, &clocks)
        }
        job if job.needs_stopped_node() => {
            let node = store.running_node().filter(|node| node.forbids(args.node_stopped));
            node.map_or(Ok(()), |node| Err(node.refusal()))
        }
        _ => Ok(()),
    }
}

/// What deletes nothing has this name where a cycle that deletes is not finished.
const DRY_RUN: &str = "leases-dry-run";

/// A crawl over a part has a name of its own, and so has a dry run where it would be in the way of a cycle that deletes.
fn crawl_name(args: &CrawlArgs, job: &JobSettings, state: &dyn StateReader) -> Result<&'static str> {
    let name = job.name();
    match job {
        JobSettings::Verify { verify, .. } if !verify.selection.is_all() => Ok(PARTIAL),
        JobSettings::Leases(_) if args.expiry.is_dry() => {
            let unfinished = |cycle: &Cycle| cycle.finished.is_none();
            let deletes = |cycle: &Cycle| unfinished(cycle) && cycle.identity.parameters.get("delete").is_some();
            let apart = state.newest(name)?.is_some_and(|cycle| deletes(&cycle))
                || state.newest(DRY_RUN)?.is_some_and(|cycle| unfinished(&cycle));
            Ok(if apart { DRY_RUN } else { name })
        }
        _ => Ok(name),
    }
}

fn state_path(args: &CrawlArgs, job: &str, store: &TahoeStore) -> Result<PathBuf> {
    state_file::path(args.state.as_deref(), &args.store, &store.identity(), job)
}

fn start(
    (args, name): (&CrawlArgs, &str),
    job: &JobSettings,
    store: TahoeStore,
    state: SqliteStore,
    fresh: Fresh,
) -> Result<EngineHandle> {
    let rate = args.cpu.map_or(f64::from(args.workers), |percent| percent.cores());
    let budget = BudgetSettings { rate, slice: args.slice, basis: args.basis, ..BudgetSettings::default() };
    let settings = Settings { budget, checkpoint: args.checkpoint, ..Settings::default() };
    let crawl = CrawlSettings { workers: args.workers, ..job.crawl(name) };
    let crawl = args.verify.apply(crawl);
    let mut engine = Engine::builder(settings).state(state).cycles(Cycles::Once).fresh(fresh).time(Time::system(true));
    if let Some(now) = args.now {
        engine = engine.now(now);
    }
    match job {
        JobSettings::Count => engine.crawl(crawl, store, Count),
        JobSettings::Leases(settings) => engine.crawl(crawl, store, Leases::new(settings.clone())),
        JobSettings::Verify { verify, .. } => engine.crawl(crawl, store, verify::job(verify.clone())),
    }
    .spawn()
}

/// Prints the report of a finished cycle, and only then notes that it was handed over: a crash before that prints it
/// again.
fn finish(args: &CrawlArgs, engine: &EngineHandle, name: &str, ending: Ending) -> Result<Exit> {
    let report = engine.last_report(name);
    let Some(report) = report.filter(|_| ending == Ending::Finished) else {
        block_on(engine.shutdown(CLOSE_DEADLINE))?;
        output::say("stopped, all progress is saved: the same command goes on from here");
        return Ok(Exit::Interrupted);
    };
    print(args, engine, &report)?;
    if let Some(target) = engine.status().crawls.get(name).and_then(|crawl| crawl.target) {
        output::say(&output::target_for_people(&target, &report));
    }
    let delivered = patiently(|error| error.retry() == Retry::Helps, || block_on(engine.deliver(&report)));
    if matches!(delivered, Err(Error::Stopped)) {
        // By a signal after the end of the cycle: the same command prints the report once more.
        return Ok(Exit::Interrupted);
    }
    delivered?;
    block_on(engine.shutdown(CLOSE_DEADLINE))?;
    let exit = Exit::by(report.verdict());
    if !report.no_prefix {
        return Ok(exit);
    }
    output::say(&format!(
        "warning: {} holds {} and none of them is a prefix, which has two characters: a-z and 2-7, as in \"3k\"; this is most \
         likely no store of shares",
        args.store.join("shares").display(),
        plural(report.not_in_ring, "name")
    ));
    // Damage comes first.
    Ok(if exit == Exit::Well { Exit::Usage } else { exit })
}

/// Tries again and again while it fails for causes that pass, and says so once.
pub(super) fn patiently<T>(passes: impl Fn(&Error) -> bool, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let mut backoff = Backoff::default();
    loop {
        match attempt() {
            Err(error) if passes(&error) => {
                if !backoff.is_waiting() {
                    output::say(&format!("sexton: {error}; waiting"));
                }
                std::thread::sleep(backoff.failed());
            }
            other => return other,
        }
    }
}

fn print(args: &CrawlArgs, engine: &EngineHandle, report: &Arc<CycleReport>) -> Result<()> {
    let budget = engine.status().budget;
    let text = if args.json {
        format!("{}\n", report.to_json_text(&budget))
    } else {
        super::output::report_for_people(report, &budget)
    };
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    // It is handed over by none but a later run, then.
    written.map_err(|e| Error::Store { doing: "write the report to", path: "stdout".into(), cause: e.to_string() })
}
