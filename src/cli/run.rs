//! `sexton run`: the daemon.

use std::path::PathBuf;

use clap::Args;

use super::{Exit, output};
use crate::config::{Config, LogFormat};
use crate::daemon::{Start, places};
use crate::error::Result;

/// What `--help` and the man page say besides the options.
pub const AFTER_HELP: &str = "\
SIGHUP reads the configuration again; SIGTERM or Ctrl-C ends after the running bucket, a second one at once.

Where things are, unless the configuration says otherwise:
  configuration  ~/.config/sexton/config.ron, or else /etc/sexton/config.ron; `sexton config init` writes one
  state          ~/.local/state/sexton/state.sqlite, or in the STATE_DIRECTORY of a systemd unit
  token          beside the state, as state.sqlite-token; made at the first start, for its owner alone
  page, API      http://127.0.0.1:7377 with /api/openapi.json and /metrics

Exit codes: 0 ended as told; 2 usage or configuration; 3 could not go on; 130 told to end twice";

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
    Ok(Exit::Well)
}
