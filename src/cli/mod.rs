//! The command line: what `sexton` takes, and which command does what.
//!
//! Exit codes, of every command but `guard`: 0 well; 1 damage, or something that could not be read; 2 usage, or an unrecognised
//! layout; 3 could not finish, or no daemon was reached; 4 waits for a person; 130 interrupted, with the state saved.

mod clean;
mod clean_report;
#[cfg(feature = "daemon")]
mod client;
mod config;
#[cfg(feature = "daemon")]
mod control;
mod crawl;
#[cfg(feature = "daemon")]
mod daemon;
mod demo;
mod guard;
mod output;
mod panics;
mod progress;
#[cfg(feature = "daemon")]
mod run;
mod shell;
mod signals;
mod state_file;
#[cfg(feature = "daemon")]
mod status;
mod tahoe_cfg;
mod tahoe_state;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand};
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::advice;
use crate::cumulus::LocalDbError;
use crate::error::Error;
use crate::kinds::JobArgs;
use crate::model::Verdict;
use crate::settings::{Basis, Checkpoint};
use crate::spelling::{self, Percent, parse_slice};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All is well.
    Well,
    /// There is damage, or something could not be read.
    Damage,
    /// The arguments or a configuration are wrong, or what they name has a layout that is not known here.
    Usage,
    /// It could not be finished, or no daemon was reached.
    Failed,
    /// It waits until a person decides.
    Waits,
    /// Stopped by a signal; the state is saved.
    Interrupted,
}

impl Exit {
    /// The exit code of the process.
    pub fn code(self) -> u8 {
        match self {
            Exit::Well => 0,
            Exit::Damage => 1,
            Exit::Usage => 2,
            Exit::Failed => 3,
            Exit::Waits => 4,
            Exit::Interrupted => 130,
        }
    }

    /// What the verdict means for the exit code.
    pub fn by(verdict: Verdict) -> Exit {
        match verdict {
            Verdict::Damage | Verdict::Errors => Exit::Damage,
            Verdict::Failed => Exit::Failed,
            Verdict::Waiting => Exit::Waits,
            Verdict::Warning | Verdict::Well => Exit::Well,
        }
    }

    /// What an error that ends the program means for its exit code.
    pub fn of(error: &Error) -> Exit {
        match error {
            Error::Config(_)
            | Error::CycleDiffers { .. }
            | Error::HalfDone { .. }
            | Error::StateForeign { .. }
            | Error::StateNewer { .. } => Exit::Usage,
            Error::SafetyCatch { .. } => Exit::Waits,
            other => match other.downcast_ref() {
                Some(LocalDbError::Foreign { .. }) => Exit::Usage,
                // What is cared for is damaged. A state of Sexton's own that is damaged only keeps the work from being done.
                Some(LocalDbError::Damaged { .. }) => Exit::Damage,
                _ => Exit::Failed,
            },
        }
    }
}

const EXIT_CODES: &str = "Exit codes: 0 well; 1 damage, or something that could not be read; 2 usage, or an unrecognised layout; \
    3 could not finish, or no daemon was reached; 4 waits for a person; 130 interrupted, with the state saved";

/// The caretaker of a store: walks every object, again and again, inside one budget, and never loses its place.
#[derive(Debug, Parser)]
#[command(name = "sexton", version, max_term_width = 100, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: CliCommand,

    /// Say more on stderr; twice for every bucket
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

#[derive(Debug, Subcommand)]
enum CliCommand {
    /// Make a sample store, crawl it under a budget, and show what the governor gave to whom
    #[command(after_help = EXIT_CODES)]
    Demo(DemoArgs),
    /// Walk a Tahoe-LAFS share store, one whole cycle; an unfinished one is resumed
    #[command(after_help = EXIT_CODES)]
    Crawl(CrawlArgs),
    #[cfg(feature = "daemon")]
    #[command(flatten)]
    Daemon(daemon::DaemonCommand),
    /// Print completions for a shell
    #[command(after_help = EXIT_CODES)]
    Completions(shell::CompletionsArgs),
    /// Write man pages
    #[command(after_help = EXIT_CODES)]
    Man(shell::ManArgs),
    /// Clean a local database of LBS or Cumulus: drop what no snapshot needs, mark segments with much waste
    #[command(after_help = clean::EXIT_CODES)]
    Clean(clean::CleanArgs),
    /// Run a backup with the cleaner kept off its local database
    #[command(after_help = "Exit codes: that of the command; 2 or 3 where it could not be started")]
    Guard(guard::GuardArgs),
    /// Stand in for Tahoe's own crawlers: take over where they stopped, or hand back
    #[command(after_help = EXIT_CODES)]
    TahoeState {
        #[command(subcommand)]
        command: tahoe_state::TahoeStateCommand,
    },
    /// Print the config.ron that means what a Tahoe node's tahoe.cfg tells its crawlers
    #[command(after_help = EXIT_CODES)]
    ImportTahoeCfg(tahoe_cfg::TahoeCfgArgs),
    /// Make or check a configuration file
    #[command(after_help = EXIT_CODES)]
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
}

#[derive(Debug, Args)]
struct DemoArgs {
    /// Where the sample store and the state go; kept afterwards, and used again
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Run the sample store as a daemon instead, with its page, until Ctrl-C
    #[cfg(feature = "daemon")]
    #[arg(long)]
    serve: bool,

    /// How many buckets the sample store has
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    buckets: u32,
}

#[derive(Debug, Args)]
struct CrawlArgs {
    /// The folder that holds shares/: a Tahoe node's storage folder
    store: PathBuf,

    #[command(flatten)]
    job: JobArgs,

    /// The moment that counts as now, in seconds since 1970 [default: when the cycle begins]
    #[arg(long, value_name = "UNIXTIME", value_parser = spelling::unix_time, allow_negative_numbers = true)]
    now: Option<f64>,

    /// How much may be used, of one core: 10%, 150% [default: 100% for each worker]
    #[arg(long, value_name = "PERCENT%")]
    cpu: Option<Percent>,

    /// How long to work before sleeping
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse_slice)]
    slice: Duration,

    /// What counts as used: wall (time at work, waiting for the disk included) or cpu
    #[arg(long, value_name = "wall|cpu", default_value = "wall")]
    basis: Basis,

    /// How many prefixes to work on at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    workers: u32,

    /// When to save progress: every_bucket, every_slice, or after a duration such as 10s
    #[arg(long, value_name = "WHEN", default_value = "every_slice")]
    checkpoint: Checkpoint,

    /// Where progress is kept, in a folder that only its owner may write to [default: in your state folder, named after store
    /// and job]
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,

    /// Give an unfinished cycle up and begin a new one; what it has examined and deleted so far no longer counts for
    /// --max-delete
    #[arg(long)]
    fresh: bool,

    /// Where the store goes away meanwhile, wait until it is back and go on, instead of ending with exit code 3
    #[arg(long)]
    wait: bool,

    /// Print the report as one JSON object on stdout
    #[arg(long)]
    json: bool,
}

impl CliCommand {
    /// Whether all that it does is done when it prints: nothing is cut short where it ends with its reader.
    fn only_prints(&self) -> bool {
        match self {
            CliCommand::Demo(_) | CliCommand::Crawl(_) | CliCommand::Clean(_) | CliCommand::TahoeState { .. } => false,
            #[cfg(feature = "daemon")]
            CliCommand::Daemon(command) => !command.logs_itself(),
            _ => true,
        }
    }
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Write a complete, commented configuration file
    Init {
        /// The file to write; an existing one is kept; - for stdout
        #[arg(default_value = "config.ron")]
        file: PathBuf,
    },
    /// Read a configuration file and say what it means, or what is wrong with it
    Check {
        /// The file to read
        #[arg(default_value = "config.ron")]
        file: PathBuf,
    },
}

/// Runs the program: arguments from the command line, report on stdout, everything else on stderr.
pub fn run() -> ExitCode {
    panics::take_over();
    let cli = Cli::parse();
    match &cli.command {
        #[cfg(feature = "daemon")]
        CliCommand::Daemon(command) if command.logs_itself() => {}
        _ => output::log_to_stderr(cli.verbose),
    }
    panics::contained(|| match &cli.command {
        CliCommand::Guard(args) => guard::run(args),
        _ => ExitCode::from(execute(cli).code()),
    })
}

fn execute(cli: Cli) -> Exit {
    allow_open_files();
    let prepared = signals::survive_file_size_limit().and_then(|()| match cli.command.only_prints() {
        true => signals::end_with_the_reader(),
        false => Ok(()),
    });
    let result = prepared.and_then(|()| match cli.command {
        CliCommand::Demo(args) => demo::run(&args),
        CliCommand::Crawl(args) => crawl::run(&args),
        #[cfg(feature = "daemon")]
        CliCommand::Daemon(command) => command.execute(cli.verbose),
        CliCommand::Completions(args) => shell::completions(&args, Cli::command()),
        CliCommand::Man(args) => shell::man(&args, Cli::command()),
        CliCommand::Clean(args) => clean::run(&args),
        CliCommand::TahoeState { command } => tahoe_state::run(&command),
        CliCommand::ImportTahoeCfg(args) => tahoe_cfg::run(&args),
        // Answered above: it ends with the exit code of its command.
        CliCommand::Guard(_) => Ok(Exit::Well),
        CliCommand::Config { command } => config::run(&command),
    });
    result.unwrap_or_else(|error| {
        output::say(&format!("sexton: {}", advice::told(&error)));
        Exit::of(&error)
    })
}

/// Allows as many open files as the system lets this user have: each worker keeps some prefixes open.
fn allow_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where it is refused the usual number will do, with smaller batches.
    let _ = setrlimit(Resource::Nofile, limit);
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use std::path::PathBuf;

    use super::Exit;
    use crate::cumulus::LocalDbError;
    use crate::error::Error;
    use crate::model::Verdict;

    #[test]
    fn each_exit_code_has_one_meaning() {
        let by = Verdict::ALL.map(|verdict| Exit::by(verdict).code());
        assert_eq!(by, [1, 1, 3, 4, 0, 0]);
        let (path, cause) = (PathBuf::from("x"), "why".to_owned());
        let catch =
            Error::SafetyCatch { crawl: "c".to_owned(), cycle: 0, would_delete: 2, deleted: 1, examined: 9, most: 0.1 };
        for (error, code) in [
            (Error::Config(cause.clone()), 2),
            (Error::StateForeign { path: path.clone(), cause: cause.clone() }, 2),
            (Error::StateNewer { path: path.clone(), found: 9, known: 1 }, 2),
            (Error::from(LocalDbError::Foreign { path: path.clone(), cause: cause.clone() }), 2),
            (Error::from(LocalDbError::Damaged { path: path.clone(), cause: cause.clone() }), 1),
            (Error::StateDamaged { path: path.clone(), cause: cause.clone() }, 3),
            (Error::StateFull { path: path.clone(), cause: cause.clone() }, 3),
            (Error::Store { doing: "list", path, cause: cause.clone() }, 3),
            (Error::Daemon(cause.clone()), 3),
            (Error::Clock { why: cause }, 3),
            (catch, 4),
        ] {
            assert_eq!(Exit::of(&error).code(), code, "{error}");
        }
        assert_eq!(Exit::Interrupted.code(), 130);
    }

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
