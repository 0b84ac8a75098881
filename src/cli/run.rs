//! `sexton run`: the daemon.

use std::path::PathBuf;

use clap::Args;

use super::{Exit, output};
use crate::config::{Config, LogFormat};
use crate::daemon::{Start, places};
use crate::error::Result;

/// What the command takes.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The configuration [default: your own, or else /etc/sexton/config.ron]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Do not print the link that opens the page with the right to change things
    #[arg(long)]
    no_link: bool,
}

/// Runs the command.
///
/// # Errors
/// If the daemon cannot start, or has failed.
pub fn run(args: &RunArgs, verbose: u8) -> Result<Exit> {
    let path = args.config.clone().map_or_else(places::config, Ok)?;
    // Shown to people who do not know where it was started; the path as it was given where that cannot be told.
    let path = std::path::absolute(&path).unwrap_or(path);
    let config = Config::load(&path)?;
    match config.daemon.log {
        LogFormat::People => output::log_to_stderr(verbose + 1),
        LogFormat::Json => output::log_json_to_stderr(verbose + 1),
    }
    let start = Start { config, config_path: Some(path) };
    crate::daemon::run(start, |link| {
        if !args.no_link {
            output::say(&format!("the page, once: {link}"));
        }
    })?;
    Ok(Exit::Done)
}
