//! The commands that are a daemon, or talk to one.

use clap::Subcommand;

use super::{Exit, control, run, status};
use crate::engine::Command;
use crate::error::Result;

#[derive(Debug, Subcommand)]
pub(super) enum DaemonCommand {
    /// Run every crawl and cleaning of a configuration file for ever, with a page, metrics and controls
    #[command(after_help = run::AFTER_HELP)]
    Run(run::RunArgs),
    /// Show what a running daemon does
    #[command(after_help = super::EXIT_CODES)]
    Status(status::StatusArgs),
    /// Pause one crawl or cleaning of a running daemon, or everything
    #[command(after_help = super::EXIT_CODES)]
    Pause(control::OneOrAllArgs),
    /// Go on after a pause
    #[command(after_help = super::EXIT_CODES)]
    Resume(control::OneOrAllArgs),
    /// Begin the next cycle or run of a crawl or cleaning now, also of one that was stopped or has failed; a crawl that waits
    /// for `confirm` rehearses anew
    #[command(after_help = super::EXIT_CODES)]
    Start(control::OneArgs),
    /// End a crawl or cleaning after its running slice, until it is started
    #[command(after_help = super::EXIT_CODES)]
    Stop(control::OneArgs),
    /// Show or change the budget of a running daemon
    #[command(after_help = super::EXIT_CODES)]
    Budget(control::BudgetArgs),
    /// List what a running daemon has found
    #[command(after_help = super::EXIT_CODES)]
    Findings(control::FindingsArgs),
    /// Confirm what a rehearsal of expiry has shown, so that it is deleted
    #[command(after_help = super::EXIT_CODES)]
    Confirm(control::ConfirmArgs),
}

impl DaemonCommand {
    /// Whether it is the daemon itself, which works until it is ended and sets up its own logs.
    pub fn logs_itself(&self) -> bool {
        matches!(self, DaemonCommand::Run(_))
    }

    pub fn execute(self, verbose: u8) -> Result<Exit> {
        match self {
            DaemonCommand::Run(args) => run::run(&args, verbose),
            DaemonCommand::Status(args) => status::run(&args),
            DaemonCommand::Pause(args) => control::one_or_all(Command::Pause, &args),
            DaemonCommand::Resume(args) => control::one_or_all(Command::Resume, &args),
            DaemonCommand::Start(args) => control::one(Command::Start, &args),
            DaemonCommand::Stop(args) => control::one(Command::Stop, &args),
            DaemonCommand::Budget(args) => control::budget(&args),
            DaemonCommand::Findings(args) => control::findings(&args),
            DaemonCommand::Confirm(args) => control::confirm(&args),
        }
    }
}
