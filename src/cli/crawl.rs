//! `sexton crawl`: one whole cycle in the foreground.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_executor::block_on;

use super::progress::ProgressLine;
use super::signals::{Interrupts, end_at_a_signal};
use super::watch::{Ending, until_end};
use super::{CrawlArgs, Exit, output, state_file};
use crate::advice;
use crate::clock::{Clock, SystemClock, Time};
use crate::engine::{Cycles, Engine, EngineBuilder, EngineHandle, Fresh};
use crate::error::{Error, Result, Retry};
use crate::job::Job;
use crate::kinds::{JobSettings, WithJob};
use crate::model::CycleReport;
use crate::policy::backoff::Backoff;
use crate::policy::cycle::Moment;
use crate::policy::deletion::Clocks;
use crate::settings::{BudgetSettings, CrawlSettings, Settings};
use crate::sizes::plural;
use crate::state::{SqliteStore, StateStore};
use crate::store::Store;
use crate::tahoe::{TahoeStore, words};

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
            other => return other.map_err(|error| args.job.advised(error)),
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

fn crawl(args: &CrawlArgs, fresh: Fresh) -> Result<Exit> {
    let job = args.job.settings(&args.store, args.now)?;
    let store = TahoeStore::open(&args.store)?;
    let store = if job.writes_in_store() { store.changeable()? } else { store };
    // A dry run with a word refuses what the run would refuse.
    job.check_node(&store)?;
    job.may_change(&store, &clocks(args))?;
    let state = state_path(args, job.name(), &store)?;
    output::say(&format!("state: {}", state.display()));
    let state = patiently(|error| matches!(error, Error::StateFull { .. }), || SqliteStore::open(&state))?;
    let reader = state.reader();
    let store = if job.changes_shares() { store.alone()? } else { store };
    let name = args.job.crawl_name(&job, &*reader)?;
    let store = args.job.narrow(&job, store, &*reader)?;
    let prefixes = store.ring().len();
    // As it is now: what goes meanwhile is none that was never there.
    let missing = args.job.missing(&store);
    let interrupts = Interrupts::take_over()?;
    let engine = start((args, name), &job, store, state, fresh)?;
    let ending = {
        let mut progress = ProgressLine::new(name, prefixes);
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

/// As a cycle that began now would ask.
fn clocks(args: &CrawlArgs) -> Clocks {
    let clock = SystemClock::default();
    let moment = Moment { monotonic: clock.now(), unix_secs: clock.unix_secs() };
    Clocks { started: moment, moment, cycle_now: args.now.unwrap_or(moment.unix_secs), fixed: args.now.is_some() }
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
    let crawl = args.job.apply(crawl);
    let mut engine = Engine::builder(settings).state(state).cycles(Cycles::Once).fresh(fresh).time(Time::system(true));
    if let Some(now) = args.now {
        engine = engine.now(now);
    }
    job.with(BuildCrawl { engine, crawl, store }).spawn()
}

/// Adds a crawl to an engine.
struct BuildCrawl {
    engine: EngineBuilder,
    crawl: CrawlSettings,
    store: TahoeStore,
}

impl WithJob for BuildCrawl {
    type Out = EngineBuilder;

    fn with<J: Job<TahoeStore>>(self, job: J) -> EngineBuilder {
        self.engine.crawl(self.crawl, self.store, job)
    }
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
    if let Some(target) = engine.status().crawls.get(name).and_then(|crawl| crawl.target.clone()) {
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
                    output::say(&format!("sexton: {}; waiting", advice::told(&error)));
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
        format!("{}\n", report.to_json_text(&words::REPORT, &budget))
    } else {
        super::output::report_for_people(report, &budget)
    };
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    // It is handed over by none but a later run, then.
    written.map_err(|e| Error::Store { doing: "write the report to", path: "stdout".into(), cause: e.to_string() })
}
